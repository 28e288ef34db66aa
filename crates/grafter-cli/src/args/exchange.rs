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

    /// Folder for the files that AdapterHub's `load_adapter` reads; it must not exist, or be empty
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,

    /// What the adapter is called there: letters, digits, `_` and `-`; the name of its folder if absent
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// Write what the files can hold of an adapter that they cannot hold whole
    #[arg(long)]
    pub allow_loss: bool,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub model: ModelArg,
}
