//! Puts a model or a part of a data set into the cache: tries the sources in order, checks what they deliver, moves it into place.
//!
//! Knows nothing of networks or archives; a [`Source`] fills a folder and this file decides whether the content is the
//! pinned one. A folder must never be seen half written: everything happens in a temporary folder beside it.
//! Two processes may pull the same model at once; both fetch it, one moves first and the other takes what is there.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::known::{PinnedFile, Published};
use super::{Attempt, HubError, PullProgress, SourceError};
use crate::digest::sha256_file;
use crate::durable::sync_folder;

/// How temporary folders of a pull start; what a killed process left behind is found by it.
pub(super) const TEMPORARY_PREFIX: &str = ".pull-";
/// Older than any pull that still runs.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// Other processes may install and replace between our steps; more turns than that is a broken file system.
const INSTALL_TURNS: usize = 16;

/// Somewhere files can be fetched from.
pub(super) trait Source {
    /// The source in words, for messages about `what`.
    fn describe(&self, what: &Published) -> String;

    /// Writes the files of `what` into the folder `into`; `scratch` is an empty folder on the same file system. Need
    /// not check digests.
    fn fetch(
        &self,
        what: &Published,
        scratch: &Path,
        into: &Path,
        progress: &mut dyn PullProgress,
    ) -> Result<(), SourceError>;
}

/// Brings `what` into `folder`, from the first source that delivers the pinned files.
pub(super) fn pull(
    what: &Published,
    folder: &Path,
    sources: &[&dyn Source],
    force: bool,
    progress: &mut dyn PullProgress,
) -> Result<PathBuf, HubError> {
    let models = folder.parent().unwrap_or(folder);
    remove_abandoned(models);
    if !force && verify(folder, what.files).is_ok() {
        progress.note(&format!("`{}` is already in the cache", what.name));
        return Ok(folder.to_owned());
    }
    fs::create_dir_all(models).map_err(HubError::io("create", models))?;
    let mut attempts = Vec::new();
    for (i, source) in sources.iter().enumerate() {
        let temporary = tempfile::Builder::new()
            .prefix(TEMPORARY_PREFIX)
            .tempdir_in(models)
            .map_err(HubError::io("create a folder in", models))?;
        let scratch = temporary.path().join("scratch");
        let staging = temporary.path().join("staging");
        for new in [&scratch, &staging] {
            fs::create_dir(new).map_err(HubError::io("create", new))?;
        }
        let described = source.describe(what);
        progress.note(&format!("fetching `{}` from {described}", what.name));
        let fetched =
            source.fetch(what, &scratch, &staging, progress).and_then(|()| verify(&staging, what.files));
        match fetched {
            Ok(()) => {
                move_into_place(&staging, folder, what.files, temporary.path())?;
                return Ok(folder.to_owned());
            }
            Err(error) => {
                if i + 1 < sources.len() {
                    progress.note(&format!("{described}: {}", error.to_string().replace('\n', "; ")));
                }
                attempts.push(Attempt { source: described, error });
            }
        }
    }
    let name = what.name.to_owned();
    Err(if what.is_data {
        HubError::NoDataSource { name, attempts }
    } else {
        HubError::NoSource { model: name, attempts }
    })
}

/// Whether all files are there with their pinned sizes.
pub(super) fn has_sizes(folder: &Path, files: &[PinnedFile]) -> bool {
    files.iter().all(|file| {
        fs::metadata(folder.join(file.name))
            .is_ok_and(|found| found.is_file() && found.len() == file.size_bytes)
    })
}

/// Compares all files with their pinned sizes and digests.
pub(super) fn verify(folder: &Path, files: &[PinnedFile]) -> Result<(), SourceError> {
    files.iter().try_for_each(|file| {
        verify_file(&folder.join(file.name), file.name, file.size_bytes, Some(file.sha256))
    })
}

/// Compares one file, called `name` in messages, with its size and, where it is known, its digest.
pub(super) fn verify_file(
    path: &Path,
    name: &str,
    size_bytes: u64,
    sha256: Option<&str>,
) -> Result<(), SourceError> {
    let file = name.to_owned();
    let found = match fs::metadata(path) {
        Ok(found) if found.is_file() => found.len(),
        Ok(_) => return Err(SourceError::Missing { file }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(SourceError::Missing { file }),
        Err(error) => return Err(SourceError::io("read", path)(error)),
    };
    if found != size_bytes {
        return Err(SourceError::Size { file, expected: size_bytes, found });
    }
    let Some(sha256) = sha256 else { return Ok(()) };
    let found = sha256_file(path).map_err(SourceError::io("read", path))?;
    if found != sha256 {
        return Err(SourceError::Digest { file, expected: sha256.to_owned(), found });
    }
    Ok(())
}

/// Makes `staging` the folder. What was there before goes to `temporary`, unless it is the same: then
/// another process was first, and its folder stays.
fn move_into_place(
    staging: &Path,
    folder: &Path,
    files: &[PinnedFile],
    temporary: &Path,
) -> Result<(), HubError> {
    let models = folder.parent().unwrap_or(folder);
    for file in files {
        let path = staging.join(file.name);
        // Opened for writing, without which Windows refuses to flush.
        let open = OpenOptions::new().write(true).open(&path);
        open.and_then(|file| file.sync_all()).map_err(HubError::io("flush", &path))?;
    }
    sync_folder(staging).map_err(HubError::io("flush", staging))?;
    let mut refused = io::Error::from(io::ErrorKind::AlreadyExists);
    for turn in 0..INSTALL_TURNS {
        match fs::rename(staging, folder) {
            Ok(()) => return sync_folder(models).map_err(HubError::io("flush", models)),
            Err(_) if verify(folder, files).is_ok() => return Ok(()),
            Err(error) => refused = error,
        }
        match fs::rename(folder, temporary.join(format!("replaced-{turn}"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(HubError::io("replace", folder)(error));
            }
            _ => {}
        }
    }
    Err(HubError::io("move the files to", folder)(refused))
}

/// Removes the temporary folders of processes that were killed; best effort, the next pull tries again.
pub(super) fn remove_abandoned(models: &Path) {
    let Ok(entries) = fs::read_dir(models) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX);
        let old = entry
            .metadata()
            .and_then(|found| found.modified())
            .is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|age| age > ABANDONED_AFTER));
        if ours && old {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
