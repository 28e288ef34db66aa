//! How rows become tokens: a task reads a row as one sequence or as several, one for each choice or each window of a context.
//!
//! The tokenizer cuts texts; what is checked here is that the encoder has what it gives.

use std::borrow::Borrow;

use rayon::prelude::*;

use crate::adapter::Manifest;
use crate::batch::TokenIds;
use crate::data::{Row, TaskKind};
use crate::model::Model;
use crate::tokenizer::{Tokenizer, TokenizerError};

/// The sequences of a row have at most so many tokens together.
pub const MAX_ROW_TOKENS: usize = 1 << 20;

/// How a task has a row cut into tokens: two tasks that read alike read the same tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RowEncoding {
    /// What becomes a sequence.
    pub form: RowForm,
    /// Sequences are cut to this many tokens.
    pub max_length: usize,
}

/// What of a row becomes a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowForm {
    /// The text or pair.
    Whole,
    /// The text, whose words are answered.
    Words,
    /// The text with each of its choices.
    Choices,
    /// The text with each window of its context.
    Windows {
        /// Tokens that two windows share.
        stride: usize,
    },
}

impl RowEncoding {
    /// That of a task of a kind; the stride is that of the windows of a context.
    pub fn new(kind: TaskKind, max_length: usize, stride: Option<usize>) -> Self {
        let form = match kind {
            TaskKind::Classification | TaskKind::MultiLabel | TaskKind::Regression => RowForm::Whole,
            TaskKind::Entities | TaskKind::Tags => RowForm::Words,
            TaskKind::MultipleChoice => RowForm::Choices,
            TaskKind::QuestionAnswering => {
                RowForm::Windows { stride: stride.unwrap_or(default_stride(max_length)) }
            }
        };
        Self { form, max_length }
    }

    /// Tokens that two windows of a context share, where there are windows.
    pub fn stride(self) -> Option<usize> {
        match self.form {
            RowForm::Windows { stride } => Some(stride),
            RowForm::Whole | RowForm::Words | RowForm::Choices => None,
        }
    }

    /// That of an adapter.
    pub fn of(manifest: &Manifest) -> Self {
        Self::new(manifest.task.kind, manifest.max_length, manifest.stride)
    }

    /// Token ids of one row, sequence by sequence.
    /// # Errors
    /// As of [`encode_row`] or [`encode_words`]; if its sequences have more than [`MAX_ROW_TOKENS`] together.
    pub fn encode(self, model: &Model, row: &Row) -> Result<Vec<TokenIds>, TokenizerError> {
        self.encode_within(model, row, MAX_ROW_TOKENS)
    }

    /// The same of a row whose sequences may have so many tokens together.
    /// # Errors
    /// As of [`RowEncoding::encode`].
    pub fn encode_within(
        self,
        model: &Model,
        row: &Row,
        most_tokens: usize,
    ) -> Result<Vec<TokenIds>, TokenizerError> {
        let max_length = self.max_length;
        match self.form {
            RowForm::Whole => encode_row(model, row, max_length).map(|tokens| vec![tokens]),
            RowForm::Words => encode_words(model, row, max_length).map(|tokens| vec![tokens]),
            RowForm::Choices => {
                let sequences = encode_choices(model.tokenizer(), row, (max_length, most_tokens))?;
                sequences.into_iter().map(|tokens| checked(model, tokens)).collect()
            }
            RowForm::Windows { stride } => encode_windows(model, row, (max_length, stride), most_tokens),
        }
    }

    /// Token ids of rows, in their order; an error comes with the row's line.
    pub(crate) fn encode_each<R: Borrow<Row> + Sync>(
        self,
        model: &Model,
        rows: &[R],
    ) -> Result<Vec<Vec<TokenIds>>, (u64, TokenizerError)> {
        in_order(rows, |row| self.encode(model, row))
    }
}

/// Where no stride is given, two windows share a third of their tokens: 128 of 384, as is usual.
pub fn default_stride(max_length: usize) -> usize {
    max_length / 3
}

/// Token ids of one row.
/// # Errors
/// If the text cannot be encoded, or the tokenizer gives what the encoder does not have.
pub fn encode_row(model: &Model, row: &Row, max_length: usize) -> Result<TokenIds, TokenizerError> {
    checked(model, model.tokenizer().encode(&row.text, row.text_b.as_deref(), max_length)?)
}

/// Token ids of one row with its words, for a task that answers these.
/// # Errors
/// As of [`encode_row`]; if there is no word.
pub fn encode_words(model: &Model, row: &Row, max_length: usize) -> Result<TokenIds, TokenizerError> {
    let tokens = model.tokenizer().encode_words(&row.text, row.words.as_deref(), max_length)?;
    if tokens.words.is_empty() {
        return Err(TokenizerError::NoTokens);
    }
    checked(model, tokens)
}

/// Tokens that the encoder has.
fn checked(model: &Model, mut tokens: TokenIds) -> Result<TokenIds, TokenizerError> {
    let config = &model.encoder().config;
    let (types, vocabulary) = (config.type_vocab_size, config.vocab_size);
    if config.family.has_one_type() && types == 1 {
        tokens.type_ids.fill(0);
    }
    if tokens.ids.is_empty() {
        return Err(TokenizerError::NoTokens);
    }
    if let Some(id) = tokens.ids.iter().find(|id| **id as usize >= vocabulary) {
        return Err(TokenizerError::UnknownId { id: *id, vocabulary });
    }
    // A family without token types reads none of them.
    match tokens.type_ids.iter().find(|kind| types > 0 && **kind as usize >= types) {
        Some(kind) => Err(TokenizerError::TokenType { kind: *kind, types }),
        None => Ok(tokens),
    }
}

/// Token ids of rows, in their order; the work is shared between threads.
/// # Errors
/// The first row's of [`encode_row`].
pub fn encode_rows<R: Borrow<Row> + Sync>(
    model: &Model,
    rows: &[R],
    max_length: usize,
) -> Result<Vec<TokenIds>, TokenizerError> {
    in_order(rows, |row| encode_row(model, row, max_length)).map_err(|(_, error)| error)
}

/// Token ids of one row with each of its choices: the text and the choice or, of a pair, the text and what the second text and the
/// choice give together.
/// # Errors
/// As of [`encode_row`].
pub fn encode_choices(
    tokenizer: &Tokenizer,
    row: &Row,
    (max_length, most_tokens): (usize, usize),
) -> Result<Vec<TokenIds>, TokenizerError> {
    let with = |choice: &String| match &row.text_b {
        Some(begin) => format!("{begin} {choice}"),
        None => choice.clone(),
    };
    tokenizer.encode_with_each(&row.text, row.choices.iter().map(with), (max_length, most_tokens))
}

/// Token ids of a question with each window of its context, see [`Tokenizer::encode_windows`].
/// # Errors
/// As of [`encode_row`].
///
/// [`Tokenizer::encode_windows`]: crate::tokenizer::Tokenizer::encode_windows
pub fn encode_windows(
    model: &Model,
    row: &Row,
    (max_length, stride): (usize, usize),
    most_tokens: usize,
) -> Result<Vec<TokenIds>, TokenizerError> {
    let context = row.text_b.as_deref().unwrap_or_default();
    let windows = model.tokenizer().encode_windows(&row.text, context, (max_length, stride), most_tokens)?;
    windows.into_iter().map(|window| checked(model, window)).collect()
}

/// What is made of each row, in parallel; of several errors the first row's, with its line.
pub(crate) fn in_order<R: Borrow<Row> + Sync, T: Send, E: Send>(
    rows: &[R],
    make: impl Fn(&Row) -> Result<T, E> + Sync,
) -> Result<Vec<T>, (u64, E)> {
    let made: Vec<Result<T, E>> = rows.par_iter().map(|row| make(row.borrow())).collect();
    made.into_iter().zip(rows).map(|(made, row)| made.map_err(|error| (row.borrow().line, error))).collect()
}
