//! RoBERTa (Liu et al. 2019) and XLM-R (Conneau et al. 2019): BERT whose positions begin after that of the padding, with one
//! token type. It was pretrained without a task on pairs, so that the pooler that its checkpoints may hold was not trained
//! there: it is not read, also where fine-tuning trained one.

use super::{AdapterHubNames, ConfigProblem, Family, TensorNames, bert};
use crate::encoder::EncoderConfig;

pub(super) const TENSORS: TensorNames = TensorNames {
    prefix: "roberta.",
    pooler: None,
    adapterhub: AdapterHubNames::of_class("RobertaAdapterModel"),
    ..bert::TENSORS
};
/// XLM-R's tensors have RoBERTa's names.
pub(super) const XLM_TENSORS: TensorNames =
    TensorNames { adapterhub: AdapterHubNames::of_class("XLMRobertaAdapterModel"), ..TENSORS };

/// The id of `<pad>`. `transformers` counts positions from the one after it.
const PADDING: usize = 1;

pub(super) fn config(family: Family, text: &str) -> Result<EncoderConfig, ConfigProblem> {
    config_of(family, bert::Fields::read(text)?)
}

/// That of a family whose positions are counted in the same way.
pub(super) fn config_of(family: Family, fields: bert::Fields) -> Result<EncoderConfig, ConfigProblem> {
    if let Some(found) = fields.pad_token_id.filter(|id| usize::try_from(*id) != Ok(PADDING)) {
        let found = found.to_string();
        return Err(ConfigProblem::Unsupported { field: "pad_token_id", found, supported: "`1`" });
    }
    Ok(EncoderConfig { first_position: PADDING + 1, ..fields.config(family) })
}
