//! Rules of the checkpoint files that only show when something happens amid an operation.

use std::path::Path;
use std::sync::Arc;

use wsp::checkpoint::file::Lock;
use wsp::disk::testing::before;
use wsp::disk::{Act, Disk, Fate, Host, MemoryDisk, Mode};
use wsp::random::Random;

use super::held::{Held, Then};
use super::owned::Owned;
use super::place::Place;
use super::published::Published;
use crate::checkpoint::{AnsweredRows, Beyond, Cursor, Kept, LeaseState, Place as RowPlace};
use crate::model::{Hex64, Micros, Reason, Refusal};

const NOW: Micros = Micros(0);
const FOLDER: &str = "/scope";

fn place(disk: &MemoryDisk, host: Arc<dyn Host>) -> Place {
    Place::new(Arc::new(disk.seen_by(host)), Hex64::sha256("scope"), FOLDER.into())
}

fn cursor(row: u64) -> Cursor {
    Cursor {
        output_id: "a".parse().unwrap(),
        last_file: "f".to_owned(),
        last_row_index: row,
        last_ts_utc: None,
        last_event_id: None,
        digested: None,
    }
}

/// Rows beyond the cursor at row 1.
fn beyond() -> Vec<Beyond> {
    let file = "f".to_owned();
    let at = Some(RowPlace { file: file.clone(), row: 1 });
    vec![Beyond { output_id: "a".parse().unwrap(), cursor: at, files: vec![AnsweredRows { file, rows: vec![(3, 4)] }] }]
}

/// A host that lets all happen.
fn idle() -> Arc<dyn Host> {
    before(Act::Lock, "nothing", || Fate::Happens)
}

#[test]
fn a_lock_on_a_file_that_is_no_longer_there_is_none() {
    let disk = MemoryDisk::new();
    disk.create_folder(Path::new(FOLDER)).unwrap();
    let other = disk.clone();
    let replace = move || {
        let path = Path::new(FOLDER).join(".lock");
        other.remove(&path).unwrap();
        other.open(&path, Mode::Write).unwrap().write_at(b"epoch 1, somebody", 0).unwrap();
        Fate::Happens
    };
    let seen = Arc::new(disk.seen_by(before(Act::Lock, ".lock", replace)));
    assert!(Lock::take(seen.clone(), Path::new(FOLDER)).unwrap().is_none());
    assert!(Lock::take(seen, Path::new(FOLDER)).unwrap().is_some());
}

#[test]
fn files_that_cannot_be_changed_end_the_run_at_its_first_save() {
    let disk = MemoryDisk::new();
    let held = Held::take(place(&disk, before(Act::Rename, "cursor.json", || Fate::Fails)), NOW).unwrap();
    let refusal = held.save(Kept::at([cursor(1)]), NOW).unwrap_err();
    assert_eq!(refusal.reason, Reason::CheckpointSaveFailed);
    assert_eq!(held.save(Kept::at([cursor(2)]), NOW).unwrap_err(), refusal, "and stay an error");
}

#[test]
fn a_publication_that_failed_is_the_next_saves_error() {
    let disk = MemoryDisk::new();
    let first = Held::take(place(&disk, idle()), NOW).unwrap();
    assert_eq!(first.save(Kept::at([cursor(1)]), NOW).unwrap(), Then::Nothing);
    first.finish(NOW).unwrap();
    drop(first);
    let host = before(Act::SyncFolder, "output_id=b", || Fate::Fails);
    let held = Held::take(place(&disk, host), NOW).unwrap();
    held.save(Kept::at([cursor(2)]), NOW).unwrap();
    let other = Cursor { output_id: "b".parse().unwrap(), ..cursor(1) };
    assert_eq!(held.save(Kept::at([other]), NOW).unwrap(), Then::Publish);
    let refusal = held.publish(NOW).unwrap_err();
    assert_eq!(held.save(Kept::at([cursor(3)]), NOW).unwrap_err(), refusal);
}

/// What is left after a power loss, whichever part of the unsynced changes it takes.
fn after_any_power_loss(prepare: impl Fn(&MemoryDisk), check: impl Fn(&MemoryDisk)) {
    for seed in 0..64 {
        let disk = MemoryDisk::new();
        prepare(&disk);
        let mut random = Random::of(&[seed]);
        disk.lose_power(&mut |bound| random.below(bound));
        check(&disk);
    }
}

fn loaded(disk: &MemoryDisk) -> Kept {
    Held::take(place(disk, idle()), NOW).unwrap().load(&["a".parse().unwrap()], NOW).unwrap()
}

/// A process that dies between a rename and the sync of the folder leaves a cursor that is seen and not yet durable. The
/// journal that could replace it goes only after it is.
#[test]
fn the_journal_goes_after_the_cursors_that_a_dead_process_put_in_place() {
    let prepare = |disk: &MemoryDisk| {
        let first = Held::take(place(disk, idle()), NOW).unwrap();
        first.save(Kept::at([cursor(1)]), NOW).unwrap();
        first.finish(NOW).unwrap();
        drop(first);
        let dying = Held::take(place(disk, before(Act::SyncFolder, "output_id=a", || Fate::Fails)), NOW).unwrap();
        dying.save(Kept::at([cursor(2)]), NOW).unwrap_err();
        drop(dying);
        drop(Held::take(place(disk, idle()), NOW).unwrap());
    };
    after_any_power_loss(prepare, |disk| assert_eq!(loaded(disk), Kept::at([cursor(2)])));
}

/// A legacy producer syncs nothing. What a run starts from has to be there at the next start too.
#[test]
fn a_cursor_that_is_counted_from_is_durable_whoever_wrote_it() {
    let path = Path::new(FOLDER).join("output_id=a/cursor.json");
    let prepare = |disk: &MemoryDisk| {
        let first = Held::take(place(disk, idle()), NOW).unwrap();
        first.save(Kept::at([cursor(1)]), NOW).unwrap();
        first.finish(NOW).unwrap();
        drop(first);
        let text = String::from_utf8(disk.content(&path).unwrap()).unwrap();
        let text = text.replace("\"last_row_index\": 1,", "\"last_row_index\": 5,");
        let beside = path.with_extension("tmp");
        disk.open(&beside, Mode::Write).unwrap().write_at(text.as_bytes(), 0).unwrap();
        disk.rename(&beside, &path).unwrap();
        assert_eq!(loaded(disk), Kept::at([cursor(5)]));
    };
    after_any_power_loss(prepare, |disk| assert_eq!(loaded(disk), Kept::at([cursor(5)])));
}

#[test]
fn a_change_that_failed_because_another_has_the_scope_says_so() {
    let disk = MemoryDisk::new();
    let owned = Owned::take(place(&disk, idle())).unwrap();
    let failure = || Refusal::new(Reason::CheckpointSaveFailed, "no such folder");
    assert_eq!(owned.changing(|| Err::<(), _>(failure())).unwrap_err(), failure(), "ours as before");
    let refusal = owned.changing(|| {
        disk.remove(&Path::new(FOLDER).join(".lock")).unwrap();
        Err::<(), _>(failure())
    });
    let refusal = refusal.unwrap_err();
    assert_eq!(refusal.reason, Reason::CheckpointLeaseLost);
    assert_eq!(owned.lease().state(std::time::Duration::ZERO), LeaseState::Lost(refusal));
}

#[test]
fn a_lock_line_that_was_longer_leaves_nothing_behind_the_new_one() {
    let disk = MemoryDisk::new();
    let path = Path::new(FOLDER).join(".lock");
    disk.create_folder(Path::new(FOLDER)).unwrap();
    let before = format!("epoch 41, {}", "a host with a long name ".repeat(20));
    disk.open(&path, Mode::Write).unwrap().write_at(before.as_bytes(), 0).unwrap();
    let lock = Lock::take(Arc::new(disk.clone()), Path::new(FOLDER)).unwrap().unwrap();
    assert_eq!((lock.epoch(), disk.content(&path).unwrap()), (42, lock.line().as_bytes().to_vec()));
}

/// Whoever drops a checkpoint starts anew. It must not come back with the power.
#[test]
fn a_reset_is_durable() {
    let prepare = |disk: &MemoryDisk| {
        let held = Held::take(place(disk, idle()), NOW).unwrap();
        held.save(Kept { cursors: vec![cursor(1)], beyond: beyond() }, NOW).unwrap();
        held.finish(NOW).unwrap();
        drop(held);
        Held::reset(place(disk, idle()), &["a".parse().unwrap()], NOW).unwrap();
    };
    after_any_power_loss(prepare, |disk| assert_eq!(loaded(disk), Kept::default()));
}

#[test]
fn what_is_published_is_durable() {
    let kept = || Kept { cursors: vec![cursor(1)], beyond: beyond() };
    let prepare = |disk: &MemoryDisk| {
        let owned = Owned::take(place(disk, idle())).unwrap();
        Published::default().write(&owned, &kept(), &[], NOW).unwrap();
    };
    after_any_power_loss(prepare, |disk| assert_eq!(loaded(disk), kept()));
}

#[test]
fn a_reset_that_cannot_remove_a_file_is_an_error() {
    for name in ["output_id=a/cursor.json", "answered.json", "views.json"] {
        let disk = MemoryDisk::new();
        let held = Held::take(place(&disk, idle()), NOW).unwrap();
        held.save(Kept::at([cursor(1)]), NOW).unwrap();
        held.finish(NOW).unwrap();
        drop(held);
        let place = place(&disk, before(Act::Remove, name, || Fate::Fails));
        let refusal = Held::reset(place, &["a".parse().unwrap()], NOW).unwrap_err();
        assert_eq!(refusal.reason, Reason::CheckpointSaveFailed);
        assert!(refusal.place.file.as_ref().unwrap().ends_with(name), "{refusal}");
    }
}

/// The logs are read by people and by the legacy producer's tools: a line says that the cursor moved.
#[test]
fn a_cursor_that_did_not_move_is_not_logged_again() {
    let disk = MemoryDisk::new();
    let lines = || {
        let log = disk.content(&Path::new(FOLDER).join("output_id=a/cursor.jsonl")).unwrap();
        String::from_utf8(log).unwrap().lines().count()
    };
    let held = Held::take(place(&disk, idle()), NOW).unwrap();
    held.save(Kept::at([cursor(1)]), NOW).unwrap();
    held.finish(NOW).unwrap();
    held.save(Kept::default(), NOW).unwrap();
    held.finish(NOW).unwrap();
    assert_eq!(lines(), 1, "within a hold");
    drop(held);
    let held = Held::take(place(&disk, idle()), NOW).unwrap();
    assert_eq!(held.load(&["a".parse().unwrap()], NOW).unwrap(), Kept::at([cursor(1)]));
    held.save(Kept::at([cursor(1)]), NOW).unwrap();
    held.finish(NOW).unwrap();
    assert_eq!(lines(), 1, "by the next holder");
    // A process that died after it wrote its journal and the files.
    held.save(Kept::at([cursor(2)]), NOW).unwrap();
    drop(held);
    drop(Held::take(place(&disk, idle()), NOW).unwrap());
    assert_eq!(lines(), 2, "by a recovery");
}
