//! Elementwise non-linearities, by the names under which checkpoints and adapters know them.

use crate::scalar;
use crate::simd::vectorised;

/// A non-linearity. The two forms of GELU (Hendrycks & Gimpel 2016) are apart by up to 5e-4, so they are named apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `max(x, 0)`; its derivative at 0 is 0.
    Relu,
    /// `x Φ(x)` with the Gauss error function: `0.5 x (1 + erf(x / √2))`.
    GeluErf,
    /// `0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³)))`, the form of the original BERT code.
    GeluTanh,
    /// `x / (1 + e^-x)`, also called swish.
    Silu,
    /// `tanh x`
    Tanh,
}

impl Activation {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Relu, Self::GeluErf, Self::GeluTanh, Self::Silu, Self::Tanh];

    /// `y = act(x)`
    /// # Shapes
    /// x and y have the same length.
    pub fn forward(self, x: &[f32], y: &mut [f32]) {
        assert_eq!(x.len(), y.len(), "lengths of an activation");
        match self {
            Self::Relu => relu_forward(x, y),
            Self::GeluErf => gelu_erf_forward(x, y),
            Self::GeluTanh => gelu_tanh_forward(x, y),
            Self::Silu => silu_forward(x, y),
            Self::Tanh => tanh_forward(x, y),
        }
    }

    /// `d_x = d_y · act'(x)`, in place: `d` holds d_y before and d_x after.
    /// # Shapes
    /// x and d have the same length; x is what `forward` was given.
    pub fn backward(self, x: &[f32], d: &mut [f32]) {
        assert_eq!(x.len(), d.len(), "lengths of an activation");
        match self {
            Self::Relu => relu_backward(x, d),
            Self::GeluErf => gelu_erf_backward(x, d),
            Self::GeluTanh => gelu_tanh_backward(x, d),
            Self::Silu => silu_backward(x, d),
            Self::Tanh => tanh_backward_of_input(x, d),
        }
    }
}

const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const GELU_CUBIC: f32 = 0.044_715;
const INV_SQRT_2PI: f32 = 0.398_942_3;

vectorised! {
    fn relu_forward(x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = if *x < 0.0 { 0.0 } else { *x };
        }
    }
}

vectorised! {
    fn relu_backward(x: &[f32], d: &mut [f32]) {
        for (d, x) in d.iter_mut().zip(x) {
            *d = if *x > 0.0 { *d } else { 0.0 };
        }
    }
}

vectorised! {
    fn gelu_erf_forward(x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = 0.5 * x * (1.0 + scalar::erf(x * std::f32::consts::FRAC_1_SQRT_2));
        }
    }
}

vectorised! {
    fn gelu_erf_backward(x: &[f32], d: &mut [f32]) {
        for (d, x) in d.iter_mut().zip(x) {
            let cumulative = 0.5 * (1.0 + scalar::erf(x * std::f32::consts::FRAC_1_SQRT_2));
            *d *= cumulative + x * INV_SQRT_2PI * scalar::exp(-0.5 * x * x);
        }
    }
}

vectorised! {
    fn gelu_tanh_forward(x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            let inner = SQRT_2_OVER_PI * (x + GELU_CUBIC * x * x * x);
            *y = 0.5 * x * (1.0 + scalar::tanh(inner));
        }
    }
}

vectorised! {
    fn gelu_tanh_backward(x: &[f32], d: &mut [f32]) {
        for (d, x) in d.iter_mut().zip(x) {
            let t = scalar::tanh(SQRT_2_OVER_PI * (x + GELU_CUBIC * x * x * x));
            let d_inner = SQRT_2_OVER_PI * (1.0 + 3.0 * GELU_CUBIC * x * x);
            *d *= 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * d_inner;
        }
    }
}

vectorised! {
    fn silu_forward(x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = x / (1.0 + scalar::exp(-x));
        }
    }
}

vectorised! {
    fn silu_backward(x: &[f32], d: &mut [f32]) {
        for (d, x) in d.iter_mut().zip(x) {
            let s = 1.0 / (1.0 + scalar::exp(-x));
            *d *= s * (1.0 + x * (1.0 - s));
        }
    }
}

vectorised! {
    fn tanh_forward(x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = scalar::tanh(*x);
        }
    }
}

vectorised! {
    fn tanh_backward_of_input(x: &[f32], d: &mut [f32]) {
        for (d, x) in d.iter_mut().zip(x) {
            let t = scalar::tanh(*x);
            *d *= 1.0 - t * t;
        }
    }
}

vectorised! {
    /// `x = tanh x` in place, for the pooler, whose layer is frozen and is never differentiated by its weights.
    pub fn tanh_in_place(x: &mut [f32]) {
        for x in x.iter_mut() {
            *x = scalar::tanh(*x);
        }
    }
}

/// Backward of [`tanh_in_place`] from its output: `d_x = d_y (1 - y²)`, in place in `d`.
pub fn tanh_backward(y: &[f32], d: &mut [f32]) {
    assert_eq!(y.len(), d.len(), "lengths of an activation");
    for (d, y) in d.iter_mut().zip(y) {
        *d *= 1.0 - y * y;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, assert_close, central_differences, erf_series, weighted_sum, widen};

    /// Elementwise code in f32: a few roundings of values of order one.
    const TOLERANCE: f64 = 2e-6;

    fn exact(activation: Activation, x: f64) -> f64 {
        match activation {
            Activation::Relu => x.max(0.0),
            Activation::GeluErf => 0.5 * x * (1.0 + erf_series(x / 2f64.sqrt())),
            Activation::GeluTanh => {
                0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
            }
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::Tanh => x.tanh(),
        }
    }

    #[test]
    fn forward_equals_f64_and_backward_central_differences() {
        let mut random = Random::new(3);
        let x: Vec<f32> = random.normals(203).iter().map(|value| value * 2.0).collect();
        let d_y = random.normals(203);
        for activation in Activation::ALL {
            let mut y = vec![0.0; x.len()];
            activation.forward(&x, &mut y);
            let expected: Vec<f64> = widen(&x).iter().map(|x| exact(activation, *x)).collect();
            assert_close(&format!("{activation:?}"), &y, &expected, TOLERANCE, TOLERANCE);
            let mut d = d_y.clone();
            activation.backward(&x, &mut d);
            let expected = central_differences(&widen(&x), |x| {
                weighted_sum(&x.iter().map(|x| exact(activation, *x)).collect::<Vec<_>>(), &d_y)
            });
            assert_close(&format!("{activation:?} backward"), &d, &expected, TOLERANCE, TOLERANCE);
        }
    }

    #[test]
    fn nan_goes_through_and_extremes_stay_finite() {
        for activation in Activation::ALL {
            let mut y = [0.0; 3];
            activation.forward(&[f32::NAN, 1e30, -1e30], &mut y);
            assert!(y[0].is_nan(), "{activation:?} hides NaN");
            let expected = if activation == Activation::Tanh { [1.0, -1.0] } else { [1e30, 0.0] };
            assert_eq!(y[1], expected[0], "{activation:?}");
            assert!((y[2] - expected[1]).abs() < 1e-6, "{activation:?} of -1e30 is {}", y[2]);
        }
    }

    #[test]
    fn tanh_in_place_and_backward() {
        let mut random = Random::new(4);
        let x = random.normals(50);
        let d_y = random.normals(50);
        let mut y = x.clone();
        tanh_in_place(&mut y);
        assert_close("tanh", &y, &widen(&x).iter().map(|x| x.tanh()).collect::<Vec<_>>(), TOLERANCE, 0.0);
        let mut d = d_y.clone();
        tanh_backward(&y, &mut d);
        let expected = central_differences(&widen(&x), |x| {
            weighted_sum(&x.iter().map(|x| x.tanh()).collect::<Vec<_>>(), &d_y)
        });
        assert_close("tanh backward", &d, &expected, TOLERANCE, TOLERANCE);
    }
}
