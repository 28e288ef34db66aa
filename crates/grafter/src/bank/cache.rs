//! Adapters of a bank in memory, up to a limit in bytes: read when they are first asked for, the one that was used longest
//! ago goes first.
//!
//! They are keyed by the digest of their version, never by a name, so that what is asked for is what is answered by. An
//! adapter that left the cache lives on with those who hold it, and its bytes are counted until the last of them is done.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use thiserror::Error;

use super::error::BankError;
use super::folder::Bank;
use super::name::{TaskName, Version};
use crate::adapter::{Adapter, Manifest};
use crate::model::Model;

/// Why an adapter is not there.
#[derive(Clone, Debug, Error)]
pub enum CacheError {
    /// It could not be read. Those who waited for the same reading share the error.
    #[error(transparent)]
    Bank(Arc<BankError>),
    /// Everything in memory is in use, so that nothing can make room.
    #[error("no room for an adapter of {needed_bytes} bytes: {used_bytes} of {max_bytes} are in use")]
    Full {
        /// What the adapter would take.
        needed_bytes: u64,
        /// What those in use take.
        used_bytes: u64,
        /// The limit.
        max_bytes: u64,
    },
    /// There will never be room.
    #[error("an adapter of {needed_bytes} bytes is larger than the limit of {max_bytes}")]
    TooLarge {
        /// What the adapter would take.
        needed_bytes: u64,
        /// The limit.
        max_bytes: u64,
    },
}

/// Bytes that an adapter may take, counted for as long as it, or the reading of it, is alive.
#[derive(Debug)]
struct Charge {
    bytes: u64,
    used: Arc<AtomicU64>,
}

impl Charge {
    fn new(bytes: u64, used: &Arc<AtomicU64>) -> Self {
        used.fetch_add(bytes, Ordering::SeqCst);
        Self { bytes, used: Arc::clone(used) }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

/// An adapter in memory.
#[derive(Debug)]
pub struct Resident {
    adapter: Adapter,
    version: Version,
    charge: Charge,
}

impl Resident {
    /// The version that it is.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Bytes that are counted for it.
    pub fn bytes(&self) -> u64 {
        self.charge.bytes
    }
}

impl Deref for Resident {
    type Target = Adapter;

    fn deref(&self) -> &Adapter {
        &self.adapter
    }
}

/// The place of one version.
#[derive(Debug)]
struct Slot {
    /// Its bytes, until it is read.
    charge: Mutex<Option<Charge>>,
    /// Read at most once, by the first who asks; a failure goes to all who wait for it, and is then forgotten.
    read: OnceLock<Result<Arc<Resident>, CacheError>>,
}

#[derive(Debug)]
struct Entry {
    slot: Arc<Slot>,
    /// When it was asked for last, in questions.
    asked: u64,
}

impl Entry {
    fn is_read(&self) -> bool {
        matches!(self.slot.read.get(), Some(Ok(_)))
    }

    /// The adapter, where nobody uses it.
    fn idle(&self) -> Option<&Arc<Resident>> {
        self.slot.read.get()?.as_ref().ok().filter(|resident| Arc::strong_count(resident) == 1)
    }
}

#[derive(Debug, Default)]
struct Entries {
    by_version: HashMap<Version, Entry>,
    questions: u64,
    loads: u64,
    evictions: u64,
}

/// What is in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheUsage {
    /// Adapters that the cache holds; those that left it and are still in use are not among them.
    pub adapters: usize,
    /// Bytes of all that are alive, also those that left the cache and are still in use, and those being read.
    pub bytes: u64,
    /// How many were read so far.
    pub loads: u64,
    /// How many had to make room so far.
    pub evictions: u64,
}

/// Adapters in memory, up to a limit.
#[derive(Debug)]
pub struct AdapterCache {
    max_bytes: u64,
    used: Arc<AtomicU64>,
    entries: Mutex<Entries>,
}

impl AdapterCache {
    /// An empty cache. The limit is kept always: where all that is in memory is in use, one more is refused.
    pub fn new(max_bytes: u64) -> Self {
        Self { max_bytes, used: Arc::default(), entries: Mutex::default() }
    }

    /// A version of a task for the bank's model, read if it is not in memory. Who asks for what another is just reading
    /// waits for that one. Every digest is checked, see [`Bank::load`].
    /// # Errors
    /// If it cannot be read, or there is no room for it. The next question tries again.
    pub fn get(
        &self,
        bank: &Bank,
        name: &TaskName,
        version: &Version,
        model: &Model,
    ) -> Result<Arc<Resident>, CacheError> {
        if let Some(resident) = self.resident(version) {
            return Ok(resident);
        }
        let failed = |error: BankError| CacheError::Bank(Arc::new(error));
        let manifest = bank.manifest(name, version).map_err(failed)?;
        let bytes = bytes_of(&manifest, model.encoder().config.num_hidden_layers);
        let slot = self.slot(version, bytes)?;
        let read = slot.read.get_or_init(|| {
            let charge = slot.charge.lock().unwrap_or_else(PoisonError::into_inner).take();
            // It is gone only where an earlier reader panicked.
            let charge = charge.unwrap_or_else(|| Charge::new(bytes, &self.used));
            let mut adapter = bank.load(name, version, model).map_err(failed)?;
            let mut entries = self.lock();
            entries.loads += 1;
            // One that was configured alike is found soon, or there are few that were.
            let _ = entries.read().any(|resident| adapter.parameters.share_layout(resident.parameters()));
            drop(entries);
            Ok(Arc::new(Resident { adapter, version: version.clone(), charge }))
        });
        if read.is_err() {
            let mut entries = self.lock();
            if entries.by_version.get(version).is_some_and(|entry| Arc::ptr_eq(&entry.slot, &slot)) {
                entries.by_version.remove(version);
            }
        }
        read.clone()
    }

    /// A version that is in memory.
    pub fn resident(&self, version: &Version) -> Option<Arc<Resident>> {
        let mut entries = self.lock();
        entries.questions += 1;
        let asked = entries.questions;
        let entry = entries.by_version.get_mut(version)?;
        entry.asked = asked;
        entry.slot.read.get()?.as_ref().ok().cloned()
    }

    /// Whether a version is in memory; asking so is no use of it.
    pub fn has(&self, version: &Version) -> bool {
        self.lock().by_version.get(version).is_some_and(Entry::is_read)
    }

    /// Takes a version out; who holds it keeps it. Says whether it was there.
    pub fn remove(&self, version: &Version) -> bool {
        self.lock().by_version.remove(version).is_some()
    }

    /// Takes out all versions but these.
    pub fn retain(&self, keep: impl Fn(&Version) -> bool) {
        self.lock().by_version.retain(|version, _| keep(version));
    }

    /// What is in memory.
    pub fn usage(&self) -> CacheUsage {
        let entries = self.lock();
        CacheUsage {
            adapters: entries.by_version.values().filter(|entry| entry.is_read()).count(),
            bytes: self.used.load(Ordering::SeqCst),
            loads: entries.loads,
            evictions: entries.evictions,
        }
    }

    /// The place of a version; a new one only where there is room.
    fn slot(&self, version: &Version, bytes: u64) -> Result<Arc<Slot>, CacheError> {
        let mut entries = self.lock();
        if let Some(entry) = entries.by_version.get(version) {
            return Ok(Arc::clone(&entry.slot));
        }
        if bytes > self.max_bytes {
            return Err(CacheError::TooLarge { needed_bytes: bytes, max_bytes: self.max_bytes });
        }
        let used_bytes = self.used.load(Ordering::SeqCst);
        // Nothing goes where all that may go would not be enough.
        if used_bytes.saturating_sub(entries.idle_bytes()).saturating_add(bytes) > self.max_bytes {
            return Err(CacheError::Full { needed_bytes: bytes, used_bytes, max_bytes: self.max_bytes });
        }
        while self.used.load(Ordering::SeqCst).saturating_add(bytes) > self.max_bytes && entries.evict() {}
        let charge = Mutex::new(Some(Charge::new(bytes, &self.used)));
        let slot = Arc::new(Slot { charge, read: OnceLock::new() });
        let entry = Entry { slot: Arc::clone(&slot), asked: entries.questions };
        entries.by_version.insert(version.clone(), entry);
        Ok(slot)
    }

    /// A panic elsewhere leaves the entries whole: each change of them is one call.
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    /// Those that are in memory.
    fn read(&self) -> impl Iterator<Item = &Arc<Resident>> {
        self.by_version.values().filter_map(|entry| entry.slot.read.get()?.as_ref().ok())
    }

    /// Bytes of those that nobody uses.
    fn idle_bytes(&self) -> u64 {
        self.by_version.values().filter_map(Entry::idle).map(|resident| resident.bytes()).sum()
    }

    /// Takes out what was asked for longest ago of those that nobody uses: the others would free nothing.
    fn evict(&mut self) -> bool {
        let idle = self.by_version.iter().filter(|(_, entry)| entry.idle().is_some());
        let oldest = idle.min_by_key(|(_, entry)| entry.asked);
        let Some(version) = oldest.map(|(version, _)| version.clone()) else { return false };
        self.by_version.remove(&version);
        self.evictions += 1;
        true
    }
}

/// More tensors than a layer brings, and more bytes than the name and the places of one take.
const TENSORS_OF_A_LAYER: u64 = 24;
const BYTES_OF_A_PLACE: u64 = 256;

/// No less than an adapter takes in memory: its numbers, the names of its labels, and where each tensor stands.
fn bytes_of(manifest: &Manifest, layers: usize) -> u64 {
    let numbers = (manifest.trained_parameters as u64).saturating_mul(size_of::<f32>() as u64);
    let labels: usize = manifest.task.labels.iter().map(|label| label.len() + size_of::<String>()).sum();
    let places = (layers as u64 + 1) * TENSORS_OF_A_LAYER * BYTES_OF_A_PLACE;
    numbers.saturating_add(labels as u64).saturating_add(places)
}
