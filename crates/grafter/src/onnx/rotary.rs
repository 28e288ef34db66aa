//! Positions that turn queries and keys: ModernBERT's ([`grafter_nn::rotary`]).
//!
//! Cosines and sines are laid out here, `[longest, head_dim / 2]` of each theta: they are those of the program to the last bit,
//! where a runtime's cosine of an angle of thousands might not be; and a place beyond the longest sequence has no row, so that a
//! runtime ends in an error. In the published models the two thetas take 4 MB, beside 600 MB of weights.

use grafter_nn::rotary;

use super::graph::Value;
use super::network::Network;
use super::proto::AttributeProto;

/// Of each token and feature of a head, `[sequence, 1, head_dim]`.
struct Angles {
    cosines: Value,
    /// Those of the first half with a minus.
    sines: Value,
}

impl Network<'_> {
    /// Queries or keys, `[batch, sequence, heads, head_dim]`, turned by the angles of a layer; as they are in a family without.
    ///
    /// Halves `a`, `b` become `a cos - b sin` and `b cos + a sin`.
    pub fn turned(&mut self, layer: usize, name: &str, x: Value) -> Value {
        let Some(Angles { cosines, sines }) = self.angles(layer) else { return x };
        let (graph, head_dim) = (&mut self.graph, self.encoder.config.head_dim());
        let first = graph.slice(format!("{name}.first_half"), &x, (3, 0..head_dim / 2));
        let second = graph.slice(format!("{name}.second_half"), &x, (3, head_dim / 2..head_dim));
        let last = || vec![AttributeProto::int("axis", -1)];
        let exchanged = graph.op("Concat", format!("{name}.exchanged"), &[&second, &first], last());
        let kept = graph.op("Mul", format!("{name}.by_cosines"), &[&x, &cosines], Vec::new());
        let added = graph.op("Mul", format!("{name}.by_sines"), &[&exchanged, &sines], Vec::new());
        graph.op("Add", format!("{name}.turned"), &[&kept, &added], Vec::new())
    }

    /// The angles of a layer, the same in all that see the whole text, and in all others.
    fn angles(&mut self, layer: usize) -> Option<Angles> {
        let config = &self.encoder.config;
        let pre_norm = config.pre_norm.as_ref()?;
        let (name, theta) = match pre_norm.is_global(layer) {
            true => ("rotary.global", pre_norm.global_rope_theta),
            false => ("rotary.local", pre_norm.local_rope_theta),
        };
        let [of_cosines, of_sines] = ["cosines", "sines"].map(|part| format!("{name}.{part}"));
        if let (Some(cosines), Some(sines)) = (self.graph.find(&of_cosines), self.graph.find(&of_sines)) {
            return Some(Angles { cosines, sines });
        }
        let (head_dim, longest) = (config.head_dim(), config.max_length());
        let mut by_position = Vec::new();
        rotary::lay_out(theta, head_dim, longest, &mut by_position);
        let places = self.places();
        let graph = &mut self.graph;
        let [cosines, sines] = [(&of_cosines, 0), (&of_sines, head_dim / 2)].map(|(name, from)| {
            let rows = by_position.chunks_exact(head_dim).flat_map(|row| &row[from..from + head_dim / 2]);
            let table: Vec<f32> = rows.copied().collect();
            let table = graph.floats(format!("{name}.by_place"), &[longest, head_dim / 2], &table);
            let rows = graph.op("Gather", format!("{name}.of_places"), &[&table, &places], Vec::new());
            let axes = graph.list_of(1);
            graph.op("Unsqueeze", format!("{name}.of_heads"), &[&rows, &axes], Vec::new())
        });
        let minus = graph.op("Neg", format!("{name}.minus_sines"), &[&sines], Vec::new());
        let last = || vec![AttributeProto::int("axis", -1)];
        Some(Angles {
            cosines: graph.op("Concat", of_cosines, &[&cosines, &cosines], last()),
            sines: graph.op("Concat", of_sines, &[&minus, &sines], last()),
        })
    }
}
