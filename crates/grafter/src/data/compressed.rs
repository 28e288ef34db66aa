//! Data files that are compressed, by their names: `.gz` (gzip) and `.zst` (zstd) after the extension that tells the format.
//!
//! What comes out is bounded by what went in, so that a small file cannot fill a disk.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// gzip (RFC 1952).
    Gzip,
    /// Zstandard (RFC 8878).
    Zstd,
}

/// A file may grow to this many times its size, which no text comes near.
const MOST_GROWTH: u64 = 1000;
/// Or by this much, of small ones.
const FREE_BYTES: u64 = 16 << 20;

/// What a frame of zstd may refer back to, and is therefore in memory: as much as its own tools take unless they are told to.
const MOST_WINDOW_BYTES: u64 = 128 << 20;

/// What may come of a file of this size.
pub(super) fn most_bytes(size: u64) -> u64 {
    FREE_BYTES.saturating_add(size.saturating_mul(MOST_GROWTH))
}

impl Compression {
    /// The last extension of files, without its dot.
    pub const EXTENSIONS: [(&str, Self); 3] = [("gz", Self::Gzip), ("zst", Self::Zstd), ("zstd", Self::Zstd)];

    /// What a path's last extension tells, in any case; `None` of another one.
    pub fn for_path(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?;
        let known = Self::EXTENSIONS.iter().find(|(known, _)| extension.eq_ignore_ascii_case(known));
        known.map(|(_, compression)| *compression)
    }

    /// What compressed bytes hold. Bytes that are broken, cut off or grow without measure are an error of the kind
    /// `InvalidData` or `UnexpectedEof`.
    pub fn read(self, input: impl Read + Send + 'static) -> impl Read + Send {
        let input = BufReader::new(Counted { input, bytes: 0 });
        let decoder = match self {
            Self::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(input))),
            Self::Zstd => {
                let mut decoder = FrameDecoder::new();
                decoder.set_max_window_size(MOST_WINDOW_BYTES);
                Decoder::Zstd(Box::new(Frames { input, decoder, open: false }))
            }
        };
        Bounded { decoder, bytes: 0 }
    }
}

/// Compresses what is written; the same bytes, in pieces of any size, become the same bytes.
pub struct Compressor<W: Write> {
    encoder: Encoder<W>,
    /// What was not compressed yet: what comes out depends on where what goes in is cut.
    piece: Vec<u8>,
}

enum Encoder<W: Write> {
    Gzip(Box<GzEncoder<W>>),
    Zstd(W),
}

/// So much is compressed at once; of zstd it is a frame.
const PIECE_BYTES: usize = 1 << 20;

impl<W: Write> Compressor<W> {
    /// Compresses into `output`.
    pub fn new(compression: Compression, output: W) -> Self {
        let encoder = match compression {
            // No name and no time are written beside the bytes.
            Compression::Gzip => {
                Encoder::Gzip(Box::new(GzEncoder::new(output, flate2::Compression::default())))
            }
            Compression::Zstd => Encoder::Zstd(output),
        };
        Self { encoder, piece: Vec::new() }
    }

    /// Writes what is left; gives back the output.
    ///
    /// # Errors
    /// What the output says.
    pub fn finish(mut self) -> io::Result<W> {
        self.compress()?;
        match self.encoder {
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Zstd(output) => Ok(output),
        }
    }

    fn compress(&mut self) -> io::Result<()> {
        match &mut self.encoder {
            Encoder::Gzip(encoder) => encoder.write_all(&self.piece)?,
            Encoder::Zstd(output) => output.write_all(&frame(&self.piece))?,
        }
        self.piece.clear();
        Ok(())
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.len() == PIECE_BYTES {
            self.compress()?;
        }
        let taken = bytes.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend(&bytes[..taken]);
        Ok(taken)
    }

    /// Does nothing: a flush would become a part of the bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn frame(piece: &[u8]) -> Vec<u8> {
    compress_to_vec(piece, CompressionLevel::Fastest)
}

/// Counts what is read.
struct Counted<R> {
    input: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.bytes += read as u64;
        Ok(read)
    }
}

enum Decoder<R> {
    Gzip(Box<MultiGzDecoder<BufReader<Counted<R>>>>),
    Zstd(Box<Frames<BufReader<Counted<R>>>>),
}

struct Bounded<R> {
    decoder: Decoder<R>,
    bytes: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (read, compressed) = match &mut self.decoder {
            Decoder::Gzip(decoder) => (decoder.read(buffer)?, decoder.get_ref().get_ref().bytes),
            Decoder::Zstd(decoder) => (decoder.read(buffer)?, decoder.input.get_ref().bytes),
        };
        self.bytes += read as u64;
        if self.bytes > most_bytes(compressed) {
            return Err(invalid(format!("it grows to more than {MOST_GROWTH} times its size")));
        }
        Ok(read)
    }
}

/// The frames of a zstd file, one after another; those that hold no data are skipped.
struct Frames<R> {
    input: R,
    decoder: FrameDecoder,
    /// Whether a frame has begun and not ended.
    open: bool,
}

impl<R: BufRead> Frames<R> {
    /// Begins the next frame; `false` at the end of the input.
    fn begin(&mut self) -> io::Result<bool> {
        while !self.input.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.input) {
                Ok(()) => {
                    self.open = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let skipped = io::copy(&mut (&mut self.input).take(length.into()), &mut io::sink())?;
                    if skipped < u64::from(length) {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(invalid(error.to_string())),
            }
        }
        Ok(false)
    }

    /// Checks the sum that a frame may end with.
    fn end(&mut self) -> io::Result<()> {
        self.open = false;
        match (self.decoder.get_checksum_from_data(), self.decoder.get_calculated_checksum()) {
            (Some(expected), Some(found)) if expected != found => {
                Err(invalid("its check sum is another one".to_owned()))
            }
            _ => Ok(()),
        }
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !buffer.is_empty() {
            if !self.open && !self.begin()? {
                break;
            }
            if self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.decoder
                    .decode_blocks(&mut self.input, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(|error| invalid(error.to_string()))?;
            }
            match self.decoder.read(buffer)? {
                0 if self.decoder.is_finished() => self.end()?,
                0 => {}
                read => return Ok(read),
            }
        }
        Ok(0)
    }
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        compress_to_vec(bytes, CompressionLevel::Fastest)
    }

    fn read(compression: Compression, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut read = Vec::new();
        compression.read(io::Cursor::new(bytes)).read_to_end(&mut read).map(|_| read)
    }

    fn text() -> Vec<u8> {
        (0..20_000).flat_map(|row| format!("row {} of a text\n", row * row % 977).into_bytes()).collect()
    }

    #[test]
    fn what_was_compressed_comes_back_also_in_several_parts() {
        for (compression, compress) in
            [(Compression::Gzip, gzip as fn(&[u8]) -> Vec<u8>), (Compression::Zstd, zstd)]
        {
            let text = text();
            assert_eq!(read(compression, compress(&text)).unwrap(), text);
            assert_eq!(read(compression, compress(b"")).unwrap(), b"");
            let (first, second) = text.split_at(12_345);
            let parts = [compress(first), compress(second)].concat();
            assert_eq!(read(compression, parts).unwrap(), text);
        }
        // A frame of zstd that holds no data: its number, its length, its bytes.
        let skipped = [&0x184D_2A50_u32.to_le_bytes()[..], &3_u32.to_le_bytes(), b"abc"].concat();
        let parts = [zstd(b"one "), skipped.clone(), zstd(b"two")].concat();
        assert_eq!(read(Compression::Zstd, parts).unwrap(), b"one two");
        assert!(read(Compression::Zstd, skipped[..9].to_vec()).is_err());
    }

    #[test]
    fn what_is_cut_off_or_broken_is_an_error() {
        for (compression, compress) in
            [(Compression::Gzip, gzip as fn(&[u8]) -> Vec<u8>), (Compression::Zstd, zstd)]
        {
            let whole = compress(&text()[..3000]);
            for length in 1..whole.len() {
                assert!(
                    read(compression, whole[..length].to_vec()).is_err(),
                    "{compression:?} cut to {length}"
                );
            }
            assert!(read(compression, b"text,label\na,b\n".to_vec()).is_err());
            for place in 0..whole.len() {
                let mut broken = whole.clone();
                broken[place] ^= 0x10;
                // An error or, of what is only told and not used, the same; never another text.
                let text = text();
                assert!(
                    read(compression, broken).map_or(true, |found| found == text[..3000]),
                    "{compression:?}, {place}"
                );
            }
        }
    }

    #[test]
    fn what_grows_without_measure_is_refused() {
        let zeros = vec![0; 64 << 20];
        for (compression, bytes) in [(Compression::Gzip, gzip(&zeros)), (Compression::Zstd, zstd(&zeros))] {
            let grows = bytes.len() as u64 * MOST_GROWTH + FREE_BYTES < zeros.len() as u64;
            assert!(grows || compression == Compression::Gzip, "zeros are nothing to zstd");
            let result = read(compression, bytes);
            assert_eq!(result.is_err(), grows, "{compression:?}");
            if let Err(error) = result {
                assert_eq!(error.to_string(), "it grows to more than 1000 times its size");
            }
        }
    }

    /// A frame of an empty block, which says how far it looks back as a power of two from 10 on.
    #[test]
    fn what_a_frame_looks_back_to_is_bounded() {
        let looks_back = |exponent: u8| {
            let frame = [0x28, 0xb5, 0x2f, 0xfd, 0, (exponent - 10) << 3, 1, 0, 0];
            read(Compression::Zstd, frame.to_vec())
        };
        assert_eq!(looks_back(27).unwrap(), b"");
        let error = looks_back(28).unwrap_err().to_string();
        assert!(error.contains("Max: 134217728"), "{error}");
    }

    /// In pieces of any size, the same bytes, which read as what was written.
    #[test]
    fn what_is_compressed_is_read_again() {
        let content: Vec<u8> =
            (0..PIECE_BYTES * 5 / 2).flat_map(|number| (number as u32 / 7).to_le_bytes()).collect();
        for compression in [Compression::Gzip, Compression::Zstd] {
            for content in [&content[..], &content[..PIECE_BYTES], b""] {
                let compressed = |piece: usize| {
                    let mut compressor = Compressor::new(compression, Vec::new());
                    for piece in content.chunks(piece) {
                        compressor.write_all(piece).unwrap();
                        compressor.flush().unwrap();
                    }
                    compressor.finish().unwrap()
                };
                let whole = compressed(content.len().max(1));
                assert!(compressed(77_777) == whole);
                let mut read = Vec::new();
                compression.read(io::Cursor::new(whole)).read_to_end(&mut read).unwrap();
                assert!(read == content, "{compression:?} {}", content.len());
            }
        }
    }
}
