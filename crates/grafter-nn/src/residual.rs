//! The residual connection (He et al. 2015): `y = x + f(x)`.
//!
//! Why: a layer then learns a correction to what it is given instead of having to reproduce it. The gradient of `y`
//! reaches `x` unchanged beside whatever comes back through `f`, so it does not fade with depth, and a layer that has
//! nothing to add can be silent. Adapters rest on the same idea twice: the module has a skip of its own, so that near
//! zero weights make it the identity, and it sits on the branch `f`, so that the path of the skip stays untouched.
//!
//! Backward needs no code: the gradient of `y` is the gradient of both `x` and `f(x)`. Whoever calls [`add`] copies or
//! adds it.

use crate::simd::vectorised;

/// `y += x`, elementwise.
/// # Panics
/// If the lengths differ.
pub fn add(x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "lengths of a residual connection");
    add_all(x, y);
}

vectorised! {
    fn add_all(x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y += x;
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn adds() {
        let mut y = vec![1.0, 2.0, 3.0];
        super::add(&[0.5, -2.0, 4.0], &mut y);
        assert_eq!(y, [1.5, 0.0, 7.0]);
    }
}
