//! Trains one task on a frozen encoder: the loop from encoded rows to the best parameters.
//!
//! [`TrainState`] is the whole state of a run, [`Checkpoints`] keep it. Everything that looks random (initialisation, the order of the rows,
//! dropout) is a pure function of the seed and of counters in that state, so a run is decided by its inputs: the same
//! seed gives the same bytes, with any number of threads. This file prints nothing and reads no clock; an observer is
//! told what happens and may end the run.

mod checkpoint;
mod class_weights;
mod history;
mod observer;
mod options;
mod state;

pub use checkpoint::{CheckpointFolder, CheckpointReport, Checkpoints, ResumeError};
pub use class_weights::{ClassWeight, ClassWeights};
pub use history::{Event, History};
pub use observer::{EvaluationReport, Observers, StepReport, TrainObserver};
pub use options::TrainOptions;
pub use state::{Best, TrainState};

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::checkpoint::{Bounds, Saved, SavedBest};
use crate::adapter::{AdapterConfig, TaskLayout, TaskParameters};
use crate::encoded::EncodedRows;
use crate::encoder::{Encoder, EncoderDropout};
use crate::eval::Answers;
use crate::gradient::{GradientEngine, Target, loss_of};
use crate::head;
use crate::memory::training_bytes;
use crate::optim::{LinearSchedule, clipping, norm};
use crate::predict::{are_numbers, batch_logits};
use crate::prefix::{Constant, NotKept, Prefix};
use crate::report::number::bytes;
use crate::review::{Reviewer, Seen};
use crate::store::{Budget, StoreError};

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
    /// The machine is too small.
    #[error(
        "training on texts of up to {tokens} tokens takes up to {} of memory on {threads} threads, {} is free",
        bytes(*needed),
        bytes(*free)
    )]
    Memory {
        /// Tokens of the longest sequence.
        tokens: usize,
        /// Threads that run at the same time.
        threads: usize,
        /// Bytes that training takes at most.
        needed: u64,
        /// Bytes that it may take, beside its rows.
        free: u64,
    },
    /// The run cannot go on from its checkpoint.
    #[error(transparent)]
    Resume(#[from] ResumeError),
    /// The observer ended the run before the first evaluation.
    #[error("interrupted at step {step}, before the first evaluation")]
    Interrupted {
        /// The step.
        step: u64,
    },
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
    /// Where the state is kept, and gone on from; nowhere if absent.
    pub checkpoints: Option<Checkpoints<'a>>,
    /// Score of the answers to all dev rows, in their order; higher is better, NaN is worse than any number.
    pub score: &'a dyn Fn(&Answers) -> f64,
}

/// A run from its beginning, or from its newest checkpoint, to its end; the best parameters are in the state that is returned.
/// # Errors
/// If there are no rows, in all or in a batch, they or a checkpoint cannot be read, or the run ends before the first evaluation.
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
    let of_epoch = steps_per_epoch(data.train.len(), options.batch_size);
    let of_epochs = of_epoch * u64::from(options.epochs_for(data.train.len()));
    let total_steps = options.max_steps.map_or(of_epochs, |most| most.min(of_epochs));
    // Before anything is computed that takes time.
    let bounds = Bounds { rows: data.train.len(), total_steps };
    let saved = match &data.checkpoints {
        Some(checkpoints) => checkpoints.newest(state.parameters.layout(), &bounds, observer)?,
        None => None,
    };
    let left = memory_left(encoder, state.parameters.layout(), options, data)?;
    observer.begin();
    // In one epoch or less no training row comes twice, and some may not come at all.
    let kept_train = if total_steps > of_epoch { data.train.len() } else { 0 };
    let prefix = match Constant::of(state.parameters.layout()) {
        Some(constant) => {
            let sets = if kept_train > 0 { vec![data.train, data.dev] } else { vec![data.dev] };
            let mut budget = options.budget.clone();
            budget.memory_bytes = budget.memory_bytes.min(left);
            keep(encoder, constant, &budget, &sets, observer)?
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
    let mut run = Run { encoder, options, data, schedule, prefix, kept_train, engine, checkpoint: None };
    if let Some(saved) = saved {
        state = run.resume(saved, observer)?;
    }
    let ending = run.run(&mut state, observer)?;
    Ok((state, ending))
}

/// What of the memory that a run may take is left beside its rows and a step of training. Dev rows take less than training rows of
/// their length.
/// # Errors
/// If it is not enough for them.
fn memory_left(
    encoder: &Encoder,
    layout: &TaskLayout,
    options: &TrainOptions,
    data: &TrainData<'_>,
) -> Result<u64, TrainError> {
    let Some(all) = options.budget.training_bytes else { return Ok(u64::MAX) };
    let free = all.saturating_sub(data.train.held_bytes() + data.dev.held_bytes());
    let (largest, threads) = (data.train.largest().max(data.dev.largest()), rayon::current_num_threads());
    let batch_size = options.batch_size.min(data.train.len());
    let needed = training_bytes(&encoder.config, layout, largest, batch_size, threads);
    let left = free.checked_sub(needed);
    left.ok_or(TrainError::Memory { tokens: largest.sequence, threads, needed, free })
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
    /// The newest checkpoint of this state: steps done, and whether an evaluation is due.
    checkpoint: Option<(u64, bool)>,
}

impl Run<'_> {
    /// The whole state again from what was kept of it: the best parameters answer the dev rows once more.
    fn resume(&mut self, saved: Saved, observer: &mut dyn TrainObserver) -> Result<TrainState, TrainError> {
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

    fn run(
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
