//! `grafter train --sequence`: a list of tasks, one after another, into a bank; and what is left of each after each
//! training, beside the same for fine-tuning one model on them.
//!
//! After each training every task so far is read from the bank and scored anew, so that the matrix is measured and not
//! concluded.

mod list;

use std::path::Path;

use grafter::adapter::{self, Method};
use grafter::bank::{Bank, BankError};
use grafter::data::LabelledRows;
use grafter::durable::{parent_of, write_file};
use grafter::eval::evaluate;
use grafter::forgetting::{ForgettingMatrix, SequentialFineTuning};
use grafter::graft::{GraftError, GraftOptions, Grafted, graft_after};
use grafter::metrics::{Metric, Scores};
use grafter::model::Model;
use grafter::report;
use grafter::report::train::{History, Texts, TrainReport};
use grafter::train::{Ending, Observers, TrainError};

use self::list::Task;
use super::super::{open_bank_model, print};
use super::target::{Target, beside};
use crate::Outcome;
use crate::args::Train;
use crate::failure::Failure;
use crate::interrupt;
use crate::progress::TrainProgress;
use crate::terminal::{aligned, counted, tell};

pub fn run(arguments: &Train, list: &Path) -> Result<Outcome, Failure> {
    let bank = Bank::open(arguments.bank.as_deref().expect("clap asks for --bank beside --sequence"))?;
    let tasks = list::read(arguments, list)?;
    let done = if arguments.go_on { tasks_done(&bank, &tasks)? } else { 0 };
    let targets = tasks[done..].iter().map(|task| Target::in_bank(bank.clone(), &task.name, arguments));
    let targets: Vec<Target> = targets.collect::<Result<_, Failure>>().map_err(with_hint)?;
    let model = open_bank_model(&bank, arguments.model.model.as_deref())?;
    let mut options = arguments.options.options(model.encoder().config.max_position_embeddings);
    options.train.budget.folder = Some(parent_of(bank.path()).to_owned());
    options.check(&model)?;
    let sequence = Sequence { arguments, bank: &bank, model: &model, tasks: &tasks };
    let matrix = sequence.scored_so_far(done, &options)?;
    interrupt::listen();
    let Some(kept) = sequence.adapters(&targets, &options, matrix)? else { return Err(Failure::Interrupted) };
    print(&matrix_text(&kept))?;
    if !arguments.no_fine_tuning {
        let Some(tuned) = sequence.fine_tuning(&options)? else { return Ok(Outcome::Interrupted) };
        print(&matrix_text(&tuned))?;
        write_report(&bank, &tasks, &[kept, tuned])?;
    }
    for end in REPORT_ENDS {
        print(&format!("report   {}\n", beside(bank.path(), end).display()))?;
    }
    Ok(Outcome::Done)
}

/// How many of the first tasks the bank has.
fn tasks_done(bank: &Bank, tasks: &[Task]) -> Result<usize, Failure> {
    let mut done = 0;
    while done < tasks.len() && bank.find_task(&tasks[done].name)?.is_some() {
        done += 1;
    }
    Ok(done)
}

/// A task that is there may have been trained by this very sequence.
fn with_hint(failure: Failure) -> Failure {
    match failure {
        Failure::Library(grafter::Error::Bank(error @ BankError::TaskExists { .. })) => {
            let hint = "`--continue` goes on with a sequence that was interrupted".to_owned();
            Failure::Usage { message: error.to_string(), hint: Some(hint) }
        }
        failure => failure,
    }
}

/// What follows the bank's name in those of the page and of its numbers.
const REPORT_ENDS: [&str; 2] = [".forgetting.html", NUMBERS_END];
const NUMBERS_END: &str = ".forgetting.json";

fn write_report(bank: &Bank, tasks: &[Task], matrices: &[ForgettingMatrix]) -> Result<(), Failure> {
    let rows =
        if tasks.iter().all(|task| task.scored.file() == task.dev.1.file()) { "dev" } else { "test or dev" };
    let page = report::forgetting::page(matrices, &bank.base().name, rows).to_html();
    let numbers = serde_json::to_string_pretty(matrices).expect("matrices are plain data") + "\n";
    for (end, content) in REPORT_ENDS.into_iter().zip([page, numbers]) {
        let path = beside(bank.path(), end);
        write_file(&path, content.as_bytes())
            .map_err(|source| Failure::Write { path: path.clone(), source })?;
    }
    Ok(())
}

struct Sequence<'a> {
    arguments: &'a Train,
    bank: &'a Bank,
    model: &'a Model,
    tasks: &'a [Task],
}

impl Sequence<'_> {
    /// The matrix of the tasks that an earlier process trained into the bank: as it wrote it, and of a task that it did not
    /// come to score, scored now, since nothing was trained in between.
    fn scored_so_far(&self, done: usize, options: &GraftOptions) -> Result<ForgettingMatrix, Failure> {
        let method = format!("{}, each task with its own adapter", options.method);
        let mut matrix = ForgettingMatrix::new(&method);
        if done == 0 {
            return Ok(matrix);
        }
        for task in &self.tasks[..done] {
            let version = self.bank.task(&task.name)?.newest().version.clone();
            if !options.gave(&self.bank.manifest(&task.name, &version)?) {
                return Err(other_sequence(format!("the bank's task `{}` was trained otherwise", task.name)));
            }
        }
        let file = beside(self.bank.path(), NUMBERS_END);
        match std::fs::read(&file) {
            Ok(bytes) => {
                let read: Result<Vec<ForgettingMatrix>, _> = serde_json::from_slice(&bytes);
                let first = read
                    .ok()
                    .and_then(|mut matrices| (!matrices.is_empty()).then(|| matrices.swap_remove(0)));
                matrix =
                    first.ok_or_else(|| other_sequence(format!("`{}` holds no scores", file.display())))?;
            }
            // It was interrupted before the first was scored.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(Failure::Read { path: file, source }),
        }
        let expected = self.tasks[..done].iter().map(|task| (task.name.to_string(), task.metric));
        let scored = matrix.tasks.len();
        if matrix.method != method || !expected.take(scored).eq(matrix.tasks.iter().cloned()) || scored > done
        {
            return Err(other_sequence(format!("`{}` is of other tasks", file.display())));
        }
        match done - scored {
            0 => {}
            1 => self.score(&mut matrix)?,
            missing => {
                let message =
                    format!("`{}` lacks the scores of {missing} of the bank's tasks", file.display());
                return Err(other_sequence(message));
            }
        }
        Ok(matrix)
    }

    /// Trains every task that `matrix` does not have into the bank; `None` if Ctrl-C ended it. What came into the bank before
    /// stays there.
    fn adapters(
        &self,
        targets: &[Target],
        options: &GraftOptions,
        mut matrix: ForgettingMatrix,
    ) -> Result<Option<ForgettingMatrix>, Failure> {
        let done = matrix.tasks.len();
        for (place, task) in self.tasks.iter().enumerate().skip(done) {
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
            let target = &targets[place - done];
            let saved = target.save(&grafted.adapter, &companions, (self.model, &task.dev.1))?;
            print(&format!("task     {}\n\n", saved.task.unwrap_or_default()))?;
            self.score(&mut matrix)?;
        }
        Ok(Some(matrix))
    }

    /// Adds the scores of all tasks up to the next that `matrix` lacks, each read from the bank, and writes what is known by
    /// now: what follows takes long.
    fn score(&self, matrix: &mut ForgettingMatrix) -> Result<(), Failure> {
        let place = matrix.tasks.len();
        let mut scores = Vec::with_capacity(place + 1);
        for earlier in &self.tasks[..=place] {
            let entry = self.bank.task(&earlier.name)?;
            let adapter = self.bank.load(&earlier.name, &entry.newest().version, self.model)?;
            scores.push(score(&evaluate(self.model, &adapter, &earlier.scored)?, earlier.metric));
        }
        matrix.push(self.tasks[place].name.as_str(), self.tasks[place].metric, scores);
        write_report(self.bank, self.tasks, std::slice::from_ref(matrix))
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

/// A sequence that cannot be continued.
fn other_sequence(message: String) -> Failure {
    let hint = "`--continue` goes on with the same list and the same flags; another sequence begins in a bank of its own";
    Failure::Usage { message, hint: Some(hint.to_owned()) }
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
