//! A connection whose other end does not read is given up after a while: what it holds is wanted elsewhere.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use taskwright::Env;
use taskwright::env::Sleep;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection that fails once something could not be written for too long.
pub(crate) struct Stall<T> {
    inner: T,
    env: Env,
    limit: Duration,
    /// Runs while something waits to be written.
    waits: Option<Sleep>,
}

impl<T> Stall<T> {
    pub(crate) fn new(inner: T, env: Env, limit: Duration) -> Self {
        Self { inner, env, limit, waits: None }
    }

    fn watch<U>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<U>>) -> Poll<io::Result<U>> {
        if written.is_ready() {
            self.waits = None;
            return written;
        }
        let (env, limit) = (&self.env, self.limit);
        let waits = self.waits.get_or_insert_with(|| env.sleep(limit));
        match waits.as_mut().poll(cx) {
            Poll::Ready(()) => {
                let text = "the other end does not read what is sent";
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Stall<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Stall<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.watch(cx, shut)
    }
}
