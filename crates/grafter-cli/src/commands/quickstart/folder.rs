//! The folder that a quickstart writes: its data files, a bank with its tasks, and a record of both.
//!
//! The record, `quickstart.json`, holds the SHA-256 of every file and the version of every task that was written. Either is
//! replaced only if it is still what the record says; so whatever a user put there, or changed, is never overwritten. All
//! of it is checked before anything is written or trained.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use grafter::adapter::MANIFEST_FILE;
use grafter::bank::{Add, Bank, Incoming, TaskName, TaskRef, Version};
use grafter::digest::{sha256_file, sha256_hex};
use grafter::model::Model;
use serde::{Deserialize, Serialize};

use super::tasks::{TASKS, Task};
use crate::failure::Failure;

const RECORD_FILE: &str = "quickstart.json";
const DATA_FOLDER: &str = "data";
const BANK_FOLDER: &str = "bank";

/// What a quickstart wrote: SHA-256 of files and versions of tasks, by their path inside the folder, `/` between its parts.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    written_by_quickstart: BTreeMap<String, String>,
}

/// A folder that was checked.
#[derive(Debug)]
pub struct OutFolder {
    path: PathBuf,
    record: Record,
}

impl OutFolder {
    /// Checks that everything that will be written may be.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        if path.exists() && !path.is_dir() {
            return Err(refused(path, "is a file, expected a folder or nothing"));
        }
        if path.join(MANIFEST_FILE).exists() {
            return Err(refused(path, "is the folder of an adapter, which holds nothing else"));
        }
        let record_path = path.join(RECORD_FILE);
        let record = if record_path.exists() {
            let text = fs::read_to_string(&record_path).map_err(read(&record_path))?;
            serde_json::from_str(&text)
                .map_err(|_| refused(&record_path, "is not the record of an earlier quickstart"))?
        } else {
            Record::default()
        };
        let folder = Self { path: path.to_owned(), record };
        for task in &TASKS {
            for (split, content) in [("train", task.train), ("dev", task.dev)] {
                folder.check_data_file(task, split, content)?;
            }
        }
        if folder.bank_folder().exists() {
            let bank = Bank::open(&folder.bank_folder())?;
            TASKS.iter().try_for_each(|task| folder.check_task(&bank, task).map(drop))?;
        }
        Ok(folder)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn bank_folder(&self) -> PathBuf {
        self.path.join(BANK_FOLDER)
    }

    /// The bank of an earlier quickstart, or a new one.
    pub fn bank(&self, model: &Model) -> Result<Bank, Failure> {
        let folder = self.bank_folder();
        if !folder.exists() {
            return Ok(Bank::init(&folder, model)?);
        }
        let bank = Bank::open(&folder)?;
        bank.check_model(model)?;
        Ok(bank)
    }

    pub fn data_file(&self, task: &Task, split: &str) -> PathBuf {
        self.path.join(DATA_FOLDER).join(task.name).join(format!("{split}.tsv"))
    }

    /// Writes the data files, and records them.
    pub fn write_data(&mut self) -> Result<(), Failure> {
        for task in &TASKS {
            for (split, content) in [("train", task.train), ("dev", task.dev)] {
                let path = self.data_file(task, split);
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent).map_err(write(parent))?;
                }
                write_whole(&path, content)?;
                let key = data_key(task, split);
                self.record.written_by_quickstart.insert(key, sha256_hex(content.as_bytes()));
            }
        }
        self.write_record()
    }

    /// Puts a task into the bank, in the place of one of an earlier quickstart.
    pub fn save(&mut self, bank: &Bank, task: &Task, incoming: &Incoming<'_>) -> Result<Version, Failure> {
        let name = task.task_name();
        // Again, as training took its time.
        if self.check_task(bank, task)? {
            bank.remove(&TaskRef { name: name.clone(), version: None })?;
        }
        // Before the task is there, so that a quickstart that ends in between knows it again.
        let version = incoming.adapter.digest();
        self.record.written_by_quickstart.insert(task_key(&name), version);
        self.write_record()?;
        Ok(bank.add(&name, incoming, Add::New)?)
    }

    fn check_data_file(&self, task: &Task, split: &str, content: &str) -> Result<(), Failure> {
        let path = self.data_file(task, split);
        if !path.exists() {
            return Ok(());
        }
        let found = sha256_file(&path).map_err(read(&path))?;
        let recorded = self.record.written_by_quickstart.get(&data_key(task, split));
        if found == sha256_hex(content.as_bytes()) || recorded == Some(&found) {
            return Ok(());
        }
        Err(refused(&path, "exists and is not what an earlier quickstart wrote"))
    }

    /// Whether an earlier quickstart made the task.
    fn check_task(&self, bank: &Bank, task: &Task) -> Result<bool, Failure> {
        let name = task.task_name();
        let Some(found) = bank.find_task(&name)? else { return Ok(false) };
        let recorded = self.record.written_by_quickstart.get(&task_key(&name));
        if found
            .versions
            .iter()
            .all(|entry| recorded.is_some_and(|recorded| recorded == entry.version.as_str()))
        {
            return Ok(true);
        }
        let what = format!("has a task `{name}` that no earlier quickstart made");
        Err(refused(bank.path(), &what))
    }

    fn write_record(&self) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(&self.record).expect("names and digests are plain data");
        write_whole(&self.path.join(RECORD_FILE), &(text + "\n"))
    }
}

fn data_key(task: &Task, split: &str) -> String {
    format!("{DATA_FOLDER}/{}/{split}.tsv", task.name)
}

fn task_key(name: &TaskName) -> String {
    format!("{BANK_FOLDER}/tasks/{name}")
}

/// Writes a file whole or not at all.
fn write_whole(path: &Path, content: &str) -> Result<(), Failure> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    fs::write(&part, content).map_err(write(&part))?;
    fs::rename(&part, path).map_err(write(path))
}

fn read(path: &Path) -> impl FnOnce(std::io::Error) -> Failure + use<> {
    let path = path.to_owned();
    move |source| Failure::Read { path, source }
}

fn write(path: &Path) -> impl FnOnce(std::io::Error) -> Failure + use<> {
    let path = path.to_owned();
    move |source| Failure::Write { path, source }
}

fn refused(path: &Path, why: &str) -> Failure {
    Failure::Usage {
        message: format!("`{}` {why}", path.display()),
        hint: Some("pass `--out <DIR>` of another folder, or move it away".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "mine").unwrap();
        assert!(OutFolder::open(&path).unwrap_err().to_string().contains("is a file"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn data_is_written_again_only_if_it_was_not_changed() {
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("notes.txt");
        fs::write(&other, "mine").unwrap();
        let mut out = OutFolder::open(folder.path()).unwrap();
        out.write_data().unwrap();
        let mut out = OutFolder::open(folder.path()).unwrap();
        out.write_data().unwrap();
        let changed = out.data_file(&TASKS[1], "train");
        fs::write(&changed, "text\tlabel\nmine\tx\n").unwrap();
        let error = OutFolder::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("train.tsv` exists and is not what an earlier quickstart wrote"), "{error}");
        assert_eq!(fs::read_to_string(&other).unwrap(), "mine");
    }

    #[test]
    fn what_an_older_quickstart_wrote_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let mut out = OutFolder::open(folder.path()).unwrap();
        out.write_data().unwrap();
        let path = out.data_file(&TASKS[0], "dev");
        fs::write(&path, "an older version").unwrap();
        let key = data_key(&TASKS[0], "dev");
        out.record.written_by_quickstart.insert(key, sha256_hex(b"an older version"));
        out.write_record().unwrap();
        OutFolder::open(folder.path()).unwrap().write_data().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), TASKS[0].dev);
    }

    #[test]
    fn what_is_no_bank_and_a_task_of_somebody_else_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let bank = folder.path().join(BANK_FOLDER);
        fs::create_dir(&bank).unwrap();
        fs::write(bank.join("notes.txt"), "mine").unwrap();
        let error = OutFolder::open(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with("bank` is not a bank"), "{error}");
        fs::remove_dir_all(&bank).unwrap();
        let model_folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../grafter/tests/fixtures/tiny-bert");
        let model = Model::read(&model_folder, "tiny-bert").unwrap();
        let mut out = OutFolder::open(folder.path()).unwrap();
        let bank = out.bank(&model).unwrap();
        // A task of the same name whose version is not in the record.
        let name = TASKS[0].task_name();
        let (version, other) = ("0".repeat(64), "1".repeat(64));
        let entry = |version: &str| {
            format!(r#"{{"name": "{name}", "versions": [{{"version": "{version}", "probes_sha256": ""}}]}}"#)
        };
        let task = bank.path().join("tasks").join(name.as_str());
        fs::create_dir(&task).unwrap();
        fs::write(task.join("task.json"), entry(&version)).unwrap();
        let error = OutFolder::open(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with("has a task `reviews` that no earlier quickstart made"), "{error}");
        out.record.written_by_quickstart.insert(task_key(&name), version);
        out.write_record().unwrap();
        assert!(OutFolder::open(folder.path()).is_ok());
        fs::write(task.join("task.json"), entry(&other)).unwrap();
        assert!(OutFolder::open(folder.path()).is_err());
    }

    #[test]
    fn a_record_of_something_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(RECORD_FILE), "{\"mine\": 1}").unwrap();
        let error = OutFolder::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("is not the record of an earlier quickstart"), "{error}");
    }
}
