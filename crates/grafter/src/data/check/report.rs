//! What `check-data` found, as data: every number a caller may print or serialise, and nothing computed.

use serde::Serialize;

use super::TaskKind;

/// Which of the files that are checked together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// The file to train on.
    Train,
    /// The file to choose by.
    Dev,
    /// The file to report on.
    Test,
}

/// Everything that was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckReport {
    /// What the labels were taken for.
    pub kind: TaskKind,
    /// The most tokens of a row that are used.
    pub max_length: usize,
    /// Each file, in the order train, dev, test.
    pub splits: Vec<SplitReport>,
    /// Texts that two files share, for each two files.
    pub overlaps: Vec<Overlap>,
    /// What would stop training, apart from rejected rows.
    pub problems: Vec<Problem>,
    /// What is allowed and may not be meant.
    pub warnings: Vec<Problem>,
}

impl CheckReport {
    /// Whether training on these files would start: no problem, and no row rejected.
    pub fn is_usable(&self) -> bool {
        self.problems.is_empty() && self.splits.iter().all(|split| split.rejected == 0)
    }
}

/// A finding about a whole file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What was found, with the file's name.
    pub message: String,
    /// What the user may do about it.
    pub hint: Option<String>,
}

/// What one file holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SplitReport {
    /// Which file.
    pub split: Split,
    /// Its name, or that of the first of several files and how many there are.
    pub file: String,
    /// Whether rows are pairs of texts, if there is a row.
    pub pair: Option<bool>,
    /// Rows that can be used.
    pub rows: u64,
    /// Rows that cannot.
    pub rejected: u64,
    /// The first of the rejected rows.
    pub rejected_rows: Vec<RejectedRow>,
    /// Rows without a label (in a test file; elsewhere they are rejected).
    pub unlabelled: u64,
    /// Classification: how often each label occurs, in the order of the label set.
    pub labels: Vec<LabelCount>,
    /// Regression: the scores.
    pub scores: Option<ScoreStats>,
    /// Texts that occur more than once.
    pub duplicates: Repeats,
    /// Lengths in characters, both texts of a pair together.
    pub chars: LengthStats,
    /// Lengths in tokens, as the caller counts them.
    pub tokens: LengthStats,
    /// Rows that are cut off.
    pub truncated: Truncation,
}

/// A row that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RejectedRow {
    /// Its file, where the split has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Its line.
    pub line: u64,
    /// What is wrong.
    pub reason: String,
    /// What the user may do about it.
    pub hint: Option<String>,
}

/// How often a label occurs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LabelCount {
    /// The label.
    pub label: String,
    /// In how many rows.
    pub rows: u64,
}

/// The scores of a regression file.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ScoreStats {
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// The mean.
    pub mean: f64,
}

/// Rows of one file whose text or texts also occur in another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Overlap {
    /// The file the rows are in.
    pub split: Split,
    /// The file their texts also occur in.
    pub also_in: Split,
    /// The rows.
    #[serde(flatten)]
    pub repeats: Repeats,
}

/// Rows whose text, or pair of texts, occurred before.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Repeats {
    /// Such rows; within one file the first of each text is not counted.
    pub rows: u64,
    /// Of these, the rows whose label is not that of the first occurrence.
    pub conflicting: u64,
    /// The first of them.
    pub listed: Vec<RepeatedText>,
}

/// One row whose text occurred before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RepeatedText {
    /// The row's file, where the split has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The row's line.
    pub line: u64,
    /// The file of the first occurrence, where its split has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_file: Option<String>,
    /// The line of the first occurrence (in the other file, for an overlap).
    pub first_line: u64,
    /// Whether the labels differ.
    pub conflicting: bool,
}

/// Lengths of the usable rows; all zero if there are none.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct LengthStats {
    /// The shortest.
    pub min: usize,
    /// The mean.
    pub mean: f64,
    /// The smallest length that half of the rows do not exceed.
    pub median: usize,
    /// The smallest length that 95 % of the rows do not exceed.
    pub p95: usize,
    /// The longest.
    pub max: usize,
}

/// Rows with more tokens than are used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Truncation {
    /// Such rows.
    pub rows: u64,
    /// Their share of the usable rows, between 0 and 1.
    pub share: f64,
}
