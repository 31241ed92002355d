//! The end of the chain: what was answered is counted and saved, again and again, while more is sent.
//!
//! ```text
//! Delivered ──► Answered, totals, dead letters ──► letters appended, synced ──► cursors replaced ──► credit settled
//! ```
//!
//! A dead letter is durable before the cursor that passes it: a crash may repeat some, and loses none.

use std::future::pending;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt};
use wsp::clock::Clock;
use wsp::credit::Credit;
use wsp::deliver::Item as _;
use wsp::disk::{self, Disk, DiskFile, Mode, files};
use wsp::telemetry::{Histogram, HistogramCounts};
use wsp::time::Micros;

use super::answered::{Answered, Standing};
use super::error::Error;
use super::event::Position;
use super::input::Input;
use super::judge::{Delivered, Outcome};
use super::letters::{Letter, Refused};
use super::sink::lines::Output;
use super::state::{Saved, State};

/// Answers that are taken at once.
const CHUNK: usize = 256;

/// Figures of a replay, readable while it runs; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Live(Arc<Figures>);

#[derive(Debug, Default)]
struct Figures {
    answered: AtomicU64,
    accepted: AtomicU64,
    dropped: AtomicU64,
    letters: AtomicU64,
    first: AtomicI64,
    last: AtomicI64,
    lag_micros: AtomicU64,
    latency: Histogram,
}

/// What is known of a replay at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Events that are done with.
    pub answered: u64,
    /// Those that the receiver took.
    pub accepted: u64,
    /// Those that were left out.
    pub dropped: u64,
    /// Those that were written down.
    pub dead_letters: u64,
    /// The earliest event time among them.
    pub first: Option<Micros>,
    /// The latest.
    pub last: Option<Micros>,
    /// How much later than due the last of them was first sent.
    pub lag: Duration,
}

impl Live {
    /// How long answers took, from an event's first attempt.
    #[must_use]
    pub fn latency(&self) -> HistogramCounts {
        self.0.latency.counts()
    }

    /// The figures now.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let figures = &*self.0;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let answered = read(&figures.answered);
        let time = |time: &AtomicI64| (answered > 0).then(|| Micros(time.load(Ordering::Relaxed)));
        Totals {
            answered,
            accepted: read(&figures.accepted),
            dropped: read(&figures.dropped),
            dead_letters: read(&figures.letters),
            first: time(&figures.first),
            last: time(&figures.last),
            lag: Duration::from_micros(read(&figures.lag_micros)),
        }
    }
}

/// What keeps the results of a replay.
pub(super) struct Keeper<C> {
    pub(super) clock: C,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) inputs: Arc<Vec<Arc<Input>>>,
    /// Where each input stood at the start.
    pub(super) standings: Vec<Standing>,
    /// Nothing is saved without it.
    pub(super) state: Option<Arc<State>>,
    pub(super) letters: Option<PathBuf>,
    /// Lines that have to be durable before the cursor that passes them.
    pub(super) output: Option<Arc<Output>>,
    pub(super) credit: Credit,
    /// Events after which is saved, and the time after which is saved at the latest.
    pub(super) every: (u64, Duration),
    /// No more events than these are asked for, over all starts.
    pub(super) limit: u64,
    pub(super) live: Live,
}

/// Keeping as the last stage.
pub(super) trait KeepExt: Stream<Item = Result<Delivered, Error>> + Sized {
    /// Takes all of the stream. What was answered before an error is saved, too.
    ///
    /// # Errors
    ///
    /// That of the stream, or of a save.
    async fn keep<C: Clock>(self, keeper: Keeper<C>) -> Result<(), Error> {
        let letters = keeper.letters.as_ref().map(|path| {
            let file = keeper.disk.open(path, Mode::Append);
            let file = file.and_then(|file| files::sync_entry(&*keeper.disk, path).map(|()| file));
            file.map(Arc::<dyn DiskFile>::from)
                .map_err(|error| Error::flag("--dead-letter", format!("{}: {error}", path.display())))
        });
        let mut desk = Desk {
            answered: keeper.standings.iter().cloned().map(Answered::new).collect(),
            letters: letters.transpose()?,
            lines: Vec::new(),
            noted: 0,
            accepted: 0,
            lines_taken: 0,
            requests: 0,
            unsaved: 0,
            keeper,
        };
        desk.take(self).await
    }
}

impl<S: Stream<Item = Result<Delivered, Error>>> KeepExt for S {}

struct Desk<C> {
    keeper: Keeper<C>,
    answered: Vec<Answered>,
    letters: Option<Arc<dyn DiskFile>>,
    /// Letters that are not written yet.
    lines: Vec<u8>,
    /// Answers so far.
    noted: u64,
    /// Those of events that were taken: what is written down as a dead letter is no line of the output.
    accepted: u64,
    /// Of these, those of rows that are answered as a whole. Lines are answered in order.
    lines_taken: u64,
    /// Requests that are done with.
    requests: u64,
    /// Answers since the last save began.
    unsaved: u64,
}

/// A save under way; it comes to the number of requests that it covers.
type Saving = BoxFuture<'static, Result<u64, Error>>;

impl<C: Clock> Desk<C> {
    async fn take(&mut self, delivered: impl Stream<Item = Result<Delivered, Error>>) -> Result<(), Error> {
        let mut chunks = pin!(delivered.ready_chunks(CHUNK));
        let (most, interval) = self.keeper.every;
        let mut saving: Option<Saving> = None;
        let mut due = self.keeper.clock.now() + interval;
        let mut failure = None;
        loop {
            tokio::select! {
                biased;
                saved = under_way(&mut saving) => {
                    saving = None;
                    self.keeper.credit.settle(saved?);
                }
                chunk = chunks.next() => {
                    let Some(chunk) = chunk else { break };
                    for item in chunk {
                        match item {
                            Ok(delivered) => failure = self.note(delivered).err().or(failure),
                            Err(error) => failure = Some(error),
                        }
                    }
                }
                () = self.keeper.clock.sleep_until(due), if saving.is_none() && self.unsaved > 0 => {}
            }
            // Half of what a crash may repeat: the other half is sent while this is saved.
            let is_due = self.unsaved * 2 >= most || (self.unsaved > 0 && self.keeper.clock.now() >= due);
            if saving.is_none() && is_due {
                saving = Some(self.save(false));
                due = self.keeper.clock.now() + interval;
            }
        }
        if let Some(saving) = saving {
            saving.await?;
        }
        let total: u64 = self.answered.iter().map(|input| input.standing().answered).sum();
        let finished = failure.is_none() && total < self.keeper.limit;
        // Also what failed may have been answered in part.
        let saved = self.save(finished).await;
        match failure {
            // A stop that is not saved repeats events, which is no stop as it was promised.
            Some(failure) if !failure.is_stop() || saved.is_ok() => Err(failure),
            _ => saved.map(drop),
        }
    }

    fn note(&mut self, delivered: Delivered) -> Result<(), Error> {
        let Delivered { position, ts, outcome, attempts, lag, latency, requests } = delivered;
        let figures = &*self.keeper.live.0;
        let add = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        match outcome {
            Outcome::Accepted => {
                self.accepted += 1;
                add(&figures.accepted)
            }
            Outcome::Dropped => add(&figures.dropped),
            Outcome::Refused(refused) => {
                self.letter(position, attempts, &refused)?;
                add(&self.keeper.live.0.letters)
            }
        };
        let figures = &*self.keeper.live.0;
        let recorded = position.recorded(ts, &self.keeper.inputs).0;
        if self.noted == 0 {
            figures.first.store(recorded, Ordering::Relaxed);
            figures.last.store(recorded, Ordering::Relaxed);
        }
        figures.first.fetch_min(recorded, Ordering::Relaxed);
        figures.last.fetch_max(recorded, Ordering::Relaxed);
        figures.latency.record(latency);
        figures.lag_micros.store(lag.as_micros() as u64, Ordering::Relaxed);
        add(&figures.answered);
        self.answered[usize::from(position.input)].note(position, ts);
        if position.is_last {
            self.lines_taken = self.accepted;
        }
        self.noted += 1;
        self.requests += requests;
        self.unsaved += 1;
        Ok(())
    }

    #[cold]
    fn letter(
        &mut self,
        position: Position,
        attempts: u32,
        refused: &(super::event::Event, u16, String),
    ) -> Result<(), Error> {
        let (event, status, answer) = refused;
        let body = match event.packing {
            None => event.body.to_vec(),
            Some(packing) => packing.unpacked(&event.body).map_err(|error| Error::Internal(error.to_string()))?,
        };
        let letter = Letter {
            time: position.recorded(event.ts, &self.keeper.inputs),
            id: event.id_text(),
            key: event.line,
            request: event.request_line().map(String::from_utf8_lossy).unwrap_or_default().into_owned(),
            head: String::from_utf8_lossy(event.head_and_key().0).into_owned(),
            body,
        };
        let inputs = &self.keeper.inputs;
        let (input, file) = (&position.input_in(inputs).name, &position.source_in(inputs).shown);
        let (row, status) = (position.row + 1, *status);
        letter.write(&Refused { input, file, row, status, answer, attempts }, &mut self.lines);
        Ok(())
    }

    /// Begins to save how it stands.
    fn save(&mut self, finished: bool) -> Saving {
        self.unsaved = 0;
        let (covers, lines_taken) = (self.requests, self.lines_taken);
        let lines = std::mem::take(&mut self.lines);
        let inputs = self.answered.iter().map(Answered::standing).collect();
        let mut saved = Saved { finished, inputs, written: None };
        let output = self.keeper.output.clone();
        let (state, letters, path) = (self.keeper.state.clone(), self.letters.clone(), self.keeper.letters.clone());
        let disk = self.keeper.disk.clone();
        let work = move || {
            if let (Some(file), false) = (&letters, lines.is_empty()) {
                let written = files::append_lines(&**file, &lines).and_then(|()| file.sync_data());
                let path = path.unwrap_or_default();
                written.map_err(|error| Error::flag("--dead-letter", format!("{}: {error}", path.display())))?;
            }
            saved.written = output.map(|output| output.settle(lines_taken)).transpose()?;
            state.map_or(Ok(()), |state| state.save(&saved)).map(|()| covers)
        };
        async move {
            let done = disk::blocking(&*disk, work).await;
            done.map_err(|error| Error::Internal(format!("a save: {error}")))?
        }
        .boxed()
    }
}

async fn under_way(saving: &mut Option<Saving>) -> Result<u64, Error> {
    match saving {
        Some(saving) => saving.await,
        None => pending().await,
    }
}
