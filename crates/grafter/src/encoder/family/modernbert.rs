//! ModernBERT (Warner et al. 2024): layers of another form than BERT's (`encoder/pre_norm.rs`), embeddings of words alone. Its
//! checkpoints have no pooler; the head of its pretraining is not read.

use serde::{Deserialize, Deserializer};

use super::{ConfigProblem, Family, QueryKeyValue, TensorNames};
use crate::encoder::config::{EncoderConfig, PreNormConfig};

pub(super) const TENSORS: TensorNames = TensorNames {
    prefix: "model.",
    words: "embeddings.tok_embeddings.weight",
    positions: None,
    types: None,
    embeddings_layer_norm: "embeddings.norm",
    layer: "layers.",
    query_key_value: QueryKeyValue::One("attn.Wqkv"),
    attention_output: "attn.Wo",
    attention_layer_norm: "attn_norm",
    intermediate: "mlp.Wi",
    output: "mlp.Wo",
    output_layer_norm: "mlp_norm",
    final_layer_norm: Some("final_norm"),
    pooler: None,
    embeddings_projection: None,
    relative_bias: None,
    adapterhub: None,
};

/// What `config.json` calls a setting, by BERT's name.
pub(super) fn field(name: &'static str) -> &'static str {
    match name {
        "hidden_act" => "hidden_activation",
        "hidden_dropout_prob" => "embedding_dropout",
        "attention_probs_dropout_prob" => "attention_dropout",
        "layer_norm_eps" => "norm_eps",
        name => name,
    }
}

/// `config.json`: the sizes must be there; where another field is absent, it is what `transformers` takes. The last are
/// settings of other versions of `transformers`, or of all its models; those that it does not read, as `layer_norm_eps` and
/// `position_embedding_type` of the published models, are not read here.
#[derive(Deserialize)]
struct Fields {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    max_position_embeddings: usize,
    #[serde(default = "default_activation")]
    hidden_activation: String,
    #[serde(default = "default_norm_eps")]
    norm_eps: f32,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    #[serde(default)]
    norm_bias: bool,
    #[serde(default)]
    embedding_dropout: f32,
    #[serde(default)]
    attention_dropout: f32,
    #[serde(default)]
    mlp_dropout: f32,
    #[serde(default)]
    classifier_dropout: f32,
    global_attn_every_n_layers: Option<usize>,
    #[serde(default = "default_local_attention")]
    local_attention: usize,
    global_rope_theta: Option<f32>,
    /// With `null` in it, the local layers have the angles of the global ones.
    #[serde(default, deserialize_with = "present")]
    local_rope_theta: Option<Option<f32>>,
    layer_types: Option<Vec<String>>,
    rope_parameters: Option<RopeParameters>,
    rope_scaling: Option<serde_json::Value>,
    rope_theta: Option<f32>,
    partial_rotary_factor: Option<f32>,
    head_dim: Option<usize>,
    #[serde(default)]
    is_decoder: bool,
}

/// How `transformers` 5 writes the bases of the rotary angles.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RopeParameters {
    full_attention: Option<Rope>,
    sliding_attention: Option<Rope>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rope {
    rope_theta: Option<f32>,
    rope_type: Option<String>,
}

/// Tells a field that is `null` from one that is absent.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<f32>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

fn default_activation() -> String {
    "gelu".to_owned()
}

fn default_norm_eps() -> f32 {
    1e-5
}

fn default_local_attention() -> usize {
    128
}

/// What `transformers` takes where the fields are absent.
const GLOBAL_EVERY: usize = 3;
const GLOBAL_ROPE_THETA: f32 = 160_000.0;
const LOCAL_ROPE_THETA: f32 = 10_000.0;

/// How `transformers` 5 writes what a layer sees.
const GLOBAL: &str = "full_attention";
const LOCAL: &str = "sliding_attention";

fn unsupported<T>(
    field: &'static str,
    found: impl ToString,
    supported: &'static str,
) -> Result<T, ConfigProblem> {
    Err(ConfigProblem::Unsupported { field, found: found.to_string(), supported })
}

pub(super) fn config(text: &str) -> Result<EncoderConfig, ConfigProblem> {
    let fields: Fields = serde_json::from_str(text).map_err(ConfigProblem::Syntax)?;
    let [global_rope_theta, local_rope_theta] = fields.rope_thetas()?;
    fields.refuse_others(global_rope_theta)?;
    let pre_norm = PreNormConfig {
        attention_bias: fields.attention_bias,
        mlp_bias: fields.mlp_bias,
        norm_bias: fields.norm_bias,
        global_rope_theta,
        local_rope_theta,
        global_attn_every_n_layers: fields.global_every()?,
        local_attention: fields.local_attention,
    };
    Ok(EncoderConfig {
        family: Family::ModernBert,
        vocab_size: fields.vocab_size,
        hidden_size: fields.hidden_size,
        embedding_size: None,
        num_hidden_layers: fields.num_hidden_layers,
        num_attention_heads: fields.num_attention_heads,
        intermediate_size: fields.intermediate_size,
        hidden_act: fields.hidden_activation,
        hidden_dropout_prob: fields.embedding_dropout,
        attention_probs_dropout_prob: fields.attention_dropout,
        mlp_dropout: Some(fields.mlp_dropout),
        classifier_dropout: Some(fields.classifier_dropout),
        max_position_embeddings: fields.max_position_embeddings,
        first_position: 0,
        type_vocab_size: 0,
        relative_attention_num_buckets: 0,
        layer_norm_eps: fields.norm_eps,
        pre_norm: Some(pre_norm),
    })
}

impl Fields {
    /// The first layer and every so manieth see the whole text; of the numbers that mean the same the least, so that a
    /// configuration is the same in either way of writing.
    fn global_every(&self) -> Result<usize, ConfigProblem> {
        let layers = self.num_hidden_layers.max(1);
        let every = match self.global_attn_every_n_layers {
            Some(0) => return unsupported("global_attn_every_n_layers", 0, "1 or more"),
            every => every.map(|every| every.min(layers)),
        };
        let Some(types) = &self.layer_types else {
            return Ok(every.unwrap_or(GLOBAL_EVERY.min(layers)));
        };
        if types.len() != self.num_hidden_layers {
            let found = format!("a list of {}", types.len());
            return unsupported("layer_types", found, "one for each of `num_hidden_layers`");
        }
        if let Some(other) = types.iter().find(|kind| ![GLOBAL, LOCAL].contains(&kind.as_str())) {
            return unsupported("layer_types", other, "`full_attention`, `sliding_attention`");
        }
        let later = types.iter().skip(1).position(|kind| kind == GLOBAL);
        let found = later.map_or(layers, |place| place + 1);
        let regular = types.iter().enumerate().all(|(layer, kind)| (kind == GLOBAL) == (layer % found == 0));
        if !regular {
            let supported = "`full_attention` in the first layer and at one distance from there on";
            return unsupported("layer_types", types.join(", "), supported);
        }
        match every.filter(|every| *every != found) {
            Some(every) => unsupported(
                "global_attn_every_n_layers",
                every,
                "what `layer_types` says, where both are given",
            ),
            None => Ok(found),
        }
    }

    /// The bases of the global and of the local layers.
    fn rope_thetas(&self) -> Result<[f32; 2], ConfigProblem> {
        let new = self.rope_parameters.as_ref();
        let of = |rope: Option<&Rope>| -> Result<Option<f32>, ConfigProblem> {
            let Some(rope) = rope else { return Ok(None) };
            match rope.rope_type.as_deref() {
                None | Some("default") => Ok(rope.rope_theta),
                Some(other) => unsupported("rope_parameters", other, "the `rope_type` `default`"),
            }
        };
        let both = "what the older field says, where both are given";
        let global = match (of(new.and_then(|new| new.full_attention.as_ref()))?, self.global_rope_theta) {
            (Some(new), Some(old)) if new != old => return unsupported("rope_parameters", new, both),
            (new, old) => new.or(old).unwrap_or(GLOBAL_ROPE_THETA),
        };
        let old = self.local_rope_theta.map(|theta| theta.unwrap_or(global));
        let local = match (of(new.and_then(|new| new.sliding_attention.as_ref()))?, old) {
            (Some(new), Some(old)) if new != old => return unsupported("rope_parameters", new, both),
            (new, old) => new.or(old).unwrap_or(LOCAL_ROPE_THETA),
        };
        Ok([global, local])
    }

    /// Refuses what would change the numbers and is not computed here.
    fn refuse_others(&self, global_rope_theta: f32) -> Result<(), ConfigProblem> {
        if let Some(scaling) = &self.rope_scaling {
            return unsupported("rope_scaling", scaling, "`null`");
        }
        if let Some(theta) = self.rope_theta.filter(|theta| *theta != global_rope_theta) {
            return unsupported("rope_theta", theta, "what `global_rope_theta` says");
        }
        if let Some(factor) = self.partial_rotary_factor.filter(|factor| *factor != 1.0) {
            return unsupported("partial_rotary_factor", factor, "`1`");
        }
        let head_dim = self.hidden_size.checked_div(self.num_attention_heads);
        if let Some(width) = self.head_dim.filter(|width| Some(*width) != head_dim) {
            return unsupported("head_dim", width, "`hidden_size` divided by `num_attention_heads`");
        }
        if self.is_decoder {
            return unsupported("is_decoder", true, "`false`");
        }
        Ok(())
    }
}
