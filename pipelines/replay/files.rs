//! One file as batches of rows, whatever its format.
//!
//! ```text
//! Source ──format──► tables (Parquet, Arrow) · lines (JSON Lines, dead letters) · csv ──► Step: rows, then perhaps a fault
//! ```

use std::str::FromStr;

use wsp::time::Micros;

use super::csv::CsvRows;
use super::error::Error;
use super::input::{Format, Source};
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

impl FromStr for CsvType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "text" => Self::Text,
            "number" => Self::Number,
            "bool" => Self::Bool,
            _ => return Err(format!("{text:?} is neither text, number nor bool")),
        })
    }
}

/// Types of columns, each as `COLUMN=TYPE`.
///
/// # Errors
///
/// The first that is none.
pub fn csv_types<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Vec<(String, CsvType)>, String> {
    let read = |text: &str| text.rsplit_once('=').and_then(|(name, kind)| Some((name.to_owned(), kind.parse().ok()?)));
    let what = |text: &str| format!("{text:?} is not COLUMN=TYPE with text, number or bool");
    texts.into_iter().map(|text| read(text).ok_or_else(|| what(text))).collect()
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
    let text = || source.at.text().map_err(|error| Error::file(&source.shown, error));
    let file = || {
        let opened = source.at.open().map_err(|error| Error::file(&source.shown, error))?;
        let what = "this format can't be read from standard input; name a file";
        opened.ok_or_else(|| Error::flag("--format", what))
    };
    Ok(match source.format {
        Format::Parquet => Box::new(tables::parquet(file()?, place, skip, reading)?),
        Format::Arrow => Box::new(tables::arrow(file()?, place, skip, reading)?),
        Format::JsonLines => Box::new(LineRows::new(text()?, place, skip, reading)?),
        Format::DeadLetter => Box::new(LetterRows::new(text()?, place, skip)?),
        Format::Csv => Box::new(CsvRows::new(text()?, place, skip, reading.csv.delimiter, reading)?),
        Format::Tsv => Box::new(CsvRows::new(text()?, place, skip, b'\t', reading)?),
    })
}
