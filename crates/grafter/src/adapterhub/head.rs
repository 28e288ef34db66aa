//! `head_config.json`: a classification head, with one class for a regression.
//!
//! There it is a list of layers, each linear one after a dropout and all but the last before an activation; a tensor's name has
//! the place in that list (`adapters` 1.3.0, `heads/base.py` and `heads/adapter_mixin.py`).

use std::path::Path;

use serde_json::{Value, json};

use super::config::{ACTIVATIONS, activation, activation_name};
use super::error::AdapterHubError;
use super::fields::{Fields, read};
use crate::adapter::{AdapterConfig, HeadForm, Pooling, ScoreScale, TaskRecord};
use crate::data::{MAX_CLASSES, TaskKind};
use crate::encoder::EncoderConfig;

/// What is read of the file.
pub(super) struct HeadFile {
    /// What the head is called; a part of its tensors' names.
    pub name: String,
    pub kind: TaskKind,
    pub labels: Vec<String>,
    pub outputs: usize,
    pub pooling: Pooling,
    pub form: HeadForm,
    /// Whether the last layer has a bias.
    pub has_bias: bool,
}

/// One of several classes; with one output, a score.
const CLASSIFICATION: &str = "classification";
/// Any number of several labels.
const MULTI_LABEL: &str = "multilabel_classification";

const KNOWN: [&str; 8] = [
    "activation_function",
    "bias",
    "dropout_prob",
    "head_type",
    "label2id",
    "layers",
    "num_labels",
    "use_pooler",
];

impl HeadFile {
    /// Reads the file.
    pub(super) fn read(path: &Path, encoder: &EncoderConfig) -> Result<Self, AdapterHubError> {
        let map = read(path)?;
        let file = Fields { path, map: &map };
        file.check_base(encoder)?;
        let name = file.name()?;
        let config = file.object("config")?;
        config.only(&[&KNOWN])?;
        let several = match config.text("head_type")? {
            Some(CLASSIFICATION) => false,
            Some(MULTI_LABEL) => true,
            _ => {
                let supported = format!("{CLASSIFICATION}, {MULTI_LABEL}");
                return Err(config.unsupported("head_type", config.value("head_type"), supported));
            }
        };
        let found = config.value("num_labels");
        let outputs = match config.count("num_labels")? {
            Some(outputs) if (1..=MAX_CLASSES).contains(&outputs) => outputs,
            _ => return Err(config.unsupported("num_labels", found, format!("1 to {MAX_CLASSES}"))),
        };
        let kind = match (several, outputs) {
            (true, 1) => {
                return Err(config.unsupported("num_labels", found, "two or more of several labels"));
            }
            (true, _) => TaskKind::MultiLabel,
            // A head of one output has learnt the scores themselves.
            (false, 1) => TaskKind::Regression,
            (false, _) => TaskKind::Classification,
        };
        Ok(Self {
            name,
            kind,
            labels: labels(config, outputs)?,
            outputs,
            pooling: if config.flag("use_pooler", false)? { Pooling::Cls } else { Pooling::First },
            form: form(config)?,
            has_bias: config.flag("bias", true)?,
        })
    }

    /// The task that the head answers.
    pub(super) fn task(&self, pair: bool) -> TaskRecord {
        let is_scores = self.kind == TaskKind::Regression;
        TaskRecord {
            kind: self.kind,
            pair,
            labels: if is_scores { Vec::new() } else { self.labels.clone() },
            scores: is_scores.then_some(ScoreScale { mean: 0.0, std: 1.0 }),
        }
    }
}

/// Names of the classes in the order of their numbers.
fn labels(config: Fields<'_>, outputs: usize) -> Result<Vec<String>, AdapterHubError> {
    let found = config.value("label2id");
    let numbered = || (0..outputs).map(|label| format!("LABEL_{label}")).collect();
    let map = match found {
        None => return Ok(numbered()),
        Some(Value::Object(map)) => map,
        _ => return Err(config.unsupported("label2id", found, "an object")),
    };
    let mut labels: Vec<Option<String>> = vec![None; outputs];
    for (label, id) in map {
        let id = id.as_u64().or_else(|| id.as_str().and_then(|id| id.parse().ok()));
        let place = id.and_then(|id| labels.get_mut(usize::try_from(id).ok()?));
        match place {
            Some(place) if place.is_none() => *place = Some(label.clone()),
            _ => {
                let supported = format!("each of 0 to {} once", outputs - 1);
                return Err(config.unsupported("label2id", found, supported));
            }
        }
    }
    let named: Option<Vec<String>> = labels.into_iter().collect();
    named.ok_or_else(|| config.unsupported("label2id", found, format!("{outputs} labels")))
}

fn form(config: Fields<'_>) -> Result<HeadForm, AdapterHubError> {
    match config.count("layers")?.unwrap_or(2) {
        // Its activation is not used.
        1 => Ok(HeadForm::Linear),
        2 => {
            let field = "activation_function";
            // Absent it is another than null, which is none.
            let name =
                if config.map.contains_key(field) { config.text(field)?.unwrap_or("") } else { "tanh" };
            activation(&name.to_lowercase())
                .map(HeadForm::Dense)
                .ok_or_else(|| config.unsupported(field, config.value(field), ACTIVATIONS))
        }
        _ => Err(config.unsupported("layers", config.value("layers"), "1, 2")),
    }
}

/// The place of the last layer in the list, and of the one before it.
pub(super) fn places(form: HeadForm) -> (usize, Option<usize>) {
    match form {
        HeadForm::Linear => (1, None),
        HeadForm::Dense(_) => (4, Some(1)),
    }
}

/// The object `config` of a head of ours; `None` where it reads what no head there can.
pub(super) fn written(adapter: &AdapterConfig, task: &TaskRecord) -> Option<Value> {
    let use_pooler = match adapter.pooling {
        Pooling::Cls => true,
        Pooling::First => false,
        // A head for words, `tagging`, is not written yet.
        Pooling::Mean | Pooling::Words => return None,
    };
    let (layers, activation) = match adapter.head {
        HeadForm::Linear => (1, None),
        HeadForm::Dense(activation) => (2, Some(activation_name(activation))),
    };
    let labels: serde_json::Map<String, Value> = match task.kind {
        TaskKind::Regression => [("LABEL_0".to_owned(), json!(0))].into_iter().collect(),
        _ => task.labels.iter().enumerate().map(|(id, label)| (label.clone(), json!(id))).collect(),
    };
    Some(json!({
        "activation_function": activation,
        "bias": true,
        "dropout_prob": null,
        "head_type": if task.kind == TaskKind::MultiLabel { MULTI_LABEL } else { CLASSIFICATION },
        "label2id": labels,
        "layers": layers,
        "num_labels": adapter.outputs,
        "use_pooler": use_pooler,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::AdapterActivation;

    fn head(config: &Value) -> Result<HeadFile, AdapterHubError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(super::super::HEAD_CONFIG_FILE);
        std::fs::write(&path, json!({ "config": config, "name": "task" }).to_string()).unwrap();
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-bert/config.json");
        HeadFile::read(&path, &EncoderConfig::read(&model).unwrap())
    }

    #[test]
    fn labels_stand_in_the_order_of_their_numbers() {
        let config = json!({
            "head_type": "classification", "num_labels": 3, "label2id": { "a": 2, "b": "0", "c": 1 },
        });
        let file = head(&config).unwrap();
        assert_eq!(file.labels, ["b", "c", "a"]);
        assert_eq!((file.pooling, file.has_bias), (Pooling::First, true));
        assert_eq!(file.form, HeadForm::Dense(AdapterActivation::Tanh));
        let config =
            json!({ "head_type": "classification", "num_labels": 2, "layers": 1, "use_pooler": true });
        let file = head(&config).unwrap();
        assert_eq!(file.labels, ["LABEL_0", "LABEL_1"]);
        assert_eq!((file.pooling, file.form), (Pooling::Cls, HeadForm::Linear));
        assert_eq!(file.task(true).kind, TaskKind::Classification);
        let several = json!({ "head_type": "multilabel_classification", "num_labels": 2 });
        assert_eq!(head(&several).unwrap().task(true).kind, TaskKind::MultiLabel);
    }

    #[test]
    fn what_is_not_computed_is_refused_by_name() {
        for (name, value) in [
            ("head_type", json!("tagging")),
            ("head_type", json!(null)),
            ("num_labels", json!(0)),
            ("num_labels", json!(1_000_000_000)),
            ("num_labels", json!(-1)),
            ("layers", json!(3)),
            ("layers", json!(0)),
            ("activation_function", json!(null)),
            ("activation_function", json!("mish")),
            ("use_pooler", json!("yes")),
            ("label2id", json!({ "a": 0 })),
            ("label2id", json!({ "a": 0, "b": 0 })),
            ("label2id", json!({ "a": 0, "b": 2 })),
            ("label2id", json!({ "a": 0, "b": 1, "c": 2 })),
            ("label2id", json!(["a", "b"])),
            ("something_new", json!(1)),
        ] {
            let mut config = json!({ "head_type": "classification", "num_labels": 2 });
            config[name] = value.clone();
            match head(&config).err() {
                Some(AdapterHubError::Unsupported { field, .. }) => assert_eq!(field, name),
                other => panic!("{name}: {value} gives {other:?}"),
            }
        }
    }
}
