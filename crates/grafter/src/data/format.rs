//! Which format a file has, and where a data set comes from.

use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Columns, DataError, LabelUse, ReadOptions, RowReader};

/// The format of a data file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Comma-separated with a header; fields may stand between quotes and then hold commas, line breaks and
    /// doubled quotes (RFC 4180).
    Csv,
    /// Tab-separated with a header; no quoting, a `"` is a plain character (as in GLUE).
    Tsv,
    /// One JSON object on each line.
    Jsonl,
    /// No header and no labels: each line is one text.
    Lines,
}

impl Format {
    /// The format that a path's extension tells, in any case: `.csv`; `.tsv` and `.tab`; `.jsonl` and `.ndjson`;
    /// `.txt` is plain lines.
    ///
    /// # Errors
    /// [`DataError::UnknownFormat`] for any other extension, or none.
    pub fn for_path(path: &Path) -> Result<Self, DataError> {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
        match extension.as_str() {
            "csv" => Ok(Self::Csv),
            "tsv" | "tab" => Ok(Self::Tsv),
            "jsonl" | "ndjson" => Ok(Self::Jsonl),
            "txt" => Ok(Self::Lines),
            _ => Err(DataError::UnknownFormat { path: path.to_owned() }),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Jsonl => "jsonl",
            Self::Lines => "lines",
        })
    }
}

/// The names are those of [`Format`]'s `Display`.
impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "csv" => Ok(Self::Csv),
            "tsv" => Ok(Self::Tsv),
            "jsonl" => Ok(Self::Jsonl),
            "lines" => Ok(Self::Lines),
            _ => Err(format!("unknown format `{name}`, expected `csv`, `tsv`, `jsonl` or `lines`")),
        }
    }
}

/// A data file and how to read it: what `--format` and the column flags say.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// The format, where the file's extension is not to decide.
    pub format: Option<Format>,
    /// The columns, where the known names are not to decide.
    pub columns: Columns,
}

impl Source {
    /// A file whose format and columns are told by its extension and header.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), format: None, columns: Columns::default() }
    }

    /// Opens the file and reads its header.
    ///
    /// # Errors
    /// The file cannot be opened, its format is not known, or see [`RowReader::new`].
    pub fn open(&self, labels: LabelUse) -> Result<RowReader<BufReader<File>>, DataError> {
        self.reader(self.open_file()?, labels)
    }

    /// Opens the file, if it can be read as rows.
    pub(super) fn open_file(&self) -> Result<File, DataError> {
        self.told_format()?;
        File::open(&self.path).map_err(|source| DataError::Open { path: self.path.clone(), source })
    }

    /// Reads the header of the file, which is open already.
    pub(super) fn reader<R: Read>(
        &self,
        file: R,
        labels: LabelUse,
    ) -> Result<RowReader<BufReader<R>>, DataError> {
        let name = self.path.display().to_string();
        let options = ReadOptions { columns: self.columns.clone(), labels, ..ReadOptions::default() };
        RowReader::new(BufReader::with_capacity(1 << 16, file), name, self.told_format()?, &options)
    }

    fn told_format(&self) -> Result<Format, DataError> {
        self.format.map_or_else(|| Format::for_path(&self.path), Ok)
    }
}
