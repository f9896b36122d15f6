//! Bytes that are sent behind an answer, in the same write: what looks like the answer to a call that has not come yet.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Takes the bytes; every request carries one in its extensions.
#[derive(Clone, Debug, Default)]
pub(crate) struct AfterAnswer(Arc<Mutex<Option<Vec<u8>>>>);

impl AfterAnswer {
    /// Sends `bytes` behind the answer to this request.
    pub(crate) fn send(&self, bytes: Vec<u8>) {
        *self.0.lock() = Some(bytes);
    }
}

/// A connection that sends them.
pub(super) struct Wire {
    stream: TcpStream,
    after: AfterAnswer,
    /// What waits for the bytes that follow; it is sent with them at the next flush.
    held: Vec<u8>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, after: AfterAnswer) -> Self {
        Self { stream, after, held: Vec::new() }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.held.is_empty() && this.after.0.lock().is_none() {
            return Pin::new(&mut this.stream).poll_write(context, bytes);
        }
        this.held.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Without anything in front of them, the answer itself has not been written yet.
        if !this.held.is_empty()
            && let Some(bytes) = this.after.0.lock().take()
        {
            this.held.extend(bytes);
        }
        while !this.held.is_empty() {
            match Pin::new(&mut this.stream).poll_write(context, &this.held) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(written)) => drop(this.held.drain(..written)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
