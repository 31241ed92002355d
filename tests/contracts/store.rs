//! What every object store owes its callers, held against each of ours.

mod fake_s3;
mod reading;
mod s3;

use std::os::unix::fs::symlink;
use std::sync::Arc;

use bytes::Bytes;
use wsp::store::{Key, LocalStore, MemoryStore, ObjectStore, StoreError};

use crate::kit::store_contract;

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    store_contract::holds(Arc::new(MemoryStore::new("memory"))).await;
}

#[tokio::test]
async fn local_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    store_contract::holds(Arc::new(LocalStore::open(dir.path().to_str().unwrap()))).await;
}

#[tokio::test]
async fn a_local_root_is_made_by_the_first_write_and_may_be_a_link() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("not/yet");
    let store = LocalStore::open(format!("{}/", root.display()));
    assert_eq!(store.get(&key("a"), 10).await.unwrap(), None);
    store.put(&key("a"), Bytes::from_static(b"1")).await.unwrap();
    assert_eq!(store.full_name(&key("a")), format!("{}/a", root.display()));

    symlink(&root, dir.path().join("link")).unwrap();
    let linked = LocalStore::open(dir.path().join("link").to_str().unwrap());
    assert_eq!(linked.get(&key("a"), 10).await.unwrap().unwrap(), "1");
    linked.append(&key("b/c"), Bytes::from_static(b"x\n")).await.unwrap();
    assert_eq!(store.get(&key("b/c"), 10).await.unwrap().unwrap(), "x\n");
}

#[tokio::test]
async fn links_that_leave_a_local_root_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
    std::fs::create_dir_all(&root).unwrap();
    std::fs::create_dir_all(&outside).unwrap();
    std::fs::write(outside.join("secret"), "s").unwrap();
    symlink(&outside, root.join("folder")).unwrap();
    symlink(outside.join("secret"), root.join("file")).unwrap();
    symlink(outside.join("nothing"), root.join("dangling")).unwrap();
    std::fs::write(root.join("inside"), "i").unwrap();
    symlink(root.join("inside"), root.join("alias")).unwrap();
    let store = LocalStore::open(root.to_str().unwrap());

    for name in ["folder/secret", "file"] {
        assert!(matches!(store.get(&key(name), 9).await, Err(StoreError::Outside { .. })), "{name}");
        assert!(matches!(store.head(&key(name)).await, Err(StoreError::Outside { .. })), "{name}");
    }
    assert!(matches!(store.list(&key("folder")).await, Err(StoreError::Outside { .. })));
    for name in ["folder/new", "folder/a/b", "file", "dangling"] {
        let line = Bytes::from_static(b"x\n");
        assert!(matches!(store.append(&key(name), line.clone()).await, Err(StoreError::Outside { .. })), "{name}");
        assert!(matches!(store.put(&key(name), line.clone()).await, Err(StoreError::Outside { .. })), "{name}");
        assert!(matches!(store.put_new(&key(name), line).await, Err(StoreError::Outside { .. })), "{name}");
    }
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(std::fs::read_to_string(outside.join("secret")).unwrap(), "s");
    assert_eq!(store.get(&key("alias"), 9).await.unwrap().unwrap(), "i");
}

#[tokio::test]
async fn a_local_error_names_the_object_and_the_cause() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "x").unwrap();
    std::fs::create_dir(dir.path().join("folder")).unwrap();
    let store = LocalStore::open(dir.path().to_str().unwrap());
    assert_eq!(store.get(&key("file/below"), 9).await.unwrap(), None);
    let error = store.put(&key("file/below"), Bytes::new()).await.unwrap_err().to_string();
    assert!(error.contains("file/below: cannot be written: ") && error.contains("os error"), "{error}");
    let error = store.get(&key("folder"), 9).await.unwrap_err().to_string();
    assert!(error.ends_with("folder: cannot be read: not a regular file"), "{error}");
}

#[tokio::test]
async fn a_file_swapped_behind_its_name_is_another_version() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::open(dir.path().to_str().unwrap());
    let part = key("part");
    store.put(&part, Bytes::from_static(b"12345678")).await.unwrap();
    let meta = store.head(&part).await.unwrap().unwrap();
    store.put(&part, Bytes::from_static(b"87654321")).await.unwrap();
    // Even with the old times put back.
    let path = dir.path().join("part");
    let back = std::time::SystemTime::UNIX_EPOCH;
    std::fs::File::options().write(true).open(path).unwrap().set_modified(back).unwrap();
    let read = store.get_ranges(&part, &meta.version, std::slice::from_ref(&(0..8))).await;
    assert!(matches!(read, Err(StoreError::Changed { .. })));
}
