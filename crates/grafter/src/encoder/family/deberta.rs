//! DeBERTa as `transformers` calls its second form (He et al. 2020; its v3 checkpoints: He et al. 2021): BERT's layers whose
//! attention scores know relative positions (`encoder/relative.rs`). Where the embeddings know no positions, as in v3, there is no
//! table of them, even if a checkpoint holds one. Its checkpoints have no pooler: that of `DebertaV2ForSequenceClassification`
//! begins with the task.

use serde::Deserialize;

use super::{ConfigProblem, Family, QueryKeyValue, TensorNames, bert};
use crate::encoder::config::{EncoderConfig, RelativeConfig};

pub(super) const TENSORS: TensorNames = TensorNames {
    prefix: "deberta.",
    query_key_value: QueryKeyValue::Three([
        "attention.self.query_proj",
        "attention.self.key_proj",
        "attention.self.value_proj",
    ]),
    pooler: None,
    relative_embeddings: Some("encoder.rel_embeddings.weight"),
    relative_layer_norm: Some("encoder.LayerNorm"),
    adapterhub: None,
    ..bert::TENSORS
};

/// What `config.json` calls a setting, by BERT's name.
pub(super) fn field(name: &'static str) -> &'static str {
    match name {
        "classifier_dropout" => "cls_dropout",
        name => name,
    }
}

/// `config.json`: the sizes must be there; where another field is absent, it is what `transformers` takes. `legacy` and the pooler's
/// size and activation are not read: they are of heads, and the encoder is the same.
#[derive(Deserialize)]
struct Fields {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    #[serde(default = "default_activation")]
    hidden_act: String,
    #[serde(default = "default_dropout")]
    hidden_dropout_prob: f32,
    #[serde(default = "default_dropout")]
    attention_probs_dropout_prob: f32,
    #[serde(default)]
    pooler_dropout: f32,
    cls_dropout: Option<f32>,
    max_position_embeddings: usize,
    #[serde(default)]
    type_vocab_size: usize,
    #[serde(default = "default_layer_norm_eps")]
    layer_norm_eps: f32,
    #[serde(default)]
    relative_attention: bool,
    #[serde(default = "none")]
    max_relative_positions: i64,
    #[serde(default = "none")]
    position_buckets: i64,
    #[serde(default = "yes")]
    position_biased_input: bool,
    pos_att_type: Option<PositionTypes>,
    #[serde(default)]
    share_att_key: bool,
    norm_rel_ebd: Option<String>,
    #[serde(default)]
    conv_kernel_size: i64,
    embedding_size: Option<usize>,
    attention_head_size: Option<usize>,
}

/// Both ways of writing a list of names.
#[derive(Deserialize)]
#[serde(untagged)]
enum PositionTypes {
    /// With `|` between them.
    Text(String),
    List(Vec<String>),
}

fn default_activation() -> String {
    "gelu".to_owned()
}

fn default_dropout() -> f32 {
    0.1
}

fn default_layer_norm_eps() -> f32 {
    1e-7
}

fn none() -> i64 {
    -1
}

fn yes() -> bool {
    true
}

fn unsupported<T>(
    field: &'static str,
    found: impl ToString,
    supported: &'static str,
) -> Result<T, ConfigProblem> {
    Err(ConfigProblem::Unsupported { field, found: found.to_string(), supported })
}

pub(super) fn config(text: &str) -> Result<EncoderConfig, ConfigProblem> {
    let fields: Fields = serde_json::from_str(text).map_err(ConfigProblem::Syntax)?;
    fields.refuse_others()?;
    let relative = fields.relative()?;
    Ok(EncoderConfig {
        family: Family::DebertaV2,
        vocab_size: fields.vocab_size,
        hidden_size: fields.hidden_size,
        embedding_size: None,
        num_hidden_layers: fields.num_hidden_layers,
        num_attention_heads: fields.num_attention_heads,
        intermediate_size: fields.intermediate_size,
        hidden_act: fields.hidden_act,
        hidden_dropout_prob: fields.hidden_dropout_prob,
        attention_probs_dropout_prob: fields.attention_probs_dropout_prob,
        mlp_dropout: None,
        pooler_dropout: Some(fields.pooler_dropout),
        classifier_dropout: fields.cls_dropout,
        max_position_embeddings: fields.max_position_embeddings,
        first_position: 0,
        type_vocab_size: fields.type_vocab_size,
        relative_attention_num_buckets: 0,
        layer_norm_eps: fields.layer_norm_eps,
        pre_norm: None,
        relative: Some(relative),
    })
}

/// As `transformers` reads the parts of a text.
fn parts(text: &str) -> Vec<String> {
    text.to_lowercase().split('|').map(|part| part.trim().to_owned()).collect()
}

impl Fields {
    fn relative(&self) -> Result<RelativeConfig, ConfigProblem> {
        let limit = |value: i64| usize::try_from(value).unwrap_or(0);
        let max_relative_positions = match limit(self.max_relative_positions) {
            0 => self.max_position_embeddings,
            most => most,
        };
        let position_buckets = limit(self.position_buckets);
        // Distances up to half of the buckets have one each, and the others share the rest up to the last distance.
        let near = position_buckets / 2;
        if position_buckets > 0 && (near == 0 || near + 1 >= max_relative_positions) {
            let supported = "2 or more, and half of them less than the last distance, which is one less than \
                             `max_relative_positions`";
            return unsupported("position_buckets", self.position_buckets, supported);
        }
        let types = match &self.pos_att_type {
            Some(PositionTypes::Text(text)) => parts(text),
            Some(PositionTypes::List(list)) => list.clone(),
            None => Vec::new(),
        };
        let known = ["c2p", "p2c"];
        if types.is_empty() || types.iter().any(|kind| !known.contains(&kind.as_str())) {
            return unsupported("pos_att_type", types.join("|"), "`c2p`, `p2c`, or both");
        }
        let norm_rel_ebd = self.norm_rel_ebd.as_deref().unwrap_or("none");
        let relative_layer_norm = match &parts(norm_rel_ebd)[..] {
            [part] if part == "layer_norm" => true,
            [part] if part == "none" => false,
            _ => return unsupported("norm_rel_ebd", norm_rel_ebd, "`layer_norm`, `none`"),
        };
        Ok(RelativeConfig {
            position_buckets,
            max_relative_positions,
            pos_att_type: known
                .into_iter()
                .filter(|kind| types.iter().any(|found| found == kind))
                .collect::<Vec<_>>()
                .join("|"),
            norm_rel_ebd: if relative_layer_norm { "layer_norm" } else { "none" }.to_owned(),
            position_biased_input: self.position_biased_input,
        })
    }

    /// Refuses what would change the numbers and is not computed here.
    fn refuse_others(&self) -> Result<(), ConfigProblem> {
        if !self.relative_attention {
            return unsupported("relative_attention", false, "`true`");
        }
        if !self.share_att_key {
            return unsupported("share_att_key", false, "`true`");
        }
        if self.conv_kernel_size > 0 {
            return unsupported("conv_kernel_size", self.conv_kernel_size, "`0`");
        }
        if let Some(width) = self.embedding_size.filter(|width| *width != self.hidden_size) {
            return unsupported("embedding_size", width, "what `hidden_size` says");
        }
        let head_dim = self.hidden_size.checked_div(self.num_attention_heads);
        if let Some(width) = self.attention_head_size.filter(|width| Some(*width) != head_dim) {
            return unsupported(
                "attention_head_size",
                width,
                "`hidden_size` divided by `num_attention_heads`",
            );
        }
        Ok(())
    }
}
