//! Labelled rows as token ids: what training and its evaluations read, step after step.
//!
//! The text of a row is gone when it is encoded, but for the context of a question, which its target needs. Its tokens lie one after another with those of all other rows, in memory
//! or in a temporary file ([`Budget`]); for each row there are 32 bytes beside them, its place and its target.

use std::ops::Range;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::adapter::ScoreScale;
use crate::batch::{PackedBatch, TokenIds, groups_by_tokens};
use crate::data::Targets;
use crate::digest::hex;
use crate::gradient::Target;
use crate::memory::Largest;
use crate::predict::of_row;
use crate::question_answering;
use crate::store::{Budget, Store, StoreError};

/// Rows as token ids, each with its target.
///
/// A row is one sequence or, where its choices or the windows of its context are read each by itself, several. In the store a
/// sequence is its ids, then where the first token of each word is that the head reads (of a question also where the word
/// begins and ends in the context), and then its token types as runs, each a length and a type: one run for most texts, two or
/// three for a pair.
#[derive(Debug)]
pub struct EncodedRows {
    sequences: Vec<Place>,
    /// Where the sequences of each row end, and those of the next one begin.
    rows: Vec<usize>,
    store: Store,
    targets: Targets,
    scale: Option<ScoreScale>,
    /// How much each class counts; empty where all count once.
    weights: Vec<f32>,
    /// Of questions: where the answer begins and ends among the words of each sequence.
    spans: Vec<[u32; 2]>,
    truncated: usize,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    /// Where the sequence ends in the store, and the next one begins.
    end: usize,
    tokens: u32,
    /// Words that the head reads, each by itself.
    words: u32,
}

impl EncodedRows {
    /// No rows yet; `targets` are those of all that will come, `scale` makes standard scores of them.
    pub fn new(targets: Targets, scale: Option<ScoreScale>, budget: &Budget) -> Self {
        let rows = Vec::with_capacity(targets.len());
        Self {
            sequences: Vec::with_capacity(targets.len()),
            rows,
            store: Store::new(budget),
            targets,
            scale,
            weights: Vec::new(),
            spans: Vec::new(),
            truncated: 0,
        }
    }

    /// Appends rows, each as its sequences.
    /// # Errors
    /// If the temporary file cannot be written.
    /// # Panics
    /// If there are more rows than targets, or a row has no sequence.
    pub fn append(&mut self, rows: &[Vec<TokenIds>]) -> Result<(), StoreError> {
        assert!(self.len() + rows.len() <= self.targets.len(), "a target for each row");
        for row in rows {
            assert!(!row.is_empty(), "a row has a sequence");
            for sequence in row {
                let runs = sequence.type_ids.chunk_by(|a, b| a == b);
                let numbers = sequence.ids.len() + self.of_word() * sequence.words.len() + 2 * runs.count();
                let end = self.begin(self.sequences.len()) + numbers;
                let (tokens, words) = (word(sequence.ids.len()), word(sequence.words.len()));
                self.sequences.push(Place { end, tokens, words });
            }
            if let Targets::Answers(questions, _) = &self.targets {
                let question = &questions[self.rows.len()];
                self.spans.extend(row.iter().map(|window| {
                    let candidates: Vec<Range<usize>> =
                        window.words.iter().map(|word| word.range.clone()).collect();
                    question_answering::target(question, &candidates).map(word)
                }));
            }
            self.rows.push(self.sequences.len());
            self.truncated += usize::from(row.iter().any(|sequence| sequence.truncated));
        }
        let of_word = self.of_word();
        self.store.append(rows.iter().flatten().flat_map(|sequence| {
            let runs = sequence.type_ids.chunk_by(|a, b| a == b);
            let runs = runs.flat_map(|run| [word(run.len()), run[0]]);
            let words = sequence.words.iter().flat_map(move |of| {
                [of.token, word(of.range.start), word(of.range.end)].into_iter().take(of_word)
            });
            sequence.ids.iter().copied().chain(words).chain(runs)
        }))
    }

    /// Bytes that the rows take in memory, beside their targets.
    pub fn held_bytes(&self) -> u64 {
        let places = size_of_val(&*self.sequences) + size_of_val(&*self.rows) + size_of_val(&*self.spans);
        self.store.held_bytes() + places as u64
    }

    /// SHA-256 of everything that training and its evaluations read of the rows.
    /// # Errors
    /// If the temporary file cannot be read.
    pub fn sha256(&self) -> Result<String, StoreError> {
        let mut hasher = Sha256::new();
        let mut note = |parts: std::fmt::Arguments<'_>| hasher.update(format!("{parts}\n"));
        note(format_args!("{:?} {:?} {:?} {:?}", self.rows.len(), self.scale, self.weights, self.truncated));
        for row in 0..self.len() {
            match &self.targets {
                Targets::Answers(questions, no_answer) => {
                    let right: Vec<&str> = questions[row].right().collect();
                    note(format_args!("{no_answer} {right:?}"));
                    // Questions of one context follow each other.
                    if row == 0 || !Arc::ptr_eq(&questions[row - 1].context, &questions[row].context) {
                        note(format_args!("{}", questions[row].context));
                    }
                }
                Targets::Classes(classes) | Targets::Choices(classes) => {
                    note(format_args!("{}", classes[row]))
                }
                Targets::Sets(rows) => note(format_args!("{:?}", rows[row])),
                Targets::Entities(rows, of) | Targets::Tags(rows, of) => {
                    note(format_args!("{of} {:?}", rows[row]))
                }
                Targets::Scores(scores) => note(format_args!("{:08x}", scores[row].to_bits())),
            }
            for sequence in self.sequences_of(row) {
                let Place { end, tokens, words } = self.sequences[sequence];
                note(format_args!("{tokens} {words} {:?}", self.spans.get(sequence)));
                let numbers: Vec<u32> = self.store.read(self.begin(sequence)..end)?.collect();
                note(format_args!("{numbers:?}"));
            }
        }
        Ok(hex(&hasher.finalize()))
    }

    /// Lets each class count as much as this; one weight for each class.
    pub fn weigh(&mut self, weights: Vec<f32>) {
        self.weights = weights;
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Tokens of a row, in all of its sequences.
    /// # Panics
    /// If there is no such row.
    pub fn tokens(&self, row: usize) -> usize {
        self.sequences[self.sequences_of(row)].iter().map(|place| place.tokens as usize).sum()
    }

    /// How many tokens the largest of the rows have.
    pub fn largest(&self) -> Largest {
        let sequence = self.sequences.iter().map(|place| place.tokens as usize).max().unwrap_or(0);
        let row = (0..self.len()).map(|row| self.tokens(row)).max().unwrap_or(0);
        // Of the choices of a row one softmax is taken.
        let unit = if matches!(self.targets, Targets::Choices(_)) { row } else { sequence };
        Largest { sequence, unit, row }
    }

    /// Words of a row that the head reads, each by itself; none where it reads the text as a whole.
    /// # Panics
    /// If there is no such row.
    pub fn words(&self, row: usize) -> usize {
        self.sequences[self.sequences_of(row)].iter().map(|place| place.words as usize).sum()
    }

    /// The places of a row's sequences among those of all rows.
    /// # Panics
    /// If there is no such row.
    pub fn sequences_of(&self, row: usize) -> Range<usize> {
        row.checked_sub(1).map_or(0, |before| self.rows[before])..self.rows[row]
    }

    /// Rows of which a sequence was cut to the longest length, and not into windows.
    pub fn truncated(&self) -> usize {
        self.truncated
    }

    /// What a row should be answered: its class, or its score on the scale of training, or the tags of the words that the head
    /// reads, or the right one of its choices; of a question where the answer is in each window.
    /// # Panics
    /// If there is no such row.
    pub fn row_targets(&self, row: usize) -> impl Iterator<Item = Target<'_>> {
        let sequences = self.sequences_of(row);
        let target = match &self.targets {
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
            Targets::Choices(right) => Target::Choice { choices: sequences.len(), right: right[row] },
            Targets::Answers(..) => self.span(sequences.start),
        };
        let later = if self.spans.is_empty() { 0..0 } else { sequences.start + 1..sequences.end };
        std::iter::once(target).chain(later.map(|sequence| self.span(sequence)))
    }

    /// Where the answer is in a window.
    fn span(&self, sequence: usize) -> Target<'_> {
        let [first, last] = self.spans[sequence].map(|word| word as usize);
        Target::Span { words: self.sequences[sequence].words as usize, first, last }
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
            for sequence in self.sequences_of(row) {
                let stored = self.stored(sequence)?;
                let place = self.sequences[sequence];
                let (ids, rest) = stored.split_at(place.tokens as usize);
                let (words, runs) = rest.split_at(self.of_word() * place.words as usize);
                let types = runs.chunks_exact(2).flat_map(|run| std::iter::repeat_n(run[1], run[0] as usize));
                batch.push(ids, types, words.iter().copied().step_by(self.of_word()));
            }
            if matches!(self.targets, Targets::Choices(_)) {
                batch.join(self.sequences_of(row).len());
            }
        }
        Ok(batch)
    }

    /// The bytes in its context of each word of a question, in all of its windows; none of another row.
    /// # Errors
    /// If the temporary file cannot be read.
    /// # Panics
    /// If there is no such row.
    pub fn candidates(&self, row: usize) -> Result<Vec<Range<usize>>, StoreError> {
        let mut candidates = Vec::new();
        for sequence in self.sequences_of(row).filter(|_| !self.spans.is_empty()) {
            let stored = self.stored(sequence)?;
            let place = self.sequences[sequence];
            let words = &stored[place.tokens as usize..][..self.of_word() * place.words as usize];
            candidates.extend(words.chunks_exact(self.of_word()).map(|of| of[1] as usize..of[2] as usize));
        }
        Ok(candidates)
    }

    /// The logits of some consecutive rows from those of their sequences.
    pub fn by_row(&self, rows: Range<usize>, logits: Vec<Vec<f32>>) -> Vec<Vec<f32>> {
        let mut logits = logits.into_iter();
        rows.map(|row| of_row(self.sequences_of(row).len(), &mut logits)).collect()
    }

    /// All rows in their order, cut into groups of at most 8,192 tokens.
    pub fn groups(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let tokens: Vec<usize> = (0..self.len()).map(|row| self.tokens(row)).collect();
        let mut first = 0;
        let mut groups = Vec::new();
        for group in groups_by_tokens(&tokens, |tokens| *tokens) {
            groups.push(first..first + group.len());
            first += group.len();
        }
        groups.into_iter()
    }

    /// Numbers of a word in the store.
    fn of_word(&self) -> usize {
        if matches!(self.targets, Targets::Answers(..)) { 3 } else { 1 }
    }

    /// What is in the store of a sequence.
    fn stored(&self, sequence: usize) -> Result<Vec<u32>, StoreError> {
        Ok(self.store.read(self.begin(sequence)..self.sequences[sequence].end)?.collect())
    }

    /// Where a sequence begins in the store.
    fn begin(&self, sequence: usize) -> usize {
        sequence.checked_sub(1).map_or(0, |before| self.sequences[before].end)
    }
}

/// A length as it is stored.
fn word(length: usize) -> u32 {
    u32::try_from(length).expect(
        "a sequence has at most as many tokens as the encoder has positions, and a text less than 4 GB",
    )
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
        ]
        .map(|row| vec![row]);
        for memory_bytes in [0, 4 * 7, 1 << 10] {
            let budget = Budget { memory_bytes, ..Budget::default() };
            let targets = Targets::Scores(vec![1.0, 2.0, 3.0, 5.0]);
            let scale = ScoreScale { mean: 1.0, std: 2.0 };
            let mut encoded = EncodedRows::new(targets, Some(scale), &budget);
            encoded.append(&rows[..1]).and_then(|()| encoded.append(&rows[1..])).expect("they can be kept");
            assert_eq!((encoded.len(), encoded.tokens(3), encoded.truncated()), (4, 4, 2));
            assert_eq!(encoded.row_targets(3).collect::<Vec<_>>(), [Target::Score(2.0)]);
            for order in [vec![0, 1, 2, 3], vec![3, 0, 2, 2], vec![1]] {
                let batch = encoded.batch(order.iter().copied()).expect("they can be read");
                let expected = PackedBatch::new(order.iter().flat_map(|row| &rows[*row]));
                assert_eq!(format!("{batch:?}"), format!("{expected:?}"), "{memory_bytes}");
            }
        }
    }
}
