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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The fields of `microsoft/deberta-v3-base`.
    fn v3() -> Value {
        json!({
            "model_type": "deberta-v2", "attention_probs_dropout_prob": 0.1, "hidden_act": "gelu",
            "hidden_dropout_prob": 0.1, "hidden_size": 768, "initializer_range": 0.02, "intermediate_size": 3072,
            "max_position_embeddings": 512, "relative_attention": true, "position_buckets": 256,
            "norm_rel_ebd": "layer_norm", "share_att_key": true, "pos_att_type": "p2c|c2p", "layer_norm_eps": 1e-7,
            "max_relative_positions": -1, "position_biased_input": false, "num_attention_heads": 12,
            "num_hidden_layers": 12, "type_vocab_size": 0, "vocab_size": 128_100,
        })
    }

    /// As the file of such a folder is read, with the sizes checked.
    fn read(change: impl FnOnce(&mut Value)) -> Result<EncoderConfig, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let mut fields = v3();
        change(&mut fields);
        std::fs::write(&path, fields.to_string()).unwrap();
        EncoderConfig::read(&path).map_err(|error| error.to_string())
    }

    fn with(field: &'static str, value: Value) -> Result<EncoderConfig, String> {
        read(|fields| fields[field] = value)
    }

    #[test]
    fn the_published_configuration_is_read() {
        let config = read(|_| {}).unwrap();
        let relative = config.relative.clone().unwrap();
        assert_eq!((relative.position_buckets, relative.max_relative_positions), (256, 512));
        assert_eq!(
            (relative.pos_att_type.as_str(), relative.norm_rel_ebd.as_str()),
            ("c2p|p2c", "layer_norm")
        );
        assert_eq!((relative.counts(), relative.has_layer_norm()), ([true, true], true));
        assert_eq!((relative.rows().span, relative.rows().farthest), (256, Some(512)));
        assert_eq!((config.position_rows(), config.type_vocab_size, config.max_length()), (0, 0, 512));
        assert_eq!(
            (config.layer_norm_eps, config.pooler_dropout, config.classifier_dropout),
            (1e-7, Some(0.0), None)
        );
    }

    /// The defaults of `DebertaV2Config` in `transformers` 4.57.6, where they are supported.
    #[test]
    fn what_is_absent_is_what_transformers_takes() {
        let config = read(|fields| {
            let fields = fields.as_object_mut().unwrap();
            for field in [
                "hidden_act",
                "position_buckets",
                "norm_rel_ebd",
                "max_relative_positions",
                "position_biased_input",
                "layer_norm_eps",
                "type_vocab_size",
                "hidden_dropout_prob",
                "attention_probs_dropout_prob",
            ] {
                fields.remove(field).unwrap();
            }
        })
        .unwrap();
        let relative = config.relative.clone().unwrap();
        assert_eq!((relative.position_buckets, relative.max_relative_positions), (0, 512));
        assert_eq!((relative.rows().span, relative.rows().farthest), (512, None));
        assert_eq!((relative.has_layer_norm(), relative.position_biased_input), (false, true));
        assert_eq!((config.hidden_act.as_str(), config.layer_norm_eps), ("gelu", 1e-7));
        assert_eq!((config.hidden_dropout_prob, config.attention_probs_dropout_prob), (0.1, 0.1));
        assert_eq!((config.position_rows(), config.type_vocab_size), (512, 0));
    }

    #[test]
    fn every_way_of_writing_is_one_configuration() {
        let published = read(|_| {});
        for value in [json!(["p2c", "c2p"]), json!("c2p|p2c"), json!(" C2P | p2c ")] {
            assert_eq!(with("pos_att_type", value), published);
        }
        assert_eq!(with("norm_rel_ebd", json!("Layer_Norm")), published);
        assert_eq!(with("max_relative_positions", json!(512)), published);
        // Of heads, of others, or the same as what is there.
        for (field, value) in [
            ("legacy", json!(true)),
            ("legacy", json!(false)),
            ("pooler_hidden_act", json!("tanh")),
            ("pooler_hidden_size", json!(768)),
            ("conv_kernel_size", json!(0)),
            ("embedding_size", json!(768)),
            ("attention_head_size", json!(64)),
            ("pad_token_id", json!(0)),
        ] {
            assert_eq!(with(field, value), published, "{field}");
        }
        let counts = |value: Value| with("pos_att_type", value).unwrap().relative.unwrap().counts();
        assert_eq!([counts(json!("c2p")), counts(json!(["p2c"]))], [[true, false], [false, true]]);
        let rows = with("position_buckets", json!(0)).unwrap().relative.unwrap().rows();
        assert_eq!((rows.span, rows.farthest), (512, None));
    }

    #[test]
    fn what_is_not_computed_is_refused_by_name() {
        let cases = [
            ("relative_attention", json!(false), "`relative_attention` is `false`; supported: `true`"),
            ("share_att_key", json!(false), "`share_att_key` is `false`; supported: `true`"),
            ("conv_kernel_size", json!(3), "`conv_kernel_size` is `3`; supported: `0`"),
            ("embedding_size", json!(128), "`embedding_size` is `128`; supported: what `hidden_size` says"),
            (
                "attention_head_size",
                json!(32),
                "`attention_head_size` is `32`; supported: `hidden_size` divided by",
            ),
            ("pos_att_type", json!(null), "`pos_att_type` is ``; supported: `c2p`, `p2c`, or both"),
            ("pos_att_type", json!(""), "`pos_att_type` is ``; supported: `c2p`, `p2c`, or both"),
            ("pos_att_type", json!("p2c|p2p"), "`pos_att_type` is `p2c|p2p`; supported: `c2p`"),
            ("pos_att_type", json!(3), "did not match any variant"),
            ("norm_rel_ebd", json!("rms"), "`norm_rel_ebd` is `rms`; supported: `layer_norm`, `none`"),
            ("position_buckets", json!(1), "`position_buckets` is `1`; supported: 2 or more"),
            ("position_buckets", json!(1022), "`position_buckets` is `1022`; supported: 2 or more"),
            ("max_relative_positions", json!(129), "`position_buckets` is `256`; supported: 2 or more"),
            (
                "max_relative_positions",
                json!(1u64 << 40),
                "`max_relative_positions` is 1099511627776, expected at most",
            ),
            ("hidden_act", json!("tanh"), "`hidden_act` is `tanh`; supported: `gelu`"),
            ("cls_dropout", json!(1.5), "`cls_dropout` is 1.5, expected 0 or more and less than 1"),
            ("pooler_dropout", json!(1.0), "`pooler_dropout` is 1, expected 0 or more and less than 1"),
            ("num_attention_heads", json!(0), "`num_attention_heads` is 0, expected 1 to"),
            (
                "num_attention_heads",
                json!(5),
                "`num_attention_heads` is 5, expected a divisor of `hidden_size` 768",
            ),
            ("max_position_embeddings", json!(0), "`position_buckets` is `256`; supported: 2 or more"),
        ];
        for (field, value, expected) in cases {
            let told = with(field, value).unwrap_err();
            assert!(told.contains(expected), "{told}");
        }
        assert!(with("position_buckets", json!(1020)).is_ok());
        assert!(with("max_relative_positions", json!(130)).is_ok());
    }
}
