//! What a run was: its settings, and the command that repeats it.

use std::path::Path;

use crate::adapter::Manifest;
use crate::data::{Source, TaskKind};
use crate::encoder::BasePrecision;
use crate::graft::{GraftOptions, Grafted};
use crate::metrics::Metric;
use crate::report::number::grouped;
use crate::text::escape;
use crate::train::ClassWeights;

/// Labels that are named among the facts.
const NAMED_LABELS: usize = 12;

/// A file's own name: a report must not tell where on this machine it lies.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| "-".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Names and values for people.
pub(super) fn facts(grafted: &Grafted, train: &Source, dev: &Source) -> Vec<(&'static str, String)> {
    let (manifest, training) = (grafted.adapter.manifest(), &grafted.training);
    let adapter = &manifest.adapter;
    let options = &training.options;
    let precision = match manifest.base.precision {
        BasePrecision::F32 => "",
        BasePrecision::Int8 => ", its linear layers in 8 bits",
    };
    let rows = |count: usize, source: &Source| {
        format!("{} of {}", grouped(count), escape(&file_name(&source.path), 80))
    };
    let texts = if manifest.task.pair { "pairs of texts" } else { "single texts" };
    let mut facts = vec![("Task", format!("{} of {texts}", manifest.task.kind))];
    if !manifest.task.labels.is_empty() {
        facts.push(("Labels", labels(&manifest.task.labels)));
    }
    facts.extend([
        (
            "Base",
            format!(
                "{}{precision}, {} numbers, frozen",
                escape(&manifest.base.name, 80),
                grouped(manifest.base.parameters)
            ),
        ),
        ("Method", method(manifest)),
        ("Training rows", rows(training.train_rows, train)),
        ("Dev rows", rows(training.dev_rows, dev)),
        ("Longest text", format!("{} tokens", manifest.max_length)),
        (
            "Steps",
            format!(
                "{} of {} rows, at most {} epochs; {}",
                grouped(training.steps as usize),
                options.batch_size,
                options.epochs_for(training.train_rows),
                training.ending
            ),
        ),
        (
            "Learning rate",
            format!(
                "at most {}, rising over {} % of the steps, then falling to 0",
                options.learning_rate_for(adapter.method),
                100.0 * options.warmup
            ),
        ),
        (
            "Regularisation",
            format!(
                "weight decay {}, gradients of norm {} at most, {}",
                options.optimizer.weight_decay,
                options.max_grad_norm,
                if options.dropout { "the base's dropout" } else { "no dropout" }
            ),
        ),
        (
            "Calibration",
            manifest.calibration.map_or("none".to_owned(), |calibration| {
                format!(
                    "temperature {:.3}; expected error of the probabilities on these dev rows {:.4}, before {:.4}",
                    calibration.temperature, calibration.error_after, calibration.error_before
                )
            }),
        ),
        ("Class weights", options.class_weights.as_ref().map_or("equal".to_owned(), class_weights)),
        ("Seed", options.seed.to_string()),
        ("Program", manifest.tool.clone()),
        ("SHA-256 of the adapter", manifest.weights_sha256.clone()),
    ]);
    facts
}

fn class_weights(weights: &ClassWeights) -> String {
    let words: Vec<String> = weights.words().iter().map(|word| escape(&word.to_string(), 60)).collect();
    words.join(", ")
}

fn labels(names: &[String]) -> String {
    let named: Vec<String> = names.iter().take(NAMED_LABELS).map(|name| escape(name, 60)).collect();
    let more = match names.len().saturating_sub(NAMED_LABELS) {
        0 => String::new(),
        more => format!(" and {} more", grouped(more)),
    };
    format!("{}: {}{more}", grouped(names.len()), named.join(", "))
}

/// The method and its sizes.
pub(super) fn method(manifest: &Manifest) -> String {
    let adapter = &manifest.adapter;
    let mut form = String::new();
    if adapter.method.has_adapters() {
        if adapter.adapt_from_layer > 0 {
            form = format!(" from layer {} (counted from 0)", adapter.adapt_from_layer);
        }
        form += &format!(", bottleneck {}, {} activation", adapter.bottleneck, adapter.activation);
    }
    if adapter.freeze_layernorm {
        form += ", frozen layer normalisations";
    }
    format!("{}{form}, {}", adapter.method, adapter.reading())
}

/// The command that gives the same bytes again, in the folder of the files. What decides the numbers is always named, the
/// rest where it is not the default.
pub(super) fn command(grafted: &Grafted, train: &Source, dev: &Source) -> String {
    let (manifest, training) = (grafted.adapter.manifest(), &grafted.training);
    let (defaults, adapter) = (GraftOptions::default(), &manifest.adapter);
    let options = &training.options;
    let mut words = vec!["grafter train".to_owned()];
    let mut flag = |name: &str, value: String| words.push(format!("{name} {}", quoted(&value)));
    flag("--train", file_name(&train.path));
    flag("--dev", file_name(&dev.path));
    flag("--out", "adapter".to_owned());
    let mut unless = |is_default: bool, name: &str, value: String| {
        if !is_default {
            flag(name, value);
        }
    };
    if let Some(format) = train.format.or(dev.format) {
        unless(false, "--format", format.to_string());
    }
    for (name, column) in [
        ("--text-column", &train.columns.text),
        ("--text-b-column", &train.columns.text_b),
        ("--label-column", &train.columns.label),
        ("--label-separator", &train.columns.label_separator.map(String::from)),
    ] {
        unless(column.is_none(), name, column.clone().unwrap_or_default());
    }
    unless(manifest.task.kind == TaskKind::Classification, "--kind", manifest.task.kind.to_string());
    unless(manifest.base.name == "minilm", "--model", manifest.base.name.clone());
    unless(manifest.base.precision == BasePrecision::F32, "--base", manifest.base.precision.to_string());
    unless(adapter.method == defaults.method, "--method", adapter.method.to_string());
    if adapter.method.has_adapters() {
        unless(false, "--bottleneck", adapter.bottleneck.to_string());
        unless(adapter.activation == defaults.activation, "--activation", adapter.activation.to_string());
        unless(adapter.adapt_from_layer == 0, "--adapt-from-layer", adapter.adapt_from_layer.to_string());
    }
    unless(adapter.pooling == defaults.pooling, "--pooling", adapter.pooling.to_string());
    unless(adapter.head == defaults.head, "--head", adapter.head.to_string());
    unless(manifest.max_length == defaults.max_length, "--max-length", manifest.max_length.to_string());
    let metric = training.metric;
    unless(metric == Metric::default_for(manifest.task.kind), "--metric", metric.to_string());
    unless(false, "--epochs", options.epochs_for(training.train_rows).to_string());
    unless(options.max_steps.is_none(), "--max-steps", options.max_steps.unwrap_or_default().to_string());
    unless(false, "--batch-size", options.batch_size.to_string());
    unless(false, "--lr", options.learning_rate_for(adapter.method).to_string());
    let usual = &defaults.train;
    unless(options.warmup == usual.warmup, "--warmup", options.warmup.to_string());
    let decay = options.optimizer.weight_decay;
    unless(decay == usual.optimizer.weight_decay, "--weight-decay", decay.to_string());
    unless(
        options.max_grad_norm == usual.max_grad_norm,
        "--max-grad-norm",
        options.max_grad_norm.to_string(),
    );
    unless(options.init_std == usual.init_std, "--init-std", options.init_std.to_string());
    unless(options.eval_every.is_none(), "--eval-every", options.eval_every.unwrap_or_default().to_string());
    unless(options.patience.is_none(), "--patience", options.patience.unwrap_or_default().to_string());
    for word in options.class_weights.iter().flat_map(ClassWeights::words) {
        unless(false, "--class-weights", word.to_string());
    }
    unless(false, "--seed", options.seed.to_string());
    let fitted = manifest.thresholds.is_some();
    for (set, name) in [
        (fitted, "--fit-thresholds"),
        (!options.dropout, "--no-dropout"),
        (adapter.freeze_layernorm, "--freeze-layernorm"),
        (manifest.calibration.is_some(), "--calibrate"),
    ] {
        if set {
            words.push(name.to_owned());
        }
    }
    words.join(" ")
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+,:=@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
