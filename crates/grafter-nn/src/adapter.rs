//! The bottleneck adapter (Houlsby et al. 2019, section 2.1, figure 2).
//!
//! `y = x + up · act(down · x + down_bias) + up_bias`. The skip is inside the module: with weights near zero it is
//! nearly the identity, so a freshly grafted network computes what the frozen one did.

use crate::activation::Activation;
use crate::gemm::Start;
use crate::linear::{self, LinearGradients, LinearWeights};
use crate::residual;

/// The numbers of one adapter.
#[derive(Clone, Copy, Debug)]
pub struct AdapterWeights<'a> {
    /// Projection to the bottleneck: weight `[bottleneck, hidden]`, bias `[bottleneck]`.
    pub down: LinearWeights<'a>,
    /// Projection back: weight `[hidden, bottleneck]`, bias `[hidden]`.
    pub up: LinearWeights<'a>,
    /// The non-linearity between the two.
    pub activation: Activation,
}

/// Where the gradients of one adapter are added; the shapes of [`AdapterWeights`].
#[derive(Debug)]
pub struct AdapterGradients<'a> {
    /// Gradients of the projection to the bottleneck.
    pub down: LinearGradients<'a>,
    /// Gradients of the projection back.
    pub up: LinearGradients<'a>,
}

/// Numbers in one adapter: `2 · hidden · bottleneck + hidden + bottleneck`.
pub fn parameter_count(hidden: usize, bottleneck: usize) -> usize {
    2 * hidden * bottleneck + hidden + bottleneck
}

impl<'a> AdapterWeights<'a> {
    /// Reads `down.weight, down.bias, up.weight, up.bias` from one block, in this order.
    /// # Panics
    /// If the block has not [`parameter_count`] elements.
    pub fn split(block: &'a [f32], hidden: usize, activation: Activation) -> Self {
        let bottleneck = bottleneck_of(block.len(), hidden);
        let (down, up) = block.split_at((hidden + 1) * bottleneck);
        Self {
            down: LinearWeights::split(down, bottleneck),
            up: LinearWeights::split(up, hidden),
            activation,
        }
    }

    /// Width of the bottleneck.
    pub fn bottleneck(&self) -> usize {
        self.down.bias.len()
    }
}

impl<'a> AdapterGradients<'a> {
    /// The gradients in one block, in the order of [`AdapterWeights::split`].
    /// # Panics
    /// If the block has not [`parameter_count`] elements.
    pub fn split(block: &'a mut [f32], hidden: usize) -> Self {
        let bottleneck = bottleneck_of(block.len(), hidden);
        let (down, up) = block.split_at_mut((hidden + 1) * bottleneck);
        Self { down: LinearGradients::split(down, bottleneck), up: LinearGradients::split(up, hidden) }
    }
}

fn bottleneck_of(numbers: usize, hidden: usize) -> usize {
    let bottleneck = numbers.saturating_sub(hidden) / (2 * hidden + 1);
    assert_eq!(numbers, parameter_count(hidden, bottleneck), "numbers of an adapter on {hidden} features");
    bottleneck
}

/// What [`forward`] keeps for [`backward`], both `[tokens, bottleneck]`.
#[derive(Debug)]
pub struct AdapterCache<'a> {
    /// Values of the bottleneck before the non-linearity.
    pub before: &'a mut [f32],
    /// Values of the bottleneck after the non-linearity.
    pub after: &'a mut [f32],
}

/// `y = x + up · act(down · x + down_bias) + up_bias`
/// # Shapes
/// x, y `[tokens, hidden]`
pub fn forward(weights: AdapterWeights<'_>, x: &[f32], cache: AdapterCache<'_>, y: &mut [f32]) {
    forward_branch(weights, x, cache, y);
    residual::add(x, y);
}

/// [`forward`] without its skip, where the skip starts at another place: `y = up · act(down · x + down_bias) + up_bias`.
/// # Shapes
/// x, y `[tokens, hidden]`
pub fn forward_branch(weights: AdapterWeights<'_>, x: &[f32], cache: AdapterCache<'_>, y: &mut [f32]) {
    linear::forward(weights.down, x, cache.before);
    weights.activation.forward(cache.before, cache.after);
    linear::forward(weights.up, cache.after, y);
}

/// What [`backward`] reads of the forward pass.
#[derive(Clone, Copy, Debug)]
pub struct AdapterInputs<'a> {
    /// `[tokens, hidden]`
    pub x: &'a [f32],
    /// `[tokens, bottleneck]`, see [`AdapterCache::before`]
    pub before: &'a [f32],
    /// `[tokens, bottleneck]`, see [`AdapterCache::after`]
    pub after: &'a [f32],
}

/// Adds the gradients of the weights and turns d_y into d_x in place: `d` holds d_y before and d_x after.
/// # Shapes
/// d `[tokens, hidden]`; d_bottleneck (scratch) `[tokens, bottleneck]`
pub fn backward(
    weights: AdapterWeights<'_>,
    inputs: AdapterInputs<'_>,
    d: &mut [f32],
    d_bottleneck: &mut [f32],
    gradients: AdapterGradients<'_>,
) {
    backward_to_bottleneck(weights, inputs, d, d_bottleneck, gradients);
    // The skip: d already holds d_y, which is one part of d_x.
    linear::backward_input(weights.down.weight, d_bottleneck, d, weights.bottleneck(), Start::Result);
}

/// The backward pass of [`forward_branch`]: adds the gradients of the weights and writes d_x.
/// # Shapes
/// d_y, d_x `[tokens, hidden]`; d_bottleneck (scratch) `[tokens, bottleneck]`
pub fn backward_branch(
    weights: AdapterWeights<'_>,
    inputs: AdapterInputs<'_>,
    (d_y, d_x): (&[f32], &mut [f32]),
    d_bottleneck: &mut [f32],
    gradients: AdapterGradients<'_>,
) {
    backward_to_bottleneck(weights, inputs, d_y, d_bottleneck, gradients);
    linear::backward_input(weights.down.weight, d_bottleneck, d_x, weights.bottleneck(), Start::Zero);
}

fn backward_to_bottleneck(
    weights: AdapterWeights<'_>,
    inputs: AdapterInputs<'_>,
    d_y: &[f32],
    d_bottleneck: &mut [f32],
    gradients: AdapterGradients<'_>,
) {
    linear::backward_input(weights.up.weight, d_y, d_bottleneck, weights.up.bias.len(), Start::Zero);
    linear::backward_weights(inputs.after, d_y, gradients.up);
    weights.activation.backward(inputs.before, d_bottleneck);
    linear::backward_weights(inputs.x, d_bottleneck, gradients.down);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, assert_close, central_differences, weighted_sum, widen};

    /// Two products and an activation in f32.
    const TOLERANCE: f64 = 2e-5;

    fn exact(block: &[f64], x: &[f64], hidden: usize, bottleneck: usize) -> Vec<f64> {
        let (down, rest) = block.split_at(hidden * bottleneck);
        let (down_bias, rest) = rest.split_at(bottleneck);
        let (up, up_bias) = rest.split_at(hidden * bottleneck);
        let mut y = Vec::new();
        for row in x.chunks(hidden) {
            let inner: Vec<f64> = (0..bottleneck)
                .map(|m| {
                    let sum: f64 = (0..hidden).map(|h| down[m * hidden + h] * row[h]).sum();
                    let value = sum + down_bias[m];
                    value / (1.0 + (-value).exp())
                })
                .collect();
            for h in 0..hidden {
                y.push(
                    row[h]
                        + up_bias[h]
                        + (0..bottleneck).map(|m| up[h * bottleneck + m] * inner[m]).sum::<f64>(),
                );
            }
        }
        y
    }

    #[test]
    fn forward_equals_f64_and_backward_central_differences() {
        let mut random = Random::new(7);
        for (tokens, hidden, bottleneck) in [(1, 6, 2), (5, 9, 4), (3, 4, 1)] {
            let block = random.normals(parameter_count(hidden, bottleneck));
            let x = random.normals(tokens * hidden);
            let d_y = random.normals(tokens * hidden);
            let weights = AdapterWeights::split(&block, hidden, Activation::Silu);
            let (mut before, mut after) = (vec![0.0; tokens * bottleneck], vec![0.0; tokens * bottleneck]);
            let mut y = vec![0.0; x.len()];
            forward(weights, &x, AdapterCache { before: &mut before, after: &mut after }, &mut y);
            let (block64, x64) = (widen(&block), widen(&x));
            assert_close("output", &y, &exact(&block64, &x64, hidden, bottleneck), TOLERANCE, TOLERANCE);

            let mut d = d_y.clone();
            let mut d_block = vec![0.0; block.len()];
            let inputs = AdapterInputs { x: &x, before: &before, after: &after };
            let mut scratch = vec![0.0; tokens * bottleneck];
            backward(weights, inputs, &mut d, &mut scratch, AdapterGradients::split(&mut d_block, hidden));
            let expected =
                central_differences(&x64, |x| weighted_sum(&exact(&block64, x, hidden, bottleneck), &d_y));
            assert_close("d_x", &d, &expected, TOLERANCE, TOLERANCE);
            let expected =
                central_differences(&block64, |b| weighted_sum(&exact(b, &x64, hidden, bottleneck), &d_y));
            assert_close("gradients", &d_block, &expected, TOLERANCE, TOLERANCE);

            // Without the skip: less x forward, less d_y backward, and the same gradients.
            let (mut before, mut after) = (before.clone(), after.clone());
            let mut branch = vec![0.0; x.len()];
            let cache = AdapterCache { before: &mut before, after: &mut after };
            forward_branch(weights, &x, cache, &mut branch);
            let expected: Vec<f64> = exact(&block64, &x64, hidden, bottleneck);
            let expected: Vec<f64> = expected.iter().zip(&x64).map(|(y, x)| y - x).collect();
            assert_close("branch", &branch, &expected, TOLERANCE, TOLERANCE);
            let (mut d_x, mut d_again) = (vec![f32::NAN; x.len()], vec![0.0; block.len()]);
            let gradients = AdapterGradients::split(&mut d_again, hidden);
            let inputs = AdapterInputs { x: &x, before: &before, after: &after };
            backward_branch(weights, inputs, (&d_y, &mut d_x), &mut scratch, gradients);
            let with_skip: Vec<f64> =
                d_x.iter().zip(&d_y).map(|(x, y)| f64::from(*x) + f64::from(*y)).collect();
            assert_close("d_x and skip", &d, &with_skip, TOLERANCE, TOLERANCE);
            assert_eq!(d_again, d_block);
        }
    }

    #[test]
    fn a_zero_adapter_is_the_identity() {
        let mut random = Random::new(8);
        let x = random.normals(30);
        let block = vec![0.0; parameter_count(10, 3)];
        let (mut before, mut after, mut y) = (vec![0.0; 9], vec![0.0; 9], vec![0.0; 30]);
        let weights = AdapterWeights::split(&block, 10, Activation::Relu);
        forward(weights, &x, AdapterCache { before: &mut before, after: &mut after }, &mut y);
        assert_eq!(x, y);
    }
}
