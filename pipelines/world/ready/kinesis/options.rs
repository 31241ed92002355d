//! The options of reaching and reading a stream.

use std::time::Duration;

use crate::model::{Reason, Refusal};

/// Where the topic is and how it is read. Credentials come from the environment, as for S3.
#[derive(Debug, Clone)]
pub struct KinesisOptions {
    /// The stream's name (`wiring.control_bus.stream`).
    pub stream: String,
    /// Its region; `None` asks the environment.
    pub region: Option<String>,
    /// A Kinesis-compatible server, `http(s)://host[:port]`; `None` is AWS itself.
    pub endpoint: Option<String>,
    /// The topic that messages have to be of.
    pub topic: String,
    /// Ends when everything that is on the stream was given out once.
    pub once: bool,
    /// Time before a deferred message comes again.
    pub defer_pause: Duration,
    /// READYs held in memory, deferred ones and those given out but not settled; at this bound nothing more is read until
    /// one is settled.
    pub max_held: usize,
    /// Time between two reads of a shard that has nothing more.
    pub read_interval: Duration,
    /// Time between two reads of a shard that has. All consumers of a shard together may read it 5 times a second.
    pub catch_up_interval: Duration,
    /// Time between two looks at what shards there are.
    pub list_interval: Duration,
    /// How long one call may take.
    pub request_timeout: Duration,
    /// How long [`KinesisOptions::once`] tries to reach the stream.
    pub reach_timeout: Duration,
    /// How long a refusal (rights, credentials, the stream deleted) is borne once the stream was read; then the feed ends.
    pub lost_after: Duration,
}

impl KinesisOptions {
    /// A stream of AWS, with the defaults of everything else.
    #[must_use]
    pub fn new(stream: impl Into<String>, topic: impl Into<String>) -> Self {
        Self {
            stream: stream.into(),
            region: None,
            endpoint: None,
            topic: topic.into(),
            once: false,
            defer_pause: Duration::from_secs(10),
            max_held: 64,
            read_interval: Duration::from_secs(1),
            catch_up_interval: Duration::from_millis(250),
            list_interval: Duration::from_secs(10),
            request_timeout: Duration::from_secs(10),
            reach_timeout: Duration::from_secs(30),
            lost_after: Duration::from_mins(2),
        }
    }

    /// The refusal of a stream that can't be read.
    pub(super) fn unreachable(&self, reason: &str) -> Refusal {
        self.refused(reason, "ListShards, GetShardIterator and GetRecords")
    }

    /// The refusal of a stream that takes no record from us.
    pub(super) fn not_taken(&self, reason: &str) -> Refusal {
        self.refused(&format!("{reason}; the READY was not published"), "PutRecord")
    }

    fn refused(&self, reason: &str, calls: &str) -> Refusal {
        let server = self.endpoint.as_deref().unwrap_or("AWS");
        let region = self.region.as_deref().unwrap_or("from the environment");
        let detail = format!(
            "{reason}; check wiring.control_bus: stream ({}), region ({region}), endpoint_url ({server}), and the AWS \
             credentials: they have to allow {calls}, and the stream's key, if it has one",
            self.stream
        );
        Refusal::new(Reason::ControlTopicUnreachable, detail).file(self.stream.clone())
    }
}
