//! The end of the chain: what was answered is counted and saved, again and again, while more is sent.
//!
//! ```text
//! Delivered ──► checkpoint stage (Desk: totals, marks, dead letters) ──► Book: letters appended, synced; state saved ──► credit settled
//! ```
//!
//! A dead letter is durable before the cursor that passes it: a crash may repeat some, and loses none.

use std::future::ready;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, TryStreamExt as _};
use wsp::checkpoint::{Cause, CheckpointExt as _, CheckpointOptions, Layout, Save, Watermark};
use wsp::clock::Clock;
use wsp::credit::Credit;
use wsp::deliver::Item as _;
use wsp::disk::{self, Disk, DiskFile, Mode, files};
use wsp::stop::Stop;
use wsp::telemetry::{Histogram, HistogramCounts};
use wsp::time::Micros;

use super::answered::{Mark, Standing};
use super::error::Error;
use super::event::Position;
use super::input::Input;
use super::judge::{Delivered, Outcome};
use super::letters::{Letter, Refused};
use super::sink::lines::Output;
use super::state::{Saved, State};

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
    pub(super) state: Option<State>,
    pub(super) letters: Option<PathBuf>,
    /// Lines that have to be durable before the cursor that passes them.
    pub(super) output: Option<Arc<Output>>,
    pub(super) credit: Credit,
    /// Events after which is saved, and the time after which is saved at the latest.
    pub(super) every: (u64, Duration),
    /// No more events than these are asked for, over all starts.
    pub(super) limit: u64,
    pub(super) live: Live,
    pub(super) stop: Stop,
}

/// Keeping as the last stage.
pub(super) trait KeepExt: Stream<Item = Result<Delivered, Error>> + Sized {
    /// Takes all of the stream. What was answered before an error is saved, too.
    ///
    /// # Errors
    ///
    /// That of the stream, or of a save.
    async fn keep<C: Clock>(self, keeper: Keeper<C>) -> Result<(), Error> {
        let Keeper { clock, disk, inputs, standings, state, letters, output, credit, every, limit, live, stop } =
            keeper;
        let letters = letters.map(|path| Letters::open(&*disk, path)).transpose()?;
        let options = CheckpointOptions::new(clock).flush_every(every.0).max_interval(every.1);
        let book = Book { before: Before { disk, output, letters }, state };
        let desk = Desk { inputs, standings, letters: Vec::new(), noted: 0, accepted: 0, lines_taken: 0, limit, live };
        self.checkpoint(book, desk, options.settle(credit).stop(stop)).try_for_each(|_| ready(Ok(()))).await
    }
}

impl<S: Stream<Item = Result<Delivered, Error>>> KeepExt for S {}

/// Counts what was answered, and puts down what the receiver did not take.
struct Desk {
    inputs: Arc<Vec<Arc<Input>>>,
    /// Where each input stood at the start.
    standings: Vec<Standing>,
    /// Letters that are not written yet.
    letters: Vec<u8>,
    /// Answers so far.
    noted: u64,
    /// Those of events that were taken: what is written down as a dead letter is no line of the output.
    accepted: u64,
    /// Of these, those of rows that are answered as a whole. Lines are answered in order.
    lines_taken: u64,
    limit: u64,
    live: Live,
}

/// What a save keeps.
struct Page {
    /// Letters that have to be durable before what is saved.
    letters: Bytes,
    /// Lines of the output that have to be, too.
    lines_taken: u64,
    saved: Saved,
}

impl Layout for Desk {
    type Delivered = Delivered;
    type Mark = Mark;
    type Kept = Page;
    type Error = Error;

    fn starts(&self) -> Vec<u64> {
        vec![0; self.standings.len()]
    }

    fn mark(&mut self, delivered: &Delivered) -> Result<Mark, Error> {
        self.note(delivered)?;
        Ok(Mark::new(delivered.position, delivered.ts))
    }

    /// Credit is spent on requests.
    fn is_sent(&self, delivered: &Delivered) -> bool {
        delivered.ends_request
    }

    fn kept(&mut self, answered: &Watermark<Mark>, cause: Cause) -> Page {
        let standings = self.standings.iter().enumerate();
        let inputs: Vec<Standing> = standings.map(|(input, standing)| standing.with(answered, input)).collect();
        let total: u64 = inputs.iter().map(|standing| standing.answered).sum();
        let finished = cause == Cause::End && total < self.limit;
        let letters = std::mem::take(&mut self.letters).into();
        Page { letters, lines_taken: self.lines_taken, saved: Saved { finished, inputs, written: None } }
    }

    /// A good end says that all of it is answered.
    fn keeps_end(&self, cause: Cause) -> bool {
        cause == Cause::End
    }

    /// A stop that is not saved repeats events, which is no stop as it was promised.
    fn and_then(&self, first: Error, second: &Error) -> Error {
        if first.is_stop() { second.clone() } else { first }
    }
}

impl Desk {
    fn note(&mut self, delivered: &Delivered) -> Result<(), Error> {
        let Delivered { position, ts, outcome, attempts, lag, latency, .. } = delivered;
        if let Outcome::Refused(refused) = outcome {
            self.letter(*position, *attempts, refused)?;
        }
        let figures = &*self.live.0;
        let outcomes = match outcome {
            Outcome::Accepted => {
                self.accepted += 1;
                &figures.accepted
            }
            Outcome::Dropped => &figures.dropped,
            Outcome::Refused(_) => &figures.letters,
        };
        outcomes.fetch_add(1, Ordering::Relaxed);
        let recorded = position.recorded(*ts, &self.inputs).0;
        if self.noted == 0 {
            figures.first.store(recorded, Ordering::Relaxed);
            figures.last.store(recorded, Ordering::Relaxed);
        }
        figures.first.fetch_min(recorded, Ordering::Relaxed);
        figures.last.fetch_max(recorded, Ordering::Relaxed);
        figures.latency.record(*latency);
        figures.lag_micros.store(lag.as_micros() as u64, Ordering::Relaxed);
        figures.answered.fetch_add(1, Ordering::Relaxed);
        if position.is_last {
            self.lines_taken = self.accepted;
        }
        self.noted += 1;
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
            time: position.recorded(event.ts, &self.inputs),
            id: event.id_text(),
            key: event.line,
            request: event.request_line().map(String::from_utf8_lossy).unwrap_or_default().into_owned(),
            head: String::from_utf8_lossy(event.head_and_key().0).into_owned(),
            body,
        };
        let (input, file) = (&position.input_in(&self.inputs).name, &position.source_in(&self.inputs).shown);
        let (row, status) = (position.row + 1, *status);
        letter.write(&Refused { input, file, row, status, answer, attempts }, &mut self.letters);
        Ok(())
    }
}

/// The file of dead letters.
#[derive(Clone)]
struct Letters {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
}

impl Letters {
    fn open(disk: &dyn Disk, path: PathBuf) -> Result<Self, Error> {
        let file = disk.open(&path, Mode::Append);
        let file = file.and_then(|file| files::sync_entry(disk, &path).map(|()| file));
        let file = file.map_err(|error| Self::unusable(&path, &error))?.into();
        Ok(Self { file, path })
    }

    /// Adds letters, durably.
    fn add(&self, letters: &[u8]) -> Result<(), Error> {
        let written = files::append_lines(&*self.file, letters).and_then(|()| self.file.sync_data());
        written.map_err(|error| Self::unusable(&self.path, &error))
    }

    fn unusable(path: &Path, error: &io::Error) -> Error {
        Error::flag("--dead-letter", format!("{}: {error}", path.display()))
    }
}

/// Where all of it is kept.
struct Book {
    before: Before,
    state: Option<State>,
}

/// What has to be durable before the state says so.
struct Before {
    disk: Arc<dyn Disk>,
    output: Option<Arc<Output>>,
    letters: Option<Letters>,
}

impl Before {
    /// Makes it durable; the length of the output then.
    async fn write(&self, page: &Page) -> Result<Option<u64>, Error> {
        let (letters, lines) = (self.letters.clone().filter(|_| !page.letters.is_empty()), page.letters.clone());
        let (output, lines_taken) = (self.output.clone(), page.lines_taken);
        if letters.is_none() && output.is_none() {
            return Ok(None);
        }
        let work = move || {
            letters.map_or(Ok(()), |letters| letters.add(&lines))?;
            output.map(|output| output.settle(lines_taken)).transpose()
        };
        let done = disk::blocking(&*self.disk, work).await;
        done.map_err(|error| Error::Internal(format!("a save: {error}")))?
    }
}

impl Save<Page, Error> for Book {
    async fn save(&mut self, page: &Page) -> Result<(), Error> {
        let written = self.before.write(page).await?;
        match &mut self.state {
            Some(state) => state.save(Saved { written, ..page.saved.clone() }).await,
            None => Ok(()),
        }
    }
}
