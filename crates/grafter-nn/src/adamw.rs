//! The elementwise update of AdamW (Kingma & Ba 2014; Loshchilov & Hutter 2017).

use crate::simd::vectorised;

/// The coefficients of an update, the same for all numbers of a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Decay of the mean of the gradients.
    pub beta1: f32,
    /// Decay of the mean of the squared gradients.
    pub beta2: f32,
    /// What the quotient is multiplied by: the learning rate, with the corrections of both means.
    pub step: f32,
    /// Added to the root of the squared gradients, with the correction of their mean.
    pub eps: f32,
    /// The learning rate times the weight decay.
    pub decay: f32,
    /// What the gradients are multiplied by first.
    pub scale: f32,
}

impl Update {
    /// `g = scale · gradient`, `m = β1 m + (1 - β1) g`, `v = β2 v + (1 - β2) g²`, `p -= step · m / (√v + eps) + decay · p`,
    /// elementwise.
    /// # Panics
    /// If the lengths differ.
    pub fn apply(self, gradients: &[f32], means: &mut [f32], squares: &mut [f32], values: &mut [f32]) {
        let numbers = values.len();
        assert_eq!([gradients.len(), means.len(), squares.len()], [numbers; 3], "lengths of an update");
        update(self, gradients, means, squares, values);
    }
}

vectorised! {
    fn update(update: Update, gradients: &[f32], means: &mut [f32], squares: &mut [f32], values: &mut [f32]) {
        let Update { beta1, beta2, step, eps, decay, scale } = update;
        let moments = means.iter_mut().zip(squares);
        for ((value, gradient), (mean, square)) in values.iter_mut().zip(gradients).zip(moments) {
            let gradient = scale * gradient;
            *mean = beta1 * *mean + (1.0 - beta1) * gradient;
            *square = beta2 * *square + (1.0 - beta2) * gradient * gradient;
            *value -= step * *mean / (square.sqrt() + eps) + decay * *value;
        }
    }
}
