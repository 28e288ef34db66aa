//! The folder of a comparison: what it was begun with, a file for each finished trial, and a lock.
//!
//! ```text
//! compare.json        the plan: program, base, options, tasks by digest, grids
//! tasks/<task>.json   the right answers, so that results can be made from the folder alone
//! trials/<id>.json    a finished trial; written whole or not at all
//! adapters/<id>/      its adapter, where asked for
//! results.json, results.csv, report.html
//! figures/*.svg       the figures of the page, each in a file of its own
//! lock                held while a process works on the folder
//! ```

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::plan::{FORMAT_VERSION, Plan};
use super::task::{CompareTask, TaskTargets, is_task_name};
use super::trial::TrialRecord;
use super::{CompareError, Trial};
use crate::durable::{TEMPORARY, clear_temporary, disk, write_file};
use crate::lock::try_lock;
use crate::report;

/// The file with the plan.
pub const PLAN_FILE: &str = "compare.json";
/// The file with the results.
pub const RESULTS_FILE: &str = "results.json";
/// The trials as a table.
pub const TABLE_FILE: &str = "results.csv";
/// The page for people.
pub const REPORT_FILE: &str = "report.html";
const LOCK_FILE: &str = "lock";
const TRIALS: &str = "trials";
const TASKS: &str = "tasks";
const ADAPTERS: &str = "adapters";
const FIGURES: &str = "figures";

/// An open folder; no other process has it.
#[derive(Debug)]
pub struct CompareFolder {
    path: PathBuf,
    plan: Plan,
    /// The lock goes with the file.
    _lock: File,
}

impl CompareFolder {
    /// Opens a folder for the trials of a plan, beside those that it has. It is made if it is missing.
    /// # Errors
    /// If the folder holds something else, is of another comparison, is in use, or cannot be written.
    pub fn open(path: &Path, plan: &Plan, tasks: &[CompareTask]) -> Result<Self, CompareError> {
        check(path)?;
        let folders = [TRIALS, TASKS, FIGURES].map(|folder| path.join(folder));
        for folder in &folders {
            disk::create_folders(folder).map_err(io_error("create", folder))?;
        }
        let lock = lock(path)?;
        for folder in [path].into_iter().chain(folders.iter().map(PathBuf::as_path)) {
            clear_temporary(folder).map_err(io_error("clear", folder))?;
        }
        let plan_file = path.join(PLAN_FILE);
        let known = if plan_file.exists() { Some(read_plan(&plan_file)?) } else { None };
        let mut all = known.clone().unwrap_or_else(|| plan.clone());
        all.extend(plan).map_err(|difference| CompareError::Differs {
            folder: path.to_owned(),
            what: difference.what,
            expected: difference.expected,
            found: difference.found,
        })?;
        for task in tasks {
            let file = answers_file(path, &task.plan.name);
            // Without the plan they may be of other rows, as of a command that ended before it wrote that.
            let is_known = known.as_ref().is_some_and(|known| known.tasks.contains(&task.plan));
            if !is_known || !file.exists() {
                write(&file, &json(&task.targets))?;
            }
        }
        // Before anything is trained: the results are of all tasks, and the answers are not copied everywhere.
        if let Some(task) = all.tasks.iter().find(|task| !answers_file(path, &task.name).exists()) {
            return Err(CompareError::NoAnswers { folder: path.to_owned(), task: task.name.clone() });
        }
        if known.as_ref() != Some(&all) {
            write(&plan_file, &pretty(&all))?;
        }
        Ok(Self { path: path.to_owned(), plan: all, _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was asked for so far, by this command and those before.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Where the adapter of a trial lies, if it was kept.
    pub fn adapter(&self, trial: &Trial) -> PathBuf {
        self.path.join(ADAPTERS).join(trial.id())
    }

    /// The folder with all adapters that were kept.
    pub fn adapters(&self) -> PathBuf {
        self.path.join(ADAPTERS)
    }

    fn record_file(&self, trial: &Trial) -> PathBuf {
        self.path.join(TRIALS).join(format!("{}.json", trial.id()))
    }

    /// The record of a trial, if it is finished.
    /// # Errors
    /// If there is a file and it is not that record.
    pub fn record(&self, trial: &Trial) -> Result<Option<TrialRecord>, CompareError> {
        let path = self.record_file(trial);
        if !path.exists() {
            return Ok(None);
        }
        let record: TrialRecord = read(&path)?;
        if record.trial != *trial || record.id != trial.id() {
            let reason = format!("it is the record of trial `{}`", crate::text::escape(&record.id, 70));
            return Err(CompareError::Record { path, reason });
        }
        Ok(Some(record))
    }

    /// Writes the record of a finished trial, whole or not at all.
    /// # Errors
    /// If it cannot be written.
    pub fn write_record(&self, record: &TrialRecord) -> Result<(), CompareError> {
        write(&self.record_file(&record.trial), &json(record))
    }

    /// The right answers of a task.
    /// # Errors
    /// If they cannot be read.
    pub fn targets(&self, task: &str) -> Result<TaskTargets, CompareError> {
        read(&answers_file(&self.path, task))
    }

    /// Writes the results as JSON, the trials as a table, the page for people, which begins with `first`, and its figures.
    /// # Errors
    /// If they cannot be written.
    pub fn write_results(
        &self,
        results: &super::Results,
        first: Option<report::page::Section>,
    ) -> Result<(), CompareError> {
        write(&self.path.join(RESULTS_FILE), &pretty(results))?;
        write(&self.path.join(TABLE_FILE), results.csv().as_bytes())?;
        write(&self.path.join(REPORT_FILE), report::compare::page(results, first).to_html().as_bytes())?;
        let folder = self.path.join(FIGURES);
        let mut written = BTreeSet::new();
        for (name, plot) in report::compare::figures(results) {
            let name = name + ".svg";
            write(&folder.join(&name), plot.to_svg().as_bytes())?;
            written.insert(name);
        }
        // Those of trials that are gone, or of all tasks before one was added.
        for entry in fs::read_dir(&folder).map_err(io_error("read", &folder))? {
            let name = entry.map_err(io_error("read", &folder))?.file_name().to_string_lossy().into_owned();
            if name.ends_with(".svg") && !written.contains(&name) {
                let file = folder.join(name);
                disk::remove_file(&file).map_err(io_error("remove", &file))?;
            }
        }
        Ok(())
    }
}

/// The file with the right answers of a task.
fn answers_file(folder: &Path, task: &str) -> PathBuf {
    folder.join(TASKS).join(format!("{task}.json"))
}

/// Refuses a folder that holds something else, before anything is written into it.
fn check(path: &Path) -> Result<(), CompareError> {
    if path.symlink_metadata().is_err() || path.join(PLAN_FILE).exists() {
        return Ok(());
    }
    let entries = fs::read_dir(path).map_err(io_error("read", path))?;
    for entry in entries {
        let name = entry.map_err(io_error("read", path))?.file_name().to_string_lossy().into_owned();
        // What a process left that ended in writing is no reason to refuse.
        if ![LOCK_FILE, TRIALS, TASKS, FIGURES].contains(&name.as_str()) && !name.starts_with(TEMPORARY) {
            let name = crate::text::escape(&name, 60);
            return Err(CompareError::NotAComparison { folder: path.to_owned(), name });
        }
    }
    Ok(())
}

fn lock(path: &Path) -> Result<File, CompareError> {
    let file = path.join(LOCK_FILE);
    let lock = try_lock(&file).map_err(io_error("lock", &file))?;
    lock.ok_or_else(|| CompareError::InUse { folder: path.to_owned() })
}

/// Another version is told as such, whatever else the file holds.
fn read_plan(path: &Path) -> Result<Plan, CompareError> {
    #[derive(serde::Deserialize)]
    struct Versions {
        format_version: u32,
        tool: String,
    }
    let versions: Versions = read(path)?;
    let tool = format!("grafter {}", env!("CARGO_PKG_VERSION"));
    if versions.format_version != FORMAT_VERSION || versions.tool != tool {
        return Err(CompareError::Differs {
            folder: path.parent().unwrap_or(path).to_owned(),
            what: "the program".to_owned(),
            expected: format!(
                "`{}` (layout {})",
                crate::text::escape(&versions.tool, 60),
                versions.format_version
            ),
            found: format!("`{tool}` (layout {FORMAT_VERSION})"),
        });
    }
    let plan: Plan = read(path)?;
    let named = plan.tasks.iter().map(|task| &task.name);
    let mut named = named.chain(plan.grids.iter().flat_map(|grid| &grid.tasks));
    // The names become paths, of which none may lead out of the folder.
    match named.find(|name| !is_task_name(name)) {
        Some(name) => {
            let reason = format!("`{}` is no name of a task", crate::text::escape(name, 70));
            Err(CompareError::Record { path: path.to_owned(), reason })
        }
        None => Ok(plan),
    }
}

fn io_error<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> CompareError + 'a {
    move |source| CompareError::Io { action, path: path.to_owned(), source }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, CompareError> {
    let bytes = crate::regular::read(path).map_err(io_error("read", path))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| CompareError::Record { path: path.to_owned(), reason: error.to_string() })
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("records are plain data")
}

fn pretty(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("results are plain data");
    bytes.push(b'\n');
    bytes
}

/// Writes a file whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> Result<(), CompareError> {
    write_file(path, bytes).map_err(io_error("write", path))
}
