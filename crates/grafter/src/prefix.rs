//! What of a text is constant below everything that trains, computed once: the hidden states that enter the lowest
//! adapted layer or, where the head alone is trained, what the head reads.
//!
//! A run would compute the same numbers in every epoch and every evaluation. Here they are computed once, without
//! dropout, which belongs to training what it acts on; dropout above stays where it was. They are kept in memory up to
//! a budget and beyond it in a temporary file. Where they lie, or whether they are kept at all, changes no bit of a
//! result.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::{ControlFlow, Range};
use std::path::PathBuf;

use rayon::prelude::*;
use thiserror::Error;

use crate::adapter::{Lowest, Pooling, TaskLayout};
use crate::batch::{PackedBatch, TokenIds, groups_by_tokens};
use crate::encoder::Encoder;
use crate::encoder::activations::Activations;
use crate::head::{self, HeadActivations};

/// What of a text is constant for a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constant {
    /// The hidden states that enter a layer, one vector for each token.
    States(usize),
    /// What the head reads, one vector.
    Pooled(Pooling),
}

impl Constant {
    /// What a task leaves constant, or `None` where it trains the first layer or the embeddings.
    pub fn of(layout: &TaskLayout) -> Option<Self> {
        match layout.lowest_trained() {
            Lowest::Embeddings | Lowest::Layer(0) => None,
            Lowest::Layer(layer) => Some(Self::States(layer)),
            Lowest::Head => Some(Self::Pooled(layout.config().pooling)),
        }
    }

    /// Runs the bare encoder over a batch.
    /// # Shapes
    /// `[tokens, hidden]` of hidden states, `[sequences, hidden]` of what the head reads
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
                    head::pool(encoder, pooling, chunk, 0..chunk.sequences(), activations.hidden(), head);
                    head.pooled().to_vec()
                }
            })
            .collect();
        chunks.concat()
    }

    /// Vectors of one text.
    fn vectors(self, tokens: &TokenIds) -> usize {
        match self {
            Self::States(_) => tokens.ids.len(),
            Self::Pooled(_) => 1,
        }
    }
}

/// How much is kept, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// Bytes in memory; the rest lies in a temporary file.
    pub memory_bytes: u64,
    /// Bytes in all; what would take more is computed anew in each step.
    pub total_bytes: u64,
    /// Folder of the temporary file, the system's if absent. The file has no name there, or loses it with the run.
    pub folder: Option<PathBuf>,
}

impl Default for Budget {
    /// 1 GiB in memory, 8 GiB in all.
    fn default() -> Self {
        Self { memory_bytes: 1 << 30, total_bytes: 8 << 30, folder: None }
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
    #[error("a temporary file cannot be used: {0}")]
    File(#[from] io::Error),
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
    /// Runs the bare encoder over all rows. `follow` is told how many rows are done and may end the work.
    /// # Errors
    /// If the budget is too small, the temporary file cannot be written, or `follow` ends the work.
    pub fn compute(
        encoder: &Encoder,
        constant: Constant,
        rows: &[&TokenIds],
        budget: &Budget,
        mut follow: impl FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Self, NotKept> {
        let mut offsets = vec![0];
        for row in rows {
            offsets.push(offsets[offsets.len() - 1] + constant.vectors(row) * encoder.config.hidden_size);
        }
        let mut store = Store::new(offsets[rows.len()], budget)?;
        let mut done = 0;
        for group in groups_by_tokens(rows, |tokens| tokens.ids.len()) {
            store.append(&constant.compute(encoder, &PackedBatch::new(group.iter().copied())))?;
            done += group.len();
            if follow(done).is_break() {
                return Err(NotKept::Ended);
            }
        }
        Ok(Self { offsets, store })
    }

    /// The vectors of some rows one after another, `[vectors, hidden]`.
    /// # Errors
    /// If the temporary file cannot be read.
    /// # Panics
    /// If there is no such row.
    pub fn read(&mut self, rows: impl Iterator<Item = usize>) -> io::Result<Vec<f32>> {
        let mut values = Vec::new();
        for row in rows {
            self.store.read(self.offsets[row]..self.offsets[row + 1], &mut values)?;
        }
        Ok(values)
    }
}

/// Numbers one after another: the first in memory, the rest in a file.
#[derive(Debug)]
struct Store {
    memory: Vec<f32>,
    /// How many are held in memory.
    capacity: usize,
    file: Option<File>,
}

const NUMBER_BYTES: usize = size_of::<f32>();

impl Store {
    /// A store for so many numbers.
    fn new(numbers: usize, budget: &Budget) -> Result<Self, NotKept> {
        let bytes = numbers as u64 * NUMBER_BYTES as u64;
        if bytes > budget.total_bytes {
            return Err(NotKept::TooLarge { bytes, most: budget.total_bytes });
        }
        let capacity = (bytes.min(budget.memory_bytes) / NUMBER_BYTES as u64) as usize;
        let file = match &budget.folder {
            _ if capacity == numbers => None,
            Some(folder) => Some(tempfile::tempfile_in(folder)?),
            None => Some(tempfile::tempfile()?),
        };
        Ok(Self { memory: Vec::with_capacity(capacity), capacity, file })
    }

    fn append(&mut self, values: &[f32]) -> io::Result<()> {
        let room = self.capacity - self.memory.len();
        let (held, rest) = values.split_at(values.len().min(room));
        self.memory.extend(held);
        match &mut self.file {
            Some(file) => {
                file.write_all(&rest.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())
            }
            None => Ok(()),
        }
    }

    /// Appends a range to `values`.
    fn read(&mut self, range: Range<usize>, values: &mut Vec<f32>) -> io::Result<()> {
        let held = self.memory.len();
        values.extend(&self.memory[range.start.min(held)..range.end.min(held)]);
        let (start, end) = (range.start.max(held) - held, range.end.max(held) - held);
        if let (Some(file), true) = (&mut self.file, start < end) {
            let mut bytes = vec![0; (end - start) * NUMBER_BYTES];
            file.seek(SeekFrom::Start(start as u64 * NUMBER_BYTES as u64))?;
            file.read_exact(&mut bytes)?;
            values.extend(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(store: &mut Store, range: Range<usize>) -> io::Result<Vec<f32>> {
        let mut values = Vec::new();
        store.read(range, &mut values).map(|()| values)
    }

    #[test]
    fn a_file_that_has_shrunk_is_an_error_and_what_is_in_memory_is_still_read() {
        let budget = Budget { memory_bytes: 8, ..Budget::default() };
        let mut store = Store::new(4, &budget).expect("a temporary file");
        store.append(&[1.0, 2.0, 3.0]).and_then(|()| store.append(&[4.0])).expect("four numbers are written");
        assert_eq!(read(&mut store, 1..4).expect("all are there"), [2.0, 3.0, 4.0]);
        store.file.as_ref().expect("two numbers lie in it").set_len(4).expect("it can be cut");
        assert_eq!(read(&mut store, 0..3).expect("the third number is there"), [1.0, 2.0, 3.0]);
        assert_eq!(
            read(&mut store, 2..4).expect_err("the fourth is not").kind(),
            io::ErrorKind::UnexpectedEof
        );
    }
}
