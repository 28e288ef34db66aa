//! How to read rows.

use super::{Columns, TagScheme};

/// The default limit on the bytes of one row, far above what any text takes that an encoder reads whole. Tokenizing takes
/// some hundred times the memory of a text.
pub const MAX_ROW_BYTES: usize = 1 << 20;

/// Whether rows need labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelUse {
    /// Each row needs a label, as training and evaluation do.
    Required,
    /// Each row may have any number of labels, in a list or with a character between them.
    Several {
        /// What stands between them in a text.
        separator: char,
        /// Whether the column must be there, as in training and evaluation.
        needed: bool,
    },
    /// Each row comes as words, each of which has a tag.
    Tags {
        /// How the tags mark entities; plain tags if absent.
        scheme: Option<TagScheme>,
        /// Whether there must be tags, as in training and evaluation.
        needed: bool,
    },
    /// Each row has texts of which one answers it.
    Choices {
        /// Whether it must be known which one, as in training and evaluation.
        needed: bool,
    },
    /// Each row is a question on a context, and its answers are parts of that.
    Answers {
        /// Whether the answers must be known, as in training and evaluation.
        needed: bool,
    },
    /// A label is kept where there is one and never a reason to reject a row, as in prediction. Tags of words are not kept.
    Optional,
}

impl LabelUse {
    /// Whether there must be a column with labels.
    pub(super) fn is_needed(self) -> bool {
        match self {
            Self::Required => true,
            Self::Several { needed, .. }
            | Self::Tags { needed, .. }
            | Self::Choices { needed }
            | Self::Answers { needed } => needed,
            Self::Optional => false,
        }
    }
}

/// How to read rows.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// The columns the caller names.
    pub columns: Columns,
    /// Whether rows need labels.
    pub labels: LabelUse,
    /// The limit on the bytes of one row; a longer row is an error.
    pub max_row_bytes: usize,
    /// Whether [`FileRows`](super::FileRows) leaves rows with an empty text out, where they are errors otherwise.
    pub skip_empty: bool,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            columns: Columns::default(),
            labels: LabelUse::Required,
            max_row_bytes: MAX_ROW_BYTES,
            skip_empty: false,
        }
    }
}
