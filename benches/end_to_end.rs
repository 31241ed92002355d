//! What does a whole run cost, from READY to its verdict: 20,000 events of four outputs into the reference gate?
//!
//! ```text
//! READY ─► service: checks, Parquet, merge, framing, push, checkpoints, evidence ─► gate on a thread of its own
//! ```
//!
//! `cargo bench --bench end_to_end`; throughput is in events. Every sample has a new gate, store and checkpoint.
//! `benches/compare` measures the program itself, with the gate in another process.

#![allow(clippy::unwrap_used, reason = "a bench that can't run shall say where")]

use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::StreamExt;
use wsp::clock::{Clock, SystemClock};
use wsp::deliver::HttpGate;
use wsp::stop::Stop;
use wsp_reference::LocalRun;
use wsp_reference::gate::{GateOptions, GateServer};
use wsp_reference::world::run_files::CONTROL_TOPIC;
use wsp_reference::world::{WorldSpec, WorldSummary, generate};
use wsp_world::ig::parse_ig_endpoint;
use wsp_world::model::Secret;
use wsp_world::producer::{Caps, Settings};
use wsp_world::profile::Profile;
use wsp_world::ready::{FileFeed, FileFeedOptions};
use wsp_world::service::Service;

const EVENTS: u64 = 20_000;
const KEY: &str = "bench-key";

/// One run of `world` below `at`; how long it took from READY to its verdict.
async fn run(world: &WorldSummary, at: &Path, in_flight: u32) -> Duration {
    let clock = SystemClock::new();
    let gate = GateServer::start(GateOptions::new(Secret::new(KEY))).unwrap();
    let url = gate.base_url();
    let local = LocalRun { in_flight, ..LocalRun::new(at, &url, KEY) };
    local.publish(world, &"platform_20260101T000000Z".parse().unwrap(), clock.utc()).unwrap();
    let profile = Profile::load(&local.profile().unwrap(), &|_| None).unwrap();
    let options = FileFeedOptions { once: true, ..FileFeedOptions::new(at.join("control_bus"), CONTROL_TOPIC) };
    let mut readies = pin!(FileFeed::new(options, clock).stream());
    let incoming = readies.next().await.unwrap().unwrap();
    let endpoint = parse_ig_endpoint(&url, "X-IG-Api-Key", &Secret::new(KEY)).unwrap();
    let settings = Settings::new(&profile, Caps::default());
    let service = Service::new(profile, settings, HttpGate::new(endpoint, clock).unwrap(), clock, Stop::new()).unwrap();
    let service = service.in_folder(at);
    let started = clock.now();
    let taken = service.take(&incoming).await.unwrap();
    let lasted = clock.now().saturating_sub(started);
    assert_eq!(taken.verdict.emitted, EVENTS, "{:?}", taken.refusal);
    lasted
}

fn benches(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("world");
    let world = generate(&root, root.to_str().unwrap(), &WorldSpec::new(EVENTS)).unwrap();
    let mut group = criterion.benchmark_group("end_to_end");
    group.throughput(Throughput::Elements(EVENTS)).sample_size(10);
    for (name, in_flight) in [("keyed, 64 in flight", 64), ("strict", 1)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| {
                (0..rounds)
                    .map(|_| {
                        let place = tempfile::tempdir_in(folder.path()).unwrap();
                        runtime.block_on(run(&world, place.path(), in_flight))
                    })
                    .sum()
            });
        });
    }
    group.finish();
}

criterion_group!(end_to_end, benches);
criterion_main!(end_to_end);
