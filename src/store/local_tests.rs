//! What else uses a local store's files at the same time, and what fails amid a write.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::executor::block_on;

use super::{Key, LocalStore, ObjectStore};
use crate::disk::testing::before;
use crate::disk::{Act, Fate, Host, MemoryDisk};

fn key(name: &str) -> Key {
    name.parse().unwrap()
}

fn store(disk: &MemoryDisk, host: Arc<dyn Host>) -> LocalStore {
    LocalStore::on(Arc::new(disk.seen_by(host)), "/store")
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
