//! What content and relative position say of each other in the scores of DeBERTa's attention
//! ([`grafter_nn::disentangled`]): `q_i · K_r + k_j · Q_r` with `r` the row of the distance of query and key.
//!
//! **Rows by distance.** Which row a distance reads is laid out here, one integer for each distance between tokens of the longest
//! sequence: 8 KB where that has 512 tokens. Computed in the graph, the logarithm of a distance would be one of float32, whose last bit
//! decides of the row at the limits of a bucket; laid out by pairs of tokens, it would take the square of the longest sequence.
//! A distance beyond has no row, so that a runtime ends in an error.
//!
//! **Queries and keys of the rows** are made in the graph of one table and the layer's own weights, so that the file has each number
//! once. They hang on nothing that the model is given: runtimes that fold constants compute them when the file is loaded. Of these a
//! sequence reads the rows of its own distances, and the products are of these alone.
//!
//! **From rows to pairs.** Products with the rows lie as `[queries, rows]` or `[rows, keys]`. A pair of tokens picks its own by its place
//! in that, `query · rows + row` or `row · keys + key`: one square of integers for all rows of a batch, all heads and all layers.

use super::graph::{Linear, Value};
use super::network::Network;
use super::proto::AttributeProto;

impl Network<'_> {
    /// Adds to the products of queries and keys those with the positions, where a family has them, and says of how many products a
    /// score is then the sum.
    /// # Shapes
    /// queries `[batch, heads, sequence, head_dim]`, keys `[batch, heads, head_dim, sequence]`
    pub fn with_positions(
        &mut self,
        prefix: &str,
        [query, key]: [&Linear; 2],
        [queries, keys]: [&Value; 2],
        products: Value,
    ) -> (Value, usize) {
        let Some(relative) = &self.encoder.config.relative else { return (products, 1) };
        let [content_to_position, position_to_content] = relative.counts();
        let (mut sum, mut count) = (products, 1);
        if content_to_position {
            let name = format!("{prefix}.content_to_position");
            // `[heads, head_dim, rows]`
            let rows = self.rows_by_head(&format!("{prefix}.key"), key, ([1, 2, 0], 2));
            let places = self.places_by_query();
            let of_rows = self.graph.op("MatMul", format!("{name}.of_rows"), &[queries, &rows], Vec::new());
            let picked = self.picked(&name, &of_rows, &places);
            sum = self.graph.op("Add", format!("{name}.added"), &[&sum, &picked], Vec::new());
            count += 1;
        }
        if position_to_content {
            let name = format!("{prefix}.position_to_content");
            // `[heads, rows, head_dim]`
            let rows = self.rows_by_head(&format!("{prefix}.query"), query, ([1, 0, 2], 1));
            let places = self.places_by_row();
            let of_rows = self.graph.op("MatMul", format!("{name}.of_rows"), &[&rows, keys], Vec::new());
            let picked = self.picked(&name, &of_rows, &places);
            sum = self.graph.op("Add", format!("{name}.added"), &[&sum, &picked], Vec::new());
            count += 1;
        }
        (sum, count)
    }

    /// The products of all pairs of tokens, `[batch, heads, sequence, sequence]`, of those with the rows.
    fn picked(&mut self, name: &str, of_rows: &Value, places: &Value) -> Value {
        let shape = self.graph.indices("shape_of_products", &[3], &[0, 0, -1]);
        let flat = self.graph.op("Reshape", format!("{name}.flat"), &[of_rows, &shape], Vec::new());
        let axis = vec![AttributeProto::int("axis", 2)];
        self.graph.op("Gather", name, &[&flat, places], axis)
    }

    /// Queries or keys of the rows that the sequence reads, with their sides `[rows, heads, head_dim]` in an order in which the
    /// rows have a place.
    fn rows_by_head(&mut self, name: &str, linear: &Linear, (order, side): ([i64; 3], i64)) -> Value {
        let embeddings = self.relative_embeddings();
        let limits = self.limits_of_rows();
        let config = &self.encoder.config;
        let shape = [0, config.num_attention_heads as i64, config.head_dim() as i64];
        let graph = &mut self.graph;
        let all = graph.apply(&format!("{name}.of_positions"), &embeddings, linear);
        let shape = graph.indices("shape_of_rows", &[3], &shape);
        let split = graph.op("Reshape", format!("{name}.of_positions.split"), &[&all, &shape], Vec::new());
        let order = vec![AttributeProto::ints("perm", &order)];
        let heads = graph.op("Transpose", format!("{name}.of_positions.heads"), &[&split], order);
        graph.slice_between(format!("{name}.of_positions.read"), &heads, (side, &limits))
    }

    /// The table, `[rows, hidden]`, after its layer normalisation where it has one.
    fn relative_embeddings(&mut self) -> Value {
        let relative = self.encoder.relative_embeddings.as_ref();
        let relative = relative.expect("an encoder whose attention reads positions has embeddings of them");
        let norm = self.encoder.relative_layer_norm_of(relative, Some(self.task));
        let [table, name] = ["relative_embeddings.weight", "relative_embeddings.layer_norm"];
        if let Some(rows) = self.graph.find(if norm.is_some() { name } else { table }) {
            return rows;
        }
        let numbers = self.task.relative_embeddings().unwrap_or(relative.table());
        let hidden = self.encoder.config.hidden_size;
        let rows = self.graph.floats(table, &[numbers.len() / hidden, hidden], numbers);
        let Some(weights) = norm else { return rows };
        let norm = self.layer_norm(name, weights);
        self.normalise(name, &rows, &norm)
    }

    /// Of each distance of a key behind a query, from the farthest before it on, its row; none is above the one before it.
    fn rows_by_distance(&mut self) -> Value {
        let name = "relative_embeddings.rows_by_distance";
        self.once(name, |network| {
            let config = &network.encoder.config;
            let relative = config.relative.as_ref().expect("asked for in a family with such rows alone");
            let rows: Vec<i64> =
                relative.rows().lay_out(config.max_length()).into_iter().map(|row| row as i64).collect();
            network.graph.integers(name, &[rows.len()], &rows)
        })
    }

    /// The first row that the sequence reads, and the one after its last, `[1]` each: those of the farthest distances.
    fn limits_of_rows(&mut self) -> [Value; 2] {
        let names = ["relative_embeddings.first_row", "relative_embeddings.after_last_row"];
        if let [Some(first), Some(after_last)] = names.map(|name| self.graph.find(name)) {
            return [first, after_last];
        }
        let (by_distance, length) = (self.rows_by_distance(), self.length());
        let longest = self.encoder.config.max_length() as i64;
        let graph = &mut self.graph;
        let farthest = graph.list_of(longest - 2);
        let behind =
            graph.op("Add", "relative_embeddings.farthest_behind", &[&length, &farthest], Vec::new());
        let first = graph.op("Gather", names[0], &[&by_distance, &behind], Vec::new());
        let all = graph.list_of(longest);
        let before = graph.op("Sub", "relative_embeddings.farthest_before", &[&all, &length], Vec::new());
        let last = graph.op("Gather", "relative_embeddings.last_row", &[&by_distance, &before], Vec::new());
        let one = graph.list_of(1);
        [first, graph.op("Add", names[1], &[&last, &one], Vec::new())]
    }

    /// Of each pair of tokens its row, counted from the first that the sequence reads, `[sequence (queries), sequence (keys)]`.
    fn rows_of_pairs(&mut self) -> Value {
        let name = "relative_embeddings.rows_of_pairs";
        self.once(name, |network| {
            let (by_distance, distances) = (network.rows_by_distance(), network.distances());
            let [first, _] = network.limits_of_rows();
            let graph = &mut network.graph;
            let middle =
                graph.indices("middle_distance", &[], &[network.encoder.config.max_length() as i64 - 1]);
            let places = graph.op("Add", "distances.counted", &[&distances, &middle], Vec::new());
            let rows = graph.op("Gather", "relative_embeddings.rows", &[&by_distance, &places], Vec::new());
            graph.op("Sub", name, &[&rows, &first], Vec::new())
        })
    }

    /// Where products that lie as `[queries, rows]` have those of two tokens, `[sequence (queries), sequence (keys)]`.
    fn places_by_query(&mut self) -> Value {
        let name = "relative_embeddings.places_by_query";
        self.once(name, |network| {
            let (rows, queries) = (network.rows_of_pairs(), network.places_of_queries());
            let [first, after_last] = network.limits_of_rows();
            let graph = &mut network.graph;
            let count = graph.op("Sub", "relative_embeddings.rows_read", &[&after_last, &first], Vec::new());
            let before = graph.op("Mul", format!("{name}.of_queries"), &[&queries, &count], Vec::new());
            graph.op("Add", name, &[&before, &rows], Vec::new())
        })
    }

    /// Where products that lie as `[rows, keys]` have those of two tokens, `[sequence (queries), sequence (keys)]`.
    fn places_by_row(&mut self) -> Value {
        let name = "relative_embeddings.places_by_row";
        self.once(name, |network| {
            let (rows, keys, length) = (network.rows_of_pairs(), network.places(), network.length());
            let before = network.graph.op("Mul", format!("{name}.of_rows"), &[&rows, &length], Vec::new());
            network.graph.op("Add", name, &[&before, &keys], Vec::new())
        })
    }
}
