//! What do pacing and throttle cost an event that is due already, and how far from due is one that has to wait?
//!
//! ```text
//! events ──► pace ──► counted                 all due: the stage's own cost
//! events ──► throttle ──► counted             tokens enough: the stage's own cost
//! events, 5,000/s ──► pace or throttle ──► when it came   how far from due, and the thread's CPU, by the runtime's timer
//!                                                         and by the kernel's; printed, as it is nothing that repeats at once
//! ```
//!
//! `cargo bench --bench pace`; throughput is in events.

#![allow(missing_docs, reason = "criterion's macros")]
#![allow(clippy::unwrap_used, reason = "a bench that can't run shall say where")]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{event, median, runtime, thread_cpu};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::{Stream, StreamExt, stream};
use wsp::clock::{Clock, SystemClock};
use wsp::pace::{PaceExt, Pacing, RateLimit, RatePlan, ThrottleExt};
use wsp_world::model::{Event, Micros, Refusal};

const EVENTS: u64 = 10_000;
/// Microseconds between events that have to wait.
const APART: i64 = 200;

/// Events as far apart in event time as they are to be on the wall.
fn events(count: u64, apart: i64) -> impl Stream<Item = Result<Event, Refusal>> + Unpin {
    let body = Bytes::from_static(b"{}");
    stream::iter((0..count).map(move |i| Ok(Event { ts: Micros(apart * i.cast_signed()), ..event(i, &body) })))
}

/// Tells how far from due events go on at 5,000/s, and what the waiting costs: two seconds by each timer, in turns.
fn lateness() {
    for (name, fine) in [("the runtime's timer", false), ("the kernel's timer", true)].repeat(3) {
        let clock = || if fine { SystemClock::new().fine() } else { SystemClock::new() };
        told("pace", name, || async {
            let clock = clock();
            let paced = events(EVENTS, APART).pace(clock, Pacing::new(1.0).unwrap());
            paced.map(|event| behind(clock.now(), event.unwrap().due.unwrap())).collect().await
        });
        told("throttle", name, || async {
            let clock = clock();
            let limit = RateLimit::new(1e6 / APART as f64, None, None).unwrap();
            let sent = events(EVENTS, 0).throttle(clock, Some(RatePlan::steady(limit)), None);
            let at: Vec<Duration> = sent.map(|_| clock.now()).collect().await;
            let due = (0..).map(|n| at[0] + Duration::from_micros(APART.unsigned_abs()) * n);
            at.iter().zip(due).map(|(at, due)| behind(*at, due)).collect()
        });
    }
}

/// Milliseconds from `due` to `at`, below zero where it was early.
fn behind(at: Duration, due: Duration) -> f64 {
    (at.as_secs_f64() - due.as_secs_f64()) * 1e3
}

fn told<F: Future<Output = Vec<f64>>>(stage: &str, timer: &str, work: impl FnOnce() -> F) {
    let runtime = runtime();
    let before = thread_cpu();
    let mut off = runtime.block_on(async { work().await });
    let cpu = (thread_cpu() - before) * 1e6 / EVENTS as f64;
    let earliest = off.iter().copied().fold(f64::INFINITY, f64::min);
    for off in &mut off {
        *off = off.abs();
    }
    off.sort_by(f64::total_cmp);
    let (p99, middle) = (off[off.len() * 99 / 100], median(off));
    println!(
        "{stage}, 5,000/s for 2 s, {timer}: off by {middle:.3} ms at the median, {p99:.3} ms at p99, earliest \
         {earliest:+.3} ms; {cpu:.1} µs of CPU an event"
    );
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
