//! What goes wrong, as HTTP tells it: one table from the kind of error to its status.

use axum::http::StatusCode;
use grafter::bank::{BankError, CacheError};
use serde::Serialize;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorKind {
    /// The request cannot be understood, or asks for what cannot be.
    Validation,
    /// There is nothing to answer.
    Empty,
    /// No key, or a wrong one.
    Unauthorized,
    /// A right key, but not the admin's; or a name that a server without keys does not go by.
    Forbidden,
    /// No such path.
    NotFound,
    /// No such task in the bank.
    UnknownTask,
    /// No such version of the task.
    UnknownVersion,
    /// Another method is meant.
    MethodNotAllowed,
    /// The body came too slowly.
    SlowRequest,
    /// The body, a text or the number of rows is over a limit.
    TooLarge,
    /// Not JSON, or compressed.
    UnsupportedMediaType,
    /// A text cannot be tokenised.
    Tokenizer,
    /// The queue is full.
    Overloaded,
    /// Too many headers, or too long ones.
    HeadersTooLarge,
    /// A fault of the server.
    Internal,
    /// The network's answer is not a number.
    NotANumber,
    /// The adapter cannot be read.
    BrokenTask,
    /// There is no room in memory for the adapter.
    NoRoom,
    /// The answer was not there in time.
    Timeout,
    /// The server is ending.
    Draining,
}

impl ErrorKind {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::Validation,
        Self::Empty,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::UnknownTask,
        Self::UnknownVersion,
        Self::MethodNotAllowed,
        Self::SlowRequest,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::Tokenizer,
        Self::Overloaded,
        Self::HeadersTooLarge,
        Self::Internal,
        Self::NotANumber,
        Self::BrokenTask,
        Self::NoRoom,
        Self::Timeout,
        Self::Draining,
    ];

    /// Its status, and its name in `error_type`.
    pub fn told(self) -> (StatusCode, &'static str) {
        match self {
            Self::Validation => (StatusCode::BAD_REQUEST, "Validation"),
            Self::Empty => (StatusCode::BAD_REQUEST, "Empty"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "Unauthorized"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "Forbidden"),
            Self::NotFound => (StatusCode::NOT_FOUND, "NotFound"),
            Self::UnknownTask => (StatusCode::NOT_FOUND, "UnknownTask"),
            Self::UnknownVersion => (StatusCode::NOT_FOUND, "UnknownVersion"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
            Self::SlowRequest => (StatusCode::REQUEST_TIMEOUT, "SlowRequest"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "TooLarge"),
            Self::UnsupportedMediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType"),
            Self::Tokenizer => (StatusCode::UNPROCESSABLE_ENTITY, "Tokenizer"),
            Self::Overloaded => (StatusCode::TOO_MANY_REQUESTS, "Overloaded"),
            Self::HeadersTooLarge => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "HeadersTooLarge"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "Internal"),
            Self::NotANumber => (StatusCode::INTERNAL_SERVER_ERROR, "NotANumber"),
            Self::BrokenTask => (StatusCode::INTERNAL_SERVER_ERROR, "BrokenTask"),
            Self::NoRoom => (StatusCode::SERVICE_UNAVAILABLE, "NoRoom"),
            Self::Timeout => (StatusCode::SERVICE_UNAVAILABLE, "Timeout"),
            Self::Draining => (StatusCode::SERVICE_UNAVAILABLE, "Draining"),
        }
    }
}

/// An error as it is answered.
#[derive(Clone, Debug)]
pub struct HttpError {
    /// What went wrong.
    pub kind: ErrorKind,
    /// For the one who asked; nothing in it tells of the server's files.
    pub message: String,
    /// For the one who runs the server.
    pub detail: Option<String>,
    /// After how many seconds to ask again.
    pub retry_after_s: Option<u64>,
}

/// The body of an error.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorBody {
    /// The message.
    pub error: String,
    /// The kind of the error.
    pub error_type: &'static str,
}

impl HttpError {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), detail: None, retry_after_s: None }
    }

    pub fn validation(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Validation, message)
    }

    #[must_use]
    pub fn with_detail(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }

    #[must_use]
    pub fn with_retry_after(self, seconds: u64) -> Self {
        Self { retry_after_s: Some(seconds), ..self }
    }

    /// The error with what it is about before the message.
    #[must_use]
    pub fn at(self, place: &str) -> Self {
        Self { message: format!("{place}: {}", self.message), ..self }
    }

    pub fn body(&self) -> ErrorBody {
        ErrorBody { error: self.message.clone(), error_type: self.kind.told().1 }
    }
}

/// Of what concerns files, only that it happened.
impl From<BankError> for HttpError {
    fn from(error: BankError) -> Self {
        let kind = match &error {
            BankError::Name(_) => ErrorKind::Validation,
            BankError::UnknownTask { .. } => ErrorKind::UnknownTask,
            BankError::UnknownVersion { .. } => ErrorKind::UnknownVersion,
            _ => {
                return Self::new(ErrorKind::BrokenTask, "the task cannot be read")
                    .with_detail(error.to_string());
            }
        };
        Self::new(kind, error.to_string())
    }
}

impl From<CacheError> for HttpError {
    fn from(error: CacheError) -> Self {
        match error {
            CacheError::Bank(error) => {
                Self::new(ErrorKind::BrokenTask, "the task cannot be read").with_detail(error.to_string())
            }
            CacheError::Full { .. } => Self::new(ErrorKind::NoRoom, error.to_string()).with_retry_after(1),
            CacheError::TooLarge { .. } => Self::new(ErrorKind::TooLarge, error.to_string()),
        }
    }
}
