//! What the first layer reads: the rows of the tables, their normalisation, and a projection where they are narrow. What the
//! model is given is decided by what they read.

use grafter_nn::embedding::EmbeddingTables;

use super::graph::{GraphBuilder, Value};
use super::network::{Network, Numbers};
use crate::encoder::{EncoderConfig, Family};

/// Token ids of rows that are padded at their ends.
pub(super) const INPUT_IDS: &str = "input_ids";
/// Which of them are tokens and no padding.
pub(super) const ATTENTION_MASK: &str = "attention_mask";
/// Which text of a pair they belong to.
const TOKEN_TYPE_IDS: &str = "token_type_ids";

/// What a family's embeddings read beside the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reads {
    positions: Positions,
    types: Types,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Positions {
    /// There is no table of them.
    None,
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
    pub fn of(config: &EncoderConfig) -> Self {
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
            Family::DebertaV2 if config.position_rows() > 0 => Positions::FromZero,
            Family::DebertaV2 | Family::ModernBert => Positions::None,
        };
        Self { positions, types }
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

impl Network<'_> {
    /// `LayerNorm(words + types + positions)`, times a projection where that is narrower.
    pub fn embeddings(&mut self) -> Value {
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
        if let Some(positions) = self.positions(tables) {
            add(&mut self.graph, "positions", &positions);
        }
        let weights = self.encoder.embeddings_layer_norm_of(Some(self.task));
        let norm = self.layer_norm("embeddings.layer_norm", weights);
        let normal = self.normalise("embeddings.layer_norm", &sum, &norm);
        match &self.encoder.embeddings_projection {
            Some(frozen) => {
                let numbers = Numbers::of(frozen, self.task.embeddings_projection());
                self.graph.linear_of("embeddings.projection", &normal, numbers.whole())
            }
            None => normal,
        }
    }

    /// The rows of the table of positions, `[sequence, width]` or `[batch, sequence, width]`, if there is a table.
    fn positions(&mut self, tables: EmbeddingTables<'_>) -> Option<Value> {
        let shape = [tables.positions.len() / tables.hidden, tables.hidden];
        let table =
            |graph: &mut GraphBuilder| graph.floats("embeddings.positions.weight", &shape, tables.positions);
        Some(match self.reads.positions {
            Positions::None => return None,
            Positions::FromZero => {
                let length = self.length();
                let graph = &mut self.graph;
                let table = table(graph);
                let start = graph.list_of(0);
                graph.slice_between("embeddings.positions", &table, (0, &[start, length]))
            }
            Positions::AfterPadding(padding) => {
                let graph = &mut self.graph;
                let table = table(graph);
                let padding = graph.indices("padding", &[], &[padding as i64]);
                let ids = Value::input(INPUT_IDS);
                let equal = graph.op("Equal", "embeddings.is_padding", &[&ids, &padding], Vec::new());
                let (zero, one) = (graph.indices("zero", &[], &[0]), graph.indices("one_token", &[], &[1]));
                let counted = graph.op("Where", "embeddings.counted", &[&equal, &zero, &one], Vec::new());
                let axis = graph.indices("axis_1", &[], &[1]);
                let count = graph.op("CumSum", "embeddings.count", &[&counted, &axis], Vec::new());
                let place = graph.op("Mul", "embeddings.count_of_tokens", &[&count, &counted], Vec::new());
                let place = graph.op("Add", "embeddings.places", &[&place, &padding], Vec::new());
                graph.op("Gather", "embeddings.positions", &[&table, &place], Vec::new())
            }
        })
    }
}
