//! Messages in a folder: one JSON file each, in `<root>/<topic>/`.
//!
//! ```text
//! folder ──scan, oldest first──► decode ──► Incoming ──verdict──► forgotten
//!    ▲                              │           ├─deferred─► again after a pause
//!    │                              │           └─may pass─► again after a growing pause, a bounded number of times
//!    └──────── poll ◄── for others, bad files: counted, logged once, skipped
//! ```

use std::collections::{HashMap, VecDeque};
use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use futures::stream::{self, Stream};
use tokio::sync::mpsc;

use super::message::{Desk, Ticket};
use super::{Decode, FeedCounts, FeedError, Incoming, Met, Raw, Settlement, Source};
use crate::clock::Clock;

/// The longest pause before a message that failed is given out again.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// How a folder is watched.
#[derive(Debug, Clone)]
pub struct FileFeedOptions {
    /// The folder with the topic's folder in it.
    pub root: PathBuf,
    /// The topic.
    pub topic: String,
    /// Ends when everything that is there was given out once.
    pub once: bool,
    /// Time between two looks at the folder.
    pub poll_interval: Duration,
    /// Time before a deferred message comes again.
    pub deferred_interval: Duration,
    /// Time before a message settled as [`Settlement::MayPass`] comes again; it doubles each time, up to a minute.
    pub retry_interval: Duration,
    /// How often such a message comes again at most, for one content of its file.
    pub retries: u32,
}

impl FileFeedOptions {
    /// Watches a topic's folder for good: every 100 ms,
    /// half a second between two looks at a deferred message, and ten more looks at a failed one over some six minutes.
    #[must_use]
    pub fn new(root: PathBuf, topic: &str) -> Self {
        Self {
            root,
            topic: topic.to_owned(),
            once: false,
            poll_interval: Duration::from_millis(100),
            deferred_interval: Duration::from_millis(500),
            retry_interval: Duration::from_secs(2),
            retries: 10,
        }
    }

    /// The same with `pause` between two looks, at the folder and at a message that is looked at again.
    #[must_use]
    pub fn every(self, pause: Duration) -> Self {
        Self { poll_interval: pause, deferred_interval: pause, retry_interval: pause, ..self }
    }
}

/// A file is looked at once for each content it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    len: u64,
}

/// The feed of messages `M`. [`FileFeed::stream`] turns it into a stream.
#[derive(Debug)]
pub struct FileFeed<M, C> {
    options: FileFeedOptions,
    folder: PathBuf,
    clock: C,
    seen: HashMap<PathBuf, Stamp>,
    waiting: VecDeque<PathBuf>,
    given: HashMap<u64, PathBuf>,
    /// Messages that come again, each not before its time.
    deferred: Vec<(Duration, PathBuf)>,
    /// How often a message has come again after it failed.
    retried: HashMap<PathBuf, u32>,
    next_id: u64,
    met: Met,
    desk: Desk,
    decodes: PhantomData<fn() -> M>,
}

impl<M: Decode, C: Clock> FileFeed<M, C> {
    /// A feed that has looked at nothing yet. The folder need not exist.
    #[must_use]
    pub fn new(options: FileFeedOptions, clock: C) -> Self {
        Self {
            folder: options.root.join(&options.topic),
            options,
            clock,
            seen: HashMap::new(),
            waiting: VecDeque::new(),
            given: HashMap::new(),
            deferred: Vec::new(),
            retried: HashMap::new(),
            next_id: 0,
            met: Met::default(),
            desk: mpsc::unbounded_channel(),
            decodes: PhantomData,
        }
    }

    /// The messages, oldest file first. Ends only with [`FileFeedOptions::once`].
    ///
    /// An item is an error where the folder is there but can't be listed; the feed looks again after it.
    pub fn stream(self) -> impl Stream<Item = Result<Incoming<M>, FeedError>> + Send {
        stream::unfold(self, |mut feed| async move { feed.next().await.map(|item| (item, feed)) })
    }

    /// What was met so far.
    #[must_use]
    pub fn counts(&self) -> FeedCounts {
        self.met.counts()
    }

    /// The same, for whoever turns the feed into a stream.
    #[must_use]
    pub fn met(&self) -> Met {
        self.met.clone()
    }

    /// The next message; `None` when there is nothing more to take.
    pub async fn next(&mut self) -> Option<Result<Incoming<M>, FeedError>> {
        loop {
            self.hear_settlements();
            while let Some(path) = self.waiting.pop_front() {
                if let Some(incoming) = self.look_at(&path) {
                    return Some(Ok(incoming));
                }
            }
            let listed = self.scan();
            if !self.waiting.is_empty() {
                continue;
            }
            if self.options.once {
                return listed.err().map(Err);
            }
            let wake = self.clock.now() + self.options.poll_interval;
            self.clock.sleep_until(wake).await;
            if let Err(error) = listed {
                return Some(Err(error));
            }
        }
    }

    fn hear_settlements(&mut self) {
        while let Ok((id, settlement)) = self.desk.1.try_recv() {
            let Some(path) = self.given.remove(&id) else { continue };
            let pause = match settlement {
                Settlement::Verdict => None,
                Settlement::Deferred => Some(self.options.deferred_interval),
                Settlement::MayPass => self.retry_pause(&path),
            };
            if let Some(pause) = pause {
                self.deferred.push((self.clock.now() + pause, path));
            }
        }
    }

    /// The pause before a message that failed comes again; `None` where it has come again often enough.
    fn retry_pause(&mut self, path: &Path) -> Option<Duration> {
        let FileFeedOptions { once, retries, retry_interval, .. } = self.options;
        let retried = self.retried.entry(path.to_owned()).or_default();
        if once || *retried == retries {
            return None;
        }
        let pause = retry_interval.saturating_mul(1 << (*retried).min(16)).min(retry_interval.max(LONGEST_PAUSE));
        *retried += 1;
        tracing::info!(file = %path.display(), look = *retried, of = retries, ?pause, "a failed message is given out again");
        Some(pause)
    }

    /// Puts new and changed files, and deferred ones whose pause is over, into the queue.
    fn scan(&mut self) -> Result<(), FeedError> {
        let now = self.clock.now();
        let once = self.options.once;
        let (due, later) = std::mem::take(&mut self.deferred).into_iter().partition(|(at, _)| !once && *at <= now);
        self.deferred = later;
        let mut found: Vec<(SystemTime, PathBuf)> = Vec::new();
        let unlisted = |error: io::Error| FeedError::Folder { folder: self.folder.clone(), error };
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(unlisted(error)),
        };
        for entry in entries {
            let path = entry.map_err(unlisted)?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            // A file that vanishes between listing and looking was not ours to take.
            let Ok(meta) = std::fs::metadata(&path) else { continue };
            let Ok(modified) = meta.modified() else { continue };
            let stamp = Stamp { modified, len: meta.len() };
            if meta.is_file() && self.seen.insert(path.clone(), stamp) != Some(stamp) {
                // Another content, looked at now: what was settled about the one before is over.
                self.retried.remove(&path);
                self.deferred.retain(|(_, deferred)| *deferred != path);
                found.push((modified, path));
            }
        }
        found.sort();
        let is_new = |path: &PathBuf| found.iter().any(|(_, new)| new == path);
        let again: Vec<PathBuf> =
            due.into_iter().map(|(_, path): (Duration, PathBuf)| path).filter(|path| !is_new(path)).collect();
        self.waiting.extend(found.into_iter().map(|(_, path)| path));
        self.waiting.extend(again);
        Ok(())
    }

    /// Reads one file. One that holds no message is counted, logged and passed over.
    fn look_at(&mut self, path: &Path) -> Option<Incoming<M>> {
        let file = path.display().to_string();
        let message = match read_file(path, M::MAX_BYTES) {
            Ok(bytes) => {
                let raw = Raw { topic: &self.options.topic, key: None, payload: &bytes, name: &file };
                self.met.decode(&raw)?
            }
            Err(error) => {
                self.met.note(|met| met.invalid += 1);
                tracing::warn!(at = file, %error, "a message that can't be read is passed over");
                return None;
            }
        };
        self.met.note(|met| met.given += 1);
        let id = self.next_id;
        self.next_id += 1;
        self.given.insert(id, path.to_owned());
        let source = Source { topic: self.options.topic.clone(), partition: None, offset: None, name: file };
        Some(Incoming { message, source, ticket: Ticket { id, desk: self.desk.0.clone() } })
    }
}

/// The content of a message's file: all of it, or `max_bytes` and one byte more.
///
/// # Errors
///
/// Where it can't be read.
pub fn read_file(path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(max_bytes as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::letter::{Letter, TOPIC};
    use super::*;
    use crate::clock::SystemClock;

    fn feed(root: &Path, once: bool) -> FileFeed<Letter, SystemClock> {
        let options = FileFeedOptions { once, ..FileFeedOptions::new(root.to_owned(), TOPIC) };
        FileFeed::new(options, SystemClock::new())
    }

    fn bus(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join(TOPIC)).unwrap();
        for (name, text) in files {
            std::fs::write(root.path().join(TOPIC).join(name), text).unwrap();
        }
        root
    }

    #[tokio::test]
    async fn what_is_no_message_is_passed_over_and_counted() {
        let huge = format!("x{}", " ".repeat(Letter::MAX_BYTES));
        let files =
            [("a.json", "{"), ("b.json", "X"), ("c.json", &huge), ("d.json", "x"), ("e.txt", "x"), ("f.json", "")];
        let root = bus(&files);
        let mut feed = feed(root.path(), true);
        assert_eq!(feed.next().await.unwrap().unwrap().source.partition, None);
        assert!(feed.next().await.is_none());
        assert_eq!(feed.counts(), FeedCounts { given: 1, other: 1, invalid: 3 });
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_yet_is_empty() {
        let root = tempfile::tempdir().unwrap();
        assert!(feed(root.path(), true).next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_verdict_settles_a_message_and_a_deferred_one_comes_again() {
        let root = bus(&[("d.json", "x")]);
        let mut feed = feed(root.path(), false);
        feed.next().await.unwrap().unwrap().settle(Settlement::Deferred);
        feed.next().await.unwrap().unwrap().settle(Settlement::Verdict);
        assert!(tokio::time::timeout(Duration::from_mins(1), feed.next()).await.is_err(), "settled for good");
        assert_eq!(feed.counts().given, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_re_emitted_file_is_looked_at_again() {
        let root = bus(&[("d.json", "x")]);
        let mut feed = feed(root.path(), false);
        feed.next().await.unwrap().unwrap().settle(Settlement::Verdict);
        std::fs::write(root.path().join(TOPIC).join("d.json"), "x\n").unwrap();
        assert!(feed.next().await.unwrap().is_ok());
    }

    /// When a message that is always settled like this is given out, in seconds from the first time.
    async fn given_at(feed: &mut FileFeed<Letter, SystemClock>, settlement: Settlement, looks: usize) -> Vec<u64> {
        let began = feed.clock.now();
        let mut at = Vec::new();
        while at.len() < looks
            && let Ok(Some(incoming)) = tokio::time::timeout(Duration::from_hours(1), feed.next()).await
        {
            at.push(feed.clock.now().saturating_sub(began).as_secs());
            incoming.unwrap().settle(settlement);
        }
        at
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_that_may_pass_is_looked_at_again_ten_times_with_growing_pauses() {
        let root = bus(&[("d.json", "x")]);
        let mut feed = feed(root.path(), false);
        let at = given_at(&mut feed, Settlement::MayPass, usize::MAX).await;
        assert_eq!(at, [0, 2, 6, 14, 30, 62, 122, 182, 242, 302, 362]);
        // Written anew it is another message, with its own looks.
        std::fs::write(root.path().join(TOPIC).join("d.json"), "x\n").unwrap();
        assert_eq!(given_at(&mut feed, Settlement::MayPass, usize::MAX).await.len(), 11);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_is_written_anew_while_it_waits_comes_once() {
        for settlement in [Settlement::MayPass, Settlement::Deferred] {
            let root = bus(&[("d.json", "x")]);
            let mut feed = feed(root.path(), false);
            feed.next().await.unwrap().unwrap().settle(settlement);
            std::fs::write(root.path().join(TOPIC).join("d.json"), "x\n").unwrap();
            assert_eq!(given_at(&mut feed, Settlement::Verdict, usize::MAX).await.len(), 1, "{settlement:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_is_asked_for_is_kept_at_each_look() {
        let root = bus(&[("d.json", "x")]);
        let options = FileFeedOptions::new(root.path().to_owned(), TOPIC).every(Duration::from_secs(90));
        let mut feed = FileFeed::<Letter, _>::new(options, SystemClock::new());
        let at = given_at(&mut feed, Settlement::Deferred, 3).await;
        assert!(at[1] >= 90 && at[2] >= at[1] + 90, "{at:?}");
        let at = given_at(&mut feed, Settlement::MayPass, 3).await;
        assert!(at[2] - at[1] <= 180, "no pause is longer than the one that was asked for: {at:?}");
    }

    #[tokio::test]
    async fn a_deferred_message_does_not_keep_once_waiting() {
        let root = bus(&[("d.json", "x")]);
        for settlement in [Settlement::Deferred, Settlement::MayPass] {
            let mut feed = feed(root.path(), true);
            feed.next().await.unwrap().unwrap().settle(settlement);
            assert!(feed.next().await.is_none(), "{settlement:?}");
        }
    }
}
