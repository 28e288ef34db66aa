//! What an earlier process did of a sequence, so that it can go on.
//!
//! Its tasks are in the bank, and what they scored is in the report's numbers. Both have to be of the same list, the same
//! rows and the same flags: a matrix that mixes two sequences would tell of forgetting where there was none.

use std::io;

use grafter::adapter::Manifest;
use grafter::bank::Bank;
use grafter::data::LabelledRows;
use grafter::forgetting::ForgettingMatrix;
use grafter::graft::GraftOptions;
use grafter::train::Ending;

use super::super::super::output::beside;
use super::list::Task;
use super::{NUMBERS_END, TUNED_METHOD, kept_method};
use crate::failure::Failure;

/// What was done.
#[derive(Default)]
pub struct Earlier {
    /// How many of the list's first tasks are in the bank.
    pub tasks: usize,
    /// What they scored, the last perhaps not yet.
    pub kept: Option<ForgettingMatrix>,
    /// What fine-tuning scored, if that is done too.
    pub tuned: Option<ForgettingMatrix>,
}

impl Earlier {
    /// Nothing: the sequence begins.
    /// # Errors
    /// If the bank's report is of a sequence whose tasks the bank still has: its numbers would be lost.
    pub fn none(bank: &Bank, tasks: &[Task]) -> Result<Self, Failure> {
        // What cannot be read is no report.
        let Ok(Some(matrices)) = read(bank) else { return Ok(Self::default()) };
        for scored in matrices.iter().flat_map(|matrix| &matrix.tasks) {
            let listed = tasks.iter().any(|task| task.name.as_str() == scored.name);
            let there =
                scored.name.parse().is_ok_and(|name| bank.find_task(&name).is_ok_and(|task| task.is_some()));
            if there && !listed {
                let message = format!(
                    "`{}` is the report of another sequence, which trained `{}`",
                    beside(bank.path(), NUMBERS_END).display(),
                    scored.name
                );
                let hint = "another sequence begins in a bank of its own, or where that report is elsewhere";
                return Err(Failure::Usage { message, hint: Some(hint.to_owned()) });
            }
        }
        Ok(Self::default())
    }

    /// What the bank and its report tell.
    /// # Errors
    /// If they are not of this list, these rows and these options.
    pub fn read(bank: &Bank, tasks: &[Task], options: &GraftOptions) -> Result<Self, Failure> {
        let mut earlier = Self::default();
        for task in tasks {
            let Some(entry) = bank.find_task(&task.name)? else { break };
            check(task, &bank.manifest(&task.name, &entry.newest().version)?, options)?;
            earlier.tasks += 1;
        }
        for task in &tasks[earlier.tasks..] {
            if bank.find_task(&task.name)?.is_some() {
                return Err(other(format!("the bank has `{}`, but not the task before it", task.name)));
            }
        }
        let file = beside(bank.path(), NUMBERS_END);
        for matrix in read(bank)?.unwrap_or_default() {
            let listed = tasks.iter().map(Task::described);
            if !matrix.is_whole() || !matrix.tasks.iter().cloned().eq(listed.take(matrix.tasks.len())) {
                return Err(other(format!("`{}` is of other tasks, or of other rows", file.display())));
            }
            if matrix.method == kept_method(options.method) {
                earlier.kept = Some(matrix);
            } else if matrix.method == TUNED_METHOD && matrix.tasks.len() == tasks.len() {
                earlier.tuned = Some(matrix);
            }
        }
        let scored = earlier.kept.as_ref().map_or(0, |matrix| matrix.tasks.len());
        match earlier.tasks.checked_sub(scored) {
            Some(0 | 1) => Ok(earlier),
            Some(missing) => {
                Err(other(format!("`{}` lacks the scores of {missing} of the bank's tasks", file.display())))
            }
            None => {
                Err(other(format!("`{}` has scores of tasks that the bank does not have", file.display())))
            }
        }
    }
}

/// Checks that a task of the bank is what this sequence would have trained, as far as its manifest tells.
fn check(task: &Task, manifest: &Manifest, options: &GraftOptions) -> Result<(), Failure> {
    let rows = |rows: &dyn LabelledRows| rows.targets().len();
    let expected = (rows(&task.train.1), rows(&task.dev.1));
    let training = manifest.training.as_ref();
    let same_rows = manifest.task.spec().is_ok_and(|spec| spec == *task.train.1.task())
        && training.is_some_and(|training| (training.train_rows, training.dev_rows) == expected);
    let what = if !options.gave(manifest) {
        "was trained otherwise"
    } else if !same_rows {
        "was trained on other rows"
    } else if training.is_some_and(|training| training.ending == Ending::Interrupted) {
        "was not trained to the end"
    } else {
        return Ok(());
    };
    Err(other(format!("the bank's task `{}` {what}", task.name)))
}

/// The numbers of the bank's report, if there is one.
fn read(bank: &Bank) -> Result<Option<Vec<ForgettingMatrix>>, Failure> {
    let path = beside(bank.path(), NUMBERS_END);
    match std::fs::read(&path) {
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(matrices) => Ok(Some(matrices)),
            Err(error) => Err(other(format!("`{}` holds no scores: {error}", path.display()))),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Failure::Read { path, source }),
    }
}

/// A sequence that cannot be continued.
fn other(message: String) -> Failure {
    let hint = "`--continue` goes on with the same list, rows and flags; another sequence begins in a bank of its own";
    Failure::Usage { message, hint: Some(hint.to_owned()) }
}
