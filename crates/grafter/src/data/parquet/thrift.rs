//! Thrift's compact protocol, as far as the headers of Parquet need it.
//!
//! Reads from bytes that are all there; what runs past them is [`ThriftError::Short`], so that a header of unknown length
//! can be tried again with more. Nothing is allocated for a length that a file only claims.

/// Deeper than any structure of Parquet's headers, and far from the end of the stack.
const MAX_DEPTH: usize = 32;

const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const I16: u8 = 4;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
const STRUCT: u8 = 12;
const UUID: u8 = 13;

/// Why a header cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ThriftError {
    /// The bytes end before the header does.
    Short,
    /// Not what the protocol, or Parquet's definition, says.
    Bad,
}

type Result<T> = std::result::Result<T, ThriftError>;

/// A place in some bytes.
pub(super) struct Thrift<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Thrift<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes were read.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Reads a structure; `take` gets each field's number and type, and says whether it read the value.
    pub fn fields(&mut self, mut take: impl FnMut(&mut Self, i64, u8) -> Result<bool>) -> Result<()> {
        let mut number = 0_i64;
        while let Some((next, kind)) = self.field(number)? {
            number = next;
            if !take(self, number, kind)? {
                self.skip(kind, 0)?;
            }
        }
        Ok(())
    }

    /// Reads a list of structures; `each` reads one.
    pub fn structs(&mut self, kind: u8, mut each: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        match self.list(kind)? {
            (STRUCT, count) => (0..count).try_for_each(|_| each(self)),
            (_, 0) => Ok(()),
            _ => Err(ThriftError::Bad),
        }
    }

    /// Reads a structure in a field.
    pub fn structure(
        &mut self,
        kind: u8,
        take: impl FnMut(&mut Self, i64, u8) -> Result<bool>,
    ) -> Result<()> {
        if kind == STRUCT { self.fields(take) } else { Err(ThriftError::Bad) }
    }

    /// Reads a whole number of any width.
    pub fn int(&mut self, kind: u8) -> Result<i64> {
        if (I16..=I64).contains(&kind) { self.zigzag() } else { Err(ThriftError::Bad) }
    }

    /// Reads a whole number that counts or measures something.
    pub fn count(&mut self, kind: u8) -> Result<u64> {
        u64::try_from(self.int(kind)?).map_err(|_| ThriftError::Bad)
    }

    /// Reads bytes or a text.
    pub fn binary(&mut self, kind: u8) -> Result<&'a [u8]> {
        if kind != BINARY {
            return Err(ThriftError::Bad);
        }
        let length = usize::try_from(self.varint()?).map_err(|_| ThriftError::Short)?;
        self.take(length)
    }

    /// Reads a text.
    pub fn text(&mut self, kind: u8) -> Result<String> {
        std::str::from_utf8(self.binary(kind)?).map(str::to_owned).map_err(|_| ThriftError::Bad)
    }

    /// The truth that a field's type tells.
    pub fn truth(kind: u8) -> Result<bool> {
        if kind == TRUE || kind == FALSE { Ok(kind == TRUE) } else { Err(ThriftError::Bad) }
    }

    fn field(&mut self, last: i64) -> Result<Option<(i64, u8)>> {
        let header = self.byte()?;
        if header == 0 {
            return Ok(None);
        }
        let number = match header >> 4 {
            0 => self.zigzag()?,
            step => last + i64::from(step),
        };
        // Numbers have 16 bits, so the next step cannot overflow.
        let number = i64::from(i16::try_from(number).map_err(|_| ThriftError::Bad)?);
        Ok(Some((number, header & 15)))
    }

    fn list(&mut self, kind: u8) -> Result<(u8, u64)> {
        if kind != LIST && kind != SET {
            return Err(ThriftError::Bad);
        }
        let header = self.byte()?;
        let count = match header >> 4 {
            15 => self.varint()?,
            count => u64::from(count),
        };
        Ok((header & 15, count))
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Result<()> {
        if depth == MAX_DEPTH {
            return Err(ThriftError::Bad);
        }
        match kind {
            TRUE | FALSE => Ok(()),
            BYTE => self.take(1).map(drop),
            I16..=I64 => self.varint().map(drop),
            DOUBLE => self.take(8).map(drop),
            BINARY => self.binary(kind).map(drop),
            UUID => self.take(16).map(drop),
            LIST | SET => {
                let (element, count) = self.list(kind)?;
                (0..count).try_for_each(|_| self.skip_element(element, depth))
            }
            MAP => {
                let count = self.varint()?;
                let kinds = if count == 0 { 0 } else { self.byte()? };
                (0..count).try_for_each(|_| {
                    self.skip_element(kinds >> 4, depth)?;
                    self.skip_element(kinds & 15, depth)
                })
            }
            STRUCT => {
                let mut number = 0;
                while let Some((next, kind)) = self.field(number)? {
                    number = next;
                    self.skip(kind, depth + 1)?;
                }
                Ok(())
            }
            _ => Err(ThriftError::Bad),
        }
    }

    /// In a container a truth is a byte, so that every element takes one at least and no count makes a loop endless.
    fn skip_element(&mut self, kind: u8, depth: usize) -> Result<()> {
        let kind = if kind == TRUE || kind == FALSE { BYTE } else { kind };
        self.skip(kind, depth + 1)
    }

    fn zigzag(&mut self) -> Result<i64> {
        self.varint().map(zigzag)
    }

    fn varint(&mut self) -> Result<u64> {
        let (value, at) = varint(self.bytes, self.at)?;
        self.at = at;
        Ok(value)
    }

    fn byte(&mut self) -> Result<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(length).ok_or(ThriftError::Short)?;
        let taken = self.bytes.get(self.at..end).ok_or(ThriftError::Short)?;
        self.at = end;
        Ok(taken)
    }
}

/// A number in groups of seven bits, and the place after it.
pub(super) fn varint(bytes: &[u8], mut at: usize) -> Result<(u64, usize)> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(at).ok_or(ThriftError::Short)?;
        at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok((value, at));
        }
    }
    Err(ThriftError::Bad)
}

/// A signed number from its zigzag form.
pub(super) fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_protocols_definition() {
        // From the examples of the specification of zigzag and variable-length numbers.
        for (coded, value) in [(0, 0), (1, -1), (2, 1), (3, -2), (4_294_967_294, 2_147_483_647)] {
            assert_eq!(zigzag(coded), value);
        }
        assert_eq!(zigzag(u64::MAX), i64::MIN);
        assert_eq!(varint(&[0xac, 0x02], 0), Ok((300, 2)));
        assert_eq!(varint(&[0xac], 0), Err(ThriftError::Short));
        assert_eq!(varint(&[0xff; 11], 0), Err(ThriftError::Bad));
    }

    #[test]
    fn unknown_fields_are_skipped_and_known_ones_read() {
        // 1: i32 = -3; 2: map of one byte to a list of two truths; 9: text = "ab"; stop.
        let bytes = [0x15, 0x05, 0x1b, 0x01, 0x39, 0x07, 0x21, 1, 2, 0x78, 0x02, b'a', b'b', 0x00];
        let (mut number, mut text) = (0, String::new());
        let mut thrift = Thrift::new(&bytes);
        thrift
            .fields(|thrift, field, kind| {
                match field {
                    1 => number = thrift.int(kind)?,
                    9 => text = thrift.text(kind)?,
                    _ => return Ok(false),
                }
                Ok(true)
            })
            .unwrap();
        assert_eq!((number, text.as_str(), thrift.position()), (-3, "ab", bytes.len()));
        for end in 0..bytes.len() {
            assert_eq!(Thrift::new(&bytes[..end]).fields(|_, _, _| Ok(false)), Err(ThriftError::Short));
        }
    }

    #[test]
    fn nesting_has_a_limit() {
        let bytes = vec![0x1c; 1_000_000];
        assert_eq!(Thrift::new(&bytes).fields(|_, _, _| Ok(false)), Err(ThriftError::Bad));
    }
}
