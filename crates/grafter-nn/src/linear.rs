//! Linear layers `y = x · weightᵀ + bias`: frozen ones, which give the gradient of their input and nothing else, and
//! trained ones, which also give those of their weight and bias.
//!
//! Weights are stored `[outputs, inputs]`, row-major, as in PyTorch checkpoints.

use std::sync::OnceLock;

use crate::gemm::{Matrix, MatrixMut, Start, matmul, matmul_packed};
use crate::packed::PackedMatrix;
use crate::quantised::{QuantisedMatrix, matmul_quantised};
use crate::simd::vectorised;

/// How the forward pass of a frozen linear layer reads its weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// As the checkpoint has it.
    #[default]
    F32,
    /// In 8 bits, multiplied with inputs that are quantised row by row ([`crate::quantised`]).
    Int8,
}

/// The weight as the forward pass reads it.
#[derive(Clone, Debug)]
enum ForwardWeight {
    /// `[inputs, outputs]`
    F32(PackedMatrix),
    /// `[outputs, inputs]`
    Int8(QuantisedMatrix),
}

/// A linear layer of the frozen base. It has no gradient of its weight to give: the type says so.
///
/// The weight is laid out for the kernel of the forward pass when the model is read, and a second time for that of the
/// backward pass when there is one: it never changes, and where only answers are asked for, once is enough.
#[derive(Clone, Debug)]
pub struct FrozenLinear {
    forward: ForwardWeight,
    /// `[outputs, inputs]`, of an 8-bit layer the numbers that the quantised ones stand for; see `Self::transposed`.
    backward: OnceLock<PackedMatrix>,
    bias: Vec<f32>,
    inputs: usize,
}

impl FrozenLinear {
    /// # Shapes
    /// weight `[outputs, inputs]`, bias `[outputs]`
    /// # Panics
    /// If the lengths do not fit.
    pub fn new(weight: &[f32], bias: Vec<f32>, inputs: usize, precision: Precision) -> Self {
        let outputs = bias.len();
        let forward = match precision {
            Precision::F32 => {
                ForwardWeight::F32(PackedMatrix::new(Matrix::new(weight, outputs, inputs).transposed()))
            }
            Precision::Int8 => ForwardWeight::Int8(QuantisedMatrix::new(weight, outputs, inputs)),
        };
        Self { forward, backward: OnceLock::new(), bias, inputs }
    }

    /// Length of an input row.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Length of an output row.
    pub fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// The weight as the backward pass reads it, made from that of the forward pass on first use.
    fn transposed(&self) -> &PackedMatrix {
        self.backward.get_or_init(|| match &self.forward {
            ForwardWeight::F32(weight) => weight.transposed(),
            ForwardWeight::Int8(weight) => {
                PackedMatrix::new(Matrix::new(&weight.dequantised(), self.outputs(), self.inputs()))
            }
        })
    }

    /// How many numbers the weight has as the backward pass reads it, whether it was laid out already or not.
    pub fn backward_numbers(&self) -> usize {
        PackedMatrix::numbers_of(self.outputs(), self.inputs())
    }

    /// Lays the weight out for the backward pass, if it is not yet.
    pub fn lay_out_backward(&self) {
        self.transposed();
    }

    /// How many of them are there: all once there was a backward pass, none before.
    pub fn backward_numbers_held(&self) -> usize {
        self.backward.get().map_or(0, |weight| weight.numbers().len())
    }

    /// All f32 numbers as they lie in memory, those of the backward pass included, to be digested.
    pub fn numbers(&self) -> [&[f32]; 3] {
        let forward = match &self.forward {
            ForwardWeight::F32(weight) => weight.numbers(),
            ForwardWeight::Int8(weight) => weight.scales(),
        };
        [forward, self.transposed().numbers(), &self.bias]
    }

    /// All 8-bit numbers as they lie in memory, to be digested; none of an f32 layer.
    pub fn integers(&self) -> &[i8] {
        match &self.forward {
            ForwardWeight::F32(_) => &[],
            ForwardWeight::Int8(weight) => weight.integers(),
        }
    }

    /// The bias `[outputs]`.
    pub fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// The weight `[outputs, inputs]`; of an 8-bit layer the numbers that the quantised ones stand for.
    pub fn weight(&self) -> Vec<f32> {
        match &self.forward {
            ForwardWeight::F32(weight) => weight.columns(),
            ForwardWeight::Int8(weight) => weight.dequantised(),
        }
    }

    /// `y = x · weightᵀ + bias`
    /// # Shapes
    /// x `[tokens, inputs]`, y `[tokens, outputs]`
    pub fn forward(&self, x: &[f32], y: &mut [f32]) {
        self.forward_with_bias(&self.bias, x, y);
    }

    /// [`FrozenLinear::forward`] with a bias that a task brings.
    /// # Shapes
    /// bias `[outputs]`, x `[tokens, inputs]`, y `[tokens, outputs]`
    pub fn forward_with_bias(&self, bias: &[f32], x: &[f32], y: &mut [f32]) {
        match &self.forward {
            ForwardWeight::F32(weight) => {
                let (inputs, outputs) = (self.inputs(), self.outputs());
                let tokens = x.len() / inputs;
                let x = Matrix::new(x, tokens, inputs);
                matmul_packed(MatrixMut::new(y, tokens, outputs), x, weight, Start::Row(bias));
            }
            ForwardWeight::Int8(weight) => matmul_quantised(y, x, weight, bias),
        }
    }

    /// `d_x = start + d_y · weight`
    /// # Shapes
    /// d_y `[tokens, outputs]`, d_x `[tokens, inputs]`
    pub fn backward(&self, d_y: &[f32], d_x: &mut [f32], start: Start<'_>) {
        let (inputs, outputs) = (self.inputs(), self.outputs());
        let tokens = d_y.len() / outputs;
        let d_y = Matrix::new(d_y, tokens, outputs);
        matmul_packed(MatrixMut::new(d_x, tokens, inputs), d_y, self.transposed(), start);
    }
}

/// Weight `[outputs, inputs]` and bias `[outputs]` of a linear layer.
#[derive(Clone, Copy, Debug)]
pub struct LinearWeights<'a> {
    /// `[outputs, inputs]`
    pub weight: &'a [f32],
    /// `[outputs]`
    pub bias: &'a [f32],
}

/// Where the gradients of a trained linear layer are added.
#[derive(Debug)]
pub struct LinearGradients<'a> {
    /// `[outputs, inputs]`
    pub weight: &'a mut [f32],
    /// `[outputs]`
    pub bias: &'a mut [f32],
}

impl<'a> LinearWeights<'a> {
    /// Reads weight and bias from one block, in this order.
    pub fn split(block: &'a [f32], outputs: usize) -> Self {
        let (weight, bias) = block.split_at(block.len() - outputs);
        Self { weight, bias }
    }
}

impl<'a> LinearGradients<'a> {
    /// Gradients of weight and bias in one block, in this order.
    pub fn split(block: &'a mut [f32], outputs: usize) -> Self {
        let (weight, bias) = block.split_at_mut(block.len() - outputs);
        Self { weight, bias }
    }
}

/// `y = x · weightᵀ + bias`
/// # Shapes
/// x `[tokens, inputs]`, y `[tokens, outputs]`
pub fn forward(weights: LinearWeights<'_>, x: &[f32], y: &mut [f32]) {
    let outputs = weights.bias.len();
    let inputs = weights.weight.len() / outputs;
    let tokens = y.len() / outputs;
    let x = Matrix::new(x, tokens, inputs);
    let weight = Matrix::new(weights.weight, outputs, inputs).transposed();
    matmul(MatrixMut::new(y, tokens, outputs), x, weight, Start::Row(weights.bias));
}

/// `d_x = start + d_y · weight`
/// # Shapes
/// weight `[outputs, inputs]`, d_y `[tokens, outputs]`, d_x `[tokens, inputs]`
pub fn backward_input(weight: &[f32], d_y: &[f32], d_x: &mut [f32], outputs: usize, start: Start<'_>) {
    let tokens = d_y.len() / outputs;
    let inputs = weight.len() / outputs;
    let d_y = Matrix::new(d_y, tokens, outputs);
    matmul(MatrixMut::new(d_x, tokens, inputs), d_y, Matrix::new(weight, outputs, inputs), start);
}

/// `d_weight += d_yᵀ · x`, `d_bias += Σ d_y` over the tokens.
/// # Shapes
/// x `[tokens, inputs]`, d_y `[tokens, outputs]`
pub fn backward_weights(x: &[f32], d_y: &[f32], gradients: LinearGradients<'_>) {
    backward_weight(x, d_y, gradients.weight, gradients.bias.len());
    backward_bias(d_y, gradients.bias);
}

/// `d_weight += d_yᵀ · x`
/// # Shapes
/// x `[tokens, inputs]`, d_y `[tokens, outputs]`, d_weight `[outputs, inputs]`
pub fn backward_weight(x: &[f32], d_y: &[f32], d_weight: &mut [f32], outputs: usize) {
    let inputs = d_weight.len() / outputs;
    let tokens = d_y.len() / outputs;
    matmul(
        MatrixMut::new(d_weight, outputs, inputs),
        Matrix::new(d_y, tokens, outputs).transposed(),
        Matrix::new(x, tokens, inputs),
        Start::Result,
    );
}

/// `d_bias += Σ d_y` over the tokens.
/// # Shapes
/// d_y `[tokens, outputs]`, d_bias `[outputs]`
pub fn backward_bias(d_y: &[f32], d_bias: &mut [f32]) {
    add_column_sums(d_y, d_bias);
}

vectorised! {
    fn add_column_sums(rows: &[f32], sums: &mut [f32]) {
        for row in rows.chunks_exact(sums.len()) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, assert_close, central_differences, weighted_sum, widen};

    /// Sums of up to 50 products of values of order one in f32.
    const TOLERANCE: f64 = 1e-5;

    fn exact(weight: &[f64], bias: &[f64], x: &[f64]) -> Vec<f64> {
        let inputs = weight.len() / bias.len();
        x.chunks(inputs)
            .flat_map(|row| {
                bias.iter().enumerate().map(|(output, bias)| {
                    bias + row.iter().zip(&weight[output * inputs..]).map(|(x, w)| x * w).sum::<f64>()
                })
            })
            .collect()
    }

    #[test]
    fn forward_equals_f64_and_backward_central_differences() {
        let mut random = Random::new(6);
        for (tokens, inputs, outputs) in [(1, 5, 3), (4, 7, 1), (6, 50, 17), (2, 1, 4)] {
            let (x, weight, bias) =
                (random.normals(tokens * inputs), random.normals(outputs * inputs), random.normals(outputs));
            let d_y = random.normals(tokens * outputs);
            let (x64, weight64, bias64) = (widen(&x), widen(&weight), widen(&bias));
            let layer = FrozenLinear::new(&weight, bias.clone(), inputs, Precision::F32);
            assert_eq!((layer.inputs(), layer.outputs()), (inputs, outputs));
            let mut y = vec![0.0; tokens * outputs];
            layer.forward(&x, &mut y);
            assert_close("output", &y, &exact(&weight64, &bias64, &x64), TOLERANCE, TOLERANCE);
            assert_eq!((layer.weight(), layer.bias()), (weight.clone(), &bias[..]));
            let mut by_hand = vec![0.0; tokens * outputs];
            forward(LinearWeights { weight: &weight, bias: &bias }, &x, &mut by_hand);
            assert_eq!(by_hand, y, "a trained layer with the same numbers gives the same bits");
            assert!(layer.backward.get().is_none(), "nothing is laid out for a pass that does not come");

            let mut d_x = vec![1.0; tokens * inputs];
            layer.backward(&d_y, &mut d_x, Start::Result);
            let mut expected =
                central_differences(&x64, |x| weighted_sum(&exact(&weight64, &bias64, x), &d_y));
            expected.iter_mut().for_each(|value| *value += 1.0);
            assert_close("d_x", &d_x, &expected, TOLERANCE, TOLERANCE);

            let mut block = vec![0.5; outputs * inputs + outputs];
            backward_weights(&x, &d_y, LinearGradients::split(&mut block, outputs));
            let mut expected =
                central_differences(&weight64, |w| weighted_sum(&exact(w, &bias64, &x64), &d_y));
            expected.extend(central_differences(&bias64, |b| weighted_sum(&exact(&weight64, b, &x64), &d_y)));
            expected.iter_mut().for_each(|value| *value += 0.5);
            assert_close("d_weight, d_bias", &block, &expected, TOLERANCE, TOLERANCE);
        }
    }
    /// The backward pass is that of an f32 layer that holds the numbers which the quantised ones stand for.
    #[test]
    fn an_8_bit_layer_gives_the_gradients_of_what_it_stands_for() {
        let mut random = Random::new(8);
        let (tokens, inputs, outputs) = (6, 50, 37);
        let (weight, bias) = (random.normals(outputs * inputs), random.normals(outputs));
        let quantised = QuantisedMatrix::new(&weight, outputs, inputs).dequantised();
        let int8 = FrozenLinear::new(&weight, bias.clone(), inputs, Precision::Int8);
        let f32 = FrozenLinear::new(&quantised, bias.clone(), inputs, Precision::F32);
        let x = random.normals(tokens * inputs);
        let d_y = random.normals(tokens * outputs);
        let (mut found, mut expected) = (vec![0.0; tokens * inputs], vec![0.0; tokens * inputs]);
        int8.backward(&d_y, &mut found, Start::Zero);
        f32.backward(&d_y, &mut expected, Start::Zero);
        assert!(found == expected, "the same numbers, the same kernel");
        assert_eq!((int8.integers().is_empty(), f32.integers().is_empty()), (false, true));

        // Only the rows of x are rounded: each element by less than one step, a 255th of a range below 8.
        let (mut y, mut exact) = (vec![0.0; tokens * outputs], vec![0.0; tokens * outputs]);
        int8.forward(&x, &mut y);
        f32.forward(&x, &mut exact);
        for (index, (found, expected)) in y.iter().zip(&exact).enumerate() {
            let row = &quantised[index % outputs * inputs..][..inputs];
            let bound = row.iter().map(|weight| weight.abs()).sum::<f32>() * 8.0 / 255.0;
            assert!((found - expected).abs() <= bound, "element {index}: {found}, {expected}");
        }
    }
}
