//! What can be wrong with a Parquet file as a whole.

use std::io;

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
    #[error("the Parquet file is damaged: {what} cannot be right")]
    Damaged {
        /// The part that shows it.
        what: &'static str,
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
    #[error("expected pages compressed with snappy, gzip, zstd or not at all, found {}", codec_name(*codec))]
    Codec {
        /// Its number in the format.
        codec: i64,
    },
    /// An encoding that is not read, or not of that type.
    #[error("the encoding {} is not read here", encoding_name(*encoding))]
    Encoding {
        /// Its number in the format.
        encoding: i64,
    },
    /// A page too large to hold.
    #[error("expected pages of at most {limit} bytes, found one of {bytes}")]
    LargePage {
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
}

impl ParquetError {
    /// What the user may do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotParquet => "a file of another format needs its extension, or `--format`",
            Self::Damaged { .. } => "fetch or write the file again",
            Self::Encrypted | Self::Codec { .. } | Self::Encoding { .. } | Self::LargePage { .. } => {
                "write the file again with plain settings, or as `.csv`, `.tsv` or `.jsonl`"
            }
            Self::ColumnType { .. } => {
                "name other columns with `--text-column`, `--text-b-column` and `--label-column`"
            }
            Self::Io(_) | Self::ClassNames { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

pub(super) fn damaged(what: &'static str) -> ParquetError {
    ParquetError::Damaged { what }
}

fn codec_name(codec: i64) -> String {
    match codec {
        3 => "LZO".to_owned(),
        4 => "Brotli".to_owned(),
        5 | 7 => "LZ4".to_owned(),
        other => format!("codec {other}"),
    }
}

fn encoding_name(encoding: i64) -> String {
    let names = ["PLAIN", "1", "PLAIN_DICTIONARY", "RLE", "BIT_PACKED", "DELTA_BINARY_PACKED"];
    let more = ["DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY", "RLE_DICTIONARY", "BYTE_STREAM_SPLIT"];
    let name = usize::try_from(encoding).ok().and_then(|place| names.iter().chain(&more).nth(place).copied());
    name.map_or_else(|| encoding.to_string(), str::to_owned)
}
