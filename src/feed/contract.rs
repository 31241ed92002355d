//! The contract of a feed, tested on each of them.

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};

use super::kafka::tests::MockBus;
use super::kinesis::tests::StreamBus;
use super::letter::{Letter, TOPIC, letter};
use super::{Decode, FileFeed, FileFeedOptions, Incoming, Settlement};
use crate::clock::SystemClock;

pub(super) type Incomings = BoxStream<'static, Result<Incoming<Letter>, String>>;

/// The stream of a feed, whatever it fails with.
pub(super) fn boxed<E: fmt::Display>(
    stream: impl Stream<Item = Result<Incoming<Letter>, E>> + Send + 'static,
) -> Incomings {
    stream.map(|item| item.map_err(|error| error.to_string())).boxed()
}

/// The next message. A minute is longer than any feed may take here.
async fn next(stream: &mut Incomings) -> Incoming<Letter> {
    tokio::time::timeout(Duration::from_mins(1), stream.next()).await.expect("a message").unwrap().unwrap()
}

async fn ended(stream: &mut Incomings) -> bool {
    tokio::time::timeout(Duration::from_mins(1), stream.next()).await.expect("the end").is_none()
}

/// A log under test.
pub(super) trait Log {
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

impl Log for FileBus {
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
        boxed(FileFeed::new(options, SystemClock::new()).stream())
    }
}

async fn once_gives_all_that_is_there_and_ends(bus: &impl Log) {
    bus.publish(b"a");
    bus.publish(b"b");
    let mut feed = bus.open(true);
    for expected in ['a', 'b'] {
        let incoming = next(&mut feed).await;
        assert_eq!(letter(&incoming), expected);
        assert_eq!(incoming.source.topic, TOPIC);
        incoming.settle(Settlement::Verdict);
    }
    assert!(ended(&mut feed).await);
}

async fn once_ends_where_nothing_was_published(bus: &impl Log) {
    assert!(ended(&mut bus.open(true)).await);
}

async fn once_does_not_wait_for_a_deferred_one(bus: &impl Log) {
    bus.publish(b"a");
    let mut feed = bus.open(true);
    next(&mut feed).await.settle(Settlement::Deferred);
    assert!(ended(&mut feed).await);
}

async fn what_is_no_message_is_passed_over(bus: &impl Log) {
    let huge = format!("b{}", " ".repeat(Letter::MAX_BYTES));
    for bytes in [b"{".as_slice(), b"", b"\xff\xfe\x00", huge.as_bytes(), b"C"] {
        bus.publish(bytes);
    }
    bus.publish(b"a");
    let mut feed = bus.open(true);
    let incoming = next(&mut feed).await;
    assert_eq!(letter(&incoming), 'a');
    incoming.settle(Settlement::Verdict);
    assert!(ended(&mut feed).await);
}

async fn a_feed_may_be_there_before_its_topic(bus: &impl Log) {
    let mut feed = bus.open(false);
    assert!(tokio::time::timeout(Duration::from_millis(200), feed.next()).await.is_err());
    bus.publish(b"a");
    assert_eq!(letter(&next(&mut feed).await), 'a');
}

async fn a_deferred_one_comes_again_and_holds_up_no_other(bus: &impl Log) {
    bus.publish(b"a");
    bus.publish(b"b");
    let mut feed = bus.open(false);
    let first = next(&mut feed).await;
    assert_eq!(letter(&first), 'a');
    first.settle(Settlement::Deferred);
    let second = next(&mut feed).await;
    assert_eq!(letter(&second), 'b');
    second.settle(Settlement::Verdict);
    let again = next(&mut feed).await;
    assert_eq!(letter(&again), 'a');
    again.settle(Settlement::Verdict);
    bus.publish(b"c");
    assert_eq!(letter(&next(&mut feed).await), 'c', "neither of the settled ones came again");
}

async fn a_re_emitted_one_comes_again(bus: &impl Log) {
    bus.publish(b"a");
    let mut feed = bus.open(false);
    next(&mut feed).await.settle(Settlement::Verdict);
    bus.publish(b"a");
    assert_eq!(letter(&next(&mut feed).await), 'a');
}

async fn two_may_be_out_at_a_time(bus: &impl Log) {
    bus.publish(b"a");
    bus.publish(b"b");
    let mut feed = bus.open(true);
    let (first, second) = (next(&mut feed).await, next(&mut feed).await);
    assert_eq!((letter(&first), letter(&second)), ('a', 'b'));
    second.settle(Settlement::Verdict);
    first.settle(Settlement::Verdict);
    assert!(ended(&mut feed).await);
}

async fn an_unsettled_one_comes_again_after_a_restart(bus: &impl Log) {
    bus.publish(b"a");
    let mut feed = bus.open(false);
    let unsettled = next(&mut feed).await;
    drop((unsettled, feed));
    assert_eq!(letter(&next(&mut bus.open(false)).await), 'a');
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
    what_is_no_message_is_passed_over,
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
