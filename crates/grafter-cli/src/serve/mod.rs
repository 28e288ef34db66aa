//! `grafter serve`: the tasks of a bank over HTTP, from one process.
//!
//! ```text
//! connection ─ routes (key, limits) ─ body ─ answers ─ names to versions, adapters, tokens   (threads that may block)
//!     ─ queue, bounded by tokens ─ batcher, the one thread that computes ─ answers ─▶ connection
//! ```
//!
//! What is answered by is an argument of each row: there is no current task, and nothing that is loaded, unloaded or
//! reloaded changes an answer that is under way. This is the only place for HTTP.

mod answers;
mod auth;
mod batcher;
mod body;
mod catalog;
mod connection;
mod error;
#[cfg(test)]
#[path = "../../../../fuzz/src/request.rs"]
mod fuzz_request;
mod hosts;
mod info;
mod limits;
mod log;
mod metrics;
mod openapi;
mod page;
mod predict;
mod queue;
mod room;
mod routes;
mod shutdown;
mod table;
mod unsent;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use grafter::bank::{AdapterCache, Bank, BankError, TaskRef, Version};
use grafter::model::Model;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore};

use crate::Outcome;
use crate::args::{HostName, Serve};
use crate::commands::{open_bank_model, print, printable};
use crate::failure::Failure;
use crate::terminal::counted;
use auth::Keys;
use catalog::Catalog;
use hosts::Hosts;
use limits::{Limits, MAX_PREPARED_BYTES};
use log::{Log, Written};
use metrics::Metrics;
use queue::Queue;
use room::Room;
use unsent::Unsent;

/// Threads that speak HTTP: there is little to do, the rest is left to the computation.
const HTTP_THREADS: usize = 2;
/// Threads that read adapters and cut texts into tokens.
const BLOCKING_THREADS: usize = 8;

/// Everything that requests share.
pub struct Server {
    bank: Bank,
    model: Model,
    cache: AdapterCache,
    catalog: RwLock<Arc<Catalog>>,
    queue: Arc<Queue>,
    metrics: Arc<Metrics>,
    log: Log,
    limits: Limits,
    keys: Keys,
    hosts: Hosts,
    /// For texts that become tokens, before the queue sees them.
    preparing: Room,
    /// Threads for work that may block.
    threads: Arc<Semaphore>,
    /// A place for each large answer that is written.
    writing: Semaphore,
    unsent: Unsent,
    default_task: Option<TaskRef>,
    draining: AtomicBool,
    /// Held while the list is read, so that an older one never comes after a newer.
    reloading: Arc<Mutex<()>>,
    /// The beginning of the ids of this process's requests, and how many there were.
    request_ids: (u64, AtomicU64),
}

impl Server {
    /// What needs no model comes first, so that a wrong flag is told at once.
    fn open(arguments: &Serve) -> Result<(Self, Written), Failure> {
        let keys = Keys::read(arguments)?;
        let local = arguments.host.is_loopback() && !keys.has_api_keys();
        let hosts = match &arguments.allow_host[..] {
            [] if !local => Hosts::Any,
            names => Hosts::Known(names.iter().map(|HostName(name)| name.clone()).collect()),
        };
        let limits = Limits::of(arguments);
        let bank = Bank::open(&arguments.bank)?;
        let metrics = Arc::new(Metrics::new());
        let mut broken = Vec::new();
        let catalog =
            Catalog::read(&bank, |name, error| broken.push(format!("`{name}` cannot be read: {error}")))?;
        if let Some(task) = &arguments.default_task {
            catalog.resolve(task)?;
        }
        metrics.set_tasks(catalog.tasks.keys());
        let model = open_bank_model(&bank, arguments.model.model.as_deref())?;
        let (log, written) = Log::new(arguments.log, Arc::clone(&metrics));
        for task in broken {
            log.notice("broken_task", format_args!("warning: task {}", grafter::text::escape(&task, 1000)));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        let server = Self {
            cache: AdapterCache::new(limits.max_adapters_bytes),
            catalog: RwLock::new(Arc::new(catalog)),
            queue: Arc::new(Queue::new(limits.max_queue_tokens, limits.max_request_tokens)),
            default_task: arguments.default_task.clone(),
            draining: AtomicBool::new(false),
            reloading: Arc::default(),
            request_ids: (now ^ u64::from(std::process::id()), AtomicU64::new(0)),
            preparing: Room::new(MAX_PREPARED_BYTES),
            threads: Arc::new(Semaphore::new(BLOCKING_THREADS)),
            writing: Semaphore::new(HTTP_THREADS),
            unsent: Unsent::new(limits.max_unsent_bytes),
            bank,
            model,
            metrics,
            log,
            limits,
            keys,
            hosts,
        };
        Ok((server, written))
    }

    /// The list of tasks that is current now.
    fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the list of tasks again; those of it that are broken. Adapters that no task has any more leave the memory.
    fn reload(&self, _alone: OwnedMutexGuard<()>) -> Result<Vec<String>, BankError> {
        let mut broken = Vec::new();
        let catalog = Catalog::read(&self.bank, |name, error| {
            self.log.event("broken_task", format_args!("`{name}`: {error}"));
            broken.push(name.to_owned());
        })?;
        self.metrics.set_tasks(catalog.tasks.keys());
        self.cache.retain(|version| catalog.has(version));
        *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(catalog);
        Ok(broken)
    }

    fn is_loaded(&self, version: &Version) -> bool {
        self.cache.has(version)
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    fn next_request_id(&self) -> String {
        let (beginning, count) = &self.request_ids;
        format!("{beginning:016x}-{}", count.fetch_add(1, Ordering::Relaxed))
    }
}

/// Serves until it is told to end.
/// # Errors
/// If the bank, the model or the keys cannot be read, or the address cannot be listened on.
pub fn run(arguments: &Serve) -> Result<Outcome, Failure> {
    let (server, written) = Server::open(arguments)?;
    let server = Arc::new(server);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(HTTP_THREADS)
        // A thread that writes a large answer leaves its connections to another one.
        .max_blocking_threads(BLOCKING_THREADS + HTTP_THREADS)
        .enable_all()
        .build()
        .map_err(Failure::Serve)?;
    let here = Arc::clone(&server);
    let computing = std::thread::Builder::new().name("compute".to_owned());
    computing.spawn(move || batcher::run(&here)).map_err(Failure::Serve)?;
    let address = SocketAddr::new(arguments.host, arguments.port);
    let outcome = runtime.block_on(listen(&server, address));
    // Threads that still compute or read an adapter do it for nobody, and are not waited for.
    server.queue.close();
    runtime.shutdown_timeout(Duration::from_millis(100));
    server.log.end(&written);
    outcome.map(|all| if all { Outcome::Done } else { Outcome::Unanswered })
}

async fn listen(server: &Arc<Server>, address: SocketAddr) -> Result<bool, Failure> {
    let listener = TcpListener::bind(address).await.map_err(|source| Failure::Listen { address, source })?;
    let address = listener.local_addr().map_err(Failure::Serve)?;
    let ending = shutdown::listen(Arc::clone(server)).map_err(Failure::Serve)?;
    if !address.ip().is_loopback() && !server.keys.has_api_keys() {
        let warning =
            "there are no API keys, and whoever reaches the address may ask; `--api-key-file` gives some";
        server.log.notice("open", format_args!("warning: {warning}"));
    }
    let tasks = counted(server.catalog().tasks.len(), "task");
    let name = printable(server.model.name());
    server.log.notice("serving", format_args!("serving {tasks} of `{name}` at http://{address}"));
    // Who does not read it has it from the line above.
    let _ = print(&format!("http://{address}\n"));
    let router = routes::router(server);
    let all = connection::serve(server, listener, router, ending).await;
    if !all {
        let warning = "warning: the time for ending is over, and not all requests were answered";
        server.log.notice("unanswered", warning);
    }
    Ok(all)
}
