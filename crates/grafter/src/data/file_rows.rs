//! The rows of files in any format, one file after another: streams of text, or Parquet files.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::sync::Arc;

use super::file::{Bytes, FromPlace, Input};
use super::{DataError, Format, ParquetRows, ReadOptions, Row, RowError, RowErrorKind, RowReader};

/// An iterator over the rows of an input in any format, or of several one after another; `R` is what text is read from.
pub struct FileRows<R> {
    name: Arc<str>,
    rows: Rows<R>,
    later: Later<R>,
    skip_empty: bool,
    skipped: usize,
}

enum Rows<R> {
    Text(Box<RowReader<BufReader<R>>>),
    Parquet(Box<ParquetRows>),
}

/// Opens the next file; nothing after the last.
type Later<R> = Box<dyn FnMut() -> Option<Result<Rows<R>, DataError>> + Send>;

impl FileRows<Bytes> {
    /// Starts reading files, which messages about all of them call `name`. All headers are read now, so that a file which does
    /// not fit the first is told before any row; after that one file is open at a time.
    pub(super) fn of_inputs(
        inputs: &[Input],
        name: String,
        format: Format,
        options: &ReadOptions,
    ) -> Result<Self, DataError> {
        let (first, rest) = inputs.split_first().expect("a source has at least one file");
        let rows = Rows::open(first, format, options)?;
        for input in rest {
            Rows::open(input, format, options)?.check_like(&rows, options)?;
        }
        let (rest, later_options, mut next) = (rest.to_vec(), options.clone(), 0);
        let later = move || {
            next += 1;
            rest.get(next - 1).map(|input| Rows::open(input, format, &later_options))
        };
        let (skip_empty, later) = (options.skip_empty, Box::new(later));
        Ok(Self { name: name.into(), rows, later, skip_empty, skipped: 0 })
    }
}

impl Rows<Bytes> {
    fn open(input: &Input, format: Format, options: &ReadOptions) -> Result<Self, DataError> {
        let (file, name) = (input.file()?, input.name.clone());
        match format {
            Format::Parquet => Self::parquet(&file, name, options),
            format => Self::text(Box::new(FromPlace::new(file, 0)), name, format, options),
        }
    }
}

impl<R: Read> Rows<R> {
    fn text(input: R, name: Arc<str>, format: Format, options: &ReadOptions) -> Result<Self, DataError> {
        let input = BufReader::with_capacity(1 << 16, input);
        Ok(Self::Text(Box::new(RowReader::new(input, name, format, options)?)))
    }

    fn parquet(file: &File, name: Arc<str>, options: &ReadOptions) -> Result<Self, DataError> {
        Ok(Self::Parquet(Box::new(ParquetRows::new(file, name, options)?)))
    }

    /// Goes on with another file, whose rows are to be like those before.
    fn go_on_with(&mut self, mut next: Self) {
        if let (Self::Text(rows), Self::Text(next)) = (&*self, &mut next) {
            next.follow(rows);
        }
        *self = next;
    }

    fn file(&self) -> &Arc<str> {
        match self {
            Self::Text(rows) => rows.file(),
            Self::Parquet(rows) => rows.file(),
        }
    }

    /// The names of the classes in their order, where the file tells them.
    fn class_names(&self) -> Option<&[String]> {
        match self {
            Self::Text(_) => None,
            Self::Parquet(rows) => rows.class_names(),
        }
    }

    /// That the columns which are read are called what they are in the first file. Of JSON Lines each row tells.
    fn check_like(&self, first: &Self, options: &ReadOptions) -> Result<(), DataError> {
        let columns = |rows: &Self| {
            let (mut texts, label) = match rows {
                Self::Text(rows) => rows.columns(),
                Self::Parquet(rows) => rows.columns(),
            };
            texts.extend(label.filter(|_| options.labels.is_needed()));
            texts
        };
        let (expected, found) = (columns(first), columns(self));
        let (file, first_file) = (self.file().clone(), first.file().clone());
        if expected != found {
            return Err(DataError::OtherColumns { file, expected, first: first_file, found });
        }
        let classes = |rows: &Self| rows.class_names().unwrap_or_default().to_vec();
        let (expected, found) = (classes(first), classes(self));
        if expected != found && options.labels.is_needed() {
            return Err(DataError::OtherClasses { file, expected, first: first_file, found });
        }
        Ok(())
    }
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
        Ok(Self::new(Rows::text(input, name.into(), format, options)?, options))
    }

    /// Starts reading a Parquet file, which messages call `name`.
    ///
    /// # Errors
    /// See [`ParquetRows::new`].
    pub fn parquet(file: &File, name: impl Into<Arc<str>>, options: &ReadOptions) -> Result<Self, DataError> {
        Ok(Self::new(Rows::parquet(file, name.into(), options)?, options))
    }

    fn new(rows: Rows<R>, options: &ReadOptions) -> Self {
        let (name, later) = (rows.file().clone(), Box::new(|| None));
        Self { name, rows, later, skip_empty: options.skip_empty, skipped: 0 }
    }

    /// The name of the input, or of all files together, as messages about the whole give it.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The name of the file that the last row is of.
    pub fn file(&self) -> &Arc<str> {
        self.rows.file()
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
        self.rows.class_names()
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
            };
            let Some(row) = row else {
                match (self.later)()? {
                    Ok(rows) => self.rows.go_on_with(rows),
                    // Its header was right before the first row: it is gone, or another file.
                    Err(error) => {
                        self.later = Box::new(|| None);
                        let (file, kind) = (self.file().clone(), RowErrorKind::Io(io::Error::other(error)));
                        return Some(Err(RowError { file, line: 1, kind }));
                    }
                }
                continue;
            };
            match row {
                Err(RowError { kind: RowErrorKind::EmptyText { .. }, .. }) if self.skip_empty => {
                    self.skipped += 1
                }
                row => return Some(row),
            }
        }
    }
}
