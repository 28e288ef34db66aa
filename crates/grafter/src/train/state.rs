//! The whole state of a training run, in one struct, so that it can be written and read back.

use crate::adapter::{AdapterConfig, TaskParameters};
use crate::encoder::Encoder;
use crate::optim::Moments;
use crate::random::Random;
use crate::review::Seen;

use super::{History, TrainOptions};

/// The parameters of the best evaluation so far.
#[derive(Clone, Debug)]
pub struct Best {
    /// Score on the dev rows.
    pub score: f64,
    /// Mean loss on the dev rows.
    pub loss: f64,
    /// Steps done when it was reached.
    pub step: u64,
    /// The trained numbers, in the order of the task's list.
    pub values: Vec<f32>,
    /// What is kept of their answers to the dev rows.
    pub seen: Seen,
}

/// Everything that the next step depends on, besides the rows and the options.
#[derive(Clone, Debug)]
pub struct TrainState {
    /// The numbers in training.
    pub parameters: TaskParameters,
    /// The optimiser's running means.
    pub moments: Moments,
    /// Steps done; with the seed it decides the dropout masks.
    pub step: u64,
    /// Epochs done; with the seed it decides the order of the rows.
    pub epoch: u32,
    /// Rows of the current epoch done.
    pub position: usize,
    /// Whether the dev rows are to be scored before the next step.
    pub evaluation_due: bool,
    /// The best evaluation so far.
    pub best: Option<Best>,
    /// Evaluations since the score was last bettered.
    pub evaluations_since_best: u32,
    /// What the run did so far; nothing depends on it.
    pub history: History,
}

/// Streams of the seed, apart from those that initialise tensors.
const ORDER_STREAM: u64 = 1 << 32;

impl TrainState {
    /// The state before the first step.
    pub fn begin(encoder: &Encoder, config: &AdapterConfig, options: &TrainOptions) -> Self {
        let parameters = TaskParameters::initialise(config, encoder, options.init_std, options.seed);
        let moments = Moments::zero(parameters.values().len());
        Self {
            parameters,
            moments,
            step: 0,
            epoch: 0,
            position: 0,
            evaluation_due: false,
            best: None,
            evaluations_since_best: 0,
            history: History::default(),
        }
    }

    /// The order of the rows in the current epoch.
    pub fn epoch_order(&self, seed: u64, rows: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..rows).collect();
        Random::new(seed).stream(ORDER_STREAM + u64::from(self.epoch)).shuffle(&mut order);
        order
    }

    /// Notes an evaluation and keeps the parameters if it is the best; says whether it is. Of equal scores the lower loss
    /// is better: a score on few dev rows soon stands still while there is much to learn yet. Patience asks for a better
    /// score all the same.
    pub(super) fn record(&mut self, score: f64, loss: f64, seen: Seen) -> bool {
        let (better, equal) = match &self.best {
            None => (true, false),
            Some(best) => (
                score > best.score || best.score.is_nan() && !score.is_nan(),
                score == best.score || best.score.is_nan() && score.is_nan(),
            ),
        };
        let kept = better || equal && self.best.as_ref().is_some_and(|best| loss < best.loss);
        if kept {
            let values = self.parameters.values().to_vec();
            self.best = Some(Best { score, loss, step: self.step, values, seen });
        }
        self.evaluations_since_best = if better { 0 } else { self.evaluations_since_best + 1 };
        kept
    }

    /// The task with the parameters of the best evaluation, or the current ones if there was none.
    pub fn best_parameters(&self) -> TaskParameters {
        match &self.best {
            Some(best) => TaskParameters::from_values(self.parameters.layout().clone(), best.values.clone()),
            None => self.parameters.clone(),
        }
    }
}
