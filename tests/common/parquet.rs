//! Golden stream views with other rows: read, cut, changed and written again, the sort receipt following.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, make_array};
use arrow_schema::{Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

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
        self.remove(&Self::in_view(output, "part-000000.parquet"));
        for (i, batches) in parts.iter().enumerate() {
            let mut writer = ArrowWriter::try_new(Vec::new(), batches[0].schema(), None).unwrap();
            for batch in batches {
                writer.write(batch).unwrap();
            }
            let part = Self::in_view(output, &format!("part-{i:06}.parquet"));
            write(&self.path(&part), &writer.into_inner().unwrap());
        }
        let rows: usize = parts.iter().flatten().map(RecordBatch::num_rows).sum();
        self.edit(&Self::in_view(output, "_stream_sort_receipt.json"), |receipt| {
            for stats in ["raw_stats", "sorted_stats"] {
                receipt[stats]["row_count"] = rows.into();
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
