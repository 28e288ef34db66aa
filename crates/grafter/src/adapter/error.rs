//! Why an adapter folder could not be written or read.

use std::io::ErrorKind;
use std::path::PathBuf;

use thiserror::Error;

use super::folder::MANIFEST_FILE;
use super::manifest::FORMAT_VERSION;

/// Why an adapter folder could not be written or read.
#[derive(Debug, Error)]
pub enum AdapterError {
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
    /// The target has no name of its own, which an adapter's folder needs to be moved into place.
    #[error("`{}` ends in no name for the adapter's folder", path.display())]
    NoName {
        /// The path.
        path: PathBuf,
    },
    /// The target exists.
    #[error("`{}` exists", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// The target exists and is no adapter, so that it is not overwritten.
    #[error("`{}` exists and is not an adapter folder", path.display())]
    NotAnAdapter {
        /// The folder.
        path: PathBuf,
    },
    /// The target holds something besides an adapter, which replacing it would delete.
    #[error("`{}` holds `{name}`, which does not belong to the adapter", path.display())]
    ForeignFile {
        /// The folder.
        path: PathBuf,
        /// One of the other entries.
        name: String,
    },
    /// A finished adapter could not be moved to its target.
    #[error("{error}; the adapter was kept in `{}`", kept.display())]
    Kept {
        /// What was in the way.
        error: Box<AdapterError>,
        /// Where it lies.
        kept: PathBuf,
    },
    /// `adapter.json` cannot be understood.
    #[error("`{}` is not an adapter's description: {source}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// The folder was written by another version of the layout.
    #[error("`{}` has format version {found}, this program reads {FORMAT_VERSION}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// A field of `adapter.json` contradicts another or the encoder.
    #[error("`{}`: {field} is {found}, expected {expected}", path.display())]
    Inconsistent {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// What it says.
        found: String,
        /// What it should say.
        expected: String,
    },
    /// The weights are no valid safetensors file.
    #[error("`{}` is not a valid safetensors file: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        reason: String,
    },
    /// The weights are not those that were sealed.
    #[error("`{}` has SHA-256 {found}, sealed was {sealed}", path.display())]
    Digest {
        /// The file.
        path: PathBuf,
        /// Its digest.
        found: String,
        /// The digest in `adapter.json`.
        sealed: String,
    },
    /// The adapter was trained on another encoder or tokenizer, or on the same with another configuration.
    #[error("adapter `{}` does not fit this model: its {part} is {expected}, this one's {found}", path.display())]
    OtherBase {
        /// The adapter's folder.
        path: PathBuf,
        /// What differs: a digest, or a field of the configuration.
        part: &'static str,
        /// The digest or value that the adapter was trained with.
        expected: String,
        /// That of the model at hand.
        found: String,
        /// What the adapter's base was called.
        base: String,
    },
    /// A tensor is absent.
    #[error("`{}` has no tensor `{name}`", path.display())]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A tensor does not belong to the adapter.
    #[error("`{}` has a tensor `{name}` that does not belong to the adapter", path.display())]
    UnknownTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A tensor has another shape or type than it should.
    #[error("`{}`: tensor `{name}` expected {expected}, got {found}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Shape or type that it should have.
        expected: String,
        /// Shape or type in the file.
        found: String,
    },
    /// A tensor holds a number that is not finite.
    #[error("`{}`: tensor `{name}` holds a number that is not finite", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
}

impl AdapterError {
    /// What the user may do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Kept { .. } => Some("move it to where you want it; it is whole".to_owned()),
            Self::NoName { path } => {
                Some(format!("name a folder, such as `{}`", path.join("adapter").display()))
            }
            Self::Exists { .. } => Some("pass `--overwrite` to replace it".to_owned()),
            Self::NotAnAdapter { .. } => {
                Some("name another folder: what is no adapter is replaced under no flag".to_owned())
            }
            Self::ForeignFile { .. } => {
                Some("move it away first: replacing the adapter would delete it".to_owned())
            }
            Self::Io { action: "read", path, source }
                if matches!(source.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
                    && path.ends_with(MANIFEST_FILE) =>
            {
                Some(
                    "an adapter is the folder that `grafter train --out <DIR>` wrote, or one of a bank, `<BANK>/tasks/<NAME>/<VERSION>`"
                        .to_owned(),
                )
            }
            Self::OtherBase { base, .. } => {
                Some(format!("it was trained on `{base}`; pass `--model <NAME or DIR>` of that model"))
            }
            _ => None,
        }
    }
}
