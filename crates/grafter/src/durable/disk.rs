//! Every operation that changes a file system, one function each: what banks, adapters, comparisons and checkpoints are
//! written through, and the one place where a test lets such an operation fail.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use tempfile::{Builder, NamedTempFile, TempDir};

use super::TEMPORARY;
use super::fault::strike;

pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    strike(|| {})?;
    fs::create_dir(path)
}

/// With the folders above it; what is there stays.
pub(crate) fn create_folders(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    strike(|| {})?;
    fs::create_dir_all(path)
}

/// An empty file under a temporary name, which goes away by itself. It may be read by whom the process's mask lets read.
pub(crate) fn temporary_file(folder: &Path) -> io::Result<NamedTempFile> {
    strike(|| {})?;
    let mut builder = Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.prefix(TEMPORARY).tempfile_in(folder)
}

/// An empty folder under a temporary name, which goes away by itself with all that is in it.
pub(crate) fn temporary_folder(folder: &Path) -> io::Result<TempDir> {
    strike(|| {})?;
    Builder::new().prefix(TEMPORARY).tempdir_in(folder)
}

/// A new file, or an old one that is emptied.
pub(crate) fn create_file(path: &Path) -> io::Result<File> {
    strike(|| {})?;
    File::create(path)
}

pub(crate) fn write(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let half = &bytes[..bytes.len() / 2];
    strike(|| drop(file.write_all(half)))?;
    file.write_all(bytes)
}

/// Waits until a file is on the disk.
pub(crate) fn sync(file: &File) -> io::Result<()> {
    strike(|| {})?;
    file.sync_all()
}

/// Makes the names in a folder durable. Only Unix can, and not on every file system: where it is not supported there is
/// nothing to wait for.
/// # Errors
/// What the system says.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    strike(|| {})?;
    if !cfg!(unix) {
        return Ok(());
    }
    match File::open(folder)?.sync_all() {
        Err(error) if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput) => {
            Ok(())
        }
        result => result,
    }
}

pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    strike(|| {})?;
    fs::rename(from, to)
}

/// Moves a temporary file to its place, where another may be.
pub(crate) fn persist(file: NamedTempFile, to: &Path) -> io::Result<()> {
    strike(|| {})?;
    file.persist(to).map(drop).map_err(|error| error.error)
}

/// Moves a temporary file to its place, where nothing may be.
pub(crate) fn persist_new(file: NamedTempFile, to: &Path) -> io::Result<()> {
    strike(|| {})?;
    file.persist_noclobber(to).map(drop).map_err(|error| error.error)
}

/// Puts each of two files or folders into the place of the other, in one step; `Unsupported` where the system has none.
pub(crate) fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    strike(|| {})?;
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).map_err(|error| match error {
            // Of a file system that cannot, and of a kernel.
            Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP => io::ErrorKind::Unsupported.into(),
            error => error.into(),
        })
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (one, other);
        Err(io::ErrorKind::Unsupported.into())
    }
}

pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    strike(|| {})?;
    fs::remove_file(path)
}

pub(crate) fn remove_empty_folder(path: &Path) -> io::Result<()> {
    strike(|| {})?;
    fs::remove_dir(path)
}

pub(crate) fn remove_folder(path: &Path) -> io::Result<()> {
    strike(|| {})?;
    fs::remove_dir_all(path)
}
