//! Work on another core: a stream driven on a thread of its own, a few items ahead of who takes them.
//!
//! ```text
//! decode ► merge ► frame   ──bounded queue──►   pace ► throttle ► push
//!      a thread of its own                       the delivery's thread
//! ```

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::thread::JoinHandle;

use futures::{Stream, StreamExt};
use tokio::sync::mpsc;

use crate::model::{Reason, Refusal};

/// Puts a stage boundary between two threads.
pub trait AheadExt<T>: Stream<Item = Result<T, Refusal>> + Send + Sized + 'static
where
    T: Send + 'static,
{
    /// Drives this stream on a new thread called `name`, up to `items` (at least 1) ahead of the taker.
    /// Dropping the result ends the thread at its next item.
    ///
    /// A panic in the stream, or a thread that can't be started, is an `INTERNAL_ERROR` at the end.
    fn ahead(self, name: &str, items: usize) -> Ahead<T> {
        let (sender, receiver) = mpsc::channel(items.max(1));
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async move {
                let mut stream = std::pin::pin!(self);
                while let Some(item) = stream.next().await {
                    if sender.send(item).await.is_err() {
                        break;
                    }
                }
            });
            Ok(())
        });
        Ahead { receiver, thread: Some(thread) }
    }
}

impl<S, T> AheadExt<T> for S
where
    S: Stream<Item = Result<T, Refusal>> + Send + 'static,
    T: Send + 'static,
{
}

/// The taker's end of [`AheadExt::ahead`].
#[derive(Debug)]
pub struct Ahead<T> {
    receiver: mpsc::Receiver<Result<T, Refusal>>,
    thread: Option<std::io::Result<JoinHandle<std::io::Result<()>>>>,
}

impl<T> Stream for Ahead<T> {
    type Item = Result<T, Refusal>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.receiver.poll_recv(cx));
        if item.is_some() {
            return Poll::Ready(item);
        }
        // The sender is gone, so the thread is at its end and joining it does not wait.
        let failure = match self.thread.take() {
            None => None,
            Some(Err(error)) => Some(format!("a thread could not be started: {error}")),
            Some(Ok(thread)) => match thread.join() {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("a runtime could not be started: {error}")),
                Err(_) => Some("a stage before the delivery panicked".to_owned()),
            },
        };
        Poll::Ready(failure.map(|detail| Err(Refusal::new(Reason::InternalError, detail))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;

    #[tokio::test]
    async fn items_arrive_in_order_and_the_end_is_the_end() {
        let taken: Vec<_> = stream::iter((0..1000).map(Ok)).ahead("test", 3).collect().await;
        assert_eq!(taken, (0..1000).map(Ok).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_panic_is_an_error_after_what_came_before_it() {
        let source = stream::iter(0..5).map(|n| if n == 3 { panic!("on purpose") } else { Ok(n) });
        let taken: Vec<_> = source.ahead("test", 1).collect().await;
        assert_eq!(taken.len(), 4);
        assert_eq!(taken[3].as_ref().unwrap_err().reason, Reason::InternalError);
    }

    #[tokio::test]
    async fn dropping_the_taker_ends_the_thread() {
        let (alive, ended) = tokio::sync::oneshot::channel::<()>();
        let source = stream::repeat(0).map(move |n| {
            let _ = &alive;
            Ok(n)
        });
        let mut ahead = source.ahead("test", 1);
        assert_eq!(ahead.next().await, Some(Ok(0)));
        drop(ahead);
        assert!(ended.await.is_err(), "the stream, and with it the sender, was dropped");
    }
}
