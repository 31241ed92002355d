//! How IG says how it is, in its own words and over the wire.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use wsp::clock::SystemClock;
use wsp::deliver::{Gate, GateConnection};

use super::super::parse_ig_endpoint;
use super::*;
use crate::model::Secret;

/// The requests that came in.
type Seen = Arc<Mutex<Vec<String>>>;

/// Answers each connection's first request with the next of `replies`, and ends it.
async fn server(replies: Vec<String>) -> (String, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (base, seen) = (format!("http://{}", listener.local_addr().unwrap()), Seen::default());
    let noted = seen.clone();
    tokio::spawn(async move {
        for reply in replies {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            noted.lock().unwrap().push(String::from_utf8(request).unwrap());
            stream.write_all(reply.as_bytes()).await.unwrap();
        }
    });
    (base, seen)
}

fn say(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn gate(base: &str) -> HttpGate<SystemClock> {
    let endpoint = parse_ig_endpoint(base, "X-Key", &Secret::new("hunter2")).unwrap();
    HttpGate::new(endpoint, SystemClock::new()).unwrap()
}

#[tokio::test]
async fn a_gate_is_down_if_it_says_so_or_says_nothing() {
    let (base, seen) = server(vec![
        say("200 OK", r#"{"state":"GREEN","reasons":[]}"#),
        say("404 Not Found", ""),
        say("200 OK", "fine"),
        say("503 No", r#"{"state":"GREEN"}"#),
        say("200 OK", r#"{"state":"RED","reasons":["BUS"]}"#),
        say("200 OK", r#"{"status":"ok","service":"ig","mode":"edge"}"#),
        say("404 Not Found", r#"{"error":"route_not_found"}"#),
        String::new(),
    ])
    .await;
    let mut connection = gate(&base).connection();
    let mut said = Vec::new();
    for up in [true, true, true, false, false, true, true, false] {
        said.push(connection.ask().await);
        assert_eq!(said.last().unwrap().is_ok(), up, "{said:?}");
    }
    assert_eq!(said[3..5], [Err("health: status 503".to_owned()), Err("health: RED BUS".to_owned())]);
    let asked = seen.lock().unwrap().clone();
    assert_eq!(asked.len(), 8);
    assert!(
        asked.iter().all(|request| {
            request.starts_with("GET /v1/ops/health HTTP/1.1") && request.contains("x-key: hunter2")
        })
    );
}

#[tokio::test]
async fn the_probe_reads_health_and_sends_the_key() {
    let (base, seen) = server(vec![say("200 OK", r#"{"reasons":[],"state":"GREEN"}"#), say("401 No", "")]).await;
    let probe = IgProbe::of(&gate(&format!("{base}/v1/ingest/push")));
    let health = probe.health().await.unwrap();
    assert_eq!(health, Health { state: Some("GREEN".into()), status: None, reasons: vec![] });
    assert!(health.is_good());
    let request = seen.lock().unwrap()[0].clone();
    assert!(
        request.starts_with("GET /v1/ops/health HTTP/1.1\r\n") && request.contains("x-key: hunter2\r\n"),
        "{request}"
    );
    assert!(matches!(probe.health().await, Err(ProbeError::Status(401))));
}

#[tokio::test]
async fn a_lookup_that_is_not_supported_is_told_from_an_unknown_event() {
    let record = r#"{"decision":"ADMIT","event_id":"ab"}"#;
    let (base, seen) = server(vec![
        say("200 OK", record),
        say("404 Not Found", r#"{"error":"NOT_FOUND"}"#),
        say("404 Not Found", "{}"),
        say("404 Not Found", r#"{"error":"route_not_found"}"#),
        say("404 Not Found", "<h1>Not Found</h1>"),
        say("501 No", r#"{"error":"not_supported"}"#),
        say("405 No", ""),
        say("401 No", ""),
        say("500 No", r#"{"error":"not_supported"}"#),
        say("200 OK", "[]"),
        say("200 OK", "<html>"),
    ])
    .await;
    let probe = IgProbe::of(&gate(&base));
    let expected = [
        Ok(Lookup::Record(serde_json::from_str(record).unwrap())),
        Ok(Lookup::Unknown),
        Ok(Lookup::Unknown),
        Ok(Lookup::Unsupported),
        Ok(Lookup::Unsupported),
        Ok(Lookup::Unsupported),
        Ok(Lookup::Unsupported),
        Err("status 401"),
        Err("status 500"),
        Err("can't be read"),
        Err("can't be read"),
    ];
    for (n, expected) in expected.into_iter().enumerate() {
        match (probe.lookup("ab").await, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{n}"),
            (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{n}: {error}"),
            other => unreachable!("{n}: {other:?}"),
        }
    }
    assert!(seen.lock().unwrap()[0].starts_with("GET /v1/ops/lookup?event_id=ab HTTP/1.1\r\n"));
}

#[test]
fn both_fronts_say_in_their_own_words_that_they_take_events() {
    for (body, good, words) in [
        (r#"{"state":"GREEN","reasons":[]}"#, true, "GREEN"),
        (r#"{"state":"AMBER","reasons":["LAG"]}"#, true, "AMBER LAG"),
        (r#"{"status":"ok","service":"ig","mode":"edge"}"#, true, "ok"),
        (r#"{"state":null,"status":"ok"}"#, true, "ok"),
        (r#"{"state":"GREEN","status":"down"}"#, true, "GREEN"),
        (r#"{"state":"RED","status":"ok","reasons":["BUS","DB"]}"#, false, "RED BUS, DB"),
        (r#"{"state":"","status":"ok"}"#, false, ""),
        (r#"{"state":"green"}"#, false, "green"),
        (r#"{"state":1,"status":"ok"}"#, false, "1"),
        (r#"{"state":["GREEN"]}"#, false, r#"["GREEN"]"#),
        (r#"{"status":"degraded","reasons":7}"#, false, "degraded"),
        (r#"{"status":"OK"}"#, false, "OK"),
        ("{}", false, "neither state nor status"),
    ] {
        let health = Health::read(body.as_bytes()).unwrap();
        assert_eq!((health.is_good(), health.words().as_str()), (good, words), "{body}");
    }
    for body in ["", "ok", r#"["GREEN"]"#, r#"["GREEN",[]]"#, r#"{"state":"GREEN""#] {
        assert!(Health::read(body.as_bytes()).is_err(), "{body}");
    }
}

#[test]
fn the_gates_words_are_bounded_and_printable() {
    let body = serde_json::json!({"state": "x\n".repeat(500), "reasons": ["y\u{7}".repeat(500)]});
    let words = Health::read(body.to_string().as_bytes()).unwrap().words();
    assert!(words.len() < 200 && !words.contains(char::is_control), "{words}");
}
