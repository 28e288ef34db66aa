//! Relative position bias: what is added to an attention score by how far the key lies from its query.
//!
//! Distances fall into buckets, half of them for keys before the query and half for keys after it; near ones have a bucket each,
//! far ones share one by the logarithm of the distance (Raffel et al. 2020, section 2.1; Song et al. 2020). A table
//! `[buckets, heads]` has a number for each bucket and head. For a pass it is laid out by distance, so that a row of scores
//! takes consecutive numbers.

/// Distances from here on share the last bucket.
const FAR: usize = 128;

/// The bucket of a distance `key - query`, of an even number of buckets, four or more.
fn bucket(distance: isize, buckets: usize) -> usize {
    let half = buckets / 2;
    let exact = half / 2;
    let first = if distance > 0 { half } else { 0 };
    let distance = distance.unsigned_abs();
    if distance < exact {
        return first + distance;
    }
    let ratio = (distance as f64 / exact as f64).ln() / (FAR as f64 / exact as f64).ln();
    first + (exact + (ratio * (half - exact) as f64) as usize).min(half - 1)
}

/// The bias by head and distance, for sequences up to a length.
#[derive(Clone, Copy, Debug)]
pub struct RelativeBias<'a> {
    /// `[heads, 2 · longest - 1]`: of each head the distances `1 - longest` to `longest - 1`, times `√head_dim`, since scores
    /// are divided by that after it is added.
    pub by_distance: &'a [f32],
    /// The longest sequence.
    pub longest: usize,
}

impl<'a> RelativeBias<'a> {
    /// What is added to the scores of one query of a sequence: a number for each key.
    pub(crate) fn of_query(&self, head: usize, query: usize, length: usize) -> &'a [f32] {
        &self.by_distance[row(self.longest, head, query)..][..length]
    }
}

/// Where the distances of a query's keys begin, the key 0 first.
fn row(longest: usize, head: usize, query: usize) -> usize {
    head * (2 * longest - 1) + longest - 1 - query
}

/// Lays a table out by distance.
/// # Shapes
/// table `[buckets, heads]`; by_distance becomes `[heads, 2 · longest - 1]`
pub fn lay_out(table: &[f32], heads: usize, scale: f32, longest: usize, by_distance: &mut Vec<f32>) {
    let buckets = table.len() / heads;
    let rows: Vec<usize> = distances(longest).map(|distance| bucket(distance, buckets)).collect();
    by_distance.clear();
    for head in 0..heads {
        by_distance.extend(rows.iter().map(|row| scale * table[row * heads + head]));
    }
}

/// All distances in the order in which they are laid out.
fn distances(longest: usize) -> impl Iterator<Item = isize> {
    let longest = longest as isize;
    1 - longest..longest
}

/// Where the gradient of the bias by distance is added.
#[derive(Debug)]
pub struct RelativeBiasGradients<'a> {
    /// As [`RelativeBias::by_distance`].
    pub by_distance: &'a mut [f32],
    /// The longest sequence.
    pub longest: usize,
}

impl RelativeBiasGradients<'_> {
    /// Adds the gradient of the scores of one query and the keys from `first` on, `[keys]`.
    pub(crate) fn add_query(&mut self, head: usize, query: usize, first: usize, d_scores: &[f32]) {
        let d_row = &mut self.by_distance[row(self.longest, head, query) + first..][..d_scores.len()];
        for (d_bias, d_score) in d_row.iter_mut().zip(d_scores) {
            *d_bias += d_score;
        }
    }
}

/// Adds the gradient of the distances to that of the table, from the first distance to the last.
/// # Shapes
/// d_by_distance `[heads, 2 · longest - 1]`, d_table `[buckets, heads]`
pub fn backward_table(d_by_distance: &[f32], heads: usize, scale: f32, longest: usize, d_table: &mut [f32]) {
    let buckets = d_table.len() / heads;
    for (head, d_distances) in d_by_distance.chunks_exact(2 * longest - 1).enumerate() {
        for (distance, d) in distances(longest).zip(d_distances) {
            d_table[bucket(distance, buckets) * heads + head] += scale * d;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `MPNetEncoder.relative_position_bucket` of `transformers` 4.57.6, with 32 buckets.
    #[test]
    fn buckets_are_those_of_transformers() {
        let expected = [
            (-600, 15),
            (-128, 15),
            (-127, 15),
            (-91, 15),
            (-90, 14),
            (-64, 14),
            (-63, 13),
            (-46, 13),
            (-45, 12),
            (-32, 12),
            (-31, 11),
            (-23, 11),
            (-22, 10),
            (-16, 10),
            (-15, 9),
            (-12, 9),
            (-11, 8),
            (-8, 8),
            (-7, 7),
            (-1, 1),
            (0, 0),
            (1, 17),
            (7, 23),
            (8, 24),
            (11, 24),
            (12, 25),
            (16, 26),
            (22, 26),
            (23, 27),
            (32, 28),
            (64, 30),
            (128, 31),
            (600, 31),
        ];
        for (distance, bucket_of) in expected {
            assert_eq!(bucket(distance, 32), bucket_of, "{distance}");
        }
    }

    #[test]
    fn a_row_of_scores_takes_the_numbers_of_its_distances() {
        // Of four buckets: the distances 0, below 0, none, above 0.
        let (heads, longest) = (2, 3);
        let table = [0.0, 10.0, 1.0, 11.0, 2.0, 12.0, 3.0, 13.0];
        let mut by_distance = Vec::new();
        lay_out(&table, heads, 2.0, longest, &mut by_distance);
        let bias = RelativeBias { by_distance: &by_distance, longest };
        assert_eq!(bias.of_query(0, 0, 3), [0.0, 6.0, 6.0]);
        assert_eq!(bias.of_query(0, 2, 3), [2.0, 2.0, 0.0]);
        assert_eq!(bias.of_query(1, 1, 2), [22.0, 20.0]);

        let mut d_by_distance = vec![0.0; by_distance.len()];
        let mut gradients = RelativeBiasGradients { by_distance: &mut d_by_distance, longest };
        gradients.add_query(0, 0, 0, &[1.0, 10.0, 100.0]);
        gradients.add_query(1, 1, 0, &[1000.0, 10_000.0]);
        let mut d_table = [0.5; 8];
        backward_table(&d_by_distance, heads, 2.0, longest, &mut d_table);
        assert_eq!(d_table, [2.5, 20_000.5, 0.5, 2000.5, 0.5, 0.5, 220.5, 0.5]);
    }
}
