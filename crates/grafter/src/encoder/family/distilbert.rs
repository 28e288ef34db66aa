//! DistilBERT (Sanh et al. 2019): BERT's layers under names of their own, without token types and without a pooler. Nothing is
//! dropped after the attention's output projection.

use serde::Deserialize;

use super::{AdapterHubNames, ConfigProblem, Family, QueryKeyValue, TensorNames};
use crate::encoder::EncoderConfig;

pub(super) const TENSORS: TensorNames = TensorNames {
    prefix: "distilbert.",
    words: "embeddings.word_embeddings.weight",
    positions: Some("embeddings.position_embeddings.weight"),
    types: None,
    embeddings_layer_norm: "embeddings.LayerNorm",
    layer: "transformer.layer.",
    query_key_value: QueryKeyValue::Three(["attention.q_lin", "attention.k_lin", "attention.v_lin"]),
    attention_output: "attention.out_lin",
    attention_layer_norm: "sa_layer_norm",
    intermediate: "ffn.lin1",
    output: "ffn.lin2",
    output_layer_norm: "output_layer_norm",
    final_layer_norm: None,
    pooler: None,
    embeddings_projection: None,
    relative_bias: None,
    relative_embeddings: None,
    relative_layer_norm: None,
    adapterhub: Some(AdapterHubNames {
        attention: "attention_adapters.adapters",
        output: "output_adapters.adapters",
        class: "DistilBertAdapterModel",
    }),
};

/// `transformers` computes with this one whatever the configuration says.
const LAYER_NORM_EPS: f32 = 1e-12;

/// What `config.json` calls a setting, by BERT's name.
pub(super) fn field(name: &'static str) -> &'static str {
    match name {
        "hidden_size" => "dim",
        "num_hidden_layers" => "n_layers",
        "num_attention_heads" => "n_heads",
        "intermediate_size" => "hidden_dim",
        "hidden_act" => "activation",
        "hidden_dropout_prob" => "dropout",
        "attention_probs_dropout_prob" => "attention_dropout",
        "classifier_dropout" => "seq_classif_dropout",
        name => name,
    }
}

/// `config.json`: the sizes must be there; where another field is absent, it is what `transformers` takes.
#[derive(Deserialize)]
struct Fields {
    vocab_size: usize,
    #[serde(alias = "hidden_size")]
    dim: usize,
    #[serde(alias = "num_hidden_layers")]
    n_layers: usize,
    #[serde(alias = "num_attention_heads")]
    n_heads: usize,
    hidden_dim: usize,
    #[serde(default = "default_activation")]
    activation: String,
    #[serde(default = "default_dropout")]
    dropout: f32,
    #[serde(default = "default_dropout")]
    attention_dropout: f32,
    #[serde(default = "default_classifier_dropout")]
    seq_classif_dropout: f32,
    max_position_embeddings: usize,
}

fn default_activation() -> String {
    "gelu".to_owned()
}

fn default_dropout() -> f32 {
    0.1
}

fn default_classifier_dropout() -> f32 {
    0.2
}

pub(super) fn config(text: &str) -> Result<EncoderConfig, ConfigProblem> {
    let fields: Fields = serde_json::from_str(text).map_err(ConfigProblem::Syntax)?;
    Ok(EncoderConfig {
        family: Family::DistilBert,
        vocab_size: fields.vocab_size,
        hidden_size: fields.dim,
        embedding_size: None,
        num_hidden_layers: fields.n_layers,
        num_attention_heads: fields.n_heads,
        intermediate_size: fields.hidden_dim,
        hidden_act: fields.activation,
        hidden_dropout_prob: fields.dropout,
        attention_probs_dropout_prob: fields.attention_dropout,
        mlp_dropout: None,
        pooler_dropout: None,
        classifier_dropout: Some(fields.seq_classif_dropout),
        max_position_embeddings: fields.max_position_embeddings,
        first_position: 0,
        type_vocab_size: 0,
        relative_attention_num_buckets: 0,
        layer_norm_eps: LAYER_NORM_EPS,
        pre_norm: None,
        relative: None,
    })
}
