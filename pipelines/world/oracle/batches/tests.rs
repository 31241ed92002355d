//! The rows of a view are the same however they are cut, limited, picked and read ahead.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, StringArray};
use bytes::Bytes;
use futures::StreamExt;
use futures::executor::block_on;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;
use wsp::store::{Key, MemoryStore, ObjectStore};

use super::*;
use crate::oracle::{ViewFile, ViewFiles};

const START: i64 = 1_767_225_600_000_000;
/// Rows of each of the view's two parts.
const PART: i64 = 60;
const ROWS: i64 = 2 * PART;

fn time(id: i64) -> Micros {
    Micros(START + id * 1_000_000)
}

/// Rows `ids`; of those in `untimed` the time is missing.
fn part(ids: Range<i64>, text: usize, groups: usize, pages: usize, untimed: Option<i64>) -> Bytes {
    let times = ids.clone().map(|id| (Some(id) != untimed).then(|| time(id).to_string()));
    let texts = ids.clone().map(|id| format!("{id:0text$}"));
    let columns: [(&str, ArrayRef); 3] = [
        ("ts_utc", Arc::new(times.collect::<StringArray>())),
        ("id", Arc::new(Int64Array::from_iter_values(ids.clone()))),
        ("text", Arc::new(StringArray::from_iter_values(texts))),
    ];
    let nullable = columns.map(|(name, column)| (name, column, true));
    let rows = RecordBatch::try_from_iter_with_nullable(nullable).unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(groups))
        .set_data_page_row_count_limit(pages)
        .set_write_batch_size(1)
        .set_dictionary_enabled(false)
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties)).unwrap();
    writer.write(&rows).unwrap();
    writer.into_inner().unwrap().into()
}

async fn view(parts: Vec<Bytes>, rows: i64) -> View {
    let store = MemoryStore::new("mem://world");
    let mut files = Vec::new();
    for (i, body) in parts.into_iter().enumerate() {
        let key: Key = format!("part-{i:06}.parquet").parse().unwrap();
        store.put(&key, body).await.unwrap();
        let meta = store.head(&key).await.unwrap().unwrap();
        files.push(ViewFile { key, meta });
    }
    let (store, output_id) = (Arc::new(store), "arrival_events_5B".parse().unwrap());
    ViewFiles { rank: 3, output_id, store, files, expected_rows: rows as u64 }.inspect().await.unwrap()
}

fn ids(batch: &RowBatch) -> Vec<i64> {
    batch.rows().column_by_name("id").unwrap().as_primitive::<Int64Type>().values().to_vec()
}

/// Picks every `of`th row. The row `refused` is refused.
fn every(of: i64, refused: Option<i64>) -> RowFilter {
    RowFilter::new(vec!["id".to_owned()], move |rows, keep| {
        for id in rows.column_by_name("id").unwrap().as_primitive::<Int64Type>().values() {
            if Some(*id) == refused {
                return Err(Refusal::new(Reason::PrimaryKeyMissing, "no key"));
            }
            keep.push(id % of == 0);
        }
        Ok(())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn rows_are_those_that_are_asked_for_in_their_places(
        groups in 1_usize..70, pages in 1_usize..20, batch_rows in 1_usize..50, memory in 0_u64..20_000, permits in 0_usize..2,
        from in 0..=ROWS, limit in prop::option::of(0..ROWS + 10), of in prop::option::of(1_i64..5)
    ) {
        let parts = [0..PART, PART..ROWS].map(|ids| part(ids, 40, groups, pages, None));
        let resume = Resume::at((from / PART) as usize, (from % PART) as u64);
        let scan = Scan::new().batch_rows(batch_rows).memory(memory).prefetch(Prefetch::new(permits)).resume(resume);
        let scan = limit.map_or(scan.clone(), |limit| scan.limit(limit as u64));
        let expected: Vec<i64> = (from..ROWS).filter(|id| id % of.unwrap_or(1) == 0).take(limit.unwrap_or(ROWS) as usize).collect();
        let mut read = Vec::new();
        block_on(async {
            let view = view(parts.into(), ROWS).await;
            let mut batches = std::pin::pin!(view.batches_where(scan, of.map(|of| every(of, None))));
            while let Some(batch) = batches.next().await {
                let batch = batch.unwrap();
                let of_batch = ids(&batch);
                prop_assert!((1..=batch_rows).contains(&of_batch.len()));
                for (i, id) in of_batch.into_iter().enumerate() {
                    let position = batch.position(i);
                    let place = (i64::from(position.file) * PART + position.row.cast_signed(), position.seq as usize);
                    prop_assert_eq!((place, position.rank, batch.times()[i]), ((id, read.len()), 3, time(id)));
                    read.push(id);
                }
            }
            Ok(())
        })?;
        prop_assert_eq!(read, expected);
    }
}

#[tokio::test]
async fn picked_rows_end_before_the_first_row_that_lacks_its_time_or_its_key() {
    for (untimed, unkeyed, row, reason) in [
        (Some(7), None, 7, Reason::TsUtcInvalid),
        (None, Some(7), 7, Reason::PrimaryKeyMissing),
        (Some(7), Some(4), 4, Reason::PrimaryKeyMissing),
        (Some(4), Some(7), 4, Reason::TsUtcInvalid),
        (Some(5), Some(5), 5, Reason::TsUtcInvalid),
        (Some(0), None, 0, Reason::TsUtcInvalid),
    ] {
        let view = view(vec![part(0..10, 4, 10, 10, untimed)], 10).await;
        for batch_rows in [1, 100] {
            let scan = Scan::new().batch_rows(batch_rows);
            let batches: Vec<_> = view.batches_where(scan, Some(every(2, unkeyed))).collect().await;
            let (good, bad): (Vec<_>, Vec<_>) = batches.into_iter().partition(Result::is_ok);
            let picked: Vec<i64> = good.into_iter().flat_map(|batch| ids(&batch.unwrap())).collect();
            assert_eq!(picked, (0..row).step_by(2).collect::<Vec<_>>());
            let refusal = bad[0].as_ref().unwrap_err();
            assert_eq!((bad.len(), refusal.reason, refusal.place.row), (1, reason, Some(row as u64)), "{refusal}");
        }
    }
}

#[tokio::test]
async fn memory_is_shared_out() {
    let parts = vec![part(0..50, 100, 50, 50, None), part(50..60, 100, 10, 10, None), part(60..80, 100, 10, 10, None)];
    let view = view(parts, 80).await;
    // The largest row group twice: one is fetched while another one is read.
    let wish = |part: usize| {
        let group = view.parts[part].row_groups[0];
        2 * (group.bytes + group.decoded)
    };
    assert_eq!(view.memory_wish(Resume::default()), wish(0));
    assert_eq!(view.memory_wish(Resume::at(1, 5)), wish(1).max(wish(2)));
    assert_eq!(view.memory_wish(Resume::at(3, 0)), 0);
    // Half of it for the slice at hand leaves room for the next one.
    assert_eq!(Scan::new().memory(1_001).slice_bytes(), 500);
}

#[tokio::test]
async fn a_batch_takes_an_eighth_of_the_memory() {
    let view = view(vec![part(0..300, 10_000, 300, 300, None)], 300).await;
    for (memory, most) in [(1 << 20, 1 << 20), (12 << 20, 3 << 19), (16 << 20, 1 << 21), (1 << 30, 300 * 10_300)] {
        let batch = Box::pin(view.batches(Scan::new().memory(memory))).next().await.unwrap().unwrap();
        // A row decoded has 10,000 bytes of text, and up to 300 of lengths, levels and the other columns.
        let rows = ids(&batch).len() as u64;
        assert!(rows * 10_000 <= most && (rows + 1) * 10_300 > most, "{rows} rows with {memory} bytes");
    }
}
