//! Sum of word, position and token-type embeddings (Devlin et al. 2018, figure 2). All three tables are frozen, so
//! there is no backward pass here: the gradient ends at the layer normalisation above.

/// The three tables of a BERT encoder.
#[derive(Clone, Debug)]
pub struct FrozenEmbedding {
    /// `[vocabulary, hidden]`
    pub words: Vec<f32>,
    /// `[positions, hidden]`
    pub positions: Vec<f32>,
    /// `[types, hidden]`
    pub types: Vec<f32>,
    /// Features of one embedding.
    pub hidden: usize,
}

impl FrozenEmbedding {
    /// `y[t] = words[ids[t]] + positions[t] + types[type_ids[t]]` for the tokens of one sequence.
    /// # Shapes
    /// ids, type_ids `[length]`, y `[length, hidden]`
    /// # Panics
    /// If an id lies outside its table or the sequence is longer than the table of positions.
    pub fn forward_sequence(&self, ids: &[u32], type_ids: &[u32], y: &mut [f32]) {
        let hidden = self.hidden;
        assert_eq!(ids.len(), type_ids.len(), "embedding: type ids");
        assert_eq!(y.len(), ids.len() * hidden, "embedding: output");
        let row = |table: &'_ [f32], index: usize| -> std::ops::Range<usize> {
            let range = index * hidden..(index + 1) * hidden;
            assert!(range.end <= table.len(), "embedding: row {index} of {}", table.len() / hidden);
            range
        };
        for (position, (y, (id, type_id))) in
            y.chunks_exact_mut(hidden).zip(ids.iter().zip(type_ids)).enumerate()
        {
            let word = &self.words[row(&self.words, *id as usize)];
            let place = &self.positions[row(&self.positions, position)];
            let kind = &self.types[row(&self.types, *type_id as usize)];
            for index in 0..hidden {
                y[index] = word[index] + kind[index] + place[index];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_the_three_rows() {
        let embedding = FrozenEmbedding {
            words: vec![1.0, 2.0, 3.0, 4.0],
            positions: vec![10.0, 20.0, 30.0, 40.0, 50.0, 60.0],
            types: vec![0.5, 0.25, 100.0, 200.0],
            hidden: 2,
        };
        let mut y = vec![0.0; 6];
        embedding.forward_sequence(&[1, 0, 1], &[0, 0, 1], &mut y);
        assert_eq!(y, [13.5, 24.25, 31.5, 42.25, 153.0, 264.0]);
    }

    #[test]
    #[should_panic(expected = "row 2 of 2")]
    fn refuses_an_id_outside_its_table() {
        let embedding =
            FrozenEmbedding { words: vec![0.0; 4], positions: vec![0.0; 4], types: vec![0.0; 2], hidden: 2 };
        embedding.forward_sequence(&[2], &[0], &mut [0.0; 2]);
    }
}
