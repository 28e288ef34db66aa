//! The file of `--sequence`: which tasks, in which order, on which files.

use std::path::{Path, PathBuf};

use grafter::bank::TaskName;
use grafter::data::{LabelSet, LabelledFile, LabelledRows, Source, TaskKind};
use grafter::digest::sha256_hex;
use grafter::eval::EvalError;
use grafter::forgetting::SequenceTask;
use grafter::hub::is_address;
use grafter::metrics::{Metric, check_targets};
use serde::Deserialize;

use crate::args::Train;
use crate::commands::{tell_warnings, warn_of_same_rows};
use crate::failure::Failure;
use crate::sources::Sources;

/// The file of `--sequence`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    task: Vec<Entry>,
}

/// A task of the list; files are relative to the list's folder.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: TaskName,
    train: Files,
    dev: Files,
    /// What is scored after each training; the dev rows if absent.
    test: Option<Files>,
    #[serde(default = "classification")]
    kind: TaskKind,
    metric: Option<Metric>,
}

/// A file or a pattern of names, or a list of them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Files {
    One(PathBuf),
    Several(Vec<PathBuf>),
}

impl Files {
    fn names(&self) -> &[PathBuf] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names,
        }
    }
}

fn classification() -> TaskKind {
    TaskKind::Classification
}

/// A task whose files were read through.
pub struct Task {
    pub name: TaskName,
    pub metric: Metric,
    pub train: (Source, LabelledFile),
    pub dev: (Source, LabelledFile),
    pub scored: LabelledFile,
    /// As [`SequenceTask::data_sha256`] has it.
    pub data_sha256: String,
}

impl Task {
    pub fn described(&self) -> SequenceTask {
        SequenceTask {
            name: self.name.to_string(),
            metric: self.metric,
            data_sha256: self.data_sha256.clone(),
        }
    }
}

/// Reads the list and every file that it names, so that the last task's fault is not found after hours.
pub fn read(arguments: &Train, list: &Path) -> Result<Vec<Task>, Failure> {
    let text =
        std::fs::read_to_string(list).map_err(|source| Failure::Read { path: list.to_owned(), source })?;
    let wrong = |message: String| Failure::Usage {
        message: format!("`{}`: {message}", list.display()),
        hint: Some(
            "a task is `[[task]]` with `name`, `train`, `dev`, and perhaps `test`, `kind`, `metric`"
                .to_owned(),
        ),
    };
    let parsed: List = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    for (place, task) in parsed.task.iter().enumerate() {
        if parsed.task[..place].iter().any(|earlier| earlier.name == task.name) {
            return Err(wrong(format!("two tasks are called `{}`", task.name)));
        }
    }
    if parsed.task.is_empty() {
        return Err(wrong("no task".to_owned()));
    }
    let folder = list.parent().unwrap_or(Path::new("."));
    let in_folder = |name: &PathBuf| if is_address(name) { name.clone() } else { folder.join(name) };
    let mut sources = Sources::new(&arguments.rows);
    let mut source = |files: &Files| {
        if files.names().is_empty() {
            return Err(wrong("a task without files".to_owned()));
        }
        let names: Vec<PathBuf> = files.names().iter().map(in_folder).collect();
        sources.source(&names)
    };
    parsed
        .task
        .into_iter()
        .map(|entry| {
            let (train, dev) = (source(&entry.train)?, source(&entry.dev)?);
            let train_file = LabelledFile::read_train(&train, entry.kind)?;
            tell_warnings(&train_file);
            let of_task = |source: &Source| LabelledFile::read_eval(source, train_file.task());
            let dev_file = of_task(&dev)?;
            tell_warnings(&dev_file);
            warn_of_same_rows(&train, &dev, "dev");
            let scored_source = entry.test.as_ref().map_or(Ok(dev.clone()), &mut source)?;
            let scored = of_task(&scored_source)?;
            if entry.test.is_some() {
                tell_warnings(&scored);
                warn_of_same_rows(&train, &scored_source, "test");
            }
            let metric = entry.metric.unwrap_or(Metric::default_for(entry.kind));
            let classes = train_file.task().scheme.labels().map_or(0, LabelSet::len);
            metric.check(entry.kind, classes).map_err(EvalError::from)?;
            for rows in [&dev_file, &scored] {
                check_targets(metric, rows.targets()).map_err(EvalError::from)?;
            }
            let mut digests = String::new();
            for source in [&train, &dev, &scored_source] {
                digests += &source.sha256()?;
            }
            Ok(Task {
                name: entry.name,
                metric,
                train: (train, train_file),
                dev: (dev, dev_file),
                scored,
                data_sha256: sha256_hex(digests.as_bytes()),
            })
        })
        .collect()
}
