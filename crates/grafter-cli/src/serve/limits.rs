//! What the server takes at most, and how long it waits.

use std::time::Duration;

use crate::args::Serve;

/// Headers of a request. hyper itself answers what is far above, with nothing but a status.
pub const MAX_HEADERS: usize = 64;
pub const MAX_HEADERS_HARD: usize = 128;
/// Bytes of the request's target and its headers together.
pub const MAX_HEADER_BYTES: usize = 16 << 10;
pub const MAX_HEADER_BYTES_HARD: usize = 64 << 10;
/// Characters of a message that quotes a request.
pub const MAX_QUOTED: usize = 300;
/// Bytes of texts that become tokens at one time.
pub const MAX_PREPARED_BYTES: usize = 4 << 20;
/// Numbers of an answer that is not written by a thread with other connections to serve.
pub const LARGE_ANSWER: usize = 1 << 14;
/// How long an answer is kept of which less than [`WRITE_LEAST`] bytes are taken, and with it the connection.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
pub const WRITE_LEAST: usize = 1 << 20;

/// Limits of one server.
#[derive(Clone, Debug)]
pub struct Limits {
    pub max_batch_tokens: usize,
    pub batch_window: Duration,
    pub max_queue_tokens: usize,
    pub max_request_tokens: usize,
    /// A request of a few bytes may ask for many labels.
    pub max_answer_numbers: usize,
    /// Of answers that their clients have not taken yet.
    pub max_unsent_bytes: usize,
    pub max_adapters_bytes: u64,
    pub max_body_bytes: usize,
    pub max_rows: usize,
    pub max_text_bytes: usize,
    pub max_connections: usize,
    pub timeout: Duration,
    pub header_timeout: Duration,
    pub body_timeout: Duration,
    pub drain_delay: Duration,
    pub grace: Duration,
}

impl Limits {
    pub fn of(arguments: &Serve) -> Self {
        let limits = &arguments.limits;
        Self {
            max_batch_tokens: limits.max_batch_tokens as usize,
            batch_window: Duration::from_millis(limits.batch_window_ms.into()),
            max_queue_tokens: limits.max_queue_tokens as usize,
            max_request_tokens: limits.max_request_tokens as usize,
            max_answer_numbers: limits.max_answer_numbers as usize,
            max_unsent_bytes: limits.max_unsent_bytes as usize,
            max_adapters_bytes: limits.max_adapters_bytes,
            max_body_bytes: limits.max_body_bytes as usize,
            max_rows: limits.max_rows as usize,
            max_text_bytes: limits.max_text_bytes as usize,
            max_connections: limits.max_connections as usize,
            timeout: limits.timeout.0,
            header_timeout: limits.header_timeout.0,
            body_timeout: limits.body_timeout.0,
            drain_delay: limits.drain_delay.0,
            grace: limits.grace.0,
        }
    }
}
