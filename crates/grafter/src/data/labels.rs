//! What labels mean: the classes of a task in a defined order, or scores.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{DataError, MAX_LABEL_BYTES, RowErrorKind};

/// What a task predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// One of several classes.
    Classification,
    /// Any number of several labels, or none.
    #[serde(rename = "multi-label")]
    MultiLabel,
    /// A number.
    Regression,
    /// Spans of words, each of a type: token classification with tags that mark entities.
    Entities,
    /// One of several classes for each word: token classification.
    Tags,
    /// One of several texts.
    #[serde(rename = "multiple-choice")]
    MultipleChoice,
    /// A part of a context that answers a question: extractive question answering.
    #[serde(rename = "question-answering")]
    QuestionAnswering,
}

impl TaskKind {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::Classification,
        Self::MultiLabel,
        Self::Regression,
        Self::Entities,
        Self::Tags,
        Self::MultipleChoice,
        Self::QuestionAnswering,
    ];

    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classification => "classification",
            Self::MultiLabel => "multi-label",
            Self::Regression => "regression",
            Self::Entities => "entities",
            Self::Tags => "tags",
            Self::MultipleChoice => "multiple-choice",
            Self::QuestionAnswering => "question-answering",
        }
    }

    /// What is so of a row of which this longest length cuts something off.
    pub fn too_long(self, max_length: usize) -> String {
        match self {
            // A context is read to its end, a question only where it leaves room.
            Self::QuestionAnswering => format!("with a question of more than half of {max_length} tokens"),
            _ => format!("longer than {max_length} tokens"),
        }
    }

    /// Whether it answers each word of a text.
    pub fn of_words(self) -> bool {
        matches!(self, Self::Entities | Self::Tags)
    }

    /// Whether its head reads words or tokens, each by itself, and not a sequence as a whole.
    pub fn reads_words(self) -> bool {
        self.of_words() || self == Self::QuestionAnswering
    }
}

impl fmt::Display for TaskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The names are those of [`TaskKind`]'s `Display`.
impl FromStr for TaskKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let known: Vec<String> = Self::ALL.iter().map(|kind| format!("`{kind}`")).collect();
            format!("unknown task kind `{name}`, expected one of {}", known.join(", "))
        })
    }
}

/// Refuses what is too long for the name of a class.
pub(super) fn check_length(label: &str) -> Result<(), RowErrorKind> {
    match label.len() {
        bytes if bytes > MAX_LABEL_BYTES => {
            Err(RowErrorKind::LongLabel { label: label.to_owned(), bytes, limit: MAX_LABEL_BYTES })
        }
        _ => Ok(()),
    }
}

/// The names of the classes; the place of a name is the class's index in logits and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelSet {
    /// Shared with the errors that list them.
    names: Arc<[String]>,
    index: HashMap<String, usize>,
}

impl LabelSet {
    /// A label set in the order given, as an adapter file keeps it.
    ///
    /// # Errors
    /// [`DataError::BadLabelSet`] for fewer than two names, or one that occurs twice.
    pub fn from_names(names: Vec<String>) -> Result<Self, DataError> {
        let index: HashMap<String, usize> =
            names.iter().enumerate().map(|(place, name)| (name.clone(), place)).collect();
        if names.len() < 2 || index.len() != names.len() {
            return Err(DataError::BadLabelSet { names });
        }
        Ok(Self { names: names.into(), index })
    }

    /// The label set of a training file, whatever the order and the repetitions of its labels: numeric order if
    /// every label is a decimal integer (ties, such as `1` and `01`, by bytes), else the order of their bytes.
    ///
    /// # Errors
    /// [`DataError::BadLabelSet`] for fewer than two different labels.
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = &'a str>) -> Result<Self, DataError> {
        let mut names: Vec<&str> = labels.into_iter().collect();
        names.sort_unstable();
        names.dedup();
        let integers: Result<Vec<i128>, _> = names.iter().map(|name| name.parse::<i128>()).collect();
        if let Ok(integers) = integers {
            let mut pairs: Vec<(i128, &str)> = integers.into_iter().zip(names).collect();
            pairs.sort_unstable();
            names = pairs.into_iter().map(|(_, name)| name).collect();
        }
        Self::from_names(names.into_iter().map(str::to_owned).collect())
    }

    /// The label set of a training file that may name its classes itself: then in that order, those that occur.
    pub(super) fn of_file<'a>(
        labels: impl IntoIterator<Item = &'a str>,
        class_names: Option<&[String]>,
    ) -> Result<Self, DataError> {
        let Some(names) = class_names else { return Self::from_labels(labels) };
        let occurring: HashSet<&str> = labels.into_iter().collect();
        Self::from_names(names.iter().filter(|name| occurring.contains(name.as_str())).cloned().collect())
    }

    /// The names, in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The number of classes, at least two.
    #[expect(clippy::len_without_is_empty, reason = "a label set is never empty")]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// The class of a label.
    pub fn index_of(&self, label: &str) -> Option<usize> {
        self.index.get(label).copied()
    }

    /// The class of a label.
    ///
    /// # Errors
    /// [`RowErrorKind::UnknownLabel`], which names the known labels.
    pub fn class_of(&self, label: &str) -> Result<usize, RowErrorKind> {
        self.index_of(label)
            .ok_or_else(|| RowErrorKind::UnknownLabel { label: label.to_owned(), known: self.names.clone() })
    }
}

/// How labels become targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelScheme {
    /// Each label is the name of a class.
    Classes(LabelSet),
    /// Each row has any of these labels.
    Sets(LabelSet),
    /// Each label is a number.
    Scores,
    /// Each word has one of these tags, which mark entities in IOB2.
    Entities(LabelSet),
    /// Each word has one of these tags.
    Tags(LabelSet),
    /// One of a row's own texts.
    Choices,
    /// Parts of a row's context.
    Answers {
        /// Whether some contexts do not answer their question.
        some_lack: bool,
    },
}

impl LabelScheme {
    /// The labels, if these are names.
    pub fn labels(&self) -> Option<&LabelSet> {
        match self {
            Self::Classes(labels) | Self::Sets(labels) | Self::Entities(labels) | Self::Tags(labels) => {
                Some(labels)
            }
            Self::Scores | Self::Choices | Self::Answers { .. } => None,
        }
    }

    /// The kind of task.
    pub fn kind(&self) -> TaskKind {
        match self {
            Self::Classes(_) => TaskKind::Classification,
            Self::Sets(_) => TaskKind::MultiLabel,
            Self::Scores => TaskKind::Regression,
            Self::Entities(_) => TaskKind::Entities,
            Self::Tags(_) => TaskKind::Tags,
            Self::Choices => TaskKind::MultipleChoice,
            Self::Answers { .. } => TaskKind::QuestionAnswering,
        }
    }
}

/// What stands between the labels of a row that has several, in [`Row::label`](super::Row::label).
pub(super) const JOINT: char = '\u{1f}';

/// Several labels as one text; white space around them and empty ones are left out, as are repetitions. `None` if there are none.
pub(super) fn join<'a>(labels: impl IntoIterator<Item = &'a str>) -> Result<Option<String>, RowErrorKind> {
    let mut kept: Vec<&str> = Vec::new();
    let mut seen = HashSet::new();
    for label in labels.into_iter().map(str::trim).filter(|label| !label.is_empty()) {
        if label.contains(JOINT) {
            return Err(RowErrorKind::LabelJoint);
        }
        if seen.insert(label) {
            kept.push(label);
        }
    }
    Ok((!kept.is_empty()).then(|| kept.join(JOINT.encode_utf8(&mut [0; 4]))))
}

/// The labels of a text that [`join`] gave.
pub(super) fn parts(label: &str) -> impl Iterator<Item = &str> {
    label.split(JOINT).filter(|label| !label.is_empty())
}

/// A regression label as a number.
pub(super) fn score(label: &str) -> Result<f32, RowErrorKind> {
    // A label that only overflows `f32` parses to an infinity, which the filter refuses too.
    label
        .parse::<f32>()
        .ok()
        .filter(|score| score.is_finite())
        .ok_or_else(|| RowErrorKind::NotANumber { label: label.to_owned() })
}

/// Scores around a mean that is more than so many times their standard deviation are answered in steps that show: between
/// two numbers of single precision lies 2⁻²³ of their size.
const MOST_OFFSET: f64 = 1_048_576.0;
/// Beyond, an answer of some hundred standard deviations overflows; below its inverse, differences are denormal.
const MOST_SCORE: f64 = 1e30;

/// Mean and standard deviation of a training file's scores, in the precision that the file has.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spread {
    rows: u64,
    first: f64,
    /// Of the differences from the first, and of their squares.
    sum: f64,
    squares: f64,
}

impl Spread {
    /// Adds a label that is a score.
    pub fn add(&mut self, label: &str) {
        let score: f64 = label.parse().unwrap_or(f64::NAN);
        if self.rows == 0 {
            self.first = score;
        }
        self.rows += 1;
        self.sum += score - self.first;
        self.squares += (score - self.first).powi(2);
    }

    /// Whether all scores are the same.
    pub fn is_none(self) -> bool {
        self.squares == 0.0
    }

    /// That the scores differ, but not in single precision.
    pub fn check(self, file: &Arc<str>) -> Result<(), DataError> {
        let rows = self.rows.max(1) as f64;
        let difference = self.sum / rows;
        let (mean, std) =
            (self.first + difference, (self.squares / rows - difference * difference).max(0.0).sqrt());
        let fits =
            mean.abs() <= MOST_OFFSET * std && mean.abs().max(std) <= MOST_SCORE && std >= 1.0 / MOST_SCORE;
        if fits || self.is_none() { Ok(()) } else { Err(DataError::Scores { file: file.clone(), mean, std }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(labels: &[&str]) -> Vec<String> {
        LabelSet::from_labels(labels.iter().copied()).unwrap().names().to_vec()
    }

    #[test]
    fn integers_are_ordered_by_value_and_names_by_bytes() {
        assert_eq!(names(&["10", "9", "-1", "9"]), ["-1", "9", "10"]);
        assert_eq!(names(&["10", "9", "x"]), ["10", "9", "x"]);
        assert_eq!(names(&["b", "B", "ä", "a"]), ["B", "a", "b", "ä"]);
        assert_eq!(names(&["1", "01", "0"]), ["0", "01", "1"]);
    }

    #[test]
    fn the_order_does_not_depend_on_the_rows() {
        assert_eq!(names(&["no", "yes", "maybe"]), names(&["yes", "maybe", "no", "yes"]));
    }

    #[test]
    fn indices_follow_the_order() {
        let set = LabelSet::from_names(vec!["b".into(), "a".into()]).unwrap();
        assert_eq!(
            (set.index_of("b"), set.index_of("a"), set.index_of("c"), set.len()),
            (Some(0), Some(1), None, 2)
        );
        assert_eq!(set.class_of("c").unwrap_err().to_string(), "unknown label `c`, expected one of `b`, `a`");
    }

    #[test]
    fn a_label_set_needs_two_different_names() {
        for names in [vec![], vec!["a".to_owned()], vec!["a".to_owned(), "a".to_owned()]] {
            assert!(matches!(LabelSet::from_names(names), Err(DataError::BadLabelSet { .. })));
        }
    }

    #[test]
    fn scores_are_finite_numbers() {
        assert_eq!(score("4.75").unwrap(), 4.75);
        assert_eq!(score("-1e-3").unwrap(), -0.001);
        for label in ["nan", "inf", "-infinity", "1e39", "five", "1,5", ""] {
            let error = score(label).unwrap_err();
            assert_eq!(error.to_string(), format!("label `{label}` is not a finite number"));
        }
    }
}
