//! Multi-head self-attention (Vaswani et al. 2017, section 3.2) over packed sequences.
//!
//! Per sequence and head: `context = dropout(softmax(q · kᵀ / √head_dim + bias)) · v`, where only some families have a bias
//! ([`crate::relative_position`]) or further products with positions ([`crate::disentangled`]). Sequences are concatenated without padding, so no mask is needed: a product never crosses
//! the limits of its sequence.
//!
//! With a window, a query sees the keys up to so many tokens before and after it (Beltagy et al. 2020, section 3.1, without
//! global tokens). Queries are then taken in blocks, each with the keys that any of its queries sees, and only their
//! probabilities exist: time and memory grow with the length times the window.

use std::ops::Range;

use crate::disentangled::{Meeting, RelativePositions};
use crate::dropout::{Dropout, DropoutKey};
use crate::gemm::{Matrix, MatrixMut, Start, matmul};
use crate::relative_position::{RelativeBias, RelativeBiasGradients};
use crate::scalar;
use crate::simd::{lane_max, lane_sum, vectorised};

/// Sizes of the heads, the window, the dropout and the bias of one attention layer.
#[derive(Clone, Copy, Debug)]
pub struct AttentionShape<'a> {
    /// Number of heads.
    pub heads: usize,
    /// Features of one head; `heads · head_dim = hidden`.
    pub head_dim: usize,
    /// How far a key may lie from its query; everywhere if absent.
    pub window: Option<usize>,
    /// Dropout of the attention probabilities.
    pub dropout: Dropout,
    /// What is added to the scores by distance, if anything.
    pub bias: Option<RelativeBias<'a>>,
    /// Queries and keys of relative positions, whose products are added to the scores, if there are any.
    pub positions: Option<RelativePositions<'a>>,
}

/// Where the gradients of one sequence go.
#[derive(Debug)]
pub struct AttentionGradients<'a> {
    /// Of queries, keys and values, `[length, 3 · hidden]`; overwritten.
    pub qkv: &'a mut [f32],
    /// Of the bias, where it is trained; added to.
    pub bias: Option<RelativeBiasGradients<'a>>,
    /// Of the queries and keys of relative positions, as [`RelativePositions::projected`], where something below them is trained;
    /// added to.
    pub positions: Option<&'a mut [f32]>,
}

impl AttentionShape<'_> {
    fn hidden(&self) -> usize {
        self.heads * self.head_dim
    }

    /// One over the square root of `head_dim` times the number of products that a score is the sum of.
    fn scale(&self) -> f32 {
        let products = self.positions.map_or(1, |positions| positions.products());
        1.0 / ((self.head_dim * products) as f32).sqrt()
    }

    /// Where query (part 0), key (1) or value (2) of one head and a token begins inside `[length, 3 · hidden]`.
    fn place(&self, head: usize, part: usize, token: usize) -> usize {
        token * 3 * self.hidden() + part * self.hidden() + head * self.head_dim
    }

    /// Queries (part 0), keys (1) or values (2) of one head and some tokens, `[tokens, head_dim]`.
    pub(crate) fn part<'q>(
        &self,
        qkv: &'q [f32],
        head: usize,
        part: usize,
        tokens: &Range<usize>,
    ) -> Matrix<'q> {
        let from = self.place(head, part, tokens.start);
        Matrix::strided(&qkv[from..], tokens.len(), self.head_dim, 3 * self.hidden())
    }

    pub(crate) fn part_mut<'q>(
        &self,
        qkv: &'q mut [f32],
        head: usize,
        part: usize,
        tokens: &Range<usize>,
    ) -> MatrixMut<'q> {
        let from = self.place(head, part, tokens.start);
        MatrixMut::strided(&mut qkv[from..], tokens.len(), self.head_dim, 3 * self.hidden())
    }

    /// One head's columns of some rows of a `[length, hidden]` matrix.
    fn head<'c>(&self, context: &'c [f32], head: usize, tokens: &Range<usize>) -> Matrix<'c> {
        let from = tokens.start * self.hidden() + head * self.head_dim;
        Matrix::strided(&context[from..], tokens.len(), self.head_dim, self.hidden())
    }

    /// Whether every query of a sequence sees every key.
    fn sees_all(&self, length: usize) -> bool {
        self.window.is_none_or(|window| window >= length - 1)
    }

    /// The keys that a query sees.
    fn seen(&self, query: usize, length: usize) -> Range<usize> {
        match self.window {
            Some(window) => query.saturating_sub(window)..query.saturating_add(window + 1).min(length),
            None => 0..length,
        }
    }
}

/// Queries of a block, unless the window is wider: fewer would leave the kernel waiting, more would meet more keys that they
/// do not see.
const LEAST_QUERIES: usize = 16;

/// Consecutive queries, with the keys that any of them sees and the place of their probabilities among the head's.
struct Block {
    queries: Range<usize>,
    keys: Range<usize>,
    probabilities: Range<usize>,
}

/// The blocks of one sequence in order: a single one where every query sees every key.
fn blocks(length: usize, window: Option<usize>) -> impl Iterator<Item = Block> {
    let window = window.unwrap_or(length).min(length);
    let step = if window + 1 >= length { length } else { window.max(LEAST_QUERIES) };
    let mut from = 0;
    (0..length).step_by(step.max(1)).map(move |first| {
        let queries = first..(first + step).min(length);
        let keys = first.saturating_sub(window)..(queries.end + window).min(length);
        let probabilities = from..from + queries.len() * keys.len();
        from = probabilities.end;
        Block { queries, keys, probabilities }
    })
}

/// Numbers of [`forward_sequence`]'s probabilities for one sequence and all heads: `heads · length²` at most, and fewer where
/// the window is narrower than the sequence.
pub fn probability_count(heads: usize, length: usize, window: Option<usize>) -> usize {
    heads * blocks(length, window).last().map_or(0, |block| block.probabilities.end)
}

/// Attention of one sequence.
/// # Shapes
/// qkv `[length, 3 · hidden]` (queries, keys, values side by side), probabilities [`probability_count`] (kept for
/// the backward pass, before dropout; without a window `[heads, length, length]`), or that of one head where there is no backward
/// pass, dropped `[length, length]`, with relative positions [`RelativePositions::scratch`] if that is more (scratch; empty without
/// both), context `[length, hidden]`
/// # Panics
/// If the lengths do not fit.
pub fn forward_sequence(
    shape: &AttentionShape<'_>,
    key: DropoutKey,
    qkv: &[f32],
    probabilities: &mut [f32],
    dropped: &mut [f32],
    context: &mut [f32],
) {
    let hidden = shape.hidden();
    let length = context.len() / hidden;
    let of_head = probability_count(1, length, shape.window);
    let kept = probabilities.len() == shape.heads * of_head;
    assert!(kept || probabilities.len() == of_head, "attention: probabilities");
    for head in 0..shape.heads {
        // Where none are kept, those of a head take the place of those of the head before.
        let first = if kept { head * of_head } else { 0 };
        let probabilities = &mut probabilities[first..][..of_head];
        for Block { queries, keys, probabilities: place } in blocks(length, shape.window) {
            let (q, k) = (shape.part(qkv, head, 0, &queries), shape.part(qkv, head, 1, &keys));
            let scores = &mut probabilities[place];
            let start = match (shape.bias, shape.positions) {
                (Some(bias), _) => {
                    for (query, scores) in queries.clone().zip(scores.chunks_exact_mut(keys.len())) {
                        scores.copy_from_slice(&bias.of_query(head, query, length)[keys.clone()]);
                    }
                    Start::Result
                }
                (None, Some(positions)) => {
                    let (queries, keys) = (queries.clone(), keys.clone());
                    positions.scores(&Meeting { shape, head, qkv, queries, keys }, length, dropped, scores);
                    Start::Result
                }
                (None, None) => Start::Zero,
            };
            matmul(MatrixMut::new(scores, queries.len(), keys.len()), q, k.transposed(), start);
            if shape.sees_all(length) {
                softmax_rows(scores, length, shape.scale());
                continue;
            }
            for (query, row) in queries.zip(scores.chunks_exact_mut(keys.len())) {
                let seen = shape.seen(query, length);
                let seen = seen.start - keys.start..seen.end - keys.start;
                softmax_rows(&mut row[seen.clone()], seen.len(), shape.scale());
                row[..seen.start].fill(0.0);
                row[seen.end..].fill(0.0);
            }
        }
        let weights = drop_probabilities(shape, key.derive(head as u64), probabilities, dropped);
        for Block { queries, keys, probabilities } in blocks(length, shape.window) {
            let from = queries.start * hidden + head * shape.head_dim;
            let target = MatrixMut::strided(&mut context[from..], queries.len(), shape.head_dim, hidden);
            let weights = Matrix::new(&weights[probabilities], queries.len(), keys.len());
            matmul(target, weights, shape.part(qkv, head, 2, &keys), Start::Zero);
        }
    }
}

/// The probabilities after dropout: themselves if there is none, otherwise a masked copy in `dropped`.
fn drop_probabilities<'a>(
    shape: &AttentionShape<'_>,
    key: DropoutKey,
    probabilities: &'a [f32],
    dropped: &'a mut [f32],
) -> &'a [f32] {
    if shape.dropout.is_none() {
        return probabilities;
    }
    let dropped = &mut dropped[..probabilities.len()];
    dropped.copy_from_slice(probabilities);
    shape.dropout.apply(key, dropped);
    dropped
}

/// Gradient of queries, keys and values of one sequence, and of the bias.
///
/// With `p` the probabilities and `g = mask · (d_context · vᵀ)`: `d_v = dropped(p)ᵀ · d_context`,
/// `d_scores = p (g - Σ g p) / √head_dim`, `d_q = d_scores · k`, `d_k = d_scoresᵀ · q`.
/// # Shapes
/// As in [`forward_sequence`]; scratch `[2 · length²]` and with relative positions [`RelativePositions::scratch`] more
pub fn backward_sequence(
    shape: &AttentionShape<'_>,
    key: DropoutKey,
    qkv: &[f32],
    probabilities: &[f32],
    d_context: &[f32],
    scratch: &mut [f32],
    gradients: AttentionGradients<'_>,
) {
    let AttentionGradients { qkv: d_qkv, bias: mut d_bias, positions: mut d_positions } = gradients;
    let length = d_context.len() / shape.hidden();
    let of_head = probability_count(1, length, shape.window);
    let (dropped, d_scores) = scratch.split_at_mut(of_head);
    let (d_scores, by_row) = d_scores.split_at_mut(of_head);
    // A key of several blocks has a gradient in each.
    let several = blocks(length, shape.window).nth(1).is_some();
    let start = if several { Start::Result } else { Start::Zero };
    if several {
        d_qkv.fill(0.0);
    }
    for (head, probabilities) in probabilities.chunks_exact(of_head).enumerate() {
        let key = key.derive(head as u64);
        let weights = drop_probabilities(shape, key, probabilities, dropped);
        for Block { queries, keys, probabilities: place } in blocks(length, shape.window) {
            let d_context = shape.head(d_context, head, &queries);
            let (rows, columns) = (queries.len(), keys.len());
            let weights = Matrix::new(&weights[place.clone()], rows, columns);
            matmul(shape.part_mut(d_qkv, head, 2, &keys), weights.transposed(), d_context, start);
            let v = shape.part(qkv, head, 2, &keys);
            let d_scores = MatrixMut::new(&mut d_scores[place], rows, columns);
            matmul(d_scores, d_context, v.transposed(), Start::Zero);
        }
        shape.dropout.apply(key, d_scores);
        for Block { queries, keys, probabilities: place } in blocks(length, shape.window) {
            let (rows, columns) = (queries.len(), keys.len());
            let d_scores = &mut d_scores[place.clone()];
            softmax_backward_rows(&probabilities[place], d_scores, columns, shape.scale());
            if let Some(d_bias) = &mut d_bias {
                for (query, d_scores) in queries.clone().zip(d_scores.chunks_exact(columns)) {
                    d_bias.add_query(head, query, keys.start, d_scores);
                }
            }
            let of_block = Matrix::new(d_scores, rows, columns);
            let (q, k) = (shape.part(qkv, head, 0, &queries), shape.part(qkv, head, 1, &keys));
            matmul(shape.part_mut(d_qkv, head, 0, &queries), of_block, k, Start::Zero);
            matmul(shape.part_mut(d_qkv, head, 1, &keys), of_block.transposed(), q, start);
            if let Some(positions) = &shape.positions {
                let of = Meeting { shape, head, qkv, queries, keys };
                positions.backward(&of, length, (by_row, d_scores), (d_qkv, d_positions.as_deref_mut()));
            }
        }
    }
}

vectorised! {
    /// `softmax(scale · row)` of each row in place, with the row's largest value taken off first so that nothing
    /// overflows.
    /// # Shapes
    /// rows `[.., columns]`; the scale is above zero
    pub fn softmax_rows(rows: &mut [f32], columns: usize, scale: f32) {
        for row in rows.chunks_exact_mut(columns) {
            let largest = lane_max(row);
            for value in row.iter_mut() {
                *value = scalar::exp(scale * (*value - largest));
            }
            let inverse = 1.0 / lane_sum(columns, |index| row[index]);
            for value in row.iter_mut() {
                *value *= inverse;
            }
        }
    }
}

vectorised! {
    /// `d = scale · p (d - Σ d p)` of each row, in place.
    pub(crate) fn softmax_backward_rows(probabilities: &[f32], d: &mut [f32], columns: usize, scale: f32) {
        for (p, d) in probabilities.chunks_exact(columns).zip(d.chunks_exact_mut(columns)) {
            let along = lane_sum(columns, |index| d[index] * p[index]);
            for index in 0..columns {
                d[index] = scale * p[index] * (d[index] - along);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, assert_close, central_differences, weighted_sum, widen};

    /// Products over a sequence and a softmax in f32.
    const TOLERANCE: f64 = 1e-5;

    /// The attention of one sequence in f64; `mask[head][i][j]` is what dropout multiplies a probability with,
    /// `bias[head][longest - 1 + j - i]` what is added to a score before its division.
    fn exact(qkv: &[f64], mask: &[f64], bias: &[f64], shape: &AttentionShape<'_>) -> Vec<f64> {
        let AttentionShape { heads, head_dim, window, .. } = *shape;
        let hidden = heads * head_dim;
        let length = qkv.len() / (3 * hidden);
        let sees = |i: usize, j: usize| window.is_none_or(|window| i.abs_diff(j) <= window);
        let at = |token: usize, part: usize, head: usize, index: usize| {
            qkv[token * 3 * hidden + part * hidden + head * head_dim + index]
        };
        let mut context = vec![0.0; length * hidden];
        for head in 0..heads {
            for i in 0..length {
                let scores: Vec<f64> = (0..length)
                    .map(|j| {
                        let product: f64 = (0..head_dim).map(|d| at(i, 0, head, d) * at(j, 1, head, d)).sum();
                        let width = bias.len() / heads;
                        (product + bias[head * width + width / 2 + j - i]) / (head_dim as f64).sqrt()
                    })
                    .collect();
                let total: f64 = (0..length).filter(|j| sees(i, *j)).map(|j| scores[j].exp()).sum();
                for j in (0..length).filter(|j| sees(i, *j)) {
                    let p = scores[j].exp() / total * mask[(head * length + i) * length + j];
                    for d in 0..head_dim {
                        context[i * hidden + head * head_dim + d] += p * at(j, 2, head, d);
                    }
                }
            }
        }
        context
    }

    /// What dropout multiplies each probability with, `[heads, length, length]`.
    fn mask(shape: &AttentionShape<'_>, key: DropoutKey, length: usize) -> Vec<f64> {
        let mut mask = vec![1.0; shape.heads * length * length];
        for (head, mask) in mask.chunks_exact_mut(length * length).enumerate() {
            let mut kept = vec![1.0; probability_count(1, length, shape.window)];
            shape.dropout.apply(key.derive(head as u64), &mut kept);
            for Block { queries, keys, probabilities } in blocks(length, shape.window) {
                for (query, kept) in queries.zip(kept[probabilities].chunks(keys.len())) {
                    mask[query * length..][keys.clone()].copy_from_slice(&widen(kept));
                }
            }
        }
        mask
    }

    #[test]
    fn forward_equals_f64_and_backward_central_differences() {
        let mut random = Random::new(9);
        for (length, heads, head_dim, rate, longest, window) in [
            (1, 2, 3, 0.0, 0, None),
            (5, 3, 4, 0.0, 0, None),
            (7, 2, 5, 0.3, 7, None),
            (18, 1, 8, 0.5, 0, None),
            (6, 3, 4, 0.0, 9, None),
            // All keys within the window; one block; several; each query alone; a block wider than the rest.
            (6, 2, 3, 0.0, 0, Some(5)),
            (9, 2, 4, 0.0, 0, Some(3)),
            (16, 1, 3, 0.0, 0, Some(15)),
            (37, 2, 3, 0.0, 0, Some(4)),
            (41, 2, 4, 0.4, 0, Some(17)),
            (35, 1, 3, 0.2, 40, Some(6)),
            (20, 1, 2, 0.0, 0, Some(0)),
            (1, 1, 2, 0.0, 0, Some(0)),
        ] {
            let by_distance = random.normals(heads * (2 * longest.max(length) - 1));
            let bias = (longest > 0).then_some(RelativeBias { by_distance: &by_distance, longest });
            let added = if longest > 0 { by_distance.clone() } else { vec![0.0; by_distance.len()] };
            let dropout = if rate > 0.0 { Dropout::new(rate) } else { Dropout::NONE };
            let shape = AttentionShape { heads, head_dim, window, dropout, bias, positions: None };
            let hidden = heads * head_dim;
            let key = DropoutKey::new(5);
            let qkv = random.normals(length * 3 * hidden);
            let d_context = random.normals(length * hidden);
            let mask = mask(&shape, key, length);
            let mut probabilities = vec![f32::NAN; probability_count(heads, length, window)];
            let mut scratch = vec![0.0; 2 * length * length];
            let mut context = vec![0.0; length * hidden];
            forward_sequence(&shape, key, &qkv, &mut probabilities, &mut scratch, &mut context);
            assert_close(
                "context",
                &context,
                &exact(&widen(&qkv), &mask, &widen(&added), &shape),
                TOLERANCE,
                TOLERANCE,
            );

            let mut d_qkv = vec![f32::NAN; qkv.len()];
            let mut d_bias = vec![0.5; by_distance.len()];
            let gradients = AttentionGradients {
                qkv: &mut d_qkv,
                bias: (longest > 0).then_some(RelativeBiasGradients { by_distance: &mut d_bias, longest }),
                positions: None,
            };
            backward_sequence(&shape, key, &qkv, &probabilities, &d_context, &mut scratch, gradients);
            let expected = central_differences(&widen(&qkv), |qkv| {
                weighted_sum(&exact(qkv, &mask, &widen(&added), &shape), &d_context)
            });
            assert_close("d_qkv", &d_qkv, &expected, TOLERANCE, TOLERANCE);
            if longest > 0 {
                let mut expected = central_differences(&widen(&added), |added| {
                    weighted_sum(&exact(&widen(&qkv), &mask, added, &shape), &d_context)
                });
                expected.iter_mut().for_each(|value| *value += 0.5);
                assert_close("d_bias", &d_bias, &expected, TOLERANCE, TOLERANCE);
            }
        }
    }

    /// Without a backward pass the probabilities of one head are enough.
    #[test]
    fn what_is_kept_changes_nothing() {
        let mut random = Random::new(17);
        let (length, heads, head_dim) = (33, 3, 4);
        let qkv = random.normals(length * 3 * heads * head_dim);
        for window in [None, Some(4)] {
            let shape = AttentionShape {
                heads,
                head_dim,
                window,
                dropout: Dropout::NONE,
                bias: None,
                positions: None,
            };
            let context = |heads_kept: usize| {
                let mut probabilities = vec![f32::NAN; probability_count(heads_kept, length, window)];
                let mut context = vec![0.0; length * heads * head_dim];
                forward_sequence(&shape, DropoutKey::new(1), &qkv, &mut probabilities, &mut [], &mut context);
                context
            };
            assert_eq!(context(1), context(heads), "{window:?}");
        }
    }

    /// A window as wide as the sequence is none, to the last bit.
    #[test]
    fn a_window_that_holds_all_is_no_window() {
        let mut random = Random::new(10);
        let (length, heads, head_dim) = (33, 2, 5);
        let qkv = random.normals(length * 3 * heads * head_dim);
        let d_context = random.normals(length * heads * head_dim);
        let pass = |window: Option<usize>| {
            let shape = AttentionShape {
                heads,
                head_dim,
                window,
                dropout: Dropout::new(0.2),
                bias: None,
                positions: None,
            };
            let (key, mut scratch) = (DropoutKey::new(3), vec![0.0; 2 * length * length]);
            let mut probabilities = vec![0.0; probability_count(heads, length, window)];
            let (mut context, mut d_qkv) = (vec![0.0; d_context.len()], vec![0.0; qkv.len()]);
            forward_sequence(&shape, key, &qkv, &mut probabilities, &mut scratch, &mut context);
            let gradients = AttentionGradients { qkv: &mut d_qkv, bias: None, positions: None };
            backward_sequence(&shape, key, &qkv, &probabilities, &d_context, &mut scratch, gradients);
            (context, d_qkv, probabilities)
        };
        let expected = pass(None);
        for window in [length - 1, length, usize::MAX] {
            assert!(pass(Some(window)) == expected, "{window}");
        }
        assert!(pass(Some(length - 2)).0 != expected.0);
    }

    /// What no query of a token's neighbourhood sees changes nothing there, to the last bit.
    #[test]
    fn what_lies_outside_the_window_counts_for_nothing() {
        let mut random = Random::new(11);
        let (length, heads, head_dim, window) = (70, 2, 4, 5);
        let hidden = heads * head_dim;
        let shape = AttentionShape {
            heads,
            head_dim,
            window: Some(window),
            dropout: Dropout::NONE,
            bias: None,
            positions: None,
        };
        let qkv = random.normals(length * 3 * hidden);
        let context = |qkv: &[f32]| {
            let mut probabilities = vec![0.0; probability_count(heads, length, shape.window)];
            let (mut scratch, mut context) = (vec![0.0; 2 * length * length], vec![0.0; length * hidden]);
            let key = DropoutKey::new(1);
            forward_sequence(&shape, key, qkv, &mut probabilities, &mut scratch, &mut context);
            context
        };
        let expected = context(&qkv);
        for token in [0, 20, 69] {
            let mut moved = qkv.clone();
            // The value of a token that other queries of the same block see takes part there as zero times itself.
            moved[token * 3 * hidden..][..3 * hidden].fill(7.0);
            let found = context(&moved);
            for (place, (found, expected)) in found.chunks(hidden).zip(expected.chunks(hidden)).enumerate() {
                assert_eq!(found == expected, place.abs_diff(token) > window, "{place} and {token}");
            }
        }
        let kept = probability_count(heads, length, shape.window);
        assert!(kept < heads * length * (LEAST_QUERIES + 2 * window + 1), "{kept} probabilities");
    }

    #[test]
    fn softmax_stays_finite_on_extremes() {
        let mut rows = vec![1e30, -1e30, 0.0, f32::NEG_INFINITY, 5.0, 5.0];
        softmax_rows(&mut rows, 3, 1.0);
        assert_eq!(rows, [1.0, 0.0, 0.0, 0.0, 0.5, 0.5]);
    }
}
