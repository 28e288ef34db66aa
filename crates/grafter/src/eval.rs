//! Scores of a task's answers against the labels of a file.

use std::ops::Range;
use std::sync::Arc;

use thiserror::Error;

use crate::adapter::{Adapter, ScoreScale, TaskRecord};
use crate::batch::TokenIds;
use crate::calibration::CalibrationBins;
use crate::data::{DataError, LabelledRows, Question, Targets, blocks};
use crate::entities::OUTSIDE_TAG;
use crate::metrics::{
    AnswerScores, AnswerTally, ChoiceScores, ClassificationScores, EntityScores, MetricError,
    MultiLabelScores, RegressionScores, Scores, check_lengths, frequent_baseline, frequent_tag_baseline,
    majority_baseline, mean_baseline, word_scores,
};
use crate::model::Model;
use crate::predict::{PredictError, answered, best_class, candidates, probable_labels};
use crate::question_answering::{DEFAULT_NO_ANSWER_THRESHOLD, SpanAnswer};

/// Why a file could not be evaluated.
#[derive(Debug, Error)]
pub enum EvalError {
    /// The adapter does not belong to the model.
    #[error(transparent)]
    Predict(#[from] PredictError),
    /// A row could not be answered.
    #[error("{file}:{line}: {error}")]
    Row {
        /// Name of the data.
        file: Arc<str>,
        /// Where the row begins.
        line: u64,
        /// Why.
        error: Box<PredictError>,
    },
    /// The rows could not be read.
    #[error(transparent)]
    Data(#[from] DataError),
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

/// What the metrics need of the logits of some rows, in the order of the rows. The logits need not be kept: with 10,000
/// labels those of a row take 16 kB.
#[derive(Clone, Debug, PartialEq)]
pub enum Answers {
    /// The class of the largest logit.
    Classes(Vec<usize>),
    /// The labels that are probable enough, in ascending order; how probable that is for each, or one half.
    Sets(Vec<Vec<usize>>, Option<Vec<f64>>),
    /// Scores in their own unit, which the scale gives back.
    Scores(Vec<f32>, Option<ScoreScale>),
    /// The tag with the largest logit of each word that the head read, which mark entities; how many tags there are.
    Entities(Vec<Vec<usize>>, usize),
    /// The same of tags that mark none.
    Tags(Vec<Vec<usize>>, usize),
    /// The choice with the largest logit.
    Choices(Vec<usize>),
    /// The best part of each context, and from which difference on no answer is given, if ever.
    Spans(Vec<SpanAnswer>, Option<f64>),
}

impl Answers {
    /// No answers yet, of the kind that some targets are.
    pub fn to(targets: &Targets, scale: Option<ScoreScale>) -> Self {
        match targets {
            Targets::Classes(_) => Self::Classes(Vec::new()),
            Targets::Sets(_) => Self::Sets(Vec::new(), None),
            Targets::Scores(_) => Self::Scores(Vec::new(), scale),
            Targets::Entities(_, tags) => Self::Entities(Vec::new(), *tags),
            Targets::Tags(_, tags) => Self::Tags(Vec::new(), *tags),
            Targets::Choices(_) => Self::Choices(Vec::new()),
            Targets::Answers(_, some_lack) => {
                Self::Spans(Vec::new(), some_lack.then_some(DEFAULT_NO_ANSWER_THRESHOLD))
            }
        }
    }

    /// The same with other thresholds; they mean something for sets of labels, and for questions that may have no answer.
    #[must_use]
    pub fn with_thresholds(self, thresholds: Option<Vec<f64>>) -> Self {
        match self {
            Self::Sets(sets, _) => Self::Sets(sets, thresholds),
            Self::Spans(spans, Some(before)) => {
                Self::Spans(spans, Some(thresholds.and_then(|of| of.first().copied()).unwrap_or(before)))
            }
            others => others,
        }
    }

    /// Adds the answer of one row; of a question the candidates are what each two logits are of.
    pub fn push(&mut self, logits: &[f32], candidates: &[Range<usize>]) {
        match self {
            Self::Classes(classes) | Self::Choices(classes) => classes.push(best_class(logits)),
            Self::Spans(spans, _) => spans.push(SpanAnswer::read(logits, candidates)),
            Self::Sets(sets, thresholds) => sets.push(probable_labels(logits, thresholds.as_deref())),
            Self::Entities(rows, tags) | Self::Tags(rows, tags) => {
                rows.push(logits.chunks_exact(*tags).map(best_class).collect());
            }
            Self::Scores(scores, scale) => {
                scores.push(scale.map_or(logits[0], |scale| scale.restore(logits[0])));
            }
        }
    }

    /// Scores of the answers of a task against targets.
    /// # Errors
    /// If they differ in number or kind, or there are none.
    pub fn scores(&self, task: &TaskRecord, targets: &Targets) -> Result<Scores, MetricError> {
        match (targets, self) {
            (Targets::Classes(targets), Self::Classes(answers)) => {
                ClassificationScores::compute(targets, answers, task.labels.len()).map(Scores::Classification)
            }
            (Targets::Sets(targets), Self::Sets(answers, _)) => {
                MultiLabelScores::compute(targets, answers, task.labels.len()).map(Scores::MultiLabel)
            }
            (Targets::Scores(targets), Self::Scores(answers, _)) => {
                RegressionScores::compute(targets, answers).map(Scores::Regression)
            }
            (Targets::Entities(targets, tags), Self::Entities(answers, _)) => {
                EntityScores::compute(targets, answers, *tags).map(Scores::Entities)
            }
            (Targets::Tags(targets, tags), Self::Tags(answers, _)) if targets.len() == answers.len() => {
                word_scores(targets.iter().zip(answers), *tags).map(Scores::Tags)
            }
            (Targets::Choices(targets), Self::Choices(answers)) => {
                ChoiceScores::compute(targets, answers).map(Scores::Choices)
            }
            (Targets::Answers(questions, _), Self::Spans(spans, no_answer)) => {
                answer_scores(questions, spans.iter().map(|span| (span, *no_answer))).map(Scores::Answers)
            }
            _ => Err(MetricError::LengthMismatch { expected: targets.len(), found: 0 }),
        }
    }
}

/// Scores of the answers to questions, each with the difference from which on none is given.
fn answer_scores<'a>(
    questions: &[Question],
    answers: impl ExactSizeIterator<Item = (&'a SpanAnswer, Option<f64>)>,
) -> Result<AnswerScores, MetricError> {
    check_lengths(questions.len(), answers.len())?;
    let mut tally = AnswerTally::default();
    for (question, (span, no_answer)) in questions.iter().zip(answers) {
        let right: Vec<&str> = question.right().collect();
        tally.add(span.text(&question.context, no_answer), &right);
    }
    tally.scores()
}

/// What an adapter is worth on labelled rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The scores of its answers.
    pub scores: Scores,
    /// Rows of which the longest length cut something off.
    pub truncated: usize,
}

/// Scores of an adapter on labelled rows, of which a block is in memory at a time.
/// # Errors
/// If the rows are of another task, cannot be read or answered, or there are none.
pub fn evaluate(model: &Model, adapter: &Adapter, data: &dyn LabelledRows) -> Result<Scores, EvalError> {
    Ok(evaluation(model, adapter, data)?.scores)
}

/// [`evaluate`], with what was cut.
/// # Errors
/// As of [`evaluate`].
pub fn evaluation(
    model: &Model,
    adapter: &Adapter,
    data: &dyn LabelledRows,
) -> Result<Evaluation, EvalError> {
    let (mut answers, mut bins) = (answers_of(adapter, data.targets()), None);
    let mut truncated = 0;
    each_row(model, adapter, data, &mut |row, logits, sequences| {
        answers.push(logits, &candidates(sequences));
        truncated += usize::from(sequences.iter().any(|sequence| sequence.truncated));
        if let Targets::Classes(classes) = data.targets() {
            let bins = bins.get_or_insert_with(CalibrationBins::default);
            bins.push(logits, adapter.temperature(), classes[row]);
        }
    })?;
    let mut scores = answers.scores(&adapter.manifest().task, data.targets())?;
    if let Scores::Classification(scores) = &mut scores {
        scores.expected_calibration_error = bins.map(|bins| bins.error());
    }
    Ok(Evaluation { scores, truncated })
}

/// The answers of an adapter to labelled rows, in their order; a block of rows is in memory at a time.
/// # Errors
/// If the rows are of another task, or cannot be read or answered.
pub fn answer(model: &Model, adapter: &Adapter, data: &dyn LabelledRows) -> Result<Answers, EvalError> {
    let mut answers = answers_of(adapter, data.targets());
    each_row(model, adapter, data, &mut |_, logits, sequences| answers.push(logits, &candidates(sequences)))?;
    Ok(answers)
}

/// No answers yet, of the kind that some targets are.
fn answers_of(adapter: &Adapter, targets: &Targets) -> Answers {
    let manifest = adapter.manifest();
    Answers::to(targets, manifest.task.scores).with_thresholds(manifest.thresholds.clone())
}

/// Is given a row's number, its logits, and its sequences as tokens.
type Visit<'a> = dyn FnMut(usize, &[f32], &[TokenIds]) + 'a;

/// Gives the logits of each row, with its number and its tokens, in the order of the rows.
fn each_row(
    model: &Model,
    adapter: &Adapter,
    data: &dyn LabelledRows,
    visit: &mut Visit<'_>,
) -> Result<(), EvalError> {
    let task = &adapter.manifest().task;
    if task.spec().ok().as_ref() != Some(data.task()) {
        return Err(EvalError::OtherTask { file: data.file().to_string() });
    }
    adapter.check_model(model).map_err(PredictError::from)?;
    let mut row = 0;
    for block in blocks(data.read()?) {
        let answered = answered(model, adapter, &block?).map_err(|error| match error {
            PredictError::Row { line, error } => EvalError::Row { file: data.file().clone(), line, error },
            error => error.into(),
        })?;
        for (sequences, logits) in &answered {
            visit(row, logits, sequences);
            row += 1;
        }
    }
    Ok(())
}

/// Scores of always giving the most frequent training label or tag, the labels that half of the training rows have, the mean
/// training score, no entity, the choice in the most frequent place, or no answer.
/// # Errors
/// If there are no targets.
pub fn baseline(task: &TaskRecord, train: &Targets, eval: &Targets) -> Result<Scores, MetricError> {
    match (train, eval) {
        (Targets::Classes(train), Targets::Classes(eval)) => {
            majority_baseline(train, eval, task.labels.len()).map(Scores::Classification)
        }
        (Targets::Sets(train), Targets::Sets(eval)) => {
            frequent_baseline(train, eval, task.labels.len()).map(Scores::MultiLabel)
        }
        (Targets::Scores(train), Targets::Scores(eval)) => mean_baseline(train, eval).map(Scores::Regression),
        (Targets::Entities(..), Targets::Entities(eval, tags)) => {
            let none: Vec<Vec<usize>> = eval.iter().map(|row| vec![OUTSIDE_TAG; row.len()]).collect();
            EntityScores::compute(eval, &none, *tags).map(Scores::Entities)
        }
        (Targets::Tags(train, _), Targets::Tags(eval, tags)) => {
            frequent_tag_baseline(train, eval, *tags).map(Scores::Tags)
        }
        (Targets::Choices(train), Targets::Choices(eval)) => {
            ChoiceScores::baseline(train, eval).map(Scores::Choices)
        }
        (Targets::Answers(..), Targets::Answers(eval, _)) => {
            let none = SpanAnswer::default();
            answer_scores(eval, eval.iter().map(|_| (&none, None))).map(Scores::Answers)
        }
        _ => Err(MetricError::LengthMismatch { expected: eval.len(), found: 0 }),
    }
}
