//! The command line, as clap reads it.

// The paths say what is so anyway, unless this file is itself included by its path, as the fuzz targets do.
#[path = "args/bank.rs"]
mod bank;
#[path = "args/compare.rs"]
mod compare;
#[path = "args/exchange.rs"]
mod exchange;
#[path = "args/interval.rs"]
mod interval;
#[path = "args/number.rs"]
mod number;
#[path = "args/serve.rs"]
mod serve;
#[path = "args/train.rs"]
mod train;

pub use bank::{Bank, BankAdd, BankInit, BankList, BankRemove, BankVerify};
pub use compare::{Assigned, Compare, Glue, Reproduce, Sweep, TrialArgs, Tune};
pub use exchange::{Export, Import};
pub use interval::Every;
pub use serve::{HostName, LogForm, Serve};
pub use train::{SharedTrainingArgs, Train, max_length};

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand};
use grafter::bank::TaskRef;
use grafter::data::{Columns, Format, TagScheme, TaskKind};
use grafter::encoder::BasePrecision;
use grafter::metrics::Metric;

/// Train small adapters on one frozen language model: one per task, none disturbs another.
#[derive(Debug, Parser)]
#[command(name = "grafter", version, max_term_width = 100, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,

    /// Flags from a TOML file, such as `epochs = 3`; those of the command line go before it
    #[arg(long, global = true, value_name = "FILE", help_heading = "Of every command")]
    pub config: Option<PathBuf>,

    /// Threads to compute with; all processors if absent
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024),
          help_heading = "Of every command")]
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

    /// Write a page with a heat map, or the heat map alone if FILE ends in .svg
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
#[command(group(ArgGroup::new("who").args(["adapter", "bank"]).required(true)))]
pub struct Predict {
    /// Folder of the adapter
    #[arg(long, value_name = "DIR", conflicts_with = "bank")]
    pub adapter: Option<PathBuf>,

    /// Bank whose tasks answer, all in one pass; an answer is then an object with the tasks' names
    #[arg(long, value_name = "BANK", conflicts_with = "base")]
    pub bank: Option<PathBuf>,

    /// Tasks of the bank that answer, each perhaps with the first digits of a version; if absent all, or those of the
    /// file's kind where it says whether its rows are pairs
    #[arg(long, value_name = "NAME[@VERSION]", value_delimiter = ',', conflicts_with = "adapter")]
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

    /// Texts would be cut to this many tokens; 128, or 384 of questions with their contexts, or what the model has if that is
    /// less, if absent
    #[arg(long, value_name = "N", value_parser = number::whole::<usize>)]
    pub max_length: Option<usize>,

    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub model: ModelArg,

    #[command(flatten)]
    pub rows: RowArgs,
}
