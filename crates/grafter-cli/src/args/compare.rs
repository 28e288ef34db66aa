//! The flags of `compare` and `tune`.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use grafter::adapter::Method;
use grafter::data::TaskKind;
use grafter::encoder::BasePrecision;
use grafter::metrics::Metric;

use super::interval::duration;
use super::number::{number, whole};
use super::{ModelArg, RowArgs, SharedTrainingArgs};

/// What may be named more than once is told here because clap does not say it.
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("what").args(["task", "train"]).required(true)),
    after_help = "Lists are separated by commas. Finished trials are kept in --out, and the same command continues where \
                  it ended; with more methods, sizes, seeds or tasks it adds theirs."
)]
pub struct Compare {
    /// A task and its folder, which holds `train`, `dev` and, where labelled, `test`, each .tsv, .csv, .jsonl, .parquet,
    /// .conll or .json (SQuAD), or in parts such as train-00000-of-00002.parquet; or hf://datasets/OWNER/NAME, perhaps with
    /// /CONFIG after it, of the Hugging Face hub; may be named again for each task
    #[arg(long, value_name = "NAME=DIR", conflicts_with_all = ["train", "dev", "test"])]
    pub task: Vec<Named>,

    /// Labelled rows to learn from, of a single task; several files, patterns such as 'part-*.csv' and
    /// hf://datasets/OWNER/NAME/PATH of the Hugging Face hub are read as one
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "dev")]
    pub train: Vec<PathBuf>,

    /// Labelled rows to choose by
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "train")]
    pub dev: Vec<PathBuf>,

    /// Labelled rows that choose nothing
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "train")]
    pub test: Vec<PathBuf>,

    /// Kind of the tasks, or of one of them: classification, multi-label, regression, entities, tags, multiple-choice or
    /// question-answering; classification if absent
    #[arg(long, value_name = "[TASK=]KIND", value_delimiter = ',')]
    pub kind: Vec<Assigned<TaskKind>>,

    /// What is compared on the tasks, or on one of them: accuracy, f1, macro-f1, micro-f1, matthews, pearson,
    /// spearman, exact-match or token-f1; accuracy, or micro-f1 of several labels and of entities, pearson for regression, or
    /// token-f1 of answers to questions, if absent
    #[arg(long, value_name = "[TASK=]NAME", value_delimiter = ',')]
    pub metric: Vec<Assigned<Metric>>,

    /// Folder for the trials and the results
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,

    #[command(flatten)]
    pub running: TrialArgs,

    #[command(flatten)]
    pub rows: RowArgs,

    /// What trains, as in `train`; the others are compared with `full`, or with the first if `full` is not among them
    #[arg(long, value_name = "METHOD", required = true, value_delimiter = ',', help_heading = "Grid")]
    pub method: Vec<Method>,

    #[command(flatten)]
    pub sweep: Sweep,

    #[command(flatten)]
    pub training: SharedTrainingArgs,
}

/// The command trains as `train` does, once for each combination.
#[derive(Debug, Args)]
#[command(
    after_help = "Lists are separated by commas. Finished trials are kept beside --out, and the same command continues \
                  where it ended."
)]
pub struct Tune {
    /// Labelled rows to learn from: .csv, .tsv, .jsonl, .parquet, .conll or .json (SQuAD), with .gz or .zst after it if
    /// compressed; several files, patterns such as 'part-*.csv' and hf://datasets/OWNER/NAME/PATH of the Hugging Face hub
    /// are read as one
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    pub train: Vec<PathBuf>,

    /// Labelled rows to choose the best setting by
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    pub dev: Vec<PathBuf>,

    /// Labelled rows that choose nothing
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub test: Vec<PathBuf>,

    /// Folder to write the best adapter to
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,

    /// Folder for the trials; `<OUT>.trials` if absent
    #[arg(long, value_name = "DIR")]
    pub trials: Option<PathBuf>,

    /// Replace the adapter if the folder exists; one that came of the same trials is replaced in any case
    #[arg(long)]
    pub overwrite: bool,

    /// Kind of task: classification, multi-label, regression, entities, tags, multiple-choice or question-answering
    #[arg(long, value_name = "KIND", default_value = "classification")]
    pub kind: TaskKind,

    /// What is best; accuracy, or micro-f1 of several labels and of entities, pearson for regression, or token-f1 of answers to
    /// questions, if absent
    #[arg(long, value_name = "NAME")]
    pub metric: Option<Metric>,

    #[command(flatten)]
    pub running: TrialArgs,

    #[command(flatten)]
    pub rows: RowArgs,

    /// What trains, as in `train`
    #[arg(long, value_name = "METHOD", default_value = "houlsby", help_heading = "Grid")]
    pub method: Method,

    #[command(flatten)]
    pub sweep: Sweep,

    #[command(flatten)]
    pub training: SharedTrainingArgs,
}

#[derive(Debug, Subcommand)]
pub enum Reproduce {
    /// Table 1: full fine-tuning and adapters on GLUE
    Glue(Glue),
}

/// The tasks are those of a folder, or all.
#[derive(Debug, Args)]
#[command(
    after_help = "Without --data each task is fetched from the Hugging Face hub, 115 MB in all, and kept in the cache. In --data a \
                  task's folder has its name (cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte) with `train`, `dev` and, where \
                  labelled, `test`, or with the hub's files, or GLUE's own (CoLA, SST-2, …) with the files as they are published."
)]
pub struct Glue {
    /// Folder with a folder for each task; fetched from the Hugging Face hub if absent
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// Tasks to run; all, or those that are in --data, if absent
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub task: Vec<String>,

    /// Folder for the trials and the results
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,

    #[command(flatten)]
    pub running: TrialArgs,

    /// What trains, as in `train`; the paper's methods if absent
    #[arg(long, value_name = "METHOD", value_delimiter = ',', help_heading = "Grid")]
    pub method: Vec<Method>,

    #[command(flatten)]
    pub sweep: Sweep,

    #[command(flatten)]
    pub training: SharedTrainingArgs,
}

/// What varies beside the method.
#[derive(Debug, Args)]
#[command(next_help_heading = "Grid", allow_negative_numbers = true)]
pub struct Sweep {
    /// Widths of the adapters, for methods that have adapters; of `compare` 64, of `tune` 16 and 64 if absent
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = whole::<usize>)]
    pub bottleneck: Vec<usize>,

    /// Largest learning rates; if absent the default of `train` for each method and width, of `tune` 0.3, 1 and 3
    /// times that
    #[arg(long, value_name = "RATE", value_delimiter = ',', value_parser = number::<f64>)]
    pub lr: Vec<f64>,

    /// Standard deviations that the adapters begin with; that of `train` if absent
    #[arg(long, value_name = "STD", value_delimiter = ',', value_parser = number::<f32>)]
    pub init_std: Vec<f32>,

    /// Seeds; of `compare` that of `train`, of `tune` 1 and 2 if absent
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = whole::<u64>)]
    pub seed: Vec<u64>,
}

/// How trials are run, and what is kept and printed of them.
#[derive(Debug, Args)]
pub struct TrialArgs {
    /// Keep the adapter of each trial, in the folder `adapters` beside the trials
    #[arg(long)]
    pub keep: bool,

    /// Print the results as JSON
    #[arg(long)]
    pub json: bool,

    /// Trials that run beside each other and share the threads; as many as --threads, or as the machine has processors, if
    /// absent, so that each has one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,

    /// Time after which no trial begins any more, as in 90s, 30m or 1h30m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub budget: Option<Duration>,

    #[command(flatten)]
    pub model: ModelArg,

    /// Read the model's linear layers as they are or in 8 bits: f32 or int8
    #[arg(long, value_name = "PRECISION", default_value_t)]
    pub base: BasePrecision,
}

/// `NAME=DIR`
#[derive(Clone, Debug)]
pub struct Named {
    pub name: String,
    pub folder: PathBuf,
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, folder)) if !folder.is_empty() => {
                Ok(Self { name: name.to_owned(), folder: folder.into() })
            }
            _ => Err(format!("expected `NAME=DIR`, found `{text}`")),
        }
    }
}

/// A value for one task or, without a name, for all that have none of their own.
#[derive(Clone, Debug)]
pub struct Assigned<T> {
    pub task: Option<String>,
    pub value: T,
}

impl<T: FromStr<Err: std::fmt::Display>> FromStr for Assigned<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (task, value) = match text.split_once('=') {
            Some((task, value)) => (Some(task.to_owned()), value),
            None => (None, text),
        };
        value.parse().map(|value| Self { task, value }).map_err(|error: T::Err| error.to_string())
    }
}

impl<T: Copy> Assigned<T> {
    /// The value for a task; the last one that was named counts, and one with the task's name first.
    pub fn find(all: &[Self], task: &str) -> Option<T> {
        let last = |name: Option<&str>| all.iter().rev().find(|one| one.task.as_deref() == name);
        last(Some(task)).or_else(|| last(None)).map(|one| one.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_for_one_task_or_for_all() {
        let all: Vec<Assigned<u32>> = ["1", "b=2", "b=3"].map(|text| text.parse().unwrap()).into();
        assert_eq!([Assigned::find(&all, "a"), Assigned::find(&all, "b")], [Some(1), Some(3)]);
        assert_eq!(Assigned::find(&all[1..], "a"), None);
        assert!("b=x".parse::<Assigned<u32>>().is_err());
    }
}
