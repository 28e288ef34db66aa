//! Labelled rows as token ids: what training and its evaluations read, step after step.
//!
//! The text of a row is gone when it is encoded. Its tokens lie one after another with those of all other rows, in memory
//! or in a temporary file ([`Budget`]); for each row there are 24 bytes beside them, its place and its target.

use std::ops::Range;

use crate::adapter::ScoreScale;
use crate::batch::{PackedBatch, TokenIds, groups_by_tokens};
use crate::data::Targets;
use crate::gradient::Target;
use crate::store::{Budget, Store, StoreError};

/// Rows as token ids, each with its target.
///
/// In the store a row is its ids, then where the first token of each word is that the head reads, and then its token types
/// as runs, each a length and a type: one run for most texts, two or three for a pair.
#[derive(Debug)]
pub struct EncodedRows {
    places: Vec<Place>,
    store: Store,
    targets: Targets,
    scale: Option<ScoreScale>,
    /// How much each class counts; empty where all count once.
    weights: Vec<f32>,
    truncated: usize,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    /// Where the row ends in the store, and the next one begins.
    end: usize,
    tokens: u32,
    /// Words that the head reads, each by itself.
    words: u32,
}

impl EncodedRows {
    /// No rows yet; `targets` are those of all that will come, `scale` makes standard scores of them.
    pub fn new(targets: Targets, scale: Option<ScoreScale>, budget: &Budget) -> Self {
        let places = Vec::with_capacity(targets.len());
        Self { places, store: Store::new(budget), targets, scale, weights: Vec::new(), truncated: 0 }
    }

    /// Appends rows.
    /// # Errors
    /// If the temporary file cannot be written.
    /// # Panics
    /// If there are more rows than targets.
    pub fn append(&mut self, rows: &[TokenIds]) -> Result<(), StoreError> {
        assert!(self.len() + rows.len() <= self.targets.len(), "a target for each row");
        for row in rows {
            let runs = row.type_ids.chunk_by(|a, b| a == b);
            let end = self.begin(self.len()) + row.ids.len() + row.words.len() + 2 * runs.count();
            self.places.push(Place { end, tokens: word(row.ids.len()), words: word(row.words.len()) });
            self.truncated += usize::from(row.truncated);
        }
        self.store.append(rows.iter().flat_map(|row| {
            let runs = row.type_ids.chunk_by(|a, b| a == b);
            let runs = runs.flat_map(|run| [word(run.len()), run[0]]);
            row.ids.iter().copied().chain(row.words.iter().map(|word| word.token)).chain(runs)
        }))
    }

    /// Lets each class count as much as this; one weight for each class.
    pub fn weigh(&mut self, weights: Vec<f32>) {
        self.weights = weights;
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Tokens of a row.
    /// # Panics
    /// If there is no such row.
    pub fn tokens(&self, row: usize) -> usize {
        self.places[row].tokens as usize
    }

    /// Words of a row that the head reads, each by itself; none where it reads the text as a whole.
    /// # Panics
    /// If there is no such row.
    pub fn words(&self, row: usize) -> usize {
        self.places[row].words as usize
    }

    /// Rows that were cut to the longest length.
    pub fn truncated(&self) -> usize {
        self.truncated
    }

    /// What a row should be answered: its class, or its score on the scale of training, or the tags of the words that the head
    /// reads.
    /// # Panics
    /// If there is no such row.
    pub fn target(&self, row: usize) -> Target<'_> {
        match &self.targets {
            Targets::Classes(classes) => match self.weights.get(classes[row]) {
                Some(weight) => Target::Weighted { class: classes[row], weight: *weight },
                None => Target::Class(classes[row]),
            },
            Targets::Sets(sets) => Target::Set(&sets[row]),
            Targets::Entities(tags, _) | Targets::Tags(tags, _) => {
                Target::Tags(&tags[row][..self.words(row).min(tags[row].len())])
            }
            Targets::Scores(scores) => {
                Target::Score(self.scale.map_or(scores[row], |scale| scale.standardise(scores[row])))
            }
        }
    }

    /// The targets of all rows, scores in their own unit.
    pub fn targets(&self) -> &Targets {
        &self.targets
    }

    /// The scale of the scores.
    pub fn scale(&self) -> Option<ScoreScale> {
        self.scale
    }

    /// Some rows as a batch, in the order given.
    /// # Errors
    /// If the temporary file cannot be read.
    /// # Panics
    /// If there is no such row.
    pub fn batch(&self, rows: impl IntoIterator<Item = usize>) -> Result<PackedBatch, StoreError> {
        let mut batch = PackedBatch::new([]);
        for row in rows {
            let words: Vec<u32> = self.store.read(self.begin(row)..self.places[row].end)?.collect();
            let (ids, rest) = words.split_at(self.tokens(row));
            let (first_tokens, runs) = rest.split_at(self.words(row));
            let types = runs.chunks_exact(2).flat_map(|run| std::iter::repeat_n(run[1], run[0] as usize));
            batch.push(ids, types, first_tokens.iter().copied());
        }
        Ok(batch)
    }

    /// All rows in their order, cut into groups of at most 8,192 tokens.
    pub fn groups(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let mut first = 0;
        groups_by_tokens(&self.places, |place| place.tokens as usize).map(move |group| {
            let rows = first..first + group.len();
            first = rows.end;
            rows
        })
    }

    /// Where a row begins in the store.
    fn begin(&self, row: usize) -> usize {
        row.checked_sub(1).map_or(0, |before| self.places[before].end)
    }
}

/// A length as it is stored.
fn word(length: usize) -> u32 {
    u32::try_from(length).expect("a sequence has at most as many tokens as the encoder has positions")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Word;

    #[test]
    fn rows_come_back_as_they_were_wherever_they_lie() {
        let row = |ids: &[u32], type_ids: &[u32]| TokenIds {
            ids: ids.to_vec(),
            type_ids: type_ids.to_vec(),
            truncated: ids.len() == 4,
            words: Vec::new(),
        };
        let worded = |mut row: TokenIds, tokens: &[u32]| {
            row.words = tokens.iter().map(|token| Word { token: *token, ..Word::default() }).collect();
            row
        };
        // Types of a text, of a pair, and of a tokenizer with ways of its own.
        let rows = [
            row(&[7, 8, 9], &[0, 0, 0]),
            row(&[1], &[0]),
            worded(row(&[4, u32::MAX, 5, 6], &[0, 0, 1, 1]), &[1, 3]),
            row(&[3, 2, 1, 0], &[2, 0, 1, 0]),
        ];
        for memory_bytes in [0, 4 * 7, 1 << 10] {
            let budget = Budget { memory_bytes, ..Budget::default() };
            let targets = Targets::Scores(vec![1.0, 2.0, 3.0, 5.0]);
            let scale = ScoreScale { mean: 1.0, std: 2.0 };
            let mut encoded = EncodedRows::new(targets, Some(scale), &budget);
            encoded.append(&rows[..1]).and_then(|()| encoded.append(&rows[1..])).expect("they can be kept");
            assert_eq!((encoded.len(), encoded.tokens(3), encoded.truncated()), (4, 4, 2));
            assert_eq!(encoded.target(3), Target::Score(2.0));
            for order in [vec![0, 1, 2, 3], vec![3, 0, 2, 2], vec![1]] {
                let batch = encoded.batch(order.iter().copied()).expect("they can be read");
                let expected = PackedBatch::new(order.iter().map(|row| &rows[*row]));
                assert_eq!(format!("{batch:?}"), format!("{expected:?}"), "{memory_bytes}");
            }
        }
    }
}
