//! A pretrained model: the frozen encoder together with its tokenizer.

use std::path::Path;

use thiserror::Error;

use crate::checkpoint::{CheckpointError, read_weights};
use crate::encoder::{BasePrecision, Encoder, EncoderConfig};
use crate::tokenizer::{Tokenizer, TokenizerError};

/// Why a folder could not be read as a model.
#[derive(Debug, Error)]
pub enum ModelError {
    /// The encoder.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

/// A frozen encoder and its tokenizer.
#[derive(Debug)]
pub struct Model {
    name: String,
    encoder: Encoder,
    tokenizer: Tokenizer,
}

impl Model {
    /// Reads a folder in Hugging Face's layout: `config.json`, `model.safetensors`, `tokenizer.json`. `name` is what
    /// people call the model; it goes into adapters and messages and decides nothing.
    /// # Errors
    /// If a file is missing or broken, or the model is not supported.
    pub fn read(folder: &Path, name: &str) -> Result<Self, ModelError> {
        Self::read_in(folder, name, BasePrecision::F32)
    }

    /// As [`Model::read`], with the encoder in a precision.
    /// # Errors
    /// As [`Model::read`].
    pub fn read_in(folder: &Path, name: &str, precision: BasePrecision) -> Result<Self, ModelError> {
        let config = EncoderConfig::read(&folder.join("config.json"))?;
        let vocabulary = config.vocab_size;
        let (encoder, tokenizer) =
            rayon::join(|| read_weights(folder, config, precision), || Tokenizer::read(folder, vocabulary));
        Ok(Self { name: name.to_owned(), encoder: encoder?, tokenizer: tokenizer? })
    }

    /// What people call the model.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The frozen encoder.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }
}
