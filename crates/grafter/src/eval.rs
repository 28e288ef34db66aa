//! Scores of a task's answers against the labels of a file.

use thiserror::Error;

use crate::adapter::{Adapter, TaskRecord};
use crate::data::{Dataset, Targets};
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

/// Scores of an adapter on labelled rows.
/// # Errors
/// If the rows are of another task, cannot be answered, or there are none.
pub fn evaluate(model: &Model, adapter: &Adapter, data: &Dataset) -> Result<Scores, EvalError> {
    if adapter.manifest().task.spec().ok().as_ref() != Some(&data.task) {
        return Err(EvalError::OtherTask { file: data.file.to_string() });
    }
    let logits = row_logits(model, adapter, &data.rows)?;
    Ok(scores_of(&adapter.manifest().task, &data.targets, &logits)?)
}

/// Scores of logits against targets.
/// # Errors
/// If they differ in number or there are none.
pub fn scores_of(task: &TaskRecord, targets: &Targets, logits: &[Vec<f32>]) -> Result<Scores, MetricError> {
    match targets {
        Targets::Classes(classes) => {
            let answers: Vec<usize> = logits.iter().map(|logits| best_class(logits)).collect();
            ClassificationScores::compute(classes, &answers, task.labels.len()).map(Scores::Classification)
        }
        Targets::Scores(scores) => {
            let restore = |output: f32| task.scores.map_or(output, |scale| scale.restore(output));
            let answers: Vec<f32> = logits.iter().map(|logits| restore(logits[0])).collect();
            RegressionScores::compute(scores, &answers).map(Scores::Regression)
        }
    }
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
