//! The flags of `wsp replay`, and what they mean.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use wsp::deliver::{Adaptive, ClientFiles, DeliveryMode, RetryPolicy, TlsFiles};
use wsp::pace::{Pacing, RateLimit, RatePlan};
use wsp::time::Micros;
use wsp_replay::{
    Columns, CsvForm, CsvType, Error, Format, InputSpec, Login, Options, Place, Rules, Span, Statuses, Target,
    Template, TimeForm, TimeUnit, id_header, in_flight,
};

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Files, folders, patterns in quotes ('orders/*.parquet'), or - for standard input; each is an input of its own, merged
    /// with the others by time. The files of an input are read one after the other, by name.
    #[arg(value_name = "INPUT")]
    pub(crate) inputs: Vec<String>,
    /// An input with a name of its own. The name is part of the ids of its events.
    #[arg(long = "input", value_name = "NAME=PATTERN")]
    pub(crate) named: Vec<String>,
    /// A YAML file with flags as its keys, and inputs by name under `inputs`. Flags of the command line go before it; those
    /// that may be given several times add up.
    // It is taken out of the command line before that is read.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The intake: http or https.
    #[arg(long, value_name = "URL")]
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) rows: RowArgs,
    #[command(flatten)]
    pub(crate) requests: RequestArgs,
    #[command(flatten)]
    pub(crate) delivery: DeliveryArgs,
    #[command(flatten)]
    pub(crate) time: TimeArgs,
    #[command(flatten)]
    pub(crate) state: StateArgs,
}

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
    /// The columns of an event's id, with commas. Default: a hash of input, file, row and body.
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    id: Vec<String>,
    /// The column that is the body, as it stands. Default: the whole row as JSON.
    #[arg(long, value_name = "COLUMN")]
    body_column: Option<String>,
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
    /// Send no more events than these, over all starts.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Send a share of the keys, such as 10%: the same keys each time.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    sample: Option<f64>,
}

// What requests are like.
#[derive(Debug, Args)]
#[command(next_help_heading = "Requests")]
pub(crate) struct RequestArgs {
    /// POST, PUT or PATCH.
    #[arg(long, value_name = "METHOD", default_value = "POST")]
    method: String,
    /// A header; {column} in it is the row's value. May be given several times.
    #[arg(long, short = 'H', value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// The header of the id.
    #[arg(long, value_name = "NAME", default_value = "Idempotency-Key")]
    id_header: String,
    /// A variable of the environment with a bearer token.
    #[arg(long, value_name = "VARIABLE", group = "login")]
    bearer_env: Option<String>,
    /// A file with a bearer token.
    #[arg(long, value_name = "FILE", group = "login")]
    bearer_file: Option<PathBuf>,
    /// A variable of the environment with user:password.
    #[arg(long, value_name = "VARIABLE", group = "login")]
    basic_env: Option<String>,
    /// A file with user:password.
    #[arg(long, value_name = "FILE", group = "login")]
    basic_file: Option<PathBuf>,
    /// The header of an API key.
    #[arg(long, value_name = "NAME", default_value = "X-Api-Key")]
    api_key_header: String,
    /// A variable of the environment with an API key.
    #[arg(long, value_name = "VARIABLE", conflicts_with = "api_key_file")]
    api_key_env: Option<String>,
    /// A file with an API key.
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// A PEM file of authorities to trust in place of the platform's.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// A PEM file with a certificate of ours.
    #[arg(long, value_name = "FILE", requires = "client_key")]
    client_cert: Option<PathBuf>,
    /// The PEM file of its key.
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    client_key: Option<PathBuf>,
}

// How events are delivered.
#[derive(Debug, Args)]
#[command(next_help_heading = "Delivery")]
pub(crate) struct DeliveryArgs {
    /// strict: one request in flight, all in order. keyed: in order per key. free: in any order, none displaced by more than
    /// the requests in flight. Default: keyed with --key, else strict.
    #[arg(long, value_name = "ORDER")]
    order: Option<OrderArg>,
    /// Requests in flight at once.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    in_flight: u16,
    /// Find out how many requests in flight the receiver can take, up to --in-flight.
    #[arg(long)]
    adaptive: bool,
    /// How often an event is tried. The first delays double from 0.1 s to 5 s, so 50 attempts take some six minutes.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    attempts: u32,
    /// How long an attempt may take.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    attempt_timeout: Duration,
    /// How long the receiver may take nothing before the replay ends.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    outage: Duration,
    /// Statuses that are tried again, besides 408, 425, 429 and 5xx.
    #[arg(long, value_name = "STATUSES")]
    retry_on: Option<Statuses>,
    /// Statuses of events that are left out, such as 404,409-410.
    #[arg(long, value_name = "STATUSES")]
    drop_on: Option<Statuses>,
    /// Statuses that mean delivered, besides 2xx.
    #[arg(long, value_name = "STATUSES")]
    accept_on: Option<Statuses>,
    /// Write refused events to this file and go on; `wsp replay FILE` sends them again. Default: the first one ends the
    /// replay.
    #[arg(long, value_name = "FILE")]
    dead_letter: Option<PathBuf>,
}

// When events are sent.
#[derive(Debug, Args)]
#[command(next_help_heading = "Time")]
pub(crate) struct TimeArgs {
    /// How many times as fast as recorded; 0: as fast as it goes. Default: 1, and 0 with --rate or --rate-plan.
    #[arg(long, value_name = "FACTOR", allow_negative_numbers = true)]
    speedup: Option<f64>,
    /// Events a second at most.
    #[arg(long, value_name = "N", conflicts_with = "rate_plan")]
    rate: Option<f64>,
    /// A file with a plan of rates: a JSON list of `{"start_offset_seconds", "target_eps"}`.
    #[arg(long, value_name = "FILE")]
    rate_plan: Option<PathBuf>,
    /// A longer time without events counts as this.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_idle_gap: Option<Duration>,
    /// Send nothing before this time on the wall (RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub(crate) start_at: Option<Micros>,
}

// What is kept between starts.
#[derive(Debug, Args)]
#[command(next_help_heading = "State")]
pub(crate) struct StateArgs {
    /// The folder that says how far the replay is. Default: .wsp/replay-HASH, by target and inputs.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Begin anew, whatever earlier starts did.
    #[arg(long)]
    fresh: bool,
    /// A crash may repeat so many events, and those in flight.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(2..=1_000_000))]
    save_every: u64,
    /// Read all of it, send nothing, and say what would be done.
    #[arg(long)]
    pub(crate) plan: bool,
    /// The plan as JSON.
    #[arg(long, requires = "plan")]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum FormatArg {
    Parquet,
    Jsonl,
    Csv,
    Tsv,
    Arrow,
    DeadLetter,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum UnitArg {
    S,
    Ms,
    Us,
    Ns,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OrderArg {
    Strict,
    Keyed,
    Free,
}

impl ReplayArgs {
    /// What they mean.
    pub(crate) fn options(&self) -> Result<Options, Error> {
        let Self { rows, requests, delivery, time, state, .. } = self;
        if self.config.is_some() {
            return Err(Error::flag("--config", "a second file; put all flags into one"));
        }
        let headers = requests.header.iter().map(|text| Template::new(text)).collect::<Result<Vec<_>, _>>()?;
        let target = Target::new(&self.to, &requests.method, &headers, &requests.logins())?;
        let rate = time.rate()?;
        Ok(Options {
            inputs: self.specs()?,
            format: rows.format.map(FormatArg::format),
            columns: Columns {
                time: rows.time.clone(),
                key: rows.key.clone(),
                id: rows.id.clone(),
                body: rows.body_column.clone(),
            },
            form: TimeForm::new(
                rows.time_unit.map(UnitArg::unit),
                rows.time_format.as_deref(),
                rows.time_zone.as_deref(),
            )?,
            csv: rows.csv()?,
            span: Span { from: rows.from, until: rows.until },
            limit: rows.limit,
            sample: rows.sample,
            target,
            id_header: id_header(&requests.id_header)?,
            headers,
            rules: Rules {
                drop: delivery.drop_on.clone().unwrap_or_default(),
                retry: delivery.retry_on.clone().unwrap_or_default(),
                accept: delivery.accept_on.clone().unwrap_or_default(),
                dead_letters: delivery.dead_letter.is_some(),
            },
            mode: delivery.mode(!rows.key.is_empty()),
            adaptive: delivery.adaptive.then_some(Adaptive { min: 4, slow: Duration::from_secs(2) }),
            retry: RetryPolicy {
                max_attempts: delivery.attempts,
                base_delay: Duration::from_millis(100),
                ..RetryPolicy::default()
            },
            attempt_timeout: delivery.attempt_timeout,
            outage: delivery.outage,
            tls: requests.tls(),
            pacing: time.pacing(rate.is_some())?,
            rate,
            dead_letter: delivery.dead_letter.clone(),
            state: state.state.clone(),
            fresh: state.fresh,
            save_every: state.save_every,
            flags: self.flags(),
        })
    }

    fn specs(&self) -> Result<Vec<InputSpec>, Error> {
        let plain = self.inputs.iter().map(|input| Ok(InputSpec::plain(input)));
        plain.chain(self.named.iter().map(|text| InputSpec::named(text))).collect()
    }

    /// The flags that decide which events there are and what they are like.
    fn flags(&self) -> Vec<(&'static str, String)> {
        let Self { rows, requests, .. } = self;
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let time = |value: Option<Micros>| value.map(|time| time.to_string()).unwrap_or_default();
        let word = |value: Option<String>| value.unwrap_or_default();
        vec![
            ("--format", word(rows.format.map(|format| format!("{format:?}")))),
            ("--time", rows.time.join(",")),
            ("--time-unit", word(rows.time_unit.map(|unit| format!("{unit:?}")))),
            ("--time-format", text(&rows.time_format)),
            ("--time-zone", text(&rows.time_zone)),
            ("--key", rows.key.join(",")),
            ("--id", rows.id.join(",")),
            ("--body-column", text(&rows.body_column)),
            ("--csv-delimiter", rows.csv_delimiter.to_string()),
            ("--csv-types", rows.csv_types.join(",")),
            ("--csv-null", rows.csv_null.join("\n")),
            ("--from", time(rows.from)),
            ("--until", time(rows.until)),
            ("--sample", word(rows.sample.map(|share| share.to_string()))),
            ("--id-header", requests.id_header.to_ascii_lowercase()),
        ]
    }
}

impl RowArgs {
    fn csv(&self) -> Result<CsvForm, Error> {
        let delimiter = u8::try_from(self.csv_delimiter).ok().filter(u8::is_ascii);
        let delimiter = delimiter.filter(|byte| !matches!(byte, b'"' | b'\r' | b'\n'));
        let delimiter = delimiter.ok_or_else(|| {
            Error::flag("--csv-delimiter", format!("{:?} can't stand between cells", self.csv_delimiter))
        })?;
        let kind = |text: &String| {
            let (name, kind) = text.rsplit_once('=')?;
            let kind = match kind {
                "text" => CsvType::Text,
                "number" => CsvType::Number,
                "bool" => CsvType::Bool,
                _ => return None,
            };
            Some((name.to_owned(), kind))
        };
        let types = self.csv_types.iter().map(|text| {
            kind(text).ok_or_else(|| {
                Error::flag("--csv-types", format!("{text:?} is not COLUMN=TYPE with text, number or bool"))
            })
        });
        let types = types.collect::<Result<_, _>>()?;
        let usual = CsvForm::default();
        let nulls = if self.csv_null.is_empty() { usual.nulls } else { self.csv_null.clone() };
        Ok(CsvForm { delimiter, nulls, types })
    }
}

impl RequestArgs {
    fn logins(&self) -> Vec<Login> {
        let place = |variable: &Option<String>, file: &Option<PathBuf>| {
            variable.clone().map(Place::Variable).or_else(|| file.clone().map(Place::File))
        };
        [
            place(&self.bearer_env, &self.bearer_file).map(Login::Bearer),
            place(&self.basic_env, &self.basic_file).map(Login::Basic),
            place(&self.api_key_env, &self.api_key_file).map(|key| Login::Key(self.api_key_header.clone(), key)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn tls(&self) -> TlsFiles {
        let files = self.client_cert.clone().zip(self.client_key.clone());
        let client = files.map(|(certificate, key)| ClientFiles { certificate, key });
        TlsFiles { ca: self.ca_file.clone(), client }
    }
}

impl DeliveryArgs {
    fn mode(&self, has_key: bool) -> DeliveryMode {
        let many = in_flight(usize::from(self.in_flight));
        match self.order.unwrap_or(if has_key { OrderArg::Keyed } else { OrderArg::Strict }) {
            OrderArg::Strict => DeliveryMode::Strict,
            OrderArg::Keyed => DeliveryMode::Keyed(many),
            OrderArg::Free => DeliveryMode::Free(many),
        }
    }
}

impl TimeArgs {
    fn rate(&self) -> Result<Option<RatePlan>, Error> {
        if let Some(rate) = self.rate {
            let limit = RateLimit::new(rate, None, None).map_err(|error| Error::flag("--rate", error))?;
            return Ok(Some(RatePlan::steady(limit)));
        }
        let Some(path) = &self.rate_plan else { return Ok(None) };
        let refused = |what: String| Error::flag("--rate-plan", format!("{}: {what}", path.display()));
        let text = read(path).map_err(refused)?;
        RatePlan::from_json(&text).map(Some).map_err(|error| refused(error.to_string()))
    }

    fn pacing(&self, has_rate: bool) -> Result<Pacing, Error> {
        let speedup = self.speedup.unwrap_or(if has_rate { 0.0 } else { 1.0 });
        let pacing = Pacing::new(speedup).map_err(|error| Error::flag("--speedup", error))?;
        Ok(pacing.max_idle_gap(self.max_idle_gap))
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

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}

/// `250ms`, `30s`, `5m`, `2h`, `1d`; a number alone is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let factor = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err("not a duration such as 250ms, 30s, 5m, 2h or 1d".to_owned()),
    };
    let seconds = number.parse::<f64>().map_err(|error| error.to_string())? * factor;
    if seconds > 0.0 && seconds < 1e9 {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("not above 0, or too long".to_owned())
    }
}

/// RFC 3339, or a date: its midnight in UTC.
fn instant(text: &str) -> Result<Micros, String> {
    let time = Micros::parse(text.as_bytes()).or_else(|| Micros::parse(format!("{text}T00:00:00Z").as_bytes()));
    time.ok_or_else(|| "not a time such as 2026-01-31T09:00:00Z, or a date".to_owned())
}

/// `10%` or `0.1`.
fn share(text: &str) -> Result<f64, String> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().map(|percent| percent / 100.0),
        None => text.parse(),
    };
    share.ok().filter(|share| *share > 0.0 && *share <= 1.0).ok_or_else(|| "not a share such as 10% or 0.1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_shares_and_times_are_read_as_people_write_them() {
        for (text, millis) in [("250ms", 250), ("1.5", 1500), ("30s", 30_000), ("2m", 120_000), ("1h", 3_600_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "1 s", "0", "-1s", "1w", "1e3s"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!((share("10%"), share("0.1"), share("100%")), (Ok(0.1), Ok(0.1), Ok(1.0)));
        for text in ["0", "101%", "x", "NaN"] {
            assert!(share(text).is_err(), "{text}");
        }
        assert_eq!(instant("2026-01-31"), instant("2026-01-31T00:00:00Z"));
        assert!(instant("soon").is_err());
    }
}
