//! The frozen encoder, BERT (Devlin et al. 2018) or one of its [`family`], with adapters grafted in (Houlsby et al. 2019).
//!
//! ```text
//! x ─┬─ query_key_value ─ attention ─ attention_output ─ dropout ─ ADAPTER ─ + ─ LayerNorm ─ h
//!    └─────────────────────────────── skip ─────────────────────────────────┘
//! h ─┬─ intermediate ─ activation ─ output ─ dropout ─ ADAPTER ─ + ─ LayerNorm ─ next x
//!    └─────────────────────── skip ──────────────────────────────┘
//! ```
//!
//! ModernBERT's layers normalise before each sub-layer and not after it: `pre_norm`. DeBERTa's attention has relative embeddings:
//! `relative`.
//!
//! The encoder's own numbers never change: nothing here can write to them. What a task brings, adapters and numbers that
//! stand in for the encoder's, is an argument of every pass ([`crate::adapter::TaskParameters`]), never state.
//! `forward` computes the hidden states of one chunk of whole sequences on one thread; `backward` the gradients of
//! the trained parameters; [`activations`] names what is kept between the two.

pub mod activations;
mod backward;
mod config;
pub mod family;
mod forward;
mod laid_out;
mod pre_norm;
mod precision;
pub(crate) mod projection;
mod relative;

pub use backward::BackwardPass;
pub use config::{Biases, DecidingConfig, EncoderConfig, PreNormConfig, RelativeConfig, base_activation};
pub use family::Family;
pub use forward::ForwardPass;
pub use precision::BasePrecision;
pub use relative::RelativeEmbeddings;

use grafter_nn::attention::AttentionShape;
use grafter_nn::disentangled::RelativePositions;
use grafter_nn::dropout::{Dropout, DropoutKey};
use grafter_nn::embedding::FrozenEmbedding;
use grafter_nn::layer_norm::LayerNormWeights;
use grafter_nn::linear::FrozenLinear;
use grafter_nn::relative_position::RelativeBias;

use crate::batch::Chunk;

/// A layer normalisation as the checkpoint has it, used where a task does not bring its own.
#[derive(Clone, Debug)]
pub struct FrozenLayerNorm {
    /// Scale `[hidden]`.
    pub weight: Vec<f32>,
    /// Shift `[hidden]`.
    pub bias: Vec<f32>,
}

impl FrozenLayerNorm {
    /// The numbers as the operation takes them.
    pub fn weights(&self) -> LayerNormWeights<'_> {
        LayerNormWeights { weight: &self.weight, bias: &self.bias }
    }
}

/// The frozen numbers of one Transformer layer.
#[derive(Clone, Debug)]
pub struct EncoderLayer {
    /// Query, key and value projections in one: `[3 · hidden, hidden]`.
    pub query_key_value: FrozenLinear,
    /// Output projection of the attention: `[hidden, hidden]`.
    pub attention_output: FrozenLinear,
    /// Layer normalisation after the attention, in ModernBERT before it; absent in ModernBERT's first layer.
    pub attention_layer_norm: Option<FrozenLayerNorm>,
    /// First projection of the feed-forward network: `[intermediate, hidden]`, of a gated one `[2 · intermediate, hidden]`.
    pub intermediate: FrozenLinear,
    /// Second projection of the feed-forward network: `[hidden, intermediate]`.
    pub output: FrozenLinear,
    /// Layer normalisation after the feed-forward network, in ModernBERT before it.
    pub output_layer_norm: FrozenLayerNorm,
}

/// A pretrained encoder, frozen.
#[derive(Clone, Debug)]
pub struct Encoder {
    /// Sizes and settings.
    pub config: EncoderConfig,
    pub(crate) embedding: FrozenEmbedding,
    pub(crate) embeddings_layer_norm: FrozenLayerNorm,
    /// `[hidden, embedding width]`, where the embeddings are narrower than the hidden states.
    pub(crate) embeddings_projection: Option<FrozenLinear>,
    /// What is added to attention scores by distance, the same in all layers: `[buckets, heads]`; empty in a family without.
    pub(crate) relative_bias: Vec<f32>,
    /// What the attention of all layers reads by distance; none in a family without.
    pub(crate) relative_embeddings: Option<RelativeEmbeddings>,
    pub(crate) layers: Vec<EncoderLayer>,
    /// After all layers; part of the last one.
    pub(crate) final_layer_norm: Option<FrozenLayerNorm>,
    /// `tanh(pooler · h[CLS])` is what BERT was pretrained to read; some checkpoints leave it out.
    pub(crate) pooler: Option<FrozenLinear>,
    pub(crate) weights_sha256: String,
    pub(crate) stored_as: String,
    pub(crate) precision: BasePrecision,
}

impl Encoder {
    /// Types of the numbers in the files, as safetensors names them.
    pub fn stored_as(&self) -> &str {
        &self.stored_as
    }

    /// SHA-256 of the file that the weights came from, in hexadecimal; of several files, of their digests in hexadecimal, one
    /// after another, in the order of the files' names.
    pub fn weights_sha256(&self) -> &str {
        &self.weights_sha256
    }

    /// In which numbers the linear layers of the Transformer are multiplied.
    pub fn precision(&self) -> BasePrecision {
        self.precision
    }

    /// Whether tasks can read the pooled `[CLS]`.
    pub fn has_pooler(&self) -> bool {
        self.pooler.is_some()
    }

    /// Numbers in the encoder, the pooler included. A bias that the checkpoint lacks is none.
    pub fn parameter_count(&self) -> usize {
        let biases = self.config.biases();
        let linear =
            |layer: &FrozenLinear, bias: bool| layer.outputs() * (layer.inputs() + usize::from(bias));
        let norm =
            |norm: &FrozenLayerNorm| norm.weight.len() + if biases.layer_norm { norm.bias.len() } else { 0 };
        let embedding =
            self.embedding.words.len() + self.embedding.positions.len() + self.embedding.types.len();
        let layers: usize = self
            .layers
            .iter()
            .map(|layer| {
                linear(&layer.query_key_value, biases.attention)
                    + linear(&layer.attention_output, biases.attention)
                    + layer.attention_layer_norm.as_ref().map_or(0, norm)
                    + linear(&layer.intermediate, biases.feed_forward)
                    + linear(&layer.output, biases.feed_forward)
                    + norm(&layer.output_layer_norm)
            })
            .sum();
        let beside = [&self.embeddings_projection, &self.pooler].into_iter().flatten();
        embedding
            + norm(&self.embeddings_layer_norm)
            + self.relative_bias.len()
            + self.relative_embeddings.as_ref().map_or(0, RelativeEmbeddings::parameter_count)
            + layers
            + self.final_layer_norm.as_ref().map_or(0, norm)
            + beside.map(|layer| linear(layer, true)).sum::<usize>()
    }

    /// SHA-256 over the numbers in memory, to prove that a run left them as they were. It is over what either pass reads, so
    /// it lays out what the backward pass reads if no backward pass did.
    pub fn digest_in_memory(&self) -> String {
        let mut numbers: Vec<&[f32]> =
            vec![&self.embedding.words, &self.embedding.positions, &self.embedding.types];
        let norm = &self.embeddings_layer_norm;
        numbers.extend([&norm.weight[..], &norm.bias, &self.relative_bias]);
        let mut integers: Vec<&[i8]> = Vec::new();
        for layer in &self.layers {
            for linear in
                [&layer.query_key_value, &layer.attention_output, &layer.intermediate, &layer.output]
            {
                numbers.extend(linear.numbers());
                integers.push(linear.integers());
            }
            for norm in layer.attention_layer_norm.iter().chain([&layer.output_layer_norm]) {
                numbers.extend([&norm.weight[..], &norm.bias]);
            }
        }
        if let Some(norm) = &self.final_layer_norm {
            numbers.extend([&norm.weight[..], &norm.bias]);
        }
        numbers.extend(self.relative_numbers());
        for linear in [&self.embeddings_projection, &self.pooler].into_iter().flatten() {
            numbers.extend(linear.numbers());
        }
        crate::digest::sha256_of_numbers(&numbers, &integers)
    }

    /// The heads of a layer's attention.
    fn attention_shape<'a>(
        &self,
        layer: usize,
        dropout: &EncoderDropout,
        bias: Option<RelativeBias<'a>>,
        positions: Option<RelativePositions<'a>>,
    ) -> AttentionShape<'a> {
        AttentionShape {
            heads: self.config.num_attention_heads,
            head_dim: self.config.head_dim(),
            window: self.config.attention_window(layer),
            dropout: dropout.attention,
            bias,
            positions,
        }
    }

    /// What the relative bias is multiplied with before the scores, with it, are divided.
    fn relative_bias_scale(&self) -> f32 {
        (self.config.head_dim() as f32).sqrt()
    }
}

/// The dropout of one pass, and the key that its masks are drawn from.
#[derive(Clone, Copy, Debug)]
pub struct EncoderDropout {
    /// Dropout of the embeddings and of the feed-forward network's output.
    pub hidden: Dropout,
    /// Dropout of the attention's output.
    pub attention_output: Dropout,
    /// Dropout within the feed-forward network, before its second projection; none in a family without.
    pub feed_forward: Dropout,
    /// Dropout of what the dense layer of a head reads.
    pub before_dense: Dropout,
    /// Dropout of what the last layer of the head reads.
    pub pooled: Dropout,
    /// Dropout of the attention probabilities.
    pub attention: Dropout,
    /// Names the masks of this pass: seed and step.
    pub key: DropoutKey,
}

/// Places where a pass draws dropout masks; part of the key, so the order is part of the file format of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DropoutPlace {
    Embeddings = 0,
    AttentionProbabilities = 1,
    AttentionOutput = 2,
    FeedForwardOutput = 3,
    Pooled = 4,
    HeadDense = 5,
    FeedForward = 6,
    RelativeEmbeddings = 7,
}

impl EncoderDropout {
    /// No dropout: evaluation and inference.
    pub fn none() -> Self {
        Self {
            hidden: Dropout::NONE,
            attention_output: Dropout::NONE,
            feed_forward: Dropout::NONE,
            before_dense: Dropout::NONE,
            pooled: Dropout::NONE,
            attention: Dropout::NONE,
            key: DropoutKey::new(0),
        }
    }

    /// The rates of the encoder's configuration, with the masks of one step of one run.
    pub fn training(config: &EncoderConfig, seed: u64, step: u64) -> Self {
        let hidden = Dropout::new(config.hidden_dropout_prob);
        let attention = Dropout::new(config.attention_probs_dropout_prob);
        let attention_output = match config.family {
            Family::DistilBert => Dropout::NONE,
            Family::ModernBert => attention,
            _ => hidden,
        };
        let pooled = config.classifier_dropout.unwrap_or(config.hidden_dropout_prob);
        Self {
            hidden,
            attention_output,
            feed_forward: Dropout::new(config.mlp_dropout.unwrap_or(0.0)),
            before_dense: Dropout::new(config.pooler_dropout.unwrap_or(pooled)),
            pooled: Dropout::new(pooled),
            attention,
            key: DropoutKey::new(seed).derive(step),
        }
    }

    /// Applies the dropout of hidden states, or of what is within the feed-forward network, to each sequence of a chunk with its own key; on a gradient it is its own
    /// backward pass.
    /// # Shapes
    /// x `[tokens, features]`
    pub(crate) fn drop_hidden(&self, place: DropoutPlace, layer: usize, chunk: &Chunk<'_>, x: &mut [f32]) {
        let dropout = match place {
            DropoutPlace::AttentionOutput => self.attention_output,
            DropoutPlace::FeedForward => self.feed_forward,
            _ => self.hidden,
        };
        if dropout.is_none() {
            return;
        }
        let hidden = x.len() / chunk.tokens();
        for (index, range) in chunk.ranges().enumerate() {
            let key = self.key(place, layer, chunk.first_sequence + index);
            dropout.apply(key, &mut x[range.start * hidden..range.end * hidden]);
        }
    }

    /// The key of one place, layer and sequence of the batch.
    pub(crate) fn key(&self, place: DropoutPlace, layer: usize, sequence: usize) -> DropoutKey {
        self.key.derive(place as u64).derive(layer as u64).derive(sequence as u64)
    }
}
