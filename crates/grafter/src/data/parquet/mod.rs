//! Rows out of a Parquet file, as Hugging Face's hub and most tools for tables write it.
//!
//! What is read is what labelled texts need: columns of strings, numbers and Booleans, or of lists of them, through the `parquet`
//! crate (`table.rs`); anything else is refused by name. Held are the footer and, of each column that is asked for, the pages of
//! the next rows and a dictionary.
//!
//! Of a file that Hugging Face's `datasets` wrote, whole numbers in a label column of classes are given as the classes'
//! names, whose order in the file is their order in a label set. A number below 0 marks a row without a label.

mod error;
mod header;
mod objects;
mod pages;
mod table;

use std::collections::HashSet;
use std::fs::File;
use std::sync::Arc;

use parquet::basic::Type as Physical;

pub use error::ParquetError;
use objects::{Part, Unfit};
use table::{Column, Stored, Table, Value};

use super::columns::{find_label, find_tags, find_text_or_words};
use super::labels::join;
use super::reader::words_row;
use super::{DataError, LabelUse, MAX_CLASSES, ReadOptions, Row, RowError, RowErrorKind};

/// An iterator over the rows of a Parquet file, which are numbered from 1.
///
/// It ends at the end of the file, or after an error of the file itself ([`RowErrorKind::Parquet`]). On some damaged files the
/// crate below panics; this is caught and is such an error, so a program must not be built with `panic = "abort"`. Its panic
/// hook can ask [`panic_is_caught`](crate::panic_is_caught).
pub struct ParquetRows {
    table: Table,
    file: Arc<str>,
    options: ReadOptions,
    texts: Vec<Asked>,
    /// Of rows that are objects, what each of the columns is.
    parts: Vec<Part>,
    label: Option<Asked>,
    /// Of the label column, in the order of their numbers.
    class_names: Option<Vec<String>>,
    /// The columns of the group that is read: those of the texts, then that of the label.
    columns: Vec<Column>,
    next_group: usize,
    left_in_group: u64,
    row: u64,
    ended: bool,
}

/// A column that is read.
struct Asked {
    name: String,
    /// Its place among all leaves of the schema.
    leaf: usize,
    stored: Stored,
}

impl ParquetRows {
    /// Starts reading a file, which messages call `name`. It is read by place, through a handle of its own.
    ///
    /// # Errors
    /// A file that is not Parquet, is damaged, or does not have the columns that are needed in a form that is read.
    pub fn new(input: &File, name: impl Into<Arc<str>>, options: &ReadOptions) -> Result<Self, DataError> {
        let file: Arc<str> = name.into();
        let failed = |error| DataError::Parquet { file: file.clone(), error };
        let table = Table::open(input).map_err(failed)?;
        if matches!(options.labels, LabelUse::Choices { .. } | LabelUse::Answers { .. }) {
            let columns = objects::columns(&table, options).map_err(|unfit| match unfit {
                Unfit::Columns(error) => DataError::ParquetColumns { file: file.clone(), error },
                Unfit::Type(error) => failed(error),
            })?;
            let (parts, texts) = columns.into_iter().unzip();
            let options = options.clone();
            return Ok(Self { parts, ..Self::begin(table, (file, options), (texts, None, None)) });
        }
        let found: Vec<&str> = table.fields.iter().map(|field| field.name.as_str()).collect();
        let not_found = |error| DataError::ParquetColumns { file: file.clone(), error };
        let places = find_text_or_words(&found, &options.columns, options.labels).map_err(not_found)?;
        let texts = [Some(places.text), places.text_b].into_iter().flatten();
        let text = |place| table.text(place, options.labels, places.text_b.is_some());
        let texts = texts.map(text).collect::<Result<_, _>>().map_err(failed)?;
        let label = match options.labels {
            LabelUse::Tags { needed, .. } => find_tags(&found, &options.columns, needed),
            labels => find_label(&found, &options.columns, labels),
        };
        let label = label.map_err(not_found)?.map(|place| table.label(place, options.labels));
        let label = match label.transpose() {
            // As in the other formats, a label that cannot be one matters only where it is needed.
            Err(_) if options.labels == LabelUse::Optional => None,
            label => label.map_err(failed)?,
        };
        let class_names = match &label {
            Some(label) => table.class_names(label).map_err(failed)?,
            None => None,
        };
        Ok(Self::begin(table, (file, options.clone()), (texts, label, class_names)))
    }

    /// Before the first row.
    fn begin(
        table: Table,
        (file, options): (Arc<str>, ReadOptions),
        (texts, label, class_names): (Vec<Asked>, Option<Asked>, Option<Vec<String>>),
    ) -> Self {
        Self {
            table,
            file,
            options,
            texts,
            parts: Vec::new(),
            label,
            class_names,
            columns: Vec::new(),
            next_group: 0,
            left_in_group: 0,
            row: 0,
            ended: false,
        }
    }

    /// The name of the input, as messages give it.
    pub fn file(&self) -> &Arc<str> {
        &self.file
    }

    /// Whether rows are pairs of texts.
    pub fn is_pair(&self) -> bool {
        match self.options.labels {
            LabelUse::Answers { .. } => true,
            LabelUse::Choices { .. } => objects::is_pair(&self.table, &self.options),
            _ => self.texts.len() == 2,
        }
    }

    /// The names of the columns of the texts and of the labels.
    pub(super) fn columns(&self) -> (Vec<String>, Option<String>) {
        let name = |asked: &Asked| asked.name.clone();
        (self.texts.iter().map(name).collect(), self.label.as_ref().map(name))
    }

    /// The names of the classes in their order, where the file tells them.
    pub fn class_names(&self) -> Option<&[String]> {
        self.class_names.as_deref()
    }

    /// Whether there is a row; goes to the group that it is in.
    fn find_row(&mut self) -> Result<bool, ParquetError> {
        while self.left_in_group == 0 {
            let leaves = self.texts.iter().chain(&self.label).map(|asked| (asked.leaf, asked.stored));
            let Some((rows, columns)) = self.table.group(self.next_group, leaves)? else { return Ok(false) };
            self.next_group += 1;
            self.left_in_group = rows;
            self.columns = columns;
        }
        Ok(true)
    }

    /// The next row. Every column is read on, whatever is wrong with the row: the next one begins behind it.
    fn read_row(&mut self) -> Result<Result<Row, RowErrorKind>, ParquetError> {
        let left = self.left_in_group;
        self.left_in_group -= 1;
        let limit_bytes = self.options.max_row_bytes;
        if !self.parts.is_empty() {
            let values = self.columns.iter_mut().map(|column| column.next(left));
            let values = values.collect::<Result<Vec<_>, _>>()?;
            return Ok(objects::row(self.parts.iter().zip(values), &self.options, self.row));
        }
        if matches!(self.texts[..], [Asked { stored: Stored::List { .. }, .. }]) {
            return self.read_words(left);
        }
        let mut texts = Vec::with_capacity(2);
        for (column, asked) in self.columns.iter_mut().zip(&self.texts) {
            texts.push(text(column.next(left)?, &asked.name, limit_bytes));
        }
        let label = match (self.columns.get_mut(self.texts.len()), &self.label) {
            (Some(column), Some(asked)) => {
                asked.label(column.next(left)?, &self.options, self.class_names.as_deref())
            }
            _ => Ok(None),
        };
        let label = match label {
            Err(_) if self.options.labels == LabelUse::Optional => Ok(None),
            label => label,
        };
        Ok(self.row_of(texts, label))
    }

    /// The next row, of words.
    fn read_words(&mut self, left: u64) -> Result<Result<Row, RowErrorKind>, ParquetError> {
        let limit_bytes = self.options.max_row_bytes;
        let words = self.columns[0].next(left)?;
        let words = strings(words, &self.texts[0].name, None).and_then(|words| {
            let words = words.filter(|words| !words.is_empty());
            words.ok_or_else(|| RowErrorKind::EmptyText { column: self.texts[0].name.clone() })
        });
        let tags = match (self.columns.get_mut(1), &self.label) {
            (Some(column), Some(asked)) => {
                strings(column.next(left)?, &asked.name, self.class_names.as_deref())
            }
            _ => Ok(None),
        };
        let tags = if self.options.labels == LabelUse::Optional { Ok(None) } else { tags };
        Ok(words.and_then(|words| {
            if words.iter().map(|word| word.len() + 1).sum::<usize>() > limit_bytes {
                return Err(RowErrorKind::TooLong { limit_bytes });
            }
            words_row(&words, tags?, (self.options.labels, self.row)).map_err(|(_, kind)| kind)
        }))
    }

    fn row_of(
        &self,
        texts: Vec<Result<String, RowErrorKind>>,
        label: Result<Option<String>, RowErrorKind>,
    ) -> Result<Row, RowErrorKind> {
        let mut texts = texts.into_iter();
        let text = texts.next().expect("a text column is always found")?;
        let text_b = texts.next().transpose()?;
        let limit_bytes = self.options.max_row_bytes;
        if text.len() + text_b.as_ref().map_or(0, String::len) > limit_bytes {
            return Err(RowErrorKind::TooLong { limit_bytes });
        }
        Ok(Row { text_b, label: label?, line: self.row, ..Row::single(text) })
    }
}

impl Iterator for ParquetRows {
    type Item = Result<Row, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let row = match self.find_row() {
            Ok(false) => return None,
            found => found,
        };
        self.row += 1;
        let row = row.and_then(|_| self.read_row()).unwrap_or_else(|error| {
            self.ended = true;
            Err(RowErrorKind::Parquet(error))
        });
        Some(row.map_err(|kind| RowError { file: self.file.clone(), line: self.row, kind }))
    }
}

impl Asked {
    /// The label of a row.
    fn label(
        &self,
        value: Option<Value>,
        options: &ReadOptions,
        class_names: Option<&[String]>,
    ) -> Result<Option<String>, RowErrorKind> {
        if let Some(Value::List(_)) = &value {
            let labels = strings(value, &self.name, class_names)?.unwrap_or_default();
            return join(labels.iter().map(String::as_str));
        }
        match (label(value, &self.name, class_names)?, options.labels) {
            // The name of a class is one label, whatever stands in it.
            (Some(name), LabelUse::Several { .. }) if class_names.is_some() => join([&*name]),
            (Some(cell), LabelUse::Several { separator, .. }) => join(cell.split(separator)),
            (None, LabelUse::Required) => Err(RowErrorKind::MissingLabel { column: self.name.clone() }),
            (label, _) => Ok(label),
        }
    }
}

impl Table {
    /// A column of texts, or of words where these are needed or, in prediction of single texts, can be.
    fn text(&self, place: usize, labels: LabelUse, pair: bool) -> Result<Asked, ParquetError> {
        let strings = |stored| matches!(stored, Stored::List { element: Physical::BYTE_ARRAY, .. });
        let plain = |stored| stored == Stored::Plain(Physical::BYTE_ARRAY);
        match labels {
            LabelUse::Tags { .. } => self.asked(place, "a list of strings", strings),
            LabelUse::Optional if !pair => {
                self.asked(place, "a string", |stored| plain(stored) || strings(stored))
            }
            _ => self.asked(place, "a string", plain),
        }
    }

    fn label(&self, place: usize, labels: LabelUse) -> Result<Asked, ParquetError> {
        let is_list = |stored| matches!(stored, Stored::List { .. });
        match labels {
            LabelUse::Tags { .. } => self.asked(place, "a list of strings or whole numbers", is_list),
            LabelUse::Several { .. } => {
                self.asked(place, "a string, number or Boolean, or a list of them", |_| true)
            }
            _ => self.asked(place, "a string, number or Boolean", |stored| !is_list(stored)),
        }
    }

    fn asked(
        &self,
        place: usize,
        expected: &'static str,
        fits: impl Fn(Stored) -> bool,
    ) -> Result<Asked, ParquetError> {
        let field = &self.fields[place];
        let name = field.name.clone();
        match field.leaf {
            Some((leaf, stored)) if fits(stored) => {
                self.check_codec(leaf)?;
                Ok(Asked { name, leaf, stored })
            }
            _ => Err(ParquetError::ColumnType { column: name, expected, found: field.held }),
        }
    }

    /// The names that `datasets` gives the classes of a column of whole numbers.
    fn class_names(&self, label: &Asked) -> Result<Option<Vec<String>>, ParquetError> {
        let Some(json) = &self.hugging_face else { return Ok(None) };
        let (Stored::Plain(physical) | Stored::List { element: physical, .. }) = label.stored;
        if !matches!(physical, Physical::INT32 | Physical::INT64) {
            return Ok(None);
        }
        let wrong = || ParquetError::ClassNames { column: label.name.clone() };
        let told: serde_json::Value = serde_json::from_str(json).map_err(|_| wrong())?;
        let feature = &told["info"]["features"][label.name.as_str()];
        let names = match label.stored {
            Stored::Plain(_) => &feature["names"],
            // `Sequence` and `List` have the same form; before, a list was an array of one feature.
            Stored::List { .. } if feature.is_array() => &feature[0]["names"],
            Stored::List { .. } => &feature["feature"]["names"],
        };
        if names.is_null() {
            return Ok(None);
        }
        let names: Vec<String> = serde_json::from_value(names.clone()).map_err(|_| wrong())?;
        let names: Vec<String> = names.into_iter().map(|name| name.trim().to_owned()).collect();
        let different: HashSet<&str> = names.iter().map(String::as_str).collect();
        if different.len() != names.len() || different.contains("") {
            return Err(wrong());
        }
        Ok(Some(names))
    }
}

fn text(value: Option<Value>, column: &str, limit_bytes: usize) -> Result<String, RowErrorKind> {
    let Some(Value::Bytes(bytes)) = value else {
        return Err(RowErrorKind::JsonType { field: column.to_owned(), expected: "a string", found: "null" });
    };
    if bytes.len() > limit_bytes {
        return Err(RowErrorKind::TooLong { limit_bytes });
    }
    let text = utf8(bytes.data(), column)?;
    if text.trim().is_empty() {
        return Err(RowErrorKind::EmptyText { column: column.to_owned() });
    }
    Ok(text.to_owned())
}

/// The canonical text of a label, as JSON Lines has it; a whole number is a class's, where these have names.
fn label(
    value: Option<Value>,
    column: &str,
    class_names: Option<&[String]>,
) -> Result<Option<String>, RowErrorKind> {
    let Some(value) = value else { return Ok(None) };
    let label = match (value, class_names) {
        (Value::Int(number), Some(names)) => {
            let name = usize::try_from(number).ok().and_then(|place| names.get(place));
            let column = column.to_owned();
            match name {
                Some(name) => name.clone(),
                None if number < 0 => return Err(RowErrorKind::Unlabelled { column, number }),
                None => return Err(RowErrorKind::NoSuchClass { column, number, classes: names.len() }),
            }
        }
        (Value::Int(number), None) => number.to_string(),
        (Value::Float(number), _) => number.to_string(),
        (Value::Double(number), _) => number.to_string(),
        (Value::Boolean(truth), _) => truth.to_string(),
        (Value::Bytes(bytes), _) => utf8(bytes.data(), column)?.trim().to_owned(),
        (Value::List(_), _) => {
            let expected = "a string, number or Boolean";
            return Err(RowErrorKind::JsonType { field: column.to_owned(), expected, found: "an array" });
        }
    };
    Ok(Some(label).filter(|label| !label.is_empty()))
}

/// The elements of a list as texts, whole numbers as the names of their classes; `None` if there is no list.
fn strings(
    value: Option<Value>,
    column: &str,
    class_names: Option<&[String]>,
) -> Result<Option<Vec<String>>, RowErrorKind> {
    let Some(Value::List(list)) = value else { return Ok(None) };
    if list.len() > MAX_CLASSES {
        return Err(RowErrorKind::TooManyWords { limit: MAX_CLASSES });
    }
    let text = |value| Ok(label(value, column, class_names)?.unwrap_or_default());
    list.into_iter().map(text).collect::<Result<_, _>>().map(Some)
}

fn utf8<'a>(bytes: &'a [u8], column: &str) -> Result<&'a str, RowErrorKind> {
    std::str::from_utf8(bytes).map_err(|error| RowErrorKind::ValueNotUtf8 {
        column: column.to_owned(),
        offset: error.valid_up_to() + 1,
        byte: bytes.get(error.valid_up_to()).copied().unwrap_or_default(),
    })
}
