//! Trains one task on a frozen encoder: the loop from encoded rows to the best parameters.
//!
//! [`TrainState`] is the whole state of a run. Everything that looks random (initialisation, the order of the rows,
//! dropout) is a pure function of the seed and of counters in that state, so a run is decided by its inputs: the same
//! seed gives the same bytes, with any number of threads. This file prints nothing and reads no clock; an observer is
//! told what happens and may end the run.

mod class_weights;
mod observers;
mod state;

pub use class_weights::{ClassWeight, ClassWeights};
pub use observers::Observers;
pub use state::{Best, TrainState};

use std::fmt;
use std::ops::{ControlFlow, Range};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::adapter::{AdapterConfig, Method, TaskParameters};
use crate::encoded::EncodedRows;
use crate::encoder::{Encoder, EncoderDropout};
use crate::eval::Answers;
use crate::gradient::{GradientEngine, Target, loss_of};
use crate::head;
use crate::optim::{AdamW, LinearSchedule, clipping, norm};
use crate::predict::{are_numbers, batch_logits};
use crate::prefix::{Constant, NotKept, Prefix};
use crate::review::Reviewer;
use crate::store::{Budget, StoreError};

/// Settings of a run that are not part of the adapter's form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainOptions {
    /// Passes over the training rows; if absent, see [`TrainOptions::epochs_for`].
    pub epochs: Option<u32>,
    /// The run ends after so many steps at most; the learning rate falls to zero with them.
    #[serde(default)]
    pub max_steps: Option<u64>,
    /// Rows of one step.
    pub batch_size: usize,
    /// Largest learning rate; [`Method::default_learning_rate`] if absent.
    pub learning_rate: Option<f64>,
    /// Share of all steps in which the learning rate rises from zero.
    pub warmup: f64,
    /// The optimiser, with its weight decay.
    pub optimizer: AdamW,
    /// Largest norm of the gradients.
    pub max_grad_norm: f64,
    /// Standard deviation that the adapters begin with.
    pub init_std: f32,
    /// Whether the encoder's dropout rates are used in training.
    pub dropout: bool,
    /// Steps between evaluations; each epoch's end if absent.
    pub eval_every: Option<u64>,
    /// Evaluations without a better score after which the run ends; never if absent.
    pub patience: Option<u32>,
    /// How much each class counts; equally if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<ClassWeights>,
    /// Decides initialisation, order and dropout.
    pub seed: u64,
    /// How much is kept of the encoded rows, and of what is constant below everything that trains; it changes no result
    /// and is not recorded.
    #[serde(skip)]
    pub budget: Budget,
}

/// Where the epochs are not given: enough for about this many steps, within limits.
const DEFAULT_STEPS: u64 = 1200;
const DEFAULT_EPOCHS: std::ops::RangeInclusive<u64> = 4..=20;

impl TrainOptions {
    /// The largest learning rate of a run: the one that was given, otherwise the method's.
    pub fn learning_rate_for(&self, method: Method) -> f64 {
        self.learning_rate.unwrap_or(method.default_learning_rate())
    }

    /// The epochs of a run on so many rows: those that were given, otherwise enough for about 1,200 steps, but at
    /// least 4 and at most 20. Small data needs more passes than large data for the same number of updates.
    pub fn epochs_for(&self, rows: usize) -> u32 {
        self.epochs.unwrap_or_else(|| {
            let per_epoch = steps_per_epoch(rows, self.batch_size.max(1)).max(1);
            let epochs = DEFAULT_STEPS.div_ceil(per_epoch);
            epochs.clamp(*DEFAULT_EPOCHS.start(), *DEFAULT_EPOCHS.end()) as u32
        })
    }
}

/// Why a run ended without an adapter.
#[derive(Debug, Error)]
pub enum TrainError {
    /// There is nothing to train on.
    #[error("there are no training rows")]
    NoRows,
    /// There is nothing to choose the best parameters by.
    #[error("there are no dev rows")]
    NoDevRows,
    /// A step would have no rows.
    #[error("expected batches of 1 row or more, found 0")]
    NoBatch,
    /// The loss stopped being a number before the first evaluation.
    #[error("the loss became {loss} at step {step}, before the first evaluation")]
    Diverged {
        /// The step.
        step: u64,
        /// NaN or infinite.
        loss: f64,
    },
    /// The encoded rows cannot be read any more.
    #[error("the encoded rows cannot be read: {0}")]
    Rows(#[from] StoreError),
    /// The observer ended the run before the first evaluation.
    #[error("interrupted at step {step}, before the first evaluation")]
    Interrupted {
        /// The step.
        step: u64,
    },
}

/// What the observer is told after each step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StepReport {
    /// Steps done.
    pub step: u64,
    /// Steps of the whole run.
    pub total_steps: u64,
    /// The epoch that the step belongs to, counted from 1.
    pub epoch: u32,
    /// Mean loss of the step's rows.
    pub loss: f64,
    /// Norm of the gradients before clipping.
    pub grad_norm: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Tokens that passed the encoder, or its adapted layers, in the step: none where what the head reads is kept.
    pub tokens: usize,
}

/// What the observer is told after each evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct EvaluationReport {
    /// Steps done.
    pub step: u64,
    /// The epoch that the step belongs to, counted from 1.
    pub epoch: u32,
    /// Score on the dev rows; higher is better.
    pub score: f64,
    /// Mean loss on the dev rows, without dropout; it decides between equal scores.
    pub loss: f64,
    /// Whether it is the best so far.
    pub best: bool,
}

/// Follows a run; an answer of `Break` ends it after what is at hand.
pub trait TrainObserver {
    /// While the training and dev rows are encoded: how many are done. `Break` ends the run.
    fn encoding(&mut self, _done: usize, _rows: usize) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    /// Before anything is computed, when the rows are encoded.
    fn begin(&mut self) {}
    /// While what is constant below everything that trains is computed, once for all rows that come again: how many of
    /// these are done. `Break` ends the run.
    fn prefix(&mut self, _done: usize, _rows: usize) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    /// When that is not kept, or no more, and computed anew in each step from here on.
    fn not_kept(&mut self, _reason: &NotKept) {}
    /// After each step.
    fn step(&mut self, report: &StepReport) -> ControlFlow<()>;
    /// Within an evaluation: how many dev rows are done, while there are more. `Break` ends the run without this evaluation.
    fn evaluating(&mut self, _done: usize, _rows: usize) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    /// After each evaluation.
    fn evaluation(&mut self, report: &EvaluationReport) -> ControlFlow<()>;
}

/// An observer that looks away.
impl TrainObserver for () {
    fn step(&mut self, _: &StepReport) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn evaluation(&mut self, _: &EvaluationReport) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// All steps were done.
    Completed,
    /// No better score for as many evaluations as the patience allows.
    EarlyStopped,
    /// The observer ended it.
    Interrupted,
    /// The loss stopped being a number.
    Diverged,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Completed => "complete",
            Self::EarlyStopped => "ended early: no better score",
            Self::Interrupted => "interrupted: the best so far was kept",
            Self::Diverged => "the loss stopped being a number: the best before was kept",
        })
    }
}

/// What to train on and how to tell which parameters are best.
pub struct TrainData<'a> {
    /// Rows to learn from.
    pub train: &'a EncodedRows,
    /// Rows to choose by.
    pub dev: &'a EncodedRows,
    /// A task whose encoder the run begins with, as far as both train it; the frozen encoder if absent.
    pub begin: Option<&'a TaskParameters>,
    /// Score of the answers to all dev rows, in their order; higher is better, NaN is worse than any number.
    pub score: &'a dyn Fn(&Answers) -> f64,
}

/// A run from its beginning to its end; the best parameters are in the state that is returned.
/// # Errors
/// If there are no rows, in all or in a batch, they cannot be read, or the run ends before the first evaluation.
pub fn train(
    encoder: &Encoder,
    config: &AdapterConfig,
    options: &TrainOptions,
    data: &TrainData<'_>,
    observer: &mut dyn TrainObserver,
) -> Result<(TrainState, Ending), TrainError> {
    if data.train.is_empty() {
        return Err(TrainError::NoRows);
    }
    if data.dev.is_empty() {
        return Err(TrainError::NoDevRows);
    }
    if options.batch_size == 0 {
        return Err(TrainError::NoBatch);
    }
    let mut state = TrainState::begin(encoder, config, options);
    if let Some(earlier) = data.begin {
        state.parameters.take_encoder_of(earlier);
    }
    observer.begin();
    let of_epoch = steps_per_epoch(data.train.len(), options.batch_size);
    let of_epochs = of_epoch * u64::from(options.epochs_for(data.train.len()));
    let total_steps = options.max_steps.map_or(of_epochs, |most| most.min(of_epochs));
    // In one epoch or less no training row comes twice, and some may not come at all.
    let kept_train = if total_steps > of_epoch { data.train.len() } else { 0 };
    let prefix = match Constant::of(state.parameters.layout()) {
        Some(constant) => {
            let sets = if kept_train > 0 { vec![data.train, data.dev] } else { vec![data.dev] };
            keep(encoder, constant, &options.budget, &sets, observer)?
        }
        None => None,
    };
    let schedule = LinearSchedule {
        peak: options.learning_rate_for(config.method),
        // The first step of a warm-up has the rate zero: a run of nothing else would train nothing.
        warmup_steps: ((options.warmup * total_steps as f64).round() as u64)
            .min(total_steps.saturating_sub(1)),
        total_steps,
    };
    let engine = GradientEngine::default();
    let mut run = Run { encoder, options, data, schedule, prefix, kept_train, engine };
    let ending = run.run(&mut state, observer)?;
    Ok((state, ending))
}

/// Steps of an epoch; the last one may have fewer rows.
fn steps_per_epoch(rows: usize, batch_size: usize) -> u64 {
    rows.div_ceil(batch_size) as u64
}

/// What is constant of some rows, one set after another; `None` where it is not kept.
fn keep(
    encoder: &Encoder,
    constant: Constant,
    budget: &Budget,
    sets: &[&EncodedRows],
    observer: &mut dyn TrainObserver,
) -> Result<Option<Prefix>, TrainError> {
    let rows = sets.iter().map(|set| set.len()).sum();
    let follow = |done| observer.prefix(done, rows);
    match Prefix::compute(encoder, constant, sets, budget, follow) {
        Ok(prefix) => Ok(Some(prefix)),
        Err(NotKept::Ended) => Err(TrainError::Interrupted { step: 0 }),
        Err(reason) => {
            observer.not_kept(&reason);
            Ok(None)
        }
    }
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

/// The end of a run whose observer ended it: with the best evaluation, if there was one.
fn interrupted_at(state: &TrainState) -> Result<Ending, TrainError> {
    let error = TrainError::Interrupted { step: state.step };
    state.best.is_some().then_some(Ending::Interrupted).ok_or(error)
}

/// What stays the same from step to step, and the buffers.
struct Run<'a> {
    encoder: &'a Encoder,
    options: &'a TrainOptions,
    data: &'a TrainData<'a>,
    schedule: LinearSchedule,
    prefix: Option<Prefix>,
    /// Training rows that stand in `prefix` before the dev rows: all or none.
    kept_train: usize,
    engine: GradientEngine,
}

impl Run<'_> {
    fn run(
        &mut self,
        state: &mut TrainState,
        observer: &mut dyn TrainObserver,
    ) -> Result<Ending, TrainError> {
        let (options, rows) = (self.options, self.data.train.len());
        let mut order = state.epoch_order(options.seed, rows);
        while state.step < self.schedule.total_steps {
            let report = self.step(&order, state, observer)?;
            if !report.loss.is_finite() || !report.grad_norm.is_finite() {
                let diverged = TrainError::Diverged { step: report.step, loss: report.loss };
                return state.best.is_some().then_some(Ending::Diverged).ok_or(diverged);
            }
            let interrupted = observer.step(&report).is_break();
            let epoch_ended = state.position == rows;
            let due = state.step == self.schedule.total_steps
                || options.eval_every.map_or(epoch_ended, |every| state.step.is_multiple_of(every));
            if due {
                let report = match self.evaluate(report.epoch, state, observer)? {
                    Evaluated::Scored(report) => report,
                    Evaluated::NotNumbers => {
                        let diverged = TrainError::Diverged { step: state.step, loss: f64::NAN };
                        return state.best.is_some().then_some(Ending::Diverged).ok_or(diverged);
                    }
                    Evaluated::Ended => return interrupted_at(state),
                };
                if observer.evaluation(&report).is_break() {
                    return Ok(Ending::Interrupted);
                }
                if options.patience.is_some_and(|patience| state.evaluations_since_best >= patience) {
                    return Ok(Ending::EarlyStopped);
                }
            }
            if interrupted {
                return interrupted_at(state);
            }
            if epoch_ended {
                state.epoch += 1;
                state.position = 0;
                order = state.epoch_order(options.seed, rows);
            }
        }
        Ok(Ending::Completed)
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

    /// Scores the current parameters. Of each row only the answer is kept, of the worst a little more, and the sum of the losses.
    fn evaluate(
        &mut self,
        epoch: u32,
        state: &mut TrainState,
        observer: &mut dyn TrainObserver,
    ) -> Result<Evaluated, StoreError> {
        let dev = self.data.dev;
        let outputs = state.parameters.layout().config().outputs;
        let mut reviewer = Reviewer::new(dev.targets(), dev.scale());
        let (mut loss, mut weight, mut d_logits) = (0.0, 0.0, Vec::new());
        for rows in dev.groups() {
            let done = rows.end;
            for (row, logits) in rows.clone().zip(self.dev_logits(rows, &state.parameters, observer)?) {
                if !are_numbers(&logits) {
                    return Ok(Evaluated::NotNumbers);
                }
                d_logits.resize(logits.len(), 0.0);
                let of_row = loss_of(dev.row_targets(row), outputs, (&logits, &mut d_logits));
                loss += of_row.0;
                weight += of_row.1;
                reviewer.push(&logits, &dev.candidates(row)?);
            }
            if done < dev.len() && observer.evaluating(done, dev.len()).is_break() {
                return Ok(Evaluated::Ended);
            }
        }
        let seen = reviewer.finish();
        let (score, loss) = ((self.data.score)(&seen.answers), loss / weight);
        let best = state.record(score, loss, seen);
        Ok(Evaluated::Scored(EvaluationReport { step: state.step, epoch, score, loss, best }))
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
