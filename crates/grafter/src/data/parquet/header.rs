//! What headers of pages and the footer of a file say of sizes, before the crate believes it: it takes memory for what a page says
//! to be when it is decompressed, and for the columns that the schema announces.
//!
//! Both are structs in Thrift's compact protocol (`parquet.thrift`, `thrift-compact-protocol.md`).

use std::io::{self, ErrorKind, Read};

use super::super::compressed::most_bytes;

/// The fields of a page's header with its sizes.
const UNCOMPRESSED: i64 = 2;
const COMPRESSED: i64 = 3;
/// The field of a footer with the elements of the schema, and that of an element with the number of its parts.
const SCHEMA: i64 = 2;
const CHILDREN: i64 = 5;
/// Types of values.
const INT32: u8 = 5;
const LIST: u8 = 9;
const STRUCT: u8 = 12;
/// How deep structs and lists lie in each other; a header of the format has four levels.
const MOST_DEPTH: usize = 16;

/// Whether there is the header of a page that can be what it says when it is decompressed.
/// # Errors
/// What the input says.
pub(super) fn is_plausible(input: &mut impl Read) -> io::Result<bool> {
    match sizes(&mut Compact(input)) {
        Ok((uncompressed, compressed)) => {
            let [uncompressed, compressed] =
                [uncompressed, compressed].map(|size| u64::try_from(size).unwrap_or(0));
            Ok(uncompressed <= most_bytes(compressed))
        }
        Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether no group of the schema in a footer has more parts than the schema has elements.
pub(super) fn footer_is_plausible(mut footer: &[u8]) -> bool {
    let footer = &mut Compact(&mut footer);
    footer
        .fields(|footer, id, kind| match (id, kind) {
            (SCHEMA, LIST) => footer.list(|footer, kind, count| match kind {
                STRUCT => footer.fields(|footer, id, kind| match (id, kind) {
                    (CHILDREN, INT32) if footer.integer()?.unsigned_abs() > count => {
                        Err(ErrorKind::InvalidData.into())
                    }
                    (CHILDREN, INT32) => Ok(()),
                    _ => footer.skip(kind, MOST_DEPTH),
                }),
                _ => footer.skip_element(kind, MOST_DEPTH),
            }),
            _ => footer.skip(kind, MOST_DEPTH),
        })
        .is_ok()
}

/// What the page says to be decompressed and compressed. Of a field that is there twice, that which promises more.
fn sizes(header: &mut Compact<impl Read>) -> io::Result<(i64, i64)> {
    let (mut uncompressed, mut compressed): (i64, Option<i64>) = (0, None);
    header.fields(|header, id, kind| {
        match (id, kind) {
            (UNCOMPRESSED, INT32) => uncompressed = header.integer()?.max(uncompressed),
            (COMPRESSED, INT32) => {
                let size = header.integer()?;
                compressed = Some(compressed.map_or(size, |other| other.min(size)));
            }
            _ => header.skip(kind, MOST_DEPTH)?,
        }
        Ok(())
    })?;
    Ok((uncompressed, compressed.unwrap_or(0)))
}

/// Seven bits a byte, the lowest first.
pub(super) fn varint(input: &mut impl Read) -> io::Result<u64> {
    Compact(input).varint()
}

/// Values in Thrift's compact protocol.
struct Compact<'a, R>(&'a mut R);

impl<R: Read> Compact<'_, R> {
    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.0.read_exact(&mut byte).map(|()| byte[0])
    }

    /// Seven bits a byte, the lowest first.
    fn varint(&mut self) -> io::Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ErrorKind::InvalidData.into())
    }

    /// Zigzag: 0, -1, 1, -2 are 0, 1, 2, 3.
    fn integer(&mut self) -> io::Result<i64> {
        let value = self.varint()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// The fields of a struct, each to be read by its number and its type.
    fn fields(&mut self, mut field: impl FnMut(&mut Self, i64, u8) -> io::Result<()>) -> io::Result<()> {
        let mut id = 0_i64;
        loop {
            let byte = self.byte()?;
            if byte == 0 {
                return Ok(());
            }
            // How far its number is from that of the one before, or 0, and the number follows.
            id = if byte >> 4 == 0 { self.integer()? } else { id.saturating_add((byte >> 4).into()) };
            field(self, id, byte & 0xf)?;
        }
    }

    /// The elements of a list, each to be read by its type; they know how many there are.
    fn list(&mut self, mut element: impl FnMut(&mut Self, u8, u64) -> io::Result<()>) -> io::Result<()> {
        let byte = self.byte()?;
        let count = if byte >> 4 == 15 { self.varint()? } else { (byte >> 4).into() };
        (0..count).try_for_each(|_| element(self, byte & 0xf, count))
    }

    fn skip_bytes(&mut self, count: u64) -> io::Result<()> {
        match io::copy(&mut self.0.by_ref().take(count), &mut io::sink())? {
            skipped if skipped == count => Ok(()),
            _ => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Passes over a value of a type; the types of the elements of lists are the same but for truth values, which take a byte there.
    fn skip(&mut self, kind: u8, depth: usize) -> io::Result<()> {
        let depth = depth.checked_sub(1).ok_or(ErrorKind::InvalidData)?;
        match kind {
            1 | 2 => Ok(()),
            3 => self.skip_bytes(1),
            4..=6 => self.varint().map(drop),
            7 => self.skip_bytes(8),
            8 => self.varint().and_then(|count| self.skip_bytes(count)),
            LIST | 10 => self.list(|of, kind, _| of.skip_element(kind, depth)),
            11 => {
                let count = self.varint()?;
                let kinds = if count == 0 { 0 } else { self.byte()? };
                (0..count).try_for_each(|_| {
                    self.skip_element(kinds >> 4, depth)?;
                    self.skip_element(kinds & 0xf, depth)
                })
            }
            STRUCT => self.fields(|of, _, kind| of.skip(kind, depth)),
            _ => Err(ErrorKind::InvalidData.into()),
        }
    }

    fn skip_element(&mut self, kind: u8, depth: usize) -> io::Result<()> {
        if matches!(kind, 1 | 2) { self.skip_bytes(1) } else { self.skip(kind, depth) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plausible(header: &[u8]) -> bool {
        is_plausible(&mut &*header).unwrap()
    }

    /// As bytes in the protocol: seven bits at a time, the lowest first.
    fn size(value: u64) -> Vec<u8> {
        let mut left = value << 1;
        let mut bytes = Vec::new();
        while left > 0x7f {
            bytes.push(0x80 | (left & 0x7f) as u8);
            left >>= 7;
        }
        bytes.push(left as u8);
        bytes
    }

    #[test]
    fn numbers_are_those_of_the_protocols_description() {
        let number = |bytes: &[u8]| Compact(&mut &*bytes).integer().unwrap();
        assert_eq!([&[0][..], &[1], &[2], &[3]].map(number), [0, -1, 1, -2]);
        // 50399 is 0b11 0001001 1011111.
        assert_eq!(Compact(&mut &[0xdf, 0x89, 0x03][..]).varint().unwrap(), 50_399);
        let all = [&[0xff; 9][..], &[1]].concat();
        assert_eq!(Compact(&mut &all[..]).varint().unwrap(), u64::MAX);
        assert!(Compact(&mut &[0xff; 11][..]).varint().is_err());
    }

    #[test]
    fn a_page_does_not_grow_without_measure() {
        let header = |uncompressed, compressed| {
            [&[0x15, 4, 0x15][..], &size(uncompressed), &[0x15], &size(compressed), &[0x4c, 0x15, 0x78, 0, 0]]
                .concat()
        };
        let most = (16 << 20) + 1000 * 500;
        assert!(plausible(&header(240, 244)));
        assert!(plausible(&header(most, 500)));
        assert!(!plausible(&header(most + 1, 500)));
        assert!(!plausible(&header(i32::MAX as u64, 0)));
    }

    #[test]
    fn a_size_that_is_told_twice_or_late_is_found() {
        let large = size(i32::MAX as u64);
        // With the field's number written out, after a list, a map, a binary, a double, and truth values in a list.
        let late = [
            &[0x19, 0x21, 1, 2, 0x1b, 1, 0x58, 2, 1, b'x', 0x18, 2, 1, 2, 0x17][..],
            &[0; 8],
            &[0x05, 4],
            &large,
            &[0],
        ];
        assert!(!plausible(&late.concat()));
        let twice = [&[0x15, 4, 0x15, 2, 0x15, 2, 0x05, 4][..], &large, &[0]].concat();
        assert!(!plausible(&twice));
        let fewer =
            [&[0x15, 4, 0x15][..], &size(20 << 20), &[0x15], &size(8 << 20), &[0x05, 6, 2, 0]].concat();
        assert!(!plausible(&fewer));
    }

    #[test]
    fn a_header_that_does_not_end_is_none() {
        for broken in [&[][..], &[0x15], &[0x1d, 0], &[0x19, 0xf8, 0xff], &[0x1c; 40], &[0x18, 0xff, 0xff, 3]]
        {
            assert!(!plausible(broken), "{broken:?}");
        }
    }

    #[test]
    fn a_group_has_no_more_parts_than_the_schema_has_elements() {
        // Version 1, and two elements: the second with its number of parts in a field after its name.
        let footer = |parts| {
            let second = [&[0x48, 1, b'a', 0x15][..], &size(parts), &[0]].concat();
            [&[0x15, 2, 0x19, 0x2c, 0x48, 1, b'r', 0][..], &second, &[0]].concat()
        };
        assert!(footer_is_plausible(&footer(2)));
        assert!(!footer_is_plausible(&footer(3)));
        assert!(!footer_is_plausible(&footer(i32::MAX as u64)));
        assert!(!footer_is_plausible(&footer(2)[..6]));
    }
}
