//! The proof that nothing was forgotten: each task's files are those that came into the bank, and it answers what it
//! answered then, bit for bit.

use serde::Serialize;

use super::error::BankError;
use super::folder::{Bank, BrokenTask, TaskEntry, VersionEntry};
use super::name::{TaskName, Version};
use super::probes::Answered;
use crate::model::Model;

/// What was found of one version.
#[derive(Debug)]
pub struct Verified {
    /// The task, or what lies in the place of one.
    pub name: String,
    /// The version; none where the versions themselves cannot be read.
    pub version: Option<Version>,
    /// Whether the bare name means it.
    pub newest: bool,
    /// What the probes gave, or why they could not be asked: a file that is missing or another one.
    pub answered: Result<Answered, BankError>,
}

/// The result of a version as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing has changed.
    Same,
    /// The files are the same; bits cannot be compared on this processor, or by this version of the program.
    Similar,
    /// The task has changed, or is broken.
    Changed,
}

impl Verified {
    /// The result in a word.
    pub fn verdict(&self) -> Verdict {
        match &self.answered {
            Ok(Answered::Same { .. }) => Verdict::Same,
            Ok(Answered::Similar { .. }) => Verdict::Similar,
            Ok(Answered::Changed { .. }) | Err(_) => Verdict::Changed,
        }
    }
}

impl Bank {
    /// Checks every version of every task; `done` is told of each as it is done. The base's digest was computed when the
    /// model was read, and is compared here.
    /// # Errors
    /// If the model is not the bank's, or the bank itself cannot be read. What is wrong with a task is no error but a
    /// result.
    pub fn verify(&self, model: &Model, mut done: impl FnMut(&Verified)) -> Result<Vec<Verified>, BankError> {
        self.check_model(model)?;
        let list = self.list()?;
        let mut all = Vec::new();
        let mut tell = |verified: Verified| {
            done(&verified);
            all.push(verified);
        };
        for task in list.tasks {
            for entry in &task.versions {
                let answered = self.ask_again(model, &task, entry);
                if answered.is_err() && !self.has(&task.name, entry) {
                    // Taken out while it was looked at.
                    continue;
                }
                let newest = entry == task.newest();
                let (name, version) = (task.name.to_string(), Some(entry.version.clone()));
                tell(Verified { name, version, newest, answered });
            }
        }
        for BrokenTask { name, error } in list.broken {
            tell(Verified { name, version: None, newest: true, answered: Err(error) });
        }
        Ok(all)
    }

    fn has(&self, name: &TaskName, entry: &VersionEntry) -> bool {
        self.task(name).is_ok_and(|task| task.versions.contains(entry))
    }

    fn ask_again(
        &self,
        model: &Model,
        task: &TaskEntry,
        entry: &VersionEntry,
    ) -> Result<Answered, BankError> {
        let probes = self.probes(&task.name, entry)?;
        let adapter = self.load(&task.name, &entry.version, model)?;
        Ok(probes.ask_again(model, &adapter)?)
    }
}
