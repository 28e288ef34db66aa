//! Reads a pretrained encoder from a folder in Hugging Face's layout: `config.json` and `model.safetensors`.
//!
//! Sits between the files of the hub and [`crate::encoder`]. It checks every name and shape before a number is used
//! and takes memory only for tensors that the file really holds. Nothing from a file is ever executed.

use std::path::{Path, PathBuf};

use grafter_nn::embedding::FrozenEmbedding;
use grafter_nn::linear::{FrozenLinear, Precision};
use grafter_nn::quantised::MOST_INPUTS;
use rayon::prelude::*;
use safetensors::SafeTensors;
use thiserror::Error;

use crate::digest::sha256_hex;
use crate::encoder::{BasePrecision, Encoder, EncoderConfig, EncoderLayer, FrozenLayerNorm};
use crate::tensors::{self, TensorProblem};

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
        /// The tensor, as BERT checkpoints name it.
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

/// Reads `config.json` and `model.safetensors` of a folder.
/// # Errors
/// If a file is missing or broken, or the configuration names something that is not supported.
pub fn read_encoder(folder: &Path) -> Result<Encoder, CheckpointError> {
    read_encoder_in(folder, BasePrecision::F32)
}

/// As [`read_encoder`], with the linear layers of the Transformer in a precision. The pooler, the embeddings and the layer
/// normalisations stay f32.
/// # Errors
/// As [`read_encoder`].
pub fn read_encoder_in(folder: &Path, precision: BasePrecision) -> Result<Encoder, CheckpointError> {
    read_weights(folder, EncoderConfig::read(&folder.join("config.json"))?, precision)
}

/// Reads `model.safetensors` of a folder whose `config.json` was read.
/// # Errors
/// As [`read_encoder`].
pub(crate) fn read_weights(
    folder: &Path,
    config: EncoderConfig,
    precision: BasePrecision,
) -> Result<Encoder, CheckpointError> {
    check_precision(folder, &config, precision)?;
    let path = folder.join("model.safetensors");
    let bytes = std::fs::read(&path).map_err(|source| CheckpointError::Io { path: path.clone(), source })?;
    let tensors = SafeTensors::deserialize(&bytes)
        .map_err(|error| CheckpointError::Format { path: path.clone(), reason: error.to_string() })?;
    let prefix = if tensors.names().iter().any(|name| name.starts_with("bert.")) { "bert." } else { "" };
    let reader = Reader { path: &path, tensors, prefix, precision };
    let (encoder, sha256) = rayon::join(|| reader.encoder(config), || sha256_hex(&bytes));
    Ok(Encoder { weights_sha256: sha256, ..encoder? })
}

/// Checks that the linear layers can be read in a precision.
fn check_precision(
    folder: &Path,
    config: &EncoderConfig,
    precision: BasePrecision,
) -> Result<(), CheckpointError> {
    let inputs = [("hidden_size", config.hidden_size), ("intermediate_size", config.intermediate_size)];
    match inputs.into_iter().find(|(_, inputs)| *inputs > MOST_INPUTS) {
        Some((field, inputs)) if precision == BasePrecision::Int8 => Err(CheckpointError::ConfigValue {
            path: folder.join("config.json"),
            field,
            found: inputs.to_string(),
            expected: format!("at most {MOST_INPUTS} with a base in {precision}"),
        }),
        _ => Ok(()),
    }
}

/// One open checkpoint.
struct Reader<'a> {
    path: &'a Path,
    tensors: SafeTensors<'a>,
    /// `bert.` when the checkpoint was saved from a model with a head, empty when from a bare encoder.
    prefix: &'static str,
    /// Of the linear layers of the Transformer.
    precision: BasePrecision,
}

impl Reader<'_> {
    /// The encoder, without the digest of its file.
    fn encoder(&self, config: EncoderConfig) -> Result<Encoder, CheckpointError> {
        let hidden = config.hidden_size;
        let embedding = FrozenEmbedding {
            words: self.tensor("embeddings.word_embeddings.weight", &[config.vocab_size, hidden])?,
            positions: self
                .tensor("embeddings.position_embeddings.weight", &[config.max_position_embeddings, hidden])?,
            types: self
                .tensor("embeddings.token_type_embeddings.weight", &[config.type_vocab_size, hidden])?,
            hidden,
        };
        let embeddings_layer_norm = self.layer_norm("embeddings.LayerNorm", hidden)?;
        let layers = (0..config.num_hidden_layers)
            .into_par_iter()
            .map(|layer| self.layer(&config, layer))
            // Of several errors the first layer's is told, whichever thread finds its own first.
            .collect::<Vec<_>>()
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?;
        // Checkpoints saved without a pooler serve every task that pools by the mean.
        let has_pooler = self.tensors.tensor(&format!("{}pooler.dense.weight", self.prefix)).is_ok();
        let pooler =
            has_pooler.then(|| self.linear("pooler.dense", hidden, hidden, Precision::F32)).transpose()?;
        Ok(Encoder {
            config,
            embedding,
            embeddings_layer_norm,
            layers,
            pooler,
            weights_sha256: String::new(),
            precision: self.precision,
        })
    }

    fn layer(&self, config: &EncoderConfig, layer: usize) -> Result<EncoderLayer, CheckpointError> {
        let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
        let precision = self.precision.operation();
        let name = |rest: &str| format!("encoder.layer.{layer}.{rest}");
        // Query, key and value in one product.
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for part in ["query", "key", "value"] {
            weight.extend(self.tensor(&name(&format!("attention.self.{part}.weight")), &[hidden, hidden])?);
            bias.extend(self.tensor(&name(&format!("attention.self.{part}.bias")), &[hidden])?);
        }
        Ok(EncoderLayer {
            query_key_value: FrozenLinear::new(&weight, bias, hidden, precision),
            attention_output: self.linear(&name("attention.output.dense"), hidden, hidden, precision)?,
            attention_layer_norm: self.layer_norm(&name("attention.output.LayerNorm"), hidden)?,
            intermediate: self.linear(&name("intermediate.dense"), intermediate, hidden, precision)?,
            output: self.linear(&name("output.dense"), hidden, intermediate, precision)?,
            output_layer_norm: self.layer_norm(&name("output.LayerNorm"), hidden)?,
        })
    }

    fn linear(
        &self,
        name: &str,
        outputs: usize,
        inputs: usize,
        precision: Precision,
    ) -> Result<FrozenLinear, CheckpointError> {
        let weight = self.tensor(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = self.tensor(&format!("{name}.bias"), &[outputs])?;
        Ok(FrozenLinear::new(&weight, bias, inputs, precision))
    }

    fn layer_norm(&self, name: &str, hidden: usize) -> Result<FrozenLayerNorm, CheckpointError> {
        // Checkpoints converted from TensorFlow call scale and shift `gamma` and `beta`.
        let (weight, bias) = if self.tensors.tensor(&format!("{}{name}.gamma", self.prefix)).is_ok() {
            ("gamma", "beta")
        } else {
            ("weight", "bias")
        };
        Ok(FrozenLayerNorm {
            weight: self.tensor(&format!("{name}.{weight}"), &[hidden])?,
            bias: self.tensor(&format!("{name}.{bias}"), &[hidden])?,
        })
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, CheckpointError> {
        let name = format!("{}{name}", self.prefix);
        tensors::floats(&self.tensors, &name, shape).map_err(|problem| {
            let path = self.path.to_owned();
            match problem {
                TensorProblem::Missing => CheckpointError::MissingTensor { path, name: name.clone() },
                TensorProblem::Unfit { expected, found } => {
                    CheckpointError::Tensor { path, name: name.clone(), expected, found }
                }
            }
        })
    }
}
