//! The rows of a file in any format: a stream of text, or a Parquet file.

use std::borrow::Borrow;
use std::fs::File;
use std::io::{BufReader, Read};
use std::sync::Arc;

use super::{DataError, Format, ParquetRows, ReadOptions, Row, RowError, RowReader};

/// An iterator over the rows of an input in any format; `R` is what text is read from, `F` a file.
pub enum FileRows<R, F> {
    /// Lines of text.
    Text(Box<RowReader<BufReader<R>>>),
    /// A Parquet file.
    Parquet(Box<ParquetRows<F>>),
}

impl<R: Read, F: Borrow<File>> FileRows<R, F> {
    /// Starts reading text, which messages call `name`.
    ///
    /// # Errors
    /// See [`RowReader::new`].
    pub fn text(
        input: R,
        name: impl Into<Arc<str>>,
        format: Format,
        options: &ReadOptions,
    ) -> Result<Self, DataError> {
        let input = BufReader::with_capacity(1 << 16, input);
        RowReader::new(input, name, format, options).map(|rows| Self::Text(Box::new(rows)))
    }

    /// Starts reading a Parquet file, which messages call `name`.
    ///
    /// # Errors
    /// See [`ParquetRows::new`].
    pub fn parquet(file: F, name: impl Into<Arc<str>>, options: &ReadOptions) -> Result<Self, DataError> {
        ParquetRows::new(file, name, options).map(|rows| Self::Parquet(Box::new(rows)))
    }

    /// The name of the input, as messages give it.
    pub fn file(&self) -> &Arc<str> {
        match self {
            Self::Text(rows) => rows.file(),
            Self::Parquet(rows) => rows.file(),
        }
    }

    /// Whether rows are pairs of texts; not known before the first good row of JSON Lines.
    pub fn is_pair(&self) -> Option<bool> {
        match self {
            Self::Text(rows) => rows.is_pair(),
            Self::Parquet(rows) => Some(rows.is_pair()),
        }
    }

    /// The names of the classes in their order, where the file tells them.
    pub fn class_names(&self) -> Option<&[String]> {
        match self {
            Self::Text(_) => None,
            Self::Parquet(rows) => rows.class_names(),
        }
    }
}

impl<R: Read, F: Borrow<File>> Iterator for FileRows<R, F> {
    type Item = Result<Row, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Text(rows) => rows.next(),
            Self::Parquet(rows) => rows.next(),
        }
    }
}
