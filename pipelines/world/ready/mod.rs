//! READY: the permission to stream one run, taken from the control topic.
//!
//! ```text
//! a feed of the stages ──message::parse──► Incoming { message: Ready, source, ticket } ──► a verdict ──ticket──► feed
//!                  └─ FeedError ──► Refusal
//! ```
//!
//! The feeds themselves (files, Kafka, Kinesis) are those of [`wsp::feed`]. Here is what READY means to them: which messages are
//! one, what its place on the topic is called, and which reasons of the platform their errors have.

pub mod message;
pub mod publish;
mod refusal;

use std::path::Path;

use wsp::feed::{Decode, Decoded, Message, Raw};

pub use message::{Parsed, Ready};
pub use publish::{Outgoing, Published};
#[cfg(feature = "kafka")]
pub use wsp::feed::KafkaOptions;
#[cfg(feature = "kinesis")]
pub use wsp::feed::KinesisOptions;
pub use wsp::feed::{
    BootstrapServers, FeedCounts, FeedError, FileFeedOptions, Met, Probe, SaslMechanism, SecurityProtocol, Settlement,
    ShardPositions, Source, Unkept,
};

/// A READY with the way to settle it.
pub type Incoming = wsp::feed::Incoming<Ready>;

/// READYs from the file control bus: one JSON file each, in `<root>/<topic>/`.
pub type FileFeed<C> = wsp::feed::FileFeed<Ready, C>;

/// READYs from Kafka.
#[cfg(feature = "kafka")]
pub type KafkaFeed = wsp::feed::KafkaFeed<Ready>;

/// READYs from a Kinesis stream, whose positions are kept beside the checkpoints.
#[cfg(feature = "kinesis")]
pub type KinesisFeed<E = crate::model::Refusal> = wsp::feed::KinesisFeed<Ready, E>;

impl Message for Ready {
    fn is_same(&self, other: &Self) -> bool {
        self.payload.message_id == other.payload.message_id
    }
}

impl Decode for Ready {
    const MAX_BYTES: usize = message::MAX_BYTES;

    fn decode(raw: &Raw<'_>) -> Decoded<Self> {
        let at = raw.name;
        match message::parse(raw.payload, raw.topic) {
            Ok(Parsed::Ready(ready)) => Decoded::Message(*ready),
            Ok(Parsed::Other { topic, kind, why }) => {
                tracing::info!(at, %topic, kind, %why, "a message that is not for us is passed over");
                Decoded::Other
            }
            Err(error) => {
                tracing::warn!(at, %error, "a message that can't be read is passed over");
                Decoded::Invalid
            }
        }
    }
}

/// Reads a message's file, at most one byte more than the largest that is accepted.
///
/// # Errors
///
/// Why the file can't be read.
pub fn read_message(path: &Path) -> Result<Vec<u8>, String> {
    wsp::feed::read_file(path, message::MAX_BYTES).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use wsp::clock::SystemClock;

    use super::*;

    const GOLDEN: &str = include_str!("../../../tests/golden/ready/message.json");
    const TOPIC: &str = "fp.bus.control.v1";

    #[tokio::test]
    async fn what_is_no_ready_is_passed_over_and_counted() {
        let other_kind = GOLDEN.replace("\"READY\"", "\"RUN_CLOSED\"");
        let other_topic = GOLDEN.replace(TOPIC, "fp.bus.other.v1");
        let huge = format!("{GOLDEN}{}", " ".repeat(message::MAX_BYTES));
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join(TOPIC);
        std::fs::create_dir(&folder).unwrap();
        for (name, text) in [
            ("a.json", "{"),
            ("b.json", &other_kind),
            ("c.json", &other_topic),
            ("d.json", &huge),
            ("e.json", GOLDEN),
            ("f.txt", "x"),
            ("g.json", ""),
        ] {
            std::fs::write(folder.join(name), text).unwrap();
        }
        let options = FileFeedOptions { once: true, ..FileFeedOptions::new(root.path().to_owned(), TOPIC) };
        let mut feed = FileFeed::new(options, SystemClock::new());
        let incoming = feed.next().await.unwrap().unwrap();
        assert_eq!((incoming.source.topic.as_str(), incoming.source.partition), (TOPIC, None));
        assert_eq!(incoming.source.name, folder.join("e.json").display().to_string());
        assert!(feed.next().await.is_none());
        assert_eq!(feed.counts(), FeedCounts { given: 1, other: 2, invalid: 3 });
    }

    #[test]
    fn a_ready_is_told_apart_by_its_message_id() {
        let ready = |text: &str| {
            let raw = Raw { topic: TOPIC, key: None, payload: text.as_bytes(), name: "test" };
            let Decoded::Message(ready) = Ready::decode(&raw) else { panic!("no READY: {text}") };
            ready
        };
        let golden = ready(GOLDEN);
        let id = golden.payload.message_id.to_string();
        assert!(golden.is_same(&ready(&format!("{GOLDEN}\n"))));
        assert!(!golden.is_same(&ready(&GOLDEN.replace(&id, &"a".repeat(64)))));
    }
}
