//! The zip archive around a pickle: finds its entries by exact name, and bounds what they may take.
//!
//! No name inside the archive ever becomes a path of the file system.

use std::io::{Cursor, Read};
use std::path::Path;

use zip::ZipArchive;
use zip::result::ZipError;

use super::PickleError;
use crate::text::escape;

/// The last record of an archive, which has no comment in torch's.
const END_SIGNATURE: &[u8; 4] = b"PK\x05\x06";
const END_BYTES: usize = 22;
/// Of the two records of zip64, where they are written before the last one.
const ZIP64_BYTES: u64 = 56 + 20;
/// How often the signature of the end may occur, as it may by chance in the numbers of a tensor. The `zip` crate tries one
/// after the other, and each may cost as much as the whole file.
const MOST_ENDS: usize = 16;
/// Entries of an archive: one a storage, and those of torch's own.
const MOST_ENTRIES: usize = 8192;
/// What is taken for entries and for tensors together, by the size of the file. Two would do for float32 and three for the
/// halves; the rest is for storages that several tensors share.
const MOST_GROWTH: usize = 16;
/// As if every file had this size, so that the entries of tiny ones fit.
const LEAST_FILE_BYTES: usize = 4096;

/// One open archive, and what may still be taken for what is in it.
pub(super) struct Archive<'a> {
    path: &'a Path,
    zip: ZipArchive<Cursor<&'a [u8]>>,
    /// The folder in the archive that everything lies in, by the name that the file was saved under.
    root: String,
    budget: Budget,
}

impl<'a> Archive<'a> {
    pub(super) fn open(path: &'a Path, bytes: &'a [u8]) -> Result<Self, PickleError> {
        let wrong = |found: String| PickleError::Archive { path: path.to_owned(), found };
        if is_legacy(bytes) {
            return Err(PickleError::Legacy { path: path.to_owned() });
        }
        if !bytes.starts_with(b"PK\x03\x04") {
            return Err(wrong("another beginning".to_owned()));
        }
        let end = End::read(bytes).map_err(wrong)?;
        let zip =
            ZipArchive::new(Cursor::new(bytes)).map_err(|error| wrong(escape(&error.to_string(), 120)))?;
        // The crate looks for another directory where this one is broken, and of entries of one name keeps the last.
        if zip.len() != end.entries || zip.central_directory_start() != end.directory {
            return Err(wrong("a directory that is broken, or two entries of one name".to_owned()));
        }
        let root = root(&zip).map_err(wrong)?;
        Ok(Self { path, zip, root, budget: Budget::new(bytes.len()) })
    }

    /// The bytes of an entry that must be there.
    pub(super) fn required(&mut self, name: &str, most_bytes: usize) -> Result<Vec<u8>, PickleError> {
        let found = self.optional(name, most_bytes)?;
        found.ok_or_else(|| self.wrong(name, "to be there", "none of this name"))
    }

    /// The bytes of an entry below the archive's folder, or none if it is not there.
    pub(super) fn optional(&mut self, name: &str, most_bytes: usize) -> Result<Option<Vec<u8>>, PickleError> {
        let full = self.full_name(name);
        let wrong = |expected: &str, found: &str| entry_error(self.path, &full, expected, found);
        let broken = |error: ZipError| {
            wrong("an entry that is whole, and stored or deflated", &escape(&error.to_string(), 120))
        };
        let entry = match self.zip.by_name(&full) {
            Ok(entry) => entry,
            Err(ZipError::FileNotFound) => return Ok(None),
            Err(error) => return Err(broken(error)),
        };
        let size = usize::try_from(entry.size()).ok().filter(|size| *size <= most_bytes);
        let Some(size) = size else {
            return Err(wrong(&format!("at most {most_bytes} bytes"), &entry.size().to_string()));
        };
        self.budget.take(self.path, size)?;
        // The size may be a lie: memory is taken as bytes come, and one more than said is enough to know.
        let mut bytes = Vec::with_capacity(size.min(self.budget.file_bytes));
        let read = entry.take(size as u64 + 1).read_to_end(&mut bytes);
        read.map_err(|error| broken(ZipError::Io(error)))?;
        if bytes.len() != size {
            let found = if bytes.len() < size { "fewer" } else { "more" };
            return Err(wrong(&format!("{size} bytes, as the archive says"), found));
        }
        Ok(Some(bytes))
    }

    /// Counts the memory of numbers before it is taken.
    pub(super) fn take_memory(&mut self, bytes: usize) -> Result<(), PickleError> {
        self.budget.take(self.path, bytes)
    }

    /// An entry that is not as it should be.
    pub(super) fn wrong(&self, name: &str, expected: &str, found: &str) -> PickleError {
        entry_error(self.path, &self.full_name(name), expected, found)
    }

    fn full_name(&self, name: &str) -> String {
        format!("{}/{name}", self.root)
    }
}

fn entry_error(path: &Path, entry: &str, expected: &str, found: &str) -> PickleError {
    PickleError::Entry {
        path: path.to_owned(),
        entry: escape(entry, 120),
        expected: expected.to_owned(),
        found: found.to_owned(),
    }
}

/// What may still be taken for a file.
struct Budget {
    file_bytes: usize,
    left_bytes: usize,
}

impl Budget {
    fn new(file_bytes: usize) -> Self {
        Self { file_bytes, left_bytes: most_bytes(file_bytes) }
    }

    fn take(&mut self, path: &Path, bytes: usize) -> Result<(), PickleError> {
        self.left_bytes = self.left_bytes.checked_sub(bytes).ok_or_else(|| PickleError::Memory {
            path: path.to_owned(),
            file_bytes: self.file_bytes,
            most_bytes: most_bytes(self.file_bytes),
        })?;
        Ok(())
    }
}

fn most_bytes(file_bytes: usize) -> usize {
    file_bytes.max(LEAST_FILE_BYTES).saturating_mul(MOST_GROWTH)
}

/// The magic number of the format before 1.6, itself a pickle.
fn is_legacy(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19")
}

/// What the last record says.
struct End {
    entries: usize,
    /// Where the directory begins.
    directory: u64,
}

impl End {
    /// Holds its counts against limits before the crate believes them.
    fn read(bytes: &[u8]) -> Result<Self, String> {
        let record = bytes.last_chunk::<END_BYTES>().filter(|record| record.starts_with(END_SIGNATURE));
        let record = record.ok_or("no end of an archive at its end: it is cut off, or something follows")?;
        let entries = usize::from(u16::from_le_bytes([record[10], record[11]]));
        let directory = u32::from_le_bytes([record[16], record[17], record[18], record[19]]);
        if entries > MOST_ENTRIES {
            return Err(format!("{entries} entries, more than {MOST_ENTRIES}"));
        }
        let directory_bytes = u32::from_le_bytes([record[12], record[13], record[14], record[15]]);
        // The marks of zip64. Torch writes its records always, and means them from 4 GiB on.
        if directory == u32::MAX || directory_bytes == u32::MAX {
            return Err("an archive of 4 GiB or more".to_owned());
        }
        let between = (bytes.len() - END_BYTES) as u64;
        let between = between.checked_sub(u64::from(directory) + u64::from(directory_bytes));
        if !matches!(between, Some(0 | ZIP64_BYTES)) {
            return Err("a directory that does not end where the archive does".to_owned());
        }
        let count = |signature: &[u8; 4]| bytes.array_windows().filter(|window| *window == signature).count();
        if count(END_SIGNATURE) > MOST_ENDS || count(b"PK\x01\x02") > MOST_ENTRIES + MOST_ENDS {
            return Err("the records of many archives".to_owned());
        }
        Ok(Self { entries, directory: directory.into() })
    }
}

/// The folder of the one pickle.
fn root(zip: &ZipArchive<Cursor<&[u8]>>) -> Result<String, String> {
    let mut roots = zip.file_names().filter_map(|name| name.strip_suffix("/data.pkl"));
    match (roots.next(), roots.next()) {
        (Some(_), Some(_)) => Err("several `data.pkl`".to_owned()),
        (Some(root), None)
            if root.is_empty() || root == "." || root == ".." || root.contains(['/', '\\']) =>
        {
            Err(format!("`data.pkl` in `{}`, which is no plain folder", escape(root, 80)))
        }
        (Some(root), None) => Ok(root.to_owned()),
        (None, _) => Err("no `data.pkl` in a folder".to_owned()),
    }
}
