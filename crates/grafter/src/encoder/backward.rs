//! The backward pass of one chunk: gradients of the trained parameters, and of nothing else.
//!
//! Frozen products give the gradient of their input only. The pass stops at the lowest place where something is
//! trained.

use grafter_nn::adapter;
use grafter_nn::attention::{self, AttentionGradients};
use grafter_nn::gemm::Start;
use grafter_nn::relative_position::{self, RelativeBiasGradients};
use grafter_nn::{layer_norm, linear, residual, rotary};

use super::activations::{Activations, Keep, LayerActivations, SiteActivations};
use super::{DropoutPlace, Encoder, EncoderDropout, projection};
use crate::adapter::{Lowest, Method, Projection, Site, TaskParameters, TunedGradients};
use crate::batch::Chunk;

/// What the gradients of a chunk belong to.
#[derive(Clone, Copy, Debug)]
pub struct BackwardPass<'a> {
    /// The tokens.
    pub chunk: &'a Chunk<'a>,
    /// What trains.
    pub task: &'a TaskParameters,
    /// What was dropped in the forward pass.
    pub dropout: &'a EncoderDropout,
}

impl Encoder {
    /// Adds the chunk's gradients of the task's parameters to `gradients`, a flat vector in the order of the task's
    /// list up to the tables of the embeddings. Reads what [`Encoder::forward`] kept for the same chunk, one segment with
    /// this task, and the gradient of the last hidden states from [`Activations::d_hidden_mut`].
    ///
    /// Where the tables of the embeddings are trained, the gradient of each token's sum of embeddings is left in
    /// [`Activations::d_embeddings`].
    pub fn backward(&self, pass: &BackwardPass<'_>, activations: &mut Activations, gradients: &mut [f32]) {
        let BackwardPass { chunk, task, .. } = *pass;
        let layout = task.layout();
        let frozen = layout.frozen_layers();
        let (heads, longest) = (self.config.num_attention_heads, chunk.longest());
        activations.d_bias_by_distance.clear();
        if layout.relative_bias_gradients(gradients).is_some() {
            activations.d_bias_by_distance.resize(heads * (2 * longest - 1), 0.0);
        }
        self.begin_relative_gradients(pass, &mut activations.relative);
        for layer in (frozen..self.layers.len()).rev() {
            let slot = Keep::ForBackward.slot(layer, frozen);
            let kept = std::mem::take(&mut activations.layers[slot]);
            if self.config.pre_norm.is_some() {
                self.backward_pre_norm_layer(layer, pass, activations, &kept, gradients);
            } else {
                self.backward_feed_forward_block(layer, pass, activations, &kept, gradients);
                if layout.trains_below(layer, Projection::Intermediate) {
                    self.backward_attention_block(layer, pass, activations, &kept, gradients);
                }
            }
            activations.layers[slot] = kept;
        }
        if let Some(d_table) = layout.relative_bias_gradients(gradients) {
            let (d, scale) = (&activations.d_bias_by_distance, self.relative_bias_scale());
            relative_position::backward_table(d, heads, scale, longest, d_table);
        }
        self.backward_relative_embeddings(pass, &mut activations.relative, gradients);
        if layout.lowest_trained() == Lowest::Embeddings {
            self.backward_embeddings(pass, activations, gradients);
        }
    }

    /// From the gradient of the hidden states that enter the first layer, in `d_hidden`, those of the embeddings' layer
    /// normalisation and projection, and where the tables are trained that of each token's sum.
    fn backward_embeddings(
        &self,
        pass: &BackwardPass<'_>,
        activations: &mut Activations,
        gradients: &mut [f32],
    ) {
        let BackwardPass { chunk, task, dropout } = *pass;
        let layout = task.layout();
        let Activations { d_hidden, embedded, d_embedded, embeddings_normalised, embeddings_rstd, .. } =
            activations;
        let d = match &self.embeddings_projection {
            Some(frozen) => {
                let trained = layout.embeddings_projection_gradients(gradients);
                projection::backward_weights(frozen, embedded, d_hidden, trained);
                d_embedded.resize(embedded.len(), 0.0);
                let d_x = (&mut d_embedded[..], Start::Zero);
                projection::backward_input(frozen, task.embeddings_projection(), d_hidden, d_x);
                d_embedded
            }
            None => d_hidden,
        };
        dropout.drop_hidden(DropoutPlace::Embeddings, 0, chunk, d);
        let of_norm = layout.embeddings_layer_norm_gradients(gradients);
        backward_layer_norm_weights(embeddings_normalised, d, of_norm);
        if layout.trains_tables() {
            let weight = self.embeddings_layer_norm_of(Some(task)).weight;
            layer_norm::backward_input(weight, embeddings_normalised, embeddings_rstd, d);
        }
    }

    /// Turns the gradient of the layer's output into that of the attention block's output, in `d_hidden`.
    fn backward_feed_forward_block(
        &self,
        layer: usize,
        pass: &BackwardPass<'_>,
        activations: &mut Activations,
        kept: &LayerActivations,
        gradients: &mut [f32],
    ) {
        let BackwardPass { task, dropout, .. } = *pass;
        let layout = task.layout();
        self.backward_graft(
            (layer, Site::FeedForward),
            pass,
            &kept.feed_forward_site,
            activations,
            gradients,
        );
        if !layout.trains_below(layer, Site::FeedForward) {
            return;
        }
        let Activations { d_branch, intermediate, d_hidden, .. } = activations;
        dropout.drop_hidden(DropoutPlace::FeedForwardOutput, layer, pass.chunk, d_branch);
        let place = (layer, Projection::Output);
        let d_x = (&mut intermediate[..], Start::Zero);
        self.backward_projection(place, task, kept, (d_branch, d_x), gradients);
        if !layout.trains_below(layer, Projection::Output) {
            return;
        }
        self.config.activation().backward(&kept.intermediate, intermediate);
        let place = (layer, Projection::Intermediate);
        let d_x = (&mut d_hidden[..], Start::Result);
        self.backward_projection(place, task, kept, (intermediate, d_x), gradients);
    }

    /// Turns the gradient of the attention block's output into that of the layer's input, in `d_hidden`.
    fn backward_attention_block(
        &self,
        layer: usize,
        pass: &BackwardPass<'_>,
        activations: &mut Activations,
        kept: &LayerActivations,
        gradients: &mut [f32],
    ) {
        self.backward_graft((layer, Site::Attention), pass, &kept.attention_site, activations, gradients);
        if !self.backward_attention_branch(layer, pass, activations, kept, gradients) {
            return;
        }
        let Activations { d_query_key_value, d_hidden, .. } = activations;
        let place = (layer, Projection::QueryKeyValue);
        let d_x = (&mut d_hidden[..], Start::Result);
        self.backward_projection(place, pass.task, kept, (d_query_key_value, d_x), gradients);
    }

    /// From the gradient of what the attention adds, in `d_branch`, that of queries, keys and values; whether there is one,
    /// which is where something is trained below.
    pub(super) fn backward_attention_branch(
        &self,
        layer: usize,
        pass: &BackwardPass<'_>,
        activations: &mut Activations,
        kept: &LayerActivations,
        gradients: &mut [f32],
    ) -> bool {
        let BackwardPass { task, dropout, chunk } = *pass;
        let layout = task.layout();
        if !layout.trains_below(layer, Site::Attention) {
            return false;
        }
        let Activations { d_branch, scratch, .. } = activations;
        dropout.drop_hidden(DropoutPlace::AttentionOutput, layer, chunk, d_branch);
        let place = (layer, Projection::AttentionOutput);
        let d_x = (&mut scratch[..], Start::Zero);
        self.backward_projection(place, task, kept, (d_branch, d_x), gradients);
        let goes_on = layout.trains_below(layer, Projection::AttentionOutput);
        if goes_on {
            self.begin_relative_layer(layer, pass, &mut activations.relative);
            self.backward_attention(layer, pass, activations, kept);
            self.backward_relative_layer(layer, pass, &mut activations.relative, gradients);
        }
        goes_on
    }

    /// From the gradient of what the attention gives, in `scratch`, that of queries, keys and values.
    fn backward_attention(
        &self,
        layer: usize,
        pass: &BackwardPass<'_>,
        activations: &mut Activations,
        kept: &LayerActivations,
    ) {
        let hidden = self.config.hidden_size;
        let longest = pass.chunk.longest();
        let positions = self.relative_positions_again(layer, longest, &kept.positions);
        let shape = self.attention_shape(layer, pass.dropout, None, positions);
        let rotary = Activations::rotary_of(&activations.rotary, &self.config, layer);
        let mut from = 0;
        for (index, range) in pass.chunk.ranges().enumerate() {
            let to = from + attention::probability_count(shape.heads, range.len(), shape.window);
            let wide = range.start * 3 * hidden..range.end * 3 * hidden;
            let sequence = pass.chunk.first_sequence + index;
            let by_distance = &mut activations.d_bias_by_distance[..];
            let d_positions = &mut activations.relative.d_projected[..];
            let gradients = AttentionGradients {
                qkv: &mut activations.d_query_key_value[wide.clone()],
                bias: (!by_distance.is_empty()).then_some(RelativeBiasGradients { by_distance, longest }),
                positions: (!d_positions.is_empty()).then_some(d_positions),
            };
            attention::backward_sequence(
                &shape,
                pass.dropout.key(DropoutPlace::AttentionProbabilities, layer, sequence),
                &kept.query_key_value[wide.clone()],
                &kept.probabilities[from..to],
                &activations.scratch[range.start * hidden..range.end * hidden],
                &mut activations.attention_scratch,
                gradients,
            );
            if let Some(rotary) = rotary {
                rotary::backward_sequence(rotary, hidden, &mut activations.d_query_key_value[wide]);
            }
            from = to;
        }
    }

    /// Adds the gradients of what a task trains of a linear layer, and gives that of its input where something is trained
    /// below.
    pub(super) fn backward_projection(
        &self,
        (layer, projection): (usize, Projection),
        task: &TaskParameters,
        kept: &LayerActivations,
        (d_y, d_x): (&[f32], (&mut [f32], Start<'_>)),
        gradients: &mut [f32],
    ) {
        let frozen = self.layers[layer].linear(projection);
        let trained = task.layout().projection_gradients(gradients, layer, projection);
        projection::backward_weights(frozen, &kept.projection_inputs[projection as usize], d_y, trained);
        if task.layout().trains_below(layer, projection) {
            projection::backward_input(frozen, task.projection(layer, projection), d_y, d_x);
        }
    }

    /// From the gradient of `y = LayerNorm(skip + adapter(x))` in `d_hidden`: the gradient of `skip` in `d_hidden`
    /// and of `x` in `d_branch`.
    fn backward_graft(
        &self,
        (layer, site): (usize, Site),
        pass: &BackwardPass<'_>,
        kept: &SiteActivations,
        activations: &mut Activations,
        gradients: &mut [f32],
    ) {
        let layout = pass.task.layout();
        let Activations { d_hidden: d, d_branch, d_bottleneck, .. } = activations;
        let weight = self.layer_norm_of(Some(pass.task), layer, site).weight;
        backward_layer_norm_weights(&kept.normalised, d, layout.layer_norm_gradients(gradients, layer, site));
        layer_norm::backward_input(weight, &kept.normalised, &kept.rstd, d);
        let adapter = pass.task.adapter(layer, site).zip(layout.adapter_gradients(gradients, layer, site));
        let Some((weights, of_adapter)) = adapter else {
            // The residual connection hands its gradient to both of its inputs.
            d_branch.copy_from_slice(d);
            return;
        };
        let inner = pass.chunk.tokens() * weights.bottleneck();
        let inputs = kept.adapter_inputs(inner);
        let d_bottleneck = &mut d_bottleneck[..inner];
        if layout.config().method == Method::Pfeiffer {
            // `skip` and `x` enter as their sum: once along the skip, once through the layer normalisation and the branch.
            adapter::backward_branch(weights, inputs, (d, d_branch), d_bottleneck, of_adapter);
            let of_norm = layout.layer_norm_gradients(gradients, layer, site);
            backward_layer_norm_weights(&kept.normalised_before, d_branch, of_norm);
            layer_norm::backward_input(weight, &kept.normalised_before, &kept.rstd_before, d_branch);
            residual::add(d_branch, d);
            d_branch.copy_from_slice(d);
        } else {
            d_branch.copy_from_slice(d);
            adapter::backward(weights, inputs, d_branch, d_bottleneck, of_adapter);
        }
    }
}

/// Adds the gradients of what is trained of a layer normalisation.
pub(super) fn backward_layer_norm_weights(normalised: &[f32], d_y: &[f32], gradients: TunedGradients<'_>) {
    match gradients {
        TunedGradients { weight: Some(weight), bias: Some(bias) } => {
            layer_norm::backward_weights(normalised, d_y, weight, bias);
        }
        TunedGradients { weight: Some(weight), bias: None } => {
            layer_norm::backward_scale(normalised, d_y, weight);
        }
        TunedGradients { weight: None, bias: Some(bias) } => linear::backward_bias(d_y, bias),
        TunedGradients { weight: None, bias: None } => {}
    }
}
