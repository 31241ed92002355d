//! READY from the file control bus: one JSON file a message, in `<root>/<topic>/`.
//!
//! ```text
//! folder ──scan, oldest first──► parse ──► Incoming ──verdict──► forgotten
//!    ▲                             │           └─deferred─► again after a pause
//!    └──────── poll ◄── other kinds, bad files: counted, logged once, passed over
//! ```

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use futures::stream::{self, Stream};
use tokio::sync::mpsc;

use super::{Desk, FeedCounts, Incoming, Met, Settlement, Source, Ticket, look_at, message};
use crate::clock::Clock;
use crate::model::{Reason, Refusal};

/// How a folder is watched.
#[derive(Debug, Clone)]
pub struct FileFeedOptions {
    /// The control bus, with the topic's folder in it.
    pub root: PathBuf,
    /// The topic.
    pub topic: String,
    /// Ends when everything that is there was given out once.
    pub once: bool,
    /// Time between two looks at the folder.
    pub poll_interval: Duration,
    /// Time before a deferred message comes again.
    pub deferred_interval: Duration,
}

impl FileFeedOptions {
    /// Watches a topic's folder for good: every 100 ms, which is a fraction of what a run's first event may wait for,
    /// and half a second between two looks at a deferred message.
    #[must_use]
    pub fn new(root: PathBuf, topic: &str) -> Self {
        Self {
            root,
            topic: topic.to_owned(),
            once: false,
            poll_interval: Duration::from_millis(100),
            deferred_interval: Duration::from_millis(500),
        }
    }
}

/// A file is looked at once for each content it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    len: u64,
}

/// The feed. [`FileFeed::stream`] turns it into a stream.
#[derive(Debug)]
pub struct FileFeed<C> {
    options: FileFeedOptions,
    folder: PathBuf,
    clock: C,
    seen: HashMap<PathBuf, Stamp>,
    waiting: VecDeque<PathBuf>,
    given: HashMap<u64, PathBuf>,
    deferred: Vec<(Duration, PathBuf)>,
    next_id: u64,
    met: Met,
    desk: Desk,
}

impl<C: Clock> FileFeed<C> {
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
            next_id: 0,
            met: Met::default(),
            desk: mpsc::unbounded_channel(),
        }
    }

    /// The READYs, oldest file first. Ends only with [`FileFeedOptions::once`].
    ///
    /// An item is an error where the folder is there but can't be listed; the feed looks again after it.
    pub fn stream(self) -> impl Stream<Item = Result<Incoming, Refusal>> + Send {
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

    /// The next READY; `None` when there is nothing more to take.
    pub async fn next(&mut self) -> Option<Result<Incoming, Refusal>> {
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
            if let Err(refusal) = listed {
                return Some(Err(refusal));
            }
        }
    }

    fn hear_settlements(&mut self) {
        while let Ok((id, settlement)) = self.desk.1.try_recv() {
            let Some(path) = self.given.remove(&id) else { continue };
            if settlement == Settlement::Deferred {
                self.deferred.push((self.clock.now() + self.options.deferred_interval, path));
            }
        }
    }

    /// Puts new and changed files, and deferred ones whose pause is over, into the queue.
    fn scan(&mut self) -> Result<(), Refusal> {
        let now = self.clock.now();
        let once = self.options.once;
        let (due, later) = std::mem::take(&mut self.deferred).into_iter().partition(|(at, _)| !once && *at <= now);
        self.deferred = later;
        let mut found: Vec<(SystemTime, PathBuf)> = Vec::new();
        let unlisted = |error: std::io::Error| {
            Refusal::new(Reason::StoreUnavailable, format!("the control topic's folder can't be listed: {error}"))
                .file(self.folder.display().to_string())
        };
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
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
                found.push((modified, path));
            }
        }
        found.sort();
        self.waiting.extend(found.into_iter().map(|(_, path)| path));
        self.waiting.extend(due.into_iter().map(|(_, path): (Duration, PathBuf)| path));
        Ok(())
    }

    /// Reads one file. Whatever is not a READY is counted, logged and passed over.
    fn look_at(&mut self, path: &Path) -> Option<Incoming> {
        let file = path.display().to_string();
        let ready = match read_message(path) {
            Ok(bytes) => look_at(&bytes, &self.options.topic, &file, &self.met)?,
            Err(error) => {
                self.met.note(|met| met.invalid += 1);
                tracing::warn!(message = file, error, "a message that can't be read is passed over");
                return None;
            }
        };
        self.met.note(|met| met.ready += 1);
        let id = self.next_id;
        self.next_id += 1;
        self.given.insert(id, path.to_owned());
        let source = Source { topic: self.options.topic.clone(), partition: None, offset: None, name: file };
        Some(Incoming { ready, source, ticket: Ticket { id, desk: self.desk.0.clone() } })
    }
}

/// Reads a message's file, at most one byte more than the largest that is accepted.
///
/// # Errors
///
/// Why the file can't be read.
pub fn read_message(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(message::MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    const GOLDEN: &str = include_str!("../../tests/golden/ready/message.json");
    const TOPIC: &str = "fp.bus.control.v1";

    fn feed(root: &Path, once: bool) -> FileFeed<SystemClock> {
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
    async fn what_is_no_ready_is_passed_over_and_counted() {
        let other = GOLDEN.replace("\"READY\"", "\"RUN_CLOSED\"");
        let huge = format!("{GOLDEN}{}", " ".repeat(message::MAX_BYTES));
        let root = bus(&[
            ("a.json", "{"),
            ("b.json", &other),
            ("c.json", &huge),
            ("d.json", GOLDEN),
            ("e.txt", "x"),
            ("f.json", ""),
        ]);
        let mut feed = feed(root.path(), true);
        assert_eq!(feed.next().await.unwrap().unwrap().source.partition, None);
        assert!(feed.next().await.is_none());
        assert_eq!(feed.counts(), FeedCounts { ready: 1, other: 1, invalid: 3 });
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_yet_is_empty() {
        let root = tempfile::tempdir().unwrap();
        assert!(feed(root.path(), true).next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_verdict_settles_a_message_and_a_deferred_one_comes_again() {
        let root = bus(&[("d.json", GOLDEN)]);
        let mut feed = feed(root.path(), false);
        feed.next().await.unwrap().unwrap().settle(Settlement::Deferred);
        feed.next().await.unwrap().unwrap().settle(Settlement::Verdict);
        assert!(tokio::time::timeout(Duration::from_mins(1), feed.next()).await.is_err(), "settled for good");
        assert_eq!(feed.counts().ready, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_re_emitted_file_is_looked_at_again() {
        let root = bus(&[("d.json", GOLDEN)]);
        let mut feed = feed(root.path(), false);
        feed.next().await.unwrap().unwrap().settle(Settlement::Verdict);
        std::fs::write(root.path().join(TOPIC).join("d.json"), format!("{GOLDEN}\n")).unwrap();
        assert!(feed.next().await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_deferred_message_does_not_keep_once_waiting() {
        let root = bus(&[("d.json", GOLDEN)]);
        let mut feed = feed(root.path(), true);
        feed.next().await.unwrap().unwrap().settle(Settlement::Deferred);
        assert!(feed.next().await.is_none());
    }
}
