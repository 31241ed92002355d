//! Work on another core: a stream driven on a thread of its own, a few items ahead of who takes them.
//!
//! ```text
//! decode ► merge ► frame   ──bounded queue──►   pace ► throttle ► push
//!      a thread of its own                       the delivery's thread
//! ```

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::thread::JoinHandle;

use futures::{Stream, StreamExt};
use tokio::sync::mpsc;

/// Why a boundary itself ended a stream.
#[derive(Debug, thiserror::Error)]
pub enum AheadError {
    /// The system gave no thread.
    #[error("a thread could not be started: {0}")]
    Thread(io::Error),
    /// The system gave no runtime.
    #[error("a runtime could not be started: {0}")]
    Runtime(io::Error),
    /// A stage on the other side of the boundary panicked.
    #[error("a stage before the delivery panicked")]
    Panicked,
}

/// Puts a stage boundary between two threads.
pub trait AheadExt<T, E>: Stream<Item = Result<T, E>> + Send + Sized + 'static
where
    T: Send + 'static,
    E: From<AheadError> + Send + 'static,
{
    /// Drives this stream on a new thread called `name`, up to `items` (at least 1) ahead of the taker.
    /// Dropping the result ends the thread at its next item.
    ///
    /// A panic in the stream, or a thread that can't be started, is an [`AheadError`] at the end.
    fn ahead(self, name: &str, items: usize) -> Ahead<T, E> {
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

impl<S, T, E> AheadExt<T, E> for S
where
    S: Stream<Item = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: From<AheadError> + Send + 'static,
{
}

/// The taker's end of [`AheadExt::ahead`].
#[derive(Debug)]
pub struct Ahead<T, E> {
    receiver: mpsc::Receiver<Result<T, E>>,
    thread: Option<io::Result<JoinHandle<io::Result<()>>>>,
}

impl<T, E: From<AheadError>> Stream for Ahead<T, E> {
    type Item = Result<T, E>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.receiver.poll_recv(cx));
        if item.is_some() {
            return Poll::Ready(item);
        }
        // The sender is gone, so the thread is at its end and joining it does not wait.
        let failure = match self.thread.take() {
            None => None,
            Some(Err(error)) => Some(AheadError::Thread(error)),
            Some(Ok(thread)) => match thread.join() {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(AheadError::Runtime(error)),
                Err(_) => Some(AheadError::Panicked),
            },
        };
        Poll::Ready(failure.map(|failure| Err(failure.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;

    #[tokio::test]
    async fn items_arrive_in_order_and_the_end_is_the_end() {
        let items = stream::iter((0..1000).map(Ok::<_, AheadError>));
        let taken: Vec<_> = items.ahead("test", 3).map(Result::unwrap).collect().await;
        assert_eq!(taken, (0..1000).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_panic_is_an_error_after_what_came_before_it() {
        let source = stream::iter(0..5).map(|n| if n == 3 { panic!("on purpose") } else { Ok(n) });
        let taken: Vec<Result<_, AheadError>> = source.ahead("test", 1).collect().await;
        assert_eq!(taken.len(), 4);
        assert!(matches!(taken[3], Err(AheadError::Panicked)));
    }

    #[tokio::test]
    async fn dropping_the_taker_ends_the_thread() {
        let (alive, ended) = tokio::sync::oneshot::channel::<()>();
        let source = stream::repeat(0).map(move |n| {
            let _ = &alive;
            Ok::<_, AheadError>(n)
        });
        let mut ahead = source.ahead("test", 1);
        assert!(matches!(ahead.next().await, Some(Ok(0))));
        drop(ahead);
        assert!(ended.await.is_err(), "the stream, and with it the sender, was dropped");
    }
}
