//! The methods: which of a network's numbers a task trains.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which parameters a task trains. The head is among them always; [`super::ParameterList::new`] has the list of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Method {
    /// Two bottleneck adapters a layer and every layer normalisation (Houlsby et al. 2019).
    Houlsby,
    /// One bottleneck adapter a layer, after the feed-forward network, and no layer normalisation (Pfeiffer et al. 2021,
    /// as AdapterHub configures it).
    Pfeiffer,
    /// Every number of the encoder: fine-tuning (Devlin et al. 2018).
    Full,
    /// Every number of the uppermost layers, so many of them (Houlsby et al. 2019, section 3.4).
    TopLayers(usize),
    /// Scale and shift of every layer normalisation (Houlsby et al. 2019, section 3.4).
    LayerNorm,
    /// Every bias of the encoder (BitFit, Ben Zaken et al. 2022).
    Bias,
    /// The head alone, on the frozen encoder.
    Head,
}

/// The names without a number.
const NAMES: [(Method, &str); 6] = [
    (Method::Houlsby, "houlsby"),
    (Method::Pfeiffer, "pfeiffer"),
    (Method::Full, "full"),
    (Method::LayerNorm, "layernorm"),
    (Method::Bias, "bias"),
    (Method::Head, "head"),
];

/// Wider adapters have a lower rate by default: at the usual one those of 256 ended in one class on two of five sets
/// (`docs/reproduction.md`).
const WIDEST_AT_USUAL_RATE: usize = 64;

/// What stands before the number of [`Method::TopLayers`].
const TOP: &str = "top-";

impl Method {
    /// The largest learning rate of a run that names none; of methods with adapters it depends on their width. How those
    /// of `houlsby` and `head` were chosen is in `docs/results.md`; `pfeiffer` has those of `houlsby`, and the others are
    /// customary, not measured here.
    pub fn default_learning_rate(self, bottleneck: Option<usize>) -> f64 {
        let is_wide = self.has_adapters() && bottleneck.is_some_and(|width| width > WIDEST_AT_USUAL_RATE);
        match self {
            _ if is_wide => 3e-4,
            Self::Houlsby | Self::Pfeiffer | Self::LayerNorm | Self::Bias => 1e-3,
            Self::Full | Self::TopLayers(_) => 1e-4,
            Self::Head => 1e-2,
        }
    }

    /// Whether a task has matrices of its own in the place of the encoder's, as in fine-tuning.
    pub fn fine_tunes(self) -> bool {
        matches!(self, Self::Full | Self::TopLayers(_))
    }

    /// Whether gradients pass through the encoder's own matrices.
    pub fn passes_frozen_matrices(self) -> bool {
        matches!(self, Self::Houlsby | Self::Pfeiffer | Self::LayerNorm | Self::Bias)
    }

    /// Whether adapters are grafted, so that their width, form and lowest layer mean something.
    pub fn has_adapters(self) -> bool {
        matches!(self, Self::Houlsby | Self::Pfeiffer)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::TopLayers(layers) = self {
            return formatter.pad(&format!("{TOP}{layers}"));
        }
        let name = NAMES.iter().find(|(method, _)| method == self).map_or("", |(_, name)| name);
        formatter.pad(name)
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = NAMES.iter().find(|(_, name)| *name == text).map(|(method, _)| *method);
        let number = text.strip_prefix(TOP).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let top = number.and_then(|digits| digits.parse().ok()).filter(|layers| *layers > 0);
        plain.or(top.map(Self::TopLayers)).ok_or_else(|| {
            let names: Vec<&str> = NAMES.iter().map(|(_, name)| *name).collect();
            format!("unknown method `{text}`; known: {}, {TOP}1, {TOP}2, …", names.join(", "))
        })
    }
}

impl TryFrom<String> for Method {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Method> for String {
    fn from(method: Method) -> Self {
        method.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let top = [Method::TopLayers(1), Method::TopLayers(12)];
        for method in NAMES.map(|(method, _)| method).into_iter().chain(top) {
            assert_eq!(method.to_string().parse(), Ok(method));
            assert_eq!(format!("\"{method}\""), serde_json::to_string(&method).unwrap());
        }
        for wrong in ["", "top-", "top-0", "top-+1", "top--1", "top-99999999999999999999", "Houlsby", "lora"]
        {
            let message = wrong.parse::<Method>().unwrap_err();
            assert!(message.starts_with(&format!("unknown method `{wrong}`; known: houlsby, ")), "{message}");
        }
    }
}
