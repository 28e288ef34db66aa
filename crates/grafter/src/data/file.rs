//! Reading a file by place: several readers share one open file, each with a position of its own.
//!
//! A file alone stays open, so that what is read again is the file that was read before. Of several, one is open at a time: there
//! may be more than a process can have open.

use std::borrow::Borrow;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::{Compression, DataError, Format, SourceFile, question_lines};

/// What text is read from.
pub type Bytes = Box<dyn Read + Send>;

/// A file of a source that can be read again and again.
#[derive(Debug, Clone)]
pub(super) struct Input {
    /// What messages call it.
    pub name: Arc<str>,
    path: PathBuf,
    /// It is open, or a copy of what could be read only once.
    open: Option<Arc<File>>,
    stamp: Stamp,
}

impl Input {
    /// Prepares a file: what is compressed or can be read only once is copied, of SQuAD's document its questions are, and what is
    /// `alone` stays open.
    pub fn open(file: &SourceFile, format: Format, alone: bool) -> Result<Self, DataError> {
        let opened = open(file)?;
        let failed = |source| DataError::Open { path: file.path.clone(), source };
        let plain = opened.metadata().map_err(failed)?.is_file();
        let lines = |document: &mut dyn Read| question_lines(&file.path, document);
        let open = match Compression::for_path(&file.path) {
            Some(compression) if format == Format::Squad => Some(lines(&mut compression.read(opened))?),
            None if format == Format::Squad => Some(lines(&mut { opened })?),
            Some(compression) => Some(copy(&file.path, &mut compression.read(opened))?),
            None if !plain => Some(copy(&file.path, &mut { opened })?),
            None => alone.then_some(opened),
        };
        let mut input = Self {
            name: file.name().into(),
            path: file.path.clone(),
            open: open.map(Arc::new),
            stamp: Stamp::default(),
        };
        input.stamp = input.stamp().map_err(failed)?;
        Ok(input)
    }

    /// The open file, which is read by place alone: others may read it, too.
    pub fn file(&self) -> Result<Arc<File>, DataError> {
        match &self.open {
            Some(file) => Ok(file.clone()),
            None => File::open(&self.path)
                .map(Arc::new)
                .map_err(|source| DataError::Open { path: self.path.clone(), source }),
        }
    }

    /// Whether the file is what it was when it was first opened.
    pub fn is_unchanged(&self) -> bool {
        self.stamp().is_ok_and(|stamp| stamp == self.stamp)
    }

    fn stamp(&self) -> io::Result<Stamp> {
        let metadata = match &self.open {
            Some(file) => file.metadata(),
            None => fs::metadata(&self.path),
        };
        metadata.map(|metadata| Stamp::of(&metadata))
    }
}

/// What tells that a file was written to, or is another one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
    /// The number of the file on its device.
    number: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let number = std::os::unix::fs::MetadataExt::ino(metadata);
        #[cfg(not(unix))]
        let number = 0;
        Self { bytes: metadata.len(), modified: metadata.modified().ok(), number }
    }
}

/// Opens a file to read it once.
pub(super) fn open(file: &SourceFile) -> Result<File, DataError> {
    File::open(&file.path).map_err(|source| DataError::Open { path: file.path.clone(), source })
}

/// A copy of what can be read only once, at its beginning.
fn copy(path: &Path, input: &mut impl Read) -> Result<File, DataError> {
    let copy = temporary_copy(input).and_then(|mut copy| copy.rewind().map(|()| copy));
    copy.map_err(|source| {
        let (path, folder) = (path.to_owned(), tempfile::env::temp_dir());
        match source.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => {
                DataError::Compressed { path, source }
            }
            _ => DataError::Copy { path, folder, source },
        }
    })
}

/// Reads a file from a byte on.
pub(super) struct FromPlace<F> {
    file: F,
    position: u64,
}

impl<F: Borrow<File>> FromPlace<F> {
    pub fn new(file: F, position: u64) -> Self {
        Self { file, position }
    }
}

impl<F: Borrow<File>> Read for FromPlace<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = read_at(self.file.borrow(), buffer, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

/// What a pipe gives can be read only once and in order: a copy of it that goes with the process.
///
/// # Errors
/// The pipe cannot be read, or the temporary folder not be written to.
pub fn temporary_copy(pipe: &mut impl Read) -> io::Result<File> {
    let mut copy = tempfile::tempfile_in(tempfile::env::temp_dir())?;
    io::copy(pipe, &mut copy)?;
    Ok(copy)
}

fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_at(file, buffer, offset);
    #[cfg(windows)]
    return std::os::windows::fs::FileExt::seek_read(file, buffer, offset);
}
