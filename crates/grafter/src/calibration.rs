//! Probabilities that mean what they say: a temperature that is fitted on the dev rows, and how far off probabilities are.
//!
//! `softmax(logits / T)` (Guo et al. 2017, section 4.2). `T` is the one number that makes the labels of the dev rows most
//! probable; it changes no answer, since the order of the logits stays. Nothing here knows files or names.

use std::fmt;

use grafter_nn::loss::softmax;
use serde::{Deserialize, Serialize};

use crate::predict::best_class;

/// What was fitted, and what it changed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The logits are divided by it; above 1 makes the answers less certain.
    pub temperature: f64,
    /// Rows that it was fitted on.
    pub rows: usize,
    /// [`CalibrationBins::error`] of these rows with a temperature of 1.
    pub error_before: f64,
    /// The same with the fitted one.
    pub error_after: f64,
}

impl fmt::Display for Calibration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { temperature, error_before, error_after, .. } = self;
        write!(
            formatter,
            "temperature {temperature:.3}; expected error of the probabilities on dev {error_after:.4}, before {error_before:.4}"
        )
    }
}

/// A temperature is not fitted beyond these.
const MIN_TEMPERATURE: f64 = 0.05;
const MAX_TEMPERATURE: f64 = 20.0;
/// The search ends below this change of the inverse temperature, relative to it.
const CLOSE: f64 = 1e-9;

/// Logits of rows that can be gone through several times, a row after another: `visit` is given a row's number and its logits.
pub trait EachRow {
    /// What goes wrong on the way.
    type Error;
    /// Goes through all rows in their order.
    /// # Errors
    /// If they cannot be read any more.
    fn each(&self, visit: &mut dyn FnMut(usize, &[f32])) -> Result<(), Self::Error>;
}

/// Rows in memory.
impl EachRow for [Vec<f32>] {
    type Error = std::convert::Infallible;

    fn each(&self, visit: &mut dyn FnMut(usize, &[f32])) -> Result<(), Self::Error> {
        self.iter().enumerate().for_each(|(row, logits)| visit(row, logits));
        Ok(())
    }
}

impl Calibration {
    /// Fits the temperature of some rows to their classes, 0.05 to 20. Where every answer is right nothing is known of how
    /// often such answers are wrong, and the temperature stays 1: the labels would be most probable without any doubt.
    /// # Errors
    /// If the rows cannot be read.
    /// # Panics
    /// If a row has no class, or one beyond its logits.
    pub fn fit<R: EachRow + ?Sized>(rows: &R, classes: &[usize]) -> Result<Self, R::Error> {
        let mut all_right = true;
        rows.each(&mut |row, logits| all_right &= best_class(logits) == classes[row])?;
        let temperature = if all_right { 1.0 } else { 1.0 / least_loss(rows, classes)? };
        let (mut before, mut after) = (CalibrationBins::default(), CalibrationBins::default());
        rows.each(&mut |row, logits| {
            before.push(logits, 1.0, classes[row]);
            after.push(logits, temperature, classes[row]);
        })?;
        let (error_before, error_after) = (before.error(), after.error());
        Ok(Self { temperature, rows: classes.len(), error_before, error_after })
    }
}

/// The inverse temperature with the least loss. The loss is convex in it, so its slope says on which side that lies: Newton's
/// method, where it halves the interval, and halves by ratio otherwise.
fn least_loss<R: EachRow + ?Sized>(rows: &R, classes: &[usize]) -> Result<f64, R::Error> {
    let (mut low, mut high) = (1.0 / MAX_TEMPERATURE, 1.0 / MIN_TEMPERATURE);
    for (limit, is_beyond) in [(low, f64::gt as fn(&f64, &f64) -> bool), (high, f64::lt)] {
        if is_beyond(&slope_and_curvature(rows, classes, limit)?.0, &0.0) {
            return Ok(limit);
        }
    }
    let mut inverse = 1.0;
    while high - low > CLOSE * low {
        let (slope, curvature) = slope_and_curvature(rows, classes, inverse)?;
        if slope == 0.0 {
            return Ok(inverse);
        }
        let before = high / low;
        if slope > 0.0 {
            high = inverse
        } else {
            low = inverse
        }
        let newton = inverse - slope / curvature;
        let is_halved = high / low <= before.sqrt();
        let next = if is_halved && newton > low && newton < high { newton } else { (low * high).sqrt() };
        let is_close = (next - inverse).abs() <= CLOSE * inverse;
        inverse = next;
        if is_close {
            break;
        }
    }
    Ok(inverse)
}

/// Of the mean loss `ln Σ exp(β z) - β z_label` by the inverse temperature β: `E[z] - z_label` and `E[z²] - E[z]²`, each under the
/// probabilities of the row, summed over the rows.
fn slope_and_curvature<R: EachRow + ?Sized>(
    rows: &R,
    classes: &[usize],
    inverse: f64,
) -> Result<(f64, f64), R::Error> {
    let (mut slope, mut curvature) = (0.0, 0.0);
    rows.each(&mut |row, logits| {
        let probabilities = probabilities(logits, 1.0 / inverse);
        // From the label's logit on, so that nothing large cancels.
        let label = f64::from(logits[classes[row]]);
        let (mut mean, mut square) = (0.0, 0.0);
        for (probability, logit) in probabilities.iter().zip(logits) {
            let distance = f64::from(*logit) - label;
            mean += probability * distance;
            square += probability * distance * distance;
        }
        slope += mean;
        curvature += square - mean * mean;
    })?;
    Ok((slope, curvature))
}

/// `softmax(logits / temperature)`, in f64.
pub fn probabilities(logits: &[f32], temperature: f64) -> Vec<f64> {
    if temperature == 1.0 {
        return softmax(logits);
    }
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exp = |logit: &f32| ((f64::from(*logit) - f64::from(largest)) / temperature).exp();
    let total: f64 = logits.iter().map(exp).sum();
    logits.iter().map(|logit| exp(logit) / total).collect()
}

/// Bins of [`CalibrationBins`], as Guo et al. have them.
const BINS: usize = 15;

/// How certain answers were and how many of them were right, in bins of the certainty.
#[derive(Clone, Debug, Default)]
pub struct CalibrationBins {
    bins: [Bin; BINS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Bin {
    rows: u64,
    right: u64,
    /// Sum of the certainties.
    certainty: f64,
}

impl CalibrationBins {
    /// Adds the answer to one row: the class of the largest logit, with its probability.
    pub fn push(&mut self, logits: &[f32], temperature: f64, class: usize) {
        let answer = best_class(logits);
        let certainty = probabilities(logits, temperature)[answer];
        // Bins are open below and closed above, `((b - 1) / 15, b / 15]`.
        let bin = ((certainty * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
        let Bin { rows, right, certainty: sum } = &mut self.bins[bin];
        *rows += 1;
        *right += u64::from(answer == class);
        *sum += certainty;
    }

    /// Expected calibration error (Naeini et al. 2015; Guo et al. 2017, equation 3): the mean over the rows of how far the share
    /// of right answers in a bin is from the mean certainty there. 0 without rows.
    pub fn error(&self) -> f64 {
        let rows: u64 = self.bins.iter().map(|bin| bin.rows).sum();
        let off: f64 = self.bins.iter().map(|bin| (bin.right as f64 - bin.certainty).abs()).sum();
        if rows == 0 { 0.0 } else { off / rows as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Rows whose labels are drawn from `softmax(logits / temperature)`.
    fn drawn(rows: usize, temperature: f64) -> (Vec<Vec<f32>>, Vec<usize>) {
        let mut random = Random::new(7).stream(0);
        let logits: Vec<Vec<f32>> =
            (0..rows).map(|_| (0..3).map(|_| 3.0 * random.truncated_normal()).collect()).collect();
        let classes = logits
            .iter()
            .map(|logits| {
                let mut left = random.uniform();
                let probabilities = probabilities(logits, temperature);
                probabilities
                    .iter()
                    .position(|probability| {
                        left -= probability;
                        left < 0.0
                    })
                    .unwrap_or(2)
            })
            .collect();
        (logits, classes)
    }

    #[test]
    fn the_temperature_that_drew_the_labels_is_found() {
        for temperature in [0.4, 1.0, 2.5] {
            let (logits, classes) = drawn(20_000, temperature);
            let found = Calibration::fit(&logits[..], &classes).unwrap();
            let off = (found.temperature / temperature - 1.0).abs();
            assert!(off < 0.05, "{found:?} for {temperature}");
            assert!(found.error_after < 0.015, "{found:?}");
            assert!(temperature == 1.0 || found.error_after < 0.3 * found.error_before, "{found:?}");
        }
    }

    /// Four rows of logits `±1`, three of four right: the probability of a right answer is 3/4 where `e^(2/T) = 3`.
    #[test]
    fn a_fit_by_algebra() {
        let logits = vec![vec![1.0, -1.0]; 4];
        let found = Calibration::fit(&logits[..], &[0, 0, 0, 1]).unwrap();
        assert!((found.temperature - 2.0 / 3.0_f64.ln()).abs() < 1e-8, "{found:?}");
        assert!(found.error_after < 1e-9, "{found:?}");
        let certain = 1.0 / (1.0 + (-2.0_f64).exp());
        assert!((found.error_before - (certain - 0.75)).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn what_is_always_right_or_always_wrong_has_no_fit() {
        let always = |margin: f32, label: usize| {
            let logits = vec![vec![margin, 0.0]; 10];
            Calibration::fit(&logits[..], &[label; 10]).unwrap().temperature
        };
        for margin in [0.5, 5.0, 10.0, 40.0, 1000.0] {
            assert_eq!(always(margin, 0), 1.0, "nothing was wrong");
            assert!((always(margin, 1) / MAX_TEMPERATURE - 1.0).abs() < 1e-12);
        }
    }

    /// One wrong answer of a hundred, whatever the size of the logits: `e^(margin / T) = 99`.
    #[test]
    fn a_fit_is_found_from_far_away() {
        for margin in [0.3, 2.0, 10.0, 40.0, 90.0] {
            let logits = vec![vec![margin, 0.0]; 100];
            let classes: Vec<usize> = (0..100).map(|row| usize::from(row == 0)).collect();
            let found = Calibration::fit(&logits[..], &classes).unwrap();
            let expected = f64::from(margin) / 99.0_f64.ln();
            assert!((found.temperature / expected - 1.0).abs() < 1e-6, "{margin}: {found:?}, {expected}");
            assert!(found.error_after < 1e-8, "{found:?}");
        }
    }

    #[test]
    fn the_error_of_bins() {
        let mut bins = CalibrationBins::default();
        assert_eq!(bins.error(), 0.0);
        // Certainty 0.9 twice, one of them right; certainty 0.6 once, right.
        let logits = |certainty: f32| [0.0, (certainty / (1.0 - certainty)).ln()];
        bins.push(&logits(0.9), 1.0, 1);
        bins.push(&logits(0.9), 1.0, 0);
        bins.push(&logits(0.6), 1.0, 1);
        let expected = (2.0 * (0.9 - 0.5) + (1.0 - 0.6)) / 3.0;
        assert!((bins.error() - expected).abs() < 1e-6, "{}", bins.error());
    }

    #[test]
    fn a_temperature_of_one_changes_no_bit() {
        let logits = [0.3, -2.0, 5.5];
        assert_eq!(probabilities(&logits, 1.0), softmax(&logits));
        let cold = probabilities(&logits, 1e-3);
        assert_eq!(cold, [0.0, 0.0, 1.0]);
    }
}
