//! The encoder with a task's numbers as operations, from token ids to the hidden states of the last layer. It is the forward
//! pass of [`crate::encoder`] over rows that are padded to one length, whose padding nothing reads. Here is what all families
//! share; layers are in [`super::post_norm`] and [`super::pre_norm`].
//!
//! Fixed tensors are called as in `adapter.safetensors`, those that no task trains too, and operations as the layers whose
//! results they are: `layer.3.attention.adapter.down`.

use std::borrow::Cow;

use grafter_nn::adapter::AdapterWeights;
use grafter_nn::layer_norm::LayerNormWeights;
use grafter_nn::linear::FrozenLinear;

use super::embeddings::{ATTENTION_MASK, Reads};
use super::graph::{GraphBuilder, LinearNumbers, Norm, Value};
use crate::adapter::{Method, Projection, Site, TaskParameters, Tuned};
use crate::encoder::Encoder;

/// What is written, and from what.
pub(super) struct Network<'a> {
    pub graph: GraphBuilder,
    pub encoder: &'a Encoder,
    pub task: &'a TaskParameters,
    pub reads: Reads,
}

/// What says of padding that it is none, in the forms in which it is read.
pub(super) struct Mask {
    /// True of padding, `[batch, sequence]`.
    pub is_padding: Value,
    /// What is added to the scores of attention that sees the whole text, `[batch, 1, 1, sequence]`, or with the bias by distance
    /// `[batch, heads, sequence, sequence]`.
    pub scores: Value,
}

impl<'a> Network<'a> {
    /// The hidden states of the last layer, `[batch, sequence, hidden]`, and the mask.
    pub fn hidden_states(&mut self) -> (Value, Mask) {
        let mask = self.mask();
        let mut hidden = self.embeddings();
        for layer in 0..self.encoder.layers.len() {
            hidden = match self.encoder.config.pre_norm {
                Some(_) => self.pre_norm_layer(layer, &hidden, &mask),
                None => self.post_norm_layer(layer, &hidden, &mask),
            };
        }
        (hidden, mask)
    }

    fn mask(&mut self) -> Mask {
        let graph = &mut self.graph;
        let given = Value::input(ATTENTION_MASK);
        let none = graph.indices("zero", &[], &[0]);
        let is_padding = graph.op("Equal", "mask.is_padding", &[&given, &none], Vec::new());
        // The least number and not infinity: a softmax of it is zero to the last bit beside any token, and of a row without
        // tokens it is no NaN.
        let least = graph.constant("least", f32::MIN);
        let nothing = graph.constant("nothing", 0.0);
        let masked = graph.op("Where", "mask.added", &[&is_padding, &least, &nothing], Vec::new());
        let axes = graph.indices("axes_1_2", &[2], &[1, 2]);
        let scores = graph.op("Unsqueeze", "mask.scores", &[&masked, &axes], Vec::new());
        let scores = match self.relative_bias() {
            Some(bias) => self.graph.op("Add", "relative_bias.masked", &[&bias, &scores], Vec::new()),
            None => scores,
        };
        Mask { is_padding, scores }
    }

    /// `up · act(down · x + b_down) + b_up`
    fn adapter_branch(&mut self, prefix: &str, adapter: AdapterWeights<'_>, x: &Value) -> Value {
        let name = format!("{prefix}.adapter");
        let inner = self.graph.linear_of(&format!("{name}.down"), x, adapter.down);
        let inner = self.graph.activation(&format!("{name}.activation"), adapter.activation, &inner);
        self.graph.linear_of(&format!("{name}.up"), &inner, adapter.up)
    }

    /// `y = x · weightᵀ + bias` of a linear layer of the Transformer, under its name.
    pub fn project(&mut self, (layer, projection): (usize, Projection), name: &str, x: &Value) -> Value {
        let numbers = self.numbers(layer, projection);
        self.graph.linear_of(name, x, numbers.whole())
    }

    /// A linear layer of the Transformer as the task has it.
    pub fn numbers(&self, layer: usize, projection: Projection) -> Numbers<'a> {
        let frozen = self.encoder.layers[layer].linear(projection);
        let mut numbers = Numbers::of(frozen, self.task.projection(layer, projection));
        numbers.bias = numbers.bias.filter(|_| projection.has_bias(&self.encoder.config));
        numbers
    }

    /// What has this name, which is made where it is read first.
    pub fn once(&mut self, name: &str, make: impl FnOnce(&mut Self) -> Value) -> Value {
        self.graph.find(name).unwrap_or_else(|| make(self))
    }

    /// `skip + adapter(x)`. A Pfeiffer adapter reads `s = skip + x`, after a normalisation where the layer has one behind it, and its
    /// skip starts at `s`.
    pub fn add_adapted(
        &mut self,
        (layer, site): (usize, Site),
        (x, skip): (&Value, &Value),
        behind: Option<&Norm>,
    ) -> Value {
        let prefix = site.prefix(layer);
        let add = |graph: &mut GraphBuilder, name: &str, a: &Value, b: &Value| {
            graph.op("Add", format!("{prefix}.{name}"), &[a, b], Vec::new())
        };
        let is_pfeiffer = self.task.layout().config().method == Method::Pfeiffer;
        match self.task.adapter(layer, site) {
            None => add(&mut self.graph, "residual", x, skip),
            Some(adapter) if is_pfeiffer => {
                let sum = add(&mut self.graph, "residual", x, skip);
                let normal =
                    behind.map(|norm| self.normalise(&format!("{prefix}.adapter.layer_norm"), &sum, norm));
                let branch = self.adapter_branch(&prefix, adapter, normal.as_ref().unwrap_or(&sum));
                add(&mut self.graph, "adapter", &branch, &sum)
            }
            Some(adapter) => {
                let branch = self.adapter_branch(&prefix, adapter, x);
                let adapted = add(&mut self.graph, "adapter", &branch, x);
                add(&mut self.graph, "residual", &adapted, skip)
            }
        }
    }

    /// The tensors of a layer normalisation, under its name.
    pub fn layer_norm(&mut self, name: &str, weights: LayerNormWeights<'_>) -> Norm {
        self.graph.norm(name, weights, self.encoder.config.biases().layer_norm)
    }

    /// `LayerNorm(x)`
    pub fn normalise(&mut self, name: &str, x: &Value, norm: &Norm) -> Value {
        self.graph.normalise(name, x, norm, self.encoder.config.layer_norm_eps)
    }
}

/// The numbers of a linear layer of the encoder as a task has them.
pub(super) struct Numbers<'a> {
    weight: Cow<'a, [f32]>,
    /// None where the checkpoint has none: the program reads zeros there.
    bias: Option<&'a [f32]>,
    outputs: usize,
}

impl<'a> Numbers<'a> {
    pub fn of(frozen: &'a FrozenLinear, tuned: Tuned<'a>) -> Self {
        Self {
            weight: tuned.weight.map_or_else(|| Cow::Owned(frozen.weight()), Cow::Borrowed),
            bias: Some(tuned.bias.unwrap_or(frozen.bias())),
            outputs: frozen.outputs(),
        }
    }

    pub fn whole(&self) -> LinearNumbers<'_> {
        LinearNumbers { weight: &self.weight, bias: self.bias, outputs: self.outputs }
    }

    /// Layers that stand together in one product, one for each.
    pub fn parts(&self, count: usize) -> Vec<LinearNumbers<'_>> {
        let part = |place| LinearNumbers {
            weight: part_of(&self.weight, place, count),
            bias: self.bias.map(|bias| part_of(bias, place, count)),
            outputs: self.outputs / count,
        };
        (0..count).map(part).collect()
    }
}

/// One of several parts of the same length.
fn part_of(values: &[f32], place: usize, count: usize) -> &[f32] {
    let length = values.len() / count;
    &values[place * length..][..length]
}
