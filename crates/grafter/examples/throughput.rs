//! Tokens per second of training steps and of inference, on synthetic rows of given lengths.
//!
//!     cargo run --release -p grafter --example throughput -- MODEL_DIR 128 12 53

use std::path::Path;
use std::time::Instant;

use grafter::adapter::{Pooling, TaskParameters};
use grafter::batch::{PackedBatch, TokenIds};
use grafter::checkpoint::read_encoder;
use grafter::encoder::EncoderDropout;
use grafter::gradient::{GradientEngine, Target};
use grafter::graft::GraftOptions;
use grafter::predict::{Query, logits};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("usage: throughput MODEL_DIR LENGTH…")?;
    let encoder = read_encoder(Path::new(&folder))?;
    let config = GraftOptions { pooling: Pooling::Cls, ..GraftOptions::default() }.config(2);
    let task = TaskParameters::initialise(&config, &encoder, 0.01, 1);
    println!("length  dropout  train tokens/s  inference tokens/s   (medians; batch of 32)");
    for length in arguments {
        let length: usize = length.parse()?;
        let rows: Vec<TokenIds> = (0..32)
            .map(|row| TokenIds {
                ids: (0..length).map(|token| ((row * 7919 + token * 104_729) % 30_000) as u32).collect(),
                type_ids: vec![0; length],
                ..TokenIds::default()
            })
            .collect();
        let batch = PackedBatch::new(&rows);
        let targets = vec![Target::Class(1); rows.len()];
        let queries: Vec<Query<'_>> = rows.iter().map(|tokens| Query { tokens, task: &task }).collect();
        let mut engine = GradientEngine::default();
        for with_dropout in [true, false] {
            let (mut training, mut inference) = (Vec::new(), Vec::new());
            let rounds = (20_000 / batch.tokens()).clamp(5, 60);
            for round in 0..rounds + 1 {
                let dropout = if with_dropout {
                    EncoderDropout::training(&encoder.config, 1, round as u64)
                } else {
                    EncoderDropout::none()
                };
                let start = Instant::now();
                engine.compute(&encoder, &task, &batch, &targets, &dropout);
                training.push(batch.tokens() as f64 / start.elapsed().as_secs_f64());
                let start = Instant::now();
                logits(&encoder, &queries);
                inference.push(batch.tokens() as f64 / start.elapsed().as_secs_f64());
            }
            let median = |values: &mut Vec<f64>| {
                values.sort_by(f64::total_cmp);
                values[values.len() / 2]
            };
            println!(
                "{length:6}  {with_dropout:7}  {:14.0}  {:18.0}",
                median(&mut training),
                median(&mut inference)
            );
        }
    }
    Ok(())
}
