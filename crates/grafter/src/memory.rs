//! How much memory a step of training takes, known before the first one: a run for which the machine is too small is refused
//! and does not end in its midst.
//!
//! A bound, from the sizes of the buffers: of each thread those of the largest chunk that it may get, once for all threads the
//! gradients and the optimiser's state. It grows with the longest text, and hardly with the rows of a step.

use grafter_nn::attention::probability_count;

use crate::adapter::{Method, Pooling, TaskLayout};
use crate::batch::{BATCH_TOKENS, most_chunk_tokens, most_chunks};
use crate::encoder::{Encoder, EncoderConfig};
use crate::gradient::chunks_held;
use crate::prefix::Constant;

/// The largest of some rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Largest {
    /// Tokens of one sequence.
    pub sequence: usize,
    /// Tokens of sequences that are read together: those of a row's choices, otherwise of one sequence.
    pub unit: usize,
    /// Tokens of one row.
    pub row: usize,
}

impl Largest {
    /// Of two.
    pub fn max(self, other: Self) -> Self {
        Self {
            sequence: self.sequence.max(other.sequence),
            unit: self.unit.max(other.unit),
            row: self.row.max(other.row),
        }
    }
}

/// Bytes that training takes at most beside the model as it is now, the rows and what is kept of them, where steps have so many
/// rows and run on so many threads.
pub fn training_bytes(
    model: &Encoder,
    layout: &TaskLayout,
    largest: Largest,
    batch_size: usize,
    threads: usize,
) -> u64 {
    let (encoder, wide) = (&model.config, |number: usize| number as u64);
    let tokens = most_chunk_tokens(largest.unit);
    let of_batch = batch_size.saturating_mul(largest.row.max(1));
    let lowest = layout.frozen_layers();
    let head = wide(head_numbers(layout, tokens));
    let pass = |lowest| wide(chunk_numbers(encoder, layout, largest, lowest)) + head;
    // A small batch has fewer chunks than there are threads. Dev rows pass in batches of their own, forward only, where one
    // layer's buffers serve all.
    let chunks = most_chunks(of_batch);
    let training = wide(threads.min(chunks)) * pass(lowest);
    let evaluation =
        wide(threads.min(most_chunks(BATCH_TOKENS + largest.row))) * pass(encoder.num_hidden_layers);
    let held = chunks_held(layout.dense_len(), threads).min(chunks);
    let tables = if layout.trains_tables() { tokens * encoder.embedding_width() } else { 0 };
    let gradients = wide(held) * wide(layout.dense_len() + tables);
    // The numbers, their gradients, two running means of these, the best numbers so far and those that take their place.
    let trained = 6 * wide(layout.list().len());
    // Of each token its id, its type and its place, and the hidden states that are kept of it.
    let of_token = match Constant::of(layout) {
        Some(Constant::States(_)) => 4 + wide(encoder.hidden_size),
        _ => 4,
    };
    let mut batch = wide(of_batch).saturating_mul(of_token);
    if matches!(Constant::of(layout), Some(Constant::Pooled(_))) {
        // The head alone passes a batch at once.
        batch = batch.saturating_add(wide(head_numbers(layout, of_batch)));
    }
    let laid_out = wide(model.numbers_to_lay_out(layout));
    let numbers = (training.max(evaluation) + gradients + trained + laid_out).saturating_add(batch);
    numbers.saturating_mul(size_of::<f32>() as u64)
}

/// Numbers of a chunk's pass forward and backward: [`Activations`](crate::encoder::activations::Activations).
/// The layers from the lowest on keep what they computed; one does in any case.
fn chunk_numbers(encoder: &EncoderConfig, layout: &TaskLayout, largest: Largest, lowest: usize) -> usize {
    let (tokens, hidden, length) = (most_chunk_tokens(largest.unit), encoder.hidden_size, largest.sequence);
    let config = layout.config();
    let bottleneck = if config.method.has_adapters() { config.bottleneck.widest() } else { 0 };
    let before = if config.method == Method::Pfeiffer { hidden + 1 } else { 0 };
    let site = 2 * hidden + 2 * bottleneck + 1 + before;
    let outputs = encoder.intermediate_outputs();
    // Inputs of the products whose weights are trained: of attention, its output, and both of the feed-forward network.
    let whole = matches!(config.method, Method::Full | Method::TopLayers(_));
    let inputs = if whole { 3 * hidden + encoder.intermediate_size } else { 0 };
    let relative = encoder.relative.as_ref().map_or(0, |relative| 2 * relative.position_buckets.max(length));
    let layer = |layer: usize| {
        let probabilities =
            probability_count(encoder.num_attention_heads, length, encoder.attention_window(layer));
        tokens * (3 * hidden + outputs + 2 * site + inputs)
            + tokens.div_ceil(length.max(1)) * probabilities
            + relative * 3 * hidden
    };
    let layers: usize =
        (lowest.min(encoder.num_hidden_layers - 1)..encoder.num_hidden_layers).map(layer).sum();
    // A gate's gradient, and the layer normalisation after all layers.
    let pre_norm = if encoder.pre_norm.is_some() { outputs + hidden + 1 } else { 0 };
    let passing =
        3 * encoder.embedding_width() + 1 + 8 * hidden + encoder.intermediate_size + bottleneck + pre_norm;
    let attention = 2 * length * length + 2 * length * encoder.head_dim();
    let by_distance = relative * (8 * hidden + 4 * length) + 4 * encoder.num_attention_heads * length;
    layers + tokens * passing + attention + by_distance
}

/// Numbers of what the head reads and computes: of each word, which may be a token, or of each sequence, which has two special
/// tokens.
fn head_numbers(layout: &TaskLayout, tokens: usize) -> usize {
    let read = if layout.config().pooling == Pooling::Words { tokens } else { tokens / 2 + 1 };
    read.saturating_mul(8 * layout.hidden() + 2 * layout.config().outputs)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::adapter::{Lowest, TaskParameters};
    use crate::batch::{PackedBatch, TokenIds};
    use crate::checkpoint::read_encoder_in;
    use crate::encoder::{BasePrecision, EncoderDropout};
    use crate::gradient::{GradientEngine, Target};
    use crate::graft::GraftOptions;

    fn sequence(tokens: usize) -> TokenIds {
        TokenIds { ids: vec![5; tokens], type_ids: vec![0; tokens], ..TokenIds::default() }
    }

    /// The bound holds, and is not so far above that it would refuse what fits: less than three times
    /// as much, where there are enough rows to fill chunks, of encoders so small that a head's buffers weigh as much as a layer's.
    #[test]
    fn no_step_takes_more_than_its_bound() {
        for (folder, precision) in [
            ("tiny-bert", BasePrecision::F32),
            ("tiny-modernbert", BasePrecision::F32),
            ("tiny-bert", BasePrecision::Int8),
            ("parity/deberta_full", BasePrecision::F32),
            ("parity/electra_small", BasePrecision::F32),
        ] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder);
            // Anew each time, so that nothing is laid out for a backward pass yet.
            let read = || read_encoder_in(&path, precision).unwrap();
            let long = read().config.max_length();
            for method in
                [Method::Houlsby, Method::Pfeiffer, Method::Full, Method::TopLayers(1), Method::Bias]
            {
                for lengths in [vec![1], vec![3; 700], vec![long; 20_000 / long], vec![long, 1, 2, long, 3]] {
                    let encoder = &read();
                    let options = GraftOptions { method, bottleneck: 4, ..GraftOptions::default() };
                    let task = TaskParameters::initialise(&options.config(3), encoder, 1e-2, 1);
                    let rows: Vec<TokenIds> = lengths.iter().map(|tokens| sequence(*tokens)).collect();
                    let batch = PackedBatch::new(&rows);
                    let targets = vec![Target::Class(1); rows.len()];
                    let mut engine = GradientEngine::default();
                    let dropout = EncoderDropout::training(&encoder.config, 1, 1);
                    let longest = *lengths.iter().max().unwrap();
                    let largest = Largest { sequence: longest, unit: longest, row: longest };
                    let bound = training_bytes(encoder, task.layout(), largest, rows.len(), 1);
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
                    pool.install(|| engine.compute(encoder, &task, &batch, &targets, &dropout).0);
                    let laid_out = encoder.numbers_laid_out();
                    assert!(laid_out > 0 || !method.has_adapters(), "{folder}, {method}");
                    let taken = (engine.numbers() + 5 * task.values().len() + laid_out) as u64 * 4;
                    assert!(taken <= bound, "{folder}, {method}, {lengths:?}: {taken} of {bound}");
                    // A step of the head alone is another one, see `compute_from_pooled`.
                    let passes = task.layout().lowest_trained() != Lowest::Head;
                    if passes && lengths.iter().all(|length| *length == long) {
                        assert!(bound < 3 * taken, "{folder}, {method}: {taken}, bound {bound}");
                    }
                }
            }
        }
    }
}
