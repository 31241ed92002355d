//! What an S3 store makes of a server's answers, good and bad.

#![allow(clippy::single_range_in_vec_init, reason = "a list of one range of bytes is meant")]

use std::sync::Arc;

use bytes::Bytes;
use hyper::Method;
use wsp::store::{Key, ObjectStore, S3Options, S3Store, StoreError};

use super::fake_s3::{BUCKET, FakeS3, Fault, KEY, KEY_ID, Objects};
use crate::kit::store_contract;

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

/// Something that goes on in the bucket before a request is looked at.
fn meanwhile(change: impl FnOnce(&mut Objects) + Send + 'static) -> Fault {
    Fault::Meanwhile(Box::new(change))
}

fn numbered(bytes: usize) -> Bytes {
    (0..bytes).map(|i| (i % 251) as u8).collect()
}

#[tokio::test]
async fn s3_keeps_the_contract() {
    let server = FakeS3::start().await;
    store_contract::holds(Arc::new(server.store("/engine/run=1"))).await;
    store_contract::holds(Arc::new(server.store(""))).await;
    assert!(server.state().objects.contains_key("engine/run=1/append/log.jsonl"));
}

#[tokio::test]
async fn two_processes_appending_lose_no_line() {
    let server = FakeS3::start().await;
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let store = server.store("");
            tokio::spawn(async move {
                for line in 0..10 {
                    store.append(&key("log"), format!("{writer} {line}\n").into()).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let log = server.state().objects["log"].clone();
    let mut lines: Vec<_> = std::str::from_utf8(&log).unwrap().lines().collect();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), 40);
}

#[tokio::test]
async fn listings_have_pages_and_no_folder_markers() {
    let server = FakeS3::start().await;
    for name in ["a/", "a/1", "a/2", "a/3 +&ü=%", "a/4", "a/b/", "a/b/1", "a/c/1", "a/z", "a0", "a/d//1"] {
        server.state().objects.insert(name.to_owned(), Bytes::from_static(b"xy"));
    }
    let listed = server.store("").list(&key("a")).await.unwrap();
    let names = ["a/1", "a/2", "a/3 +&ü=%", "a/4", "a/z"];
    assert_eq!(listed, names.map(|name| (key(name), 2)));
    assert!(server.seen(&Method::GET).len() > 2, "more than a page");

    let odd = key("a/3 +&ü=%");
    assert_eq!(server.store("").get(&odd, 2).await.unwrap().unwrap(), "xy");
    assert_eq!(server.store("").head(&odd).await.unwrap().unwrap().size, 2);
}

#[tokio::test]
async fn ranges_come_in_few_requests_each_for_one_version() {
    let server = FakeS3::start().await;
    let (store, part) = (server.store(""), key("part"));
    let content = numbered(20 << 20);
    server.state().objects.insert("part".to_owned(), content.clone());
    let version = store.head(&part).await.unwrap().unwrap().version;

    let near = [100..200, 0..50, 300..1000];
    let read = store.get_ranges(&part, &version, &near).await.unwrap();
    assert_eq!(read, near.map(|range| content.slice(range.start as usize..range.end as usize)));
    assert_eq!(server.seen(&Method::GET).len(), 1);

    server.state().seen.clear();
    let all = [0..20 << 20, 5..9];
    let read = store.get_ranges(&part, &version, &all).await.unwrap();
    assert!(read[0] == content && read[1] == content.slice(5..9));
    let seen = server.seen(&Method::GET);
    assert_eq!(seen.len(), 3, "8 MiB at most in each");
    assert!(seen.iter().all(|seen| seen.if_match.as_ref() == Some(&version.0)));
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_broke() {
    let server = FakeS3::start().await;
    let (store, part) = (server.store(""), key("part"));
    let content = numbered(100_000);
    server.state().objects.insert("part".to_owned(), content.clone());
    let version = store.head(&part).await.unwrap().unwrap().version;

    server.fault(Method::GET, Fault::Short(30_000));
    server.fault(Method::GET, Fault::Answer(503, "SlowDown"));
    let whole = [10..100_000];
    let read = store.get_ranges(&part, &version, &whole).await.unwrap();
    assert_eq!(read, [content.slice(10..)]);
    let ranges: Vec<_> = server.seen(&Method::GET).into_iter().filter_map(|seen| seen.range).collect();
    assert_eq!(ranges[0], "bytes=10-99999");
    assert_eq!(ranges[1], ranges[2]);
    assert_eq!(ranges[1], "bytes=30010-99999");

    server.fault(Method::GET, Fault::Short(999));
    assert_eq!(store.get(&part, 100_000).await.unwrap().unwrap(), content);
}

#[tokio::test]
async fn an_object_replaced_or_removed_on_the_way_has_changed() {
    let server = FakeS3::start().await;
    let (store, part) = (server.store(""), key("part"));
    let mut outcomes = Vec::new();
    for change in [
        meanwhile(|objects| drop(objects.insert("part".to_owned(), numbered(20 << 20).slice(1..)))),
        meanwhile(|objects| drop(objects.remove("part"))),
        meanwhile(|objects| drop(objects.insert("part".to_owned(), Bytes::from_static(b"short")))),
    ] {
        server.state().objects.insert("part".to_owned(), numbered(20 << 20));
        let version = store.head(&part).await.unwrap().unwrap().version;
        server.fault(Method::GET, change);
        let all = [0..20 << 20];
        outcomes.push(store.get_ranges(&part, &version, &all).await);
    }
    for outcome in outcomes {
        match outcome {
            Err(StoreError::Changed { object }) => assert_eq!(object, "s3://world/part"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_careless_server_is_not_believed() {
    let server = FakeS3::start().await;
    let (store, part) = (server.store(""), key("part"));
    server.state().objects.insert("part".to_owned(), numbered(1000));
    let version = store.head(&part).await.unwrap().unwrap().version;

    let range = [5..10];
    server.fault(Method::GET, Fault::Careless);
    let error = store.get_ranges(&part, &version, &range).await.unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "it sends everything: {error}");

    server.state().objects.insert("part".to_owned(), numbered(999));
    server.fault(Method::GET, Fault::Careless);
    let error = store.get_ranges(&part, &version, &range).await.unwrap_err();
    assert!(matches!(error, StoreError::Changed { .. }), "it sends another version: {error}");
}

#[tokio::test]
async fn a_range_beyond_the_end_is_told() {
    let server = FakeS3::start().await;
    let (store, part) = (server.store(""), key("part"));
    server.state().objects.insert("part".to_owned(), numbered(10));
    let version = store.head(&part).await.unwrap().unwrap().version;
    for (start, end) in [(5, 11), (10, 12), (50, 60), (11, 11), (7, 6)] {
        let range = std::ops::Range { start, end };
        let error = store.get_ranges(&part, &version, &[range]).await.unwrap_err().to_string();
        assert_eq!(error, format!("s3://world/part: GET: bytes {start}..{end} of 10"));
    }
    let far = [0..u64::MAX];
    let error = store.get_ranges(&part, &version, &far).await.unwrap_err().to_string();
    assert!(error.contains("bytes at once, more than"), "{error}");
}

#[tokio::test]
async fn a_large_object_is_refused_before_it_is_read() {
    let server = FakeS3::start().await;
    server.state().objects.insert("facts".to_owned(), numbered(1000));
    // Were it read, it would break off.
    server.fault(Method::GET, Fault::Short(10));
    let error = server.store("").get(&key("facts"), 999).await.unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { size: 1000, limit: 999, .. }), "{error}");
    assert_eq!(server.seen(&Method::GET).len(), 1);
}

#[tokio::test]
async fn a_new_object_whose_answer_was_lost_is_ours() {
    let server = FakeS3::start().await;
    let store = server.store("");
    server.fault(Method::PUT, Fault::Lost);
    assert!(store.put_new(&key("ours"), Bytes::from_static(b"ours")).await.unwrap());

    server.fault(Method::PUT, Fault::Cut);
    server.fault(
        Method::PUT,
        meanwhile(|objects| drop(objects.insert("theirs".to_owned(), Bytes::from_static(b"them")))),
    );
    assert!(!store.put_new(&key("theirs"), Bytes::from_static(b"ours")).await.unwrap());
    assert_eq!(server.state().objects["theirs"], "them");

    // The same bytes, but no attempt of ours can have written them.
    assert!(!store.put_new(&key("ours"), Bytes::from_static(b"ours")).await.unwrap());

    // Another writer at the same moment: nothing is written yet.
    server.fault(Method::PUT, Fault::Answer(409, "ConditionalRequestConflict"));
    assert!(store.put_new(&key("after all"), Bytes::from_static(b"x")).await.unwrap());
}

#[tokio::test]
async fn appended_lines_are_there_once() {
    let server = FakeS3::start().await;
    let (store, log) = (server.store(""), key("log"));
    let logged = || String::from_utf8(server.state().objects["log"].to_vec()).unwrap();

    // Written, the answer lost.
    server.fault(Method::PUT, Fault::Lost);
    store.append(&log, Bytes::from_static(b"1\n")).await.unwrap();
    assert_eq!(logged(), "1\n");

    // Lost before it was written.
    server.fault(Method::PUT, Fault::Cut);
    store.append(&log, Bytes::from_static(b"2\n")).await.unwrap();
    assert_eq!(logged(), "1\n2\n");

    // Written, the answer lost, and another writer appends before we look again.
    server.fault(Method::PUT, Fault::Lost);
    server.fault(Method::GET, meanwhile(|_| {}));
    server.fault(
        Method::GET,
        meanwhile(|objects| drop(objects.insert("log".to_owned(), Bytes::from_static(b"1\n2\n3\nother\n")))),
    );
    store.append(&log, Bytes::from_static(b"3\n")).await.unwrap();
    assert_eq!(logged(), "1\n2\n3\nother\n");

    // Not written, and another writer appends the very same line: two lines.
    server.fault(Method::PUT, Fault::Answer(500, "InternalError"));
    server.fault(
        Method::PUT,
        meanwhile(|objects| drop(objects.insert("log".to_owned(), Bytes::from_static(b"1\n2\n3\nother\n5\n")))),
    );
    store.append(&log, Bytes::from_static(b"4\n")).await.unwrap();
    assert_eq!(logged(), "1\n2\n3\nother\n5\n4\n");
}

#[tokio::test]
async fn the_last_attempt_at_an_append_is_looked_at_too() {
    let server = FakeS3::start().await;
    let (store, log) = (server.store(""), key("log"));
    for fault in [Fault::Cut, Fault::Cut, Fault::Lost] {
        server.fault(Method::PUT, fault);
    }
    store.append(&log, Bytes::from_static(b"1\n")).await.unwrap();
    assert_eq!(server.state().objects["log"], "1\n");

    for _ in 0..3 {
        server.fault(Method::PUT, Fault::Cut);
    }
    let error = store.append(&log, Bytes::from_static(b"2\n")).await.unwrap_err().to_string();
    assert!(error.contains("attempt 3 of 3") && error.ends_with("it may have been written"), "{error}");
    assert_eq!(server.state().objects["log"], "1\n");
}

#[tokio::test]
async fn what_grows_too_large_is_not_appended_to() {
    let server = FakeS3::start().await;
    let store = S3Store::open("s3://world", S3Options { append_limit: 10, ..server.options() }).unwrap();
    store.append(&key("log"), Bytes::from_static(b"12345678901\n")).await.unwrap();
    let error = store.append(&key("log"), Bytes::from_static(b"2\n")).await.unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { size: 12, limit: 10, .. }), "{error}");
}

#[tokio::test]
async fn a_stuck_request_is_given_up_and_made_again() {
    let server = FakeS3::start().await;
    let attempt_timeout = std::time::Duration::from_millis(300);
    let store = S3Store::open("s3://world", S3Options { attempt_timeout, ..server.options() }).unwrap();
    server.fault(Method::PUT, Fault::Stuck);
    store.put(&key("a"), Bytes::from_static(b"1")).await.unwrap();
    assert_eq!(server.seen(&Method::PUT).len(), 2);
    for _ in 0..3 {
        server.fault(Method::GET, Fault::Stuck);
    }
    let error = store.get(&key("a"), 9).await.unwrap_err().to_string();
    assert_eq!(error, "s3://world/a: GET: no whole answer within 300ms (attempt 3 of 3)");
}

#[tokio::test]
async fn errors_name_object_status_and_code_and_no_credentials() {
    let server = FakeS3::start().await;
    let store = server.store("/x");
    server.fault(Method::PUT, Fault::Answer(403, "AccessDenied"));
    let error = store.put(&key("a"), Bytes::new()).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "s3://world/x/a: PUT: the server answered 403 AccessDenied (may these credentials do this here?)"
    );
    assert_eq!(server.seen(&Method::PUT).len(), 1, "a lasting failure is told at once");

    for _ in 0..3 {
        server.fault(Method::GET, Fault::Answer(500, "InternalError"));
    }
    let error = store.get(&key("a"), 1).await.unwrap_err().to_string();
    assert_eq!(error, "s3://world/x/a: GET: the server answered 500 InternalError (attempt 3 of 3)");

    let shown = format!("{store:?} {error}");
    assert!(!shown.contains(KEY) && !shown.contains(KEY_ID), "{shown}");
}

#[tokio::test]
async fn readiness_asks_the_bucket() {
    let server = FakeS3::start().await;
    server.store("/x").check().await.unwrap();

    let elsewhere = S3Store::open("s3://elsewhere", server.options()).unwrap();
    let error = elsewhere.check().await.unwrap_err().to_string();
    assert_eq!(error, "s3://elsewhere: LIST: the server answered 404 NoSuchBucket (is the root right?)");
    // A bucket that isn't there is not an object that isn't there.
    assert!(matches!(elsewhere.get(&key("a"), 1).await, Err(StoreError::Io { .. })));

    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = S3Options { endpoint: Some(format!("http://{free}").parse().unwrap()), ..server.options() };
    let error = S3Store::open("s3://world", nobody).unwrap().check().await.unwrap_err().to_string();
    assert!(error.contains("attempt 3 of 3") && error.contains("refused"), "{error}");
}

#[tokio::test]
async fn a_store_outlives_the_runtime_that_used_it_first() {
    let server = FakeS3::start().await;
    let store = server.store("");
    let other = store.clone();
    tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(other.put(&key("a"), Bytes::from_static(b"1"))).unwrap();
    })
    .await
    .unwrap();
    assert_eq!(store.get(&key("a"), 1).await.unwrap().unwrap(), "1");
    assert_eq!(store.root(), format!("s3://{BUCKET}"));
}

/// The store on nothing but its environment; run by the test below, in a process of its own.
#[tokio::test]
#[ignore = "run by who_we_are_comes_from_the_environment"]
async fn in_the_environment_alone() {
    if std::env::var_os("AWS_ENDPOINT_URL_S3").is_none() {
        return;
    }
    let retry = wsp::store::Backoff { attempts: 1, ..S3Options::default().retry };
    let store = S3Store::open(&format!("s3://{BUCKET}"), S3Options { retry, ..S3Options::default() }).unwrap();
    match store.put(&key("environment"), Bytes::from_static(b"1")).await {
        Ok(()) => println!("written"),
        Err(error) => println!("{error}"),
    }
}

#[tokio::test]
async fn who_we_are_comes_from_the_environment() {
    let server = FakeS3::start().await;
    let folder = tempfile::tempdir().unwrap();
    let profile = folder.path().join("credentials");
    std::fs::write(&profile, format!("[streamer]\naws_access_key_id={KEY_ID}\naws_secret_access_key={KEY}\n")).unwrap();
    let container = format!("{}/container-credentials", server.endpoint);
    let cases: [(&[(&str, &str)], &str); 4] = [
        (&[("AWS_ACCESS_KEY_ID", KEY_ID), ("AWS_SECRET_ACCESS_KEY", KEY)], "written"),
        (&[("AWS_PROFILE", "streamer"), ("AWS_SHARED_CREDENTIALS_FILE", profile.to_str().unwrap())], "written"),
        (&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &container)], "written"),
        (&[], "s3://world/environment: PUT: the request failed: "),
    ];
    for (variables, outcome) in cases {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--ignored", "--exact", "--nocapture", "store::s3::in_the_environment_alone"]).env_clear();
        child.env("AWS_EC2_METADATA_DISABLED", "true").env("HOME", folder.path());
        child
            .env("AWS_REGION", "eu-west-2")
            .env("AWS_ENDPOINT_URL_S3", &server.endpoint)
            .envs(variables.iter().copied());
        let output = tokio::task::spawn_blocking(move || child.output().unwrap()).await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(outcome) && !text.contains(KEY), "{variables:?}: {text}");
        assert_eq!(server.state().objects.remove("environment").is_some(), outcome == "written");
    }
}
