//! A deep classifier of points in the plane: a linear layer to `WIDTH` features, a stack of blocks, a linear head.
//!
//! ```text
//! f(x)  = relu(W · x + b)
//! block = [LayerNorm] ( [x +] [adapter] (f(x)) )        what stands in brackets can be left out
//! ```

#![allow(dead_code, reason = "each example has a part of this file to itself")]

use std::ops::Range;

use grafter_nn::activation::Activation;
use grafter_nn::adapter::{self, AdapterCache, AdapterGradients, AdapterInputs, AdapterWeights};
use grafter_nn::layer_norm::{self, LayerNormCache, LayerNormWeights};
use grafter_nn::{loss, residual};

use crate::training::{Linear, Parameters, Random};

pub const WIDTH: usize = 32;
const BOTTLENECK: usize = 8;
const EPS: f32 = 1e-5;

/// What the blocks consist of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Form {
    pub depth: usize,
    pub skip: bool,
    pub norm: bool,
    /// How the weights of a block begin, see [`Linear::new`].
    pub gain: f64,
}

impl Form {
    /// With the initialisation that suits it. A plain stack keeps the scale of what passes through with a gain of 2 (He et
    /// al. 2015b, equation 10). A residual stack keeps it when its branches begin small, so that all of them together add
    /// about as much as the input (`1/√depth` as in GPT-2, Radford et al. 2019, section 2.3).
    pub fn suited(depth: usize, skip: bool, norm: bool) -> Self {
        Self { depth, skip, norm, gain: if skip { 2.0 / depth as f64 } else { 2.0 } }
    }
}

/// Points `[points, 2]` and the class of each.
pub struct Points {
    pub places: Vec<f32>,
    pub classes: Vec<usize>,
}

/// How a stack is trained.
pub struct Training<'a> {
    /// What moves; everything else is frozen.
    pub trained: &'a [Range<usize>],
    /// The largest learning rate: it rises over the first tenth of the steps and falls to zero at the end.
    pub rate: f64,
    pub steps: usize,
    /// Points in a step.
    pub batch: usize,
}

/// Where the numbers of one block lie.
#[derive(Clone, Debug)]
pub struct Block {
    pub linear: Linear,
    pub norm: Range<usize>,
    /// Empty until [`Stack::graft`].
    pub adapter: Range<usize>,
}

#[derive(Clone, Debug)]
pub struct Stack {
    form: Form,
    pub parameters: Parameters,
    input: Linear,
    pub blocks: Vec<Block>,
    pub head: Linear,
}

/// What the forward pass of one block keeps, all `[points, WIDTH]` but `rstd` and the bottleneck's.
#[derive(Debug)]
struct BlockCache {
    x: Vec<f32>,
    before: Vec<f32>,
    after: Vec<f32>,
    bottleneck: [Vec<f32>; 2],
    normalised: Vec<f32>,
    rstd: Vec<f32>,
}

/// What the forward pass of a stack keeps.
#[derive(Debug)]
pub struct Cache {
    blocks: Vec<BlockCache>,
    /// Output of the last block, `[points, WIDTH]`.
    pub hidden: Vec<f32>,
    /// `[points, 2]`
    pub logits: Vec<f32>,
}

impl Stack {
    pub fn new(form: Form, random: &mut Random) -> Self {
        let mut parameters = Parameters::default();
        let input = Linear::new(&mut parameters, random, [2, WIDTH], 1.0);
        let blocks = (0..form.depth)
            .map(|_| Block {
                linear: Linear::new(&mut parameters, random, [WIDTH, WIDTH], form.gain),
                norm: parameters.push(std::iter::repeat_n(1.0, WIDTH).chain(std::iter::repeat_n(0.0, WIDTH))),
                adapter: 0..0,
            })
            .collect();
        let head = Linear::new(&mut parameters, random, [WIDTH, 2], 1.0);
        Self { form, parameters, input, blocks, head }
    }

    /// Puts an adapter into every block, its weights normal with standard deviation `std`, its biases zero.
    pub fn graft(&mut self, std: f64, random: &mut Random) {
        for block in &mut self.blocks {
            let mut numbers = vec![0.0f32; adapter::parameter_count(WIDTH, BOTTLENECK)];
            let (down, up) = numbers.split_at_mut((WIDTH + 1) * BOTTLENECK);
            let weights = down[..WIDTH * BOTTLENECK].iter_mut().chain(&mut up[..WIDTH * BOTTLENECK]);
            weights.for_each(|weight| *weight = (std * random.normal()) as f32);
            block.adapter = self.parameters.push(numbers);
        }
    }

    fn adapter(&self, block: &Block) -> AdapterWeights<'_> {
        let numbers = &self.parameters.values[block.adapter.clone()];
        AdapterWeights::split(numbers, WIDTH, Activation::GeluErf)
    }

    /// # Shapes
    /// points `[points, 2]`
    pub fn forward(&self, points: &[f32]) -> Cache {
        let count = points.len() / 2;
        let mut hidden = vec![0.0; count * WIDTH];
        self.input.forward(&self.parameters, points, &mut hidden);
        let mut blocks = Vec::with_capacity(self.form.depth);
        for block in &self.blocks {
            let (cache, y) = self.block_forward(block, hidden);
            blocks.push(cache);
            hidden = y;
        }
        let mut logits = vec![0.0; points.len()];
        self.head.forward(&self.parameters, &hidden, &mut logits);
        Cache { blocks, hidden, logits }
    }

    fn block_forward(&self, block: &Block, x: Vec<f32>) -> (BlockCache, Vec<f32>) {
        let count = x.len() / WIDTH;
        let [mut before, mut after] = [vec![0.0; x.len()], vec![0.0; x.len()]];
        block.linear.forward(&self.parameters, &x, &mut before);
        Activation::Relu.forward(&before, &mut after);
        let mut y = after.clone();
        let mut bottleneck = [Vec::new(), Vec::new()];
        if !block.adapter.is_empty() {
            bottleneck = [vec![0.0; count * BOTTLENECK], vec![0.0; count * BOTTLENECK]];
            let [before, activated] = &mut bottleneck;
            adapter::forward(self.adapter(block), &after, AdapterCache { before, after: activated }, &mut y);
        }
        if self.form.skip {
            residual::add(&x, &mut y);
        }
        let [mut normalised, mut rstd] = [Vec::new(), Vec::new()];
        if self.form.norm {
            [normalised, rstd] = [vec![0.0; x.len()], vec![0.0; count]];
            let weights = LayerNormWeights::split(&self.parameters.values[block.norm.clone()]);
            let cache = LayerNormCache { normalised: &mut normalised, rstd: &mut rstd };
            let sum = y.clone();
            layer_norm::forward(weights, EPS, &sum, cache, &mut y);
        }
        (BlockCache { x, before, after, bottleneck, normalised, rstd }, y)
    }

    /// Adds the gradients of the mean cross entropy over the points. Gives that mean and the share of right answers.
    pub fn backward(&mut self, points: &Points, cache: &Cache) -> (f64, f64) {
        let (loss, right, d_logits) = losses(&cache.logits, &points.classes);
        let mut d = self.head.backward(&mut self.parameters, &cache.hidden, &d_logits);
        for (index, cache) in cache.blocks.iter().enumerate().rev() {
            d = self.block_backward(index, cache, d);
        }
        self.input.backward(&mut self.parameters, &points.places, &d);
        (loss, right)
    }

    pub fn train(&mut self, points: &Points, training: &Training<'_>, random: &mut Random) {
        let mut order = Vec::new();
        for step in 0..training.steps {
            if order.len() < training.batch {
                order = random.order(points.classes.len());
            }
            let batch = points.pick(&order.split_off(order.len() - training.batch));
            let cache = self.forward(&batch.places);
            self.backward(&batch, &cache);
            let share = step as f64 / training.steps as f64;
            let rate = training.rate * (10.0 * share + 0.1).min(1.0) * (1.0 - share);
            self.parameters.step(rate, training.trained);
        }
    }

    fn block_backward(&mut self, index: usize, cache: &BlockCache, mut d: Vec<f32>) -> Vec<f32> {
        let block = self.blocks[index].clone();
        if self.form.norm {
            let (d_weight, d_bias) = self.parameters.gradients[block.norm.clone()].split_at_mut(WIDTH);
            layer_norm::backward_weights(&cache.normalised, &d, d_weight, d_bias);
            let weights = LayerNormWeights::split(&self.parameters.values[block.norm.clone()]);
            layer_norm::backward_input(weights.weight, &cache.normalised, &cache.rstd, &mut d);
        }
        let skipped = self.form.skip.then(|| d.clone());
        if !block.adapter.is_empty() {
            let [before, after] = &cache.bottleneck;
            let inputs = AdapterInputs { x: &cache.after, before, after };
            let mut gradients = vec![0.0; block.adapter.len()];
            let mut scratch = vec![0.0; before.len()];
            let split = AdapterGradients::split(&mut gradients, WIDTH);
            adapter::backward(self.adapter(&block), inputs, &mut d, &mut scratch, split);
            residual::add(&gradients, &mut self.parameters.gradients[block.adapter.clone()]);
        }
        Activation::Relu.backward(&cache.before, &mut d);
        let mut d_x = block.linear.backward(&mut self.parameters, &cache.x, &d);
        if let Some(skipped) = skipped {
            residual::add(&skipped, &mut d_x);
        }
        d_x
    }
}

/// Mean cross entropy, share of right answers, and the gradient of the mean.
pub fn losses(logits: &[f32], classes: &[usize]) -> (f64, f64, Vec<f32>) {
    let (mut sum, mut right) = (0.0, 0);
    let mut d_logits = vec![0.0; logits.len()];
    let width = logits.len() / classes.len();
    for ((row, d_row), class) in logits.chunks(width).zip(d_logits.chunks_mut(width)).zip(classes) {
        sum += loss::cross_entropy(row, *class, d_row);
        right +=
            usize::from(row.iter().enumerate().all(|(other, logit)| other == *class || *logit < row[*class]));
        d_row.iter_mut().for_each(|d| *d /= classes.len() as f32);
    }
    let count = classes.len() as f64;
    (sum / count, right as f64 / count, d_logits)
}

impl Points {
    /// Two interleaved spirals of `turns` turns with a little noise; the class is the spiral.
    pub fn spirals(count: usize, turns: f64, random: &mut Random) -> Self {
        let mut places = Vec::with_capacity(2 * count);
        for index in 0..count {
            let along = random.uniform().sqrt();
            let angle = std::f64::consts::TAU * (turns * along + 0.5 * (index % 2) as f64);
            for coordinate in [angle.cos(), angle.sin()] {
                places.push((2.0 * along * coordinate + 0.02 * random.normal()) as f32);
            }
        }
        Self { places, classes: (0..count).map(|index| index % 2).collect() }
    }

    fn pick(&self, indices: &[usize]) -> Self {
        let places = indices.iter().flat_map(|index| &self.places[2 * index..][..2]).copied().collect();
        Self { places, classes: indices.iter().map(|index| self.classes[*index]).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::assert_gradients;

    #[test]
    fn gradients_equal_central_differences() {
        for (skip, norm, grafted) in [
            (false, false, false),
            (false, true, true),
            (true, false, true),
            (true, true, false),
            (true, true, true),
        ] {
            let mut random = Random::new(3);
            let points = Points::spirals(64, 1.5, &mut random);
            let mut stack = Stack::new(Form::suited(3, skip, norm), &mut random);
            if grafted {
                stack.graft(0.3, &mut random);
            }
            let cache = stack.forward(&points.places);
            stack.backward(&points, &cache);
            let mut moved = stack.clone();
            assert_gradients(&stack.parameters, |parameters| {
                moved.parameters.clone_from(parameters);
                losses(&moved.forward(&points.places).logits, &points.classes).0
            });
        }
    }

    #[test]
    fn adapters_of_zeros_change_no_bit() {
        let mut random = Random::new(4);
        let points = Points::spirals(64, 1.5, &mut random);
        let mut stack = Stack::new(Form::suited(3, true, true), &mut random);
        let bare = stack.forward(&points.places).logits;
        stack.graft(0.0, &mut random);
        assert_eq!(stack.forward(&points.places).logits, bare);
    }
}
