//! Rules of the checkpoint files that only show when something happens amid an operation.

use std::path::Path;
use std::sync::Arc;

use super::held::{Held, Then};
use super::lock::Lock;
use super::place::Place;
use crate::checkpoint::{Cursor, Kept};
use crate::disk::testing::before;
use crate::disk::{Act, Disk, Fate, Host, MemoryDisk, Mode};
use crate::model::{Hex64, Micros, Reason};

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
    }
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
