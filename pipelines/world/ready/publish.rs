//! Puts a READY on the control topic. Each bus has its own way; what is put there is the same.
//!
//! ```text
//! Outgoing ──► a file in the topic's folder · a message of the topic · a record of the stream ──► Published: where it is
//! ```

use std::path::Path;

use bytes::Bytes;
#[cfg(any(feature = "kafka", feature = "kinesis"))]
use wsp::clock::Clock;
use wsp::disk::{RealDisk, files};
#[cfg(feature = "kafka")]
use wsp::feed::KafkaOptions;
#[cfg(feature = "kinesis")]
use wsp::feed::KinesisOptions;

use super::message::{self, Parsed};
use super::read_message;
use crate::model::{Hex64, Reason, Refusal};

/// A READY on its way to the control topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Its identity.
    pub message_id: Hex64,
    /// What decides on its partition or shard.
    pub partition_key: String,
    /// The message.
    pub body: Bytes,
}

/// A READY on the control topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Where it is: a file, topic/partition/offset, or stream/shard/sequence number.
    pub place: String,
    /// Whether it was put there now; it was there already else, which only the file bus can tell.
    pub new: bool,
}

/// Puts `ready` into the folder of `topic` below `root`, unless it is there. Whole or not at all, and durable when this
/// returns.
///
/// # Errors
///
/// `STORE_UNAVAILABLE` where it can't be written, or something else has its name.
pub fn to_folder(root: &Path, topic: &str, ready: &Outgoing) -> Result<Published, Refusal> {
    let folder = root.join(topic);
    let path = folder.join(format!("{}.json", ready.message_id));
    let place = path.display().to_string();
    let unavailable = |detail: String| Refusal::new(Reason::StoreUnavailable, detail).file(&place);
    let failed = |error: std::io::Error| unavailable(format!("the READY can't be put on the control topic: {error}"));
    files::create_folders(&RealDisk, &folder).map_err(failed)?;
    let new = files::create(&RealDisk, &path, &ready.body).map_err(failed)?;
    if !new && !holds(&path, topic, &ready.message_id) {
        return Err(unavailable("something that is not this READY has its name; remove the file".to_owned()));
    }
    Ok(Published { place, new })
}

/// Puts `ready` on the topic and waits until its replicas have it. It blocks, so it is not for a runtime's threads. Kafka has no way
/// to look a message up, so one that is there already is put there again: READY is at-least-once, and its consumers know it by
/// its id.
///
/// # Errors
///
/// `CONTROL_TOPIC_UNREACHABLE` where settings are missing or wrong, the broker refuses us, or it does not answer in time.
#[cfg(feature = "kafka")]
pub fn to_kafka<C: Clock>(options: &KafkaOptions, ready: &Outgoing, clock: &C) -> Result<Published, Refusal> {
    let place = options.publish(&ready.partition_key, &ready.body, clock)?;
    Ok(Published { place, new: true })
}

/// The same for each of these messages, over one connection. The first that is not accepted ends it.
///
/// # Errors
///
/// As [`to_kafka`].
#[cfg(feature = "kafka")]
pub fn each_to_kafka<C: Clock>(options: &KafkaOptions, messages: &[Outgoing], clock: &C) -> Result<(), Refusal> {
    let messages = messages.iter().map(|message| (message.partition_key.as_str(), &message.body[..]));
    Ok(options.publish_each(messages, clock)?)
}

/// Puts `ready` on the stream. A stream has no way to look a record up, so one that is there already is put there again, as on
/// Kafka.
///
/// # Errors
///
/// `CONTROL_BUS_STREAM_MISSING` where no stream is named, `CONTROL_TOPIC_UNREACHABLE` where the service refuses us or does not
/// accept it in time.
#[cfg(feature = "kinesis")]
pub async fn to_kinesis<C: Clock>(options: &KinesisOptions, ready: &Outgoing, clock: &C) -> Result<Published, Refusal> {
    let place = options.publish(&ready.partition_key, ready.body.clone(), clock).await?;
    Ok(Published { place, new: true })
}

fn holds(path: &Path, topic: &str, message_id: &Hex64) -> bool {
    let read = read_message(path).map(|bytes| message::parse(&bytes, topic));
    matches!(read, Ok(Ok(Parsed::Ready(ready))) if ready.payload.message_id == *message_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = include_str!("../../../tests/golden/ready/message.json");
    const TOPIC: &str = "fp.bus.control.v1";
    const ID: &str = "02e20a21892478b1c1fa3b7b8c86ad3fe80d5b07774862a145037b94746f0198";

    fn golden() -> Outgoing {
        Outgoing { message_id: ID.parse().unwrap(), partition_key: "key".to_owned(), body: GOLDEN.into() }
    }

    #[test]
    fn a_ready_is_put_there_once_and_alone() {
        let root = tempfile::tempdir().unwrap();
        let bus = root.path().join("not/yet");
        let first = to_folder(&bus, TOPIC, &golden()).unwrap();
        assert!(first.new && first.place.ends_with(&format!("{TOPIC}/{ID}.json")), "{first:?}");
        assert_eq!(std::fs::read_to_string(&first.place).unwrap(), GOLDEN);
        let again = Outgoing { body: format!("{GOLDEN} ").into(), ..golden() };
        let second = to_folder(&bus, TOPIC, &again).unwrap();
        assert_eq!(second, Published { new: false, ..first.clone() });
        assert_eq!(std::fs::read_to_string(&first.place).unwrap(), GOLDEN, "what is there stays");
        assert_eq!(std::fs::read_dir(bus.join(TOPIC)).unwrap().count(), 1, "nothing else is left for a feed to find");
    }

    #[test]
    fn a_file_of_its_name_that_is_another_message_is_refused_and_kept() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(TOPIC).join(format!("{ID}.json"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        for other in ["", "{", &GOLDEN.replace(ID, &"a".repeat(64)), &GOLDEN.replace(TOPIC, "another.topic")] {
            std::fs::write(&path, other).unwrap();
            let refusal = to_folder(root.path(), TOPIC, &golden()).unwrap_err();
            assert!(refusal.to_string().contains("has its name; remove the file"), "{refusal}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), other);
        }
    }

    #[test]
    fn a_bus_that_can_not_be_written_is_an_error_with_its_place() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("bus"), "a file").unwrap();
        let refusal = to_folder(&root.path().join("bus"), TOPIC, &golden()).unwrap_err();
        assert_eq!(refusal.reason, Reason::StoreUnavailable);
        assert!(refusal.to_string().contains("/bus/fp.bus.control.v1/"), "{refusal}");
    }
}
