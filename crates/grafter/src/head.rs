//! From the last hidden states to logits: pooling, the frozen pooler, dropout, and the task's head.
//!
//! `logits = W · dropout(pooled) + b`, where `pooled` is `tanh(pooler · h[CLS])` (Devlin et al. 2018, section 3; Houlsby et
//! al. 2019 keep BERT's head), `h[CLS]` itself, or the mean of the hidden states. The pooler is the encoder's; only a task
//! that trains the encoder's own numbers has one of its own. A dense head puts a layer of the task's own between the two:
//! `logits = W · dropout(act(W_d · dropout(pooled) + b_d)) + b`, as RoBERTa's does (Liu et al. 2019, in its code).
//!
//! What a head reads are rows: one of each sequence, or of a task that answers words one of each word, which is the hidden state
//! of its first token (Devlin et al. 2018, section 5.3).

use std::ops::Range;

use grafter_nn::activation::{tanh_backward, tanh_in_place};
use grafter_nn::gemm::Start;
use grafter_nn::linear::FrozenLinear;
use grafter_nn::{linear, pooling};

use crate::adapter::{AdapterConfig, Pooling, TaskParameters, Tuned};
use crate::batch::{Chunk, PackedBatch};
use crate::encoder::{BackwardPass, DropoutPlace, Encoder, EncoderDropout, projection};

/// Buffers of the head for some sequences of a chunk, with one row for each sequence or word.
#[derive(Debug, Default)]
pub struct HeadActivations {
    /// What the pooling takes from the hidden states, `[rows, hidden]`.
    taken: Vec<f32>,
    /// What the head reads, before dropout, `[rows, hidden]`.
    pooled: Vec<f32>,
    /// What the head reads, after dropout, `[rows, hidden]`.
    dropped: Vec<f32>,
    /// Of a dense head: its first layer before the activation, `[rows, hidden]`.
    dense_before: Vec<f32>,
    /// Of a dense head: its first layer after activation and dropout, `[rows, hidden]`.
    dense_after: Vec<f32>,
    /// `[rows, outputs]`
    logits: Vec<f32>,
    /// Gradient of the logits, `[rows, outputs]`, filled by the loss.
    pub d_logits: Vec<f32>,
    /// Gradient of `dense_after`, then of `dense_before`.
    d_dense: Vec<f32>,
    d_pooled: Vec<f32>,
    d_taken: Vec<f32>,
}

impl HeadActivations {
    /// `[rows, outputs]`
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// What the head read, before dropout: `[rows, hidden]`.
    pub fn pooled(&self) -> &[f32] {
        &self.pooled
    }

    /// Takes what [`forward_pooled`] reads, `[rows, hidden]`, from where it was kept.
    pub fn set_pooled(&mut self, pooled: &[f32]) {
        self.pooled.clear();
        self.pooled.extend(pooled);
    }
}

/// What is read: some sequences of a chunk, as the last layer leaves them.
#[derive(Clone, Debug)]
pub struct HeadInput<'a> {
    /// Whose last layer it is; it may have a pooler.
    pub encoder: &'a Encoder,
    /// The tokens.
    pub chunk: &'a Chunk<'a>,
    /// Which of its sequences.
    pub sequences: Range<usize>,
    /// Of the whole chunk, `[tokens, hidden]`.
    pub hidden_states: &'a [f32],
}

/// Logits of some sequences of a chunk.
pub fn forward(
    input: &HeadInput<'_>,
    task: &TaskParameters,
    dropout: &EncoderDropout,
    head: &mut HeadActivations,
) {
    pool(input, Reading::of(task), head);
    let rows = rows(task.layout().config().pooling, input.chunk, input.sequences.clone());
    forward_pooled(task, rows.start, dropout, head);
}

/// How a task reads the last hidden states.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// Which of them.
    pub pooling: Pooling,
    /// What the task has of the pooler.
    pub pooler: Tuned<'a>,
}

impl<'a> Reading<'a> {
    fn of(task: &'a TaskParameters) -> Self {
        Self { pooling: task.layout().config().pooling, pooler: task.pooler() }
    }

    /// With the encoder's pooler.
    pub fn frozen(pooling: Pooling) -> Self {
        Self { pooling, pooler: Tuned::default() }
    }
}

/// The rows of some sequences of a chunk among those of the whole batch.
fn rows(pooling: Pooling, chunk: &Chunk<'_>, sequences: Range<usize>) -> Range<usize> {
    match pooling {
        Pooling::Words if sequences.is_empty() => 0..0,
        Pooling::Words => chunk.words(sequences.start).start..chunk.words(sequences.end - 1).end,
        Pooling::Cls | Pooling::First | Pooling::Mean => {
            chunk.first_sequence + sequences.start..chunk.first_sequence + sequences.end
        }
    }
}

/// The place of a chunk's first row among those of the whole batch.
pub fn first_row(task: &TaskParameters, chunk: &Chunk<'_>) -> usize {
    rows(task.layout().config().pooling, chunk, 0..chunk.sequences()).start
}

/// What the head reads of some sequences, left in [`HeadActivations::pooled`].
pub fn pool(input: &HeadInput<'_>, reading: Reading<'_>, head: &mut HeadActivations) {
    let HeadInput { encoder, chunk, sequences, hidden_states } = input;
    let hidden = encoder.config.hidden_size;
    let rows = rows(reading.pooling, chunk, sequences.clone());
    for buffer in [&mut head.taken, &mut head.pooled] {
        buffer.resize(rows.len() * hidden, 0.0);
    }
    let mut rest = &mut head.taken[..];
    for sequence in sequences.clone() {
        let tokens = chunk.range(sequence);
        let states = &hidden_states[tokens.start * hidden..tokens.end * hidden];
        let of_sequence = self::rows(reading.pooling, chunk, sequence..sequence + 1).len() * hidden;
        let (row, later) = rest.split_at_mut(of_sequence);
        match reading.pooling {
            Pooling::Cls | Pooling::First => pooling::first_forward(states, row),
            Pooling::Mean => pooling::mean_forward(states, row),
            Pooling::Words => pooling::picked_forward(states, chunk.first_tokens(sequence), hidden, row),
        }
        rest = later;
    }
    match reading.pooling {
        Pooling::Cls => {
            projection::forward(pooler(encoder), reading.pooler, &head.taken, &mut head.pooled);
            tanh_in_place(&mut head.pooled);
        }
        Pooling::First | Pooling::Mean | Pooling::Words => head.pooled.copy_from_slice(&head.taken),
    }
}

/// Logits from [`HeadActivations::pooled`], whose first row is at place `first` among those of the whole batch.
pub fn forward_pooled(
    task: &TaskParameters,
    first: usize,
    dropout: &EncoderDropout,
    head: &mut HeadActivations,
) {
    let hidden = task.layout().hidden();
    head.dropped.clone_from(&head.pooled);
    let mask = Mask { task, first, dropout };
    mask.apply(DropoutPlace::Pooled, &mut head.dropped);
    head.logits.resize(head.pooled.len() / hidden * task.layout().config().outputs, 0.0);
    let Some((dense, activation)) = task.head_dense() else {
        return linear::forward(task.head(), &head.dropped, &mut head.logits);
    };
    for buffer in [&mut head.dense_before, &mut head.dense_after] {
        buffer.resize(head.dropped.len(), 0.0);
    }
    linear::forward(dense, &head.dropped, &mut head.dense_before);
    activation.forward(&head.dense_before, &mut head.dense_after);
    mask.apply(DropoutPlace::HeadDense, &mut head.dense_after);
    linear::forward(task.head(), &head.dense_after, &mut head.logits);
}

/// Logits of each sequence of a batch from what the head reads of them, `[rows, hidden]`, without dropout.
pub fn logits_of_pooled(task: &TaskParameters, batch: &PackedBatch, pooled: &[f32]) -> Vec<Vec<f32>> {
    let mut head = HeadActivations::default();
    head.set_pooled(pooled);
    forward_pooled(task, 0, &EncoderDropout::none(), &mut head);
    by_sequence(task, &head, (0..batch.sequences()).map(|sequence| batch.words(sequence)))
}

/// The logits of each sequence, whose words are so many.
pub fn by_sequence(
    task: &TaskParameters,
    head: &HeadActivations,
    words: impl Iterator<Item = usize>,
) -> Vec<Vec<f32>> {
    let AdapterConfig { pooling, outputs, .. } = *task.layout().config();
    let mut rest = &head.logits[..];
    words
        .map(|words| {
            let (logits, later) = rest.split_at(pooling.rows(words) * outputs);
            rest = later;
            logits.to_vec()
        })
        .collect()
}

/// Adds the head's gradients and writes the gradient of the hidden states of the whole chunk.
///
/// `head` is what [`forward`] left for all sequences of the chunk, with `d_logits` filled.
pub fn backward(
    encoder: &Encoder,
    pass: &BackwardPass<'_>,
    head: &mut HeadActivations,
    (gradients, d_hidden_states): (&mut [f32], &mut [f32]),
) {
    let BackwardPass { chunk, task, dropout } = *pass;
    let pooling = task.layout().config().pooling;
    let first = first_row(task, chunk);
    backward_weights(task, (first, dropout), head, gradients);
    let hidden = encoder.config.hidden_size;
    head.d_pooled.resize(head.pooled.len(), 0.0);
    head.d_taken.resize(head.pooled.len(), 0.0);
    let (lowest, d_lowest) = match task.head_dense() {
        Some((dense, _)) => (dense, &head.d_dense),
        None => (task.head(), &head.d_logits),
    };
    linear::backward_input(lowest.weight, d_lowest, &mut head.d_pooled, lowest.bias.len(), Start::Zero);
    let mask = Mask { task, first, dropout };
    mask.apply(DropoutPlace::Pooled, &mut head.d_pooled);
    match pooling {
        Pooling::Cls => {
            tanh_backward(&head.pooled, &mut head.d_pooled);
            let (pooler, trained) = (pooler(encoder), task.layout().pooler_gradients(gradients));
            projection::backward_weights(pooler, &head.taken, &head.d_pooled, trained);
            let d_taken = (&mut head.d_taken[..], Start::Zero);
            projection::backward_input(pooler, task.pooler(), &head.d_pooled, d_taken);
        }
        Pooling::First | Pooling::Mean | Pooling::Words => head.d_taken.copy_from_slice(&head.d_pooled),
    }
    let mut rest = &head.d_taken[..];
    for (sequence, tokens) in chunk.ranges().enumerate() {
        let d_states = &mut d_hidden_states[tokens.start * hidden..tokens.end * hidden];
        let (row, later) = rest.split_at(rows(pooling, chunk, sequence..sequence + 1).len() * hidden);
        rest = later;
        match pooling {
            Pooling::Cls | Pooling::First => pooling::first_backward(row, d_states),
            Pooling::Mean => pooling::mean_backward(row, d_states),
            Pooling::Words => pooling::picked_backward(row, chunk.first_tokens(sequence), hidden, d_states),
        }
    }
}

/// Adds the head's gradients alone, where nothing below is trained; `first` and `dropout` are those of the forward pass.
pub fn backward_weights(
    task: &TaskParameters,
    (first, dropout): (usize, &EncoderDropout),
    head: &mut HeadActivations,
    gradients: &mut [f32],
) {
    let layout = task.layout();
    let Some((_, activation)) = task.head_dense() else {
        return linear::backward_weights(&head.dropped, &head.d_logits, layout.head_gradients(gradients));
    };
    linear::backward_weights(&head.dense_after, &head.d_logits, layout.head_gradients(gradients));
    head.d_dense.resize(head.dense_after.len(), 0.0);
    let outputs = layout.config().outputs;
    linear::backward_input(task.head().weight, &head.d_logits, &mut head.d_dense, outputs, Start::Zero);
    let mask = Mask { task, first, dropout };
    mask.apply(DropoutPlace::HeadDense, &mut head.d_dense);
    activation.backward(&head.dense_before, &mut head.d_dense);
    if let Some(gradients) = layout.head_dense_gradients(gradients) {
        linear::backward_weights(&head.dropped, &head.d_dense, gradients);
    }
}

/// Whoever makes a task's parameters has checked that its pooling exists ([`Encoder::has_pooler`]).
fn pooler(encoder: &Encoder) -> &FrozenLinear {
    encoder.pooler.as_ref().expect("a task with `cls` pooling is only made on an encoder with a pooler")
}

/// Dropout of the head. The mask of a row hangs on its place in the whole batch, of which the first is at `first`.
struct Mask<'a> {
    task: &'a TaskParameters,
    first: usize,
    dropout: &'a EncoderDropout,
}

impl Mask<'_> {
    /// On a gradient it is its own backward pass.
    fn apply(&self, place: DropoutPlace, rows: &mut [f32]) {
        let rate = match place {
            DropoutPlace::Pooled if self.task.head_dense().is_some() => self.dropout.before_dense,
            _ => self.dropout.pooled,
        };
        for (index, row) in rows.chunks_exact_mut(self.task.layout().hidden()).enumerate() {
            rate.apply(self.dropout.key(place, 0, self.first + index), row);
        }
    }
}
