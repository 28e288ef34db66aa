//! What a run was: its settings, and the command that repeats it.

use crate::adapter::Manifest;
use crate::data::Source;
use crate::encoder::BasePrecision;
use crate::graft::Grafted;
use crate::report::chart::number;
use crate::report::number::grouped;
use crate::text::{escape, listed};
use crate::train::ClassWeights;

/// Labels that are named among the facts.
const NAMED_LABELS: usize = 12;

/// Names and values for people.
pub(super) fn facts(grafted: &Grafted, train: &Source, dev: &Source) -> Vec<(&'static str, String)> {
    let (manifest, training) = (grafted.adapter.manifest(), &grafted.training);
    let adapter = &manifest.adapter;
    let options = &training.options;
    let precision = match manifest.base.precision {
        BasePrecision::F32 => "",
        BasePrecision::Int8 => ", its linear layers in 8 bits",
    };
    let rows =
        |count: usize, source: &Source| format!("{} of {}", grouped(count), escape(&source.own_name(), 120));
    let mut facts = vec![("Task", format!("{} of {}", manifest.task.kind, manifest.task.rows()))];
    if !manifest.task.labels.is_empty() {
        facts.push(("Labels", labels(&manifest.task.labels)));
    }
    facts.extend([
        (
            "Base",
            format!(
                "{}{precision}, {} numbers{}",
                escape(&manifest.base.name, 80),
                grouped(manifest.base.parameters),
                if adapter.method.fine_tunes() { "" } else { ", frozen" }
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
                options.learning_rate_for(adapter),
                number(100.0 * options.warmup)
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
            manifest.calibration.map_or("none".to_owned(), |calibration| calibration.to_string()),
        ),
        (
            "Thresholds",
            manifest.thresholds.as_ref().map_or("none".to_owned(), |all| {
                let all = all.iter().map(|least| format!("{least:.3}"));
                format!("fitted on these dev rows: {}", listed(all, NAMED_LABELS))
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
    let named = names.iter().map(|name| escape(name, 60));
    format!("{}: {}", grouped(names.len()), listed(named, NAMED_LABELS))
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
