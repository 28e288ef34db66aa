//! One line for each request on standard error, without a word of its texts.
//!
//! A thread of its own writes them: where nobody reads standard error, lines are lost and counted, and no request waits.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use super::metrics::Metrics;
use crate::args::LogForm;
use crate::terminal::tell;

/// Lines that may wait to be written.
const LINES_AHEAD: usize = 1024;

/// What a request was and how it ended.
#[derive(Debug, Default)]
pub struct RequestLine {
    pub method: &'static str,
    /// Of the table, or a word that says that there is none.
    pub route: &'static str,
    pub status: u16,
    pub rows: usize,
    pub tokens: usize,
    pub time: Duration,
    pub request_id: String,
    pub error_type: Option<&'static str>,
    /// For the one who runs the server.
    pub detail: Option<String>,
}

/// Where the lines go.
#[derive(Debug)]
pub struct Log {
    form: LogForm,
    /// `None` ends the thread that writes.
    lines: Option<SyncSender<Option<String>>>,
    metrics: Arc<Metrics>,
}

/// Ends when all lines are written.
pub type Written = Receiver<()>;

/// How long the last lines may take at the end.
const LAST_LINES: Duration = Duration::from_secs(1);

impl Log {
    pub fn new(form: LogForm, metrics: Arc<Metrics>) -> (Self, Written) {
        let (done, written) = sync_channel(0);
        if form == LogForm::Off {
            return (Self { form, lines: None, metrics }, written);
        }
        let (lines, queued): (_, Receiver<Option<String>>) = sync_channel(LINES_AHEAD);
        std::thread::spawn(move || {
            queued.iter().map_while(|line| line).for_each(tell);
            drop(done);
        });
        (Self { form, lines: Some(lines), metrics }, written)
    }

    /// Waits for the last lines, but not for a reader who takes none.
    pub fn end(&self, written: &Written) {
        if let Some(lines) = &self.lines {
            let _ = lines.try_send(None);
            let _ = written.recv_timeout(LAST_LINES);
        }
    }

    pub fn request(&self, line: RequestLine) {
        let mut fields = vec![
            ("method", Value::from(line.method)),
            ("route", line.route.into()),
            ("status", line.status.into()),
            ("rows", line.rows.into()),
            ("tokens", line.tokens.into()),
            ("ms", round(line.time.as_secs_f64() * 1e3).into()),
            ("request_id", line.request_id.into()),
        ];
        fields.extend(line.error_type.map(|kind| ("error_type", kind.into())));
        fields.extend(line.detail.map(|detail| ("detail", detail.into())));
        self.write("request", fields);
    }

    /// Something that whoever started the server is told in any form, as a line of the log where that is for programs.
    pub fn notice(&self, event: &'static str, text: impl Display) {
        if self.form == LogForm::Json {
            self.event(event, text);
        } else {
            tell(text);
        }
    }

    /// Something else that happened.
    pub fn event(&self, event: &'static str, detail: impl Display) {
        self.write(event, vec![("detail", detail.to_string().into())]);
    }

    fn write(&self, event: &'static str, fields: Vec<(&'static str, Value)>) {
        let Some(lines) = &self.lines else { return };
        let line = match self.form {
            LogForm::Json => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let mut object = Map::new();
                object.insert("unix_s".to_owned(), round(now.as_secs_f64()).into());
                object.insert("event".to_owned(), event.into());
                object.extend(fields.into_iter().map(|(name, value)| (name.to_owned(), value)));
                Value::Object(object).to_string()
            }
            LogForm::Text | LogForm::Off => {
                let fields = fields.into_iter().map(|(name, value)| match value {
                    Value::String(text) => format!(" {name}={}", grafter::text::escape(&text, 1000)),
                    value => format!(" {name}={value}"),
                });
                format!("{event}{}", fields.collect::<String>())
            }
        };
        if lines.try_send(Some(line)).is_err() {
            self.metrics.lost_log_lines.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Three places behind the point.
fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
