//! Sets events apart that an earlier start saw answered, so that they are read and checked but not sent again, and
//! joins them to the answers.
//!
//! ```text
//! events ──► set_apart ──the others──► pace, throttle, push ──answers──► rejoin ──► all, each answered
//!                └────────────── Decision::Earlier ─────────────────────────┘
//! ```

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use pin_project_lite::pin_project;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::Earlier;
use crate::model::{Decision, Delivered, Event, Refusal};

/// Setting events apart, on any stream of them.
pub trait ApartExt: Stream<Item = Result<Event, Refusal>> + Sized {
    /// Takes events out whose rows are among `earlier`; their answers go to [`RejoinExt::rejoin`]. It costs nothing once
    /// the last of them is past.
    fn set_apart(self, earlier: Earlier) -> (Rest<Self>, Apart) {
        let (sender, receiver) = mpsc::unbounded_channel();
        // Without anything to set apart, both sides are through with it now.
        let apart = (!earlier.is_empty()).then_some((earlier, sender));
        (Rest { stream: self, apart }, Apart { answers: Some(receiver) })
    }
}

impl<S: Stream<Item = Result<Event, Refusal>>> ApartExt for S {}

/// Joining them to the answers, on any stream of those.
pub trait RejoinExt: Stream<Item = Result<Delivered, Refusal>> + Sized {
    /// Passes on this stream's answers and those set apart. This stream has to be what [`Rest`] flows into, in
    /// the same task. Its end, good or bad, comes after all that was set apart.
    fn rejoin(self, apart: Apart) -> Rejoined<Self> {
        Rejoined { stream: self, apart, end: None }
    }
}

impl<S: Stream<Item = Result<Delivered, Refusal>>> RejoinExt for S {}

pin_project! {
    /// The events that are left; see [`ApartExt::set_apart`].
    #[derive(Debug)]
    #[must_use = "streams do nothing unless polled"]
    pub struct Rest<S> {
        #[pin]
        stream: S,
        apart: Option<(Earlier, UnboundedSender<Delivered>)>,
    }
}

/// What is set apart; see [`ApartExt::set_apart`].
#[derive(Debug)]
pub struct Apart {
    answers: Option<UnboundedReceiver<Delivered>>,
}

impl Apart {
    fn next(&mut self) -> Option<Delivered> {
        match self.answers.as_mut()?.try_recv() {
            Ok(delivered) => Some(delivered),
            Err(mpsc::error::TryRecvError::Empty) => None,
            Err(mpsc::error::TryRecvError::Disconnected) => {
                self.answers = None;
                None
            }
        }
    }
}

impl<S: Stream<Item = Result<Event, Refusal>>> Stream for Rest<S> {
    type Item = Result<Event, Refusal>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        loop {
            let item = ready!(this.stream.as_mut().poll_next(cx));
            let (Some(Ok(event)), Some((earlier, answers))) = (&item, &mut *this.apart) else {
                return Poll::Ready(item);
            };
            if !earlier.take(event.position) {
                if earlier.is_empty() {
                    *this.apart = None;
                }
                return Poll::Ready(item);
            }
            // Who doesn't rejoin them doesn't want them.
            let _ = answers.send(settled(event));
        }
    }
}

fn settled(event: &Event) -> Delivered {
    Delivered {
        position: event.position,
        ts: event.ts,
        event_id: event.event_id,
        decision: Decision::Earlier,
        attempts: 0,
        ambiguous: false,
        latency: Duration::ZERO,
        lag: Duration::ZERO,
    }
}

pin_project! {
    /// All answers; see [`RejoinExt::rejoin`].
    #[derive(Debug)]
    #[must_use = "streams do nothing unless polled"]
    pub struct Rejoined<S> {
        #[pin]
        stream: S,
        apart: Apart,
        // The stream's own last item, held back for what was set apart before it.
        end: Option<Option<Refusal>>,
    }
}

impl<S: Stream<Item = Result<Delivered, Refusal>>> Stream for Rejoined<S> {
    type Item = Result<Delivered, Refusal>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        let polled = match this.end {
            Some(_) => None,
            None => match this.stream.poll_next(cx) {
                Poll::Ready(Some(Ok(delivered))) => return Poll::Ready(Some(Ok(delivered))),
                Poll::Ready(Some(Err(refusal))) => {
                    *this.end = Some(Some(refusal));
                    None
                }
                Poll::Ready(None) => {
                    *this.end = Some(None);
                    None
                }
                Poll::Pending => Some(()),
            },
        };
        // Looked at behind the poll that may have set some apart; nothing else does, so no waker is needed.
        match (this.apart.next(), polled) {
            (Some(delivered), _) => Poll::Ready(Some(Ok(delivered))),
            (None, Some(())) => Poll::Pending,
            (None, None) => Poll::Ready(this.end.as_mut().and_then(Option::take).map(Err)),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, stream};

    use super::super::{AnsweredRows, Beyond, FileRows, Kept, OutputFiles};
    use super::*;
    use crate::model::{Micros, Position, Reason};

    fn events(rows: u64) -> impl Stream<Item = Result<Event, Refusal>> + Unpin {
        stream::iter((0..rows).map(|row| {
            let position = Position { rank: 0, file: 0, row, seq: row };
            let (ts, body) = (Micros(row.cast_signed()), Vec::new().into());
            Ok(Event { position, ts, order_key: 0, event_id: [row as u8; 32], body, due: None })
        }))
    }

    /// Rows 1, 2 and 5 of six.
    fn earlier() -> Earlier {
        let file = AnsweredRows { file: "f".to_owned(), rows: vec![(1, 2), (5, 5)] };
        let beyond = Beyond { output_id: "o".parse().unwrap(), cursor: None, files: vec![file] };
        let files = vec![FileRows::of_rows("f", 6)];
        let outputs = [OutputFiles { output_id: "o".parse().unwrap(), files }];
        Earlier::new(&outputs, &Kept { cursors: Vec::new(), beyond: vec![beyond] }).unwrap()
    }

    #[allow(clippy::needless_pass_by_value, reason = "an event that is answered is gone")]
    fn admitted(event: Event) -> Delivered {
        Delivered { decision: Decision::Admit, attempts: 1, ..settled(&event) }
    }

    #[tokio::test]
    async fn what_is_set_apart_goes_past_the_sending_and_comes_before_the_end() {
        for fails in [false, true] {
            let (rest, apart) = events(6).set_apart(earlier());
            let end = fails.then(|| Err(Refusal::new(Reason::IgPushRejected, "413")));
            let sent = rest.map(|event| event.map(admitted)).chain(stream::iter(end));
            let items: Vec<_> = sent.rejoin(apart).collect().await;
            let answers: Vec<_> = items.iter().flatten().collect();
            let rows = |earlier: bool| {
                let of_kind = answers.iter().filter(|answer| (answer.decision == Decision::Earlier) == earlier);
                of_kind.map(|answer| (answer.position.row, answer.event_id[0])).collect::<Vec<_>>()
            };
            assert_eq!((rows(false), rows(true)), (vec![(0, 0), (3, 3), (4, 4)], vec![(1, 1), (2, 2), (5, 5)]));
            assert_eq!(items.iter().position(Result::is_err), fails.then_some(6), "the end comes last");
        }
    }

    #[tokio::test]
    async fn answers_set_apart_do_not_wait_for_others() {
        let (rest, apart) = events(2).set_apart(earlier());
        // Nothing is ever answered, but what is behind it was.
        let sent = rest.filter_map(async |_| None::<Result<Delivered, Refusal>>).chain(stream::pending());
        let mut all = Box::pin(sent.rejoin(apart));
        assert_eq!(all.next().await.unwrap().unwrap().position.row, 1);
        assert!(futures::poll!(all.next()).is_pending());
    }

    #[tokio::test]
    async fn without_an_earlier_start_all_passes() {
        let (rest, apart) = events(6).set_apart(Earlier::default());
        assert_eq!(rest.map(|event| event.map(admitted)).rejoin(apart).count().await, 6);
    }
}
