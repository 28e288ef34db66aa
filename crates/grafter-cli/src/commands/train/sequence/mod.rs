//! `grafter train --sequence`: a list of tasks, one after another, into a bank; and what is left of each after each
//! training, beside the same for fine-tuning one model on them.
//!
//! After each training every task so far is read from the bank and scored anew, so that the matrix is measured and not
//! concluded.

mod earlier;
mod list;

use std::path::Path;

use grafter::adapter::{self, Method};
use grafter::bank::{Bank, BankError};
use grafter::data::{LabelSet, LabelledRows, TaskKind};
use grafter::durable::{parent_of, write_file};
use grafter::eval::evaluate;
use grafter::forgetting::{ForgettingMatrix, SequentialFineTuning};
use grafter::graft::{Beginning, GraftError, GraftOptions, Grafted, graft_from};
use grafter::metrics::{Metric, Scores};
use grafter::model::Model;
use grafter::report;
use grafter::train::{Ending, TrainError};

use self::earlier::Earlier;
use self::list::Task;
use super::super::output::beside;
use super::super::{open_bank_model, print, unused};
use super::target::Target;
use super::{companions, tell_if_nothing_learnt};
use crate::Outcome;
use crate::args::Train;
use crate::failure::Failure;
use crate::interrupt;
use crate::memory;
use crate::progress::TrainProgress;
use crate::terminal::{aligned, counted, tell};

pub fn run(arguments: &Train, list: &Path) -> Result<Outcome, Failure> {
    let bank = Bank::open(arguments.bank.as_deref().expect("clap asks for --bank beside --sequence"))?;
    let tasks = list::read(arguments, list)?;
    let model = open_bank_model(&bank, arguments.model.model.as_deref())?;
    let kinds: Vec<TaskKind> = tasks.iter().map(|task| task.train.1.task().scheme.kind()).collect();
    unused::refuse_mean_of_words(arguments.options.shared.pooling, &kinds)?;
    let mut options = arguments.options.options(model.encoder().config.max_length(), &kinds);
    options.train.budget.folder = Some(parent_of(bank.path()).to_owned());
    options.check(&model)?;
    for task in &tasks {
        let scheme = &task.train.1.task().scheme;
        options.check_task(scheme.kind(), scheme.labels().map_or(&[], LabelSet::names))?;
    }
    let earlier = match arguments.go_on {
        true => Earlier::read(&bank, &tasks, &options)?,
        false => Earlier::none(&bank, &tasks)?,
    };
    let new = &tasks[earlier.tasks..];
    let targets = new.iter().map(|task| Target::in_bank(bank.clone(), &task.name, arguments));
    let targets: Vec<Target> = targets.collect::<Result<_, _>>().map_err(with_hint)?;
    let sequence = Sequence { arguments, bank: &bank, model: &model, tasks: &tasks };
    let kept_method = kept_method(options.method);
    let mut kept = earlier.kept.unwrap_or_else(|| ForgettingMatrix::new(&kept_method));
    interrupt::listen_with("ending: nothing of the task at hand is kept; those that are in the bank stay");
    if kept.tasks.len() < earlier.tasks {
        // It was trained, and not scored yet; nothing was trained since.
        sequence.score(&mut kept)?;
    }
    let Some(kept) = sequence.adapters(&targets, &options, kept)? else { return Err(Failure::Interrupted) };
    print(&matrix_text(&kept))?;
    if !arguments.no_fine_tuning {
        let tuned = match earlier.tuned {
            Some(tuned) => tuned,
            None => match sequence.fine_tuning(&options)? {
                Some(tuned) => tuned,
                None => return Ok(Outcome::Interrupted),
            },
        };
        print(&matrix_text(&tuned))?;
        write_report(&bank, &tasks, &[kept, tuned])?;
    }
    for end in REPORT_ENDS {
        print(&format!("report   {}\n", beside(bank.path(), end).display()))?;
    }
    Ok(Outcome::Done)
}

/// A task that is there may have been trained by this very sequence.
fn with_hint(failure: Failure) -> Failure {
    match failure {
        Failure::Library(grafter::Error::Bank(error @ BankError::TaskExists { .. })) => Failure::Usage {
            message: error.to_string(),
            hint: Some("`--continue` goes on with a sequence that was interrupted".to_owned()),
        },
        failure => failure,
    }
}

/// What the matrix of the one model is called.
const TUNED_METHOD: &str = "full, one model fine-tuned on each task in turn";

/// What the matrix of the tasks that are kept is called.
fn kept_method(method: Method) -> String {
    format!("{method}, each task with its own adapter")
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
            let Some(grafted) = self.train(task, options, None)? else { return Ok(None) };
            let (train, (dev, dev_rows)) = (&task.train.0, &task.dev);
            let companions = companions(self.arguments, &grafted, train, (dev, dev_rows));
            let target = &targets[place - done];
            let saved = target.save(&grafted.adapter, &companions, (self.model, &task.dev.1))?;
            print(&format!("task     {}\n\n", saved.task.unwrap_or_default()))?;
            tell_if_nothing_learnt(&grafted);
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
        matrix.push(self.tasks[place].described(), scores);
        write_report(self.bank, self.tasks, std::slice::from_ref(matrix))
    }

    /// Fine-tunes one model on every task in turn; nothing of it is kept.
    fn fine_tuning(&self, options: &GraftOptions) -> Result<Option<ForgettingMatrix>, Failure> {
        let mut options = GraftOptions {
            method: Method::Full,
            adapt_from_layer: 0,
            freeze_layernorm: false,
            ..options.clone()
        };
        // The rate that was named is one for adapters, if the tasks are kept by these.
        if self.arguments.options.method != Method::Full {
            options.train.learning_rate = None;
        }
        let mut matrix = ForgettingMatrix::new(TUNED_METHOD);
        let mut tuning = SequentialFineTuning::default();
        for (place, task) in self.tasks.iter().enumerate() {
            self.heading(place, options.method)?;
            let trained = self.train(task, &options, tuning.current())?;
            let Some(grafted) = trained else { return Ok(None) };
            tuning.push(grafted.adapter);
            let mut scores = Vec::new();
            for (earlier, adapter) in self.tasks.iter().zip(tuning.tasks(&self.model.encoder().config)) {
                scores.push(score(&evaluate(self.model, &adapter, &earlier.scored)?, earlier.metric));
            }
            matrix.push(task.described(), scores);
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
    ) -> Result<Option<Grafted>, Failure> {
        let mut options = GraftOptions { metric: Some(task.metric), ..options.clone() };
        // The tasks before it may have taken hours.
        options.train.budget.training_bytes = memory::free();
        let mut progress = TrainProgress::new(task.metric, true, None);
        let beginning = Beginning { earlier, ..Beginning::default() };
        let data: (&dyn LabelledRows, &dyn LabelledRows) = (&task.train.1, &task.dev.1);
        let result = graft_from(&beginning, self.model, data, &options, &mut progress);
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
    header.extend(matrix.tasks.iter().map(|task| task.name.clone()));
    let mut rows = vec![header];
    for (after, scores) in matrix.scores.iter().enumerate() {
        let mut row = vec![format!("after {}", matrix.tasks[after].name)];
        row.extend(scores.iter().map(|score| shown(*score)));
        rows.push(row);
    }
    let mut lost = vec!["lost".to_owned()];
    lost.extend((0..matrix.tasks.len()).map(|task| shown(matrix.lost(task))));
    rows.push(lost);
    format!("{}\n{}{}\n\n", matrix.method, aligned(&rows), report::forgetting::summary(matrix))
}
