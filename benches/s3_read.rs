//! What does reading a run's rows from S3 take, beside reading them from the disk?
//!
//! ```text
//! a world ─┬─► local store ─┐
//!          └─► S3 server  ──┴─► footers ─► decode ─► merge, all four outputs
//! ```
//!
//! `cargo bench --bench s3_read`; throughput is in rows. The server is the one that `WSP_LIVE_S3_ENDPOINT` and its siblings
//! name (docs/development.md); without one this says so and measures the disk alone. `compare targets --only 8` starts one
//! itself and measures whole runs.

#![allow(missing_docs, reason = "criterion's macros")]
#![allow(clippy::unwrap_used, reason = "a bench that can't run shall say where")]

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::StreamExt;
use wsp::merge::merge;
use wsp::store::{Key, LocalStore, ObjectStore, S3Credentials, S3Options, S3Store};
use wsp_reference::world::{OutputSummary, WorldSpec, generate};
use wsp_world::model::Secret;
use wsp_world::oracle::{Resume, Scan, View, ViewFile, ViewFiles, shares};

const EVENTS: u64 = 500_000;
const MEMORY: u64 = 256 << 20;

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A store on the server that the environment names.
fn server() -> Option<S3Store> {
    let endpoint = setting("WSP_LIVE_S3_ENDPOINT")?;
    let of = |name: &str, usual: &str| setting(name).unwrap_or_else(|| usual.to_owned());
    let options = S3Options {
        endpoint: Some(endpoint.parse().unwrap()),
        region: Some(of("WSP_LIVE_S3_REGION", "us-east-1")),
        path_style: true,
        credentials: S3Credentials::Keys {
            id: Secret::new(of("WSP_LIVE_S3_KEY_ID", "wsp-live")),
            key: Secret::new(of("WSP_LIVE_S3_KEY", "wsp-live-secret")),
            session_token: None,
        },
        ..S3Options::default()
    };
    let root = format!("s3://{}/bench-{}", of("WSP_LIVE_S3_BUCKET", "wsp-live"), std::process::id());
    Some(S3Store::open(&root, options).unwrap())
}

fn key(output: &str) -> Key {
    format!("stream_view/ts_utc/output_id={output}/part-000000.parquet").parse().unwrap()
}

/// The four outputs, by their footers.
async fn views(store: &Arc<dyn ObjectStore>, outputs: &[OutputSummary]) -> Vec<View> {
    let mut views = Vec::new();
    for (rank, output) in (0..).zip(outputs) {
        let key = key(output.output_id);
        let meta = store.head(&key).await.unwrap().unwrap();
        let files = ViewFiles {
            rank,
            output_id: output.output_id.parse().unwrap(),
            store: store.clone(),
            files: vec![ViewFile { key, meta }],
            expected_rows: output.rows,
        };
        views.push(files.inspect().await.unwrap());
    }
    views
}

/// All rows, merged, in the memory that a run has.
async fn read(store: &Arc<dyn ObjectStore>, outputs: &[OutputSummary]) -> u64 {
    let views = views(store, outputs).await;
    let wishes: Vec<u64> = views.iter().map(|view| view.memory_wish(Resume::default())).collect();
    let scans = shares(MEMORY, &wishes).into_iter().map(|share| Scan::new().memory(share));
    let sources = views.iter().zip(scans).map(|(view, scan)| view.batches(scan)).collect();
    let mut merged = pin!(merge(sources));
    let mut rows = 0;
    while let Some(chunk) = merged.next().await {
        rows += chunk.unwrap().iter().map(|run| (run.to - run.from) as u64).sum::<u64>();
    }
    rows
}

async fn upload(store: &S3Store, root: &Path, outputs: &[OutputSummary]) {
    for output in outputs {
        let key = key(output.output_id);
        store.put(&key, std::fs::read(root.join(key.as_str())).unwrap().into()).await.unwrap();
    }
}

fn benches(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap().join("world");
    let world = generate(&root, root.to_str().unwrap(), &WorldSpec::new(EVENTS)).unwrap();
    let mut stores: Vec<(&str, Arc<dyn ObjectStore>)> =
        vec![("disk", Arc::new(LocalStore::open(root.to_str().unwrap())))];
    if let Some(server) = server() {
        runtime.block_on(upload(&server, &root, &world.outputs));
        stores.push(("S3", Arc::new(server)));
    } else {
        eprintln!("SKIPPED: S3, as WSP_LIVE_S3_ENDPOINT names no server");
    }
    let mut group = criterion.benchmark_group("s3_read");
    group.throughput(Throughput::Elements(EVENTS)).sample_size(10);
    for (name, store) in &stores {
        group.bench_function(*name, |bencher| {
            bencher.iter(|| assert_eq!(runtime.block_on(read(store, &world.outputs)), EVENTS));
        });
    }
    group.finish();
}

criterion_group!(s3_read, benches);
criterion_main!(s3_read);
