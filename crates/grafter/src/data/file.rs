//! Reading a file by place: several readers share one open file, each with a position of its own.

use std::borrow::Borrow;
use std::fs::File;
use std::io::{self, Read};

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
