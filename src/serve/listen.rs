//! The door to the network: takes connections, and closes those that say nothing, read nothing, or are too many.
//!
//! Enters: a listening socket and the service behind it. Leaves: answers. hyper's own limits need a timer, which
//! `axum::serve` gives it none of: hence this loop.

use super::guard::Peer;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, Sleep, sleep};
use tower::ServiceExt;

/// Connections at once.
const CONNECTIONS: usize = 512;
/// Connections at once from one address: a class behind one router has one, and each browser opens six.
const OF_ONE_ADDRESS: usize = 384;
/// How long a connection may take for its request's head, or say nothing.
const SILENCE: Duration = Duration::from_secs(10);
/// How long the other side may take nothing of an answer.
const UNREAD: Duration = Duration::from_secs(30);
/// Bytes of a request's head.
const HEAD: usize = 64 << 10;
/// How long connections may still be answered when the server ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// Answers connections until `closing` is raised.
pub async fn accept(listener: TcpListener, app: Router, port: u16, mut closing: watch::Receiver<bool>) {
    let (free, addresses) = (Arc::new(Semaphore::new(CONNECTIONS)), Arc::new(Addresses::default()));
    loop {
        let (stream, from) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                // Too many open files, for one: it passes.
                Err(_) => { sleep(Duration::from_millis(50)).await; continue }
            },
            () = raised(&mut closing) => break,
        };
        let address = from.ip().to_canonical();
        let Ok(permit) = free.clone().try_acquire_owned() else { continue };
        let Some(counted) = addresses.count(address) else { continue };
        let (app, peer, closing) = (app.clone(), Peer { address, port }, closing.clone());
        tokio::spawn(async move {
            answer(stream, app, peer, closing).await;
            drop((permit, counted));
        });
    }
    let all = free.acquire_many(CONNECTIONS as u32);
    let _ = tokio::time::timeout(FAREWELL, all).await;
}

/// Waits until a flag is raised, or nobody is left who could raise it.
pub async fn raised(flag: &mut watch::Receiver<bool>) {
    let _ = flag.wait_for(|raised| *raised).await;
}

async fn answer(stream: TcpStream, app: Router, peer: Peer, mut closing: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        app.clone().oneshot(request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(SILENCE).max_buf_size(HEAD);
    let connection = http.serve_connection(TokioIo::new(Patient::new(stream, UNREAD)), service);
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = raised(&mut closing) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// How many connections each address has.
#[derive(Debug, Default)]
struct Addresses(Mutex<HashMap<IpAddr, usize>>);

/// One connection of an address, as long as it is held.
struct Counted(Arc<Addresses>, IpAddr);

impl Addresses {
    fn count(self: &Arc<Self>, address: IpAddr) -> Option<Counted> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= OF_ONE_ADDRESS {
            return None;
        }
        *count += 1;
        Some(Counted(self.clone(), address))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.1);
            }
        }
    }
}

/// A stream that breaks when the other side takes nothing for too long.
struct Patient<S> {
    stream: S,
    limit: Duration,
    until: Pin<Box<Sleep>>,
    waits: bool,
}

impl<S> Patient<S> {
    fn new(stream: S, limit: Duration) -> Patient<S> {
        Patient { stream, limit, until: Box::pin(sleep(limit)), waits: false }
    }

    /// What a write came to; an error when it has waited too long.
    fn watch<T>(&mut self, context: &mut Context, written: Poll<std::io::Result<T>>) -> Poll<std::io::Result<T>> {
        if written.is_ready() {
            self.waits = false;
            return written;
        }
        if !self.waits {
            self.waits = true;
            let until = Instant::now() + self.limit;
            self.until.as_mut().reset(until);
        }
        ready!(self.until.as_mut().poll(context));
        Poll::Ready(Err(std::io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context, buffer: &mut ReadBuf) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<std::io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<std::io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watch(context, shut)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Takes a byte whenever its time has come; without one, never.
    struct Slow(Option<Pin<Box<Sleep>>>);

    const PACE: Duration = Duration::from_millis(20);

    impl AsyncWrite for Slow {
        fn poll_write(mut self: Pin<&mut Self>, context: &mut Context, _: &[u8]) -> Poll<std::io::Result<usize>> {
            let Some(time) = &mut self.0 else { return Poll::Pending };
            ready!(time.as_mut().poll(context));
            time.as_mut().reset(Instant::now() + PACE);
            Poll::Ready(Ok(1))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn who_reads_nothing_is_given_up_and_who_reads_slowly_is_not() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut deaf = Patient::new(Slow(None), PACE);
            let written = std::future::poll_fn(|context| Pin::new(&mut deaf).poll_write(context, b"x")).await;
            assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
            // Longer in all than the limit, but not in one go.
            let mut slow = Patient::new(Slow(Some(Box::pin(sleep(PACE)))), 3 * PACE);
            for _ in 0..6 {
                let written = std::future::poll_fn(|context| Pin::new(&mut slow).poll_write(context, b"x")).await;
                assert_eq!(written.unwrap(), 1);
            }
        });
    }

    #[test]
    fn an_address_has_its_share() {
        let (addresses, one) = (Arc::new(Addresses::default()), IpAddr::from([10, 0, 0, 1]));
        let mut held: Vec<Counted> = (0..OF_ONE_ADDRESS).filter_map(|_| addresses.count(one)).collect();
        assert_eq!(held.len(), OF_ONE_ADDRESS);
        assert!(addresses.count(one).is_none() && addresses.count(IpAddr::from([10, 0, 0, 2])).is_some());
        held.pop();
        assert!(addresses.count(one).is_some());
    }
}
