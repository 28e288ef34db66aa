//! What a task grafts onto the encoder: the method, the adapters' size and form, the pooling and the head.

use std::fmt;
use std::str::FromStr;

use grafter_nn::activation::Activation;
use serde::{Deserialize, Serialize};

/// Which parameters a task trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Two bottleneck adapters a layer, every layer normalisation, and the head (Houlsby et al. 2019).
    Houlsby,
    /// The head alone, on the frozen encoder.
    Head,
}

impl Method {
    /// The largest learning rate of a run that names none; how it was chosen is in `docs/results.md`.
    pub fn default_learning_rate(self) -> f64 {
        match self {
            Self::Houlsby => 1e-3,
            Self::Head => 1e-2,
        }
    }
}

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

names!(Method, "method", "houlsby" => Houlsby, "head" => Head);
names!(AdapterActivation, "activation", "relu" => Relu, "gelu" => Gelu, "gelu-tanh" => GeluTanh, "silu" => Silu);
names!(Pooling, "pooling", "cls" => Cls, "mean" => Mean);

/// Everything that decides which numbers a task has and what is computed with them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdapterConfig {
    /// Which parameters are trained.
    pub method: Method,
    /// Width of the adapters; unused by [`Method::Head`].
    pub bottleneck: usize,
    /// Non-linearity of the adapters.
    pub activation: AdapterActivation,
    /// The lowest layer, counted from 0, with adapters and tuned layer normalisations. At 0 the layer normalisation of the
    /// embeddings is tuned too; above it all below is the bare encoder. 0 with [`Method::Head`].
    #[serde(default)]
    pub adapt_from_layer: usize,
    /// What the head reads.
    pub pooling: Pooling,
    /// Outputs of the head: classes, or 1 for regression.
    pub outputs: usize,
}

impl AdapterConfig {
    /// Checks the lowest adapted layer against an encoder of `layers` layers.
    /// # Errors
    /// What it may be, if it is not that.
    pub fn check_adapt_from_layer(&self, layers: usize) -> Result<(), String> {
        let last = layers.saturating_sub(1);
        match self.method {
            Method::Houlsby if self.adapt_from_layer > last => Err(format!("0 to {last} with this model")),
            Method::Head if self.adapt_from_layer > 0 => {
                Err("0 with the method `head`, which adapts no layer".to_owned())
            }
            Method::Houlsby | Method::Head => Ok(()),
        }
    }
}
