//! From rows to answers: names become versions, versions adapters, texts tokens, tokens logits, logits what is told.
//!
//! The adapter of a row is bound before the row waits. Whatever is unloaded, reloaded or replaced from there on changes
//! nothing of the answer.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Instant;

use grafter::bank::{CacheError, Resident, TaskName, TaskRef, Version};
use grafter::batch::TokenIds;
use grafter::data::Row;
use grafter::predict::{PredictError, Prediction, are_numbers, encode_for_within, fits};
use grafter::row_encoding::RowEncoding;
use grafter::tokenizer::TokenizerError;
use serde::Serialize;

use super::Server;
use super::catalog::{Catalog, Resolved};
use super::error::{ErrorKind, HttpError};
use super::limits::MAX_PREPARED_BYTES;
use super::queue::{Asked, NotComputed, Refused};
use super::room::Taken;
use super::routes::Call;

/// A row and the task that it is for.
#[derive(Debug)]
pub struct Question {
    /// Several questions may share a row.
    pub row: Arc<Row>,
    pub task: Resolved,
    /// Whether a text that is too long is cut, or refused.
    pub cut: bool,
}

/// What is known of an answered question.
#[derive(Debug)]
pub struct Logits {
    pub adapter: Arc<Resident>,
    pub task: TaskName,
    pub row: Arc<Row>,
    pub sequences: Arc<Vec<TokenIds>>,
    pub logits: Vec<f32>,
}

/// An answer as it is told: what `grafter predict` prints, and what gave it.
#[derive(Debug, Serialize)]
pub struct Told {
    pub task: TaskName,
    pub version: Version,
    #[serde(flatten)]
    pub prediction: Prediction,
}

impl Logits {
    pub fn told(self) -> Told {
        let prediction = Prediction::new(&self.adapter, (&self.row, &self.sequences), &self.logits);
        Told { version: self.adapter.version().clone(), task: self.task, prediction }
    }
}

/// Rows and tokens of a request, for the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub rows: usize,
    pub tokens: usize,
}

/// Which versions are asked for; the list is the one that is current now.
/// # Errors
/// If there is no such task or version.
pub fn resolve(catalog: &Catalog, asked: &TaskRef) -> Result<Resolved, HttpError> {
    Ok(catalog.resolve(asked)?)
}

/// What becomes of a request of which a part cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partial {
    /// It is refused, and nothing of it is computed.
    Refused,
    /// The rest is answered.
    Answered,
}

/// Each question's logits, or why it has none, in their order.
/// # Errors
/// If the request as a whole cannot be answered: the queue is full, the time is over, the computation failed, or a part of
/// it cannot be answered and is not to be.
pub async fn ask(
    server: &Arc<Server>,
    questions: Vec<Question>,
    call: &mut Call,
    partial: Partial,
) -> Result<Vec<Result<Logits, HttpError>>, HttpError> {
    let deadline = call.deadline;
    call.counts.rows = questions.len();
    // What would be refused anyway costs no tokenising.
    if server.queue.is_full() {
        return Err(overloaded(server));
    }
    let rows: Vec<Arc<Row>> = questions.iter().map(|question| Arc::clone(&question.row)).collect();
    // Several questions in a row may have one.
    let distinct = rows.chunk_by(Arc::ptr_eq).filter_map(|same| same.first());
    let bytes: usize = distinct.map(|row| bytes_to_read(row)).sum();
    // Half of it at most, or a large request would wait until nothing else is under way.
    let room = server.preparing.take(bytes.min(MAX_PREPARED_BYTES / 2)).ok_or_else(|| overloaded(server))?;
    let prepared = prepare(server, questions, deadline, room).await?;
    let mut answers = Vec::with_capacity(prepared.len());
    let (mut asked, mut waiting) = (Vec::new(), Vec::new());
    for (place, prepared) in prepared.into_iter().enumerate() {
        match prepared {
            Ok(row) => {
                call.counts.tokens += row.tokens();
                waiting.push((place, Arc::clone(&row.adapter), Arc::clone(&row.sequences), row.task.clone()));
                asked.push(row);
                answers.push(None);
            }
            Err(error) if partial == Partial::Refused => return Err(at_input(error, place)),
            Err(error) => answers.push(Some(Err(error))),
        }
    }
    let numbers = |row: &Asked| {
        let config = &row.adapter.manifest().adapter;
        let rows = row.sequences.iter().map(|sequence| config.pooling.rows(sequence.words.len()));
        config.outputs * rows.sum::<usize>()
    };
    let numbers: usize = asked.iter().map(numbers).sum();
    let most = server.limits.max_answer_numbers;
    if numbers > most {
        let message = format!("the answer would hold {numbers} numbers, at most {most} are given");
        return Err(HttpError::new(ErrorKind::TooLarge, message));
    }
    let logits = compute(server, asked, deadline).await?;
    for ((place, adapter, sequences, task), logits) in waiting.into_iter().zip(logits) {
        answers[place] = Some(if are_numbers(&logits) {
            Ok(Logits { adapter, task, row: Arc::clone(&rows[place]), sequences, logits })
        } else {
            server.metrics.row_error(&task);
            Err(HttpError::new(ErrorKind::NotANumber, PredictError::NotANumber.to_string()))
        });
    }
    Ok(answers.into_iter().flatten().collect())
}

/// Bytes that become tokens: of a pair with choices the second text is read with each of them.
fn bytes_to_read(row: &Row) -> usize {
    row.text_bytes() + row.text_b.as_ref().map_or(0, String::len) * row.choices.len()
}

/// An error with the row that it is about.
pub fn at_input(error: HttpError, place: usize) -> HttpError {
    error.at(&format!("`inputs[{place}]`"))
}

/// The logits of rows that are ready, in their order.
async fn compute(
    server: &Arc<Server>,
    asked: Vec<Asked>,
    deadline: Instant,
) -> Result<Vec<Vec<f32>>, HttpError> {
    let mut logits = vec![Vec::new(); asked.len()];
    let mut ticket = server.queue.submit(asked, deadline).map_err(|refused| match refused {
        Refused::Full => overloaded(server),
        Refused::TooMany => too_many(server),
    })?;
    let all = async {
        while let Some((place, computed)) = ticket.next().await {
            logits[place] = computed.map_err(|why| match why {
                NotComputed::Expired => timeout(server),
                NotComputed::Failed => HttpError::new(ErrorKind::Internal, "the rows could not be computed"),
            })?;
        }
        Ok(())
    };
    match tokio::time::timeout_at(deadline.into(), all).await {
        Err(_) => Err(timeout(server)),
        Ok(Err(error)) => Err(error),
        Ok(Ok(())) => Ok(logits),
    }
}

fn too_many(server: &Server) -> HttpError {
    let most = server.limits.max_request_tokens;
    HttpError::new(ErrorKind::TooLarge, format!("the rows have more than {most} tokens together"))
}

fn overloaded(server: &Server) -> HttpError {
    let (_, tokens) = server.queue.depth();
    HttpError::new(ErrorKind::Overloaded, "too much is waiting to be answered")
        .with_retry_after(server.metrics.retry_after_s(tokens))
}

/// The error of a request whose time is over.
pub fn timeout(server: &Server) -> HttpError {
    let (_, tokens) = server.queue.depth();
    let seconds = server.limits.timeout.as_secs_f64();
    HttpError::new(ErrorKind::Timeout, format!("there was no answer within {seconds} s"))
        .with_retry_after(server.metrics.retry_after_s(tokens))
}

type Prepared = Result<Asked, HttpError>;

/// Reads adapters and cuts texts into tokens, on a thread that may take its time.
async fn prepare(
    server: &Arc<Server>,
    questions: Vec<Question>,
    deadline: Instant,
    room: Taken,
) -> Result<Vec<Prepared>, HttpError> {
    // Gone with this future, and with it the reason to go on.
    let wanted = Arc::new(());
    let still_wanted = Arc::downgrade(&wanted);
    let here = Arc::clone(server);
    blocking(server, deadline, move || {
        let prepared = prepare_now(&here, questions, deadline, &still_wanted);
        drop(room);
        prepared
    })
    .await?
}

/// Work that may block, on one of a few threads. Once it has begun it ends in any case; the call waits for it no longer than its
/// deadline.
pub async fn blocking<T: Send + 'static>(
    server: &Server,
    deadline: Instant,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, HttpError> {
    let done = async {
        // Not in the runtime's own queue, where who gave up would still wait.
        let thread = Arc::clone(&server.threads).acquire_owned().await.expect("it is never closed");
        tokio::task::spawn_blocking(move || {
            let done = work();
            drop(thread);
            done
        })
        .await
    };
    match tokio::time::timeout_at(deadline.into(), done).await {
        Err(_) => Err(timeout(server)),
        Ok(done) => done.map_err(|_| {
            server.metrics.panics.fetch_add(1, Ordering::Relaxed);
            HttpError::new(ErrorKind::Internal, "a fault of the server")
        }),
    }
}

fn prepare_now(
    server: &Server,
    questions: Vec<Question>,
    deadline: Instant,
    wanted: &Weak<()>,
) -> Result<Vec<Prepared>, HttpError> {
    // By version: tasks that share one share its place in memory.
    let mut adapters: HashMap<Version, Result<Arc<Resident>, HttpError>> = HashMap::new();
    // Of a row that several tasks are asked for, by how they read it.
    let mut encoded: HashMap<(*const Row, RowEncoding), Arc<Vec<TokenIds>>> = HashMap::new();
    let mut prepared = Vec::with_capacity(questions.len());
    // A row may be many sequences: what would be refused as a whole is not first held as a whole.
    let (mut tokens, most_tokens) = (0, server.limits.max_request_tokens);
    for Question { row, task, cut } in &questions {
        if wanted.strong_count() == 0 || Instant::now() >= deadline {
            // Nobody reads this.
            prepared.push(Err(timeout(server)));
            continue;
        }
        let adapter = match adapters.get(&task.version) {
            Some(adapter) => adapter.clone(),
            None => {
                let held = adapters.values().flatten().map(|adapter| adapter.bytes()).sum();
                let adapter = load_beside(held, server, task);
                adapters.insert(task.version.clone(), adapter.clone());
                adapter
            }
        };
        let asked = adapter.and_then(|adapter| {
            let manifest = adapter.manifest();
            let key = (Arc::as_ptr(row), RowEncoding::of(manifest));
            let known = encoded.get(&key).filter(|_| fits(&manifest.task, row).is_ok());
            let sequences = match known {
                Some(sequences) => Arc::clone(sequences),
                None => {
                    Arc::new(encode_for_within(&server.model, &adapter, row, most_tokens).map_err(refused)?)
                }
            };
            encoded.insert(key, Arc::clone(&sequences));
            if sequences.iter().any(|sequence| sequence.truncated) && !cut {
                let message =
                    format!("it has more than {} tokens, and is not to be cut", manifest.max_length);
                return Err(HttpError::new(ErrorKind::TooLarge, message));
            }
            Ok(Asked { sequences, adapter, task: task.task.clone() })
        });
        match &asked {
            Ok(asked) => tokens += asked.tokens(),
            Err(_) => server.metrics.row_error(&task.task),
        }
        if tokens > most_tokens {
            return Err(too_many(server));
        }
        prepared.push(asked);
    }
    Ok(prepared)
}

/// The adapter of a version, read if it is not in memory.
/// # Errors
/// If it cannot be read, or there is no room for it.
pub fn load(server: &Server, task: &Resolved) -> Result<Arc<Resident>, HttpError> {
    load_beside(0, server, task)
}

/// [`load`] for a request that holds adapters of some bytes already. Where there would be no room with nothing else in
/// memory, asking again is of no use, and the answer says so.
fn load_beside(held: u64, server: &Server, task: &Resolved) -> Result<Arc<Resident>, HttpError> {
    let loaded = server.cache.get(&server.bank, &task.task, &task.version, &server.model);
    loaded.map_err(|error| match error {
        CacheError::Full { needed_bytes, max_bytes, .. } if held.saturating_add(needed_bytes) > max_bytes => {
            let message = format!(
                "the adapters of the request take more than the {max_bytes} bytes that there are for them"
            );
            HttpError::new(ErrorKind::TooLarge, message)
        }
        error => error.into(),
    })
}

fn refused(error: PredictError) -> HttpError {
    match error {
        PredictError::Tokenizer(TokenizerError::TooMany { most }) => {
            HttpError::new(ErrorKind::TooLarge, format!("the rows have more than {most} tokens together"))
        }
        PredictError::Tokenizer(_) => HttpError::new(ErrorKind::Tokenizer, error.to_string()),
        _ => HttpError::validation(error.to_string()),
    }
}
