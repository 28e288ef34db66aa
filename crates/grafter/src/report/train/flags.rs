//! The flags that give the same bytes again, as a command for a shell and as a file for `--config`.
//!
//! What decides the numbers is always named, the rest where it is not the default.

use std::fmt::Write;

use serde_json::Value;

use crate::data::{Source, TaskKind};
use crate::encoder::BasePrecision;
use crate::graft::{GraftOptions, Grafted, default_max_length};
use crate::metrics::Metric;
use crate::row_encoding::default_stride;
use crate::text::shell_word;
use crate::train::ClassWeights;

/// The flags of a run, in the folder of its files.
pub(super) struct Flags(Vec<Flag>);

/// One flag, with its value if it has one.
struct Flag {
    name: &'static str,
    value: Option<String>,
}

impl Flags {
    /// Those of a run, each file by its own name.
    pub(super) fn of(grafted: &Grafted, train: &Source, dev: &Source) -> Self {
        let mut flags = Self(Vec::new());
        for (name, source) in [("train", train), ("dev", dev)] {
            source.files.iter().for_each(|file| flags.always(name, file.own_name()));
        }
        flags.always("out", "adapter");
        flags.data(grafted, train, dev);
        flags.form(grafted);
        flags.run(grafted);
        flags
    }

    /// The command for a shell.
    pub(super) fn command(&self) -> String {
        let mut command = "grafter train".to_owned();
        for Flag { name, value } in &self.0 {
            // Writing to a string cannot fail.
            let _ = match value {
                Some(value) => write!(command, " --{name} {}", shell_word(value)),
                None => write!(command, " --{name}"),
            };
        }
        command
    }

    /// The file for `--config`; a flag that is given several times is a list. A text of JSON is one of TOML, too.
    pub(super) fn toml(&self) -> String {
        let mut text = "# The settings of this run: `grafter train --config FILE` repeats it in the folder of its files.\n".to_owned();
        for (place, Flag { name, value }) in self.0.iter().enumerate() {
            let same = || self.0.iter().filter(|flag| flag.name == *name);
            if self.0[..place].iter().any(|earlier| earlier.name == *name) {
                continue;
            }
            let values: Vec<Value> = same().filter_map(|flag| flag.value.as_deref().map(setting)).collect();
            let value = match (value, &values[..]) {
                (None, _) => Value::from(true),
                (Some(_), [value]) => value.clone(),
                (Some(_), _) => Value::from(values),
            };
            let _ = writeln!(text, "{name} = {value}");
        }
        text
    }

    fn always(&mut self, name: &'static str, value: impl ToString) {
        self.0.push(Flag { name, value: Some(value.to_string()) });
    }

    fn unless(&mut self, is_default: bool, name: &'static str, value: impl ToString) {
        if !is_default {
            self.always(name, value);
        }
    }

    fn some<T: ToString>(&mut self, name: &'static str, value: Option<T>) {
        if let Some(value) = value {
            self.always(name, value);
        }
    }

    fn set(&mut self, is_set: bool, name: &'static str) {
        if is_set {
            self.0.push(Flag { name, value: None });
        }
    }

    /// How the files are read, and on which base.
    fn data(&mut self, grafted: &Grafted, train: &Source, dev: &Source) {
        let manifest = grafted.adapter.manifest();
        self.some("format", train.format.or(dev.format));
        self.some("text-column", train.columns.text.as_ref());
        self.some("text-b-column", train.columns.text_b.as_ref());
        self.some("label-column", train.columns.label.as_ref());
        let choices = &train.columns.choices;
        self.unless(choices.is_empty(), "choices-column", choices.join(","));
        self.some("label-separator", train.columns.label_separator);
        self.some("tag-scheme", train.columns.tag_scheme);
        self.unless(manifest.task.kind == TaskKind::Classification, "kind", manifest.task.kind);
        self.unless(manifest.base.name == "minilm", "model", &manifest.base.name);
        self.unless(manifest.base.precision == BasePrecision::F32, "base", manifest.base.precision);
    }

    /// What is grafted.
    fn form(&mut self, grafted: &Grafted) {
        let (defaults, manifest) = (GraftOptions::default(), grafted.adapter.manifest());
        let adapter = &manifest.adapter;
        self.unless(adapter.method == defaults.method, "method", adapter.method);
        if adapter.method.has_adapters() {
            self.always("bottleneck", &adapter.bottleneck);
            self.unless(adapter.activation == defaults.activation, "activation", adapter.activation);
            self.unless(adapter.adapt_from_layer == 0, "adapt-from-layer", adapter.adapt_from_layer);
        }
        self.set(adapter.freeze_layernorm, "freeze-layernorm");
        self.unless(adapter.pooling == defaults.pooling, "pooling", adapter.pooling);
        self.unless(adapter.head == defaults.head, "head", adapter.head);
        let usual = default_max_length(manifest.task.kind);
        self.unless(manifest.max_length == usual, "max-length", manifest.max_length);
        let usual = default_stride(manifest.max_length);
        self.some("stride", manifest.stride.filter(|stride| *stride != usual));
    }

    /// How it is trained.
    fn run(&mut self, grafted: &Grafted) {
        let (manifest, training) = (grafted.adapter.manifest(), &grafted.training);
        let (options, usual) = (&training.options, GraftOptions::default().train);
        let metric = training.metric;
        self.unless(metric == Metric::default_for(manifest.task.kind), "metric", metric);
        self.always("epochs", options.epochs_for(training.train_rows));
        self.some("max-steps", options.max_steps);
        self.always("batch-size", options.batch_size);
        self.always("lr", options.learning_rate_for(&manifest.adapter));
        self.unless(options.warmup == usual.warmup, "warmup", options.warmup);
        let decay = options.optimizer.weight_decay;
        self.unless(decay == usual.optimizer.weight_decay, "weight-decay", decay);
        self.unless(options.max_grad_norm == usual.max_grad_norm, "max-grad-norm", options.max_grad_norm);
        if manifest.adapter.method.has_adapters() {
            self.unless(options.init_std == usual.init_std, "init-std", options.init_std);
        }
        self.some("eval-every", options.eval_every);
        self.some("patience", options.patience);
        for word in options.class_weights.iter().flat_map(ClassWeights::words) {
            self.always("class-weights", word);
        }
        self.always("seed", options.seed);
        self.set(!options.dropout, "no-dropout");
        self.set(manifest.calibration.is_some(), "calibrate");
        self.set(manifest.thresholds.is_some(), "fit-thresholds");
    }
}

/// A word as a setting: a number, if the file's reader makes the same word of it, or a text.
fn setting(word: &str) -> Value {
    let integer = word.parse::<i64>().ok().filter(|number| number.to_string() == word).map(Value::from);
    let float = || word.parse::<f64>().ok().filter(|number| number.is_finite() && number.to_string() == word);
    integer.or_else(|| float().map(Value::from)).unwrap_or_else(|| word.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_a_number_where_it_can_be() {
        for (word, expected) in [
            ("42", "42"),
            ("0.001", "0.001"),
            ("0.0000001", "1e-7"),
            ("64,32", "\"64,32\""),
            ("1e-7", "\"1e-7\""),
            ("007", "\"007\""),
            ("18446744073709551615", "\"18446744073709551615\""),
            ("inf", "\"inf\""),
            ("", "\"\""),
        ] {
            assert_eq!(setting(word).to_string(), expected, "{word}");
        }
    }
}
