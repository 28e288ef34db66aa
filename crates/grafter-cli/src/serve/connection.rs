//! Connections: accepting them, how many and how slow they may be, and how they end.

use std::io::{self, IoSlice};
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
            connection(server.limits.header_timeout, stream, router, ending).await;
            server.metrics.connections.fetch_sub(1, Ordering::Relaxed);
            drop(place);
        });
    }
    // From here on the system refuses connections.
    drop(listener);
    let all = places.acquire_many(u32::try_from(most).unwrap_or(u32::MAX));
    tokio::time::timeout(server.limits.grace, all).await.is_ok()
}

async fn connection(
    header_timeout: Duration,
    stream: TcpStream,
    router: Router,
    mut ending: watch::Receiver<bool>,
) {
    // It fails where the client is gone already.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(WriteLimited { stream, waiting: None, taken: 0 });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
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

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.wrote(context, polled)
    }

    /// hyper copies whole answers to where it writes a single part, and what counts them would be gone before they are.
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use axum::body::Body;
    use axum::routing::get;

    use super::super::unsent::Unsent;
    use super::*;

    const ANSWER_BYTES: usize = 64 << 20;
    const SOON: Duration = Duration::from_secs(30);

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_answer_that_is_not_read_is_counted() {
        let unsent = Arc::new(Unsent::new(1));
        let held = Arc::clone(&unsent);
        let answer = move || async move { Body::from(held.hold(vec![b'x'; ANSWER_BYTES]).unwrap()) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(SOON)).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let (_end, ending) = watch::channel(false);
        let serving = tokio::spawn(connection(SOON, stream, Router::new().route("/", get(answer)), ending));
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        // What the system takes without a reader is less than the answer.
        let (mut client, mut received) = tokio::task::spawn_blocking(move || {
            let mut beginning = [0; 12];
            client.read_exact(&mut beginning).unwrap();
            (client, beginning.to_vec())
        })
        .await
        .unwrap();
        assert_eq!(received, b"HTTP/1.1 200");
        sleep(Duration::from_millis(100)).await;
        assert!(unsent.hold(vec![1]).is_err(), "the answer is in memory, and nothing counts it");
        let received = tokio::task::spawn_blocking(move || {
            client.read_to_end(&mut received).unwrap();
            received.len()
        });
        assert!(received.await.unwrap() > ANSWER_BYTES);
        serving.await.unwrap();
        assert!(unsent.hold(vec![1]).is_ok(), "the answer is gone, and is counted");
    }
}
