//! How good predictions are: targets and predictions in, numbers out, all in `f64`.
//!
//! Degenerate input has a defined result, that of scikit-learn or SciPy, with one difference: where SciPy gives NaN
//! for a correlation, it is `None` here. No function panics; input that cannot be scored is a [`MetricError`].
//! Nothing here knows of models or files.

mod answers;
mod choices;
mod classification;
mod multi_label;
mod regression;
mod tags;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::data::{Targets, TaskKind};
use crate::entities::OUTSIDE_TAG;
pub use answers::{
    AnswerPart, AnswerScores, AnswerTally, BestSpan, NoAnswerThreshold, best_no_answer_threshold,
    exact_match, normalised, overlap,
};
pub use choices::ChoiceScores;
pub use classification::{
    ClassScores, ClassificationScores, MAX_CONFUSION_CLASSES, accuracy, confusion_matrix, f1_binary,
    f1_macro, majority_baseline, matthews,
};
pub use multi_label::{MultiLabelScores, frequent_baseline};
pub use regression::{RegressionScores, mean_baseline, mean_squared_error, pearson, spearman};
pub use tags::{EntityScores, frequent_tag_baseline, word_scores};

/// A measure to report and to choose the best epoch by. For all of them higher is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// The share of right answers: of rows, of several labels that of rows all of whose labels are right, and of words where each
    /// has a tag.
    Accuracy,
    /// F1 of the positive class of two, which is the second label in label order (`1` of `0` `1`).
    F1,
    /// The mean of the classes' F1, or that of the types of entities.
    MacroF1,
    /// F1 of all labels of all rows together, of rows with several labels; of all entities together.
    MicroF1,
    /// Matthews correlation coefficient, in its form for any number of classes.
    Matthews,
    /// Pearson correlation.
    Pearson,
    /// Spearman rank correlation.
    Spearman,
    /// The share of questions whose answer is a right one, word for word.
    ExactMatch,
    /// How many words answer and right answer have in common, as F1, the mean of all questions.
    TokenF1,
}

impl Metric {
    /// All metrics.
    pub const ALL: [Self; 9] = [
        Self::Accuracy,
        Self::F1,
        Self::MacroF1,
        Self::MicroF1,
        Self::Matthews,
        Self::Pearson,
        Self::Spearman,
        Self::ExactMatch,
        Self::TokenF1,
    ];

    /// The metric where the caller names none: accuracy, micro F1 for several labels and for entities, Pearson correlation for
    /// regression, and F1 of the words of answers.
    pub fn default_for(kind: TaskKind) -> Self {
        match kind {
            TaskKind::Classification | TaskKind::Tags | TaskKind::MultipleChoice => Self::Accuracy,
            TaskKind::QuestionAnswering => Self::TokenF1,
            TaskKind::MultiLabel | TaskKind::Entities => Self::MicroF1,
            TaskKind::Regression => Self::Pearson,
        }
    }

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::F1 => "f1",
            Self::MacroF1 => "macro-f1",
            Self::MicroF1 => "micro-f1",
            Self::Matthews => "matthews",
            Self::Pearson => "pearson",
            Self::Spearman => "spearman",
            Self::ExactMatch => "exact-match",
            Self::TokenF1 => "token-f1",
        }
    }

    /// Whether it measures tasks of a kind.
    pub fn measures(self, kind: TaskKind) -> bool {
        match self {
            Self::Accuracy => !matches!(kind, TaskKind::Regression | TaskKind::QuestionAnswering),
            Self::MacroF1 => {
                !matches!(kind, TaskKind::Regression | TaskKind::QuestionAnswering | TaskKind::MultipleChoice)
            }
            Self::ExactMatch | Self::TokenF1 => kind == TaskKind::QuestionAnswering,
            Self::F1 | Self::Matthews => kind == TaskKind::Classification,
            Self::MicroF1 => matches!(kind, TaskKind::MultiLabel | TaskKind::Entities),
            Self::Pearson | Self::Spearman => kind == TaskKind::Regression,
        }
    }

    /// Checks before any training that the metric can measure a task; `classes` is not looked at for regression.
    ///
    /// # Errors
    /// A metric of the other kind of task; `f1` for more than two classes.
    pub fn check(self, kind: TaskKind, classes: usize) -> Result<(), MetricError> {
        if !self.measures(kind) {
            return Err(MetricError::WrongKind { metric: self, kind });
        }
        if self == Self::F1 && classes != 2 {
            return Err(MetricError::F1NeedsTwoClasses { classes });
        }
        Ok(())
    }
}

/// Checks before any training that a metric can tell better answers to these targets from worse ones.
///
/// # Errors
/// A correlation where all targets are the same; `f1` where no row is of the positive class.
pub fn check_targets(metric: Metric, targets: &Targets) -> Result<(), MetricError> {
    let why = match (metric, targets) {
        (Metric::Pearson | Metric::Spearman, Targets::Scores(scores)) => {
            scores.windows(2).all(|pair| pair[0] == pair[1]).then_some("that all have the same score")
        }
        (Metric::Matthews, Targets::Classes(classes)) => {
            classes.windows(2).all(|pair| pair[0] == pair[1]).then_some("that all have the same label")
        }
        (Metric::F1, Targets::Classes(classes)) => {
            (!classes.contains(&1)).then_some("none of which has the positive label")
        }
        (Metric::MicroF1 | Metric::MacroF1, Targets::Entities(tags, _)) => {
            let none = tags.iter().flatten().all(|tag| *tag == OUTSIDE_TAG);
            none.then_some("none of which has an entity")
        }
        (Metric::MicroF1 | Metric::MacroF1, Targets::Sets(sets)) => {
            sets.iter().all(Vec::is_empty).then_some("none of which has a label")
        }
        _ => None,
    };
    why.map_or(Ok(()), |why| Err(MetricError::Blind { metric, why }))
}

impl Metric {
    /// The name as people read it: `f1` says which label it is of.
    pub fn describe(self, labels: &[String]) -> String {
        match (self, labels.get(1)) {
            (Self::F1, Some(label)) => format!("f1 of `{}`", crate::text::escape(label, 40)),
            _ => self.name().to_owned(),
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Metric {
    type Err = MetricError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|metric| metric.name() == name)
            .ok_or_else(|| MetricError::UnknownMetric { name: name.to_owned() })
    }
}

/// Why predictions cannot be scored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricError {
    /// No metric has this name.
    #[error("unknown metric `{name}`; known: {}", Metric::ALL.map(Metric::name).join(", "))]
    UnknownMetric {
        /// The name.
        name: String,
    },
    /// A metric of classification for regression, or the reverse.
    #[error("metric `{metric}` does not measure {kind}")]
    WrongKind {
        /// The metric.
        metric: Metric,
        /// The task's kind.
        kind: TaskKind,
    },
    /// `f1` is that of one positive class of two.
    #[error("metric `f1` needs 2 classes, found {classes}")]
    F1NeedsTwoClasses {
        /// The number of classes.
        classes: usize,
    },
    /// Whatever is answered, the metric says the same.
    #[error("metric `{metric}` cannot tell evaluations apart on dev rows {why}")]
    Blind {
        /// The metric.
        metric: Metric,
        /// What is the matter with the rows.
        why: &'static str,
    },
    /// There is nothing to score.
    #[error("no rows to score")]
    Empty,
    /// Another number of predictions than of targets.
    #[error("expected {expected} predictions, found {found}")]
    LengthMismatch {
        /// The number of targets.
        expected: usize,
        /// The number of predictions.
        found: usize,
    },
    /// A class index that is not below the number of classes.
    #[error("expected a class below {classes}, found {found}")]
    ClassOutOfRange {
        /// The number of classes.
        classes: usize,
        /// The class index.
        found: usize,
    },
    /// A score that is infinite or not a number.
    #[error("expected finite scores, found another in row {}", .row + 1)]
    NotFinite {
        /// The row's place, from 0.
        row: usize,
    },
}

impl MetricError {
    /// What the user may do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::WrongKind { kind, .. } => {
                let fitting = Metric::ALL.iter().filter(|metric| metric.measures(*kind));
                let names: Vec<String> = fitting.map(|metric| format!("`{metric}`")).collect();
                Some(format!("for {kind} use {}", names.join(", ")))
            }
            Self::F1NeedsTwoClasses { .. } => Some("use `macro-f1`".to_owned()),
            Self::Blind { metric, .. } if metric.measures(TaskKind::Classification) => {
                Some("use other dev rows, or `--metric accuracy`".to_owned())
            }
            Self::Blind { .. } => Some("use other dev rows".to_owned()),
            Self::UnknownMetric { .. }
            | Self::Empty
            | Self::LengthMismatch { .. }
            | Self::ClassOutOfRange { .. }
            | Self::NotFinite { .. } => None,
        }
    }
}

/// All scores of one evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Scores {
    /// Of classes.
    Classification(ClassificationScores),
    /// Of sets of labels.
    #[serde(rename = "multi-label")]
    MultiLabel(MultiLabelScores),
    /// Of numbers.
    Regression(RegressionScores),
    /// Of entities.
    Entities(EntityScores),
    /// Of the tags of words; its rows are words.
    Tags(ClassificationScores),
    /// Of choices.
    #[serde(rename = "multiple-choice")]
    Choices(ChoiceScores),
    /// Of parts of contexts.
    #[serde(rename = "question-answering")]
    Answers(AnswerScores),
}

impl Scores {
    /// The same scores without the confusion matrix, whose size is the square of the number of classes.
    #[must_use]
    pub fn without_confusion(self) -> Self {
        match self {
            Self::Classification(scores) => {
                Self::Classification(ClassificationScores { confusion: Vec::new(), ..scores })
            }
            Self::Tags(scores) => Self::Tags(ClassificationScores { confusion: Vec::new(), ..scores }),
            others => others,
        }
    }

    /// The metrics that have a value, in the order of [`Metric::ALL`].
    pub fn defined(&self) -> Vec<Metric> {
        Metric::ALL.into_iter().filter(|metric| matches!(self.get(*metric), Ok(Some(_)))).collect()
    }

    /// The value of one metric; `None` for a correlation that is not defined.
    ///
    /// # Errors
    /// See [`Metric::check`].
    pub fn get(&self, metric: Metric) -> Result<Option<f64>, MetricError> {
        match self {
            Self::Classification(scores) => scores.get(metric).map(Some),
            Self::MultiLabel(scores) => scores.get(metric).map(Some),
            Self::Regression(scores) => scores.get(metric),
            Self::Entities(scores) => scores.get(metric).map(Some),
            Self::Tags(_) if !metric.measures(TaskKind::Tags) => {
                Err(MetricError::WrongKind { metric, kind: TaskKind::Tags })
            }
            Self::Tags(scores) => scores.get(metric).map(Some),
            Self::Choices(scores) => scores.get(metric).map(Some),
            Self::Answers(scores) => match metric {
                Metric::ExactMatch => Ok(Some(scores.exact_match)),
                Metric::TokenF1 => Ok(Some(scores.f1)),
                _ => Err(MetricError::WrongKind { metric, kind: TaskKind::QuestionAnswering }),
            },
        }
    }
}

pub(crate) fn check_lengths(targets: usize, predictions: usize) -> Result<(), MetricError> {
    if targets != predictions {
        return Err(MetricError::LengthMismatch { expected: targets, found: predictions });
    }
    if targets == 0 { Err(MetricError::Empty) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for metric in Metric::ALL {
            assert_eq!(metric.to_string().parse(), Ok(metric));
            assert_eq!(serde_json::to_string(&metric).unwrap(), format!("\"{metric}\""));
        }
        let error = "acc".parse::<Metric>().unwrap_err();
        let expected = "unknown metric `acc`; known: accuracy, f1, macro-f1, micro-f1, matthews, pearson, spearman, exact-match, token-f1";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_metric_must_fit_the_task() {
        assert_eq!(Metric::default_for(TaskKind::Classification).check(TaskKind::Classification, 77), Ok(()));
        assert_eq!(Metric::default_for(TaskKind::Regression).check(TaskKind::Regression, 0), Ok(()));
        let error = Metric::Pearson.check(TaskKind::Classification, 2).unwrap_err();
        assert_eq!(error.to_string(), "metric `pearson` does not measure classification");
        assert_eq!(error.hint().unwrap(), "for classification use `accuracy`, `f1`, `macro-f1`, `matthews`");
        let error = Metric::F1.check(TaskKind::Classification, 3).unwrap_err();
        assert_eq!(error.to_string(), "metric `f1` needs 2 classes, found 3");
        assert_eq!(error.hint().unwrap(), "use `macro-f1`");
    }

    #[test]
    fn a_metric_that_would_say_the_same_of_every_evaluation_is_refused() {
        let one_class = Targets::Classes(vec![0, 0, 0]);
        let two_classes = Targets::Classes(vec![0, 1, 0]);
        let one_score = Targets::Scores(vec![2.5, 2.5]);
        let two_scores = Targets::Scores(vec![2.5, 2.5, 3.0]);
        for (metric, blind, sees) in [
            (Metric::Matthews, &one_class, &two_classes),
            (Metric::F1, &one_class, &two_classes),
            (Metric::Pearson, &one_score, &two_scores),
            (Metric::Spearman, &one_score, &two_scores),
        ] {
            let error = check_targets(metric, blind).unwrap_err();
            assert!(matches!(error, MetricError::Blind { .. }), "{error}");
            assert!(error.hint().is_some());
            assert_eq!(check_targets(metric, sees), Ok(()));
        }
        assert_eq!(check_targets(Metric::Accuracy, &one_class), Ok(()));
    }

    #[test]
    fn scores_survive_json() {
        let classes = ClassificationScores::compute(&[0, 1, 1], &[0, 1, 0], 2).unwrap();
        let numbers = RegressionScores::compute(&[1.0, 2.0], &[3.0, 3.0]).unwrap();
        for scores in [Scores::Classification(classes), Scores::Regression(numbers)] {
            let json = serde_json::to_string(&scores).unwrap();
            assert_eq!(serde_json::from_str::<Scores>(&json).unwrap(), scores);
        }
    }
}
