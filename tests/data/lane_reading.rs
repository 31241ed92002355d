//! What reading costs by lanes, counted on a store in memory: bytes, requests as S3 would get them, and decoded values. The table in
//! docs/scale-out.md is the one that this test makes.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use wsp::store::{Key, Layer, ObjectStore, S3Store, StoreError, Version};
use wsp::telemetry::Counter;
use wsp_reference::LocalRun;
use wsp_reference::world::run_files::CONTROL_TOPIC;
use wsp_reference::world::{WorldSpec, generate};
use wsp_world::envelope::LaneFilter;
use wsp_world::model::{Lane, LaneKey, Lanes, Micros};
use wsp_world::oracle::{RowFilter, Scan, View};
use wsp_world::prepare::{self, Prepared};
use wsp_world::profile::Profile;
use wsp_world::ready::{Parsed, message};

use crate::kit::views::{Objects, all_of, files};

const EVENTS: u64 = 20_000;

/// A store that counts what S3 would be asked for.
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

/// A run of a new world in `folder`, with merchants as a world of usual size has them.
async fn prepared(folder: &Path) -> Prepared {
    let root = folder.join("world");
    let spec = WorldSpec { evenness: 70, row_group_rows: 2_000, ..WorldSpec::new(EVENTS) };
    let world = generate(&root, root.to_str().unwrap(), &spec).unwrap();
    let local = LocalRun::new(folder, "http://127.0.0.1:1", "key");
    let ready = local.publish(&world, &"platform_20260101T000000Z".parse().unwrap(), Micros(0)).unwrap();
    let profile = Profile::load(&local.profile().unwrap(), &|_| None).unwrap();
    let text = std::fs::read(ready.ready_file).unwrap();
    let Ok(Parsed::Ready(ready)) = message::parse(&text, CONTROL_TOPIC) else { panic!("it was published as one") };
    prepare::of_ready(&profile, &ready).await.unwrap()
}

/// One output of the run, its files in memory.
struct Output {
    view: View,
    asked: Arc<Asked>,
    /// Its columns that say which lane a row is in, and its time.
    keys: Vec<String>,
}

/// What reading came to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Cost {
    bytes: u64,
    requests: u64,
    rows: u64,
    /// Values of the columns that say which lane a row is in.
    key_values: u64,
    /// Values of all other columns.
    payload_values: u64,
}

impl Cost {
    fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes + other.bytes,
            requests: self.requests + other.requests,
            rows: self.rows + other.rows,
            key_values: self.key_values + other.key_values,
            payload_values: self.payload_values + other.payload_values,
        }
    }
}

fn filter(run: &Prepared, rank: usize, lane: Lane, schema: &View) -> LaneFilter {
    LaneFilter::new(&run.outputs[rank].frame(), &run.pins.world, lane, &schema.schema)
}

/// The outputs of the run, from memory.
async fn outputs(run: &Prepared) -> Vec<Output> {
    let mut outputs = Vec::new();
    for (rank, output) in run.outputs.iter().enumerate() {
        let memory = Arc::new(Objects::default());
        let mut keys = Vec::new();
        for (i, part) in output.view.parts.iter().enumerate() {
            let key: Key = format!("part-{i:06}.parquet").parse().unwrap();
            memory.set(&key, std::fs::read(&part.name).unwrap());
            keys.push(key);
        }
        let mut view = files(&memory, rank as u16, output.view.output_id.as_str(), &keys, output.view.rows)
            .inspect()
            .await
            .unwrap();
        let asked = Arc::new(Asked { store: memory, requests: Counter::new(), bytes: Counter::new() });
        view.store = asked.clone();
        let lane = Lanes { count: 2.try_into().unwrap(), by: LaneKey::OrderKey }.lanes().next().unwrap();
        let mut keys = filter(run, rank, lane, &view).columns();
        keys.push("ts_utc".to_owned());
        outputs.push(Output { view, asked, keys });
    }
    outputs
}

/// Reads what is `lane`'s of one output.
async fn read(run: &Prepared, rank: usize, output: &Output, lane: Lane) -> Cost {
    let Output { view, asked, keys } = output;
    let (bytes, requests, judged) = (asked.bytes.get(), asked.requests.get(), Counter::new());
    let seen = judged.clone();
    let filter = (!lane.is_whole()).then(|| {
        let filter = filter(run, rank, lane, view);
        RowFilter::new(filter.columns(), move |rows, keep| {
            seen.add((rows.num_rows() * rows.num_columns()) as u64);
            filter.keep(rows, keep)
        })
    });
    let (batches, refusal) = all_of(view.batches_where(Scan::new(), filter)).await;
    assert_eq!(refusal, None);
    let mut cost = Cost {
        bytes: asked.bytes.get() - bytes,
        requests: asked.requests.get() - requests,
        key_values: judged.get(),
        ..Cost::default()
    };
    for batch in batches {
        let rows = batch.rows();
        assert_eq!(rows.num_rows(), batch.times().len(), "no row of another lane");
        cost.rows += rows.num_rows() as u64;
        let payload = rows.schema().fields().iter().filter(|field| !keys.contains(field.name())).count();
        cost.payload_values += (rows.num_rows() * payload) as u64;
    }
    cost
}

#[tokio::test]
async fn lanes_decode_the_payload_of_their_own_rows_and_cost_what_the_table_says() {
    let folder = tempfile::tempdir().unwrap();
    let run = prepared(&folder.path().canonicalize().unwrap()).await;
    let outputs = outputs(&run).await;
    let mut table = String::from(
        "| lanes | MB read | of one process | requests | of one process | key values decoded | payload values decoded |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let mut whole = Cost::default();
    for count in [1, 8, 64] {
        let mut all = Cost::default();
        for lane in (Lanes { count: count.try_into().unwrap(), by: LaneKey::OrderKey }).lanes() {
            for (rank, output) in outputs.iter().enumerate() {
                let cost = read(&run, rank, output, lane).await;
                assert!(cost.rows <= output.view.rows);
                all = all.plus(cost);
            }
        }
        if count == 1 {
            whole = all;
            assert_eq!(whole.rows, outputs.iter().map(|output| output.view.rows).sum::<u64>());
        }
        assert_eq!((all.rows, all.payload_values), (whole.rows, whole.payload_values), "{count} lanes");
        assert!(all.bytes <= 2 * whole.bytes * u64::from(count), "each row group is asked for twice at most");
        let keys: u64 = outputs.iter().map(|output| output.view.rows * output.keys.len() as u64).sum();
        let times = |all: u64, one: u64| format!("{:.1}×", all as f64 / one as f64);
        // One process takes the keys from the rows that it decodes anyway.
        let key_values = if count == 1 { keys } else { all.key_values };
        assert_eq!(key_values, keys * u64::from(count), "each lane looks at the keys of all rows");
        writeln!(
            table,
            "| {count} | {:.1} | {} | {} | {} | {} | {} |",
            all.bytes as f64 / 1e6,
            times(all.bytes, whole.bytes),
            all.requests,
            times(all.requests, whole.requests),
            times(key_values, keys),
            times(all.payload_values, whole.payload_values),
        )
        .unwrap();
    }
    let page = include_str!("../../docs/scale-out.md");
    assert!(page.contains(&table), "docs/scale-out.md has another table than\n{table}");
}
