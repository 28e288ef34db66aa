//! Why an adapter of AdapterHub could not be read or written.

use std::path::PathBuf;

use thiserror::Error;

use crate::checkpoint::PickleError;

/// Why an adapter of AdapterHub could not be read or written.
#[derive(Debug, Error)]
pub enum AdapterHubError {
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
    /// A description is no JSON, or not of this kind.
    #[error("`{}` is not a description of AdapterHub: {reason}", path.display())]
    Description {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The description is of an adapter of PEFT, another library that uses the same name of a file.
    #[error("`{}` describes an adapter of PEFT (`peft_type` is `{kind}`), not a bottleneck adapter", path.display())]
    Peft {
        /// The file.
        path: PathBuf,
        /// The kind of adapter.
        kind: String,
    },
    /// A setting names something that this program does not compute.
    #[error("`{}`: `{field}` is {found}, supported: {supported}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The setting.
        field: String,
        /// What it says.
        found: String,
        /// What it may say.
        supported: String,
    },
    /// Pairs of texts were asked for, and the head answers words.
    #[error("`{}` is a head for the words of single texts, and pairs were asked for", path.display())]
    PairOfWords {
        /// The head's description.
        path: PathBuf,
    },
    /// The folder holds an adapter and no head, so that it answers nothing.
    #[error("`{}` has no `{}`, so that nothing reads the adapter's hidden states", folder.display(), super::HEAD_CONFIG_FILE)]
    NoHead {
        /// The folder.
        folder: PathBuf,
    },
    /// A description has no file with its numbers.
    #[error("`{}` has neither `{safetensors}` nor `{bin}`", folder.display())]
    NoWeights {
        /// The folder.
        folder: PathBuf,
        /// One name.
        safetensors: &'static str,
        /// The other.
        bin: &'static str,
    },
    /// The numbers are no valid safetensors file.
    #[error("`{}` is not a valid safetensors file: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        reason: String,
    },
    /// The numbers are no file of PyTorch that this program reads.
    #[error(transparent)]
    Pickle(#[from] PickleError),
    /// A tensor is absent.
    #[error("`{}` has no tensor `{name}`", path.display())]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A tensor belongs neither to the adapter nor to its head.
    #[error("`{}` has a tensor `{name}` that does not belong to {owner}", path.display())]
    UnknownTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Whose file it is.
        owner: String,
    },
    /// A tensor has another shape or type than it should, or holds a number that is not finite.
    #[error("`{}`: tensor `{name}` expected {expected}, got {found}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The adapter was made for another kind of model.
    #[error("`{}` is for a model with `{field}` {found}, this one has {expected}", path.display())]
    OtherBase {
        /// The file.
        path: PathBuf,
        /// What differs.
        field: &'static str,
        /// What the file says.
        found: String,
        /// What the model has.
        expected: String,
    },
    /// AdapterHub's library does not know the model's family.
    #[error("AdapterHub has no adapters for models of the family `{family}`")]
    Family {
        /// The family.
        family: String,
    },
    /// AdapterHub has no adapter of the kind that the method trains.
    #[error("the method `{method}` trains no bottleneck adapters, which is all that can be exported")]
    Method {
        /// The method.
        method: String,
    },
    /// AdapterHub's library cannot hold an adapter of this name.
    #[error(
        "`{name}` cannot be an adapter's name there: letters, digits, `_` and `-` can, but for what PyTorch's modules have \
         themselves, as `train`"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// The folder to write exists.
    #[error("`{}` exists and is not empty", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
}

impl AdapterHubError {
    /// What the user may do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoHead { .. } => Some(
                "save the adapter with its head: `model.save_adapter(folder, name, with_head=True)`"
                    .to_owned(),
            ),
            Self::Io { action: "read", path, source }
                if source.kind() == std::io::ErrorKind::NotFound && path.ends_with(super::CONFIG_FILE) =>
            {
                Some("an adapter of AdapterHub is the folder that `model.save_adapter` wrote".to_owned())
            }
            Self::Exists { .. } => Some("name another folder, or one that is not there yet".to_owned()),
            Self::Name { .. } => Some("pass `--name <NAME>`".to_owned()),
            Self::OtherBase { .. } => {
                Some("pass `--model <NAME or DIR>` of the model that it was trained on".to_owned())
            }
            _ => None,
        }
    }
}
