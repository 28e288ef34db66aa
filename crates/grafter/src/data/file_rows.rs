//! The rows of a file in any format: a stream of text, or a Parquet file.

use std::fs::File;
use std::io::{BufReader, Read};
use std::sync::Arc;

use super::{DataError, Format, ParquetRows, ReadOptions, Row, RowError, RowErrorKind, RowReader};

/// An iterator over the rows of an input in any format; `R` is what text is read from.
pub struct FileRows<R> {
    rows: Rows<R>,
    skip_empty: bool,
    skipped: usize,
}

enum Rows<R> {
    Text(Box<RowReader<BufReader<R>>>),
    Parquet(Box<ParquetRows>),
}

impl<R: Read> FileRows<R> {
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
        RowReader::new(input, name, format, options)
            .map(|rows| Self::new(Rows::Text(Box::new(rows)), options))
    }

    /// Starts reading a Parquet file, which messages call `name`.
    ///
    /// # Errors
    /// See [`ParquetRows::new`].
    pub fn parquet(file: &File, name: impl Into<Arc<str>>, options: &ReadOptions) -> Result<Self, DataError> {
        ParquetRows::new(file, name, options).map(|rows| Self::new(Rows::Parquet(Box::new(rows)), options))
    }

    fn new(rows: Rows<R>, options: &ReadOptions) -> Self {
        Self { rows, skip_empty: options.skip_empty, skipped: 0 }
    }

    /// The name of the input, as messages give it.
    pub fn file(&self) -> &Arc<str> {
        match &self.rows {
            Rows::Text(rows) => rows.file(),
            Rows::Parquet(rows) => rows.file(),
        }
    }

    /// Whether rows are pairs of texts; not known before the first good row of JSON Lines.
    pub fn is_pair(&self) -> Option<bool> {
        match &self.rows {
            Rows::Text(rows) => rows.is_pair(),
            Rows::Parquet(rows) => Some(rows.is_pair()),
        }
    }

    /// The names of the classes in their order, where the file tells them.
    pub fn class_names(&self) -> Option<&[String]> {
        match &self.rows {
            Rows::Text(_) => None,
            Rows::Parquet(rows) => rows.class_names(),
        }
    }

    /// Whether the words of a row stand on lines of their own.
    pub(super) fn has_a_line_a_word(&self) -> bool {
        matches!(&self.rows, Rows::Text(rows) if rows.format() == Format::Conll)
    }

    /// How many rows with an empty text were left out so far.
    pub fn skipped(&self) -> usize {
        self.skipped
    }
}

impl<R: Read> Iterator for FileRows<R> {
    type Item = Result<Row, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let row = match &mut self.rows {
                Rows::Text(rows) => rows.next(),
                Rows::Parquet(rows) => rows.next(),
            }?;
            match row {
                Err(RowError { kind: RowErrorKind::EmptyText { .. }, .. }) if self.skip_empty => {
                    self.skipped += 1
                }
                row => return Some(row),
            }
        }
    }
}
