//! The contract of a feed, tested on each of them.

use std::cell::Cell;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use wsp::clock::SystemClock;

use super::kafka::tests::MockBus;
use super::kinesis::tests::StreamBus;
use super::{FileFeed, FileFeedOptions, Incoming, Settlement, message};
use crate::model::Refusal;

pub(super) const TOPIC: &str = "fp.bus.control.v1";
const GOLDEN: &str = include_str!("../../../tests/golden/ready/message.json");

/// A READY whose message id is told apart by `digit`.
pub(super) fn ready(digit: char) -> String {
    let id: serde_json::Value = serde_json::from_str(GOLDEN).unwrap();
    GOLDEN.replace(id["message_id"].as_str().unwrap(), &digit.to_string().repeat(64))
}

/// The digit of a READY made by [`ready`].
pub(super) fn digit(incoming: &Incoming) -> char {
    incoming.ready.payload.message_id.as_str().chars().next().unwrap()
}

pub(super) type Incomings = BoxStream<'static, Result<Incoming, Refusal>>;

/// The next READY. A minute is longer than any feed may take here.
async fn next(stream: &mut Incomings) -> Incoming {
    tokio::time::timeout(Duration::from_mins(1), stream.next()).await.expect("a READY").unwrap().unwrap()
}

async fn ended(stream: &mut Incomings) -> bool {
    tokio::time::timeout(Duration::from_mins(1), stream.next()).await.expect("the end").is_none()
}

/// A control bus under test.
pub(super) trait Bus {
    /// Puts a message on the topic, which comes to be with the first.
    fn publish(&self, bytes: &[u8]);

    /// A new consumer of the same group.
    fn open(&self, once: bool) -> Incomings;
}

struct FileBus {
    root: tempfile::TempDir,
    published: Cell<u32>,
}

impl FileBus {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), published: Cell::new(0) }
    }
}

impl Bus for FileBus {
    fn publish(&self, bytes: &[u8]) {
        let folder = self.root.path().join(TOPIC);
        std::fs::create_dir_all(&folder).unwrap();
        self.published.set(self.published.get() + 1);
        let name = folder.join(format!("{:06}", self.published.get()));
        std::fs::write(&name, bytes).unwrap();
        std::fs::rename(&name, name.with_extension("json")).unwrap();
    }

    fn open(&self, once: bool) -> Incomings {
        let soon = Duration::from_millis(20);
        let options = FileFeedOptions {
            once,
            poll_interval: soon,
            deferred_interval: soon,
            ..FileFeedOptions::new(self.root.path().to_owned(), TOPIC)
        };
        FileFeed::new(options, SystemClock::new()).stream().boxed()
    }
}

async fn once_gives_all_that_is_there_and_ends(bus: &impl Bus) {
    bus.publish(ready('a').as_bytes());
    bus.publish(ready('b').as_bytes());
    let mut feed = bus.open(true);
    for expected in ['a', 'b'] {
        let incoming = next(&mut feed).await;
        assert_eq!(digit(&incoming), expected);
        assert_eq!(incoming.source.topic, TOPIC);
        incoming.settle(Settlement::Verdict);
    }
    assert!(ended(&mut feed).await);
}

async fn once_ends_where_nothing_was_published(bus: &impl Bus) {
    assert!(ended(&mut bus.open(true)).await);
}

async fn once_does_not_wait_for_a_deferred_one(bus: &impl Bus) {
    bus.publish(ready('a').as_bytes());
    let mut feed = bus.open(true);
    next(&mut feed).await.settle(Settlement::Deferred);
    assert!(ended(&mut feed).await);
}

async fn what_is_no_ready_is_passed_over(bus: &impl Bus) {
    let huge = format!("{}{}", ready('b'), " ".repeat(message::MAX_BYTES));
    let other_kind = ready('c').replace("\"READY\"", "\"RUN_CLOSED\"");
    let other_topic = ready('d').replace(TOPIC, "fp.bus.other.v1");
    assert_ne!(other_kind, ready('c'));
    for bytes in [b"{".as_slice(), b"", b"\xff\xfe\x00", huge.as_bytes(), other_kind.as_bytes(), other_topic.as_bytes()]
    {
        bus.publish(bytes);
    }
    bus.publish(ready('a').as_bytes());
    let mut feed = bus.open(true);
    let incoming = next(&mut feed).await;
    assert_eq!(digit(&incoming), 'a');
    incoming.settle(Settlement::Verdict);
    assert!(ended(&mut feed).await);
}

async fn a_feed_may_be_there_before_its_topic(bus: &impl Bus) {
    let mut feed = bus.open(false);
    assert!(tokio::time::timeout(Duration::from_millis(200), feed.next()).await.is_err());
    bus.publish(ready('a').as_bytes());
    assert_eq!(digit(&next(&mut feed).await), 'a');
}

async fn a_deferred_one_comes_again_and_holds_up_no_other(bus: &impl Bus) {
    bus.publish(ready('a').as_bytes());
    bus.publish(ready('b').as_bytes());
    let mut feed = bus.open(false);
    let first = next(&mut feed).await;
    assert_eq!(digit(&first), 'a');
    first.settle(Settlement::Deferred);
    let second = next(&mut feed).await;
    assert_eq!(digit(&second), 'b');
    second.settle(Settlement::Verdict);
    let again = next(&mut feed).await;
    assert_eq!(digit(&again), 'a');
    again.settle(Settlement::Verdict);
    bus.publish(ready('c').as_bytes());
    assert_eq!(digit(&next(&mut feed).await), 'c', "neither of the settled ones came again");
}

async fn a_re_emitted_one_comes_again(bus: &impl Bus) {
    bus.publish(ready('a').as_bytes());
    let mut feed = bus.open(false);
    next(&mut feed).await.settle(Settlement::Verdict);
    bus.publish(ready('a').as_bytes());
    assert_eq!(digit(&next(&mut feed).await), 'a');
}

async fn two_may_be_out_at_a_time(bus: &impl Bus) {
    bus.publish(ready('a').as_bytes());
    bus.publish(ready('b').as_bytes());
    let mut feed = bus.open(true);
    let (first, second) = (next(&mut feed).await, next(&mut feed).await);
    assert_eq!((digit(&first), digit(&second)), ('a', 'b'));
    second.settle(Settlement::Verdict);
    first.settle(Settlement::Verdict);
    assert!(ended(&mut feed).await);
}

async fn an_unsettled_one_comes_again_after_a_restart(bus: &impl Bus) {
    bus.publish(ready('a').as_bytes());
    let mut feed = bus.open(false);
    let unsettled = next(&mut feed).await;
    drop((unsettled, feed));
    assert_eq!(digit(&next(&mut bus.open(false)).await), 'a');
}

macro_rules! owed_by {
    ($name:ident, $bus:expr, $($case:ident,)+) => {
        mod $name {
            use super::*;
            $(
                #[tokio::test]
                async fn $case() {
                    super::$case(&$bus).await;
                }
            )+
        }
    };
}

macro_rules! owed_by_every_feed {
    ($($case:ident,)+) => {
        owed_by!(file, FileBus::new(), $($case,)+);
        owed_by!(kafka, MockBus::new(), $($case,)+);
        owed_by!(kinesis, StreamBus::new(), $($case,)+);
    };
}

owed_by_every_feed! {
    once_gives_all_that_is_there_and_ends,
    once_does_not_wait_for_a_deferred_one,
    what_is_no_ready_is_passed_over,
    a_feed_may_be_there_before_its_topic,
    a_deferred_one_comes_again_and_holds_up_no_other,
    a_re_emitted_one_comes_again,
    two_may_be_out_at_a_time,
    an_unsettled_one_comes_again_after_a_restart,
}

/// Without a topic, too, where that is what a bus without messages is.
#[tokio::test]
async fn once_ends_where_there_is_nothing() {
    once_ends_where_nothing_was_published(&FileBus::new()).await;
    once_ends_where_nothing_was_published(&MockBus::new()).await;
    once_ends_where_nothing_was_published(&StreamBus::empty()).await;
}
