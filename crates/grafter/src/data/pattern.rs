//! From the names of data files, as they are given, to files: names and patterns of names.

use std::fs;
use std::path::{Path, PathBuf};

use glob::MatchOptions;

use super::{DataError, SourceFile};

/// As a shell matches: `*` stays within a folder and takes no file whose name begins with a dot.
pub(crate) const AS_IN_A_SHELL: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// Whether a name is a pattern: `*`, `?` and `[` are in no usual name.
pub(crate) fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?', '['])
}

/// The files of names and patterns, those of each in its place and those of a pattern by the bytes of their names, so that no
/// file system decides their order. `*`, `?`, `[abc]` and `**` (any folders) make a pattern, unless a file has just that name.
///
/// The same file twice is refused: each of its rows would count twice, which is likely no more than two patterns that overlap.
///
/// # Errors
/// A pattern that cannot be read or that no file matches; a folder; the same file twice.
pub fn find_files<P: AsRef<Path>>(names: &[P]) -> Result<Vec<SourceFile>, DataError> {
    let mut files: Vec<SourceFile> = Vec::new();
    for name in names.iter().map(AsRef::as_ref) {
        match name.to_str() {
            Some(pattern) if is_pattern(pattern) && fs::symlink_metadata(name).is_err() => {
                files.extend(matching(pattern)?.into_iter().map(SourceFile::new));
            }
            _ if name.is_dir() => return Err(DataError::Folder { path: name.to_owned() }),
            _ => files.push(SourceFile::new(name)),
        }
    }
    refuse_twice(&files)?;
    Ok(files)
}

/// That no file is there twice, whatever its names.
///
/// # Errors
/// [`DataError::FileTwice`].
pub fn refuse_twice(files: &[SourceFile]) -> Result<(), DataError> {
    let mut seen = std::collections::HashSet::new();
    for file in files {
        // What has no path of its own, as a pipe, is what it is called.
        if !seen.insert(fs::canonicalize(&file.path).unwrap_or_else(|_| file.path.clone())) {
            return Err(DataError::FileTwice { file: file.name() });
        }
    }
    Ok(())
}

/// The files that match, by the bytes of their names.
fn matching(pattern: &str) -> Result<Vec<PathBuf>, DataError> {
    let paths = glob::glob_with(pattern, AS_IN_A_SHELL)
        .map_err(|error| DataError::BadPattern { pattern: pattern.to_owned(), reason: error.msg })?;
    let mut files = Vec::new();
    for path in paths {
        let path = path.map_err(|error| DataError::Open {
            path: error.path().to_owned(),
            source: std::io::Error::from(error.error().kind()),
        })?;
        if !path.is_dir() {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(DataError::NoMatch { pattern: pattern.to_owned() });
    }
    files.sort_unstable_by(|a, b| a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes()));
    Ok(files)
}
