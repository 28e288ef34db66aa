//! Means, standard deviations, and how far a difference between two methods may be due to the rows that were drawn.
//!
//! The interval is that of the paired bootstrap: rows are drawn again with replacement, both methods are scored on the
//! same drawn rows, and the interval holds the middle 95 % of the differences. Efron & Tibshirani 1993, *An Introduction
//! to the Bootstrap*, section 13.3 (the percentile interval); Koehn 2004, *Statistical Significance Tests for Machine
//! Translation Evaluation* (pairs of systems on the same rows). It tells of the rows, not of the seeds.

use serde::{Deserialize, Serialize};

use super::task::RowAnswers;
use crate::metrics::{
    EntityScores, Metric, MultiLabelScores, Scores, accuracy, f1_binary, f1_macro, matthews, pearson,
    spearman, word_scores,
};
use crate::random::Random;

/// How often the rows are drawn; with this number both ends of the interval are drawn values.
pub const RESAMPLES: usize = 1999;
/// The share of the differences that lies in the interval.
pub const LEVEL: f64 = 0.95;
/// Decides which rows are drawn.
const SEED: u64 = 0x6772_6166_7465_7221;

/// The mean; `None` of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The standard deviation of a sample, `sqrt(Σ (x - mean)² / (n - 1))`; `None` of fewer than two values.
pub fn standard_deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|_| values.len() > 1)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

/// Where a number most likely lies.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The value of a metric on some of the rows, which may occur more than once; `None` where it is not defined, or the
/// metric is of another kind than the answers.
/// # Panics
/// If a row is not below the number of targets and of answers.
pub fn value_on(
    metric: Metric,
    classes: usize,
    (targets, answers): (&RowAnswers, &RowAnswers),
    rows: &[usize],
) -> Option<f64> {
    match (targets, answers) {
        (RowAnswers::Classes(targets), RowAnswers::Classes(answers)) => {
            let picked = |from: &[usize]| -> Vec<usize> { rows.iter().map(|row| from[*row]).collect() };
            let (targets, answers) = (picked(targets), picked(answers));
            match metric {
                Metric::Accuracy => accuracy(&targets, &answers).ok(),
                // The positive class is the second, as in `ClassificationScores`.
                Metric::F1 => f1_binary(&targets, &answers, 1).ok(),
                Metric::MacroF1 => f1_macro(&targets, &answers, classes).ok(),
                Metric::Matthews => matthews(&targets, &answers, classes).ok(),
                Metric::MicroF1
                | Metric::Pearson
                | Metric::Spearman
                | Metric::ExactMatch
                | Metric::TokenF1 => None,
            }
        }
        (RowAnswers::Choices(targets), RowAnswers::Choices(answers)) => {
            let right = rows.iter().filter(|row| targets[**row] == answers[**row]).count();
            (metric == Metric::Accuracy && !rows.is_empty()).then(|| right as f64 / rows.len() as f64)
        }
        (RowAnswers::Answers(_), RowAnswers::Answers(answers)) => {
            let of = match metric {
                Metric::ExactMatch => 0,
                Metric::TokenF1 => 1,
                _ => return None,
            };
            mean(&rows.iter().map(|row| answers[*row][of]).collect::<Vec<f64>>())
        }
        (RowAnswers::Sets(targets), RowAnswers::Sets(answers)) => {
            let picked = rows.iter().map(|row| (&targets[*row], &answers[*row]));
            MultiLabelScores::of_rows(picked, classes).ok()?.get(metric).ok()
        }
        (RowAnswers::Entities(targets), RowAnswers::Entities(answers)) => {
            let picked = rows.iter().map(|row| (&targets[*row], &answers[*row]));
            EntityScores::of_rows(picked, classes).ok()?.get(metric).ok()
        }
        (RowAnswers::Tags(targets), RowAnswers::Tags(answers)) => {
            let picked = rows.iter().map(|row| (&targets[*row], &answers[*row]));
            Scores::Tags(word_scores(picked, classes).ok()?).get(metric).ok().flatten()
        }
        (RowAnswers::Scores(targets), RowAnswers::Scores(answers)) => {
            let picked =
                |from: &[f32]| -> Vec<f64> { rows.iter().map(|row| f64::from(from[*row])).collect() };
            let (targets, answers) = (picked(targets), picked(answers));
            match metric {
                Metric::Pearson => pearson(&targets, &answers).ok().flatten(),
                Metric::Spearman => spearman(&targets, &answers).ok().flatten(),
                Metric::Accuracy
                | Metric::F1
                | Metric::MacroF1
                | Metric::MicroF1
                | Metric::Matthews
                | Metric::ExactMatch
                | Metric::TokenF1 => None,
            }
        }
        _ => None,
    }
}

/// The rows of a data set, drawn with replacement again and again. The same data gives the same draws, whatever is scored
/// on them, so that methods are compared on the same rows.
#[derive(Clone, Debug)]
pub struct Resampling {
    random: Random,
    rows: usize,
}

impl Resampling {
    /// The draws of a data set of so many rows; its digest decides them.
    pub fn new(rows: usize, sha256: &str) -> Self {
        let stream = u64::from_str_radix(sha256.get(..16).unwrap_or_default(), 16).unwrap_or_default();
        Self { random: Random::new(SEED).stream(stream), rows }
    }

    /// The value of a statistic on each of the draws.
    pub fn values(&self, mut statistic: impl FnMut(&[usize]) -> Option<f64>) -> Vec<Option<f64>> {
        let mut random = self.random.clone();
        let mut drawn = vec![0; self.rows];
        (0..RESAMPLES)
            .map(|_| {
                // The bias of the remainder is below 2^-40 for any number of rows that fits into memory.
                drawn.iter_mut().for_each(|row| *row = (random.bits() % self.rows as u64) as usize);
                statistic(&drawn)
            })
            .collect()
    }
}

/// The percentile interval of resampled values: of `n` in order the `k`th and the `(n + 1 - k)`th, where `k` is
/// `(n + 1) · (1 - LEVEL) / 2`, rounded down but at least 1. `None` if the statistic was defined on fewer than half of
/// the draws.
pub fn percentile_interval(values: &[Option<f64>]) -> Option<Interval> {
    let mut defined: Vec<f64> = values.iter().flatten().copied().collect();
    let n = defined.len();
    if n == 0 || 2 * n < values.len() {
        return None;
    }
    defined.sort_by(f64::total_cmp);
    // A hair above, so that 2000 · 0.025 is 50 and not 49.99….
    let k = (((n + 1) as f64 * (1.0 - LEVEL) / 2.0 + 1e-9) as usize).max(1);
    Some(Interval { low: defined[k - 1], high: defined[n - k] })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "00000000000000ff00";

    #[test]
    fn mean_and_standard_deviation_of_known_samples() {
        // Sum of squares 32 about the mean 5, over 7.
        let values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        assert_eq!(mean(&values), Some(5.0));
        assert_eq!(standard_deviation(&values), Some((32.0_f64 / 7.0).sqrt()));
        assert_eq!((mean(&[]), standard_deviation(&[]), standard_deviation(&[3.0])), (None, None, None));
        assert_eq!(standard_deviation(&[3.0, 3.0]), Some(0.0));
    }

    #[test]
    fn the_interval_is_of_ordered_values() {
        // Of 1 to 1999, the 50th and the 1950th.
        let values: Vec<Option<f64>> = (1..=1999).rev().map(|value| Some(f64::from(value))).collect();
        assert_eq!(percentile_interval(&values), Some(Interval { low: 50.0, high: 1950.0 }));
        assert_eq!(percentile_interval(&[Some(3.0)]), Some(Interval { low: 3.0, high: 3.0 }));
        assert_eq!(percentile_interval(&[]), None);
        assert_eq!(percentile_interval(&[Some(1.0), None, None]), None);
    }

    #[test]
    fn two_rows_are_drawn_as_often_as_algebra_says() {
        // Of two rows with 0 and 1 the mean is 0, 1/2, 1 in 1/4, 1/2, 1/4 of the draws.
        let values = Resampling::new(2, DIGEST)
            .values(|rows| mean(&rows.iter().map(|row| *row as f64).collect::<Vec<_>>()));
        assert_eq!(values.len(), RESAMPLES);
        for (value, share) in [(0.0, 0.25), (0.5, 0.5), (1.0, 0.25)] {
            let count = values.iter().filter(|found| **found == Some(value)).count() as f64;
            let n = RESAMPLES as f64;
            // Five standard deviations of a binomial count.
            let most = 5.0 * (n * share * (1.0 - share)).sqrt();
            assert!((count - n * share).abs() < most, "{value}: {count} of {n}");
        }
        assert_eq!(percentile_interval(&values), Some(Interval { low: 0.0, high: 1.0 }));
    }

    #[test]
    fn the_width_is_that_of_the_normal_approximation() {
        // 1,000 rows, of which 100 are won and 60 lost: the difference has the standard deviation
        // sqrt((0.16 - 0.04²) / 1000).
        let wins: Vec<f64> = (0..1000)
            .map(|row| {
                if row < 100 {
                    1.0
                } else if row < 160 {
                    -1.0
                } else {
                    0.0
                }
            })
            .collect();
        let values = Resampling::new(1000, DIGEST)
            .values(|rows| Some(rows.iter().map(|row| wins[*row]).sum::<f64>() / 1000.0));
        let interval = percentile_interval(&values).unwrap();
        let half = 1.959_964 * ((0.16_f64 - 0.04 * 0.04) / 1000.0).sqrt();
        // The end of an interval of 1,999 draws has a standard error of 0.06 standard deviations: sqrt(p (1 - p) / n)
        // over the normal density at 1.96. Four of them.
        let error = 4.0 * 0.06 * half / 1.959_964;
        assert!((interval.low - (0.04 - half)).abs() < error, "{interval:?}");
        assert!((interval.high - (0.04 + half)).abs() < error, "{interval:?}");
    }

    #[test]
    fn the_same_rows_are_drawn_for_the_same_data_alone() {
        let drawn = |digest: &str| Resampling::new(50, digest).values(|rows| Some(rows[0] as f64));
        assert_eq!(drawn(DIGEST), drawn(DIGEST));
        assert_ne!(drawn(DIGEST), drawn("00000000000000fe00"));
    }

    #[test]
    fn metrics_are_those_of_the_scores() {
        use crate::metrics::{ClassificationScores, RegressionScores, Scores};
        let (targets, answers) = (vec![0, 1, 1, 0, 1, 1], vec![0, 1, 0, 1, 1, 1]);
        let rows = [0, 1, 2, 3, 4, 5];
        let scores = Scores::Classification(ClassificationScores::compute(&targets, &answers, 2).unwrap());
        let pair = (&RowAnswers::Classes(targets), &RowAnswers::Classes(answers));
        for metric in [Metric::Accuracy, Metric::F1, Metric::MacroF1, Metric::Matthews] {
            assert_eq!(value_on(metric, 2, pair, &rows), scores.get(metric).unwrap(), "{metric}");
        }
        assert_eq!(
            value_on(Metric::Accuracy, 2, pair, &[2, 2, 0]),
            Some(1.0 / 3.0),
            "a row counts as often as drawn"
        );
        assert_eq!(value_on(Metric::Pearson, 2, pair, &rows), None);
        let (targets, answers) = (vec![1.0, 2.5, 3.0, 0.5], vec![1.5, 2.0, 3.5, 0.0]);
        let scores = Scores::Regression(RegressionScores::compute(&targets, &answers).unwrap());
        let pair = (&RowAnswers::Scores(targets), &RowAnswers::Scores(answers));
        for metric in [Metric::Pearson, Metric::Spearman] {
            assert_eq!(value_on(metric, 0, pair, &rows[..4]), scores.get(metric).unwrap(), "{metric}");
        }
        assert_eq!(
            value_on(Metric::Pearson, 0, pair, &[1, 1]),
            None,
            "one row drawn twice has no correlation"
        );
    }
}
