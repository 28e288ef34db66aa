//! Layer normalisation (Ba, Kiros & Hinton 2016).
//!
//! `y = weight · (x - mean(x)) / √(var(x) + eps) + bias`, with mean and variance over the features of **one token**.
//!
//! Why normalise: a deep stack works only while the scale of what each layer reads stays in the range that its weights
//! were trained for. Why per sample and not per batch: batch normalisation (Ioffe & Szegedy 2015) takes its mean over
//! the rows of a batch, so a text's output would depend on which texts stand beside it, on the batch's size and on
//! padding, and training and inference would need different formulas. Layer normalisation looks at one token alone:
//! the same code in training and in inference, any length, a batch of one; a text in a batch gets what it gets alone.
//!
//! Why tune it per task: weight and bias are `2 · hidden` numbers a place, almost free, and they rescale every feature
//! that the frozen layers read. Houlsby et al. 2019, section 2.1, train them together with the adapters.

use crate::simd::{lane_sum, vectorised};

/// Scale and shift of one layer normalisation.
#[derive(Clone, Copy, Debug)]
pub struct LayerNormWeights<'a> {
    /// Scale `[hidden]`.
    pub weight: &'a [f32],
    /// Shift `[hidden]`.
    pub bias: &'a [f32],
}

impl<'a> LayerNormWeights<'a> {
    /// Reads `weight` and `bias` from one block, in this order.
    /// # Panics
    /// If the block's length is odd.
    pub fn split(block: &'a [f32]) -> Self {
        assert_eq!(block.len() % 2, 0, "a layer normalisation has as many scales as shifts");
        let (weight, bias) = block.split_at(block.len() / 2);
        Self { weight, bias }
    }
}

/// What [`forward`] keeps for [`backward_input`] and [`backward_weights`].
#[derive(Debug)]
pub struct LayerNormCache<'a> {
    /// `(x - mean) · rstd`, `[tokens, hidden]`.
    pub normalised: &'a mut [f32],
    /// `1 / √(var + eps)`, `[tokens]`.
    pub rstd: &'a mut [f32],
}

/// `y = weight · (x - mean) / √(var + eps) + bias`, the variance taken over the features without Bessel's correction.
/// # Shapes
/// x, y `[tokens, hidden]`
/// # Panics
/// If the lengths do not fit.
pub fn forward(weights: LayerNormWeights<'_>, eps: f32, x: &[f32], cache: LayerNormCache<'_>, y: &mut [f32]) {
    let hidden = weights.weight.len();
    assert_eq!(x.len(), y.len(), "layer normalisation: output");
    assert_eq!(x.len(), cache.normalised.len(), "layer normalisation: cache");
    assert_eq!(x.len(), cache.rstd.len() * hidden, "layer normalisation: tokens");
    forward_rows(weights.weight, weights.bias, eps, x, cache.normalised, cache.rstd, y);
}

vectorised! {
    fn forward_rows(weight: &[f32], bias: &[f32], eps: f32, x: &[f32], normalised: &mut [f32], rstd: &mut [f32], y: &mut [f32]) {
        let hidden = weight.len();
        let bias = &bias[..hidden];
        for (token, rstd) in rstd.iter_mut().enumerate() {
            let x = &x[token * hidden..][..hidden];
            let normalised = &mut normalised[token * hidden..][..hidden];
            let y = &mut y[token * hidden..][..hidden];
            let mean = lane_sum(hidden, |index| x[index]) / hidden as f32;
            let variance = lane_sum(hidden, |index| (x[index] - mean) * (x[index] - mean)) / hidden as f32;
            *rstd = 1.0 / (variance + eps).sqrt();
            for index in 0..hidden {
                let value = (x[index] - mean) * *rstd;
                normalised[index] = value;
                y[index] = weight[index] * value + bias[index];
            }
        }
    }
}

/// Gradient of the input, in place: `d` holds d_y before and d_x after.
///
/// With `g = weight · d_y`: `d_x = rstd · (g - mean(g) - normalised · mean(g · normalised))`.
/// # Shapes
/// d, normalised `[tokens, hidden]`; rstd `[tokens]`
pub fn backward_input(weight: &[f32], normalised: &[f32], rstd: &[f32], d: &mut [f32]) {
    assert_eq!(d.len(), normalised.len(), "layer normalisation: gradient");
    assert_eq!(d.len(), rstd.len() * weight.len(), "layer normalisation: tokens");
    backward_input_rows(weight, normalised, rstd, d);
}

vectorised! {
    fn backward_input_rows(weight: &[f32], normalised: &[f32], rstd: &[f32], d: &mut [f32]) {
        let hidden = weight.len();
        for (token, rstd) in rstd.iter().enumerate() {
            let normalised = &normalised[token * hidden..][..hidden];
            let d = &mut d[token * hidden..][..hidden];
            for index in 0..hidden {
                d[index] *= weight[index];
            }
            let mean = lane_sum(hidden, |index| d[index]) / hidden as f32;
            let along = lane_sum(hidden, |index| d[index] * normalised[index]) / hidden as f32;
            for index in 0..hidden {
                d[index] = rstd * (d[index] - mean - normalised[index] * along);
            }
        }
    }
}

/// Adds the gradients of scale and shift: `d_weight += Σ d_y · normalised`, `d_bias += Σ d_y`, summed over the tokens.
/// # Shapes
/// d_y, normalised `[tokens, hidden]`; d_weight, d_bias `[hidden]`
pub fn backward_weights(normalised: &[f32], d_y: &[f32], d_weight: &mut [f32], d_bias: &mut [f32]) {
    assert_eq!(d_y.len(), normalised.len(), "layer normalisation: gradient");
    assert_eq!(d_weight.len(), d_bias.len(), "layer normalisation: weights");
    backward_weights_rows(normalised, d_y, d_weight, d_bias);
}

/// [`backward_weights`] of a layer normalisation without a shift: `d_weight += Σ d_y · normalised`.
/// # Shapes
/// d_y, normalised `[tokens, hidden]`; d_weight `[hidden]`
pub fn backward_scale(normalised: &[f32], d_y: &[f32], d_weight: &mut [f32]) {
    assert_eq!(d_y.len(), normalised.len(), "layer normalisation: gradient");
    backward_scale_rows(normalised, d_y, d_weight);
}

vectorised! {
    fn backward_scale_rows(normalised: &[f32], d_y: &[f32], d_weight: &mut [f32]) {
        let hidden = d_weight.len();
        for (normalised, d_y) in normalised.chunks_exact(hidden).zip(d_y.chunks_exact(hidden)) {
            for index in 0..hidden {
                d_weight[index] += d_y[index] * normalised[index];
            }
        }
    }
}

vectorised! {
    fn backward_weights_rows(normalised: &[f32], d_y: &[f32], d_weight: &mut [f32], d_bias: &mut [f32]) {
        let hidden = d_weight.len();
        let d_bias = &mut d_bias[..hidden];
        for (normalised, d_y) in normalised.chunks_exact(hidden).zip(d_y.chunks_exact(hidden)) {
            for index in 0..hidden {
                d_weight[index] += d_y[index] * normalised[index];
                d_bias[index] += d_y[index];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, assert_close, central_differences, weighted_sum, widen};

    /// Sums of up to 40 values of order one in f32.
    const TOLERANCE: f64 = 5e-6;
    const EPS: f32 = 1e-5;

    fn exact(weight: &[f64], bias: &[f64], x: &[f64]) -> Vec<f64> {
        let hidden = weight.len();
        let mut y = Vec::new();
        for row in x.chunks(hidden) {
            let mean = row.iter().sum::<f64>() / hidden as f64;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / hidden as f64;
            for (index, x) in row.iter().enumerate() {
                y.push(weight[index] * (x - mean) / (variance + f64::from(EPS)).sqrt() + bias[index]);
            }
        }
        y
    }

    #[test]
    fn forward_equals_f64_and_backward_central_differences() {
        let mut random = Random::new(5);
        for (tokens, hidden) in [(1, 16), (3, 7), (4, 33)] {
            let x = random.normals(tokens * hidden);
            let weight = random.normals(hidden);
            let bias = random.normals(hidden);
            let d_y = random.normals(tokens * hidden);
            let mut normalised = vec![0.0; x.len()];
            let mut rstd = vec![0.0; tokens];
            let mut y = vec![0.0; x.len()];
            let weights = LayerNormWeights { weight: &weight, bias: &bias };
            forward(
                weights,
                EPS,
                &x,
                LayerNormCache { normalised: &mut normalised, rstd: &mut rstd },
                &mut y,
            );
            let (weight64, bias64, x64) = (widen(&weight), widen(&bias), widen(&x));
            assert_close("output", &y, &exact(&weight64, &bias64, &x64), TOLERANCE, TOLERANCE);

            let mut d_x = d_y.clone();
            backward_input(&weight, &normalised, &rstd, &mut d_x);
            let expected = central_differences(&x64, |x| weighted_sum(&exact(&weight64, &bias64, x), &d_y));
            assert_close("d_x", &d_x, &expected, TOLERANCE, TOLERANCE);

            let (mut d_weight, mut d_bias) = (vec![1.0; hidden], vec![2.0; hidden]);
            backward_weights(&normalised, &d_y, &mut d_weight, &mut d_bias);
            let mut expected =
                central_differences(&weight64, |w| weighted_sum(&exact(w, &bias64, &x64), &d_y));
            expected.iter_mut().for_each(|value| *value += 1.0);
            assert_close("d_weight", &d_weight, &expected, TOLERANCE, TOLERANCE);
            let mut d_scale = vec![1.0; hidden];
            backward_scale(&normalised, &d_y, &mut d_scale);
            assert_eq!(d_scale, d_weight, "the scale's gradient is the same without a shift");
            let mut expected =
                central_differences(&bias64, |b| weighted_sum(&exact(&weight64, b, &x64), &d_y));
            expected.iter_mut().for_each(|value| *value += 2.0);
            assert_close("d_bias", &d_bias, &expected, TOLERANCE, TOLERANCE);
        }
    }
}
