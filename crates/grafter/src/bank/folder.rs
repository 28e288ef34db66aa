//! The folder of a bank: one base, and any number of sealed adapters.
//!
//! ```text
//! bank.json                     the base that every task of the bank belongs to
//! tasks/<name>/task.json        the versions of a task, the newest last
//! tasks/<name>/<digest>/        a sealed adapter: adapter.json, adapter.safetensors, README.md
//! tasks/<name>/<digest>/probes.json   texts and the exact answers that it gave to them
//! incoming/                     what is being written or taken away; nothing in it counts
//! lock                          held while a process changes the bank
//! ```
//!
//! A task comes and goes by one rename of its folder, a version by one replacement of `task.json`: whatever the instant at
//! which a process or the machine ends, each task is there as it was or not at all. Nothing that belongs to one task is
//! written for another. Readers take no lock.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::BankError;
use super::name::{NameError, TaskName, TaskRef, Version};
use super::probes::Probes;
use crate::adapter::{
    Adapter, AdapterError, BaseDifference, BaseRecord, Companion, MANIFEST_FILE, Manifest, read_manifest,
};
use crate::digest::{sha256_file, sha256_hex};
use crate::durable::{TEMPORARY, clear_temporary, disk, sync_folder, write_file};
use crate::lock::try_lock;
use crate::model::Model;
use crate::regular;

/// The version of the folder's layout that this program writes and reads.
const FORMAT_VERSION: u32 = 1;
pub(super) const BANK_FILE: &str = "bank.json";
const TASK_FILE: &str = "task.json";
const PROBES_FILE: &str = "probes.json";
const TASKS: &str = "tasks";
const INCOMING: &str = "incoming";
const LOCK_FILE: &str = "lock";
/// How long another process may change the bank before one that waits gives up: far longer than writing an adapter takes.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The content of `bank.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BankRecord {
    /// Layout of the folder; another version is refused.
    pub format_version: u32,
    /// The program and its version.
    pub tool: String,
    /// The base of all tasks, and the precision that it is read in.
    pub base: BaseRecord,
}

/// The content of `task.json`: a task and its versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskEntry {
    /// The task.
    pub name: TaskName,
    /// Its versions, the newest last; there is at least one.
    pub versions: Vec<VersionEntry>,
}

/// One version of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionEntry {
    /// SHA-256 of its `adapter.json`.
    pub version: Version,
    /// SHA-256 of its `probes.json`.
    pub probes_sha256: String,
}

impl TaskEntry {
    /// The version that the bare name means.
    pub fn newest(&self) -> &VersionEntry {
        self.versions.last().expect("a task has a version")
    }

    /// The version that is asked for.
    /// # Errors
    /// If there is none, or the digits fit several.
    pub fn find(&self, asked: &TaskRef) -> Result<&VersionEntry, BankError> {
        let Some(digits) = &asked.version else { return Ok(self.newest()) };
        let mut fitting = self.versions.iter().filter(|entry| entry.version.as_str().starts_with(digits));
        match (fitting.next(), fitting.next()) {
            (Some(entry), None) => Ok(entry),
            (_, second) => Err(BankError::UnknownVersion {
                asked: asked.clone(),
                several: second.is_some(),
                known: self.versions.iter().map(|entry| entry.version.clone()).collect(),
            }),
        }
    }
}

/// What a bank holds.
#[derive(Debug, Default)]
pub struct TaskList {
    /// The tasks, by their names.
    pub tasks: Vec<TaskEntry>,
    /// Tasks whose `task.json` cannot be read, and what lies among the tasks and is none; by their names.
    pub broken: Vec<BrokenTask>,
}

/// A task that cannot be read, or what lies in the place of one.
#[derive(Debug)]
pub struct BrokenTask {
    /// The name of the folder or file.
    pub name: String,
    /// What is wrong with it.
    pub error: BankError,
}

/// Whether a task may have come before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Add {
    /// The name must be free.
    New,
    /// If the task exists, this becomes its newest version; the earlier ones stay.
    NewVersion,
}

/// What comes into a bank.
#[derive(Debug)]
pub struct Incoming<'a> {
    /// The adapter.
    pub adapter: &'a Adapter,
    /// What it answered.
    pub probes: &'a Probes,
    /// Files that tell how it came about.
    pub companions: &'a [(Companion, Vec<u8>)],
}

/// A bank on disk.
#[derive(Clone, Debug)]
pub struct Bank {
    path: PathBuf,
    record: BankRecord,
}

impl Bank {
    /// Makes a bank for a model, in a folder that is empty or does not exist.
    /// # Errors
    /// If the folder is in use or cannot be written.
    pub fn init(path: &Path, model: &Model) -> Result<Self, BankError> {
        disk::create_folders(path).map_err(io_error("create", path))?;
        // Before anything is written into it, and again when no other process can.
        check_empty(path)?;
        let lock = lock(path)?;
        check_empty(path)?;
        let record = BankRecord {
            format_version: FORMAT_VERSION,
            tool: format!("grafter {}", env!("CARGO_PKG_VERSION")),
            base: BaseRecord::of(model),
        };
        for folder in [TASKS, INCOMING] {
            let folder = path.join(folder);
            disk::create_folders(&folder).map_err(io_error("create", &folder))?;
        }
        write(&path.join(BANK_FILE), &json(&record))?;
        drop(lock);
        Ok(Self { path: path.to_owned(), record })
    }

    /// Opens a bank.
    /// # Errors
    /// If the folder is none, or of another layout.
    pub fn open(path: &Path) -> Result<Self, BankError> {
        #[derive(Deserialize)]
        struct Layout {
            format_version: u32,
        }
        let file = path.join(BANK_FILE);
        if !file.is_file() {
            return Err(BankError::NotABank { path: path.to_owned() });
        }
        // Another layout is told as such, whatever else the file holds.
        let Layout { format_version: found } = read(&file)?;
        if found != FORMAT_VERSION {
            return Err(BankError::FormatVersion { path: file, found, expected: FORMAT_VERSION });
        }
        Ok(Self { path: path.to_owned(), record: read(&file)? })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The base of all tasks.
    pub fn base(&self) -> &BaseRecord {
        &self.record.base
    }

    /// Whether a model is the bank's base.
    /// # Errors
    /// If it is not.
    pub fn check_model(&self, model: &Model) -> Result<(), BankError> {
        let Some(BaseDifference { part, expected, found }) = self.record.base.difference(model) else {
            return Ok(());
        };
        let base = self.record.base.name.clone();
        Err(BankError::OtherBase { path: self.path.clone(), base, part, expected, found })
    }

    /// All tasks.
    /// # Errors
    /// If their folder cannot be read. What is wrong with one of them is no error but stands in the list.
    pub fn list(&self) -> Result<TaskList, BankError> {
        let folder = self.path.join(TASKS);
        let mut list = TaskList::default();
        for entry in fs::read_dir(&folder).map_err(io_error("read", &folder))? {
            let entry = entry.map_err(io_error("read", &folder))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            // What file managers leave: no task is a file, or begins so.
            if name.starts_with('.') || entry.file_type().is_ok_and(|kind| kind.is_file()) {
                continue;
            }
            let parsed = name.parse().map_err(|error: NameError| BankError::Record {
                path: folder.join(&*name),
                reason: error.to_string(),
            });
            match parsed.and_then(|name| self.find_task(&name)) {
                // None is gone since the folder was read.
                Ok(task) => list.tasks.extend(task),
                Err(error) => list.broken.push(BrokenTask { name: name.into_owned(), error }),
            }
        }
        list.tasks.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        list.broken.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(list)
    }

    /// A task.
    /// # Errors
    /// If the bank does not have it.
    pub fn task(&self, name: &TaskName) -> Result<TaskEntry, BankError> {
        match self.find_task(name)? {
            Some(task) => Ok(task),
            None => {
                let known = self.list()?.tasks.into_iter().map(|task| task.name).collect();
                Err(BankError::UnknownTask { name: name.clone(), known })
            }
        }
    }

    /// A task, if the bank has it.
    /// # Errors
    /// If its `task.json` cannot be read.
    pub fn find_task(&self, name: &TaskName) -> Result<Option<TaskEntry>, BankError> {
        let file = self.folder_of(name).join(TASK_FILE);
        let task: TaskEntry = match read(&file) {
            // Without its list a task is broken; without its folder it is not there, perhaps taken out by now.
            Err(BankError::Io { source, .. })
                if source.kind() == io::ErrorKind::NotFound && !self.folder_of(name).exists() =>
            {
                return Ok(None);
            }
            read => read?,
        };
        let reason = if task.name != *name {
            format!("it is of task `{}`", task.name)
        } else if task.versions.is_empty() {
            "it has no version".to_owned()
        } else {
            return Ok(Some(task));
        };
        Err(BankError::Record { path: file, reason })
    }

    /// Puts an adapter into the bank. The same adapter a second time changes nothing but which version is the newest: its
    /// files, its probes among them, stay.
    /// # Errors
    /// If the adapter is of another base, the name is taken, or something cannot be written.
    pub fn add(&self, name: &TaskName, incoming: &Incoming<'_>, add: Add) -> Result<Version, BankError> {
        let base = &incoming.adapter.manifest().base;
        if !base.is_same(self.base()) {
            return Err(BankError::ForeignAdapter {
                base: self.base().name.clone(),
                found: base.name.clone(),
            });
        }
        let _lock = self.lock()?;
        let known = self.find_task(name)?;
        if known.is_some() && add == Add::New {
            return Err(BankError::TaskExists { name: name.clone() });
        }
        let (version, target) = (Version::try_from(incoming.adapter.digest())?, self.own_folder_of(name)?);
        let mut task = known.clone().unwrap_or(TaskEntry { name: name.clone(), versions: Vec::new() });
        if let Some(place) = task.versions.iter().position(|entry| entry.version == version) {
            // What is there stays as it is, with the answers that it came with; one file is replaced.
            let entry = task.versions.remove(place);
            task.versions.push(entry);
            write(&target.join(TASK_FILE), &json(&task))?;
            return Ok(version);
        }
        let scratch = self.scratch()?;
        let fresh = scratch.path().join(name.as_str());
        disk::create_folder(&fresh).map_err(io_error("create", &fresh))?;
        task.versions.push(write_version(&fresh, incoming)?);
        if known.is_none() {
            write(&fresh.join(TASK_FILE), &json(&task))?;
            rename(&fresh, &target)?;
            return Ok(version);
        }
        let place = target.join(version.as_str());
        if place.exists() {
            // Left by a process that ended before it was counted.
            rename(&place, &scratch.path().join("left"))?;
        }
        rename(&fresh.join(version.as_str()), &place)?;
        write(&target.join(TASK_FILE), &json(&task))?;
        Ok(version)
    }

    /// Takes a task out of the bank, or one of its versions.
    /// # Errors
    /// If the bank does not have it, or something cannot be written.
    pub fn remove(&self, asked: &TaskRef) -> Result<(), BankError> {
        let _lock = self.lock()?;
        let (scratch, target) = (self.scratch()?, self.folder_of(&asked.name));
        // A task whose list is broken can be taken out as a whole.
        if asked.version.is_none() && target.is_dir() {
            return rename(&target, &scratch.path().join("removed"));
        }
        let mut task = self.task(&asked.name)?;
        let target = self.own_folder_of(&asked.name)?;
        let version = task.find(asked)?.version.clone();
        task.versions.retain(|entry| entry.version != version);
        if task.versions.is_empty() {
            return rename(&target, &scratch.path().join("removed"));
        }
        write(&target.join(TASK_FILE), &json(&task))?;
        match rename(&target.join(version.as_str()), &scratch.path().join("removed")) {
            // It was gone before, and is now out of the list too.
            Err(BankError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
            renamed => renamed,
        }
    }

    /// What a version's `adapter.json` says; its digest is checked.
    /// # Errors
    /// If the file is missing or another one.
    pub fn manifest(&self, name: &TaskName, version: &Version) -> Result<Manifest, BankError> {
        let folder = self.folder_of(name).join(version.as_str());
        check_digest(&folder.join(MANIFEST_FILE), version.as_str())?;
        Ok(read_manifest(&folder)?)
    }

    /// Reads a version for the bank's model; every digest is checked.
    /// # Errors
    /// If a file is missing or another one.
    pub fn load(&self, name: &TaskName, version: &Version, model: &Model) -> Result<Adapter, BankError> {
        let folder = self.folder_of(name).join(version.as_str());
        check_digest(&folder.join(MANIFEST_FILE), version.as_str())?;
        Ok(Adapter::load(&folder, model)?)
    }

    /// The probes of a version; their digest is checked.
    /// # Errors
    /// If the file is missing or another one.
    pub fn probes(&self, name: &TaskName, entry: &VersionEntry) -> Result<Probes, BankError> {
        let file = self.folder_of(name).join(entry.version.as_str()).join(PROBES_FILE);
        check_digest(&file, &entry.probes_sha256)?;
        // Of many tags it may be long: a number for each of them and each word.
        parse(&file, &regular::read(&file).map_err(io_error("read", &file))?)
    }

    /// Where a version lies.
    pub fn version_folder(&self, name: &TaskName, version: &Version) -> PathBuf {
        self.folder_of(name).join(version.as_str())
    }

    fn folder_of(&self, name: &TaskName) -> PathBuf {
        self.path.join(TASKS).join(name.as_str())
    }

    /// The same before it is written to: through a link something outside of the bank would change.
    fn own_folder_of(&self, name: &TaskName) -> Result<PathBuf, BankError> {
        let folder = self.folder_of(name);
        match fs::symlink_metadata(&folder) {
            Ok(found) if !found.is_dir() => Err(not_a_folder(folder)),
            _ => Ok(folder),
        }
    }

    /// Waits until no other process changes the bank, though not without end, and clears what one left that did not end well.
    fn lock(&self) -> Result<File, BankError> {
        let lock = lock(&self.path)?;
        for folder in [TASKS, INCOMING] {
            let folder = self.path.join(folder);
            // Through a link something else would be written to, and cleared.
            if !fs::symlink_metadata(&folder).map_err(io_error("read", &folder))?.is_dir() {
                return Err(not_a_folder(folder));
            }
        }
        let incoming = self.path.join(INCOMING);
        clear_temporary(&incoming).map_err(io_error("clear", &incoming))?;
        Ok(lock)
    }

    /// A folder on the bank's file system that goes away by itself.
    fn scratch(&self) -> Result<tempfile::TempDir, BankError> {
        let incoming = self.path.join(INCOMING);
        disk::temporary_folder(&incoming).map_err(io_error("create a folder in", &incoming))
    }
}

fn not_a_folder(path: PathBuf) -> BankError {
    BankError::Record { path, reason: "expected a folder, found something else, such as a link".to_owned() }
}

/// Refuses a folder that holds something.
fn check_empty(path: &Path) -> Result<(), BankError> {
    for entry in fs::read_dir(path).map_err(io_error("read", path))? {
        let entry = entry.map_err(io_error("read", path))?;
        let name = entry.file_name();
        // Beside the lock, what a process left that ended before the last step.
        let is_left = name.to_string_lossy().starts_with(TEMPORARY)
            || [TASKS, INCOMING].iter().any(|folder| name == *folder)
                && fs::read_dir(entry.path()).is_ok_and(|mut entries| entries.next().is_none());
        if name != LOCK_FILE && !is_left {
            return Err(BankError::Exists { path: path.to_owned() });
        }
    }
    Ok(())
}

/// Writes a version under its digest into `folder`.
fn write_version(folder: &Path, incoming: &Incoming<'_>) -> Result<VersionEntry, BankError> {
    let version = Version::try_from(incoming.adapter.digest())?;
    let place = folder.join(version.as_str());
    let saved = incoming.adapter.save_with(&place, false, incoming.companions);
    saved.map_err(|error| match error {
        // What was kept goes with the folder that it was written to.
        AdapterError::Kept { error, .. } => *error,
        error => error,
    })?;
    let probes = json(incoming.probes);
    write(&place.join(PROBES_FILE), &probes)?;
    Ok(VersionEntry { version, probes_sha256: sha256_hex(&probes) })
}

fn lock(path: &Path) -> Result<File, BankError> {
    let file = path.join(LOCK_FILE);
    let ends = Instant::now() + LOCK_TIMEOUT;
    loop {
        match try_lock(&file).map_err(io_error("lock", &file))? {
            Some(lock) => return Ok(lock),
            None if Instant::now() < ends => sleep(LOCK_PAUSE),
            None => return Err(BankError::InUse { path: path.to_owned() }),
        }
    }
}

fn check_digest(file: &Path, expected: &str) -> Result<(), BankError> {
    let found = regular::check(file).and_then(|()| sha256_file(file)).map_err(io_error("read", file))?;
    if found == expected {
        return Ok(());
    }
    Err(BankError::Digest { path: file.to_owned(), found, expected: expected.to_owned() })
}

/// Moves a folder, durably.
fn rename(from: &Path, to: &Path) -> Result<(), BankError> {
    disk::rename(from, to).map_err(io_error("write", to))?;
    for folder in [from.parent(), to.parent()].into_iter().flatten() {
        sync_folder(folder).map_err(io_error("sync", folder))?;
    }
    Ok(())
}

fn io_error<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> BankError + 'a {
    move |source| BankError::Io { action, path: path.to_owned(), source }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, BankError> {
    let bytes =
        regular::read_at_most(regular::MAX_DESCRIPTION_BYTES, path).map_err(io_error("read", path))?;
    parse(path, &bytes)
}

fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, BankError> {
    serde_json::from_slice(bytes)
        .map_err(|error| BankError::Record { path: path.to_owned(), reason: error.to_string() })
}

fn json(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("records are plain data");
    bytes.push(b'\n');
    bytes
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), BankError> {
    write_file(path, bytes).map_err(io_error("write", path))
}
