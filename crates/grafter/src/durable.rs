//! Makes what was written whole, and makes it survive a loss of power.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// How the names of temporary files and folders begin.
pub(crate) const TEMPORARY: &str = ".grafter-";

/// Writes a file whole or not at all: beside its place, synced, then renamed. It may be read by whom the process's mask
/// lets read, as any other file.
/// # Errors
/// What the system says; the file is then as it was.
pub fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = parent_of(path);
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.prefix(TEMPORARY).tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    sync_folder(folder)
}

/// The folder that a file or folder lies in.
pub fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_may_be_read_like_any_other() {
        let folder = tempfile::tempdir().unwrap();
        let (path, plain) = (folder.path().join("file"), folder.path().join("plain"));
        write_file(&path, b"a first content").unwrap();
        write_file(&path, b"another").unwrap();
        std::fs::write(&plain, b"").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"another");
        let permissions = |path: &Path| std::fs::metadata(path).unwrap().permissions();
        assert_eq!(permissions(&path), permissions(&plain));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
