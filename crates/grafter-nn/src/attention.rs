//! Multi-head self-attention (Vaswani et al. 2017, section 3.2) over packed sequences.
//!
//! Per sequence and head: `context = dropout(softmax(q · kᵀ / √head_dim + bias)) · v`, where only some families have a bias
//! ([`crate::relative_position`]). Sequences are concatenated without padding, so no mask is needed: a product never crosses
//! the limits of its sequence.

use crate::dropout::{Dropout, DropoutKey};
use crate::gemm::{Matrix, MatrixMut, Start, matmul};
use crate::relative_position::{RelativeBias, RelativeBiasGradients};
use crate::scalar;
use crate::simd::{lane_max, lane_sum, vectorised};

/// Sizes of the heads, the dropout and the bias of one attention layer.
#[derive(Clone, Copy, Debug)]
pub struct AttentionShape<'a> {
    /// Number of heads.
    pub heads: usize,
    /// Features of one head; `heads · head_dim = hidden`.
    pub head_dim: usize,
    /// Dropout of the attention probabilities.
    pub dropout: Dropout,
    /// What is added to the scores by distance, if anything.
    pub bias: Option<RelativeBias<'a>>,
}

/// Where the gradients of one sequence go.
#[derive(Debug)]
pub struct AttentionGradients<'a> {
    /// Of queries, keys and values, `[length, 3 · hidden]`; overwritten.
    pub qkv: &'a mut [f32],
    /// Of the bias, where it is trained; added to.
    pub bias: Option<RelativeBiasGradients<'a>>,
}

impl AttentionShape<'_> {
    fn hidden(&self) -> usize {
        self.heads * self.head_dim
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    /// Query (part 0), key (1) or value (2) of one head: `[length, head_dim]` inside `[length, 3 · hidden]`.
    fn part<'q>(&self, qkv: &'q [f32], head: usize, part: usize, length: usize) -> Matrix<'q> {
        let from = part * self.hidden() + head * self.head_dim;
        Matrix::strided(&qkv[from..], length, self.head_dim, 3 * self.hidden())
    }

    fn part_mut<'q>(&self, qkv: &'q mut [f32], head: usize, part: usize, length: usize) -> MatrixMut<'q> {
        let from = part * self.hidden() + head * self.head_dim;
        MatrixMut::strided(&mut qkv[from..], length, self.head_dim, 3 * self.hidden())
    }

    /// One head's columns of a `[length, hidden]` matrix.
    fn head<'c>(&self, context: &'c [f32], head: usize, length: usize) -> Matrix<'c> {
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
    shape: &AttentionShape<'_>,
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
        let start = match shape.bias {
            Some(bias) => {
                for (query, scores) in probabilities.chunks_exact_mut(length).enumerate() {
                    scores.copy_from_slice(bias.of_query(head, query, length));
                }
                Start::Result
            }
            None => Start::Zero,
        };
        matmul(MatrixMut::new(probabilities, length, length), q, k.transposed(), start);
        softmax_rows(probabilities, length, shape.scale());
        let weights = drop_probabilities(shape, key.derive(head as u64), probabilities, dropped);
        let target =
            MatrixMut::strided(&mut context[head * shape.head_dim..], length, shape.head_dim, hidden);
        matmul(target, Matrix::new(weights, length, length), v, Start::Zero);
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
/// As in [`forward_sequence`]; scratch `[2 · length²]`
pub fn backward_sequence(
    shape: &AttentionShape<'_>,
    key: DropoutKey,
    qkv: &[f32],
    probabilities: &[f32],
    d_context: &[f32],
    scratch: &mut [f32],
    gradients: AttentionGradients<'_>,
) {
    let AttentionGradients { qkv: d_qkv, bias: mut d_bias } = gradients;
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
        if let Some(d_bias) = &mut d_bias {
            for (query, d_scores) in d_scores.chunks_exact(length).enumerate() {
                d_bias.add_query(head, query, d_scores);
            }
        }
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

    /// The attention of one sequence in f64; `mask[head][i][j]` is what dropout multiplies a probability with,
    /// `bias[head][longest - 1 + j - i]` what is added to a score before its division.
    fn exact(qkv: &[f64], mask: &[f64], bias: &[f64], heads: usize, head_dim: usize) -> Vec<f64> {
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
                        let product: f64 = (0..head_dim).map(|d| at(i, 0, head, d) * at(j, 1, head, d)).sum();
                        let width = bias.len() / heads;
                        (product + bias[head * width + width / 2 + j - i]) / (head_dim as f64).sqrt()
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
        for (length, heads, head_dim, rate, longest) in
            [(1, 2, 3, 0.0, 0), (5, 3, 4, 0.0, 0), (7, 2, 5, 0.3, 7), (18, 1, 8, 0.5, 0), (6, 3, 4, 0.0, 9)]
        {
            let by_distance = random.normals(heads * (2 * longest.max(length) - 1));
            let bias = (longest > 0).then_some(RelativeBias { by_distance: &by_distance, longest });
            let added = if longest > 0 { by_distance.clone() } else { vec![0.0; by_distance.len()] };
            let dropout = if rate > 0.0 { Dropout::new(rate) } else { Dropout::NONE };
            let shape = AttentionShape { heads, head_dim, dropout, bias };
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
                &exact(&widen(&qkv), &mask, &widen(&added), heads, head_dim),
                TOLERANCE,
                TOLERANCE,
            );

            let mut d_qkv = vec![f32::NAN; qkv.len()];
            let mut d_bias = vec![0.5; by_distance.len()];
            let gradients = AttentionGradients {
                qkv: &mut d_qkv,
                bias: (longest > 0).then_some(RelativeBiasGradients { by_distance: &mut d_bias, longest }),
            };
            backward_sequence(&shape, key, &qkv, &probabilities, &d_context, &mut scratch, gradients);
            let expected = central_differences(&widen(&qkv), |qkv| {
                weighted_sum(&exact(qkv, &mask, &widen(&added), heads, head_dim), &d_context)
            });
            assert_close("d_qkv", &d_qkv, &expected, TOLERANCE, TOLERANCE);
            if longest > 0 {
                let mut expected = central_differences(&widen(&added), |added| {
                    weighted_sum(&exact(&widen(&qkv), &mask, added, heads, head_dim), &d_context)
                });
                expected.iter_mut().for_each(|value| *value += 0.5);
                assert_close("d_bias", &d_bias, &expected, TOLERANCE, TOLERANCE);
            }
        }
    }

    #[test]
    fn softmax_stays_finite_on_extremes() {
        let mut rows = vec![1e30, -1e30, 0.0, f32::NEG_INFINITY, 5.0, 5.0];
        softmax_rows(&mut rows, 3, 1.0);
        assert_eq!(rows, [1.0, 0.0, 0.0, 0.0, 0.5, 0.5]);
    }
}
