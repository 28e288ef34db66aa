//! The forward pass of one chunk of whole sequences, on the calling thread.

use grafter_nn::adapter::{self, AdapterCache};
use grafter_nn::attention;
use grafter_nn::embedding;
use grafter_nn::layer_norm::{self, LayerNormCache, LayerNormWeights};
use grafter_nn::relative_position::{self, RelativeBias};
use grafter_nn::residual;
use grafter_nn::rotary;

use super::activations::{Activations, Keep, LayerActivations, Segment, SiteActivations};
use super::relative::RelativePass;
use super::{DropoutPlace, Encoder, EncoderDropout, projection};
use crate::adapter::{Method, Projection, Site, TaskParameters, Tuned};
use crate::batch::Chunk;

/// What passes through the layers, and how.
#[derive(Clone, Copy, Debug)]
pub struct ForwardPass<'a> {
    /// The tokens.
    pub chunk: &'a Chunk<'a>,
    /// Which of them pass through which task's adapters; they cover the chunk in order, and their limits are limits of
    /// sequences.
    pub segments: &'a [Segment<'a>],
    /// What is dropped.
    pub dropout: &'a EncoderDropout,
    /// What is left for the backward pass.
    pub keep: Keep,
}

impl Encoder {
    /// Hidden states of a chunk, left in [`Activations::hidden`].
    ///
    /// Frozen products run once over all tokens, adapters and layer normalisations per segment.
    ///
    /// Below everything that the tasks train there is no dropout: it belongs to training what it acts on, and without it
    /// what enters the lowest adapted layer is a constant of a text. Where the chunk brings that ([`Chunk::states`]), the
    /// pass begins there.
    /// # Panics
    /// If the chunk brings the hidden states of a layer below which a task trains something.
    pub fn forward(&self, pass: ForwardPass<'_>, activations: &mut Activations) {
        self.forward_observed(pass, activations, &mut |_, _| {});
    }

    /// The hidden states that enter a layer (the head, if there is none of that number) where no task changes anything
    /// below, left in [`Activations::hidden`].
    pub fn forward_below(&self, layer: usize, chunk: &Chunk<'_>, activations: &mut Activations) {
        let (segments, none) = ([Segment::whole(chunk, None)], EncoderDropout::none());
        let pass = ForwardPass { chunk, segments: &segments, dropout: &none, keep: Keep::Nothing };
        activations.resize(self, &pass, self.layers.len());
        self.embed(pass, activations);
        for below in 0..layer {
            self.layer(below, pass, 0, activations);
        }
    }

    /// [`Encoder::forward`], showing the hidden states after the embeddings (0) and after each layer (1, 2, …).
    pub fn forward_observed(
        &self,
        pass: ForwardPass<'_>,
        activations: &mut Activations,
        observe: &mut dyn FnMut(usize, &[f32]),
    ) {
        let ForwardPass { chunk, segments, dropout, keep } = pass;
        let layers = self.layers.len();
        let frozen = segments.iter().map(|segment| segment.frozen_layers(layers)).min().unwrap_or(layers);
        activations.resize(self, &pass, frozen);
        let none = EncoderDropout::none();
        let first = match chunk.states {
            Some((layer, states)) => {
                assert!(layer <= frozen, "nothing is trained below the hidden states at hand");
                activations.hidden.copy_from_slice(states);
                layer
            }
            None => {
                let dropout = if frozen > 0 { &none } else { dropout };
                self.embed(ForwardPass { dropout, ..pass }, activations);
                0
            }
        };
        observe(first, &activations.hidden);
        for layer in first..layers {
            let dropout = if layer < frozen { &none } else { dropout };
            self.layer(layer, ForwardPass { dropout, ..pass }, keep.slot(layer, frozen), activations);
            observe(layer + 1, &activations.hidden);
        }
    }

    /// Hidden states from those that enter a layer to those that leave it; `slot` is the place of its buffers.
    fn layer(&self, layer: usize, pass: ForwardPass<'_>, slot: usize, activations: &mut Activations) {
        let mut kept = std::mem::take(&mut activations.layers[slot]);
        kept.reserve_probabilities(&self.config, layer, &pass);
        if self.config.pre_norm.is_some() {
            self.pre_norm_layer(layer, pass, activations, &mut kept);
        } else {
            self.attention_block(layer, pass, activations, &mut kept);
            self.feed_forward_block(layer, pass, activations, &mut kept);
        }
        activations.layers[slot] = kept;
    }

    /// `hidden = dropout(LayerNorm(words + positions + types))`, times a projection where that is narrower.
    fn embed(&self, pass: ForwardPass<'_>, activations: &mut Activations) {
        let ForwardPass { chunk, segments, dropout, .. } = pass;
        let width = self.config.embedding_width();
        let Activations { scratch: sums, embedded, embeddings_normalised, embeddings_rstd, hidden, .. } =
            activations;
        let normal = if self.embeddings_projection.is_some() { &mut *embedded } else { &mut *hidden };
        for segment in segments {
            let tables = segment.task.and_then(|task| task.tables()).unwrap_or(self.embedding.tables());
            for range in segment.sequences.clone().map(|sequence| chunk.range(sequence)) {
                let rows = range.start * width..range.end * width;
                let (ids, type_ids) = (&chunk.ids[range.clone()], &chunk.type_ids[range]);
                embedding::forward_sequence(tables, ids, type_ids, &mut sums[rows]);
            }
            let rows = segment.rows(width);
            layer_norm::forward(
                self.embeddings_layer_norm_of(segment.task),
                self.config.layer_norm_eps,
                &sums[rows.clone()],
                LayerNormCache {
                    normalised: &mut embeddings_normalised[rows.clone()],
                    rstd: &mut embeddings_rstd[segment.tokens.clone()],
                },
                &mut normal[rows],
            );
        }
        dropout.drop_hidden(DropoutPlace::Embeddings, 0, chunk, normal);
        let Some(frozen) = &self.embeddings_projection else { return };
        for segment in segments {
            let (x, y) = (&embedded[segment.rows(width)], &mut hidden[segment.rows(frozen.outputs())]);
            let tuned = segment.task.map_or(Tuned::default(), TaskParameters::embeddings_projection);
            projection::forward(frozen, tuned, x, y);
        }
    }

    /// `attention_block = LayerNorm(hidden + adapter(dropout(W_o · attention(hidden))))`
    fn attention_block(
        &self,
        layer: usize,
        pass: ForwardPass<'_>,
        activations: &mut Activations,
        kept: &mut LayerActivations,
    ) {
        let segments = pass.segments;
        kept.keep_input(layer, Projection::QueryKeyValue, &pass, &activations.hidden);
        let place = (layer, Projection::QueryKeyValue);
        self.project(place, segments, &activations.hidden, &mut kept.query_key_value);
        self.attention_branch(layer, pass, activations, kept);
        let Activations { hidden: skip, scratch, attention_block, .. } = activations;
        let site = &mut kept.attention_site;
        self.graft((layer, Site::Attention), segments, site, skip, scratch, attention_block);
    }

    /// From queries, keys and values to what the attention adds, before its adapter: `dropout(W_o · attention)`, left in the
    /// site's `adapter_input`.
    pub(super) fn attention_branch(
        &self,
        layer: usize,
        pass: ForwardPass<'_>,
        activations: &mut Activations,
        kept: &mut LayerActivations,
    ) {
        let ForwardPass { chunk, segments, dropout, .. } = pass;
        self.attend(layer, pass, activations, kept);
        kept.keep_input(layer, Projection::AttentionOutput, &pass, &activations.scratch);
        let place = (layer, Projection::AttentionOutput);
        let branch = &mut kept.attention_site.adapter_input;
        self.project(place, segments, &activations.scratch, branch);
        dropout.drop_hidden(DropoutPlace::AttentionOutput, layer, chunk, branch);
    }

    /// `scratch = attention` of the queries, keys and values of each sequence, which are turned where positions turn them.
    fn attend(
        &self,
        layer: usize,
        pass: ForwardPass<'_>,
        activations: &mut Activations,
        kept: &mut LayerActivations,
    ) {
        let ForwardPass { chunk, segments, dropout, .. } = pass;
        let hidden = self.config.hidden_size;
        let rotary = Activations::rotary_of(&activations.rotary, &self.config, layer);
        let mut from = 0;
        for segment in segments {
            let bias = self.relative_bias_of(segment.task, chunk, &mut activations.bias_by_distance);
            let of = RelativePass { task: segment.task, longest: chunk.longest(), dropout };
            let positions =
                self.relative_positions(layer, of, &mut activations.relative, &mut kept.positions);
            let shape = self.attention_shape(layer, dropout, bias, positions);
            for sequence in segment.sequences.clone() {
                let range = chunk.range(sequence);
                let heads = if pass.keep == Keep::ForBackward { shape.heads } else { 1 };
                let to = from + attention::probability_count(heads, range.len(), shape.window);
                let sequence = chunk.first_sequence + sequence;
                let qkv = &mut kept.query_key_value[range.start * 3 * hidden..range.end * 3 * hidden];
                if let Some(rotary) = rotary {
                    rotary::forward_sequence(rotary, hidden, qkv);
                }
                attention::forward_sequence(
                    &shape,
                    dropout.key(DropoutPlace::AttentionProbabilities, layer, sequence),
                    qkv,
                    &mut kept.probabilities[from..to],
                    &mut activations.attention_scratch,
                    &mut activations.scratch[range.start * hidden..range.end * hidden],
                );
                from = if pass.keep == Keep::ForBackward { to } else { 0 };
            }
        }
    }

    /// `hidden = LayerNorm(attention_block + adapter(dropout(W_2 · act(W_1 · attention_block))))`
    fn feed_forward_block(
        &self,
        layer: usize,
        pass: ForwardPass<'_>,
        activations: &mut Activations,
        kept: &mut LayerActivations,
    ) {
        let ForwardPass { chunk, segments, dropout, .. } = pass;
        kept.keep_input(layer, Projection::Intermediate, &pass, &activations.attention_block);
        let place = (layer, Projection::Intermediate);
        self.project(place, segments, &activations.attention_block, &mut kept.intermediate);
        self.config.activation().forward(&kept.intermediate, &mut activations.intermediate);
        kept.keep_input(layer, Projection::Output, &pass, &activations.intermediate);
        let site = &mut kept.feed_forward_site;
        let place = (layer, Projection::Output);
        self.project(place, segments, &activations.intermediate, &mut site.adapter_input);
        dropout.drop_hidden(DropoutPlace::FeedForwardOutput, layer, chunk, &mut site.adapter_input);
        let Activations { hidden, scratch, attention_block: skip, .. } = activations;
        self.graft((layer, Site::FeedForward), segments, site, skip, scratch, hidden);
    }

    /// `y = LayerNorm(skip + adapter(x))`, each segment with its own task's numbers. A Pfeiffer adapter reads
    /// `LayerNorm(skip + x)` and its skip starts at `x`: `y = LayerNorm(skip + x + branch(LayerNorm(skip + x)))`.
    fn graft(
        &self,
        (layer, site): (usize, Site),
        segments: &[Segment<'_>],
        kept: &mut SiteActivations,
        skip: &[f32],
        sum: &mut [f32],
        y: &mut [f32],
    ) {
        let hidden = self.config.hidden_size;
        let eps = self.config.layer_norm_eps;
        for segment in segments {
            let (tokens, rows) = (segment.tokens.clone(), segment.rows(hidden));
            let (skip, sum, y) = (&skip[rows.clone()], &mut sum[rows.clone()], &mut y[rows.clone()]);
            let norm = self.layer_norm_of(segment.task, layer, site);
            let input = &mut kept.adapter_input[rows.clone()];
            let adapter = segment.task.and_then(|task| Some((task, task.adapter(layer, site)?)));
            // Kept for a backward pass only when one segment is the whole chunk.
            let inner = tokens.len() * adapter.map_or(0, |(_, weights)| weights.bottleneck());
            let cache = AdapterCache {
                before: &mut kept.bottleneck_before[..inner],
                after: &mut kept.bottleneck_after[..inner],
            };
            match adapter {
                Some((task, weights)) if task.layout().config().method == Method::Pfeiffer => {
                    residual::add(skip, input);
                    sum.copy_from_slice(input);
                    let cache_before = LayerNormCache {
                        normalised: &mut kept.normalised_before[rows.clone()],
                        rstd: &mut kept.rstd_before[tokens.clone()],
                    };
                    layer_norm::forward(norm, eps, sum, cache_before, input);
                    // The output's place is free until the last line.
                    adapter::forward_branch(weights, input, cache, y);
                    residual::add(y, sum);
                }
                Some((_, weights)) => {
                    adapter::forward(weights, input, cache, sum);
                    residual::add(skip, sum);
                }
                None => {
                    sum.copy_from_slice(input);
                    residual::add(skip, sum);
                }
            }
            let cache =
                LayerNormCache { normalised: &mut kept.normalised[rows], rstd: &mut kept.rstd[tokens] };
            layer_norm::forward(norm, eps, sum, cache, y);
        }
    }

    /// The relative bias as a task has it, laid out by distance; none in a family without.
    fn relative_bias_of<'a>(
        &self,
        task: Option<&TaskParameters>,
        chunk: &Chunk<'_>,
        by_distance: &'a mut Vec<f32>,
    ) -> Option<RelativeBias<'a>> {
        let table = task.and_then(TaskParameters::relative_bias).unwrap_or(&self.relative_bias);
        if table.is_empty() {
            return None;
        }
        let (heads, longest) = (self.config.num_attention_heads, chunk.longest());
        relative_position::lay_out(table, heads, self.relative_bias_scale(), longest, by_distance);
        Some(RelativeBias { by_distance, longest })
    }

    /// The layer normalisation of a site as a task has it, if the layer has one there.
    pub(crate) fn layer_norm_at<'a>(
        &'a self,
        task: Option<&'a TaskParameters>,
        layer: usize,
        site: Site,
    ) -> Option<LayerNormWeights<'a>> {
        let frozen = match site {
            Site::Attention => self.layers[layer].attention_layer_norm.as_ref()?,
            Site::FeedForward => &self.layers[layer].output_layer_norm,
        };
        let tuned = task.map_or(Tuned::default(), |task| task.layer_norm(layer, site));
        Some(tuned.layer_norm(frozen.weights()))
    }

    /// [`Encoder::layer_norm_at`] in a layer that normalises after each sub-layer.
    pub(crate) fn layer_norm_of<'a>(
        &'a self,
        task: Option<&'a TaskParameters>,
        layer: usize,
        site: Site,
    ) -> LayerNormWeights<'a> {
        self.layer_norm_at(task, layer, site).expect("every sub-layer of such a layer has one")
    }

    /// The layer normalisation of the embeddings as a task has it.
    pub(crate) fn embeddings_layer_norm_of<'a>(
        &'a self,
        task: Option<&'a TaskParameters>,
    ) -> LayerNormWeights<'a> {
        let tuned = task.map_or(Tuned::default(), TaskParameters::embeddings_layer_norm);
        tuned.layer_norm(self.embeddings_layer_norm.weights())
    }
}
