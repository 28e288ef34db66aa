//! Where a run writes: the lock of a place, and the names of what lies beside it.

use std::path::{Path, PathBuf};

use grafter::durable::{TEMPORARY, parent_of};
use grafter::lock::OutputLock;

use crate::failure::Failure;

/// Two runs never write to one place, by whatever links to what is there it is named: the second is refused before it has done
/// anything.
/// The folder around the place is made if it is missing.
pub fn lock(path: &Path, end: &str) -> Result<OutputLock, Failure> {
    let parent = parent_of(path);
    std::fs::create_dir_all(parent).map_err(|source| Failure::Write { path: parent.to_owned(), source })?;
    let place = beside(&path.canonicalize().unwrap_or_else(|_| path.to_owned()), end);
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    let file = place.with_file_name(format!("{TEMPORARY}{name}.lock"));
    let lock = OutputLock::take(&file).map_err(|source| Failure::Write { path: file, source })?;
    lock.ok_or_else(|| Failure::Usage {
        message: format!("another run is writing to `{}`", beside(path, end).display()),
        hint: Some("wait until it has ended, or name another place".to_owned()),
    })
}

/// A file or folder of the same name with something after it; `.` has the name of the folder that it is.
pub fn beside(path: &Path, end: &str) -> PathBuf {
    let named = match path.file_name() {
        Some(_) => path.to_owned(),
        None => path.canonicalize().unwrap_or_else(|_| path.to_owned()),
    };
    let mut name = named.file_name().unwrap_or_default().to_owned();
    name.push(end);
    named.with_file_name(name)
}

/// [`beside`], with a number where something is there already.
pub fn free_place(path: &Path, end: &str) -> PathBuf {
    let places = (1..).map(|number| match number {
        1 => beside(path, end),
        number => beside(path, &format!("{end}.{number}")),
    });
    places.into_iter().find(|place| place.symlink_metadata().is_err()).expect("there are enough numbers")
}
