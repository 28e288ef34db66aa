//! Loss and gradients of one batch: the work of a training step before the optimiser.
//!
//! The batch is cut into chunks whose limits depend on the batch alone. Each chunk runs forward and backward on one
//! thread into gradients of its own, and these are added in the order of the chunks: the same bytes come out whatever
//! the number of threads.

use std::sync::Mutex;

use grafter_nn::embedding::{self, EmbeddingGradients};
use grafter_nn::{loss, residual};
use rayon::prelude::*;

use crate::adapter::{Lowest, TaskParameters};
use crate::batch::{Chunk, PackedBatch};
use crate::encoder::activations::{Activations, Keep, Segment};
use crate::encoder::{BackwardPass, Encoder, EncoderDropout, ForwardPass};
use crate::head::{self, HeadActivations, HeadInput};

/// What a unit of sequences should have been answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target<'a> {
    /// A class, by its place among the labels.
    Class(usize),
    /// A class that counts more or less than others.
    Weighted {
        /// Its place among the labels.
        class: usize,
        /// Above 0; the others count once.
        weight: f32,
    },
    /// Any number of labels, by their places in ascending order.
    Set(&'a [usize]),
    /// A score.
    Score(f32),
    /// The tag of each word that the head reads.
    Tags(&'a [usize]),
    /// One of several sequences, each of which has one logit.
    Choice {
        /// How many there are.
        choices: usize,
        /// The place of the right one.
        right: usize,
    },
    /// A beginning and an end among the words that the head reads of a sequence, each of which has a logit for either.
    Span {
        /// How many words there are.
        words: usize,
        /// The first of the answer.
        first: usize,
        /// The last of the answer.
        last: usize,
    },
}

impl Target<'_> {
    /// How many vectors of logits it is about: one, or one for each word or each choice.
    pub fn rows(self) -> usize {
        match self {
            Self::Class(_) | Self::Weighted { .. } | Self::Set(_) | Self::Score(_) => 1,
            Self::Tags(tags) => tags.len(),
            Self::Choice { choices, .. } => choices,
            Self::Span { words, .. } => words,
        }
    }

    /// How much it counts in the mean of a batch: each word of a text as much as any other.
    pub fn weight(self) -> f64 {
        match self {
            Self::Tags(tags) => tags.len() as f64,
            Self::Class(_) | Self::Set(_) | Self::Score(_) | Self::Choice { .. } | Self::Span { .. } => 1.0,
            Self::Weighted { weight, .. } => f64::from(weight),
        }
    }

    /// Loss of a unit's logits (cross entropy in nats, that of each label on average, that of all words, that of beginning and end
    /// on average, or squared error), times the unit's weight; writes its gradient.
    /// # Shapes
    /// logits, d_logits `[rows, outputs]`
    pub fn loss(self, logits: &[f32], d_logits: &mut [f32]) -> f64 {
        match self {
            Self::Class(class) => loss::cross_entropy(logits, class, d_logits),
            Self::Weighted { class, weight } => {
                let loss = loss::cross_entropy(logits, class, d_logits);
                d_logits.iter_mut().for_each(|d| *d *= weight);
                f64::from(weight) * loss
            }
            Self::Set(has) => loss::binary_cross_entropy(logits, has, d_logits),
            Self::Score(score) => loss::squared_error(logits[0], score, &mut d_logits[0]),
            Self::Tags(tags) => {
                let outputs = logits.len() / tags.len().max(1);
                let words =
                    logits.chunks_exact(outputs.max(1)).zip(d_logits.chunks_exact_mut(outputs.max(1)));
                words.zip(tags).map(|((logits, d), tag)| loss::cross_entropy(logits, *tag, d)).sum()
            }
            Self::Choice { right, .. } => loss::cross_entropy(logits, right, d_logits),
            Self::Span { first, last, .. } => {
                let mut d = vec![0.0; logits.len() / 2];
                let ends = [first, last].into_iter().enumerate().map(|(end, right)| {
                    let of_end: Vec<f32> = logits.iter().skip(end).step_by(2).copied().collect();
                    let loss = loss::cross_entropy(&of_end, right, &mut d);
                    d_logits
                        .iter_mut()
                        .skip(end)
                        .step_by(2)
                        .zip(&d)
                        .for_each(|(d_logit, d)| *d_logit = 0.5 * d);
                    0.5 * loss
                });
                ends.sum()
            }
        }
    }
}

/// Loss of the logits of some units, one after another, and how much they count together; writes the gradient.
/// # Shapes
/// logits, d_logits `[rows, outputs]`
pub fn loss_of<'a>(
    targets: impl IntoIterator<Item = Target<'a>>,
    outputs: usize,
    (logits, d_logits): (&[f32], &mut [f32]),
) -> (f64, f64) {
    let (mut loss, mut weight, mut first) = (0.0, 0.0, 0);
    for target in targets {
        let numbers = first..first + target.rows() * outputs;
        first = numbers.end;
        loss += target.loss(&logits[numbers.clone()], &mut d_logits[numbers]);
        weight += target.weight();
    }
    (loss, weight)
}

/// Buffers of one thread's pass.
#[derive(Debug, Default)]
struct Workspace {
    activations: Activations,
    head: HeadActivations,
}

/// Chunks whose gradients are held at the same time, at most; more than processors, so that all have work, and few
/// enough that the memory of a step does not grow with its batch.
const GROUP_CHUNKS: usize = 32;

/// Numbers that these gradients have together, at most, where that leaves one chunk for each thread: 256 MiB. How the
/// chunks are grouped changes no result, since they are added one by one in their order.
const GROUP_NUMBERS: usize = 1 << 26;

/// Chunks whose gradients are held at the same time, where a task has so many gradients.
pub(crate) fn chunks_held(dense: usize, threads: usize) -> usize {
    GROUP_CHUNKS.min((GROUP_NUMBERS / dense.max(1)).max(threads))
}

/// Numbers whose gradients one thread adds, chunk by chunk in their order.
const SUM_BLOCK: usize = 1 << 14;

/// The gradients of one chunk.
#[derive(Debug, Default)]
struct ChunkGradients {
    /// In the order of the task's list, up to the tables of the embeddings.
    dense: Vec<f32>,
    /// Of each token's sum of embeddings, `[tokens, embedding width]`; empty where the tables are not trained.
    embeddings: Vec<f32>,
}

/// Computes losses and gradients, reusing its buffers from step to step.
#[derive(Debug, Default)]
pub struct GradientEngine {
    /// At most one workspace for each thread that ever ran at the same time.
    workspaces: Mutex<Vec<Workspace>>,
    /// One for each chunk of a group.
    chunk_gradients: Vec<ChunkGradients>,
    total: Vec<f32>,
}

impl GradientEngine {
    /// Numbers that all buffers have room for, but for those of the heads.
    #[cfg(test)]
    pub(crate) fn numbers(&self) -> usize {
        let workspaces = self.workspaces.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let passes: usize = workspaces.iter().map(|workspace| workspace.activations.numbers()).sum();
        let gradients = self.chunk_gradients.iter().map(|of| of.dense.len() + of.embeddings.len());
        passes + gradients.sum::<usize>() + self.total.len()
    }

    /// Mean loss of a batch (cross entropy in nats, or squared error), each row counting with its weight, and the gradients
    /// of the task's parameters.
    ///
    /// # Panics
    /// If there are not as many targets as units, or the batch brings the hidden states of a layer below which the
    /// task trains something.
    pub fn compute(
        &mut self,
        encoder: &Encoder,
        task: &TaskParameters,
        batch: &PackedBatch,
        targets: &[Target<'_>],
        dropout: &EncoderDropout,
    ) -> (f64, &[f32]) {
        assert_eq!(targets.len(), batch.units(), "one target for each unit");
        let chunks = batch.chunks();
        let dense = task.layout().dense_len();
        let held = chunks.len().min(chunks_held(dense, rayon::current_num_threads()));
        if self.chunk_gradients.len() < held {
            self.chunk_gradients.resize_with(held, ChunkGradients::default);
        }
        self.total.resize(task.values().len(), 0.0);
        self.total.par_chunks_mut(SUM_BLOCK).for_each(|total| total.fill(0.0));
        let weight: f64 = targets.iter().map(|target| target.weight()).sum();
        let pass = Pass { encoder, task, dropout, scale: 1.0 / weight as f32 };
        let workspaces = &self.workspaces;
        let mut losses: Vec<f64> = Vec::with_capacity(chunks.len());
        for group in chunks.chunks(held.max(1)) {
            losses.par_extend(group.par_iter().zip(&mut self.chunk_gradients).with_max_len(1).map(
                |(chunk, gradients)| {
                    gradients.dense.clear();
                    gradients.dense.resize(dense, 0.0);
                    let mut workspace = take(workspaces);
                    let targets = &targets[chunk.units.clone()];
                    let loss = pass.run(chunk, targets, &mut workspace, gradients);
                    give(workspaces, workspace);
                    loss
                },
            ));
            let parts = &self.chunk_gradients[..group.len()];
            self.total[..dense].par_chunks_mut(SUM_BLOCK).enumerate().for_each(|(block, total)| {
                let range = block * SUM_BLOCK..block * SUM_BLOCK + total.len();
                parts.iter().for_each(|gradients| residual::add(&gradients.dense[range.clone()], total));
            });
            if let Some(mut tables) = task.layout().table_gradients(&mut self.total) {
                for (chunk, gradients) in group.iter().zip(parts) {
                    add_to_tables(chunk, &gradients.embeddings, &mut tables);
                }
            }
        }
        (losses.iter().sum::<f64>() / weight, &self.total)
    }

    /// [`GradientEngine::compute`] for a task that trains the head alone, from what the head reads of each row.
    /// # Shapes
    /// pooled `[rows, hidden]`, one row for each target
    /// # Panics
    /// If there are not as many targets as rows, or the task trains more than the head.
    pub fn compute_from_pooled(
        &mut self,
        task: &TaskParameters,
        pooled: &[f32],
        targets: &[Target<'_>],
        dropout: &EncoderDropout,
    ) -> (f64, &[f32]) {
        assert_eq!(task.layout().lowest_trained(), Lowest::Head, "nothing below the head is trained");
        let mut workspace = take(&self.workspaces);
        let head = &mut workspace.head;
        head.set_pooled(pooled);
        let rows: usize = targets.iter().map(|target| target.rows()).sum();
        assert_eq!(head.pooled().len(), rows * task.layout().hidden(), "one target for each row");
        head::forward_pooled(task, 0, dropout, head);
        let weight: f64 = targets.iter().map(|target| target.weight()).sum();
        let loss = losses(task.layout().config().outputs, targets, 1.0 / weight as f32, head);
        self.total.clear();
        self.total.resize(task.values().len(), 0.0);
        head::backward_weights(task, (0, dropout), head, &mut self.total);
        give(&self.workspaces, workspace);
        (loss / weight, &self.total)
    }
}

/// Adds the gradients of a chunk's tokens to the rows that they read, in the order of the tokens.
fn add_to_tables(chunk: &Chunk<'_>, embeddings: &[f32], tables: &mut EmbeddingGradients<'_>) {
    let hidden = tables.hidden;
    for range in chunk.ranges() {
        let d_y = &embeddings[range.start * hidden..range.end * hidden];
        embedding::backward_sequence(&chunk.ids[range.clone()], &chunk.type_ids[range], d_y, tables);
    }
}

fn take(workspaces: &Mutex<Vec<Workspace>>) -> Workspace {
    workspaces.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop().unwrap_or_default()
}

fn give(workspaces: &Mutex<Vec<Workspace>>, workspace: Workspace) {
    workspaces.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(workspace);
}

/// What every chunk of a batch passes through.
struct Pass<'a> {
    encoder: &'a Encoder,
    task: &'a TaskParameters,
    dropout: &'a EncoderDropout,
    /// One over the weights of all rows of the batch.
    scale: f32,
}

impl Pass<'_> {
    /// Sum of the chunk's losses; its gradients, times `scale`, are added to `gradients`.
    fn run(
        &self,
        chunk: &Chunk<'_>,
        targets: &[Target<'_>],
        workspace: &mut Workspace,
        gradients: &mut ChunkGradients,
    ) -> f64 {
        let Self { encoder, task, dropout, scale } = *self;
        let Workspace { activations, head } = workspace;
        let trains_encoder = task.layout().lowest_trained() != Lowest::Head;
        let keep = if trains_encoder { Keep::ForBackward } else { Keep::Nothing };
        let segments = [Segment::whole(chunk, Some(task))];
        encoder.forward(ForwardPass { chunk, segments: &segments, dropout, keep }, activations);
        let (sequences, hidden_states) = (0..chunk.sequences(), activations.hidden());
        head::forward(&HeadInput { encoder, chunk, sequences, hidden_states }, task, dropout, head);
        let loss = losses(task.layout().config().outputs, targets, scale, head);
        if trains_encoder {
            let (pass, dense) = (BackwardPass { chunk, task, dropout }, &mut gradients.dense);
            head::backward(encoder, &pass, head, (dense, activations.d_hidden_mut()));
            encoder.backward(&pass, activations, dense);
            gradients.embeddings.clear();
            if task.layout().trains_tables() {
                gradients.embeddings.extend_from_slice(activations.d_embeddings());
            }
        } else {
            let first = head::first_row(task, chunk);
            head::backward_weights(task, (first, dropout), head, &mut gradients.dense);
        }
        loss
    }
}

/// Sum of the losses; leaves their gradients, times `scale`, in `d_logits`.
fn losses(outputs: usize, targets: &[Target<'_>], scale: f32, head: &mut HeadActivations) -> f64 {
    let mut d_logits = std::mem::take(&mut head.d_logits);
    d_logits.resize(head.logits().len(), 0.0);
    let (sum, _) = loss_of(targets.iter().copied(), outputs, (head.logits(), &mut d_logits));
    d_logits.iter_mut().for_each(|d| *d *= scale);
    head.d_logits = d_logits;
    sum
}
