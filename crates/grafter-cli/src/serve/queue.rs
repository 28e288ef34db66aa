//! The queue between the requests and the thread that computes: rows of all requests and tasks, bounded by their tokens: a
//! request comes in while fewer than a limit wait, and is itself limited. So what waits stays short enough to be answered
//! soon, and a large request has its turn where little waits.
//!
//! A row brings the adapter that answers it, so that nothing that happens to the bank in the meantime concerns it. The rows
//! of a request come in together or not at all, and leave with its [`Ticket`]: whoever stops waiting frees the place at once.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use grafter::bank::{Resident, TaskName};
use grafter::batch::TokenIds;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A row that is to be answered.
#[derive(Debug)]
pub struct Asked {
    /// The row as tokens.
    pub sequences: Arc<Vec<TokenIds>>,
    pub adapter: Arc<Resident>,
    /// The task, for the measurements.
    pub task: TaskName,
}

impl Asked {
    /// Tokens of all sequences.
    pub fn tokens(&self) -> usize {
        self.sequences.iter().map(|sequence| sequence.ids.len()).sum()
    }
}

/// Why a row has no logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotComputed {
    /// Its time was over before its turn.
    Expired,
    /// The computation failed.
    Failed,
}

/// A row's place in its request, and its logits.
pub type Computed = (usize, Result<Vec<f32>, NotComputed>);

/// A row in the queue.
#[derive(Debug)]
pub struct Job {
    pub asked: Asked,
    pub came: Instant,
    deadline: Instant,
    request: u64,
    place: usize,
    answers: UnboundedSender<Computed>,
}

impl Job {
    pub fn tokens(&self) -> usize {
        self.asked.tokens()
    }

    /// Gives the answer; it is lost where nobody waits any more.
    pub fn answer(self, logits: Result<Vec<f32>, NotComputed>) {
        let _ = self.answers.send((self.place, logits));
    }
}

#[derive(Debug, Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    tokens: usize,
    closed: bool,
}

/// Rows that left the queue without having been computed, so far.
#[derive(Debug, Default)]
pub struct Dropped {
    pub expired: AtomicU64,
    pub gone: AtomicU64,
}

/// Why rows were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Too much waits before them.
    Full,
    /// They are more than a request may bring.
    TooMany,
}

/// The queue.
#[derive(Debug)]
pub struct Queue {
    waiting: Mutex<Waiting>,
    came: Condvar,
    /// Where so many tokens wait, no request comes in.
    max_waiting: usize,
    /// Tokens of one request.
    max_request: usize,
    requests: AtomicU64,
    pub dropped: Dropped,
}

impl Queue {
    pub fn new(max_waiting: usize, max_request: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            came: Condvar::new(),
            max_waiting,
            max_request,
            requests: AtomicU64::new(0),
            dropped: Dropped::default(),
        }
    }

    /// Rows and tokens that wait.
    pub fn depth(&self) -> (usize, usize) {
        let waiting = self.lock();
        (waiting.jobs.len(), waiting.tokens)
    }

    /// Whether no request is taken.
    pub fn is_full(&self) -> bool {
        self.lock().tokens >= self.max_waiting
    }

    /// Takes all rows of a request, or none.
    pub fn submit(self: &Arc<Self>, asked: Vec<Asked>, deadline: Instant) -> Result<Ticket, Refused> {
        let tokens: usize = asked.iter().map(Asked::tokens).sum();
        if tokens > self.max_request {
            return Err(Refused::TooMany);
        }
        let (answers, receiver) = unbounded_channel();
        let request = self.requests.fetch_add(1, Ordering::Relaxed);
        let came = Instant::now();
        let rows = asked.len();
        let mut waiting = self.lock();
        if waiting.tokens >= self.max_waiting {
            return Err(Refused::Full);
        }
        waiting.tokens += tokens;
        waiting.jobs.extend(asked.into_iter().enumerate().map(|(place, asked)| Job {
            asked,
            came,
            deadline,
            request,
            place,
            answers: answers.clone(),
        }));
        drop(waiting);
        self.came.notify_one();
        Ok(Ticket { queue: Arc::clone(self), request, missing: rows, answers: receiver })
    }

    /// Waits for rows and takes as many as fit into `max_tokens`, in their order; one that is longer goes alone. Where rows
    /// waited already, which means that the requests come faster than they are answered, it waits up to `window` for more to
    /// share the batch. `None` once the queue is closed and empty.
    pub fn next_batch(&self, max_tokens: usize, window: Duration) -> Option<Vec<Job>> {
        let mut waiting = self.lock();
        let window_ends = (!waiting.jobs.is_empty()).then(|| Instant::now() + window);
        loop {
            while waiting.jobs.is_empty() {
                if waiting.closed {
                    return None;
                }
                waiting = self.came.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            while let Some(left) = window_ends.and_then(|end| end.checked_duration_since(Instant::now())) {
                if waiting.tokens >= max_tokens || waiting.closed || left.is_zero() {
                    break;
                }
                waiting = self.came.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            let batch = self.take(&mut waiting, max_tokens);
            if !batch.is_empty() {
                return Some(batch);
            }
        }
    }

    fn take(&self, waiting: &mut Waiting, max_tokens: usize) -> Vec<Job> {
        let now = Instant::now();
        let (mut batch, mut tokens) = (Vec::new(), 0);
        while let Some(job) = waiting.jobs.pop_front() {
            if job.deadline > now && !batch.is_empty() && tokens + job.tokens() > max_tokens {
                waiting.jobs.push_front(job);
                break;
            }
            waiting.tokens -= job.tokens();
            if job.deadline <= now {
                self.dropped.expired.fetch_add(1, Ordering::Relaxed);
                job.answer(Err(NotComputed::Expired));
            } else {
                tokens += job.tokens();
                batch.push(job);
            }
        }
        batch
    }

    /// No row comes any more; those that wait are still answered.
    pub fn close(&self) {
        self.lock().closed = true;
        self.came.notify_all();
    }

    fn withdraw(&self, request: u64) {
        let mut waiting = self.lock();
        let (rows, mut tokens) = (waiting.jobs.len(), 0);
        waiting.jobs.retain(|job| {
            tokens += if job.request == request { job.tokens() } else { 0 };
            job.request != request
        });
        waiting.tokens -= tokens;
        self.dropped.gone.fetch_add((rows - waiting.jobs.len()) as u64, Ordering::Relaxed);
    }

    /// A panic elsewhere leaves the queue whole: no code of others runs under the lock.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request's rows in the queue. Dropped, it takes out those that are not computed yet.
#[derive(Debug)]
pub struct Ticket {
    queue: Arc<Queue>,
    request: u64,
    missing: usize,
    answers: UnboundedReceiver<Computed>,
}

impl Ticket {
    /// The next answer, in no order; `None` after the last.
    pub async fn next(&mut self) -> Option<Computed> {
        if self.missing == 0 {
            return None;
        }
        let computed = self.answers.recv().await?;
        self.missing -= 1;
        Some(computed)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.missing > 0 {
            self.queue.withdraw(self.request);
        }
    }
}
