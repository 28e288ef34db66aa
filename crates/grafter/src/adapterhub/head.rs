//! `head_config.json`: a classification head, with one class for a regression, or a head of the tags of tokens.
//!
//! There it is a list of layers, each linear one after a dropout and all but the last before an activation; a tensor's name has
//! the place in that list (`adapters` 1.3.0, `heads/base.py` and `heads/adapter_mixin.py`).

use std::path::Path;

use serde_json::{Value, json};

use super::config::{ACTIVATIONS, activation, activation_name};
use super::error::AdapterHubError;
use super::fields::{Fields, read};
use crate::adapter::{AdapterConfig, HeadForm, Pooling, ScoreScale, TaskRecord};
use crate::data::{MAX_CLASSES, MAX_LABEL_BYTES, TaskKind};
use crate::encoder::EncoderConfig;
use crate::entities::are_entity_tags;

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
/// A tag for each token; which of them are the first of a word the caller has to know.
const TAGGING: &str = "tagging";

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
        let head_type = match config.text("head_type")? {
            Some(known) if [CLASSIFICATION, MULTI_LABEL, TAGGING].contains(&known) => known,
            _ => {
                let supported = format!("{CLASSIFICATION}, {MULTI_LABEL}, {TAGGING}");
                return Err(config.unsupported("head_type", config.value("head_type"), supported));
            }
        };
        let found = config.value("num_labels");
        let outputs = match config.count("num_labels")? {
            Some(outputs) if (1..=MAX_CLASSES).contains(&outputs) => outputs,
            _ => return Err(config.unsupported("num_labels", found, format!("1 to {MAX_CLASSES}"))),
        };
        let labels = labels(config, outputs)?;
        let kind = match (head_type, outputs) {
            // A head of one output has learnt the scores themselves.
            (CLASSIFICATION, 1) => TaskKind::Regression,
            (CLASSIFICATION, _) => TaskKind::Classification,
            (_, 1) => {
                return Err(config.unsupported("num_labels", found, "two or more of several labels or tags"));
            }
            (MULTI_LABEL, _) => TaskKind::MultiLabel,
            _ if are_entity_tags(&labels) => TaskKind::Entities,
            _ => TaskKind::Tags,
        };
        let pooling = match (kind.of_words(), config.flag("use_pooler", false)?) {
            (true, true) => {
                return Err(config.unsupported("use_pooler", config.value("use_pooler"), "false"));
            }
            (true, false) => Pooling::Words,
            (false, true) => Pooling::Cls,
            (false, false) => Pooling::First,
        };
        // Without a word of it a tagging head has one layer, the others two.
        let layers = if head_type == TAGGING { 1 } else { 2 };
        let form = form(config, layers)?;
        Ok(Self { name, kind, labels, outputs, pooling, form, has_bias: config.flag("bias", true)? })
    }

    /// The task that the head answers.
    pub(super) fn task(&self, pair: bool) -> TaskRecord {
        let is_scores = self.kind == TaskKind::Regression;
        TaskRecord {
            kind: self.kind,
            pair,
            labels: if is_scores { Vec::new() } else { self.labels.clone() },
            scores: is_scores.then_some(ScoreScale { mean: 0.0, std: 1.0 }),
            no_answer: false,
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
    if map.keys().any(|label| label.len() > MAX_LABEL_BYTES) {
        let supported = format!("names of at most {MAX_LABEL_BYTES} bytes");
        return Err(config.unsupported("label2id", found, supported));
    }
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

/// The form of a head that has so many layers if nothing is said.
fn form(config: Fields<'_>, layers: usize) -> Result<HeadForm, AdapterHubError> {
    match config.count("layers")?.unwrap_or(layers) {
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

/// The object `config` of a head of ours; `None` where it reads what no head there can, or is of a kind that is not written.
pub(super) fn written(adapter: &AdapterConfig, task: &TaskRecord) -> Option<Value> {
    let use_pooler = match adapter.pooling {
        Pooling::Cls => true,
        Pooling::First | Pooling::Words => false,
        Pooling::Mean => return None,
    };
    let (layers, activation) = match adapter.head {
        HeadForm::Linear => (1, None),
        HeadForm::Dense(activation) => (2, Some(activation_name(activation))),
    };
    let labels: serde_json::Map<String, Value> = match task.kind {
        TaskKind::Regression => [("LABEL_0".to_owned(), json!(0))].into_iter().collect(),
        _ => task.labels.iter().enumerate().map(|(id, label)| (label.clone(), json!(id))).collect(),
    };
    let head_type = match task.kind {
        TaskKind::MultiLabel => MULTI_LABEL,
        TaskKind::Entities | TaskKind::Tags => TAGGING,
        TaskKind::Classification | TaskKind::Regression => CLASSIFICATION,
        TaskKind::MultipleChoice | TaskKind::QuestionAnswering => return None,
    };
    let mut config = json!({
        "activation_function": activation,
        "dropout_prob": null,
        "head_type": head_type,
        "label2id": labels,
        "layers": layers,
        "num_labels": adapter.outputs,
    });
    // What a tagging head knows nothing of.
    if head_type != TAGGING {
        config["bias"] = json!(true);
        config["use_pooler"] = json!(use_pooler);
    }
    Some(config)
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
        let tagging =
            json!({ "head_type": "tagging", "num_labels": 3, "label2id": { "O": 0, "B-a": 1, "I-a": 2 } });
        let file = head(&tagging).unwrap();
        assert_eq!(
            (file.kind, file.pooling, file.form),
            (TaskKind::Entities, Pooling::Words, HeadForm::Linear)
        );
        let mut other = tagging.clone();
        other["label2id"] = json!({ "O": 2, "B-a": 1, "I-a": 0 });
        assert_eq!(
            head(&other).unwrap().kind,
            TaskKind::Tags,
            "in another order nothing is known of entities"
        );
        other["use_pooler"] = json!(true);
        assert!(matches!(head(&other), Err(AdapterHubError::Unsupported { .. })));
    }

    #[test]
    fn what_is_not_computed_is_refused_by_name() {
        for (name, value) in [
            ("head_type", json!("question_answering")),
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
