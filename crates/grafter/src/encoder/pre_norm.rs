//! Layers that normalise before each sub-layer, forward and backward: ModernBERT's (Warner et al. 2024, section 2.1).
//!
//! ```text
//! x ─┬─ LayerNorm ─ query_key_value ─ rotary ─ attention ─ attention_output ─ dropout ─ ADAPTER ─ + ─ h
//!    └──────────────────────────────────── skip ──────────────────────────────────────────────────┘
//! h ─┬─ LayerNorm ─ intermediate ─ act(a) · gate ─ dropout ─ output ─ ADAPTER ─ + ─ next x
//!    └──────────────────────────── skip ────────────────────────────────────────┘
//! ```
//!
//! The first layer has no normalisation before its attention: it reads what that of the embeddings gives. A last one follows the
//! last layer and belongs to it, so that what leaves the last layer is what the head reads.
//!
//! The adapters sit where Houlsby et al. 2019, section 2.1, put them: on a sub-layer's output, before the skip is added.
//! AdapterHub puts them there too in models whose layers normalise before (ViT, GPT-2), and Pfeiffer's one, which has no
//! normalisation to read there, reads the sum: `y = h + mlp + branch(h + mlp)`.
//!
//! Nothing of the skip is kept for the backward pass: a normalisation's gradient needs what it normalised to alone.

use grafter_nn::adapter::{self, AdapterCache};
use grafter_nn::gemm::Start;
use grafter_nn::layer_norm::{self, LayerNormCache, LayerNormWeights};
use grafter_nn::{gated, residual};

use super::activations::{Activations, LayerActivations, Segment, SiteActivations};
use super::backward::backward_layer_norm_weights;
use super::forward::ForwardPass;
use super::{BackwardPass, DropoutPlace, Encoder};
use crate::adapter::{Method, Place, Projection, Site, TaskParameters, Tuned};

impl Encoder {
    /// Hidden states from those that enter a layer to those that leave it, in `hidden`.
    pub(super) fn pre_norm_layer(
        &self,
        layer: usize,
        pass: ForwardPass<'_>,
        activations: &mut Activations,
        kept: &mut LayerActivations,
    ) {
        self.pre_norm_attention(layer, pass, activations, kept);
        self.pre_norm_feed_forward(layer, pass, activations, kept);
        if layer + 1 == self.layers.len() {
            self.normalise_after_all(pass.segments, activations);
        }
    }

    /// `hidden = hidden + adapter(dropout(W_o · attention(LayerNorm(hidden))))`
    fn pre_norm_attention(
        &self,
        layer: usize,
        pass: ForwardPass<'_>,
        activations: &mut Activations,
        kept: &mut LayerActivations,
    ) {
        let segments = pass.segments;
        let Activations { hidden, attention_block: normal, .. } = activations;
        self.normalise((layer, Site::Attention), segments, &mut kept.attention_site, hidden, normal);
        kept.keep_input(layer, Projection::QueryKeyValue, &pass, normal);
        self.project((layer, Projection::QueryKeyValue), segments, normal, &mut kept.query_key_value);
        self.attention_branch(layer, pass, activations, kept);
        let Activations { hidden, scratch, .. } = activations;
        self.add_adapted((layer, Site::Attention), segments, &mut kept.attention_site, scratch, hidden);
    }

    /// `hidden = hidden + adapter(W_2 · dropout(act(a) · gate))` with `a, gate = W_1 · LayerNorm(hidden)`
    fn pre_norm_feed_forward(
        &self,
        layer: usize,
        pass: ForwardPass<'_>,
        activations: &mut Activations,
        kept: &mut LayerActivations,
    ) {
        let ForwardPass { chunk, segments, dropout, .. } = pass;
        let Activations { hidden, attention_block: normal, intermediate, scratch, .. } = activations;
        self.normalise((layer, Site::FeedForward), segments, &mut kept.feed_forward_site, hidden, normal);
        kept.keep_input(layer, Projection::Intermediate, &pass, normal);
        self.project((layer, Projection::Intermediate), segments, normal, &mut kept.intermediate);
        let width = self.config.intermediate_size;
        gated::forward(self.config.activation(), width, &kept.intermediate, intermediate);
        dropout.drop_hidden(DropoutPlace::FeedForward, layer, chunk, intermediate);
        kept.keep_input(layer, Projection::Output, &pass, intermediate);
        let site = &mut kept.feed_forward_site;
        self.project((layer, Projection::Output), segments, intermediate, &mut site.adapter_input);
        self.add_adapted((layer, Site::FeedForward), segments, site, scratch, hidden);
    }

    /// `y = LayerNorm(x)` before a sub-layer, each segment with its own task's numbers; `y = x` where there is none.
    fn normalise(
        &self,
        (layer, site): (usize, Site),
        segments: &[Segment<'_>],
        kept: &mut SiteActivations,
        x: &[f32],
        y: &mut [f32],
    ) {
        for segment in segments {
            let rows = segment.rows(self.config.hidden_size);
            let Some(norm) = self.layer_norm_at(segment.task, layer, site) else {
                y[rows.clone()].copy_from_slice(&x[rows]);
                continue;
            };
            let cache = LayerNormCache {
                normalised: &mut kept.normalised[rows.clone()],
                rstd: &mut kept.rstd[segment.tokens.clone()],
            };
            layer_norm::forward(norm, self.config.layer_norm_eps, &x[rows.clone()], cache, &mut y[rows]);
        }
    }

    /// `skip = skip + adapter(x)`, each segment with its own task's numbers; Pfeiffer's `skip = s + branch(s)` with
    /// `s = skip + x`. What the adapter reads is left in the site.
    fn add_adapted(
        &self,
        (layer, site): (usize, Site),
        segments: &[Segment<'_>],
        kept: &mut SiteActivations,
        adapted: &mut [f32],
        skip: &mut [f32],
    ) {
        for segment in segments {
            let rows = segment.rows(self.config.hidden_size);
            let (input, skip) = (&mut kept.adapter_input[rows.clone()], &mut skip[rows.clone()]);
            let adapter = segment.task.and_then(|task| Some((task, task.adapter(layer, site)?)));
            let Some((task, weights)) = adapter else {
                residual::add(input, skip);
                continue;
            };
            // Kept for a backward pass only when one segment is the whole chunk.
            let inner = segment.tokens.len() * weights.bottleneck();
            let cache = AdapterCache {
                before: &mut kept.bottleneck_before[..inner],
                after: &mut kept.bottleneck_after[..inner],
            };
            if task.layout().config().method == Method::Pfeiffer {
                residual::add(skip, input);
                adapter::forward(weights, input, cache, skip);
            } else {
                let adapted = &mut adapted[rows];
                adapter::forward(weights, input, cache, adapted);
                residual::add(adapted, skip);
            }
        }
    }

    /// `hidden = LayerNorm(hidden)` after the last layer.
    fn normalise_after_all(&self, segments: &[Segment<'_>], activations: &mut Activations) {
        let Activations { hidden, scratch, final_normalised, final_rstd, .. } = activations;
        for segment in segments {
            let rows = segment.rows(self.config.hidden_size);
            let Some(norm) = self.final_layer_norm_of(segment.task) else { continue };
            let x = &mut scratch[rows.clone()];
            x.copy_from_slice(&hidden[rows.clone()]);
            let cache = LayerNormCache {
                normalised: &mut final_normalised[rows.clone()],
                rstd: &mut final_rstd[segment.tokens.clone()],
            };
            layer_norm::forward(norm, self.config.layer_norm_eps, x, cache, &mut hidden[rows]);
        }
    }

    /// The layer normalisation after all layers as a task has it, if there is one.
    pub(crate) fn final_layer_norm_of<'a>(
        &'a self,
        task: Option<&'a TaskParameters>,
    ) -> Option<LayerNormWeights<'a>> {
        let frozen = self.final_layer_norm.as_ref()?.weights();
        Some(task.map_or(Tuned::default(), TaskParameters::final_layer_norm).layer_norm(frozen))
    }

    /// Turns the gradient of what leaves a layer into that of what enters it, in `d_hidden`.
    pub(super) fn backward_pre_norm_layer(
        &self,
        layer: usize,
        pass: &BackwardPass<'_>,
        activations: &mut Activations,
        kept: &LayerActivations,
        gradients: &mut [f32],
    ) {
        let layout = pass.task.layout();
        if layer + 1 == self.layers.len() {
            self.backward_after_all(pass.task, activations, gradients);
            if !layout.trains_below(layer, Place::FinalNorm) {
                return;
            }
        }
        self.backward_pre_norm_feed_forward(layer, pass, activations, kept, gradients);
        if layout.trains_below(layer, Place::FeedForwardNorm) {
            self.backward_pre_norm_attention(layer, pass, activations, kept, gradients);
        }
    }

    /// From the gradient of what the head reads that of what leaves the layers, in `d_hidden`.
    fn backward_after_all(
        &self,
        task: &TaskParameters,
        activations: &mut Activations,
        gradients: &mut [f32],
    ) {
        let Activations { d_hidden: d, final_normalised, final_rstd, .. } = activations;
        let Some(norm) = self.final_layer_norm_of(Some(task)) else { return };
        backward_layer_norm_weights(final_normalised, d, task.layout().final_layer_norm_gradients(gradients));
        layer_norm::backward_input(norm.weight, final_normalised, final_rstd, d);
    }

    fn backward_pre_norm_feed_forward(
        &self,
        layer: usize,
        pass: &BackwardPass<'_>,
        activations: &mut Activations,
        kept: &LayerActivations,
        gradients: &mut [f32],
    ) {
        let BackwardPass { task, dropout, chunk } = *pass;
        let layout = task.layout();
        let site = (layer, Site::FeedForward);
        self.backward_adapted(site, pass, &kept.feed_forward_site, activations, gradients);
        if !layout.trains_below(layer, Site::FeedForward) {
            return;
        }
        let Activations { d_branch, d_hidden, d_gated, intermediate, scratch, .. } = activations;
        let place = (layer, Projection::Output);
        let d_x = (&mut intermediate[..], Start::Zero);
        self.backward_projection(place, task, kept, (d_branch, d_x), gradients);
        if !layout.trains_below(layer, Projection::Output) {
            return;
        }
        dropout.drop_hidden(DropoutPlace::FeedForward, layer, chunk, intermediate);
        let width = self.config.intermediate_size;
        gated::backward(self.config.activation(), width, &kept.intermediate, intermediate, d_gated);
        let place = (layer, Projection::Intermediate);
        let d_x = (&mut scratch[..], Start::Zero);
        self.backward_projection(place, task, kept, (d_gated, d_x), gradients);
        if layout.trains_below(layer, Projection::Intermediate) {
            self.backward_normalise(site, task, &kept.feed_forward_site, scratch, (d_hidden, gradients));
        }
    }

    fn backward_pre_norm_attention(
        &self,
        layer: usize,
        pass: &BackwardPass<'_>,
        activations: &mut Activations,
        kept: &LayerActivations,
        gradients: &mut [f32],
    ) {
        let task = pass.task;
        let site = (layer, Site::Attention);
        self.backward_adapted(site, pass, &kept.attention_site, activations, gradients);
        if !self.backward_attention_branch(layer, pass, activations, kept, gradients) {
            return;
        }
        let Activations { d_query_key_value, d_hidden, scratch, .. } = activations;
        let place = (layer, Projection::QueryKeyValue);
        let d_x = (&mut scratch[..], Start::Zero);
        self.backward_projection(place, task, kept, (d_query_key_value, d_x), gradients);
        if task.layout().trains_below(layer, Projection::QueryKeyValue) {
            self.backward_normalise(site, task, &kept.attention_site, scratch, (d_hidden, gradients));
        }
    }

    /// From the gradient of `skip + adapter(x)` in `d_hidden`: that of `skip` in `d_hidden` and of `x` in `d_branch`.
    fn backward_adapted(
        &self,
        (layer, site): (usize, Site),
        pass: &BackwardPass<'_>,
        kept: &SiteActivations,
        activations: &mut Activations,
        gradients: &mut [f32],
    ) {
        let layout = pass.task.layout();
        let Activations { d_hidden: d, d_branch, d_bottleneck, .. } = activations;
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
            // The adapter reads the sum, so what goes through it goes to both.
            adapter::backward(weights, inputs, d, d_bottleneck, of_adapter);
            d_branch.copy_from_slice(d);
        } else {
            d_branch.copy_from_slice(d);
            adapter::backward(weights, inputs, d_branch, d_bottleneck, of_adapter);
        }
    }

    /// Adds the gradients of a layer normalisation before a sub-layer, and to `d_skip` that of what it reads, where something
    /// is trained below. `d_y` is overwritten.
    fn backward_normalise(
        &self,
        (layer, site): (usize, Site),
        task: &TaskParameters,
        kept: &SiteActivations,
        d_y: &mut [f32],
        (d_skip, gradients): (&mut [f32], &mut [f32]),
    ) {
        let layout = task.layout();
        if let Some(norm) = self.layer_norm_at(Some(task), layer, site) {
            backward_layer_norm_weights(
                &kept.normalised,
                d_y,
                layout.layer_norm_gradients(gradients, layer, site),
            );
            let place = match site {
                Site::Attention => Place::AttentionNorm,
                Site::FeedForward => Place::FeedForwardNorm,
            };
            if !layout.trains_below(layer, place) {
                return;
            }
            layer_norm::backward_input(norm.weight, &kept.normalised, &kept.rstd, d_y);
        }
        residual::add(d_y, d_skip);
    }
}
