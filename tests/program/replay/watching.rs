//! What a replay shows while it runs: metrics, status, liveness.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use super::{Folder, Intake, lines};
use crate::kit::live::nap;
use crate::kit::process::free_port;

/// What is answered to a GET: status line and body; `None` while nobody listens.
fn get(port: u16, path: &str) -> Option<(String, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Some((head.lines().next().unwrap().to_owned(), body.to_owned()))
}

fn metric(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
    line.trim().parse().unwrap()
}

#[test]
fn a_running_replay_serves_metrics_and_status() {
    let folder = Folder::new(&[("a.jsonl", &lines(0..400))]);
    let intake = Intake::new(|nth, request| match nth {
        5 => 503,
        _ if request.body.windows(6).any(|bytes| bytes == b"\"n\":7,") => 422,
        _ => 200,
    });
    let (url, port) = (intake.url(), free_port());
    let listen = format!("127.0.0.1:{port}");
    let args = ["a.jsonl", "--time", "at", "--key", "customer", "--to", &url, "--rate", "100", "--drop-on", "422"];
    let mut command = folder.command(&[&args[..], &["--listen", &listen]].concat());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let text = loop {
        let text = get(port, "/metrics").map(|(_, text)| text).unwrap_or_default();
        if !text.is_empty() && metric(&text, "wsp_replay_events_total{outcome=\"accepted\"}") >= 50.0 {
            break text;
        }
        assert!(child.try_wait().unwrap().is_none(), "it ended before it showed 50 events");
        nap(Duration::from_millis(20));
    };
    assert!(metric(&text, "wsp_replay_attempts_total") >= 52.0, "{text}");
    for (name, value) in [
        ("wsp_replay_events_total{outcome=\"dropped\"}", 1.0),
        ("wsp_replay_retries_total", 1.0),
        ("wsp_replay_failed_attempts_total{cause=\"server_error\"}", 1.0),
        ("wsp_replay_outage_seconds", 0.0),
        ("wsp_replay_earlier_events", 0.0),
    ] {
        assert!((metric(&text, name) - value).abs() < 1e-9, "{name}: {text}");
    }
    assert!(metric(&text, "wsp_replay_event_timestamp_seconds") >= 1_767_225_650.0, "{text}");
    assert!(metric(&text, "wsp_replay_answer_latency_seconds_count") >= 50.0, "{text}");
    let (line, body) = get(port, "/status").unwrap();
    let status: Value = serde_json::from_str(&body).unwrap();
    assert!(line.contains(" 200 ") && status["answered"].as_u64() >= Some(50), "{body}");
    assert_eq!((&status["dropped"], &status["retried"], &status["dead_letters"]), (&1.into(), &1.into(), &0.into()));
    assert_eq!(get(port, "/livez").unwrap().1, "alive\n");
    assert_eq!(get(port, "/healthz").unwrap().1, "alive\n");
    assert!(get(port, "/").unwrap().0.contains(" 404 "));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn an_address_that_is_taken_is_refused_before_anything_is_sent() {
    let folder = Folder::new(&[("a.jsonl", &lines(0..3))]);
    let (intake, other) = (Intake::willing(), Intake::willing());
    let (url, taken) = (intake.url(), other.url().replace("http://", ""));
    let told = folder.replay(&["a.jsonl", "--time", "at", "--to", &url, "--speedup", "0", "--listen", &taken]);
    assert_eq!((told.code, intake.taken().len()), (Some(2), 0), "{}", told.err);
    assert!(told.err.contains("--listen: 127.0.0.1:"), "{}", told.err);
}
