//! The encoder with its linear layers in 8 bits: it answers nearly as in f32, a row does not depend on its batch, its
//! gradients are nearly those of f32, it trains, and a run leaves its numbers alone. On the tiny random model that
//! `reference/tiny_bert.py` wrote.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;

use grafter::adapter::{TaskLayout, TaskParameters};
use grafter::batch::{PackedBatch, TokenIds};
use grafter::checkpoint::read_encoder_in;
use grafter::encoder::{BasePrecision, Encoder, EncoderDropout};
use grafter::gradient::{GradientEngine, Target};
use grafter::graft::GraftOptions;
use grafter::optim::{AdamW, Moments};
use grafter::predict::{Query, logits};
use grafter::random::Random;

/// Weights have steps of a 127th of their largest number, inputs of a 255th of their range: each product is off by about
/// one hundredth of its size, and the errors of a few layers add up.
const TOLERANCE: f64 = 0.05;

fn encoder(precision: BasePrecision) -> Encoder {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-bert");
    read_encoder_in(&folder, precision).unwrap()
}

fn task(encoder: &Encoder) -> TaskParameters {
    let config = GraftOptions { bottleneck: 8, ..GraftOptions::default() }.config(2);
    let layout = TaskLayout::new(&config, &encoder.config);
    let mut random = Random::new(1);
    let values = (0..layout.list().len()).map(|_| (random.bits() % 2001) as f32 / 1e4 - 0.1).collect();
    TaskParameters::from_values(layout, values)
}

/// Rows of 3 to 14 tokens, and as many targets.
fn rows(encoder: &Encoder) -> (Vec<TokenIds>, Vec<Target<'static>>) {
    let mut random = Random::new(2);
    let mut below = |limit: usize| (random.bits() % limit as u64) as usize;
    let row = |_| {
        let ids: Vec<u32> = (0..3 + below(12)).map(|_| below(encoder.config.vocab_size) as u32).collect();
        TokenIds { type_ids: vec![0; ids.len()], ids, ..TokenIds::default() }
    };
    let rows: Vec<TokenIds> = (0..24).map(row).collect();
    let targets = rows.iter().map(|row| Target::Class((row.ids[1] % 2) as usize)).collect();
    (rows, targets)
}

fn answers(encoder: &Encoder, task: &TaskParameters, rows: &[TokenIds]) -> Vec<Vec<f32>> {
    logits(encoder, &rows.iter().map(|tokens| Query { tokens, task }).collect::<Vec<_>>())
}

/// `|found - expected| / |expected|` of two vectors.
fn relative_error(found: &[f32], expected: &[f32]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let differences = found.iter().zip(expected).map(|(a, b)| f64::from(a - b));
    norm(&mut differences.into_iter()) / norm(&mut expected.iter().map(|value| f64::from(*value)))
}

#[test]
fn answers_and_gradients_are_nearly_those_of_f32_and_not_the_same() {
    let (exact, int8) = (encoder(BasePrecision::F32), encoder(BasePrecision::Int8));
    assert_eq!(exact.weights_sha256(), int8.weights_sha256(), "the same file");
    assert_ne!(exact.digest_in_memory(), int8.digest_in_memory());
    assert_eq!(exact.parameter_count(), int8.parameter_count());
    let (task, (rows, targets)) = (task(&exact), rows(&exact));
    let error =
        relative_error(&answers(&int8, &task, &rows).concat(), &answers(&exact, &task, &rows).concat());
    assert!(error > 0.0 && error < TOLERANCE, "logits: {error}");
    let gradients = |encoder: &Encoder| {
        let mut engine = GradientEngine::default();
        let batch = PackedBatch::new(&rows);
        engine.compute(encoder, &task, &batch, &targets, &EncoderDropout::none()).1.to_vec()
    };
    let error = relative_error(&gradients(&int8), &gradients(&exact));
    assert!(error > 0.0 && error < TOLERANCE, "gradients: {error}");
}

#[test]
fn a_row_is_answered_in_a_batch_as_alone() {
    let encoder = encoder(BasePrecision::Int8);
    let (task, (rows, _)) = (task(&encoder), rows(&encoder));
    let together = answers(&encoder, &task, &rows);
    for (index, row) in rows.iter().enumerate() {
        assert_eq!(answers(&encoder, &task, std::slice::from_ref(row))[0], together[index], "row {index}");
    }
}

#[test]
fn training_reduces_the_loss_and_leaves_the_numbers_alone() {
    let encoder = encoder(BasePrecision::Int8);
    let (mut task, (rows, targets)) = (task(&encoder), rows(&encoder));
    let before = encoder.digest_in_memory();
    let (batch, mut engine, optimizer) =
        (PackedBatch::new(&rows), GradientEngine::default(), AdamW::default());
    let mut moments = Moments::zero(task.values().len());
    let mut losses = Vec::new();
    for _ in 0..120 {
        let (loss, gradients) = engine.compute(&encoder, &task, &batch, &targets, &EncoderDropout::none());
        losses.push(loss);
        let (layout, values) = task.split_mut();
        optimizer.update(layout.list().specs(), 5e-3, (gradients, 1.0), &mut moments, values);
    }
    assert!(losses[119] < 0.5 * losses[0], "from {} to {}", losses[0], losses[119]);
    assert_eq!(encoder.digest_in_memory(), before);
}
