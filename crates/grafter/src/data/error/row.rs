//! What is wrong with one row.

use std::io;
use std::sync::Arc;

use super::{ColumnError, list, quoted};
use crate::data::{Format, ParquetError, TagProblem, TagScheme};

/// A row that cannot be used, with its place: `train.csv:17: expected 3 fields, found 2`.
#[derive(Debug, thiserror::Error)]
#[error("{file}:{line}: {kind}")]
pub struct RowError {
    /// The file's name as the caller gave it.
    pub file: Arc<str>,
    /// The line, counted from 1, on which the row (or its open quote) starts; of Parquet the place of the row, of SQuAD's document that
    /// of the question.
    pub line: u64,
    /// What is wrong.
    pub kind: RowErrorKind,
}

impl RowError {
    /// What the user may do about it.
    pub fn hint(&self) -> Option<String> {
        self.kind.hint()
    }
}

/// What is wrong with a row.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RowErrorKind {
    /// The input failed; nothing can be read after it.
    #[error("cannot read: {0}")]
    Io(#[source] io::Error),
    /// A byte that is not UTF-8; `offset` counts from 1 within the line.
    #[error("byte {offset} of the line (0x{byte:02x}) is not UTF-8")]
    NotUtf8 {
        /// The place of the byte in the line, counted from 1.
        offset: usize,
        /// The byte.
        byte: u8,
    },
    /// The input starts with the byte order mark of UTF-16.
    #[error("expected UTF-8, found UTF-16")]
    Utf16,
    /// The row goes on past the limit.
    #[error("row is longer than {limit_bytes} bytes")]
    TooLong {
        /// The limit.
        limit_bytes: usize,
    },
    /// A delimited row with another number of fields than the header.
    #[error("expected {expected} fields, found {found}")]
    FieldCount {
        /// The number of columns in the header.
        expected: usize,
        /// The number of fields in the row.
        found: usize,
        /// The format the row was read as.
        format: Format,
    },
    /// A quoted CSV field that the end of the input cuts off.
    #[error("a quote opened on this line is never closed: all to line {last_line} is one unfinished row")]
    UnterminatedQuote {
        /// The last line of the input.
        last_line: u64,
    },
    /// A quoted CSV field that is followed by something other than a comma or the end of the line.
    #[error("a quote opened on this line is closed on line {closed_line} with text after it")]
    TextAfterQuote {
        /// The line on which the closing quote stands.
        closed_line: u64,
    },
    /// A line that is not one JSON object; `column` counts bytes from 1.
    #[error("not a JSON object, at byte {column}: {reason}")]
    BadJson {
        /// The place in the line, counted from 1.
        column: usize,
        /// What the JSON parser says.
        reason: String,
    },
    /// A label of a row with several that holds what stands between them here.
    #[error("a label holds the control character U+001F")]
    LabelJoint,
    /// Another number of tags than of words.
    #[error("expected a tag for each of {words} words, found {tags}")]
    TagCount {
        /// The words.
        words: usize,
        /// The tags.
        tags: usize,
    },
    /// A word without a tag.
    #[error("word {word} has no tag")]
    NoTag {
        /// Its place, counted from 1.
        word: usize,
    },
    /// A word of no letters.
    #[error("word {word} is empty")]
    EmptyWord {
        /// Its place, counted from 1.
        word: usize,
    },
    /// A tag that with those before it forms no entities.
    #[error("{}", bad_tag(*word, tag, before.as_deref(), (problem, *scheme)))]
    BadTag {
        /// The place of its word, counted from 1.
        word: usize,
        /// The tag.
        tag: String,
        /// The tag of the word before.
        before: Option<String>,
        /// What is wrong.
        problem: TagProblem,
        /// The scheme that the tags should have.
        scheme: TagScheme,
    },
    /// A line of a sentence with another number of columns than its first.
    #[error("expected {expected} columns, as in the sentence's first line, found {found}")]
    ColumnCount {
        /// The columns of the first line.
        expected: usize,
        /// The columns of this line.
        found: usize,
    },
    /// More words than a row may have.
    #[error("more than {limit} words")]
    TooManyWords {
        /// How many there may be.
        limit: usize,
    },
    /// A list of more answers, or of something else, than a row may have.
    #[error("{} has more than {limit} elements", quoted(column))]
    TooManyElements {
        /// The column of the list.
        column: String,
        /// How many there may be.
        limit: usize,
    },
    /// A question without what says its answers.
    #[error("answers {} are missing", quoted(column))]
    NoAnswers {
        /// The column of the answers.
        column: String,
    },
    /// An answer that is not where it should be in its context.
    #[error("answer {} does not stand at character {start} of its context", quoted(answer))]
    NotInContext {
        /// The answer.
        answer: String,
        /// Where it should begin, in characters counted from 0.
        start: u64,
    },
    /// A question without an answer, of a task in which each has one.
    #[error("the question has no answer, and all of the training rows have one")]
    Unanswerable,
    /// Too few or too many texts to choose from.
    #[error("expected 2 to {limit} choices, found {found}")]
    ChoiceCount {
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A label that says none of the choices.
    #[error("label {} is none of the {choices} choices, counted from 0 or `A`", quoted(label))]
    NoSuchChoice {
        /// The label.
        label: String,
        /// How many choices there are.
        choices: usize,
    },
    /// A JSON field, or a value of a table, of the wrong type.
    #[error("{} must be {expected}, found {found}", quoted(field))]
    JsonType {
        /// The field's name.
        field: String,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A JSON object without a field that the objects before it had, or with texts under other names.
    #[error("expected fields {}, as in the rows before, found {}", list(expected), list(found))]
    FieldsChanged {
        /// The text fields of the rows before.
        expected: Vec<String>,
        /// The fields of this row.
        found: Vec<String>,
    },
    /// The columns that are needed cannot be told from the fields of a JSON object.
    #[error(transparent)]
    Columns(ColumnError),
    /// A text that is empty or only white space.
    #[error("{} is empty", quoted(column))]
    EmptyText {
        /// The column of the text.
        column: String,
    },
    /// A label that is absent or empty where one is needed.
    #[error("label {} is missing", quoted(column))]
    MissingLabel {
        /// The column of the label.
        column: String,
    },
    /// A number of a class, where the file names the classes, that marks a row without a label.
    #[error("label {} is {number}: the row has no label", quoted(column))]
    Unlabelled {
        /// The column of the label.
        column: String,
        /// The number, below 0.
        number: i64,
    },
    /// A number of a class that the file, which names its classes, does not name.
    #[error("label {} is {number}, and the file names {classes} classes, counted from 0", quoted(column))]
    NoSuchClass {
        /// The column of the label.
        column: String,
        /// The number.
        number: i64,
        /// How many classes have a name.
        classes: usize,
    },
    /// Bytes of a table that are not UTF-8; `offset` counts from 1 within the value.
    #[error("byte {offset} of {} (0x{byte:02x}) is not UTF-8", quoted(column))]
    ValueNotUtf8 {
        /// The column.
        column: String,
        /// The place of the byte in the value, counted from 1.
        offset: usize,
        /// The byte.
        byte: u8,
    },
    /// The Parquet file itself; nothing can be read after it.
    #[error(transparent)]
    Parquet(ParquetError),
    /// A label that the label set does not hold.
    #[error("unknown label {}, expected one of {}", quoted(label), list(known))]
    UnknownLabel {
        /// The label.
        label: String,
        /// The labels that are known, in their order.
        known: Arc<[String]>,
    },
    /// One label more than any set of classes has.
    #[error("more than {limit} different labels")]
    TooManyLabels {
        /// How many there may be.
        limit: usize,
    },
    /// A label that is longer than any name.
    #[error("label {} has {bytes} bytes, the most is {limit}", quoted(label))]
    LongLabel {
        /// The label.
        label: String,
        /// Its length.
        bytes: usize,
        /// How long one may be.
        limit: usize,
    },
    /// A regression label that is not a finite number.
    #[error("label {} is not a finite number", quoted(label))]
    NotANumber {
        /// The label.
        label: String,
    },
}

impl RowErrorKind {
    /// What the user may do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotUtf8 { .. } => "convert the file, e.g. with `iconv -f WINDOWS-1252 -t UTF-8`",
            Self::Utf16 => "convert the file, e.g. with `iconv -f UTF-16 -t UTF-8`",
            Self::FieldCount { format: Format::Csv, .. } => {
                "a CSV field that holds a comma stands between quotes; pass `--format tsv` for tab-separated data"
            }
            Self::FieldCount { expected, found, .. } if found < expected => {
                "pass `--format csv` for comma-separated data"
            }
            Self::FieldCount { .. } => {
                "a TSV field cannot hold a tab; pass `--format csv` for comma-separated data"
            }
            Self::UnterminatedQuote { .. } | Self::TextAfterQuote { .. } => {
                "inside a quoted CSV field a quote is written twice (`\"\"`); pass `--format tsv` for \
                 tab-separated data, where quotes are plain characters"
            }
            Self::BadJson { .. } => {
                "JSON Lines holds one whole object on each line; `jq -c '.[]'` makes that of a list of objects"
            }
            Self::Columns(error) => return error.hint(),
            Self::Parquet(error) => return error.hint(),
            Self::Unlabelled { .. } => {
                "published test rows often hide their labels: take other rows, or `predict` these"
            }
            Self::BadTag { problem: TagProblem::NothingToContinue, scheme: TagScheme::Iob2, .. } => {
                "where `I-` may begin an entity, pass `--tag-scheme iob1`; where `E-` ends one, `iobes`; tags that mark no \
                 entities are of the kind `tags`"
            }
            Self::BadTag { problem: TagProblem::Unknown, .. } => {
                "`--tag-scheme iob1` or `iobes` reads the tags otherwise; tags that mark no entities are of the kind `tags`"
            }
            Self::ColumnCount { .. } => {
                "each line of a sentence has as many columns, apart by a tab or by spaces; comments, as `# text = …`, are read as \
                 words: take them out, e.g. with `grep -v '^# '`"
            }
            Self::MissingLabel { .. } => "name another label column with `--label-column <NAME>`",
            Self::TooManyLabels { .. } | Self::LongLabel { .. } => {
                "is it the right column? name it with `--label-column <NAME>`; scores need `--kind regression`"
            }
            Self::UnknownLabel { .. } => "labels are those of the training data; they are compared exactly",
            Self::NotANumber { .. } => "a regression label is a number; for named classes use classification",
            Self::TooLong { .. } => "texts are cut to `--max-length` tokens anyway: shorten the row",
            Self::NotInContext { .. } => "starts count characters from 0, not bytes",
            Self::NoAnswers { .. } => {
                "a question that its context does not answer has an empty list; name another column with `--label-column <NAME>`"
            }
            Self::Unanswerable => {
                "train on rows with such questions, so that the adapter learns to give none"
            }
            Self::Io(_)
            | Self::ChoiceCount { .. }
            | Self::NoSuchChoice { .. }
            | Self::TagCount { .. }
            | Self::NoTag { .. }
            | Self::EmptyWord { .. }
            | Self::BadTag { .. }
            | Self::TooManyWords { .. }
            | Self::TooManyElements { .. }
            | Self::JsonType { .. }
            | Self::FieldsChanged { .. }
            | Self::EmptyText { .. }
            | Self::NoSuchClass { .. }
            | Self::LabelJoint
            | Self::ValueNotUtf8 { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

fn bad_tag(
    word: usize,
    tag: &str,
    before: Option<&str>,
    (problem, scheme): (&TagProblem, TagScheme),
) -> String {
    let tag = quoted(tag);
    let after = before.map_or("at the beginning".to_owned(), |before| format!("after {}", quoted(before)));
    match problem {
        TagProblem::Unknown => {
            format!("tag {tag} of word {word} is not of {scheme}, which has {}", scheme.tags())
        }
        TagProblem::NothingToContinue => {
            format!("tag {tag} of word {word} continues no entity: it stands {after}")
        }
        TagProblem::Open => format!("tag {tag} of word {word} is the sentence's last and ends no entity"),
        TagProblem::NotEnded => format!("tag {tag} of word {word} stands {after}, which ends no entity"),
    }
}
