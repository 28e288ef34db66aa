//! The folder that a quickstart writes: its data files, its adapters, and a record of both.
//!
//! The record, `quickstart.json`, holds the SHA-256 of every file that was written. A file or adapter is replaced only
//! if it is still what the record says; so whatever a user put there, or changed, is never overwritten. All of it is
//! checked before anything is written or trained.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use grafter::adapter::{Adapter, Companion, MANIFEST_FILE, WEIGHTS_FILE, check_target};
use grafter::digest::{sha256_file, sha256_hex};
use serde::{Deserialize, Serialize};

use super::tasks::{TASKS, Task};
use crate::failure::Failure;

const RECORD_FILE: &str = "quickstart.json";
const DATA_FOLDER: &str = "data";

/// What a quickstart wrote: SHA-256 by path inside the folder, `/` between its parts.
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
            folder.check_adapter(task)?;
        }
        Ok(folder)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn adapter_folder(&self, task: &Task) -> PathBuf {
        self.path.join(task.name)
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

    /// Saves an adapter with the report of its run, replacing one of an earlier quickstart.
    pub fn save(
        &mut self,
        task: &Task,
        adapter: &Adapter,
        report: &[(Companion, Vec<u8>)],
    ) -> Result<(), Failure> {
        // Again, as training took its time.
        self.check_adapter(task)?;
        adapter.save_with(&self.adapter_folder(task), true, report)?;
        let digest = adapter.manifest().weights_sha256.clone();
        self.record.written_by_quickstart.insert(adapter_key(task), digest);
        self.write_record()
    }

    /// Size of an adapter's weights.
    pub fn adapter_bytes(&self, task: &Task) -> u64 {
        fs::metadata(self.adapter_folder(task).join(WEIGHTS_FILE)).map_or(0, |file| file.len())
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

    fn check_adapter(&self, task: &Task) -> Result<(), Failure> {
        let folder = self.adapter_folder(task);
        // An empty folder, or none, may be written; what is no adapter, or more than one, may not.
        if check_target(&folder, false).is_ok() {
            return Ok(());
        }
        check_target(&folder, true)?;
        let weights = folder.join(WEIGHTS_FILE);
        let found = sha256_file(&weights).map_err(read(&weights))?;
        if self.record.written_by_quickstart.get(&adapter_key(task)) != Some(&found) {
            return Err(refused(&folder, "exists and is not an adapter that an earlier quickstart made"));
        }
        Ok(())
    }

    fn write_record(&self) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(&self.record).expect("names and digests are plain data");
        write_whole(&self.path.join(RECORD_FILE), &(text + "\n"))
    }
}

fn data_key(task: &Task, split: &str) -> String {
    format!("{DATA_FOLDER}/{}/{split}.tsv", task.name)
}

fn adapter_key(task: &Task) -> String {
    format!("{}/{WEIGHTS_FILE}", task.name)
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
    use grafter::adapter::MANIFEST_FILE;

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
    fn other_folders_and_adapters_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let task = folder.path().join(TASKS[0].name);
        fs::create_dir(&task).unwrap();
        assert!(OutFolder::open(folder.path()).is_ok());
        fs::write(task.join("notes.txt"), "mine").unwrap();
        let error = OutFolder::open(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with("exists and is not an adapter folder"), "{error}");
        fs::rename(task.join("notes.txt"), folder.path().join("notes.txt")).unwrap();
        fs::write(task.join(MANIFEST_FILE), "{}").unwrap();
        fs::write(task.join(WEIGHTS_FILE), "weights").unwrap();
        let error = OutFolder::open(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with("is not an adapter that an earlier quickstart made"), "{error}");
        let record = format!(
            r#"{{"written_by_quickstart":{{"{}":"{}"}}}}"#,
            adapter_key(&TASKS[0]),
            sha256_hex(b"weights")
        );
        fs::write(folder.path().join(RECORD_FILE), record).unwrap();
        assert!(OutFolder::open(folder.path()).is_ok());
        fs::write(task.join("notes.txt"), "mine").unwrap();
        let error = OutFolder::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("holds `notes.txt`"), "{error}");
    }

    #[test]
    fn a_record_of_something_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(RECORD_FILE), "{\"mine\": 1}").unwrap();
        let error = OutFolder::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("is not the record of an earlier quickstart"), "{error}");
    }
}
