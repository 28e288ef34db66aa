//! Makes what was written whole, and makes it survive a loss of power.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Writes a file whole or not at all: beside its place, synced, then renamed.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".grafter-").tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    sync_folder(folder)
}

/// Makes the names in a folder durable. Only Unix can, and not on every file system: where it is not supported there is
/// nothing to wait for.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
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
