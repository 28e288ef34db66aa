//! Reads a pretrained encoder from a folder in Hugging Face's layout: `config.json`, and `model.safetensors` or the files that
//! `model.safetensors.index.json` lists.
//!
//! Sits between the files of the hub and [`crate::encoder`]. It checks every name and shape before a number is used
//! and takes memory only for tensors that the files really hold. Nothing from a file is ever executed.

mod error;
mod files;
mod pickle;

use std::path::Path;

use grafter_nn::embedding::FrozenEmbedding;
use grafter_nn::linear::{FrozenLinear, Precision};
use grafter_nn::quantised::MOST_INPUTS;
use rayon::prelude::*;

pub use self::error::CheckpointError;
pub use self::files::{INDEX_FILE, WEIGHTS_FILE, weight_files};
use self::files::{WeightBytes, Weights};
pub use self::pickle::PickleError;
pub(crate) use self::pickle::read as read_pickle;
use crate::encoder::family::{QueryKeyValue, TensorNames};
use crate::encoder::{
    BasePrecision, Biases, Encoder, EncoderConfig, EncoderLayer, FrozenLayerNorm, RelativeEmbeddings,
};

/// Reads `config.json` and the weights of a folder.
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

/// Reads the weights of a folder whose `config.json` was read.
/// # Errors
/// As [`read_encoder`].
pub(crate) fn read_weights(
    folder: &Path,
    config: EncoderConfig,
    precision: BasePrecision,
) -> Result<Encoder, CheckpointError> {
    check_precision(folder, &config, precision)?;
    let bytes = WeightBytes::read(folder)?;
    let weights = bytes.open()?;
    let names = config.family.tensors();
    let prefix = if weights.names().any(|name| name.starts_with(names.prefix)) { names.prefix } else { "" };
    let reader = Reader { weights: &weights, names, prefix, precision };
    let (encoder, sha256) = rayon::join(|| reader.encoder(config), || bytes.sha256());
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
            field: config.family.field(field),
            found: inputs.to_string(),
            expected: format!("at most {MOST_INPUTS} with a base in {precision}"),
        }),
        _ => Ok(()),
    }
}

/// One open checkpoint.
struct Reader<'a> {
    weights: &'a Weights<'a>,
    names: &'static TensorNames,
    /// That of the names when the checkpoint was saved from a model with a head, empty when from a bare encoder.
    prefix: &'static str,
    /// Of the linear layers of the Transformer.
    precision: BasePrecision,
}

impl Reader<'_> {
    /// The encoder, without the digest of its file.
    fn encoder(&self, config: EncoderConfig) -> Result<Encoder, CheckpointError> {
        let (names, hidden) = (self.names, config.hidden_size);
        let width = config.embedding_width();
        let table = |name, rows| self.tensor(name, &[rows, width]);
        let some_table = |name: Option<&'static str>, rows| {
            name.filter(|_| rows > 0).map_or(Ok(Vec::new()), |name| table(name, rows))
        };
        let embedding = FrozenEmbedding {
            words: table(names.words, config.vocab_size)?,
            positions: some_table(names.positions, config.position_rows())?,
            types: some_table(names.types, config.type_vocab_size)?,
            hidden: width,
            first_position: config.first_position,
        };
        let has_shift = config.biases().layer_norm;
        let embeddings_layer_norm = self.layer_norm(names.embeddings_layer_norm, width, has_shift)?;
        let projection = names.embeddings_projection.filter(|_| config.embedding_size.is_some());
        let projection =
            projection.map(|name| self.linear(name, [hidden, width], true, Precision::F32)).transpose()?;
        let shape = [config.relative_attention_num_buckets, config.num_attention_heads];
        let relative_bias = names.relative_bias.map_or(Ok(Vec::new()), |name| self.tensor(name, &shape))?;
        let relative_embeddings = self.relative_embeddings(&config)?;
        let layers = (0..config.num_hidden_layers)
            .into_par_iter()
            .map(|layer| self.layer(&config, layer))
            // Of several errors the first layer's is told, whichever thread finds its own first.
            .collect::<Vec<_>>()
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?;
        // Checkpoints saved without a pooler serve every task that pools by the mean.
        let pooler = names.pooler.filter(|name| self.weights.has(&format!("{}{name}.weight", self.prefix)));
        let pooler =
            pooler.map(|name| self.linear(name, [hidden, hidden], true, Precision::F32)).transpose()?;
        let final_layer_norm = names.final_layer_norm;
        let final_layer_norm =
            final_layer_norm.map(|name| self.layer_norm(name, hidden, has_shift)).transpose()?;
        Ok(Encoder {
            config,
            embedding,
            embeddings_layer_norm,
            embeddings_projection: projection,
            relative_bias,
            relative_embeddings,
            layers,
            final_layer_norm,
            pooler,
            weights_sha256: String::new(),
            stored_as: self.weights.types(),
            precision: self.precision,
        })
    }

    /// What DeBERTa's attention reads by distance.
    fn relative_embeddings(
        &self,
        config: &EncoderConfig,
    ) -> Result<Option<RelativeEmbeddings>, CheckpointError> {
        let names = (self.names.relative_embeddings, self.names.relative_layer_norm);
        let (Some(relative), (Some(table), Some(norm))) = (&config.relative, names) else { return Ok(None) };
        let table = self.tensor(table, &[2 * relative.rows().span, config.hidden_size])?;
        let norm = relative.has_layer_norm().then_some(norm);
        let norm = norm.map(|name| self.layer_norm(name, config.hidden_size, true)).transpose()?;
        Ok(Some(RelativeEmbeddings::new(config, relative, table, norm)))
    }

    fn layer(&self, config: &EncoderConfig, layer: usize) -> Result<EncoderLayer, CheckpointError> {
        let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
        let precision = self.precision.operation();
        let names = self.names;
        let name = |rest: &str| format!("{}{layer}.{rest}", names.layer);
        let Biases { attention, feed_forward, layer_norm } = config.biases();
        let attention_norm = config.has_attention_layer_norm(layer).then_some(names.attention_layer_norm);
        let wide = [config.intermediate_outputs(), hidden];
        Ok(EncoderLayer {
            query_key_value: self.query_key_value(&name, hidden, attention)?,
            attention_output: self.linear(
                &name(names.attention_output),
                [hidden, hidden],
                attention,
                precision,
            )?,
            attention_layer_norm: attention_norm
                .map(|norm| self.layer_norm(&name(norm), hidden, layer_norm))
                .transpose()?,
            intermediate: self.linear(&name(names.intermediate), wide, feed_forward, precision)?,
            output: self.linear(&name(names.output), [hidden, intermediate], feed_forward, precision)?,
            output_layer_norm: self.layer_norm(&name(names.output_layer_norm), hidden, layer_norm)?,
        })
    }

    /// Query, key and value in one product.
    fn query_key_value(
        &self,
        name: &impl Fn(&str) -> String,
        hidden: usize,
        has_bias: bool,
    ) -> Result<FrozenLinear, CheckpointError> {
        let precision = self.precision.operation();
        let parts = match self.names.query_key_value {
            QueryKeyValue::One(part) => {
                return self.linear(&name(part), [3 * hidden, hidden], has_bias, precision);
            }
            QueryKeyValue::Three(parts) => parts,
        };
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for part in parts {
            weight.extend(self.tensor(&name(&format!("{part}.weight")), &[hidden, hidden])?);
            bias.extend(self.bias(&name(&format!("{part}.bias")), hidden, has_bias)?);
        }
        Ok(FrozenLinear::new(&weight, bias, hidden, precision))
    }

    fn linear(
        &self,
        name: &str,
        [outputs, inputs]: [usize; 2],
        has_bias: bool,
        precision: Precision,
    ) -> Result<FrozenLinear, CheckpointError> {
        let weight = self.tensor(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = self.bias(&format!("{name}.bias"), outputs, has_bias)?;
        Ok(FrozenLinear::new(&weight, bias, inputs, precision))
    }

    fn layer_norm(
        &self,
        name: &str,
        hidden: usize,
        has_shift: bool,
    ) -> Result<FrozenLayerNorm, CheckpointError> {
        // Checkpoints converted from TensorFlow call scale and shift `gamma` and `beta`.
        let (weight, bias) = if self.weights.has(&format!("{}{name}.gamma", self.prefix)) {
            ("gamma", "beta")
        } else {
            ("weight", "bias")
        };
        Ok(FrozenLayerNorm {
            weight: self.tensor(&format!("{name}.{weight}"), &[hidden])?,
            bias: self.bias(&format!("{name}.{bias}"), hidden, has_shift)?,
        })
    }

    /// A bias, or zeros where the configuration says that there is none.
    fn bias(&self, name: &str, outputs: usize, is_there: bool) -> Result<Vec<f32>, CheckpointError> {
        if is_there { self.tensor(name, &[outputs]) } else { Ok(vec![0.0; outputs]) }
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, CheckpointError> {
        self.weights.tensor(&format!("{}{name}", self.prefix), shape)
    }
}
