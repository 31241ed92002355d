//! Files of columns: Parquet and Arrow IPC.
//!
//! ```text
//! Parquet (pages checked by their checksums) ─┐
//! Arrow IPC, file or stream ──────────────────┴─► RecordBatch ──times──► Rows
//! ```
//!
//! A decoder may panic on a file that was made to hurt it; that is the file's fault here.

use std::convert::Infallible;
use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_schema::{ArrowError, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};
use wsp::parquet_types::raw_footer::Objection;
use wsp::parquet_types::{self, END_BYTES, FooterFault};
use wsp::time::Micros;

use super::cells_time::times;
use super::error::Error;
use super::files::{BATCH_ROWS, FileRows, Place, Reading, Step};
use super::rows::{CellFault, Cells, Rows, Table, time_column};

/// Rows of a batch are as few as bring it near this many bytes, as decoded.
const TABLE_BYTES: u64 = 4 << 20;

/// A file of columns being read.
pub(super) struct TableRows {
    batches: Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>,
    /// What is left of a batch that has more rows than are read at once.
    left: Option<RecordBatch>,
    place: Place,
    reading: Reading,
    next: u64,
    over: bool,
}

/// Opens a Parquet file behind its first `skip` rows.
pub(super) fn parquet(file: File, place: Place, skip: u64, reading: &Reading) -> Result<TableRows, Error> {
    let unreadable = |error: String| Error::file(&place.shown, format!("it can't be read as Parquet: {error}"));
    let metadata = caught(|| parquet_metadata(&file)).map_err(unreadable)?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
    let time = check(builder.schema(), &place, reading)?;
    let rows = builder.metadata().file_metadata().num_rows().max(0).cast_unsigned();
    let builder = if reading.wanted.body.is_some() {
        // Of a row that is not sent as a whole, only what is read is decoded.
        let names = &reading.wanted.names;
        let schema = builder.schema();
        let roots: Vec<usize> = names.iter().filter_map(|name| schema.index_of(name).ok()).chain([time]).collect();
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
        builder.with_projection(mask)
    } else {
        builder
    };
    let groups = builder.metadata().row_groups().iter();
    let row_bytes = groups.map(|group| group.total_byte_size().max(0) / group.num_rows().max(1)).max().unwrap_or(1);
    let batch_rows = (TABLE_BYTES / row_bytes.max(1).cast_unsigned()).clamp(1, BATCH_ROWS as u64);
    let skipped = skip.min(rows);
    let builder = builder.with_batch_size(batch_rows as usize).with_offset(skipped as usize);
    let batches = caught(|| builder.build().map_err(|error| error.to_string())).map_err(unreadable)?;
    Ok(TableRows::new(Box::new(batches), place, skipped, reading))
}

/// The bytes of the footer, without its length and what stands behind that.
fn footer(file: &File) -> Result<Vec<u8>, String> {
    let size = file.metadata().map_err(|error| error.to_string())?.len();
    let read = |range: Range<u64>| {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        file.read_exact_at(&mut bytes, range.start).map(|()| bytes).map_err(|error| error.to_string())
    };
    read(parquet_types::footer_range(&read(size.saturating_sub(END_BYTES)..size)?, size)?)
}

/// What the footer says, with the types that columns are read as.
fn parquet_metadata(file: &File) -> Result<ArrowReaderMetadata, String> {
    let read = parquet_types::metadata(&footer(file)?, |_| Ok::<(), Infallible>(()));
    read.map_err(|fault| match fault {
        FooterFault::Objection(Objection::TooDeep) => "its schema is nested too deeply".to_owned(),
        FooterFault::Objection(Objection::Encrypted(column)) => {
            format!("column {column} is encrypted, and no keys are known here")
        }
        FooterFault::Library(error) => error.to_string(),
        FooterFault::Column(unreadable) => format!("column {}: {}", unreadable.column, unreadable.detail),
        FooterFault::Check(never) => match never {},
    })
}

/// Opens a file of Arrow IPC, be it the file form or the stream form, behind its first `skip` rows.
pub(super) fn arrow(mut file: File, place: Place, skip: u64, reading: &Reading) -> Result<TableRows, Error> {
    let unreadable = |error: String| Error::file(&place.shown, format!("it can't be read as Arrow IPC: {error}"));
    let io = |error: std::io::Error| Error::file(&place.shown, error);
    let mut magic = [0; 6];
    let is_file = file.read_exact(&mut magic).is_ok() && &magic == b"ARROW1";
    file.rewind().map_err(io)?;
    let reader: Box<dyn RecordBatchReader + Send> = if is_file {
        let file = BufReader::new(file);
        Box::new(caught(|| FileReader::try_new(file, None).map_err(|error| error.to_string())).map_err(unreadable)?)
    } else {
        let file = BufReader::new(file);
        Box::new(caught(|| StreamReader::try_new(file, None).map_err(|error| error.to_string())).map_err(unreadable)?)
    };
    check(&reader.schema(), &place, reading)?;
    let mut rows = TableRows::new(reader, place, 0, reading);
    let mut skip = skip;
    while skip > 0 {
        let Some(batch) = rows.batch()? else { break };
        let skipped = (batch.num_rows() as u64).min(skip);
        skip -= skipped;
        rows.next += skipped;
        let left = batch.num_rows() - skipped as usize;
        rows.left = (left > 0).then(|| batch.slice(skipped as usize, left));
    }
    Ok(rows)
}

/// Whether rows of this schema can be sent; the place of their time.
fn check(schema: &Schema, place: &Place, reading: &Reading) -> Result<usize, Error> {
    let refused = |fault: CellFault| Error::file(&place.shown, format!("column {}: {}", fault.column, fault.what));
    Table::check(schema, &reading.wanted).map_err(refused)?;
    time_column(schema, &reading.time).map_err(refused)
}

/// `work`, whose panic is an error.
fn caught<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    wsp::caught::caught(work).unwrap_or_else(|panic| Err(format!("it is damaged: its decoder gave up: {panic}")))
}

impl TableRows {
    fn new(
        batches: Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>,
        place: Place,
        next: u64,
        reading: &Reading,
    ) -> Self {
        Self { batches, left: None, place, reading: reading.clone(), next, over: false }
    }

    /// The next batch, or the rest of the last one.
    fn batch(&mut self) -> Result<Option<RecordBatch>, Error> {
        if let Some(left) = self.left.take() {
            return Ok(Some(left));
        }
        let batches = &mut self.batches;
        let next = caught(|| batches.next().transpose().map_err(|error| error.to_string()));
        next.map_err(|error| {
            Error::row(&self.place.shown, self.next, None, format!("the file can't be read on: {error}"))
        })
    }

    fn step(&mut self, after: Option<Micros>) -> Result<Step, Error> {
        let batch = loop {
            match self.batch()? {
                None => return Ok(Step::default()),
                Some(batch) if batch.num_rows() == 0 => {}
                Some(batch) => break batch,
            }
        };
        let rows = batch.num_rows().min(BATCH_ROWS);
        if rows < batch.num_rows() {
            self.left = Some(batch.slice(rows, batch.num_rows() - rows));
        }
        let batch = batch.slice(0, rows);
        let first = self.next;
        let Place { input, file, shown } = &self.place;
        let at = |row: usize, fault: CellFault| Error::row(shown, first + row as u64, Some(&fault.column), fault.what);
        let time = time_column(batch.schema_ref(), &self.reading.time).map_err(|fault| at(0, fault))?;
        let (times, fault) = times(batch.column(time), &self.reading.form, after);
        let name = batch.schema_ref().field(time).name();
        let fault = fault.map(|what| at(times.len(), CellFault::new(name, what)));
        let table = Table::new(&batch, &self.reading.wanted).map_err(|fault| at(0, fault))?;
        self.next += times.len() as u64;
        let rows = Rows { input: *input, file: *file, first, times, cells: Cells::Table { table, from: 0 } };
        Ok(Step { rows: (!rows.times.is_empty()).then_some(rows), fault })
    }
}

impl FileRows for TableRows {
    fn next(&mut self, after: Option<Micros>) -> Step {
        if self.over {
            return Step::default();
        }
        let step = self.step(after).unwrap_or_else(Step::fault);
        self.over = step.fault.is_some() || step.rows.is_none();
        step
    }
}
