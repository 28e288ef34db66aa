//! One trial: trains a task with one setting and one seed, scores it, and records what came out. The caller decides on
//! how many threads it runs; the bytes are the same.

use serde::{Deserialize, Serialize};

use super::CompareError;
use super::grid::Trial;
use super::task::{CompareTask, OpenTask, RowAnswers};
use crate::adapter::{Adapter, ParameterList};
use crate::data::{LabelledRows, Targets, TaskKind};
use crate::eval::{EvalError, answer};
use crate::graft::{GraftError, GraftOptions, Grafted, graft};
use crate::metrics::{Metric, Scores};
use crate::model::Model;
use crate::predict::PredictError;
use crate::train::{Ending, TrainError, TrainObserver};

/// The content of `trials/<id>.json`: everything that a comparison keeps of a trial.
pub type TrialRecord = FinishedTrial<SplitRecord>;

/// One finished trial without its answers, as it stands in `results.json`: of each split its score.
pub type TrialSummary = FinishedTrial<f64>;

/// What came of a trial; `S` is what is kept of each split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FinishedTrial<S> {
    /// See [`Trial::id`].
    pub id: String,
    /// What was run.
    #[serde(flatten)]
    pub trial: Trial,
    /// Why it ended. Where nothing but divergence came out, there are no scores.
    pub ending: Ending,
    /// On the dev rows.
    pub dev: Option<S>,
    /// On the test rows, if they are labelled.
    pub test: Option<S>,
    /// How many numbers were trained.
    pub trained_parameters: usize,
    /// The same as a share of the base's numbers.
    pub share_of_base: f64,
    /// Steps done; absent where the run diverged before its first evaluation.
    pub steps: Option<u64>,
    /// Steps after which the best evaluation came.
    pub best_step: Option<u64>,
    /// Bytes of the adapter's folder, without the card for people.
    pub adapter_bytes: Option<u64>,
    /// SHA-256 of the adapter's numbers as a file.
    pub weights_sha256: Option<String>,
    /// Time that the trial took, by the caller's clock.
    pub seconds: f64,
}

impl TrialRecord {
    /// The same without the answers; a split whose score is not defined is absent.
    pub fn summary(&self) -> TrialSummary {
        let score = |split: &Option<SplitRecord>| split.as_ref().and_then(|split| split.score);
        TrialSummary {
            id: self.id.clone(),
            trial: self.trial.clone(),
            ending: self.ending,
            dev: score(&self.dev),
            test: score(&self.test),
            trained_parameters: self.trained_parameters,
            share_of_base: self.share_of_base,
            steps: self.steps,
            best_step: self.best_step,
            adapter_bytes: self.adapter_bytes,
            weights_sha256: self.weights_sha256.clone(),
            seconds: self.seconds,
        }
    }
}

/// What a trial answered on some rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SplitRecord {
    /// The task's metric; absent where it is not defined.
    pub score: Option<f64>,
    /// All scores.
    pub scores: Scores,
    /// The answer to each row.
    pub answers: RowAnswers,
}

/// What a trial gave.
#[derive(Debug)]
pub enum TrialEnd {
    /// A record, without the time, and the adapter unless the run diverged before its first evaluation.
    Finished(Box<TrialRecord>, Option<Box<Adapter>>),
    /// The observer ended it; nothing of it is kept.
    Interrupted,
}

/// Runs one trial of a task; of `template` everything is taken that the trial does not say.
/// # Errors
/// If the files have changed or cannot be read any more, or an option is out of range. Divergence is no error.
pub fn run_trial(
    model: &Model,
    task: &CompareTask,
    (trial, template): (&Trial, &GraftOptions),
    observer: &mut dyn TrainObserver,
) -> Result<TrialEnd, CompareError> {
    let metric = task.plan.metric;
    let mut options = GraftOptions { metric: Some(metric), ..trial.setting.options(template) };
    options.train.seed = trial.seed;
    let files = task.reopen()?;
    let failed = |source: crate::Error| CompareError::Trial { id: trial.id(), source: Box::new(source) };
    let grafted = match graft(model, &files.train, &files.dev, &options, observer) {
        Err(GraftError::Train(TrainError::Interrupted { .. })) => return Ok(TrialEnd::Interrupted),
        Err(GraftError::Train(TrainError::Diverged { .. })) => {
            return Ok(diverged(model, task, (trial, &options)));
        }
        grafted => grafted.map_err(|error| failed(error.into()))?,
    };
    if grafted.ending == Ending::Interrupted {
        return Ok(TrialEnd::Interrupted);
    }
    let test = match test_record(model, &grafted.adapter, &files, metric) {
        // The dev rows had numbers for answers: weights at the edge of what a float holds.
        Err(EvalError::Row { error, .. }) if matches!(*error, PredictError::NotANumber) => {
            return Ok(diverged(model, task, (trial, &options)));
        }
        test => test.map_err(|error| failed(error.into()))?,
    };
    Ok(finished(trial, grafted, (test, files.dev.targets()), metric))
}

fn finished(
    trial: &Trial,
    grafted: Grafted,
    (test, dev): (Option<SplitRecord>, &Targets),
    metric: Metric,
) -> TrialEnd {
    let Grafted { adapter, training, review, ending, steps, .. } = grafted;
    let manifest = adapter.manifest();
    let scores = training.dev_scores;
    let answers = RowAnswers::of(review.answers, dev);
    let record = TrialRecord {
        id: trial.id(),
        trial: trial.clone(),
        ending,
        dev: Some(SplitRecord { score: defined(&scores, metric), scores, answers }),
        test,
        trained_parameters: manifest.trained_parameters,
        share_of_base: manifest.trained_parameters as f64 / manifest.base.parameters as f64,
        steps: Some(steps),
        best_step: Some(training.best_step),
        adapter_bytes: Some(adapter.folder_bytes()),
        weights_sha256: Some(manifest.weights_sha256.clone()),
        seconds: 0.0,
    };
    TrialEnd::Finished(Box::new(record), Some(Box::new(adapter)))
}

/// The record of a run that never came to an evaluation.
fn diverged(model: &Model, task: &CompareTask, (trial, options): (&Trial, &GraftOptions)) -> TrialEnd {
    let outputs = match task.plan.kind {
        TaskKind::QuestionAnswering => 2,
        _ => task.targets.classes.max(1),
    };
    let config = options.config(outputs);
    let trained_parameters = ParameterList::new(&config, &model.encoder().config).len();
    let record = TrialRecord {
        id: trial.id(),
        trial: trial.clone(),
        ending: Ending::Diverged,
        dev: None,
        test: None,
        trained_parameters,
        share_of_base: trained_parameters as f64 / model.encoder().parameter_count() as f64,
        steps: None,
        best_step: None,
        adapter_bytes: None,
        weights_sha256: None,
        seconds: 0.0,
    };
    TrialEnd::Finished(Box::new(record), None)
}

fn test_record(
    model: &Model,
    adapter: &Adapter,
    files: &OpenTask,
    metric: Metric,
) -> Result<Option<SplitRecord>, EvalError> {
    let Some(test) = &files.test else { return Ok(None) };
    let answers = answer(model, adapter, test)?;
    let scores = answers.scores(&adapter.manifest().task, test.targets())?.without_confusion();
    Ok(Some(SplitRecord {
        score: defined(&scores, metric),
        scores,
        answers: RowAnswers::of(answers, test.targets()),
    }))
}

fn defined(scores: &Scores, metric: Metric) -> Option<f64> {
    scores.get(metric).ok().flatten()
}
