//! Packed batches: the sequences of a batch one after another, without padding.
//!
//! `ids` and `type_ids` hold all tokens, `offsets` where each sequence begins. Linear layers see all tokens as one
//! matrix; attention runs per sequence. Work is shared between threads by [`PackedBatch::chunks`], whose limits depend
//! on the batch alone and never on the number of threads: gradients are summed chunk by chunk, so limits that moved
//! with the threads would move the last bits of the result.

use std::ops::Range;

/// Token ids of one text or pair, with special tokens, cut to the longest length in use.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TokenIds {
    /// Rows of the word embedding.
    pub ids: Vec<u32>,
    /// 0 for the first text, 1 for the second.
    pub type_ids: Vec<u32>,
    /// Whether tokens were cut off.
    pub truncated: bool,
    /// For a task that answers each word: the words that have a token, which are all up to where the text was cut.
    pub words: Vec<Word>,
}

/// A word of a text.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Word {
    /// The place of its first token among those of the text.
    pub token: u32,
    /// Its bytes in the text.
    pub range: Range<usize>,
}

/// Sequences packed one after another.
///
/// Sequences whose answers are read together, as those of the choices of one question, are a unit; any other sequence is one
/// by itself. No unit is ever divided between threads.
#[derive(Clone, Debug)]
pub struct PackedBatch {
    ids: Vec<u32>,
    type_ids: Vec<u32>,
    /// Where each sequence begins, and at last the number of tokens: `sequences + 1` entries.
    offsets: Vec<usize>,
    /// The first tokens of the words of all sequences, each counted from its sequence's first token.
    first_tokens: Vec<u32>,
    /// Where those of each sequence begin, and at last how many there are: `sequences + 1` entries.
    word_offsets: Vec<usize>,
    /// The first sequence of each unit, and at last the number of sequences: `units + 1` entries.
    unit_offsets: Vec<usize>,
    states: Option<(usize, Vec<f32>)>,
}

/// No sequences.
impl Default for PackedBatch {
    fn default() -> Self {
        Self {
            ids: Vec::new(),
            type_ids: Vec::new(),
            offsets: vec![0],
            first_tokens: Vec::new(),
            word_offsets: vec![0],
            unit_offsets: vec![0],
            states: None,
        }
    }
}

/// Rows are packed into batches of about this many tokens where all of them are wanted, which bounds the memory of a
/// pass.
pub(crate) const BATCH_TOKENS: usize = 8192;

/// Cuts rows into consecutive groups of at most 8,192 tokens; a longer row is a group of its own.
pub fn groups_by_tokens<T>(rows: &[T], tokens: impl Fn(&T) -> usize) -> impl Iterator<Item = &[T]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let mut sum = 0;
        let fit = rest.iter().take_while(|row| {
            sum += tokens(row);
            sum <= BATCH_TOKENS
        });
        let (group, later) = rest.split_at_checked(fit.count().max(1))?;
        rest = later;
        Some(group)
    })
}

/// A chunk of a larger batch holds about this many tokens: large enough that matrix products run at full speed,
/// small enough that a chunk's activations stay near the cache and several threads have work.
const CHUNK_TOKENS: usize = 512;

/// A smaller batch is cut into this many chunks all the same, or half, or one, as long as each keeps
/// [`MIN_CHUNK_TOKENS`]; a larger one into a multiple of it. Three chunks would leave the second of two threads idle for
/// a quarter of the time.
const MIN_CHUNKS: usize = 4;
const MIN_CHUNK_TOKENS: usize = 64;

/// Tokens of a chunk at most, where a unit has so many at most: chunks are of one size but for the unit that fills one.
pub(crate) fn most_chunk_tokens(unit: usize) -> usize {
    CHUNK_TOKENS + unit
}

/// Chunks at most of a batch of so many tokens.
pub(crate) fn most_chunks(tokens: usize) -> usize {
    let by_size = tokens.div_ceil(CHUNK_TOKENS);
    by_size.saturating_add(MIN_CHUNKS)
}

impl PackedBatch {
    /// Packs the sequences in their order.
    /// # Panics
    /// If a sequence is empty.
    pub fn new<'a>(sequences: impl IntoIterator<Item = &'a TokenIds>) -> Self {
        let mut batch = Self::default();
        for sequence in sequences {
            let first_tokens = sequence.words.iter().map(|word| word.token);
            batch.push(&sequence.ids, sequence.type_ids.iter().copied(), first_tokens);
        }
        batch
    }

    /// Packs one more sequence, a unit of its own, with the places of its words' first tokens.
    /// # Panics
    /// If it is empty.
    pub(crate) fn push(
        &mut self,
        ids: &[u32],
        type_ids: impl Iterator<Item = u32>,
        first_tokens: impl Iterator<Item = u32>,
    ) {
        assert!(!ids.is_empty(), "a sequence has at least one token");
        self.ids.extend(ids);
        self.type_ids.extend(type_ids);
        self.offsets.push(self.ids.len());
        self.first_tokens.extend(first_tokens);
        self.word_offsets.push(self.first_tokens.len());
        self.unit_offsets.push(self.sequences());
    }

    /// Makes one unit of the last sequences.
    /// # Panics
    /// If there are not as many, or one of them is in a unit already.
    pub(crate) fn join(&mut self, sequences: usize) {
        let first = self.sequences() - sequences;
        self.unit_offsets.truncate(self.unit_offsets.len() - sequences);
        assert_eq!(self.unit_offsets.last(), Some(&first), "sequences that are units of their own");
        self.unit_offsets.push(self.sequences());
    }

    /// The same batch with the hidden states that enter a layer, `[tokens, hidden]`: a pass begins there.
    /// # Panics
    /// If the states are not as many for each token.
    pub fn with_states(self, layer: usize, states: Vec<f32>) -> Self {
        assert!(states.len().is_multiple_of(self.tokens()), "hidden states of each token");
        Self { states: Some((layer, states)), ..self }
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Number of sequences.
    pub fn sequences(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Number of units.
    pub fn units(&self) -> usize {
        self.unit_offsets.len() - 1
    }

    /// Words that the head reads of a sequence, each by itself.
    pub fn words(&self, sequence: usize) -> usize {
        self.word_offsets[sequence + 1] - self.word_offsets[sequence]
    }

    /// Consecutive units, for one thread each; a function of the batch alone. The limits are those of the units that come
    /// nearest to equal shares of the batch's tokens, so a long unit may leave a chunk beside it short, or take the place of
    /// one.
    pub fn chunks(&self) -> Vec<Chunk<'_>> {
        let by_size = self.tokens().div_ceil(CHUNK_TOKENS);
        let count = match self.tokens() / MIN_CHUNK_TOKENS {
            0 | 1 => 1,
            2 | 3 => 2,
            _ => by_size.next_multiple_of(MIN_CHUNKS),
        };
        let mut chunks = Vec::with_capacity(count);
        let mut first = 0;
        let begin = |unit: usize| self.unit_offsets.get(unit).map(|sequence| self.offsets[*sequence]);
        for unit in 1..=self.units() {
            let wanted = self.tokens() * (chunks.len() + 1);
            // The limit of a unit that is nearest to the wanted one.
            let filled = |next: usize| (begin(unit).unwrap_or_default() + next) * count >= 2 * wanted;
            if begin(unit + 1).is_none_or(filled) {
                chunks.push(self.chunk(first..unit));
                first = unit;
            }
        }
        chunks
    }

    fn chunk(&self, units: Range<usize>) -> Chunk<'_> {
        let sequences = self.unit_offsets[units.start]..self.unit_offsets[units.end];
        let tokens = self.offsets[sequences.start]..self.offsets[sequences.end];
        let states = self.states.as_ref().map(|(layer, states)| {
            let hidden = states.len() / self.tokens();
            (*layer, &states[tokens.start * hidden..tokens.end * hidden])
        });
        Chunk {
            ids: &self.ids[tokens.clone()],
            type_ids: &self.type_ids[tokens.clone()],
            offsets: &self.offsets[sequences.start..=sequences.end],
            first_tokens: &self.first_tokens,
            word_offsets: &self.word_offsets[sequences.start..=sequences.end],
            first_sequence: sequences.start,
            units,
            states,
        }
    }
}

/// Some consecutive whole units of a batch.
#[derive(Clone, Debug)]
pub struct Chunk<'a> {
    /// Ids of the chunk's tokens.
    pub ids: &'a [u32],
    /// Type ids of the chunk's tokens.
    pub type_ids: &'a [u32],
    /// Limits of the chunk's sequences in the whole batch.
    offsets: &'a [usize],
    /// First tokens of the words of the whole batch.
    first_tokens: &'a [u32],
    /// Limits of the words of the chunk's sequences among them.
    word_offsets: &'a [usize],
    /// Place of the chunk's first sequence in the whole batch.
    pub first_sequence: usize,
    /// Places of the chunk's units in the whole batch.
    pub units: Range<usize>,
    /// A layer and the hidden states that enter it, `[tokens, hidden]`, where they are known: a pass begins there.
    pub states: Option<(usize, &'a [f32])>,
}

impl Chunk<'_> {
    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Number of sequences.
    pub fn sequences(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Tokens of the longest sequence.
    pub fn longest(&self) -> usize {
        self.ranges().map(|range| range.len()).max().unwrap_or(0)
    }

    /// Tokens of the chunk's sequence `index`, counted from the chunk's first token.
    pub fn range(&self, index: usize) -> Range<usize> {
        self.offsets[index] - self.offsets[0]..self.offsets[index + 1] - self.offsets[0]
    }

    /// The places of the words of sequence `index` among those of the whole batch.
    pub fn words(&self, index: usize) -> Range<usize> {
        self.word_offsets[index]..self.word_offsets[index + 1]
    }

    /// The first tokens of the words of sequence `index`, counted from the sequence's first token.
    pub fn first_tokens(&self, index: usize) -> &[u32] {
        &self.first_tokens[self.words(index)]
    }

    /// Token ranges of all sequences in order.
    pub fn ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        (0..self.sequences()).map(|index| self.range(index))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sequence(length: usize) -> TokenIds {
        TokenIds { ids: (0..length as u32).collect(), type_ids: vec![0; length], ..TokenIds::default() }
    }

    #[test]
    fn a_batch_begins_without_sequences() {
        let batch = PackedBatch::default();
        assert_eq!((batch.sequences(), batch.tokens(), batch.chunks().len()), (0, 0, 0));
    }

    #[test]
    fn a_unit_is_not_divided() {
        let sequences = vec![sequence(128); 32];
        let mut batch = PackedBatch::new([]);
        for unit in sequences.chunks(10) {
            for sequence in unit {
                batch.push(&sequence.ids, sequence.type_ids.iter().copied(), [].into_iter());
            }
            batch.join(unit.len());
        }
        assert_eq!((batch.sequences(), batch.units()), (32, 4));
        let limits: Vec<_> = batch
            .chunks()
            .iter()
            .map(|chunk| (chunk.first_sequence, chunk.sequences(), chunk.units.clone()))
            .collect();
        assert_eq!(limits, [(0, 10, 0..1), (10, 10, 1..2), (20, 10, 2..3), (30, 2, 3..4)]);
    }

    proptest! {
        #[test]
        fn no_chunk_is_larger_than_its_bound(lengths in prop::collection::vec(1_usize..900, 1..60)) {
            let sequences: Vec<_> = lengths.iter().map(|length| sequence(*length)).collect();
            let longest = *lengths.iter().max().unwrap();
            for chunk in PackedBatch::new(&sequences).chunks() {
                prop_assert!(chunk.tokens() <= most_chunk_tokens(longest), "{} of {longest}", chunk.tokens());
            }
            let batch = PackedBatch::new(&sequences);
            prop_assert!(batch.chunks().len() <= most_chunks(batch.tokens()));
        }
    }

    #[test]
    fn chunks_cover_every_sequence_once_and_are_balanced() {
        for lengths in
            [vec![1], vec![128; 32], vec![12; 32], vec![512, 1, 1, 1, 1], vec![3, 400, 5, 200, 90, 1, 700]]
        {
            let sequences: Vec<_> = lengths.iter().map(|length| sequence(*length)).collect();
            let batch = PackedBatch::new(&sequences);
            let chunks = batch.chunks();
            let mut next = 0;
            for chunk in &chunks {
                assert_eq!(chunk.first_sequence, next);
                for (index, range) in chunk.ranges().enumerate() {
                    assert_eq!(chunk.ids[range], sequences[next + index].ids[..]);
                }
                next += chunk.sequences();
            }
            assert_eq!(next, lengths.len(), "{lengths:?}");
        }
        let sequences = vec![sequence(128); 32];
        let tokens: Vec<_> = PackedBatch::new(&sequences).chunks().iter().map(Chunk::tokens).collect();
        assert_eq!(tokens, [512; 8]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn chunks_are_whole_units_and_cover_all_of_them(
            units in prop::collection::vec(prop::collection::vec((1_usize..130, 0_usize..4), 1..6), 0..40)
        ) {
            let mut batch = PackedBatch::default();
            let (mut id, mut lengths, mut words_before) = (0.., Vec::new(), vec![0]);
            for unit in &units {
                for (length, words) in unit {
                    let ids: Vec<u32> = id.by_ref().take(*length).collect();
                    let first_tokens = (0..*words as u32).map(|word| word % *length as u32);
                    batch.push(&ids, std::iter::repeat_n(0, *length), first_tokens);
                    words_before.push(words_before[lengths.len()] + words);
                    lengths.push(*length);
                }
                batch.join(unit.len());
            }
            prop_assert_eq!((batch.units(), batch.sequences()), (units.len(), lengths.len()));
            let (mut unit, mut sequence, mut token) = (0, 0, 0);
            for chunk in batch.chunks() {
                prop_assert_eq!((chunk.units.start, chunk.first_sequence), (unit, sequence));
                prop_assert!(!chunk.units.is_empty());
                prop_assert_eq!(chunk.sequences(), units[chunk.units.clone()].iter().map(Vec::len).sum::<usize>());
                for (index, range) in chunk.ranges().enumerate() {
                    prop_assert_eq!(range.len(), lengths[sequence]);
                    prop_assert!(chunk.ids[range].iter().copied().eq(token..token + lengths[sequence] as u32));
                    prop_assert_eq!(chunk.words(index), words_before[sequence]..words_before[sequence + 1]);
                    token += lengths[sequence] as u32;
                    sequence += 1;
                }
                unit = chunk.units.end;
            }
            prop_assert_eq!((unit, sequence, token as usize), (units.len(), lengths.len(), batch.tokens()));
        }
    }
}
