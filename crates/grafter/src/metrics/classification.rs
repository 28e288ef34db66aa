//! Measures of predicted classes, all computed from how often each class is target, prediction and both: time and memory
//! grow with the rows and the classes, never with the square of the classes.

use serde::{Deserialize, Serialize};

use super::{Metric, MetricError, check_lengths};
use crate::data::TaskKind;

/// With more classes the scores have no confusion matrix: it would take more memory than the model, and nobody reads it.
pub const MAX_CONFUSION_CLASSES: usize = 1000;

/// The scores of predicted classes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassificationScores {
    /// The number of rows.
    pub rows: u64,
    /// See [`accuracy`].
    pub accuracy: f64,
    /// See [`f1_binary`], of class 1; only for two classes.
    pub f1: Option<f64>,
    /// See [`f1_macro`].
    pub macro_f1: f64,
    /// See [`matthews`].
    pub matthews: f64,
    /// Each class, in label order.
    pub per_class: Vec<ClassScores>,
    /// How far off the probabilities of the answers are, see
    /// [`CalibrationBins::error`](crate::calibration::CalibrationBins::error); absent where only the classes are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_calibration_error: Option<f64>,
    /// See [`confusion_matrix`]; empty where it was left out, and above [`MAX_CONFUSION_CLASSES`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub confusion: Vec<Vec<u64>>,
}

/// The scores of one class; a quotient with denominator 0 is 0, as in scikit-learn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    /// `tp / (tp + fp)`
    pub precision: f64,
    /// `tp / (tp + fn)`
    pub recall: f64,
    /// `2 tp / (2 tp + fp + fn)`
    pub f1: f64,
    /// The rows whose target is this class.
    pub support: u64,
}

impl ClassificationScores {
    /// All scores of `predictions`, indices below `classes`.
    ///
    /// # Errors
    /// No rows, different lengths, or an index out of range.
    pub fn compute(targets: &[usize], predictions: &[usize], classes: usize) -> Result<Self, MetricError> {
        Self::of_counts(&Counts::of(targets, predictions, classes)?, targets, predictions)
    }

    /// [`ClassificationScores::compute`] of what was counted of them.
    pub(super) fn of_counts(
        counts: &Counts,
        targets: &[usize],
        predictions: &[usize],
    ) -> Result<Self, MetricError> {
        let classes = counts.classes.len();
        let per_class: Vec<ClassScores> = counts.classes.iter().map(ClassCounts::scores).collect();
        let confusion = if classes <= MAX_CONFUSION_CLASSES {
            confusion_matrix(targets, predictions, classes)?
        } else {
            Vec::new()
        };
        Ok(Self {
            rows: counts.rows,
            accuracy: ratio(counts.right(), counts.rows),
            f1: if classes == 2 { per_class.get(1).map(|class| class.f1) } else { None },
            macro_f1: mean_f1(&counts.classes),
            matthews: counts.matthews(),
            per_class,
            expected_calibration_error: None,
            confusion,
        })
    }

    /// The value of one metric.
    ///
    /// # Errors
    /// See [`Metric::check`].
    pub fn get(&self, metric: Metric) -> Result<f64, MetricError> {
        let classes = self.per_class.len();
        metric.check(TaskKind::Classification, classes)?;
        match metric {
            Metric::Accuracy => Ok(self.accuracy),
            Metric::F1 => self.f1.ok_or(MetricError::F1NeedsTwoClasses { classes }),
            Metric::MacroF1 => Ok(self.macro_f1),
            Metric::Matthews => Ok(self.matthews),
            _ => Err(MetricError::WrongKind { metric, kind: TaskKind::Classification }),
        }
    }
}

/// The scores on `targets` of always answering the most frequent class of `train_targets`, the first of them in label
/// order if several are.
///
/// # Errors
/// No rows in either, or an index not below `classes`.
pub fn majority_baseline(
    train_targets: &[usize],
    targets: &[usize],
    classes: usize,
) -> Result<ClassificationScores, MetricError> {
    check_lengths(train_targets.len(), train_targets.len())?;
    let mut counts = vec![0_u64; classes];
    for &class in train_targets {
        *counts.get_mut(class).ok_or(MetricError::ClassOutOfRange { classes, found: class })? += 1;
    }
    // `max_by_key` takes the last of equals, hence the reversal.
    let majority =
        counts.iter().enumerate().rev().max_by_key(|(_, count)| **count).map_or(0, |(class, _)| class);
    ClassificationScores::compute(targets, &vec![majority; targets.len()], classes)
}

/// How often each class (row) was predicted as each class (column): `matrix[target][prediction]`.
///
/// # Errors
/// No rows, different lengths, or an index not below `classes`.
pub fn confusion_matrix(
    targets: &[usize],
    predictions: &[usize],
    classes: usize,
) -> Result<Vec<Vec<u64>>, MetricError> {
    check_classes(targets, predictions, classes)?;
    let mut matrix = vec![vec![0; classes]; classes];
    for (&target, &prediction) in targets.iter().zip(predictions) {
        matrix[target][prediction] += 1;
    }
    Ok(matrix)
}

/// The share of predictions that are the target.
///
/// # Errors
/// No rows, or different lengths.
pub fn accuracy(targets: &[usize], predictions: &[usize]) -> Result<f64, MetricError> {
    check_lengths(targets.len(), predictions.len())?;
    let right = targets.iter().zip(predictions).filter(|(target, prediction)| target == prediction).count();
    Ok(ratio(right as u64, targets.len() as u64))
}

/// F1 of the class `positive` against all others: `2 tp / (2 tp + fp + fn)`, and 0 if the class neither occurs nor is
/// predicted (scikit-learn's `f1_score(pos_label=positive, zero_division=0)`).
///
/// # Errors
/// No rows, or different lengths.
pub fn f1_binary(targets: &[usize], predictions: &[usize], positive: usize) -> Result<f64, MetricError> {
    let one_against_rest = |classes: &[usize]| -> Vec<usize> {
        classes.iter().map(|class| usize::from(*class == positive)).collect()
    };
    let counts = Counts::of(&one_against_rest(targets), &one_against_rest(predictions), 2)?;
    Ok(counts.classes[1].scores().f1)
}

/// The unweighted mean of the classes' F1, over the classes that occur in the targets or the predictions
/// (scikit-learn's `f1_score(average="macro")`): a class that does neither does not count as 0.
///
/// # Errors
/// No rows, different lengths, or an index not below `classes`.
pub fn f1_macro(targets: &[usize], predictions: &[usize], classes: usize) -> Result<f64, MetricError> {
    Counts::of(targets, predictions, classes).map(|counts| mean_f1(&counts.classes))
}

/// Matthews correlation coefficient for any number of classes (Gorodkin 2004, R_K):
/// `(n·trace − Σ t_k p_k) / √((n² − Σ p_k²)(n² − Σ t_k²))`, with `t_k` and `p_k` how often class k is target and
/// prediction; 0 if the targets or the predictions are all of one class.
///
/// # Errors
/// No rows, different lengths, or an index not below `classes`.
pub fn matthews(targets: &[usize], predictions: &[usize], classes: usize) -> Result<f64, MetricError> {
    Counts::of(targets, predictions, classes).map(|counts| counts.matthews())
}

/// How often one class is target, prediction, and both.
#[derive(Clone, Copy, Default)]
pub(super) struct ClassCounts {
    pub targets: u64,
    pub predicted: u64,
    pub right: u64,
}

impl ClassCounts {
    pub fn scores(&self) -> ClassScores {
        ClassScores {
            precision: ratio(self.right, self.predicted),
            recall: ratio(self.right, self.targets),
            f1: ratio(2 * self.right, self.targets + self.predicted),
            support: self.targets,
        }
    }
}

/// The mean F1 of the classes that are there or predicted; 0 without any.
pub(super) fn mean_f1(classes: &[ClassCounts]) -> f64 {
    let (mut sum, mut count) = (0.0, 0);
    for class in classes.iter().filter(|class| class.targets > 0 || class.predicted > 0) {
        sum += class.scores().f1;
        count += 1;
    }
    if count == 0 { 0.0 } else { sum / f64::from(count) }
}

/// The margins and the diagonal of the confusion matrix, which is never made for them.
pub(super) struct Counts {
    rows: u64,
    pub classes: Vec<ClassCounts>,
}

impl Counts {
    pub fn of(targets: &[usize], predictions: &[usize], classes: usize) -> Result<Self, MetricError> {
        check_classes(targets, predictions, classes)?;
        let mut counts = vec![ClassCounts::default(); classes];
        for (&target, &prediction) in targets.iter().zip(predictions) {
            counts[target].targets += 1;
            counts[prediction].predicted += 1;
            counts[target].right += u64::from(target == prediction);
        }
        Ok(Self { rows: targets.len() as u64, classes: counts })
    }

    fn right(&self) -> u64 {
        self.classes.iter().map(|class| class.right).sum()
    }

    fn matthews(&self) -> f64 {
        // Whole numbers until the end: the differences cancel. Counts below 2⁶³ fit their squares into 128 bits.
        let sum = |product: &dyn Fn(&ClassCounts) -> (u64, u64)| -> i128 {
            self.classes.iter().map(product).map(|(a, b)| i128::from(a) * i128::from(b)).sum()
        };
        let n = i128::from(self.rows);
        let both = n * i128::from(self.right()) - sum(&|class| (class.targets, class.predicted));
        let of_targets = n * n - sum(&|class| (class.targets, class.targets));
        let of_predicted = n * n - sum(&|class| (class.predicted, class.predicted));
        if of_targets == 0 || of_predicted == 0 {
            return 0.0;
        }
        both as f64 / ((of_targets as f64).sqrt() * (of_predicted as f64).sqrt())
    }
}

fn check_classes(targets: &[usize], predictions: &[usize], classes: usize) -> Result<(), MetricError> {
    check_lengths(targets.len(), predictions.len())?;
    match targets.iter().chain(predictions).find(|class| **class >= classes) {
        Some(&found) => Err(MetricError::ClassOutOfRange { classes, found }),
        None => Ok(()),
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_scored_is_an_error() {
        assert_eq!(accuracy(&[], &[]), Err(MetricError::Empty));
        let error = matthews(&[0, 1], &[0], 2).unwrap_err();
        assert_eq!(error.to_string(), "expected 2 predictions, found 1");
        let error = f1_macro(&[0, 1], &[0, 2], 2).unwrap_err();
        assert_eq!(error.to_string(), "expected a class below 2, found 2");
        assert_eq!(majority_baseline(&[], &[0], 2), Err(MetricError::Empty));
    }

    #[test]
    fn f1_is_that_of_the_second_class_and_only_for_two() {
        let scores = ClassificationScores::compute(&[0, 0, 1, 1], &[0, 1, 1, 1], 2).unwrap();
        assert_eq!(scores.get(Metric::F1), Ok(0.8));
        assert_eq!(scores.f1, Some(scores.per_class[1].f1));
        let scores = ClassificationScores::compute(&[0, 1, 2], &[0, 1, 2], 3).unwrap();
        assert_eq!(scores.f1, None);
        assert_eq!(scores.get(Metric::F1), Err(MetricError::F1NeedsTwoClasses { classes: 3 }));
    }

    #[test]
    fn many_classes_are_scored_without_a_matrix() {
        // The first half is right, each later target is answered by the class below it.
        let classes = MAX_CONFUSION_CLASSES + 2;
        let targets: Vec<usize> = (0..classes).collect();
        let half = classes / 2;
        let predictions: Vec<usize> =
            targets.iter().map(|class| if *class < half { *class } else { class - 1 }).collect();
        let scores = ClassificationScores::compute(&targets, &predictions, classes).unwrap();
        assert!(scores.confusion.is_empty());
        assert_eq!(scores.per_class.len(), classes);
        assert_eq!(scores.accuracy, 0.5);
        assert_eq!((scores.per_class[half - 1].precision, scores.per_class[half - 1].recall), (0.5, 1.0));
        let expected = ((half - 1) as f64 + 2.0 / 3.0) / classes as f64;
        assert!((scores.macro_f1 - expected).abs() < 1e-12, "{} for {expected}", scores.macro_f1);
        let few = ClassificationScores::compute(&[0], &[1], MAX_CONFUSION_CLASSES).unwrap();
        assert_eq!(few.confusion[0][1], 1);
    }

    #[test]
    fn the_majority_is_that_of_the_training_rows() {
        let scores = majority_baseline(&[1, 1, 0], &[0, 0, 0, 1], 2).unwrap();
        assert_eq!((scores.accuracy, scores.matthews), (0.25, 0.0));
        assert_eq!(
            majority_baseline(&[2, 1], &[1, 2, 2], 3).unwrap().confusion[2][1],
            2,
            "a tie goes to the first"
        );
    }
}
