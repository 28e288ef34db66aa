//! The values of one column in one group of rows, one after another.
//!
//! Source: the Parquet format, `Encodings.md`. What is not read, BYTE_STREAM_SPLIT and the old bit-packed levels, is named.

use std::fs::File;

use super::bits::{Differences, Hybrid, bits};
use super::footer::{Chunk, Leaf, Physical};
use super::page::{Data, Page, Pages};
use super::{ParquetError, damaged};

/// A value that is there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Bytes(&'a [u8]),
    Int(i64),
    Float(f32),
    Double(f64),
    Boolean(bool),
}

/// Where reading stands.
pub(super) struct Column {
    physical: Physical,
    pages: Pages,
    dictionary: Option<Dictionary>,
    page: Option<Open>,
}

/// A page that is read.
struct Open {
    body: Vec<u8>,
    left: u64,
    levels: Option<Hybrid>,
    values: Values,
}

/// How the values of a page are written, and where the next one is.
enum Values {
    Plain { at: usize },
    Bits { bit: usize },
    Runs(Hybrid),
    Places(Hybrid),
    Differences(Differences),
    Lengths { lengths: Differences, at: usize },
    Endings { shared: Differences, lengths: Differences, at: usize, last: Vec<u8> },
}

/// What places stand for.
struct Dictionary {
    body: Vec<u8>,
    values: u64,
    /// Where each value begins, if they have lengths of their own.
    starts: Vec<u32>,
}

impl Column {
    pub fn new(leaf: &Leaf, chunk: &Chunk) -> Self {
        let pages = Pages::new(chunk, leaf.optional);
        Self { physical: leaf.physical, pages, dictionary: None, page: None }
    }

    /// The next value, or nothing where it is absent.
    pub fn next(&mut self, file: &File) -> Result<Option<Value<'_>>, ParquetError> {
        let page = loop {
            if self.page.as_ref().is_some_and(|page| page.left > 0) {
                break self.page.as_mut().expect("a page with values is open");
            }
            match self.pages.next(file)?.ok_or_else(|| damaged("the number of values"))? {
                Page::Data(data) => self.page = Some(Open::new(data, self.physical)?),
                Page::Dictionary { body, values } => {
                    self.dictionary = Some(Dictionary::new(body, values, self.physical)?);
                }
            }
        };
        page.left -= 1;
        if let Some(levels) = &mut page.levels {
            match levels.next(&page.body)? {
                0 => return Ok(None),
                1 => {}
                _ => return Err(damaged("the levels of a page")),
            }
        }
        page.values.next(&page.body, self.physical, self.dictionary.as_ref()).map(Some)
    }
}

impl Open {
    fn new(data: Data, physical: Physical) -> Result<Self, ParquetError> {
        let levels = data.levels.clone().map(|range| Hybrid::new(range, 1)).transpose()?;
        let values = Values::new(&data, physical)?;
        Ok(Self { body: data.body, left: data.values, levels, values })
    }
}

impl Values {
    fn new(data: &Data, physical: Physical) -> Result<Self, ParquetError> {
        let (body, at, length) = (&data.body, data.values_at, data.body.len());
        let whole = matches!(physical, Physical::Int32 | Physical::Int64);
        Ok(match (data.encoding, physical) {
            (0, Physical::Boolean) => Self::Bits { bit: at.saturating_mul(8) },
            (0, _) => Self::Plain { at },
            // Of a page without values nothing needs to be there.
            (2 | 8, _) if at == length => Self::Places(Hybrid::new(at..at, 0)?),
            (2 | 8, physical) if physical != Physical::Boolean => {
                Self::Places(Hybrid::new(at + 1..length, body[at])?)
            }
            (3, Physical::Boolean) => Self::Runs(Hybrid::new(at.saturating_add(4).min(length)..length, 1)?),
            (5, _) if whole => Self::Differences(Differences::new(body, at, data.values)?),
            (6, Physical::Bytes) => {
                let lengths = Differences::new(body, at, data.values)?;
                Self::Lengths { at: lengths.end(body)?, lengths }
            }
            (7, Physical::Bytes) => {
                let shared = Differences::new(body, at, data.values)?;
                let lengths = Differences::new(body, shared.end(body)?, data.values)?;
                Self::Endings { at: lengths.end(body)?, shared, lengths, last: Vec::new() }
            }
            (encoding, _) => return Err(ParquetError::Encoding { encoding }),
        })
    }

    fn next<'a>(
        &'a mut self,
        body: &'a [u8],
        physical: Physical,
        dictionary: Option<&'a Dictionary>,
    ) -> Result<Value<'a>, ParquetError> {
        match self {
            Self::Plain { at } => {
                let (value, next) = plain(body, *at, physical)?;
                *at = next;
                Ok(value)
            }
            Self::Bits { bit } => {
                let value = bits(body, body.len(), *bit, 1)?;
                *bit += 1;
                Ok(Value::Boolean(value == 1))
            }
            Self::Runs(runs) => Ok(Value::Boolean(runs.next(body)? == 1)),
            Self::Places(places) => {
                let place = places.next(body)?;
                dictionary.ok_or_else(|| damaged("a page without its dictionary"))?.get(place, physical)
            }
            Self::Differences(numbers) => {
                let value = numbers.next(body)?;
                // Differences of 32 bits wrap around in 32 bits.
                Ok(Value::Int(if physical == Physical::Int32 { i64::from(value as i32) } else { value }))
            }
            Self::Lengths { lengths, at } => {
                let bytes = slice(body, *at, lengths.next(body)?)?;
                *at += bytes.len();
                Ok(Value::Bytes(bytes))
            }
            Self::Endings { shared, lengths, at, last } => {
                let kept = usize::try_from(shared.next(body)?).ok().filter(|kept| *kept <= last.len());
                let ending = slice(body, *at, lengths.next(body)?)?;
                *at += ending.len();
                last.truncate(kept.ok_or_else(|| damaged("a shared beginning"))?);
                last.extend_from_slice(ending);
                Ok(Value::Bytes(last))
            }
        }
    }
}

impl Dictionary {
    fn new(body: Vec<u8>, values: u64, physical: Physical) -> Result<Self, ParquetError> {
        let mut starts = Vec::new();
        let mut at = 0;
        // Each value takes four bytes at least, so this ends where the body does.
        for _ in 0..values {
            if physical != Physical::Bytes {
                break;
            }
            starts.push(u32::try_from(at).map_err(|_| damaged("a dictionary"))?);
            at = plain(&body, at, physical)?.1;
        }
        Ok(Self { body, values, starts })
    }

    fn get(&self, place: u32, physical: Physical) -> Result<Value<'_>, ParquetError> {
        let at = match physical {
            _ if u64::from(place) >= self.values => None,
            Physical::Bytes => self.starts.get(place as usize).map(|at| *at as usize),
            Physical::Int32 | Physical::Float => (place as usize).checked_mul(4),
            Physical::Int64 | Physical::Double => (place as usize).checked_mul(8),
            Physical::Boolean => None,
        };
        let at = at.ok_or_else(|| damaged("a place in a dictionary"))?;
        plain(&self.body, at, physical).map(|(value, _)| value)
    }
}

/// The value that begins at `at`, and where the next one does.
fn plain(body: &[u8], at: usize, physical: Physical) -> Result<(Value<'_>, usize), ParquetError> {
    let short = || damaged("the values of a page");
    let rest = body.get(at..).ok_or_else(short)?;
    Ok(match physical {
        Physical::Bytes => {
            let length = u32::from_le_bytes(*rest.first_chunk().ok_or_else(short)?);
            let bytes = slice(body, at + 4, i64::from(length))?;
            (Value::Bytes(bytes), at + 4 + bytes.len())
        }
        Physical::Int32 => {
            let value = i32::from_le_bytes(*rest.first_chunk().ok_or_else(short)?);
            (Value::Int(i64::from(value)), at + 4)
        }
        Physical::Int64 => (Value::Int(i64::from_le_bytes(*rest.first_chunk().ok_or_else(short)?)), at + 8),
        Physical::Float => (Value::Float(f32::from_le_bytes(*rest.first_chunk().ok_or_else(short)?)), at + 4),
        Physical::Double => {
            (Value::Double(f64::from_le_bytes(*rest.first_chunk().ok_or_else(short)?)), at + 8)
        }
        Physical::Boolean => return Err(damaged("the values of a page")),
    })
}

fn slice(body: &[u8], at: usize, length: i64) -> Result<&[u8], ParquetError> {
    let end = usize::try_from(length).ok().and_then(|length| at.checked_add(length));
    end.and_then(|end| body.get(at..end)).ok_or_else(|| damaged("the values of a page"))
}
