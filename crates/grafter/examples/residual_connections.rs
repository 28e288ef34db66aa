//! Depth with and without residual connections (He et al. 2015, figure 1).
//!
//!     cargo run --release -p grafter --example residual_connections -- --figures docs/figures
//!
//! Stacks of 2 to 64 blocks learn two spirals in the plane. With the residual connection a block is
//! `x + f(x)`, without it `f(x)`; both once with a layer normalisation after the block, as in BERT, and once without.
//! Each stack is trained with every learning rate of `RATES`, and the rate with the lowest mean training loss counts.

mod figures;
mod stack;
mod training;

use std::error::Error;

use figures::{point, series};
use grafter::report::chart::{Axis, Plot, Series};
use stack::{Form, Points, Stack, Training, losses};
use training::{Random, limits, spread};

const DEPTHS: [usize; 6] = [2, 4, 8, 16, 32, 64];
const RATES: [f64; 3] = [3e-4, 1e-3, 3e-3];
const SEEDS: u64 = 3;
const POINTS: usize = 512;
const BATCH: usize = 128;
const STEPS: usize = 600;
const TURNS: f64 = 1.5;

/// Name, whether there is a skip, whether there is a layer normalisation.
const KINDS: [(&str, bool, bool); 4] = [
    ("plain, LayerNorm", false, true),
    ("residual, LayerNorm", true, true),
    ("plain", false, false),
    ("residual", true, false),
];

/// What one run gave.
struct Outcome {
    /// Mean cross entropy of the training points after training.
    loss: f64,
    accuracy: f64,
    /// Accuracy on points that were not trained on.
    held_out: f64,
    /// Norm of the gradient of the first block's weights, before the first step.
    gradient: f64,
}

/// What the runs of all seeds with the best learning rate gave.
struct Best {
    rate: f64,
    outcomes: Vec<Outcome>,
}

impl Best {
    fn values(&self, of: fn(&Outcome) -> f64) -> Vec<f64> {
        self.outcomes.iter().map(of).collect()
    }
}

fn run(form: Form, rate: f64, seed: u64) -> Outcome {
    let mut random = Random::new(seed);
    let [train, test] = [(); 2].map(|()| Points::spirals(POINTS, TURNS, &mut random));
    let mut stack = Stack::new(form, &mut random);
    let cache = stack.forward(&train.places);
    stack.backward(&train, &cache);
    let gradient = stack.parameters.gradient_norm(&stack.blocks[0].linear.range);
    stack.parameters.gradients.fill(0.0);
    let everything = 0..stack.parameters.values.len();
    let training = Training { trained: &[everything], rate, steps: STEPS, batch: BATCH };
    stack.train(&train, &training, &mut random);
    let (loss, accuracy, _) = losses(&stack.forward(&train.places).logits, &train.classes);
    let (_, held_out, _) = losses(&stack.forward(&test.places).logits, &test.classes);
    Outcome { loss, accuracy, held_out, gradient }
}

fn best(form: Form) -> Best {
    let runs =
        RATES.map(|rate| Best { rate, outcomes: (1..=SEEDS).map(|seed| run(form, rate, seed)).collect() });
    let loss = |best: &Best| spread(&best.values(|outcome| outcome.loss)).0;
    runs.into_iter().min_by(|a, b| loss(a).total_cmp(&loss(b))).expect("there is a learning rate")
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = figures::folder()?;
    println!(
        "{SEEDS} seeds, mean ± standard deviation; the gradient is that of the first block before the first step\n"
    );
    println!(
        "stack                depth   rate   training loss       accuracy        held out        gradient (smallest–largest)"
    );
    let [mut after, mut before] = [Vec::new(), Vec::new()];
    for (name, skip, norm) in KINDS {
        let [mut loss, mut gradient] = [series(name), series(name)];
        for depth in DEPTHS {
            let best = best(Form::suited(depth, skip, norm));
            print_row(name, depth, &best);
            loss.points.push(point(depth as f64, &best.values(|outcome| outcome.loss)));
            gradient.points.push(point(depth as f64, &best.values(|outcome| outcome.gradient)));
        }
        after.push(loss);
        before.push(gradient);
    }
    println!("\nthe weights of each drawn as suits the other:");
    for (name, skip, norm) in KINDS.into_iter().filter(|(.., norm)| *norm) {
        let depth = DEPTHS[DEPTHS.len() - 1];
        let Form { gain, .. } = Form::suited(depth, !skip, norm);
        print_row(name, depth, &best(Form { depth, skip, norm, gain }));
    }
    if let Some(folder) = folder {
        let plots = [
            ("residual_connections.loss", by_depth("Training loss by depth", "training loss", after)),
            (
                "residual_connections.gradient",
                by_depth(
                    "Gradient before the first step, by depth",
                    "norm of the first block's gradient",
                    before,
                ),
            ),
        ];
        figures::write(&folder, &plots)?;
    }
    Ok(())
}

fn print_row(name: &str, depth: usize, best: &Best) {
    let (loss, accuracy, held_out) = (
        spread(&best.values(|outcome| outcome.loss)),
        spread(&best.values(|outcome| 100.0 * outcome.accuracy)),
        spread(&best.values(|outcome| 100.0 * outcome.held_out)),
    );
    let gradients = best.values(|outcome| outcome.gradient);
    let (gradient, (low, high)) = (spread(&gradients).0, limits(&gradients));
    println!(
        "{name:20} {depth:5}  {:6}   {:.4} ± {:.4}   {:5.1} ± {:4.1}    {:5.1} ± {:4.1}    {gradient:.1e} ({low:.1e}–{high:.1e})",
        best.rate, loss.0, loss.1, accuracy.0, accuracy.1, held_out.0, held_out.1
    );
}

fn by_depth(title: &str, y_label: &str, series: Vec<Series>) -> Plot {
    Plot { title: title.to_owned(), x: Axis::log("blocks"), y: Axis::log(y_label), series }
}
