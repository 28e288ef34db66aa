//! Reading files of folders that come from elsewhere: what is no file there is refused.
//!
//! A folder may hold links, and a link may lead to a device or a pipe, of which reading never ends. Links to files are followed:
//! the cache of Hugging Face's hub consists of them.

use std::fs;
use std::io;
use std::path::Path;

/// The bytes of a file.
/// # Errors
/// What the system says; `InvalidInput` of a device, a pipe or a socket.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    check(path)?;
    fs::read(path)
}

/// The text of a file.
/// # Errors
/// As of [`read`]; `InvalidData` of what is not UTF-8.
pub(crate) fn read_to_string(path: &Path) -> io::Result<String> {
    check(path)?;
    fs::read_to_string(path)
}

/// Whether reading would end.
/// # Errors
/// As of [`read`].
pub(crate) fn check(path: &Path) -> io::Result<()> {
    let found = fs::metadata(path)?;
    // Of a folder the system itself says what it is.
    if found.is_file() || found.is_dir() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "expected a file, found a device, a pipe or a socket"))
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn links_to_files_are_followed_and_what_never_ends_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let [file, link, zeros, socket] =
            ["file", "link", "zeros", "socket"].map(|name| folder.path().join(name));
        fs::write(&file, "text").unwrap();
        symlink(&file, &link).unwrap();
        symlink("/dev/zero", &zeros).unwrap();
        let _open = UnixListener::bind(&socket).unwrap();
        assert_eq!(read(&link).unwrap(), b"text");
        assert_eq!(read_to_string(&link).unwrap(), "text");
        for path in [&zeros, &socket] {
            assert_eq!(read(path).unwrap_err().kind(), io::ErrorKind::InvalidInput);
            assert_eq!(read_to_string(path).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
        assert_eq!(read(folder.path()).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(read(&folder.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
