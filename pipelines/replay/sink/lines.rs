//! Events as lines of a file or of stdout.
//!
//! ```text
//! push ─► Output: lines that wait ──a block, or nothing to send──► file ──save: write, sync──► length ─► state
//! next start: the file is cut to the length that the state holds, so that nothing is in it twice
//! ```

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wsp::deliver::{Attempt, Gate, GateConnection, Takes};
use wsp::disk::{self, Disk, DiskFile, Kind, Mode, RealDisk, files};

use super::super::error::Error;
use super::super::event::Event;
use super::LineSink;
use super::judge::{broken, refused, taken};

/// Lines are written once so many bytes wait.
const BLOCK: usize = 64 << 10;

/// Lines on their way out.
#[derive(Debug)]
pub(in super::super) struct Output {
    waiting: Mutex<Waiting>,
    /// Locked while it is written, by threads that may wait for it.
    out: Mutex<Out>,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Bytes of all lines, with those that wait.
    length: u64,
    /// Where each line ends that no save has covered.
    ends: VecDeque<u64>,
    /// Lines that saves have covered, and where the last of them ends.
    settled: (u64, u64),
    /// Why nothing can be written any more: what comes later would leave a gap.
    failed: Option<String>,
}

#[derive(Debug)]
enum Out {
    Stdout,
    File(Box<dyn DiskFile>),
}

impl Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes)?;
                stdout.flush()
            }
            Self::File(file) => file.append(bytes),
        }
    }

    fn sync(&self) -> io::Result<()> {
        match self {
            Self::Stdout => Ok(()),
            Self::File(file) => file.sync_data(),
        }
    }
}

impl Output {
    /// Opens the sink. A file of an earlier start is cut to the `length` that was saved then. A file that already holds something
    /// else is refused, unless it is to be `overwritten`.
    ///
    /// # Errors
    ///
    /// If the file can't be written, is not the one that was written before, or holds something else.
    pub(in super::super) fn open(
        sink: &LineSink,
        length: Option<u64>,
        overwritten: bool,
    ) -> Result<(Self, u64), Error> {
        let (out, length) = match sink {
            LineSink::Stdout => (Out::Stdout, 0),
            LineSink::File(path) => {
                let opened = file(&RealDisk, path, length, overwritten);
                let (file, length) =
                    opened.map_err(|what| Error::flag("--to", format!("{}: {what}", path.display())))?;
                (Out::File(file), length)
            }
        };
        let waiting = Waiting { length, settled: (0, length), ..Waiting::default() };
        Ok((Self { waiting: Mutex::new(waiting), out: Mutex::new(out) }, length))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line; says whether it is time to write.
    fn add(&self, body: &[u8]) -> Result<bool, String> {
        let mut waiting = self.waiting();
        if let Some(why) = &waiting.failed {
            return Err(why.clone());
        }
        waiting.bytes.extend_from_slice(body);
        waiting.bytes.push(b'\n');
        waiting.length += body.len() as u64 + 1;
        let end = waiting.length;
        waiting.ends.push_back(end);
        Ok(waiting.bytes.len() >= BLOCK)
    }

    /// Writes what waits. It may wait for whoever reads.
    fn write(&self) -> Result<(), String> {
        self.write_out(false)
    }

    fn write_out(&self, synced: bool) -> Result<(), String> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = {
            let mut waiting = self.waiting();
            if let Some(why) = &waiting.failed {
                return Err(why.clone());
            }
            std::mem::take(&mut waiting.bytes)
        };
        let written = if bytes.is_empty() { Ok(()) } else { out.write(&bytes) };
        let done = written.and_then(|()| if synced { out.sync() } else { Ok(()) });
        done.map_err(|error| {
            let why = format!("the output can't be written: {error}");
            self.waiting().failed = Some(why.clone());
            why
        })
    }

    /// Makes all lines durable; the length of the output at the end of the first `lines` that this start has written.
    ///
    /// # Errors
    ///
    /// If it can't be written.
    pub(in super::super) fn settle(&self, lines: u64) -> Result<u64, Error> {
        self.write_out(true).map_err(|why| Error::flag("--to", why))?;
        let mut waiting = self.waiting();
        while waiting.settled.0 < lines {
            let Some(end) = waiting.ends.pop_front() else { break };
            waiting.settled = (waiting.settled.0 + 1, end);
        }
        Ok(waiting.settled.1)
    }
}

/// The file, locked, and how long it is now.
fn file(
    disk: &dyn Disk,
    path: &Path,
    length: Option<u64>,
    overwritten: bool,
) -> Result<(Box<dyn DiskFile>, u64), String> {
    let words = |error: io::Error| error.to_string();
    if let Some(meta) = disk.meta(path).ok().filter(|meta| meta.kind != Kind::File) {
        return Err(format!("it is no regular file ({:?}); --to - writes to stdout", meta.kind));
    }
    let file = disk.open(path, Mode::Append).map_err(words)?;
    if !file.try_lock().map_err(words)? {
        return Err("another process writes to it".to_owned());
    }
    let there = file.meta().map_err(words)?.len;
    let length = match length {
        Some(length) if there < length => {
            return Err(format!(
                "it has {there} bytes, and earlier starts have written {length}: it was changed; --fresh writes all of it again"
            ));
        }
        Some(length) => length,
        None if there > 0 && !overwritten => {
            return Err(format!("it holds {there} bytes already; name another file, or --fresh overwrites it"));
        }
        None => 0,
    };
    if there > length {
        file.set_len(length).map_err(words)?;
    }
    file.sync().and_then(|()| files::sync_entry(disk, path)).map_err(words)?;
    Ok((file, length))
}

/// The sink behind the push stage.
pub(in super::super) struct LineGate(pub(in super::super) Arc<Output>);

/// The only way to it.
pub(in super::super) struct LineConnection(Arc<Output>);

impl Gate for LineGate {
    type Connection = LineConnection;

    fn connection(&self) -> LineConnection {
        LineConnection(self.0.clone())
    }
}

impl LineConnection {
    /// Writes what waits, away from the runtime's thread: whoever reads a pipe may be slow.
    async fn write(&self) -> Result<(), String> {
        let output = self.0.clone();
        let done = disk::blocking(&RealDisk, move || output.write()).await;
        done.map_err(|error| error.to_string())?
    }
}

impl GateConnection for LineConnection {
    /// There is nothing to send for now, so that what waits is written: a reader sees events when they are due.
    async fn rest(&mut self) {
        if !self.0.waiting().bytes.is_empty() {
            // The next event or save reports why it failed.
            let _ = self.write().await;
        }
    }
}

impl Takes<Event> for LineConnection {
    async fn push(&mut self, event: &Event) -> Attempt {
        if event.body.contains(&b'\n') {
            return refused("the body has a line break in it, and a line of the output can't");
        }
        let written = match self.0.add(&event.body) {
            Ok(true) => self.write().await,
            Ok(false) => Ok(()),
            Err(why) => Err(why),
        };
        written.map_or_else(broken, |()| taken())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::super::testing::event;
    use super::*;

    struct Case(tempfile::TempDir);

    impl Case {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self) -> std::path::PathBuf {
            self.0.path().join("out.jsonl")
        }

        fn open(&self, length: Option<u64>, overwritten: bool) -> Result<(Output, u64), String> {
            let opened = Output::open(&LineSink::File(self.path()), length, overwritten);
            opened.map_err(|error| error.to_string())
        }

        fn text(&self) -> String {
            fs::read_to_string(self.path()).unwrap()
        }
    }

    #[test]
    fn a_save_knows_the_length_of_the_lines_that_it_covers() {
        let case = Case::new();
        let (output, start) = case.open(None, false).unwrap();
        assert_eq!(start, 0);
        for line in ["a", "bb", "ccc"] {
            assert_eq!(output.add(line.as_bytes()), Ok(false));
        }
        assert_eq!(output.settle(2).unwrap(), 5);
        assert_eq!(case.text(), "a\nbb\nccc\n", "all that was taken is written, also what the save does not cover");
        assert_eq!(output.settle(2).unwrap(), 5);
        assert!(case.open(None, true).unwrap_err().contains("another process"));
        drop(output);
        let (output, start) = case.open(Some(5), false).unwrap();
        assert_eq!((start, case.text().as_str()), (5, "a\nbb\n"));
        output.add(b"ccc").unwrap();
        assert_eq!((output.settle(1).unwrap(), case.text().as_str()), (9, "a\nbb\nccc\n"));
    }

    #[test]
    fn a_file_that_holds_something_else_is_not_touched() {
        let case = Case::new();
        fs::write(case.path(), "precious\n").unwrap();
        assert!(case.open(None, false).unwrap_err().contains("--fresh overwrites it"));
        assert!(case.open(Some(99), false).unwrap_err().contains("it was changed"));
        assert_eq!(case.text(), "precious\n");
        drop(case.open(None, true).unwrap());
        assert_eq!(case.text(), "");
        let folder = LineSink::File(case.0.path().to_owned());
        assert!(Output::open(&folder, None, true).unwrap_err().to_string().contains("no regular file"));
    }

    #[tokio::test]
    async fn lines_are_written_in_blocks_and_when_there_is_nothing_to_send() {
        let case = Case::new();
        let output = Arc::new(case.open(None, false).unwrap().0);
        let mut connection = LineGate(output.clone()).connection();
        let took = |attempt: Attempt| matches!(attempt, Attempt::Answered(answer) if answer.status() == 200);
        assert!(took(connection.push(&event(0, "{\"a\":1}")).await));
        assert_eq!(case.text(), "", "one line is no block");
        connection.rest().await;
        assert_eq!(case.text(), "{\"a\":1}\n");
        assert!(!took(connection.push(&event(1, "a\nb")).await));
        let long: &'static str = Box::leak("x".repeat(BLOCK).into_boxed_str());
        assert!(took(connection.push(&event(2, long)).await));
        assert_eq!(case.text().len(), 8 + BLOCK + 1);
        output.waiting().failed = Some("full".to_owned());
        assert!(matches!(connection.push(&event(3, "{}")).await, Attempt::ConnectionLost(_)));
        assert!(output.settle(3).is_err(), "nothing is saved of what may not be written");
    }
}
