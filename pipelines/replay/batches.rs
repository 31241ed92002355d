//! Batching as a stage.
//!
//! ```text
//! Event ──► Forming, one a lane ──full · as old as --batch-age · the end──► Batch
//! ```

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use pin_project_lite::pin_project;
use wsp::clock::{Alarm, Clock};
use wsp::deliver::DeliveryMode;

use super::batch::{Batch, Batching, Forming, Maker};
use super::error::Error;
use super::event::Event;
use super::pack::Packer;

/// Batching as a stage.
pub(super) trait BatchExt: Stream<Item = Result<Event, Error>> + Sized {
    /// Makes batches of events. Those that are forming at an error go before it.
    fn batch<C: Clock>(self, clock: C, batching: Batching, mode: DeliveryMode, maker: Maker) -> Batches<Self, C> {
        let alarm = clock.alarm();
        Batches { events: self, clock, alarm, desk: Desk::new(batching, mode, maker), fault: None, done: false }
    }
}

impl<S: Stream<Item = Result<Event, Error>>> BatchExt for S {}

pin_project! {
    /// The stream behind [`BatchExt::batch`].
    pub(super) struct Batches<S, C> {
        #[pin]
        events: S,
        clock: C,
        alarm: Alarm<C>,
        desk: Desk,
        fault: Option<Error>,
        done: bool,
    }
}

/// Batches in the making, one a lane.
pub(super) struct Desk {
    batching: Batching,
    /// A batch has a key once.
    once: bool,
    maker: Arc<Maker>,
    packer: Option<Packer>,
    forming: Vec<Forming>,
    /// When a lane's batch is as old as it gets, and the number of that batch; the earliest first.
    ages: VecDeque<(Duration, usize, u64)>,
    /// Batches that go.
    pub(super) ready: VecDeque<Batch>,
}

impl Desk {
    pub(super) fn new(batching: Batching, mode: DeliveryMode, maker: Maker) -> Self {
        let lanes = if let DeliveryMode::Keyed(lanes) = mode { lanes.get() } else { 1 };
        let once = batching.verdicts.is_some() && matches!(mode, DeliveryMode::Keyed(_));
        let forming = (0..lanes).map(|_| Forming::default()).collect();
        let maker = Arc::new(maker);
        Self { batching, once, maker, packer: None, forming, ages: VecDeque::new(), ready: VecDeque::new() }
    }

    pub(super) fn add(&mut self, event: Event, now: Duration) -> Result<(), Error> {
        self.maker.check(&event)?;
        let lane = (event.line % self.forming.len() as u64) as usize;
        if self.forming[lane].is_full_for(&event, &self.batching) {
            self.end(lane)?;
        }
        if self.forming[lane].is_empty() {
            self.ages.push_back((now + self.batching.age, lane, self.forming[lane].number()));
        }
        if self.forming[lane].add(event, &self.batching, self.once) {
            self.end(lane)?;
        }
        Ok(())
    }

    /// Ends the batch that a lane is forming.
    fn end(&mut self, lane: usize) -> Result<(), Error> {
        if self.forming[lane].is_empty() {
            return Ok(());
        }
        if let (Some(packing), None) = (self.maker.packing, &self.packer) {
            let packer = Packer::new(packing).map_err(|error| Error::Internal(format!("--compress: {error}")))?;
            self.packer = Some(packer);
        }
        let events = self.forming[lane].take();
        self.ready.push_back(self.maker.batch(events, lane as u64, self.packer.as_mut())?);
        Ok(())
    }

    /// When the oldest batch that is forming has to go.
    fn due(&mut self) -> Option<Duration> {
        while let Some((due, lane, number)) = self.ages.front() {
            if self.forming[*lane].number() == *number {
                return Some(*due);
            }
            self.ages.pop_front();
        }
        None
    }

    /// Ends the oldest one.
    fn end_oldest(&mut self) -> Result<(), Error> {
        match self.ages.pop_front() {
            Some((_, lane, _)) => self.end(lane),
            None => Ok(()),
        }
    }

    /// Ends all, the oldest first.
    pub(super) fn end_all(&mut self) -> Result<(), Error> {
        while self.due().is_some() {
            self.end_oldest()?;
        }
        Ok(())
    }
}

impl<S: Stream<Item = Result<Event, Error>>, C: Clock> Stream for Batches<S, C> {
    type Item = Result<Batch, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        loop {
            if let Some(batch) = this.desk.ready.pop_front() {
                return Poll::Ready(Some(Ok(batch)));
            }
            if *this.done {
                return Poll::Ready(this.fault.take().map(Err));
            }
            match this.events.as_mut().poll_next(cx) {
                Poll::Ready(Some(Ok(event))) => {
                    let now = this.clock.now();
                    if let Err(error) = this.desk.add(event, now) {
                        note(this.desk.end_all(), this.fault, this.done);
                        note(Err(error), this.fault, this.done);
                    } else if this.desk.due().is_some_and(|due| due <= now) {
                        note(this.desk.end_oldest(), this.fault, this.done);
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    note(this.desk.end_all(), this.fault, this.done);
                    note(Err(error), this.fault, this.done);
                }
                Poll::Ready(None) => {
                    note(this.desk.end_all(), this.fault, this.done);
                    *this.done = true;
                }
                Poll::Pending => {
                    let Some(due) = this.desk.due() else { return Poll::Pending };
                    ready!(this.alarm.poll(cx, due));
                    note(this.desk.end_oldest(), this.fault, this.done);
                }
            }
        }
    }
}

/// Keeps the first error as the stream's last item.
fn note(result: Result<(), Error>, fault: &mut Option<Error>, done: &mut bool) {
    if let Err(error) = result {
        fault.get_or_insert(error);
        *done = true;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use bytes::Bytes;
    use hyper::header::HeaderName;
    use proptest::prelude::*;
    use wsp::byte_budget::ByteBudget;
    use wsp::deliver::Item;

    use super::super::answer_path::AnswerPath;
    use super::super::batch::{BatchForm, Slot};
    use super::super::testing::{event, inputs};
    use super::*;

    const AGE: Duration = Duration::from_millis(200);

    fn desk(events: usize, bytes: usize, form: BatchForm, lanes: usize, verdicts: bool) -> Desk {
        let verdicts = verdicts.then(|| AnswerPath::of_each("[]").unwrap());
        let batching = Batching { events: events.try_into().unwrap(), bytes, age: AGE, form, verdicts };
        let maker = Maker {
            form,
            id_header: HeaderName::from_static("idempotency-key"),
            packing: None,
            bodies: ByteBudget::unlimited(),
            inputs: inputs(),
            checks: false,
        };
        Desk::new(batching, DeliveryMode::Keyed(lanes.try_into().unwrap()), maker)
    }

    fn of_key(row: u64, line: u64) -> Event {
        let body = format!("{{\"row\":{row}}}");
        Event { line, id: [row as u8; 32], body: body.into(), ..event(row, "") }
    }

    proptest! {
        /// Every event is in one batch; batches of a lane have its events in their order; no batch is larger than it may be.
        #[test]
        fn lanes_keep_their_order(
            keys in proptest::collection::vec(0_u64..20, 0..200),
            most in 1_usize..9, bytes in 1_usize..80, lanes in 1_usize..5, once in any::<bool>(), lines in any::<bool>(),
        ) {
            let form = if lines { BatchForm::Lines } else { BatchForm::Array };
            let mut desk = desk(most, bytes, form, lanes, once);
            for (row, key) in keys.iter().enumerate() {
                desk.add(of_key(row as u64, *key), Duration::ZERO).unwrap();
            }
            desk.end_all().unwrap();
            let mut seen = vec![Vec::new(); lanes];
            for batch in &desk.ready {
                let events: Vec<&Event> = batch.sent().map(|(_, event)| event).collect();
                prop_assert!(!events.is_empty() && events.len() <= most);
                let bodies: Vec<&str> = events.iter().map(|event| std::str::from_utf8(&event.body).unwrap()).collect();
                prop_assert!(events.len() == 1 || bodies.iter().map(|body| body.len()).sum::<usize>() <= bytes);
                let text = if lines { bodies.join("\n") + "\n" } else { format!("[{}]", bodies.join(",")) };
                prop_assert_eq!(batch.body(), text.as_bytes());
                let lane = Item::line(batch) as usize;
                prop_assert!(events.iter().all(|event| event.line as usize % lanes == lane));
                let keys: HashSet<u64> = events.iter().map(|event| event.line).collect();
                prop_assert!(!once || keys.len() == events.len());
                seen[lane].extend(events.iter().map(|event| event.position.row));
            }
            prop_assert!(seen.iter().all(|rows| rows.is_sorted()));
            prop_assert_eq!(seen.iter().map(Vec::len).sum::<usize>(), keys.len());
        }
    }

    #[test]
    fn what_is_decided_leaves_a_batch_before_it_is_tried_again() {
        let mut desk = desk(3, 1000, BatchForm::Array, 1, true);
        (0..3).for_each(|row| desk.add(of_key(row, row), Duration::ZERO).unwrap());
        let mut batch = desk.ready.pop_front().unwrap();
        let (id, head) = (*batch.id(), batch.head().to_vec());
        batch.narrow();
        assert_eq!((batch.id(), batch.head()), (&id, &head[..]), "all of it is tried again as it was");
        batch.slots()[1] = Slot::Accepted;
        batch.narrow();
        assert_eq!(batch.body(), &br#"[{"row":0},{"row":2}]"#[..]);
        assert!(*batch.id() != id && batch.head() != head);
        assert_eq!(batch.first_open().position.row, 0);
        // The places of the rest are those of the whole.
        batch.decide(&Slot::Dropped);
        let slots: Vec<Slot> = batch.decided().into_iter().map(|(_, slot)| slot).collect();
        assert_eq!(slots, [Slot::Dropped, Slot::Accepted, Slot::Dropped]);
        batch.set_body(Bytes::new());
        assert!(!batch.body().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_goes_when_it_is_full_or_old() {
        use futures::StreamExt as _;
        use wsp::clock::SystemClock;
        let clock = SystemClock::new();
        let wait = |millis: u64| async move { tokio::time::sleep(Duration::from_millis(millis)).await };
        let events = futures::stream::unfold(0_u64, move |row| async move {
            wait(match row {
                0..3 => 0,
                3 => 150,
                4 => 100,
                _ => 1000,
            })
            .await;
            (row < 6).then(|| (Ok(of_key(row, 0)), row + 1))
        });
        let desk = desk(3, 1000, BatchForm::Array, 1, false);
        let alarm = clock.alarm();
        let batches = Batches { events: Box::pin(events), clock, alarm, desk, fault: None, done: false };
        let sizes = batches.map(|batch| (batch.unwrap().sent().len(), clock.now().as_millis()));
        // Three at once, two within 200 ms of the first of them, and the last when it has waited for so long.
        assert_eq!(sizes.collect::<Vec<_>>().await, [(3, 0), (2, 350), (1, 1450)]);
    }

    #[test]
    fn what_no_batch_can_hold_is_named() {
        for (form, body, words) in [
            (BatchForm::Array, "no json", "f.jsonl, row 4: --batch: its body is no JSON"),
            (BatchForm::Lines, "{\n}", "f.jsonl, row 4: --batch: its body has a line break"),
        ] {
            let mut desk = desk(3, 1000, form, 1, false);
            Arc::get_mut(&mut desk.maker).unwrap().checks = true;
            let error = desk.add(event(3, body), Duration::ZERO).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
            let own = Event { line_bytes: 6, head: Bytes::from_static(b"PUT /xid: 7\r\n"), ..event(3, "{}") };
            let error = desk.add(own, Duration::ZERO).unwrap_err().to_string();
            assert!(error.contains("URL or headers of its own"), "{error}");
        }
    }
}
