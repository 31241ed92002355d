//! A producer of one's own from three stages: sensor readings, replayed at sixty times their speed, at most fifty a
//! second, in order per sensor, into a gate.
//!
//! ```text
//! readings ──► pace ──► throttle ──► push ──► answers
//! ```
//!
//! Run it with `cargo run --example small_producer`. The gate here is the one in memory; `wsp::deliver::HttpGate` takes
//! its place for a real one, and `.checkpoint(…)` or a stage of one's own goes behind the push.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroUsize;
use std::pin::pin;

use futures::{Stream, TryStreamExt, stream};
use sha2::{Digest, Sha256};
use wsp::clock::SystemClock;
use wsp::deliver::memory::MemoryGate;
use wsp::deliver::{DeliveryMode, PushExt, PushOptions};
use wsp::model::{Event, Micros, Position, Refusal};
use wsp::pace::{PaceExt, Pacing, RateLimit, RatePlan, ThrottleExt};

const IN_FLIGHT: NonZeroUsize = NonZeroUsize::new(4).unwrap();

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clock = SystemClock::new();
    let gate = MemoryGate::new(clock);
    let rate = RatePlan::steady(RateLimit::new(50.0, None, None)?);
    let push = PushOptions::new(clock).mode(DeliveryMode::Keyed(IN_FLIGHT));

    let answers = readings(120)
        // A minute of readings takes a second.
        .pace(clock, Pacing::new(60.0)?)
        // Whatever their times say, no more than fifty a second.
        .throttle(clock, Some(rate), None)
        // Four on the way at once, never two of one sensor.
        .push(gate, push);

    let mut answers = pin!(answers);
    let mut sent = 0;
    while let Some(answer) = answers.try_next().await? {
        sent += 1;
        println!("{}  {}  {} attempt(s)", answer.ts, answer.decision.as_str(), answer.attempts);
    }
    println!("{sent} readings sent");
    Ok(())
}

/// One reading a second of event time, from three sensors in turn.
fn readings(n: u64) -> impl Stream<Item = Result<Event, Refusal>> {
    stream::iter((0..n).map(|i| {
        let sensor = format!("sensor-{}", i % 3);
        let ts = Micros(1_767_225_600_000_000 + i.cast_signed() * 1_000_000);
        let body = format!(r#"{{"sensor":"{sensor}","ts":"{ts}","value":{}}}"#, i * 7 % 11);
        let mut key = DefaultHasher::new();
        sensor.hash(&mut key);
        Ok(Event {
            position: Position { rank: 0, file: 0, row: i, seq: i },
            ts,
            order_key: key.finish(),
            event_id: Sha256::digest(format!("{sensor}|{ts}")).into(),
            body: body.into(),
            due: None,
        })
    }))
}
