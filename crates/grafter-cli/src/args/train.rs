//! The arguments of `grafter train`, and the settings of a run that other commands share.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use grafter::adapter::{AdapterActivation, HeadForm, Method, Pooling};
use grafter::bank::TaskName;
use grafter::data::TaskKind;
use grafter::encoder::BasePrecision;
use grafter::graft::{GraftOptions, default_max_length};
use grafter::metrics::Metric;
use grafter::train::{ClassWeight, ClassWeights};

use super::number::{number, whole};
use super::{Every, ModelOrBankArg, RowArgs};
use crate::memory;

/// What a run needs is told in the usage, since no single flag is needed in all of its forms.
#[derive(Debug, Args)]
#[command(
    override_usage = "grafter train [OPTIONS] --train <FILE>... --dev <FILE>... --out <DIR>\n       \
                      grafter train [OPTIONS] --train <FILE>... --dev <FILE>... --bank <BANK> --task <NAME>\n       \
                      grafter train [OPTIONS] --bank <BANK> --sequence <TOML>",
    group(ArgGroup::new("place").args(["out", "bank"]).required(true)),
    group(ArgGroup::new("named").args(["task", "sequence"]).multiple(true))
)]
pub struct Train {
    /// Labelled rows to learn from: .csv, .tsv, .jsonl, .parquet, .conll or .json (SQuAD), with .gz or .zst after it if
    /// compressed; several files, patterns such as 'part-*.csv' and hf://datasets/OWNER/NAME/PATH of the Hugging Face hub
    /// are read as one
    #[arg(long, value_name = "FILE", num_args = 1.., required_unless_present = "sequence", requires = "dev")]
    pub train: Vec<PathBuf>,

    /// Labelled rows to choose the best evaluation by
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "train")]
    pub dev: Vec<PathBuf>,

    /// Folder to write the adapter to
    #[arg(long, value_name = "DIR", conflicts_with = "bank")]
    pub out: Option<PathBuf>,

    /// Replace the adapter if the folder exists
    #[arg(long, conflicts_with = "bank")]
    pub overwrite: bool,

    /// Bank to put the adapter into, in place of a folder of its own
    #[arg(long, value_name = "BANK", requires = "named")]
    pub bank: Option<PathBuf>,

    /// Name of the task in the bank: small letters, digits, `.`, `_` and `-`
    #[arg(long, value_name = "NAME", requires = "bank", conflicts_with = "out")]
    pub task: Option<TaskName>,

    /// Make this the newest version of a task that the bank has; the earlier ones stay
    #[arg(long, requires = "bank", conflicts_with = "out")]
    pub new_version: bool,

    /// Prove later that the task has not changed by answers to made-up texts, so that the bank keeps none of the dev rows
    #[arg(long, requires = "bank", conflicts_with = "out")]
    pub made_up_probes: bool,

    /// Train a list of tasks into the bank, one after another, and show what is left of each after each training, beside
    /// the same for fine-tuning one model on them
    #[arg(long, value_name = "TOML", requires = "bank",
          conflicts_with_all = ["train", "dev", "out", "task", "kind", "metric", "log", "tensorboard", "json"])]
    pub sequence: Option<PathBuf>,

    /// Go on with a sequence that was interrupted: the tasks that it trained into the bank stay. Fine-tuning begins anew
    #[arg(long = "continue", requires = "sequence", conflicts_with_all = ["new_version", "train", "out"])]
    pub go_on: bool,

    /// Leave out fine-tuning one model on the tasks of --sequence, which takes longer than the adapters
    #[arg(long, requires = "sequence", conflicts_with_all = ["train", "out"])]
    pub no_fine_tuning: bool,

    /// Kind of task: classification, multi-label (any number of labels a row), regression, entities (spans of words, marked by
    /// tags such as B-place, I-place and O), tags (a tag for each word), multiple-choice (one of a row's own texts) or
    /// question-answering (a part of a context)
    #[arg(long, value_name = "KIND", default_value = "classification")]
    pub kind: TaskKind,

    /// Write the state of the run after so many steps, as in 500, or about every so often, as in 10m, so that --resume goes on
    /// from it; it lies in `<OUT>.checkpoints`, or `<BANK>.<TASK>.checkpoints`, until the run has ended
    #[arg(long, value_name = "N|TIME", conflicts_with = "sequence")]
    pub checkpoint_every: Option<Every>,

    /// Go on from the newest checkpoint of this run, which ends as if it had never stopped; without one it begins with the first
    /// step. Further ones are written every 10m if --checkpoint-every says nothing else
    #[arg(long, conflicts_with = "sequence")]
    pub resume: bool,

    /// File for the log of steps and evaluations, in JSON lines; `<OUT>.log.jsonl`, or `<BANK>.<TASK>.log.jsonl`, if absent
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,

    /// Leave out the report of the run, report.html and its numbers
    #[arg(long)]
    pub no_report: bool,

    /// Leave the texts of the worst dev rows out of the report
    #[arg(long)]
    pub no_report_texts: bool,

    /// Folder for TensorBoard's event files, one of its own for each run; none are written if absent
    #[arg(long, value_name = "DIR")]
    pub tensorboard: Option<PathBuf>,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub model: ModelOrBankArg,

    #[command(flatten)]
    pub rows: RowArgs,

    /// Read the model's linear layers as they are or in 8 bits: f32 or int8; f32, or as the bank says, if absent. 8 bits
    /// take less time forward on CPUs with AVX-512 VNNI, and the scores differ slightly
    #[arg(long, value_name = "PRECISION", conflicts_with = "bank")]
    pub base: Option<BasePrecision>,

    #[command(flatten)]
    pub options: TrainingArgs,
}

/// The settings of a run; what is absent keeps the library's default.
#[derive(Debug, Args)]
#[command(next_help_heading = "Training", allow_negative_numbers = true)]
pub struct TrainingArgs {
    #[command(flatten)]
    pub shared: SharedTrainingArgs,

    /// What trains, beside the head: houlsby (two adapters a layer and the layer normalisations), pfeiffer (one adapter a
    /// layer), full (all of the encoder), top-N (its N upper layers), layernorm, bias, or head (nothing)
    #[arg(long, default_value_t = GraftOptions::default().method)]
    pub method: Method,

    /// Width of the adapters; 64 if absent
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    pub bottleneck: Option<usize>,

    /// What chooses the best evaluation: accuracy, f1 (of the second of two labels in
    /// sorted order, or that of a Parquet file which names its classes), macro-f1, micro-f1 (of several labels, or of entities),
    /// matthews, pearson or spearman, or exact-match or token-f1 (of answers to questions); accuracy, or micro-f1 of several
    /// labels and of entities, pearson for regression, or token-f1, if absent
    #[arg(long, value_name = "NAME")]
    pub metric: Option<Metric>,

    /// Largest learning rate; 0.001, but 0.0003 for adapters wider than 64, 0.0001 for full and top-N and 0.01 for the head
    /// alone, if absent
    #[arg(long, value_name = "RATE", value_parser = number::<f64>)]
    pub lr: Option<f64>,

    /// Standard deviation that the adapters begin with; 0.01 if absent
    #[arg(long, value_name = "STD", value_parser = number::<f32>)]
    pub init_std: Option<f32>,

    /// Decides initialisation, order and dropout
    #[arg(long, value_name = "N", default_value_t = GraftOptions::default().train.seed, value_parser = whole::<u64>)]
    pub seed: u64,
}

/// The settings that all runs of a command have in common.
#[derive(Debug, Args)]
#[command(next_help_heading = "Training", allow_negative_numbers = true)]
pub struct SharedTrainingArgs {
    /// Non-linearity of the adapters: relu, gelu, gelu-tanh, silu or tanh; gelu if absent
    #[arg(long, value_name = "NAME")]
    pub activation: Option<AdapterActivation>,

    /// Lowest layer to adapt, counted from 0. Above 0 all below stays the bare encoder, and each text passes it only once in
    /// a run
    #[arg(long, value_name = "LAYER", default_value_t = GraftOptions::default().adapt_from_layer, value_parser = whole::<usize>)]
    pub adapt_from_layer: usize,

    /// Leave the layer normalisations as the model has them, which `houlsby` trains otherwise; AdapterHub's format cannot
    /// hold trained ones. `pfeiffer` and `head` never train them, the other methods refuse it
    #[arg(long)]
    pub freeze_layernorm: bool,

    /// What the head reads: cls (the pooled first token), first (the first token as it is) or mean (of all tokens); mean if absent.
    /// Tasks that answer words read each word's first token, questions every token
    #[arg(long, value_name = "NAME")]
    pub pooling: Option<Pooling>,

    /// What the head computes of it: linear, or dense (another layer and tanh before it); dense-relu, dense-gelu, dense-silu
    /// have another activation
    #[arg(long, value_name = "NAME", default_value_t = GraftOptions::default().head)]
    pub head: HeadForm,

    /// Texts are cut to this many tokens; 128, or 384 of questions with their contexts, or what the model has if that is less,
    /// if absent
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    pub max_length: Option<usize>,

    /// Tokens that two windows of a longer context share, of a task of the kind question-answering; a third of the longest length
    /// if absent
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    pub stride: Option<usize>,

    /// Passes over the training rows; enough for about 1,200 steps, but 4 to 20, if absent
    #[arg(long, value_name = "N", value_parser = whole::<u32>)]
    pub epochs: Option<u32>,

    /// Steps after which the run ends in any case; those of all epochs if absent
    #[arg(long, value_name = "N", value_parser = whole::<u64>)]
    pub max_steps: Option<u64>,

    /// Rows of one step
    #[arg(long, value_name = "N", default_value_t = GraftOptions::default().train.batch_size, value_parser = whole::<usize>)]
    pub batch_size: usize,

    /// Share of the steps in which the learning rate rises from zero
    #[arg(long, value_name = "SHARE", default_value_t = GraftOptions::default().train.warmup, value_parser = number::<f64>)]
    pub warmup: f64,

    /// Decoupled weight decay of the matrices
    #[arg(long, value_name = "RATE", default_value_t = GraftOptions::default().train.optimizer.weight_decay, value_parser = number::<f64>)]
    pub weight_decay: f64,

    /// Largest norm of the gradients
    #[arg(long, value_name = "NORM", default_value_t = GraftOptions::default().train.max_grad_norm, value_parser = number::<f64>)]
    pub max_grad_norm: f64,

    /// How much a class counts in the loss: a label and its weight, or auto, by which all that are not named count as if
    /// there were equally many rows of each. May be given several times; all count once if absent
    #[arg(long, value_name = "auto|LABEL=WEIGHT")]
    pub class_weights: Vec<ClassWeight>,

    /// Fit a temperature on the dev rows, by which the probabilities of the answers are what they say; no answer changes
    #[arg(long)]
    pub calibrate: bool,

    /// Fit on the dev rows, for each label of a task of the kind multi-label, the probability from which on a row has it, one
    /// half if absent; or, where questions may have no answer, by how much none must be preferred, 0 if absent
    #[arg(long)]
    pub fit_thresholds: bool,

    /// Train without the model's dropout
    #[arg(long)]
    pub no_dropout: bool,

    /// Steps between evaluations; the end of each epoch if absent
    #[arg(long, value_name = "STEPS", value_parser = whole::<u64>)]
    pub eval_every: Option<u64>,

    /// End the run after this many evaluations without a better score, an equal one is none; never if absent
    #[arg(long, value_name = "N", value_parser = whole::<u32>)]
    pub patience: Option<u32>,
}

impl TrainingArgs {
    /// The settings for tasks of some kinds on an encoder whose longest sequence is `longest` tokens.
    pub fn options(&self, longest: usize, kinds: &[TaskKind]) -> GraftOptions {
        let mut options = GraftOptions {
            method: self.method,
            bottleneck: self.bottleneck.unwrap_or(GraftOptions::default().bottleneck),
            metric: self.metric,
            ..self.shared.options(longest, kinds)
        };
        options.train.learning_rate = self.lr;
        options.train.init_std = self.init_std.unwrap_or(options.train.init_std);
        options.train.seed = self.seed;
        options
    }
}

impl SharedTrainingArgs {
    /// The settings for tasks of some kinds on an encoder whose longest sequence is `longest` tokens; the rest is the library's
    /// default.
    pub fn options(&self, longest: usize, kinds: &[TaskKind]) -> GraftOptions {
        let default = GraftOptions::default();
        let mut options = GraftOptions {
            activation: self.activation.unwrap_or(default.activation),
            adapt_from_layer: self.adapt_from_layer,
            freeze_layernorm: self.freeze_layernorm,
            pooling: self.pooling.unwrap_or(default.pooling),
            head: self.head,
            calibrate: self.calibrate,
            fit_thresholds: self.fit_thresholds,
            max_length: max_length(self.max_length, longest, kinds),
            stride: self.stride,
            ..default
        };
        let train = &mut options.train;
        train.budget.training_bytes = memory::free();
        train.epochs = self.epochs;
        train.max_steps = self.max_steps;
        train.batch_size = self.batch_size;
        train.warmup = self.warmup;
        train.optimizer.weight_decay = self.weight_decay;
        train.max_grad_norm = self.max_grad_norm;
        train.dropout = !self.no_dropout;
        train.eval_every = self.eval_every;
        train.patience = self.patience;
        train.class_weights = ClassWeights::of_words(&self.class_weights);
        options
    }
}

/// The longest length that was asked for, or the default as far as the model has it: the shortest of those of the tasks' kinds.
pub fn max_length(asked: Option<usize>, longest: usize, kinds: &[TaskKind]) -> usize {
    let default = kinds.iter().map(|kind| default_max_length(*kind)).min();
    asked.unwrap_or(default.unwrap_or(GraftOptions::default().max_length).min(longest))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use grafter::graft::GraftOptions;

    use crate::args::Arguments;

    /// Flags that are told from their absence have no default that clap could print.
    #[test]
    fn the_help_tells_the_defaults_that_the_library_has() {
        let command = Arguments::command();
        let train = command.find_subcommand("train").unwrap();
        let default = GraftOptions::default();
        for (flag, value) in [
            ("bottleneck", default.bottleneck.to_string()),
            ("init_std", default.train.init_std.to_string()),
            ("activation", default.activation.to_string()),
            ("pooling", default.pooling.to_string()),
        ] {
            let argument = train.get_arguments().find(|argument| argument.get_id() == flag).unwrap();
            let help = argument.get_help().unwrap().to_string();
            assert!(help.contains(&format!("{value} if absent")), "{flag}: {help}");
        }
    }
}
