//! What is fitted on the dev rows when a run is over: a temperature, or the thresholds of several labels.

use crate::adapter::TaskParameters;
use crate::calibration::{Calibration, EachRow};
use crate::data::Targets;
use crate::encoded::EncodedRows;
use crate::encoder::Encoder;
use crate::predict::batch_logits;
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
                fitted.seen = Some(review(&logits, reviewer)?);
                fitted.calibration = Some(calibration);
            }
            Targets::Sets(sets) => {
                let thresholds = thresholds::fit(&logits, logits.outputs, sets)?;
                let reviewer = Reviewer::new(dev.targets(), None).with_thresholds(thresholds.clone());
                fitted.seen = Some(review(&logits, reviewer)?);
                fitted.thresholds = Some(thresholds);
            }
            Targets::Scores(_) | Targets::Entities(..) | Targets::Tags(..) => {}
        }
        Ok(fitted)
    }
}

fn review(logits: &Logits, mut reviewer: Reviewer<'_>) -> Result<Seen, StoreError> {
    logits.each(&mut |_, logits| reviewer.push(logits))?;
    Ok(reviewer.finish())
}

/// The logits of the dev rows, of which those that memory has no room for lie in a temporary file.
struct Logits {
    outputs: usize,
    rows: usize,
    store: Store,
}

/// How many numbers are read at a time.
const READ_NUMBERS: usize = 1 << 16;

impl Logits {
    fn compute(
        (encoder, task): (&Encoder, &TaskParameters),
        dev: &EncodedRows,
        budget: &Budget,
        mut follow: impl FnMut(usize),
    ) -> Result<Self, StoreError> {
        let mut store = Store::new(budget);
        for rows in dev.groups() {
            let (tasks, done) = (vec![task; rows.len()], rows.end);
            let logits = batch_logits(encoder, &dev.batch(rows)?, &tasks);
            store.append(logits.iter().flatten().map(|logit| logit.to_bits()))?;
            if done < dev.len() {
                follow(done);
            }
        }
        Ok(Self { outputs: task.layout().config().outputs, rows: dev.len(), store })
    }
}

impl EachRow for Logits {
    type Error = StoreError;

    fn each(&self, visit: &mut dyn FnMut(usize, &[f32])) -> Result<(), StoreError> {
        let at_once = (READ_NUMBERS / self.outputs).max(1);
        for first in (0..self.rows).step_by(at_once) {
            let rows = first..(first + at_once).min(self.rows);
            let words = self.store.read(rows.start * self.outputs..rows.end * self.outputs)?;
            let logits: Vec<f32> = words.map(f32::from_bits).collect();
            rows.zip(logits.chunks_exact(self.outputs)).for_each(|(row, logits)| visit(row, logits));
        }
        Ok(())
    }
}
