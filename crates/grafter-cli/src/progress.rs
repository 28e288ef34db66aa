//! Progress on standard error: bars on a terminal, plain lines otherwise.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use grafter::durable::{parent_of, sync_folder};
use grafter::hub::PullProgress;
use grafter::metrics::Metric;
use grafter::prefix::NotKept;
use grafter::train::{CheckpointReport, EvaluationReport, History, StepReport, TrainObserver};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::args::Every;
use crate::commands::output::beside;
use crate::failure::Failure;
use crate::interrupt;
use crate::terminal::{counted, grouped, tell};

/// Fetching a model.
#[derive(Default)]
pub struct PullBar {
    bar: Option<ProgressBar>,
}

impl PullProgress for PullBar {
    fn begin(&mut self, what: &str, total_bytes: Option<u64>) {
        if !std::io::stderr().is_terminal() {
            tell(format_args!("fetching {what}"));
            return;
        }
        let bar = match total_bytes {
            Some(total) => ProgressBar::new(total).with_style(style(
                "fetching {msg} [{bar:30}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}, {eta} left",
            )),
            None => ProgressBar::new_spinner().with_style(style("fetching {msg} {spinner} {decimal_bytes}")),
        };
        self.bar = Some(bar.with_message(what.to_owned()));
    }

    fn advance(&mut self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
    }

    fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn note(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => tell(text),
        }
    }
}

/// A bar that is drawn as the template says.
pub fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is a constant").progress_chars("=> ")
}

/// Follows a training run: shows it, logs it, times it, and ends it on Ctrl-C.
pub struct TrainProgress {
    bar: Option<ProgressBar>,
    /// Lines for people, where there is no terminal.
    lines: bool,
    log: Option<Log>,
    metric: Metric,
    clock: Instant,
    /// Time in training steps, evaluations not counted.
    pub training: Duration,
    /// Tokens of all training steps.
    pub tokens: usize,
    loss: Smoothed,
    failure: Option<Failure>,
    every: Option<Every>,
    /// When the newest checkpoint was written, or tried to.
    last_checkpoint: Instant,
    /// Steps done in the newest checkpoint.
    checkpoint: Option<u64>,
}

/// How every log begins.
pub const LOG_BEGINNING: &[u8] = b"{\"event\":";

/// Where the log of a run is while that of an earlier one is in its place.
pub fn beside_earlier_log(log: &Path) -> PathBuf {
    beside(log, ".new")
}

/// The log of a run, one JSON object a line.
struct Log {
    /// Opened with the first event: a run that is refused leaves nothing.
    file: Option<File>,
    path: PathBuf,
    /// The log of an earlier run, which stays until an adapter has come of this one.
    earlier: Option<PathBuf>,
}

impl Log {
    fn new(path: &Path) -> Self {
        if !path.is_file() {
            return Self { file: None, path: path.to_owned(), earlier: None };
        }
        Self { file: None, path: beside_earlier_log(path), earlier: Some(path.to_owned()) }
    }

    /// What was written survives a loss of power; a pipe and the like have nothing to keep.
    fn sync(&self) -> std::io::Result<()> {
        match &self.file {
            Some(file) if file.metadata()?.is_file() => {
                file.sync_all()?;
                sync_folder(parent_of(&self.path))
            }
            _ => Ok(()),
        }
    }

    fn write(&mut self, line: &str) -> std::io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::create(&self.path)?),
        };
        file.write_all(line.as_bytes())
    }
}

/// A running mean that forgets.
#[derive(Default)]
struct Smoothed {
    sum: f64,
    weight: f64,
}

impl Smoothed {
    fn add(&mut self, value: f64) {
        self.sum = 0.95 * self.sum + value;
        self.weight = 0.95 * self.weight + 1.0;
    }

    fn value(&self) -> f64 {
        self.sum / self.weight
    }
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Event<'a> {
    Step {
        #[serde(flatten)]
        report: &'a StepReport,
    },
    Evaluation {
        #[serde(flatten)]
        report: &'a EvaluationReport,
        metric: Metric,
    },
}

impl TrainProgress {
    /// Shows a run on standard error, if `show` says so, and logs it to a file, if there is one.
    pub fn new(metric: Metric, show: bool, log: Option<&Path>) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let template = "[{bar:30}] {pos}/{len} {msg}, {eta} left";
        let bar = (show && terminal).then(|| ProgressBar::new(0).with_style(style(template)));
        Self {
            bar,
            lines: show && !terminal,
            log: log.map(Log::new),
            metric,
            clock: Instant::now(),
            training: Duration::ZERO,
            tokens: 0,
            loss: Smoothed::default(),
            failure: None,
            every: None,
            last_checkpoint: Instant::now(),
            checkpoint: None,
        }
    }

    /// Asks for a checkpoint now and then.
    pub fn checkpoint_every(&mut self, every: Every) {
        self.every = Some(every);
    }

    /// Steps that were done at the newest checkpoint.
    pub fn checkpoint(&self) -> Option<u64> {
        self.checkpoint
    }

    /// A line for people, above the bar if there is one.
    fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => tell(text),
        }
    }

    /// Takes up what the run did before it was resumed: the log has it again, as if nothing had happened between.
    fn take_up(&mut self, history: &History) {
        let metric = self.metric;
        for event in history.events() {
            match event {
                grafter::train::Event::Step(report) => {
                    self.loss.add(report.loss);
                    self.write_log(&Event::Step { report });
                }
                grafter::train::Event::Evaluation(report) => {
                    self.write_log(&Event::Evaluation { report, metric });
                }
            }
        }
    }

    /// Tokens per second of the training steps; `None` where no token passes the encoder in a step.
    pub fn tokens_per_second(&self) -> Option<f64> {
        (self.tokens > 0).then(|| self.tokens as f64 / self.training.as_secs_f64().max(1e-9))
    }

    /// Takes the bar away; fails if the log could not be written. Training is not stopped by that: the adapter matters
    /// more, so call this after it is saved.
    pub fn finish(&mut self) -> Result<(), Failure> {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.failure.take().map_or(Ok(()), Err)?;
        let Some(log) = &self.log else { return Ok(()) };
        log.sync().map_err(|source| Failure::Write { path: log.path.clone(), source })
    }

    /// Puts the log in the place of an earlier run's, once the adapter that it belongs to is there.
    pub fn replace_earlier_log(&mut self) -> Result<(), Failure> {
        let Some(Log { path, earlier: Some(earlier), .. }) = self.log.take() else { return Ok(()) };
        std::fs::rename(&path, &earlier)
            .and_then(|()| sync_folder(parent_of(&earlier)))
            .map_err(|source| Failure::Write { path: earlier, source })
    }

    fn write_log(&mut self, event: &Event<'_>) {
        let Some(log) = &mut self.log else { return };
        let mut line = serde_json::to_string(event).expect("reports have no maps with odd keys");
        line.push('\n');
        if let Err(source) = log.write(&line) {
            self.failure = Some(Failure::Write { path: log.path.clone(), source });
            self.log = None;
        }
    }
}

impl TrainObserver for TrainProgress {
    fn encoding(&mut self, done: usize, rows: usize) -> ControlFlow<()> {
        if let Some(bar) = &self.bar {
            bar.set_length(rows as u64);
            bar.set_position(done as u64);
            bar.set_message("rows tokenized");
        }
        until_interrupted()
    }

    fn begin(&mut self) {
        self.clock = Instant::now();
        self.last_checkpoint = Instant::now();
    }

    fn prefix(&mut self, done: usize, rows: usize) -> ControlFlow<()> {
        if let Some(bar) = &self.bar {
            bar.set_length(rows as u64);
            bar.set_position(done as u64);
            bar.set_message("rows through the frozen layers, once");
        }
        self.clock = Instant::now();
        until_interrupted()
    }

    fn not_kept(&mut self, reason: &NotKept) {
        self.note(&format!("note: the frozen layers run anew in each step: {reason}"));
    }

    fn step(&mut self, report: &StepReport) -> ControlFlow<()> {
        self.training += self.clock.elapsed();
        self.tokens += report.tokens;
        self.loss.add(report.loss);
        if let Some(bar) = &self.bar {
            bar.set_length(report.total_steps);
            bar.set_position(report.step);
            let speed =
                self.tokens_per_second().map_or(String::new(), |speed| format!(", {speed:.0} tokens/s"));
            bar.set_message(format!("steps, epoch {}, loss {:.4}{speed}", report.epoch, self.loss.value()));
        }
        self.write_log(&Event::Step { report });
        self.clock = Instant::now();
        until_interrupted()
    }

    fn evaluating(&mut self, done: usize, rows: usize) -> ControlFlow<()> {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("steps, {} of {} evaluated", grouped(done), counted(rows, "dev row")));
        }
        // Also of a run that is resumed, where no evaluation follows.
        self.clock = Instant::now();
        until_interrupted()
    }

    fn evaluation(&mut self, report: &EvaluationReport) -> ControlFlow<()> {
        let metric = self.metric;
        let mark = if report.best { ", best so far" } else { "" };
        let text = format!(
            "epoch {:2}, step {:5}: train loss {:.4}, dev loss {:.4}, {metric} {:.4}{mark}",
            report.epoch,
            report.step,
            self.loss.value(),
            report.loss,
            report.score
        );
        if let Some(bar) = &self.bar {
            bar.println(text);
        } else if self.lines {
            match self.tokens_per_second() {
                Some(speed) => tell(format_args!("{text}, {speed:.0} tokens/s")),
                None => tell(text),
            }
        }
        self.write_log(&Event::Evaluation { report, metric });
        self.clock = Instant::now();
        until_interrupted()
    }

    fn checkpoint_due(&mut self, step: u64) -> bool {
        match self.every {
            Some(Every::Steps(steps)) => step.is_multiple_of(steps),
            Some(Every::Time(time)) => self.last_checkpoint.elapsed() >= time,
            None => false,
        }
    }

    fn checkpoint(&mut self, report: &CheckpointReport<'_>) {
        match report {
            CheckpointReport::Missing { folder } => {
                let folder = folder.display();
                self.note(&format!("`{folder}` has no checkpoint: the run begins with its first step"));
            }
            CheckpointReport::Resumed { step, history } => {
                self.note(&format!("resumed after step {step}"));
                self.checkpoint = Some(*step);
                self.take_up(history);
            }
            CheckpointReport::Unusable { path, reason } => {
                self.note(&format!("warning: the checkpoint `{}` cannot be used: {reason}", path.display()));
            }
            CheckpointReport::Written { step } => self.checkpoint = Some(*step),
            CheckpointReport::Failed { folder, error } => {
                let folder = folder.display();
                self.note(&format!("warning: no checkpoint can be written to `{folder}`: {error}"));
            }
            CheckpointReport::Kept { folder, error } => {
                let folder = folder.display();
                self.note(&format!("warning: earlier checkpoints stay in `{folder}`: {error}"));
            }
        }
        self.last_checkpoint = Instant::now();
        self.clock = Instant::now();
    }
}

/// The answer to each report.
fn until_interrupted() -> ControlFlow<()> {
    if interrupt::requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}
