//! Losses of one row, with their gradients, and the softmax of its logits. Sums run in f64, since a row has few outputs and the cost is nothing.

/// Cross entropy `-log softmax(logits)[class]` and its gradient `softmax(logits) - onehot(class)`.
/// # Shapes
/// logits, d_logits `[classes]`
/// # Panics
/// If `class` is not below the number of logits.
pub fn cross_entropy(logits: &[f32], class: usize, d_logits: &mut [f32]) -> f64 {
    let softmax = Softmax::of(logits);
    for (d, logit) in d_logits.iter_mut().zip(logits) {
        *d = softmax.probability(*logit) as f32;
    }
    d_logits[class] -= 1.0;
    softmax.total.ln() - softmax.shifted(logits[class])
}

/// What the logits of a row have in common in their softmax.
struct Softmax {
    /// Taken off each logit, so that nothing overflows.
    largest: f64,
    /// `Σ exp(logit - largest)`
    total: f64,
}

impl Softmax {
    fn of(logits: &[f32]) -> Self {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut softmax = Self { largest: f64::from(largest), total: 0.0 };
        softmax.total = logits.iter().map(|logit| softmax.shifted(*logit).exp()).sum();
        softmax
    }

    fn shifted(&self, logit: f32) -> f64 {
        f64::from(logit) - self.largest
    }

    fn probability(&self, logit: f32) -> f64 {
        self.shifted(logit).exp() / self.total
    }
}

/// `softmax(logits)`
/// # Shapes
/// logits `[classes]`
pub fn softmax(logits: &[f32]) -> Vec<f64> {
    let softmax = Softmax::of(logits);
    logits.iter().map(|logit| softmax.probability(*logit)).collect()
}

/// Mean over the labels of the binary cross entropy, `-log σ(logit)` where the row has the label and `-log (1 - σ(logit))` where it
/// has not, and its gradient `(σ(logit) - has) / labels`.
/// # Shapes
/// logits, d_logits `[labels]`; `has` lists the labels of the row in ascending order
pub fn binary_cross_entropy(logits: &[f32], has: &[usize], d_logits: &mut [f32]) -> f64 {
    let labels = logits.len() as f64;
    let mut loss = 0.0;
    for (label, (logit, d)) in logits.iter().zip(d_logits).enumerate() {
        let target = if has.binary_search(&label).is_ok() { 1.0 } else { 0.0 };
        let logit_64 = f64::from(*logit);
        // `log (1 + e^x) - target · x`, in a form that does not overflow.
        loss += logit_64.max(0.0) - target * logit_64 + (-logit_64.abs()).exp().ln_1p();
        *d = ((sigmoid(*logit) - target) / labels) as f32;
    }
    loss / labels
}

/// `σ(x) = 1 / (1 + e^-x)`
pub fn sigmoid(logit: f32) -> f64 {
    1.0 / (1.0 + (-f64::from(logit)).exp())
}

/// Squared error `(output - target)²` and its gradient `2 (output - target)`.
pub fn squared_error(output: f32, target: f32, d_output: &mut f32) -> f64 {
    let difference = f64::from(output) - f64::from(target);
    *d_output = (2.0 * difference) as f32;
    difference * difference
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, assert_close, central_differences, widen};

    #[test]
    fn cross_entropy_and_its_gradient() {
        let logits = Random::new(10).normals(5);
        let exact = |logits: &[f64]| logits.iter().map(|l| l.exp()).sum::<f64>().ln() - logits[3];
        let mut d = vec![0.0; 5];
        let loss = cross_entropy(&logits, 3, &mut d);
        assert!((loss - exact(&widen(&logits))).abs() < 1e-12);
        assert_close("d_logits", &d, &central_differences(&widen(&logits), exact), 1e-6, 0.0);
    }

    #[test]
    fn binary_cross_entropy_and_its_gradient() {
        let logits = Random::new(11).normals(5);
        let has = [0, 3];
        let exact = |logits: &[f64]| {
            let sum: f64 = (0..5)
                .map(|label| {
                    let sigmoid = 1.0 / (1.0 + (-logits[label]).exp());
                    -(if has.contains(&label) { sigmoid } else { 1.0 - sigmoid }).ln()
                })
                .sum();
            sum / 5.0
        };
        let mut d = vec![0.0; 5];
        let loss = binary_cross_entropy(&logits, &has, &mut d);
        assert!((loss - exact(&widen(&logits))).abs() < 1e-12);
        assert_close("d_logits", &d, &central_differences(&widen(&logits), exact), 1e-6, 0.0);
        assert_eq!(binary_cross_entropy(&[1e30, -1e30], &[0], &mut d[..2]), 0.0);
        assert!(binary_cross_entropy(&[1e30, -1e30], &[1], &mut d[..2]).is_finite());
        assert!(binary_cross_entropy(&[f32::NAN, 0.0], &[1], &mut d[..2]).is_nan());
        assert_eq!((sigmoid(0.0), sigmoid(-1e30), sigmoid(1e30)), (0.5, 0.0, 1.0));
    }

    #[test]
    fn cross_entropy_of_extremes_is_finite_and_of_nan_is_nan() {
        let mut d = [0.0; 2];
        assert_eq!(cross_entropy(&[1e30, -1e30], 0, &mut d), 0.0);
        assert!(cross_entropy(&[1e30, -1e30], 1, &mut d).is_finite());
        assert!(cross_entropy(&[f32::NAN, 0.0], 1, &mut d).is_nan());
    }

    #[test]
    fn squared_error_and_its_gradient() {
        let mut d = 0.0;
        assert_eq!(squared_error(3.0, 1.5, &mut d), 2.25);
        assert_eq!(d, 3.0);
    }
}
