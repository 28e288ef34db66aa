//! The loop of a run: a step, an evaluation, a checkpoint, the next step. What it changes is the [`TrainState`] and nothing else.

use std::ops::Range;

use super::checkpoint::{Saved, SavedBest};
use super::{
    Best, Ending, EvaluationReport, StepReport, TrainData, TrainError, TrainObserver, TrainOptions,
    TrainState,
};
use crate::adapter::TaskParameters;
use crate::encoder::{Encoder, EncoderDropout};
use crate::gradient::{GradientEngine, Target, loss_of};
use crate::head;
use crate::optim::{LinearSchedule, clipping, norm};
use crate::predict::{are_numbers, batch_logits};
use crate::prefix::{Constant, Prefix};
use crate::review::{Reviewer, Seen};
use crate::store::StoreError;

/// What stays the same from step to step, and the buffers.
pub(super) struct Run<'a> {
    pub encoder: &'a Encoder,
    pub options: &'a TrainOptions,
    pub data: &'a TrainData<'a>,
    pub schedule: LinearSchedule,
    pub prefix: Option<Prefix>,
    /// Training rows that stand in `prefix` before the dev rows: all or none.
    pub kept_train: usize,
    pub engine: GradientEngine,
    /// The newest checkpoint of this state: steps done, and whether an evaluation is due.
    pub checkpoint: Option<(u64, bool)>,
}

impl Run<'_> {
    /// The whole state again from what was kept of it: the best parameters answer the dev rows once more.
    pub fn resume(
        &mut self,
        saved: Saved,
        observer: &mut dyn TrainObserver,
    ) -> Result<TrainState, TrainError> {
        let Saved { mut state, best } = saved;
        if let Some(SavedBest { score, loss, step, values }) = best {
            let task = TaskParameters::from_values(state.parameters.layout().clone(), values);
            let seen = match self.look(&task, observer)? {
                Looked::Seen(seen, _) => seen,
                Looked::NotNumbers => return Err(TrainError::Diverged { step, loss: f64::NAN }),
                Looked::Ended => return Err(TrainError::Interrupted { step: state.step }),
            };
            state.best = Some(Best { score, loss, step, values: task.values().to_vec(), seen });
        }
        self.checkpoint = Some((state.step, state.evaluation_due));
        Ok(state)
    }

    pub fn run(
        &mut self,
        state: &mut TrainState,
        observer: &mut dyn TrainObserver,
    ) -> Result<Ending, TrainError> {
        let (options, rows) = (self.options, self.data.train.len());
        let mut order = state.epoch_order(options.seed, rows);
        let mut interrupted = false;
        loop {
            if state.evaluation_due {
                let report = match self.evaluate(state, observer)? {
                    Evaluated::Scored(report) => report,
                    Evaluated::NotNumbers => return diverged_at(state, state.step, f64::NAN),
                    Evaluated::Ended => return self.interrupted_at(state, observer),
                };
                interrupted |= observer.evaluation(&report).is_break();
            }
            if interrupted {
                return self.interrupted_at(state, observer);
            }
            let patience = options.patience.filter(|_| state.best.is_some());
            if patience.is_some_and(|patience| state.evaluations_since_best >= patience) {
                return Ok(Ending::EarlyStopped);
            }
            if state.step == self.schedule.total_steps {
                return Ok(Ending::Completed);
            }
            if self.data.checkpoints.is_some() && state.step > 0 && observer.checkpoint_due(state.step) {
                self.keep(state, observer);
            }
            if state.position == rows {
                state.epoch += 1;
                state.position = 0;
                order = state.epoch_order(options.seed, rows);
            }
            let report = self.step(&order, state, observer)?;
            if !report.loss.is_finite() || !report.grad_norm.is_finite() {
                return diverged_at(state, report.step, report.loss);
            }
            state.history.steps.push(report);
            state.evaluation_due = state.step == self.schedule.total_steps
                || options
                    .eval_every
                    .map_or(state.position == rows, |every| state.step.is_multiple_of(every));
            interrupted = observer.step(&report).is_break();
        }
    }

    /// The end of a run whose observer ended it: with the best evaluation, if there was one. It can be gone on from where it
    /// has checkpoints.
    fn interrupted_at(
        &mut self,
        state: &TrainState,
        observer: &mut dyn TrainObserver,
    ) -> Result<Ending, TrainError> {
        self.keep(state, observer);
        let error = TrainError::Interrupted { step: state.step };
        state.best.is_some().then_some(Ending::Interrupted).ok_or(error)
    }

    /// Writes a checkpoint, unless this state is one already.
    fn keep(&mut self, state: &TrainState, observer: &mut dyn TrainObserver) {
        let kept = (state.step, state.evaluation_due);
        if let Some(checkpoints) = &self.data.checkpoints
            && self.checkpoint != Some(kept)
            && checkpoints.write(state, observer)
        {
            self.checkpoint = Some(kept);
        }
    }

    /// What is kept of some rows, counted as the prefix counts them. If it cannot be read any more, it is computed anew from
    /// here on.
    fn kept(
        &mut self,
        rows: impl Iterator<Item = usize>,
        observer: &mut dyn TrainObserver,
    ) -> Option<Vec<f32>> {
        match self.prefix.as_ref()?.read(rows) {
            Ok(values) => Some(values),
            Err(error) => {
                self.prefix = None;
                observer.not_kept(&error.into());
                None
            }
        }
    }

    fn step(
        &mut self,
        order: &[usize],
        state: &mut TrainState,
        observer: &mut dyn TrainObserver,
    ) -> Result<StepReport, StoreError> {
        let Self { encoder, options, schedule, .. } = *self;
        let rows = self.data.train;
        let end = (state.position + options.batch_size).min(rows.len());
        let picked = &order[state.position..end];
        let targets: Vec<Target<'_>> = picked.iter().flat_map(|row| rows.row_targets(*row)).collect();
        let dropout = match options.dropout {
            false => EncoderDropout::none(),
            true => EncoderDropout::training(&encoder.config, options.seed, state.step),
        };
        let mut batch = rows.batch(picked.iter().copied())?;
        let mut tokens = batch.tokens();
        let kept = if self.kept_train > 0 { self.kept(picked.iter().copied(), observer) } else { None };
        let task = &state.parameters;
        let (loss, gradients) = match Constant::of(task.layout()) {
            Some(constant @ Constant::Pooled(_)) => {
                tokens = if kept.is_some() { 0 } else { tokens };
                let pooled = kept.unwrap_or_else(|| constant.compute(encoder, &batch));
                self.engine.compute_from_pooled(task, &pooled, &targets, &dropout)
            }
            Some(Constant::States(layer)) => {
                if let Some(states) = kept {
                    batch = batch.with_states(layer, states);
                }
                self.engine.compute(encoder, task, &batch, &targets, &dropout)
            }
            None => self.engine.compute(encoder, task, &batch, &targets, &dropout),
        };
        let grad_norm = norm(gradients);
        let learning_rate = schedule.rate(state.step);
        if loss.is_finite() && grad_norm.is_finite() {
            let (layout, values) = state.parameters.split_mut();
            options.optimizer.update(
                layout.list().specs(),
                learning_rate,
                (gradients, clipping(grad_norm, options.max_grad_norm)),
                &mut state.moments,
                values,
            );
        }
        state.position = end;
        state.step += 1;
        Ok(StepReport {
            step: state.step,
            total_steps: schedule.total_steps,
            epoch: state.epoch + 1,
            loss,
            grad_norm,
            learning_rate,
            tokens,
        })
    }

    /// Scores the current parameters.
    fn evaluate(
        &mut self,
        state: &mut TrainState,
        observer: &mut dyn TrainObserver,
    ) -> Result<Evaluated, StoreError> {
        let (seen, loss) = match self.look(&state.parameters, observer)? {
            Looked::Seen(seen, loss) => (seen, loss),
            Looked::NotNumbers => return Ok(Evaluated::NotNumbers),
            Looked::Ended => return Ok(Evaluated::Ended),
        };
        let score = (self.data.score)(&seen.answers);
        let best = state.record(score, loss, seen);
        let report = EvaluationReport { step: state.step, epoch: state.epoch + 1, score, loss, best };
        state.evaluation_due = false;
        state.history.evaluations.push(report);
        Ok(Evaluated::Scored(report))
    }

    /// Answers all dev rows. Of each only the answer is kept, of the worst a little more, and the sum of the losses.
    fn look(
        &mut self,
        task: &TaskParameters,
        observer: &mut dyn TrainObserver,
    ) -> Result<Looked, StoreError> {
        let dev = self.data.dev;
        let outputs = task.layout().config().outputs;
        let mut reviewer = Reviewer::new(dev.targets(), dev.scale());
        let (mut loss, mut weight, mut d_logits) = (0.0, 0.0, Vec::new());
        for rows in dev.groups() {
            let done = rows.end;
            for (row, logits) in rows.clone().zip(self.dev_logits(rows, task, observer)?) {
                if !are_numbers(&logits) {
                    return Ok(Looked::NotNumbers);
                }
                d_logits.resize(logits.len(), 0.0);
                let of_row = loss_of(dev.row_targets(row), outputs, (&logits, &mut d_logits));
                loss += of_row.0;
                weight += of_row.1;
                reviewer.push(&logits, &dev.candidates(row)?);
            }
            if done < dev.len() && observer.evaluating(done, dev.len()).is_break() {
                return Ok(Looked::Ended);
            }
        }
        Ok(Looked::Seen(reviewer.finish(), loss / weight))
    }

    /// Logits of some dev rows, from what is kept of them.
    fn dev_logits(
        &mut self,
        rows: Range<usize>,
        task: &TaskParameters,
        observer: &mut dyn TrainObserver,
    ) -> Result<Vec<Vec<f32>>, StoreError> {
        let before = self.kept_train;
        let batch = self.data.dev.batch(rows.clone())?;
        let tasks = vec![task; batch.sequences()];
        let kept = self.kept(rows.clone().map(|row| before + row), observer);
        let logits = match (Constant::of(task.layout()), kept) {
            (Some(Constant::Pooled(_)), Some(pooled)) => head::logits_of_pooled(task, &batch, &pooled),
            (Some(Constant::States(layer)), Some(states)) => {
                batch_logits(self.encoder, &batch.with_states(layer, states), &tasks)
            }
            _ => batch_logits(self.encoder, &batch, &tasks),
        };
        Ok(self.data.dev.by_row(rows, logits))
    }
}

/// The end of a run whose loss stopped being a number: with the best evaluation, if there was one.
fn diverged_at(state: &TrainState, step: u64, loss: f64) -> Result<Ending, TrainError> {
    state.best.is_some().then_some(Ending::Diverged).ok_or(TrainError::Diverged { step, loss })
}

/// How an evaluation ended.
enum Evaluated {
    /// All dev rows were scored.
    Scored(EvaluationReport),
    /// An answer was not a number.
    NotNumbers,
    /// The observer ended the run.
    Ended,
}

/// How looking at the dev rows ended.
enum Looked {
    /// What is kept of the answers to all of them, and the mean loss.
    Seen(Seen, f64),
    /// An answer was not a number.
    NotNumbers,
    /// The observer ended the run.
    Ended,
}
