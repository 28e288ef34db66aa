//! The end: SIGTERM or Ctrl-C asks for it, and what was accepted is still answered. A second signal ends at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;

use super::Server;
use crate::INTERRUPTED;

/// Listens for the signals. What is returned becomes true when no connection is to be accepted any more.
/// # Errors
/// If the system refuses.
pub fn listen(server: Arc<Server>) -> io::Result<watch::Receiver<bool>> {
    let (end, ending) = watch::channel(false);
    let mut signals = Signals::new()?;
    tokio::spawn(async move {
        signals.next().await;
        server.draining.store(true, Ordering::SeqCst);
        server.log.notice("ending", "ending: answering what was accepted; once more ends at once");
        tokio::select! {
            () = tokio::time::sleep(server.limits.drain_delay) => {}
            () = signals.next() => std::process::exit(INTERRUPTED.into()),
        }
        end.send_replace(true);
        drop(server);
        signals.next().await;
        std::process::exit(INTERRUPTED.into());
    });
    Ok(ending)
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        // Where it cannot be listened for, the system ends the process.
        let _ = tokio::signal::ctrl_c().await;
    }
}
