//! The producer: a run's rows to answers that are saved, one stage below the other.

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
    let Parts { gate, clock, scope, earlier, stop, stats, read, framed, unsaved, digests, bodies, framing } = parts;
    // What is sent beyond the last save, and so what a crash can repeat.
    let credit = Credit::new(settings.bound());
    let push =
        settings.push(clock.clone()).bodies(bodies.clone()).credit(credit.clone()).stop(stop.clone()).stats(stats);
    let save = settings.checkpoint(clock.clone()).settle(credit).unsaved(unsaved).stop(stop);
    let layout = settings.layout(run).earlier(earlier.clone()).digests(digests).on_saved(on_saved);

    let (events, answered_earlier) = events(run, from, settings, &read, framed, &bodies)
        // Reading, merging and framing is work, what follows is waiting: they get a thread each.
        .on(framing)
        .map_ok(|chunk| stream::iter(chunk.into_iter().map(Ok)))
        .try_flatten()
        // What an earlier start saw answered beyond its cursors is read and checked, and goes past the sending.
        .set_apart(earlier);
    events
        // Before the push, so that waiting for an event's time never holds up requests in flight.
        .pace(clock.clone(), settings.pacing_of(run))
        // A lane that is too far ahead of the others waits for them.
        .within(&settings.shared.horizon, &settings.shared.reached)
        // The rate caps what event time asks for, so it stands behind it.
        .throttle_shared(clock.clone(), settings.rate.clone(), settings.rate_start, settings.shared.share.clone())
        // A producer that lost the hold on the run's checkpoint sends nothing more.
        .while_held(scope.lease(), clock)
        // Retries happen inside, so that events of the key keep their order.
        .push(gate, IgJudge::new(run.names()), push)
        // Here it counts again: for the cursors, and for the digest.
        .rejoin(answered_earlier)
        // Last: only what IG has answered moves a cursor.
        .checkpoint(scope, layout, save)
}

/// The rows of `run` as framed events, in chunks. What is read is counted in `read`, events in `count`, and nothing is framed
/// while `bodies` has no room.
pub fn events(
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

use futures::future::Either;
use futures::{Stream, TryStreamExt, stream};
use tracing::info_span;
use wsp::ahead::AheadExt;
use wsp::byte_budget::ByteBudget;
use wsp::clock::Clock;
use wsp::credit::Credit;
use wsp::deliver::{Gate, PushExt, Takes};
use wsp::frame::FrameExt as _;
use wsp::merge::{SlicesExt, merge};
use wsp::pace::{PaceExt, ThrottleExt};
use wsp::telemetry::Counter;

use super::prepare::Prepared;
use crate::checkpoint::{ApartExt, CheckpointExt, HeldExt, RejoinExt, SavedCursor};
use crate::ig::IgJudge;
use crate::lanes::WithinExt;
use crate::model::{Delivered, Event, Refusal};
use crate::oracle::{Resume, Scan};

pub use super::parts::{Framing, Parts, ReadCounts};
pub use super::settings::{Caps, Settings};

/// Chunks (of up to 256 events or 1 MiB) framed ahead of delivery: enough that the framing thread never waits for a slot
/// while the other core is busy, some 10 MB where bodies are as usual.
const CHUNKS_AHEAD: usize = 32;

/// Puts what comes before on the thread that it belongs to.
trait OnThread: Stream<Item = Result<Vec<Event>, Refusal>> + Send + Sized + 'static {
    fn on(self, framing: Framing) -> impl Stream<Item = Result<Vec<Event>, Refusal>> {
        match framing {
            Framing::OwnThread => Either::Left(self.ahead("wsp-frame", CHUNKS_AHEAD)),
            Framing::SameThread => Either::Right(self),
        }
    }
}

impl<S: Stream<Item = Result<Vec<Event>, Refusal>> + Send + 'static> OnThread for S {}

/// Keeps a span in the closure that calls this: it ends with the stream that it tells of.
fn held(_: &tracing::Span) {}
