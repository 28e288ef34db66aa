//! Where the tokens of a row stand. How many there are is known when the graph runs, so places are counted there, once for all
//! that read them.

use super::embeddings::INPUT_IDS;
use super::graph::Value;
use super::network::Network;
use super::proto::AttributeProto;

impl Network<'_> {
    /// The number of tokens of the padded rows, a list of one, `[1]`.
    pub fn length(&mut self) -> Value {
        self.once("length", |network| {
            let side = vec![AttributeProto::int("start", 1), AttributeProto::int("end", 2)];
            network.graph.op("Shape", "length", &[&Value::input(INPUT_IDS)], side)
        })
    }

    /// `0, 1, …, length - 1`, `[sequence]`.
    pub fn places(&mut self) -> Value {
        self.once("places", |network| {
            let length = network.length();
            let graph = &mut network.graph;
            let first = graph.list_of(0);
            let count = graph.op("Squeeze", "places.count", &[&length, &first], Vec::new());
            let (zero, one) = (graph.indices("zero", &[], &[0]), graph.indices("one_token", &[], &[1]));
            graph.op("Range", "places", &[&zero, &count, &one], Vec::new())
        })
    }

    /// How far each key stands behind each query, `[sequence (queries), sequence (keys)]`.
    pub fn distances(&mut self) -> Value {
        self.once("distances", |network| {
            let (keys, queries) = (network.places(), network.places_of_queries());
            network.graph.op("Sub", "distances", &[&keys, &queries], Vec::new())
        })
    }

    /// The places once more, one below another, `[sequence, 1]`.
    pub fn places_of_queries(&mut self) -> Value {
        self.once("places.of_queries", |network| {
            let places = network.places();
            let second = network.graph.list_of(1);
            network.graph.op("Unsqueeze", "places.of_queries", &[&places, &second], Vec::new())
        })
    }
}
