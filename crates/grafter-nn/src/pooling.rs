//! From the hidden states of a sequence to what a head reads: the first token (`[CLS]`), the mean of all tokens, or some
//! tokens each by itself.

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

/// `y[i] = x[places[i]]`
/// # Shapes
/// x `[length, hidden]`, y `[places, hidden]`
/// # Panics
/// If there is no such place.
pub fn picked_forward(x: &[f32], places: &[u32], hidden: usize, y: &mut [f32]) {
    for (y, place) in y.chunks_exact_mut(hidden).zip(places) {
        y.copy_from_slice(&x[*place as usize * hidden..][..hidden]);
    }
}

/// Gradient of [`picked_forward`]: a token gets the sum of `d_y` over the places that are its own, the others nothing.
/// # Shapes
/// d_y `[places, hidden]`, d_x `[length, hidden]` is overwritten
/// # Panics
/// If there is no such place.
pub fn picked_backward(d_y: &[f32], places: &[u32], hidden: usize, d_x: &mut [f32]) {
    d_x.fill(0.0);
    for (d_y, place) in d_y.chunks_exact(hidden).zip(places) {
        for (d_x, d_y) in d_x[*place as usize * hidden..][..hidden].iter_mut().zip(d_y) {
            *d_x += d_y;
        }
    }
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
    fn picked_and_its_gradient() {
        let mut y = [0.0; 6];
        picked_forward(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 0, 2], 2, &mut y);
        assert_eq!(y, [5.0, 6.0, 1.0, 2.0, 5.0, 6.0]);
        let mut d_x = [f32::NAN; 6];
        picked_backward(&[1.0, -2.0, 3.0, 4.0, 0.5, 0.25], &[2, 0, 2], 2, &mut d_x);
        assert_eq!(d_x, [3.0, 4.0, 0.0, 0.0, 1.5, -1.75]);
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
