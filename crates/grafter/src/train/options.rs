//! The settings of a run, and what those that are absent mean.

use serde::{Deserialize, Serialize};

use super::{ClassWeights, steps_per_epoch};
use crate::adapter::AdapterConfig;
use crate::optim::AdamW;
use crate::store::Budget;

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
    /// Largest learning rate; [`default_learning_rate`](crate::adapter::Method::default_learning_rate) if absent.
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
    /// The largest learning rate of a run: the one that was given, otherwise that of the adapter's method and width.
    pub fn learning_rate_for(&self, adapter: &AdapterConfig) -> f64 {
        let default = || adapter.method.default_learning_rate(Some(adapter.bottleneck.widest()));
        self.learning_rate.unwrap_or_else(default)
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
