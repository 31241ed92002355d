//! Adds up a run's answers, for the service and for the simulator.
//!
//! ```text
//! answers ──► tally · position reached ──► everything that was due? ──► Account
//! ```

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Poll, ready};

use futures::Stream;
use wsp::clock::Clock;
use wsp::telemetry::Counter;

use super::prepare::Prepared;
use super::progress::Progress;
use crate::evidence::LiveTally;
use crate::model::{Delivered, Reason, Refusal};
use crate::oracle::Resume;

/// What a run's answers came to.
#[derive(Debug)]
pub struct Account {
    /// The answers, counted.
    pub tally: LiveTally,
    /// Why the run did not end well, unless it did.
    pub refusal: Option<Refusal>,
    /// The place behind the last answered row, an output each: with holes before it, unless the run ended well.
    pub reached: Vec<Resume>,
}

/// Counts all answers of `run` in `tally`. The run goes on at `from` and is due to bring `due` events; `framed` has counted
/// those that were made. An end without a refusal is one only if each of them was answered.
pub async fn settle<C: Clock>(
    answers: impl Stream<Item = Result<Delivered, Refusal>>,
    run: &Prepared,
    from: &[Resume],
    due: u64,
    framed: &Counter,
    tally: LiveTally,
    clock: &C,
) -> Account {
    let mut refusal = None;
    let mut progress = Progress::new(clock, from);
    let began = clock.now();
    {
        // It holds the checkpoint, so it goes before anything else is done.
        let mut answers = pin!(answers);
        // The tally is locked while answers are at hand: once a wake-up, not once an event.
        poll_fn(|cx| {
            let mut tally = tally.lock();
            while let Some(answer) = ready!(answers.as_mut().poll_next(cx)) {
                match answer {
                    Ok(delivered) => {
                        tally.count(&delivered, clock.now().saturating_sub(began));
                        progress.note(clock, delivered.position, due);
                    }
                    Err(error) => refusal = Some(error),
                }
            }
            Poll::Ready(())
        })
        .await;
    }
    let settled = tally.lock().totals().settled();
    // Of the whole run it is known beforehand how many there are; of a lane, now that all rows were looked at.
    let due = if run.lane.is_whole() { due } else { framed.get() };
    if refusal.is_none() && (settled != due || settled != framed.get()) {
        let detail = format!("{due} events were due, {} were framed, {settled} were answered", framed.get());
        refusal = Some(Refusal::new(Reason::InternalError, detail));
    }
    Account { tally, refusal, reached: progress.reached().to_vec() }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::Arc;
    use std::time::Duration;

    use arrow_schema::Schema;
    use futures::{StreamExt, poll, stream};
    use wsp::clock::SystemClock;
    use wsp::store::MemoryStore;

    use super::*;
    use crate::envelope::RunPins;
    use crate::model::{Decision, Hex64, Lane, LaneKey, Micros, Position, WorldKey};
    use crate::oracle::View;
    use crate::prepare::PreparedOutput;
    use crate::run::identity::RunIdentity;

    /// A run of one output, which nobody reads.
    fn run(lane: Lane) -> Prepared {
        let hex32 = |digit: &str| digit.repeat(32).parse().unwrap();
        let world = WorldKey {
            manifest_fingerprint: Hex64::sha256("manifest"),
            parameter_hash: Hex64::sha256("parameters"),
            scenario_id: "baseline_v1".parse().unwrap(),
            seed: 42,
        };
        let run = "platform_20260101T000000Z".parse().unwrap();
        let identity = RunIdentity::of_world(run, hex32("5"), world.clone());
        let pins = RunPins {
            world,
            run_id: hex32("7"),
            platform_run_id: identity.platform_run_id.clone(),
            scenario_run_id: identity.scenario_run_id.clone(),
            producer: "svc:world_stream_producer".to_owned(),
            trace_id: "t".to_owned(),
            span_id: None,
        };
        let view = View {
            rank: 0,
            output_id: "arrival_events_5B".parse().unwrap(),
            store: Arc::new(MemoryStore::new("mem://world")),
            parts: Vec::new(),
            rows: 3,
            schema: Arc::new(Schema::empty()),
        };
        let output = PreparedOutput { view, span: None, primary_key: vec!["id".to_owned()], order_key: None };
        Prepared {
            identity,
            engine_root: "mem://world".to_owned(),
            view_root: "mem://world".to_owned(),
            pins,
            pack_key: Hex64::sha256("pack"),
            unsealed: None,
            outputs: vec![output],
            lane,
        }
    }

    fn answers(count: u64) -> Vec<Result<Delivered, Refusal>> {
        let answer = |row| Delivered {
            position: Position { rank: 0, file: 0, row, seq: row },
            ts: Micros(0),
            event_id: [row as u8; 32],
            decision: Decision::Admit,
            attempts: 1,
            ambiguous: false,
            latency: Duration::ZERO,
            lag: Duration::ZERO,
        };
        (0..count).map(|row| Ok(answer(row))).collect()
    }

    async fn settled(lane: Lane, due: u64, framed: u64, answers: Vec<Result<Delivered, Refusal>>) -> Option<Refusal> {
        let count = Counter::new();
        count.add(framed);
        let answers = stream::iter(answers);
        let tally = LiveTally::new(1).unwrap();
        settle(answers, &run(lane), &[Resume::default()], due, &count, tally, &SystemClock::new()).await.refusal
    }

    #[tokio::test]
    async fn the_tally_can_be_read_while_the_run_waits_for_answers() {
        let (count, tally) = (Counter::new(), LiveTally::new(1).unwrap());
        let (run, clock) = (run(Lane::WHOLE), SystemClock::new());
        let (answers, from) = (stream::iter(answers(2)).chain(stream::pending()), [Resume::default()]);
        let mut settling = pin!(settle(answers, &run, &from, 3, &count, tally.clone(), &clock));
        assert!(poll!(settling.as_mut()).is_pending());
        assert_eq!(tally.lock().totals().answered, 2);
    }

    #[tokio::test]
    async fn a_run_ends_well_only_if_what_was_due_was_framed_and_what_was_framed_was_answered() {
        assert_eq!(settled(Lane::WHOLE, 3, 3, answers(3)).await, None);
        assert_eq!(settled(Lane::WHOLE, 0, 0, answers(0)).await, None);
        // An event lost behind framing, before it, an answer without its event, an event that nobody counted.
        for (due, framed, answered) in
            [(3, 3, 2), (3, 2, 2), (2, 2, 3), (3, 4, 3), (4, 3, 3), (2, 3, 3), (3, 2, 3), (3, 0, 0)]
        {
            let refusal = settled(Lane::WHOLE, due, framed, answers(answered)).await.unwrap();
            assert_eq!(
                refusal.to_string(),
                format!("INTERNAL_ERROR: {due} events were due, {framed} were framed, {answered} were answered")
            );
        }
    }

    #[tokio::test]
    async fn what_a_lane_owes_is_what_was_framed_of_it() {
        let lane = Lane::new(NonZeroU32::new(2).unwrap(), 0, LaneKey::EventId).unwrap();
        assert_eq!(settled(lane, 100, 3, answers(3)).await, None);
        for (framed, answered) in [(3, 2), (2, 3), (1, 0)] {
            assert_eq!(settled(lane, 3, framed, answers(answered)).await.unwrap().reason, Reason::InternalError);
        }
    }

    #[tokio::test]
    async fn a_refusal_is_not_covered_by_what_is_missing_because_of_it() {
        let mut answers = answers(2);
        answers.push(Err(Refusal::new(Reason::IgPushRejected, "422")));
        assert_eq!(settled(Lane::WHOLE, 3, 3, answers).await.unwrap().reason, Reason::IgPushRejected);
    }
}
