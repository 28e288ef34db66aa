//! One error for callers that only pass errors on, with the hint that belongs to it.

use thiserror::Error;

use crate::adapter::AdapterError;
use crate::adapterhub::AdapterHubError;
use crate::bank::BankError;
use crate::checkpoint::CheckpointError;
use crate::compare::CompareError;
use crate::data::{DataError, RowError};
use crate::durable::parent_of;
use crate::eval::EvalError;
use crate::graft::GraftError;
use crate::hub::HubError;
use crate::metrics::MetricError;
use crate::model::ModelError;
use crate::onnx::OnnxError;
use crate::predict::PredictError;
use crate::tokenizer::TokenizerError;
use crate::train::{ResumeError, TrainError};

/// Anything that can go wrong in this library.
#[derive(Debug, Error)]
pub enum Error {
    /// A bank of tasks.
    #[error(transparent)]
    Bank(#[from] BankError),
    /// Comparing ways to train.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// A data file.
    #[error(transparent)]
    Data(#[from] DataError),
    /// One row of a data file.
    #[error(transparent)]
    Row(#[from] RowError),
    /// Fetching a pretrained model.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// Reading a pretrained model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Writing or reading an adapter folder.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// Exchanging adapters with AdapterHub.
    #[error(transparent)]
    AdapterHub(#[from] AdapterHubError),
    /// Writing an adapter as a model of ONNX.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// Training.
    #[error(transparent)]
    Graft(#[from] GraftError),
    /// Evaluation.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// Metrics.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// Prediction.
    #[error(transparent)]
    Predict(#[from] PredictError),
    /// Tokenizing.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

impl Error {
    /// What the user may do about it; decided by the error's variant, never by its text.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Data(error) | Self::Graft(GraftError::Data(error)) | Self::Eval(EvalError::Data(error)) => {
                error.hint()
            }
            Self::Row(error) => error.hint(),
            Self::Bank(error) => error.hint(),
            Self::AdapterHub(error) => error.hint(),
            Self::Onnx(error) => error.hint(),
            Self::Compare(error) => error.hint(),
            Self::Hub(error) => error.hint(),
            Self::Model(ModelError::Checkpoint(CheckpointError::Unsupported {
                field: "model_type", ..
            })) => Some("`grafter pull minilm` fetches a model that is".to_owned()),
            Self::Adapter(error)
            | Self::Predict(PredictError::Adapter(error))
            | Self::Eval(EvalError::Predict(PredictError::Adapter(error))) => error.hint(),
            Self::Metric(error)
            | Self::Graft(GraftError::Metric(error))
            | Self::Eval(EvalError::Metric(error)) => error.hint(),
            // At the first step the learning rate has not acted yet.
            Self::Graft(GraftError::Train(TrainError::Diverged { step: 2.., .. })) => {
                Some("a smaller `--lr` helps most often".to_owned())
            }
            Self::Graft(GraftError::Train(TrainError::Memory { .. })) => {
                Some("a smaller `--max-length`, fewer `--threads`, or fewer `--jobs` of a comparison take less".to_owned())
            }
            Self::Graft(GraftError::Train(TrainError::Resume(ResumeError::OtherRun { path, .. }))) => Some(format!(
                "go on with what it was begun with, or remove `{}` to begin anew",
                parent_of(path).display()
            )),
            Self::Graft(GraftError::Train(TrainError::Resume(ResumeError::Layout { path, .. }))) => Some(format!(
                "go on with the version of grafter that wrote it, or remove `{}` to begin anew",
                parent_of(path).display()
            )),
            Self::Graft(GraftError::Train(TrainError::Resume(ResumeError::Io { .. }))) => {
                Some("make it readable, or remove the folder of checkpoints to begin anew".to_owned())
            }
            Self::Graft(GraftError::Rows(_) | GraftError::Train(TrainError::Rows(_))) => Some(
                "make room there, or write elsewhere: `train` keeps temporary files in the folder that `--out` lies in"
                    .to_owned(),
            ),
            Self::Graft(_) | Self::Eval(_) | Self::Predict(_) | Self::Tokenizer(_) | Self::Model(_) => None,
        }
    }
}
