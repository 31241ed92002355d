//! Footers and pages that do not say what is there: refused before the first event where the footer shows it, before the row
//! group's first row else.

use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::Int32Type;
use bytes::Bytes;
use parquet::basic::{Compression, Encoding};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::metadata::{
    ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataReader, ParquetMetaDataWriter, RowGroupMetaData,
};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::SchemaDescriptor;
use wsp_world::model::{Reason, Refusal};
use wsp_world::oracle::{Resume, Scan};

use super::rows::{ROWS, written};
use super::{ids, place, rows};
use crate::kit::views::{parquet, read, view_of};

const PART: &str = "memory/part-000000.parquet";

/// The same file with another footer.
fn refooted(file: &Bytes, change: impl Fn(RowGroupMetaData) -> RowGroupMetaData) -> Bytes {
    let metadata = ParquetMetaDataReader::new().parse_and_finish(file).unwrap();
    let groups = metadata.row_groups().iter().cloned().map(change).collect();
    let changed = ParquetMetaData::new(metadata.file_metadata().clone(), groups);
    let mut out = file[..file.len() - 8].to_vec();
    ParquetMetaDataWriter::new(&mut out, &changed).finish().unwrap();
    out.into()
}

/// The same with other columns in each row group.
fn with_columns(
    file: &Bytes,
    rows: Option<i64>,
    change: impl Fn(usize, ColumnChunkMetaData) -> ColumnChunkMetaData,
) -> Bytes {
    refooted(file, |group| {
        let columns = group.columns().iter().cloned().enumerate().map(|(i, column)| change(i, column)).collect();
        let rows = rows.unwrap_or(group.num_rows());
        group.into_builder().set_num_rows(rows).set_column_metadata(columns).build().unwrap()
    })
}

async fn refused_at_planning(file: Bytes, rows: u64) -> Refusal {
    view_of(vec![file], rows).1.inspect().await.unwrap_err()
}

#[tokio::test]
async fn a_footer_that_contradicts_itself_is_refused_at_planning() {
    let file = parquet(&[rows(0..4)], 10);
    let rows_of = |n: i64| refooted(&file, |group| group.into_builder().set_num_rows(n).build().unwrap());
    for claimed in [-1, 3, 5, i64::MAX] {
        let refusal = refused_at_planning(rows_of(claimed), claimed.unsigned_abs()).await;
        assert_eq!(place(&refusal), (Reason::StreamViewUnreadable, PART, None), "{claimed}: {refusal}");
    }
    let placed = |offset: i64| {
        with_columns(&file, None, |_, column| {
            column.into_builder().set_dictionary_page_offset(None).set_data_page_offset(offset).build().unwrap()
        })
    };
    let id = |change: fn(ColumnChunkMetaData) -> ColumnChunkMetaData| {
        with_columns(&file, None, |i, column| if i == 1 { change(column) } else { column })
    };
    let cases = [
        (placed(-1), "ts_utc"),
        (placed(1 << 40), "ts_utc"),
        (placed(i64::MAX), "ts_utc"),
        (placed(4), "id"),
        (id(|column| column.into_builder().set_num_values(3).build().unwrap()), "id"),
        (id(|column| column.into_builder().set_num_values(5).build().unwrap()), "id"),
        (id(|column| column.into_builder().set_num_values(-1).build().unwrap()), "id"),
        (id(|column| column.into_builder().set_file_path("elsewhere".to_owned()).build().unwrap()), "id"),
    ];
    for (i, (bad, column)) in cases.into_iter().enumerate() {
        let refusal = refused_at_planning(bad, 4).await;
        assert_eq!(place(&refusal), (Reason::StreamViewUnreadable, PART, None), "{i}: {refusal}");
        assert_eq!(refusal.place.field.as_deref(), Some(column), "{i}: {refusal}");
    }
}

/// The file's count of rows stands between its schema and its row groups. A reader that sums up the row groups never misses
/// a row that only the file's own count knows of.
#[tokio::test]
async fn a_footer_whose_total_is_not_its_row_groups_is_refused_at_planning() {
    let file = parquet(&[rows(0..40)], 16);
    let total = |rows: u8| [0x16, rows * 2, 0x19];
    let at = file.windows(3).rposition(|bytes| bytes == total(40)).unwrap();
    assert_eq!(file.windows(3).filter(|bytes| *bytes == total(40)).count(), 1);
    for claimed in [0, 39, 41] {
        let mut bad = file.to_vec();
        bad[at..at + 3].copy_from_slice(&total(claimed));
        for receipt in [40, u64::from(claimed)] {
            let refusal = refused_at_planning(bad.clone().into(), receipt).await;
            assert_eq!(place(&refusal), (Reason::StreamViewUnreadable, PART, None), "{refusal}");
            assert!(refusal.detail.contains("40") && refusal.detail.contains(&claimed.to_string()), "{refusal}");
        }
    }
}

/// The whole footer and the receipt agree on a count that the pages do not hold.
#[tokio::test]
async fn pages_that_hold_other_rows_than_the_footer_says_are_refused_before_the_first_of_them() {
    let file = parquet(&[rows(0..4)], 10);
    for claimed in [3, 5] {
        let lying = with_columns(&file, Some(claimed), |_, column| {
            column.into_builder().set_num_values(claimed).build().unwrap()
        });
        let view = view_of(vec![lying], claimed as u64).1.inspect().await.unwrap();
        for memory in [0, 1 << 20] {
            let (batches, refusal) = read(&view, Scan::new().memory(memory)).await;
            let refusal = refusal.unwrap();
            assert!(batches.is_empty());
            assert_eq!(place(&refusal), (Reason::StreamViewUnreadable, PART, None));
            assert_eq!(refusal.place.field.as_deref(), Some("ts_utc"), "{refusal}");
        }
    }
}

/// Page headers of a real file, changed: `nums` is a column of lists in pages of version 2, whose header says how many rows
/// begin in it.
#[tokio::test]
async fn a_page_that_says_other_rows_than_it_holds_is_refused() {
    let file = written("pyarrow_v2");
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&file).unwrap();
    let group = metadata.row_group(0);
    let column = group.columns().iter().find(|column| column.column_path().string() == "nums.list.element").unwrap();
    assert_ne!(column.compression(), Compression::UNCOMPRESSED);
    let start = column.data_page_offset() as usize;
    // A header of version 2: type 3, two sizes, a checksum, then values, nulls, rows.
    let header = &file[start..start + 40];
    let structure = header.iter().position(|byte| *byte & 0x0f == 0x0c).unwrap();
    let field = |n: usize| {
        let mut at = start + structure + 1;
        for _ in 0..n {
            at += 1;
            while file[at] & 0x80 != 0 {
                at += 1;
            }
            at += 1;
        }
        at + 1
    };
    let rows_at = field(2);
    assert_eq!(file[rows_at] % 2, 0, "a count");
    for by in [2, 254] {
        let mut bad = file.to_vec();
        bad[rows_at] = bad[rows_at].wrapping_add(by);
        let view = view_of(vec![bad.into()], ROWS as u64).1.inspect().await.unwrap();
        for memory in [0, 1 << 20] {
            let (batches, refusal) = read(&view, Scan::new().memory(memory)).await;
            let refusal = refusal.unwrap();
            assert!(batches.is_empty());
            assert_eq!(place(&refusal), (Reason::StreamViewUnreadable, PART, None));
            assert_eq!(refusal.place.field.as_deref(), Some("nums.list.element"), "{refusal}");
            assert!(refusal.detail.contains("row group 0, page 0"), "{refusal}");
        }
    }
    let view = view_of(vec![file], ROWS as u64).1.inspect().await.unwrap();
    assert_eq!(ids(&read(&view, Scan::new()).await.0).len(), 100);
}

/// A page of `l`, lists of numbers: its repetition levels, one value each, all of them there.
fn list_page(v2: bool, rows: u8, levels: &[u8], first: i32) -> Vec<u8> {
    let count = levels.len() as u8;
    // One group of eight levels, a bit each; a run of `count` definition levels of 3.
    let bits = levels.iter().enumerate().fold(0, |bits, (i, level)| bits | level << i);
    let (repetitions, definitions) = ([0x03, bits], [count << 1, 3]);
    let values: Vec<u8> = (first..).take(levels.len()).flat_map(i32::to_le_bytes).collect();
    let sized = |levels: [u8; 2]| if v2 { levels.to_vec() } else { [&[2, 0, 0, 0], &levels[..]].concat() };
    let body = [sized(repetitions), sized(definitions), values].concat();
    let zigzag = |n: usize| 2 * n as u8;
    let mut page = vec![0x15, if v2 { 6 } else { 0 }, 0x15, zigzag(body.len()), 0x15, zigzag(body.len())];
    if v2 {
        // Values, nulls, rows, PLAIN, bytes of definition and repetition levels, not compressed.
        page.extend([0x5c, 0x15, 2 * count, 0x15, 0, 0x15, 2 * rows, 0x15, 0, 0x15, 4, 0x15, 4, 0x12, 0]);
    } else {
        // Values, PLAIN, RLE twice.
        page.extend([0x2c, 0x15, 2 * count, 0x15, 0, 0x15, 6, 0x15, 6, 0]);
    }
    page.push(0);
    [page, body].concat()
}

/// Three rows with lists of two, three and one number, in pages of two, three and one value: the second begins within a row if
/// the first does not end with one.
fn lists_in_pages(pages: &[Vec<u8>]) -> Bytes {
    let schema = "message m {
      required binary ts_utc (UTF8); required int64 id;
      optional group l (LIST) { repeated group list { optional int32 element; } }
    }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema.clone(), Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let times = vec![ByteArray::from("2026-01-01T00:00:00Z"); 3];
    column.typed::<ByteArrayType>().write_batch(&times, None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&[0, 1, 2], None, None).unwrap();
    column.close().unwrap();
    let chunk = Bytes::from(pages.concat());
    let descriptor = SchemaDescriptor::new(schema).column(2);
    let metadata = ColumnChunkMetaData::builder(descriptor)
        .set_encodings(vec![Encoding::PLAIN, Encoding::RLE])
        .set_num_values(6)
        .set_data_page_offset(0)
        .set_total_compressed_size(chunk.len() as i64)
        .set_total_uncompressed_size(chunk.len() as i64)
        .build()
        .unwrap();
    let closed = ColumnCloseResult {
        bytes_written: chunk.len() as u64,
        rows_written: 3,
        metadata,
        bloom_filter: None,
        column_index: None,
        offset_index: None,
    };
    group.append_column(&chunk, closed).unwrap();
    group.close().unwrap();
    writer.into_inner().unwrap().into()
}

#[tokio::test]
async fn a_page_may_begin_within_a_row_only_in_version_1() {
    let pages = |v2, rows: [u8; 3], levels: [&[u8]; 3]| {
        let page = |i: usize, first| list_page(v2, rows[i], levels[i], first);
        lists_in_pages(&[page(0, 10), page(1, 10 + levels[0].len() as i32), page(2, 15)])
    };
    // Rows [10, 11], [12, 13, 14], [15], whole and cut.
    let aligned: [&[u8]; 3] = [&[0, 1], &[0, 1, 1], &[0]];
    let split: [&[u8]; 3] = [&[0, 1, 0], &[1, 1], &[0]];
    let good = [pages(false, [1, 1, 1], aligned), pages(false, [2, 0, 1], split), pages(true, [1, 1, 1], aligned)];
    for (i, file) in good.into_iter().enumerate() {
        let view = view_of(vec![file], 3).1.inspect().await.unwrap();
        for (memory, from) in [(0, 0), (0, 1), (0, 2), (1 << 20, 0), (1 << 20, 1), (1 << 20, 2)] {
            let scan = Scan::new().memory(memory).batch_rows(1).resume(Resume::at(0, from));
            let (batches, refusal) = read(&view, scan).await;
            assert_eq!(refusal, None, "{i}");
            let lists: Vec<Vec<i32>> = batches
                .iter()
                .map(|batch| {
                    let lists = batch.rows().column_by_name("l").unwrap().as_list::<i32>().clone();
                    lists.value(0).as_primitive::<Int32Type>().values().to_vec()
                })
                .collect();
            let all = [vec![10, 11], vec![12, 13, 14], vec![15]];
            assert_eq!(lists, all[from as usize..], "{i}, {memory} bytes, from {from}");
        }
    }
    // In version 2 each page begins with a row, and the library takes this one for such a page.
    for rows in [[2, 0, 1], [2, 1, 1]] {
        let view = view_of(vec![pages(true, rows, split)], 3).1.inspect().await.unwrap();
        for memory in [0, 1 << 20] {
            let (batches, refusal) = read(&view, Scan::new().memory(memory)).await;
            let refusal = refusal.unwrap();
            assert!(batches.is_empty());
            assert_eq!(place(&refusal), (Reason::StreamViewUnreadable, PART, None));
            assert_eq!(refusal.place.field.as_deref(), Some("l.list.element"), "{refusal}");
        }
    }
}
