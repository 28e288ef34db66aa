//! `grafter train --sequence`: a list of tasks, one after another, into a bank; and what is left of each after each
//! training, beside the same for fine-tuning one model on them.
//!
//! After each training every task so far is read from the bank and scored anew, so that the matrix is measured and not
//! concluded.

use std::path::{Path, PathBuf};

use grafter::adapter::{self, Method};
use grafter::bank::{Bank, TaskName};
use grafter::data::{LabelScheme, LabelledFile, LabelledRows, Source, TaskKind};
use grafter::eval::{EvalError, evaluate};
use grafter::forgetting::{ForgettingMatrix, SequentialFineTuning};
use grafter::graft::{GraftError, GraftOptions, Grafted, graft_after};
use grafter::metrics::{Metric, Scores, check_targets};
use grafter::model::Model;
use grafter::report;
use grafter::report::train::{History, Texts, TrainReport};
use grafter::train::{Ending, Observers, TrainError};
use serde::Deserialize;

use super::super::{open_bank_model, print};
use super::target::{Target, beside};
use crate::Outcome;
use crate::args::Train;
use crate::failure::Failure;
use crate::interrupt;
use crate::progress::TrainProgress;
use crate::terminal::{aligned, counted, tell};

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
    train: PathBuf,
    dev: PathBuf,
    /// What is scored after each training; the dev rows if absent.
    test: Option<PathBuf>,
    #[serde(default = "classification")]
    kind: TaskKind,
    metric: Option<Metric>,
}

fn classification() -> TaskKind {
    TaskKind::Classification
}

/// A task whose files were read through.
struct Task {
    name: TaskName,
    metric: Metric,
    train: (Source, LabelledFile),
    dev: (Source, LabelledFile),
    scored: LabelledFile,
}

pub fn run(arguments: &Train, list: &Path) -> Result<Outcome, Failure> {
    let bank = Bank::open(arguments.bank.as_deref().expect("clap asks for --bank beside --sequence"))?;
    let tasks = read(arguments, list)?;
    let targets: Vec<Target> = tasks
        .iter()
        .map(|task| Target::in_bank(bank.clone(), &task.name, arguments))
        .collect::<Result<_, _>>()?;
    let model = open_bank_model(&bank, arguments.model.model.as_deref())?;
    let mut options = arguments.options.options(model.encoder().config.max_position_embeddings);
    options.train.budget.folder = Some(adapter::parent_of(bank.path()).to_owned());
    options.check(&model)?;
    interrupt::listen();
    let sequence = Sequence { arguments, model: &model, tasks: &tasks };
    let Some(kept) = sequence.adapters(&bank, &targets, &options)? else { return Err(Failure::Interrupted) };
    let mut matrices = vec![kept];
    print(&matrix_text(&matrices[0]))?;
    // What follows takes long, and what is known now must not go with it.
    write_report(&bank, &tasks, &matrices)?;
    if !arguments.no_fine_tuning {
        let Some(tuned) = sequence.fine_tuning(&options)? else { return Ok(Outcome::Interrupted) };
        print(&matrix_text(&tuned))?;
        matrices.push(tuned);
        write_report(&bank, &tasks, &matrices)?;
    }
    for end in REPORT_ENDS {
        print(&format!("report   {}\n", beside(bank.path(), end).display()))?;
    }
    Ok(Outcome::Done)
}

/// What follows the bank's name in those of the page and of its numbers.
const REPORT_ENDS: [&str; 2] = [".forgetting.html", ".forgetting.json"];

fn write_report(bank: &Bank, tasks: &[Task], matrices: &[ForgettingMatrix]) -> Result<(), Failure> {
    let rows =
        if tasks.iter().all(|task| task.scored.file() == task.dev.1.file()) { "dev" } else { "test or dev" };
    let page = report::forgetting::page(matrices, &bank.base().name, rows).to_html();
    let numbers = serde_json::to_string_pretty(matrices).expect("matrices are plain data") + "\n";
    for (end, content) in REPORT_ENDS.into_iter().zip([page, numbers]) {
        let path = beside(bank.path(), end);
        std::fs::write(&path, content).map_err(|source| Failure::Write { path: path.clone(), source })?;
    }
    Ok(())
}

/// Reads the list and every file that it names, so that the last task's fault is not found after hours.
fn read(arguments: &Train, list: &Path) -> Result<Vec<Task>, Failure> {
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
    let source = |file: &Path| arguments.rows.source(&folder.join(file));
    parsed
        .task
        .into_iter()
        .map(|entry| {
            let (train, dev) = (source(&entry.train), source(&entry.dev));
            let train_file = LabelledFile::read_train(&train, entry.kind)?;
            let of_task = |source: &Source| LabelledFile::read_eval(source, train_file.task());
            let dev_file = of_task(&dev)?;
            let scored = of_task(&entry.test.as_deref().map_or(dev.clone(), source))?;
            let metric = entry.metric.unwrap_or(Metric::default_for(entry.kind));
            let classes = match &train_file.task().scheme {
                LabelScheme::Classes(labels) => labels.names().len(),
                LabelScheme::Scores => 0,
            };
            metric.check(entry.kind, classes).map_err(EvalError::from)?;
            for rows in [&dev_file, &scored] {
                check_targets(metric, rows.targets()).map_err(EvalError::from)?;
            }
            Ok(Task { name: entry.name, metric, train: (train, train_file), dev: (dev, dev_file), scored })
        })
        .collect()
}

struct Sequence<'a> {
    arguments: &'a Train,
    model: &'a Model,
    tasks: &'a [Task],
}

impl Sequence<'_> {
    /// Trains every task into the bank; `None` if Ctrl-C ended it. What came into the bank before stays there.
    fn adapters(
        &self,
        bank: &Bank,
        targets: &[Target],
        options: &GraftOptions,
    ) -> Result<Option<ForgettingMatrix>, Failure> {
        let mut matrix =
            ForgettingMatrix::new(&format!("{}, each task with its own adapter", options.method));
        for (place, task) in self.tasks.iter().enumerate() {
            self.heading(place, options.method)?;
            let mut history = History::default();
            let Some(grafted) = self.train(task, options, None, &mut history)? else { return Ok(None) };
            let texts = match self.arguments.no_report_texts {
                true => Texts::LeftOut,
                false => Texts::of(&grafted.review, &task.dev.1),
            };
            let (train, dev) = (&task.train.0, &task.dev.0);
            let report = TrainReport { grafted: &grafted, history: &history, train, dev, texts };
            let companions = if self.arguments.no_report { Vec::new() } else { report.files() };
            let saved = targets[place].save(&grafted.adapter, &companions, (self.model, &task.dev.1))?;
            print(&format!("task     {}\n\n", saved.task.unwrap_or_default()))?;
            let mut scores = Vec::new();
            for earlier in &self.tasks[..=place] {
                let entry = bank.task(&earlier.name)?;
                let adapter = bank.load(&earlier.name, &entry.newest().version, self.model)?;
                scores.push(score(&evaluate(self.model, &adapter, &earlier.scored)?, earlier.metric));
            }
            matrix.push(task.name.as_str(), task.metric, scores);
        }
        Ok(Some(matrix))
    }

    /// Fine-tunes one model on every task in turn; nothing of it is kept.
    fn fine_tuning(&self, options: &GraftOptions) -> Result<Option<ForgettingMatrix>, Failure> {
        let mut options = GraftOptions { method: Method::Full, adapt_from_layer: 0, ..options.clone() };
        // The rate that was named is one for adapters.
        options.train.learning_rate = None;
        let mut matrix = ForgettingMatrix::new("full, one model fine-tuned on each task in turn");
        let mut tuning = SequentialFineTuning::default();
        for (place, task) in self.tasks.iter().enumerate() {
            self.heading(place, options.method)?;
            let trained = self.train(task, &options, tuning.current(), &mut History::default())?;
            let Some(grafted) = trained else { return Ok(None) };
            tuning.push(grafted.adapter);
            let mut scores = Vec::new();
            for (earlier, adapter) in self.tasks.iter().zip(tuning.tasks(&self.model.encoder().config)) {
                scores.push(score(&evaluate(self.model, &adapter, &earlier.scored)?, earlier.metric));
            }
            matrix.push(task.name.as_str(), task.metric, scores);
            print("\n")?;
        }
        Ok(Some(matrix))
    }

    fn heading(&self, place: usize, method: Method) -> Result<(), Failure> {
        let Task { name, train, .. } = &self.tasks[place];
        let rows = counted(train.1.targets().len(), "row");
        print(&format!("{} of {}: {name}, {method}, {rows}\n", place + 1, self.tasks.len()))
    }

    fn train(
        &self,
        task: &Task,
        options: &GraftOptions,
        earlier: Option<&adapter::TaskParameters>,
        history: &mut History,
    ) -> Result<Option<Grafted>, Failure> {
        let options = GraftOptions { metric: Some(task.metric), ..options.clone() };
        let mut progress = TrainProgress::new(task.metric, true, None);
        let observers = &mut Observers(vec![&mut progress, history]);
        let result = graft_after(earlier, self.model, (&task.train.1, &task.dev.1), &options, observers);
        progress.finish()?;
        let grafted = match result {
            Err(GraftError::Train(TrainError::Interrupted { .. })) => None,
            result => Some(result?),
        };
        let grafted =
            grafted.filter(|grafted| grafted.ending != Ending::Interrupted && !interrupt::requested());
        if grafted.is_none() {
            tell(format_args!("interrupted: nothing of `{}` is kept", task.name));
        }
        Ok(grafted)
    }
}

fn score(scores: &Scores, metric: Metric) -> Option<f64> {
    scores.get(metric).ok().flatten()
}

/// The matrix for people, scores times 100.
fn matrix_text(matrix: &ForgettingMatrix) -> String {
    let shown = |score: Option<f64>| score.map_or("–".to_owned(), |score| format!("{:.1}", 100.0 * score));
    let mut header = vec!["score of".to_owned()];
    header.extend(matrix.tasks.iter().map(|(name, _)| name.clone()));
    let mut rows = vec![header];
    for (after, scores) in matrix.scores.iter().enumerate() {
        let mut row = vec![format!("after {}", matrix.tasks[after].0)];
        row.extend(scores.iter().map(|score| shown(*score)));
        rows.push(row);
    }
    let mut lost = vec!["lost".to_owned()];
    lost.extend((0..matrix.tasks.len()).map(|task| shown(matrix.lost(task))));
    rows.push(lost);
    format!("{}\n{}{}\n\n", matrix.method, aligned(&rows), report::forgetting::summary(matrix))
}
