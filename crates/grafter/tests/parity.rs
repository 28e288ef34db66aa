//! Parity with PyTorch, Hugging Face `transformers` and AdapterHub `adapters`: hidden states, pooled vectors, logits,
//! loss, every trained gradient, and every trained parameter after ten optimiser steps. `reference/parity.py` wrote
//! the expected values, computed in float64 and rounded to float32; `reference/README.md` tells how far PyTorch's own
//! float32 is from them, and the tolerances below are ten times that.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};

use grafter::adapter::{AdapterActivation, HeadForm, Method, Pooling, TaskLayout, TaskParameters};
use grafter::batch::{PackedBatch, TokenIds, Word};
use grafter::checkpoint::read_encoder;
use grafter::data::Targets;
use grafter::encoded::EncodedRows;
use grafter::encoder::activations::{Activations, Keep, Segment};
use grafter::encoder::{Encoder, EncoderDropout, ForwardPass};
use grafter::gradient::{GradientEngine, Target};
use grafter::graft::GraftOptions;
use grafter::head::{self, HeadActivations, HeadInput};
use grafter::optim::{AdamW, LinearSchedule, Moments, clipping, norm};
use grafter::store::Budget;
use safetensors::SafeTensors;
use serde::Deserialize;

/// Relative to the largest entry of the tensor. PyTorch's float32 differs by up to 1.3e-6 (hidden, pooled, logits).
const FORWARD_TOLERANCE: f32 = 1.3e-5;
/// Mean of float32 logits' losses: PyTorch's float32 differs by up to 1e-7 of the loss.
const LOSS_TOLERANCE: f64 = 1e-6;
/// Relative to the largest entry of the tensor. PyTorch's float32 differs by up to 1.6e-6 on the tiny encoders,
/// 8.5e-6 on MiniLM.
const GRADIENT_TOLERANCE: f32 = 1.6e-5;
const GRADIENT_TOLERANCE_MINILM: f32 = 8.5e-5;
/// Relative to the largest entry of the tensor, after ten steps: 1.7e-6 and 7.4e-6 in PyTorch's float32.
const STEPS_TOLERANCE: f32 = 1.7e-5;
const STEPS_TOLERANCE_MINILM: f32 = 7.4e-5;

#[derive(Deserialize)]
struct Sequence {
    ids: Vec<u32>,
    type_ids: Vec<u32>,
    /// Where the first token of each word is.
    #[serde(default)]
    words: Vec<u32>,
}

/// So many sequences, of which the one at this place is right.
#[derive(Deserialize)]
struct Choice {
    choices: usize,
    right: usize,
}

#[derive(Deserialize)]
struct Optimizer {
    lr: f64,
    beta1: f64,
    beta2: f64,
    eps: f64,
    weight_decay: f64,
    max_grad_norm: f64,
    total_steps: u64,
    warmup_steps: u64,
    bias_correction: bool,
}

#[derive(Deserialize)]
struct Case {
    #[serde(default = "houlsby")]
    method: Method,
    bottleneck: usize,
    adapter_activation: String,
    task: String,
    num_labels: usize,
    pooling: String,
    #[serde(default)]
    head: HeadForm,
    #[serde(default)]
    freeze_layernorm: bool,
    sequences: Vec<Sequence>,
    #[serde(default)]
    classes: Vec<usize>,
    #[serde(default)]
    scores: Vec<f32>,
    #[serde(default)]
    tags: Vec<Vec<usize>>,
    #[serde(default)]
    choices: Vec<Choice>,
    /// Of each candidate of a window 1 if the answer begins there, plus 2 if it ends there.
    #[serde(default)]
    ends: Vec<Vec<u8>>,
    optimizer: Optimizer,
    steps: u64,
    base_sha256: String,
}

fn houlsby() -> Method {
    Method::Houlsby
}

/// One fixture, loaded.
struct Fixture {
    name: &'static str,
    case: Case,
    encoder: Encoder,
    task: TaskParameters,
    batch: PackedBatch,
    expected: Vec<u8>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity")
}

fn floats(tensors: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let tensor = tensors.tensor(name).unwrap_or_else(|_| panic!("the fixture has no `{name}`"));
    tensor.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// The sequences of the rows as a batch that keeps those of a row together.
fn choices(rows: &[Choice], sequences: Vec<TokenIds>) -> PackedBatch {
    let targets = Targets::Choices(rows.iter().map(|row| row.right).collect());
    let mut encoded = EncodedRows::new(targets, None, &Budget::default());
    let mut sequences = sequences.into_iter();
    let rows: Vec<Vec<TokenIds>> =
        rows.iter().map(|row| sequences.by_ref().take(row.choices).collect()).collect();
    encoded.append(&rows).unwrap();
    assert_eq!(sequences.next(), None);
    encoded.batch(0..rows.len()).unwrap()
}

fn span(ends: &[u8]) -> Target<'_> {
    let at = |end: u8| ends.iter().position(|of| of & end != 0).unwrap();
    Target::Span { words: ends.len(), first: at(1), last: at(2) }
}

impl Fixture {
    fn load(name: &'static str, base: &Path) -> Self {
        let folder = fixtures().join(name);
        let case: Case = serde_json::from_slice(&std::fs::read(folder.join("case.json")).unwrap()).unwrap();
        let encoder = read_encoder(base).unwrap();
        assert_eq!(encoder.weights_sha256(), case.base_sha256, "{name}: the base the fixture was made with");
        let options = GraftOptions {
            method: case.method,
            bottleneck: case.bottleneck,
            activation: case.adapter_activation.replace('_', "-").parse::<AdapterActivation>().unwrap(),
            pooling: case.pooling.parse::<Pooling>().unwrap(),
            head: case.head,
            freeze_layernorm: case.freeze_layernorm,
            ..GraftOptions::default()
        };
        let config = options.config(case.num_labels);
        let layout = TaskLayout::new(&config, &encoder.config);
        let bytes = std::fs::read(folder.join("task.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(tensors.len(), layout.list().specs().len(), "{name}: the same list of trained parameters");
        let values = layout.list().specs().iter().flat_map(|spec| floats(&tensors, &spec.name)).collect();
        let task = TaskParameters::from_values(layout, values);
        let sequences: Vec<TokenIds> = case
            .sequences
            .iter()
            .map(|sequence| TokenIds {
                ids: sequence.ids.clone(),
                type_ids: sequence.type_ids.clone(),
                words: sequence.words.iter().map(|token| Word { token: *token, ..Word::default() }).collect(),
                ..TokenIds::default()
            })
            .collect();
        let expected = std::fs::read(folder.join("expected.safetensors")).unwrap();
        let batch = match case.task.as_str() {
            "choices" => choices(&case.choices, sequences),
            _ => PackedBatch::new(&sequences),
        };
        Self { name, batch, case, encoder, task, expected }
    }

    fn targets(&self) -> Vec<Target<'_>> {
        match self.case.task.as_str() {
            "regression" => self.case.scores.iter().map(|score| Target::Score(*score)).collect(),
            "tags" => self.case.tags.iter().map(|tags| Target::Tags(tags)).collect(),
            "choices" => {
                let choices = self.case.choices.iter();
                choices
                    .map(|Choice { choices, right }| Target::Choice { choices: *choices, right: *right })
                    .collect()
            }
            "questions" => self.case.ends.iter().map(|ends| span(ends)).collect(),
            _ => self.case.classes.iter().map(|class| Target::Class(*class)).collect(),
        }
    }

    fn tiny(name: &'static str) -> Self {
        Self::load(name, &fixtures().join(name))
    }

    fn expected(&self, tensor: &str) -> Vec<f32> {
        floats(&SafeTensors::deserialize(&self.expected).unwrap(), tensor)
    }

    /// Compares with the tensor `name` of the fixture, relative to its largest entry.
    /// Holds numbers against PyTorch's; gives the largest difference, as a part of the largest entry.
    fn compare(&self, name: &str, actual: &[f32], tolerance: f32) -> f32 {
        let expected = self.expected(name);
        assert_eq!(actual.len(), expected.len(), "{}: length of `{name}`", self.name);
        // Nothing depends on a key's bias, since a softmax is the same when a constant is added to what it reads: its
        // gradient is rounding and nothing else, and has no scale but that of its neighbour.
        let of_scale = match name.starts_with("grad.") {
            true if self.shifts_all_logits(name) => self.expected(&name.replace(".bias", ".weight")),
            true => self.expected(&name.replace(".key.bias", ".query.bias")),
            false => expected.clone(),
        };
        let largest = of_scale.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        let mut worst = 0.0_f32;
        for (index, (actual, expected)) in actual.iter().zip(&expected).enumerate() {
            let difference = (actual - expected).abs();
            assert!(
                difference <= tolerance * largest,
                "{}: `{name}`[{index}] is {actual}, expected {expected}; largest entry {largest}, {} times the tolerance",
                self.name,
                difference / (tolerance * largest)
            );
            if difference > 0.0 {
                worst = worst.max(difference / largest);
            }
        }
        worst
    }

    /// Whether a parameter is added to the logits of all choices or all candidates alike, which changes no loss.
    fn shifts_all_logits(&self, gradient: &str) -> bool {
        let last =
            format!("grad.layer.{}.feed_forward.layer_norm.bias", self.encoder.config.num_hidden_layers - 1);
        matches!(self.case.task.as_str(), "choices" | "questions")
            && (gradient == "grad.head.bias" || gradient == last && self.case.head == HeadForm::Linear)
    }

    fn check_forward(&self, only_cls: bool) -> f32 {
        let hidden = self.encoder.config.hidden_size;
        let layers = self.encoder.config.num_hidden_layers;
        let mut states = vec![Vec::new(); layers + 1];
        let (mut pooled, mut logits) = (Vec::new(), Vec::new());
        for chunk in self.batch.chunks() {
            let mut activations = Activations::default();
            let segments = [Segment::whole(&chunk, Some(&self.task))];
            let mut observe = |layer: usize, values: &[f32]| {
                for tokens in chunk.ranges() {
                    let end = if only_cls { tokens.start + 1 } else { tokens.end };
                    states[layer].extend_from_slice(&values[tokens.start * hidden..end * hidden]);
                }
            };
            let dropout = EncoderDropout::none();
            let pass =
                ForwardPass { chunk: &chunk, segments: &segments, dropout: &dropout, keep: Keep::Nothing };
            self.encoder.forward_observed(pass, &mut activations, &mut observe);
            let mut head = HeadActivations::default();
            let input = HeadInput {
                encoder: &self.encoder,
                chunk: &chunk,
                sequences: 0..chunk.sequences(),
                hidden_states: activations.hidden(),
            };
            head::forward(&input, &self.task, &dropout, &mut head);
            pooled.extend_from_slice(head.pooled());
            logits.extend_from_slice(head.logits());
        }
        let mut worst = 0.0_f32;
        for (layer, states) in states.iter().enumerate() {
            let name = if only_cls { format!("hidden_cls.{layer}") } else { format!("hidden.{layer}") };
            worst = worst.max(self.compare(&name, states, FORWARD_TOLERANCE));
        }
        let pooled = self.compare("pooled", &pooled, FORWARD_TOLERANCE);
        worst.max(pooled).max(self.compare("logits", &logits, FORWARD_TOLERANCE))
    }

    fn check_gradients(&self, tolerance: f32) -> f32 {
        let mut engine = GradientEngine::default();
        let none = EncoderDropout::none();
        let targets = self.targets();
        let (loss, gradients) = engine.compute(&self.encoder, &self.task, &self.batch, &targets, &none);
        let expected = f64::from(self.expected("loss")[0]);
        assert!((loss - expected).abs() <= LOSS_TOLERANCE * expected, "{}: loss {}", self.name, loss);
        let specs = self.task.layout().list().specs().iter();
        specs.fold(0.0, |worst, spec| {
            let name = format!("grad.{}", spec.name);
            worst.max(self.compare(&name, &gradients[spec.range.clone()], tolerance))
        })
    }

    fn check_steps(&mut self, tolerance: f32) -> f32 {
        let o = &self.case.optimizer;
        let optimizer = AdamW {
            beta1: o.beta1,
            beta2: o.beta2,
            eps: o.eps,
            weight_decay: o.weight_decay,
            bias_correction: o.bias_correction,
        };
        let schedule =
            LinearSchedule { peak: o.lr, warmup_steps: o.warmup_steps, total_steps: o.total_steps };
        let max_norm = o.max_grad_norm;
        let before = self.encoder.digest_in_memory();
        let mut engine = GradientEngine::default();
        let mut moments = Moments::zero(self.task.values().len());
        for step in 0..self.case.steps {
            let none = EncoderDropout::none();
            let targets = self.targets();
            let (_, gradients) = engine.compute(&self.encoder, &self.task, &self.batch, &targets, &none);
            let scale = clipping(norm(gradients), max_norm);
            let rate = schedule.rate(step);
            let (layout, values) = self.task.split_mut();
            optimizer.update(layout.list().specs(), rate, (gradients, scale), &mut moments, values);
        }
        let frozen = self.encoder.digest_in_memory();
        assert_eq!(frozen, before, "{}: the frozen numbers stayed frozen", self.name);
        let specs = self.task.layout().list().specs().iter();
        specs.fold(0.0, |worst, spec| {
            let name = format!("after.{}", spec.name);
            worst.max(self.compare(&name, &self.task.values()[spec.range.clone()], tolerance))
        })
    }

    fn check(mut self) {
        let forward = self.check_forward(false);
        let gradients = self.check_gradients(GRADIENT_TOLERANCE);
        let steps = self.check_steps(STEPS_TOLERANCE);
        let (name, count) = (&self.name, self.case.steps);
        println!(
            "{name}: of the largest entry, hidden states to logits {forward:.1e}, gradients {gradients:.1e}, parameters after \
             {count} steps {steps:.1e}"
        );
    }
}

#[test]
fn tiny_relu() {
    Fixture::tiny("tiny_relu").check();
}

#[test]
fn odd_gelu_pair() {
    Fixture::tiny("odd_gelu_pair").check();
}

#[test]
fn mean_silu_regression() {
    Fixture::tiny("mean_silu_regression").check();
}

#[test]
fn wide_gelu_tanh() {
    Fixture::tiny("wide_gelu_tanh").check();
}

#[test]
fn full_cls() {
    Fixture::tiny("full_cls").check();
}

#[test]
fn top_mean_regression() {
    Fixture::tiny("top_mean_regression").check();
}

#[test]
fn bias_cls() {
    Fixture::tiny("bias_cls").check();
}

#[test]
fn pfeiffer_gelu() {
    Fixture::tiny("pfeiffer_gelu").check();
}

#[test]
fn layernorm_mean() {
    Fixture::tiny("layernorm_mean").check();
}

#[test]
fn roberta_gelu() {
    Fixture::tiny("roberta_gelu").check();
}

#[test]
fn roberta_full() {
    Fixture::tiny("roberta_full").check();
}

#[test]
fn distilbert_relu() {
    Fixture::tiny("distilbert_relu").check();
}

#[test]
fn distilbert_full() {
    Fixture::tiny("distilbert_full").check();
}

#[test]
fn electra_gelu() {
    Fixture::tiny("electra_gelu").check();
}

#[test]
fn electra_small() {
    Fixture::tiny("electra_small").check();
}

#[test]
fn electra_small_full() {
    Fixture::tiny("electra_small_full").check();
}

#[test]
fn mpnet_full() {
    Fixture::tiny("mpnet_full").check();
}

#[test]
fn mpnet_layernorm() {
    Fixture::tiny("mpnet_layernorm").check();
}

#[test]
fn modernbert_gelu() {
    Fixture::tiny("modernbert_gelu").check();
}

#[test]
fn modernbert_full() {
    Fixture::tiny("modernbert_full").check();
}

#[test]
fn modernbert_pfeiffer() {
    Fixture::tiny("modernbert_pfeiffer").check();
}

#[test]
fn modernbert_layernorm() {
    Fixture::tiny("modernbert_layernorm").check();
}

#[test]
fn modernbert_top() {
    Fixture::tiny("modernbert_top").check();
}

#[test]
fn modernbert_biased() {
    Fixture::tiny("modernbert_biased").check();
}

#[test]
fn modernbert_biased_top() {
    Fixture::tiny("modernbert_biased_top").check();
}

#[test]
fn modernbert_bias() {
    Fixture::tiny("modernbert_bias").check();
}

#[test]
fn deberta_gelu() {
    Fixture::tiny("deberta_gelu").check();
}

#[test]
fn deberta_full() {
    Fixture::tiny("deberta_full").check();
}

#[test]
fn deberta_bias() {
    Fixture::tiny("deberta_bias").check();
}

#[test]
fn deberta_layernorm() {
    Fixture::tiny("deberta_layernorm").check();
}

#[test]
fn deberta_top() {
    Fixture::tiny("deberta_top").check();
}

#[test]
fn deberta_biased_full() {
    Fixture::tiny("deberta_biased_full").check();
}

#[test]
fn roberta_dense() {
    Fixture::tiny("roberta_dense").check();
}

#[test]
fn electra_dense() {
    Fixture::tiny("electra_dense").check();
}

#[test]
fn words_houlsby() {
    Fixture::tiny("words_houlsby").check();
}

#[test]
fn words_dense_full() {
    Fixture::tiny("words_dense_full").check();
}

#[test]
fn choices_houlsby() {
    let fixture = Fixture::tiny("choices_houlsby");
    assert_eq!((fixture.batch.units(), fixture.batch.chunks().len()), (4, 2), "rows on two threads");
    fixture.check();
}

#[test]
fn choices_dense_full() {
    Fixture::tiny("choices_dense_full").check();
}

#[test]
fn questions_houlsby() {
    Fixture::tiny("questions_houlsby").check();
}

#[test]
fn questions_full() {
    Fixture::tiny("questions_full").check();
}

#[test]
fn distilbert_dense() {
    Fixture::tiny("distilbert_dense").check();
}

/// The real model, where it is in the cache; `GRAFTER_REQUIRE_MODEL=1` makes its absence a failure.
#[test]
fn minilm() {
    let Some(folder) = grafter::hub::cached("minilm") else {
        assert!(std::env::var_os("GRAFTER_REQUIRE_MODEL").is_none(), "`minilm` is not in the cache");
        println!("skipped: `minilm` is not in the cache; `grafter pull minilm` fetches it");
        return;
    };
    let mut fixture = Fixture::load("minilm", &folder);
    fixture.check_forward(true);
    fixture.check_gradients(GRADIENT_TOLERANCE_MINILM);
    fixture.check_steps(STEPS_TOLERANCE_MINILM);
}
