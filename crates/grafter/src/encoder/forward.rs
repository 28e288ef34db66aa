//! The forward pass of one chunk of whole sequences, on the calling thread.

use grafter_nn::adapter::{self, AdapterCache};
use grafter_nn::attention;
use grafter_nn::layer_norm::{self, LayerNormCache, LayerNormWeights};
use grafter_nn::residual;

use super::activations::{Activations, Keep, LayerActivations, Segment, SiteActivations};
use super::{DropoutPlace, Encoder, EncoderDropout};
use crate::adapter::Site;
use crate::batch::Chunk;

/// What passes through the layers, and how.
#[derive(Clone, Copy)]
struct Pass<'a> {
    chunk: &'a Chunk<'a>,
    segments: &'a [Segment<'a>],
    dropout: &'a EncoderDropout,
}

impl Encoder {
    /// Hidden states of a chunk, left in [`Activations::hidden`].
    ///
    /// `segments` say which tokens pass through which task's adapters; they cover the chunk in order, and their limits
    /// are limits of sequences. Frozen products run once over all tokens, adapters and layer normalisations per
    /// segment.
    ///
    /// Below everything that the tasks train there is no dropout: it belongs to training what it acts on, and without it
    /// what enters the lowest adapted layer is a constant of a text. Where the chunk brings that ([`Chunk::states`]), the
    /// pass begins there.
    /// # Panics
    /// If the chunk brings the hidden states of a layer below which a task trains something.
    pub fn forward(
        &self,
        chunk: &Chunk<'_>,
        segments: &[Segment<'_>],
        dropout: &EncoderDropout,
        keep: Keep,
        activations: &mut Activations,
    ) {
        self.forward_observed(chunk, segments, dropout, keep, activations, &mut |_, _| {});
    }

    /// The hidden states that enter a layer (the head, if there is none of that number) where no task changes anything
    /// below, left in [`Activations::hidden`].
    pub fn forward_below(&self, layer: usize, chunk: &Chunk<'_>, activations: &mut Activations) {
        let (segments, none) = ([Segment::whole(chunk, None)], EncoderDropout::none());
        let pass = Pass { chunk, segments: &segments, dropout: &none };
        activations.resize(&self.config, chunk, 0, Keep::Nothing, self.layers.len());
        self.embed(pass, activations);
        for below in 0..layer {
            self.layer(below, pass, 0, activations);
        }
    }

    /// [`Encoder::forward`], showing the hidden states after the embeddings (0) and after each layer (1, 2, …).
    pub fn forward_observed(
        &self,
        chunk: &Chunk<'_>,
        segments: &[Segment<'_>],
        dropout: &EncoderDropout,
        keep: Keep,
        activations: &mut Activations,
        observe: &mut dyn FnMut(usize, &[f32]),
    ) {
        let bottleneck = segments.iter().map(|segment| widest_bottleneck(segment, self.layers.len())).max();
        let layers = self.layers.len();
        let frozen = segments.iter().map(|segment| segment.frozen_layers(layers)).min().unwrap_or(layers);
        activations.resize(&self.config, chunk, bottleneck.unwrap_or(0), keep, frozen);
        let none = EncoderDropout::none();
        let first = match chunk.states {
            Some((layer, states)) => {
                assert!(layer <= frozen, "nothing is trained below the hidden states at hand");
                activations.hidden.copy_from_slice(states);
                layer
            }
            None => {
                let dropout = if frozen > 0 { &none } else { dropout };
                self.embed(Pass { chunk, segments, dropout }, activations);
                0
            }
        };
        observe(first, &activations.hidden);
        for layer in first..layers {
            let dropout = if layer < frozen { &none } else { dropout };
            self.layer(layer, Pass { chunk, segments, dropout }, keep.slot(layer, frozen), activations);
            observe(layer + 1, &activations.hidden);
        }
    }

    /// Hidden states from those that enter a layer to those that leave it; `slot` is the place of its buffers.
    fn layer(&self, layer: usize, pass: Pass<'_>, slot: usize, activations: &mut Activations) {
        let mut kept = std::mem::take(&mut activations.layers[slot]);
        self.attention_block(layer, pass, activations, &mut kept);
        self.feed_forward_block(layer, pass, activations, &mut kept);
        activations.layers[slot] = kept;
    }

    /// `hidden = dropout(LayerNorm(words + positions + types))`
    fn embed(&self, pass: Pass<'_>, activations: &mut Activations) {
        let Pass { chunk, segments, dropout } = pass;
        let hidden = self.config.hidden_size;
        for range in chunk.ranges() {
            let rows = range.start * hidden..range.end * hidden;
            let (ids, type_ids) = (&chunk.ids[range.clone()], &chunk.type_ids[range]);
            self.embedding.forward_sequence(ids, type_ids, &mut activations.scratch[rows]);
        }
        for segment in segments {
            let rows = segment.tokens.start * hidden..segment.tokens.end * hidden;
            let weights = segment.task.and_then(|task| task.embeddings_layer_norm());
            layer_norm::forward(
                weights.unwrap_or(self.embeddings_layer_norm.weights()),
                self.config.layer_norm_eps,
                &activations.scratch[rows.clone()],
                LayerNormCache {
                    normalised: &mut activations.embeddings_normalised[rows.clone()],
                    rstd: &mut activations.embeddings_rstd[segment.tokens.clone()],
                },
                &mut activations.hidden[rows],
            );
        }
        dropout.drop_hidden(DropoutPlace::Embeddings, 0, chunk, &mut activations.hidden);
    }

    /// `attention_block = LayerNorm(hidden + adapter(dropout(W_o · attention(hidden))))`
    fn attention_block(
        &self,
        layer: usize,
        pass: Pass<'_>,
        activations: &mut Activations,
        kept: &mut LayerActivations,
    ) {
        let Pass { chunk, segments, dropout } = pass;
        let weights = &self.layers[layer];
        let hidden = self.config.hidden_size;
        weights.query_key_value.forward(&activations.hidden, &mut kept.query_key_value);
        let shape = self.attention_shape(dropout);
        let mut from = 0;
        for (index, range) in chunk.ranges().enumerate() {
            let to = from + attention::probability_count(shape.heads, range.len());
            attention::forward_sequence(
                &shape,
                dropout.key(DropoutPlace::AttentionProbabilities, layer, chunk.first_sequence + index),
                &kept.query_key_value[range.start * 3 * hidden..range.end * 3 * hidden],
                &mut kept.probabilities[from..to],
                &mut activations.attention_scratch,
                &mut activations.scratch[range.start * hidden..range.end * hidden],
            );
            from = to;
        }
        let site = &mut kept.attention_site;
        weights.attention_output.forward(&activations.scratch, &mut site.adapter_input);
        dropout.drop_hidden(DropoutPlace::AttentionOutput, layer, chunk, &mut site.adapter_input);
        let Activations { hidden: skip, scratch, attention_block, .. } = activations;
        self.graft((layer, Site::Attention), segments, site, skip, scratch, attention_block);
    }

    /// `hidden = LayerNorm(attention_block + adapter(dropout(W_2 · act(W_1 · attention_block))))`
    fn feed_forward_block(
        &self,
        layer: usize,
        pass: Pass<'_>,
        activations: &mut Activations,
        kept: &mut LayerActivations,
    ) {
        let Pass { chunk, segments, dropout } = pass;
        let weights = &self.layers[layer];
        weights.intermediate.forward(&activations.attention_block, &mut kept.intermediate);
        self.config.activation().forward(&kept.intermediate, &mut activations.intermediate);
        let site = &mut kept.feed_forward_site;
        weights.output.forward(&activations.intermediate, &mut site.adapter_input);
        dropout.drop_hidden(DropoutPlace::FeedForwardOutput, layer, chunk, &mut site.adapter_input);
        let Activations { hidden, scratch, attention_block: skip, .. } = activations;
        self.graft((layer, Site::FeedForward), segments, site, skip, scratch, hidden);
    }

    /// `y = LayerNorm(skip + adapter(adapter_input))`, each segment with its own task's numbers.
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
        for segment in segments {
            let tokens = segment.tokens.len();
            let rows = segment.tokens.start * hidden..segment.tokens.end * hidden;
            let input = &kept.adapter_input[rows.clone()];
            match segment.task.and_then(|task| task.adapter(layer, site)) {
                Some(weights) => {
                    // Kept for a backward pass only when one segment is the whole chunk.
                    let inner = tokens * weights.bottleneck();
                    let cache = AdapterCache {
                        before: &mut kept.bottleneck_before[..inner],
                        after: &mut kept.bottleneck_after[..inner],
                    };
                    adapter::forward(weights, input, cache, &mut sum[rows.clone()]);
                }
                None => sum[rows.clone()].copy_from_slice(input),
            }
            residual::add(&skip[rows.clone()], &mut sum[rows.clone()]);
            let tuned = segment.task.and_then(|task| task.layer_norm(layer, site));
            layer_norm::forward(
                tuned.unwrap_or(self.frozen_layer_norm(layer, site)),
                self.config.layer_norm_eps,
                &sum[rows.clone()],
                LayerNormCache {
                    normalised: &mut kept.normalised[rows.clone()],
                    rstd: &mut kept.rstd[segment.tokens.clone()],
                },
                &mut y[rows],
            );
        }
    }

    pub(super) fn frozen_layer_norm(&self, layer: usize, site: Site) -> LayerNormWeights<'_> {
        match site {
            Site::Attention => self.layers[layer].attention_layer_norm.weights(),
            Site::FeedForward => self.layers[layer].output_layer_norm.weights(),
        }
    }
}

fn widest_bottleneck(segment: &Segment<'_>, layers: usize) -> usize {
    let Some(task) = segment.task else { return 0 };
    (0..layers)
        .flat_map(|layer| {
            Site::ALL.map(|site| task.adapter(layer, site).map_or(0, |adapter| adapter.bottleneck()))
        })
        .max()
        .unwrap_or(0)
}
