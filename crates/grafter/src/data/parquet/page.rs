//! The pages of a column: a header and a body that may be compressed, one in memory at a time.
//!
//! A body is at most [`MAX_PAGE_BYTES`], and memory for it is taken only as far as the compressed bytes can give it.
//! Source: the Parquet format, `README.md` (data pages) and `parquet.thrift` (`PageHeader`).

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;

use super::super::file::read_exact_at;
use super::footer::Chunk;
use super::thrift::{Thrift, ThriftError};
use super::{ParquetError, damaged};

/// Larger pages are refused. Writers aim at one MiB; of those in use the largest limit is 100 MB.
pub(super) const MAX_PAGE_BYTES: u64 = 128 << 20;
/// How much is read for a header at first; statistics can make one long.
const HEADER_BYTES: u64 = 1 << 10;
const MAX_HEADER_BYTES: u64 = 16 << 20;
/// Snappy's shortest instruction for the most bytes takes 3 and gives 64.
const MOST_SNAPPY: u64 = 22;

/// A page with its body decompressed.
pub(super) enum Page {
    /// What places stand for.
    Dictionary { body: Vec<u8>, values: u64 },
    /// Values, or places in the dictionary.
    Data(Data),
}

/// A page of values.
pub(super) struct Data {
    pub body: Vec<u8>,
    /// How many, absent ones included.
    pub values: u64,
    pub encoding: i64,
    /// Where in the body it is said which values are absent, if any can be.
    pub levels: Option<Range<usize>>,
    /// Where the values that are there begin.
    pub values_at: usize,
}

/// The pages of one chunk, in order.
#[derive(Debug)]
pub(super) struct Pages {
    at: u64,
    end: u64,
    codec: i64,
    optional: bool,
}

/// What a header says.
#[derive(Default)]
struct Header {
    kind: Option<i64>,
    size: u64,
    compressed: u64,
    values: Option<u64>,
    encoding: i64,
    level_encoding: i64,
    /// Of the second version: the bytes of the levels, which are not compressed.
    levels: u64,
    repetitions: u64,
    is_compressed: bool,
}

const DATA: i64 = 0;
const DICTIONARY: i64 = 2;
const DATA_V2: i64 = 3;
const RLE: i64 = 3;

impl Pages {
    pub fn new(chunk: &Chunk, optional: bool) -> Self {
        Self { at: chunk.start, end: chunk.end, codec: chunk.codec, optional }
    }

    /// The next page, or nothing at the end.
    pub fn next(&mut self, file: &File) -> Result<Option<Page>, ParquetError> {
        while self.at < self.end {
            let header = self.header(file)?;
            if header.compressed > self.end - self.at {
                return Err(damaged("the size of a page"));
            }
            let largest = header.compressed.max(header.size);
            if largest > MAX_PAGE_BYTES {
                return Err(ParquetError::LargePage { bytes: largest, limit: MAX_PAGE_BYTES });
            }
            let from = self.at;
            self.at += header.compressed;
            if !matches!(header.kind, Some(DATA | DICTIONARY | DATA_V2)) {
                continue;
            }
            let mut stored = vec![0; header.compressed as usize];
            read_exact_at(file, &mut stored, from).map_err(ParquetError::Io)?;
            return self.page(&header, stored).map(Some);
        }
        Ok(None)
    }

    /// Reads the header here and goes to the body. How long it is only reading it tells.
    fn header(&mut self, file: &File) -> Result<Header, ParquetError> {
        let mut length = HEADER_BYTES;
        loop {
            let held = length.min(self.end - self.at);
            let mut bytes = vec![0; held as usize];
            read_exact_at(file, &mut bytes, self.at).map_err(ParquetError::Io)?;
            let mut thrift = Thrift::new(&bytes);
            match Header::parse(&mut thrift) {
                Ok(header) => {
                    self.at += thrift.position() as u64;
                    return Ok(header);
                }
                Err(ThriftError::Short) if held == length && length < MAX_HEADER_BYTES => length *= 8,
                Err(_) => return Err(damaged("the header of a page")),
            }
        }
    }

    fn page(&self, header: &Header, stored: Vec<u8>) -> Result<Page, ParquetError> {
        let wrong = || damaged("the header of a page");
        let values = header.values.ok_or_else(wrong)?;
        let plain = if header.kind == Some(DATA_V2) { header.levels + header.repetitions } else { 0 };
        if plain > header.size || plain > stored.len() as u64 {
            return Err(wrong());
        }
        let body = if header.kind == Some(DATA_V2) && !header.is_compressed {
            stored
        } else {
            decompress(self.codec, stored, plain as usize, header.size)?
        };
        if body.len() as u64 != header.size {
            return Err(damaged("the size of a page"));
        }
        if header.kind == Some(DICTIONARY) {
            return Ok(Page::Dictionary { body, values });
        }
        let (levels, values_at) = self.levels(header, &body)?;
        Ok(Page::Data(Data { body, values, encoding: header.encoding, levels, values_at }))
    }

    /// Where the levels are, and where the values begin. A plain column at the top has no repetitions.
    fn levels(&self, header: &Header, body: &[u8]) -> Result<(Option<Range<usize>>, usize), ParquetError> {
        if header.kind == Some(DATA_V2) {
            let from = header.repetitions as usize;
            let until = from + header.levels as usize;
            return Ok((self.optional.then_some(from..until), until));
        }
        if !self.optional {
            return Ok((None, 0));
        }
        if header.level_encoding != RLE {
            return Err(ParquetError::Encoding { encoding: header.level_encoding });
        }
        let length = body.first_chunk().map(|length| u32::from_le_bytes(*length) as usize);
        let until = length.and_then(|length| length.checked_add(4)).filter(|until| *until <= body.len());
        let until = until.ok_or_else(|| damaged("the levels of a page"))?;
        Ok((Some(4..until), until))
    }
}

impl Header {
    fn parse(thrift: &mut Thrift<'_>) -> Result<Self, ThriftError> {
        let mut header = Self { is_compressed: true, ..Self::default() };
        thrift.fields(|thrift, field, kind| {
            match field {
                1 => header.kind = Some(thrift.int(kind)?),
                2 => header.size = thrift.count(kind)?,
                3 => header.compressed = thrift.count(kind)?,
                5 => header.parse_part(thrift, kind, [2, 3, 0, 0, 0])?,
                7 => header.parse_part(thrift, kind, [2, 0, 0, 0, 0])?,
                8 => header.parse_part(thrift, kind, [4, 0, 5, 6, 7])?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        if header.levels.max(header.repetitions) > u64::from(u32::MAX) {
            return Err(ThriftError::Bad);
        }
        Ok(header)
    }

    /// Reads the part of one kind of page. Field 1 is always the number of values; of the others, 0 is none: encoding,
    /// encoding of the levels, bytes of the levels, bytes of the repetitions, whether the values are compressed.
    fn parse_part(&mut self, thrift: &mut Thrift<'_>, kind: u8, fields: [i64; 5]) -> Result<(), ThriftError> {
        let [encoding, level_encoding, levels, repetitions, is_compressed] = fields;
        thrift.structure(kind, |thrift, field, kind| {
            match field {
                1 => self.values = Some(thrift.count(kind)?),
                field if field == encoding => self.encoding = thrift.int(kind)?,
                field if field == level_encoding => self.level_encoding = thrift.int(kind)?,
                field if field == levels => self.levels = thrift.count(kind)?,
                field if field == repetitions => self.repetitions = thrift.count(kind)?,
                field if field == is_compressed => self.is_compressed = Thrift::truth(kind)?,
                _ => return Ok(false),
            }
            Ok(true)
        })
    }
}

/// The bytes of a page, of which the first `plain` are not compressed; no more than `size`.
fn decompress(codec: i64, stored: Vec<u8>, plain: usize, size: u64) -> Result<Vec<u8>, ParquetError> {
    if codec == 0 {
        return Ok(stored);
    }
    let (plain, packed) = stored.split_at(plain);
    let wanted = size - plain.len() as u64;
    let mut body = plain.to_vec();
    // Where nothing is to come, some writers store nothing, which is no valid form of it.
    if wanted == 0 {
        return Ok(body);
    }
    let failed = |_: io::Error| damaged("a compressed page");
    match codec {
        1 => {
            if wanted > MOST_SNAPPY.saturating_mul(packed.len() as u64) {
                return Err(damaged("a compressed page"));
            }
            body.resize(plain.len() + wanted as usize, 0);
            let written = snap::raw::Decoder::new().decompress(packed, &mut body[plain.len()..]);
            if written.ok() != Some(wanted as usize) {
                return Err(damaged("a compressed page"));
            }
        }
        // One byte more shows that there is more.
        2 => {
            let mut read = flate2::read::MultiGzDecoder::new(packed).take(wanted + 1);
            read.read_to_end(&mut body).map_err(failed)?;
        }
        6 => {
            let decoder =
                ruzstd::decoding::StreamingDecoder::new_with_max_window_size(packed, MAX_PAGE_BYTES);
            let decoder = decoder.map_err(|_| damaged("a compressed page"))?;
            decoder.take(wanted + 1).read_to_end(&mut body).map_err(failed)?;
        }
        codec => return Err(ParquetError::Codec { codec }),
    }
    Ok(body)
}
