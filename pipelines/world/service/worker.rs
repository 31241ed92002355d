//! One worker of a shared run: takes free lanes, streams them, and waits for those of others.
//!
//! ```text
//! look, once a second ─► lanes without an end ─► hold? ─ busy ─► another worker has it
//!        ▲                                         │ ours
//!        └── share of the rate, horizon ◄──────────┴─► stream ─► end · left · lost
//! ```

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU32;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::sync::Mutex;
use tracing::{Instrument, info_span};
use wsp::checkpoint::this_process;
use wsp::clock::Clock;
use wsp::deliver::{Gate, Takes};
use wsp::pace::Anchor;

use super::in_hand::{Before, InHand};
use super::lanes::SharedRun;
use super::stream::{Opened, Run, Streamed};
use super::{Service, Taken};
use crate::checkpoint::{CheckpointScope, LeaseState};
use crate::evidence::{LaneEnd, LaneNote};
use crate::lanes::{LaneRound, Look, NOTE_EVERY, SharedPace, TaskSet};
use crate::model::{Event, Lane, Micros, Reason, Refusal};
use crate::prepare::Prepared;
use crate::producer::Settings;

/// Between two looks at the lanes.
const LOOK: Duration = Duration::from_secs(1);
/// Lanes that others have taken which are tried a look: a dead worker's are among them. Each try costs a question to the
/// checkpoint store.
const TRIES: usize = 4;

/// Why a worker is done with a run.
pub(super) enum Left {
    /// Every lane has an end.
    Ended,
    /// This worker can't go on now.
    Waits(Refusal),
    /// It was stopped.
    Stopped,
}

/// What came of a lane in this worker.
enum Came {
    /// Another worker has it.
    Busy,
    /// It has its end, by this worker or another one.
    Ended,
    /// Another worker has taken it from us.
    Lost,
    /// We were stopped; it waits for another worker.
    Stopped,
    /// It can't be taken now.
    Waits(Refusal),
}

enum Happened {
    Looked(Result<Look, Refusal>),
    Came(Lane, Result<Came, Refusal>),
}

/// A worker.
pub(super) struct Worker<'a, G, C> {
    service: &'a Service<G, C>,
    run: &'a SharedRun<'a, C>,
    tasks: &'a TaskSet,
    round: &'a LaneRound,
    /// How a lane is streamed here.
    settings: Settings,
    name: String,
    /// Lanes that are streamed here, by index.
    in_hand: RefCell<BTreeMap<u32, InHand>>,
    /// Held while notes are written, so that no late one is written over what a lane's end says.
    noting: Mutex<()>,
}

/// What a worker knows from event to event.
#[derive(Default)]
struct Known {
    look: Look,
    /// Lanes that are streamed or tried here, by index.
    in_hand: BTreeSet<u32>,
    /// Lanes to be tried next.
    next: VecDeque<Lane>,
    /// Looks so far.
    looks: usize,
    /// The store did not answer the last look.
    unseen: Option<Refusal>,
    leaves: Option<Result<Refusal, Refusal>>,
}

impl Known {
    /// A lane that was in hand is no longer.
    fn came(&mut self, lane: Lane, came: Result<Came, Refusal>) {
        self.in_hand.remove(&lane.index());
        match came {
            Ok(Came::Busy | Came::Stopped) => {}
            Ok(Came::Ended) => {
                self.look.ended.insert(lane.index());
            }
            Ok(Came::Lost) => tracing::warn!(%lane, "another worker has taken the lane"),
            Ok(Came::Waits(refusal)) => {
                self.leaves.get_or_insert(Ok(refusal));
            }
            Err(refusal) => {
                self.leaves.get_or_insert(Err(refusal));
            }
        }
    }
}

impl<'a, G: Gate<Connection: Takes<Event>> + Clone, C: Clock + std::fmt::Debug> Worker<'a, G, C> {
    pub(super) fn new(
        service: &'a Service<G, C>,
        run: &'a SharedRun<'a, C>,
        tasks: &'a TaskSet,
        round: &'a LaneRound,
    ) -> Self {
        let anchor = tasks.anchor.map(|anchor| Anchor::At { utc: anchor.utc, ts: anchor.ts });
        let shared = SharedPace { anchor, ..SharedPace::default() };
        let mut settings = service.settings.of_lane(run.wiring.per_worker, shared);
        // A plan's offsets mean the same in every lane.
        settings.rate_start = settings.rate_start.or(tasks.anchor.map(|anchor| anchor.utc));
        Self {
            service,
            run,
            tasks,
            round,
            settings,
            name: this_process(),
            in_hand: RefCell::default(),
            noting: Mutex::default(),
        }
    }

    /// Works until every lane has an end, or this worker has to leave.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE` where ends can't be written or looked up, once the lanes in hand are done.
    pub(super) async fn work(&self) -> Result<Left, Refusal> {
        let mut known = Known::default();
        let mut events: FuturesUnordered<LocalBoxFuture<'_, Happened>> = FuturesUnordered::new();
        events.push(self.look(Duration::ZERO).boxed_local());
        while let Some(happened) = events.next().await {
            match happened {
                Happened::Looked(look) => {
                    self.looked(&mut known, look);
                    events.push(self.look(LOOK).boxed_local());
                }
                Happened::Came(lane, came) => known.came(lane, came),
            }
            if let Some(left) = self.leaves(&mut known) {
                return left;
            }
            while let Some(lane) = self.next(&mut known) {
                events.push(async move { Happened::Came(lane, self.lane(lane).await) }.boxed_local());
            }
            self.share(&known);
        }
        Ok(Left::Stopped)
    }

    /// A look at all lanes, after a pause that a stop cuts short.
    async fn look(&self, pause: Duration) -> Happened {
        let Service { clock, stop, .. } = self.service;
        let pause = clock.sleep_until(clock.now() + pause);
        if stop.requested() {
            pause.await;
        } else {
            futures::future::select(std::pin::pin!(pause), std::pin::pin!(stop.wait())).await;
        }
        Happened::Looked(self.looked_at().await)
    }

    async fn looked_at(&self) -> Result<Look, Refusal> {
        // Where lanes wait for each other, each look needs to know how far they are.
        let every = self.run.wiring.max_skew.map_or(NOTE_EVERY, |_| Duration::ZERO);
        let held: Vec<u32> = self.in_hand.borrow().keys().copied().collect();
        for lane in held {
            self.note_progress(lane, every).await?;
        }
        let Some(skew) = self.run.wiring.max_skew else { return self.round.look().await };
        let look = self.round.look().await?;
        let skew = i64::try_from(skew.as_micros()).unwrap_or(i64::MAX);
        let slowest = self.slowest(&look).await?;
        self.settings.shared.horizon.set(Micros(slowest.map_or(i64::MAX, |slowest| slowest.0.saturating_add(skew))));
        Ok(look)
    }

    /// Writes the note of a lane that is still in hand, unless the last one is younger than `every`.
    async fn note_progress(&self, lane: u32, every: Duration) -> Result<(), Refusal> {
        let _noting = self.noting.lock().await;
        let (now, mono) = (self.service.clock.utc(), self.service.clock.now());
        // Not borrowed while the store is asked: lanes come and go meanwhile.
        let note = self.in_hand.borrow_mut().get_mut(&lane).and_then(|in_hand| {
            let note = in_hand.due(now, mono, every)?;
            Some((in_hand.lane, note))
        });
        match note {
            Some((lane, note)) => self.round.note(lane, &note).await,
            None => Ok(()),
        }
    }

    /// The event time of the slowest lane under way. One that has sent nothing yet is at the world's first event.
    async fn slowest(&self, look: &Look) -> Result<Option<Micros>, Refusal> {
        let Some(first) = self.run.prepared.first_ts() else { return Ok(None) };
        let mut slowest: Option<Micros> = None;
        for lane in self.tasks.lanes.lanes().filter(|lane| look.is_running(*lane)) {
            // What lanes here have reached is known without the store.
            let ours = self.in_hand.borrow().get(&lane.index()).map(|in_hand| in_hand.reached.get());
            let at = match ours {
                Some(reached) => reached,
                None => self.round.noted(lane).await?.and_then(|note| note.reached()),
            };
            let at = at.unwrap_or(first);
            slowest = Some(slowest.map_or(at, |slowest| slowest.min(at)));
        }
        Ok(slowest)
    }

    fn looked(&self, known: &mut Known, look: Result<Look, Refusal>) {
        let look = match look {
            Ok(look) => look,
            Err(refusal) => {
                known.unseen = Some(refusal);
                return;
            }
        };
        known.unseen = None;
        // An end that this worker wrote may not be in a listing yet.
        let ended = std::mem::take(&mut known.look.ended);
        known.look = look;
        known.look.ended.extend(ended);
        known.looks += 1;
        known.next = self.candidates(known);
        if known.looks == 1 {
            let (lanes, ended) = (self.tasks.lanes.count, known.look.ended.len());
            tracing::info!(lanes, ended, running = known.look.running(), round = self.tasks.round, "the run's lanes");
        }
    }

    /// Lanes to be tried: first those that nobody has, from a place of this worker's own on, so that workers which start at
    /// once don't all try the same; then some of those that others had.
    fn candidates(&self, known: &Known) -> VecDeque<Lane> {
        let lanes: Vec<Lane> = self.tasks.lanes.lanes().collect();
        // The process id would not do: in containers it is often 1.
        let place = self.name.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let first = place % lanes.len().max(1);
        let open = |lane: &Lane| !known.look.ended.contains(&lane.index()) && !known.in_hand.contains(&lane.index());
        let rotated = lanes.iter().cycle().skip(first).take(lanes.len()).copied().filter(open);
        let (taken, free): (Vec<Lane>, Vec<Lane>) = rotated.partition(|lane| known.look.taken.contains(&lane.index()));
        let tried = taken.iter().cycle().skip(known.looks * TRIES).take(TRIES.min(taken.len()));
        free.into_iter().chain(tried.copied()).collect()
    }

    /// Whether this worker is done, and how.
    fn leaves(&self, known: &mut Known) -> Option<Result<Left, Refusal>> {
        if known.look.decided || known.look.ended.len() == self.tasks.lanes.count.get() as usize {
            return Some(Ok(Left::Ended));
        }
        if !known.in_hand.is_empty() {
            return None;
        }
        match known.leaves.take().or_else(|| known.unseen.take().map(Err)) {
            Some(Err(refusal)) => Some(Err(refusal)),
            // Whatever a lane waits for: this worker does not wait with it.
            _ if self.service.stop.requested() => Some(Ok(Left::Stopped)),
            Some(Ok(refusal)) => Some(Ok(Left::Waits(refusal))),
            None => None,
        }
    }

    /// The next lane to be tried, where this worker may have one more.
    fn next(&self, known: &mut Known) -> Option<Lane> {
        if known.leaves.is_some() || self.service.stop.requested() {
            return None;
        }
        let in_hand = known.in_hand.len();
        // Where all lanes here are held back, one without a worker may be what they wait for.
        let held_back = in_hand > 0 && self.settings.shared.horizon.waiting() >= in_hand;
        let most = if held_back { in_hand + 1 } else { self.run.wiring.per_worker.get() };
        let lane = if in_hand < most { known.next.pop_front() } else { None }?;
        known.in_hand.insert(lane.index());
        Some(lane)
    }

    /// Shares the rate among the lanes under way.
    fn share(&self, known: &Known) {
        let running = known.look.taken.union(&known.in_hand).filter(|lane| !known.look.ended.contains(*lane)).count();
        let running = u32::try_from(running).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
        self.settings.shared.share.among(running);
    }

    /// Takes a lane, if it is free, and streams it.
    async fn lane(&self, lane: Lane) -> Result<Came, Refusal> {
        let (service, prepared) = (self.service, self.run.prepared.of_lane(lane));
        let opening = Box::pin(service.open_scope(&prepared));
        let Opened { store, scope, resumed, saved_before } = match service.unless_stopped(opening).await.flatten() {
            Ok(opened) => opened,
            Err(refusal) => return self.not_opened(&prepared, refusal).await,
        };
        // Its last holder may have ended it before it let go; while we hold it, nobody does.
        let came = if self.round.has_ended(lane).await? {
            Came::Ended
        } else {
            let (lease, before) = (scope.lease(), self.before(lane, saved_before).await?);
            let (answered, now) = (resumed.earlier.events(), service.clock.utc());
            let in_hand = InHand::new(lane, lease.clone(), &self.name, before, answered, now);
            self.round.note(lane, in_hand.note()).await?;
            tracing::info!(%lane, epoch = lease.epoch(), took_over = in_hand.took_over(), "lane taken");
            let (reached, meter) = (in_hand.reached.clone(), in_hand.meter());
            self.in_hand.borrow_mut().insert(lane.index(), in_hand);
            let shared = SharedPace { reached, ..self.settings.shared.clone() };
            let settings = &Settings { shared, ..self.settings.clone() };
            let (by, checks, session) = (Some(self.run.by()), self.run.checks, self.run.session);
            let (prepared, scope, lane_meter) = (&prepared, scope.clone(), Some(meter));
            let of_lane = Run { by, prepared, checks, scope, resumed, session, settings, lane: lane_meter };
            let span = info_span!("stream", %lane);
            let streamed = Box::pin(service.stream(of_lane)).instrument(span).await;
            let note = {
                let _noting = self.noting.lock().await;
                self.in_hand.borrow_mut().remove(&lane.index()).map(|mut last| last.renewed(service.clock.utc()))
            };
            let streamed = streamed?;
            let is_held = lease.state(service.clock.now()) == LeaseState::Held;
            self.streamed(prepared, streamed, note, is_held).await?
        };
        drop(scope);
        service.released(&*store).await;
        Ok(came)
    }

    /// The worker that had a lane before, in this round: one whose note is there. It had saved last at `saved`.
    async fn before(&self, lane: Lane, saved: Option<Micros>) -> Result<Option<Before>, Refusal> {
        if let Some(note) = self.round.noted(lane).await? {
            return Ok(Some(Before { note, left: false, saved }));
        }
        let left = self.round.left(lane).await?;
        Ok(left.map(|note| Before { note, left: true, saved }))
    }

    /// What a hold that was not had says of the lane.
    async fn not_opened(&self, prepared: &Prepared, refusal: Refusal) -> Result<Came, Refusal> {
        match refusal.reason {
            Reason::CheckpointScopeBusy => Ok(Came::Busy),
            Reason::RunStopped => Ok(Came::Stopped),
            // Neither says anything of the lane: another worker may reach its checkpoint.
            Reason::CheckpointSaveFailed => Ok(Came::Waits(refusal)),
            reason if reason.defers() => Ok(Came::Waits(refusal)),
            _ => {
                self.end(prepared, Streamed::refused(refusal), None).await?;
                Ok(Came::Ended)
            }
        }
    }

    /// Notes what the streaming of a lane came to. An end is written by who holds the lane, and by nobody else.
    async fn streamed(
        &self,
        prepared: &Prepared,
        streamed: Streamed,
        note: Option<LaneNote>,
        is_held: bool,
    ) -> Result<Came, Refusal> {
        match streamed.refusal.as_ref().map(|refusal| refusal.reason) {
            // Another worker may have it by now, with a note and a summary of its own.
            Some(Reason::CheckpointLeaseLost) => Ok(Came::Lost),
            _ if !is_held => Ok(Came::Lost),
            Some(Reason::RunStopped) => {
                let left = self.service.in_time(self.leave(prepared, &streamed, note.as_ref())).await;
                if let Err(refusal) = left {
                    tracing::warn!(lane = %prepared.lane, %refusal, "the lane is left, which could not be noted");
                }
                Ok(Came::Stopped)
            }
            _ => {
                self.service.in_time(Box::pin(self.end(prepared, streamed, note))).await?;
                Ok(Came::Ended)
            }
        }
    }

    async fn leave(&self, prepared: &Prepared, streamed: &Streamed, note: Option<&LaneNote>) -> Result<(), Refusal> {
        self.put_summary(prepared, streamed).await?;
        match note {
            Some(note) => self.round.leave(prepared.lane, note).await,
            None => Ok(()),
        }
    }

    async fn put_summary(&self, prepared: &Prepared, streamed: &Streamed) -> Result<(), Refusal> {
        let Some(summary) = &streamed.summary else { return Ok(()) };
        let summaries = self.service.summaries(prepared, Some(self.run.by()))?;
        summaries.put_summary(summary).await.map(drop)
    }

    async fn end(&self, prepared: &Prepared, streamed: Streamed, note: Option<LaneNote>) -> Result<(), Refusal> {
        self.put_summary(prepared, &streamed).await?;
        let Taken { verdict, refusal, summary, .. } = self.service.came_to(self.run.ready, streamed);
        let (lane, emitted) = (prepared.lane, verdict.emitted);
        let written = self.round.end(&LaneEnd { lane, verdict, summary, note }).await?;
        if let Some(refusal) = refusal {
            tracing::warn!(%lane, %refusal, "lane ended");
        } else {
            tracing::info!(%lane, emitted, "lane ended");
        }
        if !written {
            tracing::warn!(%lane, "another worker had written the lane's end");
        }
        Ok(())
    }
}
