//! Which format a file has, and where a data set comes from.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::file::{FromPlace, temporary_copy};
use super::squad::to_lines;
use super::{Columns, Compression, DataError, FileRows, LabelUse, ReadOptions};

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
    /// A table in columns, as Hugging Face's hub and most tools for tables write it.
    Parquet,
    /// A word and its tag on each line, in columns, with an empty line after each sentence (CoNLL 2003).
    Conll,
    /// One JSON document of questions on contexts (SQuAD).
    Squad,
    /// No header and no labels: each line is one text.
    Lines,
}

impl Format {
    /// The format that a path's extension tells, in any case: `.csv`; `.tsv` and `.tab`; `.jsonl` and `.ndjson`;
    /// `.parquet`; `.conll`, `.iob` and `.bio`; `.json` is SQuAD's; `.txt` is plain lines. An extension of a compression ([`Compression`]) may follow.
    ///
    /// # Errors
    /// [`DataError::UnknownFormat`] for any other extension, or none.
    pub fn for_path(path: &Path) -> Result<Self, DataError> {
        let whole = path;
        let path = if Compression::for_path(path).is_some() {
            Path::new(path.file_stem().unwrap_or_default())
        } else {
            path
        };
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
        match extension.as_str() {
            "csv" => Ok(Self::Csv),
            "tsv" | "tab" => Ok(Self::Tsv),
            "jsonl" | "ndjson" => Ok(Self::Jsonl),
            "parquet" => Ok(Self::Parquet),
            "conll" | "iob" | "bio" => Ok(Self::Conll),
            "json" => Ok(Self::Squad),
            "txt" => Ok(Self::Lines),
            _ => Err(DataError::UnknownFormat { path: whole.to_owned() }),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
            Self::Conll => "conll",
            Self::Squad => "squad",
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
            "parquet" => Ok(Self::Parquet),
            "conll" => Ok(Self::Conll),
            "squad" => Ok(Self::Squad),
            "lines" => Ok(Self::Lines),
            _ => Err(format!(
                "unknown format `{name}`, expected `csv`, `tsv`, `jsonl`, `parquet`, `conll`, `squad` or `lines`"
            )),
        }
    }
}

/// The questions of SQuAD's one document, each as an object of JSON Lines, in a temporary file at its beginning.
///
/// # Errors
/// If the document is not one, with line and column, or the file cannot be written.
pub fn question_lines(document: impl Read) -> serde_json::Result<File> {
    let mut lines = tempfile::tempfile().map_err(serde_json::Error::io)?;
    let mut output = io::BufWriter::new(&lines);
    to_lines(document, &mut output)?;
    output.flush().map_err(serde_json::Error::io)?;
    drop(output);
    lines.rewind().map_err(serde_json::Error::io)?;
    Ok(lines)
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
    /// Whether rows with an empty text are left out and not errors, as in published data that nobody can change.
    pub skip_empty: bool,
}

impl Source {
    /// A file whose format and columns are told by its extension and header.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), format: None, columns: Columns::default(), skip_empty: false }
    }

    /// Opens the file and reads its header.
    ///
    /// # Errors
    /// The file cannot be opened, its format is not known, or see [`FileRows`].
    pub fn open(&self, labels: LabelUse) -> Result<FileRows<File>, DataError> {
        let file = self.open_file()?;
        let (name, options) = self.named(labels);
        if self.told_format()? == Format::Parquet {
            return FileRows::parquet(&self.with_places(file)?, name, &options);
        }
        FileRows::text(file, name, self.told_format()?, &options)
    }

    /// Opens the file, if it can be read as rows; of a compressed one a copy of what it holds.
    pub(super) fn open_file(&self) -> Result<File, DataError> {
        self.told_format()?;
        let file =
            File::open(&self.path).map_err(|source| DataError::Open { path: self.path.clone(), source })?;
        let squad = self.told_format()? == Format::Squad;
        match Compression::for_path(&self.path) {
            Some(compression) if squad => self.lines_of(compression.read(file)),
            Some(compression) => self.copy(&mut compression.read(file)),
            None if squad => self.lines_of(file),
            None => Ok(file),
        }
    }

    /// The questions of a document as JSON Lines.
    fn lines_of(&self, document: impl Read) -> Result<File, DataError> {
        question_lines(document).map_err(|source| DataError::Squad { path: self.path.clone(), source })
    }

    /// Reads the header of the file, which is open already and has places.
    pub(super) fn reader<'a>(
        &self,
        file: &'a File,
        labels: LabelUse,
    ) -> Result<FileRows<FromPlace<&'a File>>, DataError> {
        let (name, options) = self.named(labels);
        match self.told_format()? {
            Format::Parquet => FileRows::parquet(file, name, &options),
            format => FileRows::text(FromPlace::new(file, 0), name, format, &options),
        }
    }

    /// The file, or a copy of what it gives if it can be read only once.
    pub(super) fn with_places(&self, mut file: File) -> Result<File, DataError> {
        let failed = |source| DataError::Open { path: self.path.clone(), source };
        if file.metadata().map_err(failed)?.is_file() {
            return Ok(file);
        }
        self.copy(&mut file)
    }

    /// A copy of what can be read only once, at its beginning.
    fn copy(&self, input: &mut impl Read) -> Result<File, DataError> {
        let copy = temporary_copy(input).and_then(|mut copy| copy.rewind().map(|()| copy));
        copy.map_err(|source| {
            let (path, folder) = (self.path.clone(), tempfile::env::temp_dir());
            match source.kind() {
                io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => {
                    DataError::Compressed { path, source }
                }
                _ => DataError::Copy { path, folder, source },
            }
        })
    }

    fn named(&self, labels: LabelUse) -> (String, ReadOptions) {
        let options = ReadOptions {
            columns: self.columns.clone(),
            labels,
            skip_empty: self.skip_empty,
            ..ReadOptions::default()
        };
        (self.path.display().to_string(), options)
    }

    fn told_format(&self) -> Result<Format, DataError> {
        self.format.map_or_else(|| Format::for_path(&self.path), Ok)
    }
}
