//! The progress of trials that run beside each other: a bar for all and one for each on a terminal, otherwise a line for
//! each that is finished.

use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};

use grafter::compare::{SplitRecord, Trial, TrialRecord};
use grafter::metrics::Metric;
use grafter::train::{Ending, EvaluationReport, StepReport, TrainObserver};
use indicatif::{MultiProgress, ProgressBar};

use crate::interrupt;
use crate::progress::style;
use crate::terminal::tell;

/// All trials of a command.
pub struct Progress {
    bars: Option<(MultiProgress, ProgressBar)>,
    finished: AtomicUsize,
    all: usize,
}

impl Progress {
    /// Of `all` trials some are finished already.
    pub fn new(finished: usize, all: usize) -> Self {
        let bars = std::io::stderr().is_terminal().then(|| {
            let bars = MultiProgress::new();
            let bar =
                ProgressBar::new(all as u64).with_style(style("[{bar:30}] {pos}/{len} trials, {eta} left"));
            bar.set_position(finished as u64);
            // What was finished before took no time now.
            bar.reset_eta();
            (bars.clone(), bars.add(bar))
        });
        Self { bars, finished: AtomicUsize::new(finished), all }
    }

    /// Follows one trial, and ends it on Ctrl-C.
    pub fn trial(&self, trial: &Trial) -> TrialProgress<'_> {
        let bar = self.bars.as_ref().map(|(bars, all)| {
            let bar = ProgressBar::new(0).with_style(style("  {msg} [{bar:20}] {pos}/{len}"));
            bars.insert_before(all, bar).with_message(trial.id())
        });
        TrialProgress { all: self, bar }
    }

    /// Tells what a trial gave.
    pub fn finished(&self, record: &TrialRecord, metric: Metric) {
        let finished = self.finished.fetch_add(1, Ordering::SeqCst) + 1;
        let score = |split: &Option<SplitRecord>| match split {
            Some(SplitRecord { score: Some(score), .. }) => format!("{score:.4}"),
            _ => "–".to_owned(),
        };
        let diverged = if record.ending == Ending::Diverged { ", diverged" } else { "" };
        let test = record.test.as_ref().map_or(String::new(), |_| format!(", test {}", score(&record.test)));
        let text = format!(
            "[{finished}/{}] {}: {metric} {}{test}{diverged}, {:.1} s",
            self.all,
            record.id,
            score(&record.dev),
            record.seconds
        );
        self.note(&text);
        if let Some((_, bar)) = &self.bars {
            bar.inc(1);
        }
    }

    /// A line for people, above the bars if there are any.
    pub fn note(&self, text: &str) {
        match &self.bars {
            Some((_, bar)) => bar.println(text),
            None => tell(text),
        }
    }

    /// Takes the bars away; how many trials are finished.
    pub fn end(&self) -> usize {
        if let Some((_, bar)) = &self.bars {
            bar.finish_and_clear();
        }
        self.finished.load(Ordering::SeqCst)
    }
}

/// One trial.
pub struct TrialProgress<'a> {
    all: &'a Progress,
    bar: Option<ProgressBar>,
}

fn go_on() -> ControlFlow<()> {
    if interrupt::requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

impl TrialProgress<'_> {
    fn at(&self, position: u64, length: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(length);
            bar.set_position(position);
        }
    }
}

impl TrainObserver for TrialProgress<'_> {
    fn encoding(&mut self, done: usize, rows: usize) -> ControlFlow<()> {
        self.at(done as u64, rows as u64);
        go_on()
    }

    fn prefix(&mut self, done: usize, rows: usize) -> ControlFlow<()> {
        self.at(done as u64, rows as u64);
        go_on()
    }

    fn step(&mut self, report: &StepReport) -> ControlFlow<()> {
        self.at(report.step, report.total_steps);
        go_on()
    }

    fn evaluating(&mut self, _: usize, _: usize) -> ControlFlow<()> {
        go_on()
    }

    fn evaluation(&mut self, _: &EvaluationReport) -> ControlFlow<()> {
        go_on()
    }
}

impl Drop for TrialProgress<'_> {
    fn drop(&mut self) {
        if let (Some((bars, _)), Some(bar)) = (&self.all.bars, &self.bar) {
            bar.finish_and_clear();
            bars.remove(bar);
        }
    }
}
