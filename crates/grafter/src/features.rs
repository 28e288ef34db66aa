//! What the head reads of each row, computed once: where the head alone is trained, all below it is constant.
//!
//! A run of the method `head` would compute the same pooled vectors in every epoch. Here they are computed once, without
//! dropout, which belongs to training what it acts on. The head's own dropout stays where it was.

use std::ops::ControlFlow;

use rayon::prelude::*;

use crate::adapter::Pooling;
use crate::batch::{PackedBatch, TokenIds, groups_by_tokens};
use crate::encoder::activations::{Activations, Keep, Segment};
use crate::encoder::{Encoder, EncoderDropout};
use crate::head::{self, HeadActivations};

/// Pooled vectors of rows, `[rows, hidden]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    hidden: usize,
    values: Vec<f32>,
}

/// Features that would take more bytes are computed again in every step instead.
const MAX_BYTES: usize = 1 << 30;

impl Features {
    /// Whether the vectors of so many rows are few enough to be kept.
    pub fn fit(rows: usize, encoder: &Encoder) -> bool {
        rows.saturating_mul(encoder.config.hidden_size).saturating_mul(size_of::<f32>()) <= MAX_BYTES
    }

    /// Runs the bare encoder over all rows. `follow` is told how many rows are done and may end the work, which then
    /// gives `None`.
    pub fn compute(
        encoder: &Encoder,
        pooling: Pooling,
        rows: &[&TokenIds],
        mut follow: impl FnMut(usize) -> ControlFlow<()>,
    ) -> Option<Self> {
        let hidden = encoder.config.hidden_size;
        let mut values = Vec::with_capacity(rows.len() * hidden);
        for group in groups_by_tokens(rows, |tokens| tokens.ids.len()) {
            append(encoder, pooling, &PackedBatch::new(group.iter().copied()), &mut values);
            if follow(values.len() / hidden).is_break() {
                return None;
            }
        }
        Some(Self { hidden, values })
    }

    /// The vector of one row, `[hidden]`.
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.hidden..(index + 1) * self.hidden]
    }

    /// The vectors of all rows, `[rows, hidden]`.
    pub fn all(&self) -> &[f32] {
        &self.values
    }
}

fn append(encoder: &Encoder, pooling: Pooling, batch: &PackedBatch, values: &mut Vec<f32>) {
    let none = EncoderDropout::none();
    let pooled: Vec<Vec<f32>> = batch
        .chunks()
        .par_iter()
        .with_max_len(1)
        .map_init(<(Activations, HeadActivations)>::default, |(activations, head), chunk| {
            encoder.forward(chunk, &[Segment::whole(chunk, None)], &none, Keep::Nothing, activations);
            head::pool(encoder, pooling, chunk, 0..chunk.sequences(), activations.hidden(), head);
            head.pooled().to_vec()
        })
        .collect();
    pooled.iter().for_each(|rows| values.extend(rows));
}
