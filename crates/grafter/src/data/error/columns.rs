//! Why columns cannot be told from a header.

use super::{list, quoted};
use crate::data::Format;

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
    /// No known columns of choices, and none named.
    #[error("cannot tell the columns of choices, found {}", list(found))]
    NoChoices {
        /// The columns of the file.
        found: Vec<String>,
    },
    /// One column of choices where the format has no lists.
    #[error("{} is one column, and the format `{format}` has no lists", quoted(name))]
    NoList {
        /// The column's name.
        name: String,
        /// The format.
        format: Format,
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
            Self::NoChoices { .. } => {
                "name a column of lists with `--choices-column <NAME>`, or one column for each with `--choices-column \
                 <NAME>,<NAME>`; known without are `choices` and `options`, and `choice1` or `ending0` and so on"
            }
            Self::NoList { .. } => {
                "name a column for each choice, with commas: `--choices-column <NAME>,<NAME>`"
            }
            Self::NotFound { flag, .. } => {
                return Some(format!("column names are compared exactly; `{flag} <NAME>` names another"));
            }
            Self::Repeated { .. } => "rename one of the columns",
            Self::UsedTwice { .. } => {
                "give `--text-column`, `--text-b-column` and `--label-column` different names"
            }
            Self::NoColumns { .. } => "pass `--format csv`, `tsv` or `jsonl` for input with named columns",
        };
        Some(hint.to_owned())
    }
}
