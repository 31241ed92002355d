//! What a scope's holder has saved, and how far the files that others read have come.
//!
//! ```text
//! save ─► journal, one sync ─► durable
//!            └─ a moment later, or at the end ─► Published: cursor.json, answered.json
//! ```

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use wsp::checkpoint::file::journal::{self, Journal};

use super::faults::failed;
use super::owned::Owned;
use super::place::Place;
use super::published::Published;
use super::record::{Record, Recorded, sha256};
use super::views;
use crate::checkpoint::{Beyond, Cursor, Kept, Place as RowPlace, Views};
use crate::model::{Micros, OutputId, Refusal};

/// A scope that this process holds, for as long as this lives.
pub(super) struct Held {
    owned: Owned,
    /// When the last save before this hold was made, where the holder before left it in the journal: it did not end in order.
    saved_before: Option<Micros>,
    saved: Mutex<Saved>,
    /// Locked before `saved` where both are.
    published: Mutex<Published>,
}

/// What is saved, and what of it is in the files.
#[derive(Default)]
struct Saved {
    journal: Option<Journal>,
    saves: u64,
    cursors: BTreeMap<OutputId, Cursor>,
    beyond: Vec<Beyond>,
    /// Cursors that were saved since the files were last changed, and when.
    history: Vec<(Cursor, Micros)>,
    /// What the cursor files say, durably.
    in_files: BTreeMap<OutputId, RowPlace>,
    /// What they are being changed to.
    coming: BTreeMap<OutputId, RowPlace>,
    /// Somebody will publish what is saved.
    due: bool,
    failed: Option<Refusal>,
}

/// What has to be done after a save.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// Nothing: somebody is at it.
    Nothing,
    /// Publish it in a while, and go on while there is [`Then::Publish`] to do.
    Publish,
}

impl Held {
    /// Takes hold of the scope at `place`, and puts in the files what a crash left in the journal alone.
    pub(super) fn take(place: Place, now: Micros) -> Result<Self, Refusal> {
        let held = Self::take_as_it_is(place)?;
        let saved_before = held.recover(now)?;
        Ok(Self { saved_before, ..held })
    }

    fn take_as_it_is(place: Place) -> Result<Self, Refusal> {
        let (saved, published) = (Mutex::default(), Mutex::default());
        Ok(Self { owned: Owned::take(place)?, saved_before: None, saved, published })
    }

    /// Puts in the files what a crash left in the journal alone; says when that was saved.
    fn recover(&self, now: Micros) -> Result<Option<Micros>, Refusal> {
        let place = &self.owned.place;
        let Some((newest, record)) = Record::newest(place)? else {
            return self.drop_journal(0).map(|()| None);
        };
        let saved = record.saved();
        let in_files = place.read_some(record.outputs())?;
        let kept = record.kept(&in_files);
        let mut published = self.published();
        published.found(&in_files);
        published.write(&self.owned, &kept, &[], now)?;
        // A file that was there already may have been put there by a process that died before it was durable.
        place.sync(&kept)?;
        self.drop_journal(newest).map(|()| saved)
    }

    /// When the last save before this hold was made, where that is known.
    pub(super) fn saved_before(&self) -> Option<Micros> {
        self.saved_before
    }

    fn drop_journal(&self, newest: usize) -> Result<(), Refusal> {
        let Place { disk, folder, .. } = &self.owned.place;
        journal::remove(&**disk, folder, newest).map_err(|error| failed(folder, &error))
    }

    pub(super) fn lease(&self) -> crate::checkpoint::Lease {
        self.owned.lease()
    }

    /// What is kept of `outputs`: what was saved through this hold, else what the files say.
    pub(super) fn load(&self, outputs: &[OutputId], now: Micros) -> Result<Kept, Refusal> {
        self.finish(now)?;
        let kept = self.owned.place.read_all(outputs)?;
        // What was put there half-way before a crash may be seen here and still be lost with the power; what is counted
        // from is not.
        self.owned.place.sync(&kept)?;
        self.published().found(&kept.cursors);
        let mut saved = self.saved();
        saved.cursors = kept.cursors.iter().map(|cursor| (cursor.output_id.clone(), cursor.clone())).collect();
        saved.beyond.clone_from(&kept.beyond);
        saved.in_files = saved.places();
        Ok(kept)
    }

    /// Which views the positions count in, where that is kept.
    pub(super) fn views(&self) -> Result<Option<Views>, Refusal> {
        let place = &self.owned.place;
        let views = views::read(place)?;
        // As with the cursors: a process may have died before what is read here was durable.
        if views.is_some() {
            place.sync_file(&place.views_file())?;
        }
        Ok(views)
    }

    /// Keeps them, unless the scope is another's by now.
    pub(super) fn keep_views(&self, views: &Views) -> Result<(), Refusal> {
        views::keep(&self.owned, views)
    }

    /// Saves all that moved, unless the scope is another's by now.
    pub(super) fn save(&self, kept: Kept, now: Micros) -> Result<Then, Refusal> {
        let mut saved = self.saved();
        if let Some(refusal) = saved.failed.clone() {
            return Err(refusal);
        }
        let first = saved.journal.is_none();
        self.owned.changing(|| saved.write(&self.owned, kept, now))?;
        if first {
            // So that files that can't be written are found out before much is sent.
            drop(saved);
            self.publish(now)?;
            return Ok(Then::Nothing);
        }
        Ok(if std::mem::replace(&mut saved.due, true) { Then::Nothing } else { Then::Publish })
    }

    /// Brings the files to the last save. Where saves came meanwhile, there is more to do.
    pub(super) fn publish(&self, now: Micros) -> Result<Then, Refusal> {
        // Kept while the files change: they are changed by one at a time.
        let mut published = self.published();
        let (kept, history, save) = self.saved().start();
        let written = self.owned.changing(|| published.write(&self.owned, &kept, &history, now));
        let mut saved = self.saved();
        if let Err(refusal) = written {
            saved.failed = Some(refusal.clone());
            return Err(refusal);
        }
        saved.in_files = std::mem::take(&mut saved.coming);
        saved.due = saved.saves > save;
        Ok(if saved.due { Then::Publish } else { Then::Nothing })
    }

    /// Brings the files to the last save for good: the journal is not needed after it.
    pub(super) fn finish(&self, now: Micros) -> Result<(), Refusal> {
        if self.saved().journal.is_none() {
            return Ok(());
        }
        while self.publish(now)? == Then::Publish {}
        let newest = self.saved().journal.take().map_or(0, |journal| journal.newest());
        self.owned.changing(|| self.drop_journal(newest))
    }

    /// Drops what is kept of the outputs of the scope at `place`, whoever may read it or not.
    pub(super) fn reset(place: Place, outputs: &[OutputId], now: Micros) -> Result<(), Refusal> {
        let held = Self::take_as_it_is(place)?;
        // A journal that can't be read is dropped too: cursors of other outputs may be some saves behind then.
        if let Err(refusal) = held.recover(now) {
            tracing::warn!(%refusal, "the journal of a scope that is reset is dropped unread");
            held.drop_journal(0)?;
        }
        held.published().drop_kept(&held.owned.place, outputs)
    }

    fn saved(&self) -> MutexGuard<'_, Saved> {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn published(&self) -> MutexGuard<'_, Published> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Saved {
    /// Writes an entry of what is saved with `kept`, and takes it for saved.
    fn write(&mut self, owned: &Owned, kept: Kept, now: Micros) -> Result<(), Refusal> {
        let place = &owned.place;
        for cursor in &kept.cursors {
            // Order among files is the view's affair; within one file going back can be seen here, and is a fault.
            if self.cursors.get(&cursor.output_id).is_some_and(|known| known.is_passed_by(cursor)) {
                let error = io::Error::other("the new position is before the saved one");
                return Err(failed(&place.cursor_file(&cursor.output_id), &error));
            }
        }
        let unwritable = |error: io::Error| failed(&place.folder.join("journal"), &error);
        let mut cursors = self.cursors.clone();
        cursors.extend(kept.cursors.iter().map(|cursor| (cursor.output_id.clone(), cursor.clone())));
        let recorded = cursors.values().map(|cursor| Recorded { cursor: cursor.clone(), behind: self.behind(cursor) });
        let order = (owned.epoch(), self.saves + 1);
        let record = Record::new(&place.scope, order, recorded.collect(), kept.beyond).saved_at(now);
        if self.journal.is_none() {
            self.journal = Some(Journal::open(&*place.disk, &place.folder, sha256).map_err(unwritable)?);
        }
        if let Some(journal) = &mut self.journal {
            journal.write(&record.write()).map_err(unwritable)?;
        }
        let moved = kept.cursors.into_iter().filter(|cursor| self.cursors.get(&cursor.output_id) != Some(cursor));
        self.history.extend(moved.map(|cursor| (cursor, now)));
        (self.cursors, self.beyond) = (cursors, record.beyond);
        self.saves += 1;
        Ok(())
    }

    /// What the file of `cursor` may say but what this says.
    fn behind(&self, cursor: &Cursor) -> Vec<Option<RowPlace>> {
        let mut behind = vec![self.in_files.get(&cursor.output_id).cloned()];
        behind.extend(self.coming.get(&cursor.output_id).cloned().map(Some));
        behind.dedup();
        behind
    }

    fn places(&self) -> BTreeMap<OutputId, RowPlace> {
        self.cursors.iter().map(|(output, cursor)| (output.clone(), RowPlace::of(cursor))).collect()
    }

    /// What the files are to say, what was saved since they were last changed, and the save that it is of.
    fn start(&mut self) -> (Kept, Vec<(Cursor, Micros)>, u64) {
        self.coming = self.places();
        let kept = Kept { cursors: self.cursors.values().cloned().collect(), beyond: self.beyond.clone() };
        (kept, std::mem::take(&mut self.history), self.saves)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use proptest::prelude::*;
    use wsp::disk::RealDisk;

    use super::*;
    use crate::checkpoint::AnsweredRows;
    use crate::model::Hex64;

    fn cursor(output_id: &OutputId, row: u64) -> Cursor {
        Cursor {
            output_id: output_id.clone(),
            last_file: "f".to_owned(),
            last_row_index: row,
            last_ts_utc: None,
            last_event_id: None,
            digested: None,
        }
    }

    #[test]
    fn where_the_journal_counts_a_damaged_list_beside_it_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let output: OutputId = "a".parse().unwrap();
        let place = || Place::new(Arc::new(RealDisk), Hex64::sha256("scope"), dir.path().join("scope"));
        let kept = Kept { cursors: vec![cursor(&output, 3)], beyond: vec![] };
        let held = Held::take(place(), Micros(0)).unwrap();
        held.save(kept.clone(), Micros(0)).unwrap();
        drop(held);
        fs::write(place().beyond_file(), "{").unwrap();
        assert_eq!(place().read_all(std::slice::from_ref(&output)).unwrap(), kept);
        assert_eq!(Held::take(place(), Micros(0)).unwrap().load(&[output], Micros(0)).unwrap(), kept);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Saves and publications, and a crash amid one of these: of every file that it changes the old or the new one is left,
        /// and saves may have come meanwhile. What the last save kept is found.
        #[test]
        fn any_crash_leaves_the_last_save(
            steps in proptest::collection::vec((0_u64..3, 0_u64..3, any::<bool>()), 1..8),
            amid in proptest::collection::vec((0_u64..3, 0_u64..3), 0..4),
            new in any::<[bool; 3]>(),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let outputs: [OutputId; 2] = ["a".parse().unwrap(), "b".parse().unwrap()];
            let place = || Place::new(Arc::new(RealDisk), Hex64::sha256("scope"), dir.path().join("scope"));
            let files = [place().cursor_file(&outputs[0]), place().cursor_file(&outputs[1]), place().beyond_file()];
            let (now, mut rows, mut last) = (Micros(0), [0, 0], Kept::default());
            let held = Held::take(place(), now).unwrap();
            let mut save = |steps: [u64; 2]| {
                let moved: Vec<usize> = (0..2).filter(|i| steps[*i] > 0).collect();
                for i in &moved {
                    rows[*i] += steps[*i];
                }
                let answered = AnsweredRows { file: "f".to_owned(), rows: vec![(rows[0] + 2, rows[0] + 3)] };
                let beyond = Beyond { output_id: outputs[0].clone(), cursor: None, files: vec![answered] };
                let beyond = if rows[0] % 2 == 1 { vec![beyond] } else { vec![] };
                let cursors = moved.iter().map(|i| cursor(&outputs[*i], rows[*i])).collect();
                held.save(Kept { cursors, beyond: beyond.clone() }, now).unwrap();
                let cursors = (0..2).filter(|i| rows[*i] > 0).map(|i| cursor(&outputs[i], rows[i])).collect();
                last = Kept { cursors, beyond };
            };
            for (first, second, publish) in steps {
                save([first, second]);
                if publish {
                    held.publish(now).unwrap();
                }
            }
            let read = || files.each_ref().map(|path| fs::read(path).ok());
            let before = read();
            let (kept, history, _) = held.saved().start();
            for (first, second) in amid {
                save([first, second]);
            }
            held.published().write(&held.owned, &kept, &history, now).unwrap();
            let after = read();
            for i in 0..3 {
                match if new[i] { &after[i] } else { &before[i] } {
                    Some(bytes) => fs::write(&files[i], bytes).unwrap(),
                    None => drop(fs::remove_file(&files[i])),
                }
            }
            drop(held);
            prop_assert_eq!(&place().read_all(&outputs).unwrap(), &last);
            prop_assert_eq!(&Held::take(place(), now).unwrap().load(&outputs, now).unwrap(), &last);
        }
    }
}
