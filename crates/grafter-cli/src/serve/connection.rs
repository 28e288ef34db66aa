//! Connections: accepting them, how many and how slow they may be, and how they end.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, Sleep, sleep};

use super::Server;
use super::limits::{MAX_HEADER_BYTES_HARD, MAX_HEADERS_HARD, WRITE_LEAST, WRITE_TIMEOUT};

/// How long to wait where the system has no connection to give, as when a process has too many files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until `ending` says so, then waits until all are done, or the grace time is over. Says whether all
/// were done.
pub async fn serve(
    server: &Arc<Server>,
    listener: TcpListener,
    router: Router,
    mut ending: watch::Receiver<bool>,
) -> bool {
    let most = server.limits.max_connections;
    let places = Arc::new(Semaphore::new(most));
    loop {
        let next = async {
            // Where there is no place, the system lets them wait.
            let place = Arc::clone(&places).acquire_owned().await.expect("it is never closed");
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            next = next => next,
            _ = ending.wait_for(|ending| *ending) => break,
        };
        let Ok((stream, _)) = accepted else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (server, router, ending) = (Arc::clone(server), router.clone(), ending.clone());
        tokio::spawn(async move {
            server.metrics.connections.fetch_add(1, Ordering::Relaxed);
            connection(&server, stream, router, ending).await;
            server.metrics.connections.fetch_sub(1, Ordering::Relaxed);
            drop(place);
        });
    }
    // From here on the system refuses connections.
    drop(listener);
    let all = places.acquire_many(u32::try_from(most).unwrap_or(u32::MAX));
    tokio::time::timeout(server.limits.grace, all).await.is_ok()
}

async fn connection(server: &Server, stream: TcpStream, router: Router, mut ending: watch::Receiver<bool>) {
    // It fails where the client is gone already.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(WriteLimited { stream, waiting: None, taken: 0 });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(server.limits.header_timeout)
        .max_headers(MAX_HEADERS_HARD)
        .max_buf_size(MAX_HEADER_BYTES_HARD)
        .serve_connection(io, TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    tokio::select! {
        // What a client does wrong below HTTP ends its connection and is of no interest.
        _ = connection.as_mut() => return,
        _ = ending.wait_for(|ending| *ending) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// A stream that fails where the other side takes less than [`WRITE_LEAST`] bytes in [`WRITE_TIMEOUT`], and not all there is.
struct WriteLimited {
    stream: TcpStream,
    /// Since the other side was first waited for.
    waiting: Option<Pin<Box<Sleep>>>,
    /// Bytes that it took since then.
    taken: usize,
}

impl WriteLimited {
    /// Notes what came of writing, and of waiting for it.
    fn wrote(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = polled {
            self.taken += written.as_ref().copied().unwrap_or(0);
            if self.taken >= WRITE_LEAST {
                self.took_enough();
            }
            return Poll::Ready(written);
        }
        let end = || Box::pin(tokio::time::sleep_until(Instant::now() + WRITE_TIMEOUT));
        match self.waiting.get_or_insert_with(end).as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn took_enough(&mut self) {
        (self.waiting, self.taken) = (None, 0);
    }
}

impl AsyncRead for WriteLimited {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for WriteLimited {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(context, polled)
    }

    /// hyper flushes where it has written all that there is.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.took_enough();
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
