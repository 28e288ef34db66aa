//! Measures of predicted sets of labels. All are computed from how often each label is target, prediction and both, and from how
//! many rows are wholly right; a quotient with denominator 0 is 0, as in scikit-learn.

use serde::{Deserialize, Serialize};

use super::classification::{ClassCounts, ClassScores};
use super::{Metric, MetricError, check_lengths};
use crate::data::TaskKind;

/// The scores of predicted sets of labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MultiLabelScores {
    /// The number of rows.
    pub rows: u64,
    /// F1 of all labels of all rows together: `2 tp / (2 tp + fp + fn)` of their sums.
    pub micro_f1: f64,
    /// The mean of the labels' F1, also of those that no row has.
    pub macro_f1: f64,
    /// The share of rows all of whose labels are right.
    pub accuracy: f64,
    /// The share of wrong decisions, of one for each row and label.
    pub hamming_loss: f64,
    /// Each label, in label order.
    pub per_class: Vec<ClassScores>,
}

impl MultiLabelScores {
    /// All scores of `predictions`, of each row the indices of its labels, below `labels`, in ascending order.
    ///
    /// # Errors
    /// No rows, different lengths, or an index out of range.
    pub fn compute(
        targets: &[Vec<usize>],
        predictions: &[Vec<usize>],
        labels: usize,
    ) -> Result<Self, MetricError> {
        check_lengths(targets.len(), predictions.len())?;
        Self::of_rows(targets.iter().zip(predictions), labels)
    }

    /// [`MultiLabelScores::compute`] of rows that come one after another, which may be the same rows several times.
    pub(crate) fn of_rows<'a>(
        rows: impl Iterator<Item = (&'a Vec<usize>, &'a Vec<usize>)>,
        labels: usize,
    ) -> Result<Self, MetricError> {
        let mut counts = vec![ClassCounts::default(); labels];
        let (mut count, mut right) = (0_u64, 0_u64);
        let outside = |found| MetricError::ClassOutOfRange { classes: labels, found };
        for (target, prediction) in rows {
            count += 1;
            right += u64::from(target == prediction);
            for label in target {
                let counts = counts.get_mut(*label).ok_or(outside(*label))?;
                counts.targets += 1;
                counts.right += u64::from(prediction.binary_search(label).is_ok());
            }
            for label in prediction {
                counts.get_mut(*label).ok_or(outside(*label))?.predicted += 1;
            }
        }
        if count == 0 {
            return Err(MetricError::Empty);
        }
        let per_class: Vec<ClassScores> = counts.iter().map(ClassCounts::scores).collect();
        let all = counts.iter().fold(ClassCounts::default(), |all, label| ClassCounts {
            targets: all.targets + label.targets,
            predicted: all.predicted + label.predicted,
            right: all.right + label.right,
        });
        let wrong = all.targets + all.predicted - 2 * all.right;
        Ok(Self {
            rows: count,
            micro_f1: all.scores().f1,
            macro_f1: per_class.iter().map(|label| label.f1).sum::<f64>() / labels.max(1) as f64,
            accuracy: right as f64 / count as f64,
            hamming_loss: wrong as f64 / (count as f64 * labels.max(1) as f64),
            per_class,
        })
    }

    /// The value of one metric.
    ///
    /// # Errors
    /// See [`Metric::check`].
    pub fn get(&self, metric: Metric) -> Result<f64, MetricError> {
        metric.check(TaskKind::MultiLabel, self.per_class.len())?;
        match metric {
            Metric::MicroF1 => Ok(self.micro_f1),
            Metric::MacroF1 => Ok(self.macro_f1),
            Metric::Accuracy => Ok(self.accuracy),
            _ => Err(MetricError::WrongKind { metric, kind: TaskKind::MultiLabel }),
        }
    }
}

/// The scores on `targets` of always giving the labels that at least half of the rows of `train_targets` have.
///
/// # Errors
/// No rows in either, or an index not below `labels`.
pub fn frequent_baseline(
    train_targets: &[Vec<usize>],
    targets: &[Vec<usize>],
    labels: usize,
) -> Result<MultiLabelScores, MetricError> {
    check_lengths(train_targets.len(), train_targets.len())?;
    let mut counts = vec![0_usize; labels];
    for label in train_targets.iter().flatten() {
        *counts.get_mut(*label).ok_or(MetricError::ClassOutOfRange { classes: labels, found: *label })? += 1;
    }
    let frequent: Vec<usize> =
        (0..labels).filter(|label| 2 * counts[*label] >= train_targets.len()).collect();
    MultiLabelScores::compute(targets, &vec![frequent; targets.len()], labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_baseline_gives_what_half_of_the_rows_have() {
        let train = vec![vec![0, 2], vec![0], vec![0, 1], vec![2]];
        let scores = frequent_baseline(&train, &[vec![0, 2], vec![1]], 3).unwrap();
        // `{0, 2}` for both rows: two right, two too many, one missing.
        assert_eq!((scores.accuracy, scores.micro_f1), (0.5, 4.0 / 7.0));
        assert_eq!(scores.hamming_loss, 0.5);
    }

    #[test]
    fn what_cannot_be_scored_is_an_error() {
        assert_eq!(MultiLabelScores::compute(&[], &[], 2), Err(MetricError::Empty));
        let far = MultiLabelScores::compute(&[vec![0]], &[vec![2]], 2);
        assert_eq!(far, Err(MetricError::ClassOutOfRange { classes: 2, found: 2 }));
        let scores = MultiLabelScores::compute(&[vec![]], &[vec![]], 2).unwrap();
        assert_eq!((scores.micro_f1, scores.macro_f1, scores.accuracy), (0.0, 0.0, 1.0));
        assert!(scores.get(Metric::F1).is_err() && scores.get(Metric::MicroF1).is_ok());
    }
}
