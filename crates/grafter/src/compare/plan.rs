//! What a comparison was begun with: a folder takes more trials of the same comparison, and nothing of another one.

use serde::{Deserialize, Serialize};

use super::grid::{PlannedGrid, Trial};
use super::task::{CompareTask, TaskPlan};
use crate::adapter::BaseRecord;
use crate::difference::{Difference, differ};
use crate::graft::GraftOptions;
use crate::model::Model;

/// The version of the folder's layout that this program writes and reads.
pub const FORMAT_VERSION: u32 = 2;

/// The content of `compare.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Layout of the folder; another version is refused.
    pub format_version: u32,
    /// The program and its version.
    pub tool: String,
    /// The model that everything is trained on.
    pub base: BaseRecord,
    /// What all trials have in common. What a grid varies is as in [`GraftOptions::default`] here.
    pub options: GraftOptions,
    /// The tasks.
    pub tasks: Vec<TaskPlan>,
    /// What each command added.
    pub grids: Vec<PlannedGrid>,
}

impl Plan {
    /// The plan of one command.
    pub fn new(model: &Model, options: &GraftOptions, tasks: &[CompareTask], grid: PlannedGrid) -> Self {
        let default = GraftOptions::default();
        let mut options = GraftOptions {
            method: default.method,
            bottleneck: default.bottleneck,
            metric: default.metric,
            ..options.clone()
        };
        options.train.learning_rate = default.train.learning_rate;
        options.train.init_std = default.train.init_std;
        options.train.seed = default.train.seed;
        // Where temporary files lie and how large they grow decides nothing.
        options.train.budget = default.train.budget;
        Self {
            format_version: FORMAT_VERSION,
            tool: format!("grafter {}", env!("CARGO_PKG_VERSION")),
            base: BaseRecord::of(model),
            options,
            tasks: tasks.iter().map(|task| task.plan.clone()).collect(),
            grids: vec![grid],
        }
    }

    /// Adds the tasks and trials of another plan of the same comparison.
    /// # Errors
    /// Where it is one of another comparison; nothing is added then.
    pub fn extend(&mut self, other: &Self) -> Result<(), Difference> {
        differ("version of the layout", &self.format_version, &other.format_version)?;
        differ("version of the program", &self.tool, &other.tool)?;
        // What the base is called decides nothing.
        differ("base", &self.base, &BaseRecord { name: self.base.name.clone(), ..other.base.clone() })?;
        differ("options", &self.options, &other.options)?;
        for task in &other.tasks {
            if let Some(known) = self.tasks.iter().find(|known| known.name == task.name) {
                differ(&format!("task `{}`", task.name), known, task)?;
            }
        }
        for task in &other.tasks {
            if !self.tasks.contains(task) {
                self.tasks.push(task.clone());
            }
        }
        for grid in &other.grids {
            if !self.grids.contains(grid) {
                self.grids.push(grid.clone());
            }
        }
        Ok(())
    }

    /// All trials that were asked for so far, each once.
    pub fn trials(&self) -> Vec<Trial> {
        let mut seen = std::collections::HashSet::new();
        let trials = self.grids.iter().flat_map(PlannedGrid::trials);
        trials.filter(|trial| seen.insert(trial.id())).collect()
    }
}
