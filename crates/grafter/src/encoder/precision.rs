//! In which numbers the encoder's linear layers are read.

use std::fmt;
use std::str::FromStr;

use grafter_nn::linear::Precision;
use serde::{Deserialize, Serialize};

/// In which numbers the linear layers of the Transformer are multiplied; the file that they come from is the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BasePrecision {
    /// As the checkpoint has them.
    #[default]
    F32,
    /// In 8 bits, which gives slightly other answers ([`grafter_nn::quantised`]).
    Int8,
}

impl BasePrecision {
    const ALL: [Self; 2] = [Self::F32, Self::Int8];

    /// The name that files and the command line use.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Int8 => "int8",
        }
    }

    /// The operation.
    pub fn operation(self) -> Precision {
        match self {
            Self::F32 => Precision::F32,
            Self::Int8 => Precision::Int8,
        }
    }
}

impl fmt::Display for BasePrecision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for BasePrecision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|precision| precision.name() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            format!("unknown precision `{text}`; known: {known}")
        })
    }
}
