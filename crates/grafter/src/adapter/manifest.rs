//! What `adapter.json` says beside the numbers: enough to refuse a wrong base and to read the head's outputs.
//!
//! Nothing in it depends on the clock or the machine, so that the same run writes the same bytes.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::config::{AdapterConfig, is_false};
use crate::calibration::Calibration;
use crate::data::{LabelScheme, LabelSet, MAX_CLASSES, MAX_LABEL_BYTES, TaskKind, TaskSpec};
use crate::encoder::{BasePrecision, DecidingConfig};
use crate::metrics::{Metric, Scores};
use crate::model::Model;
use crate::predict::DEFAULT_THRESHOLD;
use crate::question_answering::DEFAULT_NO_ANSWER_THRESHOLD;
use crate::train::{Ending, TrainOptions};

/// The version of the folder's layout that this program writes and reads.
pub const FORMAT_VERSION: u32 = 1;

/// The content of `adapter.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Layout of the folder; another version is refused.
    pub format_version: u32,
    /// The program and its version.
    pub tool: String,
    /// What the task answers.
    pub task: TaskRecord,
    /// Texts are cut to this many tokens, contexts of questions into windows of them.
    pub max_length: usize,
    /// Of a task that answers questions: tokens that two windows of a context share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
    /// Method, sizes, activation, pooling.
    pub adapter: AdapterConfig,
    /// The encoder that it was trained on and fits alone.
    pub base: BaseRecord,
    /// How many numbers were trained.
    pub trained_parameters: usize,
    /// How it was trained; absent of one that another program trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<TrainingRecord>,
    /// Where it comes from, if another program trained it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<ImportRecord>,
    /// How its probabilities are made what they say; as they are if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// Of a task with several labels: the probability from which on a row has each label; one half if absent. Of one whose
    /// questions may have no answer one number: by how much the logits of none must be above those of the best answer; 0 if
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Vec<f64>>,
    /// SHA-256 of `adapter.safetensors`.
    pub weights_sha256: String,
}

/// What a task answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// Classes or a number.
    pub kind: TaskKind,
    /// Whether rows are pairs of texts.
    pub pair: bool,
    /// Names of the classes, or of the tags of words, in the order of the logits; empty for regression.
    #[serde(deserialize_with = "labels")]
    pub labels: Vec<String>,
    /// For regression: the output is a number of standard deviations from the mean of the training scores.
    pub scores: Option<ScoreScale>,
    /// Of questions: whether some have no answer.
    #[serde(default, skip_serializing_if = "is_false")]
    pub no_answer: bool,
}

/// Names of classes, no more and no longer than a task may have: each takes more memory than it takes in the file.
fn labels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Labels;

    impl<'de> Visitor<'de> for Labels {
        type Value = Vec<String>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a list of names")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<String>, A::Error> {
            let mut labels = Vec::new();
            while let Some(label) = sequence.next_element::<String>()? {
                if labels.len() == MAX_CLASSES {
                    return Err(A::Error::custom(format_args!(
                        "`task.labels` has more than {MAX_CLASSES} names"
                    )));
                }
                if label.len() > MAX_LABEL_BYTES {
                    let (place, bytes) = (labels.len() + 1, label.len());
                    return Err(A::Error::custom(format_args!(
                        "name {place} of `task.labels` has {bytes} bytes, the most is {MAX_LABEL_BYTES}"
                    )));
                }
                labels.push(label);
            }
            Ok(labels)
        }
    }

    deserializer.deserialize_seq(Labels)
}

/// Mean and standard deviation of the training scores; the head learns standardised scores, whatever their unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoreScale {
    /// Mean of the training scores.
    pub mean: f32,
    /// Standard deviation of the training scores.
    pub std: f32,
}

/// The encoder that an adapter was trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BaseRecord {
    /// What it was called; it decides nothing.
    pub name: String,
    /// SHA-256 of its `model.safetensors`.
    pub weights_sha256: String,
    /// SHA-256 of its `tokenizer.json`.
    pub tokenizer_sha256: String,
    /// What its `config.json` decides.
    pub config: DecidingConfig,
    /// How many numbers it has.
    pub parameters: usize,
    /// How its linear layers were read in training; another precision gives slightly other answers.
    #[serde(default)]
    pub precision: BasePrecision,
}

/// What a model has otherwise than a [`BaseRecord`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseDifference {
    /// A digest, or a field of the configuration.
    pub part: &'static str,
    /// What the record says.
    pub expected: String,
    /// What the model has.
    pub found: String,
}

/// How an adapter was trained and how good it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingRecord {
    /// Settings of the run.
    pub options: TrainOptions,
    /// Training rows.
    pub train_rows: usize,
    /// Dev rows.
    pub dev_rows: usize,
    /// Why the run ended.
    pub ending: Ending,
    /// Steps done.
    pub steps: u64,
    /// Steps after which the best evaluation came.
    pub best_step: u64,
    /// The metric that chose it.
    pub metric: Metric,
    /// All scores of the best evaluation on the dev rows.
    pub dev_scores: Scores,
    /// The scores on the dev rows of always giving the most frequent training label, or the mean training score.
    pub baseline: Scores,
}

/// Where an adapter comes from that another program trained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportRecord {
    /// The program and the version of its format, as its files say.
    pub format: String,
    /// What the adapter is called there.
    pub name: String,
    /// What its files call the model that it was trained on; it decides nothing.
    pub base: Option<String>,
    /// SHA-256 of each file that was read, by its name.
    pub files: BTreeMap<String, String>,
}

impl BaseRecord {
    /// The record of a model.
    pub fn of(model: &Model) -> Self {
        Self {
            name: model.name().to_owned(),
            weights_sha256: model.encoder().weights_sha256().to_owned(),
            tokenizer_sha256: model.tokenizer().sha256().to_owned(),
            config: model.encoder().config.deciding(),
            parameters: model.encoder().parameter_count(),
            precision: model.encoder().precision(),
        }
    }

    /// Whether two records are of one base. What it is called and the precision that it was read in decide nothing.
    pub fn is_same(&self, other: &Self) -> bool {
        let decides =
            |base: &Self| (base.weights_sha256.clone(), base.tokenizer_sha256.clone(), base.config.clone());
        decides(self) == decides(other)
    }

    /// What a model has otherwise than this record, if anything. What it is called and the precision that it was read in
    /// decide nothing.
    pub fn difference(&self, model: &Model) -> Option<BaseDifference> {
        let differ = |part: &'static str, expected: &str, found: &str| {
            let (expected, found) = (expected.to_owned(), found.to_owned());
            (expected != found).then_some(BaseDifference { part, expected, found })
        };
        differ("encoder's SHA-256", &self.weights_sha256, model.encoder().weights_sha256())
            .or_else(|| differ("tokenizer's SHA-256", &self.tokenizer_sha256, model.tokenizer().sha256()))
            .or_else(|| {
                let difference = self.config.difference(&model.encoder().config.deciding());
                difference.map(|(part, expected, found)| BaseDifference { part, expected, found })
            })
    }
}

impl Manifest {
    /// The metric that chose the parameters; the task's default where that is not known.
    pub fn metric(&self) -> Metric {
        self.training.as_ref().map_or(Metric::default_for(self.task.kind), |training| training.metric)
    }

    /// Of a task of several labels, the probability from which on a row has each; nothing of another.
    pub fn label_thresholds(&self) -> Option<Vec<f64>> {
        let several = self.task.kind == TaskKind::MultiLabel;
        let default = || vec![DEFAULT_THRESHOLD; self.task.labels.len()];
        several.then(|| self.thresholds.clone().unwrap_or_else(default))
    }

    /// Of a task whose questions may have no answer, from which difference on none is given; nothing of another.
    pub fn no_answer_threshold(&self) -> Option<f64> {
        let fitted = || self.thresholds.as_ref().and_then(|of| of.first().copied());
        self.task.no_answer.then(|| fitted().unwrap_or(DEFAULT_NO_ANSWER_THRESHOLD))
    }

    /// The score on the dev rows by [`Manifest::metric`], where it is known and defined.
    pub fn dev_score(&self) -> Option<f64> {
        self.training.as_ref()?.dev_scores.get(self.metric()).ok().flatten()
    }
}

impl TaskRecord {
    /// The record of a task that training data defined.
    pub fn new(task: &TaskSpec, scores: Option<ScoreScale>) -> Self {
        let labels = task.scheme.labels().map_or(Vec::new(), |labels| labels.names().to_vec());
        let no_answer = task.scheme == (LabelScheme::Answers { some_lack: true });
        Self { kind: task.scheme.kind(), pair: task.pair, labels, scores, no_answer }
    }

    /// The task as data files are read for it.
    ///
    /// # Errors
    /// If the labels are not two or more different names.
    pub fn spec(&self) -> Result<TaskSpec, crate::data::DataError> {
        let scheme = match self.kind {
            TaskKind::Classification => LabelScheme::Classes(LabelSet::from_names(self.labels.clone())?),
            TaskKind::MultiLabel => LabelScheme::Sets(LabelSet::from_names(self.labels.clone())?),
            TaskKind::Entities => LabelScheme::Entities(LabelSet::from_names(self.labels.clone())?),
            TaskKind::Tags => LabelScheme::Tags(LabelSet::from_names(self.labels.clone())?),
            TaskKind::Regression => LabelScheme::Scores,
            TaskKind::MultipleChoice => LabelScheme::Choices,
            TaskKind::QuestionAnswering => LabelScheme::Answers { some_lack: self.no_answer },
        };
        Ok(TaskSpec { scheme, pair: self.pair })
    }

    /// What its rows are, for people.
    pub fn rows(&self) -> &'static str {
        match (self.kind, self.pair) {
            (TaskKind::QuestionAnswering, _) => "questions with their contexts",
            (TaskKind::MultipleChoice, true) => "pairs of texts with choices",
            (TaskKind::MultipleChoice, false) => "texts with choices",
            (_, true) => "pairs of texts",
            (_, false) => "single texts",
        }
    }

    /// What the baseline always answers, for people.
    pub fn constant_answer(&self) -> &'static str {
        match self.kind {
            TaskKind::Classification => "the most frequent training label",
            TaskKind::MultiLabel => "the labels that half of the training rows have",
            TaskKind::Regression => "the mean training score",
            TaskKind::Entities => "no entity",
            TaskKind::Tags => "the most frequent training tag",
            TaskKind::MultipleChoice => "the choice in the most frequent place",
            TaskKind::QuestionAnswering => "no answer",
        }
    }

    /// Outputs that the head needs.
    pub fn outputs(&self) -> usize {
        match self.kind {
            TaskKind::Classification | TaskKind::MultiLabel | TaskKind::Entities | TaskKind::Tags => {
                self.labels.len()
            }
            TaskKind::Regression | TaskKind::MultipleChoice => 1,
            // One for the beginning of an answer and one for its end.
            TaskKind::QuestionAnswering => 2,
        }
    }
}

impl ScoreScale {
    /// The scale of training scores; a standard deviation of zero is taken as one.
    pub fn of(scores: &[f32]) -> Self {
        let count = scores.len().max(1) as f64;
        let mean = scores.iter().map(|score| f64::from(*score)).sum::<f64>() / count;
        let variance = scores.iter().map(|score| (f64::from(*score) - mean).powi(2)).sum::<f64>() / count;
        let std = variance.sqrt() as f32;
        Self { mean: mean as f32, std: if std > 0.0 { std } else { 1.0 } }
    }

    /// A score as the head learns it.
    pub fn standardise(self, score: f32) -> f32 {
        (score - self.mean) / self.std
    }

    /// The score that an output of the head stands for.
    pub fn restore(self, output: f32) -> f32 {
        output * self.std + self.mean
    }
}
