//! The files that others read: cursors, their logs, and what is beside them.
//!
//! ```text
//! Kept ─► temp files, synced ─► still ours? ─► cursors renamed, folders synced ─► answered.json renamed, folder synced
//! ```
//!
//! Each step is taken for all outputs before the next one, and what a step syncs is synced side by side. Whatever a crash
//! leaves, no file is half written, and `answered.json` stands beside no cursor older than its own.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde_json::json;
use wsp::disk::files::{self, Staged};
use wsp::disk::{Disk, DiskFile, Mode};

use super::faults::failed;
use super::owned::Owned;
use super::place::Place;
use crate::checkpoint::{Beyond, Cursor, Kept};
use crate::model::{Micros, OutputId, Refusal, json};

/// The files of a scope, and what they say.
#[derive(Default)]
pub(super) struct Published {
    /// As their files say them: without event ids.
    cursors: BTreeMap<OutputId, Cursor>,
    logs: BTreeMap<OutputId, Box<dyn DiskFile>>,
}

impl Published {
    /// Notes what was read of them.
    pub(super) fn found(&mut self, cursors: &[Cursor]) {
        self.cursors = cursors.iter().map(|cursor| (cursor.output_id.clone(), in_file(cursor))).collect();
    }

    /// Puts `kept` in place, unless the scope is another's; durable when this returns. `history` are the cursors that were
    /// saved since the last time, for the logs; what is not among them is dated `now`.
    pub(super) fn write(
        &mut self,
        owned: &Owned,
        kept: &Kept,
        history: &[(Cursor, Micros)],
        now: Micros,
    ) -> Result<(), Refusal> {
        let place = &owned.place;
        let disk = &*place.disk;
        let beyond = place.beyond_file();
        let mut moved = Vec::new();
        for cursor in &kept.cursors {
            if self.cursors.get(&cursor.output_id) == Some(&in_file(cursor)) {
                continue;
            }
            let path = place.cursor_file(&cursor.output_id);
            self.open_log(disk, cursor, &path).map_err(|error| failed(&path, &error))?;
            let lines = history.iter().filter(|(saved, _)| saved.output_id == cursor.output_id);
            let mut lines: Vec<String> = lines.map(|(saved, at)| text(place, saved, *at)).collect();
            if lines.is_empty() {
                lines.push(text(place, cursor, now));
            }
            moved.push((cursor, lines, path));
        }
        let stage = |path, text: &str| Staged::write(disk, path, text.as_bytes()).map_err(|error| failed(path, &error));
        let mut staged = moved
            .iter()
            .map(|(_, lines, path)| stage(path, lines.last().map_or("", String::as_str)))
            .collect::<Result<Vec<_>, _>>()?;
        let rows = kept.has_beside().then(|| Beyond::write(&place.scope, &kept.beyond, &kept.cursors));
        staged.extend(rows.map(|text| stage(&beyond, &text)).transpose()?);
        let synced = disk.together(staged.len(), &|number| staged[number].sync());
        synced.map_err(|(number, error)| failed(staged[number].target(), &error))?;
        owned.still_ours()?;
        let answered = staged.split_off(moved.len()).pop();
        for file in staged {
            let path = file.target();
            file.publish().map_err(|error| failed(path, &error))?;
        }
        let synced = disk.together(moved.len(), &|number| files::sync_entry(disk, &moved[number].2));
        synced.map_err(|(number, error)| failed(&moved[number].2, &error))?;
        for (cursor, lines, path) in &moved {
            // The log is history, written after the fact and not synced: losing its end loses no position.
            if let Some(log) = self.logs.get(&cursor.output_id) {
                files::append_lines(&**log, (lines.join("\n") + "\n").as_bytes())
                    .map_err(|error| failed(path, &error))?;
            }
            self.cursors.insert(cursor.output_id.clone(), in_file(cursor));
        }
        match answered {
            Some(file) => file.publish().and_then(|()| files::sync_entry(disk, &beyond)),
            // What is left of it is passed by the cursors; that it comes back after a crash does no harm.
            None => files::remove(disk, &beyond).map(drop),
        }
        .map_err(|error| failed(&beyond, &error))
    }

    /// Opens the output's log, and its folder with it, when it is saved for the first time.
    fn open_log(&mut self, disk: &dyn Disk, cursor: &Cursor, path: &Path) -> io::Result<()> {
        if !self.logs.contains_key(&cursor.output_id) {
            let folder = path.parent().unwrap_or(path);
            files::create_folders(disk, folder)?;
            files::sweep(disk, folder)?;
            let log = disk.open(&path.with_extension("jsonl"), Mode::Append)?;
            self.logs.insert(cursor.output_id.clone(), log);
        }
        Ok(())
    }

    /// Drops what is beyond the cursors, then these, and last what says which views they counted in: a cursor without it
    /// would be believed more than one with it. The logs stay as history.
    pub(super) fn drop_kept(&mut self, place: &Place, outputs: &[OutputId]) -> Result<(), Refusal> {
        let disk = &*place.disk;
        let cursors = outputs.iter().map(|output| place.cursor_file(output));
        for path in std::iter::once(place.beyond_file()).chain(cursors).chain([place.views_file()]) {
            let dropped = files::remove(disk, &path)
                .and_then(|removed| if removed { files::sync_entry(disk, &path) } else { Ok(()) });
            dropped.map_err(|error| failed(&path, &error))?;
        }
        for output in outputs {
            self.cursors.remove(output);
        }
        Ok(())
    }
}

fn in_file(cursor: &Cursor) -> Cursor {
    Cursor { last_event_id: None, digested: None, ..cursor.clone() }
}

fn text(place: &Place, cursor: &Cursor, now: Micros) -> String {
    json::spaced(&json!({
        "pack_key": place.scope.as_str(),
        "output_id": cursor.output_id.as_str(),
        "last_file": cursor.last_file,
        "last_row_index": cursor.last_row_index,
        "last_ts_utc": cursor.last_ts_utc,
        "updated_at_utc": now.offset_text(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Digested, Hex64, Reason};
    use std::sync::Arc;
    use wsp::disk::RealDisk;

    /// Staging and syncing take a while. Who loses the scope meanwhile renames nothing over the new holder's files.
    #[test]
    fn a_scope_that_was_lost_while_files_were_staged_gets_none_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let place = || Place::new(Arc::new(RealDisk), Hex64::sha256("scope"), dir.path().join("scope"));
        let output: OutputId = "a".parse().unwrap();
        let cursor = |row| Cursor {
            output_id: output.clone(),
            last_file: "f".to_owned(),
            last_row_index: row,
            last_ts_utc: None,
            last_event_id: Some(Hex64::sha256("event")),
            digested: Some(Digested::none_from(row)),
        };
        let put = |owned: &Owned, row| Published::default().write(owned, &Kept::at([cursor(row)]), &[], Micros(0));
        let first = Owned::take(place()).unwrap();
        std::fs::remove_file(place().folder.join(".lock")).unwrap();
        let second = Owned::take(place()).unwrap();
        put(&second, 9).unwrap();
        assert_eq!(put(&first, 7).unwrap_err().reason, Reason::CheckpointLeaseLost);
        assert_eq!(place().read_all(std::slice::from_ref(&output)).unwrap(), Kept::at([cursor(9)]));
    }
}
