//! What came out: for each task and method the setting that is best on the dev rows, how it compares with the reference,
//! and the averages over the tasks. Plain data, made from the records of a folder alone.
//!
//! A setting is chosen by its mean dev score over the seeds (Houlsby et al. 2019, section 3.1). Settings with fewer
//! finished trials than the one with most do not take part, nor do those of which a trial has no score: a mean over other
//! seeds, or over those that did not diverge, would be another number. A setting in which a trial diverged after a good
//! evaluation stands behind those in which none did.
//!
//! As in the paper's table 1, adapters of several widths are reported twice: with the width that is best for each task, and
//! with each width that was asked for on every task of the method. A [`Candidate`] says which of the two a row is. The first
//! of them is chosen among all widths by the same rule: one with fewer trials than another does not take part.
//!
//! Here is what is reported; [`compute`] makes it of the records, [`mod@best`] chooses, [`averages`] are over
//! the tasks, and [`csv`] writes the trials.

mod averages;
mod best;
mod compute;
mod csv;

use std::fmt;

pub(crate) use best::best_of;
use serde::{Deserialize, Serialize};

use super::grid::Setting;
use super::statistics::Interval;
use super::trial::TrialSummary;
use crate::adapter::{BaseRecord, Method};
use crate::data::TaskKind;
use crate::metrics::Metric;

/// The content of `results.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// The program and its version.
    pub tool: String,
    /// The model that everything was trained on.
    pub base: BaseRecord,
    /// The method that others are compared with.
    pub reference: Method,
    /// The share of resampled differences that lies in an interval.
    pub level: f64,
    /// How often rows were drawn again for an interval.
    pub resamples: usize,
    /// Trials that were asked for.
    pub planned: usize,
    /// Trials that are finished.
    pub finished: usize,
    /// Each task.
    pub tasks: Vec<TaskResult>,
    /// Each candidate over all tasks, in the order of the tasks' `methods`.
    pub averages: Vec<AverageResult>,
    /// Each finished trial.
    pub trials: Vec<TrialSummary>,
}

/// One task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskResult {
    /// Its name.
    pub task: String,
    /// Classes or numbers.
    pub kind: TaskKind,
    /// What is compared.
    pub metric: Metric,
    /// Rows to learn from.
    pub train_rows: usize,
    /// Rows to choose by.
    pub dev_rows: usize,
    /// Labelled rows that chose nothing.
    pub test_rows: Option<usize>,
    /// Each setting.
    pub settings: Vec<SettingResult>,
    /// The best setting of each candidate; the candidates are the same on all tasks.
    pub methods: Vec<MethodResult>,
}

/// What has a row in the tables: of the settings that it holds, the best is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Candidate {
    /// What trains.
    pub method: Method,
    /// The one width of its settings; absent if they may have any, or have none.
    pub bottleneck: Option<usize>,
}

/// The best setting of a candidate on one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MethodResult {
    /// What the row is of.
    #[serde(flatten)]
    pub candidate: Candidate,
    /// Its place in the task's `settings`; absent while none has scores.
    pub best: Option<usize>,
    /// The best setting's dev score less that of the reference; absent for the reference itself.
    pub dev_difference: Option<Delta>,
    /// The same of the test scores.
    pub test_difference: Option<Delta>,
}

/// One setting on one task, over its seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SettingResult {
    /// What was tried.
    #[serde(flatten)]
    pub setting: Setting,
    /// Trials that were asked for.
    pub planned: usize,
    /// The seeds of the finished trials.
    pub seeds: Vec<u64>,
    /// How many of them diverged; those that had an evaluation before have scores all the same.
    pub diverged: usize,
    /// Score on the dev rows; absent where a trial has none.
    pub dev: Option<Spread>,
    /// Score on the test rows; absent where a trial has none.
    pub test: Option<Spread>,
    /// How many numbers were trained.
    pub trained_parameters: Option<usize>,
    /// The same as a share of the base's numbers.
    pub share_of_base: Option<f64>,
    /// Mean time of a trial.
    pub seconds: Option<f64>,
    /// Largest adapter folder, without the card for people.
    pub adapter_bytes: Option<u64>,
}

/// Scores over seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation (`n - 1`); absent of one.
    pub std: Option<f64>,
}

/// A difference to the reference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// Of the means over the seeds.
    pub difference: f64,
    /// The interval of the paired bootstrap over the rows; absent where the metric is not defined on most draws.
    pub interval: Option<Interval>,
}

/// One candidate over all tasks, with the best setting of each. Absent is what a task lacks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AverageResult {
    /// What the row is of.
    #[serde(flatten)]
    pub candidate: Candidate,
    /// On how many tasks it has scores.
    pub tasks: usize,
    /// The fewest and the most seeds that are behind a task's score; absent where it has none on some task.
    pub seeds: Option<[usize; 2]>,
    /// Mean of the dev scores.
    pub dev: Option<f64>,
    /// Mean of the test scores, over the tasks with test rows.
    pub test: Option<f64>,
    /// Mean of the differences on the dev rows.
    pub dev_difference: Option<Delta>,
    /// Mean of the differences on the test rows.
    pub test_difference: Option<Delta>,
    /// Mean share of the base's numbers that was trained.
    pub share_of_base: Option<f64>,
    /// Mean time of a trial.
    pub seconds: Option<f64>,
    /// Mean bytes of an adapter.
    pub adapter_bytes: Option<f64>,
}

impl From<Method> for Candidate {
    /// A method with all its widths.
    fn from(method: Method) -> Self {
        Self { method, bottleneck: None }
    }
}

impl Candidate {
    /// The candidate of the settings with the method and the width of this one.
    pub(crate) fn of(setting: &Setting) -> Self {
        Self { method: setting.method, bottleneck: setting.bottleneck }
    }

    /// Whether a setting is one of its.
    pub fn holds(self, setting: &Setting) -> bool {
        setting.method == self.method && (self.bottleneck.is_none() || setting.bottleneck == self.bottleneck)
    }
}

/// `houlsby`, or `houlsby 64` with the one width.
impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.method)?;
        self.bottleneck.map_or(Ok(()), |bottleneck| write!(f, " {bottleneck}"))
    }
}

impl TaskResult {
    /// The settings of a candidate.
    pub fn settings_of(&self, candidate: Candidate) -> impl Iterator<Item = &SettingResult> {
        self.settings.iter().filter(move |setting| candidate.holds(&setting.setting))
    }

    /// The best setting of a candidate.
    pub fn best(&self, result: &MethodResult) -> Option<&SettingResult> {
        result.best.and_then(|best| self.settings.get(best))
    }

    /// The results of the candidates that were asked for on this task.
    pub fn asked_for(&self) -> impl Iterator<Item = &MethodResult> {
        self.methods.iter().filter(|result| self.settings_of(result.candidate).next().is_some())
    }

    /// Why a candidate has no best setting, for people.
    pub fn why_no_best(&self, candidate: Candidate) -> &'static str {
        if self.settings_of(candidate).any(|setting| setting.diverged > 0) {
            "diverged"
        } else if self.settings_of(candidate).any(|setting| setting.seeds.len() < setting.planned) {
            "not finished"
        } else {
            "metric not defined"
        }
    }
}
