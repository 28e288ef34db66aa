//! Makes what was written survive a loss of power.

use std::fs::File;
use std::io;
use std::path::Path;

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
