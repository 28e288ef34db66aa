//! From text to token ids, by the checkpoint's own `tokenizer.json` (the `tokenizers` crate).
//!
//! A tokenizer file may ask for padding and truncation of its own; both are switched off. Batches are packed, and
//! every task brings its own longest length: pairs are cut longest first, as in BERT.

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};

use thiserror::Error;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::tokenizer::PostProcessor;
use tokenizers::{
    Encoding, ModelWrapper, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
    PreTokenizerWrapper, TruncationDirection, TruncationParams, TruncationStrategy, truncate_encodings,
};

use crate::batch::{TokenIds, Word};
use crate::caught::caught;
use crate::digest::sha256_hex;
use crate::regular;

/// Why a tokenizer could not be read or used.
#[derive(Debug, Error)]
pub enum TokenizerError {
    /// The file could not be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no tokenizer.
    #[error("`{}` is not a tokenizer: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        reason: String,
    },
    /// The tokenizer and the encoder do not belong together.
    #[error("`{}` has {tokens} tokens, but the encoder's vocabulary has {vocabulary}", path.display())]
    Vocabulary {
        /// The file.
        path: PathBuf,
        /// Tokens that the tokenizer may give.
        tokens: usize,
        /// Rows of the encoder's word embedding.
        vocabulary: usize,
    },
    /// A text could not be encoded.
    #[error("cannot tokenize a text: {0}")]
    Encode(String),
    /// A text became nothing, which only a tokenizer without special tokens does.
    #[error("the tokenizer gives no token for a text")]
    NoTokens,
    /// A word became nothing, and the tokenizer has no token for what it does not know.
    #[error("the tokenizer gives no token for word {word}")]
    NoTokenOfWord {
        /// Its place, counted from 1.
        word: usize,
    },
    /// The tokenizer gives an id that the encoder does not have.
    #[error("the tokenizer gives token {id}, but the encoder's vocabulary has {vocabulary}")]
    UnknownId {
        /// The id.
        id: u32,
        /// Rows of the encoder's word embedding.
        vocabulary: usize,
    },
    /// The tokenizer marks the second text of a pair with a type that the encoder does not have.
    #[error("the tokenizer gives token type {kind}, but the encoder has {types}: it takes no pairs of texts")]
    TokenType {
        /// The type.
        kind: u32,
        /// Types that the encoder has.
        types: usize,
    },
    /// The tokenizer's template repeats a text, or adds more than it says.
    #[error("the tokenizer's template gives {tokens} tokens where {max_length} were allowed")]
    TooLong {
        /// Tokens that came.
        tokens: usize,
        /// The longest length.
        max_length: usize,
    },
    /// The sequences of a row have more tokens than may be answered together.
    #[error("the row has more than {most} tokens in all of its sequences")]
    TooMany {
        /// How many there may be.
        most: usize,
    },
    /// There is no room for a text beside the special tokens.
    #[error("a longest length of {max_length} tokens leaves no room beside {special} special tokens")]
    NoRoom {
        /// The longest length.
        max_length: usize,
        /// Special tokens that are always added.
        special: usize,
    },
}

/// Far more bytes than the file of a vocabulary of 500,000 has.
const MAX_BYTES: u64 = 64 << 20;

/// More tokens than the last, cut word of a text may have: a longer word is one unknown token.
const LAST_WORD_TOKENS: usize = 128;

/// Far more bytes than a token of ordinary text takes.
const BYTES_FOR_A_TOKEN: usize = 256;

/// The tokenizer of a checkpoint.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    sha256: String,
}

impl Tokenizer {
    /// Reads `tokenizer.json` of a folder; `vocabulary` is the number of rows of the encoder's word embedding.
    /// # Errors
    /// If the file is missing or broken, or gives ids that the encoder does not have.
    pub fn read(folder: &Path, vocabulary: usize) -> Result<Self, TokenizerError> {
        let path = folder.join("tokenizer.json");
        let text = regular::read_text(MAX_BYTES, &path)
            .map_err(|source| TokenizerError::Io { path: path.clone(), source })?;
        let wrong = |reason: String| TokenizerError::Format { path: path.clone(), reason };
        // On some files the crate panics.
        let inner = caught(|| {
            let mut inner = tokenizers::Tokenizer::from_bytes(&text)?;
            inner.with_padding(None);
            inner.with_truncation(None)?;
            tokenizers::Result::Ok(inner)
        });
        let inner = inner.ok_or_else(|| wrong("one of its parts is broken".to_owned()))?;
        let inner = inner.map_err(|error| wrong(error.to_string()))?;
        let tokens = inner.get_vocab(true).values().max().map_or(0, |largest| *largest as usize + 1);
        if tokens > vocabulary {
            return Err(TokenizerError::Vocabulary { path, tokens, vocabulary });
        }
        Ok(Self { inner, sha256: sha256_hex(text.as_bytes()) })
    }

    /// SHA-256 of `tokenizer.json`, in hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Special tokens that are added to a text, or to a pair.
    pub fn special_tokens(&self, pair: bool) -> usize {
        self.inner.get_post_processor().map_or(0, |post| post.added_tokens(pair))
    }

    /// Token ids of a text or a pair with special tokens, at most `max_length` of them.
    /// # Errors
    /// If the special tokens alone fill `max_length`, or the tokenizer fails.
    pub fn encode(
        &self,
        text: &str,
        text_b: Option<&str>,
        max_length: usize,
    ) -> Result<TokenIds, TokenizerError> {
        let first = self.encode_first(text, text_b.is_some(), max_length)?;
        self.encode_after(first, text_b, max_length)
    }

    /// The tokens of a text, or of the first of a pair, without special tokens, and whether some were left out.
    fn encode_first(
        &self,
        text: &str,
        pair: bool,
        max_length: usize,
    ) -> Result<(Encoding, bool), TokenizerError> {
        let special = self.special_tokens(pair);
        if max_length <= special {
            return Err(TokenizerError::NoRoom { max_length, special });
        }
        self.encode_beginning(text, max_length)
    }

    /// Token ids of a text whose tokens are known, perhaps with a second one.
    fn encode_after(
        &self,
        (first, first_cut): (Encoding, bool),
        text_b: Option<&str>,
        max_length: usize,
    ) -> Result<TokenIds, TokenizerError> {
        let second = text_b.map(|text| self.encode_beginning(text, max_length)).transpose()?;
        let (second, second_cut) = second.unzip();
        let (encoding, cut) = self.finish(first, second, max_length)?;
        Ok(token_ids(&encoding, first_cut || second_cut == Some(true) || cut, Vec::new()))
    }

    /// Token ids of a text with each of several others, as [`Tokenizer::encode`] gives them of a pair; the text is tokenized once.
    /// # Errors
    /// As of [`Tokenizer::encode`]; if all together have more than `most_tokens`.
    pub fn encode_with_each(
        &self,
        text: &str,
        others: impl Iterator<Item = impl AsRef<str>>,
        (max_length, most_tokens): (usize, usize),
    ) -> Result<Vec<TokenIds>, TokenizerError> {
        let first = self.encode_first(text, true, max_length)?;
        let (mut sequences, mut tokens) = (Vec::new(), 0);
        for other in others {
            let sequence = self.encode_after(first.clone(), Some(other.as_ref()), max_length)?;
            tokens += sequence.ids.len();
            if tokens > most_tokens {
                return Err(TokenizerError::TooMany { most: most_tokens });
            }
            sequences.push(sequence);
        }
        Ok(sequences)
    }

    /// Token ids of a question with each window of its context, special tokens around them, at most `max_length` of them. Two
    /// windows one after another share `stride` tokens. The words of a window are its first token, without bytes, and the
    /// tokens of the context, each with its bytes there.
    ///
    /// A question that would take more than half of the room is cut.
    /// # Errors
    /// If the special tokens leave no room, the windows would have more than `most_tokens`, or the tokenizer fails.
    pub fn encode_windows(
        &self,
        question: &str,
        context: &str,
        (max_length, stride): (usize, usize),
        most_tokens: usize,
    ) -> Result<Vec<TokenIds>, TokenizerError> {
        let special = self.special_tokens(true);
        let room = max_length.saturating_sub(special);
        if room < 2 {
            return Err(TokenizerError::NoRoom { max_length, special });
        }
        let (mut question, beginning) = self.encode_beginning(question, room / 2)?;
        let cut = beginning || question.len() > room / 2;
        question.truncate(room / 2, 0, TruncationDirection::Right);
        question.take_overflowing();
        let mut first = asked(|| self.inner.encode(context, false))?;
        let at_once = room - question.len();
        // Each window goes on by a token or more, however long the question is.
        let stride = stride.min(at_once - 1);
        let windows = 1 + first.len().saturating_sub(at_once).div_ceil(at_once - stride);
        if windows.saturating_mul(max_length) > most_tokens {
            return Err(TokenizerError::TooMany { most: most_tokens });
        }
        first.truncate(at_once, stride, TruncationDirection::Right);
        let later = first.take_overflowing();
        let windows = std::iter::once(first).chain(later);
        windows
            .map(|window| {
                let tokens = self.window((&question, cut), window, context)?;
                match tokens.ids.len() {
                    tokens if tokens > max_length => Err(TokenizerError::TooLong { tokens, max_length }),
                    _ => Ok(tokens),
                }
            })
            .collect()
    }

    /// One window of a context behind its question.
    fn window(
        &self,
        (question, truncated): (&Encoding, bool),
        window: Encoding,
        context: &str,
    ) -> Result<TokenIds, TokenizerError> {
        // The post-processor has seen the context already; some take white space off what a token is made of every time.
        let offsets = window.get_offsets().to_vec();
        let encoding = asked(|| self.inner.post_process(question.clone(), Some(window), true))?;
        let mut words = vec![Word::default()];
        let sequences = encoding.get_sequence_ids().into_iter().enumerate();
        let places = sequences.filter(|(_, sequence)| *sequence == Some(1)).map(|(place, _)| place);
        for (place, (begin, end)) in places.zip(offsets) {
            // White space that a tokenizer counts to a word is none of an answer.
            let text = context.get(begin..end).map_or("", str::trim);
            if !text.is_empty() {
                let begin = begin + context[begin..end].find(text).unwrap_or_default();
                let token = u32::try_from(place).expect("a sequence has at most as many tokens as positions");
                words.push(Word { token, range: begin..begin + text.len() });
            }
        }
        Ok(token_ids(&encoding, truncated, words))
    }

    /// Token ids of a text with its words, each of which is encoded by itself: those that are given by their bytes, or those of a
    /// plain text, which is cut at white space with each punctuation mark and each ideograph a word of its own.
    ///
    /// A given word that the tokenizer makes nothing of, such as one of control characters, is its unknown token.
    /// # Errors
    /// As of [`Tokenizer::encode`]; a word that becomes nothing where there is no unknown token.
    /// # Panics
    /// If a given word is not a part of the text.
    pub fn encode_words(
        &self,
        text: &str,
        words: Option<&[Range<usize>]>,
        max_length: usize,
    ) -> Result<TokenIds, TokenizerError> {
        let special = self.special_tokens(false);
        if max_length <= special {
            return Err(TokenizerError::NoRoom { max_length, special });
        }
        let most_bytes = max_length.saturating_mul(BYTES_FOR_A_TOKEN);
        let beginning = &text[..text.floor_char_boundary(most_bytes)];
        let all = words.map_or_else(|| Cow::Owned(words_in(beginning)), Cow::Borrowed);
        // Each word has a token or more.
        let ranges = &all[..all.len().min(max_length)];
        let encoding = self.encode_each(text, ranges, max_length)?;
        let beginning = ranges.len() < all.len() || words.is_none() && beginning.len() < text.len();
        let (encoding, cut) = self.finish(encoding, None, max_length)?;
        Ok(token_ids(&encoding, beginning || cut, words_of(&encoding, ranges)))
    }

    /// Tokens of words, each encoded by itself.
    fn encode_each(
        &self,
        text: &str,
        words: &[Range<usize>],
        max_length: usize,
    ) -> Result<Encoding, TokenizerError> {
        let most_bytes = max_length.saturating_mul(BYTES_FOR_A_TOKEN);
        let before = if self.needs_space() { " " } else { "" };
        let mut parts: Vec<String> = words
            .iter()
            .map(|word| {
                let word = &text[word.clone()];
                format!("{before}{}", &word[..word.floor_char_boundary(most_bytes)])
            })
            .collect();
        let encoding = asked(|| self.inner.encode(&parts[..], false))?;
        let mut has_token = vec![false; words.len()];
        encoding.get_word_ids().iter().flatten().for_each(|word| has_token[*word as usize] = true);
        let Some(word) = has_token.iter().position(|has| !has) else { return Ok(encoding) };
        let unknown = self.unknown_token().ok_or(TokenizerError::NoTokenOfWord { word: word + 1 })?;
        for (part, _) in parts.iter_mut().zip(has_token).filter(|(_, has)| !has) {
            part.clone_from(&unknown);
        }
        asked(|| self.inner.encode(&parts[..], false))
    }

    /// Whether a word is another one at the beginning of a text, without white space before it: so byte-level tokenizers have it
    /// that add none themselves.
    fn needs_space(&self) -> bool {
        fn adds_none(part: &PreTokenizerWrapper) -> bool {
            match part {
                PreTokenizerWrapper::ByteLevel(level) => !level.add_prefix_space,
                PreTokenizerWrapper::Sequence(parts) => parts.as_ref().iter().any(adds_none),
                _ => false,
            }
        }
        self.inner.get_pre_tokenizer().is_some_and(adds_none)
    }

    /// The token of what the vocabulary does not have.
    fn unknown_token(&self) -> Option<String> {
        let token = match self.inner.get_model() {
            ModelWrapper::WordPiece(model) => Some(model.unk_token.clone()),
            ModelWrapper::WordLevel(model) => Some(model.unk_token.clone()),
            ModelWrapper::BPE(model) => model.unk_token.clone(),
            // Its own is told by nobody; so they call it.
            ModelWrapper::Unigram(_) => Some("<unk>".to_owned()),
        };
        token.filter(|token| self.inner.token_to_id(token).is_some())
    }

    /// Cuts tokens to the longest length and puts the special tokens around them; tells whether something was cut off.
    fn finish(
        &self,
        first: Encoding,
        second: Option<Encoding>,
        max_length: usize,
    ) -> Result<(Encoding, bool), TokenizerError> {
        let room = max_length - self.special_tokens(second.is_some());
        let whole = first.len() + second.as_ref().map_or(0, |second| second.len());
        let params = TruncationParams {
            direction: TruncationDirection::Right,
            max_length: room,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
        };
        let (mut first, mut second) = truncate_encodings(first, second, &params)
            .map_err(|error| TokenizerError::Encode(error.to_string()))?;
        // What was cut off: the parts of one text would be joined with those of the other, each with each.
        first.take_overflowing();
        if let Some(second) = &mut second {
            second.take_overflowing();
        }
        let encoding = asked(|| self.inner.post_process(first, second, true))?;
        if encoding.len() > max_length {
            return Err(TokenizerError::TooLong { tokens: encoding.len(), max_length });
        }
        Ok((encoding, whole > room))
    }

    /// Tokens of a text's beginning, at least `max_length` of them if the text has as many, and whether something was
    /// left out. Tokenizing takes some hundred times the memory of the text, so a huge text is not tokenized whole.
    fn encode_beginning(&self, text: &str, max_length: usize) -> Result<(Encoding, bool), TokenizerError> {
        let mut bytes = max_length.saturating_mul(BYTES_FOR_A_TOKEN);
        while let Some(beginning) =
            text.get(..text.floor_char_boundary(bytes)).filter(|part| part.len() < text.len())
        {
            // Whole words if there are any: a word cut in two gives other tokens at its end. Text without white space
            // is cut where it is; its last token is of a part, and there are more than enough before it.
            let (part, needed) = match beginning.rsplit_once(char::is_whitespace) {
                Some((words, _)) => (words, max_length),
                None => (beginning, max_length.saturating_add(LAST_WORD_TOKENS)),
            };
            let encoding = asked(|| self.inner.encode_fast(part, false))?;
            if encoding.len() >= needed {
                return Ok((encoding, true));
            }
            bytes = bytes.saturating_mul(8);
        }
        Ok((asked(|| self.inner.encode_fast(text, false))?, false))
    }
}

/// Asks the crate. Where the parts of a tokenizer do not fit together, it may panic at a text.
fn asked<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, TokenizerError> {
    let answer = caught(call).ok_or_else(|| "a part of the tokenizer fails on it".to_owned());
    answer.and_then(|answer| answer.map_err(|error| error.to_string())).map_err(TokenizerError::Encode)
}

/// What is kept of an encoded text.
fn token_ids(encoding: &Encoding, truncated: bool, words: Vec<Word>) -> TokenIds {
    let (ids, type_ids) = (encoding.get_ids().to_vec(), encoding.get_type_ids().to_vec());
    TokenIds { ids, type_ids, truncated, words }
}

/// The words of a plain text: cut at white space, with each punctuation mark and each ideograph a word of its own, as BERT's basic
/// tokenizer cuts it (Devlin et al. 2018, in its code). The same for every model, so that an answer to a text does not hang on how
/// its tokenizer glues words and marks together.
fn words_in(text: &str) -> Vec<Range<usize>> {
    let mut pieces = PreTokenizedString::from(text);
    if BertPreTokenizer.pre_tokenize(&mut pieces).is_err() {
        return Vec::new();
    }
    let mut words: Vec<Range<usize>> = Vec::new();
    for (piece, (begin, _), _) in pieces.get_splits(OffsetReferential::Original, OffsetType::Byte) {
        let mut open = false;
        for (place, letter) in piece.char_indices() {
            let range = begin + place..begin + place + letter.len_utf8();
            match words.last_mut() {
                Some(word) if open && !is_ideograph(letter) => word.end = range.end,
                _ => words.push(range),
            }
            open = !is_ideograph(letter);
        }
    }
    words
}

/// Chinese characters, as BERT's basic tokenizer knows them.
fn is_ideograph(letter: char) -> bool {
    matches!(u32::from(letter),
        0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0x2_0000..=0x2_a6df | 0x2_a700..=0x2_ceaf | 0x2_f800..=0x2_fa1f)
}

/// The words of an encoded text that have a token, which are all up to where it was cut.
fn words_of(encoding: &Encoding, ranges: &[Range<usize>]) -> Vec<Word> {
    let mut words = Vec::new();
    let mut last = None;
    for (place, word) in encoding.get_word_ids().iter().enumerate() {
        if let Some(word) = word.filter(|word| Some(*word) != last) {
            last = Some(word);
            let token = u32::try_from(place).expect("a sequence has at most as many tokens as positions");
            words.push(Word { token, range: ranges[word as usize].clone() });
        }
    }
    words
}
