//! The flags of `wsp replay`, and what they mean. Each topic has a file of its own.

mod auth;
mod delivery;
mod requests;
mod rows;
mod sink;
mod sources;
mod state;
mod time;
mod values;
mod watch;

use std::path::PathBuf;

use clap::Args;
use wsp_replay::{Error, InputSpec, Options, Place};

use auth::AuthArgs;
use delivery::DeliveryArgs;
use requests::RequestArgs;
use rows::RowArgs;
use sink::SinkArgs;
use sources::SourceArgs;
use state::StateArgs;
use time::TimeArgs;
use watch::WatchArgs;

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Files, folders, patterns in quotes ('orders/*.parquet'), `s3://bucket/prefix`, or - for standard input; each is an input
    /// of its own, merged with the others by time. The files of an input are read one after the other, by name.
    #[arg(value_name = "INPUT")]
    pub(crate) inputs: Vec<String>,
    /// An input with a name of its own, which is part of the ids of its events. Behind the pattern it may have its own time, key, id,
    /// csv-types and format: `'orders=orders/*.csv;time=created_at;key=customer_id'`.
    #[arg(long = "input", value_name = "NAME=PATTERN")]
    pub(crate) named: Vec<String>,
    /// A YAML file with flags as its keys, and inputs by name under `inputs`. Flags of the command line go before it; those
    /// that may be given several times add up.
    // It is taken out of the command line before that is read.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where events go: an intake (http or https; path and query may have columns in them, as in `/{shop}/orders`),
    /// `kafka://BROKERS/TOPIC`, `file:PATH`, or - for stdout.
    #[arg(long, value_name = "ADDRESS", allow_hyphen_values = true)]
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) sources: SourceArgs,
    #[command(flatten)]
    pub(crate) rows: RowArgs,
    #[command(flatten)]
    pub(crate) requests: RequestArgs,
    #[command(flatten)]
    pub(crate) auth: AuthArgs,
    #[command(flatten)]
    pub(crate) delivery: DeliveryArgs,
    #[command(flatten)]
    pub(crate) sinks: SinkArgs,
    #[command(flatten)]
    pub(crate) time: TimeArgs,
    #[command(flatten)]
    pub(crate) state: StateArgs,
    #[command(flatten)]
    pub(crate) watch: WatchArgs,
}

impl ReplayArgs {
    /// What they mean.
    pub(crate) fn options(&self) -> Result<Options, Error> {
        let Self { rows, requests, delivery, time, state, .. } = self;
        if self.config.is_some() {
            return Err(Error::flag("--config", "a second file; put all flags into one"));
        }
        let headers = requests.headers()?;
        let sink = self.sink(&headers)?;
        let rate = time.rate()?;
        let inputs = self.specs()?;
        let has_key = rows.has_key() || inputs.iter().any(|input| input.own.key.is_some());
        let (columns, form) = (rows.columns(), rows.form()?);
        Ok(Options {
            inputs,
            format: rows.format(),
            stores: self.sources.stores()?,
            shift: time.shift(&columns.time, &form),
            columns,
            form,
            filter: rows.filter()?,
            csv: rows.csv()?,
            order: self.sources.order(),
            span: rows.span(),
            limit: rows.limit,
            sample: rows.sample,
            sink,
            id_header: requests.id_header()?,
            headers,
            packing: requests.packing(),
            batching: requests.batching(),
            rules: delivery.rules(),
            mode: delivery.mode(has_key),
            adaptive: delivery.adaptive(),
            retry: delivery.retry(),
            attempt_timeout: delivery.attempt_timeout,
            outage: delivery.outage,
            tls: requests.tls(),
            rounds: time.rounds,
            pacing: time.pacing(rate.is_some())?,
            rate,
            dead_letter: delivery.dead_letter.clone(),
            state: state.place()?,
            fresh: state.fresh,
            save_every: state.save_every,
            flags: [rows.pinned(), requests.pinned(), time.pinned(), self.sources.pinned(&self.named)].concat(),
        })
    }

    fn specs(&self) -> Result<Vec<InputSpec>, Error> {
        let plain = self.inputs.iter().map(|input| Ok(InputSpec::plain(input)));
        plain.chain(self.named.iter().map(|text| InputSpec::named(text))).collect()
    }
}

/// Where a secret is.
fn place(variable: Option<&String>, file: Option<&PathBuf>) -> Option<Place> {
    variable.cloned().map(Place::Variable).or_else(|| file.cloned().map(Place::File))
}
