//! The HTTP gate against a server of raw bytes, so that every fault of the wire can be told.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Mutex;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::clock::SystemClock;
use crate::deliver::health::{Health, Lookup, ProbeError};
use crate::deliver::http1::BODY_LIMIT;
use crate::deliver::testing::Event;
use crate::secret::Secret;

pub(super) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{\"decision\":\"ADMIT\"}";

/// What the server does with a request: send these bytes, then close if told so.
#[derive(Clone)]
pub(super) enum Reply {
    Send(String),
    SendAndClose(String),
    /// The same, from bytes, with the connection kept.
    #[cfg(feature = "gzip")]
    Bytes(Vec<u8>),
    /// Close after this time.
    Leave(Duration),
    Silence,
}

/// What came in: the connection's number (0, 1, …) and the request as text.
pub(super) type Seen = Arc<Mutex<Vec<(usize, String)>>>;

/// Answers requests with `replies` in turn, over all connections.
pub(super) async fn server(replies: impl IntoIterator<Item = Reply>) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Seen::default();
    let replies = Arc::new(Mutex::new(replies.into_iter().collect::<VecDeque<_>>()));
    let log = seen.clone();
    tokio::spawn(async move {
        for connection in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (replies, log) = (replies.clone(), log.clone());
            tokio::spawn(async move {
                while let Some(request) = request(&mut stream).await {
                    log.lock().unwrap().push((connection, request));
                    let reply = replies.lock().unwrap().pop_front().unwrap_or(Reply::Send(OK.into()));
                    match reply {
                        Reply::Send(text) => stream.write_all(text.as_bytes()).await.unwrap(),
                        Reply::SendAndClose(text) => return stream.write_all(text.as_bytes()).await.unwrap(),
                        #[cfg(feature = "gzip")]
                        Reply::Bytes(bytes) => stream.write_all(&bytes).await.unwrap(),
                        Reply::Leave(after) => return tokio::time::sleep(after).await,
                        Reply::Silence => {}
                    }
                }
            });
        }
    });
    (address, seen)
}

/// Reads one request with a `content-length`, or `None` at the end of the connection.
pub(super) async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut text = String::new();
    loop {
        let body = text.split_once("\r\n\r\n").map(|(head, body)| {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            (length.map_or(0, |length| length.parse::<usize>().unwrap()), body.len())
        });
        if matches!(body, Some((wanted, have)) if have >= wanted) {
            return Some(text);
        }
        let mut piece = [0; 4096];
        let n = stream.read(&mut piece).await.ok()?;
        if n == 0 {
            return None;
        }
        text.push_str(std::str::from_utf8(&piece[..n]).unwrap());
    }
}

pub(super) fn gate(address: SocketAddr) -> HttpGate<SystemClock> {
    let endpoint = Endpoint::new(&format!("http://{address}"), "X-IG-Api-Key", &Secret::new("hunter2")).unwrap();
    HttpGate::new(endpoint, SystemClock::new()).unwrap()
}

pub(super) fn event() -> Event {
    Event { id: [0; 32], order_key: 0, body: Bytes::from_static(b"{\"event_id\":1}") }
}

pub(super) fn connections(seen: &Seen) -> Vec<usize> {
    seen.lock().unwrap().iter().map(|(connection, _)| *connection).collect()
}

pub(super) fn answered(attempt: Attempt) -> Answer {
    let Attempt::Answered(answer) = attempt else { unreachable!("{attempt:?}") };
    answer
}

#[tokio::test]
async fn requests_go_over_one_connection_with_the_headers_of_the_contract() {
    let (address, seen) = server([]).await;
    let mut connection = gate(address).connection();
    for _ in 0..3 {
        let answer = answered(connection.push(&event()).await);
        assert_eq!(
            (answer.status(), &answer.body()[..], answer.retry_after()),
            (200, &b"{\"decision\":\"ADMIT\"}"[..], None)
        );
    }
    assert_eq!(connections(&seen), [0, 0, 0]);
    let (_, request) = seen.lock().unwrap()[2].clone();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "{\"event_id\":1}");
    let mut lines: Vec<_> = head.split("\r\n").collect();
    lines[1..].sort_unstable();
    assert_eq!(
        lines,
        [
            "POST /v1/ingest/push HTTP/1.1",
            "accept-encoding: identity",
            "content-length: 14",
            "content-type: application/json",
            &format!("host: {address}"),
            "x-ig-api-key: hunter2"
        ]
    );
}

#[tokio::test]
async fn requests_of_a_traced_run_carry_its_trace_and_the_event() {
    let (address, seen) = server([]).await;
    let mark = TraceMark::default();
    let mut connection = gate(address).traced(mark.clone()).connection();
    for trace_id in [0, 0xfe] {
        mark.set(trace_id);
        answered(connection.push(&Event { id: [0xab; 32], ..event() }).await);
    }
    let marks: Vec<_> = seen
        .lock()
        .unwrap()
        .iter()
        .map(|(_, request)| request.lines().find_map(|line| Some(line.strip_prefix("traceparent: ")?.to_owned())))
        .collect();
    let expected = format!("00-{:032x}-{}-01", 0xfe, "ab".repeat(8));
    assert_eq!(marks, [None, Some(expected)]);
}

#[tokio::test]
async fn a_connection_that_closes_after_its_answer_is_replaced_without_a_loss() {
    let close = OK.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    // With the announcement, and without it.
    let (address, seen) = server([Reply::SendAndClose(close), Reply::SendAndClose(OK.into())]).await;
    let mut connection = gate(address).connection();
    for _ in 0..3 {
        assert_eq!(answered(connection.push(&event()).await).status(), 200);
        // The end of the connection has to be here before it can be noticed.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(connections(&seen), [0, 1, 2]);
}

#[tokio::test]
async fn an_idle_connection_is_replaced() {
    let (address, seen) = server([]).await;
    let mut connection = gate(address).idle_limit(Duration::from_millis(5)).connection();
    for _ in 0..2 {
        answered(connection.push(&event()).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(connections(&seen), [0, 1]);
}

#[tokio::test]
async fn a_late_answer_is_never_taken_for_that_of_the_next_event() {
    let (address, seen) = server([Reply::Silence]).await;
    let mut connection = gate(address).attempt_timeout(Duration::from_millis(50)).connection();
    assert_eq!(connection.push(&event()).await, Attempt::TimedOut);
    assert_eq!(answered(connection.push(&event()).await).status(), 200);
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(answered(connection.push(&event()).await).status(), 200, "the timer counts anew for each attempt");
    assert_eq!(connections(&seen), [0, 1, 1]);
}

#[tokio::test]
async fn a_connection_that_ends_before_a_whole_answer_is_lost() {
    for cut in ["", "HTTP/1.1 200 OK\r\ncont", "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{\"decision\":\"AD"] {
        let (address, _) = server([Reply::SendAndClose(cut.into())]).await;
        let mut connection = gate(address).connection();
        let attempt = connection.push(&event()).await;
        assert!(matches!(&attempt, Attempt::ConnectionLost(_)), "{cut:?}: {attempt:?}");
        assert_eq!(answered(connection.push(&event()).await).status(), 200, "the next attempt connects anew");
    }
}

#[tokio::test]
async fn what_is_no_http_is_a_lost_connection() {
    let (address, _) = server([Reply::Send("SSH-2.0-OpenSSH\r\n\r\n".into())]).await;
    let attempt = gate(address).connection().push(&event()).await;
    assert!(matches!(attempt, Attempt::ConnectionLost(_)), "{attempt:?}");
}

#[tokio::test]
async fn nobody_there_is_a_failed_connection() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let attempt = gate(address).connection().push(&event()).await;
    assert!(matches!(&attempt, Attempt::ConnectFailed(cause) if cause.contains("127.0.0.1")), "{attempt:?}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let (target, seen) = server([]).await;
    let redirect = format!("HTTP/1.1 302 Found\r\nlocation: http://{target}/\r\ncontent-length: 0\r\n\r\n");
    let (address, _) = server([Reply::Send(redirect)]).await;
    assert_eq!(answered(gate(address).connection().push(&event()).await).status(), 302);
    assert!(seen.lock().unwrap().is_empty(), "the key stays here");
}

#[tokio::test]
async fn a_body_without_end_is_cut_and_its_connection_dropped() {
    let long = format!("HTTP/1.1 500 No\r\ncontent-length: {}\r\n\r\n{}", 3 << 20, "x".repeat(3 << 20));
    let (address, seen) = server([Reply::Send(long)]).await;
    let mut connection = gate(address).connection();
    assert_eq!(answered(connection.push(&event()).await).body().len(), BODY_LIMIT);
    assert_eq!(answered(connection.push(&event()).await).status(), 200);
    assert_eq!(connections(&seen), [0, 1]);
}

#[tokio::test]
async fn an_early_refusal_is_heard_though_the_event_can_not_be_sent_any_more() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut connection = gate(listener.local_addr().unwrap()).connection();
    let large = Event { body: vec![b'x'; 32 << 20].into(), ..event() };
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut [0; 1000]).await.unwrap();
        stream.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.unwrap();
        // What it has not read makes its end abrupt.
        drop(stream);
        listener.accept().await.unwrap()
    };
    let (attempt, (mut stream, _)) = tokio::join!(
        async {
            let first = connection.push(&large).await;
            let second = tokio::time::timeout(Duration::from_millis(50), connection.push(&event())).await;
            assert!(second.is_err(), "nobody has answered it: {second:?}");
            first
        },
        serve
    );
    assert_eq!(answered(attempt).status(), 413);
    assert!(request(&mut stream).await.unwrap().ends_with("{\"event_id\":1}"), "over a new connection");
}

#[tokio::test]
async fn an_answer_in_pieces_is_put_together() {
    let chunks = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7\r\n{\"decis\r\n5\r\nion\":\r\n8\r\n\"ADMIT\"}\r\n0\r\n\r\n";
    let (address, seen) = server([Reply::Send(chunks.into())]).await;
    let mut connection = gate(address).connection();
    for _ in 0..2 {
        assert_eq!(*answered(connection.push(&event()).await).body(), "{\"decision\":\"ADMIT\"}");
    }
    assert_eq!(connections(&seen), [0, 0]);
}

#[tokio::test]
async fn retry_after_comes_with_the_answer() {
    let (address, _) =
        server([Reply::Send("HTTP/1.1 503 No\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n".into())]).await;
    let answer = answered(gate(address).connection().push(&event()).await);
    assert_eq!((answer.status(), answer.retry_after()), (503, Some(Duration::from_secs(7))));
}

#[tokio::test]
async fn a_date_to_come_back_at_counts_from_the_answers_own() {
    let date = "date: Sun, 06 Nov 1994 08:49:30 GMT\r\nretry-after: Sun, 06 Nov 1994 08:49:37 GMT";
    let (address, _) = server([Reply::Send(format!("HTTP/1.1 429 Slow\r\n{date}\r\ncontent-length: 0\r\n\r\n"))]).await;
    let answer = answered(gate(address).connection().push(&event()).await);
    assert_eq!((answer.status(), answer.retry_after()), (429, Some(Duration::from_secs(7))));
}

#[tokio::test]
async fn a_gate_is_down_if_it_says_so_or_says_nothing() {
    let say = |status: &str, body: &str| {
        Reply::SendAndClose(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
    };
    let (address, seen) = server([
        say("200 OK", r#"{"state":"GREEN","reasons":[]}"#),
        say("404 Not Found", ""),
        say("200 OK", "fine"),
        say("503 No", r#"{"state":"GREEN"}"#),
        say("200 OK", r#"{"state":"RED","reasons":["BUS"]}"#),
        say("200 OK", r#"{"status":"ok","service":"ig","mode":"edge"}"#),
        say("404 Not Found", r#"{"error":"route_not_found"}"#),
        Reply::SendAndClose(String::new()),
    ])
    .await;
    let mut connection = gate(address).connection();
    for up in [true, true, true, false, false, true, true, false] {
        let said = connection.ask().await;
        assert_eq!(said.is_ok(), up, "{said:?}");
    }
    let asked = seen.lock().unwrap().clone();
    assert_eq!(asked.len(), 8);
    assert!(asked.iter().all(|(_, request)| {
        request.starts_with("GET /v1/ops/health HTTP/1.1") && request.contains("x-ig-api-key: hunter2")
    }));
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert!(gate(nobody).connection().ask().await.is_err());
}

#[tokio::test]
async fn the_probe_reads_health_and_sends_the_key() {
    let body = r#"{"reasons":[],"state":"GREEN"}"#;
    let green = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let red = "HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n";
    let (address, seen) = server([Reply::Send(green), Reply::Send(red.into())]).await;
    let endpoint =
        Endpoint::new(&format!("http://{address}/v1/ingest/push"), "X-Key", &Secret::new("hunter2")).unwrap();
    let probe = HttpGate::new(endpoint, SystemClock::new()).unwrap().probe();
    let health = probe.health().await.unwrap();
    assert_eq!(health, Health { state: Some("GREEN".into()), status: None, reasons: vec![] });
    assert!(health.is_good());
    let request = seen.lock().unwrap()[0].1.clone();
    assert!(
        request.starts_with("GET /v1/ops/health HTTP/1.1\r\n") && request.contains("x-key: hunter2\r\n"),
        "{request}"
    );
    assert_eq!(request.matches("host: ").count(), 1);
    assert!(matches!(probe.health().await, Err(ProbeError::Status(401))));
}

#[tokio::test]
async fn a_lookup_that_is_not_supported_is_told_from_an_unknown_event() {
    let say = |status: &str, body: &str| {
        Reply::SendAndClose(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
    };
    let record = r#"{"decision":"ADMIT","event_id":"ab"}"#;
    let (address, seen) = server([
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
    let probe = gate(address).probe();
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
    assert!(seen.lock().unwrap()[0].1.starts_with("GET /v1/ops/lookup?event_id=ab HTTP/1.1\r\n"));
}
