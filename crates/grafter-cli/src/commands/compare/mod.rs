//! `grafter compare`: trains methods and settings on tasks with several seeds, and says how they compare.
//!
//! [`Job`] is what every command of this kind runs; [`runner`] runs the trials, as [`schedule`] orders them, [`progress`] shows
//! them, [`text`] is what people read.

mod progress;
mod runner;
mod schedule;
mod text;

use std::path::Path;
use std::time::Instant;

use grafter::adapter::Method;
use grafter::compare::{
    CompareError, CompareFolder, CompareTask, Grid, Plan, Rates, Results, TaskSource, Trial, TrialRecord,
};
use grafter::data::TaskKind;
use grafter::graft::GraftOptions;
use grafter::model::Model;
use grafter::report::page::Section;
use serde::Serialize;

use super::{open_model, print, print_json, unused, warn_of_same_rows};
use crate::Outcome;
use crate::args::{Assigned, Compare, SharedTrainingArgs, Sweep, TrialArgs};
use crate::failure::Failure;
use crate::interrupt;
use crate::sources::Sources;
use crate::terminal::{counted, tell};

use text::tables;

/// The name of a task that was given by its files.
pub const ONLY_TASK: &str = "task";

/// What is compared, on what, and how much of the machine it may take.
pub struct Job<'a> {
    pub sources: Vec<TaskSource>,
    /// Its tasks are those of `sources`.
    pub grid: Grid,
    /// What was asked for of it.
    pub sweep: &'a Sweep,
    pub training: &'a SharedTrainingArgs,
    pub running: &'a TrialArgs,
    pub out: &'a Path,
    /// Whether the adapters are kept, at least until the command ends.
    pub keep: bool,
    /// What else must hold of a task, before anything is written.
    pub check: fn(&CompareTask) -> Result<(), Failure>,
}

/// A job whose tasks were read and whose folder is open.
pub struct Open<'a> {
    pub model: Model,
    pub tasks: Vec<CompareTask>,
    pub folder: CompareFolder,
    /// What all trials have in common.
    pub template: GraftOptions,
    /// The trials of this command.
    pub trials: Vec<Trial>,
    job: Job<'a>,
    start: Instant,
}

/// What became of the trials of a command.
pub struct Ran {
    pub results: Results,
    /// Trials that are not finished.
    pub left: usize,
    pub interrupted: bool,
}

impl<'a> Job<'a> {
    /// Checks everything that can be checked before training, cheapest first.
    pub fn open(mut self) -> Result<Open<'a>, Failure> {
        let start = Instant::now();
        let given = (!self.sweep.bottleneck.is_empty(), !self.sweep.init_std.is_empty());
        unused::refuse_without_adapters(&self.grid.methods, self.training, given)?;
        self.grid.tasks = self.sources.iter().map(|source| source.name.clone()).collect();
        if self.grid.tasks.is_empty() {
            return Err(CompareError::Empty { what: "task" }.into());
        }
        for (place, name) in self.grid.tasks.iter().enumerate() {
            if self.grid.tasks[..place].contains(name) {
                return Err(CompareError::DuplicateTask { name: name.clone() }.into());
            }
        }
        let tasks = self.sources.drain(..).map(CompareTask::open).collect::<Result<Vec<_>, _>>()?;
        let model = open_model(&self.running.model.model, self.running.base)?;
        let config = &model.encoder().config;
        let kinds: Vec<TaskKind> = tasks.iter().map(|task| task.plan.kind).collect();
        unused::refuse_mean_of_words(self.training.pooling, &kinds)?;
        // Before it is looked how much memory is free.
        if self.grid.methods.iter().any(|method| method.passes_frozen_matrices()) {
            model.encoder().lay_out_backward();
        }
        let mut template = self.training.options(config.max_length(), &kinds);
        let grid = self.grid.planned();
        for setting in &grid.settings {
            setting.options(&template).check(&model)?;
        }
        for task in &tasks {
            template.check_task(task.plan.kind, &task.labels)?;
        }
        for CompareTask { source, notes, .. } in &tasks {
            for note in notes {
                tell(format_args!("note: {note}"));
            }
            warn_of_same_rows(&source.train, &source.dev, "dev");
            if let Some(test) = &source.test {
                warn_of_same_rows(&source.train, test, "test");
            }
        }
        tasks.iter().try_for_each(self.check)?;
        let trials = grid.trials();
        let plan = Plan::new(&model, &template, &tasks, grid);
        let folder = CompareFolder::open(self.out, &plan, &tasks)?;
        // Temporary files lie in the folder, and trials that run beside each other share the memory.
        template.train.budget.folder = Some(self.out.to_owned());
        Ok(Open { tasks, folder, template, trials, job: self, start, model })
    }
}

impl Open<'_> {
    /// Runs the trials that are not finished, and writes what came of all; `first` gives what the page begins with.
    pub fn run(&self, first: impl Fn(&Results) -> Option<Section>) -> Result<Ran, Failure> {
        interrupt::listen_with("ending: the trials that run are dropped, those that are finished are kept");
        let (mut todo, mut without_adapter) = (Vec::new(), 0);
        for trial in &self.trials {
            match self.folder.record(trial)? {
                None => todo.push(trial.clone()),
                Some(record) => {
                    let had_one = record.weights_sha256.is_some();
                    without_adapter += usize::from(had_one && !self.folder.adapter(trial).exists());
                }
            }
        }
        let known = self.trials.len() - todo.len();
        if known > 0 {
            tell(format_args!("{} of {} were finished before", known, counted(self.trials.len(), "trial")));
        }
        if self.job.running.keep && without_adapter > 0 {
            let trials = counted(without_adapter, "trial");
            tell(format_args!(
                "the adapters of {trials} are not there: remove their files in `trials` to train them again"
            ));
        }
        let ended = runner::run(self, todo);
        // After a failure too: what is finished counts.
        let results = Results::of(&self.folder).and_then(|results| {
            self.folder.write_results(&results, first(&results))?;
            Ok(results)
        });
        let (left, results) = (ended?, results?);
        Ok(Ran { results, left, interrupted: interrupt::requested() && left > 0 })
    }

    fn task(&self, trial: &Trial) -> &CompareTask {
        let mut tasks = self.tasks.iter();
        tasks.find(|task| task.plan.name == trial.task).expect("the grid names the tasks of the job")
    }

    /// Runs one trial again, for its adapter.
    pub fn again(&self, trial: &Trial) -> Result<Option<Box<grafter::adapter::Adapter>>, Failure> {
        runner::again(self, trial)
    }

    /// All trials of the folder, those of other commands too.
    pub fn all_trials(&self) -> Vec<Trial> {
        self.folder.plan().trials()
    }

    /// The record of a finished trial.
    pub fn record(&self, trial: &Trial) -> Result<Option<TrialRecord>, Failure> {
        Ok(self.folder.record(trial)?)
    }
}

/// What a command says of trials that are left.
pub fn tell_left(ran: &Ran, trials: usize) {
    if ran.left > 0 {
        let why = if ran.interrupted { "interrupted" } else { "the time is over" };
        let trials = counted(trials, "trial");
        tell(format_args!("{why}: {} of {trials} left; the same command continues", ran.left));
    }
}

/// The results, as `--json` prints them.
#[derive(Serialize)]
struct Report<'a> {
    /// Trials of this command that are not finished.
    left: usize,
    #[serde(flatten)]
    results: &'a Results,
    #[serde(flatten)]
    beside: serde_json::Map<String, serde_json::Value>,
}

pub fn run(arguments: &Compare) -> Result<Outcome, Failure> {
    let job = Job {
        sources: sources(arguments)?,
        grid: grid(&arguments.method, &arguments.sweep),
        sweep: &arguments.sweep,
        training: &arguments.training,
        running: &arguments.running,
        out: &arguments.out,
        keep: arguments.running.keep,
        check: |_| Ok(()),
    };
    run_job(job, |_| None)
}

/// What a command shows beside the results.
pub struct Beside {
    /// What the page begins with.
    pub section: Section,
    /// For the terminal, below the tables.
    pub text: String,
    /// Fields of the JSON.
    pub json: serde_json::Map<String, serde_json::Value>,
}

/// Runs a job, and prints its results, with what is beside them if there is anything.
pub fn run_job(job: Job<'_>, beside: impl Fn(&Results) -> Option<Beside>) -> Result<Outcome, Failure> {
    let open = job.open()?;
    let ran = open.run(|results| beside(results).map(|beside| beside.section))?;
    tell_left(&ran, open.trials.len());
    let (results, beside) = (&ran.results, beside(&ran.results));
    let (text, json) = beside.map_or_else(Default::default, |beside| (beside.text, beside.json));
    if open.job.running.json {
        print_json(&Report { left: ran.left, results, beside: json })?;
    } else {
        print(&(tables(results) + &text))?;
    }
    Ok(if ran.interrupted { Outcome::Interrupted } else { Outcome::Done })
}

/// The grid of methods; what is not named is as in `train`. The job names the tasks.
pub fn grid(methods: &[Method], sweep: &Sweep) -> Grid {
    fn named<T: Clone + PartialEq>(values: &[T], default: T) -> Vec<T> {
        if values.is_empty() { vec![default] } else { distinct(values) }
    }
    let default = GraftOptions::default();
    Grid {
        tasks: Vec::new(),
        methods: distinct(methods),
        bottlenecks: named(&sweep.bottleneck, default.bottleneck),
        learning_rates: rates(sweep, &[1.0]),
        init_stds: named(&sweep.init_std, default.train.init_std),
        seeds: named(&sweep.seed, default.train.seed),
    }
}

/// The rates that were named, or so many times the default.
pub fn rates(sweep: &Sweep, factors: &[f64]) -> Rates {
    if sweep.lr.is_empty() {
        Rates::TimesDefault(factors.to_vec())
    } else {
        Rates::Named(distinct(&sweep.lr))
    }
}

/// Each value once, in the order in which they were named.
pub fn distinct<T: Clone + PartialEq>(values: &[T]) -> Vec<T> {
    let mut distinct = Vec::new();
    for value in values {
        if !distinct.contains(value) {
            distinct.push(value.clone());
        }
    }
    distinct
}

fn sources(arguments: &Compare) -> Result<Vec<TaskSource>, Failure> {
    let (mut files, mut sources) = (Sources::new(&arguments.rows), Vec::new());
    for task in &arguments.task {
        sources.push(files.task(&task.name, &task.folder)?);
    }
    if !arguments.train.is_empty() {
        sources.push(TaskSource {
            name: ONLY_TASK.to_owned(),
            kind: TaskKind::Classification,
            metric: None,
            train: files.source(&arguments.train)?,
            dev: files.source(&arguments.dev)?,
            test: files.if_named(&arguments.test)?,
        });
    }
    let known = |flag: &str, names: Vec<&Option<String>>| {
        let unknown =
            names.into_iter().flatten().find(|name| !sources.iter().any(|task| task.name == **name));
        unknown.map_or(Ok(()), |name| {
            let message = format!("`{flag}` names the task `{}`, which there is not", super::printable(name));
            Err(Failure::Usage { message, hint: None })
        })
    };
    known("--kind", arguments.kind.iter().map(|one| &one.task).collect())?;
    known("--metric", arguments.metric.iter().map(|one| &one.task).collect())?;
    for source in &mut sources {
        source.kind = Assigned::find(&arguments.kind, &source.name).unwrap_or(source.kind);
        source.metric = Assigned::find(&arguments.metric, &source.name);
    }
    Ok(sources)
}
