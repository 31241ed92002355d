//! A look at a remote control topic, for readiness and the matrix.

use std::time::Duration;

use super::kafka::KafkaProbe;
use super::kinesis::KinesisProbe;
use crate::model::Refusal;

/// Looks at the control topic as long as its feed works.
#[derive(Debug, Clone)]
pub struct Probe(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Kafka(KafkaProbe),
    Kinesis(KinesisProbe),
}

impl Probe {
    /// The number of the topic's partitions, or of the stream's shards; 0 where it does not exist yet.
    ///
    /// # Errors
    ///
    /// `CONTROL_TOPIC_UNREACHABLE` where there is no answer within `timeout`, or the feed is closed.
    pub async fn look(&self, timeout: Duration) -> Result<usize, Refusal> {
        match &self.0 {
            Kind::Kafka(probe) => probe.look(timeout).await,
            Kind::Kinesis(probe) => probe.look(timeout).await,
        }
    }

    /// What [`Probe::look`] counts.
    #[must_use]
    pub fn counted(&self) -> &'static str {
        match &self.0 {
            Kind::Kafka(_) => "partitions",
            Kind::Kinesis(_) => "shards",
        }
    }
}

impl From<KafkaProbe> for Probe {
    fn from(probe: KafkaProbe) -> Self {
        Self(Kind::Kafka(probe))
    }
}

impl From<KinesisProbe> for Probe {
    fn from(probe: KinesisProbe) -> Self {
        Self(Kind::Kinesis(probe))
    }
}
