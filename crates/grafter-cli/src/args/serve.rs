//! The flags of `serve`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use grafter::bank::TaskRef;

use super::bank::BankModelArg;

/// Answer requests over HTTP, all tasks of a bank from one process
#[derive(Debug, Args)]
pub struct Serve {
    /// Folder of the bank
    #[arg(long, value_name = "BANK")]
    pub bank: PathBuf,

    #[command(flatten)]
    pub model: BankModelArg,

    /// Address to listen on; every machine that reaches it may ask, so give keys where it is not this machine's own
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1", value_parser = address)]
    pub host: IpAddr,

    /// Name that the server goes by, beside `localhost` and addresses, as behind a proxy; can be given several times. Requests
    /// to others are then refused, as they are without it on 127.0.0.1 where there are no API keys: a page from
    /// anywhere could let its own name point there
    #[arg(long, value_name = "NAME")]
    pub allow_host: Vec<HostName>,

    /// Port to listen on; 0 takes a free one, which is printed
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub port: u16,

    /// The task that `/predict` answers by; the bank's only task if absent
    #[arg(long, value_name = "NAME[@VERSION]")]
    pub default_task: Option<TaskRef>,

    /// File with the API keys, one a line; `GRAFTER_API_KEYS` holds them otherwise, with commas or spaces between. Without
    /// any, whoever reaches the port may ask
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,

    /// File with the admin key; `GRAFTER_ADMIN_KEY` holds it otherwise. Without one there are no admin routes
    #[arg(long, value_name = "FILE")]
    pub admin_key_file: Option<PathBuf>,

    /// How requests are logged on standard error, never with their texts
    #[arg(long, value_name = "FORM", value_enum, default_value_t = LogForm::Text)]
    pub log: LogForm,

    #[command(flatten)]
    pub limits: ServeLimits,
}

/// What is taken at most.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct ServeLimits {
    /// Tokens that are computed together; a longer row goes alone
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = positive())]
    pub max_batch_tokens: u32,

    /// Milliseconds that a batch waits for more rows while requests come faster than they are answered
    #[arg(long, value_name = "MS", default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=60_000))]
    pub batch_window_ms: u32,

    /// Tokens that may wait before a request; what comes then is refused with 429 and `Retry-After`
    #[arg(long, value_name = "N", default_value_t = 8192, value_parser = positive())]
    pub max_queue_tokens: u32,

    /// Tokens of a request; 413 above them
    #[arg(long, value_name = "N", default_value_t = 65_536, value_parser = positive())]
    pub max_request_tokens: u32,

    /// Numbers in an answer, rows times labels; 413 above them
    #[arg(long, value_name = "N", default_value_t = 1 << 20, value_parser = positive())]
    pub max_answer_numbers: u32,

    /// Bytes of answers that their clients have not taken yet; what comes beyond them is refused with 429 and `Retry-After`
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 20, value_parser = positive())]
    pub max_unsent_bytes: u32,

    /// Bytes of adapters in memory; they are read when they are asked for, and the longest unused goes first
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30)]
    pub max_adapters_bytes: u64,

    /// Bytes of a request's body
    #[arg(long, value_name = "BYTES", default_value_t = 2 << 20, value_parser = positive())]
    pub max_body_bytes: u32,

    /// Rows of a request
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = positive())]
    pub max_rows: u32,

    /// Bytes of a text
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 10, value_parser = positive())]
    pub max_text_bytes: u32,

    /// Connections at the same time; more wait to be accepted
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = positive())]
    pub max_connections: u32,

    /// Seconds from a request's arrival to its answer; 503 after them
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = some_seconds)]
    pub timeout: Seconds,

    /// Seconds for a request's headers to come, and between two requests of a connection; it is closed after them
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = some_seconds)]
    pub header_timeout: Seconds,

    /// Seconds for a request's body to come; 408 after them
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = some_seconds)]
    pub body_timeout: Seconds,

    /// Seconds between the signal to end and the last accepted connection, in which `/health/ready` says that it ends
    #[arg(long, value_name = "SECONDS", default_value = "0")]
    pub drain_delay: Seconds,

    /// Seconds for what was accepted to be answered at the end
    #[arg(long, value_name = "SECONDS", default_value = "30")]
    pub grace: Seconds,
}

fn positive() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=1 << 30)
}

/// A limit that leaves time for something.
fn some_seconds(text: &str) -> Result<Seconds, String> {
    let seconds: Seconds = text.parse()?;
    if seconds.0.is_zero() { Err("expected more than 0 seconds".to_owned()) } else { Ok(seconds) }
}

/// An address, not a name.
fn address(text: &str) -> Result<IpAddr, String> {
    text.parse()
        .map_err(|_| "expected an address such as 127.0.0.1 (this machine alone) or 0.0.0.0".to_owned())
}

/// How requests are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogForm {
    /// A JSON object a line
    Json,
    /// A line for people
    Text,
    /// Nothing
    Off,
}

/// The name of a machine, in small letters, without a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(pub String);

impl FromStr for HostName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if text.is_empty() || !text.bytes().all(of_name) {
            return Err("expected a name such as `models.example.org`, without a port".to_owned());
        }
        Ok(Self(text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase()))
    }
}

/// A length of time, given in seconds, whole or not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seconds(pub Duration);

/// A day: longer is a mistake.
const MOST_SECONDS: f64 = 86_400.0;

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let seconds: Option<f64> = text.parse().ok();
        match seconds.filter(|seconds| (0.0..=MOST_SECONDS).contains(seconds)) {
            Some(seconds) => Ok(Self(Duration::from_secs_f64(seconds))),
            None => Err(format!("expected 0 to {MOST_SECONDS} seconds")),
        }
    }
}
