//! Numbers one after another, in memory up to a budget and beyond it in a temporary file: what a run computes once and
//! reads again in every epoch. Where they lie changes no bit of a result.
//!
//! It knows nothing of what the numbers mean. Each is a word of 32 bits.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Mutex;

use thiserror::Error;

/// How much a run keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// Bytes in memory, for each of the encoded training rows, the encoded dev rows, and what is constant of both; the
    /// rest lies in temporary files.
    pub memory_bytes: u64,
    /// Bytes in all of what is constant; what would take more is computed anew in each step.
    pub total_bytes: u64,
    /// Bytes that a run may take beside the model. If its rows and a step of training would take more, it is refused; what is
    /// constant of the rows has what is left of them in memory, and lies in a file beyond. Without end if absent.
    pub training_bytes: Option<u64>,
    /// Folder of the temporary files, the system's if absent. They have no name there, or lose it with the run.
    pub folder: Option<PathBuf>,
}

impl Default for Budget {
    /// 1 GiB in memory, 8 GiB in all.
    fn default() -> Self {
        Self { memory_bytes: 1 << 30, total_bytes: 8 << 30, training_bytes: None, folder: None }
    }
}

impl Budget {
    /// For the training rows, for the dev rows, or for what is answered to these: each has a quarter of what the run may take in memory, so that half is left for
    /// training.
    pub(crate) fn of_rows(&self) -> Self {
        let most = self.training_bytes.map_or(u64::MAX, |bytes| bytes / 4);
        Self { memory_bytes: self.memory_bytes.min(most), ..self.clone() }
    }
}

/// A temporary file that cannot be written or read.
#[derive(Debug, Error)]
#[error("a temporary file in `{}` cannot be used: {source}", folder.display())]
pub struct StoreError {
    /// Where it lies.
    pub folder: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

const WORD_BYTES: usize = size_of::<u32>();

/// Words one after another: the first in memory, the rest in a file.
#[derive(Debug)]
pub(crate) struct Store {
    memory: Vec<u32>,
    /// How many are held in memory at most.
    capacity: usize,
    folder: Option<PathBuf>,
    /// Opened with the first word that memory has no room for. Reading moves its position.
    file: Option<Mutex<File>>,
}

impl Store {
    pub fn new(budget: &Budget) -> Self {
        let capacity = usize::try_from(budget.memory_bytes / WORD_BYTES as u64).unwrap_or(usize::MAX);
        Self { memory: Vec::new(), capacity, folder: budget.folder.clone(), file: None }
    }

    /// Bytes that it takes in memory.
    pub fn held_bytes(&self) -> u64 {
        self.memory.capacity() as u64 * WORD_BYTES as u64
    }

    /// Makes room for so many words, of which none is there yet.
    /// # Errors
    /// If they need a file and there can be none.
    pub fn reserve(&mut self, words: usize) -> Result<(), StoreError> {
        self.memory.reserve_exact(words.min(self.capacity));
        if words > self.capacity { self.opened().map(drop) } else { Ok(()) }
    }

    /// # Errors
    /// If the temporary file cannot be written.
    pub fn append(&mut self, words: impl IntoIterator<Item = u32>) -> Result<(), StoreError> {
        let mut words = words.into_iter();
        let room = self.capacity - self.memory.len();
        self.memory.extend(words.by_ref().take(room));
        let rest: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
        if rest.is_empty() {
            return Ok(());
        }
        let file = self.opened()?;
        let written = file.seek(SeekFrom::End(0)).and_then(|_| file.write_all(&rest));
        written.map_err(|source| self.failed(source))
    }

    /// Some of the words.
    /// # Errors
    /// If the temporary file cannot be read, or has lost some of them.
    pub fn read(&self, range: Range<usize>) -> Result<impl Iterator<Item = u32> + '_, StoreError> {
        let held = self.memory.len();
        let memory = &self.memory[range.start.min(held)..range.end.min(held)];
        let (start, end) = (range.start.max(held) - held, range.end.max(held) - held);
        let mut bytes = vec![0; (end - start) * WORD_BYTES];
        if let (Some(file), true) = (&self.file, start < end) {
            let mut file = file.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let place = SeekFrom::Start(start as u64 * WORD_BYTES as u64);
            let read = file.seek(place).and_then(|_| file.read_exact(&mut bytes));
            read.map_err(|source| self.failed(source))?;
        }
        let words = (0..end - start).map(move |word| {
            let at = word * WORD_BYTES;
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        });
        Ok(memory.iter().copied().chain(words))
    }

    fn opened(&mut self) -> Result<&mut File, StoreError> {
        let file = match self.file.take() {
            Some(file) => file,
            None => Mutex::new(tempfile::tempfile_in(self.folder()).map_err(|source| self.failed(source))?),
        };
        Ok(self.file.insert(file).get_mut().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    fn folder(&self) -> PathBuf {
        self.folder.clone().unwrap_or_else(tempfile::env::temp_dir)
    }

    fn failed(&self, source: io::Error) -> StoreError {
        StoreError { folder: self.folder(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(store: &Store, range: Range<usize>) -> Result<Vec<u32>, StoreError> {
        store.read(range).map(Iterator::collect)
    }

    #[test]
    fn rows_leave_half_of_the_memory_to_training() {
        let rows = |training_bytes| Budget { training_bytes, ..Budget::default() }.of_rows().memory_bytes;
        assert_eq!([rows(None), rows(Some(1 << 40)), rows(Some(4000))], [1 << 30, 1 << 30, 1000]);
    }

    #[test]
    fn a_file_that_has_shrunk_is_an_error_and_what_is_in_memory_is_still_read() {
        let mut store = Store::new(&Budget { memory_bytes: 8, ..Budget::default() });
        store.append([1, 2, 3]).and_then(|()| store.append([4])).expect("four words are written");
        assert_eq!(read(&store, 1..4).expect("all are there"), [2, 3, 4]);
        let file = store.opened().expect("two words lie in it");
        file.set_len(4).expect("it can be cut");
        assert_eq!(read(&store, 0..3).expect("the third word is there"), [1, 2, 3]);
        assert_eq!(
            read(&store, 2..4).expect_err("the fourth is not").source.kind(),
            io::ErrorKind::UnexpectedEof
        );
    }

    #[test]
    fn words_are_appended_at_the_end_after_some_were_read() {
        for memory_bytes in [0, 8, 1 << 10] {
            let mut store = Store::new(&Budget { memory_bytes, ..Budget::default() });
            store.append(0..5).expect("five words are written");
            assert_eq!(read(&store, 0..1).expect("the first is there"), [0]);
            store.append(5..9).expect("four more are written");
            assert_eq!(read(&store, 0..9).expect("all are there"), (0..9).collect::<Vec<u32>>());
        }
    }
}
