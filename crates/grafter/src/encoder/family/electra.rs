//! ELECTRA's discriminator (Clark et al. 2020): BERT without a pooler. Its small models have embeddings that are narrower than the
//! hidden states and are projected to them; those are not supported.

use super::{AdapterHubNames, ConfigProblem, Family, TensorNames, bert};
use crate::encoder::EncoderConfig;

pub(super) const TENSORS: TensorNames = TensorNames {
    prefix: "electra.",
    pooler: None,
    adapterhub: AdapterHubNames::of_class("ElectraAdapterModel"),
    ..bert::TENSORS
};

/// What `transformers` takes where the field is absent.
const EMBEDDING_SIZE: i64 = 128;

pub(super) fn config(text: &str) -> Result<EncoderConfig, ConfigProblem> {
    let fields = bert::Fields::read(text)?;
    let embedding_size = fields.embedding_size.unwrap_or(EMBEDDING_SIZE);
    let config = fields.config(Family::Electra);
    if usize::try_from(embedding_size) != Ok(config.hidden_size) {
        return Err(ConfigProblem::Unsupported {
            field: "embedding_size",
            found: embedding_size.to_string(),
            supported: "that of `hidden_size`",
        });
    }
    Ok(config)
}
