//! AdamW (Kingma & Ba 2014; Loshchilov & Hutter 2017) over the flat vector of trained parameters.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::adapter::ParameterSpec;

/// Settings of AdamW.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdamW {
    /// Decay of the mean of the gradients.
    pub beta1: f64,
    /// Decay of the mean of the squared gradients.
    pub beta2: f64,
    /// Added to the root of the squared gradients.
    pub eps: f64,
    /// Decoupled weight decay, on matrices only.
    pub weight_decay: f64,
    /// Whether the means are corrected for beginning at zero, as in PyTorch. The original BERT code does not, which
    /// makes the first steps several times larger and training on small data less stable (Zhang et al. 2020).
    pub bias_correction: bool,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-6, weight_decay: 0.01, bias_correction: true }
    }
}

/// The running means of the gradients and of their squares, and how many updates they have seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// Mean of the gradients.
    pub mean: Vec<f32>,
    /// Mean of the squared gradients.
    pub square: Vec<f32>,
    /// Updates so far.
    pub updates: u64,
}

impl Moments {
    /// Moments of `numbers` parameters that have not been updated yet.
    pub fn zero(numbers: usize) -> Self {
        Self { mean: vec![0.0; numbers], square: vec![0.0; numbers], updates: 0 }
    }
}

impl AdamW {
    /// One update, in place:
    /// `m = β1 m + (1 - β1) g`, `v = β2 v + (1 - β2) g²`, `p -= rate · (m̂ / (√v̂ + eps) + decay · p)`.
    /// # Panics
    /// If values, gradients and moments differ in length.
    pub fn update(
        &self,
        specs: &[ParameterSpec],
        rate: f64,
        gradients: &[f32],
        moments: &mut Moments,
        values: &mut [f32],
    ) {
        assert_eq!(values.len(), gradients.len(), "gradients of an update");
        assert_eq!(values.len(), moments.mean.len(), "moments of an update");
        moments.updates += 1;
        let updates = moments.updates as f64;
        let (correct1, correct2) = if self.bias_correction {
            (1.0 - self.beta1.powf(updates), (1.0 - self.beta2.powf(updates)).sqrt())
        } else {
            (1.0, 1.0)
        };
        // p -= step · m / (√v + eps'), with both corrections drawn out of the loop.
        let step = (rate * correct2 / correct1) as f32;
        let eps = (self.eps * correct2) as f32;
        let (beta1, beta2) = (self.beta1 as f32, self.beta2 as f32);
        let mut work = Vec::with_capacity(specs.len());
        let (mut values, mut gradients) = (values, gradients);
        let (mut means, mut squares) = (&mut moments.mean[..], &mut moments.square[..]);
        for spec in specs {
            let decay = if spec.role.decays() { (rate * self.weight_decay) as f32 } else { 0.0 };
            let count = spec.range.len();
            let whole = "the specs cover the values in order";
            let tensor = values.split_off_mut(..count).expect(whole);
            let moments =
                (means.split_off_mut(..count).expect(whole), squares.split_off_mut(..count).expect(whole));
            work.push((tensor, gradients.split_off(..count).expect(whole), moments, decay));
        }
        work.into_par_iter().for_each(|(values, gradients, (means, squares), decay)| {
            let moments = means.iter_mut().zip(squares);
            for ((value, gradient), (mean, square)) in values.iter_mut().zip(gradients).zip(moments) {
                *mean = beta1 * *mean + (1.0 - beta1) * gradient;
                *square = beta2 * *square + (1.0 - beta2) * gradient * gradient;
                *value -= step * *mean / (square.sqrt() + eps) + decay * *value;
            }
        });
    }
}

/// Gradients whose squares are summed by one thread; the sums are added in order.
const NORM_BLOCK: usize = 1 << 14;

/// Scales the gradients so that their norm is at most `max_norm`; returns the norm before.
///
/// The factor is `max_norm / (norm + 1e-6)`, as in PyTorch's `clip_grad_norm_`.
pub fn clip_to_norm(gradients: &mut [f32], max_norm: f64) -> f64 {
    let squares: Vec<f64> = gradients
        .par_chunks(NORM_BLOCK)
        .map(|block| block.iter().map(|gradient| f64::from(*gradient).powi(2)).sum())
        .collect();
    let norm = squares.iter().sum::<f64>().sqrt();
    let factor = max_norm / (norm + 1e-6);
    if factor < 1.0 {
        gradients.par_chunks_mut(NORM_BLOCK).for_each(|block| {
            block.iter_mut().for_each(|gradient| *gradient *= factor as f32);
        });
    }
    norm
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::Role;

    fn specs() -> Vec<ParameterSpec> {
        let spec = |range: std::ops::Range<usize>, role| ParameterSpec {
            name: String::new(),
            shape: vec![range.len()],
            range,
            role,
        };
        vec![spec(0..1, Role::AdapterWeight), spec(1..2, Role::Bias)]
    }

    #[test]
    fn the_first_corrected_step_is_the_rate_and_decay_acts_on_matrices_only() {
        let optimizer = AdamW { eps: 0.0, weight_decay: 0.5, ..AdamW::default() };
        let mut moments = Moments::zero(2);
        let mut values = [2.0, 2.0];
        optimizer.update(&specs(), 0.1, &[3.0, -7.0], &mut moments, &mut values);
        assert!((values[0] - (2.0 - 0.1 - 0.1 * 0.5 * 2.0)).abs() < 1e-6, "{values:?}");
        assert!((values[1] - 2.1).abs() < 1e-6, "{values:?}");
    }

    #[test]
    fn without_correction_the_first_step_is_larger() {
        let optimizer = AdamW { eps: 0.0, weight_decay: 0.0, bias_correction: false, ..AdamW::default() };
        let mut values = [0.0, 0.0];
        optimizer.update(&specs(), 0.1, &[5.0, 5.0], &mut Moments::zero(2), &mut values);
        let expected = -0.1 * 0.1 / 0.001f32.sqrt();
        assert!((values[0] - expected).abs() < 1e-5, "{values:?} {expected}");
    }

    #[test]
    fn clipping_scales_to_the_norm_and_leaves_small_gradients() {
        let mut gradients = [3.0, 4.0];
        assert_eq!(clip_to_norm(&mut gradients, 1.0), 5.0);
        assert!((gradients[0] - 0.6).abs() < 1e-6 && (gradients[1] - 0.8).abs() < 1e-6);
        let mut gradients = [0.3, 0.4];
        clip_to_norm(&mut gradients, 1.0);
        assert_eq!(gradients, [0.3, 0.4]);
    }
}
