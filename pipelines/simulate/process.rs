//! One producer process: the real chain on a runtime of its own, run step by step, and dropped at any of them.
//!
//! ```text
//! checkpoint (locked or leased) ─► resume ─► framed ─► delivered ─► settle ─► Ended
//!                                                 └─ polled until nothing in it can move: a turn
//! ```

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use wsp::byte_budget::ByteBudget;
use wsp::deliver::{PushCounts, PushStats};
use wsp::stop::Stop;
use wsp::telemetry::Counter;
use wsp_world::account::{self, Account};
use wsp_world::checkpoint::leased::{LeasedScope, Releases, Times};
use wsp_world::checkpoint::{CheckpointScope, RowCursors, Unsaved};
use wsp_world::evidence::LiveTally;
use wsp_world::model::Refusal;
use wsp_world::prepare::Prepared;
use wsp_world::producer::{self, Framing, Parts, ReadCounts, Settings};
use wsp_world::resuming::{self, Resumed};
use wsp_world::telemetry::RunOutput;

use super::clock::SimClock;
use super::database::{self, Database};
use super::disk::Disk;
use super::gate::OfRun;
use super::hub::{Blow, Hub, Life, ProcessId};
use super::plan::StorePlan;
use super::road::Reached;

/// Where checkpoints are.
#[derive(Clone)]
pub(super) enum Store {
    Disk(Disk),
    Database(Database),
}

/// What a process works with.
pub(super) struct Outfit {
    pub(super) run: Prepared,
    pub(super) attempt_id: &'static str,
    pub(super) settings: Settings,
    pub(super) gate: Reached<OfRun>,
    pub(super) store: Store,
    pub(super) plan: StorePlan,
    pub(super) clock: SimClock,
}

/// How a process ended by itself.
pub(super) struct Ended {
    pub(super) account: Option<Account>,
    pub(super) refusal: Option<Refusal>,
    pub(super) pushes: PushCounts,
}

/// What a turn came to.
pub(super) enum Turn<E> {
    /// Nothing in the process can move before something reaches it from outside.
    Idle,
    Ended(Box<E>),
    Struck(Blow),
}

/// A process, which ends as `E`.
pub(super) struct Process<E> {
    id: ProcessId,
    hub: Hub,
    work: Pin<Box<dyn Future<Output = E>>>,
    stop: Stop,
    pushes: PushStats,
    runtime: Runtime,
    idle: Arc<Idle>,
}

/// Whether the runtime has nothing left to do.
#[derive(Default)]
struct Idle(Mutex<(bool, Option<Waker>)>);

impl Idle {
    /// Called by the runtime before it would wait for something.
    fn reached(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 = true;
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
    }

    /// Whether it was reached since the last question; if not, `waker` is told when it is.
    fn taken(&self, waker: &Waker) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.1 = Some(waker.clone());
        std::mem::take(&mut state.0)
    }
}

impl<E: 'static> Process<E> {
    /// A process that does the work of `produce`.
    pub(super) fn start<F>(id: ProcessId, hub: Hub, produce: impl FnOnce(Stop, PushStats) -> F) -> std::io::Result<Self>
    where
        F: Future<Output = E> + 'static,
    {
        let idle = Arc::new(Idle::default());
        let reached = idle.clone();
        let runtime = Builder::new_current_thread().on_thread_park(move || reached.reached()).build()?;
        let stop = Stop::new();
        let pushes = PushStats::new();
        let work = Box::pin(produce(stop.clone(), pushes.clone()));
        Ok(Self { id, hub, work, stop, pushes, runtime, idle })
    }

    /// Runs it until nothing in it can move, it ends, or something befalls it.
    pub(super) fn turn(&mut self) -> Turn<E> {
        let Self { id, hub, work, runtime, idle, .. } = self;
        runtime.block_on(poll_fn(|cx| {
            if let Some(blow) = hub.fallen(*id, cx.waker()) {
                return Poll::Ready(Turn::Struck(blow));
            }
            if idle.taken(cx.waker()) {
                return Poll::Ready(Turn::Idle);
            }
            match work.as_mut().poll(cx) {
                Poll::Ready(_) if hub.life(*id) == Life::Dead => {
                    Poll::Ready(Turn::Struck(hub.fallen(*id, cx.waker()).unwrap_or(Blow::Crash)))
                }
                Poll::Ready(ended) => Poll::Ready(Turn::Ended(Box::new(ended))),
                Poll::Pending => Poll::Pending,
            }
        }))
    }

    /// How many events have reached its delivery.
    pub(super) fn handed(&self) -> u64 {
        self.pushes.on_the_way().handed
    }

    /// Asks it to stop.
    pub(super) fn stop(&self) {
        self.stop.request();
    }

    /// Lets it vanish, with all that is in it.
    pub(super) fn vanish(self) {
        let Self { id, hub, work, runtime, .. } = self;
        hub.kill(id);
        // Its tasks first: none of them may see the others go.
        drop(runtime);
        drop(work);
    }
}

/// What the service does with a run that may stream, from its checkpoint on.
pub(super) async fn produce(id: ProcessId, hub: Hub, outfit: Outfit, stop: Stop, pushes: PushStats) -> Ended {
    let releases = Releases::new();
    let streamed = stream(id, &hub, outfit, stop, &pushes, &releases).await;
    releases.done().await;
    let pushes = pushes.counts();
    match streamed {
        Ok(mut account) => Ended { refusal: account.refusal.take(), account: Some(account), pushes },
        Err(refusal) => Ended { account: None, refusal: Some(refusal), pushes },
    }
}

async fn stream(
    id: ProcessId,
    hub: &Hub,
    outfit: Outfit,
    stop: Stop,
    pushes: &PushStats,
    releases: &Releases,
) -> Result<Account, Refusal> {
    let Outfit { run, attempt_id, settings, gate, store, plan, clock } = outfit;
    let key = run.scope(attempt_id);
    let mut scope: Box<dyn CheckpointScope<RowCursors>> = match store {
        Store::Disk(disk) => disk.open(id, &key, clock.clone()).await?,
        Store::Database(database) => {
            let times = Times {
                lease: plan.lease.unwrap_or(Duration::MAX),
                open_limit: Duration::from_secs(5),
                save_limit: Duration::from_secs(20),
            };
            let (table, owner) = (Arc::new(database.reached_by(id)), database::owner(id));
            Box::new(LeasedScope::open(table, &key, owner, clock.clone(), times, releases.clone()).await?)
        }
    };
    let Resumed { from, earlier, .. } = resuming::take_up(&run, &mut *scope).await?;
    let due = RunOutput::due(&RunOutput::of(&run, &from, &settings), &settings);
    hub.note(format_args!("p{id} goes on at {from:?}, {due} rows"));
    let (framed, read) = (Counter::new(), ReadCounts::default());
    let bodies = ByteBudget::new(settings.body_memory);
    let (clock_too, stats) = (clock.clone(), pushes.clone());
    let unsaved = Unsaved::new();
    let tally = LiveTally::new(run.outputs.len())?;
    let digests = tally.lock().digests().clone();
    let parts = Parts {
        gate,
        clock: clock_too,
        scope,
        earlier,
        stop,
        stats,
        read,
        framed: framed.clone(),
        unsaved,
        digests,
        bodies,
        framing: Framing::SameThread,
    };
    let saved = hub.clone();
    let answers = producer::stream(&run, &from, &settings, parts, move |cursor| {
        let (output, row) = (&cursor.cursor.output_id, cursor.cursor.last_row_index);
        saved.note(format_args!("p{id} has saved {output} row {row}: {}", cursor.reason.as_str()));
    });
    Ok(account::settle(answers, &run, &from, due, &framed, tally, &clock).await)
}
