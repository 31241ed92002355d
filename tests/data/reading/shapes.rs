//! The rows of `tests/written` in files of many shapes, written here, read in every way.

use arrow_array::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, Encoding, GzipLevel, ZstdLevel};
use parquet::file::metadata::ParquetMetaDataReader;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;
use proptest::prelude::*;

use super::rows::{ROWS, check_every_way, view, written};

/// The rows as the Parquet library reads them, with the types that it finds for them.
fn rows() -> Vec<RecordBatch> {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(written("pyarrow_v1"), options).unwrap();
    reader.build().unwrap().map(Result::unwrap).collect()
}

/// How a file is written.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of the writer by itself")]
struct Shape {
    group_rows: usize,
    page_rows: usize,
    page_bytes: usize,
    write_batch: usize,
    dictionary: bool,
    dictionary_bytes: usize,
    v2: bool,
    texts: Option<Encoding>,
    codec: Compression,
    index: bool,
    arrow_schema: bool,
}

fn shapes() -> impl Strategy<Value = Shape> {
    let sizes = (1_usize..130, 1_usize..40, 16_usize..2_000, 1_usize..40, 16_usize..2_000);
    let texts = proptest::sample::select(vec![
        None,
        Some(Encoding::DELTA_BYTE_ARRAY),
        Some(Encoding::DELTA_LENGTH_BYTE_ARRAY),
        Some(Encoding::PLAIN),
    ]);
    let codecs = proptest::sample::select(vec![
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
        Compression::LZ4_RAW,
    ]);
    (sizes, texts, codecs, any::<[bool; 4]>()).prop_map(
        |(sizes, texts, codec, [dictionary, v2, index, arrow_schema])| {
            let (group_rows, page_rows, page_bytes, write_batch, dictionary_bytes) = sizes;
            Shape {
                group_rows,
                page_rows,
                page_bytes,
                write_batch,
                dictionary,
                dictionary_bytes,
                v2,
                texts,
                codec,
                index,
                arrow_schema,
            }
        },
    )
}

fn write(shape: &Shape, rows: &[RecordBatch]) -> Bytes {
    let mut properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(shape.group_rows))
        .set_data_page_row_count_limit(shape.page_rows)
        .set_data_page_size_limit(shape.page_bytes)
        .set_write_batch_size(shape.write_batch)
        .set_dictionary_enabled(shape.dictionary)
        .set_dictionary_page_size_limit(shape.dictionary_bytes)
        .set_writer_version(if shape.v2 { WriterVersion::PARQUET_2_0 } else { WriterVersion::PARQUET_1_0 })
        .set_compression(shape.codec)
        .set_offset_index_disabled(!shape.index)
        .set_statistics_enabled(EnabledStatistics::None);
    if let Some(encoding) = shape.texts {
        for path in ["text", "bin", "st.b", "tags.list.element", "m.key_value.key", "deep.list.element.ys.list.element"]
        {
            let path = ColumnPath::new(path.split('.').map(ToOwned::to_owned).collect());
            properties = properties.set_column_encoding(path, encoding);
        }
    }
    let options = parquet::arrow::arrow_writer::ArrowWriterOptions::new()
        .with_properties(properties.build())
        .with_skip_arrow_metadata(!shape.arrow_schema);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), rows[0].schema(), options).unwrap();
    for batch in rows {
        writer.write(batch).unwrap();
    }
    writer.into_inner().unwrap().into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    #[test]
    fn a_file_of_any_shape_gives_its_rows_in_every_way(shape in shapes()) {
        let file = write(&shape, &rows());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let refusals = runtime.block_on(async {
            let view = view(file, ROWS).await.unwrap();
            check_every_way(&view, ROWS).await
        });
        prop_assert!(refusals.iter().all(Option::is_none), "{:?}", refusals);
    }
}

/// An offset index that says anything at all: the rows stay where they are.
#[tokio::test]
async fn an_offset_index_is_not_believed() {
    let shape = Shape {
        group_rows: 1_000,
        page_rows: 7,
        page_bytes: 1 << 20,
        write_batch: 7,
        dictionary: true,
        dictionary_bytes: 1 << 20,
        v2: false,
        texts: None,
        codec: Compression::SNAPPY,
        index: true,
        arrow_schema: false,
    };
    let file = write(&shape, &rows());
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&file).unwrap();
    let columns = metadata.row_group(0).columns();
    let index = |column: usize| {
        let range = columns[column].offset_index_range().unwrap();
        range.start as usize..range.end as usize
    };
    let of = |name: &str| columns.iter().position(|column| column.column_path().string().starts_with(name)).unwrap();
    let mut garbled = file.to_vec();
    for column in 0..columns.len() {
        garbled[index(column)].fill(0x15);
    }
    // The second page begins a row later than it does.
    let mut shifted = file.to_vec();
    let bytes = &mut shifted[index(of("id"))];
    let rows: Vec<usize> = (0..bytes.len()).filter(|i| bytes[*i] == 14 && *i > 0).collect();
    assert!(!rows.is_empty(), "7 rows a page, written twice as large");
    for at in rows {
        bytes[at] = 16;
    }
    for file in [garbled, shifted] {
        let view = view(file.into(), ROWS).await.unwrap();
        let refusals = check_every_way(&view, ROWS).await;
        assert!(refusals.iter().all(Option::is_none), "{refusals:?}");
    }
}
