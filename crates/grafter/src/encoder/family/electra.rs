//! ELECTRA's discriminator (Clark et al. 2020): BERT without a pooler. In its small models the embeddings are narrower than the
//! hidden states: a linear layer stands between them, after the embeddings' dropout.

use super::{AdapterHubNames, ConfigProblem, Family, TensorNames, bert};
use crate::encoder::EncoderConfig;

pub(super) const TENSORS: TensorNames = TensorNames {
    prefix: "electra.",
    pooler: None,
    embeddings_projection: Some("embeddings_project"),
    adapterhub: AdapterHubNames::of_class("ElectraAdapterModel"),
    ..bert::TENSORS
};

/// What `transformers` takes where the field is absent.
const EMBEDDING_SIZE: i64 = 128;

pub(super) fn config(text: &str) -> Result<EncoderConfig, ConfigProblem> {
    let fields = bert::Fields::read(text)?;
    let found = fields.embedding_size.unwrap_or(EMBEDDING_SIZE);
    let config = fields.config(Family::Electra);
    match usize::try_from(found) {
        Ok(width) if width == config.hidden_size => Ok(config),
        Ok(width) if (1..config.hidden_size).contains(&width) => {
            Ok(EncoderConfig { embedding_size: Some(width), ..config })
        }
        _ => Err(ConfigProblem::Unsupported {
            field: "embedding_size",
            found: found.to_string(),
            supported: "1 to `hidden_size`",
        }),
    }
}
