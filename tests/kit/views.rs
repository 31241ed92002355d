//! What the tests of reading and framing share: objects in memory, views made of batches, and a merge
//! that is a plain sort.

#![allow(dead_code, reason = "each test and bench uses a part of it")]

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use arrow_array::RecordBatch;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, Stream, StreamExt as _};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use serde_json::Value;
use wsp::frame::FrameExt as _;
use wsp::store::{Key, Layer, MemoryStore, ObjectMeta, ObjectStore, StoreError, Version};
use wsp_world::envelope::{Framer, OutputFrame, RunPins};
use wsp_world::model::{Event, Refusal, RowBatch, RowSlice, WorldKey};
use wsp_world::oracle::{Scan, View, ViewFile, ViewFiles};

/// Objects in memory. Every range asked for is noted.
#[derive(Debug)]
pub(crate) struct Objects {
    store: MemoryStore,
    pub(crate) asked: Mutex<Vec<Range<u64>>>,
}

impl Default for Objects {
    fn default() -> Self {
        Self { store: MemoryStore::new("memory"), asked: Mutex::default() }
    }
}

impl Objects {
    pub(crate) fn set(&self, key: &Key, body: impl Into<Bytes>) {
        at_once(self.store.put(key, body.into()));
    }

    pub(crate) fn body(&self, key: &Key) -> Bytes {
        at_once(self.store.get(key, u64::MAX)).unwrap()
    }

    pub(crate) fn meta(&self, key: &Key) -> ObjectMeta {
        at_once(self.store.head(key)).unwrap()
    }

    /// The Parquet files right below a folder on disk.
    pub(crate) fn of_folder(folder: &Path) -> (Arc<Self>, Vec<Key>) {
        let store = Self::default();
        let mut keys: Vec<Key> = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ext| ext == "parquet") {
                let key: Key = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
                store.set(&key, std::fs::read(&path).unwrap());
                keys.push(key);
            }
        }
        keys.sort();
        (Arc::new(store), keys)
    }
}

/// What memory has to say, which it says without waiting.
fn at_once<T>(answer: BoxFuture<'_, Result<T, StoreError>>) -> T {
    answer.now_or_never().unwrap().unwrap()
}

impl Layer for Objects {
    fn inner(&self) -> &dyn ObjectStore {
        &self.store
    }

    fn get_ranges<'a>(
        &'a self,
        key: &'a Key,
        version: &'a Version,
        ranges: &'a [Range<u64>],
    ) -> BoxFuture<'a, Result<Vec<Bytes>, StoreError>> {
        self.asked.lock().unwrap().extend_from_slice(ranges);
        self.store.get_ranges(key, version, ranges)
    }
}

/// Parquet bytes of these batches, with so many rows a row group.
pub(crate) fn parquet(batches: &[RecordBatch], row_group_rows: usize) -> Bytes {
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(row_group_rows)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batches[0].schema(), Some(properties)).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.into_inner().unwrap().into()
}

/// The files of a view over `keys` of `store`.
pub(crate) fn files(store: &Arc<Objects>, rank: u16, output: &str, keys: &[Key], expected_rows: u64) -> ViewFiles {
    ViewFiles {
        rank,
        output_id: output.parse().unwrap(),
        store: store.clone(),
        files: keys.iter().map(|key| ViewFile { key: key.clone(), meta: store.meta(key) }).collect(),
        expected_rows,
    }
}

/// A view of these parts, `part-000000.parquet` and so on.
pub(crate) fn view_of(parts: Vec<Bytes>, expected_rows: u64) -> (Arc<Objects>, ViewFiles) {
    let store = Arc::new(Objects::default());
    let keys: Vec<Key> = (0..parts.len()).map(|i| format!("part-{i:06}.parquet").parse().unwrap()).collect();
    for (key, part) in keys.iter().zip(parts) {
        store.set(key, part);
    }
    let files = files(&store, 0, "an_output", &keys, expected_rows);
    (store, files)
}

/// Everything a scan gives: the batches, and the refusal that ended it.
pub(crate) async fn read(view: &View, scan: Scan) -> (Vec<RowBatch>, Option<Refusal>) {
    all_of(view.batches(scan)).await
}

/// All that a stream of batches gives, and the refusal that ended it: nothing may follow that.
pub(crate) async fn all_of(batches: impl Stream<Item = Result<RowBatch, Refusal>>) -> (Vec<RowBatch>, Option<Refusal>) {
    let mut stream = std::pin::pin!(batches);
    let (mut batches, mut refusal) = (Vec::new(), None);
    while let Some(item) = stream.next().await {
        assert!(refusal.is_none(), "the stream goes on behind its refusal");
        match item {
            Ok(batch) => batches.push(batch),
            Err(error) => refusal = Some(error),
        }
    }
    (batches, refusal)
}

/// Chunks of rows in canonical order, by sorting all of them.
pub(crate) fn merged(batches: Vec<RowBatch>, chunk_rows: usize) -> Vec<Vec<RowSlice>> {
    let mut rows: Vec<(_, u16, u32, u64, RowSlice)> = Vec::new();
    for batch in batches.into_iter().map(Arc::new) {
        for (i, ts) in batch.times().iter().enumerate() {
            let position = batch.position(i);
            let slice = RowSlice { batch: batch.clone(), from: i, to: i + 1 };
            rows.push((*ts, position.rank, position.file, position.row, slice));
        }
    }
    rows.sort_by_key(|(ts, rank, file, row, _)| (*ts, *rank, *file, *row));
    rows.chunks(chunk_rows).map(|chunk| chunk.iter().map(|(.., slice)| slice.clone()).collect()).collect()
}

/// The events of these chunks, and the refusal that ended them.
pub(crate) async fn framed(framer: Framer, chunks: Vec<Vec<RowSlice>>) -> (Vec<Event>, Option<Refusal>) {
    let (mut events, mut refusal) = (Vec::new(), None);
    let mut stream = futures::stream::iter(chunks.into_iter().map(Ok)).frame(framer);
    while let Some(item) = stream.next().await {
        assert!(refusal.is_none(), "the stream goes on behind its refusal");
        match item {
            Ok(chunk) => events.extend(chunk),
            Err(error) => refusal = Some(error),
        }
    }
    (events, refusal)
}

/// Pins of a run of the golden world.
pub(crate) fn pins() -> RunPins {
    RunPins {
        world: WorldKey {
            manifest_fingerprint: "fa05c8320eddfe6a1a9ff1ab3ac172a520f3d250fa795f34e06ad732393357c4".parse().unwrap(),
            parameter_hash: "7e8079fe017b0b37de2b2afd5e878f36dc99c5084d22eea8b703f012dbf99f97".parse().unwrap(),
            scenario_id: "baseline_v1".parse().unwrap(),
            seed: 42,
        },
        run_id: "4c3fd444c29c63ada8df6eb5f038bda4".parse().unwrap(),
        platform_run_id: "platform_20260101T000000Z".parse().unwrap(),
        scenario_run_id: "cf7aa18247008796acc2e74d9e8c3eba".parse().unwrap(),
        producer: "svc:world_stream_producer".to_owned(),
        trace_id: "3d5fb4472a41f3ed4a050989c2c536c026e0e38f95677bc7a4e455128097672b".to_owned(),
        span_id: Some("engine-local-r1".to_owned()),
    }
}

/// A framer for one output with these keys.
pub(crate) fn framer(primary_key: &[&str], order_key: Option<&str>) -> Framer {
    let output = OutputFrame {
        output_id: "an_output".parse().unwrap(),
        primary_key: primary_key.iter().map(ToString::to_string).collect(),
        order_key: order_key.map(ToOwned::to_owned),
        files: vec!["memory/part-000000.parquet".to_owned(), "memory/part-000001.parquet".to_owned()],
    };
    Framer::new(&pins(), vec![output])
}

/// Equal in the sense of the contract: integers stay integers, doubles are the same double, and
/// zero has the same sign. `Value` alone says that 0.0 equals -0.0.
pub(crate) fn assert_same(ours: &Value, theirs: &Value) {
    match (ours, theirs) {
        (Value::Number(a), Value::Number(b)) if a.is_f64() && b.is_f64() => {
            let bits = |number: &serde_json::Number| number.as_f64().map(f64::to_bits);
            assert_eq!(bits(a), bits(b));
        }
        (Value::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len());
            a.iter().zip(b).for_each(|(a, b)| assert_same(a, b));
        }
        (Value::Object(a), Value::Object(b)) => {
            let keys = |object: &serde_json::Map<String, Value>| object.keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(a), keys(b), "same keys in the same order");
            a.values().zip(b.values()).for_each(|(a, b)| assert_same(a, b));
        }
        _ => assert_eq!(ours, theirs),
    }
}
