//! A whole labelled file in memory, read strictly: the first row that cannot be used is the error.
//!
//! A training file decides the task (label names, single texts or pairs); every other file is held to it. The kind of
//! task is the caller's choice and never guessed from the labels, at most [`Warning`]ed about.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use super::labels::score;
use super::{
    DataError, LabelScheme, LabelSet, LabelUse, Row, RowError, RowErrorKind, RowReader, Source, TaskKind,
};

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
    /// Indices into the task's [`LabelSet`].
    Classes(Vec<usize>),
    /// Finite numbers.
    Scores(Vec<f32>),
}

impl Targets {
    /// The number of targets.
    pub fn len(&self) -> usize {
        match self {
            Self::Classes(classes) => classes.len(),
            Self::Scores(scores) => scores.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Something about the labels that is allowed and may not be meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// Classes were asked for, and the labels look like numbers on a scale.
    LooksLikeRegression {
        /// How many different labels there are.
        labels: usize,
        /// How many rows there are.
        rows: usize,
    },
}

impl Warning {
    /// What the user may do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::LooksLikeRegression { .. } => {
                Some(format!("if labels are scores, the task is `{}`", TaskKind::Regression))
            }
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LooksLikeRegression { labels, rows } => {
                write!(f, "{labels} different numeric labels in {rows} rows are taken as classes")
            }
        }
    }
}

/// More different labels than this are no classes: the label column is likely another one.
pub const MAX_CLASSES: usize = 4096;

/// The classes that a training file's labels make.
pub(super) fn classes<'a>(
    file: &Arc<str>,
    labels: impl IntoIterator<Item = &'a str>,
) -> Result<LabelSet, DataError> {
    let set = LabelSet::from_labels(labels)?;
    if set.len() > MAX_CLASSES {
        return Err(DataError::TooManyLabels { file: file.clone(), labels: set.len(), limit: MAX_CLASSES });
    }
    Ok(set)
}

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
        let reader = source.open(LabelUse::Required)?;
        let (file, pair) = (reader.file().clone(), reader.is_pair());
        let (rows, pair) = collect(reader, &file, pair)?;
        if let Some(label) = only_label(&rows, kind) {
            return Err(DataError::OneLabel { file, label });
        }
        let scheme = match kind {
            TaskKind::Classification => LabelScheme::Classes(classes(&file, rows.iter().map(label_of))?),
            TaskKind::Regression => LabelScheme::Scores,
        };
        let targets = targets(&rows, &scheme, &file)?;
        let warnings = warnings(&scheme, rows.len());
        Ok(Self { file, task: TaskSpec { scheme, pair }, rows, targets, warnings })
    }

    /// Reads a file to evaluate on, whose rows must be examples of `task`.
    ///
    /// # Errors
    /// The first row that cannot be used or whose label the task does not know; no rows; pairs of texts where the
    /// task is on single texts, or the reverse.
    pub fn read_eval(source: &Source, task: &TaskSpec) -> Result<Self, DataError> {
        let reader = source.open(LabelUse::Required)?;
        let (file, pair) = (reader.file().clone(), reader.is_pair());
        // Before the rows where possible: the header alone tells.
        check_pair(&file, task.pair, pair)?;
        let (rows, pair) = collect(reader, &file, pair)?;
        check_pair(&file, task.pair, Some(pair))?;
        let targets = targets(&rows, &task.scheme, &file)?;
        Ok(Self { file, task: task.clone(), rows, targets, warnings: Vec::new() })
    }
}

/// All rows, and whether they are pairs.
fn collect<R: std::io::BufRead>(
    reader: RowReader<R>,
    file: &Arc<str>,
    pair: Option<bool>,
) -> Result<(Vec<Row>, bool), DataError> {
    let rows = reader.collect::<Result<Vec<Row>, RowError>>()?;
    let first = rows.first().ok_or_else(|| DataError::Empty { file: file.clone() })?;
    let pair = pair.unwrap_or(first.text_b.is_some());
    Ok((rows, pair))
}

fn check_pair(file: &Arc<str>, expected_pair: bool, found: Option<bool>) -> Result<(), DataError> {
    if found.is_some_and(|found| found != expected_pair) {
        return Err(DataError::PairMismatch { file: file.clone(), expected_pair });
    }
    Ok(())
}

fn label_of(row: &Row) -> &str {
    row.label.as_deref().unwrap_or_default()
}

/// The label of the first row if no other label, or no other score, occurs.
fn only_label(rows: &[Row], kind: TaskKind) -> Option<String> {
    let first = label_of(rows.first()?);
    let same = |row: &Row| match kind {
        TaskKind::Classification => label_of(row) == first,
        // A label that is not a number differs, and is reported with its line later.
        TaskKind::Regression => match (score(label_of(row)), score(first)) {
            (Ok(a), Ok(b)) => a == b,
            _ => false,
        },
    };
    rows.iter().all(same).then(|| first.to_owned())
}

fn targets(rows: &[Row], scheme: &LabelScheme, file: &Arc<str>) -> Result<Targets, DataError> {
    let place = |row: &Row, kind: RowErrorKind| RowError { file: file.clone(), line: row.line, kind };
    Ok(match scheme {
        LabelScheme::Classes(set) => Targets::Classes(
            rows.iter()
                .map(|row| set.class_of(label_of(row)).map_err(|kind| place(row, kind)))
                .collect::<Result<_, RowError>>()?,
        ),
        LabelScheme::Scores => Targets::Scores(
            rows.iter()
                .map(|row| score(label_of(row)).map_err(|kind| place(row, kind)))
                .collect::<Result<_, RowError>>()?,
        ),
    })
}

fn warnings(scheme: &LabelScheme, rows: usize) -> Vec<Warning> {
    match scheme {
        LabelScheme::Classes(set) if looks_like_scores(set.names().iter().map(String::as_str), rows) => {
            vec![Warning::LooksLikeRegression { labels: set.len(), rows }]
        }
        _ => Vec::new(),
    }
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
