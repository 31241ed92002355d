//! One file as batches of rows, whatever its format.
//!
//! ```text
//! Source ──format──► tables (Parquet, Arrow) · lines (JSON Lines, dead letters) · csv ──► Step: rows, then perhaps a fault
//! ```

use wsp::time::Micros;

use super::csv::CsvRows;
use super::error::Error;
use super::input::{Format, Source, open_text};
use super::lines::{LetterRows, LineRows};
use super::rows::Rows;
use super::tables;
use super::time::TimeForm;
use super::wanted::Wanted;

/// Rows read at once, at most.
pub(super) const BATCH_ROWS: usize = 1024;
/// A batch takes no further row once its texts have so many bytes.
pub(super) const BATCH_BYTES: usize = 1 << 20;
/// A longer line or record is refused: most likely a quote or a line break is missing.
pub(super) const MAX_RECORD: usize = 16 << 20;

/// How all files are read.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    /// Columns of the event time: the first that is there counts.
    pub(super) time: Vec<String>,
    pub(super) form: TimeForm,
    pub(super) wanted: Wanted,
    pub(super) csv: CsvForm,
}

/// What cells of CSV mean.
#[derive(Debug, Clone)]
pub struct CsvForm {
    /// What stands between two cells of CSV.
    pub delimiter: u8,
    /// Texts of a cell that mean null.
    pub nulls: Vec<String>,
    /// Types by column; `*` is any other one. Text where nothing is said.
    pub types: Vec<(String, CsvType)>,
}

impl Default for CsvForm {
    fn default() -> Self {
        Self { delimiter: b',', nulls: vec![String::new()], types: Vec::new() }
    }
}

/// What a cell of CSV becomes in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CsvType {
    /// A string, as it stands there.
    #[default]
    Text,
    /// A number, as it stands there.
    Number,
    /// `true` or `false`.
    Bool,
}

/// The next rows of a file: those before the first that can't be read, and why it can't. Neither is the end.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) rows: Option<Rows>,
    pub(super) fault: Option<Error>,
}

impl Step {
    pub(super) fn fault(error: Error) -> Self {
        Self { rows: None, fault: Some(error) }
    }
}

/// A file being read.
pub(super) trait FileRows: Send {
    /// The next rows. `after` is the time of the row before them.
    fn next(&mut self, after: Option<Micros>) -> Step;
}

/// Where a file stands among all.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) input: u16,
    pub(super) file: u32,
    pub(super) shown: String,
}

/// Opens a file behind its first `skip` rows.
///
/// # Errors
///
/// If it is not what it is taken for, or lacks a column that a flag names.
pub(super) fn open(source: &Source, place: Place, skip: u64, reading: &Reading) -> Result<Box<dyn FileRows>, Error> {
    let text = || open_text(source.path.as_deref()).map_err(|error| Error::file(&source.shown, error));
    Ok(match (source.format, &source.path) {
        (Format::Parquet, Some(path)) => Box::new(tables::parquet(path, place, skip, reading)?),
        (Format::Arrow, Some(path)) => Box::new(tables::arrow(path, place, skip, reading)?),
        (Format::JsonLines, _) => Box::new(LineRows::new(text()?, place, skip, reading)?),
        (Format::DeadLetter, _) => Box::new(LetterRows::new(text()?, place, skip)?),
        (Format::Csv, _) => Box::new(CsvRows::new(text()?, place, skip, reading.csv.delimiter, reading)?),
        (Format::Tsv, _) => Box::new(CsvRows::new(text()?, place, skip, b'\t', reading)?),
        (Format::Parquet | Format::Arrow, None) => {
            return Err(Error::flag("--format", "this format can't be read from standard input; name a file"));
        }
    })
}
