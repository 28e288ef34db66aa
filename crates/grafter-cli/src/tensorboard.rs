//! Event files as TensorBoard reads them: scalars of a run, written as it goes.
//!
//! A file is a row of records in TFRecord's framing: length, checksum of the length, data, checksum of the data. The data
//! is a protocol buffer, `tensorflow.Event`, of which a few fields are written here by hand (`event.proto`,
//! `summary.proto` of TensorFlow). The crates for it bring a whole stack of protocol buffers for these five fields.

use std::fs::File;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use grafter::train::{EvaluationReport, StepReport, TrainObserver};

use crate::failure::Failure;

/// The event file of one run in a folder.
pub struct EventFiles {
    folder: PathBuf,
    /// Opened with the first event: a run that is refused leaves nothing.
    file: Option<File>,
    failure: Option<Failure>,
}

impl EventFiles {
    /// Nothing is written yet.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), file: None, failure: None }
    }

    /// Fails if an event could not be written. Training was not stopped by that.
    pub fn finish(self) -> Result<(), Failure> {
        self.failure.map_or(Ok(()), Err)
    }

    fn scalars(&mut self, step: u64, scalars: &[(&str, f64)]) {
        if self.failure.is_some() {
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall_time = now.as_secs_f64();
        let mut bytes = Vec::new();
        if self.file.is_none() {
            bytes = record(&version_event(wall_time));
        }
        for (tag, value) in scalars {
            bytes.extend(record(&scalar_event(wall_time, step, tag, *value)));
        }
        // Whole records in one write: who reads along never sees half of one for long.
        let written = self.open(now.as_secs()).and_then(|file| file.write_all(&bytes));
        if let Err(source) = written {
            self.failure = Some(Failure::Write { path: self.folder.clone(), source });
        }
    }

    fn open(&mut self, seconds: u64) -> std::io::Result<&mut File> {
        match &mut self.file {
            Some(file) => Ok(file),
            none => {
                std::fs::create_dir_all(&self.folder)?;
                let name = format!("events.out.tfevents.{seconds:010}.grafter.{}", std::process::id());
                Ok(none.insert(File::create_new(self.folder.join(name))?))
            }
        }
    }
}

impl TrainObserver for EventFiles {
    fn step(&mut self, report: &StepReport) -> ControlFlow<()> {
        let scalars = [
            ("train/loss", report.loss),
            ("train/learning_rate", report.learning_rate),
            ("train/grad_norm", report.grad_norm),
        ];
        self.scalars(report.step, &scalars);
        ControlFlow::Continue(())
    }

    fn evaluation(&mut self, report: &EvaluationReport) -> ControlFlow<()> {
        self.scalars(report.step, &[("dev/score", report.score), ("dev/loss", report.loss)]);
        ControlFlow::Continue(())
    }
}

/// The first event of a file: `file_version`.
fn version_event(wall_time: f64) -> Vec<u8> {
    let mut event = Message::default();
    event.double(1, wall_time);
    event.bytes(3, b"brain.Event:2");
    event.0
}

/// One value of one step: `summary.value[0]` with `tag` and `simple_value`, which is single precision.
fn scalar_event(wall_time: f64, step: u64, tag: &str, value: f64) -> Vec<u8> {
    let (mut summary, mut entry, mut event) = (Message::default(), Message::default(), Message::default());
    entry.bytes(1, tag.as_bytes());
    entry.float(2, value as f32);
    summary.bytes(1, &entry.0);
    event.double(1, wall_time);
    event.integer(2, step);
    event.bytes(5, &summary.0);
    event.0
}

/// A protocol buffer as it is written: for each field its number and its wire type, then its value.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn double(&mut self, field: u64, value: f64) {
        self.varint(field << 3 | 1);
        self.0.extend(value.to_le_bytes());
    }

    fn float(&mut self, field: u64, value: f32) {
        self.varint(field << 3 | 5);
        self.0.extend(value.to_le_bytes());
    }

    fn integer(&mut self, field: u64, value: u64) {
        self.varint(field << 3);
        self.varint(value);
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
    }

    /// Seven bits a byte, the lowest first.
    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// Data in TFRecord's framing.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(data.len() + 16);
    record.extend(length);
    record.extend(masked(crc32c(&length)).to_le_bytes());
    record.extend(data);
    record.extend(masked(crc32c(data)).to_le_bytes());
    record
}

/// A checksum as TFRecord stores it, so that data which holds checksums itself is no special case.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli, RFC 3720, appendix B.4), reflected, a table of 256 entries.
fn crc32c(data: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            let (mut crc, mut bit) = (byte as u32, 0);
            while bit < 8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
                bit += 1;
            }
            table[byte] = crc;
            byte += 1;
        }
        table
    };
    !data.iter().fold(!0, |crc: u32, byte| crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_the_published_ones() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        // RFC 3720, appendix B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        let rising: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&rising), 0x46dd_794e);
    }

    #[test]
    fn records_are_framed() {
        let framed = record(b"abc");
        assert_eq!(framed.len(), 8 + 4 + 3 + 4);
        assert_eq!(framed[..8], [3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&framed[12..15], b"abc");
        // The mask undone, as a reader does it.
        let stored = u32::from_le_bytes(framed[15..].try_into().unwrap());
        assert_eq!(stored.wrapping_sub(0xa282_ead8).rotate_left(15), crc32c(b"abc"));
        let stored = u32::from_le_bytes(framed[8..12].try_into().unwrap());
        assert_eq!(stored.wrapping_sub(0xa282_ead8).rotate_left(15), crc32c(&framed[..8]));
    }

    #[test]
    fn events_are_protocol_buffers() {
        // Field and wire type by hand: 1 double, 2 varint (300 = ac 02), 5 bytes, in it 1 bytes, in it 1 bytes and 2 float.
        let expected: &[u8] = &[
            0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x10, 0xac, 0x02, 0x2a, 10, 0x0a, 8, 0x0a, 1, b'a', 0x15, 0,
            0, 0, 0x3f,
        ];
        assert_eq!(scalar_event(1.0, 300, "a", 0.5), expected);
        assert_eq!(version_event(1.0)[9..], *b"\x1a\x0dbrain.Event:2");
    }

    #[test]
    fn what_cannot_be_written_is_told_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "mine").unwrap();
        let mut events = EventFiles::new(&file.join("events"));
        events.scalars(1, &[("a", 1.0)]);
        events.scalars(2, &[("a", 1.0)]);
        assert!(matches!(events.finish(), Err(Failure::Write { .. })));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    }
}
