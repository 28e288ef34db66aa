//! What a checkpoint's `config.json` says of the encoder, the same for all families, with everything that is not supported
//! refused by name.

use std::path::Path;

use grafter_nn::activation::Activation;
use serde::{Deserialize, Serialize};

use super::family::{ConfigProblem, Family};
use crate::checkpoint::CheckpointError;

/// Sizes and settings of an encoder, by the names of BERT's `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EncoderConfig {
    /// The family.
    #[serde(rename = "model_type")]
    pub family: Family,
    /// Rows of the word embedding.
    pub vocab_size: usize,
    /// Features of one token.
    pub hidden_size: usize,
    /// Features of an embedding, where these are fewer and a linear layer follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding_size: Option<usize>,
    /// Transformer layers.
    pub num_hidden_layers: usize,
    /// Attention heads; they divide `hidden_size`.
    pub num_attention_heads: usize,
    /// Inner features of the feed-forward network.
    pub intermediate_size: usize,
    /// Activation of the feed-forward network, see [`base_activation`].
    pub hidden_act: String,
    /// Dropout of the hidden states in training.
    pub hidden_dropout_prob: f32,
    /// Dropout of the attention probabilities in training.
    pub attention_probs_dropout_prob: f32,
    /// Dropout of the pooled vector in training; `hidden_dropout_prob` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classifier_dropout: Option<f32>,
    /// Rows of the table of positions.
    pub max_position_embeddings: usize,
    /// The row of it that the first token reads.
    pub first_position: usize,
    /// Token types (segments A and B of a pair); 0 in a family without them.
    pub type_vocab_size: usize,
    /// Buckets of the relative position bias; 0 in a family without.
    #[serde(skip_serializing_if = "is_zero")]
    pub relative_attention_num_buckets: usize,
    /// Epsilon inside the square root of every layer normalisation.
    pub layer_norm_eps: f32,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// The activation that a checkpoint's `hidden_act` names: in Hugging Face's configurations `gelu` is the erf form.
pub fn base_activation(name: &str) -> Option<Activation> {
    match name {
        "gelu" => Some(Activation::GeluErf),
        "gelu_new" | "gelu_pytorch_tanh" => Some(Activation::GeluTanh),
        "relu" => Some(Activation::Relu),
        "silu" | "swish" => Some(Activation::Silu),
        _ => None,
    }
}

/// What of a configuration decides the numbers that come out, beside the sizes that the weights themselves have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DecidingConfig {
    /// The family.
    pub model_type: String,
    /// Transformer layers: a checkpoint may hold more than are used.
    pub num_hidden_layers: usize,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Activation of the feed-forward network.
    pub hidden_act: String,
    /// Epsilon inside the square root of every layer normalisation.
    pub layer_norm_eps: f32,
}

impl DecidingConfig {
    /// The first field in which another configuration differs: its name, the value here, the value there.
    pub fn difference(&self, other: &Self) -> Option<(&'static str, String, String)> {
        let fields = [
            ("`model_type`", self.model_type.clone(), other.model_type.clone()),
            ("`num_hidden_layers`", self.num_hidden_layers.to_string(), other.num_hidden_layers.to_string()),
            (
                "`num_attention_heads`",
                self.num_attention_heads.to_string(),
                other.num_attention_heads.to_string(),
            ),
            ("`hidden_act`", self.hidden_act.clone(), other.hidden_act.clone()),
            ("`layer_norm_eps`", format!("{:e}", self.layer_norm_eps), format!("{:e}", other.layer_norm_eps)),
        ];
        fields.into_iter().find(|(_, here, there)| here != there)
    }
}

/// Upper limits that keep a hostile `config.json` from asking for absurd amounts of memory.
const MAX_SIZE: usize = 1 << 20;
const MAX_VOCABULARY: usize = 1 << 24;

impl EncoderConfig {
    /// Reads and checks `config.json`.
    /// # Errors
    /// If the file cannot be read or parsed, or names something that is not supported.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| CheckpointError::Io { path: path.to_owned(), source })?;
        #[derive(Deserialize)]
        struct Named {
            model_type: Option<String>,
        }
        let told = |problem| match problem {
            ConfigProblem::Syntax(source) => CheckpointError::ConfigSyntax { path: path.to_owned(), source },
            ConfigProblem::Unsupported { field, found, supported } => {
                CheckpointError::Unsupported { path: path.to_owned(), field, found, supported }
            }
        };
        let named: Named =
            serde_json::from_str(&text).map_err(|source| told(ConfigProblem::Syntax(source)))?;
        let found = named.model_type.as_deref().unwrap_or("none");
        let unsupported = |field, found: &str, supported| {
            told(ConfigProblem::Unsupported { field, found: found.to_owned(), supported })
        };
        let family = Family::find(found).ok_or_else(|| unsupported("model_type", found, Family::NAMES))?;
        let config = family.config(&text).map_err(told)?;
        if base_activation(&config.hidden_act).is_none() {
            let supported = "`gelu`, `gelu_new`, `gelu_pytorch_tanh`, `relu`, `silu`";
            return Err(unsupported(family.field("hidden_act"), &config.hidden_act, supported));
        }
        config.check_sizes(path)?;
        Ok(config)
    }

    /// What an adapter is sealed to.
    pub fn deciding(&self) -> DecidingConfig {
        DecidingConfig {
            model_type: self.family.to_string(),
            num_hidden_layers: self.num_hidden_layers,
            num_attention_heads: self.num_attention_heads,
            hidden_act: self.hidden_act.clone(),
            layer_norm_eps: self.layer_norm_eps,
        }
    }

    /// Tokens of the longest sequence.
    pub fn max_length(&self) -> usize {
        self.max_position_embeddings - self.first_position
    }

    /// Features of an embedding.
    pub fn embedding_width(&self) -> usize {
        self.embedding_size.unwrap_or(self.hidden_size)
    }

    /// Features of one attention head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// The activation of the feed-forward network.
    pub fn activation(&self) -> Activation {
        base_activation(&self.hidden_act).expect("checked when the configuration was read")
    }

    fn check_sizes(&self, path: &Path) -> Result<(), CheckpointError> {
        let wrong = |field: &'static str, found: String, expected: String| {
            let field = self.family.field(field);
            Err(CheckpointError::ConfigValue { path: path.to_owned(), field, found, expected })
        };
        let sizes = [
            ("vocab_size", self.vocab_size, MAX_VOCABULARY),
            ("hidden_size", self.hidden_size, MAX_SIZE),
            ("num_hidden_layers", self.num_hidden_layers, 1024),
            ("num_attention_heads", self.num_attention_heads, MAX_SIZE),
            ("intermediate_size", self.intermediate_size, MAX_SIZE),
            ("max_position_embeddings", self.max_position_embeddings, MAX_SIZE),
            ("type_vocab_size", self.type_vocab_size, MAX_SIZE),
        ];
        for (field, value, largest) in sizes {
            let least = match field {
                "max_position_embeddings" => self.first_position + 1,
                "type_vocab_size" if self.family.tensors().types.is_none() => 0,
                _ => 1,
            };
            if value < least || value > largest {
                return wrong(field, value.to_string(), format!("{least} to {largest}"));
            }
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            let expected =
                format!("a divisor of `{}` {}", self.family.field("hidden_size"), self.hidden_size);
            return wrong("num_attention_heads", self.num_attention_heads.to_string(), expected);
        }
        let rates = [
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            ("attention_probs_dropout_prob", self.attention_probs_dropout_prob),
            ("classifier_dropout", self.classifier_dropout.unwrap_or(0.0)),
        ];
        for (field, rate) in rates {
            if !(0.0..1.0).contains(&rate) {
                return wrong(field, rate.to_string(), "0 or more and less than 1".to_owned());
            }
        }
        if !(self.layer_norm_eps >= 0.0 && self.layer_norm_eps < 1.0) {
            return wrong(
                "layer_norm_eps",
                self.layer_norm_eps.to_string(),
                "0 or more and less than 1".to_owned(),
            );
        }
        Ok(())
    }
}
