//! MPNet (Song et al. 2020): BERT's layers with a bias on the attention scores by how far a key lies from its query, the same
//! in all layers; positions counted as RoBERTa counts them; no token types. Its pretraining trains no pooler: one that a checkpoint
//! holds is not read.

use super::{ConfigProblem, Family, QueryKeyValue, TensorNames, bert, roberta};
use crate::encoder::EncoderConfig;

pub(super) const TENSORS: TensorNames = TensorNames {
    prefix: "mpnet.",
    types: None,
    query_key_value: QueryKeyValue::Three(["attention.attn.q", "attention.attn.k", "attention.attn.v"]),
    attention_output: "attention.attn.o",
    attention_layer_norm: "attention.LayerNorm",
    pooler: None,
    relative_bias: Some("encoder.relative_attention_bias.weight"),
    adapterhub: None,
    ..bert::TENSORS
};

/// `transformers` sorts distances into so many buckets whatever the configuration says.
const BUCKETS: usize = 32;

pub(super) fn config(text: &str) -> Result<EncoderConfig, ConfigProblem> {
    let fields = bert::Fields::read(text)?;
    if let Some(found) =
        fields.relative_attention_num_buckets.filter(|found| usize::try_from(*found) != Ok(BUCKETS))
    {
        return Err(ConfigProblem::Unsupported {
            field: "relative_attention_num_buckets",
            found: found.to_string(),
            supported: "`32`",
        });
    }
    let config = roberta::config_of(Family::MpNet, fields)?;
    Ok(EncoderConfig { type_vocab_size: 0, relative_attention_num_buckets: BUCKETS, ..config })
}
