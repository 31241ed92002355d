//! What else uses a local store's files at the same time, and what fails amid a write.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::executor::block_on;

use super::{Key, LocalStore, ObjectStore, StoreError};
use crate::disk::testing::before;
use crate::disk::{Act, Disk, Fate, Host, MemoryDisk, Mode};

fn key(name: &str) -> Key {
    name.parse().unwrap()
}

fn store(disk: &MemoryDisk, host: Arc<dyn Host>) -> LocalStore {
    LocalStore::on(Arc::new(disk.seen_by(host)), "/store")
}

/// The whole of an object of 8 bytes.
const WHOLE: &[std::ops::Range<u64>] = std::slice::from_ref(&(0..8));

#[tokio::test]
async fn a_file_written_in_place_is_another_version_though_its_time_is_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::open(dir.path().to_str().unwrap());
    store.put(&key("part"), Bytes::from_static(b"12345678")).await.unwrap();
    let meta = store.head(&key("part")).await.unwrap().unwrap();
    let path = dir.path().join("part");
    let (modified, changed) = (fs::metadata(&path).unwrap().modified().unwrap(), meta.version.clone());
    while store.head(&key("part")).await.unwrap().unwrap().version == changed {
        let mut file = fs::File::options().write(true).open(&path).unwrap();
        file.write_all(b"87654321").unwrap();
        file.set_modified(modified).unwrap();
        // A file system's clock may stand still for some milliseconds.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let read = store.get_ranges(&key("part"), &meta.version, WHOLE).await;
    assert!(matches!(read, Err(StoreError::Changed { .. })), "{read:?}");
}

#[test]
fn a_file_that_is_written_to_while_it_is_read_has_changed() {
    let disk = MemoryDisk::new();
    let writer = disk.clone();
    let write = move || {
        writer.open(Path::new("/store/part"), Mode::Write).unwrap().write_at(b"87", 0).unwrap();
        Fate::Happens
    };
    let store = store(&disk, before(Act::Read, "part", write));
    block_on(store.put(&key("part"), Bytes::from_static(b"12345678"))).unwrap();
    let meta = block_on(store.head(&key("part"))).unwrap().unwrap();
    let read = block_on(store.get_ranges(&key("part"), &meta.version, WHOLE));
    assert!(matches!(read, Err(StoreError::Changed { .. })), "{read:?}");
    let meta = block_on(store.head(&key("part"))).unwrap().unwrap();
    assert_eq!(block_on(store.get_ranges(&key("part"), &meta.version, WHOLE)).unwrap(), ["87345678"]);
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
        block_on(second.append_unless(&key("log"), line_too, held())).unwrap_err();
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
