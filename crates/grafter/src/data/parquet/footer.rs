//! The footer of a Parquet file: which columns there are and where their values lie.
//!
//! Source: the Parquet format, `parquet.thrift` (`FileMetaData` and what it holds). Of the columns only plain ones at the
//! top can be texts and labels; the others are known by name, so that a message can list them.

use std::fs::File;

use super::super::file::read_exact_at;
use super::thrift::{Thrift, ThriftError};
use super::{ParquetError, damaged};

/// The four bytes at both ends of a file.
const MAGIC: &[u8; 4] = b"PAR1";
/// At the end of one whose footer is encrypted.
const ENCRYPTED: &[u8; 4] = b"PARE";
/// The key of what Hugging Face's `datasets` keeps in a file.
const HUGGING_FACE: &str = "huggingface";

/// What a file tells of itself.
#[derive(Debug)]
pub(super) struct Footer {
    pub columns: Vec<Column>,
    pub groups: Vec<Group>,
    /// JSON of Hugging Face's `datasets`, if there is any.
    pub hugging_face: Option<String>,
}

/// A column at the top of the schema.
#[derive(Debug)]
pub(super) struct Column {
    pub name: String,
    /// What it holds, in words.
    pub held: &'static str,
    /// Where its values are, if they are single ones.
    pub leaf: Option<Leaf>,
}

/// A column of single values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaf {
    /// Its place among all leaves of the schema.
    pub place: usize,
    pub physical: Physical,
    /// Whether values may be absent.
    pub optional: bool,
}

/// How values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Physical {
    Boolean,
    Int32,
    Int64,
    Float,
    Double,
    Bytes,
}

/// Rows whose values lie together.
#[derive(Debug)]
pub(super) struct Group {
    pub rows: u64,
    pub chunks: Vec<Chunk>,
}

/// The values of one column in one group: bytes of the file.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Chunk {
    pub start: u64,
    pub end: u64,
    pub codec: i64,
    physical: i64,
}

impl Footer {
    /// Reads the footer of a file.
    pub fn read(file: &File) -> Result<Self, ParquetError> {
        let length = file.metadata().map_err(ParquetError::Io)?.len();
        let not_parquet = || ParquetError::NotParquet;
        let tail_at = length.checked_sub(8).filter(|at| *at >= 4).ok_or_else(not_parquet)?;
        let (mut head, mut tail) = ([0; 4], [0; 8]);
        read_exact_at(file, &mut head, 0).map_err(ParquetError::Io)?;
        read_exact_at(file, &mut tail, tail_at).map_err(ParquetError::Io)?;
        if &tail[4..] == ENCRYPTED {
            return Err(ParquetError::Encrypted);
        }
        if &head != MAGIC || &tail[4..] != MAGIC {
            return Err(not_parquet());
        }
        let bytes = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
        let from = tail_at.checked_sub(bytes).filter(|from| *from >= 4);
        let from = from.ok_or_else(|| damaged("the footer's length"))?;
        // No more than the file holds.
        let mut footer = vec![0; usize::try_from(bytes).map_err(|_| damaged("the footer's length"))?];
        read_exact_at(file, &mut footer, from).map_err(ParquetError::Io)?;
        let raw = Raw::parse(&footer).map_err(|_| damaged("the footer"))?;
        raw.checked(from)
    }
}

/// The footer as it is written.
#[derive(Default)]
struct Raw {
    schema: Vec<Element>,
    rows: u64,
    groups: Vec<Group>,
    hugging_face: Option<String>,
    encrypted: bool,
}

/// A node of the schema, which is written from the root down.
#[derive(Default)]
struct Element {
    name: String,
    physical: Option<i64>,
    repetition: i64,
    children: u64,
    converted: Option<i64>,
    logical: Option<i64>,
}

impl Raw {
    fn parse(bytes: &[u8]) -> Result<Self, ThriftError> {
        let mut raw = Self::default();
        Thrift::new(bytes).fields(|thrift, field, kind| {
            match field {
                2 => thrift.structs(kind, |thrift| {
                    raw.schema.push(Element::parse(thrift)?);
                    Ok(())
                })?,
                3 => raw.rows = thrift.count(kind)?,
                4 => thrift.structs(kind, |thrift| {
                    raw.groups.push(parse_group(thrift)?);
                    Ok(())
                })?,
                5 => thrift.structs(kind, |thrift| raw.key_value(thrift))?,
                8 => {
                    raw.encrypted = true;
                    return Ok(false);
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(raw)
    }

    fn key_value(&mut self, thrift: &mut Thrift<'_>) -> Result<(), ThriftError> {
        let (mut key, mut value): (&[u8], Option<&[u8]>) = (b"", None);
        thrift.fields(|thrift, field, kind| {
            match field {
                1 => key = thrift.binary(kind)?,
                2 => value = Some(thrift.binary(kind)?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        if key == HUGGING_FACE.as_bytes() {
            self.hugging_face = value.map(|value| String::from_utf8_lossy(value).into_owned());
        }
        Ok(())
    }

    /// `data_end` is where the footer begins.
    fn checked(self, data_end: u64) -> Result<Footer, ParquetError> {
        if self.encrypted {
            return Err(ParquetError::Encrypted);
        }
        let (columns, leaves) = columns(self.schema)?;
        let counted = self.groups.iter().try_fold(0_u64, |sum, group| sum.checked_add(group.rows));
        if counted != Some(self.rows) {
            return Err(damaged("the number of rows"));
        }
        for group in &self.groups {
            if group.chunks.len() != leaves.len() {
                return Err(damaged("the columns of a row group"));
            }
            for (chunk, physical) in group.chunks.iter().zip(&leaves) {
                let inside = 4 <= chunk.start && chunk.start <= chunk.end && chunk.end <= data_end;
                if !inside || chunk.physical != *physical {
                    return Err(damaged("the place of a column"));
                }
            }
        }
        Ok(Footer { columns, groups: self.groups, hugging_face: self.hugging_face })
    }
}

impl Element {
    fn parse(thrift: &mut Thrift<'_>) -> Result<Self, ThriftError> {
        let mut element = Self::default();
        let mut name = None;
        thrift.fields(|thrift, field, kind| {
            match field {
                1 => element.physical = Some(thrift.int(kind)?),
                3 => element.repetition = thrift.int(kind)?,
                4 => name = Some(thrift.text(kind)?),
                5 => element.children = thrift.count(kind)?,
                6 => element.converted = Some(thrift.int(kind)?),
                10 => {
                    // A union: the number of its one field is the type.
                    let logical = &mut element.logical;
                    thrift.structure(kind, |_, field, _| {
                        *logical = Some(field);
                        Ok(false)
                    })?;
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        element.name = name.ok_or(ThriftError::Bad)?;
        Ok(element)
    }

    /// What the values are and, where they can be texts or labels, how they are stored.
    fn held(&self) -> (&'static str, Option<Physical>) {
        // Of the types that a whole number or bytes may stand for, most are not what the stored value says.
        match (self.logical, self.converted) {
            (Some(2 | 3), _) | (None, Some(1..=3)) => return ("a nested value", None),
            (Some(5), _) | (None, Some(5)) => return ("a decimal", None),
            (Some(6..=8), _) | (None, Some(6..=10 | 21)) => return ("a time", None),
            _ => {}
        }
        match self.physical {
            Some(0) => ("a Boolean", Some(Physical::Boolean)),
            Some(1) => ("a whole number", Some(Physical::Int32)),
            Some(2) => ("a whole number", Some(Physical::Int64)),
            Some(4) => ("a number", Some(Physical::Float)),
            Some(5) => ("a number", Some(Physical::Double)),
            Some(6) => ("a string", Some(Physical::Bytes)),
            Some(3) => ("a time", None),
            _ => ("bytes of a fixed length", None),
        }
    }
}

/// The columns at the top, and how each leaf of the schema is stored.
fn columns(schema: Vec<Element>) -> Result<(Vec<Column>, Vec<i64>), ParquetError> {
    let wrong = || damaged("the schema");
    let mut elements = schema.into_iter();
    let root = elements.next().ok_or_else(wrong)?;
    let (mut columns, mut leaves) = (Vec::new(), Vec::new());
    for _ in 0..root.children {
        let top = elements.next().ok_or_else(wrong)?;
        let place = leaves.len();
        // How many nodes below this one are still to come.
        let mut open = top.children;
        if open == 0 {
            leaves.push(top.physical.ok_or_else(wrong)?);
        }
        while open > 0 {
            let below = elements.next().ok_or_else(wrong)?;
            open = (open - 1).checked_add(below.children).ok_or_else(wrong)?;
            if below.children == 0 {
                leaves.push(below.physical.ok_or_else(wrong)?);
            }
        }
        let (held, physical) = match top.held() {
            _ if top.children > 0 || top.repetition == 2 => ("a nested value", None),
            held => held,
        };
        let leaf = physical.map(|physical| Leaf { place, physical, optional: top.repetition == 1 });
        columns.push(Column { name: top.name, held, leaf });
    }
    if elements.next().is_some() {
        return Err(wrong());
    }
    Ok((columns, leaves))
}

fn parse_group(thrift: &mut Thrift<'_>) -> Result<Group, ThriftError> {
    let (mut chunks, mut rows) = (Vec::new(), None);
    thrift.fields(|thrift, field, kind| {
        match field {
            1 => thrift.structs(kind, |thrift| {
                chunks.push(parse_chunk(thrift)?);
                Ok(())
            })?,
            3 => rows = Some(thrift.count(kind)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(Group { rows: rows.ok_or(ThriftError::Bad)?, chunks })
}

fn parse_chunk(thrift: &mut Thrift<'_>) -> Result<Chunk, ThriftError> {
    let mut chunk = None;
    thrift.fields(|thrift, field, kind| {
        match field {
            // The values lie in another file: nothing of one file may lead to others.
            1 => return Err(ThriftError::Bad),
            3 => chunk = Some(parse_chunk_data(thrift, kind)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    chunk.ok_or(ThriftError::Bad)
}

fn parse_chunk_data(thrift: &mut Thrift<'_>, kind: u8) -> Result<Chunk, ThriftError> {
    let mut chunk = Chunk::default();
    let (mut bytes, mut data, mut dictionary) = (None, None, None);
    thrift.structure(kind, |thrift, field, kind| {
        match field {
            1 => chunk.physical = thrift.int(kind)?,
            4 => chunk.codec = thrift.int(kind)?,
            7 => bytes = Some(thrift.count(kind)?),
            9 => data = Some(thrift.count(kind)?),
            11 => dictionary = Some(thrift.count(kind)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let (Some(bytes), Some(data)) = (bytes, data) else { return Err(ThriftError::Bad) };
    // Some writers give 0 where there is no dictionary.
    chunk.start = dictionary.filter(|at| *at > 0 && *at < data).unwrap_or(data);
    chunk.end = chunk.start.checked_add(bytes).ok_or(ThriftError::Bad)?;
    Ok(chunk)
}
