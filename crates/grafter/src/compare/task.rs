//! The tasks of a comparison: where their files lie, and what is known of them once they were read through.

use std::io::{self, ErrorKind};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::CompareError;
use super::error::is_unlabelled;
use crate::data::splits::{DEV, TEST, TRAIN, split_files};
use crate::data::{
    Columns, DataError, Format, LabelSet, LabelledFile, LabelledRows, Question, Source, SourceFile,
    SplitError, Targets, TaskKind, Warning,
};
use crate::eval::Answers;
use crate::metrics::{Metric, check_targets, exact_match, overlap};
use crate::question_answering::SpanAnswer;

/// A task as it is named, before anything of it was read.
#[derive(Clone, Debug)]
pub struct TaskSource {
    /// Its name, a part of file names.
    pub name: String,
    /// Classes or numbers.
    pub kind: TaskKind,
    /// What is compared; the kind's default if absent.
    pub metric: Option<Metric>,
    /// Rows to learn from.
    pub train: Source,
    /// Rows to choose by.
    pub dev: Source,
    /// Rows that chose nothing.
    pub test: Option<Source>,
}

/// How many characters a task's name may have.
const MAX_NAME: usize = 64;

/// Whether a name can be a part of file names, on any system.
pub(super) fn is_task_name(name: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    !name.is_empty() && name.len() <= MAX_NAME && name.chars().all(part)
}

impl TaskSource {
    /// A task whose files lie in one folder as `train`, `dev` (or `validation`) and, if there is one, `test`, each `.tsv`, `.csv`,
    /// `.jsonl`, `.parquet`, `.conll` or `.json`, compressed or not, or in numbered parts as `train-00000-of-00002.parquet`.
    /// # Errors
    /// If the folder, `train` or `dev` is missing, one is there twice, or one of its parts is not there.
    pub fn in_folder(name: &str, folder: &Path, columns: &Columns) -> Result<Self, CompareError> {
        let found = names_in(folder).map_err(|source| {
            let (task, folder) = (name.to_owned(), folder.to_owned());
            match source.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory => CompareError::NoFolder { task, folder },
                _ => CompareError::Folder { task, folder, source },
            }
        })?;
        let found: Vec<&str> = found.iter().map(String::as_str).collect();
        let source = |split: &[&str]| -> Result<Option<Source>, CompareError> {
            let files = split_files(&found, split).map_err(|error| {
                let (task, folder) = (name.to_owned(), folder.to_owned());
                match error {
                    SplitError::Two { first, second } => {
                        CompareError::TwoSplits { task, folder, first, second }
                    }
                    SplitError::Missing { first, missing } => {
                        CompareError::MissingPart { task, folder, first, missing }
                    }
                }
            })?;
            let files: Vec<SourceFile> =
                files.iter().map(|file| SourceFile::new(folder.join(file))).collect();
            Ok((!files.is_empty()).then(|| Source { columns: columns.clone(), ..Source::of(files) }))
        };
        let needed = |split: &[&'static str]| {
            let (task, folder) = (name.to_owned(), folder.to_owned());
            source(split)?.ok_or(CompareError::NoSplit { task, folder, split: split[0] })
        };
        Ok(Self {
            name: name.to_owned(),
            kind: TaskKind::Classification,
            metric: None,
            train: needed(TRAIN)?,
            dev: needed(DEV)?,
            test: source(TEST)?,
        })
    }
}

/// The names of what lies in a folder, but those that are no text: no split has such a name.
fn names_in(folder: &Path) -> io::Result<Vec<String>> {
    let names = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
    names.filter_map(io::Result::transpose).collect()
}

/// What identifies a task: with another of it the scores would be others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskPlan {
    /// Its name.
    pub name: String,
    /// Classes or numbers.
    pub kind: TaskKind,
    /// What is compared.
    pub metric: Metric,
    /// The columns that were named.
    pub columns: Columns,
    /// Rows to learn from.
    pub train: FilePlan,
    /// Rows to choose by.
    pub dev: FilePlan,
    /// Rows that chose nothing; absent where there are none with labels.
    pub test: Option<FilePlan>,
}

/// What identifies a data file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FilePlan {
    /// As [`Source::sha256`] has it.
    pub sha256: String,
    /// Its rows.
    pub rows: usize,
    /// The format that was named.
    pub format: Option<Format>,
}

/// The right answers of a task, and what else its scores need.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskTargets {
    /// Number of classes or labels; 0 for regression.
    pub classes: usize,
    /// Of the dev rows.
    pub dev: RowAnswers,
    /// Of the test rows.
    pub test: Option<RowAnswers>,
}

/// An answer to each of some rows, given or right, in their order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowAnswers {
    /// Indices of classes.
    Classes(Vec<usize>),
    /// Of each row the indices of its labels, in ascending order.
    Sets(Vec<Vec<usize>>),
    /// Numbers in the unit of the labels.
    Scores(Vec<f32>),
    /// Of each row the indices of its words' tags, which mark entities.
    Entities(Vec<Vec<usize>>),
    /// Of each row the indices of its words' tags.
    Tags(Vec<Vec<usize>>),
    /// Places of choices.
    Choices(Vec<usize>),
    /// Of each question how good the answer is, 1 for a right one: whether it is right word for word, and F1 of its words.
    Answers(Vec<[f64; 2]>),
}

impl RowAnswers {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Classes(classes) | Self::Choices(classes) => classes.len(),
            Self::Answers(answers) => answers.len(),
            Self::Sets(rows) | Self::Entities(rows) | Self::Tags(rows) => rows.len(),
            Self::Scores(scores) => scores.len(),
        }
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<&Targets> for RowAnswers {
    fn from(targets: &Targets) -> Self {
        match targets {
            Targets::Classes(classes) => Self::Classes(classes.clone()),
            Targets::Sets(sets) => Self::Sets(sets.clone()),
            Targets::Scores(scores) => Self::Scores(scores.clone()),
            Targets::Entities(tags, _) => Self::Entities(tags.clone()),
            Targets::Tags(tags, _) => Self::Tags(tags.clone()),
            Targets::Choices(places) => Self::Choices(places.clone()),
            Targets::Answers(questions, _) => Self::Answers(vec![[1.0; 2]; questions.len()]),
        }
    }
}

impl RowAnswers {
    /// The answers of a task to rows with these targets.
    pub fn of(answers: Answers, targets: &Targets) -> Self {
        match answers {
            Answers::Choices(places) => Self::Choices(places),
            Answers::Spans(spans, no_answer) => {
                let questions = match targets {
                    Targets::Answers(questions, _) => &questions[..],
                    _ => &[],
                };
                let of = |(question, span): (&Question, &SpanAnswer)| {
                    let right: Vec<&str> = question.right().collect();
                    let answer = span.text(&question.context, no_answer);
                    [f64::from(u8::from(exact_match(answer, &right))), overlap(answer, &right)]
                };
                Self::Answers(questions.iter().zip(&spans).map(of).collect())
            }
            Answers::Classes(classes) => Self::Classes(classes),
            Answers::Sets(sets, _) => Self::Sets(sets),
            Answers::Scores(scores, _) => Self::Scores(scores),
            Answers::Entities(tags, _) => Self::Entities(tags),
            Answers::Tags(tags, _) => Self::Tags(tags),
        }
    }
}

/// A task whose files were read through: all rows can be used, and the metric fits.
#[derive(Debug)]
pub struct CompareTask {
    /// Where the files lie.
    pub source: TaskSource,
    /// What identifies it.
    pub plan: TaskPlan,
    /// The right answers.
    pub targets: TaskTargets,
    /// Names of the classes or labels; none for regression.
    pub labels: Vec<String>,
    /// What may not be meant, for people.
    pub notes: Vec<String>,
}

/// The files of a task, open to be trained and scored on. Each trial has its own: a file that is read has a position.
pub(super) struct OpenTask {
    pub train: LabelledFile,
    pub dev: LabelledFile,
    pub test: Option<LabelledFile>,
}

impl CompareTask {
    /// Reads all files of a task through.
    /// # Errors
    /// If the name cannot be one, a row cannot be used, or the metric does not fit the task.
    pub fn open(mut source: TaskSource) -> Result<Self, CompareError> {
        let name = source.name.clone();
        if !is_task_name(&name) {
            return Err(CompareError::TaskName { name });
        }
        let digest = |source: &Source| source.sha256().map_err(|error| CompareError::of_task(&name, error));
        let (train_sha256, dev_sha256) = (digest(&source.train)?, digest(&source.dev)?);
        let mut notes = Vec::new();
        let files = match OpenTask::of(&source) {
            Err(Unusable::Test(error)) if is_unlabelled(&error) => {
                notes.push(format!("task `{name}`: the test rows are left out, for {error}"));
                source.test = None;
                OpenTask::of(&source)
            }
            files => files,
        }
        .map_err(|error| CompareError::of_task(&name, error.reason()))?;
        for file in [Some(&files.train), Some(&files.dev), files.test.as_ref()].into_iter().flatten() {
            let of_file = |warning: &Warning| format!("task `{name}`: {}: {warning}", file.file());
            notes.extend(file.warnings().iter().map(of_file));
        }
        let classes = files.train.task().scheme.labels().map_or(0, LabelSet::len);
        let metric = source.metric.unwrap_or(Metric::default_for(source.kind));
        metric
            .check(source.kind, classes)
            .and_then(|()| check_targets(metric, files.dev.targets()))
            .map_err(|error| CompareError::of_task(&name, error))?;
        if metric == Metric::F1 {
            let labels = files.train.task().scheme.labels().map_or(&[][..], LabelSet::names);
            notes.push(format!("task `{name}`: the metric is {}", metric.describe(labels)));
        }
        let plan = |file: &LabelledFile, source: &Source, sha256: String| FilePlan {
            sha256,
            rows: file.targets().len(),
            format: source.format,
        };
        let test = match (&files.test, &source.test) {
            (Some(file), Some(source)) => Some(plan(file, source, digest(source)?)),
            _ => None,
        };
        Ok(Self {
            plan: TaskPlan {
                name: name.clone(),
                kind: source.kind,
                metric,
                columns: source.train.columns.clone(),
                train: plan(&files.train, &source.train, train_sha256),
                dev: plan(&files.dev, &source.dev, dev_sha256),
                test,
            },
            targets: TaskTargets {
                classes,
                dev: files.dev.targets().into(),
                test: files.test.as_ref().map(|file| file.targets().into()),
            },
            labels: files.train.task().scheme.labels().map_or(Vec::new(), |labels| labels.names().to_vec()),
            notes,
            source,
        })
    }

    /// Opens the files for one trial, if they are what they were.
    pub(super) fn reopen(&self) -> Result<OpenTask, CompareError> {
        let sources = [Some(&self.source.train), Some(&self.source.dev), self.source.test.as_ref()];
        let plans = [Some(&self.plan.train), Some(&self.plan.dev), self.plan.test.as_ref()];
        for (source, plan) in sources.into_iter().flatten().zip(plans.into_iter().flatten()) {
            if source.sha256().ok().as_ref() != Some(&plan.sha256) {
                return Err(CompareError::Changed {
                    task: self.plan.name.clone(),
                    path: source.name().into(),
                });
            }
        }
        OpenTask::of(&self.source).map_err(|error| CompareError::of_task(&self.plan.name, error.reason()))
    }
}

/// Which file could not be used.
enum Unusable {
    Test(DataError),
    Other(DataError),
}

impl Unusable {
    fn reason(self) -> DataError {
        match self {
            Self::Test(error) | Self::Other(error) => error,
        }
    }
}

impl OpenTask {
    fn of(source: &TaskSource) -> Result<Self, Unusable> {
        let train = LabelledFile::read_train(&source.train, source.kind).map_err(Unusable::Other)?;
        let dev = LabelledFile::read_eval(&source.dev, train.task()).map_err(Unusable::Other)?;
        let test = source.test.as_ref().map(|test| LabelledFile::read_eval(test, train.task()));
        Ok(Self { test: test.transpose().map_err(Unusable::Test)?, train, dev })
    }
}
