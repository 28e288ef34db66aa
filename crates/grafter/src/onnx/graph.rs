//! A graph under construction: operations in the order in which they run, and the fixed numbers that they read. It knows
//! nothing of encoders.

use std::collections::HashSet;
use std::ops::Range;

use grafter_nn::activation::Activation;
use grafter_nn::layer_norm::LayerNormWeights;
use grafter_nn::linear::LinearWeights;

use super::proto::{AttributeProto, FLOAT, INT64, NodeProto, TensorProto};

/// The name of a value: an input, a fixed tensor, or what an operation gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value(String);

impl Value {
    /// A value that the graph is given.
    pub fn input(name: &str) -> Self {
        Self(name.to_owned())
    }
}

/// The fixed tensors of a linear layer, which several operations may read.
#[derive(Clone, Debug)]
pub(super) struct Linear {
    /// `[inputs, outputs]`, as a product reads it.
    weight: Value,
    bias: Option<Value>,
}

/// The fixed tensors of a layer normalisation.
#[derive(Clone, Debug)]
pub(super) struct Norm {
    weight: Value,
    bias: Option<Value>,
}

/// The numbers of a linear layer, whose bias may be absent.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinearNumbers<'a> {
    /// `[outputs, inputs]`
    pub weight: &'a [f32],
    /// `[outputs]`
    pub bias: Option<&'a [f32]>,
    pub outputs: usize,
}

impl<'a> From<LinearWeights<'a>> for LinearNumbers<'a> {
    fn from(weights: LinearWeights<'a>) -> Self {
        Self { weight: weights.weight, bias: Some(weights.bias), outputs: weights.bias.len() }
    }
}

/// Operations and fixed tensors.
#[derive(Debug)]
pub(super) struct GraphBuilder {
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    /// Names of all values that are there, those apart that the graph is given.
    names: HashSet<String>,
    /// Of all fixed tensors.
    bytes: u64,
    /// Beyond so many bytes tensors are counted and not kept.
    limit: u64,
}

impl GraphBuilder {
    /// A graph of nothing. Where its tensors take more bytes than the limit, the rest of them is empty.
    pub fn new(limit: u64) -> Self {
        Self { nodes: Vec::new(), initializers: Vec::new(), names: HashSet::new(), bytes: 0, limit }
    }

    /// The value of a name, if it is there already: what several places read is made by the first of them.
    pub fn find(&self, name: &str) -> Option<Value> {
        self.names.get(name).cloned().map(Value)
    }

    /// How many bytes the fixed tensors take.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Operations and fixed tensors, in order.
    pub fn finish(self) -> (Vec<NodeProto>, Vec<TensorProto>) {
        (self.nodes, self.initializers)
    }

    /// An operation with one result, which has its name.
    pub fn op(
        &mut self,
        op_type: &str,
        name: impl Into<String>,
        inputs: &[&Value],
        attribute: Vec<AttributeProto>,
    ) -> Value {
        let name = name.into();
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|value| value.0.clone()).collect(),
            output: vec![name.clone()],
            name: Some(name.clone()),
            op_type: Some(op_type.to_owned()),
            attribute,
        });
        self.value(name)
    }

    fn value(&mut self, name: String) -> Value {
        let is_new = self.names.insert(name.clone());
        assert!(is_new, "`{name}` is there twice");
        Value(name)
    }

    /// A fixed tensor of real numbers.
    pub fn floats(&mut self, name: impl Into<String>, shape: &[usize], values: &[f32]) -> Value {
        debug_assert_eq!(shape.iter().product::<usize>(), values.len(), "numbers of a tensor");
        self.count(size_of_val(values));
        let bytes = self.has_room().then(|| values.iter().flat_map(|value| value.to_le_bytes()).collect());
        self.tensor(name.into(), (FLOAT, shape), bytes.unwrap_or_default())
    }

    /// A fixed tensor of integers.
    pub fn integers(&mut self, name: impl Into<String>, shape: &[usize], values: &[i64]) -> Value {
        debug_assert_eq!(shape.iter().product::<usize>(), values.len(), "numbers of a tensor");
        self.count(size_of_val(values));
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(name.into(), (INT64, shape), bytes)
    }

    /// One real number, the same of one name.
    pub fn constant(&mut self, name: &str, value: f32) -> Value {
        self.once(name, |graph, name| graph.floats(name, &[], &[value]))
    }

    /// Integers, the same of one name: one alone, or a list.
    pub fn indices(&mut self, name: &str, shape: &[usize], values: &[i64]) -> Value {
        self.once(name, |graph, name| graph.integers(name, shape, values))
    }

    fn once(&mut self, name: &str, make: impl FnOnce(&mut Self, String) -> Value) -> Value {
        let name = format!("constant.{name}");
        self.find(&name).unwrap_or_else(|| make(self, name))
    }

    fn tensor(&mut self, name: String, (data_type, shape): (i32, &[usize]), raw_data: Vec<u8>) -> Value {
        self.initializers.push(TensorProto {
            dims: shape.iter().map(|count| *count as i64).collect(),
            data_type: Some(data_type),
            name: Some(name.clone()),
            raw_data: Some(raw_data),
        });
        self.value(name)
    }

    fn count(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    fn has_room(&self) -> bool {
        self.bytes <= self.limit
    }

    /// The tensors of a linear layer; the weight is laid out as a product reads it.
    pub fn linear<'n>(&mut self, name: &str, numbers: impl Into<LinearNumbers<'n>>) -> Linear {
        let LinearNumbers { weight, bias, outputs } = numbers.into();
        let inputs = weight.len() / outputs;
        let weight = transposed(weight, inputs);
        Linear {
            weight: self.floats(format!("{name}.weight"), &[inputs, outputs], &weight),
            bias: bias.map(|bias| self.floats(format!("{name}.bias"), &[outputs], bias)),
        }
    }

    /// `y = x · weightᵀ + bias`, whose result has this name.
    /// # Shapes
    /// x `[.., inputs]`, y `[.., outputs]`
    pub fn apply(&mut self, name: &str, x: &Value, linear: &Linear) -> Value {
        match &linear.bias {
            Some(bias) => {
                let product = self.op("MatMul", format!("{name}.product"), &[x, &linear.weight], Vec::new());
                self.op("Add", name, &[&product, bias], Vec::new())
            }
            None => self.op("MatMul", name, &[x, &linear.weight], Vec::new()),
        }
    }

    /// [`GraphBuilder::linear`] and [`GraphBuilder::apply`] under the name of the layer.
    pub fn linear_of<'n>(&mut self, name: &str, x: &Value, numbers: impl Into<LinearNumbers<'n>>) -> Value {
        let linear = self.linear(name, numbers);
        self.apply(name, x, &linear)
    }

    /// The tensors of a layer normalisation, whose shift may be absent.
    pub fn norm(&mut self, name: &str, weights: LayerNormWeights<'_>, has_bias: bool) -> Norm {
        let mut tensor =
            |part, values: &[f32]| self.floats(format!("{name}.{part}"), &[values.len()], values);
        Norm {
            weight: tensor("weight", weights.weight),
            bias: has_bias.then(|| tensor("bias", weights.bias)),
        }
    }

    /// `y = (x - mean) / √(variance + epsilon) · weight + bias` along the last side.
    pub fn normalise(&mut self, name: &str, x: &Value, norm: &Norm, epsilon: f32) -> Value {
        let attributes = vec![AttributeProto::int("axis", -1), AttributeProto::float("epsilon", epsilon)];
        let inputs: Vec<&Value> = [x, &norm.weight].into_iter().chain(&norm.bias).collect();
        self.op("LayerNormalization", name, &inputs, attributes)
    }

    /// What lies in a range along a side, of which there is this much at least.
    pub fn slice(&mut self, name: impl Into<String>, x: &Value, (side, range): (i64, Range<usize>)) -> Value {
        let limits = [range.start, range.end].map(|limit| self.list_of(limit as i64));
        self.slice_between(name, x, (side, &limits))
    }

    /// The same between two limits that are known when the graph runs, a list of one each.
    pub fn slice_between(
        &mut self,
        name: impl Into<String>,
        x: &Value,
        (side, [from, to]): (i64, &[Value; 2]),
    ) -> Value {
        let side = self.list_of(side);
        self.op("Slice", name, &[x, from, to, &side], Vec::new())
    }

    /// A list of one integer.
    pub fn list_of(&mut self, value: i64) -> Value {
        self.indices(&format!("list_of_{value}"), &[1], &[value])
    }

    /// A non-linearity, element by element, as [`Activation`] defines it.
    pub fn activation(&mut self, name: &str, activation: Activation, x: &Value) -> Value {
        let none = Vec::new;
        match activation {
            Activation::Relu => self.op("Relu", name, &[x], none()),
            Activation::Tanh => self.op("Tanh", name, &[x], none()),
            Activation::Silu => {
                let sigmoid = self.op("Sigmoid", format!("{name}.sigmoid"), &[x], none());
                self.op("Mul", name, &[x, &sigmoid], none())
            }
            Activation::GeluErf => {
                // In this order of operations ONNX Runtime finds one of its own.
                let divisor = self.constant("sqrt_2", std::f32::consts::SQRT_2);
                let scaled = self.op("Div", format!("{name}.scaled"), &[x, &divisor], none());
                let erf = self.op("Erf", format!("{name}.erf"), &[&scaled], none());
                self.gelu(name, x, &erf)
            }
            Activation::GeluTanh => {
                let square = self.op("Mul", format!("{name}.square"), &[x, x], none());
                let cube = self.op("Mul", format!("{name}.cube"), &[&square, x], none());
                let factor = self.constant("gelu_cubic", 0.044_715);
                let cubic = self.op("Mul", format!("{name}.cubic"), &[&cube, &factor], none());
                let sum = self.op("Add", format!("{name}.sum"), &[x, &cubic], none());
                let factor = self.constant("sqrt_2_over_pi", 0.797_884_6);
                let inner = self.op("Mul", format!("{name}.inner"), &[&sum, &factor], none());
                let tanh = self.op("Tanh", format!("{name}.tanh"), &[&inner], none());
                self.gelu(name, x, &tanh)
            }
        }
    }

    /// `0.5 x (1 + s)`
    fn gelu(&mut self, name: &str, x: &Value, s: &Value) -> Value {
        let one = self.constant("one", 1.0);
        let half = self.constant("half", 0.5);
        let raised = self.op("Add", format!("{name}.raised"), &[s, &one], Vec::new());
        let product = self.op("Mul", format!("{name}.doubled"), &[x, &raised], Vec::new());
        self.op("Mul", name, &[&product, &half], Vec::new())
    }
}

/// A matrix with its rows as columns.
/// # Shapes
/// matrix `[rows, columns]`, the result `[columns, rows]`
fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| matrix.iter().skip(column).step_by(columns).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_is_transposed() {
        assert_eq!(transposed(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }

    #[test]
    fn beyond_the_limit_tensors_are_counted_and_not_kept() {
        let mut graph = GraphBuilder::new(8);
        graph.floats("fits", &[2], &[1.0, 2.0]);
        graph.floats("does_not", &[1, 3], &[3.0; 3]);
        assert_eq!(graph.bytes(), 20);
        let (_, tensors) = graph.finish();
        let bytes: Vec<usize> = tensors.iter().map(|t| t.raw_data.as_ref().map_or(0, Vec::len)).collect();
        assert_eq!(bytes, [8, 0]);
        assert_eq!(tensors[1].dims, [1, 3]);
    }

    #[test]
    fn a_constant_is_there_once() {
        let mut graph = GraphBuilder::new(100);
        let (first, second) = (graph.constant("one", 1.0), graph.constant("one", 1.0));
        assert_eq!(first, second);
        assert_eq!(graph.finish().1.len(), 1);
    }
}
