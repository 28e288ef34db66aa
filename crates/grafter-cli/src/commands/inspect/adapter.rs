//! The description of an adapter folder, with its seal checked.

use std::path::Path;

use grafter::adapter::{
    AdapterError, CARD_FILE, ImportRecord, MANIFEST_FILE, Manifest, TrainingRecord, WEIGHTS_FILE,
    read_manifest,
};
use grafter::digest::sha256_hex;
use grafter::encoder::BasePrecision;
use grafter::tensors::TensorSummary;
use grafter::text::listed;
use serde::Serialize;

use super::short;
use crate::commands::{
    LISTED_LABELS, base_text, field, label_names, metric_text, percent, print, print_json, printable,
};
use crate::failure::Failure;
use crate::terminal::{bytes, counted, grouped};

/// What was found, as `--json` prints it.
#[derive(Serialize)]
struct Report<'a> {
    what: &'static str,
    folder: &'a Path,
    /// Whether the weights are those that were sealed.
    sealed: bool,
    weights_sha256: String,
    tensors: usize,
    share_of_base: f64,
    bytes: u64,
    manifest: &'a Manifest,
}

/// Prints the description; a broken seal is told in it, and is an error after it.
pub fn inspect(folder: &Path, json: bool) -> Result<(), Failure> {
    let manifest = read_manifest(folder)?;
    let path = folder.join(WEIGHTS_FILE);
    let weights = std::fs::read(&path).map_err(|source| Failure::Read { path: path.clone(), source })?;
    let found = sha256_hex(&weights);
    let sealed = found == manifest.weights_sha256;
    let tensors = match TensorSummary::read(&weights) {
        Ok(tensors) => tensors,
        Err(reason) => return Err(AdapterError::Format { path, reason }.into()),
    };
    let size = |name: &str| std::fs::metadata(folder.join(name)).map_or(0, |file| file.len());
    let report = Report {
        what: "adapter",
        folder,
        sealed,
        weights_sha256: found.clone(),
        tensors: tensors.count,
        share_of_base: manifest.trained_parameters as f64 / manifest.base.parameters.max(1) as f64,
        bytes: weights.len() as u64 + size(MANIFEST_FILE) + size(CARD_FILE),
        manifest: &manifest,
    };
    if json {
        print_json(&report)?;
    } else {
        print(&text(&report))?;
    }
    if !sealed {
        return Err(AdapterError::Digest { path, found, sealed: manifest.weights_sha256 }.into());
    }
    if tensors.numbers != manifest.trained_parameters {
        return Err(AdapterError::Inconsistent {
            path: folder.join(MANIFEST_FILE),
            field: "`trained_parameters`",
            found: manifest.trained_parameters.to_string(),
            expected: format!("{} as `{WEIGHTS_FILE}` has", tensors.numbers),
        }
        .into());
    }
    Ok(())
}

fn text(report: &Report<'_>) -> String {
    let manifest = report.manifest;
    let mut text = field("adapter", report.folder.display());
    text += &task(manifest);
    text += &form(manifest);
    text += &field(
        "base",
        format!(
            "{}, {} numbers{}; weights {}…, tokenizer {}…",
            printable(&manifest.base.name),
            grouped(manifest.base.parameters),
            match manifest.base.precision {
                BasePrecision::F32 => "",
                BasePrecision::Int8 => ", read in int8",
            },
            printable(short(&manifest.base.weights_sha256)),
            printable(short(&manifest.base.tokenizer_sha256)),
        ),
    );
    text += &field(
        if manifest.training.is_some() { "trained" } else { "holds" },
        format!(
            "{} numbers in {}, {} of the base",
            grouped(manifest.trained_parameters),
            counted(report.tensors, "tensor"),
            percent(report.share_of_base),
        ),
    );
    text += &field("files", bytes(report.bytes));
    let seal =
        if report.sealed { "weights intact" } else { "BROKEN, the weights are not those that were sealed" };
    text += &field("seal", format!("{seal}: SHA-256 {}…", short(&report.weights_sha256)));
    if let Some(calibration) = &manifest.calibration {
        text += &field("calibrated", calibration);
    }
    if let Some(threshold) = manifest.no_answer_threshold() {
        let fitted = if manifest.thresholds.is_some() { ", fitted" } else { "" };
        text += &field("no answer", format!("from a threshold of {threshold:.3} on{fitted}"));
    } else if let Some(thresholds) = &manifest.thresholds {
        let shown = thresholds.iter().map(|least| format!("{least:.3}"));
        text += &field("thresholds", listed(shown, LISTED_LABELS));
    }
    text += &match (&manifest.training, &manifest.imported) {
        (Some(record), _) => training(manifest, record),
        (None, Some(record)) => imported(record),
        (None, None) => String::new(),
    };
    text + &field("made by", printable(&manifest.tool))
}

fn task(manifest: &Manifest) -> String {
    let task = &manifest.task;
    let mut text = field("task", format!("{} of {}", task.kind, task.rows()));
    if !task.labels.is_empty() {
        text += &field("labels", format!("{}: {}", task.labels.len(), label_names(&task.labels)));
    }
    if let Some(scale) = task.scores {
        text += &field(
            "scores",
            format!("mean {:.4}, standard deviation {:.4} in training", scale.mean, scale.std),
        );
    }
    text
}

fn form(manifest: &Manifest) -> String {
    let adapter = &manifest.adapter;
    let method = if adapter.method.has_adapters() {
        let from = match adapter.adapt_from_layer {
            0 => String::new(),
            layer => format!(" from layer {layer}"),
        };
        format!("{}{from}, bottleneck {}, {}", adapter.method, adapter.bottleneck, adapter.activation)
    } else {
        adapter.method.to_string()
    };
    let windows = manifest.stride.map_or(String::new(), |stride| format!(" a window, which share {stride}"));
    let frozen = if adapter.freeze_layernorm { ", frozen layer normalisations" } else { "" };
    field(
        "method",
        format!("{method}{frozen}, {}, at most {} tokens{windows}", adapter.reading(), manifest.max_length),
    )
}

fn imported(record: &ImportRecord) -> String {
    let base =
        record.base.as_ref().map_or(String::new(), |base| format!(", trained on `{}`", printable(base)));
    field("imported", format!("`{}` of {}{base}", printable(&record.name), printable(&record.format)))
}

fn training(manifest: &Manifest, training: &TrainingRecord) -> String {
    let options = &training.options;
    let base = base_text(manifest.task.kind);
    let mut text = String::new();
    for (place, metric) in training.dev_scores.defined().into_iter().enumerate() {
        let name = if place == 0 { "dev scores" } else { "" };
        let scores = metric_text(&training.dev_scores, metric);
        let chosen = if metric == training.metric { ", chose the step" } else { "" };
        let baseline = metric_text(&training.baseline, metric);
        text += &field(name, format!("{:9} {scores}  ({base} {baseline}{chosen})", metric.name()));
    }
    text += &field(
        "rows",
        format!("{} in training, {} in dev", grouped(training.train_rows), grouped(training.dev_rows)),
    );
    text + &field(
        "training",
        format!(
            "{}, batches of {}, learning rate {}, seed {}; best at step {} of {}, {}",
            counted(options.epochs_for(training.train_rows) as usize, "epoch"),
            options.batch_size,
            options.learning_rate_for(&manifest.adapter),
            options.seed,
            training.best_step,
            training.steps,
            training.ending,
        ),
    )
}
