//! Questions about a topic, and what librdkafka says of its configuration.

use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::context::Trouble;

/// The topic's partitions; `None` where it does not exist.
pub(super) fn partitions<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> Result<Option<Vec<i32>>, KafkaError> {
    let missing = |code| Trouble::of(code) == Trouble::NoTopic;
    let metadata = match client.fetch_metadata(Some(topic), timeout) {
        Err(error) if error.rdkafka_error_code().is_some_and(missing) => return Ok(None),
        answered => answered?,
    };
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(None) };
    match found.error().map(RDKafkaErrorCode::from) {
        Some(code) if missing(code) => Ok(None),
        Some(code) => Err(KafkaError::MetadataFetch(code)),
        None => Ok(Some(found.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect())),
    }
}

/// A configuration error's own text would repeat the value, which may be the password.
pub(super) fn without_value(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, _, key, _) => format!("librdkafka does not take the setting {key}"),
        error => error.to_string(),
    }
}
