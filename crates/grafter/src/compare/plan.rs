//! What a comparison was begun with: a folder takes more trials of the same comparison, and nothing of another one.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::grid::{Grid, Trial};
use super::task::{CompareTask, TaskPlan};
use crate::adapter::BaseRecord;
use crate::encoder::EncoderConfig;
use crate::graft::GraftOptions;
use crate::model::Model;

/// The version of the folder's layout that this program writes and reads.
pub const FORMAT_VERSION: u32 = 1;

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
    pub grids: Vec<Grid>,
}

/// Where two plans differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What differs, in backticks.
    pub what: String,
    /// As it was.
    pub expected: String,
    /// As it is.
    pub found: String,
}

impl Plan {
    /// The plan of one command.
    pub fn new(model: &Model, options: &GraftOptions, tasks: &[CompareTask], grid: Grid) -> Self {
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
    pub fn trials(&self, encoder: &EncoderConfig) -> Vec<Trial> {
        let mut seen = std::collections::HashSet::new();
        let trials = self.grids.iter().flat_map(|grid| grid.trials(encoder));
        trials.filter(|trial| seen.insert(trial.id())).collect()
    }
}

fn differ(what: &str, expected: &impl Serialize, found: &impl Serialize) -> Result<(), Difference> {
    let expected = serde_json::to_value(expected).expect("plans are plain data");
    let found = serde_json::to_value(found).expect("plans are plain data");
    first_difference(String::new(), &expected, &found).map_or(Ok(()), |(path, expected, found)| {
        let what = if path.is_empty() { what.to_owned() } else { format!("{what}: `{path}`") };
        Err(Difference { what, expected, found })
    })
}

/// The path of the first field that differs, and both values.
fn first_difference(path: String, expected: &Value, found: &Value) -> Option<(String, String, String)> {
    if expected == found {
        return None;
    }
    if let (Value::Object(expected), Value::Object(found)) = (expected, found) {
        let names = expected.keys().chain(found.keys().filter(|name| !expected.contains_key(*name)));
        return names.into_iter().find_map(|name| {
            let field = |of: &serde_json::Map<String, Value>| of.get(name).cloned().unwrap_or_default();
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            first_difference(path, &field(expected), &field(found))
        });
    }
    let shown = |value: &Value| match value {
        Value::Null => "none".to_owned(),
        Value::Object(_) => "some".to_owned(),
        value => format!("`{}`", crate::text::escape(&value.to_string().replace('"', ""), 70)),
    };
    Some((path, shown(expected), shown(found)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named_by_its_path() {
        let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let of = |a: &str, b: &str| first_difference(String::new(), &value(a), &value(b));
        assert_eq!(of(r#"{"a": 1, "b": [1]}"#, r#"{"a": 1, "b": [1]}"#), None);
        let told = |path: &str, a: &str, b: &str| Some((path.to_owned(), a.to_owned(), b.to_owned()));
        assert_eq!(of(r#"{"a": {"b": 1}}"#, r#"{"a": {"b": 2}}"#), told("a.b", "`1`", "`2`"));
        assert_eq!(of(r#"{"a": null}"#, r#"{"a": {"b": 2}}"#), told("a", "none", "some"));
        assert_eq!(of("{}", r#"{"c": "x"}"#), told("c", "none", "`x`"));
    }
}
