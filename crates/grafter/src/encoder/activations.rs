//! What a pass over one chunk keeps and reuses: named buffers, taken once and grown when a larger chunk comes.

use std::ops::Range;

use grafter_nn::adapter::AdapterInputs;
use grafter_nn::attention;
use grafter_nn::rotary::{self, Rotary};

use super::forward::ForwardPass;
use super::relative::RelativeActivations;
use crate::adapter::{Method, Projection, TaskParameters};
use crate::batch::Chunk;
use crate::encoder::{Encoder, EncoderConfig};

/// What one adapter site keeps for the backward pass.
#[derive(Debug, Default)]
pub(super) struct SiteActivations {
    /// The sub-layer's output after dropout, then what the adapter reads, `[tokens, hidden]`.
    pub adapter_input: Vec<f32>,
    /// Normalised values of the layer normalisation before a Pfeiffer adapter, `[tokens, hidden]`; empty without one.
    pub normalised_before: Vec<f32>,
    /// Its reciprocal standard deviations, `[tokens]`; empty without one.
    pub rstd_before: Vec<f32>,
    /// The bottleneck before its non-linearity, `[tokens, bottleneck]`.
    pub bottleneck_before: Vec<f32>,
    /// The bottleneck after its non-linearity, `[tokens, bottleneck]`.
    pub bottleneck_after: Vec<f32>,
    /// Normalised values of the site's layer normalisation, `[tokens, hidden]`.
    pub normalised: Vec<f32>,
    /// Its reciprocal standard deviations, `[tokens]`.
    pub rstd: Vec<f32>,
}

impl SiteActivations {
    /// What the gradients of an adapter need, whose bottlenecks of all tokens together are so many numbers.
    pub fn adapter_inputs(&self, inner: usize) -> AdapterInputs<'_> {
        AdapterInputs {
            x: &self.adapter_input,
            before: &self.bottleneck_before[..inner],
            after: &self.bottleneck_after[..inner],
        }
    }
}

/// What one layer keeps for the backward pass. Inputs of frozen products are not among it: a frozen layer's backward
/// needs its weight alone. `projection_inputs` holds those of the products whose weights a task trains.
#[derive(Debug, Default)]
pub(super) struct LayerActivations {
    /// Queries, keys and values, `[tokens, 3 · hidden]`; queries and keys turned, where positions turn them.
    pub query_key_value: Vec<f32>,
    /// Attention probabilities before dropout, per sequence `[heads, length, length]`, with a window fewer of them
    /// ([`attention::probability_count`]); where nothing is kept, those of one head of one sequence. At least as long as the
    /// layer needs.
    pub probabilities: Vec<f32>,
    /// Queries and keys of relative positions, `[rows, 3 · hidden]`; empty where they are a constant of the base, and in a family
    /// without.
    pub positions: Vec<f32>,
    /// The feed-forward network before its activation, `[tokens, intermediate]`, of a gated one `[tokens, 2 · intermediate]`.
    pub intermediate: Vec<f32>,
    /// The input of each [`Projection`] whose weight is trained, `[tokens, inputs]`; empty otherwise.
    pub projection_inputs: [Vec<f32>; 4],
    pub attention_site: SiteActivations,
    pub feed_forward_site: SiteActivations,
}

impl LayerActivations {
    /// Makes room for a layer's attention probabilities. It only grows: a layer of few may share its buffers with one of many.
    pub fn reserve_probabilities(&mut self, config: &EncoderConfig, layer: usize, pass: &ForwardPass<'_>) {
        let (heads, window) = (config.num_attention_heads, config.attention_window(layer));
        let lengths = || pass.chunk.ranges().map(|range| range.len());
        let count = |heads, length| attention::probability_count(heads, length, window);
        let needed = match pass.keep {
            Keep::ForBackward => lengths().map(|length| count(heads, length)).sum(),
            Keep::Nothing => count(1, pass.chunk.longest()),
        };
        if self.probabilities.len() < needed {
            self.probabilities.resize(needed, 0.0);
        }
    }

    #[cfg(test)]
    fn numbers(&self) -> usize {
        let Self {
            query_key_value,
            probabilities,
            positions,
            intermediate,
            projection_inputs,
            attention_site,
            feed_forward_site,
        } = self;
        let of_site = |site: &SiteActivations| {
            let SiteActivations {
                adapter_input,
                normalised_before,
                rstd_before,
                bottleneck_before,
                bottleneck_after,
                normalised,
                rstd,
            } = site;
            let inner = bottleneck_before.len() + bottleneck_after.len();
            adapter_input.len()
                + normalised_before.len()
                + rstd_before.len()
                + inner
                + normalised.len()
                + rstd.len()
        };
        let inputs: usize = projection_inputs.iter().map(Vec::len).sum();
        let own = query_key_value.len() + probabilities.len() + positions.len() + intermediate.len();
        own + inputs + of_site(attention_site) + of_site(feed_forward_site)
    }

    /// Keeps the input of a product if its weight is trained and a backward pass follows.
    pub fn keep_input(&mut self, layer: usize, projection: Projection, pass: &ForwardPass<'_>, x: &[f32]) {
        let kept = &mut self.projection_inputs[projection as usize];
        kept.clear();
        let trained = |segment: &Segment<'_>| {
            segment.task.is_some_and(|task| task.layout().trains_weight(layer, projection))
        };
        if pass.keep == Keep::ForBackward && pass.segments.iter().any(trained) {
            kept.extend_from_slice(x);
        }
    }
}

/// All buffers of one chunk's pass. Nothing in here outlives a pass in meaning, only in memory.
#[derive(Debug, Default)]
pub struct Activations {
    /// One entry for each layer of a backward pass that follows, a single reused one otherwise. The layers below what
    /// trains use the first.
    pub(super) layers: Vec<LayerActivations>,
    /// `[tokens, embedding width]`
    pub(super) embeddings_normalised: Vec<f32>,
    /// What the projection of the embeddings reads, `[tokens, embedding width]`; empty where there is none.
    pub(super) embedded: Vec<f32>,
    /// Its gradient.
    pub(super) d_embedded: Vec<f32>,
    pub(super) embeddings_rstd: Vec<f32>,
    /// Input of the current layer and at last the output of the encoder, `[tokens, hidden]`.
    pub(super) hidden: Vec<f32>,
    /// Output of the attention block of the current layer; in a layer that normalises before, what its sub-layers read.
    /// `[tokens, hidden]`
    pub(super) attention_block: Vec<f32>,
    /// `[tokens, hidden]`
    pub(super) scratch: Vec<f32>,
    /// `[tokens, intermediate]`
    pub(super) intermediate: Vec<f32>,
    /// `2 · longest²`, nothing where nothing is kept and nothing is dropped; and what relative positions need beside.
    pub(super) attention_scratch: Vec<f32>,
    /// Cosines and sines by position of the layers that see the whole text and of the others, `[longest, head_dim]` each; empty
    /// in a family without.
    pub(super) rotary: [Vec<f32>; 2],
    /// Normalised values of the layer normalisation after all layers, `[tokens, hidden]`; empty in a family without.
    pub(super) final_normalised: Vec<f32>,
    /// Its reciprocal standard deviations.
    pub(super) final_rstd: Vec<f32>,
    /// Gradient of a gated feed-forward network before its activation, `[tokens, 2 · intermediate]`; empty without a gate.
    pub(super) d_gated: Vec<f32>,
    /// The relative bias by distance, `[heads, 2 · longest - 1]`; empty in a family without.
    pub(super) bias_by_distance: Vec<f32>,
    /// Its gradient, where it is trained.
    pub(super) d_bias_by_distance: Vec<f32>,
    /// What the relative embeddings need; empty in a family without.
    pub(super) relative: RelativeActivations,
    /// Gradient of the current layer's output, then of its input, `[tokens, hidden]`.
    pub(super) d_hidden: Vec<f32>,
    /// `[tokens, hidden]`
    pub(super) d_branch: Vec<f32>,
    /// `[tokens, 3 · hidden]`
    pub(super) d_query_key_value: Vec<f32>,
    /// `[tokens, bottleneck]`
    pub(super) d_bottleneck: Vec<f32>,
}

/// Whether a backward pass follows a forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Keep what the backward pass reads.
    ForBackward,
    /// Keep nothing: one layer's buffers serve all.
    Nothing,
}

impl Keep {
    /// The place of a layer's buffers, where so many layers lie below what trains.
    pub(super) fn slot(self, layer: usize, frozen: usize) -> usize {
        match self {
            Self::ForBackward => layer.saturating_sub(frozen),
            Self::Nothing => 0,
        }
    }
}

/// Consecutive sequences of a chunk that share one task, or none.
#[derive(Clone, Debug)]
pub struct Segment<'a> {
    /// The sequences, counted from the chunk's first.
    pub sequences: Range<usize>,
    /// Their tokens, counted from the chunk's first.
    pub tokens: Range<usize>,
    /// The task whose adapters and layer normalisations these tokens pass through.
    pub task: Option<&'a TaskParameters>,
}

impl<'a> Segment<'a> {
    /// How many of an encoder's layers leave these tokens as the bare encoder does.
    pub(super) fn frozen_layers(&self, layers: usize) -> usize {
        self.task.map_or(layers, |task| task.layout().frozen_layers())
    }

    /// Its rows of a matrix with so many columns, as they lie in memory.
    pub(super) fn rows(&self, columns: usize) -> Range<usize> {
        self.tokens.start * columns..self.tokens.end * columns
    }

    /// One segment for a whole chunk.
    pub fn whole(chunk: &Chunk<'_>, task: Option<&'a TaskParameters>) -> Self {
        Self { sequences: 0..chunk.sequences(), tokens: 0..chunk.tokens(), task }
    }

    /// The segments of a chunk whose sequences each have a task of their own, or none.
    /// # Panics
    /// If there are not as many tasks as sequences.
    pub fn of_tasks(chunk: &Chunk<'_>, tasks: &[Option<&'a TaskParameters>]) -> Vec<Self> {
        assert_eq!(tasks.len(), chunk.sequences(), "one task, or none, for each sequence");
        let mut segments: Vec<Self> = Vec::new();
        for (index, task) in tasks.iter().enumerate() {
            let end = chunk.range(index).end;
            match segments.last_mut() {
                Some(last) if same_task(last.task, *task) => {
                    last.sequences.end = index + 1;
                    last.tokens.end = end;
                }
                _ => segments.push(Self {
                    sequences: index..index + 1,
                    tokens: chunk.range(index),
                    task: *task,
                }),
            }
        }
        segments
    }
}

fn same_task(a: Option<&TaskParameters>, b: Option<&TaskParameters>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => std::ptr::eq(a, b),
        (None, None) => true,
        _ => false,
    }
}

impl Activations {
    /// The encoder's last hidden states of the chunk, `[tokens, hidden]`.
    pub fn hidden(&self) -> &[f32] {
        &self.hidden
    }

    /// What the backward pass left: where the tables of the embeddings are trained, the gradient of each token's sum of
    /// embeddings, `[tokens, embedding width]`.
    pub fn d_embeddings(&self) -> &[f32] {
        if self.embedded.is_empty() { &self.d_hidden } else { &self.d_embedded }
    }

    /// Numbers that all buffers have room for. Every field is named, so that none can be forgotten.
    #[cfg(test)]
    pub(crate) fn numbers(&self) -> usize {
        let Self {
            layers,
            embeddings_normalised,
            embedded,
            d_embedded,
            embeddings_rstd,
            hidden,
            attention_block,
            scratch,
            intermediate,
            attention_scratch,
            rotary: [global, local],
            final_normalised,
            final_rstd,
            d_gated,
            bias_by_distance,
            d_bias_by_distance,
            relative,
            d_hidden,
            d_branch,
            d_query_key_value,
            d_bottleneck,
        } = self;
        let buffers = [
            embeddings_normalised,
            embedded,
            d_embedded,
            embeddings_rstd,
            hidden,
            attention_block,
            scratch,
            intermediate,
            attention_scratch,
            global,
            local,
            final_normalised,
            final_rstd,
            d_gated,
            bias_by_distance,
            d_bias_by_distance,
            d_hidden,
            d_branch,
            d_query_key_value,
            d_bottleneck,
        ];
        let of_layers: usize = layers.iter().map(LayerActivations::numbers).sum();
        of_layers + relative.numbers() + buffers.iter().map(|buffer| buffer.len()).sum::<usize>()
    }

    /// Gradient of the last hidden states, `[tokens, hidden]`, to be filled by the head before a backward pass.
    pub fn d_hidden_mut(&mut self) -> &mut [f32] {
        &mut self.d_hidden
    }

    /// Gives every buffer its length for this chunk, whose tasks leave the first `frozen` layers bare.
    pub(super) fn resize(&mut self, encoder: &Encoder, pass: &ForwardPass<'_>, frozen: usize) {
        let config = &encoder.config;
        let ForwardPass { chunk, segments, keep, .. } = *pass;
        let tasks = || segments.iter().filter_map(|segment| segment.task.map(|task| task.layout().config()));
        let bottlenecks =
            tasks().filter(|config| config.method.has_adapters()).map(|config| config.bottleneck.widest());
        let bottleneck = bottlenecks.max().unwrap_or(0);
        let before = tasks().any(|config| config.method == Method::Pfeiffer);
        let (tokens, hidden) = (chunk.tokens(), config.hidden_size);
        let longest = chunk.longest();
        let last = keep.slot(config.num_hidden_layers - 1, frozen);
        self.layers.resize_with(last + 1, LayerActivations::default);
        for layer in &mut self.layers {
            layer.query_key_value.resize(tokens * 3 * hidden, 0.0);
            layer.intermediate.resize(tokens * config.intermediate_outputs(), 0.0);
            for site in [&mut layer.attention_site, &mut layer.feed_forward_site] {
                site.adapter_input.resize(tokens * hidden, 0.0);
                site.bottleneck_before.resize(tokens * bottleneck, 0.0);
                site.bottleneck_after.resize(tokens * bottleneck, 0.0);
                site.normalised.resize(tokens * hidden, 0.0);
                site.rstd.resize(tokens, 0.0);
                site.normalised_before.resize(if before { tokens * hidden } else { 0 }, 0.0);
                site.rstd_before.resize(if before { tokens } else { 0 }, 0.0);
            }
        }
        let embedding = tokens * config.embedding_width();
        self.embeddings_normalised.resize(embedding, 0.0);
        self.embedded.resize(config.embedding_size.map_or(0, |_| embedding), 0.0);
        self.embeddings_rstd.resize(tokens, 0.0);
        for buffer in [&mut self.hidden, &mut self.attention_block, &mut self.scratch] {
            buffer.resize(tokens * hidden, 0.0);
        }
        self.intermediate.resize(tokens * config.intermediate_size, 0.0);
        let unused = keep == Keep::Nothing && pass.dropout.attention.is_none();
        let beside = encoder.relative_embeddings.as_ref().map_or(0, |relative| relative.scratch(longest));
        self.attention_scratch.resize(if unused { 0 } else { 2 * longest * longest } + beside, 0.0);
        self.lay_out_positions(config, longest);
        let (after_all, gated) = match config.pre_norm {
            Some(_) => (tokens, tokens * config.intermediate_outputs()),
            None => (0, 0),
        };
        self.final_normalised.resize(after_all * hidden, 0.0);
        self.final_rstd.resize(after_all, 0.0);
        if keep == Keep::ForBackward {
            self.d_gated.resize(gated, 0.0);
            self.d_hidden.resize(tokens * hidden, 0.0);
            self.d_branch.resize(tokens * hidden, 0.0);
            self.d_query_key_value.resize(tokens * 3 * hidden, 0.0);
            self.d_bottleneck.resize(tokens * bottleneck, 0.0);
        }
    }

    /// Lays out the angles by which positions turn queries and keys.
    fn lay_out_positions(&mut self, config: &EncoderConfig, longest: usize) {
        let thetas =
            config.pre_norm.as_ref().map(|config| [config.global_rope_theta, config.local_rope_theta]);
        for (place, angles) in self.rotary.iter_mut().enumerate() {
            match thetas {
                Some(thetas) => rotary::lay_out(thetas[place], config.head_dim(), longest, angles),
                None => angles.clear(),
            }
        }
    }

    /// The angles of a layer, if positions turn queries and keys.
    pub(super) fn rotary_of<'a>(
        rotary: &'a [Vec<f32>; 2],
        config: &EncoderConfig,
        layer: usize,
    ) -> Option<Rotary<'a>> {
        let local = usize::from(!config.pre_norm.as_ref()?.is_global(layer));
        Some(Rotary { by_position: &rotary[local], head_dim: config.head_dim() })
    }
}
