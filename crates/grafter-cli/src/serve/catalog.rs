//! The bank's list of tasks as the server knows it: read at the start and on reload, replaced as a whole.

use std::collections::BTreeMap;

use grafter::adapter::Manifest;
use grafter::bank::{Bank, BankError, BrokenTask, TaskEntry, TaskName, TaskRef, Version};
use grafter::metrics::Metric;
use serde::Serialize;

/// A task of the list.
#[derive(Debug)]
pub struct CatalogTask {
    pub entry: TaskEntry,
    /// What its newest version's `adapter.json` says; `None` where it cannot be read.
    pub manifest: Option<Manifest>,
}

/// The list.
#[derive(Debug)]
pub struct Catalog {
    pub tasks: BTreeMap<TaskName, CatalogTask>,
    /// Tasks whose versions cannot be read, and why.
    pub broken: BTreeMap<TaskName, String>,
}

/// A task and one of its versions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Resolved {
    pub task: TaskName,
    pub version: Version,
}

impl Catalog {
    /// Reads the list; a task whose newest adapter is broken is in it. `tell_broken` is told of each that is, and of what lies
    /// among the tasks and is none.
    /// # Errors
    /// If the list as a whole cannot be read.
    pub fn read(bank: &Bank, mut tell_broken: impl FnMut(&str, &BankError)) -> Result<Self, BankError> {
        let list = bank.list()?;
        let mut tasks = BTreeMap::new();
        for entry in list.tasks {
            let manifest = bank.manifest(&entry.name, &entry.newest().version);
            let manifest = manifest.inspect_err(|error| tell_broken(entry.name.as_str(), error)).ok();
            tasks.insert(entry.name.clone(), CatalogTask { entry, manifest });
        }
        let mut broken = BTreeMap::new();
        for BrokenTask { name, error } in &list.broken {
            tell_broken(name, error);
            broken.extend(name.parse().map(|name| (name, error.to_string())));
        }
        Ok(Self { tasks, broken })
    }

    /// Which version of which task is asked for.
    /// # Errors
    /// If there is none.
    pub fn resolve(&self, asked: &TaskRef) -> Result<Resolved, BankError> {
        let task = self.task(&asked.name)?;
        Ok(Resolved { task: asked.name.clone(), version: task.entry.find(asked)?.version.clone() })
    }

    /// A task.
    /// # Errors
    /// If the list does not have it, or it is broken.
    pub fn task(&self, name: &TaskName) -> Result<&CatalogTask, BankError> {
        self.tasks.get(name).ok_or_else(|| match self.broken.get(name) {
            Some(reason) => BankError::BrokenTask { name: name.clone(), reason: reason.clone() },
            None => {
                let known = self.tasks.keys().cloned().collect();
                BankError::UnknownTask { name: name.clone(), known }
            }
        })
    }

    /// What `adapter.json` says of a version, if it is its task's newest one and can be read.
    pub fn newest(&self, asked: &Resolved) -> Option<&Manifest> {
        let task = self.tasks.get(&asked.task)?;
        task.manifest.as_ref().filter(|_| task.entry.newest().version == asked.version)
    }

    /// Whether some task has the version.
    pub fn has(&self, version: &Version) -> bool {
        let mut versions = self.tasks.values().flat_map(|task| &task.entry.versions);
        versions.any(|entry| entry.version == *version)
    }
}

/// A task as it is described.
#[derive(Debug, Serialize)]
pub struct TaskCard {
    pub name: TaskName,
    /// The version that the bare name means.
    pub version: Version,
    /// All versions, the newest last.
    pub versions: Vec<Version>,
    /// Whether the newest version is in memory.
    pub loaded: bool,
    #[serde(flatten)]
    pub described: Described,
}

/// What `adapter.json` says, or that it cannot be read.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Described {
    Known {
        kind: String,
        pair: bool,
        labels: Vec<String>,
        /// Of several labels, the probability from which on a row has each.
        thresholds: Option<Vec<f64>>,
        max_length: usize,
        method: String,
        trained_parameters: usize,
        train_rows: Option<usize>,
        metric: Metric,
        dev_score: Option<f64>,
        baseline: Option<f64>,
    },
    Broken {
        error: &'static str,
    },
}

impl CatalogTask {
    pub fn card(&self, loaded: bool) -> TaskCard {
        let described = match &self.manifest {
            None => Described::Broken { error: "the task cannot be read" },
            Some(manifest) => {
                let training = manifest.training.as_ref();
                Described::Known {
                    kind: manifest.task.kind.to_string(),
                    pair: manifest.task.pair,
                    labels: manifest.task.labels.clone(),
                    thresholds: manifest.label_thresholds(),
                    max_length: manifest.max_length,
                    method: manifest.adapter.method.to_string(),
                    trained_parameters: manifest.trained_parameters,
                    train_rows: training.map(|training| training.train_rows),
                    metric: manifest.metric(),
                    dev_score: manifest.dev_score(),
                    baseline: training
                        .and_then(|training| training.baseline.get(training.metric).ok().flatten()),
                }
            }
        };
        TaskCard {
            name: self.entry.name.clone(),
            version: self.entry.newest().version.clone(),
            versions: self.entry.versions.iter().map(|entry| entry.version.clone()).collect(),
            loaded,
            described,
        }
    }
}
