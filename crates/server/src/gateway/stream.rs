//! A client's socket, with what the SSH library under it lacks: a limit of bytes before sign-in, and an end that works
//! even while the library waits for a client that reads nothing.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tracing::debug;

use super::Limits;

/// How many bytes a client may still send.
#[derive(Debug)]
pub(super) struct Allowance(AtomicU64);

/// The socket. Reading and writing fail once its token is cancelled.
pub(super) struct Guarded {
    inner: TcpStream,
    allowance: Arc<Allowance>,
    // Reading and writing are polled by turns with wakers of their own, and a future wakes the last one only.
    cut_read: Pin<Box<WaitForCancellationFutureOwned>>,
    cut_write: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Allowance {
    pub(super) fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(bytes)))
    }

    /// No limit from now on. The highest value is never counted down.
    pub(super) fn lift(&self) {
        self.0.store(u64::MAX, Ordering::Relaxed);
    }

    fn take(&self, bytes: u64) -> bool {
        let less = |left: u64| if left == u64::MAX { Some(left) } else { left.checked_sub(bytes) };
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

impl Guarded {
    pub(super) fn new(inner: TcpStream, allowance: Arc<Allowance>, cut: &CancellationToken) -> Self {
        let cut_read = Box::pin(cut.clone().cancelled_owned());
        let cut_write = Box::pin(cut.clone().cancelled_owned());
        Self { inner, allowance, cut_read, cut_write }
    }
}

/// Sends small packets at once, and notices a peer whose machine is gone: also while we wait to send, when the library's
/// keep-alives do not run, and at the notebook's side, where there are none.
pub(super) fn prepare(socket: &TcpStream, limits: &Limits) {
    let silent = limits.keep_alive * u32::try_from(limits.keep_alive_count + 1).unwrap_or(1);
    let unread = u32::try_from(silent.as_millis()).unwrap_or(u32::MAX);
    let result = sockopt::set_tcp_nodelay(socket, true)
        .and_then(|()| sockopt::set_socket_keepalive(socket, true))
        .and_then(|()| sockopt::set_tcp_keepidle(socket, silent.max(Duration::from_secs(1))))
        .and_then(|()| sockopt::set_tcp_user_timeout(socket, unread));
    if let Err(error) = result {
        debug!(%error, "setting a socket's options");
    }
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "ended by the gateway")
}

impl AsyncRead for Guarded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.cut_read.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(ended()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        if self.allowance.take((buffer.filled().len() - before) as u64) {
            Poll::Ready(Ok(()))
        } else {
            Poll::Ready(Err(io::Error::other("more bytes than a sign-in takes")))
        }
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.cut_write.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(ended()));
        }
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
