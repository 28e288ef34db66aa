//! What a task grafts onto the encoder: the method, the adapters' size and form, the pooling and the head.

use std::fmt;
use std::str::FromStr;

use grafter_nn::activation::Activation;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::method::Method;
use crate::encoder::{Biases, EncoderConfig};

/// A non-linearity of what is grafted. `gelu` is the erf form; the tanh form is `gelu-tanh`.
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
    /// `tanh x`
    Tanh,
}

impl AdapterActivation {
    /// The operation.
    pub fn operation(self) -> Activation {
        match self {
            Self::Relu => Activation::Relu,
            Self::Gelu => Activation::GeluErf,
            Self::GeluTanh => Activation::GeluTanh,
            Self::Silu => Activation::Silu,
            Self::Tanh => Activation::Tanh,
        }
    }
}

/// How a sequence becomes the vector, or vectors, that the head reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// `tanh(pooler · h[CLS])`, as BERT was pretrained; the pooler is frozen.
    Cls,
    /// The last hidden state of the first token, as it is.
    First,
    /// The mean of the last hidden states of all tokens.
    Mean,
    /// The last hidden state of the first token of each word, of a task that answers words; of one that answers questions, of the
    /// first token and of each token of the context.
    Words,
}

impl Pooling {
    /// How many vectors of a sequence with so many words are read.
    pub fn rows(self, words: usize) -> usize {
        match self {
            Self::Cls | Self::First | Self::Mean => 1,
            Self::Words => words,
        }
    }
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

names!(
    AdapterActivation, "activation",
    "relu" => Relu, "gelu" => Gelu, "gelu-tanh" => GeluTanh, "silu" => Silu, "tanh" => Tanh
);
names!(Pooling, "pooling", "cls" => Cls, "first" => First, "mean" => Mean, "words" => Words);

/// What the head computes from a vector that it reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HeadForm {
    /// `W · x + b`
    #[default]
    Linear,
    /// `W · act(W_d · x + b_d) + b` with `W_d` `[hidden, hidden]`: the head of RoBERTa, ELECTRA and DistilBERT, each with its
    /// own activation, and AdapterHub's by default.
    Dense(AdapterActivation),
}

/// What stands before the activation of [`HeadForm::Dense`]; without one it is `tanh`.
const DENSE: &str = "dense";

impl HeadForm {
    /// Whether it is the default.
    pub fn is_linear(&self) -> bool {
        *self == Self::Linear
    }
}

impl fmt::Display for HeadForm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linear => formatter.write_str("linear"),
            Self::Dense(activation) => write!(formatter, "{DENSE}-{activation}"),
        }
    }
}

impl FromStr for HeadForm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let activation = text.strip_prefix(DENSE).and_then(|rest| rest.strip_prefix('-'));
        match (text, activation.map(str::parse)) {
            ("linear", _) => Ok(Self::Linear),
            (DENSE, _) => Ok(Self::Dense(AdapterActivation::Tanh)),
            (_, Some(Ok(activation))) => Ok(Self::Dense(activation)),
            _ => {
                let dense: Vec<String> =
                    AdapterActivation::NAMES.iter().map(|name| format!("{DENSE}-{name}")).collect();
                Err(format!("unknown head `{text}`; known: linear, {DENSE}, {}", dense.join(", ")))
            }
        }
    }
}

impl TryFrom<String> for HeadForm {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<HeadForm> for String {
    fn from(form: HeadForm) -> Self {
        form.to_string()
    }
}

/// Width of the adapters: in files a number or a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Bottleneck {
    /// The same in every adapted layer.
    Same(usize),
    /// One for each layer from below to above; a layer of width 0 has no adapter.
    Layers(Vec<usize>),
}

impl Bottleneck {
    /// Width in a layer; 0 where it has no adapter.
    pub fn of_layer(&self, layer: usize) -> usize {
        match self {
            Self::Same(width) => *width,
            Self::Layers(widths) => widths.get(layer).copied().unwrap_or(0),
        }
    }

    /// The largest.
    pub fn widest(&self) -> usize {
        match self {
            Self::Same(width) => *width,
            Self::Layers(widths) => widths.iter().copied().max().unwrap_or(0),
        }
    }
}

/// By hand, so that a wrong file is told what was expected.
impl<'de> Deserialize<'de> for Bottleneck {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BottleneckVisitor)
    }
}

struct BottleneckVisitor;

impl<'de> Visitor<'de> for BottleneckVisitor {
    type Value = Bottleneck;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a width, or a list of one for each layer")
    }

    fn visit_u64<E: de::Error>(self, width: u64) -> Result<Bottleneck, E> {
        let too_wide = |_| E::invalid_value(de::Unexpected::Unsigned(width), &self);
        usize::try_from(width).map(Bottleneck::Same).map_err(too_wide)
    }

    fn visit_i64<E: de::Error>(self, width: i64) -> Result<Bottleneck, E> {
        Err(E::invalid_value(de::Unexpected::Signed(width), &self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Bottleneck, A::Error> {
        let mut widths = Vec::new();
        while let Some(width) = list.next_element()? {
            widths.push(width);
        }
        Ok(Bottleneck::Layers(widths))
    }
}

impl From<usize> for Bottleneck {
    fn from(width: usize) -> Self {
        Self::Same(width)
    }
}

/// As it is shown: one number, or one for each layer with `/` between them.
impl fmt::Display for Bottleneck {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same(width) => write!(formatter, "{width}"),
            Self::Layers(widths) => {
                let widths: Vec<String> = widths.iter().map(ToString::to_string).collect();
                formatter.write_str(&widths.join("/"))
            }
        }
    }
}

/// Everything that decides which numbers a task has and what is computed with them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdapterConfig {
    /// Which parameters are trained.
    pub method: Method,
    /// Width of the adapters; unused by a method without them.
    pub bottleneck: Bottleneck,
    /// Non-linearity of the adapters.
    pub activation: AdapterActivation,
    /// The lowest layer, counted from 0, with adapters and, of [`Method::Houlsby`], tuned layer normalisations. At 0 the
    /// layer normalisation of the embeddings is tuned too; above it all below is the bare encoder. 0 of a method
    /// without adapters.
    #[serde(default)]
    pub adapt_from_layer: usize,
    /// Whether [`Method::Houlsby`] leaves the layer normalisations as the encoder has them; the other methods say by
    /// themselves which they tune.
    #[serde(default, skip_serializing_if = "is_false")]
    pub freeze_layernorm: bool,
    /// What the head reads.
    pub pooling: Pooling,
    /// What the head computes of it.
    #[serde(default, skip_serializing_if = "HeadForm::is_linear")]
    pub head: HeadForm,
    /// Outputs of the head: classes, or 1 for regression.
    pub outputs: usize,
}

pub(crate) fn is_false(flag: &bool) -> bool {
    !flag
}

/// A setting that does not fit an encoder or another setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// The field, as `adapter.json` names it.
    pub field: &'static str,
    /// What it is.
    pub found: String,
    /// What it may be.
    pub expected: String,
}

impl AdapterConfig {
    /// How the head reads the hidden states, for people; a linear head goes without saying.
    pub fn reading(&self) -> String {
        match self.head {
            HeadForm::Linear => format!("{} pooling", self.pooling),
            head => format!("{} pooling, {head} head", self.pooling),
        }
    }

    /// The lowest of `layers` layers in which anything is trained; their number if there is none.
    pub fn first_trained_layer(&self, layers: usize) -> usize {
        match self.method {
            Method::Houlsby | Method::Pfeiffer => self.adapt_from_layer,
            Method::TopLayers(top) => layers.saturating_sub(top),
            Method::Full | Method::LayerNorm | Method::Bias => 0,
            Method::Head => layers,
        }
    }

    /// As [`AdapterConfig::check`], and that there is something to train in this encoder.
    /// # Errors
    /// If the settings contradict each other, or the encoder does not have what the method trains.
    pub fn check_on(&self, encoder: &EncoderConfig) -> Result<(), Unfit> {
        let Biases { attention, feed_forward, layer_norm } = encoder.biases();
        if self.method == Method::Bias && !(attention || feed_forward || layer_norm) {
            let expected = "another method, since no part of this model has a bias".to_owned();
            return Err(Unfit { field: "method", found: self.method.to_string(), expected });
        }
        self.check(encoder.num_hidden_layers)
    }

    /// Checks what depends on the encoder, which has `layers` layers, and on each other: the adapted layers and their widths,
    /// how many of the upper layers are trained, which layer normalisations are frozen.
    /// # Errors
    /// If they contradict each other, or the encoder does not have such layers.
    pub fn check(&self, layers: usize) -> Result<(), Unfit> {
        let last = layers.saturating_sub(1);
        let unfit =
            |field: &'static str, found: String, expected: String| Err(Unfit { field, found, expected });
        let method = self.method;
        if self.freeze_layernorm && method != Method::Houlsby {
            let expected = format!("false with the method `{method}`, which says by itself what it tunes");
            return unfit("freeze_layernorm", "true".to_owned(), expected);
        }
        if method.has_adapters() {
            if self.adapt_from_layer > last {
                let expected = format!("0 to {last} with this model");
                return unfit("adapt_from_layer", self.adapt_from_layer.to_string(), expected);
            }
            match &self.bottleneck {
                Bottleneck::Layers(widths) if widths.len() != layers => {
                    let found = format!("a list of {}", widths.len());
                    return unfit("bottleneck", found, format!("one for each of {layers} layers"));
                }
                Bottleneck::Layers(_) if self.adapt_from_layer > 0 => {
                    let expected = "0 with a bottleneck for each layer".to_owned();
                    return unfit("adapt_from_layer", self.adapt_from_layer.to_string(), expected);
                }
                bottleneck if bottleneck.widest() == 0 => {
                    return unfit("bottleneck", bottleneck.to_string(), "1 or more".to_owned());
                }
                _ => return Ok(()),
            }
        }
        if self.adapt_from_layer > 0 {
            let expected = format!("0 with the method `{method}`, which has no adapters");
            return unfit("adapt_from_layer", self.adapt_from_layer.to_string(), expected);
        }
        match method {
            Method::TopLayers(top) if top > layers => {
                unfit("method", method.to_string(), format!("top-1 to top-{layers} with this model"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_as_they_are_written() {
        let dense = AdapterActivation::NAMES.iter().map(|name| HeadForm::Dense(name.parse().unwrap()));
        for form in dense.chain([HeadForm::Linear]) {
            assert_eq!(form.to_string().parse(), Ok(form));
            assert_eq!(serde_json::to_string(&form).unwrap(), format!("\"{form}\""));
        }
        assert_eq!("dense".parse(), Ok(HeadForm::Dense(AdapterActivation::Tanh)));
        for wrong in ["", "Linear", "dense-", "dense-dense", "densetanh", "linear-tanh"] {
            let message = wrong.parse::<HeadForm>().unwrap_err();
            assert!(
                message.starts_with(&format!("unknown head `{wrong}`; known: linear, dense, ")),
                "{message}"
            );
        }
    }

    #[test]
    fn a_bottleneck_is_a_number_or_a_list() {
        for (text, bottleneck, shown, widest) in [
            ("64", Bottleneck::Same(64), "64", 64),
            ("[8,0,16]", Bottleneck::Layers(vec![8, 0, 16]), "8/0/16", 16),
        ] {
            assert_eq!(serde_json::from_str::<Bottleneck>(text).unwrap(), bottleneck);
            assert_eq!(serde_json::to_string(&bottleneck).unwrap(), text);
            assert_eq!(bottleneck.to_string(), shown);
            assert_eq!(bottleneck.widest(), widest);
        }
    }
}
