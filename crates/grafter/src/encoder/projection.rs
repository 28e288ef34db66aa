//! The linear layers of the encoder as a task has them: with the base's numbers, with a bias of the task's own, or with
//! all numbers of its own.

use grafter_nn::gemm::Start;
use grafter_nn::linear::{self, FrozenLinear, LinearWeights};

use super::activations::Segment;
use super::{Encoder, EncoderLayer};
use crate::adapter::{Projection, Tuned, TunedGradients};

impl EncoderLayer {
    /// One of the four linear layers.
    pub fn linear(&self, projection: Projection) -> &FrozenLinear {
        match projection {
            Projection::QueryKeyValue => &self.query_key_value,
            Projection::AttentionOutput => &self.attention_output,
            Projection::Intermediate => &self.intermediate,
            Projection::Output => &self.output,
        }
    }
}

impl Encoder {
    /// `y = x · weightᵀ + bias`: one product over all tokens where no task brings numbers of its own, otherwise one a segment.
    pub(super) fn project(
        &self,
        (layer, projection): (usize, Projection),
        segments: &[Segment<'_>],
        x: &[f32],
        y: &mut [f32],
    ) {
        let frozen = self.layers[layer].linear(projection);
        let bare = |segment: &Segment<'_>| match segment.task {
            Some(task) => task.projection(layer, projection).is_nothing(),
            None => true,
        };
        if segments.iter().all(bare) {
            return frozen.forward(x, y);
        }
        for segment in segments {
            let (x, y) = (&x[segment.rows(frozen.inputs())], &mut y[segment.rows(frozen.outputs())]);
            let tuned = segment.task.map_or(Tuned::default(), |task| task.projection(layer, projection));
            forward(frozen, tuned, x, y);
        }
    }
}

/// `y = x · weightᵀ + bias`, with what a task has of the layer.
/// # Shapes
/// x `[tokens, inputs]`, y `[tokens, outputs]`
pub(crate) fn forward(frozen: &FrozenLinear, tuned: Tuned<'_>, x: &[f32], y: &mut [f32]) {
    let bias = tuned.bias.unwrap_or(frozen.bias());
    match tuned.weight {
        Some(weight) => linear::forward(LinearWeights { weight, bias }, x, y),
        None => frozen.forward_with_bias(bias, x, y),
    }
}

/// `d_x = start + d_y · weight`
/// # Shapes
/// d_y `[tokens, outputs]`, d_x `[tokens, inputs]`
pub(crate) fn backward_input(
    frozen: &FrozenLinear,
    tuned: Tuned<'_>,
    d_y: &[f32],
    (d_x, start): (&mut [f32], Start<'_>),
) {
    match tuned.weight {
        Some(weight) => linear::backward_input(weight, d_y, d_x, frozen.outputs(), start),
        None => frozen.backward(d_y, d_x, start),
    }
}

/// Adds the gradients of what is trained. `x` is read only where the weight is.
/// # Shapes
/// x `[tokens, inputs]`, d_y `[tokens, outputs]`
pub(crate) fn backward_weights(frozen: &FrozenLinear, x: &[f32], d_y: &[f32], gradients: TunedGradients<'_>) {
    if let Some(weight) = gradients.weight {
        linear::backward_weight(x, d_y, weight, frozen.outputs());
    }
    if let Some(bias) = gradients.bias {
        linear::backward_bias(d_y, bias);
    }
}
