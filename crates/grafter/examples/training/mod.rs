//! What the examples need beside the operations: seeded random numbers, Adam, and a linear layer that knows where its
//! numbers lie. All numbers of a network are one flat vector, and a layer is a range of it.

#![allow(dead_code, reason = "each example has a part of this file to itself")]

use std::ops::Range;

use grafter::compare::statistics::{mean, standard_deviation};
use grafter_nn::gemm::Start;
use grafter_nn::linear::{self, LinearGradients, LinearWeights};

/// SplitMix64 (Steele, Lea & Flood 2014), so that a seed means the same everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In `0.0..1.0`.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// In `0..bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.uniform() * bound as f64) as usize
    }

    /// Standard normal, by Box and Muller.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// The numbers `0..count` in random order (Fisher and Yates).
    pub fn order(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            order.swap(last, self.below(last + 1));
        }
        order
    }
}

/// All numbers of a network with their gradients, and Adam (Kingma & Ba 2015) with its usual constants.
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    pub values: Vec<f32>,
    pub gradients: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    steps: i32,
}

impl Parameters {
    /// Appends numbers and says where they lie.
    pub fn push(&mut self, values: impl IntoIterator<Item = f32>) -> Range<usize> {
        let start = self.values.len();
        self.values.extend(values);
        self.gradients.resize(self.values.len(), 0.0);
        self.first.resize(self.values.len(), 0.0);
        self.second.resize(self.values.len(), 0.0);
        start..self.values.len()
    }

    /// Moves what lies in `trained` against its gradient; everything else is frozen. All gradients are zero afterwards.
    pub fn step(&mut self, rate: f64, trained: &[Range<usize>]) {
        self.steps += 1;
        let rate = (rate * (1.0 - 0.999f64.powi(self.steps)).sqrt() / (1.0 - 0.9f64.powi(self.steps))) as f32;
        for index in trained.iter().cloned().flatten() {
            let gradient = self.gradients[index];
            self.first[index] = 0.9 * self.first[index] + 0.1 * gradient;
            self.second[index] = 0.999 * self.second[index] + 0.001 * gradient * gradient;
            self.values[index] -= rate * self.first[index] / (self.second[index].sqrt() + 1e-8);
        }
        self.gradients.fill(0.0);
    }

    /// Euclidean norm of the gradients of one range.
    pub fn gradient_norm(&self, range: &Range<usize>) -> f64 {
        self.gradients[range.clone()].iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt()
    }
}

/// A trained linear layer: weight `[outputs, inputs]`, then bias `[outputs]`.
#[derive(Clone, Debug)]
pub struct Linear {
    pub range: Range<usize>,
    pub outputs: usize,
}

impl Linear {
    /// Normal weights with standard deviation `√(gain / inputs)` and biases of zero; He et al. 2015b have a gain of 2.
    pub fn new(
        parameters: &mut Parameters,
        random: &mut Random,
        [inputs, outputs]: [usize; 2],
        gain: f64,
    ) -> Self {
        let std = (gain / inputs as f64).sqrt();
        let weights = (0..inputs * outputs).map(|_| (std * random.normal()) as f32);
        let range = parameters.push(weights.chain(std::iter::repeat_n(0.0, outputs)));
        Self { range, outputs }
    }

    pub fn forward(&self, parameters: &Parameters, x: &[f32], y: &mut [f32]) {
        linear::forward(LinearWeights::split(&parameters.values[self.range.clone()], self.outputs), x, y);
    }

    /// Adds the gradients of weight and bias, and gives that of x.
    pub fn backward(&self, parameters: &mut Parameters, x: &[f32], d_y: &[f32]) -> Vec<f32> {
        let gradients = LinearGradients::split(&mut parameters.gradients[self.range.clone()], self.outputs);
        linear::backward_weights(x, d_y, gradients);
        let weights = LinearWeights::split(&parameters.values[self.range.clone()], self.outputs);
        let mut d_x = vec![0.0; x.len()];
        linear::backward_input(weights.weight, d_y, &mut d_x, self.outputs, Start::Zero);
        d_x
    }
}

/// Mean and standard deviation over the seeds.
pub fn spread(values: &[f64]) -> (f64, f64) {
    (mean(values).expect("there is a seed"), standard_deviation(values).unwrap_or(0.0))
}

/// The smallest and the largest value.
pub fn limits(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(*value), high.max(*value)))
}

/// Whether the gradients are those of `loss`: its central difference along a random direction against their product
/// with that direction.
#[cfg(test)]
pub fn assert_gradients(parameters: &Parameters, mut loss: impl FnMut(&Parameters) -> f64) {
    /// Larger, and the curvature of batch normalisation over two rows shows; smaller, and the rounding of f32 does.
    const STEP: f64 = 1e-4;
    const TOLERANCE: f64 = 2e-3;
    let mut random = Random::new(7);
    let direction: Vec<f64> = (0..parameters.values.len()).map(|_| random.normal()).collect();
    // Along the gradient the product is its norm, and large; a random part reaches what a wrong gradient leaves out.
    let norm = parameters.gradient_norm(&(0..direction.len()));
    let length = direction.iter().map(|d| d * d).sum::<f64>().sqrt();
    let direction: Vec<f64> = (direction.iter().zip(&parameters.gradients))
        .map(|(d, gradient)| d / length + f64::from(*gradient) / norm)
        .collect();
    let mut at = |step: f64| {
        let mut moved = parameters.clone();
        moved.values.iter_mut().zip(&direction).for_each(|(value, d)| *value += (step * d) as f32);
        loss(&moved)
    };
    let numeric = (at(STEP) - at(-STEP)) / (2.0 * STEP);
    let exact: f64 = parameters.gradients.iter().zip(&direction).map(|(g, d)| f64::from(*g) * d).sum();
    assert!((numeric - exact).abs() <= TOLERANCE * exact.abs(), "{numeric} by differences, {exact} computed");
}
