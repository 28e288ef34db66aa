//! Makes what was written whole, and makes it survive a loss of power.

pub(crate) mod disk;
#[doc(hidden)]
pub mod fault;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub use disk::sync_folder;

/// How the names of temporary files and folders begin.
pub const TEMPORARY: &str = ".grafter-";

/// Writes a file whole or not at all: beside its place, synced, then renamed. It may be read by whom the process's mask
/// lets read, as any other file.
/// # Errors
/// What the system says; the file is then as it was.
pub fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    disk::persist(written_beside(path, bytes)?, path)?;
    sync_folder(parent_of(path))
}

/// [`write_file`] of a file that is not there yet.
/// # Errors
/// `AlreadyExists` if something of that name is there, otherwise what the system says.
pub fn create_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    disk::persist_new(written_beside(path, bytes)?, path)?;
    sync_folder(parent_of(path))
}

/// Tries whether a file can be written there, and leaves nothing.
/// # Errors
/// What the system says.
pub fn try_beside(path: &Path) -> io::Result<()> {
    // By itself, so that the message has no temporary name in it.
    fs::metadata(parent_of(path))?;
    written_beside(path, &[]).map(drop)
}

/// A file that is written piece by piece and comes into its place whole, by [`finish`](Self::finish), or not at all.
#[derive(Debug)]
pub struct WholeFile {
    file: tempfile::NamedTempFile,
    path: PathBuf,
}

impl WholeFile {
    /// Begins a file, under a temporary name beside its place.
    /// # Errors
    /// `AlreadyExists` if what is there is no plain file, which would go, otherwise what the system says.
    pub fn begin(path: &Path) -> io::Result<Self> {
        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is there and no plain file"));
        }
        // By itself, so that the message has no temporary name in it.
        fs::metadata(parent_of(path))?;
        Ok(Self { file: disk::temporary_file(parent_of(path))?, path: path.to_owned() })
    }

    /// Moves the file into its place.
    /// # Errors
    /// What the system says; the file is then as it was.
    pub fn finish(self) -> io::Result<()> {
        let place = self.path.clone();
        self.finish_as(&place)
    }

    /// Moves the file into another place of the same folder, whose name was not known before.
    /// # Errors
    /// What the system says; what is there is then as it was.
    pub fn finish_as(self, path: &Path) -> io::Result<()> {
        disk::sync(self.file.as_file())?;
        disk::persist(self.file, path)?;
        sync_folder(parent_of(path))
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        disk::write(self.file.as_file_mut(), bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A file under a temporary name beside a place, synced; without being moved into place it goes away.
fn written_beside(path: &Path, bytes: &[u8]) -> io::Result<tempfile::NamedTempFile> {
    let mut file = disk::temporary_file(parent_of(path))?;
    disk::write(file.as_file_mut(), bytes)?;
    disk::sync(file.as_file())?;
    Ok(file)
}

/// Writes a new folder with these files, whole or not at all. An empty folder of that name is taken.
/// # Errors
/// `AlreadyExists` if there is something else of that name, otherwise what the system says.
pub fn create_folder(folder: &Path, files: &[(&str, Vec<u8>)]) -> io::Result<()> {
    let is_empty = |folder: &Path| fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    if folder.symlink_metadata().is_ok() && !is_empty(folder) {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let parent = parent_of(folder);
    disk::create_folders(parent)?;
    let temporary = disk::temporary_folder(parent)?;
    let fresh = temporary.path().join("folder");
    disk::create_folder(&fresh)?;
    for (name, bytes) in files {
        write_synced(&fresh.join(name), bytes)?;
    }
    sync_folder(&fresh)?;
    if folder.exists() {
        disk::remove_empty_folder(folder)?;
    }
    disk::rename(&fresh, folder)?;
    sync_folder(parent)
}

/// Puts a finished folder into a place, on the same file system. What is there comes to where the finished one was: in one
/// step on Linux, elsewhere in several, in which a crash leaves it beside its place under the name `aside`.
/// # Errors
/// What the system says; the place is then as it was, or what was there is at `aside`.
pub(crate) fn put_folder(fresh: &Path, folder: &Path, aside: &Path) -> io::Result<()> {
    if folder.symlink_metadata().is_err() {
        return disk::rename(fresh, folder);
    }
    match disk::exchange(fresh, folder) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
        exchanged => return exchanged,
    }
    put_in_two_steps(fresh, folder, aside)
}

fn put_in_two_steps(fresh: &Path, folder: &Path, aside: &Path) -> io::Result<()> {
    disk::rename(folder, aside)?;
    disk::rename(fresh, folder).inspect_err(|_| {
        // If even this fails, the old one stays where the caller said.
        let _ = disk::rename(aside, folder);
    })
}

/// Writes a new file and waits until it is on the disk.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = disk::create_file(path)?;
    disk::write(&mut file, bytes)?;
    disk::sync(&file)
}

/// The folder that a file or folder lies in.
pub fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Takes away what processes left in a folder that ended before it could go by itself. The caller knows that no other
/// process writes there.
pub(crate) fn clear_temporary(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            continue;
        }
        // A link is no folder here: it goes, and what it leads to stays.
        if entry.file_type()?.is_dir() {
            disk::remove_folder(&entry.path())?;
        } else {
            disk::remove_file(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::fault::Fault;
    use super::*;

    #[test]
    fn a_folder_is_new_or_was_empty() {
        let folder = tempfile::tempdir().unwrap();
        let (new, empty) = (folder.path().join("a/new"), folder.path().join("empty"));
        fs::create_dir(&empty).unwrap();
        let files = [("one", b"1".to_vec()), ("two", b"2".to_vec())];
        for target in [&new, &empty] {
            create_folder(target, &files).unwrap();
            assert_eq!(fs::read(target.join("two")).unwrap(), b"2");
            let again = create_folder(target, &files[..1]).unwrap_err();
            assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read_dir(target).unwrap().count(), 2);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "no temporary folder is left");
    }

    /// As where the system cannot exchange two folders.
    #[test]
    fn a_fault_between_two_steps_leaves_the_old_folder_in_its_place_or_aside() {
        for (nth, fault, at_place, at_aside) in [
            (3, Fault::Once, Some("fresh"), Some("old")),
            (1, Fault::Once, Some("old"), None),
            (2, Fault::Once, Some("old"), None),
            (2, Fault::FromThere, None, Some("old")),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let [fresh, place, aside] = ["fresh", "place", "aside"].map(|name| folder.path().join(name));
            for (path, text) in [(&fresh, "fresh"), (&place, "old")] {
                fs::create_dir(path).unwrap();
                fs::write(path.join("file"), text).unwrap();
            }
            fault::arm(nth, fault);
            let put = put_in_two_steps(&fresh, &place, &aside);
            fault::disarm();
            assert_eq!(put.is_ok(), nth == 3);
            let found = |path: &Path| fs::read_to_string(path.join("file")).ok();
            assert_eq!(found(&place).as_deref(), at_place, "{nth} {fault:?}");
            assert_eq!(found(&aside).as_deref(), at_aside, "{nth} {fault:?}");
        }
    }

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
        let again = create_file(&path, b"a third").unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"another");
        std::fs::remove_file(&path).unwrap();
        create_file(&path, b"a third").unwrap();
        assert_eq!(permissions(&path), permissions(&plain));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
