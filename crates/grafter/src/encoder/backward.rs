//! The backward pass of one chunk: gradients of the trained parameters, and of nothing else.
//!
//! Frozen products give the gradient of their input only. The pass stops at the lowest place where something is
//! trained.

use grafter_nn::adapter::{self, AdapterInputs};
use grafter_nn::attention;
use grafter_nn::gemm::Start;
use grafter_nn::layer_norm;

use super::activations::{Activations, Keep, LayerActivations, SiteActivations};
use super::{DropoutPlace, Encoder, EncoderDropout};
use crate::adapter::{Lowest, Site, TaskParameters};
use crate::batch::Chunk;

/// What the gradients of a chunk belong to.
struct Pass<'a> {
    chunk: &'a Chunk<'a>,
    task: &'a TaskParameters,
    dropout: &'a EncoderDropout,
}

impl Encoder {
    /// Adds the chunk's gradients of the task's parameters to `gradients`, a flat vector in the order of the task's
    /// list. Reads what [`Encoder::forward`] kept for the same chunk, one segment with this task, and the gradient of
    /// the last hidden states from [`Activations::d_hidden_mut`].
    pub fn backward(
        &self,
        chunk: &Chunk<'_>,
        task: &TaskParameters,
        dropout: &EncoderDropout,
        activations: &mut Activations,
        gradients: &mut [f32],
    ) {
        let pass = Pass { chunk, task, dropout };
        let frozen = task.layout().frozen_layers();
        for layer in (frozen..self.layers.len()).rev() {
            let slot = Keep::ForBackward.slot(layer, frozen);
            let kept = std::mem::take(&mut activations.layers[slot]);
            self.backward_feed_forward_block(layer, &pass, activations, &kept, gradients);
            self.backward_attention_block(layer, &pass, activations, &kept, gradients);
            activations.layers[slot] = kept;
        }
        if task.layout().lowest_trained() == Lowest::Embeddings {
            dropout.drop_hidden(DropoutPlace::Embeddings, 0, chunk, &mut activations.d_hidden);
            if let Some((weight, bias)) = task.layout().embeddings_layer_norm_gradients(gradients) {
                let normalised = &activations.embeddings_normalised;
                layer_norm::backward_weights(normalised, &activations.d_hidden, weight, bias);
            }
        }
    }

    /// Turns the gradient of the layer's output into that of the attention block's output, in `d_hidden`.
    fn backward_feed_forward_block(
        &self,
        layer: usize,
        pass: &Pass<'_>,
        activations: &mut Activations,
        kept: &LayerActivations,
        gradients: &mut [f32],
    ) {
        let weights = &self.layers[layer];
        let site = (layer, Site::FeedForward);
        self.backward_graft(site, pass, &kept.feed_forward_site, activations, gradients);
        let place = DropoutPlace::FeedForwardOutput;
        pass.dropout.drop_hidden(place, layer, pass.chunk, &mut activations.d_branch);
        weights.output.backward(&activations.d_branch, &mut activations.intermediate, Start::Zero);
        self.config.activation().backward(&kept.intermediate, &mut activations.intermediate);
        weights.intermediate.backward(&activations.intermediate, &mut activations.d_hidden, Start::Result);
    }

    /// Turns the gradient of the attention block's output into that of the layer's input, in `d_hidden`.
    fn backward_attention_block(
        &self,
        layer: usize,
        pass: &Pass<'_>,
        activations: &mut Activations,
        kept: &LayerActivations,
        gradients: &mut [f32],
    ) {
        let weights = &self.layers[layer];
        let hidden = self.config.hidden_size;
        let site = (layer, Site::Attention);
        self.backward_graft(site, pass, &kept.attention_site, activations, gradients);
        if pass.task.layout().lowest_trained() == Lowest::Layer(layer) {
            return;
        }
        let place = DropoutPlace::AttentionOutput;
        pass.dropout.drop_hidden(place, layer, pass.chunk, &mut activations.d_branch);
        weights.attention_output.backward(&activations.d_branch, &mut activations.scratch, Start::Zero);
        let shape = self.attention_shape(pass.dropout);
        let mut from = 0;
        for (index, range) in pass.chunk.ranges().enumerate() {
            let to = from + attention::probability_count(shape.heads, range.len());
            let wide = range.start * 3 * hidden..range.end * 3 * hidden;
            let sequence = pass.chunk.first_sequence + index;
            attention::backward_sequence(
                &shape,
                pass.dropout.key(DropoutPlace::AttentionProbabilities, layer, sequence),
                &kept.query_key_value[wide.clone()],
                &kept.probabilities[from..to],
                &activations.scratch[range.start * hidden..range.end * hidden],
                &mut activations.attention_scratch,
                &mut activations.d_query_key_value[wide],
            );
            from = to;
        }
        weights.query_key_value.backward(
            &activations.d_query_key_value,
            &mut activations.d_hidden,
            Start::Result,
        );
    }

    /// From the gradient of `y = LayerNorm(skip + adapter(x))` in `d_hidden`: the gradient of `skip` in `d_hidden`
    /// and of `x` in `d_branch`.
    fn backward_graft(
        &self,
        (layer, site): (usize, Site),
        pass: &Pass<'_>,
        kept: &SiteActivations,
        activations: &mut Activations,
        gradients: &mut [f32],
    ) {
        let layout = pass.task.layout();
        let d = &mut activations.d_hidden;
        if let Some((weight, bias)) = layout.layer_norm_gradients(gradients, layer, site) {
            layer_norm::backward_weights(&kept.normalised, d, weight, bias);
        }
        let tuned = pass.task.layer_norm(layer, site).unwrap_or(self.frozen_layer_norm(layer, site));
        layer_norm::backward_input(tuned.weight, &kept.normalised, &kept.rstd, d);
        // The residual connection hands its gradient to both of its inputs.
        activations.d_branch.copy_from_slice(d);
        let adapter = pass.task.adapter(layer, site).zip(layout.adapter_gradients(gradients, layer, site));
        if let Some((weights, gradients)) = adapter {
            let inner = pass.chunk.tokens() * weights.bottleneck();
            let inputs = AdapterInputs {
                x: &kept.adapter_input,
                before: &kept.bottleneck_before[..inner],
                after: &kept.bottleneck_after[..inner],
            };
            let d_bottleneck = &mut activations.d_bottleneck[..inner];
            adapter::backward(weights, inputs, &mut activations.d_branch, d_bottleneck, gradients);
        }
    }
}
