//! The gated feed-forward network's inner step (Dauphin et al. 2016; with GELU: GeGLU, Shazeer 2020): `y = act(a) · gate`.
//!
//! One product gives both halves of a row, first what passes through the activation and then the gate, as in ModernBERT's code.
//! The halves are not exchangeable: in other models the gate comes first.

use crate::activation::Activation;
use crate::simd::vectorised;

/// `y = act(a) · gate`, where a row of x is `a` and then `gate`.
/// # Shapes
/// x `[tokens, 2 · width]`, y `[tokens, width]`
/// # Panics
/// If the lengths do not fit.
pub fn forward(activation: Activation, width: usize, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), 2 * y.len(), "lengths of a gated activation");
    for (x, y) in x.chunks_exact(2 * width).zip(y.chunks_exact_mut(width)) {
        let (a, gate) = x.split_at(width);
        activation.forward(a, y);
        multiply(gate, y);
    }
}

/// Gradient of both halves: `d_a = d_y · gate · act'(a)`, `d_gate = d_y · act(a)`.
/// # Shapes
/// x, d_x `[tokens, 2 · width]` (d_x is overwritten), d_y `[tokens, width]`
/// # Panics
/// If the lengths do not fit.
pub fn backward(activation: Activation, width: usize, x: &[f32], d_y: &[f32], d_x: &mut [f32]) {
    assert_eq!(x.len(), 2 * d_y.len(), "lengths of a gated activation");
    assert_eq!(x.len(), d_x.len(), "gradient of a gated activation");
    let rows = x.chunks_exact(2 * width).zip(d_y.chunks_exact(width));
    for ((x, d_y), d_x) in rows.zip(d_x.chunks_exact_mut(2 * width)) {
        let (a, gate) = x.split_at(width);
        let (d_a, d_gate) = d_x.split_at_mut(width);
        d_a.copy_from_slice(d_y);
        multiply(gate, d_a);
        activation.backward(a, d_a);
        activation.forward(a, d_gate);
        multiply(d_y, d_gate);
    }
}

vectorised! {
    /// `y = y · x`, elementwise.
    pub(crate) fn multiply(x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y *= x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, assert_close, central_differences, erf_series, weighted_sum, widen};

    /// An activation and a product in f32.
    const TOLERANCE: f64 = 3e-6;

    fn exact(activation: Activation, width: usize, x: &[f64]) -> Vec<f64> {
        let act = |x: f64| match activation {
            Activation::GeluErf => 0.5 * x * (1.0 + erf_series(x / 2f64.sqrt())),
            Activation::Silu => x / (1.0 + (-x).exp()),
            _ => x.tanh(),
        };
        x.chunks(2 * width).flat_map(|row| (0..width).map(|i| act(row[i]) * row[width + i])).collect()
    }

    #[test]
    fn forward_equals_f64_and_backward_central_differences() {
        let mut random = Random::new(14);
        for (activation, tokens, width) in [
            (Activation::GeluErf, 1, 5),
            (Activation::GeluErf, 3, 33),
            (Activation::Silu, 4, 1),
            (Activation::Tanh, 2, 17),
        ] {
            let x = random.normals(tokens * 2 * width);
            let d_y = random.normals(tokens * width);
            let mut y = vec![0.0; tokens * width];
            forward(activation, width, &x, &mut y);
            assert_close("output", &y, &exact(activation, width, &widen(&x)), TOLERANCE, TOLERANCE);
            let mut d_x = vec![f32::NAN; x.len()];
            backward(activation, width, &x, &d_y, &mut d_x);
            let expected =
                central_differences(&widen(&x), |x| weighted_sum(&exact(activation, width, x), &d_y));
            assert_close("d_x", &d_x, &expected, TOLERANCE, TOLERANCE);
        }
    }

    #[test]
    fn a_row_depends_on_itself_alone() {
        let mut random = Random::new(15);
        let (tokens, width) = (5, 19);
        let x = random.normals(tokens * 2 * width);
        let mut whole = vec![0.0; tokens * width];
        forward(Activation::GeluErf, width, &x, &mut whole);
        for (row, expected) in x.chunks(2 * width).zip(whole.chunks(width)) {
            let mut alone = vec![0.0; width];
            forward(Activation::GeluErf, width, row, &mut alone);
            assert_eq!(alone, expected);
        }
    }

    #[test]
    fn nan_goes_through_either_half() {
        let mut y = [0.0; 3];
        forward(Activation::GeluErf, 3, &[f32::NAN, 1.0, 1.0, 1.0, f32::NAN, 1.0], &mut y);
        assert_eq!(y.map(f32::is_nan), [true, true, false]);
    }
}
