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
use wsp::deliver::{Endpoint, HttpGate};
use wsp::model::Secret;
use wsp::pipelines::producer::Settings;
use wsp::pipelines::service::Service;
use wsp::profile::Profile;
use wsp::ready::{FileFeed, FileFeedOptions};
use wsp::reference::gate::{GateOptions, GateServer};
use wsp::reference::world::run_files::{CONTROL_TOPIC, RunFiles, publish_ready};
use wsp::reference::world::{CATALOGUE, GATE_MAP, WorldSpec, WorldSummary, generate};
use wsp::stop::Stop;

const EVENTS: u64 = 20_000;
const KEY: &str = "bench-key";

/// One run of `world` below `at`; how long it took from READY to its verdict.
async fn run(world: &WorldSummary, at: &Path, in_flight: usize) -> Duration {
    let clock = SystemClock::new();
    let gate = GateServer::start(GateOptions::new(Secret::new(KEY))).unwrap();
    publish_ready(&RunFiles {
        world,
        platform_run_id: &"platform_20260101T000000Z".parse().unwrap(),
        run_id: &"d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0".parse().unwrap(),
        object_store_root: &at.join("store"),
        control_root: &at.join("control_bus"),
        topic: CONTROL_TOPIC,
        published_at: clock.utc(),
    })
    .unwrap();
    let profile = Profile::load(&profile(at, &gate.base_url(), in_flight), &|_| None).unwrap();
    let options = FileFeedOptions {
        root: at.join("control_bus"),
        topic: CONTROL_TOPIC.to_owned(),
        once: true,
        poll_interval: Duration::from_secs(1),
    };
    let mut readies = pin!(FileFeed::new(options, clock).stream());
    let incoming = readies.next().await.unwrap().unwrap();
    let endpoint = Endpoint::new(&gate.base_url(), "X-IG-Api-Key", &Secret::new(KEY)).unwrap();
    let settings = Settings::new(&profile, None, None).unwrap();
    let service = Service::new(profile, settings, HttpGate::new(endpoint, clock).unwrap(), clock, Stop::new()).unwrap();
    let service = service.in_folder(at);
    let started = clock.now();
    let taken = service.take(&incoming).await.unwrap();
    let lasted = clock.now().saturating_sub(started);
    assert_eq!(taken.verdict.emitted, EVENTS, "{:?}", taken.refusal);
    lasted
}

fn profile(at: &Path, gate: &str, in_flight: usize) -> std::path::PathBuf {
    std::fs::write(at.join("engine_outputs.catalogue.yaml"), CATALOGUE).unwrap();
    std::fs::write(at.join("engine_gates.map.yaml"), GATE_MAP).unwrap();
    std::fs::write(at.join("producers.txt"), "svc:world_stream_producer\n").unwrap();
    let text = format!(
        "profile_id: local_bench
policy:
  stream_speedup: 0
  traffic_output_ids: [s3_event_stream_with_fraud_6B]
wiring:
  object_store: {{root: '{at}/store'}}
  control_bus: {{kind: file, root: '{at}/control_bus'}}
  engine_catalogue_path: engine_outputs.catalogue.yaml
  ig_ingest_url: {gate}
  wsp_checkpoint: {{backend: file, root: '{at}/checkpoints', flush_every: 1000}}
  wsp_producer: {{producer_id: 'svc:world_stream_producer', allowlist_ref: producers.txt}}
  wsp_delivery: {{in_flight: {in_flight}, window: 8192}}
  security: {{wsp_auth_token: {KEY}}}
",
        at = at.display(),
    );
    let path = at.join("profile.yaml");
    std::fs::write(&path, text).unwrap();
    path
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
