//! Views as they should not be, and views read from the middle.

mod lying;
mod rows;
mod shapes;
mod types;
mod written;

use std::sync::Arc;

use arrow_array::types::Int8Type;
use arrow_array::{ArrayRef, DictionaryArray, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray};
use bytes::Bytes;
use parquet::basic::{LogicalType, Repetition, Type as PhysicalType};
use parquet::data_type::{ByteArray, ByteArrayType, Int96, Int96Type};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;
use proptest::prelude::*;
use wsp::store::Key;
use wsp_world::model::{Micros, Reason, Refusal, RowBatch};
use wsp_world::oracle::{Resume, Scan, View};

use crate::kit::views::{parquet, read, view_of};

const START: i64 = 1_767_225_600_000_000;

/// Rows `ids`, each a second after the one before; every second pair shares its time.
fn rows(ids: std::ops::Range<i64>) -> RecordBatch {
    let times = ids.clone().map(|id| Micros(START + id / 2 * 1_000_000).to_string());
    RecordBatch::try_from_iter([
        ("ts_utc", Arc::new(StringArray::from_iter_values(times)) as ArrayRef),
        ("id", Arc::new(Int64Array::from_iter_values(ids))),
    ])
    .unwrap()
}

fn with_times(times: Vec<Option<&str>>) -> RecordBatch {
    let ids = Int64Array::from_iter_values(0..times.len() as i64);
    let times: ArrayRef = Arc::new(StringArray::from(times));
    RecordBatch::try_from_iter([("ts_utc", times), ("id", Arc::new(ids))]).unwrap()
}

fn ids(batches: &[RowBatch]) -> Vec<i64> {
    let column = |batch: &RowBatch| {
        let ids = batch.rows().column_by_name("id").unwrap();
        ids.as_any().downcast_ref::<Int64Array>().unwrap().values().to_vec()
    };
    batches.iter().flat_map(column).collect()
}

fn place(refusal: &Refusal) -> (Reason, &str, Option<u64>) {
    (refusal.reason, refusal.place.file.as_deref().unwrap_or_default(), refusal.place.row)
}

async fn three_parts() -> View {
    let parts = vec![parquet(&[rows(0..23)], 5), parquet(&[rows(23..30)], 7), parquet(&[rows(30..41)], 4)];
    view_of(parts, 41).1.inspect().await.unwrap()
}

#[tokio::test]
async fn resuming_at_any_row_gives_the_rest() {
    let view = three_parts().await;
    let mut before = 0;
    for (file, part) in view.parts.iter().enumerate() {
        for row in 0..=part.rows {
            let scan = Scan::new().resume(Resume::at(file, row)).batch_rows(3);
            let (batches, refusal) = read(&view, scan.clone()).await;
            assert_eq!(refusal, None);
            let first = before + row;
            assert_eq!(ids(&batches), (first as i64..41).collect::<Vec<_>>(), "file {file}, row {row}");
            let positions = batches.iter().flat_map(|batch| (0..batch.times().len()).map(|i| batch.position(i)));
            for (seq, position) in positions.enumerate() {
                let earlier: u64 = view.parts[..position.file as usize].iter().map(|part| part.rows).sum();
                assert_eq!(earlier + position.row, first + seq as u64);
                assert_eq!(position.seq, seq as u64);
            }
            let (limited, refusal) = read(&view, scan.limit(4)).await;
            assert_eq!(refusal, None);
            assert_eq!(ids(&limited), (first as i64..41).take(4).collect::<Vec<_>>());
        }
        before += part.rows;
    }
}

#[tokio::test]
async fn a_row_before_the_one_that_was_saved_is_out_of_order() {
    let view = three_parts().await;
    let (batches, _) = read(&view, Scan::new()).await;
    let last = batches[0].times().len() - 1;
    let saved = batches[0].times()[last];
    assert!(batches[0].times()[0] < saved);
    for (row, refused) in [(0, true), (last as u64, false), (last as u64 + 1, false)] {
        let from = Resume { after: Some(saved), ..Resume::at(0, row) };
        let (batches, refusal) = read(&view, Scan::new().resume(from)).await;
        let reason = refusal.map(|refusal| refusal.reason);
        assert_eq!(reason, refused.then_some(Reason::StreamViewOrderViolation), "row {row}");
        assert_eq!(batches.is_empty(), refused, "row {row}");
    }
}

#[tokio::test]
async fn resuming_beyond_the_view_is_foreign() {
    let view = three_parts().await;
    for (file, row) in [(0, 24), (2, 12), (3, 1), (4, 0)] {
        let (batches, refusal) = read(&view, Scan::new().resume(Resume::at(file, row))).await;
        assert!(batches.is_empty());
        assert_eq!(refusal.unwrap().reason, Reason::CheckpointForeign, "file {file}, row {row}");
    }
    let (batches, refusal) = read(&view, Scan::new().resume(Resume::at(3, 0))).await;
    assert!(batches.is_empty() && refusal.is_none(), "just after the last row is an end");
}

#[tokio::test]
async fn skipped_row_groups_are_not_fetched() {
    let (store, files) = view_of(vec![parquet(&[rows(0..100_000)], 10_000)], 100_000);
    let view = files.inspect().await.unwrap();
    let asked_by = |scan: Scan| {
        store.asked.lock().unwrap().clear();
        let (view, store) = (view.clone(), store.clone());
        async move {
            read(&view, scan).await;
            store.asked.lock().unwrap().iter().map(|range| range.end - range.start).sum::<u64>()
        }
    };
    let all = asked_by(Scan::new()).await;
    let last = asked_by(Scan::new().resume(Resume::at(0, 95_000))).await;
    assert!(last < all / 3, "{last} of {all} bytes");
    let first = asked_by(Scan::new().limit(10)).await;
    assert!(first < all / 3, "{first} of {all} bytes");
}

#[tokio::test]
async fn a_footer_tells_rows_and_times() {
    let view = three_parts().await;
    assert_eq!(view.rows, 41);
    let groups = &view.parts[0].row_groups;
    assert_eq!(groups.iter().map(|group| group.rows).collect::<Vec<_>>(), [5, 5, 5, 5, 3]);
    let at = |seconds: i64| Micros(START + seconds * 1_000_000);
    assert_eq!(groups[1].span, Some((at(2), at(4))));
    assert!(groups.iter().all(|group| group.bytes > 0));
}

#[tokio::test]
async fn parts_have_to_fit_together() {
    let refused = |parts: Vec<Bytes>, rows: u64| async move { view_of(parts, rows).1.inspect().await.unwrap_err() };
    let good = parquet(&[rows(0..4)], 10);
    let other = RecordBatch::try_from_iter([
        ("ts_utc", Arc::new(StringArray::from(vec!["2026-01-01T00:00:00Z"])) as ArrayRef),
        ("id", Arc::new(StringArray::from(vec!["1"]))),
    ]);
    let other = parquet(&[other.unwrap()], 10);
    let no_time = RecordBatch::try_from_iter([("id", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]);
    let number = RecordBatch::try_from_iter([("ts_utc", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]);

    let refusal = refused(vec![good.clone()], 5).await;
    assert_eq!(refusal.reason, Reason::StreamViewRowsMismatch);
    assert!(refusal.detail.contains('4') && refusal.detail.contains('5'), "{refusal}");
    assert_eq!(refused(vec![], 0).await.reason, Reason::StreamViewEmpty);
    let refusal = refused(vec![good.clone(), other], 5).await;
    assert_eq!(place(&refusal), (Reason::StreamViewUnreadable, "memory/part-000001.parquet", None));
    for bad in [Bytes::new(), Bytes::from_static(b"PAR1"), good.slice(..good.len() - 1), good.slice(good.len() - 8..)] {
        let refusal = refused(vec![good.clone(), bad], 8).await;
        assert_eq!(place(&refusal), (Reason::StreamViewUnreadable, "memory/part-000001.parquet", None));
    }
    for columns in [no_time, number] {
        let refusal = refused(vec![parquet(&[columns.unwrap()], 10)], 1).await;
        assert_eq!(refusal.reason, Reason::TsUtcInvalid);
        assert_eq!(refusal.place.field.as_deref(), Some("ts_utc"));
    }
}

#[tokio::test]
async fn a_part_that_changes_stops_the_run() {
    let (store, files) = view_of(vec![parquet(&[rows(0..4)], 2)], 4);
    let view = files.inspect().await.unwrap();
    let key: Key = "part-000000.parquet".parse().unwrap();
    store.set(&key, store.body(&key));
    let (batches, refusal) = read(&view, Scan::new()).await;
    assert!(batches.is_empty());
    assert_eq!(place(&refusal.unwrap()), (Reason::StreamViewChanged, "memory/part-000000.parquet", None));
}

#[tokio::test]
async fn a_row_without_its_time_stops_behind_those_before_it() {
    let good = Some("2026-01-01T00:00:00Z");
    for bad in [None, Some(""), Some("soon"), Some("2026-02-30T00:00:00Z")] {
        let parts =
            vec![parquet(&[with_times(vec![good; 3])], 10), parquet(&[with_times(vec![good, good, bad, good])], 10)];
        let view = view_of(parts, 7).1.inspect().await.unwrap();
        for batch_rows in [1, 2, 3, 100] {
            let (batches, refusal) = read(&view, Scan::new().batch_rows(batch_rows)).await;
            assert_eq!(ids(&batches), [0, 1, 2, 0, 1]);
            let refusal = refusal.unwrap();
            assert_eq!(place(&refusal), (Reason::TsUtcInvalid, "memory/part-000001.parquet", Some(2)));
            assert_eq!(refusal.place.field.as_deref(), Some("ts_utc"));
        }
    }
}

#[tokio::test]
async fn a_row_before_its_predecessor_stops_behind_those_before_it() {
    let times = |seconds: &[i64]| {
        let texts: Vec<String> = seconds.iter().map(|s| Micros(START + s * 1_000_000).to_string()).collect();
        parquet(&[with_times(texts.iter().map(|text| Some(text.as_str())).collect())], 2)
    };
    for (parts, file, row, good) in [
        (vec![times(&[1, 2, 2, 1, 3])], "memory/part-000000.parquet", 3, 3),
        (vec![times(&[1, 2, 3]), times(&[2, 4])], "memory/part-000001.parquet", 0, 3),
    ] {
        let view = view_of(parts, 5).1.inspect().await.unwrap();
        for batch_rows in [1, 100] {
            let (batches, refusal) = read(&view, Scan::new().batch_rows(batch_rows)).await;
            assert_eq!(ids(&batches).len(), good);
            assert_eq!(place(&refusal.unwrap()), (Reason::StreamViewOrderViolation, file, Some(row)));
        }
    }
}

#[tokio::test]
async fn a_json_view_is_read_by_two_columns() {
    let json: ArrayRef = Arc::new(StringArray::from(vec!["{}"]));
    let batch = RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(vec![1])) as ArrayRef),
        ("payload_json", json),
        ("ts_utc", Arc::new(StringArray::from(vec!["2026-01-01T00:00:00Z"]))),
    ]);
    let view = view_of(vec![parquet(&[batch.unwrap()], 10)], 1).1.inspect().await.unwrap();
    let names: Vec<_> = view.schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["payload_json", "ts_utc"]);
    let (batches, refusal) = read(&view, Scan::new()).await;
    assert_eq!(refusal, None);
    assert_eq!(batches[0].rows().schema().fields(), view.schema.fields());
}

#[tokio::test]
async fn dictionaries_and_timestamps_give_times() {
    let dictionary: DictionaryArray<Int8Type> = ["2026-01-01T00:00:00Z", "2026-01-01 00:00:01"].into_iter().collect();
    let nanos =
        TimestampNanosecondArray::from(vec![START * 1_000, START * 1_000 + 1_000_000_999]).with_timezone("+05:00");
    for column in [Arc::new(dictionary) as ArrayRef, Arc::new(nanos)] {
        let batch = RecordBatch::try_from_iter([("ts_utc", column)]).unwrap();
        let view = view_of(vec![parquet(&[batch], 10)], 2).1.inspect().await.unwrap();
        let (batches, refusal) = read(&view, Scan::new()).await;
        assert_eq!(refusal, None);
        assert_eq!(batches[0].times(), [Micros(START), Micros(START + 1_000_000)]);
    }
}

/// A file of two required columns written below Arrow, which can't write such.
fn raw(ts: PhysicalType, text: Option<LogicalType>, times: &[Int96], texts: &[&[u8]]) -> Bytes {
    let field = |name: &str, physical, logical| {
        let builder = Type::primitive_type_builder(name, physical).with_repetition(Repetition::REQUIRED);
        Arc::new(builder.with_logical_type(logical).build().unwrap())
    };
    let fields = vec![field("ts_utc", ts, None), field("text", PhysicalType::BYTE_ARRAY, text)];
    let schema = Arc::new(Type::group_type_builder("schema").with_fields(fields).build().unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int96Type>().write_batch(times, None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let texts: Vec<ByteArray> = texts.iter().map(|text| ByteArray::from(text.to_vec())).collect();
    column.typed::<ByteArrayType>().write_batch(&texts, None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.into_inner().unwrap().into()
}

fn int96(micros: i64) -> Int96 {
    let mut value = Int96::new();
    let (day, nanos) = (micros.div_euclid(86_400_000_000), micros.rem_euclid(86_400_000_000) as u64 * 1_000);
    value.set_data(nanos as u32, (nanos >> 32) as u32, (day + 2_440_588) as u32);
    value
}

#[tokio::test]
async fn int96_gives_times() {
    let part = raw(PhysicalType::INT96, Some(LogicalType::String), &[int96(START), int96(START + 1)], &[b"a", b"b"]);
    let view = view_of(vec![part], 2).1.inspect().await.unwrap();
    let (batches, refusal) = read(&view, Scan::new()).await;
    assert_eq!(refusal, None);
    assert_eq!(batches[0].times(), [Micros(START), Micros(START + 1)]);
}

#[tokio::test]
async fn text_that_is_not_utf8_is_refused_whatever_its_annotation() {
    for annotation in [LogicalType::String, LogicalType::Json, LogicalType::Enum] {
        let part = raw(PhysicalType::INT96, Some(annotation.clone()), &[int96(START)], &[b"\xff{"]);
        let view = view_of(vec![part], 1).1.inspect().await.unwrap();
        let (batches, refusal) = read(&view, Scan::new()).await;
        assert!(batches.is_empty(), "{annotation:?}");
        let refusal = refusal.unwrap();
        assert_eq!(place(&refusal), (Reason::StreamViewUnreadable, "memory/part-000000.parquet", None));
        assert_eq!(refusal.place.field.as_deref(), Some("text"), "{refusal}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever a broken file makes the decoder do, it ends in rows or in a refusal that names the file.
    #[test]
    fn broken_bytes_end_in_a_refusal(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        near_end in any::<bool>(),
    ) {
        let mut file = parquet(&[rows(0..40)], 16).to_vec();
        let len = file.len();
        for (at, byte) in flips {
            let at = if near_end { len - 1 - at.index(len.min(600)) } else { at.index(len) };
            file[at] = byte;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            match view_of(vec![file.into()], 40).1.inspect().await {
                Ok(view) => {
                    let (batches, refusal) = read(&view, Scan::new().batch_rows(8)).await;
                    let delivered: usize = batches.iter().map(|batch| batch.times().len()).sum();
                    prop_assert!(refusal.is_some() || delivered == 40);
                    if let Some(refusal) = refusal {
                        prop_assert_eq!(refusal.place.file.as_deref(), Some("memory/part-000000.parquet"));
                    }
                }
                Err(refusal) => prop_assert!(refusal.reason != Reason::InternalError, "{}", refusal),
            }
            Ok(())
        })?;
    }
}
