//! Layer normalisation (Ba, Kiros & Hinton 2016) against batch normalisation (Ioffe & Szegedy 2015) by batch size and by length.
//!
//!     cargo run --release -p grafter --example layer_norm -- --figures docs/figures
//!
//! A small recurrent network, the case for which layer normalisation was made, reads sequences of 8 to 24 tokens
//! and names the last of four markers that it saw among other tokens:
//!
//! ```text
//! h[t] = tanh(norm(W · [h[t-1]; token[t]] + b))        logits = head(h[last])
//! ```
//!
//! `norm` is one of the two. Batch normalisation takes mean and variance of a feature over the sequences of the batch
//! that have a token `t`, a pair for each `t` (Cooijmans et al. 2017, section 3), and keeps running means of both for
//! the time when there is no batch. Padding is in none of its sums.

mod figures;
mod training;

use std::error::Error;
use std::ops::Range;

use grafter::report::chart::{Axis, Plot, Point};
use grafter_nn::activation::{tanh_backward, tanh_in_place};
use grafter_nn::layer_norm::{self, LayerNormCache, LayerNormWeights};
use grafter_nn::loss;

use figures::series;
use training::{Linear, Parameters, Random, spread};

const HIDDEN: usize = 32;
const MARKERS: usize = 4;
/// The markers and as many tokens that mean nothing.
const TOKENS: usize = 8;
/// Share of the tokens that are markers, beside the first, which always is.
const MARKER_SHARE: f64 = 0.25;
const INPUTS: usize = HIDDEN + TOKENS;
const LENGTHS: Range<usize> = 8..25;
const EPS: f32 = 1e-5;
/// Share of a new batch in the running statistics, as in PyTorch.
const MOMENTUM: f32 = 0.1;
const RATE: f64 = 3e-3;
/// What scales begin with: 1 lets tanh saturate under batch normalisation (Cooijmans et al. 2017, section 4).
const FIRST_SCALE: f32 = 0.1;
/// Steps of every run, each on new sequences.
const STEPS: usize = 2000;
/// Sequences in a test.
const TESTED: usize = 512;
const SEEDS: u64 = 5;
const TEST_SEED: u64 = 1000;
const BATCHES: [usize; 6] = [1, 2, 4, 8, 16, 32];
const TEST_LENGTHS: [usize; 7] = [4, 8, 16, 24, 32, 64, 128];

/// Tokens of one sequence; the answer is the last of them below [`MARKERS`].
type Sequence = Vec<usize>;

fn sequence(length: usize, random: &mut Random) -> Sequence {
    let token = |index, random: &mut Random| {
        let marker = index == 0 || random.uniform() < MARKER_SHARE;
        random.below(MARKERS) + if marker { 0 } else { MARKERS }
    };
    (0..length).map(|index| token(index, random)).collect()
}

fn answer(sequence: &Sequence) -> usize {
    sequence.iter().copied().rfind(|token| *token < MARKERS).expect("the first token is a marker")
}

/// Sequences in descending order of their lengths, so that those with a token `t` are the first ones.
fn batch(count: usize, lengths: Range<usize>, random: &mut Random) -> Vec<Sequence> {
    let mut batch: Vec<_> =
        (0..count).map(|_| sequence(lengths.start + random.below(lengths.len()), random)).collect();
    batch.sort_by_key(|sequence| std::cmp::Reverse(sequence.len()));
    batch
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Norm {
    Layer,
    Batch,
}

/// Where batch normalisation takes its mean and variance from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Statistics {
    /// The batch, and the running ones learn from it.
    Training,
    /// The batch.
    Batch,
    /// What training kept.
    Running,
}

/// Running mean and variance of each time step, `[HIDDEN]` each. It is no part of grafter: no operation there looks
/// at a batch.
#[derive(Clone, Default)]
struct BatchNorm {
    running: Vec<[Vec<f32>; 2]>,
}

impl BatchNorm {
    /// `y = weight · (x - mean) / √(var + eps) + bias`; gives `1 / √(var + eps)`, `[HIDDEN]`.
    ///
    /// A step that training never reached uses the statistics of the last one.
    fn forward(&mut self, x: &[f32], statistics: (Statistics, usize), normalised: &mut [f32]) -> Vec<f32> {
        let (statistics, time) = statistics;
        let [mean, variance] = match statistics {
            Statistics::Training | Statistics::Batch => moments(x),
            Statistics::Running => self.running[time.min(self.running.len() - 1)].clone(),
        };
        if statistics == Statistics::Training {
            self.learn(time, x.len() / HIDDEN, [&mean, &variance]);
        }
        let rstd: Vec<f32> = variance.iter().map(|variance| 1.0 / (variance + EPS).sqrt()).collect();
        for (normalised, x) in normalised.chunks_mut(HIDDEN).zip(x.chunks(HIDDEN)) {
            for feature in 0..HIDDEN {
                normalised[feature] = (x[feature] - mean[feature]) * rstd[feature];
            }
        }
        rstd
    }

    /// One row has no variance, so the running one does not learn from it.
    fn learn(&mut self, time: usize, rows: usize, [mean, variance]: [&[f32]; 2]) {
        if self.running.len() == time {
            self.running.push([vec![0.0; HIDDEN], vec![1.0; HIDDEN]]);
        }
        let [running_mean, running_variance] = &mut self.running[time];
        for feature in 0..HIDDEN {
            running_mean[feature] += MOMENTUM * (mean[feature] - running_mean[feature]);
            if rows > 1 {
                let unbiased = variance[feature] * rows as f32 / (rows - 1) as f32;
                running_variance[feature] += MOMENTUM * (unbiased - running_variance[feature]);
            }
        }
    }

    /// As that of layer normalisation, with means over the rows: Ioffe & Szegedy 2015, section 3.
    fn backward_input(weight: &[f32], normalised: &[f32], rstd: &[f32], d: &mut [f32]) {
        let rows = (d.len() / HIDDEN) as f32;
        let [mut mean, mut along] = [[0.0; HIDDEN]; 2];
        for (d, normalised) in d.chunks(HIDDEN).zip(normalised.chunks(HIDDEN)) {
            for feature in 0..HIDDEN {
                mean[feature] += d[feature] / rows;
                along[feature] += d[feature] * normalised[feature] / rows;
            }
        }
        for (d, normalised) in d.chunks_mut(HIDDEN).zip(normalised.chunks(HIDDEN)) {
            for feature in 0..HIDDEN {
                let centred = d[feature] - mean[feature] - normalised[feature] * along[feature];
                d[feature] = weight[feature] * rstd[feature] * centred;
            }
        }
    }
}

/// Mean and variance of each feature over the rows.
fn moments(x: &[f32]) -> [Vec<f32>; 2] {
    let rows = (x.len() / HIDDEN) as f32;
    let [mut mean, mut variance] = [vec![0.0; HIDDEN], vec![0.0; HIDDEN]];
    for row in x.chunks(HIDDEN) {
        (0..HIDDEN).for_each(|feature| mean[feature] += row[feature] / rows);
    }
    for row in x.chunks(HIDDEN) {
        (0..HIDDEN).for_each(|feature| variance[feature] += (row[feature] - mean[feature]).powi(2) / rows);
    }
    [mean, variance]
}

#[derive(Clone)]
struct Network {
    norm: Norm,
    parameters: Parameters,
    recurrent: Linear,
    /// Scale and shift, `[HIDDEN]` each.
    scales: Range<usize>,
    head: Linear,
    batch_norm: BatchNorm,
}

/// What the forward pass keeps.
struct Cache {
    steps: Vec<Step>,
    /// The last hidden state of each sequence, `[sequences, HIDDEN]`.
    last: Vec<f32>,
    /// `[sequences, MARKERS]`
    logits: Vec<f32>,
}

/// What is kept of one time step, for the sequences that have it.
struct Step {
    /// `[rows, INPUTS]`
    input: Vec<f32>,
    /// `[rows, HIDDEN]`
    normalised: Vec<f32>,
    /// `[rows]` of layer, `[HIDDEN]` of batch normalisation.
    rstd: Vec<f32>,
    /// `[rows, HIDDEN]`
    hidden: Vec<f32>,
}

impl Network {
    fn new(norm: Norm, random: &mut Random) -> Self {
        let mut parameters = Parameters::default();
        let recurrent = Linear::new(&mut parameters, random, [INPUTS, HIDDEN], 1.0);
        let scales = std::iter::repeat_n(FIRST_SCALE, HIDDEN).chain(std::iter::repeat_n(0.0, HIDDEN));
        let scales = parameters.push(scales);
        let head = Linear::new(&mut parameters, random, [HIDDEN, MARKERS], 1.0);
        Self { norm, parameters, recurrent, scales, head, batch_norm: BatchNorm::default() }
    }

    /// The batch is in descending order of lengths.
    fn forward(&mut self, batch: &[Sequence], statistics: Statistics) -> Cache {
        let mut steps: Vec<Step> = Vec::new();
        let mut last = vec![0.0; batch.len() * HIDDEN];
        for time in 0..batch[0].len() {
            let rows = batch.iter().take_while(|sequence| sequence.len() > time).count();
            let mut input = vec![0.0; rows * INPUTS];
            for (row, input) in input.chunks_mut(INPUTS).enumerate() {
                if let Some(step) = steps.last() {
                    input[..HIDDEN].copy_from_slice(&step.hidden[row * HIDDEN..][..HIDDEN]);
                }
                input[HIDDEN + batch[row][time]] = 1.0;
            }
            let step = self.step(input, (statistics, time));
            last[..rows * HIDDEN].copy_from_slice(&step.hidden);
            steps.push(step);
        }
        let mut logits = vec![0.0; batch.len() * MARKERS];
        self.head.forward(&self.parameters, &last, &mut logits);
        Cache { steps, last, logits }
    }

    fn step(&mut self, input: Vec<f32>, statistics: (Statistics, usize)) -> Step {
        let rows = input.len() / INPUTS;
        let [mut x, mut normalised, mut hidden] = [(); 3].map(|()| vec![0.0; rows * HIDDEN]);
        self.recurrent.forward(&self.parameters, &input, &mut x);
        let weights = LayerNormWeights::split(&self.parameters.values[self.scales.clone()]);
        let rstd = match self.norm {
            Norm::Layer => {
                let mut rstd = vec![0.0; rows];
                let cache = LayerNormCache { normalised: &mut normalised, rstd: &mut rstd };
                layer_norm::forward(weights, EPS, &x, cache, &mut hidden);
                rstd
            }
            Norm::Batch => {
                let rstd = self.batch_norm.forward(&x, statistics, &mut normalised);
                for (hidden, normalised) in hidden.chunks_mut(HIDDEN).zip(normalised.chunks(HIDDEN)) {
                    for feature in 0..HIDDEN {
                        hidden[feature] =
                            weights.weight[feature] * normalised[feature] + weights.bias[feature];
                    }
                }
                rstd
            }
        };
        tanh_in_place(&mut hidden);
        Step { input, normalised, rstd, hidden }
    }

    /// Adds the gradients of the mean cross entropy over the sequences, and gives that mean.
    fn backward(&mut self, batch: &[Sequence], cache: &Cache) -> f64 {
        let mut loss = 0.0;
        let mut d_logits = vec![0.0; cache.logits.len()];
        let rows = cache.logits.chunks(MARKERS).zip(d_logits.chunks_mut(MARKERS));
        for ((row, d_row), sequence) in rows.zip(batch) {
            loss += loss::cross_entropy(row, answer(sequence), d_row) / batch.len() as f64;
            d_row.iter_mut().for_each(|d| *d /= batch.len() as f32);
        }
        let d_last = self.head.backward(&mut self.parameters, &cache.last, &d_logits);
        let mut d_hidden: Vec<f32> = Vec::new();
        for step in cache.steps.iter().rev() {
            // A sequence that ends here gets its gradient from the head, a longer one from the next step.
            let mut d = d_last[..step.hidden.len()].to_vec();
            d[..d_hidden.len()].copy_from_slice(&d_hidden);
            tanh_backward(&step.hidden, &mut d);
            let (d_weight, d_bias) = self.parameters.gradients[self.scales.clone()].split_at_mut(HIDDEN);
            layer_norm::backward_weights(&step.normalised, &d, d_weight, d_bias);
            let weight = LayerNormWeights::split(&self.parameters.values[self.scales.clone()]).weight;
            match self.norm {
                Norm::Layer => layer_norm::backward_input(weight, &step.normalised, &step.rstd, &mut d),
                Norm::Batch => BatchNorm::backward_input(weight, &step.normalised, &step.rstd, &mut d),
            }
            let d_input = self.recurrent.backward(&mut self.parameters, &step.input, &d);
            d_hidden = d_input.chunks(INPUTS).flat_map(|row| &row[..HIDDEN]).copied().collect();
        }
        loss
    }

    fn trained(norm: Norm, batch_size: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut network = Self::new(norm, &mut random);
        let everything = 0..network.parameters.values.len();
        for step in 0..STEPS {
            let batch = batch(batch_size, LENGTHS, &mut random);
            let cache = network.forward(&batch, Statistics::Training);
            network.backward(&batch, &cache);
            let share = step as f64 / STEPS as f64;
            let rate = RATE * (10.0 * share + 0.1).min(1.0) * (1.0 - share);
            network.parameters.step(rate, std::slice::from_ref(&everything));
        }
        network
    }

    /// Percentage of right answers on sequences that are the same for every network.
    fn accuracy(&mut self, batch_size: usize, lengths: Range<usize>, statistics: Statistics) -> f64 {
        let mut random = Random::new(TEST_SEED);
        let mut right = 0;
        for _ in 0..TESTED / batch_size {
            let batch = batch(batch_size, lengths.clone(), &mut random);
            let logits = self.forward(&batch, statistics).logits;
            for (row, sequence) in logits.chunks(MARKERS).zip(&batch) {
                let class = answer(sequence);
                right += usize::from((0..MARKERS).all(|other| other == class || row[other] < row[class]));
            }
        }
        100.0 * right as f64 / TESTED as f64
    }

    /// The largest difference between the logits of a sequence alone and the same among others.
    fn difference_in_a_batch(&mut self, statistics: Statistics) -> f32 {
        let batch = batch(32, LENGTHS, &mut Random::new(TEST_SEED));
        let together = self.forward(&batch, statistics).logits;
        let alone = batch.iter().flat_map(|row| self.forward(std::slice::from_ref(row), statistics).logits);
        let differences: Vec<f32> =
            alone.zip(together).map(|(alone, together)| (alone - together).abs()).collect();
        differences.into_iter().fold(0.0, f32::max)
    }
}

/// A norm with what it is tested with.
const KINDS: [(&str, Norm, Statistics); 3] = [
    ("LayerNorm", Norm::Layer, Statistics::Batch),
    ("BatchNorm, running statistics", Norm::Batch, Statistics::Running),
    ("BatchNorm, statistics of the test's batch", Norm::Batch, Statistics::Batch),
];

fn main() -> Result<(), Box<dyn Error>> {
    let folder = figures::folder()?;
    let train =
        |norm| BATCHES.map(|size| Vec::from_iter((1..=SEEDS).map(|seed| Network::trained(norm, size, seed))));
    let [mut layer, mut batch] = [Norm::Layer, Norm::Batch].map(train);
    println!("right answers in %, {SEEDS} seeds, mean ± standard deviation; chance is {}", 100 / MARKERS);
    let [mut by_batch, mut by_length] = [Vec::new(), Vec::new()];
    for (name, norm, statistics) in KINDS {
        let networks = if norm == Norm::Layer { &mut layer } else { &mut batch };
        let [mut sizes, mut lengths] = [series(name), series(name)];
        println!("\n{name}\n  by the size of the batches in training and test, lengths of training");
        for (networks, size) in networks.iter_mut().zip(BATCHES) {
            let values = networks.iter_mut().map(|network| network.accuracy(size, LENGTHS, statistics));
            sizes.points.push(row(size, &Vec::from_iter(values)));
        }
        println!("  by the length in the test, batches of {}", BATCHES[BATCHES.len() - 1]);
        for length in TEST_LENGTHS {
            let networks = networks.last_mut().into_iter().flatten();
            let values = networks.map(|network| network.accuracy(32, length..length + 1, statistics));
            lengths.points.push(row(length, &Vec::from_iter(values)));
        }
        let difference = networks[BATCHES.len() - 1][0].difference_in_a_batch(statistics);
        println!("  largest difference of a logit, alone and in a batch of 32: {difference:e}");
        by_batch.push(sizes);
        by_length.push(lengths);
    }
    if let Some(folder) = folder {
        let plot = |title: &str, x: &str, series| Plot {
            title: title.to_owned(),
            x: Axis::log(x),
            y: Axis::linear("right answers, %"),
            series,
        };
        let by_batch = plot(
            "Tested at the lengths of training, by the size of the batches",
            "sequences in a batch",
            by_batch,
        );
        let by_length = plot(
            "Trained on 8 to 24 tokens in batches of 32, by length",
            "tokens of the tested sequences",
            by_length,
        );
        figures::write(&folder, &[("layer_norm.batch", by_batch), ("layer_norm.length", by_length)])?;
    }
    Ok(())
}

/// Prints a row of a table, and gives the point of the figure.
fn row(x: usize, values: &[f64]) -> Point {
    let (mean, deviation) = spread(values);
    println!("  {x:5}   {mean:5.1} ± {deviation:4.1}");
    figures::point(x as f64, values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::assert_gradients;

    #[test]
    fn gradients_equal_central_differences() {
        for norm in [Norm::Layer, Norm::Batch] {
            let mut random = Random::new(5);
            let mut network = Network::new(norm, &mut random);
            let batch = batch(6, 2..7, &mut random);
            let cache = network.forward(&batch, Statistics::Training);
            network.backward(&batch, &cache);
            let mut moved = network.clone();
            assert_gradients(&network.parameters, |parameters| {
                moved.parameters.clone_from(parameters);
                let cache = moved.forward(&batch, Statistics::Batch);
                moved.backward(&batch, &cache)
            });
        }
    }

    #[test]
    fn a_sequence_is_read_alone_as_in_a_batch_unless_the_batch_gives_the_statistics() {
        let mut random = Random::new(6);
        assert_eq!(Network::new(Norm::Layer, &mut random).difference_in_a_batch(Statistics::Batch), 0.0);
        assert!(Network::new(Norm::Batch, &mut random).difference_in_a_batch(Statistics::Batch) > 0.1);
    }
}
