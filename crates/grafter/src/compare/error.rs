//! Why tasks cannot be compared, or a comparison cannot go on.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::data::DataError;
use crate::graft::GraftError;
use crate::train::TrainError;

/// Why a comparison cannot begin or go on.
#[derive(Debug, Error)]
pub enum CompareError {
    /// A task's name would not do as a part of a file's name.
    #[error("task name `{}` is not 1 to 64 letters, digits, `-` and `_`", crate::text::escape(name, 70))]
    TaskName {
        /// The name.
        name: String,
    },
    /// Two tasks have one name.
    #[error("task `{name}` is named twice")]
    DuplicateTask {
        /// The name.
        name: String,
    },
    /// A task's folder is none.
    #[error("task `{task}`: `{}` is no folder", folder.display())]
    NoFolder {
        /// The task.
        task: String,
        /// What is in its place, or nothing.
        folder: PathBuf,
    },
    /// A task's folder cannot be read.
    #[error("task `{task}`: cannot read `{}`", folder.display())]
    Folder {
        /// The task.
        task: String,
        /// Its folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A task's folder lacks a file.
    #[error("task `{task}`: `{}` has no `{split}.tsv`, `.csv`, `.jsonl`, `.parquet`, `.conll` or `.json`, compressed or not", folder.display())]
    NoSplit {
        /// The task.
        task: String,
        /// Its folder.
        folder: PathBuf,
        /// `train` or `dev`.
        split: &'static str,
    },
    /// Of the parts of a split one is not there.
    #[error("task `{task}`: `{}` has `{first}` and not `{missing}`", folder.display())]
    MissingPart {
        /// The task.
        task: String,
        /// Its folder.
        folder: PathBuf,
        /// A part.
        first: String,
        /// One that is missing.
        missing: String,
    },
    /// A task's folder has the same file in two formats.
    #[error("task `{task}`: `{}` has both `{first}` and `{second}`", folder.display())]
    TwoSplits {
        /// The task.
        task: String,
        /// Its folder.
        folder: PathBuf,
        /// A file.
        first: String,
        /// Another file of the same split.
        second: String,
    },
    /// A task's files or metric cannot be used.
    #[error("task `{task}`: {source}")]
    Task {
        /// The task.
        task: String,
        /// Why.
        source: Box<crate::Error>,
    },
    /// There is nothing to run.
    #[error("there is no {what} to compare")]
    Empty {
        /// `task` or `method`.
        what: &'static str,
    },
    /// A data file changed since the comparison began.
    #[error("task `{task}`: `{}` changed while the comparison ran", path.display())]
    Changed {
        /// The task.
        task: String,
        /// The file.
        path: PathBuf,
    },
    /// A trial failed, other than by diverging.
    #[error("trial `{id}`: {source}")]
    Trial {
        /// The trial.
        id: String,
        /// Why.
        source: Box<crate::Error>,
    },
    /// A file of the comparison's folder.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The right answers of a task that the folder has are gone.
    #[error("`{}` has trials of task `{task}`, and not its right answers", folder.display())]
    NoAnswers {
        /// The folder.
        folder: PathBuf,
        /// The task.
        task: String,
    },
    /// Another process works on the folder.
    #[error("`{}` is in use by another `grafter`", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder holds something else.
    #[error("`{}` exists and is not the folder of a comparison: it holds `{name}`", folder.display())]
    NotAComparison {
        /// The folder.
        folder: PathBuf,
        /// What it holds.
        name: String,
    },
    /// A file of the folder is not what this program writes.
    #[error("`{}` cannot be used: {reason}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The folder was begun with something else.
    #[error("`{}` was begun with {what} {expected}, this command has {found}", folder.display())]
    Differs {
        /// The folder.
        folder: PathBuf,
        /// What differs.
        what: String,
        /// As the folder has it.
        expected: String,
        /// As this command has it.
        found: String,
    },
}

impl CompareError {
    /// Whether a trial needs more memory than it may take.
    pub fn is_lack_of_memory(&self) -> bool {
        let Self::Trial { source, .. } = self else { return false };
        matches!(**source, crate::Error::Graft(GraftError::Train(TrainError::Memory { .. })))
    }

    /// What the user may do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Task { source, .. } | Self::Trial { source, .. } => return source.hint(),
            Self::NoFolder { .. } => {
                "a task's folder holds `train` and `dev`, and `test` where it is labelled; `--train FILE --dev FILE` name the files of \
                 a single task"
            }
            Self::NoSplit { .. } => {
                "a task's folder holds `train` and `dev`, and `test` where it is labelled"
            }
            Self::NoAnswers { .. } => "name that task with `--task` too: then they are written again",
            Self::TwoSplits { .. } => "remove one of them",
            Self::MissingPart { .. } => {
                "bring all parts into the folder, or name the files with `--train` and `--dev`"
            }
            Self::Differs { .. } | Self::NotAComparison { .. } => {
                "name another `--out` for another comparison"
            }
            Self::Record { .. } => "a trial whose record is removed is run again",
            Self::Io { .. } => "trials that are recorded are kept; the same command continues",
            Self::InUse { .. } => "wait for it, or name another `--out`",
            Self::TaskName { .. }
            | Self::DuplicateTask { .. }
            | Self::Folder { .. }
            | Self::Empty { .. }
            | Self::Changed { .. } => return None,
        };
        Some(hint.to_owned())
    }

    /// An error of a task's data.
    pub(super) fn of_task(task: &str, source: impl Into<crate::Error>) -> Self {
        Self::Task { task: task.to_owned(), source: Box::new(source.into()) }
    }
}

/// Whether a file can be read and merely has no labels.
pub(super) fn is_unlabelled(error: &DataError) -> bool {
    use crate::data::{ColumnError, RowErrorKind};
    match error {
        DataError::Columns { error: ColumnError::NoLabel { .. }, .. }
        | DataError::ParquetColumns { error: ColumnError::NoLabel { .. }, .. } => true,
        DataError::Row(error) => {
            matches!(error.kind, RowErrorKind::MissingLabel { .. } | RowErrorKind::Unlabelled { .. })
        }
        _ => false,
    }
}
