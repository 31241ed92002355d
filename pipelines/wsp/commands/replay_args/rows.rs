//! The flags about rows: how they are read, and which of them are sent.

use std::sync::Arc;

use clap::{Args, ValueEnum};
use wsp::time::Micros;
use wsp_replay::{Columns, CsvForm, Error, Filter, Flag, Format, Span, TimeForm, TimeUnit, csv_types};

use super::values::{instant, share};

// How rows are read.
#[derive(Debug, Args)]
#[command(next_help_heading = "Rows")]
pub(crate) struct RowArgs {
    /// The format of all files. Default: as their names say.
    #[arg(long, value_name = "FORMAT")]
    format: Option<FormatArg>,
    /// The column with the event time; of several, with commas, the first that a file has.
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    time: Vec<String>,
    /// What a number in it counts, since 1970.
    #[arg(long, value_name = "UNIT")]
    time_unit: Option<UnitArg>,
    /// The form of a text in it, as strftime has it. Default: RFC 3339.
    #[arg(long, value_name = "FORMAT")]
    time_format: Option<String>,
    /// The zone of times that have none, such as Europe/Berlin. Default: UTC.
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// The columns of the order key, with commas: events of one key are delivered in order.
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    key: Vec<String>,
    /// The columns of an event's id, with commas. Default: a hash of input, file, row and body. Of several bodies of a row, and
    /// in later rounds, ids end with their numbers.
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    id: Vec<String>,
    /// The column that is the body, as it stands. Default: the whole row as JSON.
    #[arg(long, value_name = "COLUMN")]
    body_column: Option<String>,
    /// A jq filter that makes none, one or many bodies of a row, such as 'select(.total > 10) | del(.email)'.
    #[arg(long, value_name = "FILTER")]
    jq: Option<String>,
    /// What stands between two cells of CSV.
    #[arg(long, value_name = "CHAR", default_value = ",")]
    csv_delimiter: char,
    /// Types of columns of CSV, with commas: text (as it is without this), number, bool; `*` is any other column.
    #[arg(long, value_name = "COLUMN=TYPE", value_delimiter = ',')]
    csv_types: Vec<String>,
    /// A cell of CSV that means null; may be given several times. Default: an empty one.
    #[arg(long, value_name = "TEXT")]
    csv_null: Vec<String>,
    /// Leave out events before this time (RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = instant)]
    from: Option<Micros>,
    /// Leave out events at or after this time.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    until: Option<Micros>,
    /// Send no more rows than these, over all starts.
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<u64>,
    /// Send a share of the keys, such as 10%: the same keys each time.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(super) sample: Option<f64>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FormatArg {
    Parquet,
    Jsonl,
    Csv,
    Tsv,
    Arrow,
    DeadLetter,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum UnitArg {
    S,
    Ms,
    Us,
    Ns,
}

impl RowArgs {
    /// Whether events are kept in order by a key of theirs.
    pub(super) fn has_key(&self) -> bool {
        !self.key.is_empty()
    }

    pub(super) fn format(&self) -> Option<Format> {
        self.format.map(FormatArg::format)
    }

    pub(super) fn columns(&self) -> Columns {
        let Self { time, key, id, body_column, .. } = self;
        Columns { time: time.clone(), key: key.clone(), id: id.clone(), body: body_column.clone() }
    }

    pub(super) fn form(&self) -> Result<TimeForm, Error> {
        TimeForm::new(self.time_unit.map(UnitArg::unit), self.time_format.as_deref(), self.time_zone.as_deref())
    }

    pub(super) fn filter(&self) -> Result<Option<Arc<Filter>>, Error> {
        self.jq.as_deref().map(Filter::new).transpose().map(|filter| filter.map(Arc::new))
    }

    pub(super) fn span(&self) -> Span {
        Span { from: self.from, until: self.until }
    }

    /// Those that decide which events there are and what they are like.
    pub(super) fn pinned(&self) -> Vec<Flag> {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let time = |value: Option<Micros>| value.map(|time| time.to_string()).unwrap_or_default();
        let word = |value: Option<String>| value.unwrap_or_default();
        vec![
            ("--format", word(self.format.map(|format| format!("{format:?}")))),
            ("--time", self.time.join(",")),
            ("--time-unit", word(self.time_unit.map(|unit| format!("{unit:?}")))),
            ("--time-format", text(&self.time_format)),
            ("--time-zone", text(&self.time_zone)),
            ("--key", self.key.join(",")),
            ("--id", self.id.join(",")),
            ("--body-column", text(&self.body_column)),
            ("--jq", text(&self.jq)),
            ("--csv-delimiter", self.csv_delimiter.to_string()),
            ("--csv-types", self.csv_types.join(",")),
            ("--csv-null", self.csv_null.join("\n")),
            ("--from", time(self.from)),
            ("--until", time(self.until)),
            ("--sample", word(self.sample.map(|share| share.to_string()))),
        ]
    }

    pub(super) fn csv(&self) -> Result<CsvForm, Error> {
        let delimiter = u8::try_from(self.csv_delimiter).ok().filter(u8::is_ascii);
        let delimiter = delimiter.filter(|byte| !matches!(byte, b'"' | b'\r' | b'\n'));
        let delimiter = delimiter.ok_or_else(|| {
            Error::flag("--csv-delimiter", format!("{:?} can't stand between cells", self.csv_delimiter))
        })?;
        let types = csv_types(self.csv_types.iter().map(String::as_str));
        let types = types.map_err(|what| Error::flag("--csv-types", what))?;
        let usual = CsvForm::default();
        let nulls = if self.csv_null.is_empty() { usual.nulls } else { self.csv_null.clone() };
        Ok(CsvForm { delimiter, nulls, types })
    }
}

impl FormatArg {
    fn format(self) -> Format {
        match self {
            Self::Parquet => Format::Parquet,
            Self::Jsonl => Format::JsonLines,
            Self::Csv => Format::Csv,
            Self::Tsv => Format::Tsv,
            Self::Arrow => Format::Arrow,
            Self::DeadLetter => Format::DeadLetter,
        }
    }
}

impl UnitArg {
    fn unit(self) -> TimeUnit {
        match self {
            Self::S => TimeUnit::Seconds,
            Self::Ms => TimeUnit::Millis,
            Self::Us => TimeUnit::Micros,
            Self::Ns => TimeUnit::Nanos,
        }
    }
}
