//! The S3 store on real servers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wsp::clock::{Clock, SystemClock};
use wsp::store::{Backoff, Key, ObjectStore, S3Options, S3Store, StoreError};

use crate::kit::store_contract;
use crate::servers::s3::{Kind, S3Server};

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

/// Bytes that differ from place to place.
fn content(size: usize) -> Bytes {
    (0..size as u32 / 4).flat_map(|word| word.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

#[tokio::test]
#[ignore = "needs an S3 server"]
async fn an_s3_server_keeps_the_contract() {
    let server = S3Server::any().await;
    everything(&server).await;
}

#[tokio::test]
#[ignore = "needs MinIO, which takes minutes to build"]
async fn minio_keeps_the_contract() {
    let server = S3Server::own(Kind::Minio).await;
    everything(&server).await;
}

async fn everything(server: &S3Server) {
    store_contract::holds(Arc::new(server.store(&server.root("contract")))).await;
    writers_lose_no_line(server).await;
    one_of_many_processes_creates(server).await;
    a_large_object_comes_in_ranges(server).await;
    pages_are_put_together(server).await;
    strangers_are_told(server).await;
}

/// Each store is as a process of its own: nothing but the bucket holds them apart.
async fn writers_lose_no_line(server: &S3Server) {
    const WRITERS: usize = 2;
    const LINES: usize = 50;
    let root = server.root("append");
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = server.store(&root);
            tokio::spawn(async move {
                for line in 0..LINES {
                    store.append(&key("log.jsonl"), format!("{writer} {line}\n").into()).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let log = server.store(&root).get(&key("log.jsonl"), 1 << 20).await.unwrap().unwrap();
    let lines: Vec<_> = std::str::from_utf8(&log).unwrap().lines().collect();
    assert_eq!(lines.len(), WRITERS * LINES);
    for writer in 0..WRITERS {
        let own: Vec<_> = lines.iter().filter(|line| line.starts_with(&format!("{writer} "))).collect();
        let expected: Vec<_> = (0..LINES).map(|line| format!("{writer} {line}")).collect();
        assert!(own.iter().zip(&expected).all(|(line, expected)| **line == expected), "{own:?}");
    }
}

async fn one_of_many_processes_creates(server: &S3Server) {
    let root = server.root("race");
    for round in 0..5 {
        let object = key(&format!("once-{round}"));
        let tasks: Vec<_> = (0..8_u8)
            .map(|i| {
                let (store, object) = (server.store(&root), object.clone());
                tokio::spawn(async move { store.put_new(&object, Bytes::from(vec![i; 1000])).await.unwrap() })
            })
            .collect();
        let mut winners = Vec::new();
        for (i, task) in (0_u8..).zip(tasks) {
            if task.await.unwrap() {
                winners.push(i);
            }
        }
        let stored = server.store(&root).get(&object, 1000).await.unwrap().unwrap();
        assert_eq!((winners.len(), stored[0]), (1, winners[0]));
    }
}

async fn a_large_object_comes_in_ranges(server: &S3Server) {
    const MIB: u64 = 1 << 20;
    let store = server.store(&server.root("large"));
    let (part, whole) = (key("part-000000.parquet"), content(64 << 20));
    store.put(&part, whole.clone()).await.unwrap();
    let meta = store.head(&part).await.unwrap().unwrap();
    assert_eq!(meta.size, 64 * MIB);

    let ranges = [64 * MIB - 8..64 * MIB, 0..20 * MIB, 20 * MIB + 1000..30 * MIB, 63 * MIB..64 * MIB - 8];
    let read = store.get_ranges(&part, &meta.version, &ranges).await.unwrap();
    for (range, bytes) in ranges.iter().zip(&read) {
        assert!(*bytes == whole.slice(range.start as usize..range.end as usize), "{range:?}");
    }

    store.put(&part, whole.slice(..32 << 20)).await.unwrap();
    for range in [0..MIB, 40 * MIB..41 * MIB] {
        let read = store.get_ranges(&part, &meta.version, &[range]).await;
        assert!(matches!(read, Err(StoreError::Changed { .. })), "{read:?}");
    }
}

async fn pages_are_put_together(server: &S3Server) {
    let store = server.store(&server.root("pages"));
    let names: Vec<_> = (0..1005).map(|i| key(&format!("output_id=a/part-{i:06}"))).collect();
    let written = names.iter().map(|name| store.put(name, Bytes::from_static(b"xyz")));
    futures::future::try_join_all(written).await.unwrap();
    store.put(&key("output_id=a/deeper/part"), Bytes::new()).await.unwrap();
    let listed = store.list(&key("output_id=a")).await.unwrap();
    assert!(listed.iter().map(|(name, _)| name).eq(&names), "{}", listed.len());
    assert!(listed.iter().all(|(_, size)| *size == 3));
}

async fn strangers_are_told(server: &S3Server) {
    server.store(&server.root("ready")).check().await.unwrap();
    let credentials = wsp::store::S3Credentials::Keys {
        id: wsp_world::model::Secret::new("stranger"),
        key: wsp_world::model::Secret::new("stranger-secret"),
        session_token: None,
    };
    let stranger = S3Store::open(&server.root("ready"), S3Options { credentials, ..server.options() }).unwrap();
    let error = stranger.check().await.unwrap_err().to_string();
    assert!(error.contains("403 InvalidAccessKeyId") && !error.contains("stranger"), "{error}");
}

#[tokio::test]
#[ignore = "needs an S3 server"]
async fn a_restart_is_waited_out() {
    let mut server = S3Server::own(Kind::SeaweedFs).await;
    let patient = Backoff { attempts: 60, base: Duration::from_millis(100), max: Duration::from_secs(1) };
    let options = S3Options { retry: patient, attempt_timeout: Duration::from_secs(5), ..server.options() };
    let store = S3Store::open(&server.root("restart"), options).unwrap();
    let log = key("log.jsonl");
    store.append(&log, Bytes::from_static(b"before\n")).await.unwrap();
    server.crash();
    let waiting = {
        let (store, log) = (store.clone(), log.clone());
        tokio::spawn(async move { store.append(&log, Bytes::from_static(b"during\n")).await })
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished(), "nobody is there to answer");
    server.start().await;
    waiting.await.unwrap().unwrap();
    assert_eq!(store.get(&log, 100).await.unwrap().unwrap(), "before\nduring\n");
}

/// Prints how fast ranges come, beside one plain download of the same object.
#[tokio::test]
#[ignore = "measures; needs an S3 server"]
async fn the_speed_of_ranges() {
    const SIZE: u64 = 256 << 20;
    let server = S3Server::any().await;
    let root = server.root("speed");
    let (store, part) = (server.store(&root), key("part"));
    store.put(&part, content(SIZE as usize)).await.unwrap();
    let version = store.head(&part).await.unwrap().unwrap().version;
    let name = format!("{}/part", root.strip_prefix("s3://").unwrap().split_once('/').unwrap().1);
    let bucket = root.strip_prefix("s3://").unwrap().split('/').next().unwrap().to_owned();
    let (client, clock) = (server.client(), SystemClock::new());
    let speed = |start: Duration| (SIZE >> 20) as f64 / clock.now().saturating_sub(start).as_secs_f64();
    for round in 0..4 {
        let start = clock.now();
        let mut body = client.get_object().bucket(&bucket).key(&name).send().await.unwrap().body;
        let mut plain = 0;
        while let Some(chunk) = body.next().await {
            plain += chunk.unwrap().len() as u64;
        }
        let plain_speed = speed(start);
        assert_eq!(plain, SIZE);
        print!("round {round}: plain GET {plain_speed:.0} MiB/s");
        for block in [8_u64 << 20, 32 << 20, 64 << 20] {
            let start = clock.now();
            for first in (0..SIZE).step_by(block as usize) {
                // As the columns of a row group lie.
                let columns: Vec<_> = (first..first + block).step_by(4 << 20).map(|at| at..at + (4 << 20)).collect();
                let read = store.get_ranges(&part, &version, &columns).await.unwrap();
                assert_eq!(read.iter().map(|column| column.len() as u64).sum::<u64>(), block);
            }
            let ranged = speed(start);
            print!(", {} MiB row groups {ranged:.0} MiB/s ({:.0} %)", block >> 20, 100.0 * ranged / plain_speed);
        }
        println!();
    }
}
