//! Measures of predicted numbers.

use serde::{Deserialize, Serialize};

use super::{Metric, MetricError, check_lengths};
use crate::data::TaskKind;

/// The scores of predicted numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RegressionScores {
    /// The number of rows.
    pub rows: u64,
    /// See [`pearson`].
    pub pearson: Option<f64>,
    /// See [`spearman`].
    pub spearman: Option<f64>,
    /// See [`mean_squared_error`]; `None` if a value is not finite.
    pub mean_squared_error: Option<f64>,
}

impl RegressionScores {
    /// All scores of `predictions`.
    ///
    /// # Errors
    /// No rows, or different lengths.
    pub fn compute(targets: &[f32], predictions: &[f32]) -> Result<Self, MetricError> {
        let wide = |values: &[f32]| -> Vec<f64> { values.iter().copied().map(f64::from).collect() };
        Self::of(&wide(targets), &wide(predictions))
    }

    fn of(targets: &[f64], predictions: &[f64]) -> Result<Self, MetricError> {
        Ok(Self {
            rows: targets.len() as u64,
            pearson: pearson(targets, predictions)?,
            spearman: spearman(targets, predictions)?,
            // JSON has no NaN, and a score that could be read back as another would be worse than none.
            mean_squared_error: Some(mean_squared_error(targets, predictions)?).filter(|mse| mse.is_finite()),
        })
    }

    /// The value of one metric; `None` if it is not defined for these values.
    ///
    /// # Errors
    /// A metric of classification.
    pub fn get(&self, metric: Metric) -> Result<Option<f64>, MetricError> {
        match metric {
            Metric::Pearson => Ok(self.pearson),
            Metric::Spearman => Ok(self.spearman),
            _ => Err(MetricError::WrongKind { metric, kind: TaskKind::Regression }),
        }
    }
}

/// The scores on `targets` of always answering the mean of `train_targets`; its correlations are not defined.
///
/// # Errors
/// No rows in either.
pub fn mean_baseline(train_targets: &[f32], targets: &[f32]) -> Result<RegressionScores, MetricError> {
    check_lengths(train_targets.len(), train_targets.len())?;
    let sum: f64 = train_targets.iter().copied().map(f64::from).sum();
    let mean = sum / train_targets.len() as f64;
    let targets: Vec<f64> = targets.iter().copied().map(f64::from).collect();
    RegressionScores::of(&targets, &vec![mean; targets.len()])
}

/// The mean of the squared differences; not finite if a value is not.
///
/// # Errors
/// No rows, or different lengths.
pub fn mean_squared_error(targets: &[f64], predictions: &[f64]) -> Result<f64, MetricError> {
    check_lengths(targets.len(), predictions.len())?;
    let sum: f64 = targets.iter().zip(predictions).map(|(x, y)| (x - y) * (x - y)).sum();
    Ok(sum / targets.len() as f64)
}

/// Pearson correlation: `Σ(x−x̄)(y−ȳ) / √(Σ(x−x̄)²·Σ(y−ȳ)²)`, between -1 and 1.
///
/// `None` where it is not defined: fewer than two rows, all targets or all predictions the same, a value that is not
/// finite (SciPy gives NaN, or an error for fewer than two rows).
///
/// # Errors
/// No rows, or different lengths.
pub fn pearson(targets: &[f64], predictions: &[f64]) -> Result<Option<f64>, MetricError> {
    check_lengths(targets.len(), predictions.len())?;
    let (Some(x), Some(y)) = (normalised(targets), normalised(predictions)) else { return Ok(None) };
    let sum: f64 = x.iter().zip(&y).map(|(x, y)| x * y).sum();
    Ok(Some(sum.clamp(-1.0, 1.0)))
}

/// Spearman correlation: [`pearson`] of the ranks, where equal values share the mean of their ranks.
///
/// `None` as for [`pearson`].
///
/// # Errors
/// No rows, or different lengths.
pub fn spearman(targets: &[f64], predictions: &[f64]) -> Result<Option<f64>, MetricError> {
    check_lengths(targets.len(), predictions.len())?;
    if !targets.iter().chain(predictions).all(|value| value.is_finite()) {
        return Ok(None);
    }
    pearson(&ranks(targets), &ranks(predictions))
}

/// The values minus their mean, scaled to length 1; `None` for values that are all the same or not all finite.
fn normalised(values: &[f64]) -> Option<Vec<f64>> {
    let largest = values.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
    let first = *values.first()?;
    // Asked of the values and not of their differences from the mean, which rounding makes other than 0.
    if values.iter().all(|value| *value == first) || !values.iter().all(|value| value.is_finite()) {
        return None;
    }
    // Scaled first, so that squares neither overflow nor vanish.
    let scaled: Vec<f64> = values.iter().map(|value| value / largest).collect();
    let mean = scaled.iter().sum::<f64>() / scaled.len() as f64;
    let centred: Vec<f64> = scaled.iter().map(|value| value - mean).collect();
    let norm = centred.iter().map(|value| value * value).sum::<f64>().sqrt();
    (norm > 0.0).then(|| centred.iter().map(|value| value / norm).collect())
}

/// The rank of each value from 1, equal values sharing the mean of their ranks.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    // -0.0 and 0.0 are neighbours in the total order and equal here, as they should be.
    for group in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let mean = start as f64 + (group.len() as f64 + 1.0) / 2.0;
        for place in group {
            ranks[*place] = mean;
        }
        start += group.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_share_the_mean_of_their_ranks() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
        assert_eq!(ranks(&[0.0, -0.0]), [1.5, 1.5]);
    }

    #[test]
    fn correlations_that_are_not_defined_are_none() {
        for (x, y) in [
            (&[1.0][..], &[2.0][..]),
            (&[0.1, 0.1, 0.1], &[1.0, 2.0, 3.0]),
            (&[1.0, 2.0], &[f64::NAN, 1.0]),
            (&[1.0, 2.0], &[f64::INFINITY, 1.0]),
        ] {
            assert_eq!((pearson(x, y), spearman(x, y)), (Ok(None), Ok(None)));
        }
        assert_eq!(pearson(&[], &[]), Err(MetricError::Empty));
        assert_eq!(spearman(&[1.0, 2.0], &[1.0]).unwrap_err().to_string(), "expected 2 predictions, found 1");
    }

    #[test]
    fn very_large_and_very_small_values_are_no_matter() {
        for scale in [1e300, 1.0, 1e-300] {
            let x = [1.0, 2.0, 4.0].map(|value| value * scale);
            assert!((pearson(&x, &[1.0, 2.0, 4.0]).unwrap().unwrap() - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn the_mean_of_the_training_scores_predicts() {
        let scores = mean_baseline(&[1.0, 3.0], &[2.0, 4.0]).unwrap();
        assert_eq!((scores.pearson, scores.spearman, scores.mean_squared_error), (None, None, Some(2.0)));
        let error = scores.get(Metric::Accuracy).unwrap_err();
        assert_eq!(error.to_string(), "metric `accuracy` does not measure regression");
    }
}
