//! All rows of an input sorted by time, also where they don't fit into memory.
//!
//! ```text
//! rows ─► bodies and wanted values ─► 64 MiB of them, sorted ─► a run: a file of Arrow IPC, with file and row of each
//! runs, at most 64 at once ─► merge ─► Rows, numbered
//! ```
//!
//! Runs lie in the folder of the state. A start that finds all of them there merges them again; one that does not sorts again,
//! and gets the same order.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::BinaryBuilder;
use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int64Type, UInt32Type, UInt64Type};
use arrow_array::{Array as _, ArrayRef, Int64Array, RecordBatch, UInt32Array, UInt64Array};
use arrow_ipc::CompressionType;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use futures::{FutureExt as _, StreamExt as _, stream};
use tempfile::TempDir;
use wsp::disk::{RealDisk, files};
use wsp::merge::{Slice, merge};
use wsp::time::Micros;

use super::chain::Span;
use super::error::Error;
use super::files::{BATCH_BYTES, BATCH_ROWS, Reading};
use super::input::Input;
use super::order::{Numbered, RowStream, Unsorted};
use super::rows::{CellFault, Cells, Rows, Texts};
use super::wanted::Wanted;

/// Bytes of bodies and values that are sorted at once; few in tests, so that there are many runs.
const RUN_BYTES: usize = if cfg!(test) { 256 } else { 64 << 20 };
/// Runs that are merged at once.
const FAN_IN: usize = if cfg!(test) { 3 } else { 64 };
/// The file that says that all runs are there, and what they are of.
const DONE: &str = "done";

/// What is sorted, and where.
#[derive(Debug)]
pub(super) struct Sort {
    pub(super) input: Arc<Input>,
    pub(super) rank: u16,
    pub(super) reading: Arc<Reading>,
    pub(super) span: Span,
    /// The folder, and what tells it from that of another replay; where there is none, one that goes away with the rows.
    pub(super) folder: Option<(PathBuf, String)>,
}

/// Runs of an input, and where they are.
struct Runs<'a> {
    sort: &'a Sort,
    folder: &'a Path,
    width: usize,
}

impl Sort {
    /// The rows behind the first `skip`. They are sorted when the first is asked for.
    pub(super) fn rows(self, skip: u64) -> RowStream {
        let sorted = stream::once(async move {
            let rank = self.rank;
            let (runs, temporary) =
                self.runs().unwrap_or_else(|error| (vec![stream::iter([Err(error)]).boxed()], None));
            let mut numbered = Numbered { next: 0, skip };
            merge(runs).filter_map(move |slices| {
                // The folder has to be there as long as it is read.
                let _ = &temporary;
                let rows = slices.map(|slices| numbered.rows(rank, picked(slices))).transpose();
                std::future::ready(rows)
            })
        });
        sorted.flatten().boxed()
    }

    /// The runs, made where they are not there.
    fn runs(&self) -> Result<(Vec<RowStream>, Option<TempDir>), Error> {
        let width = self.reading.wanted.names.len();
        let Some((folder, of)) = &self.folder else {
            let temporary = tempfile::tempdir().map_err(|error| Error::flag("--sort", error))?;
            let runs = Runs { sort: self, folder: temporary.path(), width };
            runs.make()?;
            return Ok((runs.open()?, Some(temporary)));
        };
        let (runs, done) = (Runs { sort: self, folder, width }, folder.join(DONE));
        if !fs::read_to_string(&done).is_ok_and(|there| there == *of) {
            let failed = |error| Error::state(folder, error);
            if folder.exists() {
                fs::remove_dir_all(folder).map_err(failed)?;
            }
            fs::create_dir_all(folder).map_err(failed)?;
            runs.make()?;
            files::replace(&RealDisk, &done, of.as_bytes()).map_err(|error| Error::state(&done, error))?;
        }
        Ok((runs.open()?, None))
    }
}

impl Runs<'_> {
    fn open(&self) -> Result<Vec<RowStream>, Error> {
        run_files(self.folder)?.iter().map(|path| self.read(path)).collect()
    }

    /// Sorts all rows.
    fn make(&self) -> Result<(), Error> {
        let Sort { input, rank, reading, span, .. } = self.sort;
        let (mut run, mut made) = (Run::new(self.width), 0);
        for rows in Unsorted::new(input.clone(), *rank, reading.clone()) {
            let rows = rows?;
            for at in (0..rows.times.len()).filter(|at| span.contains(rows.times[*at])) {
                run.add(&rows, at, &reading.wanted, input)?;
                if run.texts.bytes() >= RUN_BYTES {
                    made += 1;
                    run.taken(self.width).write(&self.folder.join(run_name(made)), self.width)?;
                }
            }
        }
        if run.texts.len() > 0 {
            made += 1;
            run.write(&self.folder.join(run_name(made)), self.width)?;
        }
        self.merge_many(made)
    }

    /// Merges runs until they are few enough to be merged at once.
    fn merge_many(&self, mut made: u64) -> Result<(), Error> {
        loop {
            let paths = run_files(self.folder)?;
            if paths.len() <= FAN_IN {
                return Ok(());
            }
            made += 1;
            let few = &paths[..FAN_IN];
            let runs = few.iter().map(|path| self.read(path)).collect::<Result<Vec<_>, _>>()?;
            let target = self.folder.join(run_name(made));
            let failed = |error: ArrowError| Error::state(&target, error);
            let mut writer = writer(&target, self.width)?;
            let mut run = Run::new(self.width);
            let mut merged = merge(runs);
            // Runs are read as they are asked for, so they are always ready.
            let late = || Error::Internal("a sorted run is not ready".to_owned());
            while let Some(slices) = merged.next().now_or_never().ok_or_else(late)? {
                for (rows, at) in picked(slices?) {
                    run.add(&rows, at, &self.sort.reading.wanted, &self.sort.input)?;
                }
                if run.texts.bytes() >= BATCH_BYTES || run.texts.len() >= BATCH_ROWS {
                    let run = run.taken(self.width);
                    let batch = run.batch(0..run.keys.len(), self.width);
                    batch.and_then(|batch| writer.write(&batch)).map_err(failed)?;
                }
            }
            let batch = run.batch(0..run.keys.len(), self.width);
            batch.and_then(|batch| writer.write(&batch)).map_err(failed)?;
            finish(writer, &target)?;
            for path in few {
                fs::remove_file(path).map_err(|error| Error::state(path, error))?;
            }
        }
    }

    /// A run as a source of rows.
    fn read(&self, path: &Path) -> Result<RowStream, Error> {
        let path = path.to_owned();
        let failed =
            |error: &dyn std::fmt::Display| Error::state(&path, format!("a sorted run can't be read: {error}"));
        let file = File::open(&path).map_err(|error| failed(&error))?;
        let batches = StreamReader::try_new(BufReader::new(file), None).map_err(|error| failed(&error))?;
        let (rank, shown) = (self.sort.rank, path.clone());
        let rows = batches.filter_map(move |batch| {
            let rows = batch.map_err(|error| Error::state(&shown, error)).and_then(|batch| {
                read_batch(&batch, rank).ok_or_else(|| Error::state(&shown, "a sorted run that is none of ours"))
            });
            rows.map(|rows| (!rows.times.is_empty()).then_some(rows)).transpose()
        });
        Ok(stream::iter(rows).boxed())
    }
}

/// Rows of slices, one by one.
fn picked(slices: Vec<Slice<Rows>>) -> Vec<(Arc<Rows>, usize)> {
    let rows = |slice: Slice<Rows>| (slice.from..slice.to).map(move |at| (slice.batch.clone(), at));
    slices.into_iter().flat_map(rows).collect()
}

fn run_name(number: u64) -> String {
    format!("run-{number:06}.arrow")
}

/// The runs of a folder, oldest first.
fn run_files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |error| Error::state(folder, error);
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "arrow") {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

/// Rows in memory.
struct Run {
    /// Time, file, row, and the place in `texts`.
    keys: Vec<(Micros, u32, u64, usize)>,
    texts: Texts,
}

impl Run {
    fn new(width: usize) -> Self {
        Self { keys: Vec::new(), texts: Texts::new(width) }
    }

    fn add(&mut self, rows: &Rows, at: usize, wanted: &Wanted, input: &Input) -> Result<(), Error> {
        let (file, row) = rows.origin(at);
        let mut value = Vec::new();
        let made = (0..wanted.names.len()).try_for_each(|place| {
            value.clear();
            let is_there = rows.cell(at, place, wanted, &mut value)?;
            self.texts.add_value(is_there.then_some(&value));
            Ok(())
        });
        let made = made.and_then(|()| rows.body(at, wanted, self.texts.body_mut()));
        made.map_err(|fault: CellFault| {
            Error::row(&input.files[file as usize].shown, row, Some(&fault.column), fault.what)
        })?;
        self.keys.push((rows.times[at], file, row, self.texts.len()));
        self.texts.end_row();
        Ok(())
    }

    /// What is in it so far; nothing is left.
    fn taken(&mut self, width: usize) -> Self {
        std::mem::replace(self, Self::new(width))
    }

    /// Sorts it and writes it.
    fn write(mut self, path: &Path, width: usize) -> Result<(), Error> {
        self.keys.sort_unstable();
        let mut writer = writer(path, width)?;
        let mut from = 0;
        while from < self.keys.len() {
            let mut bytes = 0;
            let to = self.keys[from..].iter().take(BATCH_ROWS).take_while(|(.., at)| {
                let is_room = bytes < BATCH_BYTES;
                bytes += self.texts.body(*at).len();
                is_room
            });
            let to = from + to.count();
            let batch = self.batch(from..to, width);
            batch.and_then(|batch| writer.write(&batch)).map_err(|error| Error::state(path, error))?;
            from = to;
        }
        finish(writer, path)
    }

    fn batch(&self, range: std::ops::Range<usize>, width: usize) -> Result<RecordBatch, ArrowError> {
        let keys = &self.keys[range];
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(keys.iter().map(|(time, ..)| time.0).collect::<Int64Array>()),
            Arc::new(keys.iter().map(|(_, file, ..)| *file).collect::<UInt32Array>()),
            Arc::new(keys.iter().map(|(_, _, row, _)| *row).collect::<UInt64Array>()),
        ];
        columns.push(binary(keys.iter().map(|(.., at)| Some(self.texts.body(*at)))));
        for place in 0..width {
            columns.push(binary(keys.iter().map(|(.., at)| self.texts.cell(*at, place))));
        }
        RecordBatch::try_new(schema(width), columns)
    }
}

fn binary<'a>(values: impl Iterator<Item = Option<&'a [u8]>>) -> ArrayRef {
    let mut builder = BinaryBuilder::new();
    for value in values {
        builder.append_option(value);
    }
    Arc::new(builder.finish())
}

fn schema(width: usize) -> Arc<Schema> {
    let mut fields = vec![
        Field::new("time", DataType::Int64, false),
        Field::new("file", DataType::UInt32, false),
        Field::new("row", DataType::UInt64, false),
        Field::new("body", DataType::Binary, true),
    ];
    fields.extend((0..width).map(|place| Field::new(format!("value_{place}"), DataType::Binary, true)));
    Arc::new(Schema::new(fields))
}

fn writer(path: &Path, width: usize) -> Result<StreamWriter<BufWriter<File>>, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::state(path, error);
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME));
    let options = options.map_err(|error| failed(&error))?;
    let file = BufWriter::new(File::create(path).map_err(|error| failed(&error))?);
    StreamWriter::try_new_with_options(file, &schema(width), options).map_err(|error| failed(&error))
}

/// Makes a run durable: one that is there only in part must not be taken for whole after a power loss.
fn finish(writer: StreamWriter<BufWriter<File>>, path: &Path) -> Result<(), Error> {
    let mut file = writer.into_inner().map_err(|error| Error::state(path, error))?;
    file.flush().and_then(|()| file.get_ref().sync_all()).map_err(|error| Error::state(path, error))
}

/// Rows of a batch of a run.
fn read_batch(batch: &RecordBatch, rank: u16) -> Option<Rows> {
    let times = batch.column(0).as_primitive_opt::<Int64Type>()?;
    let files = batch.column(1).as_primitive_opt::<UInt32Type>()?;
    let numbers = batch.column(2).as_primitive_opt::<UInt64Type>()?;
    let values: Vec<_> =
        batch.columns()[3..].iter().map(|column| column.as_binary_opt::<i32>()).collect::<Option<_>>()?;
    let (body, values) = values.split_first()?;
    let mut texts = Texts::new(values.len());
    for row in 0..batch.num_rows() {
        texts.body_mut().extend_from_slice(body.value(row));
        for column in values {
            texts.add_value((!column.is_null(row)).then(|| column.value(row)));
        }
        texts.end_row();
    }
    let origins = files.values().iter().copied().zip(numbers.values().iter().copied()).collect();
    let times = times.values().iter().copied().map(Micros).collect();
    Some(Rows { input: rank, file: 0, first: 0, times, cells: Cells::Sorted { texts, origins } })
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on_stream;
    use proptest::prelude::*;

    use super::super::input::{InputSpec, resolve};
    use super::super::testing::reading;
    use super::*;

    /// Rows of two files with these times, in seconds; their bodies say which row they are.
    fn sort(dir: &Path, times: &[i64]) -> Sort {
        let line = |(i, time): (usize, &i64)| format!("{{\"t\":\"2026-01-01T00:00:{time:02}Z\",\"n\":\"{i}\"}}\n");
        let half = times.len() / 2;
        for (file, times, first) in [("a.jsonl", &times[..half], 0), ("b.jsonl", &times[half..], half)] {
            let text: String = times.iter().enumerate().map(|(i, time)| line((first + i, time))).collect();
            fs::create_dir_all(dir.join("in")).unwrap();
            fs::write(dir.join("in").join(file), text).unwrap();
        }
        let spec = InputSpec::plain(dir.join("in").to_str().unwrap());
        let input = Arc::new(resolve(&[spec], None, &wsp::store::StoreOptions::default()).unwrap().remove(0));
        let folder = Some((dir.join("sorted"), "this".to_owned()));
        Sort { input, rank: 0, reading: Arc::new(reading(&["n"])), span: Span::default(), folder }
    }

    /// Time, number, place and origin of a row.
    type Seen = (i64, usize, u64, (u32, u64));

    /// Rows behind the first `skip`.
    fn rows(sort: Sort, skip: u64) -> Result<Vec<Seen>, String> {
        let wanted = sort.reading.wanted.clone();
        let mut all = Vec::new();
        for batch in block_on_stream(sort.rows(skip)) {
            let batch = batch.map_err(|error| error.to_string())?;
            for (at, time) in batch.times.iter().enumerate() {
                let (mut cell, mut body) = (Vec::new(), Vec::new());
                assert!(batch.cell(at, 0, &wanted, &mut cell).unwrap());
                batch.body(at, &wanted, &mut body).unwrap();
                let number = String::from_utf8(cell).unwrap();
                assert!(String::from_utf8(body).unwrap().ends_with(&format!("\"n\":\"{number}\"}}")));
                let seconds = (time.0 - 1_767_225_600_000_000) / 1_000_000;
                all.push((seconds, number.parse().unwrap(), batch.first + at as u64, batch.origin(at)));
            }
        }
        Ok(all)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn all_rows_come_by_time_file_and_row_in_each_start(
            times in proptest::collection::vec(0_i64..60, 2..120),
            skip in 0_u64..130,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let half = times.len() / 2;
            let mut expected: Vec<(i64, usize)> = times.iter().copied().zip(0..).collect();
            expected.sort_unstable();
            let expected: Vec<_> = expected.into_iter().zip(0..).map(|((time, number), place)| {
                let origin = if number < half { (0, number as u64) } else { (1, (number - half) as u64) };
                (time, number, place, origin)
            }).collect();
            prop_assert_eq!(&rows(sort(dir.path(), &times), 0).unwrap(), &expected);
            prop_assert!(run_files(&dir.path().join("sorted")).unwrap().len() <= FAN_IN);
            let later = &expected[(skip as usize).min(expected.len())..];
            prop_assert_eq!(&rows(sort(dir.path(), &times), skip).unwrap()[..], later);
            let temporary = Sort { folder: None, ..sort(dir.path(), &times) };
            prop_assert_eq!(&rows(temporary, skip).unwrap()[..], later);
        }
    }

    #[test]
    fn what_is_not_whole_or_of_another_replay_is_sorted_again() {
        let dir = tempfile::tempdir().unwrap();
        let times: Vec<i64> = (0..60).rev().collect();
        let sorted = rows(sort(dir.path(), &times), 0).unwrap();
        let folder = dir.path().join("sorted");
        let made = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        let (run, done) = (run_files(&folder).unwrap().remove(0), folder.join(DONE));
        let first = made(&run);
        assert_eq!(rows(sort(dir.path(), &times), 0).unwrap(), sorted);
        assert_eq!(made(&run), first, "what is whole is not made again");
        for other in ["", "that"] {
            fs::write(&done, other).unwrap();
            fs::write(&run, "torn").unwrap();
            assert_eq!(rows(sort(dir.path(), &times), 0).unwrap(), sorted);
        }
        fs::write(&run, "torn").unwrap();
        assert!(rows(sort(dir.path(), &times), 0).unwrap_err().contains("a sorted run can't be read"));
    }

    #[test]
    fn a_row_that_can_not_be_read_is_named_before_any_is_sent() {
        let dir = tempfile::tempdir().unwrap();
        let sort = sort(dir.path(), &[3, 2, 1, 0]);
        fs::write(dir.path().join("in/b.jsonl"), "{\"t\":\"2026-01-01T00:00:01Z\"}\nnonsense\n").unwrap();
        let error = rows(sort, 0).unwrap_err();
        assert!(error.contains("b.jsonl, row 2"), "{error}");
    }
}
