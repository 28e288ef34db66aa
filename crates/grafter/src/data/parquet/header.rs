//! What headers of pages and the footer of a file say of sizes, before the crate believes it: it takes memory for what a page says
//! to be when it is decompressed, and for the columns that the schema announces, and calls itself for each level of these.
//!
//! Both are structs in Thrift's compact protocol (`parquet.thrift`, `thrift-compact-protocol.md`).

use std::io::{self, ErrorKind, Read};

use super::super::compressed::most_bytes;

/// The fields of a page's header: what it is, its sizes, its sum, and the struct of its kind.
const PAGE_KIND: i64 = 1;
const UNCOMPRESSED: i64 = 2;
const COMPRESSED: i64 = 3;
const CHECKSUM: i64 = 4;
const DATA_PAGE: i64 = 5;
const INDEX_PAGE: i64 = 6;
const DICTIONARY_PAGE: i64 = 7;
const DATA_PAGE_V2: i64 = 8;
const AFTER_LAST: i64 = 9;
/// The fields of a footer up to the elements of the schema.
const VERSION: i64 = 1;
const SCHEMA: i64 = 2;
/// Fields of an element: its name, the number of its parts, and the struct with its logical type, which is the last.
const NAME: i64 = 4;
const CHILDREN: i64 = 5;
const LOGICAL_TYPE: i64 = 10;
/// Types of values. Those up to `BINARY` have no others in them. A truth value is its type, 1 or 2.
const TRUTH: u8 = 1;
const BYTE: u8 = 3;
const INT32: u8 = 5;
const INT64: u8 = 6;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;
/// The fields of the statistics of a page: largest and smallest values, in two ways, counts, whether these are exact.
const STATISTICS: [u8; 9] = [BINARY, BINARY, INT64, INT64, BINARY, BINARY, TRUTH, TRUTH, INT64];
/// How many groups of a schema lie in each other, the root among them.
pub(super) const MOST_GROUPS: usize = 64;
/// How deep structs and lists lie in each other; a header of the format has four levels.
const MOST_DEPTH: usize = 16;

/// Length of the header of a page in bytes; `None` if there is none, or it cannot be what it says when it is decompressed.
/// # Errors
/// What the input says.
pub(super) fn plausible_length(input: impl Read) -> io::Result<Option<u64>> {
    let mut input = input.take(u64::MAX);
    match sizes(&mut Compact(&mut input)) {
        Ok((uncompressed, compressed)) => {
            let [uncompressed, compressed] =
                [uncompressed, compressed].map(|size| u64::try_from(size).unwrap_or(0));
            Ok((uncompressed <= most_bytes(compressed)).then(|| u64::MAX - input.limit()))
        }
        Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether no group of the schema in a footer has more parts than the schema has elements, or lies too deep in others.
///
/// The crate knows a field by its number alone, and reads what it expects there whatever type the field says to have. Up to the end
/// of the schema another type is therefore refused: behind it the two would read different schemas.
pub(super) fn footer_is_plausible(mut footer: &[u8]) -> bool {
    let (mut found, mut open) = (false, Vec::new());
    let read = Compact(&mut footer).fields(|footer, id, kind| match (id, kind) {
        // The crate passes over a second schema, as over what follows the first.
        _ if found => footer.skip(kind, MOST_DEPTH),
        (VERSION, INT32) => footer.skip(kind, MOST_DEPTH),
        (SCHEMA, LIST) => {
            found = true;
            footer.list(|footer, kind, count| match kind {
                STRUCT => footer.element(count, &mut open),
                _ => Err(ErrorKind::InvalidData.into()),
            })
        }
        _ => Err(ErrorKind::InvalidData.into()),
    });
    read.is_ok()
}

/// The type of a field in one of the logical types, both by their numbers. Those that the crate does not know it passes over by
/// the type that they say, and truth values are in that type.
fn of_logical_type(logical_type: i64, id: i64) -> Option<u8> {
    match (logical_type, id) {
        // Digits of a decimal; how edges between places on the earth run.
        (5, 1 | 2) | (18, 2) => Some(INT32),
        // The unit of a time.
        (7 | 8, 2) => Some(STRUCT),
        // Bits of a whole number; the version of a variant.
        (10 | 16, 1) => Some(BYTE),
        // What the coordinates of a place are.
        (17 | 18, 1) => Some(BINARY),
        _ => None,
    }
}

/// What the page says to be decompressed and compressed. Of a field that is there twice, that which promises more.
///
/// As of the schema the crate knows a field by its number alone: another type is refused, and so is what it does not know unless
/// that is one value. Else it might read what is no header, on and on.
fn sizes(header: &mut Compact<impl Read>) -> io::Result<(i64, i64)> {
    let (mut uncompressed, mut compressed): (i64, Option<i64>) = (0, None);
    header.fields(|header, id, kind| {
        match (id, kind) {
            (UNCOMPRESSED, INT32) => uncompressed = header.size()?.max(uncompressed),
            (COMPRESSED, INT32) => {
                let size = header.size()?;
                compressed = Some(compressed.map_or(size, |other| other.min(size)));
            }
            (UNCOMPRESSED | COMPRESSED, _) => return Err(ErrorKind::InvalidData.into()),
            (PAGE_KIND | CHECKSUM, INT32) => header.skip(kind, MOST_DEPTH)?,
            (DATA_PAGE, STRUCT) => header.fields_of_types(&[INT32, INT32, INT32, INT32, STRUCT])?,
            (INDEX_PAGE, STRUCT) => header.fields_of_types(&[])?,
            (DICTIONARY_PAGE, STRUCT) => header.fields_of_types(&[INT32, INT32, TRUTH])?,
            (DATA_PAGE_V2, STRUCT) => {
                let [number, truth, statistics] = [INT32, TRUTH, STRUCT];
                header
                    .fields_of_types(&[number, number, number, number, number, number, truth, statistics])?;
            }
            (..PAGE_KIND | AFTER_LAST.., ..=BINARY) => header.skip(kind, MOST_DEPTH)?,
            _ => return Err(ErrorKind::InvalidData.into()),
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

    /// A number of 32 bits. The crate takes as many of a longer one.
    fn size(&mut self) -> io::Result<i64> {
        let size = self.integer()?;
        i32::try_from(size).map(i64::from).map_err(|_| ErrorKind::InvalidData.into())
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
            id = if byte >> 4 == 0 { self.integer()? } else { id + i64::from(byte >> 4) };
            // The crate takes 16 bits of a number, so that 65,537 would be 1.
            i16::try_from(id).map_err(|_| ErrorKind::InvalidData)?;
            field(self, id, byte & 0xf)?;
        }
    }

    /// The elements of a list, each to be read by its type; they know how many there are.
    fn list(&mut self, mut element: impl FnMut(&mut Self, u8, u64) -> io::Result<()>) -> io::Result<()> {
        let byte = self.byte()?;
        let count = if byte >> 4 == 15 { self.varint()? } else { (byte >> 4).into() };
        (0..count).try_for_each(|_| element(self, byte & 0xf, count))
    }

    /// An element of a schema of `count`, in groups of which `open` knows how many parts are still to come.
    fn element(&mut self, count: u64, open: &mut Vec<u64>) -> io::Result<()> {
        let mut parts = 0;
        self.fields(|of, id, kind| match (id, kind) {
            (CHILDREN, INT32) => {
                parts = of.integer()?.unsigned_abs();
                if parts <= count { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
            }
            (NAME, BINARY) | (1..=3 | 6..=9, INT32) => of.skip(kind, MOST_DEPTH),
            (LOGICAL_TYPE, STRUCT) => of.logical_type(),
            (11.., ..=BINARY) => of.skip(kind, MOST_DEPTH),
            _ => Err(ErrorKind::InvalidData.into()),
        })?;
        if let Some(left) = open.last_mut() {
            *left -= 1;
        }
        // The last part of a group may be a group, which its own parts follow.
        open.push(parts);
        while open.last() == Some(&0) {
            open.pop();
        }
        if open.len() <= MOST_GROUPS { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
    }

    /// The fields of a struct in a page's header, of these types by their numbers. A struct within is that of the statistics. What
    /// the crate does not know is one value.
    fn fields_of_types(&mut self, types: &[u8]) -> io::Result<()> {
        self.fields(|of, id, kind| {
            let expected = usize::try_from(id - 1).ok().and_then(|place| types.get(place));
            match expected {
                Some(&STRUCT) if kind == STRUCT => of.fields_of_types(&STATISTICS),
                Some(&TRUTH) if matches!(kind, 1 | 2) => Ok(()),
                Some(expected) if *expected == kind => of.skip(kind, MOST_DEPTH),
                None if kind <= BINARY => of.skip(kind, MOST_DEPTH),
                _ => Err(ErrorKind::InvalidData.into()),
            }
        })
    }

    /// One of the logical types, each a struct.
    fn logical_type(&mut self) -> io::Result<()> {
        let wrong = || Err(ErrorKind::InvalidData.into());
        self.fields(|of, logical_type, kind| {
            if kind != STRUCT {
                return wrong();
            }
            of.fields(|of, id, kind| match of_logical_type(logical_type, id) {
                Some(expected) if expected != kind => wrong(),
                // One of several structs, which are empty.
                Some(STRUCT) => {
                    of.fields(|of, _, kind| if kind == STRUCT { of.skip(kind, MOST_DEPTH) } else { wrong() })
                }
                _ if kind <= BINARY => of.skip(kind, MOST_DEPTH),
                _ => wrong(),
            })
        })
    }

    fn skip_bytes(&mut self, count: u64) -> io::Result<()> {
        match io::copy(&mut self.0.by_ref().take(count), &mut io::sink())? {
            skipped if skipped == count => Ok(()),
            _ => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Passes over a value of a type. The types of the elements of lists are the same. Truth values, which take a byte there, the
    /// crate takes for nothing: it would read other fields than are there, and so none are in any list.
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
        if matches!(kind, 1 | 2) { Err(ErrorKind::InvalidData.into()) } else { self.skip(kind, depth) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plausible(header: &[u8]) -> bool {
        plausible_length(header).unwrap().is_some()
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
        // Of more than 32 bits the crate would take 10 and 240.
        assert!(!plausible(&header(240, (1 << 32) + 10)));
        assert!(!plausible(&header((1 << 32) + 240, 244)));
    }

    #[test]
    fn a_size_that_is_told_twice_or_late_is_found() {
        let large = size(i32::MAX as u64);
        // With the field's number written out, after a text, a double and a truth value that nobody knows.
        let late = |size: &[u8]| {
            [&[0x08, 40, 2, 1, 2, 0x17][..], &[0; 8], &[0x11, 0x05, 4], size, &[0x05, 6, 2, 0]].concat()
        };
        assert!(plausible(&late(&[2])));
        assert!(!plausible(&late(&large)));
        let twice = [&[0x15, 4, 0x15, 2, 0x15, 2, 0x05, 4][..], &large, &[0]].concat();
        assert!(!plausible(&twice));
        let fewer =
            [&[0x15, 4, 0x15][..], &size(20 << 20), &[0x15], &size(8 << 20), &[0x05, 6, 2, 0]].concat();
        assert!(!plausible(&fewer));
    }

    #[test]
    fn a_page_has_the_fields_that_the_crate_reads() {
        // The page of a dictionary, sorted; one of the second version with statistics; a sum, an index, and a value to come.
        let dictionary = [0x15, 4, 0x15, 2, 0x15, 2, 0x4c, 0x15, 2, 0x15, 0, 0x11, 0, 0];
        let second =
            [
                &[
                    0x15, 6, 0x15, 2, 0x15, 2, 0x5c, 0x15, 2, 0x15, 0, 0x15, 2, 0x15, 0, 0x15, 0, 0x15, 0,
                    0x12,
                ][..],
                &[0x1c, 0x18, 1, b'x', 0x26, 2, 0x28, 1, b'y', 0x21, 0x26, 0, 0, 0, 0],
            ]
            .concat();
        let other = [0x15, 2, 0x15, 2, 0x15, 2, 0x15, 8, 0x2c, 0, 0x38, 1, b'x', 0];
        for good in [&dictionary[..], &second, &other] {
            let more = [good, &[1, 2, 3]].concat();
            assert_eq!(plausible_length(&*more).unwrap(), Some(good.len() as u64), "{good:?}");
        }
        for bad in [
            // Statistics as a list, of which the crate finds a struct; values as a text; a list that nobody knows, and in statistics.
            &[0x15, 0, 0x15, 2, 0x15, 2, 0x2c, 0x15, 2, 0x15, 0, 0x15, 0, 0x15, 0, 0x19, 0x13, 1, 0, 0][..],
            &[0x15, 0, 0x15, 2, 0x15, 2, 0x2c, 0x18, 1, b'x', 0, 0],
            &[0x15, 0, 0x15, 2, 0x15, 2, 0x09, 40, 0x13, 1, 0],
            &[0x15, 0, 0x15, 2, 0x15, 2, 0x2c, 0x5c, 0x19, 0x13, 1, 0, 0, 0],
            // The sizes as other types.
            &[0x15, 0, 0x16, 2, 0x15, 2, 0],
            &[0x15, 0, 0x15, 2, 0x18, 0, 0],
        ] {
            assert!(!plausible(bad), "{bad:?}");
        }
        // Truth values in a list or a map, which take no byte for the crate.
        let footer = |more: &[u8]| [&[0x15, 2, 0x19, 0x1c, 0x48, 1, b'r', 0][..], more, &[0]].concat();
        assert!(footer_is_plausible(&footer(&[0x09, 40, 0x13, 1])));
        assert!(!footer_is_plausible(&footer(&[0x09, 40, 0x11, 1])));
        assert!(!footer_is_plausible(&footer(&[0x0b, 40, 1, 0x31, 1, 1])));
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

    /// A footer of a version, which may be of another type, and of these elements.
    fn footer(version: &[u8], elements: &[&[u8]]) -> Vec<u8> {
        let mut count = vec![0x19, 0xfc];
        let mut left = elements.len();
        while left > 0x7f {
            count.push(0x80 | (left & 0x7f) as u8);
            left >>= 7;
        }
        count.push(left as u8);
        [version, &count, &elements.concat(), &[0]].concat()
    }

    /// Groups of 1 and of 2 parts, and a column.
    const OF_ONE: &[u8] = &[0x35, 0, 0x18, 1, b'g', 0x15, 2, 0];
    const OF_TWO: &[u8] = &[0x35, 0, 0x18, 1, b'g', 0x15, 4, 0];
    const LEAF: &[u8] = &[0x15, 12, 0x25, 0, 0x18, 1, b'c', 0];

    #[test]
    fn groups_lie_in_each_other_to_a_depth() {
        let plausible = |elements: &[&[u8]]| footer_is_plausible(&footer(&[0x15, 2], elements));
        let chain = |groups: usize| [&vec![OF_ONE; groups][..], &[LEAF]].concat();
        assert!(plausible(&chain(64)));
        assert!(!plausible(&chain(65)));
        assert!(!plausible(&chain(20_000)));
        // Each is the last part of the one before, which has ended, but not for the crate.
        let last = [&[OF_TWO, LEAF].repeat(64)[..], &[LEAF]].concat();
        assert!(plausible(&last));
        assert!(!plausible(&[&[OF_TWO, LEAF].repeat(65)[..], &[LEAF]].concat()));
        // Beside each other there may be any number of them.
        let root: &[u8] = &[0x48, 1, b'r', 0x15, 0xc0, 0xbb, 1, 0];
        assert!(plausible(&[&[root][..], &[OF_ONE, LEAF].repeat(12_000)].concat()));
        // A root without parts hides nothing that comes after it.
        assert!(!plausible(&[&[LEAF][..], &chain(65)].concat()));
    }

    #[test]
    fn fields_have_the_types_that_the_crate_reads() {
        let plausible =
            |version: &[u8], element: &[u8]| footer_is_plausible(&footer(version, &[OF_ONE, element]));
        let of_type =
            |logical: &[u8]| [&[0x15, 2, 0x25, 0, 0x18, 1, b'c', 0x6c][..], logical, &[0, 0]].concat();
        assert!(plausible(&[0x15, 2], LEAF));
        for good in [
            // A string, a decimal, a time in UTC in milliseconds, a signed number of 8 bits, a place, and one that nobody knows.
            &[0x1c, 0][..],
            &[0x5c, 0x15, 4, 0x15, 10, 0],
            &[0x7c, 0x11, 0x1c, 0x1c, 0, 0, 0],
            &[0xac, 0x13, 8, 0x11, 0],
            &[0x0c, 36, 0x18, 1, b'x', 0x15, 0, 0],
            &[0x0c, 60, 0x18, 1, b'x', 0x15, 0, 0],
        ] {
            assert!(plausible(&[0x15, 2], &of_type(good)), "{good:?}");
        }
        for bad in [
            &[0x18, 0][..],
            &[0x5c, 0x18, 0, 0x15, 10, 0],
            &[0x7c, 0x11, 0x15, 0, 0],
            &[0x7c, 0x11, 0x1c, 0x17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0xac, 0x15, 8, 0x11, 0],
            &[0x0c, 36, 0x15, 2, 0],
            &[0x1c, 0x19, 0x11, 1, 0],
        ] {
            assert!(!plausible(&[0x15, 2], &of_type(bad)), "{bad:?}");
        }
        // The version as a text, in which the crate would find the schema; the schema as a set; the version after it.
        assert!(!plausible(&[0x18, 3, 0x19, 0x1c, 0], LEAF));
        let mut set = footer(&[0x15, 2], &[OF_ONE, LEAF]);
        assert!(footer_is_plausible(&set));
        set[2] = 0x1a;
        assert!(!footer_is_plausible(&set));
        // The parts of a group in 64 bits, its name as a list, and numbers of fields beyond 16 bits.
        for bad in [
            &[0x35, 0, 0x18, 1, b'g', 0x16, 2, 0][..],
            &[0x35, 0, 0x19, 0x13, b'g', 0x15, 2, 0],
            &[0x35, 0, 0x18, 1, b'g', 0x05, 0x8a, 0x80, 8, 2, 0],
            &[0x35, 0, 0x18, 1, b'g', 0x0c, 30, 0],
        ] {
            assert!(!plausible(&[0x15, 2], bad), "{bad:?}");
        }
    }
}
