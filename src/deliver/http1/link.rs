//! A connection with one request on it at most.
//!
//! ```text
//! quiet? ──► exchange: head and body in one write, reads beside it ──► Received, or why there is none
//! ```

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::task::unconstrained;

use super::super::endpoint::SettingNames;
use super::super::tls::words;
use super::answer::{AnswerReader, Received};
use super::bad::BadAnswer;

/// Room for one read, in bytes: more than an answer of a gate takes.
const ROOM: usize = 8 << 10;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub(in crate::deliver) struct Lost {
    pub(in crate::deliver) cause: Cause,
    /// The connection ended, and not one byte came before that.
    pub(in crate::deliver) silent: bool,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub(in crate::deliver) enum Cause {
    #[error("sending: {0}")]
    Sending(io::Error),
    #[error("receiving: {0}")]
    Receiving(io::Error),
    #[error(transparent)]
    Answer(#[from] BadAnswer),
}

impl Lost {
    /// What went wrong, in words for an operator, who knows settings by these names.
    pub(in crate::deliver) fn words(&self, names: &SettingNames) -> String {
        match &self.cause {
            Cause::Sending(error) => format!("sending: {}", words(error, names)),
            Cause::Receiving(error) => format!("receiving: {}", words(error, names)),
            Cause::Answer(bad) => bad.to_string(),
        }
    }
}

/// A request and its answer.
#[derive(Debug)]
pub(in crate::deliver) struct Exchanged {
    pub(in crate::deliver) received: Received,
    /// The request was all sent when the answer came.
    pub(in crate::deliver) sent: bool,
}

/// A connection over `wire`, and what came over it and belongs to the answer that is being read. An exchange that is
/// given up leaves it unusable: the answer may still come.
pub(in crate::deliver) struct Link<W> {
    wire: W,
    buffer: BytesMut,
}

impl<W: AsyncRead + AsyncWrite + Unpin> Link<W> {
    pub(in crate::deliver) fn new(wire: W) -> Self {
        Self { wire, buffer: BytesMut::new() }
    }

    /// Whether nothing came since the last answer: neither bytes that nobody asked for nor the connection's end. It does
    /// not wait; what the runtime has not heard of yet, it does not see.
    pub(in crate::deliver) async fn is_quiet(&mut self) -> bool {
        // Unconstrained: a pause for the scheduler's sake would look like nothing to read.
        unconstrained(poll_fn(|cx| Poll::Ready(self.poll_disturbed(cx).is_pending()))).await
    }

    /// Ready once something came that nobody asked for, or the connection's end; it can't be used any more then.
    pub(in crate::deliver) fn poll_disturbed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_read(cx).map(|_| ())
    }

    /// Sends a request, and reads its answer. An answer may come before the request is all sent (413, 503), even where
    /// the rest of it can't be sent any more; then the connection is done with.
    pub(in crate::deliver) async fn exchange(&mut self, head: &[u8], body: &[u8]) -> Result<Exchanged, Lost> {
        let mut request = Outgoing { head, body, sent: 0, state: Sending::Bytes };
        let mut reader = AnswerReader::default();
        let mut received = poll_fn(|cx| {
            request.poll(cx, &mut self.wire);
            loop {
                let end = match ready!(self.poll_read(cx)) {
                    Ok(0) => Ok(()),
                    Ok(_) => match reader.read(&mut self.buffer) {
                        Ok(None) => continue,
                        Ok(Some(received)) => return Poll::Ready(Ok(received)),
                        Err(bad) => return Poll::Ready(Err(Lost { cause: bad.into(), silent: false })),
                    },
                    Err(error) => Err(Cause::Receiving(error)),
                };
                // The connection's end. Where sending failed too, that came first.
                let silent = reader.is_untouched() && self.buffer.is_empty();
                let whole = end.and_then(|()| Ok(reader.end(&mut self.buffer)?));
                return Poll::Ready(whole.map_err(|cause| {
                    let cause = request.failure().map_or(cause, Cause::Sending);
                    Lost { cause, silent }
                }));
            }
        })
        .await?;
        let sent = matches!(request.state, Sending::Done);
        received.keep &= sent && self.buffer.is_empty();
        if received.body.len() > ROOM {
            // The body has the memory now; what it took shall not stay with every connection.
            self.buffer = BytesMut::new();
        }
        Ok(Exchanged { received, sent })
    }

    /// Reads what is there; 0 is the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.buffer.is_empty() || self.buffer.len() == self.buffer.capacity() {
            // Back to the front of the same memory, as soon as nobody has the last answer's body any more.
            self.buffer.reserve(ROOM);
        }
        pin!(self.wire.read_buf(&mut self.buffer)).poll(cx)
    }
}

/// A request on its way.
struct Outgoing<'a> {
    head: &'a [u8],
    body: &'a [u8],
    /// Bytes of both that were taken.
    sent: usize,
    state: Sending,
}

enum Sending {
    Bytes,
    /// All bytes were taken, but lie in a buffer below (TLS).
    Flush,
    Done,
    Failed(io::Error),
}

impl Outgoing<'_> {
    /// What ended the sending, if something did.
    fn failure(&mut self) -> Option<io::Error> {
        match std::mem::replace(&mut self.state, Sending::Bytes) {
            Sending::Failed(error) => Some(error),
            _ => None,
        }
    }

    /// Sends as much as can be sent now.
    fn poll<W: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, wire: &mut W) {
        while let Sending::Bytes | Sending::Flush = self.state {
            let done = match self.state {
                Sending::Flush => Pin::new(&mut *wire).poll_flush(cx).map_ok(|()| Sending::Done),
                _ => self.poll_bytes(cx, wire),
            };
            let Poll::Ready(next) = done else { return };
            self.state = next.unwrap_or_else(Sending::Failed);
        }
    }

    fn poll_bytes<W: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, wire: &mut W) -> Poll<io::Result<Sending>> {
        let Self { head, body, sent, .. } = self;
        let (head, body) = (&head[(*sent).min(head.len())..], &body[sent.saturating_sub(head.len())..]);
        match ready!(Pin::new(wire).poll_write_vectored(cx, &[IoSlice::new(head), IoSlice::new(body)]))? {
            0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            n => {
                *sent += n;
                Poll::Ready(Ok(if n == head.len() + body.len() { Sending::Flush } else { Sending::Bytes }))
            }
        }
    }
}

#[cfg(test)]
mod tests;
