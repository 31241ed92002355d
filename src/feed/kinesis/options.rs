//! The options of reaching and reading a stream.

use std::time::Duration;

use super::super::{Access, Fate, FeedError};

/// Where the stream is and how it is read. Credentials come from the environment, as for S3.
#[derive(Debug, Clone)]
pub struct KinesisOptions {
    /// The stream's name.
    pub stream: String,
    /// Its region; `None` asks the environment.
    pub region: Option<String>,
    /// A Kinesis-compatible server, `http(s)://host[:port]`; `None` is AWS itself.
    pub endpoint: Option<String>,
    /// The topic that the stream carries: what [`Source::topic`](super::super::Source::topic) says of its messages.
    pub topic: String,
    /// Ends when everything that is on the stream was given out once.
    pub once: bool,
    /// Time before a deferred message comes again.
    pub defer_pause: Duration,
    /// Messages held in memory, deferred ones and those given out but not settled; at this bound nothing more is read until
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

    /// The error of a stream that can't be read.
    pub(super) fn unreachable(&self, why: impl Into<String>) -> FeedError {
        let access = Box::new(self.access("ListShards, GetShardIterator and GetRecords"));
        FeedError::Unreachable { log: self.stream.clone(), why: why.into(), access }
    }

    /// The error of a stream that accepts no record from us.
    pub(super) fn not_accepted(&self, why: impl Into<String>) -> FeedError {
        let access = Box::new(self.access("PutRecord"));
        FeedError::NotAccepted { log: self.stream.clone(), why: why.into(), fate: Fate::NotPublished, access }
    }

    fn access(&self, calls: &'static str) -> Access {
        let Self { stream, region, endpoint, .. } = self.clone();
        Access::Kinesis { stream, region, endpoint, calls }
    }
}
