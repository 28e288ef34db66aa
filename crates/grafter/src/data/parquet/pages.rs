//! The pages of a column, held against their sizes before the crate takes memory for what they claim.

use std::io::{self, ErrorKind, Read, Take};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError as CrateError, Result as CrateResult};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;

use super::header::{plausible_length, varint};

/// Values that any page may hold, however few bytes they take: all may be absent, or equal.
const FREE_VALUES: u64 = 2 << 20;
/// Beside these, so many for each byte.
const VALUES_A_BYTE: u64 = 250;

/// The pages of a column in a row group.
pub(super) struct Pages {
    inner: Box<dyn PageReader>,
    /// The highest levels of the column: how deep its lists lie in each other, and how many of its parts may be absent.
    levels: [i16; 2],
    budget: Budget,
}

/// Values of lists that one row, or a few, may have.
#[derive(Clone, Default)]
pub(super) struct Budget(Arc<AtomicU64>);

impl Budget {
    /// Other rows begin.
    pub fn renew(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Counts the values of a page.
    fn take(&self, values: u64) -> u64 {
        self.0.fetch_add(values, Ordering::Relaxed) + values
    }
}

impl Pages {
    /// Those of a column.
    pub fn open<P: ChunkReader + 'static>(
        places: &Arc<Headers<P>>,
        column: &ColumnChunkMetaData,
        rows: usize,
    ) -> CrateResult<Self> {
        let description = column.column_descr();
        let levels = [description.max_rep_level(), description.max_def_level()];
        let inner = Box::new(SerializedPageReader::new(places.clone(), column, rows, None)?);
        Ok(Self { inner, levels, budget: Budget::default() })
    }

    /// What the rows that are read together may take of it.
    pub fn budget(&self) -> Budget {
        self.budget.clone()
    }

    fn check(&self, page: &Page) -> CrateResult<()> {
        let wrong = |what: &str| Err(CrateError::General(what.to_owned()));
        let (buf, num_values) = (page.buffer(), u64::from(page.num_values()));
        let most = FREE_VALUES + VALUES_A_BYTE * buf.len() as u64;
        // The crate takes 32 bytes for each text that is claimed.
        if page.is_dictionary_page() && num_values > buf.len() as u64 {
            return wrong("a dictionary has more values than bytes");
        }
        // Of lists all that a row has is decoded together, and a few bytes may stand for any number of absent values.
        let of_lists = page.is_data_page() && self.levels[0] > 0;
        if of_lists && (num_values > most || self.budget.take(num_values) > 2 * most) {
            return wrong("a row has more values than its bytes can hold");
        }
        match delta_values(page, self.levels) {
            Some(values) if values > most => wrong("a page has more values than its bytes can hold"),
            _ => Ok(()),
        }
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> CrateResult<Option<Page>> {
        let page = self.inner.get_next_page()?;
        page.as_ref().map_or(Ok(()), |page| self.check(page))?;
        Ok(page)
    }

    fn peek_next_page(&mut self) -> CrateResult<Option<PageMetadata>> {
        self.inner.peek_next_page()
    }

    fn skip_next_page(&mut self) -> CrateResult<()> {
        self.inner.skip_next_page()
    }
}

impl Iterator for Pages {
    type Item = CrateResult<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

/// How many texts a page in one of the DELTA encodings says to have, for whose lengths the crate takes memory; `None` of other
/// pages, and of those that are too short to tell. Of two counts the larger one: where texts begin as the one before, how much they
/// share with it comes before the lengths of the rest. The formats of the levels before them: `Encodings.md` of the format.
fn delta_values(page: &Page, levels: [i16; 2]) -> Option<u64> {
    let mut values: &[u8] = page.buffer();
    match page {
        Page::DataPage { num_values, def_level_encoding, rep_level_encoding, .. } => {
            for (most, encoding) in levels.into_iter().zip([rep_level_encoding, def_level_encoding]) {
                let bits = u64::from(u16::BITS - most.unsigned_abs().leading_zeros());
                let skipped = match encoding {
                    _ if most <= 0 => 0,
                    Encoding::RLE => 4 + u64::from(u32::from_le_bytes(*values.first_chunk()?)),
                    _ => (u64::from(*num_values) * bits).div_ceil(8),
                };
                values = values.get(usize::try_from(skipped).ok()?..)?;
            }
        }
        Page::DataPageV2 { def_levels_byte_len, rep_levels_byte_len, .. } => {
            let skipped = u64::from(*def_levels_byte_len) + u64::from(*rep_levels_byte_len);
            values = values.get(usize::try_from(skipped).ok()?..)?;
        }
        Page::DictionaryPage { .. } => return None,
    }
    if !matches!(page.encoding(), Encoding::DELTA_LENGTH_BYTE_ARRAY | Encoding::DELTA_BYTE_ARRAY) {
        return None;
    }
    let first = DeltaHeader::read(&mut values)?;
    let second = match page.encoding() {
        Encoding::DELTA_BYTE_ARRAY => first.pass(&mut values).and_then(|()| DeltaHeader::read(&mut values)),
        _ => None,
    };
    Some(second.map_or(first.count, |second| second.count.max(first.count)))
}

/// What whole numbers in the encoding DELTA_BINARY_PACKED begin with.
struct DeltaHeader {
    /// Numbers of a block, a multiple of its small blocks.
    block: u64,
    small_blocks: u64,
    /// Numbers in all.
    count: u64,
}

impl DeltaHeader {
    fn read(input: &mut &[u8]) -> Option<Self> {
        let [block, small_blocks, count] = [(); 3].map(|()| varint(input).ok());
        Some(Self { block: block?, small_blocks: small_blocks?, count: count? })
    }

    /// Passes over the numbers, as far as the crate does; `None` where they are too short.
    fn pass(&self, input: &mut &[u8]) -> Option<()> {
        // The first number is whole, and of no block.
        varint(input).ok()?;
        let in_small_block = self.block.checked_div(self.small_blocks)?;
        let small_blocks = usize::try_from(self.small_blocks).ok()?;
        let mut left = self.count.saturating_sub(1);
        while left > 0 {
            // The smallest difference, then how many bits each has in each small block.
            varint(input).ok()?;
            let (widths, packed) = input.split_at_checked(small_blocks)?;
            *input = packed;
            for width in widths {
                // The last small blocks may be missing.
                if left > 0 {
                    let bytes = u64::from(*width).checked_mul(in_small_block)? / 8;
                    *input = input.get(usize::try_from(bytes).ok()?..)?;
                    left = left.saturating_sub(in_small_block);
                }
            }
        }
        Some(())
    }
}

/// A file where the pages of a column are read: what is read through a reader, and not at once, is the header of a page.
pub(super) struct Headers<P>(pub P);

impl<P: ChunkReader> Length for Headers<P> {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl<P: ChunkReader> ChunkReader for Headers<P> {
    type T = Header<P::T>;

    fn get_read(&self, start: u64) -> CrateResult<Self::T> {
        Ok(Header { to_check: Some(self.0.get_read(start)?), input: self.0.get_read(start)?.take(0) })
    }

    fn get_bytes(&self, start: u64, length: usize) -> CrateResult<Bytes> {
        self.0.get_bytes(start, length)
    }
}

/// The header of a page, which is checked when it is read: of a page whose header is known the crate asks for a reader, too, at
/// its data, and reads nothing.
pub(super) struct Header<R> {
    to_check: Option<R>,
    /// As far as the header goes.
    input: Take<R>,
}

impl<R: Read> Read for Header<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(header) = self.to_check.take() {
            let Some(length) = plausible_length(header)? else {
                let reason = "a page has no header that can be read, or is far more than its bytes can hold";
                return Err(io::Error::new(ErrorKind::InvalidData, reason));
            };
            self.input.set_limit(length);
        }
        // Where there is nothing left the crate may go on and on.
        if self.input.limit() == 0 && !buffer.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.input.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Given(Vec<Page>);

    impl PageReader for Given {
        fn get_next_page(&mut self) -> CrateResult<Option<Page>> {
            Ok(self.0.pop())
        }

        fn peek_next_page(&mut self) -> CrateResult<Option<PageMetadata>> {
            Ok(None)
        }

        fn skip_next_page(&mut self) -> CrateResult<()> {
            Ok(())
        }
    }

    impl Iterator for Given {
        type Item = CrateResult<Page>;

        fn next(&mut self) -> Option<Self::Item> {
            self.get_next_page().transpose()
        }
    }

    fn pages(levels: [i16; 2], pages: Vec<Page>) -> Pages {
        Pages { inner: Box::new(Given(pages)), levels, budget: Budget::default() }
    }

    fn first(buf: &[u8], num_values: u32, encoding: Encoding) -> Page {
        let (def_level_encoding, rep_level_encoding) = (Encoding::RLE, Encoding::RLE);
        let buf = Bytes::copy_from_slice(buf);
        Page::DataPage { buf, num_values, encoding, def_level_encoding, rep_level_encoding, statistics: None }
    }

    #[test]
    fn a_dictionary_has_no_more_values_than_bytes() {
        let read = |num_values| {
            let buf = Bytes::from_static(&[0; 8]);
            let page = Page::DictionaryPage { buf, num_values, encoding: Encoding::PLAIN, is_sorted: false };
            pages([0, 0], vec![page]).get_next_page()
        };
        assert!(read(8).is_ok());
        assert!(read(9).is_err());
    }

    #[test]
    fn texts_in_a_delta_encoding_are_as_many_as_a_page_can_hold() {
        // 2,097,152 and 4,294,967,295 texts, in blocks of 128 with 4 small ones.
        let few = [0x80, 1, 4, 0x80, 0x80, 0x80, 1];
        let many = [0x80, 1, 4, 0xff, 0xff, 0xff, 0xff, 0x0f];
        let encoding = Encoding::DELTA_LENGTH_BYTE_ARRAY;
        assert_eq!(delta_values(&first(&few, 1, encoding), [0, 0]), Some(2 << 20));
        assert!(pages([0, 0], vec![first(&few, 1, encoding)]).get_next_page().is_ok());
        assert!(pages([0, 0], vec![first(&many, 1, encoding)]).get_next_page().is_err());
        assert!(pages([0, 0], vec![first(&many, 1, Encoding::PLAIN)]).get_next_page().is_ok());
        // Behind levels: three bytes with their length, or three levels of two bits.
        let behind = |begin: &[u8]| [begin, &many].concat();
        let levels = behind(&[3, 0, 0, 0, 9, 9, 9]);
        assert_eq!(delta_values(&first(&levels, 1, encoding), [0, 1]), Some(u32::MAX.into()));
        let packed = Page::DataPage {
            buf: behind(&[9]).into(),
            num_values: 3,
            encoding: Encoding::DELTA_BYTE_ARRAY,
            def_level_encoding: Encoding::PLAIN,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        assert_eq!(delta_values(&packed, [0, 2]), Some(u32::MAX.into()));
        let second = Page::DataPageV2 {
            buf: behind(&[9, 9, 9]).into(),
            num_values: 1,
            encoding,
            num_nulls: 0,
            num_rows: 1,
            def_levels_byte_len: 1,
            rep_levels_byte_len: 2,
            is_compressed: false,
            statistics: None,
        };
        assert_eq!(delta_values(&second, [1, 1]), Some(u32::MAX.into()));
        assert_eq!(delta_values(&first(&[9, 0, 0, 0, 1], 1, encoding), [0, 1]), None);
    }

    /// What texts share with those before them comes first, then the lengths of the rest, which are counted anew.
    #[test]
    fn both_counts_of_texts_that_share_their_beginning_are_held_against_the_page() {
        let many = [0x80, 1, 4, 0xff, 0xff, 0xff, 0xff, 0x0f];
        let shared: [&[u8]; 4] = [
            // None and one number, which have no block.
            &[0x80, 1, 4, 0, 0],
            &[0x80, 1, 4, 1, 0],
            // 34: a block whose first small block of 32 has 8 bits each, the second 1 bit, and two that are missing.
            &[&[0x80, 1, 4, 34, 0, 0, 8, 1, 9, 9][..], &[0; 32], &[0; 4]].concat(),
            // 130: two blocks without a bit.
            &[0x80, 1, 4, 0x82, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ];
        for begin in shared {
            let page = first(&[begin, &many].concat(), 1, Encoding::DELTA_BYTE_ARRAY);
            assert_eq!(delta_values(&page, [0, 0]), Some(u32::MAX.into()), "{begin:?}");
            // Of a page that ends before, only the first is known.
            let cut = first(&begin[..begin.len() - 1], 1, Encoding::DELTA_BYTE_ARRAY);
            assert_eq!(
                delta_values(&cut, [0, 0]),
                DeltaHeader::read(&mut &begin[..]).map(|header| header.count)
            );
        }
        // Numbers of a block that are none end with the bytes.
        let endless = first(&[0, 1, 0xff, 1, 0, 0, 0, 0, 0], 1, Encoding::DELTA_BYTE_ARRAY);
        assert_eq!(delta_values(&endless, [0, 0]), Some(0xff));
        assert_eq!(delta_values(&first(&[0x80, 1, 0, 9, 0], 1, Encoding::DELTA_BYTE_ARRAY), [0, 0]), Some(9));
    }

    #[test]
    fn rows_of_lists_have_as_many_values_as_their_pages_can_hold() {
        let page = |num_values| first(&[0; 4], num_values, Encoding::PLAIN);
        let most = (2 << 20) + 1000;
        assert!(pages([1, 3], vec![page(most)]).get_next_page().is_ok());
        assert!(pages([1, 3], vec![page(most + 1)]).get_next_page().is_err());
        // Without lists a row has one value, and few are decoded together.
        assert!(pages([0, 1], vec![page(u32::MAX)]).get_next_page().is_ok());
        let mut several = pages([1, 3], vec![page(most); 4]);
        assert!(several.get_next_page().is_ok());
        several.budget().renew();
        assert!(several.get_next_page().is_ok());
        assert!(several.get_next_page().is_ok(), "it may begin before the page in which it ends");
        assert!(several.get_next_page().is_err());
    }
}
