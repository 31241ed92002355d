//! Cursors in files, in the layout of the producer in place, so that either goes on where the other stopped.
//!
//! ```text
//! <root>/<scope key>/.lock                                held while a run streams
//!                    output_id=<id>/cursor.json           where it stands: temp, fsync, rename, fsync the folder
//!                                   cursor.jsonl          every save, for people; never read back
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;

use super::{CheckpointScope, CheckpointStore, Cursor};
use crate::clock::Clock;
use crate::model::{Hex64, Micros, OutputId, Reason, Refusal, json};
use crate::store::files::{self, Staged};

/// What a cursor file may hold at most, in bytes; a real one has some 500.
const LIMIT: u64 = 64 * 1024;

/// Checkpoints below a folder.
#[derive(Debug, Clone)]
pub struct FileCheckpoints<C> {
    root: PathBuf,
    clock: C,
}

impl<C: Clock> FileCheckpoints<C> {
    /// Checkpoints below `root`, which is made by the first [`CheckpointStore::open`]. `clock` dates the saves.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, clock: C) -> Self {
        Self { root: root.into(), clock }
    }

    fn place(&self, scope: &Hex64) -> Place {
        Place { scope: scope.clone(), folder: self.root.join(scope.as_str()) }
    }

    async fn hold(&self, scope: &Hex64) -> Result<FileScope<C>, Refusal> {
        let place = self.place(scope);
        let held = blocking(move || place.hold()).await?;
        Ok(FileScope { held: Arc::new(Mutex::new(held)), clock: self.clock.clone() })
    }
}

impl<C: Clock + std::fmt::Debug> CheckpointStore for FileCheckpoints<C> {
    fn open<'a>(&'a self, scope: &'a Hex64) -> BoxFuture<'a, Result<Box<dyn CheckpointScope>, Refusal>> {
        async move { Ok(Box::new(self.hold(scope).await?) as Box<dyn CheckpointScope>) }.boxed()
    }

    fn peek<'a>(&'a self, scope: &'a Hex64, outputs: &'a [OutputId]) -> BoxFuture<'a, Result<Vec<Cursor>, Refusal>> {
        let (place, outputs) = (self.place(scope), outputs.to_vec());
        blocking(move || place.read_all(&outputs)).boxed()
    }

    fn reset<'a>(&'a self, scope: &'a Hex64, outputs: &'a [OutputId]) -> BoxFuture<'a, Result<(), Refusal>> {
        async move {
            let (place, outputs) = (self.place(scope), outputs.to_vec());
            blocking(move || place.hold()?.drop_cursors(&outputs)).await
        }
        .boxed()
    }
}

/// A scope that this process holds. The hold goes with the last use of `held`, so a save that was abandoned
/// half-way still ends before another producer gets in.
struct FileScope<C> {
    held: Arc<Mutex<Held>>,
    clock: C,
}

impl<C: Clock> CheckpointScope for FileScope<C> {
    fn load<'a>(&'a mut self, outputs: &'a [OutputId]) -> BoxFuture<'a, Result<Vec<Cursor>, Refusal>> {
        let (held, outputs) = (self.held.clone(), outputs.to_vec());
        blocking(move || {
            let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
            let cursors = held.place.read_all(&outputs)?;
            held.saved.extend(cursors.iter().map(|cursor| (cursor.output_id.clone(), cursor.clone())));
            Ok(cursors)
        })
        .boxed()
    }

    fn save<'a>(&'a mut self, cursors: &'a [Cursor]) -> BoxFuture<'a, Result<(), Refusal>> {
        let (held, cursors, now) = (self.held.clone(), cursors.to_vec(), self.clock.utc());
        blocking(move || {
            let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
            held.save(&cursors, now)
        })
        .boxed()
    }
}

/// Where a scope's files are.
struct Place {
    scope: Hex64,
    folder: PathBuf,
}

impl Place {
    fn cursor_file(&self, output: &OutputId) -> PathBuf {
        self.folder.join(format!("output_id={output}")).join("cursor.json")
    }

    fn hold(self) -> Result<Held, Refusal> {
        let unusable = |error: io::Error| failed(&self.folder, &error);
        files::create_folders(&self.folder).map_err(unusable)?;
        let lock = OpenOptions::new().create(true).append(true).open(self.folder.join(".lock")).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Held { place: self, _lock: lock, saved: BTreeMap::new(), logs: BTreeMap::new() }),
            Err(TryLockError::WouldBlock) => {
                let detail = "another producer holds this folder";
                Err(Refusal::new(Reason::CheckpointScopeBusy, detail).file(self.folder.to_string_lossy()))
            }
            Err(TryLockError::Error(error)) => Err(unusable(error)),
        }
    }

    fn read_all(&self, outputs: &[OutputId]) -> Result<Vec<Cursor>, Refusal> {
        outputs.iter().filter_map(|output| self.read(output).transpose()).collect()
    }

    fn read(&self, output: &OutputId) -> Result<Option<Cursor>, Refusal> {
        let path = self.cursor_file(output);
        let refuse = |reason, detail: String| Refusal::new(reason, detail).file(path.to_string_lossy());
        let unreadable = |detail: String| refuse(Reason::CheckpointUnreadable, detail);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error.to_string())),
        };
        let mut bytes = Vec::new();
        file.take(LIMIT + 1).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
        if bytes.len() as u64 > LIMIT {
            return Err(unreadable(format!("more than {LIMIT} bytes")));
        }
        let saved: Saved = serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
        let foreign = |field: &str, inside: &str, folder: &str| {
            let detail = format!("the file says {inside}, its folder {folder}");
            refuse(Reason::CheckpointForeign, detail).field(field)
        };
        if saved.pack_key != self.scope {
            return Err(foreign("pack_key", saved.pack_key.as_str(), self.scope.as_str()));
        }
        if saved.cursor.output_id != *output {
            return Err(foreign("output_id", saved.cursor.output_id.as_str(), output.as_str()));
        }
        Ok(Some(saved.cursor))
    }
}

/// A cursor file. Keys that a later producer may add are left alone; the ones we know have to be there.
#[derive(Deserialize)]
struct Saved {
    pack_key: Hex64,
    #[serde(flatten)]
    cursor: Cursor,
    #[serde(rename = "updated_at_utc")]
    _updated_at_utc: String,
}

struct Held {
    place: Place,
    _lock: File,
    saved: BTreeMap<OutputId, Cursor>,
    logs: BTreeMap<OutputId, File>,
}

impl Held {
    /// Saves all that moved. Each step is taken for all outputs before the next one, so that the file system's work for
    /// one serves the others.
    fn save(&mut self, cursors: &[Cursor], now: Micros) -> Result<(), Refusal> {
        let mut moved = Vec::new();
        for cursor in cursors {
            if self.saved.get(&cursor.output_id) == Some(cursor) {
                continue;
            }
            let path = self.place.cursor_file(&cursor.output_id);
            self.check(cursor, &path)?;
            self.open_log(cursor, &path).map_err(|error| failed(&path, &error))?;
            moved.push((cursor, self.text(cursor, now), path));
        }
        let mut staged = Vec::with_capacity(moved.len());
        for (_, text, path) in &moved {
            staged.push((path, Staged::write(path, text.as_bytes()).map_err(|error| failed(path, &error))?));
        }
        for (path, file) in &staged {
            file.sync().map_err(|error| failed(path, &error))?;
        }
        for (path, file) in staged {
            file.publish().map_err(|error| failed(path, &error))?;
        }
        for (cursor, text, path) in moved {
            files::sync_folder(&path).map_err(|error| failed(&path, &error))?;
            // The log is history, written after the fact and not synced: losing its end loses no position.
            if let Some(log) = self.logs.get_mut(&cursor.output_id) {
                files::append_lines(log, format!("{text}\n").as_bytes()).map_err(|error| failed(&path, &error))?;
            }
            self.saved.insert(cursor.output_id.clone(), cursor.clone());
        }
        Ok(())
    }

    /// Order among files is the view's affair; within one file going back can be seen here, and is a fault.
    fn check(&self, cursor: &Cursor, path: &Path) -> Result<(), Refusal> {
        match self.saved.get(&cursor.output_id) {
            Some(known) if known.last_file == cursor.last_file && known.last_row_index > cursor.last_row_index => {
                Err(failed(path, &io::Error::other("the new position is before the saved one")))
            }
            _ => Ok(()),
        }
    }

    fn text(&self, cursor: &Cursor, now: Micros) -> String {
        json::spaced(&json!({
            "pack_key": self.place.scope.as_str(),
            "output_id": cursor.output_id.as_str(),
            "last_file": cursor.last_file,
            "last_row_index": cursor.last_row_index,
            "last_ts_utc": cursor.last_ts_utc,
            "updated_at_utc": now.offset_text(),
        }))
    }

    /// Opens the output's log, and its folder with it, when it is saved for the first time.
    fn open_log(&mut self, cursor: &Cursor, path: &Path) -> io::Result<()> {
        if !self.logs.contains_key(&cursor.output_id) {
            let folder = path.parent().unwrap_or(path);
            files::create_folders(folder)?;
            files::sweep(folder)?;
            let log = OpenOptions::new().create(true).read(true).append(true).open(path.with_extension("jsonl"))?;
            self.logs.insert(cursor.output_id.clone(), log);
        }
        Ok(())
    }

    /// Drops the cursors; the logs stay as history.
    fn drop_cursors(&mut self, outputs: &[OutputId]) -> Result<(), Refusal> {
        for output in outputs {
            let path = self.place.cursor_file(output);
            let dropped = match fs::remove_file(&path) {
                Ok(()) => files::sync_folder(&path),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error),
            };
            dropped.map_err(|error| failed(&path, &error))?;
            self.saved.remove(output);
        }
        Ok(())
    }
}

fn failed(path: &Path, error: &io::Error) -> Refusal {
    Refusal::new(Reason::CheckpointSaveFailed, error.to_string()).file(path.to_string_lossy())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refusal> + Send + 'static) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Refusal::new(Reason::InternalError, format!("checkpoint files: {error}"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    const SCOPE: &str = "99244ea4c111f8bd0f218f542701b02e21a4057324c319250b7c46eaf8eaf9e7";
    const OUTPUT: &str = "arrival_events_5B";
    const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/ready/checkpoints");
    const OUTPUTS: [(&str, u64); 4] = [
        (OUTPUT, 49),
        ("s1_arrival_entities_6B", 49),
        ("s3_flow_anchor_with_fraud_6B", 49),
        ("s3_event_stream_with_fraud_6B", 99),
    ];

    /// A clock that shows one time.
    #[derive(Debug, Clone)]
    struct At(Micros);

    impl Clock for At {
        fn now(&self) -> std::time::Duration {
            std::time::Duration::ZERO
        }

        fn utc(&self) -> Micros {
            self.0
        }

        fn sleep_until(&self, _: std::time::Duration) -> impl Future<Output = ()> + Send + 'static {
            std::future::ready(())
        }
    }

    fn scope() -> Hex64 {
        SCOPE.parse().unwrap()
    }

    fn output() -> OutputId {
        OUTPUT.parse().unwrap()
    }

    fn golden_file(output: &str) -> String {
        fs::read_to_string(format!("{GOLDEN}/{SCOPE}/output_id={output}/cursor.json")).unwrap()
    }

    fn cursor(last_row_index: u64) -> Cursor {
        let last_file = "v/part-000000.parquet".to_owned();
        Cursor { output_id: output(), last_file, last_row_index, last_ts_utc: None }
    }

    fn store(dir: &tempfile::TempDir) -> FileCheckpoints<SystemClock> {
        FileCheckpoints::new(dir.path(), SystemClock::new())
    }

    fn cursor_path(dir: &tempfile::TempDir) -> PathBuf {
        dir.path().join(SCOPE).join(format!("output_id={OUTPUT}")).join("cursor.json")
    }

    #[tokio::test]
    async fn reads_what_the_producer_in_place_left() {
        let outputs: Vec<OutputId> = OUTPUTS.iter().map(|(output, _)| output.parse().unwrap()).collect();
        let cursors = FileCheckpoints::new(GOLDEN, SystemClock::new()).peek(&scope(), &outputs).await.unwrap();
        for (cursor, (output, row)) in cursors.iter().zip(OUTPUTS) {
            assert_eq!((cursor.output_id.as_str(), cursor.last_row_index), (output, row));
            assert_eq!(cursor.last_file, format!("world/stream_view/ts_utc/output_id={output}/part-000000.parquet"));
            assert_eq!(cursor.last_ts_utc.as_deref(), Some("2026-01-02T22:26:25.681764Z"));
        }
        assert_eq!(cursors.len(), 4);
    }

    #[tokio::test]
    async fn leaves_what_the_producer_in_place_reads_byte_for_byte() {
        let dir = tempfile::tempdir().unwrap();
        for (name, _) in OUTPUTS {
            let golden = golden_file(name);
            let saved: serde_json::Value = serde_json::from_str(&golden).unwrap();
            let now = Micros::parse(saved["updated_at_utc"].as_str().unwrap().as_bytes()).unwrap();
            let cursor: Cursor = serde_json::from_value(saved).unwrap();
            let store = FileCheckpoints::new(dir.path(), At(now));
            store.open(&scope()).await.unwrap().save(&[cursor]).await.unwrap();
            let folder = dir.path().join(SCOPE).join(format!("output_id={name}"));
            assert_eq!(fs::read_to_string(folder.join("cursor.json")).unwrap(), golden);
            assert_eq!(fs::read_to_string(folder.join("cursor.jsonl")).unwrap(), format!("{golden}\n"));
            let log = fs::read_to_string(format!("{GOLDEN}/{SCOPE}/output_id={name}/cursor.jsonl")).unwrap();
            assert_eq!(log.lines().last(), Some(golden.as_str()), "the golden log has the cursor's own form");
        }
    }

    #[tokio::test]
    async fn a_scope_has_one_holder() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (store(&dir), store(&dir));
        let held = first.open(&scope()).await.unwrap();
        let refusal = second.open(&scope()).await.err().unwrap();
        assert_eq!(refusal.reason, Reason::CheckpointScopeBusy);
        assert!(refusal.place.file.unwrap().ends_with(SCOPE));
        assert_eq!(second.reset(&scope(), &[output()]).await.unwrap_err().reason, Reason::CheckpointScopeBusy);
        second.open(&Hex64::sha256("another scope")).await.unwrap();
        drop(held);
        second.open(&scope()).await.unwrap();
    }

    #[tokio::test]
    async fn saves_and_loads_and_resets() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        assert_eq!(store.peek(&scope(), &[output()]).await.unwrap(), []);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "a look makes nothing");
        let mut held = store.open(&scope()).await.unwrap();
        for row in [3, 3, 7] {
            held.save(&[cursor(row)]).await.unwrap();
        }
        assert_eq!(held.save(&[cursor(6)]).await.unwrap_err().reason, Reason::CheckpointSaveFailed);
        assert_eq!(held.load(&[output()]).await.unwrap(), [cursor(7)]);
        drop(held);
        let log = fs::read_to_string(cursor_path(&dir).with_extension("jsonl")).unwrap();
        assert_eq!(log.lines().count(), 2, "an unchanged cursor is not written again");
        store.reset(&scope(), &[output(), "other".parse().unwrap()]).await.unwrap();
        assert_eq!(store.peek(&scope(), &[output()]).await.unwrap(), []);
    }

    #[tokio::test]
    async fn what_a_crash_left_is_cleared_up() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        store.open(&scope()).await.unwrap().save(&[cursor(1)]).await.unwrap();
        let path = cursor_path(&dir);
        fs::write(path.with_file_name(".cursor.json.1.0.wsp-tmp"), "{\"last").unwrap();
        fs::write(path.with_extension("jsonl"), "{\"last").unwrap();
        assert_eq!(store.peek(&scope(), &[output()]).await.unwrap(), [cursor(1)]);
        store.open(&scope()).await.unwrap().save(&[cursor(2)]).await.unwrap();
        assert_eq!(store.peek(&scope(), &[output()]).await.unwrap(), [cursor(2)]);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 2);
        let log = fs::read_to_string(path.with_extension("jsonl")).unwrap();
        assert!(log.starts_with("{\"last\n{\"last_file\": ") && log.ends_with("}\n"));
    }

    #[tokio::test]
    async fn a_cursor_that_is_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = cursor_path(&dir);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let good = golden_file(OUTPUT);
        let huge = format!("{good}{}", " ".repeat(LIMIT as usize));
        let negative = good.replace("\"last_row_index\": 49", "\"last_row_index\": -1");
        let fileless = good.replace("last_file", "file");
        let other_output = good.replace(&format!("\"output_id\": \"{OUTPUT}\""), "\"output_id\": \"other\"");
        let other_scope = good.replace("99244", "99245");
        for (bad, reason) in [
            ("", Reason::CheckpointUnreadable),
            ("{\"last_file\": ", Reason::CheckpointUnreadable),
            ("\0\0\0\0", Reason::CheckpointUnreadable),
            (&huge, Reason::CheckpointUnreadable),
            (&negative, Reason::CheckpointUnreadable),
            (&fileless, Reason::CheckpointUnreadable),
            (&other_output, Reason::CheckpointForeign),
            (&other_scope, Reason::CheckpointForeign),
        ] {
            fs::write(&path, bad).unwrap();
            let refusal = store(&dir).peek(&scope(), &[output()]).await.unwrap_err();
            assert_eq!(refusal.reason, reason, "{refusal}");
            assert_eq!(refusal.place.file.as_deref(), path.to_str());
        }
        fs::write(&path, good).unwrap();
        assert_eq!(store(&dir).peek(&scope(), &[output()]).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_place_that_cannot_be_used_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let store = FileCheckpoints::new(dir.path().join("file"), SystemClock::new());
        let refusal = store.open(&scope()).await.err().unwrap();
        assert_eq!(refusal.reason, Reason::CheckpointSaveFailed);
        assert!(refusal.place.file.unwrap().contains("/file/"));
    }
}
