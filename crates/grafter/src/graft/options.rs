//! Everything about a run that a user may choose: the defaults that work on small data without tuning, and what is checked of a
//! choice before anything is trained. How the defaults were chosen is in `docs/results.md`.

use serde::{Deserialize, Serialize};

use super::GraftError;
use crate::adapter::{
    AdapterActivation, AdapterConfig, HeadForm, Manifest, Method, Pooling, TaskRecord, TrainingRecord, Unfit,
    is_false,
};
use crate::data::TaskKind;
use crate::encoder::EncoderConfig;
use crate::metrics::Metric;
use crate::model::Model;
use crate::optim::AdamW;
use crate::row_encoding::RowEncoding;
use crate::store::Budget;
use crate::text::{escape, listed};
use crate::tokenizer::Tokenizer;
use crate::train::TrainOptions;

/// Labels that a message names.
const LISTED_LABELS: usize = 12;

/// A wider bottleneck is none.
pub(crate) const MAX_BOTTLENECK_TIMES_HIDDEN: usize = 4;
/// Far above what trains (Houlsby et al. 2019, section 3.6, see quality fall above 1e-2).
const MAX_INIT_STD: f32 = 10.0;

/// Everything about a run that a user may choose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GraftOptions {
    /// Which parameters are trained.
    pub method: Method,
    /// Width of the adapters.
    pub bottleneck: usize,
    /// Non-linearity of the adapters.
    pub activation: AdapterActivation,
    /// The lowest layer that is adapted, counted from 0; see [`AdapterConfig::adapt_from_layer`].
    pub adapt_from_layer: usize,
    /// Whether [`Method::Houlsby`] leaves the layer normalisations as the encoder has them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub freeze_layernorm: bool,
    /// What the head reads.
    pub pooling: Pooling,
    /// What the head computes of it.
    #[serde(default, skip_serializing_if = "HeadForm::is_linear")]
    pub head: HeadForm,
    /// Texts are cut to this many tokens.
    pub max_length: usize,
    /// Tokens that two windows of a context share, of a task that answers questions; a third of the longest length if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
    /// Whether the probabilities of a classification are calibrated on the dev rows, see [`crate::calibration`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub calibrate: bool,
    /// Whether the thresholds of several labels are fitted on the dev rows, see [`crate::thresholds`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub fit_thresholds: bool,
    /// What chooses the best evaluation; the task's default if absent.
    pub metric: Option<Metric>,
    /// Settings of the training loop.
    pub train: TrainOptions,
}

impl Default for GraftOptions {
    fn default() -> Self {
        Self {
            method: Method::Houlsby,
            bottleneck: 64,
            activation: AdapterActivation::Gelu,
            adapt_from_layer: 0,
            freeze_layernorm: false,
            pooling: Pooling::Mean,
            head: HeadForm::Linear,
            max_length: 128,
            stride: None,
            calibrate: false,
            fit_thresholds: false,
            metric: None,
            train: TrainOptions {
                epochs: None,
                max_steps: None,
                batch_size: 16,
                learning_rate: None,
                warmup: 0.1,
                optimizer: AdamW::default(),
                max_grad_norm: 1.0,
                init_std: 1e-2,
                dropout: true,
                eval_every: None,
                patience: None,
                class_weights: None,
                seed: 42,
                budget: Budget::default(),
            },
        }
    }
}

/// Where no longest length is given: a question needs its context around it, as is usual.
pub fn default_max_length(kind: TaskKind) -> usize {
    match kind {
        TaskKind::QuestionAnswering => 384,
        _ => GraftOptions::default().max_length,
    }
}

impl GraftOptions {
    /// What is grafted for a task; of one that answers words or questions the head reads words, or tokens.
    pub fn config_for(&self, task: &TaskRecord) -> AdapterConfig {
        let pooling = if task.kind.reads_words() { Pooling::Words } else { self.pooling };
        AdapterConfig { pooling, ..self.config(task.outputs()) }
    }

    /// How the rows of a task of a kind become tokens.
    pub fn encoding(&self, kind: TaskKind) -> RowEncoding {
        RowEncoding::new(kind, self.max_length, self.stride)
    }

    /// What is grafted for a task whose head has so many outputs.
    pub fn config(&self, outputs: usize) -> AdapterConfig {
        AdapterConfig {
            method: self.method,
            bottleneck: self.bottleneck.into(),
            activation: self.activation,
            adapt_from_layer: self.adapt_from_layer,
            // These methods never train them.
            freeze_layernorm: self.freeze_layernorm
                && !matches!(self.method, Method::Pfeiffer | Method::Head),
            pooling: self.pooling,
            head: self.head,
            outputs,
        }
    }

    /// Checks what depends on the task: its kind, and the names of its labels.
    /// # Errors
    /// The first option that does not fit.
    pub fn check_task(&self, kind: TaskKind, labels: &[String]) -> Result<(), GraftError> {
        let options = [
            ("--calibrate", self.calibrate, TaskKind::Classification),
            ("--class-weights", self.train.class_weights.is_some(), TaskKind::Classification),
            ("--stride", self.stride.is_some(), TaskKind::QuestionAnswering),
            // Of questions it is the difference from which on there is no answer.
            (
                "--fit-thresholds",
                self.fit_thresholds && kind != TaskKind::QuestionAnswering,
                TaskKind::MultiLabel,
            ),
        ];
        if let Some((option, _, of)) = options.into_iter().find(|(_, given, of)| *given && *of != kind) {
            let (found, expected) = (format!("given for {kind}"), format!("a task of the kind {of}"));
            return Err(GraftError::Option { option, found, expected });
        }
        let fits = match self.pooling {
            Pooling::Words => kind.reads_words(),
            // What nobody chose.
            Pooling::Mean => true,
            Pooling::Cls | Pooling::First => !kind.reads_words(),
        };
        if !fits {
            let expected = if kind.reads_words() { "words" } else { "cls, first or mean" };
            let (found, expected) = (self.pooling.to_string(), format!("{expected} for {kind}"));
            return Err(GraftError::Option { option: "--pooling", found, expected });
        }
        if let Some(label) = self.train.class_weights.as_ref().and_then(|weights| weights.unknown(labels)) {
            return Err(GraftError::Option {
                option: "--class-weights",
                found: escape(label, 60),
                expected: format!(
                    "`auto` or one of the labels {}, and the flag once for each",
                    listed(labels.iter().map(|label| format!("`{}`", escape(label, 60))), LISTED_LABELS)
                ),
            });
        }
        Ok(())
    }

    /// Checks what depends on the questions of a task, and nothing of another.
    pub(super) fn check_questions(&self, task: &TaskRecord, tokenizer: &Tokenizer) -> Result<(), GraftError> {
        if task.kind != TaskKind::QuestionAnswering {
            return Ok(());
        }
        if self.fit_thresholds && !task.no_answer {
            return Err(GraftError::Option {
                option: "--fit-thresholds",
                found: "given for questions that all have an answer".to_owned(),
                expected: "some without one".to_owned(),
            });
        }
        // A question takes up to half of the room: in what is left each window must go on beyond the one before.
        let most = (self.max_length.saturating_sub(tokenizer.special_tokens(true)) / 2).saturating_sub(1);
        match self.stride {
            Some(stride) if stride > most => Err(GraftError::Option {
                option: "--stride",
                found: stride.to_string(),
                expected: format!("at most {most} with windows of {} tokens", self.max_length),
            }),
            _ => Ok(()),
        }
    }

    /// The settings of a run on so many rows, nothing left open.
    pub(super) fn recorded(&self, train_rows: usize) -> TrainOptions {
        TrainOptions {
            epochs: Some(self.train.epochs_for(train_rows)),
            learning_rate: Some(self.train.learning_rate_for(&self.config(1))),
            ..self.train.clone()
        }
    }

    /// Whether an adapter was trained with these options, as far as its manifest tells.
    pub fn gave(&self, manifest: &Manifest) -> bool {
        let Some(TrainingRecord { options: recorded, train_rows, .. }) = &manifest.training else {
            return false;
        };
        // It is not recorded, and changes no result.
        let budget = recorded.budget.clone();
        manifest.adapter == self.config_for(&manifest.task)
            && manifest.calibration.is_some() == self.calibrate
            && manifest.thresholds.is_some() == self.fit_thresholds
            && manifest.max_length == self.max_length
            && manifest.stride == self.encoding(manifest.task.kind).stride()
            && *recorded == TrainOptions { budget, ..self.recorded(*train_rows) }
    }

    /// Checks every option that can be checked before training.
    /// # Errors
    /// The first option that is out of range.
    pub fn check(&self, model: &Model) -> Result<(), GraftError> {
        let wrong = |option: &'static str, found: String, expected: String| {
            Err(GraftError::Option { option, found, expected })
        };
        check_max_length(self.max_length, model.tokenizer(), &model.encoder().config)?;
        if self.pooling == Pooling::Cls && !model.encoder().has_pooler() {
            return wrong(
                "--pooling",
                "cls".to_owned(),
                "mean or first, since no pooler of the model is read".to_owned(),
            );
        }
        let encoder = &model.encoder().config;
        if let Err(Unfit { field, found, expected }) = self.config(1).check_on(encoder) {
            let option = match field {
                "method" => "--method",
                "bottleneck" => "--bottleneck",
                "freeze_layernorm" => "--freeze-layernorm",
                _ => "--adapt-from-layer",
            };
            return wrong(option, found, expected);
        }
        let at_least_one = [
            ("--bottleneck", self.bottleneck),
            ("--epochs", self.train.epochs.map_or(1, |epochs| epochs as usize)),
            ("--max-steps", self.train.max_steps.map_or(1, |steps| steps as usize)),
            ("--batch-size", self.train.batch_size),
            ("--patience", self.train.patience.map_or(1, |patience| patience as usize)),
            ("--eval-every", self.train.eval_every.map_or(1, |every| every as usize)),
        ];
        for (option, value) in at_least_one {
            if value == 0 {
                return wrong(option, "0".to_owned(), "1 or more".to_owned());
            }
        }
        let widest = MAX_BOTTLENECK_TIMES_HIDDEN * model.encoder().config.hidden_size;
        if self.bottleneck > widest {
            let expected = format!("at most {widest}, {MAX_BOTTLENECK_TIMES_HIDDEN} times the hidden size");
            return wrong("--bottleneck", self.bottleneck.to_string(), expected);
        }
        let positive = [
            ("--lr", self.train.learning_rate_for(&self.config(1))),
            ("--max-grad-norm", self.train.max_grad_norm),
        ];
        for (option, value) in positive {
            if !(value.is_finite() && value > 0.0) {
                return wrong(option, value.to_string(), "a number above 0".to_owned());
            }
        }
        if !(0.0..=1.0).contains(&self.train.warmup) {
            return wrong("--warmup", self.train.warmup.to_string(), "0 to 1".to_owned());
        }
        if self.train.init_std > MAX_INIT_STD {
            return wrong("--init-std", self.train.init_std.to_string(), format!("at most {MAX_INIT_STD}"));
        }
        let not_negative = [
            ("--weight-decay", self.train.optimizer.weight_decay),
            ("--init-std", f64::from(self.train.init_std)),
        ];
        for (option, value) in not_negative {
            if !(value.is_finite() && value >= 0.0) {
                return wrong(option, value.to_string(), "0 or more".to_owned());
            }
        }
        Ok(())
    }
}

/// Checks that a longest length is one that the encoder has and that leaves room for a text beside the special tokens.
/// # Errors
/// If it is not.
pub fn check_max_length(
    max_length: usize,
    tokenizer: &Tokenizer,
    config: &EncoderConfig,
) -> Result<(), GraftError> {
    check_length(max_length, tokenizer, config, false)
}

pub(super) fn check_length(
    max_length: usize,
    tokenizer: &Tokenizer,
    config: &EncoderConfig,
    pair: bool,
) -> Result<(), GraftError> {
    let (least, most) = (tokenizer.special_tokens(pair) + 1, config.max_length());
    if (least..=most).contains(&max_length) {
        return Ok(());
    }
    let what = if pair { " and pairs of texts" } else { "" };
    Err(GraftError::Option {
        option: "--max-length",
        found: max_length.to_string(),
        expected: format!("{least} to {most} with this model{what}"),
    })
}
