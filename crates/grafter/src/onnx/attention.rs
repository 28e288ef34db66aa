//! The attention of one layer, from what it reads to what it adds, before its adapter: `W_o · softmax(scores) · v`. What differs
//! between families is beside it: positions that turn queries and keys ([`super::rotary`]), a bias by distance
//! ([`super::relative_position`]), products with positions ([`super::disentangled`]), and here the window.
//!
//! A window is a mask over all pairs of tokens. The whole square of scores is computed in every layer, where the program computes
//! those inside the window: the operators of ONNX have no attention by blocks.

use super::graph::{Linear, Value};
use super::network::{Mask, Network};
use super::proto::AttributeProto;
use crate::adapter::{Projection, Site};

/// Queries, keys and values, by the names of their layers.
const NAMES: [&str; 3] = ["query", "key", "value"];

impl Network<'_> {
    /// `W_o · attention(x)`, `[batch, sequence, hidden]`.
    pub fn attention(&mut self, layer: usize, x: &Value, mask: &Mask) -> Value {
        let prefix = Site::Attention.prefix(layer);
        let linears = self.query_key_value(layer);
        let [queries, keys, values] = self.by_heads(layer, x, &linears);
        let added = self.added_scores(layer, mask);
        let products = self.graph.op("MatMul", format!("{prefix}.products"), &[&queries, &keys], Vec::new());
        let [query, key, _] = &linears;
        let (scores, count) = self.with_positions(&prefix, [query, key], [&queries, &keys], products);
        let graph = &mut self.graph;
        let root = graph.constant("sqrt_head_dim", ((self.encoder.config.head_dim() * count) as f32).sqrt());
        let scores = graph.op("Div", format!("{prefix}.scores"), &[&scores, &root], Vec::new());
        let scores = graph.op("Add", format!("{prefix}.masked_scores"), &[&scores, &added], Vec::new());
        let last = vec![AttributeProto::int("axis", -1)];
        let weights = graph.op("Softmax", format!("{prefix}.probabilities"), &[&scores], last);
        let context =
            graph.op("MatMul", format!("{prefix}.context_of_heads"), &[&weights, &values], Vec::new());
        let back = vec![AttributeProto::ints("perm", &[0, 2, 1, 3])];
        let context = graph.op("Transpose", format!("{prefix}.context_in_order"), &[&context], back);
        let shape = graph.indices("shape_of_hidden", &[3], &[0, 0, self.encoder.config.hidden_size as i64]);
        let context = graph.op("Reshape", format!("{prefix}.context"), &[&context, &shape], Vec::new());
        self.project((layer, Projection::AttentionOutput), &format!("{prefix}.output"), &context)
    }

    /// The linear layers of queries, keys and values.
    fn query_key_value(&mut self, layer: usize) -> [Linear; 3] {
        let prefix = Site::Attention.prefix(layer);
        let numbers = self.numbers(layer, Projection::QueryKeyValue);
        let parts = numbers.parts(NAMES.len());
        std::array::from_fn(|part| self.graph.linear(&format!("{prefix}.{}", NAMES[part]), parts[part]))
    }

    /// By heads, turned where positions turn them; keys lie across, as the product with the queries reads them.
    /// # Shapes
    /// queries, values `[batch, heads, sequence, head_dim]`, keys `[batch, heads, head_dim, sequence]`
    fn by_heads(&mut self, layer: usize, x: &Value, linears: &[Linear; 3]) -> [Value; 3] {
        let prefix = Site::Attention.prefix(layer);
        let orders = [[0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]];
        let config = &self.encoder.config;
        let shape = [0, 0, config.num_attention_heads as i64, config.head_dim() as i64];
        let shape = self.graph.indices("shape_of_heads", &[4], &shape);
        std::array::from_fn(|part| {
            let name = format!("{prefix}.{}", NAMES[part]);
            let all = self.graph.apply(&name, x, &linears[part]);
            let mut split = self.graph.op("Reshape", format!("{name}.split"), &[&all, &shape], Vec::new());
            if part < 2 {
                split = self.turned(layer, &name, split);
            }
            let order = vec![AttributeProto::ints("perm", &orders[part])];
            self.graph.op("Transpose", format!("{name}.heads"), &[&split], order)
        })
    }

    /// What is added to the scores of a layer: `[batch, 1, 1, sequence]`, or where it hangs on the query
    /// `[batch, 1 or heads, sequence, sequence]`.
    fn added_scores(&mut self, layer: usize, mask: &Mask) -> Value {
        let Some(window) = self.encoder.config.attention_window(layer) else { return mask.scores.clone() };
        let name = "mask.scores_in_window";
        self.once(name, |network| {
            let distances = network.distances();
            let graph = &mut network.graph;
            let far = graph.op("Abs", "distances.absolute", &[&distances], Vec::new());
            let window = graph.indices("window", &[], &[window as i64]);
            let outside = graph.op("Greater", "mask.is_outside", &[&far, &window], Vec::new());
            let axes = graph.indices("axes_1_2", &[2], &[1, 2]);
            let padding =
                graph.op("Unsqueeze", "mask.is_padding_key", &[&mask.is_padding, &axes], Vec::new());
            // Not a sum of two masks, which would be infinite where both say so.
            let hidden = graph.op("Or", "mask.is_unseen", &[&padding, &outside], Vec::new());
            let (least, nothing) = (graph.constant("least", f32::MIN), graph.constant("nothing", 0.0));
            graph.op("Where", name, &[&hidden, &least, &nothing], Vec::new())
        })
    }
}
