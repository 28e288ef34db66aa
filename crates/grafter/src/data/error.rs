//! The errors of reading data, each with its place and a hint.
//!
//! [`RowError`] rejects one row and reading goes on; [`DataError`] ends the reading of a file. Messages quote
//! what the file holds shortened and escaped, so that a hostile file cannot flood or garble a terminal.

mod columns;
mod row;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

pub use columns::ColumnError;
pub use row::{RowError, RowErrorKind};

use super::{Format, ParquetError, TaskKind};
use crate::text::{escape, listed};

/// How many names a message lists before it only counts the rest.
const LISTED_NAMES: usize = 12;
/// How many characters of a name from a file a message shows.
const SHOWN_CHARS: usize = 60;

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
    /// A folder stands where a file is meant.
    #[error("`{}` is a folder, expected a file", path.display())]
    Folder {
        /// The path.
        path: PathBuf,
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
    /// A pattern that no file matches.
    #[error("no file matches `{pattern}`")]
    NoMatch {
        /// The pattern.
        pattern: String,
    },
    /// A pattern that cannot be read.
    #[error("`{pattern}` is no pattern of file names: {reason}")]
    BadPattern {
        /// The pattern.
        pattern: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The same file twice among those that are read one after another.
    #[error("{file}: the same file is named twice")]
    FileTwice {
        /// The file.
        file: String,
    },
    /// Files that are read one after another have different formats.
    #[error("{file}: expected the format `{expected}`, as of {first}, found `{found}`")]
    OtherFormat {
        /// The file.
        file: String,
        /// The format of the first file.
        expected: Format,
        /// The first file.
        first: String,
        /// The format of this file.
        found: Format,
    },
    /// Files that are read one after another have their texts or labels under different names.
    #[error("{file}: expected the columns {}, as in {first}, found {}", list(expected), list(found))]
    OtherColumns {
        /// The file.
        file: Arc<str>,
        /// The columns that are read of the first file.
        expected: Vec<String>,
        /// The first file.
        first: Arc<str>,
        /// Those of this file.
        found: Vec<String>,
    },
    /// Files that are read one after another name their classes differently.
    #[error("{file}: expected the classes {}, as in {first}, found {}", list(expected), list(found))]
    OtherClasses {
        /// The file.
        file: Arc<str>,
        /// The names in the first file.
        expected: Vec<String>,
        /// The first file.
        first: Arc<str>,
        /// The names in this file.
        found: Vec<String>,
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
    /// Columns of choices for a task without.
    #[error("`--choices-column` is for a task of the kind multiple-choice, this one is of the kind {kind}")]
    Choices {
        /// The kind of task.
        kind: TaskKind,
    },
    /// Questions or choices are needed, and the format has none.
    #[error("{file}: the format `{format}` is not read for {kind}")]
    NotOfKind {
        /// The file.
        file: Arc<str>,
        /// The format.
        format: Format,
        /// The kind of task.
        kind: TaskKind,
    },
    /// The document is not one of questions.
    #[error("{}: not a document of questions as SQuAD has it: {source}", path.display())]
    Squad {
        /// The path.
        path: PathBuf,
        /// What the reader says, with the place.
        source: serde_json::Error,
    },
    /// A document in which many questions have a long context, which each of them repeats when it becomes a row.
    #[error(
        "{}: its questions with their contexts take more than {most} bytes, the most that is kept of a file of its size",
        path.display()
    )]
    SquadGrows {
        /// The path.
        path: PathBuf,
        /// What a file of its size may take.
        most: u64,
    },
    /// The document is one of questions, and the task is another one.
    #[error("{file}: the format `squad` is for a task of the kind {}", TaskKind::QuestionAnswering)]
    OnlyQuestions {
        /// The file.
        file: Arc<str>,
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
                "known are `.csv`, `.tsv`, `.tab`, `.jsonl`, `.ndjson`, `.parquet`, `.conll`, `.json` (SQuAD) and `.txt` (plain lines); \
                 pass `--format csv`, `tsv`, `jsonl`, `parquet`, `conll`, `squad` or `lines`"
                    .to_owned(),
            ),
            Self::NoWords { .. } => Some(
                "pass a `.conll` file, or JSON Lines or Parquet with lists, such as `{\"tokens\": [..], \"tags\": [..]}`".to_owned(),
            ),
            Self::NotOfKind { kind: TaskKind::QuestionAnswering, .. } => Some(
                "pass a document as SQuAD has it (`.json` or `--format squad`), JSON Lines (`.jsonl` or `--format jsonl`) or \
                 Parquet"
                    .to_owned(),
            ),
            Self::NotOfKind { .. } => Some(
                "pass JSON Lines (`.jsonl` or `--format jsonl`), Parquet, or CSV or TSV with a column for each choice".to_owned(),
            ),
            Self::OnlyQuestions { .. } => Some(
                "JSON Lines, with an object on each line, have the extension `.jsonl` or `--format jsonl`; `jq -c '.[]'` makes them \
                 of a list of objects"
                    .to_owned(),
            ),
            Self::Squad { .. } => Some(
                "a `.json` file is read as SQuAD's one document: JSON Lines, with an object on each line, have the extension `.jsonl` \
                 or `--format jsonl`; `jq -c '.[]'` makes them of a list of objects"
                    .to_owned(),
            ),
            Self::Folder { path } => {
                Some(format!("name its files, all of one kind with a pattern, as `'{}'`", path.join("*.csv").display()))
            }
            Self::Empty { .. } => Some(
                "the first row of CSV and TSV names the columns, and the rows come after it; is it the right file?".to_owned(),
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
            Self::SquadGrows { .. } => {
                Some("cut its contexts into shorter ones, each with its own questions".to_owned())
            }
            Self::NoMatch { .. } => Some(
                "`*` stands for any part of a name and `**` for any folders; keep a pattern in quotes from the shell".to_owned(),
            ),
            Self::OtherColumns { .. } => Some(
                "choose the columns with `--text-column`, `--text-b-column` and `--label-column`; all files need them under the same names".to_owned(),
            ),
            Self::Scores { .. } => {
                Some("subtract a constant from the labels, or change their unit".to_owned())
            }
            Self::PairMismatch { .. } => {
                Some("choose the text columns with `--text-column` and `--text-b-column`".to_owned())
            }
            Self::Open { .. }
            | Self::BadPattern { .. }
            | Self::FileTwice { .. }
            | Self::OtherFormat { .. }
            | Self::OtherClasses { .. }
            | Self::Compressed { .. }
            | Self::NoLabels { .. }
            | Self::Separator { .. }
            | Self::Scheme { .. }
            | Self::Choices { .. }
            | Self::TooManyTags { .. }
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

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        listed(names.iter().map(|name| quoted(name)), LISTED_NAMES)
    }
}
