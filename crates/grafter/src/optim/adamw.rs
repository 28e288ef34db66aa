//! AdamW (Kingma & Ba 2014; Loshchilov & Hutter 2017) over the flat vector of trained parameters.

use grafter_nn::adamw::Update;
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

/// Numbers that one thread updates, or sums the squares of, at a time.
const BLOCK: usize = 1 << 14;

impl AdamW {
    /// One update, in place, with the gradients times `scale`:
    /// `m = β1 m + (1 - β1) g`, `v = β2 v + (1 - β2) g²`, `p -= rate · (m̂ / (√v̂ + eps) + decay · p)`.
    /// # Panics
    /// If values, gradients and moments differ in length.
    pub fn update(
        &self,
        specs: &[ParameterSpec],
        rate: f64,
        (gradients, scale): (&[f32], f64),
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
        let of_vectors = Update {
            beta1: self.beta1 as f32,
            beta2: self.beta2 as f32,
            step: (rate * correct2 / correct1) as f32,
            eps: (self.eps * correct2) as f32,
            decay: 0.0,
            scale: scale as f32,
        };
        let of_matrices = Update { decay: (rate * self.weight_decay) as f32, ..of_vectors };
        for spec in specs {
            let update = if spec.role.decays() { of_matrices } else { of_vectors };
            let range = spec.range.clone();
            let moments = moments.mean[range.clone()]
                .par_chunks_mut(BLOCK)
                .zip(moments.square[range.clone()].par_chunks_mut(BLOCK));
            values[range.clone()]
                .par_chunks_mut(BLOCK)
                .zip(gradients[range].par_chunks(BLOCK))
                .zip(moments)
                .for_each(|((values, gradients), (means, squares))| {
                    update.apply(gradients, means, squares, values);
                });
        }
    }
}

/// Blocks whose squares are summed side by side: each sum waits for its own last addition alone.
const SIDE_BY_SIDE: usize = 8;

/// Norm of the gradients. The squares are summed block by block, and then the sums in their order.
pub fn norm(gradients: &[f32]) -> f64 {
    let square = |gradient: f32| f64::from(gradient).powi(2);
    let sums: Vec<[f64; SIDE_BY_SIDE]> = gradients
        .par_chunks(SIDE_BY_SIDE * BLOCK)
        .map(|numbers| {
            let mut sums = [0.0; SIDE_BY_SIDE];
            if numbers.len() == SIDE_BY_SIDE * BLOCK {
                let blocks: [&[f32]; SIDE_BY_SIDE] =
                    std::array::from_fn(|block| &numbers[block * BLOCK..][..BLOCK]);
                for index in 0..BLOCK {
                    for (sum, block) in sums.iter_mut().zip(blocks) {
                        *sum += square(block[index]);
                    }
                }
            } else {
                for (sum, block) in sums.iter_mut().zip(numbers.chunks(BLOCK)) {
                    *sum = block.iter().map(|gradient| square(*gradient)).sum();
                }
            }
            sums
        })
        .collect();
    sums.as_flattened().iter().sum::<f64>().sqrt()
}

/// What gradients of a norm are multiplied by so that it is at most `max_norm`: `max_norm / (norm + 1e-6)`, as in PyTorch's
/// `clip_grad_norm_`, or 1.
pub fn clipping(norm: f64, max_norm: f64) -> f64 {
    (max_norm / (norm + 1e-6)).min(1.0)
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
        optimizer.update(&specs(), 0.1, (&[3.0, -7.0], 1.0), &mut moments, &mut values);
        assert!((values[0] - (2.0 - 0.1 - 0.1 * 0.5 * 2.0)).abs() < 1e-6, "{values:?}");
        assert!((values[1] - 2.1).abs() < 1e-6, "{values:?}");
    }

    #[test]
    fn without_correction_the_first_step_is_larger() {
        let optimizer = AdamW { eps: 0.0, weight_decay: 0.0, bias_correction: false, ..AdamW::default() };
        let mut values = [0.0, 0.0];
        optimizer.update(&specs(), 0.1, (&[10.0, 10.0], 0.5), &mut Moments::zero(2), &mut values);
        let expected = -0.1 * 0.1 / 0.001f32.sqrt();
        assert!((values[0] - expected).abs() < 1e-5, "{values:?} {expected}");
    }

    #[test]
    fn clipping_scales_to_the_norm_and_leaves_small_gradients() {
        let norm = norm(&[3.0, 4.0]);
        assert_eq!(norm, 5.0);
        assert!((clipping(norm, 1.0) - 0.2).abs() < 1e-6);
        assert_eq!(clipping(norm, 6.0), 1.0);
    }

    #[test]
    fn the_norm_of_many_gradients_is_that_of_one_sum() {
        for count in [0, 1, BLOCK, BLOCK * SIDE_BY_SIDE - 1, BLOCK * SIDE_BY_SIDE * 2 + 3 * BLOCK + 5] {
            let gradients: Vec<f32> = (0..count).map(|index| (index % 17) as f32 - 8.0).collect();
            let squares: f64 = gradients.iter().map(|gradient| f64::from(*gradient).powi(2)).sum();
            assert_eq!(norm(&gradients), squares.sqrt(), "whole numbers are summed exactly");
        }
    }
}
