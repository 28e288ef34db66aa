//! Sum of word, position and token-type embeddings (Devlin et al. 2018, figure 2).
//!
//! The tables are the frozen base's own, or those of a task that trains all of the encoder; the gradient of a row of a
//! table is the sum of the gradients of the tokens that read it.

use std::ops::Range;

use crate::residual::add;

/// The three tables of a BERT encoder, as the frozen base holds them.
#[derive(Clone, Debug)]
pub struct FrozenEmbedding {
    /// `[vocabulary, hidden]`
    pub words: Vec<f32>,
    /// `[positions, hidden]`; empty in a family whose embeddings do not know positions.
    pub positions: Vec<f32>,
    /// `[types, hidden]`; empty in a family without token types.
    pub types: Vec<f32>,
    /// Features of one embedding.
    pub hidden: usize,
    /// The row of `positions` that the first token reads.
    pub first_position: usize,
}

impl FrozenEmbedding {
    /// The tables as the operation takes them.
    pub fn tables(&self) -> EmbeddingTables<'_> {
        let Self { words, positions, types, hidden, first_position } = self;
        EmbeddingTables { words, positions, types, hidden: *hidden, first_position: *first_position }
    }
}

/// The three tables of a pass.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddingTables<'a> {
    /// `[vocabulary, hidden]`
    pub words: &'a [f32],
    /// `[positions, hidden]`; empty where the embeddings do not know positions, and then nothing is added for them.
    pub positions: &'a [f32],
    /// `[types, hidden]`; empty where there are no token types, and then nothing is added for them.
    pub types: &'a [f32],
    /// Features of one embedding.
    pub hidden: usize,
    /// The row of `positions` that the first token reads. Above 0, as in RoBERTa, the row before it is that of the padding, whose
    /// id is the number of that row: where a text holds this token, it reads that row and is not counted.
    pub first_position: usize,
}

/// Where the gradients of the three tables are added; the shapes of [`EmbeddingTables`].
#[derive(Debug)]
pub struct EmbeddingGradients<'a> {
    /// `[vocabulary, hidden]`
    pub words: &'a mut [f32],
    /// `[positions, hidden]`
    pub positions: &'a mut [f32],
    /// `[types, hidden]`
    pub types: &'a mut [f32],
    /// Features of one embedding.
    pub hidden: usize,
    /// The row of `positions` that the first token reads.
    pub first_position: usize,
}

/// The rows of the table of positions that tokens read.
fn places(first_position: usize, ids: &[u32]) -> impl Iterator<Item = usize> + '_ {
    let padding = first_position.checked_sub(1);
    let mut next = first_position;
    ids.iter().map(move |id| {
        let id = *id as usize;
        if padding == Some(id) {
            return id;
        }
        next += 1;
        next - 1
    })
}

/// The place of a row of a table.
fn row(table: &[f32], hidden: usize, index: usize) -> Range<usize> {
    let range = index * hidden..(index + 1) * hidden;
    assert!(range.end <= table.len(), "embedding: row {index} of {}", table.len() / hidden);
    range
}

/// `y[t] = words[ids[t]] + types[type_ids[t]] + positions[place(t)]` for the tokens of one sequence; the places count up from
/// `first_position`.
/// # Shapes
/// ids, type_ids `[length]`, y `[length, hidden]`
/// # Panics
/// If an id lies outside its table or the sequence is longer than the table of positions.
pub fn forward_sequence(tables: EmbeddingTables<'_>, ids: &[u32], type_ids: &[u32], y: &mut [f32]) {
    let hidden = tables.hidden;
    assert_eq!(ids.len(), type_ids.len(), "embedding: type ids");
    assert_eq!(y.len(), ids.len() * hidden, "embedding: output");
    let tokens = ids.iter().zip(type_ids).zip(places(tables.first_position, ids));
    for (y, ((id, type_id), place)) in y.chunks_exact_mut(hidden).zip(tokens) {
        let word = &tables.words[row(tables.words, hidden, *id as usize)];
        y.copy_from_slice(word);
        if !tables.types.is_empty() {
            add(&tables.types[row(tables.types, hidden, *type_id as usize)], y);
        }
        if !tables.positions.is_empty() {
            add(&tables.positions[row(tables.positions, hidden, place)], y);
        }
    }
}

/// Adds each token's gradient to the three rows that [`forward_sequence`] read, token by token.
/// # Shapes
/// ids, type_ids `[length]`, d_y `[length, hidden]`
/// # Panics
/// As [`forward_sequence`].
pub fn backward_sequence(ids: &[u32], type_ids: &[u32], d_y: &[f32], gradients: &mut EmbeddingGradients<'_>) {
    let hidden = gradients.hidden;
    assert_eq!(ids.len(), type_ids.len(), "embedding: type ids");
    assert_eq!(d_y.len(), ids.len() * hidden, "embedding: gradient");
    let add_row = |table: &mut [f32], index: usize, d_y: &[f32]| {
        let range = row(table, hidden, index);
        add(d_y, &mut table[range]);
    };
    let tokens = ids.iter().zip(type_ids).zip(places(gradients.first_position, ids));
    for (d_y, ((id, type_id), place)) in d_y.chunks_exact(hidden).zip(tokens) {
        add_row(gradients.words, *id as usize, d_y);
        if !gradients.positions.is_empty() {
            add_row(gradients.positions, place, d_y);
        }
        if !gradients.types.is_empty() {
            add_row(gradients.types, *type_id as usize, d_y);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, assert_close, central_differences, weighted_sum, widen};

    const TABLES: EmbeddingTables<'_> = EmbeddingTables {
        words: &[1.0, 2.0, 3.0, 4.0],
        positions: &[10.0, 20.0, 30.0, 40.0, 50.0, 60.0],
        types: &[0.5, 0.25, 100.0, 200.0],
        hidden: 2,
        first_position: 0,
    };

    #[test]
    fn adds_the_three_rows() {
        let mut y = vec![0.0; 6];
        forward_sequence(TABLES, &[1, 0, 1], &[0, 0, 1], &mut y);
        assert_eq!(y, [13.5, 24.25, 31.5, 42.25, 153.0, 264.0]);
    }

    /// The positions that `create_position_ids_from_input_ids` of `transformers` gives where the padding's id is 1.
    #[test]
    fn padding_in_a_text_is_not_counted() {
        assert_eq!(places(2, &[0, 3, 1, 4, 2]).collect::<Vec<_>>(), [2, 3, 1, 4, 5]);
        assert_eq!(places(0, &[0, 3, 1]).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn nothing_is_added_where_a_table_is_absent() {
        let words = EmbeddingTables { positions: &[], types: &[], ..TABLES };
        let mut y = vec![0.0; 6];
        forward_sequence(words, &[1, 0, 1], &[0, 7, 1], &mut y);
        assert_eq!(y, [3.0, 4.0, 1.0, 2.0, 3.0, 4.0]);
        let mut d_words = [0.5; 4];
        let (hidden, first_position) = (2, 0);
        let mut gradients = EmbeddingGradients {
            words: &mut d_words,
            positions: &mut [],
            types: &mut [],
            hidden,
            first_position,
        };
        backward_sequence(&[1, 0, 1], &[0, 7, 1], &y, &mut gradients);
        assert_eq!(d_words, [1.5, 2.5, 6.5, 8.5]);
    }

    #[test]
    #[should_panic(expected = "row 2 of 2")]
    fn refuses_an_id_outside_its_table() {
        forward_sequence(TABLES, &[2], &[0], &mut [0.0; 2]);
    }

    /// As in RoBERTa.
    const FIRST: usize = 2;

    #[test]
    fn backward_equals_central_differences() {
        let (ids, type_ids, hidden) = ([3, 0, 3, 2], [0, 1, 1, 0], 5);
        let sizes = [4 * hidden, 6 * hidden, 2 * hidden];
        let mut random = Random::new(31);
        let tables = random.normals(sizes.iter().sum());
        let d_y = random.normals(ids.len() * hidden);
        let exact = |tables: &[f64]| {
            let (words, rest) = tables.split_at(sizes[0]);
            let (positions, types) = rest.split_at(sizes[1]);
            let mut y = Vec::new();
            for (t, (id, type_id)) in ids.iter().zip(type_ids).enumerate() {
                for h in 0..hidden {
                    let (word, kind) = (*id as usize * hidden + h, type_id as usize * hidden + h);
                    y.push(words[word] + positions[(FIRST + t) * hidden + h] + types[kind]);
                }
            }
            weighted_sum(&y, &d_y)
        };
        let mut d_tables = vec![0.5; tables.len()];
        let (words, rest) = d_tables.split_at_mut(sizes[0]);
        let (positions, types) = rest.split_at_mut(sizes[1]);
        backward_sequence(
            &ids,
            &type_ids,
            &d_y,
            &mut EmbeddingGradients { words, positions, types, hidden, first_position: FIRST },
        );
        let mut expected = central_differences(&widen(&tables), exact);
        expected.iter_mut().for_each(|value| *value += 0.5);
        assert_close("gradients", &d_tables, &expected, 1e-6, 1e-6);
    }
}
