//! The example's producer, run as it stands: another trade's rows, over real HTTP, into an intake that answers 201.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;

#[path = "../../examples/small_producer.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main is not run here")]
mod small_producer;

use small_producer::replay;

/// An intake: it answers what `status` says of the nth request, and keeps the bodies that it created.
async fn intake(status: fn(usize) -> u16) -> (String, Arc<Mutex<Vec<Value>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/readings", listener.local_addr().unwrap());
    let (created, asked) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
    let kept = created.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (kept, asked) = (kept.clone(), asked.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                let (kept, asked) = (kept.clone(), asked.clone());
                async move {
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let nth = {
                        let mut asked = asked.lock().unwrap();
                        *asked += 1;
                        *asked
                    };
                    let status = status(nth);
                    if status == 201 {
                        kept.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
                    }
                    Ok::<_, Infallible>(Response::builder().status(status).body(Empty::<bytes::Bytes>::new()).unwrap())
                }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (url, created)
}

/// A reading every half minute from each of three sensors, in turn from two files.
fn write_readings(folder: &Path) {
    for (file, name) in ["north.csv", "south.csv"].into_iter().enumerate() {
        let line = |n: usize| format!("2026-01-01T00:{:02}:{:02}Z,{},{n}\n", n / 2, n % 2 * 30 + file, (n + file) % 3);
        std::fs::write(folder.join(name), (0..60).map(line).collect::<String>()).unwrap();
    }
}

#[tokio::test]
async fn readings_of_two_files_arrive_once_in_order_per_sensor_and_are_not_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    write_readings(folder.path());
    let (url, created) = intake(|nth| if nth % 10 == 0 { 503 } else { 201 }).await;
    assert_eq!(replay(&url, folder.path()).await.unwrap(), 120);

    let mut by_sensor: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for reading in created.lock().unwrap().iter() {
        let times = by_sensor.entry(reading["sensor"].as_u64().unwrap()).or_default();
        times.push(reading["ts"].as_str().unwrap().to_owned());
    }
    assert_eq!(by_sensor.values().map(Vec::len).sum::<usize>(), 120);
    assert!(by_sensor.values().all(|times| times.is_sorted()), "{by_sensor:?}");
    assert_eq!(std::fs::read_to_string(folder.path().join("north.cursor")).unwrap(), "60");

    assert_eq!(replay(&url, folder.path()).await.unwrap(), 0);
}

#[tokio::test]
async fn a_refused_reading_and_a_line_that_is_none_are_named() {
    let folder = tempfile::tempdir().unwrap();
    write_readings(folder.path());
    let (url, _) = intake(|_| 422).await;
    let error = replay(&url, folder.path()).await.unwrap_err().to_string();
    assert!(error.contains("422") && error.starts_with("north.csv line 1:"), "{error}");

    std::fs::write(folder.path().join("south.csv"), "2026-01-01T00:00:00Z,x\n").unwrap();
    let (url, _) = intake(|_| 201).await;
    let error = replay(&url, folder.path()).await.unwrap_err().to_string();
    assert_eq!(error, "south.csv line 1: no reading: 2026-01-01T00:00:00Z,x");
}
