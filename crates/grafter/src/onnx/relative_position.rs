//! MPNet's bias on the scores of attention, by the distance of key and query, the same in all layers
//! ([`grafter_nn::relative_position`]).

use grafter_nn::relative_position;

use super::graph::Value;
use super::network::Network;
use super::proto::AttributeProto;

impl Network<'_> {
    /// The relative bias, `[1, heads, sequence, sequence]`; none in a family without. Its numbers are laid out by distance here,
    /// for the longest sequence that the encoder takes.
    pub fn relative_bias(&mut self) -> Option<Value> {
        let table = self.task.relative_bias().unwrap_or(&self.encoder.relative_bias);
        if table.is_empty() {
            return None;
        }
        let config = &self.encoder.config;
        let (heads, longest) = (config.num_attention_heads, config.max_length());
        let mut by_distance = Vec::new();
        relative_position::lay_out(table, heads, 1.0, longest, &mut by_distance);
        let distances = self.distances();
        let graph = &mut self.graph;
        let table = graph.floats("relative_bias.by_distance", &[heads, 2 * longest - 1], &by_distance);
        let middle = graph.indices("middle_distance", &[], &[longest as i64 - 1]);
        let columns = graph.op("Add", "relative_bias.columns", &[&distances, &middle], Vec::new());
        let axis = vec![AttributeProto::int("axis", 1)];
        let bias = graph.op("Gather", "relative_bias.of_heads", &[&table, &columns], axis);
        let first = graph.list_of(0);
        Some(graph.op("Unsqueeze", "relative_bias", &[&bias, &first], Vec::new()))
    }
}
