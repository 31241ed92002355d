//! The task that does the feed's I/O whatever the rest of the program does: one call to the stream and one save of
//! positions at a time, offers out, verdicts in.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, pending};
use tokio::sync::mpsc;

use super::super::message::{Desk, Ticket};
use super::super::{Decode, FeedError, Incoming, Met, ShardPosition, ShardPositions, Source, TopicPlace};
use super::api::Api;
use super::options::KinesisOptions;
use super::reader::{Answer, Reader, Request};
use super::shards::backoff;
use crate::clock::Clock;

/// Time between two saves, where no verdict asks for one at once.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// How long the end tries to keep the last positions; what is not kept comes again.
const LAST_SAVE: Duration = Duration::from_secs(10);

/// The longest sleep; nothing waits for longer without another event.
const SLEEP: Duration = Duration::from_hours(1);

/// What goes to the stream.
pub(super) type Offered<M, E> = Result<Incoming<M>, FeedError<E>>;

/// The outcome of a save, with what was to be saved.
type Saved<E> = (Vec<ShardPosition>, Result<(), E>);

/// The state of the task.
pub(super) struct Poller<M, E, A, C> {
    api: A,
    options: Arc<KinesisOptions>,
    positions: Arc<dyn ShardPositions<Error = E>>,
    clock: C,
    offers: mpsc::Sender<Offered<M, E>>,
    met: Met,
    desk: Desk,
    asking: Option<BoxFuture<'static, Answer>>,
    saving: Option<BoxFuture<'static, Saved<E>>>,
    save_due: Duration,
    save_failures: u32,
}

impl<M: Decode, E: Display + Send + 'static, A: Api, C: Clock> Poller<M, E, A, C> {
    pub(super) fn new(
        api: A,
        options: Arc<KinesisOptions>,
        positions: Arc<dyn ShardPositions<Error = E>>,
        clock: C,
        offers: mpsc::Sender<Offered<M, E>>,
        met: Met,
    ) -> Self {
        Self {
            api,
            options,
            positions,
            clock,
            offers,
            met,
            desk: mpsc::unbounded_channel(),
            asking: None,
            saving: None,
            save_due: Duration::ZERO,
            save_failures: 0,
        }
    }

    /// Runs until the stream is dropped and every message given out is settled or dropped; then keeps the last positions.
    pub(super) async fn run(mut self) {
        let mut reader = match self.load().await {
            Ok(Some(kept)) => Reader::new(Arc::clone(&self.options), kept, self.met.clone()),
            Ok(None) => return,
            Err(error) => {
                // Nobody may be there to hear it.
                let _ = self.offers.send(Err(FeedError::Positions(error))).await;
                return;
            }
        };
        if let Err(error) = self.read(&mut reader).await {
            let _ = self.offers.send(Err(error.widen())).await;
        }
        self.finish(reader).await;
    }

    /// What is kept; `None` where nobody is there any more. A store that is away is waited for, as the stream is.
    async fn load(&self) -> Result<Option<Vec<ShardPosition>>, E> {
        let patience = if self.options.once { self.options.reach_timeout } else { self.options.lost_after };
        let give_up = self.clock.now().saturating_add(patience);
        let mut failures = 0;
        loop {
            let error = match self.positions.load().await {
                Ok(kept) => return Ok(Some(kept)),
                Err(error) => error,
            };
            failures += 1;
            if failures == 1 {
                tracing::warn!(stream = self.options.stream, %error,
                    "the positions in the stream can't be read; they are tried again for a while");
            }
            let next = self.clock.now() + backoff(failures);
            if next > give_up {
                return Err(error);
            }
            tokio::select! {
                () = self.offers.closed() => return Ok(None),
                () = self.clock.sleep_until(next) => {}
            }
        }
    }

    /// Reads until there is nothing more to offer, or nobody to offer it to.
    async fn read(&mut self, reader: &mut Reader<M>) -> Result<(), FeedError> {
        loop {
            let now = self.clock.now();
            reader.wake(now);
            self.offer(reader);
            if reader.all_given() {
                return Ok(());
            }
            if self.asking.is_none() {
                self.asking = reader.request(now).map(|request| self.ask(request));
            }
            self.save(reader, now);
            let wake = self.wake_at(reader, now);
            let waits = reader.waits();
            tokio::select! {
                biased;
                settled = self.desk.1.recv() => {
                    // The poller holds a sender itself, so there is always a next one.
                    if let Some((id, settlement)) = settled && reader.settle(id, settlement, self.clock.now()) {
                        self.save_due = self.clock.now().min(self.save_due);
                    }
                }
                () = self.offers.closed() => return Ok(()),
                answer = done(&mut self.asking) => {
                    self.asking = None;
                    reader.answered(answer, self.clock.now())?;
                }
                (positions, saved) = done(&mut self.saving) => {
                    self.saving = None;
                    self.saved(reader, &positions, saved);
                }
                // There is room for an offer again.
                () = self.offers.reserve().map(drop), if waits => {}
                () = self.clock.sleep_until(wake) => {}
            }
        }
    }

    fn ask(&self, request: Request) -> BoxFuture<'static, Answer> {
        match request {
            Request::List => self.api.list().map(Answer::List).boxed(),
            Request::Iterator(shard, start) => {
                self.api.iterator(shard.clone(), start).map(|answer| Answer::Iterator(shard, answer)).boxed()
            }
            Request::Read(shard, iterator) => self.api.read(iterator).map(|answer| Answer::Read(shard, answer)).boxed(),
        }
    }

    fn offer(&self, reader: &mut Reader<M>) {
        while reader.waits() {
            let Ok(place) = self.offers.try_reserve() else { return };
            let Some((offer, name)) = reader.offer() else { return };
            let source = Source {
                topic: self.options.topic.clone(),
                partition: Some(TopicPlace::from(offer.partition.as_str())),
                offset: Some(TopicPlace::from(offer.offset.as_str())),
                name,
            };
            let ticket = Ticket { id: offer.id, desk: self.desk.0.clone() };
            self.met.note(|met| met.given += 1);
            place.send(Ok(Incoming { message: offer.message, source, ticket }));
        }
    }

    fn wake_at(&self, reader: &Reader<M>, now: Duration) -> Duration {
        let call = reader.next_due().filter(|_| self.asking.is_none());
        let save = reader.has_unsaved().then_some(self.save_due).filter(|_| self.saving.is_none());
        let next = [call, save].into_iter().flatten().min();
        next.unwrap_or(Duration::MAX).min(now + SLEEP)
    }

    fn save(&mut self, reader: &mut Reader<M>, now: Duration) {
        if self.saving.is_none() && reader.has_unsaved() && self.save_due <= now {
            self.saving = Some(self.start_save(reader));
        }
    }

    fn start_save(&self, reader: &mut Reader<M>) -> BoxFuture<'static, Saved<E>> {
        let (positions, store) = (reader.unsaved(), Arc::clone(&self.positions));
        async move {
            let saved = store.save(&positions).await;
            (positions, saved)
        }
        .boxed()
    }

    fn saved(&mut self, reader: &mut Reader<M>, positions: &[ShardPosition], saved: Result<(), E>) {
        let stream = &self.options.stream;
        let pause = match saved {
            Ok(()) => {
                if std::mem::take(&mut self.save_failures) > 0 {
                    tracing::info!(%stream, "the positions in the stream are kept again");
                }
                SAVE_EVERY
            }
            Err(error) => {
                reader.not_saved(positions);
                self.save_failures += 1;
                if self.save_failures == 1 {
                    tracing::warn!(%stream, %error, "the positions in the stream can't be kept; they are tried again");
                }
                backoff(self.save_failures)
            }
        };
        self.save_due = self.clock.now() + pause;
    }

    /// Hears the last verdicts and keeps the positions they move.
    async fn finish(mut self, mut reader: Reader<M>) {
        let (sender, mut verdicts) = std::mem::replace(&mut self.desk, mpsc::unbounded_channel());
        drop(sender);
        if let Some(saving) = self.saving.take() {
            let (positions, saved) = saving.await;
            self.saved(&mut reader, &positions, saved);
        }
        // An offer that nobody took is dropped with the channel's other end.
        while let Some((id, settlement)) = verdicts.recv().await {
            if reader.settle(id, settlement, self.clock.now()) {
                self.save_once(&mut reader).await;
            }
        }
        let give_up = self.clock.now() + LAST_SAVE;
        while reader.has_unsaved() && self.clock.now() <= give_up {
            if !self.save_once(&mut reader).await {
                self.clock.sleep_until(self.save_due.min(give_up + Duration::from_millis(1))).await;
            }
        }
    }

    async fn save_once(&mut self, reader: &mut Reader<M>) -> bool {
        let (positions, saved) = self.start_save(reader).await;
        let done = saved.is_ok();
        self.saved(reader, &positions, saved);
        done
    }
}

/// The result of what is under way; never, where nothing is.
async fn done<T>(under_way: &mut Option<BoxFuture<'static, T>>) -> T {
    match under_way {
        Some(work) => work.await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests;
