//! The second producer: rows of files to answers that are saved, one stage below the other.

/// Replays all that is not answered yet. Every event is done with in the end, or the error says why not; what was answered
/// before it is saved.
///
/// # Errors
///
/// Any stage's [`Error`].
pub(super) async fn run<G, J, C>(replay: &Replay, gate: G, judge: J, parts: Parts<C>) -> Result<(), Error>
where
    G: Gate<Connection: Takes<Event>>,
    J: Judge<Event, Delivered = Delivered, Error = Error>,
    C: Clock,
{
    let Stages { events, push, keeper, .. } = stages(replay, parts)?;
    events
        // Retries happen inside, so that events of a key keep their order.
        .push(gate, judge, push)
        // Last: only what the receiver has answered moves a cursor.
        .keep(keeper)
        .await
}

/// The same with several events in a request.
///
/// # Errors
///
/// Any stage's [`Error`].
pub(super) async fn run_batches<G, C>(
    replay: &Replay,
    batching: Batching,
    gate: G,
    judge: BatchJudge,
    parts: Parts<C>,
) -> Result<(), Error>
where
    G: Gate<Connection: Takes<Batch>>,
    C: Clock,
{
    let Stages { events, push, keeper, clock, bodies } = stages(replay, parts)?;
    let maker = replay.maker(batching.form, bodies);
    events
        // Behind pace and rate, which count events; a batch never waits for them longer than it may.
        .batch(clock, batching, replay.options.mode, maker)
        .push(gate, judge, push)
        .map_ok(|delivered| stream::iter(delivered.into_iter().map(Ok)))
        .try_flatten()
        .keep(keeper)
        .await
}

/// The chain up to the push, and what its end is made of.
fn stages<C: Clock>(
    replay: &Replay,
    parts: Parts<C>,
) -> Result<Stages<C, impl Stream<Item = Result<Event, Error>> + use<C>>, Error> {
    let options = &replay.options;
    let Parts { clock, stop, stats, live, disk, state, output, standings, framing } = parts;
    let lease = state.as_ref().map_or_else(Lease::unlimited, State::lease);
    // Requests that are sent beyond the last save, and so what a crash can repeat.
    let credit = Credit::new(requests_beyond(options));
    let bodies = ByteBudget::new(BODIES);
    let push =
        push(options, clock.clone()).bodies(bodies.clone()).credit(credit.clone()).stop(stop.clone()).stats(stats);
    // Without batches, a body is packed by itself.
    let packing = if options.batching.is_none() { options.packing } else { None };
    let (inputs, shift) = (replay.inputs.clone(), options.shift.clone());
    let mut finisher = Finisher::new(clock.clone(), inputs, bodies.clone(), shift, packing)?;
    let events = events(replay, &standings, bodies.clone(), None, state.as_ref().and_then(State::sorted));
    let keeper = Keeper {
        clock: clock.clone(),
        disk,
        inputs: replay.inputs.clone(),
        standings,
        state,
        letters: options.dead_letter.clone(),
        output,
        credit,
        every: (options.save_every, SAVE_INTERVAL),
        limit: options.limit.unwrap_or(u64::MAX),
        live,
        stop,
    };
    // Reading, merging and framing is work, what follows is waiting: they get a thread each.
    let events = framing
        .on(events)
        .map_ok(|chunk| stream::iter(chunk.into_iter().map(Ok)))
        .try_flatten()
        // Before the push, so that waiting for an event's time never holds up requests in flight.
        .pace(clock.clone(), options.pacing)
        // The rate caps what event time asks for, so it stands behind it.
        .throttle(clock.clone(), options.rate.clone(), None)
        // A process that lost the hold on its state sends nothing more.
        .while_held(lease, clock.clone())
        // Only now is it known when an event is due.
        .map(move |event| event.and_then(|event| finisher.finish(event)));
    Ok(Stages { events, push, keeper, clock, bodies })
}

struct Stages<C, S> {
    events: S,
    push: PushOptions<C>,
    keeper: Keeper<C>,
    clock: C,
    bodies: ByteBudget,
}

/// The rows of all inputs as events, in chunks, from where each stands; nothing is made while `bodies` has no room.
pub(super) fn events(
    replay: &Replay,
    standings: &[Standing],
    bodies: ByteBudget,
    keys: Option<HotKeys>,
    sorted: Option<&Sorted>,
) -> impl Stream<Item = Result<Vec<Event>, Error>> + Send + use<> {
    let frame = replay.frame(standings);
    // Nothing is read behind the last event, and no fault there is reported.
    let inputs = replay.inputs.iter().zip(standings).zip(0..).filter(|_| frame.limit > 0);
    let inputs = inputs.map(|((input, standing), rank)| {
        // The thread that frames the rows also reads the files.
        let (reading, span) = (replay.readings[usize::from(rank)].clone(), replay.options.span);
        let (input, start) = (input.clone(), standing.start);
        let rows: RowStream = match replay.options.order {
            Order::AsRead => stream::iter(Chain::new(input, rank, reading, span, start)).boxed(),
            Order::Within(bound) => {
                let unsorted = Unsorted::new(input.clone(), rank, reading);
                stream::iter(Reordered::new(unsorted, input, rank, span, bound, start.row)).boxed()
            }
            Order::Sorted => {
                let folder = sorted.map(|sorted| sorted.of(rank));
                Sort { input, rank, reading, span, folder }.rows(start.row)
            }
        };
        rows
    });
    let inputs: Vec<_> = inputs.collect();
    let framer = Framer::new(frame, bodies);
    let framer = if let Some(keys) = keys { framer.counting(keys) } else { framer };
    // Rows of all inputs in one order that never depends on who was read first: time, input, file, row.
    merge(inputs)
        // Bodies are made once; every attempt sends these bytes.
        .frame(framer)
}

use futures::future::Either;
use futures::{Stream, StreamExt as _, TryStreamExt, stream};

use std::sync::Arc;
use std::time::Duration;

use wsp::ahead::AheadExt;
use wsp::byte_budget::ByteBudget;
use wsp::checkpoint::{HeldExt as _, Lease};
use wsp::clock::Clock;
use wsp::credit::Credit;
use wsp::deliver::{CircuitPolicy, Gate, Judge, PushExt, PushOptions, PushStats, Takes};
use wsp::disk::Disk;
use wsp::frame::FrameExt as _;
use wsp::merge::merge;
use wsp::pace::{PaceExt, ThrottleExt};
use wsp::stop::Stop;

use super::answered::Standing;
use super::batch::{Batch, Batching};
use super::batch_judge::BatchJudge;
use super::batches::BatchExt as _;
use super::chain::Chain;
use super::error::Error;
use super::event::Event;
use super::finish::Finisher;
use super::frame::Framer;
use super::hot_keys::HotKeys;
use super::judge::Delivered;
use super::keep::{KeepExt, Keeper, Live};
use super::order::{Order, Reordered, RowStream, Unsorted};
use super::sink::lines::Output;
use super::sort::Sort;
use super::state::{Sorted, State};
use super::{Options, Replay};

/// Chunks (of up to 256 events or 1 MiB) made ahead of delivery.
const CHUNKS_AHEAD: usize = 32;
/// Bytes of bodies in memory.
const BODIES: u64 = 64 << 20;
/// How far the newest event on its way may be ahead of the oldest that is not answered.
const WINDOW: usize = 65_536;
/// Without so many answers, it is saved after this time.
const SAVE_INTERVAL: Duration = Duration::from_millis(500);

/// What a replay works with, besides its options, the receiver and what the receiver's answers mean.
pub(super) struct Parts<C> {
    /// The clock.
    pub(super) clock: C,
    /// The wish to stop.
    pub(super) stop: Stop,
    /// Where attempts are counted.
    pub(super) stats: PushStats,
    /// Where answers are counted.
    pub(super) live: Live,
    /// Where state and dead letters are written.
    pub(super) disk: Arc<dyn Disk>,
    pub(super) state: Option<State>,
    /// The lines, where they are what is written.
    pub(super) output: Option<Arc<Output>>,
    pub(super) standings: Vec<Standing>,
    /// Which thread makes events.
    pub(super) framing: Framing,
}

/// Which thread reads, merges and frames rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// One of its own, some chunks ahead of delivery.
    OwnThread,
    /// That of delivery, so that one order of events rules all.
    SameThread,
}

impl Framing {
    /// The stream, made there.
    fn on<T: Send + 'static>(
        self,
        chunks: impl Stream<Item = Result<T, Error>> + Send + 'static,
    ) -> impl Stream<Item = Result<T, Error>> + Send {
        match self {
            Self::OwnThread => Either::Left(chunks.ahead("wsp-replay", CHUNKS_AHEAD)),
            Self::SameThread => Either::Right(chunks),
        }
    }
}

/// Events of a request, at most.
fn events_of_request(options: &Options) -> u64 {
    options.batching.as_ref().map_or(1, |batching| batching.events.get() as u64)
}

/// Requests that may be sent beyond the last save.
fn requests_beyond(options: &Options) -> u64 {
    let unsaved = match events_of_request(options) {
        1 => options.save_every,
        // At least two, so that one is sent while another is saved.
        events => options.save_every.div_ceil(events).max(2),
    };
    unsaved + options.mode.in_flight() as u64
}

/// Events that a crash can make a next start send again, at most.
pub(super) fn bound(options: &Options) -> u64 {
    // A file is cut to what was saved.
    if options.sink.file().is_some() { 0 } else { requests_beyond(options) * events_of_request(options) }
}

fn push<C: Clock>(options: &Options, clock: C) -> PushOptions<C> {
    PushOptions::new(clock)
        .mode(options.mode)
        .retry(options.retry)
        // All requests in flight fail when a receiver goes away, and a few more show that it is not coming back.
        .circuit(CircuitPolicy {
            failures: options.mode.in_flight() as u32 + 6,
            limit: options.outage,
            ..CircuitPolicy::default()
        })
        .adaptive(options.adaptive)
        .window(WINDOW)
        // What is set aside was said to be no matter, or is written down.
        .stop_on_quarantine(false)
}
