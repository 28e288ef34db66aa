//! How often the right one of several texts is chosen.

use serde::{Deserialize, Serialize};

use super::{Metric, MetricError, accuracy};
use crate::data::TaskKind;

/// The scores of chosen texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChoiceScores {
    /// The number of rows.
    pub rows: u64,
    /// The share of rows whose right text was chosen.
    pub accuracy: f64,
}

impl ChoiceScores {
    /// Scores of the places of chosen texts against those of the right ones.
    ///
    /// # Errors
    /// No rows, or different lengths.
    pub fn compute(targets: &[usize], answers: &[usize]) -> Result<Self, MetricError> {
        Ok(Self { rows: targets.len() as u64, accuracy: accuracy(targets, answers)? })
    }

    /// Scores of always choosing the place where the right text most often stands in training, the first of equals.
    ///
    /// # Errors
    /// No rows.
    pub fn baseline(train: &[usize], eval: &[usize]) -> Result<Self, MetricError> {
        let mut counts = vec![0_u64; train.iter().max().map_or(0, |place| place + 1)];
        train.iter().for_each(|place| counts[*place] += 1);
        let most = counts.iter().max().copied().unwrap_or(0);
        let place = counts.iter().position(|count| *count == most).unwrap_or(0);
        Self::compute(eval, &vec![place; eval.len()])
    }

    /// The value of one metric.
    ///
    /// # Errors
    /// A metric other than the accuracy.
    pub fn get(&self, metric: Metric) -> Result<f64, MetricError> {
        match metric {
            Metric::Accuracy => Ok(self.accuracy),
            _ => Err(MetricError::WrongKind { metric, kind: TaskKind::MultipleChoice }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_choices_are_counted() {
        let scores = ChoiceScores::compute(&[0, 1, 3, 1], &[0, 1, 2, 0]).unwrap();
        assert_eq!(scores, ChoiceScores { rows: 4, accuracy: 0.5 });
        assert_eq!((scores.get(Metric::Accuracy), scores.get(Metric::F1).is_err()), (Ok(0.5), true));
        let baseline = ChoiceScores::baseline(&[2, 0, 2, 1], &[2, 2, 2, 0]).unwrap();
        assert_eq!(baseline.accuracy, 0.75);
        assert_eq!(ChoiceScores::compute(&[], &[]), Err(MetricError::Empty));
        assert!(ChoiceScores::compute(&[1], &[]).is_err());
    }
}
