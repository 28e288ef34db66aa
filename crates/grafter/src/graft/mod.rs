//! Grafts one task onto a model: from labelled rows to a trained, evaluated adapter.
//!
//! Joins the rooms of the data's flow (rows, tokenizer, training, metrics). What a user may choose is in `options.rs`.

mod options;

pub(crate) use options::MAX_BOTTLENECK_TIMES_HIDDEN;
pub use options::{GraftOptions, check_max_length, default_max_length};

use std::ops::ControlFlow;
use std::sync::Arc;

use serde::Serialize;
use thiserror::Error;

use self::options::check_length;
use crate::adapter::{
    Adapter, BaseRecord, FORMAT_VERSION, Manifest, ScoreScale, TaskParameters, TaskRecord, TrainingRecord,
    weights_digest,
};
use crate::batch::TokenIds;
use crate::data::{DataError, LabelScheme, LabelledRows, Targets, blocks};
use crate::encoded::EncodedRows;
use crate::eval::{Answers, baseline};
use crate::fitted::Fitted;
use crate::metrics::{Metric, MetricError, check_targets};
use crate::model::Model;
use crate::review::Review;
use crate::row_encoding::RowForm;
use crate::store::StoreError;
use crate::tokenizer::TokenizerError;
use crate::train::{
    CheckpointFolder, Checkpoints, Ending, History, TrainData, TrainError, TrainObserver, train,
};

/// The choices of a row pass the encoder together in training: more tokens than these take too much memory.
pub const MAX_CHOICE_TOKENS: usize = 8192;

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
        fitted =
            Fitted::fit((model.encoder(), &parameters), &dev_rows, &options.train.budget.of_rows(), follow)?;
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
        let mut rows =
            EncodedRows::new(data.targets().clone(), self.scale, &self.options.train.budget.of_rows());
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
