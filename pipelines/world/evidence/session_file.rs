//! The session log's file, written on a thread of its own so that no stage waits for a disk.
//!
//! ```text
//! stages ──line──► queue (bounded) ──► thread ──many lines, one write──► session.jsonl
//! ```
//!
//! The log is for people. It never fails a run: what cannot be written is counted and told of once.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;
use wsp::clock::Clock;
use wsp::disk::{Disk, Mode, RealDisk, files};

use super::session::SessionEvent;
use crate::model::PlatformRunId;

/// Entries that may wait to be written.
const QUEUE: usize = 4096;
/// Bytes after which a write is made though more entries wait.
const BATCH: usize = 256 * 1024;

/// The session log of one platform run. Clones share it.
#[derive(Debug, Clone)]
pub struct SessionLog<C> {
    platform_run_id: PlatformRunId,
    clock: C,
    queue: Option<Sender<Message>>,
    health: Arc<Health>,
}

#[derive(Debug)]
enum Message {
    Line(String),
    Flush(oneshot::Sender<()>),
}

#[derive(Debug)]
struct Health {
    path: PathBuf,
    warned: AtomicBool,
}

impl Health {
    fn trouble(&self, error: &dyn std::fmt::Display) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(path = %self.path.display(), %error, "the session log is not whole; the run goes on");
        }
    }
}

impl<C: Clock> SessionLog<C> {
    /// The log at `path`, which is made with its folders when the first entry comes; `clock` dates the entries.
    /// The platform keeps it at `runs/fraud-platform/<platform_run_id>/session.jsonl`.
    #[must_use]
    pub fn open(path: impl Into<PathBuf>, platform_run_id: PlatformRunId, clock: C) -> Self {
        let health = Arc::new(Health { path: path.into(), warned: AtomicBool::new(false) });
        let (queue, mut entries) = channel(QUEUE);
        let of_thread = health.clone();
        let thread = std::thread::Builder::new().name("session-log".to_owned());
        let started = thread.spawn(move || keep(&mut entries, &of_thread));
        let queue = started.map_err(|error| health.trouble(&error)).ok().map(|_| queue);
        Self { platform_run_id, clock, queue, health }
    }

    /// Adds an entry. It is handed over without waiting; where the disk can't keep up it is left out.
    pub fn write(&self, event: &SessionEvent) {
        let Some(queue) = &self.queue else { return };
        match queue.try_send(Message::Line(event.line(&self.platform_run_id, self.clock.utc()))) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.health.trouble(&"the disk does not keep up"),
            Err(TrySendError::Closed(_)) => self.health.trouble(&"its thread is gone"),
        }
    }

    /// Resolves when all entries so far are in the file, or have failed to get there. Entries that nobody waited for
    /// are lost when the process leaves; a disk that hangs makes this wait, so a hard stop does without it.
    pub async fn flush(&self) {
        let Some(queue) = &self.queue else { return };
        let (done, flushed) = oneshot::channel();
        if queue.send(Message::Flush(done)).await.is_ok() {
            // The thread answers, or is gone.
            let _ = flushed.await;
        }
    }
}

/// Writes what comes until all senders are gone.
fn keep(entries: &mut Receiver<Message>, health: &Health) {
    while let Some(first) = entries.blocking_recv() {
        let (mut lines, mut flushed) = (String::new(), Vec::new());
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Line(line) => lines.push_str(&line),
                Message::Flush(done) => flushed.push(done),
            }
            next = if lines.len() < BATCH { entries.try_recv().ok() } else { None };
        }
        if let Err(error) = append(&health.path, lines.as_bytes()) {
            health.trouble(&error);
        }
        for done in flushed {
            // Nobody may be waiting any more.
            let _ = done.send(());
        }
    }
}

/// Opens the file anew each time: other components write to it too, and it may be moved away. They take no lock,
/// and one held by a stranger must not hold up a run; one write at the end of the file keeps lines whole.
fn append(path: &Path, lines: &[u8]) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let open = || RealDisk.open(path, Mode::Append);
    let file = open().or_else(|_| {
        files::create_folders(&RealDisk, path.parent().unwrap_or(path))?;
        open()
    })?;
    files::append_lines(&*file, lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wsp::clock::SystemClock;

    fn log(path: &Path) -> SessionLog<SystemClock> {
        SessionLog::open(path, "platform_20260101T000000Z".parse().unwrap(), SystemClock::new())
    }

    #[tokio::test]
    async fn entries_are_in_the_file_in_order_after_a_flush() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fraud-platform/run/session.jsonl");
        let log = log(&path);
        for i in 0..2000 {
            log.write(&SessionEvent::engine_world_selected(&format!("world {i}")));
        }
        log.flush().await;
        let text = std::fs::read_to_string(&path).unwrap();
        let roots = text.lines().map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["details"]["engine_run_root"].as_str().unwrap().to_owned()
        });
        assert!(roots.eq((0..2000).map(|i| format!("world {i}"))));
    }

    #[tokio::test]
    async fn a_half_line_of_a_crash_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("session.jsonl");
        std::fs::write(&path, "{\"comp").unwrap();
        let log = log(&path);
        log.write(&SessionEvent::engine_world_selected("world"));
        log.flush().await;
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("{\"comp\n{\"component\": \"wsp\""));
    }

    #[tokio::test]
    async fn a_log_that_cannot_be_written_harms_nobody() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let log = log(&dir.path().join("file/session.jsonl"));
        for _ in 0..2 {
            log.write(&SessionEvent::engine_world_selected("world"));
            log.flush().await;
        }
        assert!(log.health.warned.load(Ordering::Relaxed));
    }
}
