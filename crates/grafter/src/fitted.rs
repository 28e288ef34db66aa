//! What is fitted on the dev rows when a run is over: a temperature, or the thresholds of several labels.

use crate::adapter::TaskParameters;
use crate::calibration::{Calibration, EachRow};
use crate::data::{Question, Targets};
use crate::encoded::EncodedRows;
use crate::encoder::Encoder;
use crate::metrics::{BestSpan, best_no_answer_threshold, overlap};
use crate::predict::batch_logits;
use crate::question_answering::SpanAnswer;
use crate::review::{Reviewer, Seen};
use crate::store::{Budget, Store, StoreError};
use crate::thresholds;

/// What was fitted, if anything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fitted {
    pub calibration: Option<Calibration>,
    pub thresholds: Option<Vec<f64>>,
    /// The answers to the dev rows with what was fitted.
    pub seen: Option<Seen>,
}

impl Fitted {
    /// Fits what fits the dev rows' targets to the answers of a task. `follow` is told how many rows are done; it cannot end the
    /// work, which is a part of the run that its caller keeps.
    pub(crate) fn fit(
        (encoder, task): (&Encoder, &TaskParameters),
        dev: &EncodedRows,
        budget: &Budget,
        follow: impl FnMut(usize),
    ) -> Result<Self, StoreError> {
        let logits = Logits::compute((encoder, task), dev, budget, follow)?;
        let mut fitted = Self::default();
        match dev.targets() {
            Targets::Classes(classes) => {
                let calibration = Calibration::fit(&logits, classes)?;
                let reviewer = Reviewer::new(dev.targets(), None).with_temperature(calibration.temperature);
                fitted.seen = Some(review(&logits, dev, reviewer)?);
                fitted.calibration = Some(calibration);
            }
            Targets::Sets(sets) => {
                let thresholds = thresholds::fit(&logits, logits.outputs, sets)?;
                let reviewer = Reviewer::new(dev.targets(), None).with_thresholds(thresholds.clone());
                fitted.seen = Some(review(&logits, dev, reviewer)?);
                fitted.thresholds = Some(thresholds);
            }
            Targets::Answers(questions, true) => {
                let spans = logits.best_spans(dev, questions)?;
                if let Ok(best) = best_no_answer_threshold(spans) {
                    let threshold = vec![best.middle()];
                    let reviewer = Reviewer::new(dev.targets(), None).with_thresholds(threshold.clone());
                    fitted.seen = Some(review(&logits, dev, reviewer)?);
                    fitted.thresholds = Some(threshold);
                }
            }
            Targets::Scores(_)
            | Targets::Entities(..)
            | Targets::Tags(..)
            | Targets::Choices(_)
            | Targets::Answers(_, false) => {}
        }
        Ok(fitted)
    }
}

fn review(logits: &Logits, dev: &EncodedRows, mut reviewer: Reviewer<'_>) -> Result<Seen, StoreError> {
    let mut failed = None;
    logits.each(&mut |row, logits| match dev.candidates(row) {
        Ok(candidates) => reviewer.push(logits, &candidates),
        Err(error) => failed = Some(error),
    })?;
    failed.map_or(Ok(reviewer.finish()), Err)
}

/// The logits of the dev rows, of which those that memory has no room for lie in a temporary file.
struct Logits {
    outputs: usize,
    /// Where those of each row end.
    ends: Vec<usize>,
    store: Store,
}

impl Logits {
    fn compute(
        (encoder, task): (&Encoder, &TaskParameters),
        dev: &EncodedRows,
        budget: &Budget,
        mut follow: impl FnMut(usize),
    ) -> Result<Self, StoreError> {
        let mut store = Store::new(budget);
        let mut ends = Vec::with_capacity(dev.len());
        for rows in dev.groups() {
            let (batch, done) = (dev.batch(rows.clone())?, rows.end);
            let tasks = vec![task; batch.sequences()];
            let logits = dev.by_row(rows, batch_logits(encoder, &batch, &tasks));
            for logits in &logits {
                ends.push(ends.last().copied().unwrap_or(0) + logits.len());
            }
            store.append(logits.iter().flatten().map(|logit| logit.to_bits()))?;
            if done < dev.len() {
                follow(done);
            }
        }
        Ok(Self { outputs: task.layout().config().outputs, ends, store })
    }

    /// What decides between an answer and none, of each question.
    fn best_spans(&self, dev: &EncodedRows, questions: &[Question]) -> Result<Vec<BestSpan>, StoreError> {
        let mut spans = Vec::with_capacity(questions.len());
        for (row, (question, logits)) in questions.iter().zip(self.rows()).enumerate() {
            let answer = SpanAnswer::read(&logits?, &dev.candidates(row)?);
            let right: Vec<&str> = question.right().collect();
            spans.push(BestSpan {
                difference: answer.difference(),
                f1: overlap(answer.text(&question.context, None), &right),
                answerable: !right.is_empty(),
            });
        }
        Ok(spans)
    }

    /// The logits of each row.
    fn rows(&self) -> impl Iterator<Item = Result<Vec<f32>, StoreError>> + '_ {
        let begins = std::iter::once(&0).chain(&self.ends);
        begins.zip(&self.ends).map(|(begin, end)| {
            let words = self.store.read(*begin..*end)?;
            Ok(words.map(f32::from_bits).collect())
        })
    }
}

impl EachRow for Logits {
    type Error = StoreError;

    fn each(&self, visit: &mut dyn FnMut(usize, &[f32])) -> Result<(), StoreError> {
        for (row, logits) in self.rows().enumerate() {
            visit(row, &logits?);
        }
        Ok(())
    }
}
