//! Scores of a task's answers against the labels of a file.

use thiserror::Error;

use crate::adapter::{Adapter, TaskRecord};
use crate::data::{Dataset, Row, Targets};
use crate::metrics::{
    ClassificationScores, MetricError, RegressionScores, Scores, majority_baseline, mean_baseline,
};
use crate::model::Model;
use crate::predict::{PredictError, best_class, row_logits};

/// Why a file could not be evaluated.
#[derive(Debug, Error)]
pub enum EvalError {
    /// The rows could not be answered.
    #[error(transparent)]
    Predict(#[from] PredictError),
    /// The rows were not read as examples of the adapter's task.
    #[error("`{file}` was not read for the adapter's task")]
    OtherTask {
        /// Name of the data.
        file: String,
    },
    /// The answers could not be scored.
    #[error(transparent)]
    Metric(#[from] MetricError),
}

/// Rows whose tokens and logits are in memory together. Of the others only the answers are: with 10,000 labels the logits
/// of a row take 40 kB.
const BLOCK_ROWS: usize = 1024;

/// Scores of an adapter on labelled rows.
/// # Errors
/// If the rows are of another task, cannot be answered, or there are none.
pub fn evaluate(model: &Model, adapter: &Adapter, data: &Dataset) -> Result<Scores, EvalError> {
    let task = &adapter.manifest().task;
    if task.spec().ok().as_ref() != Some(&data.task) {
        return Err(EvalError::OtherTask { file: data.file.to_string() });
    }
    adapter.check_model(model).map_err(PredictError::from)?;
    Ok(match &data.targets {
        Targets::Classes(classes) => {
            let answers = answers(model, adapter, &data.rows, best_class)?;
            class_scores(task, classes, &answers)?
        }
        Targets::Scores(scores) => {
            let answers = answers(model, adapter, &data.rows, |logits| score(task, logits))?;
            RegressionScores::compute(scores, &answers).map(Scores::Regression)?
        }
    })
}

/// What `read` makes of the logits of each row, in the order of the rows.
fn answers<T>(
    model: &Model,
    adapter: &Adapter,
    rows: &[Row],
    read: impl Fn(&[f32]) -> T,
) -> Result<Vec<T>, PredictError> {
    let mut answers = Vec::with_capacity(rows.len());
    for block in rows.chunks(BLOCK_ROWS) {
        answers.extend(row_logits(model, adapter, block)?.iter().map(|logits| read(logits)));
    }
    Ok(answers)
}

/// Scores of logits against targets.
/// # Errors
/// If they differ in number or there are none.
pub fn scores_of(task: &TaskRecord, targets: &Targets, logits: &[Vec<f32>]) -> Result<Scores, MetricError> {
    match targets {
        Targets::Classes(classes) => {
            let answers: Vec<usize> = logits.iter().map(|logits| best_class(logits)).collect();
            class_scores(task, classes, &answers)
        }
        Targets::Scores(scores) => {
            let answers: Vec<f32> = logits.iter().map(|logits| score(task, logits)).collect();
            RegressionScores::compute(scores, &answers).map(Scores::Regression)
        }
    }
}

fn class_scores(task: &TaskRecord, targets: &[usize], answers: &[usize]) -> Result<Scores, MetricError> {
    ClassificationScores::compute(targets, answers, task.labels.len()).map(Scores::Classification)
}

/// The answer of a regression, in the unit of the training scores.
fn score(task: &TaskRecord, logits: &[f32]) -> f32 {
    task.scores.map_or(logits[0], |scale| scale.restore(logits[0]))
}

/// Scores of always giving the most frequent training label, or the mean training score.
/// # Errors
/// If there are no targets.
pub fn baseline(task: &TaskRecord, train: &Targets, eval: &Targets) -> Result<Scores, MetricError> {
    match (train, eval) {
        (Targets::Classes(train), Targets::Classes(eval)) => {
            majority_baseline(train, eval, task.labels.len()).map(Scores::Classification)
        }
        (Targets::Scores(train), Targets::Scores(eval)) => mean_baseline(train, eval).map(Scores::Regression),
        _ => Err(MetricError::LengthMismatch { expected: eval.len(), found: 0 }),
    }
}
