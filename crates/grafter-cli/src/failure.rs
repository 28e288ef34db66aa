//! Why a command failed, and how that is told: one message, and a hint where the error has one.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use grafter::text::escape;
use thiserror::Error;

use crate::terminal::tell;

/// Anything that ends a command before it is done.
#[derive(Debug, Error)]
pub enum Failure {
    /// An error of the library.
    #[error(transparent)]
    Library(#[from] grafter::Error),
    /// Standard output.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
    /// A file that the command writes.
    #[error("cannot write `{}`: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that the command reads.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The pool of threads.
    #[error("cannot start threads: {0}")]
    Threads(rayon::ThreadPoolBuildError),
    /// The address that the server was to listen on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// What the server needs of the system.
    #[error("cannot start the server: {0}")]
    Serve(io::Error),
    /// Something about the command's own arguments.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// Ctrl-C before there was anything to keep.
    #[error("interrupted")]
    Interrupted,
}

/// Errors of the library's modules come through its one error.
macro_rules! from_library {
    ($($kind:ty),+) => {
        $(impl From<$kind> for Failure {
            fn from(error: $kind) -> Self {
                Self::Library(error.into())
            }
        })+
    };
}

from_library!(
    grafter::adapter::AdapterError,
    grafter::adapterhub::AdapterHubError,
    grafter::bank::BankError,
    grafter::compare::CompareError,
    grafter::data::DataError,
    grafter::data::RowError,
    grafter::eval::EvalError,
    grafter::graft::GraftError,
    grafter::hub::HubError,
    grafter::model::ModelError,
    grafter::onnx::OnnxError,
    grafter::predict::PredictError,
    grafter::tokenizer::TokenizerError
);

impl Failure {
    /// Whether the reader of standard output went away.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Writes the message, and the hint if there is one, to standard error.
    pub fn print(&self) {
        tell(format_args!("error: {}", harmless(&self.to_string())));
        let hint = match self {
            Self::Library(error) => error.hint(),
            Self::Usage { hint, .. } => hint.clone(),
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => Some(
                "another program listens there: name another port with `--port`; 0 takes a free one"
                    .to_owned(),
            ),
            _ => None,
        };
        if let Some(hint) = hint {
            tell(format_args!("\nhint: {}", harmless(&hint)));
        }
    }
}

/// Messages quote names from files: nothing in them may steer the terminal.
fn harmless(message: &str) -> String {
    message.split('\n').map(|line| escape(line, usize::MAX)).collect::<Vec<_>>().join("\n")
}
