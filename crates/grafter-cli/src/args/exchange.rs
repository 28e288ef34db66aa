//! The flags of the commands that exchange adapters with other libraries.

use std::path::PathBuf;

use clap::Args;

use super::ModelArg;

#[derive(Debug, Args)]
pub struct Import {
    /// Folder that AdapterHub's `save_adapter` wrote, with the head
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,

    /// Folder for the adapter
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,

    /// Replace an adapter that is there already
    #[arg(long)]
    pub overwrite: bool,

    /// Rows are pairs of texts, which the files do not say
    #[arg(long)]
    pub pair: bool,

    /// Texts are cut to this many tokens; 128, or what the model has if that is less, if absent
    #[arg(long, value_name = "N")]
    pub max_length: Option<usize>,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub model: ModelArg,
}

#[derive(Debug, Args)]
pub struct Export {
    /// Folder of the adapter
    #[arg(long, value_name = "DIR")]
    pub adapter: PathBuf,

    #[command(flatten)]
    pub target: ExportTarget,

    /// What the adapter is called there: letters, digits, `_` and `-`; the name of its folder if absent
    #[arg(long, value_name = "NAME", conflicts_with = "onnx")]
    pub name: Option<String>,

    /// Write what the files can hold of an adapter that they cannot hold whole
    #[arg(long, conflicts_with = "onnx")]
    pub allow_loss: bool,

    /// Replace a file of `--onnx` that is there already
    #[arg(long, conflicts_with = "out")]
    pub overwrite: bool,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub model: ModelArg,
}

/// Where an adapter goes, and by that as what: one of the two.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct ExportTarget {
    /// Folder for the files that AdapterHub's `load_adapter` reads; it must not exist, or be empty
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// File for the adapter and its model as one ONNX model
    #[arg(long, value_name = "FILE")]
    pub onnx: Option<PathBuf>,
}
