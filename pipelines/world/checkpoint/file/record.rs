//! What an entry of the journal says, and what of it still holds beside the cursor files.
//!
//! ```text
//! Record (cursors, rows beyond, what each cursor file may say) + the cursor files ──┬─► Kept
//! or, without a record, answered.json, then the cursor files ───────────────────────┘
//! ```
//!
//! Cursor files follow the journal. A file that says what ours would have said is behind it by a crash alone, and the
//! journal counts. A file that says anything else was moved by somebody, forward by the producer in place or back by
//! hand, and then the file counts.

use serde::{Deserialize, Serialize};
use wsp::checkpoint::file::journal::{self, Found};

use super::faults::{foreign, unreadable};
use super::place::Place;
use crate::checkpoint::{Beyond, Cursor, Kept, Place as RowPlace};
use crate::model::{Hex64, Micros, OutputId, Refusal};

/// The form that is written and read.
const VERSION: u32 = 1;

/// An entry of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    version: u32,
    scope_key: Hex64,
    /// Of the lock: who holds the scope later has a higher one.
    epoch: u64,
    /// Counts the saves of one hold.
    save: u64,
    cursors: Vec<Recorded>,
    pub(super) beyond: Vec<Beyond>,
    /// When the save was made; an earlier version of this program wrote none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    saved_at_utc: Option<String>,
}

/// A cursor, and what its file may say where it says something else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Recorded {
    #[serde(flatten)]
    pub(super) cursor: Cursor,
    /// Places of earlier saves; none where there may be no file yet.
    pub(super) behind: Vec<Option<RowPlace>>,
}

impl Record {
    pub(super) fn new(scope: &Hex64, (epoch, save): (u64, u64), cursors: Vec<Recorded>, beyond: Vec<Beyond>) -> Self {
        Self { version: VERSION, scope_key: scope.clone(), epoch, save, cursors, beyond, saved_at_utc: None }
    }

    /// The same, of a save that was made at `now`.
    pub(super) fn saved_at(self, now: Micros) -> Self {
        Self { saved_at_utc: Some(now.to_string()), ..self }
    }

    /// When the save was made.
    pub(super) fn saved(&self) -> Option<Micros> {
        Micros::parse(self.saved_at_utc.as_ref()?.as_bytes())
    }

    /// The body of its entry.
    pub(super) fn write(&self) -> Vec<u8> {
        // Texts and numbers always have a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The newest of the scope at `place`, and in which file of the journal it is; none where no save got as far.
    ///
    /// # Errors
    ///
    /// `CHECKPOINT_UNREADABLE` where there was one and none is whole; `CHECKPOINT_FOREIGN` where it is another scope's.
    pub(super) fn newest(place: &Place) -> Result<Option<(usize, Self)>, Refusal> {
        let [path, other] = journal::paths(&place.folder);
        let spoilt = |what: &str| {
            let other = other.file_name().unwrap_or_default().display();
            let detail = format!(
                "{what}; without this file and {other} the run goes on from the cursor files, and may send some events again"
            );
            unreadable(&path, detail)
        };
        let Found { bodies, torn } = journal::read(&*place.disk, &place.folder, sha256)?;
        // The first entry of all is not whole while it is written, and the other file is empty then.
        if torn == 2 && place.disk.meta(&other).is_ok_and(|other| other.len > 0) {
            return Err(spoilt("none of its entries is whole"));
        }
        let read = |(file, body): (usize, Vec<u8>)| {
            let record: Self = serde_json::from_slice(&body).map_err(|error| spoilt(&error.to_string()))?;
            if record.version != VERSION {
                return Err(spoilt(&format!("version {} is not known here, {VERSION} is", record.version)));
            }
            Beyond::check(&record.beyond).map_err(|what| spoilt(&what))?;
            if record.scope_key != place.scope {
                return Err(foreign(&path, "scope_key", record.scope_key.as_str(), place.scope.as_str()));
            }
            Ok((file, record))
        };
        let records = bodies.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        Ok(records.into_iter().max_by_key(|(_, record)| (record.epoch, record.save)))
    }

    /// The outputs that it has cursors of.
    pub(super) fn outputs(&self) -> impl Iterator<Item = &OutputId> {
        self.cursors.iter().map(|recorded| &recorded.cursor.output_id)
    }

    /// What is kept, where the cursor files of its outputs say `in_files`.
    pub(super) fn kept(self, in_files: &[Cursor]) -> Kept {
        let count = |Recorded { cursor, behind }| {
            let found = in_files.iter().find(|found| found.output_id == cursor.output_id);
            let at = found.map(RowPlace::of);
            let ours = at.as_ref() == Some(&RowPlace::of(&cursor)) || behind.contains(&at);
            if ours { Some(cursor) } else { found.cloned() }
        };
        Kept { cursors: self.cursors.into_iter().filter_map(count).collect(), beyond: self.beyond }
    }
}

impl Place {
    /// What is beyond the cursors is read before them: they may move on meanwhile and don't spoil it.
    pub(super) fn read_all(&self, outputs: &[OutputId]) -> Result<Kept, Refusal> {
        let Some((_, record)) = Record::newest(self)? else {
            let beside = self.read_beside()?;
            return Ok(beside.kept(self.read_some(outputs)?));
        };
        let recorded: Vec<OutputId> = record.outputs().cloned().collect();
        let Kept { mut cursors, beyond } = record.kept(&self.read_some(&recorded)?);
        cursors.extend(self.read_some(outputs.iter().filter(|output| !recorded.contains(output)))?);
        let of = |output: &OutputId| cursors.iter().find(|cursor| cursor.output_id == *output).cloned();
        Ok(Kept { cursors: outputs.iter().filter_map(of).collect(), beyond })
    }
}

/// What the journal's entries are marked with.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Hex64::sha256(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use wsp::checkpoint::file::Journal;
    use wsp::disk::RealDisk;

    use super::*;

    /// A holder that was robbed amid a write puts its last entry beside the new holder's first ones. It counted more saves.
    #[test]
    fn the_newest_entry_is_the_last_save_of_the_last_holder() {
        for (older, newer) in [((1, 9), (2, 1)), ((2, 1), (2, 2)), ((9, 1), (10, 1))] {
            for newer_first in [false, true] {
                let dir = tempfile::tempdir().unwrap();
                let place = Place::new(Arc::new(RealDisk), Hex64::sha256("scope"), dir.path().to_owned());
                let record = |order| Record::new(&place.scope, order, Vec::new(), Vec::new());
                let mut journal = Journal::open(&*place.disk, &place.folder, sha256).unwrap();
                for order in if newer_first { [newer, older] } else { [older, newer] } {
                    journal.write(&record(order).write()).unwrap();
                }
                let newest = Record::newest(&place).unwrap().map(|(_, record)| record);
                assert_eq!(newest, Some(record(newer)), "{older:?} and {newer:?}");
            }
        }
    }
}
