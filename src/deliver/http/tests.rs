//! The HTTP gate against a server of raw bytes, so that every fault of the wire can be told.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Mutex;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::clock::SystemClock;
use crate::deliver::health::Said;
use crate::deliver::http1::BODY_LIMIT;
use crate::deliver::testing::Event;

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
    let endpoint = endpoint(&format!("http://{address}"));
    HttpGate::new(endpoint, SystemClock::new()).unwrap()
}

/// A gate with a key, which says `down` where it takes nothing.
pub(super) fn endpoint(url: &str) -> Endpoint {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    let endpoint = Endpoint::post(&url.parse().unwrap(), headers).unwrap();
    let up = |status, body: &[u8]| if status == 200 && body != b"down" { Ok(()) } else { Err("it is down".to_owned()) };
    endpoint
        .keyed(&"X-IG-Api-Key".parse().unwrap(), &"hunter2".parse().unwrap())
        .at("/v1/ingest/push".parse().unwrap())
        .asked("/v1/ops/health".parse().unwrap(), up)
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
    let (address, seen) =
        server([say("200 OK", "up"), say("503 No", "up"), say("200 OK", "down"), Reply::SendAndClose(String::new())])
            .await;
    let mut connection = gate(address).connection();
    for up in [true, false, false, false] {
        let said = connection.ask().await;
        assert_eq!(said.is_ok(), up, "{said:?}");
    }
    let asked = seen.lock().unwrap().clone();
    assert_eq!(asked.len(), 4);
    assert!(asked.iter().all(|(_, request)| {
        request.starts_with("GET /v1/ops/health HTTP/1.1") && request.contains("x-ig-api-key: hunter2")
    }));
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = gate(nobody).connection().ask().await.unwrap_err();
    assert!(error.starts_with("health: "), "{error}");
    let plain = Endpoint::post(&format!("http://{nobody}").parse().unwrap(), HeaderMap::new()).unwrap();
    let gate = HttpGate::new(plain, SystemClock::new()).unwrap();
    assert_eq!(gate.connection().ask().await, Ok(()), "who can't be asked is tried");
}

#[tokio::test]
async fn a_probe_gets_what_it_asks_for_with_the_key() {
    let (address, seen) = server([Reply::Send("HTTP/1.1 401 No\r\ncontent-length: 3\r\n\r\nwho".into())]).await;
    let probe = gate(address).probe();
    assert_eq!(probe.base().to_string(), format!("http://{address}"));
    let said = probe.get(&"/v1/ops/lookup?event_id=ab".parse().unwrap()).await.unwrap();
    assert_eq!(said, Said { status: 401, body: Bytes::from_static(b"who") });
    let request = seen.lock().unwrap()[0].1.clone();
    let line = "GET /v1/ops/lookup?event_id=ab HTTP/1.1\r\n";
    assert!(request.starts_with(line) && request.contains("x-ig-api-key: hunter2\r\n"), "{request}");
    assert_eq!(request.matches("host: ").count(), 1);
}
