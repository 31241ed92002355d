//! What do pacing and throttle cost an event that is due already, and how far from due is one that has to wait?
//!
//! ```text
//! events ──► pace ──► counted                 all due: the stage's own cost
//! events ──► throttle ──► counted             tokens enough: the stage's own cost
//! events, 5,000/s ──► pace ──► when it came   lateness, printed; no criterion, it is no cost
//! ```
//!
//! `cargo bench --bench pace`; throughput is in events.

#![allow(missing_docs, reason = "criterion's macros")]
#![allow(clippy::unwrap_used, reason = "a bench that can't run shall say where")]

mod common;

use bytes::Bytes;
use common::{event, median, runtime};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::{Stream, StreamExt, stream};
use wsp::clock::{Clock, SystemClock};
use wsp::model::{Event, Micros, Refusal};
use wsp::pace::{PaceExt, Pacing, RateLimit, RatePlan, ThrottleExt};

const EVENTS: u64 = 10_000;
/// Microseconds between events that have to wait.
const APART: i64 = 200;

/// Events as far apart in event time as they are to be on the wall.
fn events(count: u64, apart: i64) -> impl Stream<Item = Result<Event, Refusal>> + Unpin {
    let body = Bytes::from_static(b"{}");
    stream::iter((0..count).map(move |i| Ok(Event { ts: Micros(apart * i.cast_signed()), ..event(i, &body) })))
}

/// Sends 5,000/s for two seconds and tells how late they went on.
fn lateness() {
    let late = runtime().block_on(async {
        let clock = SystemClock::new();
        let paced = events(EVENTS, APART).pace(clock, Pacing::new(1.0).unwrap());
        let late = paced.map(|event| clock.now().as_secs_f64() - event.unwrap().due.unwrap().as_secs_f64());
        late.map(|late| late * 1e3).collect::<Vec<f64>>().await
    });
    let mut sizes: Vec<f64> = late.iter().map(|late| late.abs()).collect();
    sizes.sort_by(f64::total_cmp);
    let (p99, middle) = (sizes[sizes.len() * 99 / 100], median(late));
    println!("5,000/s for 2 s: off by at most {p99:.2} ms for 99 of 100, median {middle:+.2} ms");
}

fn benches(criterion: &mut Criterion) {
    lateness();
    let runtime = runtime();
    let mut group = criterion.benchmark_group("pace");
    group.throughput(Throughput::Elements(EVENTS));
    group.bench_function("without pacing", |bencher| {
        bencher.iter(|| runtime.block_on(events(EVENTS, 0).count()));
    });
    group.bench_function("pace, all due", |bencher| {
        bencher.iter(|| {
            let pacing = Pacing::new(1.0).unwrap();
            runtime.block_on(async { events(EVENTS, 0).pace(SystemClock::new(), pacing).count().await })
        });
    });
    group.bench_function("throttle, tokens enough", |bencher| {
        bencher.iter(|| {
            let limit = RateLimit::new(1e6, Some(1.0), Some(1e6)).unwrap();
            let plan = Some(RatePlan::steady(limit));
            runtime.block_on(async { events(EVENTS, 0).throttle(SystemClock::new(), plan, None).count().await })
        });
    });
    group.finish();
}

criterion_group!(pace, benches);
criterion_main!(pace);
