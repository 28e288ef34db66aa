//! The files that hold a checkpoint's weights: one, or several that an index lists.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use safetensors::{SafeTensorError, SafeTensors};
use serde::Deserialize;

use super::error::CheckpointError;
use crate::digest::sha256_hex;
use crate::regular;
use crate::tensors::{self, TensorProblem};

/// The weights, where they are in one file.
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// The list of the files, where there are several.
pub const INDEX_FILE: &str = "model.safetensors.index.json";

/// The files of a folder that hold the weights, in the order of their names.
/// # Errors
/// If there is an index that cannot be read, or that names what is no file of the folder.
pub fn weight_files(folder: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    #[derive(Deserialize)]
    struct Index {
        /// From the name of a tensor to that of its file.
        weight_map: BTreeMap<String, String>,
    }
    let (whole, index) = (folder.join(WEIGHTS_FILE), folder.join(INDEX_FILE));
    if whole.is_file() || !index.is_file() {
        return Ok(vec![whole]);
    }
    let wrong = |reason: String| CheckpointError::Index { path: index.clone(), reason };
    let text = regular::read_text(regular::MAX_DESCRIPTION_BYTES, &index)
        .map_err(|source| CheckpointError::Io { path: index.clone(), source })?;
    let Index { weight_map } = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let mut names: Vec<String> = weight_map.into_values().collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return Err(wrong("it lists no file".to_owned()));
    }
    for name in &names {
        let plain = Path::new(name).file_name().is_some_and(|file| file == name.as_str());
        if !plain || !name.ends_with(".safetensors") {
            return Err(wrong(format!("`{name}` is not the name of a safetensors file beside it")));
        }
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// The bytes of the files.
pub(super) struct WeightBytes {
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl WeightBytes {
    pub(super) fn read(folder: &Path) -> Result<Self, CheckpointError> {
        let read = |path: PathBuf| match regular::read(&path) {
            Ok(bytes) => Ok((path, bytes)),
            Err(source) => Err(CheckpointError::Io { path, source }),
        };
        Ok(Self { files: weight_files(folder)?.into_iter().map(read).collect::<Result<_, _>>()? })
    }

    /// Checks the headers.
    pub(super) fn open(&self) -> Result<Weights<'_>, CheckpointError> {
        let mut files = Vec::with_capacity(self.files.len());
        let mut holders: HashMap<String, &PathBuf> = HashMap::new();
        for (path, bytes) in &self.files {
            let invalid = |error: SafeTensorError| CheckpointError::Format {
                path: path.clone(),
                reason: error.to_string(),
            };
            let tensors = SafeTensors::deserialize(bytes).map_err(invalid)?;
            for name in tensors.names() {
                if let Some(earlier) = holders.insert(name.to_owned(), path) {
                    let reason = format!("it holds tensor `{name}`, and so does `{}`", earlier.display());
                    return Err(CheckpointError::Index { path: path.clone(), reason });
                }
            }
            files.push((path.as_path(), tensors));
        }
        Ok(Weights { files })
    }

    /// Digest of the file; of several, of their digests one after another, in the order of their names.
    pub(super) fn sha256(&self) -> String {
        match &self.files[..] {
            [(_, bytes)] => sha256_hex(bytes),
            files => {
                sha256_hex(files.iter().map(|(_, bytes)| sha256_hex(bytes)).collect::<String>().as_bytes())
            }
        }
    }
}

/// The tensors of the files.
pub(super) struct Weights<'a> {
    files: Vec<(&'a Path, SafeTensors<'a>)>,
}

impl Weights<'_> {
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().flat_map(|(_, tensors)| tensors.names())
    }

    /// The types of all numbers, with commas between; counters that old programs saved are of no interest.
    pub(super) fn types(&self) -> String {
        let all = self.files.iter().flat_map(|(_, tensors)| tensors.iter());
        let read = all.map(|(_, tensor)| tensor.dtype()).filter(|dtype| tensors::ANY_WIDTH.contains(dtype));
        let types: BTreeSet<String> = read.map(|dtype| format!("{dtype:?}")).collect();
        types.into_iter().collect::<Vec<_>>().join(", ")
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.files.iter().any(|(_, tensors)| tensors.tensor(name).is_ok())
    }

    /// The numbers of a tensor of this shape, in f32.
    pub(super) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, CheckpointError> {
        let holds = |(_, tensors): &&(&Path, SafeTensors<'_>)| tensors.tensor(name).is_ok();
        let missing = || CheckpointError::MissingTensor {
            // Of several files it is their list that lacks it.
            path: match self.files[..] {
                [(path, _)] => path.to_owned(),
                _ => self.files[0].0.with_file_name(INDEX_FILE),
            },
            name: name.to_owned(),
        };
        let (path, tensors) = self.files.iter().find(holds).ok_or_else(missing)?;
        tensors::floats_of_any_width(tensors, name, shape).map_err(|problem| match problem {
            TensorProblem::Missing => missing(),
            TensorProblem::Unfit { expected, found } => {
                CheckpointError::Tensor { path: path.to_path_buf(), name: name.to_owned(), expected, found }
            }
        })
    }
}
