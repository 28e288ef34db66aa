//! Compares ways to train on tasks, as Houlsby et al. 2019 do: each setting of each method on each task with several
//! seeds, the best setting chosen on the dev rows, the differences with their intervals.
//!
//! ```text
//! TaskSource ─ CompareTask ─┐
//! Grid ───────── Trial ─────┴─ run_trial ─▶ TrialRecord ─ CompareFolder ─▶ Results
//! ```
//!
//! A trial is decided by its inputs alone, so trials may run in any order, beside each other, and in several sittings.
//! Nothing here starts threads, reads a clock or prints: when trials run, and how long they took, is the caller's.

pub mod cells;
mod error;
mod folder;
mod grid;
mod plan;
mod results;
pub mod statistics;
mod task;
mod trial;

pub use error::CompareError;
pub use folder::{CompareFolder, PLAN_FILE, REPORT_FILE, RESULTS_FILE, TABLE_FILE};
pub use grid::{Grid, PlannedGrid, Rates, Setting, Trial};
pub use plan::{FORMAT_VERSION, Plan};
pub(crate) use results::best_of;
pub use results::{
    AverageResult, Candidate, Delta, MethodResult, Results, SettingResult, Spread, TaskResult,
};
pub use task::{CompareTask, FilePlan, RowAnswers, TaskPlan, TaskSource, TaskTargets};
pub use trial::{FinishedTrial, SplitRecord, TrialEnd, TrialRecord, TrialSummary, run_trial};
