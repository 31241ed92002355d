//! Rows of a file, read and with their times: what the merge puts in order.
//!
//! ```text
//! Parquet, Arrow ──► Table: columns, written as bodies when they are framed ─┐
//! JSON Lines, CSV ──► Texts: bodies and wanted values as bytes ──────────────┴─► Rows ──► merge
//! ```

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{FieldRef, Schema};
use wsp::cells::Column;
use wsp::cells::text;
use wsp::cells::{Unfit, repeated_name};
use wsp::merge::Batch;
use wsp::time::Micros;

use super::letters::Letter;
use super::wanted::Wanted;

/// Consecutive rows of one file.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) input: u16,
    pub(super) file: u32,
    /// The first row's number in the file, from 0; or among all rows of an input whose rows are put in order.
    pub(super) first: u64,
    /// The event times, one a row.
    pub(super) times: Vec<Micros>,
    pub(super) cells: Cells,
}

/// What is in the rows.
#[derive(Debug)]
pub(super) enum Cells {
    /// Columns. The first row is `from`.
    Table { table: Table, from: usize },
    /// Texts. The first row is `from`.
    Texts { texts: Texts, from: usize },
    /// Events as an earlier replay made them ([`super::letters`]). The first row is `from`.
    Letters { texts: Texts, from: usize },
    /// Rows of several batches, put in order.
    Picked(Vec<(Arc<Rows>, usize)>),
    /// Texts in an order of their own, with file and row of each.
    Sorted { texts: Texts, origins: Vec<(u32, u64)> },
}

/// A value that can't be sent.
#[derive(Debug)]
pub(super) struct CellFault {
    /// The column, and the way inside it.
    pub(super) column: String,
    pub(super) what: String,
}

impl CellFault {
    pub(super) fn new(column: &str, what: impl Into<String>) -> Self {
        Self { column: column.to_owned(), what: what.into() }
    }

    fn unfit(column: &str, unfit: Unfit) -> Self {
        let (path, what) = unfit.parts();
        Self { column: format!("{column}{path}"), what }
    }
}

impl Batch for Rows {
    /// Rows of one time go by input, in the order in which inputs are named; within one by file and row.
    type Key = (u16, u32, u64);

    fn times(&self) -> &[Micros] {
        &self.times
    }

    fn key(&self, row: usize) -> Self::Key {
        let (file, row) = self.origin(row);
        (self.input, file, row)
    }
}

impl Rows {
    /// Leaves out the first `rows`.
    pub(super) fn skip(&mut self, rows: usize) {
        self.times.drain(..rows);
        self.first += rows as u64;
        match &mut self.cells {
            Cells::Table { from, .. } | Cells::Texts { from, .. } | Cells::Letters { from, .. } => *from += rows,
            Cells::Picked(picked) => drop(picked.drain(..rows)),
            // Nothing is left out of what is sorted before it is picked.
            Cells::Sorted { .. } => {}
        }
    }

    /// File and row that a row is of.
    pub(super) fn origin(&self, row: usize) -> (u32, u64) {
        match &self.cells {
            Cells::Picked(picked) => {
                let (rows, at) = &picked[row];
                rows.origin(*at)
            }
            Cells::Sorted { origins, .. } => origins[row],
            Cells::Table { .. } | Cells::Texts { .. } | Cells::Letters { .. } => (self.file, self.first + row as u64),
        }
    }

    /// Appends the body of `row`.
    pub(super) fn body(&self, row: usize, wanted: &Wanted, out: &mut Vec<u8>) -> Result<(), CellFault> {
        let (texts, at) = match (&self.cells, wanted.body) {
            (Cells::Picked(picked), _) => {
                let (rows, at) = &picked[row];
                return rows.body(*at, wanted, out);
            }
            (Cells::Table { .. } | Cells::Texts { .. }, Some(place)) => {
                return if self.cell(row, place, wanted, out)? {
                    Ok(())
                } else {
                    Err(CellFault::new(&wanted.names[place], "null; the column of --body-column has to have a value"))
                };
            }
            (Cells::Table { table, from }, None) => return table.body(from + row, out),
            // The body of a letter is the event's own, whatever --body-column says.
            (Cells::Texts { texts, from }, None) | (Cells::Letters { texts, from }, _) => (texts, from + row),
            // The sort has applied --body-column already.
            (Cells::Sorted { texts, .. }, _) => (texts, row),
        };
        out.extend_from_slice(texts.body(at));
        Ok(())
    }

    /// Appends the value of a wanted column as plain text: a text as it is, any other value as its JSON. False where it is
    /// null or not there.
    pub(super) fn cell(&self, row: usize, place: usize, wanted: &Wanted, out: &mut Vec<u8>) -> Result<bool, CellFault> {
        let cell = match &self.cells {
            Cells::Picked(picked) => {
                let (rows, at) = &picked[row];
                return rows.cell(*at, place, wanted, out);
            }
            Cells::Table { table, from } => return table.cell(from + row, place, &wanted.names[place], out),
            Cells::Texts { texts, from } | Cells::Letters { texts, from } => texts.cell(from + row, place),
            Cells::Sorted { texts, .. } => texts.cell(row, place),
        };
        out.extend_from_slice(cell.unwrap_or_default());
        Ok(cell.is_some())
    }

    /// Id, order key, request line and header lines of a row that is a dead letter.
    pub(super) fn letter(&self, row: usize) -> Option<[&[u8]; Letter::VALUES]> {
        let Cells::Letters { texts, from } = &self.cells else { return None };
        Some(std::array::from_fn(|place| texts.cell(from + row, place).unwrap_or_default()))
    }
}

/// A batch of columns with their types resolved.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    names: Vec<String>,
    /// What stands before each column's value in a body.
    leads: Vec<Vec<u8>>,
    /// The wanted columns' places in `columns`.
    wanted: Vec<usize>,
}

impl Table {
    /// Resolves a batch whose schema [`Table::check`] has let through.
    pub(super) fn new(batch: &RecordBatch, wanted: &Wanted) -> Result<Self, CellFault> {
        let schema = batch.schema_ref();
        let bind = |(array, field): (&ArrayRef, &FieldRef)| {
            Column::bind(array).map_err(|unfit| CellFault::unfit(field.name(), unfit))
        };
        let columns = batch.columns().iter().zip(schema.fields()).map(bind).collect::<Result<_, _>>()?;
        let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let leads = names.iter().enumerate().map(|(i, name)| text::key(name, i == 0)).collect();
        let places = wanted.names.iter().map(|name| place(schema, name)).collect::<Result<_, _>>()?;
        Ok(Self { columns, names, leads, wanted: places })
    }

    /// Whether rows of this schema can be sent.
    pub(super) fn check(schema: &Schema, wanted: &Wanted) -> Result<(), CellFault> {
        if let Some(name) = repeated_name(schema.fields().iter().map(AsRef::as_ref)) {
            return Err(CellFault::new(name, "two columns have this name"));
        }
        for field in schema.fields() {
            wsp::cells::check_type(field.data_type()).map_err(|unfit| CellFault::unfit(field.name(), unfit))?;
        }
        wanted.names.iter().try_for_each(|name| place(schema, name).map(drop))
    }

    fn body(&self, row: usize, out: &mut Vec<u8>) -> Result<(), CellFault> {
        out.push(b'{');
        for ((column, lead), name) in self.columns.iter().zip(&self.leads).zip(&self.names) {
            out.extend_from_slice(lead);
            column.write(row, out).map_err(|unfit| CellFault::unfit(name, unfit))?;
        }
        out.push(b'}');
        Ok(())
    }

    fn cell(&self, row: usize, place: usize, name: &str, out: &mut Vec<u8>) -> Result<bool, CellFault> {
        let column = &self.columns[self.wanted[place]];
        if column.is_null(row) {
            return Ok(false);
        }
        if let Some(bytes) = column.bytes(row) {
            out.extend_from_slice(bytes);
            return Ok(true);
        }
        let start = out.len();
        column.write(row, out).map_err(|unfit| CellFault::unfit(name, unfit))?;
        // Dates and times have quotes in JSON, and nothing within them to escape.
        if out[start] == b'"' {
            out.remove(start);
            out.pop();
        }
        Ok(true)
    }
}

fn place(schema: &Schema, name: &str) -> Result<usize, CellFault> {
    schema.index_of(name).map_err(|_| {
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).take(40).collect();
        CellFault::new(name, format!("the file has no such column; it has {}", names.join(", ")))
    })
}

/// The first of `names` that `schema` has, for the event time.
pub(super) fn time_column(schema: &Schema, names: &[String]) -> Result<usize, CellFault> {
    let found = names.iter().find_map(|name| schema.index_of(name).ok());
    found.map_or_else(|| place(schema, names.first().map_or("", String::as_str)), Ok)
}

/// Bodies and wanted values as bytes.
#[derive(Debug, Default)]
pub(super) struct Texts {
    bodies: Vec<u8>,
    ends: Vec<usize>,
    values: Vec<u8>,
    /// Where each value ends, row by row, and whether it is there.
    value_ends: Vec<(usize, bool)>,
    width: usize,
}

impl Texts {
    /// None yet, of rows with so many wanted values.
    pub(super) fn new(width: usize) -> Self {
        Self { width, ..Self::default() }
    }

    /// Rows so far.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes so far.
    pub(super) fn bytes(&self) -> usize {
        self.bodies.len() + self.values.len()
    }

    /// The row in the making: its body is appended here.
    pub(super) fn body_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bodies
    }

    /// Adds a wanted value of the row in the making.
    pub(super) fn add_value(&mut self, value: Option<&[u8]>) {
        self.values.extend_from_slice(value.unwrap_or_default());
        self.value_ends.push((self.values.len(), value.is_some()));
    }

    /// The row is complete.
    pub(super) fn end_row(&mut self) {
        self.ends.push(self.bodies.len());
    }

    pub(super) fn body(&self, row: usize) -> &[u8] {
        let from = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bodies[from..self.ends[row]]
    }

    pub(super) fn cell(&self, row: usize, place: usize) -> Option<&[u8]> {
        let i = row * self.width + place;
        let from = i.checked_sub(1).map_or(0, |before| self.value_ends[before].0);
        let (to, is_there) = self.value_ends[i];
        is_there.then(|| &self.values[from..to])
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Date32Array, Float64Array, Int64Array, StringArray};

    use super::*;
    use crate::testing::wanted;

    #[test]
    fn a_row_of_columns_is_an_object_and_cells_are_plain() {
        let columns: [(&str, ArrayRef); 4] = [
            ("id", Arc::new(Int64Array::from(vec![i64::MAX, 2]))),
            ("name", Arc::new(StringArray::from(vec![Some("a\"b"), None]))),
            ("price", Arc::new(Float64Array::from(vec![0.1, f64::NAN]))),
            ("day", Arc::new(Date32Array::from(vec![20_000, 0]))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let wanted = wanted(&["name", "day", "id"]);
        let cells = Cells::Table { table: Table::new(&batch, &wanted).unwrap(), from: 0 };
        let rows = Rows { input: 0, file: 0, first: 0, times: vec![Micros(0); 2], cells };
        let mut out = Vec::new();
        rows.body(0, &wanted, &mut out).unwrap();
        let body = r#"{"id":9223372036854775807,"name":"a\"b","price":0.1,"day":"2024-10-04"}"#;
        assert_eq!(String::from_utf8(out).unwrap(), body);
        let fault = rows.body(1, &wanted, &mut Vec::new()).unwrap_err();
        assert_eq!(fault.column, "price");
        let cell = |row, place| {
            let mut out = Vec::new();
            rows.cell(row, place, &wanted, &mut out).unwrap().then(|| String::from_utf8(out).unwrap())
        };
        assert_eq!(
            [cell(0, 0), cell(0, 1), cell(0, 2)].map(Option::unwrap),
            ["a\"b", "2024-10-04", "9223372036854775807"]
        );
        assert_eq!(cell(1, 0), None);
    }

    #[test]
    fn texts_keep_rows_and_values_apart() {
        let mut texts = Texts::new(2);
        for (body, values) in [("{}", [Some("a"), None]), ("{\"b\":1}", [Some(""), Some("bc")])] {
            texts.body_mut().extend_from_slice(body.as_bytes());
            for value in values {
                texts.add_value(value.map(str::as_bytes));
            }
            texts.end_row();
        }
        assert_eq!((texts.len(), texts.bytes()), (2, 12));
        let wanted = wanted(&["x", "y"]);
        let cells = Cells::Texts { texts, from: 0 };
        let mut rows = Rows { input: 0, file: 0, first: 7, times: vec![Micros(0), Micros(1)], cells };
        rows.skip(1);
        assert_eq!((rows.first, rows.times()), (8, &[Micros(1)][..]));
        let mut out = Vec::new();
        rows.body(0, &wanted, &mut out).unwrap();
        assert_eq!(out, b"{\"b\":1}");
        let mut cell = |place| {
            out.clear();
            let is_there = rows.cell(0, place, &wanted, &mut out).unwrap();
            (is_there, String::from_utf8(out.clone()).unwrap())
        };
        assert_eq!((cell(0), cell(1)), ((true, String::new()), (true, "bc".to_owned())));
    }
}
