//! `grafter quickstart`: trains three small tasks on one frozen model and shows, by comparison, that none disturbs
//! another.
//!
//! What it claims it measures: the first task's answers are taken through the bank right after its training and again
//! after the third, bit for bit, the bank verifies every task, and the base's numbers in memory are digested before and
//! after.
//! [`tasks`] holds the data, [`folder`] decides what may be written, [`text`] is what people read.

mod folder;
mod tasks;
mod text;

use std::time::Instant;

use grafter::bank::{Bank, Incoming, Probes, Verdict, rows_of};
use grafter::data::{Dataset, Row, Source, TaskKind};
use grafter::encoder::BasePrecision;
use grafter::graft::{GraftError, GraftOptions, graft};
use grafter::metrics::Metric;
use grafter::model::Model;
use grafter::predict::{Prediction, predict, row_logits};
use grafter::report::train::{Texts, TrainReport};
use grafter::train::{Ending, TrainError};

use super::{open_model, print};
use crate::Outcome;
use crate::args::Quickstart;
use crate::failure::Failure;
use crate::interrupt;
use crate::progress::TrainProgress;
use crate::terminal::tell;
use folder::OutFolder;
use tasks::{TASKS, Task};

/// Half of what the default is for so few rows, so that three tasks take minutes; the dev scores are about the same.
const EPOCHS: u32 = 10;

pub fn run(arguments: &Quickstart) -> Result<Outcome, Failure> {
    let mut out = OutFolder::open(&arguments.out)?;
    let model = open_model(&arguments.model.model, BasePrecision::F32)?;
    interrupt::listen_with(interrupt::LOSES_THE_RUN);
    out.write_data()?;
    let bank = out.bank(&model)?;
    let before = model.encoder().digest_in_memory();
    print(&text::opening(&model))?;
    let mut first = None;
    for (place, task) in TASKS.iter().enumerate() {
        let dev = train_task((place, task), &model, &mut out, &bank)?;
        if first.is_none() {
            first = Some(Kept { task, bits: bits(task, &model, &bank, &dev)?, dev });
        }
    }
    if let Some(first) = &first {
        print(&first.compare(&model, &bank)?)?;
    }
    let verified = bank.verify(&model, |_| {})?;
    if let Some(changed) = verified.iter().find(|verified| verified.verdict() == Verdict::Changed) {
        return Err(broken(&format!("`{}` is not what it was when it came into the bank", changed.name)));
    }
    if model.encoder().digest_in_memory() != before {
        return Err(broken("the base changed in memory while the tasks were trained"));
    }
    print(&text::base_unchanged(&before))?;
    print(&text::closing(&out, &arguments.model.model, EPOCHS))?;
    Ok(Outcome::Done)
}

/// Trains and saves one task and shows what it gives; returns its dev rows.
fn train_task(
    (place, task): (usize, &Task),
    model: &Model,
    out: &mut OutFolder,
    bank: &Bank,
) -> Result<Dataset, Failure> {
    let start = Instant::now();
    let [train_file, dev_file] = ["train", "dev"].map(|split| Source::new(out.data_file(task, split)));
    let train = Dataset::read_train(&train_file, TaskKind::Classification)?;
    let dev = Dataset::read_eval(&dev_file, &train.task)?;
    print(&text::heading(place, task, train.rows.len(), dev.rows.len()))?;
    let mut progress = TrainProgress::new(Metric::default_for(TaskKind::Classification), true, None);
    let mut options = GraftOptions::default();
    options.train.epochs = Some(EPOCHS);
    let result = graft(model, &train, &dev, &options, &mut progress);
    progress.finish()?;
    let grafted = match result {
        Err(GraftError::Train(TrainError::Interrupted { .. })) => return Err(interrupted(task)),
        result => result?,
    };
    // An interrupted run has an adapter too, but not the one that this command is about.
    if grafted.ending == Ending::Interrupted || interrupt::requested() {
        return Err(interrupted(task));
    }
    let texts = Texts::of(&grafted.review, &dev);
    let report = TrainReport { grafted: &grafted, train: &train_file, dev: &dev_file, texts };
    let adapter = &grafted.adapter;
    let probes = Probes::take(model, adapter, &rows_of(&dev)?)?;
    let version =
        out.save(bank, task, &Incoming { adapter, probes: &probes, companions: &report.files() })?;
    print(&text::result(&grafted, start.elapsed().as_secs_f64()))?;
    let rows: Vec<Row> = task.fresh.iter().map(tasks::Fresh::row).collect();
    let saved = bank.load(&task.task_name(), &version, model)?;
    let answers: Vec<Prediction> = predict(model, &saved, &rows)?;
    print(&text::answers(task, &answers))?;
    Ok(dev)
}

/// The first task's answers as they were right after its training.
struct Kept<'a> {
    task: &'a Task,
    dev: Dataset,
    bits: Vec<Vec<u32>>,
}

impl Kept<'_> {
    /// Answers again, now that other tasks were trained, and compares every bit.
    fn compare(&self, model: &Model, bank: &Bank) -> Result<String, Failure> {
        let now = bits(self.task, model, bank, &self.dev)?;
        if now != self.bits {
            let name = self.task.name;
            return Err(broken(&format!("`{name}` answers differently after the other tasks were trained")));
        }
        let logits = now.iter().map(Vec::len).sum();
        Ok(text::not_forgotten(self.task, now.len(), logits))
    }
}

/// The bits of a task's logits on its dev rows, through what is saved of it.
fn bits(task: &Task, model: &Model, bank: &Bank, dev: &Dataset) -> Result<Vec<Vec<u32>>, Failure> {
    let name = task.task_name();
    let adapter = bank.load(&name, &bank.task(&name)?.newest().version, model)?;
    let logits = row_logits(model, &adapter, &dev.rows)?;
    Ok(logits.iter().map(|logits| logits.iter().map(|logit| logit.to_bits()).collect()).collect())
}

fn interrupted(task: &Task) -> Failure {
    tell(format_args!("interrupted: no adapter of `{}` was written", task.name));
    Failure::Interrupted
}

/// A claim of this command that turned out false.
fn broken(message: &str) -> Failure {
    let hint = "this is a fault of grafter or of the machine's memory; please report it".to_owned();
    Failure::Usage { message: message.to_owned(), hint: Some(hint) }
}
