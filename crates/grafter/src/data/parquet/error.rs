//! What can be wrong with a Parquet file as a whole.

use std::io;

use parquet::errors::ParquetError as CrateError;

use crate::data::error::quoted;

/// Why a Parquet file cannot be read, or not be read on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParquetError {
    /// The file cannot be read.
    #[error("cannot read: {0}")]
    Io(#[source] io::Error),
    /// The file does not begin and end as one.
    #[error("expected a Parquet file, found none: `PAR1` is not at its beginning and its end")]
    NotParquet,
    /// The file is encrypted.
    #[error("the file is encrypted")]
    Encrypted,
    /// What the file says of itself cannot be true.
    #[error("the Parquet file is damaged: {what}")]
    Damaged {
        /// What shows it, partly in the words of the `parquet` crate.
        what: String,
    },
    /// Something of the format that is not read.
    #[error("the Parquet file cannot be read here: {what}")]
    Unsupported {
        /// What it is, in the words of the `parquet` crate.
        what: String,
    },
    /// A column of another type than is needed.
    #[error("{} must be {expected}, found {found}", quoted(column))]
    ColumnType {
        /// The column.
        column: String,
        /// What it may hold.
        expected: &'static str,
        /// What it holds.
        found: &'static str,
    },
    /// The names of the classes, which the file keeps in JSON, cannot be used.
    #[error("the names that the file gives the classes of {} are no list of different texts", quoted(column))]
    ClassNames {
        /// The column.
        column: String,
    },
    /// A compression that is not read.
    #[error("expected pages compressed with snappy, gzip, LZ4 or not at all, found {codec}")]
    Codec {
        /// Its name in the format.
        codec: String,
    },
}

impl ParquetError {
    /// What the user may do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotParquet => "a file of another format needs its extension, or `--format`",
            Self::Damaged { .. } => "fetch or write the file again",
            Self::Codec { .. } => {
                "write the file again with snappy, which is the default of most tools, or as `.csv`, `.tsv` or `.jsonl`"
            }
            Self::Encrypted | Self::Unsupported { .. } => {
                "write the file again with plain settings, or as `.csv`, `.tsv` or `.jsonl`"
            }
            Self::ColumnType { .. } => {
                "name other columns with `--text-column`, `--text-b-column` and `--label-column`; lists are read for the kinds \
                 multi-label, entities and tags (`--kind`)"
            }
            Self::Io(_) | Self::ClassNames { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

impl From<CrateError> for ParquetError {
    fn from(error: CrateError) -> Self {
        match error {
            CrateError::NYI(what) => Self::Unsupported { what },
            CrateError::General(what) | CrateError::EOF(what) => Self::Damaged { what },
            CrateError::External(error) => match error.downcast::<io::Error>() {
                // Decompressors have such errors too, but not of the system.
                Ok(error) if error.raw_os_error().is_some() => Self::Io(*error),
                Ok(error) => damaged(&error.to_string()),
                Err(error) => damaged(&error.to_string()),
            },
            other => damaged(&other.to_string()),
        }
    }
}

pub(super) fn damaged(what: &str) -> ParquetError {
    ParquetError::Damaged { what: what.to_owned() }
}
