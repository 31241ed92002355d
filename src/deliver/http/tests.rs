//! The HTTP gate against a server of raw bytes, so that every fault of the wire can be told.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Mutex;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::clock::SystemClock;
use crate::deliver::health::{Health, ProbeError};
use crate::deliver::http1::BODY_LIMIT;
use crate::model::{Micros, Position, Secret};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{\"decision\":\"ADMIT\"}";

/// What the server does with a request: send these bytes, then close if told so.
#[derive(Clone)]
enum Reply {
    Send(String),
    SendAndClose(String),
    Silence,
}

/// What came in: the connection's number (0, 1, …) and the request as text.
type Seen = Arc<Mutex<Vec<(usize, String)>>>;

/// Answers requests with `replies` in turn, over all connections.
async fn server(replies: impl IntoIterator<Item = Reply>) -> (SocketAddr, Seen) {
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
                        Reply::Silence => {}
                    }
                }
            });
        }
    });
    (address, seen)
}

/// Reads one request with a `content-length`, or `None` at the end of the connection.
async fn request(stream: &mut TcpStream) -> Option<String> {
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

fn gate(address: SocketAddr) -> HttpGate<SystemClock> {
    let endpoint = Endpoint::new(&format!("http://{address}"), "X-IG-Api-Key", &Secret::new("hunter2")).unwrap();
    HttpGate::new(endpoint, SystemClock::new()).unwrap()
}

fn event() -> Event {
    Event {
        position: Position { rank: 0, file: 0, row: 0, seq: 0 },
        ts: Micros(0),
        order_key: 0,
        event_id: [0; 32],
        body: Bytes::from_static(b"{\"event_id\":1}"),
        due: None,
    }
}

fn connections(seen: &Seen) -> Vec<usize> {
    seen.lock().unwrap().iter().map(|(connection, _)| *connection).collect()
}

fn answered(attempt: Attempt) -> Answer {
    let Attempt::Answered(answer) = attempt else { unreachable!("{attempt:?}") };
    answer
}

#[tokio::test]
async fn requests_go_over_one_connection_with_the_headers_of_the_contract() {
    let (address, seen) = server([]).await;
    let mut channel = gate(address).channel();
    for _ in 0..3 {
        let answer = answered(channel.push(&event()).await);
        assert_eq!(
            (answer.status, &answer.body[..], answer.retry_after),
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
    let mut channel = gate(address).traced(mark.clone()).channel();
    for trace_id in [0, 0xfe] {
        mark.set(trace_id);
        answered(channel.push(&Event { event_id: [0xab; 32], ..event() }).await);
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
    let mut channel = gate(address).channel();
    for _ in 0..3 {
        assert_eq!(answered(channel.push(&event()).await).status, 200);
        // The end of the connection has to be here before it can be noticed.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(connections(&seen), [0, 1, 2]);
}

#[tokio::test]
async fn an_idle_connection_is_replaced() {
    let (address, seen) = server([]).await;
    let mut channel = gate(address).idle_limit(Duration::from_millis(5)).channel();
    for _ in 0..2 {
        answered(channel.push(&event()).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(connections(&seen), [0, 1]);
}

#[tokio::test]
async fn a_late_answer_is_never_taken_for_that_of_the_next_event() {
    let (address, seen) = server([Reply::Silence]).await;
    let mut channel = gate(address).attempt_timeout(Duration::from_millis(50)).channel();
    assert_eq!(channel.push(&event()).await, Attempt::TimedOut);
    assert_eq!(answered(channel.push(&event()).await).status, 200);
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(answered(channel.push(&event()).await).status, 200, "the timer counts anew for each attempt");
    assert_eq!(connections(&seen), [0, 1, 1]);
}

#[tokio::test]
async fn a_connection_that_ends_before_a_whole_answer_is_lost() {
    for cut in ["", "HTTP/1.1 200 OK\r\ncont", "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{\"decision\":\"AD"] {
        let (address, _) = server([Reply::SendAndClose(cut.into())]).await;
        let mut channel = gate(address).channel();
        let attempt = channel.push(&event()).await;
        assert!(matches!(&attempt, Attempt::ConnectionLost(_)), "{cut:?}: {attempt:?}");
        assert_eq!(answered(channel.push(&event()).await).status, 200, "the next attempt connects anew");
    }
}

#[tokio::test]
async fn what_is_no_http_is_a_lost_connection() {
    let (address, _) = server([Reply::Send("SSH-2.0-OpenSSH\r\n\r\n".into())]).await;
    let attempt = gate(address).channel().push(&event()).await;
    assert!(matches!(attempt, Attempt::ConnectionLost(_)), "{attempt:?}");
}

#[tokio::test]
async fn nobody_there_is_a_failed_connection() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let attempt = gate(address).channel().push(&event()).await;
    assert!(matches!(&attempt, Attempt::ConnectFailed(cause) if cause.contains("127.0.0.1")), "{attempt:?}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let (target, seen) = server([]).await;
    let redirect = format!("HTTP/1.1 302 Found\r\nlocation: http://{target}/\r\ncontent-length: 0\r\n\r\n");
    let (address, _) = server([Reply::Send(redirect)]).await;
    assert_eq!(answered(gate(address).channel().push(&event()).await).status, 302);
    assert!(seen.lock().unwrap().is_empty(), "the key stays here");
}

#[tokio::test]
async fn a_body_without_end_is_cut_and_its_connection_dropped() {
    let long = format!("HTTP/1.1 500 No\r\ncontent-length: {}\r\n\r\n{}", 3 << 20, "x".repeat(3 << 20));
    let (address, seen) = server([Reply::Send(long)]).await;
    let mut channel = gate(address).channel();
    assert_eq!(answered(channel.push(&event()).await).body.len(), BODY_LIMIT);
    assert_eq!(answered(channel.push(&event()).await).status, 200);
    assert_eq!(connections(&seen), [0, 1]);
}

#[tokio::test]
async fn an_early_refusal_is_heard_though_the_event_can_not_be_sent_any_more() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut channel = gate(listener.local_addr().unwrap()).channel();
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
            let first = channel.push(&large).await;
            let second = tokio::time::timeout(Duration::from_millis(50), channel.push(&event())).await;
            assert!(second.is_err(), "nobody has answered it: {second:?}");
            first
        },
        serve
    );
    assert_eq!(answered(attempt).status, 413);
    assert!(request(&mut stream).await.unwrap().ends_with("{\"event_id\":1}"), "over a new connection");
}

#[tokio::test]
async fn an_answer_in_pieces_is_put_together() {
    let chunks = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7\r\n{\"decis\r\n5\r\nion\":\r\n8\r\n\"ADMIT\"}\r\n0\r\n\r\n";
    let (address, seen) = server([Reply::Send(chunks.into())]).await;
    let mut channel = gate(address).channel();
    for _ in 0..2 {
        assert_eq!(answered(channel.push(&event()).await).body, "{\"decision\":\"ADMIT\"}");
    }
    assert_eq!(connections(&seen), [0, 0]);
}

#[tokio::test]
async fn retry_after_comes_with_the_answer() {
    let (address, _) =
        server([Reply::Send("HTTP/1.1 503 No\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n".into())]).await;
    let answer = answered(gate(address).channel().push(&event()).await);
    assert_eq!((answer.status, answer.retry_after), (503, Some(Duration::from_secs(7))));
}

#[tokio::test]
async fn a_date_to_come_back_at_counts_from_the_answers_own() {
    let date = "date: Sun, 06 Nov 1994 08:49:30 GMT\r\nretry-after: Sun, 06 Nov 1994 08:49:37 GMT";
    let (address, _) = server([Reply::Send(format!("HTTP/1.1 429 Slow\r\n{date}\r\ncontent-length: 0\r\n\r\n"))]).await;
    let answer = answered(gate(address).channel().push(&event()).await);
    assert_eq!((answer.status, answer.retry_after), (429, Some(Duration::from_secs(7))));
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
        Reply::SendAndClose(String::new()),
    ])
    .await;
    let mut channel = gate(address).channel();
    for up in [true, true, true, false, false, false] {
        let said = channel.ask().await;
        assert_eq!(said.is_ok(), up, "{said:?}");
    }
    let asked = seen.lock().unwrap().clone();
    assert_eq!(asked.len(), 6);
    assert!(asked.iter().all(|(_, request)| {
        request.starts_with("GET /v1/ops/health HTTP/1.1") && request.contains("x-ig-api-key: hunter2")
    }));
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert!(gate(nobody).channel().ask().await.is_err());
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
    assert_eq!(health, Health { state: "GREEN".into(), reasons: vec![] });
    assert!(health.is_green());
    let request = seen.lock().unwrap()[0].1.clone();
    assert!(
        request.starts_with("GET /v1/ops/health HTTP/1.1\r\n") && request.contains("x-key: hunter2\r\n"),
        "{request}"
    );
    assert_eq!(request.matches("host: ").count(), 1);
    assert!(matches!(probe.health().await, Err(ProbeError::Status(401))));
}

/// A server certificate for `localhost` and 127.0.0.1, its root, and the key: made for these tests, good for nothing else.
mod tls {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{RootCertStore, ServerConfig};
    use tokio_rustls::TlsAcceptor;

    use super::*;

    fn certificate(pem: &[u8]) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem).unwrap()
    }

    /// Answers one request a connection.
    async fn server() -> SocketAddr {
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate(include_bytes!("testdata/localhost.pem"))],
                PrivateKeyDer::from_pem_slice(include_bytes!("testdata/localhost.key.pem")).unwrap(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // A client that does not trust us leaves here.
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut piece = [0; 4096];
                assert!(stream.read(&mut piece).await.unwrap() > 0);
                stream.write_all(OK.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
            }
        });
        address
    }

    fn gate(url: &str, trust: ClientConfig) -> HttpGate<SystemClock> {
        let endpoint = Endpoint::new(url, "X-IG-Api-Key", &Secret::new("hunter2")).unwrap();
        HttpGate::with_tls(endpoint, SystemClock::new(), Arc::new(trust))
    }

    fn trust() -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(certificate(include_bytes!("testdata/root.pem"))).unwrap();
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }

    #[tokio::test]
    async fn a_trusted_gate_is_spoken_to_by_name_and_by_address() {
        let port = server().await.port();
        for host in ["localhost", "127.0.0.1"] {
            let mut channel = gate(&format!("https://{host}:{port}"), trust()).channel();
            assert_eq!(answered(channel.push(&event()).await).status, 200, "{host}");
        }
    }

    #[tokio::test]
    async fn a_gate_that_nobody_vouches_for_never_sees_the_event() {
        let url = format!("https://{}", server().await);
        let attempt = gate(&url, wire::unused_tls().unwrap()).channel().push(&event()).await;
        assert!(matches!(&attempt, Attempt::ConnectFailed(cause) if cause.contains("certificate")), "{attempt:?}");
    }
}
