//! The flags about requests: what they look like, and how the receiver knows us.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use wsp::deliver::{ClientFiles, TlsFiles};
use wsp_replay::{
    AnswerPath, BatchForm, Batching, Error, Flag, HeaderName, Login, Packing, Target, Template, id_header,
};

use super::place;
use super::values::{duration, size};

// What requests are like.
#[derive(Debug, Args)]
#[command(next_help_heading = "Requests")]
pub(crate) struct RequestArgs {
    /// POST, PUT, PATCH or DELETE, or {column}.
    #[arg(long, value_name = "METHOD", default_value = "POST")]
    method: String,
    /// Pack bodies.
    #[arg(long, value_name = "PACKING")]
    compress: Option<PackingArg>,
    /// Send several events in one request, at most so many.
    #[arg(long, value_name = "N")]
    batch: Option<NonZeroU16>,
    /// What the body of a batch is: a JSON array, or a body a line.
    #[arg(long, value_name = "FORM", default_value = "array", requires = "batch")]
    batch_as: FormArg,
    /// A batch whose bodies have so many bytes takes no further event, such as 512k or 4m.
    #[arg(long, value_name = "BYTES", default_value = "1m", value_parser = size, requires = "batch")]
    batch_bytes: usize,
    /// How long an event waits for others of its batch.
    #[arg(long, value_name = "DURATION", default_value = "200ms", value_parser = duration, requires = "batch")]
    batch_age: Duration,
    /// Where the answer to a batch has a status, or true or false, for each event, such as items[].status, or items[].*.status
    /// where it is in the only member of an item. Default: one status for all.
    #[arg(long, value_name = "PATH", value_parser = AnswerPath::of_each, requires = "batch")]
    verdicts: Option<AnswerPath>,
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

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PackingArg {
    Gzip,
    Zstd,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FormArg {
    Array,
    Lines,
}

impl RequestArgs {
    pub(super) fn headers(&self) -> Result<Vec<Template>, Error> {
        self.header.iter().map(|text| Template::new(text)).collect()
    }

    /// Where events go: to this URL.
    pub(super) fn target(&self, to: &str, headers: &[Template]) -> Result<Target, Error> {
        Target::new(to, &self.method, headers, &self.logins())
    }

    /// A flag that was given and means nothing to a sink that is no intake of HTTP.
    pub(super) fn http_only(&self) -> Option<&'static str> {
        [
            (self.bearer_env.is_some(), "--bearer-env"),
            (self.bearer_file.is_some(), "--bearer-file"),
            (self.basic_env.is_some(), "--basic-env"),
            (self.basic_file.is_some(), "--basic-file"),
            (self.api_key_env.is_some(), "--api-key-env"),
            (self.api_key_file.is_some(), "--api-key-file"),
            (self.ca_file.is_some(), "--ca-file"),
            (self.client_cert.is_some(), "--client-cert"),
            (self.method != "POST", "--method"),
            (self.compress.is_some(), "--compress"),
            (self.batch.is_some(), "--batch"),
        ]
        .into_iter()
        .find_map(|(given, flag)| given.then_some(flag))
    }

    pub(super) fn packing(&self) -> Option<Packing> {
        self.compress.map(|packing| match packing {
            PackingArg::Gzip => Packing::Gzip,
            PackingArg::Zstd => Packing::Zstd,
        })
    }

    pub(super) fn batching(&self) -> Option<Batching> {
        let form = match self.batch_as {
            FormArg::Array => BatchForm::Array,
            FormArg::Lines => BatchForm::Lines,
        };
        let (bytes, age, verdicts) = (self.batch_bytes, self.batch_age, self.verdicts.clone());
        self.batch.map(|events| Batching { events: events.into(), bytes, age, form, verdicts })
    }

    pub(super) fn id_header(&self) -> Result<HeaderName, Error> {
        id_header(&self.id_header)
    }

    /// Those that decide what events are like.
    pub(super) fn pinned(&self) -> Vec<Flag> {
        vec![("--id-header", self.id_header.to_ascii_lowercase())]
    }

    fn logins(&self) -> Vec<Login> {
        [
            place(self.bearer_env.as_ref(), self.bearer_file.as_ref()).map(Login::Bearer),
            place(self.basic_env.as_ref(), self.basic_file.as_ref()).map(Login::Basic),
            place(self.api_key_env.as_ref(), self.api_key_file.as_ref())
                .map(|key| Login::Key(self.api_key_header.clone(), key)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    pub(super) fn tls(&self) -> TlsFiles {
        let files = self.client_cert.clone().zip(self.client_key.clone());
        let client = files.map(|(certificate, key)| ClientFiles { certificate, key });
        TlsFiles { ca: self.ca_file.clone(), client }
    }
}
