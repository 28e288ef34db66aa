//! The numbers of a file, safetensors or PyTorch's, by their names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;

use super::error::AdapterHubError;
use crate::checkpoint::read_pickle;
use crate::digest::sha256_hex;
use crate::tensors::{FloatTensor, TensorProblem, floats_of_any_width};

/// The tensors of one file.
pub(super) struct Tensors {
    path: PathBuf,
    /// SHA-256 of the file.
    pub sha256: String,
    tensors: BTreeMap<String, FloatTensor>,
}

impl Tensors {
    /// Reads the one of two files that is there; the library prefers safetensors, too.
    pub(super) fn read(
        folder: &Path,
        (safetensors, bin): (&'static str, &'static str),
    ) -> Result<Self, AdapterHubError> {
        let paths = [safetensors, bin].map(|name| folder.join(name));
        let Some(path) = paths.iter().find(|path| path.is_file()) else {
            return Err(AdapterHubError::NoWeights { folder: folder.to_owned(), safetensors, bin });
        };
        let io = |source| AdapterHubError::Io { action: "read", path: path.clone(), source };
        let bytes = std::fs::read(path).map_err(io)?;
        let tensors =
            if path == &paths[0] { from_safetensors(path, &bytes)? } else { read_pickle(path, &bytes)? };
        Ok(Self { path: path.clone(), sha256: sha256_hex(&bytes), tensors })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file's own name.
    pub(super) fn file_name(&self) -> String {
        self.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    /// Gives every tensor another name.
    pub(super) fn rename(&mut self, other: impl Fn(&str) -> String) -> Result<(), AdapterHubError> {
        let mut renamed = BTreeMap::new();
        for (name, tensor) in std::mem::take(&mut self.tensors) {
            if renamed.insert(other(&name), tensor).is_some() {
                return Err(AdapterHubError::Tensor {
                    path: self.path.clone(),
                    name,
                    expected: "one of this name".to_owned(),
                    found: "another under an older name".to_owned(),
                });
            }
        }
        self.tensors = renamed;
        Ok(())
    }

    /// Leaves some out.
    pub(super) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.tensors.retain(|name, _| keep(name));
    }

    /// Takes the numbers of a tensor of this shape.
    pub(super) fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, AdapterHubError> {
        let path = || self.path.clone();
        let Some(tensor) = self.tensors.remove(name) else {
            return Err(AdapterHubError::MissingTensor { path: path(), name: name.to_owned() });
        };
        if tensor.shape != shape {
            let (expected, found) = (format!("{shape:?}"), format!("{:?}", tensor.shape));
            return Err(AdapterHubError::Tensor { path: path(), name: name.to_owned(), expected, found });
        }
        Ok(tensor.values)
    }

    /// Refuses what was not taken.
    pub(super) fn end(self, owner: &str) -> Result<(), AdapterHubError> {
        match self.tensors.into_keys().next() {
            None => Ok(()),
            Some(name) => {
                Err(AdapterHubError::UnknownTensor { path: self.path, name, owner: owner.to_owned() })
            }
        }
    }
}

fn from_safetensors(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, FloatTensor>, AdapterHubError> {
    let format = |reason: String| AdapterHubError::Format { path: path.to_owned(), reason };
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| format(error.to_string()))?;
    let mut read = BTreeMap::new();
    for (name, view) in tensors.iter() {
        let shape = view.shape().to_vec();
        let values = floats_of_any_width(&tensors, name, &shape).map_err(|problem| match problem {
            TensorProblem::Missing => format(format!("`{name}` is gone")),
            TensorProblem::Unfit { expected, found } => {
                AdapterHubError::Tensor { path: path.to_owned(), name: name.to_owned(), expected, found }
            }
        })?;
        read.insert(name.to_owned(), FloatTensor { shape, values });
    }
    Ok(read)
}
