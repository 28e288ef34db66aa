//! Reading a file by place: several readers share one open file, each with a position of its own.

use std::fs::File;
use std::io::{self, Read};

/// Reads a file from its first byte on.
pub(super) struct FromStart<'a> {
    file: &'a File,
    position: u64,
}

impl<'a> FromStart<'a> {
    pub fn new(file: &'a File) -> Self {
        Self { file, position: 0 }
    }
}

impl Read for FromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = read_at(self.file, buffer, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

/// Fills the buffer with what begins at `offset`.
pub(super) fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match read_at(file, buffer, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                buffer = &mut buffer[read..];
                offset += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
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
