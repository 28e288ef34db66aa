//! The engine as one side of a comparison: does what it is told on standard input and answers with times.
//!
//!     cargo run --release -p grafter --example engine_worker -- MODEL_DIR TASK_FILE WORKLOAD_FILE [f32|int8]
//!
//! `bench/compare` drives it beside other engines, one at a time, on the same weights and the same token ids. A command
//! and its answer are one JSON line each:
//!
//! | command | answer |
//! |---|---|
//! | `{"do": "logits"}` | the logits of every row, without dropout |
//! | `{"do": "train", "dropout": true}` | seconds of a pass of training steps over all batches |
//! | `{"do": "infer"}` | seconds of a pass of inference over all batches |
//! | `{"do": "gemm"}` | GFLOP/s of matrix products alone, on all threads |
//! | `{"do": "memory"}` | the most bytes that the process has held |
//!
//! A training step is forward, backward, clipping and AdamW; a pass begins with the task's numbers as they stand.

use std::error::Error;
use std::io::{BufRead, Write, stdin, stdout};
use std::path::Path;
use std::time::Instant;

use grafter::adapter::{AdapterActivation, Pooling, TaskLayout, TaskParameters};
use grafter::batch::{PackedBatch, TokenIds};
use grafter::checkpoint::read_encoder_in;
use grafter::encoder::{BasePrecision, Encoder, EncoderDropout};
use grafter::gradient::{GradientEngine, Target};
use grafter::graft::GraftOptions;
use grafter::optim::{AdamW, Moments, clipping, norm};
use grafter::predict::{Query, logits};
use grafter_nn::gemm::{Matrix, MatrixMut, Start, matmul_packed};
use grafter_nn::packed::PackedMatrix;
use rayon::prelude::*;
use safetensors::SafeTensors;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Workload {
    bottleneck: usize,
    activation: AdapterActivation,
    pooling: Pooling,
    labels: usize,
    batches: Vec<Vec<Row>>,
}

#[derive(Deserialize)]
struct Row {
    ids: Vec<u32>,
    type_ids: Vec<u32>,
    class: usize,
}

#[derive(Deserialize)]
struct Order {
    #[serde(rename = "do")]
    what: String,
    #[serde(default)]
    dropout: bool,
}

struct Batch {
    rows: Vec<TokenIds>,
    packed: PackedBatch,
    targets: Vec<Target<'static>>,
}

struct Worker {
    encoder: Encoder,
    task: TaskParameters,
    batches: Vec<Batch>,
    engine: GradientEngine,
    moments: Moments,
    steps: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let usage = "usage: engine_worker MODEL_DIR TASK_FILE WORKLOAD_FILE [f32|int8]";
    let [model, task, workload, base @ ..] = arguments.as_slice() else {
        return Err(usage.into());
    };
    let precision = match base {
        [] => BasePrecision::F32,
        [base] => base.parse()?,
        _ => return Err(usage.into()),
    };
    let workload: Workload = serde_json::from_slice(&std::fs::read(workload)?)?;
    let encoder = read_encoder_in(Path::new(model), precision)?;
    let mut worker = Worker::new(encoder, Path::new(task), workload)?;
    for line in stdin().lock().lines() {
        let order: Order = serde_json::from_str(&line?)?;
        let answer = worker.obey(&order)?;
        let mut out = stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

impl Worker {
    fn new(encoder: Encoder, task: &Path, workload: Workload) -> Result<Self, Box<dyn Error>> {
        let options = GraftOptions {
            bottleneck: workload.bottleneck,
            activation: workload.activation,
            pooling: workload.pooling,
            ..GraftOptions::default()
        };
        let config = options.config(workload.labels);
        let layout = TaskLayout::new(&config, &encoder.config);
        let bytes = std::fs::read(task)?;
        let tensors = SafeTensors::deserialize(&bytes)?;
        let mut values = Vec::with_capacity(layout.list().len());
        for spec in layout.list().specs() {
            let tensor = tensors.tensor(&spec.name)?;
            values.extend(tensor.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        }
        let batches = workload.batches.into_iter().map(Batch::new).collect();
        let moments = Moments::zero(values.len());
        let task = TaskParameters::from_values(layout, values);
        Ok(Self { encoder, task, batches, engine: GradientEngine::default(), moments, steps: 0 })
    }

    fn obey(&mut self, order: &Order) -> Result<Value, Box<dyn Error>> {
        Ok(match order.what.as_str() {
            "logits" => json!({ "logits": self.infer() }),
            "train" => timed(|| self.train(order.dropout)),
            "infer" => timed(|| drop(self.infer())),
            "gemm" => json!({ "gflops": gemm_rate() }),
            "memory" => json!({ "bytes": peak_bytes()? }),
            other => return Err(format!("unknown command `{other}`").into()),
        })
    }

    fn infer(&self) -> Vec<Vec<f32>> {
        let answer = |batch: &Batch| {
            let queries: Vec<Query<'_>> =
                batch.rows.iter().map(|tokens| Query { tokens, task: &self.task }).collect();
            logits(&self.encoder, &queries)
        };
        self.batches.iter().flat_map(answer).collect()
    }

    fn train(&mut self, with_dropout: bool) {
        let optimizer = AdamW::default();
        for batch in &self.batches {
            let dropout = if with_dropout {
                EncoderDropout::training(&self.encoder.config, 1, self.steps)
            } else {
                EncoderDropout::none()
            };
            let (_, gradients) =
                self.engine.compute(&self.encoder, &self.task, &batch.packed, &batch.targets, &dropout);
            let scale = clipping(norm(gradients), 1.0);
            let (layout, values) = self.task.split_mut();
            // So small a rate that the numbers, and with them the work, stay what they are.
            optimizer.update(layout.list().specs(), 1e-9, (gradients, scale), &mut self.moments, values);
            self.steps += 1;
        }
    }
}

impl Batch {
    fn new(rows: Vec<Row>) -> Self {
        let targets = rows.iter().map(|row| Target::Class(row.class)).collect();
        let rows: Vec<TokenIds> = rows
            .into_iter()
            .map(|row| TokenIds { ids: row.ids, type_ids: row.type_ids, ..TokenIds::default() })
            .collect();
        Self { packed: PackedBatch::new(&rows), rows, targets }
    }
}

fn timed(work: impl FnOnce()) -> Value {
    let start = Instant::now();
    work();
    json!({ "seconds": start.elapsed().as_secs_f64() })
}

/// The best of some rounds of products as the feed-forward network has them, each thread with its own: what the machine
/// gives when nothing but products runs.
fn gemm_rate() -> f64 {
    const ROUNDS: usize = 6;
    let (tokens, inner, columns) = (512, 384, 1536);
    let threads = rayon::current_num_threads();
    let repeats = 20;
    let right = PackedMatrix::new(Matrix::new(&vec![0.25; inner * columns], inner, columns));
    let rate = || {
        let start = Instant::now();
        (0..threads).into_par_iter().with_max_len(1).for_each(|_| {
            let left = vec![0.5; tokens * inner];
            let mut result = vec![0.0; tokens * columns];
            for _ in 0..repeats {
                let result = MatrixMut::new(&mut result, tokens, columns);
                matmul_packed(result, Matrix::new(&left, tokens, inner), &right, Start::Zero);
            }
            std::hint::black_box(&result);
        });
        (2 * tokens * inner * columns * repeats * threads) as f64 / start.elapsed().as_secs_f64() / 1e9
    };
    (0..ROUNDS).map(|_| rate()).fold(0.0, f64::max)
}

/// `VmHWM` of the process, on Linux.
fn peak_bytes() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no `VmHWM`")?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes * 1024)
}
