//! Multi-head self-attention (Vaswani et al. 2017, section 3.2) over packed sequences.
//!
//! Per sequence and head: `context = dropout(softmax(q · kᵀ / √head_dim)) · v`. Sequences are concatenated without
//! padding, so no mask is needed: a product never crosses the limits of its sequence.

use crate::dropout::{Dropout, DropoutKey};
use crate::gemm::{Matrix, MatrixMut, Start, matmul};
use crate::scalar;
use crate::simd::{lane_max, lane_sum, vectorised};

/// Sizes of the heads and the dropout of one attention layer.
#[derive(Clone, Copy, Debug)]
pub struct AttentionShape {
    /// Number of heads.
    pub heads: usize,
    /// Features of one head; `heads · head_dim = hidden`.
    pub head_dim: usize,
    /// Dropout of the attention probabilities.
    pub dropout: Dropout,
}

impl AttentionShape {
    fn hidden(&self) -> usize {
        self.heads * self.head_dim
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    /// Query (part 0), key (1) or value (2) of one head: `[length, head_dim]` inside `[length, 3 · hidden]`.
    fn part<'a>(&self, qkv: &'a [f32], head: usize, part: usize, length: usize) -> Matrix<'a> {
        let from = part * self.hidden() + head * self.head_dim;
        Matrix::strided(&qkv[from..], length, self.head_dim, 3 * self.hidden())
    }

    fn part_mut<'a>(&self, qkv: &'a mut [f32], head: usize, part: usize, length: usize) -> MatrixMut<'a> {
        let from = part * self.hidden() + head * self.head_dim;
        MatrixMut::strided(&mut qkv[from..], length, self.head_dim, 3 * self.hidden())
    }

    /// One head's columns of a `[length, hidden]` matrix.
    fn head<'a>(&self, context: &'a [f32], head: usize, length: usize) -> Matrix<'a> {
        Matrix::strided(&context[head * self.head_dim..], length, self.head_dim, self.hidden())
    }
}

/// Numbers of [`forward_sequence`]'s probabilities for one sequence: `heads · length²`.
pub fn probability_count(heads: usize, length: usize) -> usize {
    heads * length * length
}

/// Attention of one sequence.
/// # Shapes
/// qkv `[length, 3 · hidden]` (queries, keys, values side by side), probabilities `[heads, length, length]` (kept for
/// the backward pass, before dropout), dropped `[length, length]` (scratch), context `[length, hidden]`
pub fn forward_sequence(
    shape: &AttentionShape,
    key: DropoutKey,
    qkv: &[f32],
    probabilities: &mut [f32],
    dropped: &mut [f32],
    context: &mut [f32],
) {
    let hidden = shape.hidden();
    let length = context.len() / hidden;
    for (head, probabilities) in probabilities.chunks_exact_mut(length * length).enumerate() {
        let (q, k, v) = (
            shape.part(qkv, head, 0, length),
            shape.part(qkv, head, 1, length),
            shape.part(qkv, head, 2, length),
        );
        matmul(MatrixMut::new(probabilities, length, length), q, k.transposed(), Start::Zero);
        softmax_rows(probabilities, length, shape.scale());
        let weights = drop_probabilities(shape, key.derive(head as u64), probabilities, dropped);
        let target =
            MatrixMut::strided(&mut context[head * shape.head_dim..], length, shape.head_dim, hidden);
        matmul(target, Matrix::new(weights, length, length), v, Start::Zero);
    }
}

/// The probabilities after dropout: themselves if there is none, otherwise a masked copy in `dropped`.
fn drop_probabilities<'a>(
    shape: &AttentionShape,
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

/// Gradient of queries, keys and values of one sequence.
///
/// With `p` the probabilities and `g = mask · (d_context · vᵀ)`: `d_v = dropped(p)ᵀ · d_context`,
/// `d_scores = p (g - Σ g p) / √head_dim`, `d_q = d_scores · k`, `d_k = d_scoresᵀ · q`.
/// # Shapes
/// As in [`forward_sequence`]; d_qkv `[length, 3 · hidden]` is overwritten, scratch `[2 · length²]`
pub fn backward_sequence(
    shape: &AttentionShape,
    key: DropoutKey,
    qkv: &[f32],
    probabilities: &[f32],
    d_context: &[f32],
    scratch: &mut [f32],
    d_qkv: &mut [f32],
) {
    let length = d_context.len() / shape.hidden();
    let (dropped, d_scores) = scratch.split_at_mut(length * length);
    let d_scores = &mut d_scores[..length * length];
    for (head, probabilities) in probabilities.chunks_exact(length * length).enumerate() {
        let (q, k, v) = (
            shape.part(qkv, head, 0, length),
            shape.part(qkv, head, 1, length),
            shape.part(qkv, head, 2, length),
        );
        let d_context = shape.head(d_context, head, length);
        let key = key.derive(head as u64);
        let weights = Matrix::new(drop_probabilities(shape, key, probabilities, dropped), length, length);
        matmul(shape.part_mut(d_qkv, head, 2, length), weights.transposed(), d_context, Start::Zero);
        matmul(MatrixMut::new(d_scores, length, length), d_context, v.transposed(), Start::Zero);
        shape.dropout.apply(key, d_scores);
        softmax_backward_rows(probabilities, d_scores, length, shape.scale());
        let d_scores = Matrix::new(d_scores, length, length);
        matmul(shape.part_mut(d_qkv, head, 0, length), d_scores, k, Start::Zero);
        matmul(shape.part_mut(d_qkv, head, 1, length), d_scores.transposed(), q, Start::Zero);
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

    /// The attention of one sequence in f64; `mask[head][i][j]` is what dropout multiplies a probability with.
    fn exact(qkv: &[f64], mask: &[f64], heads: usize, head_dim: usize) -> Vec<f64> {
        let hidden = heads * head_dim;
        let length = qkv.len() / (3 * hidden);
        let at = |token: usize, part: usize, head: usize, index: usize| {
            qkv[token * 3 * hidden + part * hidden + head * head_dim + index]
        };
        let mut context = vec![0.0; length * hidden];
        for head in 0..heads {
            for i in 0..length {
                let scores: Vec<f64> = (0..length)
                    .map(|j| {
                        (0..head_dim).map(|d| at(i, 0, head, d) * at(j, 1, head, d)).sum::<f64>()
                            / (head_dim as f64).sqrt()
                    })
                    .collect();
                let total: f64 = scores.iter().map(|score| score.exp()).sum();
                for j in 0..length {
                    let p = scores[j].exp() / total * mask[(head * length + i) * length + j];
                    for d in 0..head_dim {
                        context[i * hidden + head * head_dim + d] += p * at(j, 2, head, d);
                    }
                }
            }
        }
        context
    }

    #[test]
    fn forward_equals_f64_and_backward_central_differences() {
        let mut random = Random::new(9);
        for (length, heads, head_dim, rate) in
            [(1, 2, 3, 0.0), (5, 3, 4, 0.0), (7, 2, 5, 0.3), (18, 1, 8, 0.5)]
        {
            let dropout = if rate > 0.0 { Dropout::new(rate) } else { Dropout::NONE };
            let shape = AttentionShape { heads, head_dim, dropout };
            let hidden = heads * head_dim;
            let key = DropoutKey::new(5);
            let qkv = random.normals(length * 3 * hidden);
            let d_context = random.normals(length * hidden);
            let mut mask = vec![1.0f32; probability_count(heads, length)];
            for (head, mask) in mask.chunks_exact_mut(length * length).enumerate() {
                dropout.apply(key.derive(head as u64), mask);
            }
            let mask = widen(&mask);
            let mut probabilities = vec![0.0; probability_count(heads, length)];
            let mut scratch = vec![0.0; 2 * length * length];
            let mut context = vec![0.0; length * hidden];
            forward_sequence(&shape, key, &qkv, &mut probabilities, &mut scratch, &mut context);
            assert_close(
                "context",
                &context,
                &exact(&widen(&qkv), &mask, heads, head_dim),
                TOLERANCE,
                TOLERANCE,
            );

            let mut d_qkv = vec![f32::NAN; qkv.len()];
            backward_sequence(&shape, key, &qkv, &probabilities, &d_context, &mut scratch, &mut d_qkv);
            let expected = central_differences(&widen(&qkv), |qkv| {
                weighted_sum(&exact(qkv, &mask, heads, head_dim), &d_context)
            });
            assert_close("d_qkv", &d_qkv, &expected, TOLERANCE, TOLERANCE);
        }
    }

    #[test]
    fn softmax_stays_finite_on_extremes() {
        let mut rows = vec![1e30, -1e30, 0.0, f32::NEG_INFINITY, 5.0, 5.0];
        softmax_rows(&mut rows, 3, 1.0);
        assert_eq!(rows, [1.0, 0.0, 0.0, 0.0, 0.5, 0.5]);
    }
}
