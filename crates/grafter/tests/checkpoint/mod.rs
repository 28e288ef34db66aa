//! Folders of checkpoints that tests change: their tensors as numbers, and models of what was changed.

use std::collections::BTreeMap;
use std::path::Path;

use grafter::model::Model;
use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use tempfile::TempDir;

/// Tensors in f32 by their names, with their shapes.
pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// The tensors of a folder.
pub fn tensors_of(folder: &Path) -> Tensors {
    let bytes = std::fs::read(folder.join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let numbers =
        |data: &[u8]| data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let named = tensors.iter();
    named.map(|(name, tensor)| (name.to_owned(), (tensor.shape().to_vec(), numbers(tensor.data())))).collect()
}

/// Writes tensors in some type.
pub fn write(path: &Path, tensors: &Tensors, dtype: Dtype) {
    let bytes = |values: &[f32]| -> Vec<u8> {
        match dtype {
            Dtype::F16 => values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect(),
            Dtype::BF16 => values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect(),
            _ => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        }
    };
    let stored: Vec<_> =
        tensors.iter().map(|(name, (shape, values))| (name, shape.clone(), bytes(values))).collect();
    let views = stored.iter();
    let views = views
        .map(|(name, shape, bytes)| (name.as_str(), TensorView::new(dtype, shape.clone(), bytes).unwrap()));
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// A folder like another one, without weights: the configuration changed, the tokenizer as it is.
pub fn folder_like(base: &Path, change: impl FnOnce(&mut Value)) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(base.join("tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
    let mut config: Value =
        serde_json::from_slice(&std::fs::read(base.join("config.json")).unwrap()).unwrap();
    change(&mut config);
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    folder
}

/// The model of a folder with these weights.
pub fn model_of(folder: &TempDir, tensors: &Tensors) -> Model {
    write(&folder.path().join("model.safetensors"), tensors, Dtype::F32);
    Model::read(folder.path(), "model").unwrap()
}
