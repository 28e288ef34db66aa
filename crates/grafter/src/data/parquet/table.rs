//! What is asked of the `parquet` crate: which columns a file has, and their values one after another.
//!
//! The crate panics on some damaged files, so every call into it is [`guarded`]. What a file claims is held against its size
//! where that is cheap: ranges lie inside the file, a page does not grow without measure, groups of the schema lie in each other
//! to a depth, and a dictionary has no more values than bytes. A file that was made for it can still take much memory.

use std::borrow::Borrow;
use std::fs::File;
use std::io::{BufReader, Read};
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{ConvertedType, LogicalType, Repetition, Type as Physical};
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type,
};
use parquet::errors::{ParquetError as CrateError, Result as CrateResult};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};
use parquet::schema::types::{ColumnDescPtr, Type};

use super::super::file::FromPlace;
use super::pages::{Headers, Pages};
use super::{ParquetError, error::damaged, header};
use crate::caught::caught;

/// The four bytes at both ends of a file.
const MAGIC: &[u8] = b"PAR1";
/// At the end of one whose footer is encrypted.
const ENCRYPTED: &[u8] = b"PARE";
/// The bytes that follow the footer: its length and those four.
const FOOTER_END: u64 = 8;
/// The key of what Hugging Face's `datasets` keeps in a file.
const HUGGING_FACE: &str = "huggingface";
/// How many rows are decoded at a time. Their texts keep the pages that they are in.
const BATCH_ROWS: u64 = 64;

/// Calls into the crate. After an error nothing that the call used may be used again.
fn guarded<T>(call: impl FnOnce() -> CrateResult<T>) -> Result<T, ParquetError> {
    caught(call).ok_or_else(|| damaged("what it holds cannot be decoded"))?.map_err(ParquetError::from)
}

/// A file whose footer was read.
pub(super) struct Table {
    reader: SerializedFileReader<Places>,
    headers: Arc<Headers<Places>>,
    pub fields: Vec<Field>,
    /// JSON of Hugging Face's `datasets`, if there is any.
    pub hugging_face: Option<String>,
}

/// A column at the top of the schema.
pub(super) struct Field {
    pub name: String,
    /// What it holds, in words.
    pub held: &'static str,
    /// Its place among all leaves of the schema and how it is stored, if it can be a text or a label, or a list of them.
    pub leaf: Option<(usize, Stored)>,
    /// Of an object, what it consists of.
    pub parts: Vec<Field>,
}

/// How the values of a column are stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// One for each row.
    Plain(Physical),
    /// A list for each row.
    List {
        /// What its elements are.
        element: Physical,
        /// The definition level from which on an entry is an element of a list.
        element_level: i16,
    },
}

/// A value that is there.
pub(super) enum Value {
    Boolean(bool),
    Int(i64),
    Float(f32),
    Double(f64),
    Bytes(ByteArray),
    /// Elements, each of which may be absent.
    List(Vec<Option<Value>>),
}

/// The values of a column in a row group.
pub(super) struct Column {
    decode: Box<dyn FnMut(usize) -> CrateResult<Vec<Option<Value>>> + Send>,
    decoded: std::vec::IntoIter<Option<Value>>,
}

impl Table {
    /// Reads the footer of a file.
    pub fn open(file: &File) -> Result<Self, ParquetError> {
        let places = Places::new(file)?;
        guarded(|| {
            let length = places.length;
            let headers = Arc::new(Headers(places.clone()));
            if !header::footer_is_plausible(&places.footer()?) {
                let depth = header::MOST_GROUPS;
                let what =
                    format!("its schema is broken, announces more than it has, or is more than {depth} deep");
                return Err(CrateError::General(what));
            }
            let reader = SerializedFileReader::new(places)?;
            check_claims(reader.metadata(), length)?;
            let told = reader.metadata().file_metadata();
            let schema = told.schema_descr();
            // The leaves of the columns before.
            let mut first = 0;
            let column = |field: &Arc<Type>| {
                let of = Field { parts: parts(field, first), ..described(field, first, 0) };
                first += leaves(field);
                of
            };
            let fields = schema.root_schema().get_fields().iter().map(column).collect();
            let mut pairs = told.key_value_metadata().into_iter().flatten();
            let hugging_face =
                pairs.find(|pair| pair.key == HUGGING_FACE).and_then(|pair| pair.value.clone());
            Ok(Self { reader, headers, fields, hugging_face })
        })
    }

    /// Refuses a column whose pages are compressed with what is not read.
    pub fn check_codec(&self, leaf: usize) -> Result<(), ParquetError> {
        use parquet::basic::Compression::{GZIP, LZ4, LZ4_RAW, SNAPPY, UNCOMPRESSED};
        let mut codecs =
            self.reader.metadata().row_groups().iter().map(|group| group.column(leaf).compression());
        match codecs.find(|codec| !matches!(codec, UNCOMPRESSED | SNAPPY | GZIP(_) | LZ4 | LZ4_RAW)) {
            None => Ok(()),
            // `ZSTD(ZstdLevel(1))`: the level is the crate's default, for a file tells none.
            Some(codec) => Err(ParquetError::Codec {
                codec: format!("{codec:?}").split('(').next().unwrap_or_default().to_owned(),
            }),
        }
    }

    /// The number of rows of a row group, and its columns at the leaves; nothing behind the last.
    pub fn group(
        &self,
        place: usize,
        leaves: impl Iterator<Item = (usize, Stored)>,
    ) -> Result<Option<(u64, Vec<Column>)>, ParquetError> {
        if place >= self.reader.num_row_groups() {
            return Ok(None);
        }
        guarded(|| {
            let group = self.reader.metadata().row_group(place);
            let rows = usize::try_from(group.num_rows())?;
            let columns = leaves.map(|(leaf, stored)| {
                let pages = Pages::open(&self.headers, group.column(leaf), rows)?;
                Column::new(group.schema_descr().column(leaf), stored, pages)
            });
            let columns = columns.collect::<CrateResult<_>>()?;
            Ok(Some((rows as u64, columns)))
        })
    }
}

/// Refuses a footer that contradicts itself or the file.
fn check_claims(metadata: &ParquetMetaData, length: u64) -> CrateResult<()> {
    let wrong = |what: &str| Err(CrateError::General(what.to_owned()));
    let counted =
        metadata.row_groups().iter().try_fold(0_i64, |sum, group| sum.checked_add(group.num_rows()));
    if counted != Some(metadata.file_metadata().num_rows()) {
        return wrong("the numbers of its rows do not agree");
    }
    for chunk in metadata.row_groups().iter().flat_map(|group| group.columns()) {
        // Nothing of one file may lead to others.
        if chunk.file_path().is_some() {
            return wrong("its values are in another file");
        }
        let (start, bytes) = chunk.byte_range();
        if start.checked_add(bytes).is_none_or(|end| end > length) {
            return wrong("a column does not lie inside it");
        }
    }
    Ok(())
}

/// A column whose first leaf is at a place, below so many optional ones.
fn described(field: &Type, first: usize, above: i16) -> Field {
    let (held, stored) = held(field, above);
    let leaf = stored.map(|stored| (first, stored));
    Field { name: field.name().to_owned(), held, leaf, parts: Vec::new() }
}

/// What an object consists of, whose first leaf is at a place. Of an object inside it nothing is asked.
fn parts(field: &Type, first: usize) -> Vec<Field> {
    let info = field.get_basic_info();
    if !field.is_group() || list(field).is_some() || info.repetition() == Repetition::REPEATED {
        return Vec::new();
    }
    let above = i16::from(info.repetition() == Repetition::OPTIONAL);
    let mut leaf = first;
    let part = |part: &Arc<Type>| {
        let of = described(part, leaf, above);
        leaf += leaves(part);
        of
    };
    field.get_fields().iter().map(part).collect()
}

/// How many leaves a column has.
fn leaves(field: &Type) -> usize {
    if field.is_group() { field.get_fields().iter().map(|part| leaves(part)).sum() } else { 1 }
}

/// What the values are and, where they can be texts or labels, how they are stored, below so many optional columns.
fn held(field: &Type, above: i16) -> (&'static str, Option<Stored>) {
    if let Some((element, element_level)) = list(field) {
        let element_level = above + element_level;
        return match plain(element) {
            ("a string", Some(element)) => {
                ("a list of strings", Some(Stored::List { element, element_level }))
            }
            (_, Some(element)) => ("a list", Some(Stored::List { element, element_level })),
            (_, None) => ("a nested value", None),
        };
    }
    if field.is_group() || field.get_basic_info().repetition() == Repetition::REPEATED {
        return ("a nested value", None);
    }
    let (held, physical) = plain(field);
    (held, physical.map(Stored::Plain))
}

/// The element of a list of plain values, and the definition level from which on an entry is one. Both forms are read that the
/// format's description of `LIST` has: `optional group (LIST) { repeated group { optional element } }`, and an older one without the
/// group in the middle.
fn list(field: &Type) -> Option<(&Type, i16)> {
    let info = field.get_basic_info();
    let is_list = matches!(info.logical_type_ref(), Some(LogicalType::List))
        || info.converted_type() == ConvertedType::LIST;
    if !field.is_group() || !is_list || info.repetition() == Repetition::REPEATED {
        return None;
    }
    let [repeated] = field.get_fields() else { return None };
    if repeated.get_basic_info().repetition() != Repetition::REPEATED {
        return None;
    }
    let element_level = 1 + i16::from(info.repetition() == Repetition::OPTIONAL);
    if !repeated.is_group() {
        return Some((repeated, element_level));
    }
    match repeated.get_fields() {
        [element] if !element.is_group() && element.get_basic_info().repetition() != Repetition::REPEATED => {
            Some((element, element_level))
        }
        _ => None,
    }
}

/// What plain values are.
fn plain(field: &Type) -> (&'static str, Option<Physical>) {
    use ConvertedType as Converted;
    let info = field.get_basic_info();
    // Of the types that a whole number or bytes may stand for, these are not what the stored value says.
    match (info.logical_type_ref(), info.converted_type()) {
        (Some(LogicalType::Decimal(_)), _) | (_, Converted::DECIMAL) => return ("a decimal", None),
        (Some(LogicalType::Date | LogicalType::Time(_) | LogicalType::Timestamp(_)), _)
        | (_, Converted::DATE | Converted::TIME_MILLIS | Converted::TIME_MICROS)
        | (_, Converted::TIMESTAMP_MILLIS | Converted::TIMESTAMP_MICROS | Converted::INTERVAL) => {
            return ("a time", None);
        }
        _ => {}
    }
    let physical = field.get_physical_type();
    match physical {
        Physical::BOOLEAN => ("a Boolean", Some(physical)),
        Physical::INT32 | Physical::INT64 => ("a whole number", Some(physical)),
        Physical::FLOAT | Physical::DOUBLE => ("a number", Some(physical)),
        Physical::BYTE_ARRAY => ("a string", Some(physical)),
        Physical::INT96 => ("a time", None),
        Physical::FIXED_LEN_BYTE_ARRAY => ("bytes of a fixed length", None),
    }
}

impl Column {
    fn new(column: ColumnDescPtr, stored: Stored, pages: Pages) -> CrateResult<Self> {
        let decode = match column.physical_type() {
            Physical::BOOLEAN => decoder::<BoolType>((column, stored), pages, Value::Boolean),
            Physical::INT32 => {
                decoder::<Int32Type>((column, stored), pages, |value| Value::Int(value.into()))
            }
            Physical::INT64 => decoder::<Int64Type>((column, stored), pages, Value::Int),
            Physical::FLOAT => decoder::<FloatType>((column, stored), pages, Value::Float),
            Physical::DOUBLE => decoder::<DoubleType>((column, stored), pages, Value::Double),
            Physical::BYTE_ARRAY => decoder::<ByteArrayType>((column, stored), pages, Value::Bytes),
            other => return Err(CrateError::NYI(format!("values of {other}"))),
        };
        Ok(Self { decode, decoded: Vec::new().into_iter() })
    }

    /// The next value, which may be absent, of `left` that there must be.
    pub fn next(&mut self, left: u64) -> Result<Option<Value>, ParquetError> {
        if self.decoded.len() == 0 {
            let rows = left.min(BATCH_ROWS) as usize;
            let values = guarded(|| (self.decode)(rows))?;
            if values.len() != rows {
                return Err(damaged("a column has fewer rows than it should"));
            }
            self.decoded = values.into_iter();
        }
        Ok(self.decoded.next().flatten())
    }
}

/// Gives so many rows as it is asked for, fewer at the end.
fn decoder<T: DataType>(
    (column, stored): (ColumnDescPtr, Stored),
    pages: Pages,
    value: fn(T::T) -> Value,
) -> Box<dyn FnMut(usize) -> CrateResult<Vec<Option<Value>>> + Send> {
    let there = column.max_def_level();
    let budget = pages.budget();
    let mut reader = ColumnReaderImpl::<T>::new(column, Box::new(pages));
    Box::new(move |rows| {
        budget.renew();
        let (mut levels, mut repetitions, mut values) = (Vec::new(), Vec::new(), Vec::new());
        let repeated = matches!(stored, Stored::List { .. }).then_some(&mut repetitions);
        reader.read_records(rows, Some(&mut levels), repeated, &mut values)?;
        let mut values = values.into_iter().map(value);
        if let Stored::List { element_level, .. } = stored {
            let entries = levels.into_iter().zip(repetitions).map(|(level, repetition)| Entry {
                begins: repetition == 0,
                level,
                value: if level == there { values.next() } else { None },
            });
            return Ok(lists(entries, element_level));
        }
        if there == 0 {
            return Ok(values.map(Some).collect());
        }
        Ok(levels.into_iter().map(|level| if level == there { values.next() } else { None }).collect())
    })
}

/// What is stored of a list: an element, or that there is none.
struct Entry {
    /// Whether it is of another row than the entry before.
    begins: bool,
    level: i16,
    value: Option<Value>,
}

/// The lists of rows. One level below an element the list is empty, further below it is absent.
fn lists(entries: impl Iterator<Item = Entry>, element_level: i16) -> Vec<Option<Value>> {
    let mut rows: Vec<Option<Vec<Option<Value>>>> = Vec::new();
    for Entry { begins, level, value } in entries {
        if begins || rows.is_empty() {
            rows.push((level >= element_level - 1).then(Vec::new));
        }
        if let (true, Some(Some(list))) = (level >= element_level, rows.last_mut()) {
            list.push(value);
        }
    }
    rows.into_iter().map(|row| row.map(Value::List)).collect()
}

/// A file that is read by place. The crate's own way moves the position that all handles of an open file share.
#[derive(Clone)]
struct Places {
    file: Arc<File>,
    length: u64,
}

impl Places {
    fn new(file: &File) -> Result<Self, ParquetError> {
        let file = file.try_clone().map_err(ParquetError::Io)?;
        let length = file.metadata().map_err(ParquetError::Io)?.len();
        let places = Self { file: Arc::new(file), length };
        let ends = |at| places.get_bytes(at, MAGIC.len()).map_err(ParquetError::from);
        if length < 12 {
            return Err(ParquetError::NotParquet);
        }
        match (&*ends(0)?, &*ends(length - MAGIC.len() as u64)?) {
            (_, ENCRYPTED) => Err(ParquetError::Encrypted),
            (MAGIC, MAGIC) => Ok(places),
            _ => Err(ParquetError::NotParquet),
        }
    }

    /// What describes the file; its length stands before the four bytes at the end.
    fn footer(&self) -> CrateResult<Bytes> {
        let end = self.length - FOOTER_END;
        let length: [u8; 4] = (*self.get_bytes(end, 4)?).try_into().unwrap_or_default();
        let length = u32::from_le_bytes(length);
        let begin = end.checked_sub(length.into());
        let begin = begin.ok_or_else(|| CrateError::EOF("its footer is longer than the file".to_owned()))?;
        self.get_bytes(begin, length as usize)
    }
}

impl Length for Places {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Places {
    type T = BufReader<FromPlace<Arc<File>>>;

    fn get_read(&self, start: u64) -> CrateResult<Self::T> {
        Ok(BufReader::new(FromPlace::new(self.file.clone(), start)))
    }

    fn get_bytes(&self, start: u64, length: usize) -> CrateResult<Bytes> {
        if start.checked_add(length as u64).is_none_or(|end| end > self.length) {
            return Err(CrateError::EOF("it ends too early".to_owned()));
        }
        let mut bytes = vec![0; length];
        let file: &File = self.file.borrow();
        FromPlace::new(file, start).read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error() {
        let error = guarded(|| {
            let nothing: Vec<u8> = Vec::new();
            Ok(nothing[0])
        });
        assert!(matches!(error, Err(ParquetError::Damaged { .. })));
    }
}
