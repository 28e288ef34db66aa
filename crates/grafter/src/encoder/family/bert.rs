//! BERT (Devlin et al. 2018), the family whose layers all others here have.

use serde::Deserialize;

use super::{AdapterHubNames, ConfigProblem, Family, QueryKeyValue, TensorNames};
use crate::encoder::EncoderConfig;

pub(super) const TENSORS: TensorNames = TensorNames {
    prefix: "bert.",
    words: "embeddings.word_embeddings.weight",
    positions: Some("embeddings.position_embeddings.weight"),
    types: Some("embeddings.token_type_embeddings.weight"),
    embeddings_layer_norm: "embeddings.LayerNorm",
    layer: "encoder.layer.",
    query_key_value: QueryKeyValue::Three([
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
    ]),
    attention_output: "attention.output.dense",
    attention_layer_norm: "attention.output.LayerNorm",
    intermediate: "intermediate.dense",
    output: "output.dense",
    output_layer_norm: "output.LayerNorm",
    final_layer_norm: None,
    pooler: Some("pooler.dense"),
    embeddings_projection: None,
    relative_bias: None,
    relative_embeddings: None,
    relative_layer_norm: None,
    adapterhub: AdapterHubNames::of_class("BertAdapterModel"),
};

/// `config.json`: sizes and activation must be there; where another field is absent, it is what `transformers` takes.
#[derive(Deserialize)]
pub(super) struct Fields {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_act: String,
    #[serde(default = "default_dropout")]
    hidden_dropout_prob: f32,
    #[serde(default = "default_dropout")]
    attention_probs_dropout_prob: f32,
    #[serde(default)]
    classifier_dropout: Option<f32>,
    max_position_embeddings: usize,
    #[serde(default = "default_type_vocab_size")]
    type_vocab_size: usize,
    #[serde(default = "default_layer_norm_eps")]
    layer_norm_eps: f32,
    #[serde(default = "default_position_embedding_type")]
    position_embedding_type: String,
    #[serde(default)]
    is_decoder: bool,
    /// Only RoBERTa's positions depend on it.
    pub(super) pad_token_id: Option<i64>,
    /// Only ELECTRA has one.
    pub(super) embedding_size: Option<i64>,
    /// Only MPNet has them.
    pub(super) relative_attention_num_buckets: Option<i64>,
}

fn default_dropout() -> f32 {
    0.1
}

fn default_type_vocab_size() -> usize {
    2
}

fn default_layer_norm_eps() -> f32 {
    1e-12
}

fn default_position_embedding_type() -> String {
    "absolute".to_owned()
}

impl Fields {
    pub(super) fn read(text: &str) -> Result<Self, ConfigProblem> {
        let fields: Self = serde_json::from_str(text).map_err(ConfigProblem::Syntax)?;
        let unsupported =
            |field, found: String, supported| Err(ConfigProblem::Unsupported { field, found, supported });
        if fields.position_embedding_type != "absolute" {
            return unsupported("position_embedding_type", fields.position_embedding_type, "`absolute`");
        }
        if fields.is_decoder {
            return unsupported("is_decoder", "true".to_owned(), "`false`");
        }
        Ok(fields)
    }

    pub(super) fn config(self, family: Family) -> EncoderConfig {
        EncoderConfig {
            family,
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            embedding_size: None,
            num_hidden_layers: self.num_hidden_layers,
            num_attention_heads: self.num_attention_heads,
            intermediate_size: self.intermediate_size,
            hidden_act: self.hidden_act,
            hidden_dropout_prob: self.hidden_dropout_prob,
            attention_probs_dropout_prob: self.attention_probs_dropout_prob,
            mlp_dropout: None,
            pooler_dropout: None,
            classifier_dropout: self.classifier_dropout,
            max_position_embeddings: self.max_position_embeddings,
            first_position: 0,
            type_vocab_size: self.type_vocab_size,
            relative_attention_num_buckets: 0,
            layer_norm_eps: self.layer_norm_eps,
            pre_norm: None,
            relative: None,
        }
    }
}

pub(super) fn config(text: &str) -> Result<EncoderConfig, ConfigProblem> {
    Ok(Fields::read(text)?.config(Family::Bert))
}
