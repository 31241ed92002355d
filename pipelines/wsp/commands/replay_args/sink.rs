//! Where events go: the flags of sinks that are no intake of HTTP.

use std::path::PathBuf;

use clap::Args;
use wsp_replay::{Error, Sink, SinkKind, Template};

use super::ReplayArgs;

// Sinks that are no intake of HTTP.
#[derive(Debug, Args)]
#[command(next_help_heading = "Other sinks")]
pub(crate) struct SinkArgs {
    /// Write the summary to this file. Default: stdout, or stderr with --to -.
    #[arg(long, value_name = "FILE")]
    pub(crate) summary: Option<PathBuf>,
    /// A setting of librdkafka for `--to kafka://BROKERS/TOPIC`, such as compression.type=zstd. May be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    kafka: Vec<String>,
    /// A file of such settings, one a line. Secrets belong there.
    #[arg(long, value_name = "FILE")]
    kafka_file: Option<PathBuf>,
}

impl ReplayArgs {
    /// What `--to` means; `headers` are those of requests or records.
    pub(super) fn sink(&self, headers: &[Template]) -> Result<Sink, Error> {
        let kind = SinkKind::of(&self.to)?;
        if kind != SinkKind::Http
            && let Some(flag) =
                self.requests.http_only().or_else(|| self.auth.http_only()).or_else(|| self.delivery.http_only())
        {
            return Err(Error::flag(flag, format!("it is for an intake of HTTP, and --to is {}", self.to)));
        }
        let SinkArgs { kafka, kafka_file, .. } = &self.sinks;
        if kind != SinkKind::Kafka && (kafka_file.is_some() || !kafka.is_empty()) {
            let flag = if kafka.is_empty() { "--kafka-file" } else { "--kafka" };
            return Err(Error::flag(flag, format!("it is for kafka://BROKERS/TOPIC, and --to is {}", self.to)));
        }
        match kind {
            SinkKind::Http => {
                let target = self.auth.applied(self.requests.target(&self.to, headers)?)?;
                Ok(Sink::Http(Box::new(target)))
            }
            SinkKind::Lines(_) if !headers.is_empty() => Err(Error::flag("--header", "a line has no headers")),
            SinkKind::Lines(lines) => Ok(Sink::Lines(lines)),
            SinkKind::Kafka => self.topic(headers),
        }
    }

    #[cfg(feature = "kafka")]
    fn topic(&self, headers: &[Template]) -> Result<Sink, Error> {
        let SinkArgs { kafka, kafka_file, .. } = &self.sinks;
        let topic = wsp_replay::Topic::new(&self.to, kafka, kafka_file.as_deref(), headers)?;
        Ok(Sink::Kafka(Box::new(topic)))
    }

    #[cfg(not(feature = "kafka"))]
    #[expect(clippy::unused_self, reason = "the face of the build with Kafka")]
    fn topic(&self, _: &[Template]) -> Result<Sink, Error> {
        Err(Error::flag("--to", "this build of the program has no Kafka; build it with the feature `kafka`"))
    }
}
