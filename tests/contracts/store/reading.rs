//! A view read from S3: row groups come ahead, all of one version, and nothing is open while nobody reads.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use bytes::Bytes;
use futures::StreamExt;
use hyper::Method;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use wsp::store::ObjectStore;
use wsp_world::model::Reason;
use wsp_world::oracle::{Scan, View, ViewFile, ViewFiles};

use super::fake_s3::FakeS3;
use super::key;

const ROWS: i64 = 300;

/// Three row groups of 100 rows.
fn part(first: i64) -> Bytes {
    let rows = RecordBatch::try_from_iter([
        ("ts_utc", Arc::new(StringArray::from_iter_values((0..ROWS).map(|_| "2026-01-01T00:00:00Z"))) as ArrayRef),
        ("id", Arc::new(Int64Array::from_iter_values(first..first + ROWS))),
    ])
    .unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(100)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties)).unwrap();
    writer.write(&rows).unwrap();
    writer.into_inner().unwrap().into()
}

async fn view(server: &FakeS3) -> View {
    let store = server.store("");
    let part = key("part-000000.parquet");
    let meta = store.head(&part).await.unwrap().unwrap();
    let files = vec![ViewFile { key: part, meta }];
    let view = ViewFiles {
        rank: 0,
        output_id: "an_output".parse().unwrap(),
        store: Arc::new(store),
        files,
        expected_rows: ROWS as u64,
    };
    view.inspect().await.unwrap()
}

/// Waits until the server has seen so many ranged requests.
async fn seen(server: &FakeS3, count: usize) {
    let enough = async {
        while server.seen(&Method::GET).len() < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), enough).await.unwrap();
}

#[tokio::test]
async fn a_part_replaced_behind_what_was_fetched_ahead_is_refused() {
    let server = FakeS3::start().await;
    server.state().objects.insert("part-000000.parquet".to_owned(), part(0));
    let view = view(&server).await;
    server.state().seen.clear();
    let mut batches = std::pin::pin!(view.batches(Scan::new()));
    batches.next().await.unwrap().unwrap();
    // The footer, the row group at hand, and without anybody asking for a row the one after it.
    seen(&server, 3).await;
    server.state().objects.insert("part-000000.parquet".to_owned(), part(1_000));
    let mut rows = 100;
    let refusal = loop {
        match batches.next().await.unwrap() {
            Ok(batch) => {
                let ids = batch.rows().column_by_name("id").unwrap().to_data();
                assert_eq!(ids.buffers()[0].typed_data::<i64>()[0], rows, "of the version that was fetched");
                rows += 100;
            }
            Err(refusal) => break refusal,
        }
    };
    assert!(rows < ROWS, "the last row group was not fetched yet");
    assert_eq!(refusal.reason, Reason::StreamViewChanged);
    assert_eq!(refusal.place.file.as_deref(), Some("s3://world/part-000000.parquet"));
    let seen = server.seen(&Method::GET);
    assert!(seen.iter().all(|seen| seen.if_match.is_some() && seen.range.is_some()), "{seen:?}");
}
