//! Families of encoders, one file each for what differs: the names in `config.json` and in the checkpoint, where positions
//! begin, and what there is beside the layers.
//!
//! The layers themselves are shared. All families but ModernBERT have BERT's: attention, feed-forward network, and after each a
//! residual connection and a layer normalisation. ModernBERT's are in `encoder/pre_norm.rs`, what DeBERTa's attention has beside in
//! `encoder/relative.rs`.

mod bert;
mod deberta;
mod distilbert;
mod electra;
mod modernbert;
mod mpnet;
mod roberta;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::EncoderConfig;

/// A family, by the `model_type` of `config.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Family {
    /// BERT (Devlin et al. 2018).
    #[serde(rename = "bert")]
    Bert,
    /// RoBERTa (Liu et al. 2019).
    #[serde(rename = "roberta")]
    Roberta,
    /// XLM-R (Conneau et al. 2019): RoBERTa with another vocabulary.
    #[serde(rename = "xlm-roberta")]
    XlmRoberta,
    /// DistilBERT (Sanh et al. 2019).
    #[serde(rename = "distilbert")]
    DistilBert,
    /// ELECTRA's discriminator (Clark et al. 2020).
    #[serde(rename = "electra")]
    Electra,
    /// MPNet (Song et al. 2020).
    #[serde(rename = "mpnet")]
    MpNet,
    /// ModernBERT (Warner et al. 2024).
    #[serde(rename = "modernbert")]
    ModernBert,
    /// DeBERTa in its second form and its third (He et al. 2020, 2021).
    #[serde(rename = "deberta-v2")]
    DebertaV2,
}

/// Why a `config.json` cannot be used.
#[derive(Debug)]
pub(super) enum ConfigProblem {
    /// It lacks a field, or one has another type.
    Syntax(serde_json::Error),
    /// A setting names something that this program does not compute.
    Unsupported {
        /// The field.
        field: &'static str,
        /// What it says.
        found: String,
        /// What it may say.
        supported: &'static str,
    },
}

/// How a checkpoint names its tensors. Those of a layer follow `layer`, the layer's number and a dot.
#[derive(Debug)]
pub(crate) struct TensorNames {
    /// Before all names where the checkpoint was saved from a model with a head.
    pub prefix: &'static str,
    pub words: &'static str,
    /// None in a family whose embeddings do not know positions.
    pub positions: Option<&'static str>,
    /// None in a family without token types.
    pub types: Option<&'static str>,
    pub embeddings_layer_norm: &'static str,
    pub layer: &'static str,
    pub query_key_value: QueryKeyValue,
    pub attention_output: &'static str,
    pub attention_layer_norm: &'static str,
    pub intermediate: &'static str,
    pub output: &'static str,
    pub output_layer_norm: &'static str,
    /// After all layers; none in a family whose last layer ends with one.
    pub final_layer_norm: Option<&'static str>,
    /// None in a family whose checkpoints have none that was trained.
    pub pooler: Option<&'static str>,
    /// None in a family whose embeddings are always as wide as the hidden states.
    pub embeddings_projection: Option<&'static str>,
    /// None in a family without relative position bias.
    pub relative_bias: Option<&'static str>,
    /// None in a family whose attention has no relative embeddings.
    pub relative_embeddings: Option<&'static str>,
    /// Their layer normalisation, which is there if the configuration says so.
    pub relative_layer_norm: Option<&'static str>,
    /// None in a family that AdapterHub does not know.
    pub adapterhub: Option<AdapterHubNames>,
}

/// How a layer's projections to queries, keys and values are stored.
#[derive(Clone, Copy, Debug)]
pub(crate) enum QueryKeyValue {
    /// Each on its own.
    Three([&'static str; 3]),
    /// In one, the rows of the queries first, then those of the keys.
    One(&'static str),
}

/// What AdapterHub's library calls the parts of a family.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdapterHubNames {
    /// Where the adapters after the attention are, in a layer.
    pub attention: &'static str,
    /// Where those after the feed-forward network are.
    pub output: &'static str,
    /// A model with heads.
    pub class: &'static str,
}

impl AdapterHubNames {
    /// Those of a family whose adapters are where BERT's are.
    const fn of_class(class: &'static str) -> Option<Self> {
        Some(Self { attention: "attention.output.adapters", output: "output.adapters", class })
    }
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Bert,
        Self::Roberta,
        Self::XlmRoberta,
        Self::DistilBert,
        Self::Electra,
        Self::MpNet,
        Self::ModernBert,
        Self::DebertaV2,
    ];
    /// Their names, for messages.
    pub(super) const NAMES: &'static str =
        "`bert`, `roberta`, `xlm-roberta`, `distilbert`, `electra`, `mpnet`, `modernbert`, `deberta-v2`";

    /// Its `model_type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bert => "bert",
            Self::Roberta => "roberta",
            Self::XlmRoberta => "xlm-roberta",
            Self::DistilBert => "distilbert",
            Self::Electra => "electra",
            Self::MpNet => "mpnet",
            Self::ModernBert => "modernbert",
            Self::DebertaV2 => "deberta-v2",
        }
    }

    /// The family of a `model_type`.
    pub fn find(model_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.name() == model_type)
    }

    /// Whether `transformers` never hands its models what a tokenizer says of types, so that all are 0.
    pub(crate) fn has_one_type(self) -> bool {
        matches!(self, Self::Roberta | Self::XlmRoberta)
    }

    /// What its `config.json` calls a setting, by BERT's name.
    pub(crate) fn field(self, name: &'static str) -> &'static str {
        match self {
            Self::DistilBert => distilbert::field(name),
            Self::ModernBert => modernbert::field(name),
            Self::DebertaV2 => deberta::field(name),
            _ => name,
        }
    }

    /// How its checkpoints name their tensors.
    pub(crate) fn tensors(self) -> &'static TensorNames {
        match self {
            Self::Bert => &bert::TENSORS,
            Self::Roberta => &roberta::TENSORS,
            Self::XlmRoberta => &roberta::XLM_TENSORS,
            Self::DistilBert => &distilbert::TENSORS,
            Self::Electra => &electra::TENSORS,
            Self::MpNet => &mpnet::TENSORS,
            Self::ModernBert => &modernbert::TENSORS,
            Self::DebertaV2 => &deberta::TENSORS,
        }
    }

    /// Reads what its `config.json` says; sizes are not checked yet.
    pub(super) fn config(self, text: &str) -> Result<EncoderConfig, ConfigProblem> {
        match self {
            Self::Bert => bert::config(text),
            Self::Roberta | Self::XlmRoberta => roberta::config(self, text),
            Self::DistilBert => distilbert::config(text),
            Self::Electra => electra::config(text),
            Self::MpNet => mpnet::config(text),
            Self::ModernBert => modernbert::config(text),
            Self::DebertaV2 => deberta::config(text),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_has_one_name() {
        let quoted: Vec<String> = Family::ALL.iter().map(|family| format!("`{family}`")).collect();
        assert_eq!(quoted.join(", "), Family::NAMES);
        for family in Family::ALL {
            assert_eq!(Family::find(family.name()), Some(family));
            assert_eq!(serde_json::to_string(&family).unwrap(), format!("\"{family}\""));
        }
    }
}
