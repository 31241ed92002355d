//! `wsp replay`: recorded events of any kind, out of files, into any HTTP intake. The second producer; it shares the stages
//! with the first one and knows nothing of the platform.
//!
//! ```text
//! inputs ──► plan of the files ──► producer: the chain ──► state, dead letters, figures
//! ```
//!
//! `producer.rs` is the chain on one screen.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests wait for real servers"))]

mod answer_path;
mod answered;
mod auth;
mod batch;
mod batch_judge;
mod batches;
mod cells_time;
mod chain;
mod csv;
mod error;
mod event;
mod files;
mod finish;
mod frame;
mod hot_keys;
mod input;
#[cfg(feature = "jq")]
mod jq;
#[cfg(not(feature = "jq"))]
#[path = "no_jq.rs"]
mod jq;
mod judge;
mod keep;
mod letters;
mod lines;
pub mod metrics;
mod objects;
mod order;
mod pack;
mod producer;
mod request_line;
mod rounds;
mod rows;
mod rules;
mod shift;
mod sink;
mod sort;
mod start;
mod state;
mod survey;
mod tables;
mod target;
mod template;
#[cfg(test)]
mod testing;
mod time;
mod wanted;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::CONTENT_TYPE;
pub use hyper::header::HeaderName;

pub use answer_path::{AnswerPath, Condition};
#[cfg(feature = "aws")]
pub use auth::Sigv4;
pub use auth::{Auth, ClientCredentials, Grant};
pub use batch::{BatchForm, Batching};
pub use chain::Span;
pub use error::{Error, EventFault, RowFault};
pub use event::Event;
pub use files::{CsvForm, CsvType, csv_types};
pub use input::{Format, Input, InputSpec, Own};
pub use jq::Filter;
pub use keep::{Live, Totals};
pub use order::Order;
pub use pack::Packing;
pub use rules::{Rules, Statuses};
pub use shift::Shift;
#[cfg(feature = "kafka")]
pub use sink::Topic;
pub use sink::{LineSink, Sink, SinkKind};
pub use start::{Outcome, Start};
pub use state::{Flag, StatePlace};
pub use survey::{Gap, InputSurvey, Survey};
pub use target::{Login, Place, Target, proxy};
pub use template::Template;
pub use time::{TimeForm, TimeUnit};
pub use wanted::Columns;

use answered::Standing;
use batch::Maker;
use files::Reading;
use frame::Frame;
use wanted::Wanted;
use wsp::byte_budget::ByteBudget;
use wsp::clock::Clock;
pub use wsp::deliver::HttpProxy;
use wsp::deliver::{Adaptive, DeliveryMode, RetryPolicy, TlsFiles};
use wsp::pace::{Pacing, RatePlan};
use wsp::stop::Stop;
use wsp::store::StoreOptions;

/// What is to be replayed, and how: the flags, read.
#[derive(Debug, Clone)]
pub struct Options {
    /// The inputs.
    pub inputs: Vec<InputSpec>,
    /// The format of all files; told by their names where not given.
    pub format: Option<Format>,
    /// How objects of `s3://` are reached.
    pub stores: StoreOptions,
    /// Columns that are read by themselves.
    pub columns: Columns,
    /// How times are read.
    pub form: TimeForm,
    /// What makes bodies of a row; the row itself where not given.
    pub filter: Option<Arc<Filter>>,
    /// How CSV is read.
    pub csv: CsvForm,
    /// Rows that are not in order of time.
    pub order: Order,
    /// Which event times.
    pub span: Span,
    /// Events at most.
    pub limit: Option<u64>,
    /// The share of keys that is sent, between 0 and 1.
    pub sample: Option<f64>,
    /// Where events go.
    pub sink: Sink,
    /// The header of the id.
    pub id_header: HeaderName,
    /// Headers, fixed ones and ones with columns.
    pub headers: Vec<Template>,
    /// How bodies are packed.
    pub packing: Option<Packing>,
    /// Several events go in one request.
    pub batching: Option<Batching>,
    /// What answers mean.
    pub rules: Rules,
    /// The order of delivery, and how many requests are in flight.
    pub mode: DeliveryMode,
    /// Requests in flight follow what the receiver can take.
    pub adaptive: Option<Adaptive>,
    /// How often an event is tried.
    pub retry: RetryPolicy,
    /// How long an attempt may take.
    pub attempt_timeout: Duration,
    /// How long the receiver may take nothing.
    pub outage: Duration,
    /// Files of certificates.
    pub tls: TlsFiles,
    /// How often the inputs are sent.
    pub rounds: u32,
    /// Times of bodies move with the schedule.
    pub shift: Option<Shift>,
    /// Event time on the wall.
    pub pacing: Pacing,
    /// Events a second.
    pub rate: Option<RatePlan>,
    /// Where refused events are written.
    pub dead_letter: Option<PathBuf>,
    /// Where the state is; a folder named by target and inputs where not given.
    pub state: Option<StatePlace>,
    /// What an earlier start did counts for nothing.
    pub fresh: bool,
    /// Events between two saves.
    pub save_every: u64,
    /// Flags that decide which events there are and what they are like, with their values: a start with others is no
    /// resume.
    pub flags: Vec<Flag>,
}

impl Options {
    /// All of these inputs to a target, as fast as it takes them, one request after the other. `columns` names at least the
    /// event time.
    #[must_use]
    pub fn new(inputs: Vec<InputSpec>, columns: Columns, target: Target) -> Self {
        Self {
            inputs,
            stores: StoreOptions::default(),
            format: None,
            columns,
            form: TimeForm::default(),
            filter: None,
            csv: CsvForm::default(),
            order: Order::AsRead,
            span: Span::default(),
            limit: None,
            sample: None,
            sink: Sink::Http(Box::new(target)),
            id_header: HeaderName::from_static("idempotency-key"),
            headers: Vec::new(),
            packing: None,
            batching: None,
            rules: Rules::default(),
            mode: DeliveryMode::Strict,
            adaptive: None,
            retry: RetryPolicy::default(),
            attempt_timeout: Duration::from_secs(30),
            outage: Duration::from_mins(5),
            tls: TlsFiles::default(),
            rounds: 1,
            shift: None,
            pacing: Pacing::off(),
            rate: None,
            dead_letter: None,
            state: None,
            fresh: false,
            save_every: 1000,
            flags: Vec::new(),
        }
    }
}

/// A replay whose inputs are found.
#[derive(Debug)]
pub struct Replay {
    options: Options,
    inputs: Arc<Vec<Arc<Input>>>,
    /// How the files of each input are read.
    readings: Vec<Arc<Reading>>,
}

impl Replay {
    /// Finds the inputs.
    ///
    /// # Errors
    ///
    /// If there is none, or flags don't go together.
    pub fn new(mut options: Options) -> Result<Self, Error> {
        if options.sink.is_lines() {
            // Lines are written one after the other, and so in order.
            options.mode = DeliveryMode::Strict;
        }
        let form = options.batching.as_ref().map(|batching| batching.form);
        let has_type = options.headers.iter().any(|header| header.name() == CONTENT_TYPE);
        if let Sink::Http(target) = &mut options.sink {
            target.take(options.packing, form, has_type);
        }
        let inputs = input::resolve(&options.inputs, options.format, &options.stores)?;
        let readings = inputs.iter().zip(&options.inputs).map(|(input, spec)| reading(&options, input, &spec.own));
        let readings = readings.collect::<Result<_, _>>()?;
        let inputs = Arc::new(inputs.into_iter().map(Arc::new).collect::<Vec<_>>());
        let replay = Self { options, inputs, readings };
        replay.check_letters()?;
        replay.check_sink()?;
        replay.check_batches()?;
        Ok(replay)
    }

    /// A file must not be read and written at once.
    fn check_letters(&self) -> Result<(), Error> {
        let Some(letters) = self.options.dead_letter.as_ref().and_then(|path| path.canonicalize().ok()) else {
            return Ok(());
        };
        if self.reads(&letters) {
            let what = format!("{} is an input, too; name another file", letters.display());
            return Err(Error::flag("--dead-letter", what));
        }
        Ok(())
    }

    /// Whether the sink can take what the inputs hold.
    fn check_sink(&self) -> Result<(), Error> {
        let sink = &self.options.sink;
        if let Some(file) = sink.file().and_then(|path| path.canonicalize().ok())
            && self.reads(&file)
        {
            return Err(Error::flag("--to", format!("{} is an input, too; name another file", file.display())));
        }
        if sink.file().is_some() && sink.file() == self.options.dead_letter.as_deref() {
            return Err(Error::flag("--dead-letter", "it is the file of --to; name another one"));
        }
        let has_letters =
            self.inputs.iter().flat_map(|input| &input.files).any(|file| file.format == Format::DeadLetter);
        let flag = match self.options.order {
            Order::AsRead => None,
            Order::Within(_) => Some("--reorder"),
            Order::Sorted => Some("--sort"),
        };
        if let (Some(flag), true) = (flag, has_letters) {
            return Err(Error::flag(flag, "dead letters are sent in the order in which they were refused"));
        }
        if let (Some(flag), true) = (flag, self.options.rounds > 1) {
            return Err(Error::flag(
                flag,
                "--loop reads files in their order; write them in order to a file first, by --to file:PATH",
            ));
        }
        if sink.takes_keys() && has_letters {
            let what = "dead letters hold no key of a record; replay them into an intake of HTTP";
            return Err(Error::flag("--to", what));
        }
        Ok(())
    }

    /// All events of a batch go to one place under one head.
    fn check_batches(&self) -> Result<(), Error> {
        let Options { batching: Some(batching), sink, headers, mode, .. } = &self.options else { return Ok(()) };
        let refused = |what: &str| Err(Error::flag("--batch", what));
        if sink.line().is_some() {
            return refused("a batch goes to one place; --to and --method can't have columns in them");
        }
        if let Some(header) = headers.iter().find(|header| header.fixed().is_none()) {
            let what = format!("a batch has one head; the header {} can't have columns in it", header.name());
            return Err(Error::flag("--batch", what));
        }
        if batching.verdicts.is_some() && *mode == DeliveryMode::Strict {
            let what = "the receiver may take a later event and not an earlier one; say --order keyed or free";
            return Err(Error::flag("--verdicts", what));
        }
        Ok(())
    }

    /// Whether a file is one of the inputs.
    fn reads(&self, path: &std::path::Path) -> bool {
        let mut files = self.inputs.iter().flat_map(|input| &input.files).filter_map(|file| file.at.path());
        files.any(|file| file.canonicalize().is_ok_and(|file| file == path))
    }

    /// What makes batches.
    fn maker(&self, form: BatchForm, bodies: ByteBudget) -> Maker {
        let Options { id_header, packing, .. } = &self.options;
        let mut files = self.inputs.iter().flat_map(|input| &input.files);
        let checks = self.options.columns.body.is_some() || files.any(|file| file.format == Format::DeadLetter);
        let (id_header, packing, inputs) = (id_header.clone(), *packing, self.inputs.clone());
        Maker { form, id_header, packing, bodies, inputs, checks }
    }

    /// The inputs.
    pub fn inputs(&self) -> impl Iterator<Item = &Input> {
        self.inputs.iter().map(AsRef::as_ref)
    }

    /// What the framer makes of rows, with what an earlier start saw answered.
    fn frame(&self, standings: &[Standing]) -> Frame {
        let Options { id_header, headers, sample, limit, sink, .. } = &self.options;
        let before: u64 = standings.iter().map(Standing::before).sum();
        Frame {
            inputs: self.inputs.clone(),
            wanted: self.readings.iter().map(|reading| reading.wanted.clone()).collect(),
            filter: self.options.filter.clone(),
            line: sink.line().cloned(),
            id_header: id_header.clone(),
            templates: headers.iter().filter(|header| header.fixed().is_none()).cloned().collect(),
            takes_keys: sink.takes_keys(),
            // All of the hashes are below the whole.
            sample: sample.filter(|share| *share < 1.0).map(|share| (share * 2_f64.powi(64)) as u64),
            limit: limit.unwrap_or(u64::MAX).saturating_sub(before),
            answered: standings.iter().map(|standing| standing.beyond.clone()).collect(),
        }
    }
}

/// How the files of an input are read.
fn reading(options: &Options, input: &Input, own: &Own) -> Result<Arc<Reading>, Error> {
    let Options { columns, form, csv, headers, mode, .. } = options;
    let or = |own: &Option<Vec<String>>, all: &Vec<String>| own.as_ref().unwrap_or(all).clone();
    let columns = Columns {
        time: or(&own.time, &columns.time),
        key: or(&own.key, &columns.key),
        id: or(&own.id, &columns.id),
        body: columns.body.clone(),
    };
    let letters_alone = input.files.iter().all(|file| file.format == Format::DeadLetter);
    if columns.time.is_empty() && !letters_alone {
        return Err(Error::flag("--time", format!("name the column with the event time of {}", input.name)));
    }
    if matches!(mode, DeliveryMode::Keyed(_)) && columns.key.is_empty() && !letters_alone {
        return Err(Error::flag("--order", format!("keyed order needs --key COLUMNS, also for {}", input.name)));
    }
    let types = own.types.as_ref().unwrap_or(&csv.types).clone();
    let csv = CsvForm { types, ..csv.clone() };
    let wanted = Wanted::new(&columns, options.sink.line(), headers)?;
    Ok(Arc::new(Reading { time: columns.time, form: form.clone(), wanted, csv }))
}

/// Waits for a time on the wall, or a stop.
pub async fn wait_until(at: wsp::time::Micros, clock: &impl Clock, stop: &Stop) {
    let wait = u64::try_from(at.0.saturating_sub(clock.utc().0)).unwrap_or(0);
    tokio::select! {
        () = stop.wait() => {}
        () = clock.sleep_until(clock.now() + Duration::from_micros(wait)) => {}
    }
}

/// The header that carries ids.
///
/// # Errors
///
/// If it is none that may be set.
pub fn id_header(name: &str) -> Result<HeaderName, Error> {
    template::header_name(name).map_err(|what| Error::flag("--id-header", what))
}

/// So many requests in flight, at least one.
#[must_use]
pub fn in_flight(requests: usize) -> NonZeroUsize {
    NonZeroUsize::new(requests).unwrap_or(NonZeroUsize::MIN)
}
