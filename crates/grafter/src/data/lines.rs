//! Physical lines out of a `BufRead`, with a limit on their length.
//!
//! Reads no further than the line feed that ends a line, and holds no more than the limit: a line that is too long
//! is reported as soon as that is known, and the rest of it is dropped without being stored.

use std::io::{self, BufRead, ErrorKind};

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineRead {
    /// A line, its line feed included; only the last of the input may lack one.
    Line,
    /// The line goes on past the limit; what was stored of it is of no use.
    TooLong,
    /// The end of the input.
    End,
}

pub(super) struct Lines<R> {
    input: R,
    line: u64,
    skipping: bool,
    /// The end was seen; a terminal would wait for more if it were read again.
    ended: bool,
}

impl<R: BufRead> Lines<R> {
    pub fn new(input: R) -> Self {
        Self { input, line: 0, skipping: false, ended: false }
    }

    /// The number of the line read last, counted from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Appends the next line to `buffer`, at most `limit` bytes of it.
    pub fn read(&mut self, buffer: &mut Vec<u8>, limit: usize) -> io::Result<LineRead> {
        self.skip_rest()?;
        if self.ended {
            return Ok(LineRead::End);
        }
        let mut stored = 0;
        loop {
            let available = match self.input.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                self.ended = true;
                return Ok(if stored == 0 { LineRead::End } else { LineRead::Line });
            }
            if stored == 0 {
                self.line += 1;
            }
            let (taken, ended) = line_part(available);
            if taken > limit - stored {
                // As much as fits, so that what is seen of the line does not hang on how it came.
                buffer.extend_from_slice(&available[..limit - stored]);
                // Nothing of this part is consumed: the next call drops it up to the line feed.
                self.skipping = true;
                return Ok(LineRead::TooLong);
            }
            buffer.extend_from_slice(&available[..taken]);
            self.input.consume(taken);
            stored += taken;
            if ended {
                return Ok(LineRead::Line);
            }
        }
    }

    fn skip_rest(&mut self) -> io::Result<()> {
        while self.skipping {
            let available = match self.input.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let (taken, ended) = line_part(available);
            self.ended = available.is_empty();
            self.skipping = !ended && !self.ended;
            self.input.consume(taken);
        }
        Ok(())
    }
}

/// The length of the part of a line at the start of `available`, and whether it ends the line.
fn line_part(available: &[u8]) -> (usize, bool) {
    match available.iter().position(|byte| *byte == b'\n') {
        Some(place) => (place + 1, true),
        None => (available.len(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    fn all(input: &[u8], capacity: usize, limit: usize) -> Vec<(u64, Option<Vec<u8>>)> {
        let mut lines = Lines::new(BufReader::with_capacity(capacity, input));
        let mut out = Vec::new();
        loop {
            let mut buffer = Vec::new();
            match lines.read(&mut buffer, limit).unwrap() {
                LineRead::Line => out.push((lines.line(), Some(buffer))),
                LineRead::TooLong => out.push((lines.line(), None)),
                LineRead::End => return out,
            }
        }
    }

    #[test]
    fn lines_are_whole_whatever_the_buffer() {
        for capacity in [1, 2, 3, 64] {
            let got = all(b"ab\n\nc\r\nd", capacity, 100);
            let expected = [&b"ab\n"[..], b"\n", b"c\r\n", b"d"];
            let expected: Vec<_> = (1..).zip(expected.map(|line| Some(line.to_vec()))).collect();
            assert_eq!(got, expected);
        }
    }

    #[test]
    fn a_line_over_the_limit_is_dropped_and_reading_goes_on() {
        for capacity in [1, 2, 3, 64] {
            let got = all(b"abc\nabcd\nab\nabcdefgh", capacity, 4);
            let expected =
                vec![(1, Some(b"abc\n".to_vec())), (2, None), (3, Some(b"ab\n".to_vec())), (4, None)];
            assert_eq!(got, expected);
        }
    }
}
