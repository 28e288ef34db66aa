//! What a task has of its own of a module that the encoder has, and where it stands in the flat vector.

use std::ops::Range;

use grafter_nn::layer_norm::LayerNormWeights;

use super::list::ParameterList;

/// What a task brings of a module that the encoder has: its own weight, its own bias, both, or nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tuned<'a> {
    /// `[outputs, inputs]` of a linear layer, the scale `[hidden]` of a layer normalisation.
    pub weight: Option<&'a [f32]>,
    /// The bias, or the shift of a layer normalisation.
    pub bias: Option<&'a [f32]>,
}

impl<'a> Tuned<'a> {
    /// Whether the encoder's own numbers are used.
    pub fn is_nothing(&self) -> bool {
        self.weight.is_none() && self.bias.is_none()
    }

    /// The layer normalisation with these numbers, and the encoder's where there are none.
    pub fn layer_norm(self, frozen: LayerNormWeights<'a>) -> LayerNormWeights<'a> {
        LayerNormWeights {
            weight: self.weight.unwrap_or(frozen.weight),
            bias: self.bias.unwrap_or(frozen.bias),
        }
    }
}

/// Where the gradients of a module are added, of what of it is trained.
#[derive(Debug)]
pub struct TunedGradients<'a> {
    /// As [`Tuned::weight`].
    pub weight: Option<&'a mut [f32]>,
    /// As [`Tuned::bias`].
    pub bias: Option<&'a mut [f32]>,
}

/// The places of [`Tuned`]; a bias stands directly after its weight.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots {
    pub(super) weight: Option<Range<usize>>,
    bias: Option<Range<usize>>,
}

impl Slots {
    /// Of the parts of one module.
    pub(super) fn of(list: &ParameterList, prefix: &str, parts: &[&str]) -> Self {
        let names = |end: &str| parts.iter().map(|part| format!("{prefix}{part}.{end}")).collect::<Vec<_>>();
        let slots = Self { weight: list.block(&names("weight")), bias: list.block(&names("bias")) };
        if let (Some(weight), Some(bias)) = (&slots.weight, &slots.bias) {
            assert_eq!(weight.end, bias.start, "a bias stands after its weight");
        }
        slots
    }

    pub(super) fn is_empty(&self) -> bool {
        self.weight.is_none() && self.bias.is_none()
    }

    pub(super) fn read<'a>(&self, values: &'a [f32]) -> Tuned<'a> {
        let part = |range: &Option<Range<usize>>| range.clone().map(|range| &values[range]);
        Tuned { weight: part(&self.weight), bias: part(&self.bias) }
    }

    pub(super) fn write<'a>(&self, flat: &'a mut [f32]) -> TunedGradients<'a> {
        match (self.weight.clone(), self.bias.clone()) {
            (Some(weight), Some(bias)) => {
                let (weight, bias) = flat[weight.start..bias.end].split_at_mut(weight.len());
                TunedGradients { weight: Some(weight), bias: Some(bias) }
            }
            (weight, None) => TunedGradients { weight: weight.map(|range| &mut flat[range]), bias: None },
            (None, bias) => TunedGradients { weight: None, bias: bias.map(|range| &mut flat[range]) },
        }
    }
}
