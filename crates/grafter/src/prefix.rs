//! What of a text is constant below everything that trains, computed once: the hidden states that enter the lowest
//! adapted layer or, where the head alone is trained, what the head reads.
//!
//! A run would compute the same numbers in every epoch and every evaluation. Here they are computed once, without
//! dropout, which belongs to training what it acts on; dropout above stays where it was. They are kept in memory up to
//! a budget and beyond it in a temporary file. Where they lie, or whether they are kept at all, changes no bit of a
//! result.

use std::ops::ControlFlow;

use rayon::prelude::*;
use thiserror::Error;

use crate::adapter::{Lowest, Pooling, TaskLayout};
use crate::batch::PackedBatch;
use crate::encoded::EncodedRows;
use crate::encoder::Encoder;
use crate::encoder::activations::Activations;
use crate::head::{self, HeadActivations, HeadInput, Reading};
use crate::store::{Budget, Store, StoreError};

/// What of a text is constant for a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constant {
    /// The hidden states that enter a layer, one vector for each token.
    States(usize),
    /// What the head reads: one vector of each sequence, or one for each word.
    Pooled(Pooling),
}

impl Constant {
    /// What a task leaves constant, or `None` where it trains the first layer or the embeddings.
    pub fn of(layout: &TaskLayout) -> Option<Self> {
        match layout.lowest_trained() {
            Lowest::Embeddings | Lowest::Layer(0, _) => None,
            Lowest::Layer(layer, _) => Some(Self::States(layer)),
            Lowest::Head => Some(Self::Pooled(layout.config().pooling)),
        }
    }

    /// Runs the bare encoder over a batch.
    /// # Shapes
    /// `[tokens, hidden]` of hidden states, `[rows, hidden]` of what the head reads
    pub fn compute(self, encoder: &Encoder, batch: &PackedBatch) -> Vec<f32> {
        let chunks: Vec<Vec<f32>> = batch
            .chunks()
            .par_iter()
            .with_max_len(1)
            .map_init(<(Activations, HeadActivations)>::default, |(activations, head), chunk| match self {
                Self::States(layer) => {
                    encoder.forward_below(layer, chunk, activations);
                    activations.hidden().to_vec()
                }
                Self::Pooled(pooling) => {
                    encoder.forward_below(encoder.config.num_hidden_layers, chunk, activations);
                    let (sequences, hidden_states) = (0..chunk.sequences(), activations.hidden());
                    let input = HeadInput { encoder, chunk, sequences, hidden_states };
                    head::pool(&input, Reading::frozen(pooling), head);
                    head.pooled().to_vec()
                }
            })
            .collect();
        chunks.concat()
    }

    /// Vectors of one row.
    fn vectors(self, rows: &EncodedRows, row: usize) -> usize {
        match self {
            Self::States(_) => rows.tokens(row),
            Self::Pooled(Pooling::Words) => rows.words(row),
            Self::Pooled(Pooling::Cls | Pooling::First | Pooling::Mean) => rows.sequences_of(row).len(),
        }
    }
}

/// Why nothing is kept.
#[derive(Debug, Error)]
pub enum NotKept {
    /// It would take too much.
    #[error("{:.1} GB would be needed, at most {:.1} GB are used", gigabytes(*bytes), gigabytes(*most))]
    TooLarge {
        /// Bytes of all rows.
        bytes: u64,
        /// Bytes that may be used.
        most: u64,
    },
    /// The temporary file cannot be used.
    #[error(transparent)]
    File(#[from] StoreError),
    /// The observer ended the run.
    #[error("interrupted")]
    Ended,
}

fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

/// What is constant of each row.
#[derive(Debug)]
pub struct Prefix {
    /// Where the numbers of each row begin, and at last how many there are: `rows + 1` entries.
    offsets: Vec<usize>,
    store: Store,
}

impl Prefix {
    /// Runs the bare encoder over all rows of all sets, one set after another. `follow` is told how many rows are done and
    /// may end the work.
    /// # Errors
    /// If the budget is too small, a temporary file cannot be used, or `follow` ends the work.
    pub fn compute(
        encoder: &Encoder,
        constant: Constant,
        sets: &[&EncodedRows],
        budget: &Budget,
        mut follow: impl FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Self, NotKept> {
        let mut offsets = vec![0];
        for set in sets {
            for row in 0..set.len() {
                let numbers = constant.vectors(set, row) * encoder.config.hidden_size;
                offsets.push(offsets[offsets.len() - 1] + numbers);
            }
        }
        let numbers = offsets[offsets.len() - 1];
        let bytes = numbers as u64 * size_of::<f32>() as u64;
        if bytes > budget.total_bytes {
            return Err(NotKept::TooLarge { bytes, most: budget.total_bytes });
        }
        let mut store = Store::new(budget);
        store.reserve(numbers)?;
        let mut done = 0;
        for set in sets {
            for rows in set.groups() {
                done += rows.len();
                let values = constant.compute(encoder, &set.batch(rows)?);
                store.append(values.into_iter().map(f32::to_bits))?;
                if follow(done).is_break() {
                    return Err(NotKept::Ended);
                }
            }
        }
        Ok(Self { offsets, store })
    }

    /// The vectors of some rows one after another, `[vectors, hidden]`; the rows of a set are counted after those of the
    /// sets before it.
    /// # Errors
    /// If the temporary file cannot be read.
    /// # Panics
    /// If there is no such row.
    pub fn read(&self, rows: impl Iterator<Item = usize>) -> Result<Vec<f32>, StoreError> {
        let mut values = Vec::new();
        for row in rows {
            let words = self.store.read(self.offsets[row]..self.offsets[row + 1])?;
            values.extend(words.map(f32::from_bits));
        }
        Ok(values)
    }
}
