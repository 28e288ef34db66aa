//! Why a folder could not be read as a pretrained encoder.

use std::path::PathBuf;

use thiserror::Error;

/// Why a folder could not be read as a pretrained encoder.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// A file could not be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// `config.json` is not the JSON of an encoder.
    #[error("`{}` is not an encoder's configuration: {source}", path.display())]
    ConfigSyntax {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A setting names something that this program does not compute.
    #[error("`{}`: `{field}` is `{found}`; supported: {supported}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The field of the configuration.
        field: &'static str,
        /// What it says.
        found: String,
        /// What it may say.
        supported: &'static str,
    },
    /// A number of the configuration is out of range.
    #[error("`{}`: `{field}` is {found}, expected {expected}", path.display())]
    ConfigValue {
        /// The file.
        path: PathBuf,
        /// The field of the configuration.
        field: &'static str,
        /// What it says.
        found: String,
        /// What it may say.
        expected: String,
    },
    /// The files that hold the weights, or the list of them, cannot be used together.
    #[error("`{}`: {reason}", path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The weights are no valid safetensors file.
    #[error("`{}` is not a valid safetensors file: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        reason: String,
    },
    /// A tensor is absent.
    #[error("`{}` has no tensor `{name}`", path.display())]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The tensor, as checkpoints of the family name it.
        name: String,
    },
    /// A tensor has another shape or type than the configuration asks for.
    #[error("`{}`: tensor `{name}` expected {expected}, got {found}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Shape or type by the configuration.
        expected: String,
        /// Shape or type in the file.
        found: String,
    },
}
