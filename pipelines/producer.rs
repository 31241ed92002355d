//! The whole producer: a run's rows to answers that are saved, one stage below the other.

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use futures::{Stream, TryStreamExt, stream};
use tracing::info_span;

use crate::ahead::AheadExt;
use crate::byte_budget::ByteBudget;
use crate::checkpoint::{
    ApartExt, CheckpointExt, CheckpointOptions, CheckpointScope, Earlier, HeldExt, RejoinExt, SavedCursor, Unsaved,
};
use crate::clock::Clock;
use crate::credit::Credit;
use crate::deliver::{
    Adaptive, CircuitPolicy, DeliveryMode, Gate, PushExt, PushOptions, PushStats, RetryBudget, RetryPolicy, Takes,
};
use crate::envelope::FrameExt;
use crate::ig::IgJudge;
use crate::merge::{SlicesExt, merge};
use crate::model::{Delivered, Event, Micros, Refusal};
use crate::oracle::{Resume, Scan};
use crate::pace::{Anchor, PaceExt, Pacing, RatePlan, ThrottleExt};
use crate::profile::Profile;
use crate::stop::Stop;
use crate::telemetry::Counter;

use super::prepare::Prepared;

/// Chunks (of up to 256 events or 1 MiB) framed ahead of delivery: enough that the framing thread never waits for a slot
/// while the other core is busy, some 10 MB where bodies are as usual.
const CHUNKS_AHEAD: usize = 32;

/// How a run is streamed.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Event time against the wall.
    pub pacing: Pacing,
    /// When the first event time is due, where a campaign says so.
    pub campaign_start: Option<Micros>,
    /// Rates, where there are any.
    pub rate: Option<RatePlan>,
    /// What the rates' offsets count from.
    pub rate_start: Option<Micros>,
    /// Order, and requests in flight.
    pub mode: DeliveryMode,
    /// Threads that connections are spread over.
    pub threads: NonZeroUsize,
    /// Events between the newest sent and the oldest unanswered one.
    pub window: usize,
    /// Unanswered events in memory.
    pub held: usize,
    /// Bytes of request bodies in memory.
    pub body_memory: u64,
    /// Attempts and delays.
    pub retry: RetryPolicy,
    /// Time for all attempts of an event.
    pub event_deadline: Option<Duration>,
    /// Retries of all events together.
    pub budget: RetryBudget,
    /// When IG is taken for down.
    pub circuit: CircuitPolicy,
    /// Requests in flight that follow what IG can take.
    pub adaptive: Option<Adaptive>,
    /// Time for answers in flight on a stop.
    pub drain_deadline: Duration,
    /// QUARANTINE ends the run.
    pub stop_on_quarantine: bool,
    /// Answered events between two saves.
    pub flush_every: u64,
    /// Cap over all outputs.
    pub max_events: Option<u64>,
    /// Cap an output.
    pub max_events_per_output: Option<u64>,
    /// Bytes that reading all outputs may take.
    pub read_memory: u64,
}

/// Caps that a command gives. 0 is no cap; `None` leaves it to the profile.
#[derive(Debug, Clone, Copy, Default)]
pub struct Caps {
    /// Over all outputs.
    pub max_events: Option<u64>,
    /// An output.
    pub max_events_per_output: Option<u64>,
}

impl Settings {
    /// What the profile says, with the caps of the command.
    #[must_use]
    pub fn new(profile: &Profile, caps: Caps) -> Self {
        let Profile { policy, delivery, checkpoint, rate, .. } = profile;
        let per_output = match caps.max_events_per_output {
            Some(cap) => NonZeroU64::new(cap),
            None => profile.max_events_per_output,
        };
        Self {
            pacing: rate.pacing,
            campaign_start: rate.campaign_start,
            rate: rate.plan.clone(),
            rate_start: rate.plan_start,
            mode: delivery.mode,
            threads: delivery.threads,
            window: delivery.window,
            held: delivery.held,
            body_memory: delivery.memory,
            retry: delivery.retry,
            event_deadline: delivery.event_deadline,
            budget: delivery.budget,
            circuit: delivery.circuit,
            adaptive: delivery.adaptive,
            drain_deadline: delivery.drain_deadline,
            stop_on_quarantine: policy.stop_on_nonretryable,
            flush_every: checkpoint.flush_every,
            max_events: caps.max_events.and_then(NonZeroU64::new).map(NonZeroU64::get),
            max_events_per_output: per_output.map(NonZeroU64::get),
            read_memory: profile.oracle.read_memory,
        }
    }

    /// Whether a run may end before its last event.
    #[must_use]
    pub fn is_capped(&self) -> bool {
        self.max_events.is_some() || self.max_events_per_output.is_some()
    }

    /// The pacing, fixed to the campaign's start and the world's first event where there is one.
    #[must_use]
    pub fn pacing_of(&self, run: &Prepared) -> Pacing {
        self.pacing.anchor(match (self.campaign_start, run.first_ts()) {
            (Some(utc), Some(ts)) => Anchor::At { utc, ts },
            _ => Anchor::First,
        })
    }

    /// How far sending may run ahead of what is saved, and so what a crash can repeat: `flush_every` + the requests in
    /// flight, however large the window.
    #[must_use]
    pub fn bound(&self) -> u64 {
        self.flush_every + self.mode.in_flight() as u64
    }
}

/// What a run is streamed with.
pub struct Parts<G, C> {
    /// Where to.
    pub gate: G,
    /// By which time.
    pub clock: C,
    /// Where positions are saved.
    pub scope: Box<dyn CheckpointScope>,
    /// What an earlier start left there.
    pub earlier: Earlier,
    /// Who may end it early.
    pub stop: Stop,
    /// Where attempts are counted.
    pub stats: PushStats,
    /// Where rows are counted as they are decoded, and bytes as they are read.
    pub read: ReadCounts,
    /// Where events are counted before they are sent.
    pub framed: Counter,
    /// Where it is kept since when answered events wait to be saved.
    pub unsaved: Unsaved,
    /// What request bodies in memory are counted against, those of the framed events among them.
    pub bodies: ByteBudget,
}

/// What was read of the views to be streamed.
#[derive(Debug, Clone, Default)]
pub struct ReadCounts {
    /// Bytes, footers among them.
    pub bytes: Counter,
    /// Decoded rows.
    pub rows: Counter,
}

/// Streams `run` from `from` on (one place an output, by rank). Every event is answered in the end, or the last item
/// says why not. Positions are saved as answers come; `on_saved` hears of each.
///
/// # Errors
///
/// The last item may be any stage's [`Refusal`]; what was answered before it has been yielded and saved.
pub fn stream<G, C, F>(
    run: &Prepared,
    from: &[Resume],
    settings: &Settings,
    parts: Parts<G, C>,
    on_saved: F,
) -> impl Stream<Item = Result<Delivered, Refusal>> + use<G, C, F>
where
    G: Gate<Connection: Takes<Event>>,
    C: Clock,
    F: FnMut(SavedCursor) + Send + 'static,
{
    // Reading, merging and framing is work, what follows is waiting: they get a thread each.
    let chunks = framed(run, from, settings, &parts.read, parts.framed.clone(), &parts.bodies);
    let chunks = chunks.ahead("wsp-frame", CHUNKS_AHEAD);
    delivered(run, chunks, settings, parts, on_saved)
}

/// The first half of [`stream()`]: rows to framed events, in chunks. What is read is counted in `read`, events in `count`,
/// and nothing is framed while `bodies` has no room.
pub fn framed(
    run: &Prepared,
    from: &[Resume],
    settings: &Settings,
    read: &ReadCounts,
    count: Counter,
    bodies: &ByteBudget,
) -> impl Stream<Item = Result<Vec<Event>, Refusal>> + Send + use<> {
    let cap = settings.max_events_per_output.unwrap_or(u64::MAX);
    let scan = Scan::new().limit(cap).memory(settings.read_memory);
    let outputs =
        run.counting(&read.bytes).batches(scan, from).into_iter().zip(&run.outputs).map(|(batches, output)| {
            let (decoded, reading) = (read.rows.clone(), info_span!("read", output_id = %output.view.output_id));
            batches.inspect_ok(move |batch| {
                decoded.add(batch.times().len() as u64);
                held(&reading);
            })
        });
    let framing = info_span!("frame");
    // Rows of all outputs, the lane's alone, in the one order that everybody means: time, then output, file, row.
    merge(outputs.collect())
        // A cap counts in that order too, so a capped run is a prefix of the whole one.
        .take_rows(settings.max_events.unwrap_or(u64::MAX))
        // Bodies are made once; every attempt sends these bytes.
        .frame(run.framer().within(bodies.clone()))
        // A lane's rows are known only by reading them; this says how many answers are due.
        .inspect_ok(move |events| {
            count.add(events.len() as u64);
            held(&framing);
        })
}

/// The second half of [`stream()`]: framed events to answers that are saved.
pub fn delivered<S, G, C, F>(
    run: &Prepared,
    chunks: S,
    settings: &Settings,
    parts: Parts<G, C>,
    on_saved: F,
) -> impl Stream<Item = Result<Delivered, Refusal>> + use<S, G, C, F>
where
    S: Stream<Item = Result<Vec<Event>, Refusal>>,
    G: Gate<Connection: Takes<Event>>,
    C: Clock,
    F: FnMut(SavedCursor) + Send + 'static,
{
    let Parts { gate, clock, scope, earlier, stop, stats, unsaved, bodies, .. } = parts;
    let lease = scope.lease();
    let credit = Credit::new(settings.bound());
    let push = PushOptions::new(clock.clone())
        .mode(settings.mode)
        .threads(settings.threads)
        .retry(settings.retry)
        .window(settings.window)
        .held(settings.held)
        .bodies(bodies)
        .event_deadline(settings.event_deadline)
        .budget(settings.budget)
        .circuit(settings.circuit)
        .adaptive(settings.adaptive)
        .credit(credit.clone())
        .stop(stop.clone())
        .drain_deadline(settings.drain_deadline)
        .stop_on_quarantine(settings.stop_on_quarantine)
        .stats(stats);
    let save = CheckpointOptions::new(clock.clone(), run.output_files())
        .flush_every(settings.flush_every)
        .earlier(earlier.clone())
        .settle(credit)
        .unsaved(unsaved)
        .stop(stop)
        // A lane's last event is rarely its view's last row; without a cap, the end of the stream is the outputs' end.
        .ends_complete(!settings.is_capped())
        .on_saved(on_saved);

    let (events, answered_earlier) = chunks
        .map_ok(|chunk| stream::iter(chunk.into_iter().map(Ok)))
        .try_flatten()
        // What an earlier start saw answered beyond its cursors is read and checked, and goes past the sending.
        .set_apart(earlier);
    events
        // Before the push, so that waiting for an event's time never holds up requests in flight.
        .pace(clock.clone(), settings.pacing_of(run))
        // The rate caps what event time asks for, so it stands behind it.
        .throttle(clock.clone(), settings.rate.clone(), settings.rate_start)
        // Who lost the hold on the run's checkpoint sends nothing more.
        .while_held(lease, clock)
        // Retries happen inside, so that events of the key keep their order.
        .push(gate, IgJudge::new(run.names()), push)
        // Here it counts again: for the cursors, and for the digest.
        .rejoin(answered_earlier)
        // Last: only what IG has answered moves a cursor.
        .checkpoint(scope, save)
}

/// Keeps a span in the closure that calls this: it ends with the stream that it tells of.
fn held(_: &tracing::Span) {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Flags and environment alike: 0 is no cap, and a flag wins over the environment.
    #[test]
    fn a_cap_of_zero_is_no_cap() {
        let caps = |env: &str, max_events, max_events_per_output| {
            let vars = |name: &str| match name {
                "WSP_MAX_EVENTS_PER_OUTPUT" => Some(env.to_owned()),
                "IG_API_KEY" => Some("k".to_owned()),
                _ => None,
            };
            let profile = "profile_id: local\nwiring: {control_bus: {kind: file}}";
            let profile = Profile::parse(profile, std::path::Path::new("."), &vars).unwrap();
            let settings = Settings::new(&profile, Caps { max_events, max_events_per_output });
            assert_eq!(settings.is_capped(), (settings.max_events, settings.max_events_per_output) != (None, None));
            (settings.max_events, settings.max_events_per_output)
        };
        assert_eq!(caps("", None, None), (None, None));
        assert_eq!(caps("0", None, None), (None, None));
        assert_eq!(caps("7", None, None), (None, Some(7)));
        assert_eq!(caps("7", None, Some(3)), (None, Some(3)));
        assert_eq!(caps("7", None, Some(0)), (None, None));
        assert_eq!(caps("0", Some(0), Some(0)), (None, None));
        assert_eq!(caps("0", Some(9), Some(0)), (Some(9), None));
    }
}
