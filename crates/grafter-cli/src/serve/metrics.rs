//! What is measured, in Prometheus' text format.
//!
//! Labels take the values of the table of routes, of the statuses that it can give, and of the tasks that the bank has: what
//! requests ask for makes no new ones.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use grafter::bank::TaskName;

use super::Server;

/// The content type of the text format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper limits of the buckets of times, in seconds.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// Upper limits of the buckets of batches, in rows.
const ROWS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 256.0];
/// Upper limits of the buckets of batches, in tokens.
const TOKENS: [f64; 9] = [16.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0];

#[derive(Debug)]
struct Histogram {
    limits: &'static [f64],
    /// One more than there are limits.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    fn new(limits: &'static [f64]) -> Self {
        Self { limits, counts: vec![0; limits.len() + 1], sum: 0.0 }
    }

    fn add(&mut self, value: f64) {
        self.counts[self.limits.partition_point(|limit| *limit < value)] += 1;
        self.sum += value;
    }

    /// `labels` is empty, or ends with a comma.
    fn write(&self, out: &mut String, name: &str, labels: &str) {
        let mut count = 0;
        for (place, added) in self.counts.iter().enumerate() {
            count += added;
            let limit = self.limits.get(place).map_or("+Inf".to_owned(), ToString::to_string);
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{name}_bucket{{{labels}le=\"{limit}\"}} {count}");
        }
        let labels = labels.trim_end_matches(',');
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(out, "{name}_sum{labels} {}\n{name}_count{labels} {count}", self.sum);
    }
}

#[derive(Debug)]
struct OfTask {
    rows: u64,
    errors: u64,
    seconds: Histogram,
}

#[derive(Debug)]
struct Counted {
    requests: BTreeMap<(&'static str, u16), u64>,
    tasks: BTreeMap<TaskName, OfTask>,
    batch_rows: Histogram,
    batch_tokens: Histogram,
    tokens: u64,
    compute_seconds: f64,
    /// Tokens per second of late, more weight on the last batches.
    speed: Option<f64>,
}

/// Everything that is measured.
#[derive(Debug)]
pub struct Metrics {
    counted: Mutex<Counted>,
    pub connections: AtomicUsize,
    pub panics: AtomicU64,
    pub lost_log_lines: AtomicU64,
}

/// How much a batch counts in the speed of late.
const SPEED_WEIGHT: f64 = 0.2;
/// The longest time that a client is asked to wait before it tries again.
const MAX_RETRY_S: f64 = 60.0;

impl Metrics {
    pub fn new() -> Self {
        let counted = Counted {
            requests: BTreeMap::new(),
            tasks: BTreeMap::new(),
            batch_rows: Histogram::new(&ROWS),
            batch_tokens: Histogram::new(&TOKENS),
            tokens: 0,
            compute_seconds: 0.0,
            speed: None,
        };
        Self {
            counted: Mutex::new(counted),
            connections: AtomicUsize::new(0),
            panics: AtomicU64::new(0),
            lost_log_lines: AtomicU64::new(0),
        }
    }

    /// The tasks that are measured from now on; what was measured of others is forgotten.
    pub fn set_tasks<'a>(&self, names: impl Iterator<Item = &'a TaskName>) {
        let mut counted = self.lock();
        let mut old = std::mem::take(&mut counted.tasks);
        let fresh = || OfTask { rows: 0, errors: 0, seconds: Histogram::new(&SECONDS) };
        counted.tasks = names.map(|name| (name.clone(), old.remove(name).unwrap_or_else(fresh))).collect();
    }

    /// A request was answered; `route` is of the table, or says that there is none.
    pub fn request(&self, route: &'static str, status: u16) {
        *self.lock().requests.entry((route, status)).or_default() += 1;
    }

    /// A row was computed.
    pub fn row(&self, task: &TaskName, time: Duration, answered: bool) {
        if let Some(of_task) = self.lock().tasks.get_mut(task) {
            if answered {
                of_task.rows += 1;
                of_task.seconds.add(time.as_secs_f64());
            } else {
                of_task.errors += 1;
            }
        }
    }

    /// A row of a task was refused, or had no usable answer.
    pub fn row_error(&self, task: &TaskName) {
        if let Some(of_task) = self.lock().tasks.get_mut(task) {
            of_task.errors += 1;
        }
    }

    /// A batch was computed.
    pub fn batch(&self, rows: usize, tokens: usize, time: Duration) {
        let mut counted = self.lock();
        counted.batch_rows.add(rows as f64);
        counted.batch_tokens.add(tokens as f64);
        counted.tokens += tokens as u64;
        counted.compute_seconds += time.as_secs_f64();
        let speed = tokens as f64 / time.as_secs_f64().max(1e-9);
        let before = counted.speed.unwrap_or(speed);
        counted.speed = Some(before + SPEED_WEIGHT * (speed - before));
    }

    /// Seconds until what waits is likely to be computed, whole and at least one.
    pub fn retry_after_s(&self, queued_tokens: usize) -> u64 {
        let seconds = self.lock().speed.map_or(1.0, |speed| queued_tokens as f64 / speed);
        seconds.ceil().clamp(1.0, MAX_RETRY_S) as u64
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All measurements as text.
pub fn text(server: &Server) -> String {
    let metrics = &server.metrics;
    let mut out = String::new();
    let counted = metrics.lock();
    head(&mut out, "grafter_requests_total", "counter", "Requests by route and status.");
    for ((route, status), count) in &counted.requests {
        let _ = writeln!(out, "grafter_requests_total{{route=\"{route}\",status=\"{status}\"}} {count}");
    }
    head(&mut out, "grafter_rows_total", "counter", "Rows that a task computed.");
    for (name, task) in &counted.tasks {
        let _ = writeln!(out, "grafter_rows_total{{task=\"{name}\"}} {}", task.rows);
    }
    head(&mut out, "grafter_row_errors_total", "counter", "Rows that a task could not answer.");
    for (name, task) in &counted.tasks {
        let _ = writeln!(out, "grafter_row_errors_total{{task=\"{name}\"}} {}", task.errors);
    }
    head(&mut out, "grafter_row_seconds", "histogram", "From a row's place in the queue to its logits.");
    for (name, task) in &counted.tasks {
        task.seconds.write(&mut out, "grafter_row_seconds", &format!("task=\"{name}\","));
    }
    head(&mut out, "grafter_batch_rows", "histogram", "Rows of a batch.");
    counted.batch_rows.write(&mut out, "grafter_batch_rows", "");
    head(&mut out, "grafter_batch_tokens", "histogram", "Tokens of a batch.");
    counted.batch_tokens.write(&mut out, "grafter_batch_tokens", "");
    let numbers = Numbers { tokens: counted.tokens, compute_seconds: counted.compute_seconds };
    drop(counted);
    single_values(&mut out, server, &numbers);
    out
}

struct Numbers {
    tokens: u64,
    compute_seconds: f64,
}

fn single_values(out: &mut String, server: &Server, numbers: &Numbers) {
    let (rows, tokens) = server.queue.depth();
    let usage = server.cache.usage();
    let dropped = &server.queue.dropped;
    let metrics = &server.metrics;
    let load = |value: &AtomicU64| value.load(Ordering::Relaxed).to_string();
    let draining = u8::from(server.is_draining());
    for (name, kind, help, value) in [
        ("grafter_tokens_total", "counter", "Tokens computed.", numbers.tokens.to_string()),
        (
            "grafter_compute_seconds_total",
            "counter",
            "Time spent computing.",
            numbers.compute_seconds.to_string(),
        ),
        ("grafter_queue_rows", "gauge", "Rows that wait.", rows.to_string()),
        ("grafter_queue_tokens", "gauge", "Tokens that wait.", tokens.to_string()),
        (
            "grafter_rows_expired_total",
            "counter",
            "Rows whose time was over before their turn.",
            load(&dropped.expired),
        ),
        ("grafter_rows_gone_total", "counter", "Rows that nobody waited for any more.", load(&dropped.gone)),
        ("grafter_adapters", "gauge", "Adapters in the cache.", usage.adapters.to_string()),
        (
            "grafter_adapter_bytes",
            "gauge",
            "Bytes of adapters in memory, those in use too.",
            usage.bytes.to_string(),
        ),
        ("grafter_adapter_loads_total", "counter", "Adapters read.", usage.loads.to_string()),
        (
            "grafter_adapter_evictions_total",
            "counter",
            "Adapters that made room.",
            usage.evictions.to_string(),
        ),
        (
            "grafter_connections",
            "gauge",
            "Open connections.",
            metrics.connections.load(Ordering::Relaxed).to_string(),
        ),
        ("grafter_panics_total", "counter", "Faults of the server.", load(&metrics.panics)),
        (
            "grafter_lost_log_lines_total",
            "counter",
            "Log lines that nobody read in time.",
            load(&metrics.lost_log_lines),
        ),
        ("grafter_draining", "gauge", "Whether the server is ending.", draining.to_string()),
    ] {
        head(out, name, kind, help);
        let _ = writeln!(out, "{name} {value}");
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_count_what_is_at_most_their_limit() {
        let mut histogram = Histogram::new(&ROWS);
        for value in [1.0, 2.0, 3.0, 256.0, 1000.0] {
            histogram.add(value);
        }
        let mut text = String::new();
        histogram.write(&mut text, "rows", "task=\"a\",");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "rows_bucket{task=\"a\",le=\"1\"} 1");
        assert_eq!(lines[1], "rows_bucket{task=\"a\",le=\"2\"} 2");
        assert_eq!(lines[2], "rows_bucket{task=\"a\",le=\"4\"} 3");
        assert_eq!(lines[7], "rows_bucket{task=\"a\",le=\"256\"} 4");
        assert_eq!(
            lines[8..],
            [
                "rows_bucket{task=\"a\",le=\"+Inf\"} 5",
                "rows_sum{task=\"a\"} 1262",
                "rows_count{task=\"a\"} 5",
            ]
        );
    }

    #[test]
    fn tasks_that_the_bank_does_not_have_make_no_labels() {
        let metrics = Metrics::new();
        let (known, other): (TaskName, TaskName) = ("known".parse().unwrap(), "other".parse().unwrap());
        metrics.set_tasks([&known].into_iter());
        for name in [&known, &other] {
            metrics.row(name, Duration::from_millis(1), true);
            metrics.row_error(name);
        }
        let counted = metrics.lock();
        assert_eq!(counted.tasks.len(), 1);
        assert_eq!((counted.tasks[&known].rows, counted.tasks[&known].errors), (1, 1));
    }

    #[test]
    fn waiting_is_told_by_the_speed_of_late() {
        let metrics = Metrics::new();
        assert_eq!(metrics.retry_after_s(1_000_000), 1, "nothing is known yet");
        metrics.batch(1, 1000, Duration::from_secs(1));
        assert_eq!([0, 1, 2500, 10_000_000].map(|tokens| metrics.retry_after_s(tokens)), [1, 1, 3, 60]);
    }
}
