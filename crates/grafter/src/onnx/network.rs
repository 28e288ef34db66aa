//! The encoder with a task's numbers as operations, from token ids to the hidden states of the last layer. It is the forward
//! pass of [`crate::encoder`] over rows that are padded to one length, whose padding nothing reads.
//!
//! Fixed tensors are called as in `adapter.safetensors`, those that no task trains too, and operations as the layers whose
//! results they are: `layer.3.attention.adapter.down`.

use std::borrow::Cow;

use grafter_nn::adapter::AdapterWeights;
use grafter_nn::layer_norm::LayerNormWeights;
use grafter_nn::linear::{FrozenLinear, LinearWeights};
use grafter_nn::relative_position;

use super::OnnxError;
use super::graph::{GraphBuilder, Value};
use super::proto::AttributeProto;
use crate::adapter::{Method, Projection, Site, TaskParameters, Tuned};
use crate::encoder::{Encoder, EncoderConfig, Family};

/// Token ids of rows that are padded at their ends.
pub(super) const INPUT_IDS: &str = "input_ids";
/// Which of them are tokens and no padding.
pub(super) const ATTENTION_MASK: &str = "attention_mask";
/// Which text of a pair they belong to.
pub(super) const TOKEN_TYPE_IDS: &str = "token_type_ids";

/// What a family's embeddings read beside the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reads {
    positions: Positions,
    types: Types,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Positions {
    /// Counted from 0.
    FromZero,
    /// The padding has the row of its id, and tokens are counted from the one after it.
    AfterPadding(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Types {
    /// There are none.
    None,
    /// All tokens are of the first.
    First,
    /// The input says.
    Given,
}

impl Reads {
    /// Of an encoder.
    /// # Errors
    /// If nothing is known of how the family's layers are written.
    pub fn of(config: &EncoderConfig) -> Result<Self, OnnxError> {
        let types = match config.type_vocab_size {
            0 => Types::None,
            1 if config.family.has_one_type() => Types::First,
            _ => Types::Given,
        };
        // Every family by its name: another one is to be decided on here.
        let positions = match config.family {
            Family::Bert | Family::DistilBert | Family::Electra => Positions::FromZero,
            Family::Roberta | Family::XlmRoberta | Family::MpNet => {
                Positions::AfterPadding(config.first_position - 1)
            }
            // Layers, or attention, of another form.
            Family::ModernBert | Family::DebertaV2 => {
                return Err(OnnxError::Family { family: config.family.to_string() });
            }
        };
        Ok(Self { positions, types })
    }

    /// The inputs of the model, each with what it is.
    pub fn inputs(self) -> Vec<(&'static str, &'static str)> {
        let mut inputs = vec![
            (INPUT_IDS, "token ids with special tokens, padded at the end to the longest row"),
            (ATTENTION_MASK, "1 of a token, 0 of padding"),
        ];
        if self.types == Types::Given {
            inputs.push((TOKEN_TYPE_IDS, "0 of the first text, 1 of the second, 0 of padding"));
        }
        inputs
    }
}

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
    /// What is added to the scores of attention, `[batch, 1, 1, sequence]`, or with the bias by distance
    /// `[batch, heads, sequence, sequence]`.
    scores: Value,
}

impl<'a> Network<'a> {
    /// The hidden states of the last layer, `[batch, sequence, hidden]`, and the mask.
    pub fn hidden_states(&mut self) -> (Value, Mask) {
        let mask = self.mask();
        let mut hidden = self.embeddings();
        for layer in 0..self.encoder.layers.len() {
            hidden = self.attention_block(layer, &hidden, &mask);
            hidden = self.feed_forward_block(layer, &hidden);
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

    /// `LayerNorm(words + types + positions)`, times a projection where that is narrower.
    fn embeddings(&mut self) -> Value {
        let tables = self.task.tables().unwrap_or(self.encoder.embedding.tables());
        let (width, ids) = (tables.hidden, Value::input(INPUT_IDS));
        let rows = |table: &[f32]| [table.len() / width, width];
        let words = self.graph.floats("embeddings.words.weight", &rows(tables.words), tables.words);
        let mut sum = self.graph.op("Gather", "embeddings.words", &[&words, &ids], Vec::new());
        let mut add = |graph: &mut GraphBuilder, name: &str, other: &Value| {
            sum = graph.op("Add", format!("embeddings.with_{name}"), &[&sum, other], Vec::new());
        };
        match self.reads.types {
            Types::None => {}
            Types::First => {
                let row = self.graph.floats("embeddings.types.weight", &[width], &tables.types[..width]);
                add(&mut self.graph, "types", &row);
            }
            Types::Given => {
                let types = self.graph.floats("embeddings.types.weight", &rows(tables.types), tables.types);
                let given = Value::input(TOKEN_TYPE_IDS);
                let types = self.graph.op("Gather", "embeddings.types", &[&types, &given], Vec::new());
                add(&mut self.graph, "types", &types);
            }
        }
        let positions =
            self.graph.floats("embeddings.positions.weight", &rows(tables.positions), tables.positions);
        let positions = self.positions(&positions);
        add(&mut self.graph, "positions", &positions);
        let weights = self.encoder.embeddings_layer_norm_of(Some(self.task));
        let norm = self.layer_norm_numbers("embeddings.layer_norm", weights);
        let normal = self.layer_norm("embeddings.layer_norm", &sum, &norm);
        match &self.encoder.embeddings_projection {
            Some(frozen) => {
                let numbers = Numbers::of(frozen, self.task.embeddings_projection());
                self.graph.linear("embeddings.projection", &normal, numbers.weights())
            }
            None => normal,
        }
    }

    /// The rows of the table of positions, `[sequence, width]` or `[batch, sequence, width]`.
    fn positions(&mut self, table: &Value) -> Value {
        let graph = &mut self.graph;
        match self.reads.positions {
            Positions::FromZero => {
                let (start, axes) = (graph.indices("first", &[1], &[0]), graph.indices("axis_0", &[1], &[0]));
                let ids = Value::input(INPUT_IDS);
                let shape = vec![AttributeProto::int("start", 1), AttributeProto::int("end", 2)];
                let length = graph.op("Shape", "embeddings.length", &[&ids], shape);
                graph.op("Slice", "embeddings.positions", &[table, &start, &length, &axes], Vec::new())
            }
            Positions::AfterPadding(padding) => {
                let padding = graph.indices("padding", &[], &[padding as i64]);
                let ids = Value::input(INPUT_IDS);
                let equal = graph.op("Equal", "embeddings.is_padding", &[&ids, &padding], Vec::new());
                let (zero, one) = (graph.indices("zero", &[], &[0]), graph.indices("one_token", &[], &[1]));
                let counted = graph.op("Where", "embeddings.counted", &[&equal, &zero, &one], Vec::new());
                let axis = graph.indices("axis_1", &[], &[1]);
                let count = graph.op("CumSum", "embeddings.count", &[&counted, &axis], Vec::new());
                let place = graph.op("Mul", "embeddings.count_of_tokens", &[&count, &counted], Vec::new());
                let place = graph.op("Add", "embeddings.places", &[&place, &padding], Vec::new());
                graph.op("Gather", "embeddings.positions", &[table, &place], Vec::new())
            }
        }
    }

    /// The relative bias, `[1, heads, sequence, sequence]`; none in a family without. Its numbers are laid out by distance here,
    /// for the longest sequence that the encoder takes.
    fn relative_bias(&mut self) -> Option<Value> {
        let table = self.task.relative_bias().unwrap_or(&self.encoder.relative_bias);
        if table.is_empty() {
            return None;
        }
        let config = &self.encoder.config;
        let (heads, longest) = (config.num_attention_heads, config.max_length());
        let mut by_distance = Vec::new();
        relative_position::lay_out(table, heads, 1.0, longest, &mut by_distance);
        let graph = &mut self.graph;
        let table = graph.floats("relative_bias.by_distance", &[heads, 2 * longest - 1], &by_distance);
        let ids = Value::input(INPUT_IDS);
        let shape = vec![AttributeProto::int("start", 1), AttributeProto::int("end", 2)];
        let length = graph.op("Shape", "relative_bias.lengths", &[&ids], shape);
        let first = graph.indices("axis_0", &[1], &[0]);
        let length = graph.op("Squeeze", "relative_bias.length", &[&length, &first], Vec::new());
        let (zero, one) = (graph.indices("zero", &[], &[0]), graph.indices("one_token", &[], &[1]));
        let keys = graph.op("Range", "relative_bias.keys", &[&zero, &length, &one], Vec::new());
        let second = graph.indices("axes_1", &[1], &[1]);
        let queries = graph.op("Unsqueeze", "relative_bias.queries", &[&keys, &second], Vec::new());
        let distance = graph.op("Sub", "relative_bias.distances", &[&keys, &queries], Vec::new());
        let middle = graph.indices("longest", &[], &[longest as i64 - 1]);
        let column = graph.op("Add", "relative_bias.columns", &[&distance, &middle], Vec::new());
        let axis = vec![AttributeProto::int("axis", 1)];
        let bias = graph.op("Gather", "relative_bias.of_heads", &[&table, &column], axis);
        Some(graph.op("Unsqueeze", "relative_bias", &[&bias, &first], Vec::new()))
    }

    /// `LayerNorm(hidden + adapter(W_o · attention(hidden)))`
    fn attention_block(&mut self, layer: usize, hidden: &Value, mask: &Mask) -> Value {
        let prefix = Site::Attention.prefix(layer);
        let numbers = self.numbers(layer, Projection::QueryKeyValue);
        let parts = numbers.parts(["query", "key", "value"].len());
        // Keys lie across, as the product with the queries reads them.
        let order = [("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])];
        let [queries, keys, values] = std::array::from_fn(|part| {
            let (name, order) = order[part];
            let all = self.graph.linear(&format!("{prefix}.{name}"), hidden, parts[part]);
            self.heads(&format!("{prefix}.{name}"), &all, &order)
        });
        let graph = &mut self.graph;
        let scores = graph.op("MatMul", format!("{prefix}.products"), &[&queries, &keys], Vec::new());
        let root = graph.constant("sqrt_head_dim", (self.encoder.config.head_dim() as f32).sqrt());
        let scores = graph.op("Div", format!("{prefix}.scores"), &[&scores, &root], Vec::new());
        let scores = graph.op("Add", format!("{prefix}.masked_scores"), &[&scores, &mask.scores], Vec::new());
        let last = vec![AttributeProto::int("axis", -1)];
        let weights = graph.op("Softmax", format!("{prefix}.probabilities"), &[&scores], last);
        let context =
            graph.op("MatMul", format!("{prefix}.context_of_heads"), &[&weights, &values], Vec::new());
        let back = vec![AttributeProto::ints("perm", &[0, 2, 1, 3])];
        let context = graph.op("Transpose", format!("{prefix}.context_in_order"), &[&context], back);
        let shape = graph.indices("shape_of_hidden", &[3], &[0, 0, self.encoder.config.hidden_size as i64]);
        let context = graph.op("Reshape", format!("{prefix}.context"), &[&context, &shape], Vec::new());
        let numbers = self.numbers(layer, Projection::AttentionOutput);
        let x = self.graph.linear(&format!("{prefix}.output"), &context, numbers.weights());
        self.graft(layer, Site::Attention, (&x, hidden))
    }

    /// `[batch, sequence, hidden]` by heads, in an order of the sides `[batch, sequence, heads, head_dim]`.
    fn heads(&mut self, name: &str, x: &Value, order: &[i64]) -> Value {
        let config = &self.encoder.config;
        let shape = [0, 0, config.num_attention_heads as i64, config.head_dim() as i64];
        let shape = self.graph.indices("shape_of_heads", &[4], &shape);
        let split = self.graph.op("Reshape", format!("{name}.split"), &[x, &shape], Vec::new());
        let order = vec![AttributeProto::ints("perm", order)];
        self.graph.op("Transpose", format!("{name}.heads"), &[&split], order)
    }

    /// `LayerNorm(x + adapter(W_2 · act(W_1 · x)))`
    fn feed_forward_block(&mut self, layer: usize, skip: &Value) -> Value {
        let prefix = Site::FeedForward.prefix(layer);
        let numbers = self.numbers(layer, Projection::Intermediate);
        let inner = self.graph.linear(&format!("{prefix}.intermediate"), skip, numbers.weights());
        let activation = self.encoder.config.activation();
        let inner = self.graph.activation(&format!("{prefix}.activation"), activation, &inner);
        let numbers = self.numbers(layer, Projection::Output);
        let x = self.graph.linear(&format!("{prefix}.output"), &inner, numbers.weights());
        self.graft(layer, Site::FeedForward, (&x, skip))
    }

    /// `LayerNorm(skip + adapter(x))`. A Pfeiffer adapter reads `LayerNorm(skip + x)` and its skip starts at `x`:
    /// `LayerNorm(skip + x + branch(LayerNorm(skip + x)))`.
    fn graft(&mut self, layer: usize, site: Site, (x, skip): (&Value, &Value)) -> Value {
        let prefix = site.prefix(layer);
        let weights = self.encoder.layer_norm_of(Some(self.task), layer, site);
        let norm = self.layer_norm_numbers(&format!("{prefix}.layer_norm"), weights);
        let add = |graph: &mut GraphBuilder, name: &str, a: &Value, b: &Value| {
            graph.op("Add", format!("{prefix}.{name}"), &[a, b], Vec::new())
        };
        let is_pfeiffer = self.task.layout().config().method == Method::Pfeiffer;
        let sum = match self.task.adapter(layer, site) {
            None => add(&mut self.graph, "residual", x, skip),
            Some(adapter) if is_pfeiffer => {
                let sum = add(&mut self.graph, "residual", x, skip);
                let read = self.layer_norm(&format!("{prefix}.adapter.layer_norm"), &sum, &norm);
                let branch = self.adapter_branch(&prefix, adapter, &read);
                add(&mut self.graph, "adapter", &branch, &sum)
            }
            Some(adapter) => {
                let branch = self.adapter_branch(&prefix, adapter, x);
                let adapted = add(&mut self.graph, "adapter", &branch, x);
                add(&mut self.graph, "residual", &adapted, skip)
            }
        };
        self.layer_norm(&format!("{prefix}.layer_norm"), &sum, &norm)
    }

    /// `up · act(down · x + b_down) + b_up`
    fn adapter_branch(&mut self, prefix: &str, adapter: AdapterWeights<'_>, x: &Value) -> Value {
        let name = format!("{prefix}.adapter");
        let inner = self.graph.linear(&format!("{name}.down"), x, adapter.down);
        let inner = self.graph.activation(&format!("{name}.activation"), adapter.activation, &inner);
        self.graph.linear(&format!("{name}.up"), &inner, adapter.up)
    }

    /// A linear layer of the Transformer as the task has it.
    fn numbers(&self, layer: usize, projection: Projection) -> Numbers<'a> {
        let frozen = self.encoder.layers[layer].linear(projection);
        Numbers::of(frozen, self.task.projection(layer, projection))
    }

    fn layer_norm_numbers(&mut self, name: &str, weights: LayerNormWeights<'_>) -> [Value; 2] {
        let parts = [("weight", weights.weight), ("bias", weights.bias)];
        parts.map(|(part, values)| self.graph.floats(format!("{name}.{part}"), &[values.len()], values))
    }

    fn layer_norm(&mut self, name: &str, x: &Value, [weight, bias]: &[Value; 2]) -> Value {
        let attributes = vec![
            AttributeProto::int("axis", -1),
            AttributeProto::float("epsilon", self.encoder.config.layer_norm_eps),
        ];
        self.graph.op("LayerNormalization", name, &[x, weight, bias], attributes)
    }
}

/// The numbers of a linear layer of the encoder as a task has them.
pub(super) struct Numbers<'a> {
    weight: Cow<'a, [f32]>,
    bias: &'a [f32],
}

impl<'a> Numbers<'a> {
    pub fn of(frozen: &'a FrozenLinear, tuned: Tuned<'a>) -> Self {
        Self {
            weight: tuned.weight.map_or_else(|| Cow::Owned(frozen.weight()), Cow::Borrowed),
            bias: tuned.bias.unwrap_or(frozen.bias()),
        }
    }

    pub fn weights(&self) -> LinearWeights<'_> {
        LinearWeights { weight: &self.weight, bias: self.bias }
    }

    /// Layers that stand together in one product, one for each.
    fn parts(&self, count: usize) -> Vec<LinearWeights<'_>> {
        let weights = self.weight.chunks_exact(self.weight.len() / count);
        let biases = self.bias.chunks_exact(self.bias.len() / count);
        weights.zip(biases).map(|(weight, bias)| LinearWeights { weight, bias }).collect()
    }
}
