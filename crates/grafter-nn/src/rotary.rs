//! Rotary position embedding (Su et al. 2021, section 3.2.2): queries and keys are turned by angles that grow with their
//! position, so that a score depends on how far a key lies from its query.
//!
//! A head's features `i` and `i + head_dim / 2` are one plane, as in GPT-NeoX and the models of `transformers`; the paper pairs
//! neighbours, which is another order of the same features. At position `p` the plane is turned by `p · theta^(-2i / head_dim)`.
//! The angles of a pass are laid out before it.

use crate::simd::vectorised;

/// Cosines and sines by position.
#[derive(Clone, Copy, Debug)]
pub struct Rotary<'a> {
    /// `[positions, head_dim]`: of each position the cosines of its planes, then their sines.
    pub by_position: &'a [f32],
    /// Features of one head, an even number.
    pub head_dim: usize,
}

/// Lays out the angles of the positions `0..longest`.
///
/// The angles themselves are rounded to f32, as `transformers` computes them, since models were trained with these. Their
/// cosines and sines are taken in f64 and rounded, so that they hardly depend on the system's functions.
/// # Shapes
/// by_position becomes `[longest, head_dim]`
pub fn lay_out(theta: f32, head_dim: usize, longest: usize, by_position: &mut Vec<f32>) {
    let planes = (0..head_dim).step_by(2);
    let frequencies: Vec<f32> = planes
        .map(|index| {
            let exponent = index as f32 / head_dim as f32;
            let power = f64::from(theta).powf(f64::from(exponent)) as f32;
            1.0 / power
        })
        .collect();
    by_position.clear();
    for position in 0..longest {
        let angles = || frequencies.iter().map(|frequency| f64::from(position as f32 * frequency));
        by_position.extend(angles().map(|angle| angle.cos() as f32));
        by_position.extend(angles().map(|angle| angle.sin() as f32));
    }
}

/// Turns queries and keys of one sequence in place, each head by the angles of its position:
/// `a = a cos - b sin`, `b = b cos + a sin` for the features `a`, `b` of a plane.
/// # Shapes
/// qkv `[length, 3 · hidden]` (queries, keys, values side by side)
/// # Panics
/// If the sequence has more positions than are laid out.
pub fn forward_sequence(rotary: Rotary<'_>, hidden: usize, qkv: &mut [f32]) {
    check(rotary, hidden, qkv);
    turn(rotary.by_position, rotary.head_dim, hidden, 1.0, qkv);
}

/// From the gradient of the turned queries and keys that of those before, in place: they are turned back.
/// # Shapes
/// d_qkv as in [`forward_sequence`]
/// # Panics
/// As [`forward_sequence`].
pub fn backward_sequence(rotary: Rotary<'_>, hidden: usize, d_qkv: &mut [f32]) {
    check(rotary, hidden, d_qkv);
    turn(rotary.by_position, rotary.head_dim, hidden, -1.0, d_qkv);
}

fn check(rotary: Rotary<'_>, hidden: usize, qkv: &[f32]) {
    let head_dim = rotary.head_dim;
    assert!(head_dim.is_multiple_of(2) && hidden.is_multiple_of(head_dim), "rotary: {hidden} by {head_dim}");
    let length = qkv.len() / (3 * hidden);
    assert!(length * head_dim <= rotary.by_position.len(), "rotary: {length} positions");
}

vectorised! {
    fn turn(by_position: &[f32], head_dim: usize, hidden: usize, direction: f32, qkv: &mut [f32]) {
        let half = head_dim / 2;
        for (token, position) in qkv.chunks_exact_mut(3 * hidden).zip(by_position.chunks_exact(head_dim)) {
            let (cosines, sines) = position.split_at(half);
            let sines = &sines[..half];
            for head in token[..2 * hidden].chunks_exact_mut(head_dim) {
                let (first, second) = head.split_at_mut(half);
                let second = &mut second[..half];
                for index in 0..half {
                    let (a, b) = (first[index], second[index]);
                    let (cosine, sine) = (cosines[index], direction * sines[index]);
                    first[index] = a * cosine - b * sine;
                    second[index] = b * cosine + a * sine;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, assert_close, central_differences, weighted_sum, widen};

    /// Two products and their sum; the angle of position 17 is rounded to f32.
    const TOLERANCE: f64 = 3e-6;

    fn exact(theta: f64, head_dim: usize, hidden: usize, qkv: &[f64]) -> Vec<f64> {
        let mut turned = qkv.to_vec();
        for (position, token) in turned.chunks_mut(3 * hidden).enumerate() {
            for head in token[..2 * hidden].chunks_mut(head_dim) {
                for index in 0..head_dim / 2 {
                    let angle = position as f64 * theta.powf(-2.0 * index as f64 / head_dim as f64);
                    let (a, b) = (head[index], head[index + head_dim / 2]);
                    head[index] = a * angle.cos() - b * angle.sin();
                    head[index + head_dim / 2] = a * angle.sin() + b * angle.cos();
                }
            }
        }
        turned
    }

    #[test]
    fn forward_equals_f64_and_backward_central_differences() {
        let mut random = Random::new(12);
        for (theta, length, heads, head_dim) in
            [(10_000.0, 1, 2, 4), (160_000.0, 18, 3, 6), (50.0, 7, 1, 2), (10_000.0, 5, 2, 34)]
        {
            let hidden = heads * head_dim;
            let qkv = random.normals(length * 3 * hidden);
            let d_turned = random.normals(qkv.len());
            let mut by_position = vec![f32::NAN];
            // More positions than the sequence has change nothing.
            lay_out(theta, head_dim, length + 3, &mut by_position);
            let rotary = Rotary { by_position: &by_position, head_dim };
            let function = |qkv: &[f64]| exact(f64::from(theta), head_dim, hidden, qkv);
            let mut turned = qkv.clone();
            forward_sequence(rotary, hidden, &mut turned);
            assert_close("turned", &turned, &function(&widen(&qkv)), TOLERANCE, TOLERANCE);
            let mut d_qkv = d_turned.clone();
            backward_sequence(rotary, hidden, &mut d_qkv);
            let expected = central_differences(&widen(&qkv), |qkv| weighted_sum(&function(qkv), &d_turned));
            assert_close("d_qkv", &d_qkv, &expected, TOLERANCE, TOLERANCE);
            // The first position and the values stay as they are.
            assert_eq!(turned[..3 * hidden], qkv[..3 * hidden]);
            for (turned, qkv) in turned.chunks(3 * hidden).zip(qkv.chunks(3 * hidden)) {
                assert_eq!(turned[2 * hidden..], qkv[2 * hidden..]);
            }
        }
    }

    /// What it is for: the score of a turned query and a turned key is that of the distance between them.
    #[test]
    fn scores_depend_on_the_distance_alone() {
        let (head_dim, length) = (8, 40);
        let mut random = Random::new(13);
        let token = random.normals(3 * head_dim);
        let mut qkv = token.repeat(length);
        let mut by_position = Vec::new();
        lay_out(10_000.0, head_dim, length, &mut by_position);
        forward_sequence(Rotary { by_position: &by_position, head_dim }, head_dim, &mut qkv);
        let part = |position: usize, part: usize| &qkv[(3 * position + part) * head_dim..][..head_dim];
        let score = |query: usize, key: usize| -> f32 {
            part(query, 0).iter().zip(part(key, 1)).map(|(q, k)| q * k).sum()
        };
        for (query, key) in [(3, 0), (10, 12), (5, 39)] {
            let moved = if key > query { (0, key - query) } else { (query - key, 0) };
            let (here, there) = (score(query, key), score(moved.0, moved.1));
            assert!((here - there).abs() < 1e-4, "{query} and {key}: {here}, {there}");
        }
        assert!((score(0, 0) - score(0, 5)).abs() > 1e-2, "and it does depend on it");
    }

    #[test]
    #[should_panic(expected = "rotary: 3 positions")]
    fn refuses_positions_that_are_not_laid_out() {
        forward_sequence(Rotary { by_position: &[1.0; 4], head_dim: 2 }, 2, &mut [0.0; 18]);
    }

    #[test]
    fn nan_stays_in_its_plane() {
        let mut qkv = [1.0; 12];
        qkv[0] = f32::NAN;
        let mut by_position = Vec::new();
        lay_out(10_000.0, 4, 1, &mut by_position);
        forward_sequence(Rotary { by_position: &by_position, head_dim: 4 }, 4, &mut qkv);
        let found: Vec<usize> = (0..12).filter(|index| qkv[*index].is_nan()).collect();
        assert_eq!(found, [0, 2]);
    }
}
