//! Rows are the same however they are cut, limited, picked and read ahead.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, StringArray};
use arrow_schema::Schema;
use bytes::Bytes;
use futures::StreamExt;
use futures_executor::block_on;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;

use super::super::{Footer, ParquetObject, PartRows, Prefetch, memory_wish};
use super::*;
use crate::store::{Key, MemoryStore, ObjectStore};

const START: i64 = 1_767_225_600_000_000;
/// Rows of each of the two parts.
const PART: i64 = 60;
const ROWS: i64 = 2 * PART;
const TIME: &str = "at";

fn time(id: i64) -> Micros {
    Micros(START + id * 1_000_000)
}

/// Rows `ids`; of those in `untimed` the time is missing.
fn part(ids: Range<i64>, text: usize, groups: usize, pages: usize, untimed: Option<i64>) -> Bytes {
    let times = ids.clone().map(|id| (Some(id) != untimed).then(|| time(id).to_string()));
    let texts = ids.clone().map(|id| format!("{id:0text$}"));
    let columns: [(&str, ArrayRef); 3] = [
        (TIME, Arc::new(times.collect::<StringArray>())),
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

fn all(schema: &Schema) -> Vec<usize> {
    (0..schema.fields().len()).collect()
}

/// The parts, and the footer of each.
async fn put(bodies: Vec<Bytes>) -> (Arc<Parts>, Vec<Footer>) {
    let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new("mem://world"));
    let (mut list, mut footers) = (Vec::new(), Vec::new());
    for (i, body) in bodies.into_iter().enumerate() {
        let key: Key = format!("part-{i:06}.parquet").parse().unwrap();
        store.put(&key, body).await.unwrap();
        let meta = store.head(&key).await.unwrap().unwrap();
        let object = ParquetObject { key, meta };
        let footer = Footer::read(store.clone(), object.clone()).await.unwrap();
        let rows = footer.metadata.metadata().file_metadata().num_rows().cast_unsigned();
        list.push(PartRows { object, rows });
        footers.push(footer);
    }
    (Arc::new(Parts { store, list, time_column: TIME.into(), columns: all }), footers)
}

fn ids(batch: &Rows) -> Vec<i64> {
    batch.columns().column_by_name("id").unwrap().as_primitive::<Int64Type>().values().to_vec()
}

/// Picks every `of`th row. The row `refused` is refused.
fn every(of: i64, refused: Option<i64>) -> RowFilter<&'static str> {
    RowFilter::new(vec!["id".to_owned()], move |rows, keep| {
        for id in rows.column_by_name("id").unwrap().as_primitive::<Int64Type>().values() {
            if Some(*id) == refused {
                return Err("no key");
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
            let (parts, _) = put(parts.into()).await;
            let mut batches = std::pin::pin!(parts.batches(scan, of.map(|of| every(of, None))));
            while let Some(batch) = batches.next().await {
                let batch = batch.unwrap();
                let of_batch = ids(&batch);
                prop_assert!((1..=batch_rows).contains(&of_batch.len()));
                for (i, id) in of_batch.into_iter().enumerate() {
                    let place = (batch.part() as u64 * PART.cast_unsigned() + batch.row(i)).cast_signed();
                    prop_assert_eq!((place, batch.seq(i), batch.times()[i]), (id, read.len() as u64, time(id)));
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
    for (untimed, unkeyed, row, is_time) in [
        (Some(7), None, 7, true),
        (None, Some(7), 7, false),
        (Some(7), Some(4), 4, false),
        (Some(4), Some(7), 4, true),
        (Some(5), Some(5), 5, true),
        (Some(0), None, 0, true),
    ] {
        let (parts, _) = put(vec![part(0..10, 4, 10, 10, untimed)]).await;
        for batch_rows in [1, 100] {
            let scan = Scan::new().batch_rows(batch_rows);
            let batches: Vec<_> = parts.clone().batches(scan, Some(every(2, unkeyed))).collect().await;
            let (good, bad): (Vec<_>, Vec<_>) = batches.into_iter().partition(Result::is_ok);
            let picked: Vec<i64> = good.into_iter().flat_map(|batch| ids(&batch.unwrap())).collect();
            assert_eq!(picked, (0..row).step_by(2).collect::<Vec<_>>());
            let object = "mem://world/part-000000.parquet".to_owned();
            let expected = if is_time {
                RowsError::Read(ReadError::new(ReadFault::NoTime, "null").object(object).row(row as u64).column(TIME))
            } else {
                RowsError::Filter { object, row: row as u64, error: "no key" }
            };
            assert_eq!(bad.into_iter().map(Result::unwrap_err).collect::<Vec<_>>(), [expected]);
        }
    }
}

#[tokio::test]
async fn memory_for_a_row_group_is_that_of_what_is_read_of_it() {
    let (_, footers) = put(vec![part(0..50, 100, 50, 50, None), part(50..60, 100, 10, 10, None)]).await;
    let wish = |footer: &Footer, columns: &[usize]| memory_wish(&footer.row_groups(columns, TIME));
    let group = footers[0].metadata.metadata().row_group(0);
    let sizes = |columns: &[usize]| {
        let columns = columns.iter().map(|column| group.column(*column));
        columns.map(|column| (column.compressed_size() + column.uncompressed_size()).cast_unsigned()).sum::<u64>()
    };
    // The row group twice: one is fetched while another one is read.
    assert_eq!(wish(&footers[0], &[0, 1, 2]), 2 * sizes(&[0, 1, 2]));
    assert_eq!(wish(&footers[0], &[0]), 2 * sizes(&[0]));
    assert!(wish(&footers[1], &[0, 1, 2]) < wish(&footers[0], &[0, 1, 2]));
    // Half of it for the slice at hand leaves room for the next one.
    assert_eq!(Scan::new().memory(1_001).slice_bytes(), 500);
}

#[tokio::test]
async fn a_resume_beyond_the_last_row_is_refused() {
    let (parts, _) = put([0..10, 10..20].map(|ids| part(ids, 4, 10, 10, None)).into()).await;
    let first = |resume| {
        let parts = parts.clone();
        async move { Box::pin(parts.batches::<()>(Scan::new().resume(resume), None)).next().await }
    };
    for (file, row) in [(1, 10), (2, 0)] {
        assert!(first(Resume::at(file, row)).await.is_none(), "just behind the last row");
    }
    for (file, row, object) in [(0, 11, true), (1, 11, true), (2, 1, false), (3, 0, false)] {
        let Some(Err(RowsError::Read(error))) = first(Resume::at(file, row)).await else { panic!("{file}, {row}") };
        assert_eq!((error.fault, error.object.is_some()), (ReadFault::NoSuchRow, object), "{error}");
    }
}

#[tokio::test]
async fn a_batch_takes_an_eighth_of_the_memory() {
    let (parts, _) = put(vec![part(0..300, 10_000, 300, 300, None)]).await;
    for (memory, most) in [(1 << 20, 1 << 20), (12 << 20, 3 << 19), (16 << 20, 1 << 21), (1 << 30, 300 * 10_300)] {
        let batches = parts.clone().batches::<()>(Scan::new().memory(memory), None);
        let batch = Box::pin(batches).next().await.unwrap().unwrap();
        // A row decoded has 10,000 bytes of text, and up to 300 of lengths, levels and the other columns.
        let rows = ids(&batch).len() as u64;
        assert!(rows * 10_000 <= most && (rows + 1) * 10_300 > most, "{rows} rows with {memory} bytes");
    }
}
