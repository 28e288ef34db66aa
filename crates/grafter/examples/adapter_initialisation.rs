//! Adapters that begin near zero, and adapters that do not (Houlsby et al. 2019, section 3.6).
//!
//!     cargo run --release -p grafter --example adapter_initialisation -- --figures docs/figures
//!
//! A residual stack with layer normalisations learns two spirals and is then frozen. An adapter goes into each block, on
//! the branch before the residual connection, its weights normal with a standard deviation that is varied and its biases
//! zero. Asked before any training: what is left of the first task. Then adapters, layer normalisations and a new
//! head learn another task, spirals that turn the other way and more often; beside them, the head alone, and the head with the layer
//! normalisations.

mod figures;
mod stack;
mod training;

use std::error::Error;
use std::ops::Range;

use figures::{point, series};
use grafter::report::chart::{Axis, Mark, Plot, Point, Series};
use stack::{Form, Points, Stack, Training, losses};
use training::{Linear, Parameters, Random, spread};

const DEPTH: usize = 8;
const DEVIATIONS: [f64; 9] = [0.0, 1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0];
const RATES: [f64; 2] = [1e-3, 3e-3];
const SEEDS: u64 = 5;
const POINTS: usize = 512;
const BATCH: usize = 128;
const STEPS: usize = 600;
const TURNS: f64 = 1.5;
/// The spirals of the second task turn the other way, and more.
const SECOND_TURNS: f64 = -2.5;

/// What is trained for the second task; the head always is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trained {
    Head,
    HeadAndNorms,
    /// With adapters that begin with this standard deviation.
    All(f64),
}

/// A frozen stack, and the points of both tasks.
struct Base {
    stack: Stack,
    first: Points,
    second: Points,
    seed: u64,
}

/// What one run gave.
struct Outcome {
    /// Of the hidden states at the end: norm of the change by grafting, in norms of what they were.
    change: f64,
    /// Percentage of right answers to the first task, grafted and not trained.
    kept: f64,
    /// Mean cross entropy on the second task after training, and percentage of right answers.
    loss: f64,
    accuracy: f64,
}

impl Base {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let first = Points::spirals(POINTS, TURNS, &mut random);
        let second = Points::spirals(POINTS, SECOND_TURNS, &mut random);
        let mut stack = Stack::new(Form::suited(DEPTH, true, true), &mut random);
        let everything = 0..stack.parameters.values.len();
        let training = Training { trained: &[everything], rate: RATES[1], steps: STEPS, batch: BATCH };
        stack.train(&first, &training, &mut random);
        Self { stack, first, second, seed }
    }

    fn run(&self, trained: Trained, rate: f64) -> Outcome {
        let mut random = Random::new(1000 + self.seed);
        let mut stack = self.stack.clone();
        stack.parameters = Parameters::default();
        stack.parameters.push(self.stack.parameters.values.iter().copied());
        if let Trained::All(deviation) = trained {
            stack.graft(deviation, &mut random);
        }
        let [bare, grafted] = [&self.stack, &stack].map(|stack| stack.forward(&self.first.places));
        let change =
            bare.hidden.iter().zip(&grafted.hidden).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
        let norm = bare.hidden.iter().map(|a| f64::from(*a).powi(2)).sum::<f64>();
        let kept = 100.0 * losses(&grafted.logits, &self.first.classes).1;
        stack.head = Linear::new(&mut stack.parameters, &mut random, [stack::WIDTH, 2], 0.01);
        let training = Training { trained: &ranges(&stack, trained), rate, steps: STEPS, batch: BATCH };
        stack.train(&self.second, &training, &mut random);
        let (loss, right, _) = losses(&stack.forward(&self.second.places).logits, &self.second.classes);
        Outcome { change: (change / norm).sqrt(), kept, loss, accuracy: 100.0 * right }
    }
}

/// Where the numbers lie that move.
fn ranges(stack: &Stack, trained: Trained) -> Vec<Range<usize>> {
    let mut ranges = vec![stack.head.range.clone()];
    if trained != Trained::Head {
        ranges.extend(stack.blocks.iter().flat_map(|block| [block.norm.clone(), block.adapter.clone()]));
    }
    ranges
}

/// The outcomes of all seeds with the learning rate of the lowest mean loss.
fn best(bases: &[Base], trained: Trained) -> (f64, Vec<Outcome>) {
    let runs = RATES.map(|rate| (rate, Vec::from_iter(bases.iter().map(|base| base.run(trained, rate)))));
    let loss = |run: &(f64, Vec<Outcome>)| run.1.iter().map(|outcome| outcome.loss).sum::<f64>();
    runs.into_iter().min_by(|a, b| loss(a).total_cmp(&loss(b))).expect("there is a learning rate")
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = figures::folder()?;
    let bases: Vec<Base> = (1..=SEEDS).map(Base::new).collect();
    println!("{SEEDS} seeds, mean ± standard deviation\n");
    println!("                     before training                      after training for the second task");
    println!(
        "trained              hidden states moved by   first task   rate    loss              right answers"
    );
    let [mut first, mut second] = [(); 2].map(|()| series("adapters, LayerNorms, head"));
    for deviation in DEVIATIONS {
        let run = best(&bases, Trained::All(deviation));
        print_row(&format!("all, std {deviation}"), &run);
        if deviation > 0.0 {
            first.points.push(point(deviation, &values(&run.1, |outcome| outcome.kept)));
            second.points.push(point(deviation, &values(&run.1, |outcome| outcome.loss)));
        }
    }
    let mut second = vec![second];
    for (trained, name) in [(Trained::HeadAndNorms, "LayerNorms, head"), (Trained::Head, "head")] {
        let run = best(&bases, trained);
        print_row(name, &run);
        let level = spread(&values(&run.1, |outcome| outcome.loss)).0;
        let ends = [DEVIATIONS[1], DEVIATIONS[DEVIATIONS.len() - 1]];
        let points = ends.map(|end| Point::new(end, level)).to_vec();
        second.push(Series { name: name.to_owned(), mark: Mark::Dashed, points, ..Series::default() });
    }
    if let Some(folder) = folder {
        let deviation = || Axis::log("initial standard deviation of the adapters");
        let first = Plot {
            title: "First task, grafted and not trained".to_owned(),
            x: deviation(),
            y: Axis::linear("right answers, %"),
            series: vec![first],
        };
        let second = Plot {
            title: "Second task, after training".to_owned(),
            x: deviation(),
            y: Axis::log("training loss"),
            series: second,
        };
        figures::write(
            &folder,
            &[("adapter_initialisation.first", first), ("adapter_initialisation.second", second)],
        )?;
    }
    Ok(())
}

fn print_row(name: &str, (rate, outcomes): &(f64, Vec<Outcome>)) {
    let of = |value: fn(&Outcome) -> f64| spread(&values(outcomes, value));
    let (change, kept, loss, right) =
        (of(|run| run.change), of(|run| run.kept), of(|run| run.loss), of(|run| run.accuracy));
    println!(
        "{name:20} {:9.1e}                {:5.1} ± {:4.1}  {rate:5}   {:.4} ± {:.4}   {:5.1} ± {:4.1}",
        change.0, kept.0, kept.1, loss.0, loss.1, right.0, right.1
    );
}

fn values(outcomes: &[Outcome], value: fn(&Outcome) -> f64) -> Vec<f64> {
    outcomes.iter().map(value).collect()
}
