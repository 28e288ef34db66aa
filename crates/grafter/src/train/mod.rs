//! Trains one task on a frozen encoder: the loop from encoded rows to the best parameters.
//!
//! [`TrainState`] is the whole state of a run, [`Checkpoints`] keep it. Everything that looks random (initialisation, the order of the rows,
//! dropout) is a pure function of the seed and of counters in that state, so a run is decided by its inputs: the same
//! seed gives the same bytes, with any number of threads. The loop itself is in `run.rs`. This room prints nothing and reads no clock; an observer is
//! told what happens and may end the run.

mod checkpoint;
mod class_weights;
mod history;
mod observer;
mod options;
mod run;
mod state;

pub use checkpoint::{CheckpointFolder, CheckpointReport, Checkpoints, ResumeError};
pub use class_weights::{ClassWeight, ClassWeights};
pub use history::{Event, History};
pub use observer::{EvaluationReport, Observers, StepReport, TrainObserver};
pub use options::TrainOptions;
pub use state::{Best, TrainState};

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::checkpoint::Bounds;
use self::run::Run;
use crate::adapter::{AdapterConfig, TaskLayout, TaskParameters};
use crate::encoded::EncodedRows;
use crate::encoder::Encoder;
use crate::eval::Answers;
use crate::gradient::GradientEngine;
use crate::memory::training_bytes;
use crate::optim::LinearSchedule;
use crate::prefix::{Constant, NotKept, Prefix};
use crate::report::number::bytes;
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
        "training on texts of up to {tokens} tokens takes up to {} of memory on {threads} threads, {} is free \
         beside the rows",
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
    let left = memory_left(encoder, state.parameters.layout(), options, data)?;
    let saved = match &data.checkpoints {
        Some(checkpoints) => checkpoints.newest(state.parameters.layout(), &bounds, observer)?,
        None => None,
    };
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
        peak: options.learning_rate_for(config),
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
    let needed = training_bytes(encoder, layout, largest, batch_size, threads);
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
