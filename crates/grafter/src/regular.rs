//! Reading files of folders that come from elsewhere: what is no file there is refused.
//!
//! A folder may hold links, and a link may lead to a device or a pipe, of which reading never ends. Links to files are followed:
//! the cache of Hugging Face's hub consists of them.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// More bytes than a description has that names neither tokens nor labels.
pub(crate) const MAX_DESCRIPTION_BYTES: u64 = 16 << 20;

/// The bytes of a file.
/// # Errors
/// What the system says; `InvalidInput` of a device, a pipe or a socket.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    check(path)?;
    fs::read(path)
}

/// The text of a file that has no more than `limit` bytes.
/// # Errors
/// As of [`read_at_most`]; `InvalidData` of what is not UTF-8.
pub(crate) fn read_text(limit: u64, path: &Path) -> io::Result<String> {
    let bytes = read_at_most(limit, path)?;
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
}

/// The bytes of a file that has no more than `limit`.
/// # Errors
/// As of [`read`]; `FileTooLarge` of a file that has more.
pub(crate) fn read_at_most(limit: u64, path: &Path) -> io::Result<Vec<u8>> {
    check(path)?;
    let (file, mut bytes) = (File::open(path)?, Vec::new());
    // What the system says may be less than there is, as of a file that grows.
    if file.metadata()?.len() > limit || file.take(limit + 1).read_to_end(&mut bytes)? as u64 > limit {
        let reason = format!("it has more than {limit} bytes, which are read at most");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    Ok(bytes)
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
        assert_eq!(read_text(4, &link).unwrap(), "text");
        for path in [&zeros, &socket] {
            assert_eq!(read(path).unwrap_err().kind(), io::ErrorKind::InvalidInput);
            assert_eq!(read_text(4, path).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
        assert_eq!(read(folder.path()).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(read(&folder.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn no_more_than_the_limit_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let [file, sparse] = ["file", "sparse"].map(|name| folder.path().join(name));
        fs::write(&file, "text").unwrap();
        assert_eq!(read_at_most(4, &file).unwrap(), b"text");
        assert_eq!(read_at_most(3, &file).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        // Bytes that are nowhere: a folder from an archive may hold more than there is memory.
        File::create(&sparse).unwrap().set_len(MAX_DESCRIPTION_BYTES + 1).unwrap();
        assert_eq!(
            read_text(MAX_DESCRIPTION_BYTES, &sparse).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
        fs::write(&file, b"\xff").unwrap();
        assert_eq!(read_text(1, &file).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
