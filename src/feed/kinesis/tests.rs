//! The feed on a stream inside the test: what only Kinesis has. What every feed owes is in `feed::contract`.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::{BoxFuture, ready as now};

use super::super::contract::{Incomings, Log, boxed};
use super::super::letter::{Letter, TOPIC, letter};
use super::super::{Settlement, ShardId, ShardPosition, TopicPlace, Unkept};
use super::double::{Double, sequence, shard_id};
use super::*;
use crate::clock::SystemClock;

const WAIT: Duration = Duration::from_secs(30);

type Feed = KinesisFeed<Letter, &'static str>;

/// Positions in memory; they can be away.
#[derive(Default)]
struct Memory {
    kept: Mutex<BTreeMap<ShardId, ShardPosition>>,
    away: AtomicBool,
}

impl Memory {
    fn check(&self) -> Result<(), &'static str> {
        if self.away.load(Ordering::SeqCst) { Err("away") } else { Ok(()) }
    }
}

impl ShardPositions for Memory {
    type Error = &'static str;

    fn load(&self) -> BoxFuture<'_, Result<Vec<ShardPosition>, Self::Error>> {
        let kept = self.kept.lock().unwrap().values().cloned().collect();
        Box::pin(now(self.check().map(|()| kept)))
    }

    fn save<'a>(&'a self, positions: &'a [ShardPosition]) -> BoxFuture<'a, Result<(), Self::Error>> {
        let saved = self.check().map(|()| {
            let mut kept = self.kept.lock().unwrap();
            kept.extend(positions.iter().map(|position| (position.shard_id.clone(), position.clone())));
        });
        Box::pin(now(saved))
    }
}

/// A stream, and what its consumer keeps.
#[derive(Default)]
pub(in crate::feed) struct StreamBus {
    stream: Double,
    positions: Arc<Memory>,
}

impl StreamBus {
    pub(in crate::feed) fn new() -> Self {
        Self::default()
    }

    /// With a stream that nothing was put on.
    pub(in crate::feed) fn empty() -> Self {
        let bus = Self::default();
        bus.stream.create(1);
        bus
    }

    fn feed(&self, change: impl FnOnce(&mut KinesisOptions)) -> Feed {
        let soon = Duration::from_millis(5);
        let mut options = KinesisOptions {
            read_interval: soon,
            catch_up_interval: soon,
            list_interval: soon,
            defer_pause: Duration::from_millis(50),
            ..KinesisOptions::new("control", TOPIC)
        };
        change(&mut options);
        let (stream, options) = (self.stream.clone(), Arc::new(options));
        let list: Look = {
            let stream = stream.clone();
            Arc::new(move || stream.list())
        };
        KinesisFeed::on(stream, list, options, self.positions.clone(), SystemClock::new()).unwrap()
    }
}

impl Log for StreamBus {
    fn publish(&self, bytes: &[u8]) {
        if !self.stream.exists() {
            self.stream.create(1);
        }
        self.stream.put(0, bytes);
    }

    fn open(&self, once: bool) -> Incomings {
        boxed(self.feed(|options| options.once = once).stream())
    }
}

async fn leave(feed: Feed) {
    let closed = feed.closed();
    drop(feed);
    tokio::time::timeout(WAIT, closed).await.expect("it ends");
}

async fn take(feed: &mut Feed) -> Incoming<Letter> {
    tokio::time::timeout(WAIT, feed.next()).await.expect("a message").unwrap().unwrap()
}

#[tokio::test]
async fn a_message_is_named_by_shard_and_sequence_number() {
    let bus = StreamBus::empty();
    let put = bus.stream.put(0, b"a");
    let mut feed = bus.feed(|_| {});
    let incoming = take(&mut feed).await;
    assert_eq!(incoming.source.topic, TOPIC);
    assert_eq!(incoming.source.partition, Some(TopicPlace::Text("shardId-000000000000".to_owned())));
    assert_eq!(incoming.source.offset, Some(TopicPlace::Text(put.as_str().to_owned())));
    assert_eq!(incoming.source.name, format!("control/shardId-000000000000/{put}"));
    drop(incoming);
    leave(feed).await;
}

#[tokio::test]
async fn a_verdict_after_the_stream_is_dropped_still_counts() {
    let bus = StreamBus::empty();
    let put = bus.stream.put(0, b"a");
    let mut feed = bus.feed(|_| {});
    let incoming = take(&mut feed).await;
    let closed = feed.closed();
    drop(feed);
    incoming.settle(Settlement::Verdict);
    tokio::time::timeout(WAIT, closed).await.expect("it ends");
    assert_eq!(bus.positions.kept.lock().unwrap()[&shard_id(0)].sequence_number, put);
}

#[tokio::test]
async fn garbage_is_counted_and_not_read_again() {
    let bus = StreamBus::empty();
    bus.stream.put(0, b"{");
    bus.stream.put(0, b"A");
    bus.stream.put(0, b"b");
    let mut feed = bus.feed(|options| options.once = true);
    take(&mut feed).await.settle(Settlement::Verdict);
    assert!(feed.next().await.is_none());
    assert_eq!(feed.counts(), FeedCounts { given: 1, other: 1, invalid: 1 });
    leave(feed).await;
    bus.stream.put(0, b"c");
    let mut again = bus.feed(|options| options.once = true);
    assert_eq!(letter(&take(&mut again).await), 'c');
    assert_eq!(again.counts(), FeedCounts { given: 1, other: 0, invalid: 0 });
}

#[tokio::test]
async fn a_stream_is_read_through_its_resharding_in_mid_service() {
    let bus = StreamBus::empty();
    bus.stream.put(0, b"a");
    let mut feed = bus.feed(|_| {});
    let mut seen = vec![letter(&take(&mut feed).await)];
    bus.stream.put(0, b"b");
    let [left, right] = bus.stream.split(0);
    bus.stream.put(left, b"c");
    for _ in 0..2 {
        seen.push(letter(&take(&mut feed).await));
    }
    bus.stream.put(right, b"d");
    seen.push(letter(&take(&mut feed).await));
    let merged = bus.stream.merge(left, right);
    bus.stream.put(merged, b"e");
    seen.push(letter(&take(&mut feed).await));
    assert_eq!(seen, ['a', 'b', 'c', 'd', 'e']);
    leave(feed).await;
}

#[tokio::test]
async fn at_its_bound_the_feed_reads_on_when_one_is_settled() {
    let bus = StreamBus::empty();
    for text in [b"a", b"b", b"c", b"d"] {
        bus.stream.put(0, text);
    }
    // A read brings three at a time here.
    let mut feed = bus.feed(|options| options.max_held = 3);
    let out = [take(&mut feed).await, take(&mut feed).await, take(&mut feed).await];
    let reads = bus.stream.calls("read");
    assert!(tokio::time::timeout(Duration::from_millis(200), feed.next()).await.is_err(), "three are out");
    assert_eq!(bus.stream.calls("read"), reads, "and nothing more is read");
    let [first, ..] = out;
    first.settle(Settlement::Verdict);
    assert_eq!(letter(&take(&mut feed).await), 'd');
}

#[tokio::test]
async fn positions_that_can_not_be_kept_are_kept_later() {
    let bus = StreamBus::empty();
    let put = bus.stream.put(0, b"a");
    let mut feed = bus.feed(|_| {});
    let incoming = take(&mut feed).await;
    bus.positions.away.store(true, Ordering::SeqCst);
    incoming.settle(Settlement::Verdict);
    bus.stream.put(0, b"b");
    assert_eq!(letter(&take(&mut feed).await), 'b', "reading goes on meanwhile");
    bus.positions.away.store(false, Ordering::SeqCst);
    leave(feed).await;
    assert_eq!(bus.positions.kept.lock().unwrap()[&shard_id(0)].sequence_number, put);
}

#[tokio::test]
async fn positions_that_stay_away_end_the_feed_before_anything_is_read() {
    let bus = StreamBus::empty();
    bus.stream.put(0, b"a");
    bus.positions.away.store(true, Ordering::SeqCst);
    let mut feed = bus.feed(|options| options.lost_after = Duration::from_millis(700));
    let error = tokio::time::timeout(WAIT, feed.next()).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, FeedError::Positions("away")));
    assert!(feed.next().await.is_none());
    assert_eq!(bus.stream.calls("list"), 0);
}

#[tokio::test]
async fn a_lost_stream_is_an_error_and_the_end() {
    let bus = StreamBus::empty();
    bus.stream.put(0, b"a");
    let mut feed = bus.feed(|options| options.lost_after = Duration::from_millis(300));
    take(&mut feed).await.settle(Settlement::Verdict);
    bus.stream.fail(vec![api::Fault::Refused("AccessDeniedException".to_owned()); 10_000]);
    let error = tokio::time::timeout(WAIT, feed.next()).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, FeedError::Unreachable { .. }));
    assert!(error.to_string().contains("lost: AccessDenied"), "{error}");
    assert!(feed.next().await.is_none());
    leave(feed).await;
    assert_eq!(bus.positions.kept.lock().unwrap()[&shard_id(0)].sequence_number, sequence(2), "the verdict is kept");
}

#[tokio::test]
async fn once_says_that_there_is_no_stream() {
    let mut feed = StreamBus::new().feed(|options| options.once = true);
    let error = tokio::time::timeout(WAIT, feed.next()).await.unwrap().unwrap().unwrap_err();
    assert!(error.to_string().contains("no such stream"), "{error}");
    assert!(feed.next().await.is_none());
}

#[tokio::test]
async fn the_probe_counts_open_shards() {
    let bus = StreamBus::new();
    let feed = bus.feed(|_| {});
    let probe = feed.probe();
    assert_eq!((probe.look(WAIT).await.unwrap(), probe.counted()), (0, "shards"));
    bus.stream.create(1);
    bus.stream.split(0);
    assert_eq!(probe.look(WAIT).await.unwrap(), 2);
    leave(feed).await;
    let error = probe.look(WAIT).await.unwrap_err();
    assert!(error.to_string().contains("closed"), "{error}");
}

#[test]
fn a_stream_without_a_name_is_refused() {
    let options = KinesisOptions::new("", TOPIC);
    let error = KinesisFeed::<Letter>::open(options, Arc::new(Unkept), SystemClock::new()).unwrap_err();
    assert!(matches!(error, FeedError::Missing(missing) if missing == [Setting::Stream]));
}
