//! Which format a file has, and where a data set comes from.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::file::{Bytes, Input, open};
use super::{Columns, Compression, DataError, FileRows, LabelUse, ReadOptions};
use crate::digest::{sha256_file, sha256_hex};

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

/// A file of a [`Source`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Where it lies.
    pub path: PathBuf,
    /// What messages and reports call it, where that is not its path: a file of the hub lies somewhere in a cache.
    pub known_as: Option<String>,
}

impl SourceFile {
    /// A file that is called by its path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), known_as: None }
    }

    /// What messages call it.
    pub fn name(&self) -> String {
        self.known_as.clone().unwrap_or_else(|| self.path.display().to_string())
    }

    /// What a report calls it, which must not tell where on this machine it lies: its own name, or that on the hub.
    pub fn own_name(&self) -> String {
        let own =
            || self.path.file_name().map_or_else(|| "-".into(), |name| name.to_string_lossy().into_owned());
        self.known_as.clone().unwrap_or_else(own)
    }
}

/// Data files that are read one after another as if they were one, and how to read them: what `--format` and the column flags
/// say.
///
/// All of them have one format (compressed or not) and the same columns for texts and labels.
#[derive(Debug, Clone)]
pub struct Source {
    /// The files, at least one.
    pub files: Vec<SourceFile>,
    /// The format, where the files' extensions are not to decide.
    pub format: Option<Format>,
    /// The columns, where the known names are not to decide.
    pub columns: Columns,
    /// Whether rows with an empty text are left out and not errors, as in published data that nobody can change.
    pub skip_empty: bool,
}

impl Source {
    /// A file whose format and columns are told by its extension and header.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::of(vec![SourceFile::new(path)])
    }

    /// Files whose format and columns are told by their extensions and headers.
    pub fn of(files: Vec<SourceFile>) -> Self {
        Self { files, format: None, columns: Columns::default(), skip_empty: false }
    }

    /// What messages call the files together.
    pub fn name(&self) -> String {
        self.named_by(SourceFile::name)
    }

    /// What a report calls the files together; see [`SourceFile::own_name`].
    pub fn own_name(&self) -> String {
        self.named_by(SourceFile::own_name)
    }

    fn named_by(&self, name: impl Fn(&SourceFile) -> String) -> String {
        let first = self.files.first().map(name).unwrap_or_default();
        match self.files.len() {
            0 | 1 => first,
            2 => format!("{first} and 1 more file"),
            files => format!("{first} and {} more files", files - 1),
        }
    }

    /// Where the files lie.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }

    /// What tells the content from any other: of one file the SHA-256 of its bytes, of several that of these of each, in their
    /// order.
    ///
    /// # Errors
    /// [`DataError::Open`] if a file cannot be read.
    pub fn sha256(&self) -> Result<String, DataError> {
        let digest = |path: &Path| {
            sha256_file(path).map_err(|source| DataError::Open { path: path.to_owned(), source })
        };
        match &self.files[..] {
            [file] => digest(&file.path),
            _ => Ok(sha256_hex(self.paths().map(digest).collect::<Result<String, _>>()?.as_bytes())),
        }
    }

    /// Opens the files and reads their headers. One that can be read only once is read as it comes where it is alone.
    ///
    /// # Errors
    /// A file cannot be opened, its format is not known or not that of the others, or see [`FileRows`].
    pub fn open(&self, labels: LabelUse) -> Result<FileRows<Bytes>, DataError> {
        let format = self.told_format()?;
        let options = self.options(labels);
        match &self.files[..] {
            [file]
                if !matches!(format, Format::Parquet | Format::Squad)
                    && Compression::for_path(&file.path).is_none() =>
            {
                FileRows::text(Box::new(open(file)?), file.name(), format, &options)
            }
            _ => FileRows::of_inputs(&self.inputs()?, self.name(), format, &options),
        }
    }

    /// The files so that they can be read again and again.
    pub(super) fn inputs(&self) -> Result<Vec<Input>, DataError> {
        let (format, alone) = (self.told_format()?, self.files.len() == 1);
        self.files.iter().map(|file| Input::open(file, format, alone)).collect()
    }

    /// Reads the headers of its inputs.
    pub(super) fn reader(&self, inputs: &[Input], labels: LabelUse) -> Result<FileRows<Bytes>, DataError> {
        FileRows::of_inputs(inputs, self.name(), self.told_format()?, &self.options(labels))
    }

    fn options(&self, labels: LabelUse) -> ReadOptions {
        ReadOptions {
            columns: self.columns.clone(),
            labels,
            skip_empty: self.skip_empty,
            ..ReadOptions::default()
        }
    }

    /// The format of the files: the one that was named, or that all of their names tell.
    ///
    /// # Errors
    /// [`DataError::UnknownFormat`], [`DataError::OtherFormat`].
    pub fn told_format(&self) -> Result<Format, DataError> {
        if let Some(format) = self.format {
            return Ok(format);
        }
        let (first, rest) = self.files.split_first().expect("a source has at least one file");
        let expected = Format::for_path(&first.path)?;
        for file in rest {
            let found = Format::for_path(&file.path)?;
            if found != expected {
                let (file, first) = (file.name(), first.name());
                return Err(DataError::OtherFormat { file, expected, first, found });
            }
        }
        Ok(expected)
    }
}
