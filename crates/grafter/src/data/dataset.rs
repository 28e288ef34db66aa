//! A whole labelled file in memory, and what a labelled file tells. The kind of task is the caller's choice and never
//! guessed from the labels, at most [`Warning`]ed about.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use super::error::quoted;
use super::labelled::{Told, read_eval, read_train};
use super::labels::score;
use super::{DataError, LabelScheme, Question, Row, Source, TaskKind};

/// What a training file fixes for every file after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskSpec {
    /// How labels become targets.
    pub scheme: LabelScheme,
    /// Whether rows are pairs of texts.
    pub pair: bool,
}

/// The targets of all rows, in their order.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// Indices into the task's [`LabelSet`](super::LabelSet).
    Classes(Vec<usize>),
    /// Of each row the indices of its labels, in ascending order.
    Sets(Vec<Vec<usize>>),
    /// Finite numbers.
    Scores(Vec<f32>),
    /// Of each row the index of each word's tag, which mark entities; how many tags there are.
    Entities(Vec<Vec<usize>>, usize),
    /// Of each row the index of each word's tag; how many tags there are.
    Tags(Vec<Vec<usize>>, usize),
    /// Of each row the place of the right one of its choices.
    Choices(Vec<usize>),
    /// Of each row its context and the right answers there; whether the task has rows without an answer.
    Answers(Vec<Question>, bool),
}

impl Targets {
    /// The number of targets.
    pub fn len(&self) -> usize {
        match self {
            Self::Classes(classes) | Self::Choices(classes) => classes.len(),
            Self::Answers(questions, _) => questions.len(),
            Self::Sets(rows) | Self::Entities(rows, _) | Self::Tags(rows, _) => rows.len(),
            Self::Scores(scores) => scores.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Something about a file that is allowed and may not be meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// Classes were asked for, and the labels look like numbers on a scale.
    LooksLikeRegression {
        /// How many different labels there are.
        labels: usize,
        /// How many rows there are.
        rows: usize,
    },
    /// Rows may have several labels, and none has.
    OneLabelEach,
    /// All rows to score have the same label.
    OneLabel {
        /// The label.
        label: String,
    },
    /// Rows with an empty text were left out, as was asked.
    EmptyTexts {
        /// How many.
        rows: usize,
    },
}

impl Warning {
    /// What the user may do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::LooksLikeRegression { .. } => {
                Some(format!("if labels are scores, the kind is `{}`", TaskKind::Regression))
            }
            Self::OneLabelEach => {
                Some("what stands between labels is `--label-separator`, a comma if absent; if each row has one label, the task is \
                      `classification`".to_owned())
            }
            Self::OneLabel { .. } | Self::EmptyTexts { .. } => None,
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LooksLikeRegression { labels, rows } => {
                write!(f, "{labels} different numeric labels in {rows} rows are taken as classes")
            }
            Self::OneLabelEach => f.write_str("no row has more than one label"),
            Self::OneLabel { label } => {
                let label = quoted(label);
                write!(f, "all rows have the label {label}: the score does not tell how others are answered")
            }
            Self::EmptyTexts { rows } => write!(f, "rows with an empty text are left out: {rows}"),
        }
    }
}

/// More different labels than this are no classes: the label column is likely another one.
pub const MAX_CLASSES: usize = 16_384;

/// A label longer than this is none: the label column is likely that of a text.
pub const MAX_LABEL_BYTES: usize = 1024;

/// A labelled file.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// The file's name, as messages give it.
    pub file: Arc<str>,
    /// What the rows are examples of.
    pub task: TaskSpec,
    /// The rows, at least one; each has its label, and `text_b` exactly if the task is on pairs.
    pub rows: Vec<Row>,
    /// The target of each row.
    pub targets: Targets,
    /// What may not be meant.
    pub warnings: Vec<Warning>,
}

impl Dataset {
    /// Reads a file to train on, whose labels define the task.
    ///
    /// # Errors
    /// The first row that cannot be used; no rows; all rows with the same label (or score).
    pub fn read_train(source: &Source, kind: TaskKind) -> Result<Self, DataError> {
        let mut rows = Vec::new();
        let told = read_train(source.open(source.columns.label_use(kind)?)?, kind, |row| rows.push(row))?;
        Ok(Self::new(told, rows))
    }

    /// Reads a file to evaluate on, whose rows must be examples of `task`.
    ///
    /// # Errors
    /// The first row that cannot be used or whose label the task does not know; no rows; pairs of texts where the
    /// task is on single texts, or the reverse.
    pub fn read_eval(source: &Source, task: &TaskSpec) -> Result<Self, DataError> {
        let mut rows = Vec::new();
        let labels = source.columns.label_use(task.scheme.kind())?;
        let told = read_eval(source.open(labels)?, task, |row| rows.push(row))?;
        Ok(Self::new(told, rows))
    }

    fn new(told: Told, rows: Vec<Row>) -> Self {
        let Told { file, task, targets, warnings } = told;
        Self { file, task, rows, targets, warnings }
    }
}

/// What may not be meant of rows to train on, of which so many were left out.
pub(super) fn train_warnings(scheme: &LabelScheme, targets: &Targets, skipped: usize) -> Vec<Warning> {
    let rows = targets.len();
    let labels = match (scheme, targets) {
        (LabelScheme::Classes(set), _) if looks_like_scores(set.names().iter().map(String::as_str), rows) => {
            Some(Warning::LooksLikeRegression { labels: set.len(), rows })
        }
        (_, Targets::Sets(sets)) if sets.iter().all(|labels| labels.len() < 2) => Some(Warning::OneLabelEach),
        _ => None,
    };
    labels.into_iter().chain(left_out(skipped)).collect()
}

/// The same of rows to score.
pub(super) fn eval_warnings(scheme: &LabelScheme, targets: &Targets, skipped: usize) -> Vec<Warning> {
    let only = match (scheme, targets) {
        // Of a single row it is no news.
        (LabelScheme::Classes(set), Targets::Classes(classes)) if classes.len() > 1 => {
            let first = classes[0];
            classes.iter().all(|class| *class == first).then(|| set.names()[first].clone())
        }
        _ => None,
    };
    only.map(|label| Warning::OneLabel { label }).into_iter().chain(left_out(skipped)).collect()
}

fn left_out(skipped: usize) -> Option<Warning> {
    (skipped > 0).then_some(Warning::EmptyTexts { rows: skipped })
}

/// Whether class names are better taken as scores: all of them numbers, and either more than ten with a fraction
/// among them, or more than twenty with fewer than five rows each on average.
pub(super) fn looks_like_scores<'a>(names: impl IntoIterator<Item = &'a str>, rows: usize) -> bool {
    let names: HashSet<&str> = names.into_iter().collect();
    let scores: Option<Vec<f32>> = names.iter().map(|name| score(name).ok()).collect();
    scores.is_some_and(|scores| {
        let fractions = scores.iter().any(|score| score.fract() != 0.0);
        (fractions && names.len() > 10) || (names.len() > 20 && rows < 5 * names.len())
    })
}
