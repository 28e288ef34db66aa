//! Disentangled attention: what content and relative position say of each other in an attention score (He et al. 2020, section
//! 3.1, equation 4, with the order of the distance as in the code of its authors and of `transformers`).
//!
//! `score(i, j) = q_i · k_j + q_i · K_r(i - j) + k_j · Q_r(i - j)`, where `K_r` and `Q_r` are the keys and queries of relative
//! positions, one row for each distance of a query from its key; the second term is content to position, the third position to
//! content. Distances that are far share rows by the logarithm of the distance (He et al. 2021, in the code). The products
//! with the rows that a sequence reads are made per sequence and head; [`crate::attention`] adds them to the scores.

use std::ops::Range;

use crate::attention::AttentionShape;
use crate::gemm::{Matrix, MatrixMut, Start, matmul};

/// How distances share rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DistanceRows {
    /// Rows on each side of the middle; the row of the distance 0.
    pub span: usize,
    /// Where far distances share rows by their logarithm: those up to half of the span have a row each, and this one, less one,
    /// is the first that has the last row to itself.
    pub farthest: Option<usize>,
}

impl DistanceRows {
    /// The row of a distance `query - key`: `make_log_bucket_position` of `transformers`, after the shift and the limits.
    pub fn row(self, distance: isize) -> usize {
        let (span, length) = (self.span as isize, distance.unsigned_abs());
        let bucket = match self.farthest {
            Some(farthest) if length > self.span / 2 => {
                let near = (self.span / 2) as f64;
                let ratio = (length as f64 / near).ln() / ((farthest as f64 - 1.0) / near).ln();
                distance.signum() * ((ratio * (near - 1.0)).ceil() + near) as isize
            }
            _ => distance,
        };
        bucket.saturating_add(span).clamp(0, 2 * span - 1) as usize
    }

    /// The rows by distance of a key from its query, `1 - longest` to `longest - 1`: `2 · longest - 1` of them, none above the one
    /// before it.
    pub fn lay_out(self, longest: usize) -> Vec<usize> {
        let longest = longest as isize;
        (1 - longest..longest).map(|distance| self.row(-distance)).collect()
    }
}

/// Queries and keys of relative positions.
#[derive(Clone, Copy, Debug)]
pub struct RelativePositions<'a> {
    /// Some consecutive rows, each a query, a key and what nothing reads: `[rows, 3 · hidden]`, as those of tokens.
    pub projected: &'a [f32],
    /// The first of these rows.
    pub first: usize,
    /// What [`DistanceRows::lay_out`] gives for a sequence as long as any, or longer.
    pub by_distance: &'a [usize],
    /// Whether a query's product with the key of the distance counts.
    pub content_to_position: bool,
    /// Whether a key's product with the query of the distance counts.
    pub position_to_content: bool,
}

/// The queries and keys of one head that meet in a block of scores.
#[derive(Clone, Debug)]
pub(crate) struct Meeting<'a> {
    pub shape: &'a AttentionShape<'a>,
    pub head: usize,
    /// Of the sequence, `[length, 3 · hidden]`.
    pub qkv: &'a [f32],
    pub queries: Range<usize>,
    pub keys: Range<usize>,
}

impl<'a> Meeting<'a> {
    /// `[queries, head_dim]`
    fn q(&self) -> Matrix<'a> {
        self.shape.part(self.qkv, self.head, 0, &self.queries)
    }

    /// `[keys, head_dim]`
    fn k(&self) -> Matrix<'a> {
        self.shape.part(self.qkv, self.head, 1, &self.keys)
    }
}

impl RelativePositions<'_> {
    /// How many products a score is the sum of.
    pub(crate) fn products(&self) -> usize {
        1 + usize::from(self.content_to_position) + usize::from(self.position_to_content)
    }

    /// Rows of a query's keys, the first key first.
    fn of_query(&self, query: usize, keys: &Range<usize>) -> &[usize] {
        let middle = self.by_distance.len() / 2;
        &self.by_distance[middle + keys.start - query..][..keys.len()]
    }

    /// The rows that a sequence reads.
    fn rows(&self, length: usize) -> Range<usize> {
        let (middle, far) = (self.by_distance.len() / 2, length - 1);
        self.by_distance[middle + far]..self.by_distance[middle - far] + 1
    }

    /// Numbers of the scratch memory that sequences of a length need.
    pub fn scratch(&self, length: usize) -> usize {
        length * self.rows(length).len()
    }

    /// `scores = q · K_rᵀ + k · Q_rᵀ`, each at its distance.
    /// # Shapes
    /// scratch [`RelativePositions::scratch`] or more, scores `[queries, keys]`
    pub(crate) fn scores(&self, of: &Meeting<'_>, length: usize, scratch: &mut [f32], scores: &mut [f32]) {
        let (rows, keys) = (self.rows(length), of.keys.len());
        let [position_q, position_k] = [0, 1].map(|part| self.part(of, part, &rows));
        scores.fill(0.0);
        if self.content_to_position {
            let products = &mut scratch[..of.queries.len() * rows.len()];
            let result = MatrixMut::new(products, of.queries.len(), rows.len());
            matmul(result, of.q(), position_k.transposed(), Start::Zero);
            let lines = scores.chunks_exact_mut(keys).zip(products.chunks_exact(rows.len()));
            for (query, (scores, products)) in of.queries.clone().zip(lines) {
                for (score, row) in scores.iter_mut().zip(self.of_query(query, &of.keys)) {
                    *score = products[row - rows.start];
                }
            }
        }
        if self.position_to_content {
            let products = &mut scratch[..keys * rows.len()];
            let result = MatrixMut::new(products, keys, rows.len());
            matmul(result, of.k(), position_q.transposed(), Start::Zero);
            for (query, scores) in of.queries.clone().zip(scores.chunks_exact_mut(keys)) {
                let rows_of_keys =
                    self.of_query(query, &of.keys).iter().zip(products.chunks_exact(rows.len()));
                for (score, (row, products)) in scores.iter_mut().zip(rows_of_keys) {
                    *score += products[row - rows.start];
                }
            }
        }
    }

    /// Adds the gradients of one head's queries and keys, and, where they are asked for, those of the positions' rows.
    ///
    /// With `g(i, r)` the sum of `d_scores(i, j)` over the keys whose row is `r`: `d_q += g · K_r`, `d_K_r += gᵀ · q`; likewise,
    /// summed over the queries, for `d_k` and `d_Q_r`.
    /// # Shapes
    /// As in [`RelativePositions::scores`]; d_scores as scores, d_qkv `[length, 3 · hidden]`, d_projected as
    /// [`RelativePositions::projected`]
    pub(crate) fn backward(
        &self,
        of: &Meeting<'_>,
        length: usize,
        (scratch, d_scores): (&mut [f32], &[f32]),
        (d_qkv, mut d_projected): (&mut [f32], Option<&mut [f32]>),
    ) {
        let (rows, keys) = (self.rows(length), of.keys.len());
        let [position_q, position_k] = [0, 1].map(|part| self.part(of, part, &rows));
        let held = rows.start - self.first..rows.end - self.first;
        let (shape, head) = (of.shape, of.head);
        if self.content_to_position {
            let sums = &mut scratch[..of.queries.len() * rows.len()];
            sums.fill(0.0);
            let lines = d_scores.chunks_exact(keys).zip(sums.chunks_exact_mut(rows.len()));
            for (query, (d_scores, sums)) in of.queries.clone().zip(lines) {
                for (d, row) in d_scores.iter().zip(self.of_query(query, &of.keys)) {
                    sums[row - rows.start] += d;
                }
            }
            let sums = Matrix::new(sums, of.queries.len(), rows.len());
            matmul(shape.part_mut(d_qkv, head, 0, &of.queries), sums, position_k, Start::Result);
            if let Some(d) = d_projected.as_deref_mut() {
                matmul(shape.part_mut(d, head, 1, &held), sums.transposed(), of.q(), Start::Result);
            }
        }
        if self.position_to_content {
            let sums = &mut scratch[..keys * rows.len()];
            sums.fill(0.0);
            for (query, d_scores) in of.queries.clone().zip(d_scores.chunks_exact(keys)) {
                let rows_of_keys =
                    self.of_query(query, &of.keys).iter().zip(sums.chunks_exact_mut(rows.len()));
                for (d, (row, sums)) in d_scores.iter().zip(rows_of_keys) {
                    sums[row - rows.start] += d;
                }
            }
            let sums = Matrix::new(sums, keys, rows.len());
            matmul(shape.part_mut(d_qkv, head, 1, &of.keys), sums, position_q, Start::Result);
            if let Some(d) = d_projected {
                matmul(shape.part_mut(d, head, 0, &held), sums.transposed(), of.k(), Start::Result);
            }
        }
    }

    /// Queries (part 0) or keys (1) of some rows and one head, `[rows, head_dim]`.
    fn part(&self, of: &Meeting<'_>, part: usize, rows: &Range<usize>) -> Matrix<'_> {
        let held = rows.start - self.first..rows.end - self.first;
        of.shape.part(self.projected, of.head, part, &held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::{AttentionGradients, backward_sequence, forward_sequence, probability_count};
    use crate::dropout::{Dropout, DropoutKey};
    use crate::testing::{Random, assert_close, central_differences, weighted_sum, widen};

    /// Products over a sequence and a softmax in f32.
    const TOLERANCE: f64 = 1e-5;

    /// The attention of one sequence in f64, term by term as equation 4 has them; `projected` are all rows of positions.
    fn exact(qkv: &[f64], projected: &[f64], shape: &AttentionShape<'_>, rows: DistanceRows) -> Vec<f64> {
        let (heads, head_dim, hidden) = (shape.heads, shape.head_dim, shape.heads * shape.head_dim);
        let positions = shape.positions.unwrap();
        let length = qkv.len() / (3 * hidden);
        let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
        let mut context = vec![0.0; length * hidden];
        for head in 0..heads {
            let at = |of: &[f64], row: usize, part: usize| {
                of[row * 3 * hidden + part * hidden + head * head_dim..][..head_dim].to_vec()
            };
            for i in 0..length {
                let sees = |j: &usize| shape.window.is_none_or(|window| i.abs_diff(*j) <= window);
                let seen: Vec<usize> = (0..length).filter(sees).collect();
                let (mut weights, mut products) = (Vec::new(), 1.0);
                products += f64::from(u8::from(positions.content_to_position));
                products += f64::from(u8::from(positions.position_to_content));
                for j in &seen {
                    let row = rows.row(i as isize - *j as isize);
                    let (q, k) = (at(qkv, i, 0), at(qkv, *j, 1));
                    let mut score = dot(&q, &k);
                    if positions.content_to_position {
                        score += dot(&q, &at(projected, row, 1));
                    }
                    if positions.position_to_content {
                        score += dot(&k, &at(projected, row, 0));
                    }
                    weights.push((score / (head_dim as f64 * products).sqrt()).exp());
                }
                let total: f64 = weights.iter().sum();
                for (j, weight) in seen.iter().zip(weights) {
                    for (d, value) in at(qkv, *j, 2).iter().enumerate() {
                        context[i * hidden + head * head_dim + d] += weight / total * value;
                    }
                }
            }
        }
        context
    }

    #[test]
    fn forward_equals_f64_and_backward_central_differences() {
        let mut random = Random::new(21);
        let log = |span, farthest| DistanceRows { span, farthest: Some(farthest) };
        let plain = |span| DistanceRows { span, farthest: None };
        for (length, longest, heads, head_dim, rows, [to_position, to_content], window) in [
            (1, 1, 2, 3, log(4, 20), [true, true], None),
            (13, 13, 2, 4, log(4, 20), [true, true], None),
            (9, 14, 3, 2, log(4, 20), [true, false], None),
            (11, 11, 1, 5, log(6, 9), [false, true], None),
            (12, 12, 2, 3, plain(4), [true, true], None),
            (7, 30, 2, 3, plain(30), [true, true], None),
            (2, 3, 1, 1, plain(1), [true, true], None),
            (23, 23, 2, 3, log(6, 40), [true, true], Some(4)),
        ] {
            let hidden = heads * head_dim;
            let by_distance = rows.lay_out(longest);
            // The rows that the longest sequence reads, and no others.
            let held = by_distance[2 * longest - 2]..by_distance[0] + 1;
            let all = random.normals(2 * rows.span * 3 * hidden);
            let places = held.start * 3 * hidden..held.end * 3 * hidden;
            let positions = RelativePositions {
                projected: &all[places.clone()],
                first: held.start,
                by_distance: &by_distance,
                content_to_position: to_position,
                position_to_content: to_content,
            };
            let dropout = Dropout::NONE;
            let shape =
                AttentionShape { heads, head_dim, window, dropout, bias: None, positions: Some(positions) };
            let (qkv, key) = (random.normals(length * 3 * hidden), DropoutKey::new(1));
            let d_context = random.normals(length * hidden);
            let mut probabilities = vec![f32::NAN; probability_count(heads, length, window)];
            let mut scratch = vec![f32::NAN; 2 * length * length + positions.scratch(length)];
            let mut context = vec![f32::NAN; length * hidden];
            forward_sequence(&shape, key, &qkv, &mut probabilities, &mut scratch, &mut context);
            let expected = exact(&widen(&qkv), &widen(&all), &shape, rows);
            assert_close("context", &context, &expected, TOLERANCE, TOLERANCE);

            let (mut d_qkv, mut d_positions) = (vec![f32::NAN; qkv.len()], vec![0.5; places.len()]);
            let gradients =
                AttentionGradients { qkv: &mut d_qkv, bias: None, positions: Some(&mut d_positions) };
            backward_sequence(&shape, key, &qkv, &probabilities, &d_context, &mut scratch, gradients);
            let expected = central_differences(&widen(&qkv), |qkv| {
                weighted_sum(&exact(qkv, &widen(&all), &shape, rows), &d_context)
            });
            assert_close("d_qkv", &d_qkv, &expected, TOLERANCE, TOLERANCE);
            let expected: Vec<f64> = central_differences(&widen(&all), |all| {
                weighted_sum(&exact(&widen(&qkv), all, &shape, rows), &d_context)
            });
            assert_eq!(expected.iter().any(|d| *d != 0.0), length > 1);
            let of_held: Vec<f64> = expected[places].iter().map(|d| d + 0.5).collect();
            assert_close("d_positions", &d_positions, &of_held, TOLERANCE, TOLERANCE);

            // What trains changes nothing of what passes below.
            let mut again = vec![f32::NAN; qkv.len()];
            let gradients = AttentionGradients { qkv: &mut again, bias: None, positions: None };
            backward_sequence(&shape, key, &qkv, &probabilities, &d_context, &mut scratch, gradients);
            assert_eq!(again, d_qkv);
        }
    }

    /// Which rows are at hand, and for how long a text the distances are laid out, changes no bit.
    #[test]
    fn a_sequence_depends_on_the_rows_that_it_reads_alone() {
        let mut random = Random::new(22);
        let (length, heads, head_dim, rows) = (19, 2, 8, DistanceRows { span: 8, farthest: Some(64) });
        let hidden = heads * head_dim;
        let all = random.normals(2 * rows.span * 3 * hidden);
        let (qkv, d_context) = (random.normals(length * 3 * hidden), random.normals(length * hidden));
        let pass = |longest: usize, held: Range<usize>| {
            let by_distance = rows.lay_out(longest);
            let positions = RelativePositions {
                projected: &all[held.start * 3 * hidden..held.end * 3 * hidden],
                first: held.start,
                by_distance: &by_distance,
                content_to_position: true,
                position_to_content: true,
            };
            let dropout = Dropout::new(0.3);
            let shape = AttentionShape {
                heads,
                head_dim,
                window: None,
                dropout,
                bias: None,
                positions: Some(positions),
            };
            let key = DropoutKey::new(4);
            let mut probabilities = vec![0.0; heads * length * length];
            let mut scratch = vec![f32::NAN; 2 * length * length + positions.scratch(length)];
            let (mut context, mut d_qkv) = (vec![0.0; d_context.len()], vec![0.0; qkv.len()]);
            forward_sequence(&shape, key, &qkv, &mut probabilities, &mut scratch, &mut context);
            let mut d_positions = vec![0.0; all.len()];
            let gradients = AttentionGradients {
                qkv: &mut d_qkv,
                bias: None,
                positions: Some(&mut d_positions[held.start * 3 * hidden..held.end * 3 * hidden]),
            };
            backward_sequence(&shape, key, &qkv, &probabilities, &d_context, &mut scratch, gradients);
            (context, d_qkv, d_positions)
        };
        let far = rows.row(length as isize - 1);
        let expected = pass(length, 2 * rows.span - far..far + 1);
        assert!(expected.0.iter().all(|value| value.is_finite()));
        assert!(pass(length, 0..2 * rows.span) == expected);
        assert!(pass(200, 0..2 * rows.span) == expected);
    }

    /// `make_log_bucket_position` of `transformers` 4.57.6: buckets, the farthest distance, and pairs of distance and bucket.
    #[test]
    fn far_distances_share_rows_as_in_transformers() {
        type Pairs = &'static [(isize, isize)];
        let tables: [(usize, usize, Pairs); 4] = [
            (
                256,
                512,
                &[
                    (0, 0),
                    (-1, -1),
                    (127, 127),
                    (128, 128),
                    (129, 129),
                    (130, 130),
                    (131, 131),
                    (-132, -131),
                    (135, 133),
                    (149, 142),
                    (150, 143),
                    (-200, -169),
                    (255, 192),
                    (256, 192),
                    (300, 207),
                    (384, 229),
                    (-400, -233),
                    (507, 255),
                    (508, 255),
                    (510, 255),
                    (511, 255),
                    (512, 256),
                    (-513, -256),
                    (600, 270),
                ],
            ),
            (
                8,
                40,
                &[
                    (0, 0),
                    (1, 1),
                    (-1, -1),
                    (2, 2),
                    (3, 3),
                    (4, 4),
                    (5, 5),
                    (-5, -5),
                    (6, 5),
                    (7, 5),
                    (9, 6),
                    (10, 6),
                    (-13, -6),
                    (16, 6),
                    (19, 7),
                    (20, 7),
                    (23, 7),
                    (24, 7),
                    (31, 7),
                    (38, 7),
                    (39, 7),
                    (40, 8),
                    (-100, -9),
                ],
            ),
            (
                4,
                24,
                &[
                    (0, 0),
                    (1, 1),
                    (-1, -1),
                    (2, 2),
                    (3, 3),
                    (4, 3),
                    (5, 3),
                    (-5, -3),
                    (6, 3),
                    (7, 3),
                    (9, 3),
                    (10, 3),
                    (-13, -3),
                    (16, 3),
                    (19, 3),
                    (20, 3),
                    (23, 3),
                    (24, 4),
                    (31, 4),
                    (38, 4),
                    (39, 4),
                    (40, 4),
                    (-100, -4),
                ],
            ),
            (
                3,
                20,
                &[
                    (0, 0),
                    (1, 1),
                    (-1, -1),
                    (2, 1),
                    (3, 1),
                    (4, 1),
                    (5, 1),
                    (-5, -1),
                    (6, 1),
                    (7, 1),
                    (9, 1),
                    (10, 1),
                    (-13, -1),
                    (16, 1),
                    (19, 1),
                    (20, 1),
                    (23, 1),
                    (24, 1),
                    (31, 1),
                    (38, 1),
                    (39, 1),
                    (40, 1),
                    (-100, -1),
                ],
            ),
        ];
        for (buckets, farthest, pairs) in tables {
            let rows = DistanceRows { span: buckets, farthest: Some(farthest) };
            for (distance, bucket) in pairs {
                // The ends are those of the table of rows.
                let expected = (bucket + buckets as isize).clamp(0, 2 * buckets as isize - 1);
                assert_eq!(
                    rows.row(*distance) as isize,
                    expected,
                    "{distance} of {buckets} up to {farthest}"
                );
            }
            let laid_out = rows.lay_out(40);
            assert!(laid_out.is_sorted_by(|near, far| near >= far));
            assert_eq!((laid_out.len(), laid_out[39], laid_out[39 - 5]), (79, buckets, rows.row(5)));
        }
    }

    #[test]
    fn without_buckets_distances_are_cut_at_the_ends() {
        let rows = DistanceRows { span: 4, farthest: None };
        let found: Vec<usize> = (-6..=6).map(|distance| rows.row(distance)).collect();
        assert_eq!(found, [0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 7, 7, 7]);
        assert_eq!(rows.lay_out(3), [6, 5, 4, 3, 2]);
        assert_eq!(DistanceRows { span: 1, farthest: None }.lay_out(2), [1, 1, 0]);
    }
}
