//! Why an adapter could not be written as an ONNX model.

use std::path::PathBuf;

use thiserror::Error;

use crate::adapter::AdapterError;

/// Why an adapter could not be written as an ONNX model.
#[derive(Debug, Error)]
pub enum OnnxError {
    /// The adapter does not belong to the model.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// The encoder's linear layers were read in 8 bits, so that its own numbers are not at hand.
    #[error("the model was read in {found}, and an ONNX model holds it in f32")]
    Precision {
        /// How it was read.
        found: String,
    },
    /// A protobuf message cannot be as large as the model would be.
    #[error("the ONNX model would have at least {bytes} bytes, and a file of this format can have {limit}")]
    TooLarge {
        /// Its size, without what may be beside the numbers.
        bytes: u64,
        /// The largest size.
        limit: u64,
    },
    /// The file to write exists.
    #[error("`{}` exists", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file to write is something that is not replaced: a folder, a link, or a device.
    #[error("`{}` exists and is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file could not be written.
    #[error("cannot write `{}`: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl OnnxError {
    /// What the user may do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Adapter(error) => error.hint(),
            Self::Exists { .. } => Some("pass `--overwrite` to replace it".to_owned()),
            _ => None,
        }
    }
}
