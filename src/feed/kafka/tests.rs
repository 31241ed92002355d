//! On librdkafka's mock cluster: what only Kafka has. What every feed owes is in `feed::contract`.

use std::cell::OnceCell;
use std::sync::Mutex;

use futures::StreamExt;
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};

use super::super::contract::{Incomings, Log, boxed};
use super::super::letter::{Letter, TOPIC, letter};
use super::super::{Fate, Setting, Settlement};
use super::*;
use crate::clock::SystemClock;

const WAIT: Duration = Duration::from_secs(30);

/// A cluster inside the test, with one topic.
pub(in crate::feed) struct MockBus {
    cluster: MockCluster<'static, DefaultProducerContext>,
    producer: BaseProducer,
    partitions: i32,
    created: OnceCell<()>,
}

impl MockBus {
    pub(in crate::feed) fn new() -> Self {
        Self::with_partitions(1)
    }

    fn with_partitions(partitions: i32) -> Self {
        let cluster = MockCluster::new(1).unwrap();
        let producer = ClientConfig::new().set("bootstrap.servers", cluster.bootstrap_servers()).create().unwrap();
        Self { cluster, producer, partitions, created: OnceCell::new() }
    }

    fn create(&self) {
        self.created.get_or_init(|| self.cluster.create_topic(TOPIC, self.partitions, 1).unwrap());
    }

    /// Puts a message into a partition; `None` is a tombstone.
    fn publish_to(&self, partition: i32, bytes: Option<&[u8]>) {
        self.create();
        let mut record: BaseRecord<'_, str, [u8]> = BaseRecord::to(TOPIC).partition(partition).key("key");
        record.payload = bytes;
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
        self.producer.flush(WAIT).unwrap();
    }

    fn options(&self) -> KafkaOptions {
        let quick = [("reconnect.backoff.ms", "20"), ("reconnect.backoff.max.ms", "50")];
        KafkaOptions {
            overrides: quick.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(),
            defer_pause: Duration::from_millis(50),
            metadata_interval: Duration::from_millis(200),
            session_timeout: Duration::from_secs(6),
            ..KafkaOptions::new(format!("PLAINTEXT://{}", self.cluster.bootstrap_servers()), TOPIC, "wsp")
        }
    }

    fn feed(&self, change: impl FnOnce(&mut KafkaOptions)) -> KafkaFeed<Letter> {
        let mut options = self.options();
        change(&mut options);
        KafkaFeed::open(options, SystemClock::new()).unwrap()
    }

    /// What a consumer that starts now gets, in any order.
    async fn left(&self) -> Vec<char> {
        let feed = self.feed(|options| options.once = true);
        let closed = feed.closed();
        let mut feed = boxed(feed.stream());
        let mut left = Vec::new();
        while let Some(incoming) = tokio::time::timeout(WAIT, feed.next()).await.unwrap() {
            left.push(letter(&incoming.unwrap()));
        }
        drop(feed);
        closed.await;
        left.sort_unstable();
        left
    }
}

impl Log for MockBus {
    fn publish(&self, bytes: &[u8]) {
        self.publish_to(0, Some(bytes));
    }

    fn open(&self, once: bool) -> Incomings {
        boxed(self.feed(|options| options.once = once).stream())
    }
}

/// Drops the feed and waits until it has left its group.
async fn leave(feed: KafkaFeed<Letter>) {
    let closed = feed.closed();
    drop(feed);
    tokio::time::timeout(WAIT, closed).await.expect("it leaves");
}

async fn take(feed: &mut KafkaFeed<Letter>) -> Incoming<Letter> {
    tokio::time::timeout(WAIT, feed.next()).await.expect("a message").unwrap().unwrap()
}

#[tokio::test]
async fn a_verdict_outlives_a_restart_and_a_deferral_does_not() {
    let bus = MockBus::new();
    for character in ['a', 'b', 'c'] {
        bus.publish(character.to_string().as_bytes());
    }
    let mut feed = bus.feed(|options| options.defer_pause = Duration::from_hours(1));
    take(&mut feed).await.settle(Settlement::Verdict);
    take(&mut feed).await.settle(Settlement::Deferred);
    take(&mut feed).await.settle(Settlement::Verdict);
    leave(feed).await;
    assert_eq!(bus.left().await, ['b', 'c'], "the deferred one holds back the one after it");
}

#[tokio::test]
async fn a_verdict_after_the_stream_is_dropped_still_counts() {
    let bus = MockBus::new();
    bus.publish(b"a");
    let mut feed = bus.feed(|_| {});
    let incoming = take(&mut feed).await;
    let closed = feed.closed();
    drop(feed);
    incoming.settle(Settlement::Verdict);
    tokio::time::timeout(WAIT, closed).await.expect("it leaves");
    assert!(bus.left().await.is_empty());
}

#[tokio::test]
async fn tombstones_and_garbage_are_counted_and_committed() {
    let bus = MockBus::new();
    bus.publish_to(0, None);
    bus.publish(b"{");
    bus.publish(b"a");
    bus.publish(b"garbage");
    let mut feed = bus.feed(|options| options.once = true);
    let incoming = take(&mut feed).await;
    assert_eq!(incoming.source.name, format!("{TOPIC}/0/2"));
    incoming.settle(Settlement::Verdict);
    assert!(feed.next().await.is_none());
    assert_eq!(feed.counts(), FeedCounts { given: 1, other: 1, invalid: 2 });
    leave(feed).await;
    bus.publish(b"b");
    let mut again = bus.feed(|_| {});
    let incoming = take(&mut again).await;
    assert_eq!(incoming.source.offset, Some(4.into()));
    assert_eq!(again.counts().invalid, 0, "what was passed over is not read again");
}

#[tokio::test]
async fn every_partition_is_read_and_settled_apart() {
    let bus = MockBus::with_partitions(3);
    for (partition, character) in [(0, 'a'), (0, 'b'), (1, 'c'), (2, 'd')] {
        bus.publish_to(partition, Some(character.to_string().as_bytes()));
    }
    let mut feed = bus.feed(|options| options.once = true);
    let mut seen = Vec::new();
    while let Some(incoming) = feed.next().await {
        let incoming = incoming.unwrap();
        seen.push((incoming.source.partition.clone().unwrap().to_string(), letter(&incoming)));
        let settlement = if letter(&incoming) == 'c' { Settlement::Deferred } else { Settlement::Verdict };
        incoming.settle(settlement);
    }
    seen.sort_unstable();
    let expected = [("0", 'a'), ("0", 'b'), ("1", 'c'), ("2", 'd')];
    assert_eq!(seen, expected.map(|(partition, character)| (partition.to_owned(), character)));
    leave(feed).await;
    assert_eq!(bus.left().await, ['c']);
}

#[tokio::test]
async fn at_its_bound_the_feed_reads_on_when_one_is_settled() {
    let bus = MockBus::new();
    for character in ['a', 'b', 'c'] {
        bus.publish(character.to_string().as_bytes());
    }
    let mut feed = bus.feed(|options| options.max_held = 2);
    let (first, second) = (take(&mut feed).await, take(&mut feed).await);
    assert!(tokio::time::timeout(Duration::from_millis(500), feed.next()).await.is_err(), "two are out");
    first.settle(Settlement::Verdict);
    assert_eq!(letter(&take(&mut feed).await), 'c');
    drop(second);
}

#[tokio::test]
async fn once_does_not_follow_what_comes_after_its_start() {
    let bus = MockBus::new();
    bus.publish(b"a");
    let mut feed = bus.feed(|options| options.once = true);
    let first = take(&mut feed).await;
    bus.publish(b"b");
    first.settle(Settlement::Verdict);
    assert!(feed.next().await.is_none());
    leave(feed).await;
    assert_eq!(bus.left().await, ['b']);
}

#[tokio::test]
async fn a_message_whose_partition_moves_is_left_to_the_new_owner() {
    let bus = MockBus::with_partitions(2);
    bus.publish_to(0, Some(b"a"));
    bus.publish_to(1, Some(b"b"));
    let mut first = bus.feed(|_| {});
    let out = [take(&mut first).await, take(&mut first).await];
    let mut second = bus.feed(|_| {});
    let moved = take(&mut second).await;
    // The verdict on the one that moved comes too late; the other's partition stayed.
    for incoming in out {
        incoming.settle(Settlement::Verdict);
    }
    leave(first).await;
    let unsettled = letter(&moved);
    drop(moved);
    leave(second).await;
    assert_eq!(bus.left().await, [unsettled]);
}

#[tokio::test]
async fn a_broker_that_goes_away_and_comes_back_is_waited_for() {
    let bus = MockBus::new();
    bus.publish(b"a");
    let mut feed = bus.feed(|_| {});
    take(&mut feed).await.settle(Settlement::Verdict);
    bus.cluster.broker_down(1).unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(2), feed.next()).await.is_err(), "no error, no end");
    bus.cluster.broker_up(1).unwrap();
    bus.publish(b"b");
    let incoming = take(&mut feed).await;
    assert_eq!(letter(&incoming), 'b');
    incoming.settle(Settlement::Verdict);
    leave(feed).await;
    // The group's coordinator may still be coming back when the feed leaves; then the last verdict's message comes
    // again, and no other.
    let left = bus.left().await;
    assert!(left.iter().all(|left| *left == 'b') && left.len() <= 1, "{left:?}");
}

#[tokio::test]
async fn without_a_broker_leaving_comes_to_an_end() {
    let bus = MockBus::new();
    bus.publish(b"a");
    // librdkafka itself would try for as long as the session lasts, or longer.
    let mut feed = bus.feed(|options| options.session_timeout = 10 * WAIT);
    let incoming = take(&mut feed).await;
    bus.cluster.broker_down(1).unwrap();
    incoming.settle(Settlement::Verdict);
    let mut closed = Box::pin(feed.closed());
    drop(feed);
    // Longer than leaving the group may take: the last offset is still offered.
    assert!(tokio::time::timeout(Duration::from_millis(5_500), &mut closed).await.is_err());
    tokio::time::timeout(WAIT, closed).await.expect("it leaves");
}

#[tokio::test]
async fn a_partition_that_comes_back_at_the_bound_is_not_read() {
    let bus = MockBus::with_partitions(2);
    for (partition, character) in [(0, 'a'), (0, 'b'), (1, 'c'), (1, 'd')] {
        bus.publish_to(partition, Some(character.to_string().as_bytes()));
    }
    let feed = |max_held| {
        bus.feed(|options| {
            options.max_held = max_held;
            // How soon a member learns that partitions move.
            options.overrides.push(("heartbeat.interval.ms".to_owned(), "200".to_owned()));
        })
    };
    let mut first = feed(1);
    let held = take(&mut first).await;
    let mut second = feed(64);
    drop(take(&mut second).await);
    leave(second).await;
    assert!(tokio::time::timeout(Duration::from_secs(3), first.next()).await.is_err(), "one is out");
    held.settle(Settlement::Verdict);
    take(&mut first).await;
}

#[tokio::test]
async fn an_outage_is_logged_once_and_so_is_its_end() {
    let lines = Lines::default();
    let logs = tracing_subscriber::fmt().with_ansi(false).with_writer(lines.clone()).finish();
    let _logs = tracing::subscriber::set_default(logs);
    let bus = MockBus::new();
    bus.publish(b"a");
    let mut feed = bus.feed(|_| {});
    take(&mut feed).await.settle(Settlement::Verdict);
    bus.cluster.broker_down(1).unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(3), feed.next()).await.is_err());
    assert_eq!((lines.count("can't be reached"), lines.count("reachable again")), (1, 0));
    bus.cluster.broker_up(1).unwrap();
    bus.publish(b"b");
    take(&mut feed).await.settle(Settlement::Verdict);
    assert_eq!((lines.count("can't be reached"), lines.count("reachable again")), (1, 1));
}

/// What was logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn count(&self, part: &str) -> usize {
        String::from_utf8_lossy(&self.0.lock().unwrap()).matches(part).count()
    }
}

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl tracing_subscriber::fmt::MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn once_says_that_no_broker_is_there() {
    let bus = MockBus::new();
    bus.cluster.broker_down(1).unwrap();
    let mut feed = bus.feed(|options| {
        options.once = true;
        options.reach_timeout = Duration::from_secs(1);
    });
    let error = tokio::time::timeout(WAIT, feed.next()).await.unwrap().unwrap().unwrap_err();
    assert!(
        matches!(error, FeedError::Unreachable { .. }) && error.to_string().contains("bootstrap servers"),
        "{error}"
    );
    assert!(feed.next().await.is_none());
}

#[tokio::test]
async fn the_probe_tells_an_absent_topic_from_an_absent_broker() {
    let bus = MockBus::with_partitions(2);
    let feed = bus.feed(|_| {});
    let probe = feed.probe();
    assert_eq!(probe.look(WAIT).await.unwrap(), 0);
    bus.create();
    assert_eq!(probe.look(WAIT).await.unwrap(), 2);
    bus.cluster.broker_down(1).unwrap();
    assert!(matches!(probe.look(Duration::from_secs(1)).await, Err(FeedError::Unreachable { .. })));
    bus.cluster.broker_up(1).unwrap();
    leave(feed).await;
    assert!(probe.look(WAIT).await.unwrap_err().to_string().contains("closed"));
}

#[test]
fn a_setting_that_librdkafka_does_not_take_is_named_without_its_value() {
    let overrides = vec![("no.such.setting".to_owned(), "hunter2".to_owned())];
    let options = KafkaOptions { overrides, ..KafkaOptions::new("127.0.0.1:9", TOPIC, "wsp") };
    let error = KafkaFeed::<Letter>::open(options, SystemClock::new()).unwrap_err().to_string();
    assert!(error.contains("no.such.setting") && !error.contains("hunter2"), "{error}");
}

/// Publishes off the runtime's thread, as a command does.
async fn publish(options: &KafkaOptions, letter: &'static str) -> Result<String, FeedError> {
    let options = options.clone();
    tokio::task::spawn_blocking(move || options.publish("key", letter.as_bytes(), &SystemClock::new())).await.unwrap()
}

#[tokio::test]
async fn what_is_published_is_given_out_and_its_place_is_known() {
    let bus = MockBus::new();
    bus.create();
    for (letter, offset) in [("a", 0), ("b", 1), ("a", 2)] {
        assert_eq!(publish(&bus.options(), letter).await.unwrap(), format!("{TOPIC}/0/{offset}"));
    }
    let mut feed = bus.feed(|_| {});
    for expected in ['a', 'b', 'a'] {
        let incoming = take(&mut feed).await;
        assert_eq!(letter(&incoming), expected);
        incoming.settle(Settlement::Verdict);
    }
    leave(feed).await;
}

#[tokio::test]
async fn a_message_that_no_broker_takes_is_an_error_that_names_the_broker() {
    let bus = MockBus::new();
    let nobody = KafkaOptions {
        bootstrap_servers: "127.0.0.1:1".to_owned(),
        reach_timeout: Duration::from_secs(1),
        ..bus.options()
    };
    let error = publish(&nobody, "a").await.unwrap_err();
    assert!(matches!(error, FeedError::NotAccepted { fate: Fate::Unknown, .. }), "{error}");
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    let nameless = KafkaOptions { topic: String::new(), ..bus.options() };
    assert!(matches!(publish(&nameless, "a").await, Err(FeedError::Missing(missing)) if missing == [Setting::Topic]));
}
