//! Packed numbers: the hybrid of runs and bits that levels and dictionary places are written in, and differences in blocks.
//!
//! Both read one number at a time from the bytes of a page and hold nothing, so that a few bytes that claim two billion
//! numbers take no memory. Source: the Parquet format, `Encodings.md`, RLE/bit-packing hybrid and DELTA_BINARY_PACKED.

use std::ops::Range;

use super::thrift::{varint, zigzag};
use super::{ParquetError, damaged};

/// Runs of one number, and runs of numbers in `width` bits each.
#[derive(Debug)]
pub(super) struct Hybrid {
    at: usize,
    end: usize,
    width: u8,
    run: Run,
}

#[derive(Debug)]
enum Run {
    Same { left: u64, value: u32 },
    Packed { left: u64, bit: usize },
}

impl Hybrid {
    /// The numbers in `range`, of at most 32 bits each.
    pub fn new(range: Range<usize>, width: u8) -> Result<Self, ParquetError> {
        if width > 32 {
            return Err(damaged("the width of packed numbers"));
        }
        Ok(Self { at: range.start, end: range.end, width, run: Run::Same { left: 0, value: 0 } })
    }

    /// The next number; `page` is what the range is of.
    pub fn next(&mut self, page: &[u8]) -> Result<u32, ParquetError> {
        loop {
            match &mut self.run {
                Run::Same { left: left @ 1.., value } => {
                    *left -= 1;
                    return Ok(*value);
                }
                Run::Packed { left: left @ 1.., bit } => {
                    *left -= 1;
                    let from = *bit;
                    *bit += usize::from(self.width);
                    return bits(page, self.end, from, self.width).map(|value| value as u32);
                }
                // Numbers of no bits may be left out altogether.
                _ if self.width == 0 && self.at >= self.end => return Ok(0),
                _ => self.start_run(page)?,
            }
        }
    }

    fn start_run(&mut self, page: &[u8]) -> Result<(), ParquetError> {
        let short = || damaged("packed numbers");
        let bytes = page.get(..self.end).ok_or_else(short)?;
        let (header, at) = varint(bytes, self.at).map_err(|_| short())?;
        if header & 1 == 1 {
            let left = (header >> 1).checked_mul(8).ok_or_else(short)?;
            let bit = at.checked_mul(8).ok_or_else(short)?;
            self.run = Run::Packed { left, bit };
            // The last run may be cut where its numbers end.
            let taken = (header >> 1).saturating_mul(u64::from(self.width));
            self.at = at.saturating_add(usize::try_from(taken).unwrap_or(usize::MAX)).min(self.end);
        } else {
            let length = usize::from(self.width.div_ceil(8));
            let stored = bytes.get(at..at + length).ok_or_else(short)?;
            let mut value = [0; 4];
            value[..length].copy_from_slice(stored);
            self.run = Run::Same { left: header >> 1, value: u32::from_le_bytes(value) };
            self.at = at + length;
        }
        Ok(())
    }
}

/// Numbers as differences, in blocks of blocks that have their own width.
#[derive(Debug, Clone)]
pub(super) struct Differences {
    at: usize,
    end: usize,
    left: u64,
    per_part: u64,
    parts: usize,
    value: i64,
    /// Whether the first number, which the header holds, is still to come.
    first: bool,
    smallest: i64,
    /// Where the widths of the block's parts are, and which is next.
    widths: usize,
    part: usize,
    part_left: u64,
    width: u8,
    bit: usize,
}

impl Differences {
    /// The numbers that begin at `at`; a page of `values` values has no more.
    pub fn new(page: &[u8], at: usize, values: u64) -> Result<Self, ParquetError> {
        let wrong = || damaged("differences");
        let number = |at| varint(page, at).map_err(|_| wrong());
        let (block, at) = number(at)?;
        let (parts, at) = number(at)?;
        let (left, at) = number(at)?;
        let (first, at) = number(at)?;
        let parts = usize::try_from(parts).ok().filter(|parts| (1..=page.len()).contains(parts));
        let parts = parts.ok_or_else(wrong)?;
        let per_part = block / parts as u64;
        if left > values || per_part == 0 || !per_part.is_multiple_of(8) || per_part > u64::from(u32::MAX) {
            return Err(wrong());
        }
        Ok(Self {
            at,
            end: page.len(),
            left,
            per_part,
            parts,
            value: zigzag(first),
            first: true,
            smallest: 0,
            widths: 0,
            part: parts,
            part_left: 0,
            width: 0,
            bit: 0,
        })
    }

    /// The next number.
    pub fn next(&mut self, page: &[u8]) -> Result<i64, ParquetError> {
        self.left = self.left.checked_sub(1).ok_or_else(|| damaged("the number of differences"))?;
        if self.first {
            self.first = false;
            return Ok(self.value);
        }
        if self.part_left == 0 {
            self.start_part(page)?;
        }
        self.part_left -= 1;
        let difference = bits(page, self.end, self.bit, self.width)?;
        self.bit += usize::from(self.width);
        self.value = self.value.wrapping_add(self.smallest).wrapping_add(difference as i64);
        Ok(self.value)
    }

    /// Where the bytes after the numbers begin. Reads all of them, and needs no memory for it.
    pub fn end(&self, page: &[u8]) -> Result<usize, ParquetError> {
        let mut all = self.clone();
        while all.left > 0 {
            all.next(page)?;
        }
        Ok(all.at)
    }

    fn start_part(&mut self, page: &[u8]) -> Result<(), ParquetError> {
        let wrong = || damaged("differences");
        if self.part == self.parts {
            let (smallest, at) = varint(page, self.at).map_err(|_| wrong())?;
            self.smallest = zigzag(smallest);
            self.widths = at;
            self.at = at + self.parts;
            self.part = 0;
        }
        self.width = *page.get(self.widths + self.part).ok_or_else(wrong)?;
        if self.width > 64 || self.at > self.end {
            return Err(wrong());
        }
        self.bit = self.at.checked_mul(8).ok_or_else(wrong)?;
        let bytes = self.per_part / 8 * u64::from(self.width);
        self.at = self.at.saturating_add(usize::try_from(bytes).map_err(|_| wrong())?).min(self.end);
        self.part += 1;
        self.part_left = self.per_part;
        Ok(())
    }
}

/// The number of `width` bits, at most 64, that begins at bit `from`; bytes from `end` on do not belong to it.
pub(super) fn bits(page: &[u8], end: usize, from: usize, width: u8) -> Result<u64, ParquetError> {
    let until = from.checked_add(usize::from(width)).map(|bit| bit.div_ceil(8));
    let bytes = until.filter(|until| *until <= end).and_then(|until| page.get(from / 8..until));
    let bytes = bytes.ok_or_else(|| damaged("packed numbers"))?;
    let mut wide = [0; 16];
    wide[..bytes.len()].copy_from_slice(bytes);
    let mask = (1_u128 << width) - 1;
    Ok(((u128::from_le_bytes(wide) >> (from % 8)) & mask) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_bits_are_those_of_the_specification() {
        // `Encodings.md`: the numbers 0 to 7 in three bits each, after a header of one group; then a run of five 4s.
        let page = [0x03, 0b1000_1000, 0b1100_0110, 0b1111_1010, 0x0a, 0x04];
        let mut hybrid = Hybrid::new(0..page.len(), 3).unwrap();
        let numbers: Vec<u32> = (0..13).map(|_| hybrid.next(&page).unwrap()).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7, 4, 4, 4, 4, 4]);
        assert!(hybrid.next(&page).is_err());
        assert!(Hybrid::new(0..6, 33).is_err());
        assert_eq!(Hybrid::new(6..6, 0).unwrap().next(&page).unwrap(), 0);
    }

    #[test]
    fn differences_are_those_of_the_specification() {
        // `Encodings.md`, DELTA_BINARY_PACKED, example 2: 7, 5, 3, 1, 2, 3, 4, 5 has the differences -2 -2 -2 1 1 1 1, of
        // which the smallest is -2 and the rest, in two bits, 0 0 0 3 3 3 3. One part of eight, so the eighth is padding.
        let page = [8, 1, 8, 14, 3, 2, 0b1100_0000, 0b0011_1111, 0xee];
        let mut numbers = Differences::new(&page, 0, 8).unwrap();
        assert_eq!(numbers.end(&page).unwrap(), 8);
        let read: Vec<i64> = (0..8).map(|_| numbers.next(&page).unwrap()).collect();
        assert_eq!(read, [7, 5, 3, 1, 2, 3, 4, 5]);
        assert!(numbers.next(&page).is_err());
        assert!(Differences::new(&page, 0, 7).is_err(), "more than the page has");
    }

    #[test]
    fn bits_do_not_leave_their_bytes() {
        assert_eq!(bits(&[0xff; 9], 9, 7, 64).unwrap(), u64::MAX);
        assert!(bits(&[0xff; 9], 8, 7, 64).is_err());
        assert!(bits(&[0xff; 9], 9, usize::MAX - 3, 8).is_err());
    }
}
