//! What does it cost to read a world in lanes by order key: bytes, requests of S3, CPU?
//!
//! ```text
//! a world ──► footers ─┬─► lane 0 of n: key columns of all rows, the other columns of its rows ─┐
//!                      └─► … lane n - 1, one after the other                                    ├─► sums over the lanes
//!                                                                                               ┘   and the dearest lane
//! ```
//!
//! `cargo bench --bench lane_read` prints a Markdown table. `LANE_READ_EVENTS` (2,000,000) and `LANE_READ_LANES` (1 8 64) are for other
//! sizes. The world lies on the disk; requests are counted as the S3 store would make them, with the bytes of gaps that it reads along.
//! CPU is that of the process, which does nothing else meanwhile, in steps of 10 ms. `lanes` are read to decoded batches; framing is the
//! same for a row in every lane.

#![allow(clippy::unwrap_used, reason = "a bench that can't run shall say where")]

use std::num::NonZeroU32;
use std::ops::Range;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{StreamExt, stream};
use wsp::store::{Key, Layer, ObjectStore, S3Store, StoreError, Version};
use wsp::telemetry::Counter;
use wsp_reference::LocalRun;
use wsp_reference::world::run_files::CONTROL_TOPIC;
use wsp_reference::world::{WorldSpec, generate};
use wsp_world::model::{Lane, LaneKey, Micros};
use wsp_world::oracle::{Resume, Scan};
use wsp_world::prepare::{self, Prepared};
use wsp_world::profile::Profile;
use wsp_world::ready::{Parsed, message};

/// The reading memory of a run.
const MEMORY: u64 = 256 << 20;

/// A store in front of another, that counts what S3 would be asked for.
#[derive(Debug)]
struct Asked {
    store: Arc<dyn ObjectStore>,
    requests: Counter,
    bytes: Counter,
}

impl Layer for Asked {
    fn inner(&self) -> &dyn ObjectStore {
        &*self.store
    }

    fn get_ranges<'a>(
        &'a self,
        key: &'a Key,
        version: &'a Version,
        ranges: &'a [Range<u64>],
    ) -> BoxFuture<'a, Result<Vec<Bytes>, StoreError>> {
        let requests = S3Store::requests(ranges);
        self.requests.add(requests.len() as u64);
        self.bytes.add(requests.iter().map(|request| request.end - request.start).sum());
        self.store.get_ranges(key, version, ranges)
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Cost {
    rows: u64,
    bytes: u64,
    requests: u64,
    /// In hundredths of a second.
    cpu: u64,
}

/// The CPU time of this process, user and system, in hundredths of a second.
fn cpu() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // The name before it, in brackets, may hold anything.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

/// A run of a new world in `folder`.
async fn prepared(folder: &Path, events: u64) -> Prepared {
    let root = folder.join("world");
    let world = generate(&root, root.to_str().unwrap(), &WorldSpec { evenness: 70, ..WorldSpec::new(events) }).unwrap();
    let local = LocalRun::new(folder, "http://127.0.0.1:1", "key");
    let ready = local.publish(&world, &"platform_20260101T000000Z".parse().unwrap(), Micros(0)).unwrap();
    let profile = Profile::load(&local.profile().unwrap(), &|_| None).unwrap();
    let text = std::fs::read(ready.ready_file).unwrap();
    let Ok(Parsed::Ready(ready)) = message::parse(&text, CONTROL_TOPIC) else {
        unreachable!("it was published as one")
    };
    prepare::of_ready(&profile, &ready).await.unwrap()
}

/// Reads what is `lane`'s of `run`.
async fn read(run: &Prepared, lane: Lane) -> Cost {
    let (requests, bytes) = (Counter::new(), Counter::new());
    let mut run = run.clone();
    run.lane = lane;
    for output in &mut run.outputs {
        let store = output.view.store.clone();
        output.view.store = Arc::new(Asked { store, requests: requests.clone(), bytes: bytes.clone() });
    }
    let from = vec![Resume::default(); run.outputs.len()];
    let before = cpu();
    let mut batches =
        pin!(stream::select_all(run.batches(Scan::new().memory(MEMORY), &from).into_iter().map(Box::pin)));
    let mut rows = 0;
    while let Some(batch) = batches.next().await {
        rows += batch.unwrap().times().len() as u64;
    }
    Cost { rows, bytes: bytes.get(), requests: requests.get(), cpu: cpu() - before }
}

fn setting(name: &str, usual: &str) -> String {
    std::env::var(name).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| usual.to_owned())
}

fn main() {
    let events = setting("LANE_READ_EVENTS", "2000000").parse().unwrap();
    let counts: Vec<u32> =
        setting("LANE_READ_LANES", "1 8 64").split_whitespace().map(|count| count.parse().unwrap()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let run = runtime.block_on(prepared(&folder.path().canonicalize().unwrap(), events));
    // The disk's cache is warm for all of them.
    let whole = runtime.block_on(read(&run, Lane::WHOLE));
    println!("{} events; {:.1} MB in {} requests\n", whole.rows, whole.bytes as f64 / 1e6, whole.requests);
    println!("| lanes | MB read | of one process | requests | CPU, s | of one process | CPU of the dearest lane, s |");
    println!("|---|---|---|---|---|---|---|");
    for count in counts {
        let lanes = Lane::new(NonZeroU32::new(count).unwrap(), 0, LaneKey::OrderKey).unwrap().all();
        let costs: Vec<Cost> = lanes.map(|lane| runtime.block_on(read(&run, lane))).collect();
        let sum = |of: fn(&Cost) -> u64| costs.iter().map(of).sum::<u64>();
        assert_eq!(sum(|cost| cost.rows), whole.rows, "the lanes are the run");
        let times = |all: u64, one: u64| format!("{:.1}×", all as f64 / one.max(1) as f64);
        let seconds = |cpu: u64| format!("{:.2}", cpu as f64 / 100.0);
        println!(
            "| {count} | {:.1} | {} | {} | {} | {} | {} |",
            sum(|cost| cost.bytes) as f64 / 1e6,
            times(sum(|cost| cost.bytes), whole.bytes),
            sum(|cost| cost.requests),
            seconds(sum(|cost| cost.cpu)),
            times(sum(|cost| cost.cpu), whole.cpu),
            seconds(costs.iter().map(|cost| cost.cpu).max().unwrap_or(0)),
        );
    }
}
