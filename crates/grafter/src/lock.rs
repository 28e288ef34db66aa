//! Locks that processes hold on what they write. The system takes them back from a process that ends, however it ends.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Opens a file, which is made if it is missing, and locks it; `None` if another process has it. In a folder that comes from
/// elsewhere there may be a link in its place, by which a file elsewhere would be made, or a pipe, of which opening never ends.
/// # Errors
/// What the system says; `InvalidInput` of what is no file.
pub(crate) fn try_lock(path: &Path) -> io::Result<Option<File>> {
    if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "expected a file, found something else, such as a link",
        ));
    }
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(source),
    }
}

/// What a process holds while it makes something that is not there yet: a file beside it, which goes with the lock. Of a
/// process that was killed the file stays, and hinders nobody.
#[derive(Debug)]
pub struct OutputLock {
    path: PathBuf,
    /// Absent where the file system has no locks.
    file: Option<File>,
}

impl OutputLock {
    /// Locks the file of this path; `None` if another process has it.
    /// # Errors
    /// What the system says.
    pub fn take(path: &Path) -> io::Result<Option<Self>> {
        loop {
            let file = match try_lock(path) {
                Ok(Some(file)) => file,
                Ok(None) => return Ok(None),
                // A file system without locks is no reason to refuse the work.
                Err(error) if cannot_lock(&error) => {
                    return Ok(Some(Self { path: path.to_owned(), file: None }));
                }
                Err(error) => return Err(error),
            };
            // Whoever had it before may have taken it away after it was opened here: then it locks nothing.
            if is_at(&file, path)? {
                return Ok(Some(Self { path: path.to_owned(), file: Some(file) }));
            }
        }
    }
}

impl Drop for OutputLock {
    fn drop(&mut self) {
        // While it is locked, so that nobody else can have it.
        let _ = fs::remove_file(&self.path);
        if let Some(file) = &self.file {
            let _ = file.unlock();
        }
    }
}

/// Whether no process can lock there.
fn cannot_lock(error: &io::Error) -> bool {
    /// `ENOLCK` of Linux: a network's file system whose server has no locks.
    const NO_LOCKS: i32 = 37;
    error.kind() == io::ErrorKind::Unsupported
        || cfg!(target_os = "linux") && error.raw_os_error() == Some(NO_LOCKS)
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let (open, there) = (file.metadata()?, fs::metadata(path));
    Ok(there.is_ok_and(|there| (there.dev(), there.ino()) == (open.dev(), open.ino())))
}

/// What tells one file from another is not stable there: of two processes that begin in the instant in which a third one ends,
/// both may run.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> io::Result<bool> {
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_at_a_time_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = OutputLock::take(&path).unwrap().unwrap();
        assert!(OutputLock::take(&path).unwrap().is_none());
        drop(first);
        assert!(!path.exists());
        // As of a process that was killed.
        fs::write(&path, "").unwrap();
        assert!(OutputLock::take(&path).unwrap().is_some());
        assert!(!path.exists());
    }

    #[test]
    fn of_many_that_want_it_at_once_never_two_have_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let (held, taken) = (std::sync::atomic::AtomicUsize::new(0), std::sync::atomic::AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..300 {
                        if let Some(_lock) = OutputLock::take(&path).unwrap() {
                            assert_eq!(held.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                            taken.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                            held.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        assert!(taken.into_inner() > 0);
    }
}
