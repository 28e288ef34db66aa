//! How much it costs that the rows of a batch belong to many tasks: the same rows answered for one task and for many, in
//! turn, with the model that `grafter pull` fetched.
//!
//!     cargo run --release -p grafter --example mixed_tasks -- [LENGTH] [TASKS]
//!
//! Rows have LENGTH tokens (32 if absent); TASKS (16 if absent) take turns from row to row. Prints the medians of the tokens per
//! second over the rounds, and the median and the range of their ratio.

use std::time::Instant;

use grafter::adapter::TaskParameters;
use grafter::batch::TokenIds;
use grafter::graft::GraftOptions;
use grafter::model::Model;
use grafter::predict::{Query, logits};

const ROWS: usize = 128;
const ROUNDS: usize = 21;

fn main() -> Result<(), grafter::Error> {
    let argument = |place: usize, default: usize| {
        std::env::args().nth(place).and_then(|value| value.parse().ok()).unwrap_or(default)
    };
    let (length, count) = (argument(1, 32), argument(2, 16));
    let model = Model::read(&grafter::hub::resolve("minilm", &mut ())?, "minilm")?;
    let encoder = model.encoder();
    let config = GraftOptions::default().config(2);
    let tasks: Vec<TaskParameters> =
        (0..count).map(|seed| TaskParameters::initialise(&config, encoder, 0.01, seed as u64)).collect();
    let rows: Vec<TokenIds> = (0..ROWS)
        .map(|row| {
            let ids =
                (0..length).map(|place| (1000 + 37 * row + 101 * place) as u32 % 20_000 + 1000).collect();
            TokenIds { ids, type_ids: vec![0; length], ..TokenIds::default() }
        })
        .collect();
    let one: Vec<Query<'_>> = rows.iter().map(|tokens| Query { tokens, task: &tasks[0] }).collect();
    let many: Vec<Query<'_>> =
        rows.iter().enumerate().map(|(row, tokens)| Query { tokens, task: &tasks[row % count] }).collect();
    let seconds = |queries: &[Query<'_>]| {
        let begun = Instant::now();
        std::hint::black_box(logits(encoder, queries));
        begun.elapsed().as_secs_f64()
    };
    // The first pass takes memory that later ones have.
    let _ = (seconds(&one), seconds(&many));
    let rounds: Vec<[f64; 2]> = (0..ROUNDS).map(|_| [seconds(&one), seconds(&many)]).collect();
    let mut ratios: Vec<f64> = rounds.iter().map(|[one, many]| one / many).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let speed = |which: usize| {
        let mut all: Vec<f64> = rounds.iter().map(|round| (ROWS * length) as f64 / round[which]).collect();
        all.sort_unstable_by(f64::total_cmp);
        all[ROUNDS / 2]
    };
    println!("{ROWS} rows of {length} tokens, {ROUNDS} rounds");
    println!("one task     {:>8.0} tokens/s", speed(0));
    println!("{count:>2} tasks     {:>8.0} tokens/s", speed(1));
    println!("ratio        {:.3} ({:.3} to {:.3})", ratios[ROUNDS / 2], ratios[0], ratios[ROUNDS - 1]);
    Ok(())
}
