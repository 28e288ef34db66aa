//! What a task grafts onto the encoder: the method, the adapters' size and form, the pooling and the head.

use std::fmt;
use std::str::FromStr;

use grafter_nn::activation::Activation;
use serde::{Deserialize, Serialize};

use super::method::Method;

/// The non-linearity of an adapter. `gelu` is the erf form; the tanh form is `gelu-tanh`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdapterActivation {
    /// `max(x, 0)`
    Relu,
    /// GELU with the Gauss error function.
    Gelu,
    /// GELU by the tanh approximation of the original BERT code.
    GeluTanh,
    /// `x · sigmoid(x)`
    Silu,
}

impl AdapterActivation {
    /// The operation.
    pub fn operation(self) -> Activation {
        match self {
            Self::Relu => Activation::Relu,
            Self::Gelu => Activation::GeluErf,
            Self::GeluTanh => Activation::GeluTanh,
            Self::Silu => Activation::Silu,
        }
    }
}

/// How a sequence becomes the one vector that the head reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// `tanh(pooler · h[CLS])`, as BERT was pretrained; the pooler is frozen.
    Cls,
    /// The mean of the last hidden states of all tokens.
    Mean,
}

macro_rules! names {
    ($kind:ident, $what:literal, $($name:literal => $variant:ident),+) => {
        impl $kind {
            /// Every value, by the name that files and the command line use.
            pub const NAMES: &'static [&'static str] = &[$($name),+];
        }

        impl fmt::Display for $kind {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(match self { $(Self::$variant => $name),+ })
            }
        }

        impl FromStr for $kind {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($name => Ok(Self::$variant),)+
                    _ => Err(format!("unknown {} `{text}`; known: {}", $what, Self::NAMES.join(", "))),
                }
            }
        }
    };
}

names!(AdapterActivation, "activation", "relu" => Relu, "gelu" => Gelu, "gelu-tanh" => GeluTanh, "silu" => Silu);
names!(Pooling, "pooling", "cls" => Cls, "mean" => Mean);

/// Everything that decides which numbers a task has and what is computed with them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdapterConfig {
    /// Which parameters are trained.
    pub method: Method,
    /// Width of the adapters; unused by a method without them.
    pub bottleneck: usize,
    /// Non-linearity of the adapters.
    pub activation: AdapterActivation,
    /// The lowest layer, counted from 0, with adapters and, of [`Method::Houlsby`], tuned layer normalisations. At 0 the
    /// layer normalisation of the embeddings is tuned too; above it all below is the bare encoder. 0 of a method
    /// without adapters.
    #[serde(default)]
    pub adapt_from_layer: usize,
    /// What the head reads.
    pub pooling: Pooling,
    /// Outputs of the head: classes, or 1 for regression.
    pub outputs: usize,
}

/// A setting that does not fit an encoder of so many layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnfitLayers {
    /// The field, as `adapter.json` names it.
    pub field: &'static str,
    /// What it is.
    pub found: String,
    /// What it may be.
    pub expected: String,
}

impl AdapterConfig {
    /// The lowest of `layers` layers in which anything is trained; their number if there is none.
    pub fn first_trained_layer(&self, layers: usize) -> usize {
        match self.method {
            Method::Houlsby | Method::Pfeiffer => self.adapt_from_layer,
            Method::TopLayers(top) => layers.saturating_sub(top),
            Method::Full | Method::LayerNorm | Method::Bias => 0,
            Method::Head => layers,
        }
    }

    /// Checks the lowest adapted layer, or how many of the upper layers are trained, against an encoder of `layers` layers.
    /// # Errors
    /// If it does not have such layers.
    pub fn check_layers(&self, layers: usize) -> Result<(), UnfitLayers> {
        let last = layers.saturating_sub(1);
        let adapt_from = |expected: String| {
            let found = self.adapt_from_layer.to_string();
            Err(UnfitLayers { field: "adapt_from_layer", found, expected })
        };
        match self.method {
            method if method.has_adapters() && self.adapt_from_layer > last => {
                adapt_from(format!("0 to {last} with this model"))
            }
            method if !method.has_adapters() && self.adapt_from_layer > 0 => {
                adapt_from(format!("0 with the method `{method}`, which has no adapters"))
            }
            Method::TopLayers(top) if top > layers => Err(UnfitLayers {
                field: "method",
                found: self.method.to_string(),
                expected: format!("top-1 to top-{layers} with this model"),
            }),
            _ => Ok(()),
        }
    }
}
