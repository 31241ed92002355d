//! A start of a replay: takes the state, finds where to go on, and replays what is left.
//!
//! ```text
//! Replay ──start──► State held, compared, loaded ──► Start ──run──► producer: the chain ──► Outcome
//! ```

use std::sync::Arc;

use futures::future::BoxFuture;
use wsp::clock::{Clock, SystemClock};
use wsp::deliver::{Gate, PushStats, Takes};
use wsp::disk::{Disk, RealDisk};
use wsp::stop::Stop;

use super::answered::Standing;
use super::batch_judge::BatchJudge;
use super::error::Error;
use super::event::Event;
use super::judge::StatusJudge;
use super::keep::{Live, Totals};
use super::producer::{self, Framing, Parts};
#[cfg(feature = "kafka")]
use super::sink::kafka::KafkaGate;
use super::sink::lines::{LineGate, Output};
use super::sink::{Sink, SinkJudge};
use super::state::{Opening, Pinned, Saved, Sorted, State};
use super::{Options, Replay, rounds};

/// What a start does, besides the events themselves.
#[derive(Debug)]
pub struct Outcome {
    /// What became of events in this start.
    pub totals: Totals,
    /// Events that earlier starts had answered.
    pub before: u64,
    /// Why it ended before the end.
    pub error: Option<Error>,
}

/// A start: its state is held, and it is known where it goes on.
#[derive(Debug)]
pub struct Start {
    replay: Replay,
    disk: Arc<dyn Disk>,
    state: Option<State>,
    saved: Saved,
    /// The lines, where they are what is written.
    output: Option<Arc<Output>>,
}

impl Replay {
    /// Takes the state, and finds out where to go on. `clock` is the one to run by; it needs a tokio runtime that lasts as long
    /// as the start does.
    ///
    /// # Errors
    ///
    /// If the state is of something else, held by another process, or can't be read or written.
    pub async fn start(self, clock: SystemClock) -> Result<Start, Error> {
        self.start_on(Arc::new(RealDisk), clock).await
    }

    /// The same with dead letters, and a state that is a folder, on a disk of the caller's. Inputs are read from the machine's.
    ///
    /// # Errors
    ///
    /// As [`Replay::start`].
    pub async fn start_on<C: Clock>(mut self, disk: Arc<dyn Disk>, clock: C) -> Result<Start, Error> {
        let is_resumable = self.is_resumable();
        if !is_resumable && self.options.state.is_some() {
            let what = "standard input can't be read again; there is no place to go on from";
            return Err(Error::flag("--state", what));
        }
        let (mut state, mut saved) = (None, None);
        if is_resumable {
            let Options { sink, flags, fresh, state: place, inputs, .. } = &self.options;
            let target = sink.name();
            let (name, pinned) = (Pinned::name(&target, inputs), Pinned::new(&target, flags, &self.inputs)?);
            let opening = Opening { place: place.as_ref(), name: &name, pinned: &pinned, flags, fresh: *fresh };
            let (opened, earlier) = opening.open(disk.clone(), &clock).await?;
            if let (Some(sorted), None) = (opened.sorted(), &earlier) {
                // What was sorted may be of files that have changed in the middle.
                self.forget_sorted(sorted);
            }
            (state, saved) = (Some(opened), earlier);
        }
        let released = state.as_ref().map(State::released);
        let saved = saved.unwrap_or_else(|| {
            let inputs = vec![Standing::default(); self.inputs.len()];
            Saved { finished: false, inputs, written: None }
        });
        let started = match self.repeat().await {
            Ok(()) => Start { replay: self, disk, state, saved, output: None }.opened().await,
            Err(error) => {
                drop(state);
                Err(error)
            }
        };
        if started.is_err() {
            released_by(released).await;
        }
        started
    }

    /// Makes the inputs those of all rounds.
    async fn repeat(&mut self) -> Result<(), Error> {
        let Options { rounds, span, .. } = self.options;
        if rounds > 1 {
            let (inputs, readings) = (self.inputs.clone(), self.readings.clone());
            // All inputs are read, and the hold on the state is renewed meanwhile.
            let looped = tokio::task::spawn_blocking(move || rounds::looped(&inputs, rounds, &readings, span));
            let looped = looped.await.map_err(|error| Error::Internal(format!("--loop: {error}")))?;
            self.inputs = Arc::new(looped?);
        }
        Ok(())
    }

    /// Removes what was sorted for earlier starts.
    fn forget_sorted(&self, sorted: &Sorted) {
        for rank in 0..self.inputs.len() {
            // It is made again where it is needed, and what is left over only takes room.
            let _ = std::fs::remove_dir_all(sorted.of(rank as u16).0);
        }
    }

    /// Whether there is a place to go on from after a crash.
    fn is_resumable(&self) -> bool {
        !self.inputs.iter().any(|input| input.is_stdin())
    }
}

impl Start {
    /// Opens the output, where it is lines, at the place that the state holds. From then on the state holds it.
    async fn opened(mut self) -> Result<Self, Error> {
        let Sink::Lines(lines) = &self.replay.options.sink else { return Ok(self) };
        if self.saved.finished {
            return Ok(self);
        }
        let (output, length) = Output::open(lines, self.saved.written, self.replay.options.fresh)?;
        self.output = Some(Arc::new(output));
        if let (Some(state), None) = (&mut self.state, self.saved.written) {
            self.saved.written = Some(length);
            state.save(self.saved.clone()).await?;
        }
        Ok(self)
    }

    /// How people read where the state is. It holds no secret.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        self.state.as_ref().map(State::shown)
    }

    /// Lets go of the state, where nothing is to be replayed: it is free for the next process then.
    pub async fn close(self) {
        let released = self.state.as_ref().map(State::released);
        drop(self);
        released_by(released).await;
    }

    /// Events that earlier starts had answered.
    #[must_use]
    pub fn before(&self) -> u64 {
        self.saved.inputs.iter().map(|standing| standing.answered).sum()
    }

    /// Whether earlier starts have done all of it.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.saved.finished
    }

    /// Events that a crash can make a next start send again, at most.
    #[must_use]
    pub fn bound(&self) -> u64 {
        producer::bound(&self.replay.options)
    }

    /// Replays what is left.
    pub async fn run(self, clock: SystemClock, stop: Stop, live: Live, stats: PushStats) -> Outcome {
        let (before, released) = (self.before(), self.state.as_ref().map(State::released));
        let done = self.try_run(clock, stop, live.clone(), stats).await;
        released_by(released).await;
        Outcome { totals: live.totals(), before, error: done.err() }
    }

    /// Replays what is left through a gate and by a clock of the caller's, all of it on the caller's thread.
    pub async fn run_through<G, C>(self, gate: G, clock: C, stop: Stop, live: Live, stats: PushStats) -> Outcome
    where
        G: Gate<Connection: Takes<Event>>,
        C: Clock,
    {
        let (before, released) = (self.before(), self.state.as_ref().map(State::released));
        let (replay, parts) = self.parts(Framing::SameThread, clock, stop, live.clone(), stats);
        let judge = StatusJudge::new(replay.inputs.clone(), replay.options.rules.clone());
        let done = producer::run(&replay, gate, judge, parts).await;
        released_by(released).await;
        Outcome { totals: live.totals(), before, error: done.err() }
    }

    /// The replay, and what it works with.
    fn parts<C>(self, framing: Framing, clock: C, stop: Stop, live: Live, stats: PushStats) -> (Replay, Parts<C>) {
        let Self { replay, disk, state, saved, output } = self;
        (replay, Parts { clock, stop, stats, live, disk, state, output, standings: saved.inputs, framing })
    }

    async fn try_run(self, clock: SystemClock, stop: Stop, live: Live, stats: PushStats) -> Result<(), Error> {
        let (replay, parts) = self.parts(Framing::OwnThread, clock, stop, live, stats);
        let (options, sorted) = (&replay.options, parts.state.as_ref().and_then(State::sorted).cloned());
        let judge = StatusJudge::new(replay.inputs.clone(), options.rules.clone());
        let done = match &options.sink {
            Sink::Http(target) => {
                let gate = target.gate(&options.tls, clock).await?.attempt_timeout(options.attempt_timeout);
                if let Some(batching) = options.batching.clone() {
                    let (inputs, rules) = (replay.inputs.clone(), options.rules.clone());
                    let judge = BatchJudge { inputs, rules, verdicts: batching.verdicts.clone() };
                    producer::run_batches(&replay, batching, gate, judge, parts).await
                } else {
                    producer::run(&replay, gate, judge, parts).await
                }
            }
            Sink::Lines(_) => {
                let output = parts.output.clone();
                let gate = LineGate(output.ok_or_else(|| Error::Internal("the output is not open".to_owned()))?);
                producer::run(&replay, gate, SinkJudge(judge), parts).await
            }
            #[cfg(feature = "kafka")]
            Sink::Kafka(topic) => {
                let gate = KafkaGate::open(topic, options.attempt_timeout)?;
                producer::run(&replay, gate, SinkJudge(judge), parts).await
            }
        };
        if let (Ok(()), Some(sorted)) = (&done, sorted) {
            replay.forget_sorted(&sorted);
        }
        done
    }
}

/// Waits until a state that was dropped is free for the next process.
async fn released_by(released: Option<BoxFuture<'static, ()>>) {
    if let Some(released) = released {
        released.await;
    }
}
