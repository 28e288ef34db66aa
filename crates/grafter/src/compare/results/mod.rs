//! What came out: for each task and method the setting that is best on the dev rows, how it compares with the reference,
//! and the averages over the tasks. Plain data, made from the records of a folder alone.
//!
//! A setting is chosen by its mean dev score over the seeds (Houlsby et al. 2019, section 3.1). Settings with fewer
//! finished trials than the one with most do not take part, nor do those of which a trial has no score: a mean over other
//! seeds, or over those that did not diverge, would be another number. A setting in which a trial diverged after a good
//! evaluation stands behind those in which none did.
//!
//! Here is what is reported; [`compute`] makes it of the records, [`mod@best`] chooses, [`averages`] are over
//! the tasks, and [`csv`] writes the trials.

mod averages;
mod best;
mod compute;
mod csv;

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
    /// Each method over all tasks.
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
    /// Each method.
    pub methods: Vec<MethodResult>,
}

/// One method on one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MethodResult {
    /// What trains.
    pub method: Method,
    /// The place of the best setting in `settings`; absent while none has scores.
    pub best: Option<usize>,
    /// Each setting.
    pub settings: Vec<SettingResult>,
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

/// One method over all tasks, with the best setting of each. Absent is what a task lacks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AverageResult {
    /// What trains.
    pub method: Method,
    /// On how many tasks it has scores.
    pub tasks: usize,
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

impl MethodResult {
    /// Why there is no best setting, for people.
    pub fn why_no_best(&self) -> &'static str {
        if self.settings.iter().any(|setting| setting.diverged > 0) {
            "diverged"
        } else if self.settings.iter().any(|setting| setting.seeds.len() < setting.planned) {
            "not finished"
        } else {
            "metric not defined"
        }
    }

    /// The best setting.
    pub fn best(&self) -> Option<&SettingResult> {
        self.best.and_then(|best| self.settings.get(best))
    }
}
