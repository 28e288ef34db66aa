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
    relative_embeddings: None,
    relative_layer_norm: None,
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
        pooler_dropout: None,
        classifier_dropout: Some(fields.classifier_dropout),
        max_position_embeddings: fields.max_position_embeddings,
        first_position: 0,
        type_vocab_size: 0,
        relative_attention_num_buckets: 0,
        layer_norm_eps: fields.norm_eps,
        pre_norm: Some(pre_norm),
        relative: None,
    })
}

impl Fields {
    /// The first layer, and one at each of these distances after it, see the whole text; of the numbers that mean the same the
    /// least, so that a configuration is the same in either way of writing.
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn fields() -> Value {
        json!({
            "model_type": "modernbert", "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 5,
            "num_attention_heads": 2, "intermediate_size": 20, "max_position_embeddings": 32,
        })
    }

    /// As the file of such a folder is read, with the sizes checked.
    fn read(change: impl FnOnce(&mut Value)) -> Result<EncoderConfig, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let mut fields = fields();
        change(&mut fields);
        std::fs::write(&path, fields.to_string()).unwrap();
        let told = |error: crate::checkpoint::CheckpointError| {
            error.to_string().replace(&folder.path().display().to_string(), "DIR")
        };
        EncoderConfig::read(&path).map_err(told)
    }

    fn with(field: &'static str, value: Value) -> Result<EncoderConfig, String> {
        read(|fields| fields[field] = value)
    }

    fn rope(global: Value, local: Value) -> Value {
        json!({ "full_attention": global, "sliding_attention": local })
    }

    /// The defaults of `ModernBertConfig` in `transformers` 4.57.6.
    #[test]
    fn what_is_absent_is_what_transformers_takes() {
        let config = read(|_| {}).unwrap();
        assert_eq!(
            config.pre_norm,
            Some(PreNormConfig {
                attention_bias: false,
                mlp_bias: false,
                norm_bias: false,
                global_rope_theta: 160_000.0,
                local_rope_theta: 10_000.0,
                global_attn_every_n_layers: 3,
                local_attention: 128,
            })
        );
        assert_eq!((config.hidden_act.as_str(), config.layer_norm_eps), ("gelu", 1e-5));
        let rates = [config.hidden_dropout_prob, config.attention_probs_dropout_prob];
        assert_eq!((rates, config.mlp_dropout, config.classifier_dropout), ([0.0; 2], Some(0.0), Some(0.0)));
        let windows: Vec<Option<usize>> = (0..5).map(|layer| config.attention_window(layer)).collect();
        assert_eq!(windows, [None, Some(64), Some(64), None, Some(64)]);
        assert_eq!((config.position_rows(), config.max_length(), config.intermediate_outputs()), (0, 32, 40));
        assert!(!config.has_attention_layer_norm(0) && config.has_attention_layer_norm(1));
    }

    #[test]
    fn every_way_of_writing_is_one_configuration() {
        let expected = |every: usize| {
            with("global_attn_every_n_layers", json!(every))
                .unwrap()
                .pre_norm
                .unwrap()
                .global_attn_every_n_layers
        };
        // Of the numbers that leave the first layer alone the least.
        assert_eq!([1, 2, 4, 5, 6, 1000].map(expected), [1, 2, 4, 5, 5, 5]);
        let types = |marks: &str| {
            let named = |mark| if mark == 'f' { GLOBAL } else { LOCAL };
            json!(marks.chars().map(named).collect::<Vec<_>>())
        };
        let every = |marks: &str| {
            with("layer_types", types(marks))
                .map(|config| config.pre_norm.unwrap().global_attn_every_n_layers)
        };
        assert_eq!(
            ["fffff", "fsfsf", "fssfs", "fsssf", "fssss"].map(|marks| every(marks).unwrap()),
            [1, 2, 3, 4, 5]
        );
        for irregular in ["sssss", "sfsfs", "ffsss", "fsfff", "fssff"] {
            let told = every(irregular).unwrap_err();
            assert!(told.contains("`layer_types` is `") && told.contains("at one distance"), "{told}");
        }
        assert!(
            every("fss")
                .unwrap_err()
                .ends_with("`layer_types` is `a list of 3`; supported: one for each of `num_hidden_layers`")
        );
        let told = with("layer_types", json!(vec!["chunked_attention"; 5])).unwrap_err();
        assert!(told.contains("`layer_types` is `chunked_attention`; supported: "), "{told}");
        // Both ways at once, alike and not.
        let both = |every: usize| {
            read(|fields| {
                fields["layer_types"] = types("fssss");
                fields["global_attn_every_n_layers"] = json!(every);
            })
        };
        assert_eq!(both(5), both(9));
        assert!(both(3).unwrap_err().contains("`global_attn_every_n_layers` is `3`"), "{:?}", both(3));
    }

    #[test]
    fn bases_of_angles_are_read_in_both_forms() {
        let thetas = |config: Result<EncoderConfig, String>| {
            let config = config.unwrap().pre_norm.unwrap();
            [config.global_rope_theta, config.local_rope_theta]
        };
        let theta = |value: f64| json!({ "rope_type": "default", "rope_theta": value });
        assert_eq!(thetas(with("rope_parameters", rope(theta(5.0), theta(7.0)))), [5.0, 7.0]);
        assert_eq!(thetas(with("rope_parameters", rope(theta(5.0), json!(null)))), [5.0, 10_000.0]);
        assert_eq!(thetas(with("rope_parameters", rope(json!({}), theta(7.0)))), [160_000.0, 7.0]);
        assert_eq!(thetas(with("rope_parameters", json!(null))), [160_000.0, 10_000.0]);
        // In version 4 `null` is the base of the global layers.
        assert_eq!(thetas(with("local_rope_theta", json!(null))), [160_000.0, 160_000.0]);
        assert_eq!(thetas(with("global_rope_theta", json!(3.5))), [3.5, 10_000.0]);
        let both = |old: f64| {
            read(|fields| {
                fields["rope_parameters"] = rope(theta(5.0), theta(7.0));
                fields["local_rope_theta"] = json!(old);
            })
        };
        assert_eq!(thetas(both(7.0)), [5.0, 7.0]);
        assert!(both(8.0).unwrap_err().contains("`rope_parameters` is `7`"), "{:?}", both(8.0));
    }

    #[test]
    fn what_is_not_computed_is_refused_by_name() {
        let scaled = json!({ "rope_type": "yarn", "rope_theta": 5.0 });
        let cases = [
            (
                "hidden_activation",
                json!("gelu_fast"),
                "`hidden_activation` is `gelu_fast`; supported: `gelu`",
            ),
            (
                "global_attn_every_n_layers",
                json!(0),
                "`global_attn_every_n_layers` is `0`; supported: 1 or more",
            ),
            (
                "rope_parameters",
                rope(scaled, json!({})),
                "`rope_parameters` is `yarn`; supported: the `rope_type`",
            ),
            ("rope_parameters", rope(json!({ "factor": 2.0 }), json!({})), "unknown field `factor`"),
            (
                "rope_scaling",
                json!({ "type": "linear" }),
                "`rope_scaling` is `{\"type\":\"linear\"}`; supported: `null`",
            ),
            ("rope_theta", json!(5.0), "`rope_theta` is `5`; supported: what `global_rope_theta` says"),
            ("partial_rotary_factor", json!(0.5), "`partial_rotary_factor` is `0.5`; supported: `1`"),
            ("head_dim", json!(16), "`head_dim` is `16`; supported: `hidden_size` divided by"),
            ("is_decoder", json!(true), "`is_decoder` is `true`; supported: `false`"),
            (
                "num_attention_heads",
                json!(16),
                "`num_attention_heads` is 16, expected heads of an even width, not of 1",
            ),
            (
                "num_attention_heads",
                json!(3),
                "`num_attention_heads` is 3, expected a divisor of `hidden_size` 16",
            ),
            ("num_attention_heads", json!(0), "`num_attention_heads` is 0, expected 1 to"),
            ("num_hidden_layers", json!(0), "`num_hidden_layers` is 0, expected 1 to"),
            ("max_position_embeddings", json!(0), "`max_position_embeddings` is 0, expected 1 to"),
            ("local_attention", json!(1u64 << 40), "`local_attention` is 1099511627776, expected 0 to"),
            ("local_attention", json!(-1), "invalid value: integer `-1`"),
            ("global_rope_theta", json!(0.0), "`global_rope_theta` is 0, expected a number above 0"),
            ("local_rope_theta", json!(-3.0), "`local_rope_theta` is -3, expected a number above 0"),
            ("norm_eps", json!(2.0), "`norm_eps` is 2, expected 0 or more and less than 1"),
            ("embedding_dropout", json!(1.0), "`embedding_dropout` is 1, expected 0 or more"),
            ("attention_dropout", json!(-0.5), "`attention_dropout` is -0.5, expected 0 or more"),
            ("mlp_dropout", json!(1.5), "`mlp_dropout` is 1.5, expected 0 or more"),
            ("classifier_dropout", json!(1.5), "`classifier_dropout` is 1.5, expected 0 or more"),
            ("intermediate_size", json!(null), "invalid type: null"),
        ];
        for (field, value, expected) in cases {
            let told = with(field, value).unwrap_err();
            assert!(told.contains(expected), "{told}");
        }
    }

    #[test]
    fn what_decides_nothing_is_passed_over() {
        let config = read(|fields| {
            // As the published models have them, or older and newer versions of `transformers` write them.
            for (field, value) in [
                ("layer_norm_eps", json!(0.5)),
                ("position_embedding_type", json!("absolute")),
                ("classifier_pooling", json!("mean")),
                ("classifier_activation", json!("relu")),
                ("classifier_bias", json!(true)),
                ("decoder_bias", json!(true)),
                ("reference_compile", json!(false)),
                ("deterministic_flash_attn", json!(true)),
                ("sparse_prediction", json!(false)),
                ("pad_token_id", json!(50_283)),
                ("type_vocab_size", json!(9)),
                ("rope_scaling", json!(null)),
                ("rope_theta", json!(160_000.0)),
                ("partial_rotary_factor", json!(1.0)),
                ("head_dim", json!(8)),
            ] {
                fields[field] = value;
            }
        });
        assert_eq!(config, read(|_| {}));
    }
}
