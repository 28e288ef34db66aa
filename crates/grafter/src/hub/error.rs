//! What can go wrong between the name of a model or a data set and its folder, and what the user can do about it.
//!
//! [`HubError`] is what a caller sees; a [`SourceError`] says why one source did not deliver. Hints come from the
//! variant, never from the text.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::MODEL_FILES;
use super::known::KNOWN_MODELS;

/// No folder could be given.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HubError {
    /// Neither a known name nor a folder.
    #[error("unknown model `{model}`: expected a known name ({}) or a folder", known_names())]
    UnknownModel {
        /// What was asked for.
        model: String,
    },
    /// A local folder without the files of a model.
    #[error("model folder `{}` has no {}", folder.display(), quoted(missing))]
    IncompleteFolder {
        /// The folder.
        folder: PathBuf,
        /// The files it lacks.
        missing: Vec<&'static str>,
    },
    /// The platform names no cache folder.
    #[error("no cache folder is known for this user")]
    NoCacheDir,
    /// The cache could not be read or written.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Not the name of a known data set, or of one of its parts.
    #[error("unknown data set `{name}`: expected one of {}", quoted(known))]
    UnknownData {
        /// What was asked for.
        name: String,
        /// The names that are known.
        known: Vec<&'static str>,
    },
    /// Not an address of data on the hub.
    #[error("`{address}`: {problem}")]
    DataAddress {
        /// What was asked for.
        address: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The data set has no such file.
    #[error("`{address}`: the data set has no such file at commit {commit}")]
    NoDataFile {
        /// What was asked for.
        address: String,
        /// The commit.
        commit: String,
    },
    /// The files of a split cannot be told in a data set.
    #[error("`{address}`: {problem}")]
    NoDataSplit {
        /// What was asked for.
        address: String,
        /// What is wrong.
        problem: String,
    },
    /// Files of a data set could not be fetched.
    #[error("`{address}` could not be fetched: {error}")]
    Data {
        /// What was asked for.
        address: String,
        /// Why.
        error: SourceError,
    },
    /// Every source of a data set failed.
    #[error("data set `{name}` could not be fetched:{}", Attempts(attempts))]
    NoDataSource {
        /// Its name.
        name: String,
        /// What was tried, in order.
        attempts: Vec<Attempt>,
    },
    /// Every source failed.
    #[error("model `{model}` could not be fetched:{}", Attempts(attempts))]
    NoSource {
        /// The model's name.
        model: String,
        /// What was tried, in order.
        attempts: Vec<Attempt>,
    },
}

/// One source that did not deliver.
#[derive(Debug)]
pub struct Attempt {
    /// The source, in words.
    pub source: String,
    /// Why it failed.
    pub error: SourceError,
}

/// Why one source did not deliver a model.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The user's environment forbids this source.
    #[error("`HF_HUB_OFFLINE` is set and the files are not in the hub's own cache")]
    Offline,
    /// The hub client's own error.
    #[error("`{file}`: {message}")]
    Hub {
        /// The file asked for.
        file: String,
        /// The client's message.
        message: String,
    },
    /// The hub answered something else than it does.
    #[error("the hub's answer about {what} cannot be read")]
    Answer {
        /// What was asked for.
        what: String,
    },
    /// Nothing arrived for too long.
    #[error("nothing was received for {seconds} s")]
    Stalled {
        /// How long was waited.
        seconds: u64,
    },
    /// A file of another size than pinned.
    #[error("`{file}` expected {expected} bytes, got {found}: this is another version of the file")]
    Size {
        /// The file.
        file: String,
        /// The pinned size.
        expected: u64,
        /// The size that the source has.
        found: u64,
    },
    /// A file with other content than pinned.
    #[error("`{file}` expected SHA-256 {expected}, got {found}: this is another version of the file")]
    Digest {
        /// The file.
        file: String,
        /// The pinned digest.
        expected: String,
        /// The digest of what was received.
        found: String,
    },
    /// A file that the source did not deliver.
    #[error("`{file}` is missing")]
    Missing {
        /// The file.
        file: String,
    },
    /// The wheel is not a readable archive.
    #[error("`{file}` cannot be unpacked: {message}")]
    Archive {
        /// The wheel, or the entry.
        file: String,
        /// The archive reader's message.
        message: String,
    },
    /// No Python interpreter.
    #[error("neither `python3` nor `python` is on the path")]
    NoPython,
    /// `pip` ended with an error.
    #[error("{status}: {}", if message.is_empty() { "no message" } else { message })]
    Pip {
        /// How the process ended.
        status: String,
        /// The last lines it wrote to standard error.
        message: String,
    },
    /// A file could not be read or written on this side.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl HubError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        let folder = format!("a folder with {}: `--model <DIR>`", quoted(&MODEL_FILES));
        match self {
            Self::UnknownModel { .. } => Some(format!("pass a known name ({}), or {folder}", known_names())),
            Self::IncompleteFolder { .. } => Some(format!("pass {folder}")),
            Self::NoCacheDir => Some("set `GRAFTER_CACHE` to a folder".into()),
            Self::Io { .. } => {
                Some("set `GRAFTER_CACHE` to a folder with free space that can be written".into())
            }
            Self::UnknownData { .. } => None,
            Self::DataAddress { .. } => {
                Some("files are `hf://datasets/OWNER/NAME/PATH`, perhaps with `@REVISION` after the name, and the path may be a pattern".into())
            }
            Self::NoDataFile { .. } | Self::NoDataSplit { .. } => {
                Some("name the files as `hf://datasets/OWNER/NAME/PATH`, where the path may be a pattern such as `data/train-*.parquet`".into())
            }
            Self::Data { error: SourceError::Offline, .. } => Some("unset `HF_HUB_OFFLINE`, or pass files that are here".into()),
            Self::Data { .. } => Some(
                "set `HF_ENDPOINT` to a mirror of the hub that can be reached, `HF_TOKEN` where the data set is not public, or pass files \
                 that are here"
                    .into(),
            ),
            Self::NoDataSource { attempts, .. } => {
                let files = "a folder with the files: `--data <DIR>`";
                Some(if attempts.iter().any(|attempt| matches!(attempt.error, SourceError::Offline)) {
                    format!("unset `HF_HUB_OFFLINE`, or pass {files}")
                } else {
                    format!("set `HF_ENDPOINT` to a mirror of the hub that can be reached, or pass {files}")
                })
            }
            Self::NoSource { attempts, .. }
                if attempts.iter().any(|attempt| matches!(attempt.error, SourceError::Offline)) =>
            {
                Some(format!("unset `HF_HUB_OFFLINE`, or pass {folder}"))
            }
            Self::NoSource { .. } => {
                Some(format!("fetch the model on a machine that can, copy it here and pass {folder}"))
            }
        }
    }

    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

impl SourceError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

struct Attempts<'a>(&'a [Attempt]);

impl fmt::Display for Attempts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|Attempt { source, error }| {
            // A long message, `pip`'s for one, keeps its lines under its source.
            let error = error.to_string().replace('\n', "\n    ");
            write!(f, "\n  {source}: {error}")
        })
    }
}

fn known_names() -> String {
    quoted(&KNOWN_MODELS.iter().map(|model| model.name).collect::<Vec<_>>())
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
