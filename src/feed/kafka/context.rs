//! What librdkafka reports besides messages: rebalances, errors, log lines.
//!
//! ```text
//! librdkafka ──in poll()──► Watch ──► Event list ──after poll()──► the poller
//!                             └─ log lines ──► tracing
//! ```

use std::error::Error;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{TopicPartitionList, TopicPartitionListElem};

use super::iam::NoToken;

/// Something that happened during a poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// These partitions are ours, beside those that were.
    Assigned(Vec<i32>),
    /// These are ours no more.
    Revoked(Vec<i32>),
    /// An error, with librdkafka's words for it.
    Failed(Trouble, String),
    /// A broker is connected.
    Reachable,
}

/// What an error means for the feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// The broker refuses login or TLS; trying again doesn't help.
    Login,
    /// The broker refuses us topic or group, or they are not as they have to be; trying again doesn't help.
    Rights,
    /// The topic is not there.
    NoTopic,
    /// No broker can be reached now.
    Away,
    /// One broker, or one request: librdkafka mends it itself.
    Passing,
}

impl Trouble {
    /// Sorts an error code.
    pub(super) fn of(code: RDKafkaErrorCode) -> Self {
        use RDKafkaErrorCode as Code;
        match code {
            Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState
            | Code::SSL => Self::Login,
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::InvalidGroupId
            | Code::InvalidTopic
            | Code::InconsistentGroupProtocol
            | Code::Fatal => Self::Rights,
            Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicOrPartition => Self::NoTopic,
            Code::AllBrokersDown => Self::Away,
            _ => Self::Passing,
        }
    }
}

/// The consumer's context: it keeps what happened until the poller asks, and signs the tokens of the IAM login.
#[derive(Default)]
pub(super) struct Watch {
    events: Mutex<Vec<Event>>,
    tokens: Option<Tokens>,
}

/// Makes a token of now.
pub(super) type Tokens = Box<dyn Fn() -> Result<OAuthToken, NoToken> + Send + Sync>;

impl Watch {
    /// With this to make tokens with.
    pub(super) fn with(tokens: Option<Tokens>) -> Self {
        Self { tokens, ..Self::default() }
    }

    /// What happened since the last call, oldest first.
    pub(super) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn push(&self, event: Event) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("events", &self.events).finish_non_exhaustive()
    }
}

impl ClientContext for Watch {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    /// Called in a poll, so on the poller's thread.
    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        match &self.tokens {
            Some(token) => Ok(token()?),
            None => Err("no region was given for the IAM login".into()),
        }
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        use RDKafkaLogLevel as Level;
        match level {
            // Each failed connection is reported as an error; the poller logs an outage once, not per attempt.
            _ if matches!(facility, "FAIL" | "ERROR" | "SSL" | "SASL") => {
                tracing::debug!(target: "librdkafka", facility, "{line}");
            }
            Level::Emerg | Level::Alert | Level::Critical | Level::Error => {
                tracing::error!(target: "librdkafka", facility, "{line}");
            }
            Level::Warning => tracing::warn!(target: "librdkafka", facility, "{line}"),
            Level::Notice | Level::Info | Level::Debug => tracing::debug!(target: "librdkafka", facility, "{line}"),
        }
    }

    fn stats(&self, statistics: Statistics) {
        if statistics.brokers.values().any(|broker| broker.state == "UP") {
            self.push(Event::Reachable);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        if code != RDKafkaErrorCode::PartitionEOF {
            self.push(Event::Failed(Trouble::of(code), reason.to_owned()));
        }
    }
}

impl ConsumerContext for Watch {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let numbers =
            |list: &TopicPartitionList| list.elements().iter().map(TopicPartitionListElem::partition).collect();
        match rebalance {
            Rebalance::Assign(list) => self.push(Event::Assigned(numbers(list))),
            Rebalance::Revoke(list) => self.push(Event::Revoked(numbers(list))),
            Rebalance::Error(error) => self.push(Event::Failed(Trouble::Passing, error.to_string())),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        match result {
            Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
            // What is stored stays stored, and is committed with the next attempt.
            Err(error) => tracing::debug!(%error, "the offsets could not be committed yet"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_login_is_not_an_outage() {
        assert_eq!(Trouble::of(RDKafkaErrorCode::Authentication), Trouble::Login);
        assert_eq!(Trouble::of(RDKafkaErrorCode::TopicAuthorizationFailed), Trouble::Rights);
        assert_eq!(Trouble::of(RDKafkaErrorCode::AllBrokersDown), Trouble::Away);
        assert_eq!(Trouble::of(RDKafkaErrorCode::BrokerTransportFailure), Trouble::Passing, "one of several, perhaps");
        assert_eq!(Trouble::of(RDKafkaErrorCode::UnknownTopicOrPartition), Trouble::NoTopic);
    }

    #[test]
    fn events_are_told_once() {
        let watch = Watch::default();
        watch.error(KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
        watch.error(KafkaError::Global(RDKafkaErrorCode::PartitionEOF), "end");
        assert_eq!(watch.take(), [Event::Failed(Trouble::Away, "1/1 brokers are down".to_owned())]);
        assert!(watch.take().is_empty());
    }
}
