//! The flags of `bank`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use grafter::bank::{TaskName, TaskRef};
use grafter::encoder::BasePrecision;

use super::{ModelArg, RowArgs};

/// A bank holds one base and any number of tasks; adding a task touches no byte of another.
#[derive(Debug, Subcommand)]
pub enum Bank {
    /// Make a bank for a model
    Init(BankInit),
    /// Put a trained adapter into a bank
    Add(BankAdd),
    /// List the tasks of a bank
    List(BankList),
    /// Take a task, or a version of one, out of a bank
    Remove(BankRemove),
    /// Prove that every task is and answers what it was and answered when it came
    Verify(BankVerify),
}

#[derive(Debug, Args)]
pub struct BankInit {
    /// Folder of the bank, empty or not there yet
    #[arg(value_name = "BANK")]
    pub bank: PathBuf,

    /// Read the model's linear layers as they are or in 8 bits, for all tasks: f32 or int8
    #[arg(long, value_name = "PRECISION", default_value_t)]
    pub base: BasePrecision,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub model: ModelArg,
}

#[derive(Debug, Args)]
pub struct BankAdd {
    /// Folder of the bank
    #[arg(value_name = "BANK")]
    pub bank: PathBuf,

    /// Folder of the adapter, as `train` writes it
    #[arg(value_name = "ADAPTER")]
    pub adapter: PathBuf,

    /// Name of the task: small letters, digits, `.`, `_` and `-`
    #[arg(long, value_name = "NAME")]
    pub task: TaskName,

    /// Make this the newest version of a task that exists; the earlier ones stay
    #[arg(long)]
    pub new_version: bool,

    /// Texts whose answers are kept as the proof that the task has not changed, the first 16; made-up ones if absent
    #[arg(long, value_name = "FILE")]
    pub probes: Option<PathBuf>,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub model: BankModelArg,

    #[command(flatten)]
    pub rows: RowArgs,
}

#[derive(Debug, Args)]
pub struct BankList {
    /// Folder of the bank
    #[arg(value_name = "BANK")]
    pub bank: PathBuf,

    /// Print the list as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct BankRemove {
    /// Folder of the bank
    #[arg(value_name = "BANK")]
    pub bank: PathBuf,

    /// The task with all its versions, or one version of it by the first digits of its digest
    #[arg(value_name = "NAME[@VERSION]")]
    pub task: TaskRef,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Exit codes are told here because scripts rely on them.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 every task is as it was, 1 a task has changed or is broken, 2 the bank cannot be read"
)]
pub struct BankVerify {
    /// Folder of the bank
    #[arg(value_name = "BANK")]
    pub bank: PathBuf,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub model: BankModelArg,
}

/// Which pretrained model, where a bank may tell.
#[derive(Debug, Args)]
pub struct BankModelArg {
    /// Name of a known model, fetched if missing, or a local folder in Hugging Face layout; that of the bank if absent
    #[arg(long, value_name = "NAME|DIR")]
    pub model: Option<String>,
}
