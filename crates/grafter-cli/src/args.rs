//! The command line, as clap reads it.

// The paths say what is so anyway, unless this file is itself included by its path, as the fuzz targets do.
#[path = "args/bank.rs"]
mod bank;
#[path = "args/compare.rs"]
mod compare;
#[path = "args/exchange.rs"]
mod exchange;
#[path = "args/serve.rs"]
mod serve;

pub use bank::{Bank, BankAdd, BankInit, BankList, BankRemove, BankVerify};
pub use compare::{Assigned, Compare, Glue, Reproduce, Sweep, TrialArgs, Tune};
pub use exchange::{Export, Import};
pub use serve::{HostName, LogForm, Serve};

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use grafter::adapter::{AdapterActivation, HeadForm, Method, Pooling};
use grafter::bank::{TaskName, TaskRef};
use grafter::data::{Columns, Format, TagScheme, TaskKind};
use grafter::encoder::BasePrecision;
use grafter::graft::{GraftOptions, default_max_length};
use grafter::metrics::Metric;
use grafter::train::{ClassWeight, ClassWeights};

/// Train small adapters on one frozen language model: one per task, none disturbs another.
#[derive(Debug, Parser)]
#[command(name = "grafter", version, max_term_width = 100, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,

    /// Flags from a TOML file, such as `epochs = 3`; those of the command line go before it
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Threads to compute with; all processors if absent
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Fetch the model, train three small tasks one after another, and show what that gives
    Quickstart(Quickstart),
    /// Fetch a pretrained model into the cache
    Pull(Pull),
    /// Train an adapter on a file of labelled text
    Train(Train),
    /// Keep many tasks of one model together, and prove that none has changed
    #[command(subcommand)]
    Bank(Bank),
    /// Compare methods and settings on several tasks: each trained with several seeds, the best by the dev rows
    Compare(Compare),
    /// Try several settings on one task and keep the best adapter
    Tune(Tune),
    /// Run the paper's comparison on its data sets, beside its own numbers
    #[command(subcommand)]
    Reproduce(Reproduce),
    /// Score an adapter on a file of labelled text
    Eval(Eval),
    /// Score an adapter without the adapters of some layers, every span of them, to see what each is worth
    Ablate(Ablate),
    /// Answer each text of a file or of standard input, one JSON line per row, or in a Parquet file
    Predict(Predict),
    /// Answer requests over HTTP, by all tasks of a bank from one process
    Serve(Serve),
    /// Read an adapter of AdapterHub's library for Python
    Import(Import),
    /// Write an adapter as AdapterHub's library for Python reads it, or with its model as one ONNX model
    Export(Export),
    /// Say what an adapter or a model is
    Inspect(Inspect),
    /// Look through data files before training on them
    CheckData(CheckData),
    /// Print what a shell needs to complete commands and flags
    Completions(Completions),
    /// Write a manual page for every command
    Man(Man),
}

#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub struct Man {
    /// Folder to write the pages to, `grafter.1` and one for each command
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

#[derive(Debug, Args)]
pub struct Quickstart {
    /// Folder for the data and the bank of three tasks; what an earlier quickstart left there is replaced
    #[arg(long, value_name = "DIR", default_value = "grafter-quickstart")]
    pub out: PathBuf,

    #[command(flatten)]
    pub model: ModelArg,
}

#[derive(Debug, Args)]
pub struct Pull {
    /// Name of the model
    #[arg(default_value = "minilm")]
    pub model: String,

    /// Fetch and verify again even if it is in the cache
    #[arg(long)]
    pub force: bool,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Which pretrained model.
#[derive(Debug, Args)]
pub struct ModelArg {
    /// Name of a known model, fetched if missing, or a local folder in Hugging Face layout
    #[arg(long, value_name = "NAME|DIR", default_value = "minilm")]
    pub model: String,
}

/// Which pretrained model, for commands that may take it from a bank.
#[derive(Debug, Args)]
pub struct ModelOrBankArg {
    /// Name of a known model, fetched if missing, or a local folder in Hugging Face layout; minilm, or that of the bank, if
    /// absent
    #[arg(long, value_name = "NAME|DIR")]
    pub model: Option<String>,
}

/// How the model is read for an adapter.
#[derive(Debug, Args)]
pub struct BaseArg {
    /// Read the model's linear layers as they are or in 8 bits: f32 or int8; as the adapter was trained if absent
    #[arg(long, value_name = "PRECISION")]
    pub base: Option<BasePrecision>,
}

/// How rows are read.
#[derive(Debug, Args)]
pub struct RowArgs {
    /// Format of the files: csv, tsv, jsonl, parquet, conll, squad or lines; told by the extension if absent
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<Format>,

    /// Column with the text; `sentence` or `text`, or `sentence1` or `text_a` of pairs, or `tokens` or `words` of words, or
    /// `question`, if absent
    #[arg(long, value_name = "NAME")]
    pub text_column: Option<String>,

    /// Column with the second text of a pair; `sentence2` or `text_b`, or `context` of questions, if absent
    #[arg(long, value_name = "NAME")]
    pub text_b_column: Option<String>,

    /// Column with the label, the tags of words, or the answers to a question; `label`, or of words `tags`, `ner_tags` or
    /// `pos_tags`, or of questions `answers`, if absent
    #[arg(long, value_name = "NAME")]
    pub label_column: Option<String>,

    /// Column with the list of texts to choose from, of a task of the kind multiple-choice, or the columns with one each;
    /// `choices` or `options`, or `choice1` or `ending0` and so on, if absent
    #[arg(long, value_name = "NAME[,NAME]", value_delimiter = ',')]
    pub choices_column: Vec<String>,

    /// What stands between the labels of a row, of a task of the kind multi-label; a comma if absent
    #[arg(long, value_name = "CHARACTER")]
    pub label_separator: Option<char>,

    /// How the tags of words mark entities in the files, of a task of the kind entities: iob2 (each begins with B-), iob1 (B-
    /// only after another one of its type) or iobes (also known as BILOU); iob2 if absent
    #[arg(long, value_name = "SCHEME")]
    pub tag_scheme: Option<TagScheme>,
}

impl RowArgs {
    pub fn columns(&self) -> Columns {
        Columns {
            text: self.text_column.clone(),
            text_b: self.text_b_column.clone(),
            label: self.label_column.clone(),
            choices: self.choices_column.clone(),
            label_separator: self.label_separator,
            tag_scheme: self.tag_scheme,
        }
    }
}

#[derive(Debug, Args)]
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
    #[arg(long, value_name = "DIR", required_unless_present = "bank", conflicts_with = "bank")]
    pub out: Option<PathBuf>,

    /// Replace the adapter if the folder exists
    #[arg(long, conflicts_with = "bank")]
    pub overwrite: bool,

    /// Bank to put the adapter into, in place of a folder of its own
    #[arg(long, value_name = "BANK")]
    pub bank: Option<PathBuf>,

    /// Name of the task in the bank: small letters, digits, `.`, `_` and `-`
    #[arg(long, value_name = "NAME", requires = "bank", required_unless_present_any = ["out", "sequence"])]
    pub task: Option<TaskName>,

    /// Make this the newest version of a task that the bank has; the earlier ones stay
    #[arg(long, requires = "bank")]
    pub new_version: bool,

    /// Prove later that the task has not changed by answers to made-up texts, so that the bank keeps none of the dev rows
    #[arg(long, requires = "bank")]
    pub made_up_probes: bool,

    /// Train a list of tasks into the bank, one after another, and show what is left of each after each training, beside
    /// the same for fine-tuning one model on them
    #[arg(long, value_name = "TOML", requires = "bank",
          conflicts_with_all = ["train", "dev", "out", "task", "kind", "metric", "log", "tensorboard", "json"])]
    pub sequence: Option<PathBuf>,

    /// Go on with a sequence that was interrupted: the tasks that it trained into the bank stay. Fine-tuning begins anew
    #[arg(long = "continue", requires = "sequence", conflicts_with = "new_version")]
    pub go_on: bool,

    /// Leave out fine-tuning one model on the tasks of --sequence, which takes longer than the adapters
    #[arg(long, requires = "sequence")]
    pub no_fine_tuning: bool,

    /// Kind of task: classification, multi-label (any number of labels a row), regression, entities (spans of words, marked by
    /// tags such as B-place, I-place and O), tags (a tag for each word), multiple-choice (one of a row's own texts) or
    /// question-answering (a part of a context)
    #[arg(long, value_name = "KIND", default_value = "classification")]
    pub kind: TaskKind,

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

    /// Width of the adapters
    #[arg(long, value_name = "N", default_value_t = GraftOptions::default().bottleneck)]
    pub bottleneck: usize,

    /// What chooses the best evaluation: accuracy, f1 (of the second of two labels in
    /// sorted order, or that of a Parquet file which names its classes), macro-f1, micro-f1 (of several labels, or of entities),
    /// matthews, pearson or spearman, or exact-match or token-f1 (of answers to questions); accuracy, or micro-f1 of several
    /// labels and of entities, pearson for regression, or token-f1, if absent
    #[arg(long, value_name = "NAME")]
    pub metric: Option<Metric>,

    /// Largest learning rate; 0.001, but 0.0001 for full and top-N and 0.01 for the head alone, if absent
    #[arg(long, value_name = "RATE")]
    pub lr: Option<f64>,

    /// Standard deviation that the adapters begin with
    #[arg(long, value_name = "STD", default_value_t = GraftOptions::default().train.init_std)]
    pub init_std: f32,

    /// Decides initialisation, order and dropout
    #[arg(long, value_name = "N", default_value_t = GraftOptions::default().train.seed)]
    pub seed: u64,
}

/// The settings that all runs of a command have in common.
#[derive(Debug, Args)]
#[command(next_help_heading = "Training", allow_negative_numbers = true)]
pub struct SharedTrainingArgs {
    /// Non-linearity of the adapters: relu, gelu, gelu-tanh, silu or tanh
    #[arg(long, value_name = "NAME", default_value_t = GraftOptions::default().activation)]
    pub activation: AdapterActivation,

    /// Lowest layer to adapt, counted from 0. Above 0 all below stays the bare encoder, and each text passes it only once in
    /// a run
    #[arg(long, value_name = "LAYER", default_value_t = GraftOptions::default().adapt_from_layer)]
    pub adapt_from_layer: usize,

    /// Leave the layer normalisations as the model has them, which `houlsby` trains otherwise; AdapterHub's format cannot
    /// hold trained ones. `pfeiffer` and `head` never train them, the other methods refuse it
    #[arg(long)]
    pub freeze_layernorm: bool,

    /// What the head reads: cls (the pooled first token), first (the first token as it is) or mean (of all tokens); of tasks that
    /// answer words always each word's first token
    #[arg(long, value_name = "NAME", default_value_t = GraftOptions::default().pooling)]
    pub pooling: Pooling,

    /// What the head computes of it: linear, or dense (another layer and tanh before it); dense-relu, dense-gelu, dense-silu
    /// have another activation
    #[arg(long, value_name = "NAME", default_value_t = GraftOptions::default().head)]
    pub head: HeadForm,

    /// Texts are cut to this many tokens; 128, or 384 of questions with their contexts, or what the model has if that is less,
    /// if absent
    #[arg(long, value_name = "N")]
    pub max_length: Option<usize>,

    /// Tokens that two windows of a longer context share, of a task of the kind question-answering; a third of the longest length
    /// if absent
    #[arg(long, value_name = "N")]
    pub stride: Option<usize>,

    /// Passes over the training rows; enough for about 1,200 steps, but 4 to 20, if absent
    #[arg(long, value_name = "N")]
    pub epochs: Option<u32>,

    /// Steps after which the run ends in any case; those of all epochs if absent
    #[arg(long, value_name = "N")]
    pub max_steps: Option<u64>,

    /// Rows of one step
    #[arg(long, value_name = "N", default_value_t = GraftOptions::default().train.batch_size)]
    pub batch_size: usize,

    /// Share of the steps in which the learning rate rises from zero
    #[arg(long, value_name = "SHARE", default_value_t = GraftOptions::default().train.warmup)]
    pub warmup: f64,

    /// Decoupled weight decay of the matrices
    #[arg(long, value_name = "RATE", default_value_t = GraftOptions::default().train.optimizer.weight_decay)]
    pub weight_decay: f64,

    /// Largest norm of the gradients
    #[arg(long, value_name = "NORM", default_value_t = GraftOptions::default().train.max_grad_norm)]
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
    #[arg(long, value_name = "STEPS")]
    pub eval_every: Option<u64>,

    /// End the run after this many evaluations without a better score, an equal one is none; never if absent
    #[arg(long, value_name = "N")]
    pub patience: Option<u32>,
}

impl TrainingArgs {
    /// The settings for tasks of some kinds on an encoder whose longest sequence is `longest` tokens.
    pub fn options(&self, longest: usize, kinds: &[TaskKind]) -> GraftOptions {
        let mut options = GraftOptions {
            method: self.method,
            bottleneck: self.bottleneck,
            metric: self.metric,
            ..self.shared.options(longest, kinds)
        };
        options.train.learning_rate = self.lr;
        options.train.init_std = self.init_std;
        options.train.seed = self.seed;
        options
    }
}

impl SharedTrainingArgs {
    /// The settings for tasks of some kinds on an encoder whose longest sequence is `longest` tokens; the rest is the library's
    /// default.
    pub fn options(&self, longest: usize, kinds: &[TaskKind]) -> GraftOptions {
        let mut options = GraftOptions {
            activation: self.activation,
            adapt_from_layer: self.adapt_from_layer,
            freeze_layernorm: self.freeze_layernorm,
            pooling: self.pooling,
            head: self.head,
            calibrate: self.calibrate,
            fit_thresholds: self.fit_thresholds,
            max_length: max_length(self.max_length, longest, kinds),
            stride: self.stride,
            ..GraftOptions::default()
        };
        let train = &mut options.train;
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

#[derive(Debug, Args)]
pub struct Eval {
    /// Folder of the adapter
    #[arg(long, value_name = "DIR")]
    pub adapter: PathBuf,

    /// Labelled rows; several files, patterns such as 'part-*.csv' and
    /// hf://datasets/OWNER/NAME/PATH of the Hugging Face hub are read as one
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    pub data: Vec<PathBuf>,

    /// Print the scores as JSON
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub model: ModelArg,

    #[command(flatten)]
    pub base: BaseArg,

    #[command(flatten)]
    pub rows: RowArgs,
}

#[derive(Debug, Args)]
pub struct Ablate {
    /// Folder of the adapter
    #[arg(long, value_name = "DIR")]
    pub adapter: PathBuf,

    /// Labelled rows; several files, patterns such as 'part-*.csv' and
    /// hf://datasets/OWNER/NAME/PATH of the Hugging Face hub are read as one
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    pub data: Vec<PathBuf>,

    /// What is scored; what chose the adapter's best evaluation if absent
    #[arg(long, value_name = "NAME")]
    pub metric: Option<Metric>,

    /// Write a page with a heat map
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Print the scores as JSON
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub model: ModelArg,

    #[command(flatten)]
    pub base: BaseArg,

    #[command(flatten)]
    pub rows: RowArgs,
}

#[derive(Debug, Args)]
pub struct Predict {
    /// Folder of the adapter
    #[arg(long, value_name = "DIR", required_unless_present = "bank", conflicts_with = "bank")]
    pub adapter: Option<PathBuf>,

    /// Bank whose tasks answer, all in one pass; an answer is then an object with the tasks' names
    #[arg(long, value_name = "BANK", conflicts_with = "base")]
    pub bank: Option<PathBuf>,

    /// Tasks of the bank that answer, each perhaps with the first digits of a version; if absent all, or those of the
    /// file's kind where it says whether its rows are pairs
    #[arg(long, value_name = "NAME[@VERSION]", value_delimiter = ',', requires = "bank")]
    pub tasks: Vec<TaskRef>,

    /// File with the texts, or `-` for standard input, which is read as plain lines unless --format says otherwise; several
    /// files, patterns such as 'part-*.csv' and hf://datasets/OWNER/NAME/PATH of the Hugging Face hub are read as one
    #[arg(long, value_name = "FILE", num_args = 1.., default_value = "-")]
    pub input: Vec<PathBuf>,

    /// File for the answers; standard output if absent. Its name says what it is: Parquet (.parquet), and otherwise JSON lines,
    /// compressed with .gz or .zst at the end
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    #[command(flatten)]
    pub model: ModelOrBankArg,

    #[command(flatten)]
    pub base: BaseArg,

    #[command(flatten)]
    pub rows: RowArgs,
}

#[derive(Debug, Args)]
pub struct Inspect {
    /// Folder of an adapter or of a model, or the name of a known model
    pub what: String,

    /// Print it as JSON
    #[arg(long)]
    pub json: bool,
}

/// Exit codes are told here because scripts rely on them.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 the files can be trained on, 1 they cannot (rows are rejected, or there is a \
                        problem), 2 a file cannot be read at all"
)]
pub struct CheckData {
    /// Rows to learn from; several files, patterns such as 'part-*.csv' and
    /// hf://datasets/OWNER/NAME/PATH of the Hugging Face hub are read as one
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    pub train: Vec<PathBuf>,

    /// Rows to choose by
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub dev: Vec<PathBuf>,

    /// Rows to test on
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub test: Vec<PathBuf>,

    /// Kind of task: classification, multi-label, regression, entities, tags, multiple-choice or question-answering
    #[arg(long, value_name = "KIND", default_value = "classification")]
    pub kind: TaskKind,

    /// Texts would be cut to this many tokens; 128, or what the model has if that is less, if absent
    #[arg(long, value_name = "N")]
    pub max_length: Option<usize>,

    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub model: ModelArg,

    #[command(flatten)]
    pub rows: RowArgs,
}
