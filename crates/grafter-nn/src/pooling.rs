//! From the hidden states of a sequence to one vector: the first token (`[CLS]`) or the mean of all tokens.

/// `y = mean over the tokens of x`
/// # Shapes
/// x `[length, hidden]`, y `[hidden]`
pub fn mean_forward(x: &[f32], y: &mut [f32]) {
    y.fill(0.0);
    let tokens = x.len() / y.len();
    for row in x.chunks_exact(y.len()) {
        for (y, x) in y.iter_mut().zip(row) {
            *y += x;
        }
    }
    let inverse = 1.0 / tokens as f32;
    y.iter_mut().for_each(|y| *y *= inverse);
}

/// Gradient of [`mean_forward`]: every token gets `d_y / length`.
/// # Shapes
/// d_y `[hidden]`, d_x `[length, hidden]` is overwritten
pub fn mean_backward(d_y: &[f32], d_x: &mut [f32]) {
    let inverse = 1.0 / (d_x.len() / d_y.len()) as f32;
    for row in d_x.chunks_exact_mut(d_y.len()) {
        for (d_x, d_y) in row.iter_mut().zip(d_y) {
            *d_x = d_y * inverse;
        }
    }
}

/// `y = x[0]`
/// # Shapes
/// x `[length, hidden]`, y `[hidden]`
pub fn first_forward(x: &[f32], y: &mut [f32]) {
    y.copy_from_slice(&x[..y.len()]);
}

/// Gradient of [`first_forward`]: the first token gets `d_y`, the others nothing.
/// # Shapes
/// d_y `[hidden]`, d_x `[length, hidden]` is overwritten
pub fn first_backward(d_y: &[f32], d_x: &mut [f32]) {
    let (first, rest) = d_x.split_at_mut(d_y.len());
    first.copy_from_slice(d_y);
    rest.fill(0.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_its_gradient() {
        let mut y = [0.0; 2];
        mean_forward(&[1.0, 2.0, 3.0, 4.0, 5.0, 9.0], &mut y);
        assert_eq!(y, [3.0, 5.0]);
        let mut d_x = [f32::NAN; 4];
        mean_backward(&[1.0, -2.0], &mut d_x);
        assert_eq!(d_x, [0.5, -1.0, 0.5, -1.0]);
    }

    #[test]
    fn first_and_its_gradient() {
        let mut y = [0.0; 2];
        first_forward(&[1.0, 2.0, 3.0, 4.0], &mut y);
        assert_eq!(y, [1.0, 2.0]);
        let mut d_x = [f32::NAN; 4];
        first_backward(&[1.0, -2.0], &mut d_x);
        assert_eq!(d_x, [1.0, -2.0, 0.0, 0.0]);
    }
}
