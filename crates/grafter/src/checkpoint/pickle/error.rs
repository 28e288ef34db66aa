//! Why a file could not be read as weights that `torch.save` wrote.

use std::path::PathBuf;

use thiserror::Error;

/// Why a file could not be read as weights that `torch.save` wrote.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PickleError {
    /// The file is older than the archives.
    #[error(
        "`{}` is in the legacy format that torch wrote before 1.6, expected a zip archive: load it with a newer torch and save it again, or save it as safetensors",
        path.display()
    )]
    Legacy {
        /// The file.
        path: PathBuf,
    },
    /// The file is no zip archive, or none that can be read.
    #[error("`{}` expected a zip archive as `torch.save` writes it, found {found}", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// What shows it.
        found: String,
    },
    /// An entry of the archive is absent or not as it should be.
    #[error("`{}`: entry `{entry}` expected {expected}, found {found}", path.display())]
    Entry {
        /// The file.
        path: PathBuf,
        /// The entry's name in the archive.
        entry: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The pickle names something that tensors do not need: loaded in Python, it could run any code.
    #[error(
        "`{}`: its pickle names `{name}` at byte {at}, expected nothing but tensors of float32, float16 or bfloat16; nothing was run",
        path.display()
    )]
    Global {
        /// The file.
        path: PathBuf,
        /// Where in the pickle.
        at: usize,
        /// Module and name.
        name: String,
    },
    /// The pickle is broken, or does what `torch.save` of tensors does not.
    #[error("`{}`: byte {at} of its pickle: expected {expected}, found {found}", path.display())]
    Pickle {
        /// The file.
        path: PathBuf,
        /// Where in the pickle.
        at: usize,
        /// What `torch.save` would have written.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A value of the dict is no tensor that can be read.
    #[error("`{}`: `{name}` expected {expected}, found {found}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// Its key in the dict.
        name: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// What the file describes takes far more memory than the file.
    #[error(
        "`{}`: its {file_bytes} bytes describe numbers of more than {most_bytes} bytes, the most that is read of a file of this size",
        path.display()
    )]
    Memory {
        /// The file.
        path: PathBuf,
        /// Its size.
        file_bytes: usize,
        /// What may be taken for a file of this size.
        most_bytes: usize,
    },
}
