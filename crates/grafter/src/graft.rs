//! Grafts one task onto a model: from labelled rows to a trained, evaluated adapter.
//!
//! Joins the rooms of the data's flow (rows, tokenizer, training, metrics) and holds the defaults that work on small
//! data without tuning. How they were chosen is in `docs/results.md`.

use std::ops::ControlFlow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::adapter::{
    Adapter, AdapterActivation, AdapterConfig, BaseRecord, FORMAT_VERSION, HeadForm, Manifest, Method,
    Pooling, ScoreScale, TaskParameters, TaskRecord, TrainingRecord, Unfit, is_false, weights_digest,
};
use crate::batch::TokenIds;
use crate::data::{DataError, LabelScheme, LabelledRows, Targets, TaskKind, blocks};
use crate::encoded::EncodedRows;
use crate::encoder::EncoderConfig;
use crate::eval::{Answers, baseline};
use crate::fitted::Fitted;
use crate::metrics::{Metric, MetricError, check_targets};
use crate::model::Model;
use crate::optim::AdamW;
use crate::review::Review;
use crate::row_encoding::{RowEncoding, RowForm};
use crate::store::{Budget, StoreError};
use crate::text::{escape, listed};
use crate::tokenizer::{Tokenizer, TokenizerError};
use crate::train::{
    CheckpointFolder, Checkpoints, Ending, History, TrainData, TrainError, TrainObserver, TrainOptions, train,
};

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

/// The choices of a row pass the encoder together in training: more tokens than these take too much memory.
pub const MAX_CHOICE_TOKENS: usize = 8192;

/// Labels that a message names.
const LISTED_LABELS: usize = 12;

/// A wider bottleneck is none.
pub(crate) const MAX_BOTTLENECK_TIMES_HIDDEN: usize = 4;
/// Far above what trains (Houlsby et al. 2019, section 3.6, see quality fall above 1e-2).
const MAX_INIT_STD: f32 = 10.0;

/// Why a task could not be grafted.
#[derive(Debug, Error)]
pub enum GraftError {
    /// A text could not be encoded.
    #[error("{file}:{line}: {source}")]
    Row {
        /// Name of the data.
        file: Arc<str>,
        /// Where the row begins.
        line: u64,
        /// What the tokenizer said.
        source: TokenizerError,
    },
    /// The choices of a row are too long together.
    #[error(
        "{file}:{line}: the choices have {tokens} tokens together, at most {MAX_CHOICE_TOKENS} can be trained on"
    )]
    Choices {
        /// Name of the data.
        file: Arc<str>,
        /// Where the row begins.
        line: u64,
        /// Tokens of all choices, each with the text.
        tokens: usize,
    },
    /// A file could not be read again.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The encoded rows cannot be kept.
    #[error("the encoded rows cannot be kept: {0}")]
    Rows(#[from] StoreError),
    /// The metric does not fit the task.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// The run ended without an adapter.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The dev rows were not read as examples of the training rows' task.
    #[error("`{dev}` was not read for the task of `{train}`")]
    OtherTask {
        /// Name of the training data.
        train: String,
        /// Name of the dev data.
        dev: String,
    },
    /// An option is out of range.
    #[error("`{option}` is {found}, expected {expected}")]
    Option {
        /// The option, as a flag.
        option: &'static str,
        /// What was given.
        found: String,
        /// What may be given.
        expected: String,
    },
}

/// What a run gave, beside the adapter.
#[derive(Clone, Debug)]
pub struct Grafted {
    /// The adapter with the parameters of the best evaluation.
    pub adapter: Adapter,
    /// How it was trained, as its manifest says.
    pub training: TrainingRecord,
    /// Why the run ended.
    pub ending: Ending,
    /// Steps done.
    pub steps: u64,
    /// Training rows that were cut to the longest length.
    pub truncated_train: usize,
    /// Dev rows that were cut to the longest length.
    pub truncated_dev: usize,
    /// What the best parameters answer to the dev rows.
    pub review: Review,
    /// Its steps and evaluations.
    pub history: History,
}

/// Trains a task and evaluates its best parameters on the dev rows.
/// # Errors
/// If an option is out of range, a text cannot be encoded, or the run ends before its first evaluation.
pub fn graft(
    model: &Model,
    train_data: &dyn LabelledRows,
    dev_data: &dyn LabelledRows,
    options: &GraftOptions,
    observer: &mut dyn TrainObserver,
) -> Result<Grafted, GraftError> {
    graft_from(&Beginning::default(), model, (train_data, dev_data), options, observer)
}

/// What a run begins with, beside the frozen encoder and the seed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beginning<'a> {
    /// What an earlier task made of the encoder, as far as both tasks train it: sequential fine-tuning, which changes what the
    /// earlier task answers. The head begins anew.
    pub earlier: Option<&'a TaskParameters>,
    /// Where the run keeps its state, and goes on from.
    pub checkpoints: Option<&'a CheckpointFolder>,
}

/// [`graft`] that begins with something.
/// # Errors
/// As of [`graft`], or if a checkpoint is of another run.
pub fn graft_from(
    beginning: &Beginning<'_>,
    model: &Model,
    (train_data, dev_data): (&dyn LabelledRows, &dyn LabelledRows),
    options: &GraftOptions,
    observer: &mut dyn TrainObserver,
) -> Result<Grafted, GraftError> {
    options.check(model)?;
    if train_data.task() != dev_data.task() {
        return Err(GraftError::OtherTask {
            train: train_data.file().to_string(),
            dev: dev_data.file().to_string(),
        });
    }
    let pair = train_data.task().pair || train_data.task().scheme == LabelScheme::Choices;
    check_length(options.max_length, model.tokenizer(), &model.encoder().config, pair)?;
    let scale = match train_data.targets() {
        Targets::Scores(scores) => Some(ScoreScale::of(scores)),
        Targets::Classes(_)
        | Targets::Sets(_)
        | Targets::Entities(..)
        | Targets::Tags(..)
        | Targets::Choices(_)
        | Targets::Answers(..) => None,
    };
    let task = TaskRecord::new(train_data.task(), scale);
    options.check_task(task.kind, &task.labels)?;
    options.check_questions(&task, model.tokenizer())?;
    let metric = options.metric.unwrap_or(Metric::default_for(task.kind));
    metric.check(task.kind, task.labels.len())?;
    check_targets(metric, dev_data.targets())?;
    let encoding = Encoding { model, options, scale };
    let (train_count, dev_count) = (train_data.targets().len(), dev_data.targets().len());
    let mut follow = |done| observer.encoding(done, train_count + dev_count);
    let mut train_rows = encoding.rows(train_data, true, &mut follow)?;
    if let (Some(weights), Targets::Classes(classes)) = (&options.train.class_weights, train_data.targets()) {
        train_rows.weigh(weights.resolve(&task.labels, classes));
    }
    let dev_rows = encoding.rows(dev_data, false, |done| follow(train_count + done))?;
    let config = options.config_for(&task);
    let score = |answers: &Answers| {
        let scores = answers.scores(&task, dev_rows.targets());
        scores.ok().and_then(|scores| scores.get(metric).ok().flatten()).unwrap_or(f64::NAN)
    };
    let checkpoints = beginning.checkpoints.map(|folder| {
        let run = RunRecord::new(model, &task, options, (&train_rows, &dev_rows), beginning.earlier)?;
        let run = serde_json::to_value(run).expect("records are plain data");
        Ok::<_, StoreError>(Checkpoints::new(folder, run))
    });
    let checkpoints = checkpoints.transpose()?;
    let begin = beginning.earlier;
    let data = TrainData { train: &train_rows, dev: &dev_rows, begin, checkpoints, score: &score };
    let (state, ending) = train(model.encoder(), &config, &options.train, &data, observer)?;
    let parameters = state.best_parameters();
    let best = state.best.as_ref().expect("a run of one step or more ends well only with an evaluation");
    let mut fitted = Fitted::default();
    if options.calibrate || options.fit_thresholds {
        let follow = |done| {
            let _stop = observer.evaluating(done, dev_rows.len());
        };
        fitted = Fitted::fit((model.encoder(), &parameters), &dev_rows, &options.train.budget, follow)?;
    }
    let seen = fitted.seen.clone().unwrap_or_else(|| best.seen.clone());
    let review = Review::of(seen, dev_rows.targets(), &task)?;
    let training = TrainingRecord {
        options: options.recorded(train_rows.len()),
        train_rows: train_rows.len(),
        dev_rows: dev_rows.len(),
        ending,
        steps: state.step,
        best_step: best.step,
        metric,
        dev_scores: review.scores.clone().without_confusion(),
        baseline: baseline(&task, train_rows.targets(), dev_rows.targets())?.without_confusion(),
    };
    Ok(Grafted {
        adapter: seal(model, (task, options), (training.clone(), fitted), parameters),
        training,
        ending,
        steps: state.step,
        truncated_train: train_rows.truncated(),
        truncated_dev: dev_rows.truncated(),
        review,
        history: state.history,
    })
}

/// All that decides what a run computes: a checkpoint of another one is not gone on from.
#[derive(Serialize)]
struct RunRecord<'a> {
    tool: String,
    base: BaseRecord,
    task: &'a TaskRecord,
    options: GraftOptions,
    /// Digests of the rows as tokens, with their targets.
    train_rows: String,
    dev_rows: String,
    /// Digest of the numbers of the task that it begins with.
    earlier: Option<String>,
}

impl<'a> RunRecord<'a> {
    fn new(
        model: &Model,
        task: &'a TaskRecord,
        options: &GraftOptions,
        (train_rows, dev_rows): (&EncodedRows, &EncodedRows),
        earlier: Option<&TaskParameters>,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            tool: format!("grafter {}", env!("CARGO_PKG_VERSION")),
            // What the base is called decides nothing.
            base: BaseRecord { name: String::new(), ..BaseRecord::of(model) },
            task,
            options: GraftOptions { train: options.recorded(train_rows.len()), ..options.clone() },
            train_rows: train_rows.sha256()?,
            dev_rows: dev_rows.sha256()?,
            earlier: earlier.map(weights_digest),
        })
    }
}

fn seal(
    model: &Model,
    (task, options): (TaskRecord, &GraftOptions),
    (training, fitted): (TrainingRecord, Fitted),
    parameters: TaskParameters,
) -> Adapter {
    let stride = options.encoding(task.kind).stride();
    let manifest = Manifest {
        format_version: FORMAT_VERSION,
        tool: format!("grafter {}", env!("CARGO_PKG_VERSION")),
        task,
        max_length: options.max_length,
        stride,
        adapter: parameters.layout().config().clone(),
        base: BaseRecord::of(model),
        trained_parameters: parameters.values().len(),
        training: Some(training),
        imported: None,
        calibration: fitted.calibration,
        thresholds: fitted.thresholds,
        weights_sha256: weights_digest(&parameters),
    };
    Adapter { manifest, parameters }
}

/// How rows become tokens.
struct Encoding<'a> {
    model: &'a Model,
    options: &'a GraftOptions,
    scale: Option<ScoreScale>,
}

impl Encoding<'_> {
    /// Reads rows, to be trained on or not, and keeps their tokens. What is in memory as text is one block. `follow` is told how
    /// many rows are done and may end the work.
    fn rows(
        &self,
        data: &dyn LabelledRows,
        trained: bool,
        mut follow: impl FnMut(usize) -> ControlFlow<()>,
    ) -> Result<EncodedRows, GraftError> {
        let changed = || DataError::Changed { file: data.file().clone() };
        let mut rows = EncodedRows::new(data.targets().clone(), self.scale, &self.options.train.budget);
        let encoding = self.options.encoding(data.task().scheme.kind());
        for block in blocks(data.read()?) {
            let texts = block?;
            let encoded = encoding.encode_each(self.model, &texts);
            let encoded = encoded.map_err(|(line, source)| GraftError::Row {
                file: data.file().clone(),
                line,
                source,
            })?;
            if rows.len() + encoded.len() > data.targets().len() {
                return Err(changed().into());
            }
            if trained && encoding.form == RowForm::Choices {
                check_together(data.file(), texts.iter().map(|row| row.line), &encoded)?;
            }
            rows.append(&encoded)?;
            if follow(rows.len()).is_break() {
                return Err(TrainError::Interrupted { step: 0 }.into());
            }
        }
        if rows.len() < data.targets().len() { Err(changed().into()) } else { Ok(rows) }
    }
}

/// That the sequences of each row, which begin on these lines, can be trained on together.
fn check_together(
    file: &Arc<str>,
    lines: impl Iterator<Item = u64>,
    rows: &[Vec<TokenIds>],
) -> Result<(), GraftError> {
    let tokens = |row: &Vec<TokenIds>| row.iter().map(|sequence| sequence.ids.len()).sum::<usize>();
    let too_long = lines.zip(rows.iter().map(tokens)).find(|(_, tokens)| *tokens > MAX_CHOICE_TOKENS);
    too_long.map_or(Ok(()), |(line, tokens)| Err(GraftError::Choices { file: file.clone(), line, tokens }))
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

fn check_length(
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
    fn check_questions(&self, task: &TaskRecord, tokenizer: &Tokenizer) -> Result<(), GraftError> {
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
    fn recorded(&self, train_rows: usize) -> TrainOptions {
        TrainOptions {
            epochs: Some(self.train.epochs_for(train_rows)),
            learning_rate: Some(self.train.learning_rate_for(self.method)),
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
            ("--lr", self.train.learning_rate_for(self.method)),
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
