//! Files of labelled texts: the first room data passes through, from bytes to rows and targets.
//!
//! [`RowReader`] streams rows out of any `BufRead`, [`ParquetRows`] out of a file with places, and [`FileRows`], which
//! `predict` runs on, is either; [`LabelledFile`] reads a labelled file strictly, without holding it, and is what `train` and `eval` run on; [`Dataset`] is such a file in memory;
//! [`check_data`] reads everything it can and reports. Nothing here knows of tokens, models or the terminal: what is printed, and how, is decided by the
//! caller.

mod check;
mod choices;
mod columns;
mod compressed;
mod conll;
mod csv;
mod dataset;
mod error;
mod file;
mod file_rows;
mod format;
mod json;
mod labelled;
mod labels;
mod lines;
mod options;
mod parquet;
pub(crate) mod pattern;
mod questions;
mod reader;
pub(crate) mod splits;
mod squad;
mod tags;

pub use check::{
    CheckFiles, CheckOptions, CheckReport, LabelCount, LengthStats, Overlap, Problem, RejectedRow,
    RepeatedText, Repeats, ScoreStats, Split, SplitReport, Truncation, check_data,
};
pub use choices::MAX_CHOICES;
pub use columns::Columns;
pub use compressed::{Compression, Compressor};
pub use dataset::{Dataset, MAX_CLASSES, MAX_LABEL_BYTES, Targets, TaskSpec, Warning};
pub use error::{ColumnError, DataError, RowError, RowErrorKind};
pub use file::{Bytes, temporary_copy};
pub use file_rows::FileRows;
pub use format::{Format, Source, SourceFile};
pub use labelled::{LabelledFile, LabelledRows, Rows, blocks};
pub use labels::{LabelScheme, LabelSet, TaskKind};
pub use options::{LabelUse, MAX_ROW_BYTES, ReadOptions};
pub use parquet::{ParquetError, ParquetRows};
pub use pattern::{find_files, refuse_twice};
pub use questions::Question;
pub use reader::RowReader;
pub use splits::SplitError;
pub use squad::question_lines;
pub use tags::{OUTSIDE, TagProblem, TagScheme};

use std::ops::Range;

/// One row of a data file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The text, or the first of a pair; never empty or only white space.
    pub text: String,
    /// The second text of a pair; never empty or only white space.
    pub text_b: Option<String>,
    /// Of a text that comes as words, with a space between them here: the bytes of `text` that each is.
    pub words: Option<Vec<Range<usize>>>,
    /// Of a row that is answered with one of several texts: these, two or more; none of them empty.
    pub choices: Vec<String>,
    /// Of a question whose answer is a part of its context, which is `text_b`: the bytes of each right answer there; none of
    /// them where the context does not answer it. Absent where the answers are not known.
    pub answers: Option<Vec<Range<usize>>>,
    /// The label as text, without white space around it; never empty. Of a row with several labels all of them, of words with
    /// tags the tag of each, with the control character U+001F between.
    pub label: Option<String>,
    /// The line the row starts on, or of Parquet its place, counted from 1.
    pub line: u64,
}

impl Row {
    /// Bytes of its texts, choices among them.
    pub fn text_bytes(&self) -> usize {
        let more = self.text_b.iter().chain(&self.choices);
        self.text.len() + more.map(String::len).sum::<usize>()
    }

    /// One text to be answered.
    pub fn single(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            text_b: None,
            words: None,
            choices: Vec::new(),
            answers: None,
            label: None,
            line: 1,
        }
    }

    /// One text that comes as words, to be answered.
    pub fn of_words<W: AsRef<str>>(words: impl IntoIterator<Item = W>) -> Self {
        let (mut text, mut ranges) = (String::new(), Vec::new());
        for word in words {
            if !ranges.is_empty() {
                text.push(' ');
            }
            let begin = text.len();
            text.push_str(word.as_ref());
            ranges.push(begin..text.len());
        }
        Self { words: Some(ranges), ..Self::single(text) }
    }

    /// A pair of texts to be answered.
    pub fn pair(text: impl Into<String>, text_b: impl Into<String>) -> Self {
        Self { text_b: Some(text_b.into()), ..Self::single(text) }
    }

    /// One text to be answered with one of several others.
    pub fn of_choices<C: Into<String>>(
        text: impl Into<String>,
        choices: impl IntoIterator<Item = C>,
    ) -> Self {
        Self { choices: choices.into_iter().map(Into::into).collect(), ..Self::single(text) }
    }
}
