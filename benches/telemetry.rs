//! What does telemetry cost an event?
//!
//! ```text
//! ready-made bodies ──► push, 64 connections ──► tally                          ┐
//!                                      └────► tally, meter, a scrape at work ┼──► trivial server on another thread
//!                                      └────► the same, requests marked      ┘
//! ```
//!
//! The three take turns in short rounds, and medians of their ratios within a round are printed, each with the bounds that
//! hold it 95 times in 100: a difference that lies within them is not seen. CPU an event is the figure to go by, as it
//! suffers less than the rate from what else runs on the machine; a round is short, so that the three meet the same.
//! Metrics are asked for ten times a second, a hundred times as often as Prometheus does. `TELEMETRY_BENCH_EVENTS` and
//! `TELEMETRY_BENCH_ROUNDS` set how long it takes.

#![allow(clippy::unwrap_used, reason = "a bench that can't run shall say where")]

mod common;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use common::{BODY_BYTES, CONNECTIONS, Figure, event, median, runtime, serve, setting, timed};
use futures::StreamExt;
use wsp::clock::{Clock, SystemClock};
use wsp::deliver::{DeliveryMode, HttpGate, PushExt, PushOptions, PushStats};
use wsp::telemetry::{Counter, prometheus};
use wsp_world::checkpoint::{Lease, Unsaved};
use wsp_world::evidence::Tally;
use wsp_world::ig::{IgJudge, parse_ig_endpoint};
use wsp_world::model::Secret;
use wsp_world::producer::ReadCounts;
use wsp_world::telemetry::{RunOutput, RunParts, Telemetry};

const SCRAPE: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, PartialEq)]
enum Told {
    Nothing,
    Metrics,
    MetricsAndTrace,
}

async fn push(address: SocketAddr, events: u64, body: &Bytes, told: Told) {
    let clock = SystemClock::new();
    let telemetry = Telemetry::new(&clock);
    let endpoint = parse_ig_endpoint(&format!("http://{address}"), "X-IG-Api-Key", &Secret::new("k")).unwrap();
    let gate = HttpGate::new(endpoint, clock).unwrap().traced(telemetry.trace_mark());
    if told == Told::MetricsAndTrace {
        telemetry.trace_mark().set(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
    }
    let stats = PushStats::new();
    let meter = telemetry.run(RunParts {
        message_id: Some("0".repeat(64).parse().unwrap()),
        platform_run_id: "platform_20260101T000000Z".parse().unwrap(),
        started: clock.utc(),
        started_at: clock.now(),
        outputs: vec![RunOutput {
            output_id: "s3_event_stream_with_fraud_6B".parse().unwrap(),
            due: events,
            span: None,
            order_key: None,
        }],
        due: Some(events),
        speedup: 0.0,
        pushes: stats.clone(),
        gate_limit: Duration::from_mins(5),
        framed: Counter::new(),
        read: ReadCounts::default(),
        lease: Lease::unlimited(),
        unsaved: Unsaved::new(),
        tally: None,
    });
    let scraped = telemetry.clone();
    let scraping = tokio::spawn(async move {
        if told == Told::Nothing {
            return;
        }
        loop {
            assert!(prometheus::text(&scraped.families(&clock)).len() > 1000);
            clock.sleep_until(clock.now() + SCRAPE).await;
        }
    });
    let mode = DeliveryMode::Keyed(NonZeroUsize::new(CONNECTIONS).unwrap());
    let bodies = futures::stream::iter((0..events).map(|i| Ok(event(i, body))));
    let mut answers = bodies.push(gate, IgJudge::default(), PushOptions::new(clock).mode(mode).stats(stats));
    let mut tally = Tally::new(1).unwrap();
    while let Some(answer) = answers.next().await {
        let delivered = answer.unwrap();
        tally.count(&delivered, clock.now());
        if told != Told::Nothing {
            meter.answered(&delivered);
        }
    }
    assert_eq!(tally.totals().answered, events);
    scraping.abort();
}

/// The median, and between which of the values it lies 95 times in 100 whatever they are distributed like.
fn bounded(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let (n, last) = (values.len() as f64, values.len() - 1);
    let apart = 0.98 * n.sqrt();
    let at = |place: f64| values[(place.max(0.0) as usize).min(last)];
    (values[values.len() / 2], at((n / 2.0 - apart).floor()), at((n / 2.0 + apart).ceil()))
}

fn main() {
    let events = setting("TELEMETRY_BENCH_EVENTS", 10_000);
    let rounds = setting("TELEMETRY_BENCH_ROUNDS", 101);
    let address = serve();
    let body = Bytes::from(vec![b'x'; BODY_BYTES]);
    let clock = runtime().block_on(async { SystemClock::new() });
    let mut kinds = [("nothing", Told::Nothing), ("metrics", Told::Metrics), ("metrics, trace", Told::MetricsAndTrace)];
    let mut figures: Vec<[Figure; 3]> = Vec::new();
    println!("{events} events of {BODY_BYTES} bytes a round, {CONNECTIONS} connections, {rounds} rounds");
    for _ in 0..rounds {
        let mut all = [Figure { rate: 0.0, cpu: 0.0 }; 3];
        for (_, told) in kinds {
            all[told as usize] = timed(&clock, events, || runtime().block_on(push(address, events, &body, told)));
        }
        figures.push(all);
        // No kind is always the first.
        kinds.rotate_left(1);
    }
    for (name, told) in
        [("nothing", Told::Nothing), ("metrics", Told::Metrics), ("metrics, trace", Told::MetricsAndTrace)]
    {
        let (cpu, low, high) = bounded(figures.iter().map(|all| all[told as usize].cpu / all[0].cpu).collect());
        let own = median(figures.iter().map(|all| all[told as usize].cpu).collect());
        println!("{name}: {own:.2} us of CPU an event, {cpu:.3} of that without ({low:.3} to {high:.3})");
    }
}
