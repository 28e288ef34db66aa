//! What a checkpoint's `config.json` says of the encoder, the same for all families, with everything that is not supported
//! refused by name.

use std::path::Path;

use grafter_nn::activation::Activation;
use grafter_nn::disentangled::DistanceRows;
use serde::{Deserialize, Serialize};

use super::family::{ConfigProblem, Family};
use crate::checkpoint::CheckpointError;
use crate::regular;

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
    /// Dropout within the feed-forward network, before its second projection; absent in a family without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mlp_dropout: Option<f32>,
    /// Dropout before the dense layer of a head in training; that of the pooled vector if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pooler_dropout: Option<f32>,
    /// Dropout of the pooled vector in training; `hidden_dropout_prob` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classifier_dropout: Option<f32>,
    /// Rows of the table of positions, or in a family without one the tokens of the longest sequence.
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
    /// What a family with ModernBERT's layers has beside; absent in one with BERT's.
    #[serde(flatten)]
    pub pre_norm: Option<PreNormConfig>,
    /// What a family with DeBERTa's attention has beside; absent in one with BERT's.
    #[serde(flatten)]
    pub relative: Option<RelativeConfig>,
}

/// What ModernBERT's layers are told beside the sizes, by the names of its `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PreNormConfig {
    /// Whether the linear layers of the attention have biases.
    pub attention_bias: bool,
    /// Whether those of the feed-forward network have.
    pub mlp_bias: bool,
    /// Whether the layer normalisations have shifts.
    pub norm_bias: bool,
    /// Base of the rotary angles in the layers that see the whole text.
    pub global_rope_theta: f32,
    /// Base of the rotary angles in the other layers.
    pub local_rope_theta: f32,
    /// The first layer sees the whole text, and one at each of these distances after it; at most the number of layers.
    pub global_attn_every_n_layers: usize,
    /// In the other layers a token sees half as many tokens on each side.
    pub local_attention: usize,
}

impl PreNormConfig {
    /// Whether a layer sees the whole text.
    pub fn is_global(&self, layer: usize) -> bool {
        layer.is_multiple_of(self.global_attn_every_n_layers)
    }

    /// Names and values, for messages.
    fn shown(&self) -> [(&'static str, String); 7] {
        [
            ("`attention_bias`", self.attention_bias.to_string()),
            ("`mlp_bias`", self.mlp_bias.to_string()),
            ("`norm_bias`", self.norm_bias.to_string()),
            ("`global_rope_theta`", self.global_rope_theta.to_string()),
            ("`local_rope_theta`", self.local_rope_theta.to_string()),
            ("`global_attn_every_n_layers`", self.global_attn_every_n_layers.to_string()),
            ("`local_attention`", self.local_attention.to_string()),
        ]
    }
}

/// What DeBERTa's attention is told beside the sizes, by the names of its `config.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelativeConfig {
    /// Buckets of distances on each side; 0 where distances share none.
    pub position_buckets: usize,
    /// Distances on each side that the relative embeddings tell apart, or where they share buckets, one more than the last that is
    /// told apart.
    pub max_relative_positions: usize,
    /// What counts beside content and content: `c2p`, `p2c` or `c2p|p2c`.
    pub pos_att_type: String,
    /// `layer_norm` where the relative embeddings pass through one, `none` where they do not.
    pub norm_rel_ebd: String,
    /// Whether a table of positions is added to the embeddings.
    pub position_biased_input: bool,
}

impl RelativeConfig {
    /// How distances share rows of the relative embeddings, of which there are twice the span.
    pub fn rows(&self) -> DistanceRows {
        match self.position_buckets {
            0 => DistanceRows { span: self.max_relative_positions, farthest: None },
            span => DistanceRows { span, farthest: Some(self.max_relative_positions) },
        }
    }

    /// Whether a query's product with the key of a distance counts, and a key's product with the query of a distance.
    pub fn counts(&self) -> [bool; 2] {
        ["c2p", "p2c"].map(|kind| self.pos_att_type.split('|').any(|part| part == kind))
    }

    /// Whether the relative embeddings have a layer normalisation.
    pub fn has_layer_norm(&self) -> bool {
        self.norm_rel_ebd == "layer_norm"
    }

    /// Names and values, for messages.
    fn shown(&self) -> [(&'static str, String); 5] {
        [
            ("`position_buckets`", self.position_buckets.to_string()),
            ("`max_relative_positions`", self.max_relative_positions.to_string()),
            ("`pos_att_type`", self.pos_att_type.clone()),
            ("`norm_rel_ebd`", self.norm_rel_ebd.clone()),
            ("`position_biased_input`", self.position_biased_input.to_string()),
        ]
    }
}

/// Which modules of the Transformer have biases. One that is absent is zero, and nothing trains it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Biases {
    /// The linear layers of the attention.
    pub attention: bool,
    /// Those of the feed-forward network.
    pub feed_forward: bool,
    /// The layer normalisations.
    pub layer_norm: bool,
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
    /// What ModernBERT's layers are told beside; absent in a family with BERT's.
    #[serde(flatten)]
    pub pre_norm: Option<PreNormConfig>,
    /// What DeBERTa's attention is told beside; absent in a family with BERT's.
    #[serde(flatten)]
    pub relative: Option<RelativeConfig>,
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
        let shown = |config: &Self| config.pre_norm.as_ref().map(PreNormConfig::shown);
        let relative = |config: &Self| config.relative.as_ref().map(RelativeConfig::shown);
        let differ = |(_, here, there): &(_, String, String)| here != there;
        fields
            .into_iter()
            .find(differ)
            .or_else(|| difference_of_parts(shown(self), shown(other)))
            .or_else(|| difference_of_parts(relative(self), relative(other)))
    }
}

/// Names and values of what a family has beside.
type Shown<const FIELDS: usize> = Option<[(&'static str, String); FIELDS]>;

/// The first difference in it.
fn difference_of_parts<const FIELDS: usize>(
    here: Shown<FIELDS>,
    there: Shown<FIELDS>,
) -> Option<(&'static str, String, String)> {
    match (here, there) {
        (Some(here), Some(there)) => here
            .into_iter()
            .zip(there)
            .find(|((_, here), (_, there))| here != there)
            .map(|((field, here), (_, there))| (field, here, there)),
        (None, None) => None,
        (here, there) => {
            // Where one is absent or broken as a whole, any of its fields tells.
            let first = |shown: Shown<FIELDS>| shown.and_then(|shown| shown.into_iter().next());
            let (here, there) = (first(here), first(there));
            let field = here.as_ref().or(there.as_ref()).map_or("", |(field, _)| field);
            let value =
                |shown: Option<(&'static str, String)>| shown.map_or("none".to_owned(), |(_, value)| value);
            Some((field, value(here), value(there)))
        }
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
        let text = regular::read_text(regular::MAX_DESCRIPTION_BYTES, path)
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
            pre_norm: self.pre_norm.clone(),
            relative: self.relative.clone(),
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

    /// Rows of the table of positions; 0 in a family without one.
    pub fn position_rows(&self) -> usize {
        let biased = self.relative.as_ref().is_none_or(|config| config.position_biased_input);
        if biased && self.family.tensors().positions.is_some() { self.max_position_embeddings } else { 0 }
    }

    /// Which modules have biases.
    pub fn biases(&self) -> Biases {
        match &self.pre_norm {
            Some(config) => Biases {
                attention: config.attention_bias,
                feed_forward: config.mlp_bias,
                layer_norm: config.norm_bias,
            },
            None => Biases { attention: true, feed_forward: true, layer_norm: true },
        }
    }

    /// Whether a layer's attention has a layer normalisation; ModernBERT's first reads what that of the embeddings gives.
    pub fn has_attention_layer_norm(&self, layer: usize) -> bool {
        self.pre_norm.is_none() || layer > 0
    }

    /// How far a key of a layer may lie from its query; everywhere if absent.
    pub fn attention_window(&self, layer: usize) -> Option<usize> {
        let local = self.pre_norm.as_ref().filter(|config| !config.is_global(layer))?;
        Some(local.local_attention / 2)
    }

    /// Outputs of the feed-forward network's first projection: a gated one has twice what its second reads.
    pub fn intermediate_outputs(&self) -> usize {
        if self.pre_norm.is_some() { 2 * self.intermediate_size } else { self.intermediate_size }
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
                "type_vocab_size" if self.family.tensors().types.is_none() || self.relative.is_some() => 0,
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
            ("mlp_dropout", self.mlp_dropout.unwrap_or(0.0)),
            ("pooler_dropout", self.pooler_dropout.unwrap_or(0.0)),
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
        if let Some(config) = &self.relative {
            for (field, value) in [
                ("position_buckets", config.position_buckets),
                ("max_relative_positions", config.max_relative_positions),
            ] {
                if value > MAX_SIZE {
                    return wrong(field, value.to_string(), format!("at most {MAX_SIZE}"));
                }
            }
        }
        let Some(config) = &self.pre_norm else { return Ok(()) };
        if !self.head_dim().is_multiple_of(2) {
            let expected = format!("heads of an even width, not of {}", self.head_dim());
            return wrong("num_attention_heads", self.num_attention_heads.to_string(), expected);
        }
        if config.local_attention > MAX_SIZE {
            let found = config.local_attention.to_string();
            return wrong("local_attention", found, format!("0 to {MAX_SIZE}"));
        }
        let thetas =
            [("global_rope_theta", config.global_rope_theta), ("local_rope_theta", config.local_rope_theta)];
        match thetas.into_iter().find(|(_, theta)| !(theta.is_finite() && *theta > 0.0)) {
            Some((field, theta)) => wrong(field, theta.to_string(), "a number above 0".to_owned()),
            None => Ok(()),
        }
    }
}
