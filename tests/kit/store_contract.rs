//! The contract itself; a store joins by a call of [`holds`] on an empty root.

use std::sync::Arc;

use bytes::Bytes;
use wsp::store::{Key, ObjectStore, StoreError, Version};

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

/// Runs every check on an empty store.
pub(crate) async fn holds(store: Arc<dyn ObjectStore>) {
    names(&*store);
    nothing_is_not_an_error(&*store).await;
    whole_objects(&*store).await;
    ranges_of_one_version(&*store).await;
    lists(&*store).await;
    one_creator_wins(store.clone()).await;
    appends_add_up(store.clone()).await;
    one_of_many_appends_what_all_know(store).await;
}

fn names(store: &dyn ObjectStore) {
    assert!(!store.root().ends_with('/'));
    assert_eq!(store.full_name(&key("a/b")), format!("{}/a/b", store.root()));
}

async fn nothing_is_not_an_error(store: &dyn ObjectStore) {
    assert_eq!(store.head(&key("no/such")).await.unwrap(), None);
    assert_eq!(store.get(&key("no/such"), 10).await.unwrap(), None);
    assert_eq!(store.list(&key("no")).await.unwrap(), []);
    assert_eq!(store.folders(Some(&key("no"))).await.unwrap(), [""; 0]);
    let read = store.get_ranges(&key("no/such"), &Version("1".into()), &[]).await;
    assert!(matches!(read, Err(StoreError::Changed { .. })));
}

async fn whole_objects(store: &dyn ObjectStore) {
    let object = key("objects/deep/one");
    assert!(store.put_new(&object, Bytes::from_static(b"first")).await.unwrap());
    assert!(!store.put_new(&object, Bytes::from_static(b"second")).await.unwrap());
    assert_eq!(store.get(&object, 5).await.unwrap().unwrap(), "first");
    let before = store.head(&object).await.unwrap().unwrap();
    assert_eq!(before.size, 5);
    assert_eq!(store.head(&object).await.unwrap().unwrap(), before);

    store.put(&object, Bytes::from_static(b"third!")).await.unwrap();
    assert_eq!(store.get(&object, 6).await.unwrap().unwrap(), "third!");
    assert_ne!(store.head(&object).await.unwrap().unwrap().version, before.version);
    match store.get(&object, 5).await {
        Err(StoreError::TooLarge { size: 6, limit: 5, object: name }) => assert_eq!(name, store.full_name(&object)),
        other => panic!("{other:?}"),
    }
    store.put(&key("objects/empty"), Bytes::new()).await.unwrap();
    assert_eq!(store.get(&key("objects/empty"), 0).await.unwrap().unwrap(), "");
}

async fn ranges_of_one_version(store: &dyn ObjectStore) {
    let object = key("ranges/object");
    store.put(&object, Bytes::from_static(b"0123456789")).await.unwrap();
    let meta = store.head(&object).await.unwrap().unwrap();
    let parts = store.get_ranges(&object, &meta.version, &[7..10, 0..1, 3..3]).await.unwrap();
    assert_eq!(parts, ["789", "0", ""]);
    for range in [5..11, 11..11] {
        let read = store.get_ranges(&object, &meta.version, std::slice::from_ref(&range)).await;
        assert!(matches!(read, Err(StoreError::Io { .. })), "{range:?}");
    }
    store.put(&object, Bytes::from_static(b"9876543210")).await.unwrap();
    let read = store.get_ranges(&object, &meta.version, std::slice::from_ref(&(0..1))).await;
    assert!(matches!(read, Err(StoreError::Changed { .. })));
}

async fn lists(store: &dyn ObjectStore) {
    for name in ["list/b", "list/a", "list/deeper/c", "listing", "list/a.jsonl"] {
        store.put(&key(name), Bytes::from(name)).await.unwrap();
    }
    let listed = store.list(&key("list")).await.unwrap();
    assert_eq!(listed, [(key("list/a"), 6), (key("list/a.jsonl"), 12), (key("list/b"), 6)]);
    for name in ["list/other/d", "list/deeper/deep/e", "list/deeper/f", "list/2/g", "list/3/h"] {
        store.put(&key(name), Bytes::from(name)).await.unwrap();
    }
    assert_eq!(store.folders(Some(&key("list"))).await.unwrap(), ["2", "3", "deeper", "other"]);
    assert_eq!(store.folders(Some(&key("list/deeper"))).await.unwrap(), ["deep"]);
    let below_root = store.folders(None).await.unwrap();
    assert!(below_root.contains(&"list".to_owned()) && !below_root.contains(&"listing".to_owned()), "{below_root:?}");
}

async fn one_creator_wins(store: Arc<dyn ObjectStore>) {
    let tasks: Vec<_> = (0..8)
        .map(|i| {
            let store = store.clone();
            tokio::spawn(async move { store.put_new(&key("race/once"), Bytes::from(vec![i; 4096])).await.unwrap() })
        })
        .collect();
    let mut winners = Vec::new();
    for (i, task) in tasks.into_iter().enumerate() {
        if task.await.unwrap() {
            winners.push(i as u8);
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(store.get(&key("race/once"), 4096).await.unwrap().unwrap(), vec![winners[0]; 4096]);
}

async fn appends_add_up(store: Arc<dyn ObjectStore>) {
    let log = key("append/log.jsonl");
    let tasks: Vec<_> = (0..8)
        .map(|writer| {
            let (store, log) = (store.clone(), log.clone());
            tokio::spawn(async move {
                for line in 0..8 {
                    store.append(&log, format!("{writer} {line}\n").into()).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let text = store.get(&log, 1 << 20).await.unwrap().unwrap();
    let mut lines: Vec<_> = std::str::from_utf8(&text).unwrap().lines().collect();
    for writer in 0..8 {
        let of_writer: Vec<_> = lines.iter().filter(|line| line.starts_with(&format!("{writer} "))).collect();
        assert!(of_writer.is_sorted(), "a writer's lines stay in its order");
    }
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), 64);

    let torn = key("append/torn.jsonl");
    store.put(&torn, Bytes::from_static(b"whole\nhal")).await.unwrap();
    store.append(&torn, Bytes::from_static(b"next\n")).await.unwrap();
    assert_eq!(store.get(&torn, 100).await.unwrap().unwrap(), "whole\nhal\nnext\n");
}

async fn one_of_many_appends_what_all_know(store: Arc<dyn ObjectStore>) {
    let list = key("append/list.jsonl");
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (store, list) = (store.clone(), list.clone());
            tokio::spawn(async move {
                let mut wrote = 0;
                for fact in 0..8 {
                    let line = format!("fact {fact}\n");
                    let sought = line.clone();
                    let held = Arc::new(move |content: &[u8]| {
                        String::from_utf8_lossy(content).split_inclusive('\n').any(|line| line == sought)
                    });
                    wrote += usize::from(store.append_unless(&list, line.into(), held).await.unwrap());
                }
                wrote
            })
        })
        .collect();
    let mut wrote = 0;
    for task in tasks {
        wrote += task.await.unwrap();
    }
    let text = store.get(&list, 1 << 20).await.unwrap().unwrap();
    let expected = (0..8).map(|fact| format!("fact {fact}\n")).collect::<Vec<_>>().concat();
    assert_eq!((text, wrote), (Bytes::from(expected), 8));
}
