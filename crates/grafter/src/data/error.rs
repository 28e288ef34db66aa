//! The errors of reading data, each with its place and a hint.
//!
//! [`RowError`] rejects one row and reading goes on; [`DataError`] ends the reading of a file. Messages quote
//! what the file holds shortened and escaped, so that a hostile file cannot flood or garble a terminal.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Format, ParquetError, TagProblem, TagScheme, TaskKind};
use crate::text::{escape, listed};

/// How many names a message lists before it only counts the rest.
const LISTED_NAMES: usize = 12;
/// How many characters of a name from a file a message shows.
const SHOWN_CHARS: usize = 60;

/// A row that cannot be used, with its place: `train.csv:17: expected 3 fields, found 2`.
#[derive(Debug, thiserror::Error)]
#[error("{file}:{line}: {kind}")]
pub struct RowError {
    /// The file's name as the caller gave it.
    pub file: Arc<str>,
    /// The line, counted from 1, on which the row (or its open quote) starts; of Parquet the place of the row.
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
            Self::BadJson { .. } => "JSON Lines holds one whole object on each line",
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
            Self::MissingLabel { .. } => "name another label column with `--label-column <NAME>`",
            Self::TooManyLabels { .. } => {
                "is it the right column? name it with `--label-column <NAME>`; scores need `--kind regression`"
            }
            Self::UnknownLabel { .. } => "labels are those of the training data; they are compared exactly",
            Self::NotANumber { .. } => "a regression label is a number; for named classes use classification",
            Self::TooLong { .. } => "texts are cut to `--max-length` tokens anyway: shorten the row",
            Self::Io(_)
            | Self::TagCount { .. }
            | Self::NoTag { .. }
            | Self::EmptyWord { .. }
            | Self::BadTag { .. }
            | Self::ColumnCount { .. }
            | Self::TooManyWords { .. }
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

/// Why the columns that are needed cannot be told from a header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ColumnError {
    /// No known text column.
    #[error("no text column, found {}", list(found))]
    NoText {
        /// The columns of the file.
        found: Vec<String>,
    },
    /// More than one choice of text columns, or half a pair.
    #[error("cannot tell the text column, found {}", list(found))]
    AmbiguousText {
        /// The columns of the file.
        found: Vec<String>,
    },
    /// No label column where one is needed.
    #[error("no label column `label`, found {}", list(found))]
    NoLabel {
        /// The columns of the file.
        found: Vec<String>,
    },
    /// No known column of words where they are needed, or both.
    #[error("cannot tell the column of words, found {}", list(found))]
    NoWords {
        /// The columns of the file.
        found: Vec<String>,
    },
    /// No known column of tags where they are needed, or several.
    #[error("cannot tell the column of tags, found {}", list(found))]
    NoTags {
        /// The columns of the file.
        found: Vec<String>,
    },
    /// A column that the caller named is not there.
    #[error("`{flag}`: no column {}, found {}", quoted(name), list(found))]
    NotFound {
        /// The name that was asked for.
        name: String,
        /// The flag that asked for it.
        flag: &'static str,
        /// The columns of the file.
        found: Vec<String>,
    },
    /// A column that is needed occurs more than once.
    #[error("column {} occurs more than once, found {}", quoted(name), list(found))]
    Repeated {
        /// The column's name.
        name: String,
        /// The columns of the file.
        found: Vec<String>,
    },
    /// One column would be both texts, or text and label.
    #[error("column {} cannot be used twice", quoted(name))]
    UsedTwice {
        /// The column's name.
        name: String,
    },
    /// A column was named for input that has none.
    #[error("`{flag}`: the format `{format}` has no named columns")]
    NoColumns {
        /// The flag that named the column.
        flag: &'static str,
        /// The format.
        format: Format,
    },
}

impl ColumnError {
    /// What the user may do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoText { found } if matches!(found.as_slice(), [one] if one.contains([',', '\t', ';'])) => {
                "the columns seem to be separated by something else: pass `--format csv` for commas, `--format tsv` for \
                 tabs; other separators are not read"
            }
            Self::NoText { .. } => {
                "the first line names the columns: `sentence` or `text`, or for pairs `sentence1` `sentence2` or \
                 `text_a` `text_b`; name others with `--text-column <NAME>` and `--text-b-column <NAME>`"
            }
            Self::AmbiguousText { .. } => {
                "choose with `--text-column <NAME>`, and `--text-b-column <NAME>` for pairs"
            }
            Self::NoWords { .. } => {
                "name it with `--text-column <NAME>`; one of `tokens` and `words` is known without"
            }
            Self::NoTags { .. } => {
                "name it with `--label-column <NAME>`; one of `tags`, `ner_tags`, `pos_tags` and `label` is known without"
            }
            Self::NoLabel { .. } => "name it with `--label-column <NAME>`",
            Self::NotFound { .. } => "column names are compared exactly",
            Self::Repeated { .. } => "rename one of the columns",
            Self::UsedTwice { .. } => {
                "give `--text-column`, `--text-b-column` and `--label-column` different names"
            }
            Self::NoColumns { .. } => "pass `--format csv`, `tsv` or `jsonl` for input with named columns",
        };
        Some(hint.to_owned())
    }
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The file cannot be opened.
    #[error("cannot open `{}`: {source}", path.display())]
    Open {
        /// The path.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The input can be read only once, and no copy of it can be kept.
    #[error("cannot copy `{}` to a temporary file in `{}`: {source}", path.display(), folder.display())]
    Copy {
        /// The input's path.
        path: PathBuf,
        /// The folder of the copy.
        folder: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file is compressed by its name, and broken or none.
    #[error("cannot decompress `{}`: {source}", path.display())]
    Compressed {
        /// The path.
        path: PathBuf,
        /// What the decompressor says.
        source: io::Error,
    },
    /// No row of a training file has a label.
    #[error("{file}: no row has a label")]
    NoLabels {
        /// The file.
        file: Arc<str>,
    },
    /// A separator of labels for a task that has one label a row.
    #[error("`--label-separator` is for a task of the kind multi-label, this one is of the kind {kind}")]
    Separator {
        /// The kind of task.
        kind: TaskKind,
    },
    /// A tag scheme for a task without entities.
    #[error("`--tag-scheme` is for a task of the kind entities, this one is of the kind {kind}")]
    Scheme {
        /// The kind of task.
        kind: TaskKind,
    },
    /// Words with tags are needed, and the format has none.
    #[error("{file}: the format `{format}` has no words with tags")]
    NoWords {
        /// The file.
        file: Arc<str>,
        /// The format.
        format: Format,
    },
    /// The types of entities have more tags than there can be.
    #[error("{file}: more than {limit} tags, of which each type of entities has two")]
    TooManyTags {
        /// The file.
        file: Arc<str>,
        /// How many there may be.
        limit: usize,
    },
    /// The format has tags of words, and the task is another one.
    #[error("{file}: the format `conll` has a tag for each word, not a label for each text")]
    OnlyTags {
        /// The file.
        file: Arc<str>,
    },
    /// The file's name does not tell its format.
    #[error("{}: cannot tell the format from the file name", path.display())]
    UnknownFormat {
        /// The path.
        path: PathBuf,
    },
    /// The header does not name the columns that are needed.
    #[error("{file}:1: {error}")]
    Columns {
        /// The file.
        file: Arc<str>,
        /// What is wrong.
        error: ColumnError,
    },
    /// The columns of a Parquet file are not those that are needed.
    #[error("{file}: {error}")]
    ParquetColumns {
        /// The file.
        file: Arc<str>,
        /// What is wrong.
        error: ColumnError,
    },
    /// A Parquet file that cannot be read.
    #[error("{file}: {error}")]
    Parquet {
        /// The file.
        file: Arc<str>,
        /// What is wrong.
        error: ParquetError,
    },
    /// A row that cannot be used, where every row is needed.
    #[error(transparent)]
    Row(#[from] RowError),
    /// The input has no bytes, or no rows.
    #[error("{file}: no rows")]
    Empty {
        /// The file.
        file: Arc<str>,
    },
    /// Parquet where a stream of text is read.
    #[error("{file}: the format `parquet` is no text")]
    NoText {
        /// The file.
        file: Arc<str>,
    },
    /// Labels are needed, and the format has none.
    #[error("{file}: the format `lines` has no labels")]
    LinesWithoutLabels {
        /// The file.
        file: Arc<str>,
    },
    /// All rows to train on have the same label.
    #[error("{file}: expected at least two labels, found only {}", quoted(label))]
    OneLabel {
        /// The file.
        file: Arc<str>,
        /// The only label.
        label: String,
    },
    /// Scores to train on whose differences, or themselves, are lost in single precision.
    #[error(
        "{file}: scores around {mean:e} with a standard deviation of {std:.1e} cannot be computed with in single precision"
    )]
    Scores {
        /// The file.
        file: Arc<str>,
        /// Their mean.
        mean: f64,
        /// Their standard deviation.
        std: f64,
    },
    /// One file holds pairs of texts and the other single texts.
    #[error("{file}: expected {}, found {}", texts(*expected_pair), texts(!*expected_pair))]
    PairMismatch {
        /// The file.
        file: Arc<str>,
        /// Whether pairs were expected.
        expected_pair: bool,
    },
    /// The file was read twice, and the second time it was another.
    #[error("{file}: the file changed while it was read")]
    Changed {
        /// The file.
        file: Arc<str>,
    },
    /// A label set that names a class twice, or has fewer than two.
    #[error("label set {} must name at least two different classes", list(names))]
    BadLabelSet {
        /// The names.
        names: Vec<String>,
    },
}

impl DataError {
    /// What the user may do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownFormat { .. } => Some(
                "known are `.csv`, `.tsv`, `.tab`, `.jsonl`, `.ndjson`, `.parquet`, `.conll` and `.txt` (plain lines); \
                 pass `--format csv`, `tsv`, `jsonl`, `parquet`, `conll` or `lines`"
                    .to_owned(),
            ),
            Self::NoWords { .. } => Some(
                "pass a `.conll` file, or JSON Lines or Parquet with lists, such as `{\"tokens\": [..], \"tags\": [..]}`".to_owned(),
            ),
            Self::OnlyTags { .. } => Some("a task of the kind entities or tags reads it (`--kind` in training)".to_owned()),
            Self::Columns { error, .. } | Self::ParquetColumns { error, .. } => error.hint(),
            Self::Parquet { error, .. } => error.hint(),
            Self::Row(error) => error.hint(),
            Self::LinesWithoutLabels { .. } => {
                Some("pass `--format csv`, `tsv` or `jsonl` for labelled data".to_owned())
            }
            Self::Copy { .. } => Some(
                "pipes and compressed files are read twice: pass a plain file, or set `TMPDIR` to a folder with room for a copy"
                    .to_owned(),
            ),
            Self::Scores { .. } => {
                Some("subtract a constant from the labels, or change their unit".to_owned())
            }
            Self::PairMismatch { .. } => {
                Some("choose the text columns with `--text-column` and `--text-b-column`".to_owned())
            }
            Self::Open { .. }
            | Self::Compressed { .. }
            | Self::NoLabels { .. }
            | Self::Separator { .. }
            | Self::Scheme { .. }
            | Self::TooManyTags { .. }
            | Self::Empty { .. }
            | Self::NoText { .. }
            | Self::OneLabel { .. }
            | Self::Changed { .. }
            | Self::BadLabelSet { .. } => None,
        }
    }
}

fn texts(pair: bool) -> &'static str {
    if pair { "pairs of texts" } else { "single texts" }
}

/// A name from a file in backticks, shortened, with control characters escaped.
pub(in crate::data) fn quoted(name: &str) -> String {
    format!("`{}`", escape(name, SHOWN_CHARS))
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

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        listed(names.iter().map(|name| quoted(name)), LISTED_NAMES)
    }
}
