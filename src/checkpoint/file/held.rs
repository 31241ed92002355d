//! A scope's files in the hands of the one who may change them.
//!
//! ```text
//! Kept ─► temp files, synced ─► still ours? ─► cursors renamed, folders synced ─► answered.json renamed, folder synced
//! ```
//!
//! Each step is taken for all outputs before the next one, and what a step syncs is synced side by side: a save takes as
//! long as three syncs, however many outputs it has. None of them can go: a name must not point to content that is not on
//! disk, nothing is kept before its name is, and the rows beyond count from cursors that a crash doesn't take back.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::Path;

use serde_json::json;

use super::failed;
use super::lock::Lock;
use super::place::Place;
use crate::checkpoint::lease::{Keeper, Lease};
use crate::checkpoint::{Beyond, Cursor, Kept};
use crate::model::{Micros, OutputId, Reason, Refusal, json};
use crate::store::files::{self, Staged};

/// A scope that this process holds, for as long as this lives.
pub(super) struct Held {
    place: Place,
    lock: Lock,
    keeper: Keeper,
    saved: BTreeMap<OutputId, Cursor>,
    logs: BTreeMap<OutputId, File>,
}

impl Held {
    /// Takes hold of the scope at `place`.
    pub(super) fn take(place: Place) -> Result<Self, Refusal> {
        let unusable = |error: io::Error| failed(&place.folder, &error);
        files::create_folders(&place.folder).map_err(unusable)?;
        let Some(lock) = Lock::take(&place.folder).map_err(unusable)? else {
            let detail = "another producer holds this folder";
            return Err(Refusal::new(Reason::CheckpointScopeBusy, detail).file(place.folder.to_string_lossy()));
        };
        files::sweep(&place.folder).map_err(unusable)?;
        let keeper = Keeper::new(std::time::Duration::MAX);
        Ok(Self { place, lock, keeper, saved: BTreeMap::new(), logs: BTreeMap::new() })
    }

    pub(super) fn lease(&self) -> Lease {
        self.keeper.lease()
    }

    pub(super) fn load(&mut self, outputs: &[OutputId]) -> Result<Kept, Refusal> {
        let kept = self.place.read_all(outputs)?;
        // A save that failed half-way may be seen here and still be lost with the power; what is counted from is not.
        self.place.sync(&kept)?;
        self.saved.extend(kept.cursors.iter().map(|cursor| (cursor.output_id.clone(), cursor.clone())));
        Ok(kept)
    }

    /// Saves all that moved, unless the scope is another's by now.
    pub(super) fn save(&mut self, kept: &Kept, now: Micros) -> Result<(), Refusal> {
        self.still_ours()?;
        self.write(kept, now).or_else(|refusal| {
            // Where another has the scope, that is the reason, whatever came of it.
            self.still_ours()?;
            Err(refusal)
        })
    }

    fn still_ours(&self) -> Result<(), Refusal> {
        let Some(holder) = self.lock.taken_by().map_err(|error| failed(&self.place.folder, &error))? else {
            return Ok(());
        };
        let detail = format!("this process held it as {}, and now its lock file {holder}", self.lock.line());
        let refusal = Refusal::new(Reason::CheckpointLeaseLost, detail).file(self.place.folder.to_string_lossy());
        self.keeper.lose(refusal.clone());
        Err(refusal)
    }

    fn write(&mut self, kept: &Kept, now: Micros) -> Result<(), Refusal> {
        let beyond = self.place.beyond_file();
        let mut moved = Vec::new();
        for cursor in &kept.cursors {
            if self.saved.get(&cursor.output_id) == Some(cursor) {
                continue;
            }
            let path = self.place.cursor_file(&cursor.output_id);
            self.check(cursor, &path)?;
            self.open_log(cursor, &path).map_err(|error| failed(&path, &error))?;
            moved.push((cursor, self.text(cursor, now), path));
        }
        let stage = |path, text: &str| Staged::write(path, text.as_bytes()).map_err(|error| failed(path, &error));
        let mut staged = moved.iter().map(|(_, text, path)| stage(path, text)).collect::<Result<Vec<_>, _>>()?;
        let rows = (!kept.beyond.is_empty()).then(|| Beyond::write(&self.place.scope, &kept.beyond));
        staged.extend(rows.map(|text| stage(&beyond, &text)).transpose()?);
        files::side_by_side(&staged, |file| file.sync().map_err(|error| failed(file.target(), &error)))?;
        self.still_ours()?;
        let answered = staged.split_off(moved.len()).pop();
        for file in staged {
            let path = file.target();
            file.publish().map_err(|error| failed(path, &error))?;
        }
        files::side_by_side(&moved, |(.., path)| files::sync_folder(path).map_err(|error| failed(path, &error)))?;
        for (cursor, text, path) in &moved {
            // The log is history, written after the fact and not synced: losing its end loses no position.
            if let Some(log) = self.logs.get_mut(&cursor.output_id) {
                files::append_lines(log, format!("{text}\n").as_bytes()).map_err(|error| failed(path, &error))?;
            }
            self.saved.insert(cursor.output_id.clone(), (*cursor).clone());
        }
        match answered {
            Some(file) => file.publish().and_then(|()| files::sync_folder(&beyond)),
            // What is left of it is passed by the cursors; that it comes back after a crash does no harm.
            None => remove(&beyond).map(drop),
        }
        .map_err(|error| failed(&beyond, &error))
    }

    /// Order among files is the view's affair; within one file going back can be seen here, and is a fault.
    fn check(&self, cursor: &Cursor, path: &Path) -> Result<(), Refusal> {
        match self.saved.get(&cursor.output_id) {
            Some(known) if known.is_passed_by(cursor) => {
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

    /// Drops what is beyond the cursors, then these; the logs stay as history.
    pub(super) fn drop_kept(&mut self, outputs: &[OutputId]) -> Result<(), Refusal> {
        let cursors = outputs.iter().map(|output| self.place.cursor_file(output));
        for path in std::iter::once(self.place.beyond_file()).chain(cursors) {
            let dropped =
                remove(&path).and_then(|was_there| if was_there { files::sync_folder(&path) } else { Ok(()) });
            dropped.map_err(|error| failed(&path, &error))?;
        }
        for output in outputs {
            self.saved.remove(output);
        }
        Ok(())
    }
}

/// Removes a file; says whether there was one.
fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
