//! What else uses a local store's files at the same time, and what fails amid a write.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures_executor::block_on;

use super::{Key, LocalStore, ObjectStore};
use crate::disk::testing::before;
use crate::disk::{Act, Fate, Host, MemoryDisk, Operation};
use crate::random::Random;

fn key(name: &str) -> Key {
    name.parse().unwrap()
}

fn store(disk: &MemoryDisk, host: Arc<dyn Host>) -> LocalStore {
    LocalStore::on(Arc::new(disk.seen_by(host)), "/store")
}

/// A host that lets all happen.
fn idle() -> Arc<dyn Host> {
    before(Act::Lock, "nothing", || Fate::Happens)
}

#[test]
fn of_two_who_append_a_line_unless_it_is_there_one_does() {
    let disk = MemoryDisk::new();
    let line = Bytes::from_static(b"line\n");
    let held = || Arc::new(|content: &[u8]| content == b"line\n");
    let second = LocalStore::on(Arc::new(disk.clone()), "/store");
    let line_too = line.clone();
    let amid = move || {
        // On a real disk it waits.
        second.append_unless(&key("log"), line_too, held()).now_or_never().unwrap().unwrap_err();
        Fate::Happens
    };
    let first = store(&disk, before(Act::Append, "log", amid));
    assert!(block_on(first.append_unless(&key("log"), line.clone(), held())).unwrap());
    assert!(!block_on(first.append_unless(&key("log"), line, held())).unwrap());
    assert_eq!(disk.content(Path::new("/store/log")).unwrap(), b"line\n");
}

#[test]
fn a_line_that_was_written_by_half_is_taken_back() {
    let disk = MemoryDisk::new();
    let store = store(&disk, before(Act::Append, "log", || Fate::FailsHalfway));
    block_on(store.append(&key("log"), Bytes::from_static(b"one\n"))).unwrap_err();
    assert_eq!(disk.content(Path::new("/store/log")).unwrap(), b"");
    block_on(store.append(&key("log"), Bytes::from_static(b"two\n"))).unwrap();
    assert_eq!(disk.content(Path::new("/store/log")).unwrap(), b"two\n");
}

/// Whoever wrote a line may have died before it was durable. That it is there is said only once it is.
#[test]
fn a_line_that_is_found_is_made_durable() {
    let line = Bytes::from_static(b"line\n");
    let held = || Arc::new(|content: &[u8]| content == b"line\n");
    for dies_before in [Act::Sync, Act::SyncFolder] {
        for seed in 0..64 {
            let disk = MemoryDisk::new();
            // The folder is there, so that the first sync is the line's.
            block_on(store(&disk, idle()).append(&key("other"), line.clone())).unwrap();
            let name = if dies_before == Act::Sync { "log" } else { "store" };
            let left = std::sync::Mutex::new(false);
            let dying = Arc::new(move |operation: &Operation<'_>| {
                let mut appended = left.lock().unwrap();
                *appended |= operation.act == Act::Append;
                let dies = *appended && operation.act == dies_before && operation.path.ends_with(name);
                if dies { Fate::Fails } else { Fate::Happens }
            });
            block_on(store(&disk, dying).append_unless(&key("log"), line.clone(), held())).unwrap_err();
            assert!(!block_on(store(&disk, idle()).append_unless(&key("log"), line.clone(), held())).unwrap());
            let mut random = Random::of(&[seed]);
            disk.lose_power(&mut |bound| random.below(bound));
            let content = disk.content(Path::new("/store/log"));
            assert_eq!(content.as_deref(), Some(&b"line\n"[..]), "{dies_before:?}, seed {seed}");
        }
    }
}
