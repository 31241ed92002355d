//! Golden stream views with other rows: read, cut, changed and written again, the sort receipt following.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, make_array};
use arrow_schema::{Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use serde_json::Value;

use super::{Stage, read, write};

impl Stage {
    /// The rows of a view that has one part.
    pub fn rows(&self, output: &str) -> RecordBatch {
        let bytes = read(&self.path(&Self::in_view(output, "part-000000.parquet")));
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap();
        let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
        let [batch] = batches.as_slice() else { panic!("{output} is more than one batch") };
        batch.clone()
    }

    /// Gives a view these parts, each of some batches of one schema, and a receipt that counts them.
    pub fn write_parts(&self, output: &str, parts: &[Vec<RecordBatch>]) {
        self.write_parts_as(output, parts, &WriterProperties::default());
    }

    /// The same, without statistics in the footers.
    pub fn write_parts_without_statistics(&self, output: &str, parts: &[Vec<RecordBatch>]) {
        let properties = WriterProperties::builder().set_statistics_enabled(EnabledStatistics::None);
        self.write_parts_as(output, parts, &properties.build());
    }

    fn write_parts_as(&self, output: &str, parts: &[Vec<RecordBatch>], properties: &WriterProperties) {
        self.remove(&Self::in_view(output, "part-000000.parquet"));
        for (i, batches) in parts.iter().enumerate() {
            let mut writer = ArrowWriter::try_new(Vec::new(), batches[0].schema(), Some(properties.clone())).unwrap();
            for batch in batches {
                writer.write(batch).unwrap();
            }
            let part = Self::in_view(output, &format!("part-{i:06}.parquet"));
            write(&self.path(&part), &writer.into_inner().unwrap());
        }
        let batches: Vec<_> = parts.iter().flatten().collect();
        let rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
        let texts = batches.iter().filter_map(|batch| batch.column_by_name("ts_utc")?.as_string_opt::<i32>());
        let times: Vec<_> = texts.flat_map(|column| column.iter().map(|text| text.map(str::to_owned))).collect();
        self.edit(&Self::in_view(output, "_stream_sort_receipt.json"), |receipt| {
            for stats in ["raw_stats", "sorted_stats"] {
                receipt[stats]["row_count"] = rows.into();
                // Times of other types are those of the golden rows; what is no time has no place in a receipt.
                for (field, time) in [("min_ts_utc", times.first()), ("max_ts_utc", times.last())] {
                    let time = time
                        .cloned()
                        .flatten()
                        .filter(|time| wsp_world::model::Micros::parse(time.as_bytes()).is_some());
                    receipt[stats][field] = time.map_or_else(|| receipt[stats][field].clone(), Value::from);
                }
            }
        });
    }

    /// Changes the rows of a view, which stays one part.
    pub fn change_rows(&self, output: &str, change: impl FnOnce(RecordBatch) -> RecordBatch) {
        self.write_parts(output, &[vec![change(self.rows(output))]]);
    }
}

/// `rows` with `array` in place of column `name`, or as a last column of that name.
pub fn with_column(rows: &RecordBatch, name: &str, array: ArrayRef) -> RecordBatch {
    let schema = rows.schema();
    let mut fields: Vec<Field> = schema.fields().iter().map(|field| field.as_ref().clone()).collect();
    let mut columns = rows.columns().to_vec();
    let field = Field::new(name, array.data_type().clone(), true);
    if let Ok(i) = schema.index_of(name) {
        (fields[i], columns[i]) = (field, array);
    } else {
        fields.push(field);
        columns.push(array);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// `rows` without column `name`.
pub fn without_column(rows: &RecordBatch, name: &str) -> RecordBatch {
    let keep: Vec<usize> = (0..rows.num_columns()).filter(|i| rows.schema().field(*i).name() != name).collect();
    rows.project(&keep).unwrap()
}

/// `rows` with one text in all rows of a column.
pub fn with_texts(rows: &RecordBatch, name: &str, value: &str) -> RecordBatch {
    with_column(rows, name, Arc::new(StringArray::from(vec![value; rows.num_rows()])))
}

/// `rows` with the seed of another world from row `from` on.
pub fn with_foreign_seed(rows: &RecordBatch, from: usize) -> RecordBatch {
    let seeds = (0..rows.num_rows()).map(|row| if row < from { 42 } else { 43 });
    with_column(rows, "seed", Arc::new(Int64Array::from_iter_values(seeds)))
}

/// `rows` of an output as JSON texts beside their times.
pub fn as_json(rows: &RecordBatch, payloads: impl Iterator<Item = Option<String>>) -> RecordBatch {
    let times = rows.project(&[rows.schema().index_of("ts_utc").unwrap()]).unwrap();
    with_column(&times, "payload_json", Arc::new(payloads.collect::<StringArray>()))
}

/// `rows` with one cell of a text column set.
pub fn with_text(rows: &RecordBatch, name: &str, row: usize, value: Option<&str>) -> RecordBatch {
    let column = rows.column_by_name(name).unwrap().as_string::<i32>();
    let cells = column.iter().enumerate().map(|(i, cell)| if i == row { value } else { cell });
    with_column(rows, name, Arc::new(cells.collect::<StringArray>()))
}

/// `rows` with one cell of a column of doubles set.
pub fn with_double(rows: &RecordBatch, name: &str, row: usize, value: f64) -> RecordBatch {
    let column = rows.column_by_name(name).unwrap().as_primitive::<Float64Type>();
    let cells = column.iter().enumerate().map(|(i, cell)| if i == row { Some(value) } else { cell });
    with_column(rows, name, Arc::new(cells.collect::<Float64Array>()))
}

/// `rows` with a column that is null in one row.
pub fn with_null(rows: &RecordBatch, name: &str, row: usize) -> RecordBatch {
    let column = rows.column_by_name(name).unwrap();
    let holes: BooleanArray = (0..column.len()).map(|i| (i != row).then_some(true)).collect();
    let data = column.to_data().into_builder().nulls(holes.nulls().cloned()).build().unwrap();
    with_column(rows, name, make_array(data))
}
