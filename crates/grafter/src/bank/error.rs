//! Why a bank could not be opened, read or changed.

use std::path::PathBuf;

use thiserror::Error;

use super::folder::BANK_FILE;
use super::name::{NameError, TaskName, TaskRef, Version};
use crate::adapter::{AdapterError, MANIFEST_FILE};
use crate::predict::PredictError;

/// Why a bank could not be opened, read or changed.
#[derive(Debug, Error)]
pub enum BankError {
    /// A name that is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A file could not be read or written.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is no bank.
    #[error("`{}` is not a bank", path.display())]
    NotABank {
        /// The folder.
        path: PathBuf,
    },
    /// Another process has changed the bank for as long as this one waited.
    #[error("`{}` is in use by another process", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The place of a new bank is taken.
    #[error("`{}` exists and is not empty", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// The bank was written by another version of the layout.
    #[error("`{}` has format version {found}, this program reads {expected}", path.display())]
    FormatVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// This program's.
        expected: u32,
    },
    /// A file of the bank cannot be understood.
    #[error("`{}`: {reason}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file is not the one that was put into the bank.
    #[error("`{}` has SHA-256 {found}, put into the bank was {expected}", path.display())]
    Digest {
        /// The file.
        path: PathBuf,
        /// Its digest.
        found: String,
        /// The digest that the bank recorded.
        expected: String,
    },
    /// The model at hand is not the bank's.
    #[error("`{}` is a bank of `{base}`, and this model is another: its {part} is {found}, expected {expected}", path.display())]
    OtherBase {
        /// The bank.
        path: PathBuf,
        /// What its base is called.
        base: String,
        /// A digest, or a field of the configuration.
        part: &'static str,
        /// What the bank was made for.
        expected: String,
        /// What the model has.
        found: String,
    },
    /// The adapter was trained on another base.
    #[error("the bank's tasks belong to `{base}`, and the adapter to another base, which it calls `{found}`")]
    ForeignAdapter {
        /// What the bank's base is called.
        base: String,
        /// What the adapter's base was called.
        found: String,
    },
    /// The name is taken.
    #[error("the bank has a task `{name}`")]
    TaskExists {
        /// The task.
        name: TaskName,
    },
    /// The bank has no such task.
    #[error("the bank has no task `{name}`")]
    UnknownTask {
        /// What was asked for.
        name: TaskName,
        /// The tasks that it has.
        known: Vec<TaskName>,
    },
    /// The list of the task's versions could not be read when the bank was.
    #[error("the bank's task `{name}` cannot be read: {reason}")]
    BrokenTask {
        /// The task.
        name: TaskName,
        /// What was wrong.
        reason: String,
    },
    /// The task has no such version, or the digits fit several.
    #[error("{} version of the bank's task is `{asked}`", if *several { "more than one" } else { "no" })]
    UnknownVersion {
        /// What was asked for.
        asked: TaskRef,
        /// Whether several fit.
        several: bool,
        /// The versions that there are, the newest last.
        known: Vec<Version>,
    },
    /// An adapter's folder, or an adapter that belongs to another base.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// The probes of an adapter could not be answered.
    #[error("the probes cannot be answered: {0}")]
    Probes(#[from] PredictError),
}

/// How many names a hint tells.
const NAMES_IN_HINT: usize = 12;

impl BankError {
    /// What the user may do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotABank { path } if path.join(MANIFEST_FILE).is_file() => {
                Some("it is an adapter: `grafter bank add` puts it into a bank, and `--adapter` names it where one answers".to_owned())
            }
            Self::NotABank { path } => Some(format!("`grafter bank init {}` makes one", path.display())),
            Self::Exists { path } if path.join(BANK_FILE).is_file() => {
                Some("it is a bank already: `train --bank` and `bank add` put tasks into it".to_owned())
            }
            Self::Exists { .. } => Some("name another folder, or one that is not there yet".to_owned()),
            Self::InUse { path } => Some(format!(
                "no change of a bank takes long: find the process that holds `{}`",
                path.join("lock").display()
            )),
            Self::TaskExists { name } => Some(format!(
                "`--new-version` adds a version, which becomes what `{name}` means; the earlier one stays"
            )),
            Self::UnknownTask { known, .. } if known.is_empty() => Some("it has none yet".to_owned()),
            Self::UnknownTask { known, .. } => Some(format!("it has {}", names(known))),
            Self::UnknownVersion { known, .. } => {
                let versions: Vec<&str> = known.iter().map(Version::short).collect();
                Some(format!("it has {}, the newest last", versions.join(", ")))
            }
            Self::OtherBase { base, .. } => Some(format!("pass `--model <NAME or DIR>` of `{base}`")),
            Self::Adapter(error) => error.hint(),
            _ => None,
        }
    }
}

fn names(known: &[TaskName]) -> String {
    let shown: Vec<&str> = known.iter().take(NAMES_IN_HINT).map(TaskName::as_str).collect();
    let rest = known.len() - shown.len();
    if rest == 0 { shown.join(", ") } else { format!("{} and {rest} more", shown.join(", ")) }
}
