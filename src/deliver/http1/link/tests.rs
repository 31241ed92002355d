//! Exchanges over a pipe whose other end says what the test wants.

use tokio::io::{AsyncWriteExt, BufWriter, DuplexStream, duplex, join};

use super::*;

const HEAD: &[u8] = b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\n";
const BODY: &[u8] = b"{\"n\": 10}";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

/// Reads as much as one request has.
async fn request(peer: &mut DuplexStream) -> Vec<u8> {
    let mut bytes = vec![0; HEAD.len() + BODY.len()];
    peer.read_exact(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test]
async fn a_request_arrives_whole_however_little_of_it_is_taken_at_once() {
    let rooms = [1, 3, HEAD.len() - 1, HEAD.len(), HEAD.len() + 1, 1000];
    // Up to a writer's capacity, bytes lie until they are flushed; the smallest takes a part of the request.
    for (room, capacity) in rooms.into_iter().flat_map(|room| [1, 20, 50].map(|capacity| (room, capacity))) {
        let (wire, mut peer) = duplex(room);
        let mut link = Link::new(BufWriter::with_capacity(capacity, wire));
        for _ in 0..2 {
            let serve = async {
                let bytes = request(&mut peer).await;
                peer.write_all(OK.as_bytes()).await.unwrap();
                bytes
            };
            let (received, bytes) = tokio::join!(link.exchange(HEAD, BODY), serve);
            assert_eq!(bytes, [HEAD, BODY].concat(), "{room}");
            let Exchanged { received, sent } = received.unwrap();
            assert_eq!((received.status, &received.body[..], received.keep), (200, &b"{}"[..], true), "{room}");
            assert!(sent);
            assert!(link.is_quiet().await);
        }
    }
}

#[tokio::test]
async fn answers_in_a_row_use_the_same_memory() {
    let (wire, mut peer) = duplex(1000);
    let mut link = Link::new(wire);
    let mut places = Vec::new();
    for _ in 0..100 {
        let serve = async {
            request(&mut peer).await;
            peer.write_all(OK.as_bytes()).await.unwrap();
        };
        let (received, ()) = tokio::join!(link.exchange(HEAD, BODY), serve);
        places.push(received.unwrap().received.body.as_ptr());
        assert!(link.is_quiet().await);
    }
    places.dedup();
    assert_eq!(places.len(), 1);
}

#[tokio::test]
async fn a_large_answer_leaves_no_large_buffer_behind() {
    let (wire, mut peer) = duplex(1000);
    let mut link = Link::new(wire);
    let long = "x".repeat(500_000);
    let serve = async {
        request(&mut peer).await;
        peer.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: 500000\r\n\r\n{long}").as_bytes()).await.unwrap();
    };
    let (received, ()) = tokio::join!(link.exchange(HEAD, BODY), serve);
    let received = received.unwrap().received;
    assert_eq!((received.body, received.keep), (long.into(), true));
    assert!(link.is_quiet().await);
    assert!(link.buffer.capacity() <= 2 * ROOM, "{}", link.buffer.capacity());
}

#[tokio::test]
async fn odd_answers_are_read_as_what_they_are() {
    // What comes, and what is told: the status, or why there is none; and whether the connection may be used again.
    let cases: &[(&str, Result<u16, &str>, bool)] = &[
        ("", Err("closed before an answer"), false),
        ("HTTP/1.1 2", Err("closed within the answer"), false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}", Err("closed within the answer"), false),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n", Err("closed within the answer"), false),
        ("SSH-2.0-OpenSSH\r\n", Err("no HTTP/1"), false),
        (OK, Ok(200), true),
        // One byte too many: whose is it?
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}\n", Ok(200), false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}HTTP/1.1 500 No\r\n\r\n", Ok(200), false),
        ("HTTP/1.1 204 No\r\ncontent-length: 2\r\n\r\n{}", Ok(204), false),
        ("HTTP/1.1 200 OK\r\n\r\n{}", Ok(200), false),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 413 No\r\ncontent-length: 0\r\n\r\n", Ok(413), true),
    ];
    for (text, told, keep) in cases {
        let (wire, mut peer) = duplex(1000);
        let mut link = Link::new(wire);
        let serve = async {
            request(&mut peer).await;
            peer.write_all(text.as_bytes()).await.unwrap();
            drop(peer);
        };
        let (received, ()) = tokio::join!(link.exchange(HEAD, BODY), serve);
        match (received, told) {
            (Ok(Exchanged { received, sent }), Ok(status)) => {
                assert_eq!((received.status, received.keep, sent), (*status, *keep, true), "{text:?}");
            }
            (Err(lost), Err(why)) => {
                assert!(lost.to_string().contains(why), "{text:?}: {lost}");
                assert_eq!(lost.silent, text.is_empty(), "{text:?}");
            }
            (other, _) => panic!("{text:?}: {other:?}"),
        }
        assert!(!link.is_quiet().await, "it has been closed");
    }
}

#[tokio::test]
async fn what_comes_unasked_is_noticed() {
    let (wire, mut peer) = duplex(1000);
    let mut link = Link::new(wire);
    assert!(link.is_quiet().await);
    peer.write_all(b"HTTP/1.1 408 Too Slow\r\n\r\n").await.unwrap();
    assert!(!link.is_quiet().await);
}

#[tokio::test]
async fn an_answer_may_come_before_the_request_is_all_sent() {
    let body = vec![b'x'; 100_000];
    let refused = "HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n";
    // The peer goes on to hold the connection, or leaves.
    for leaves in [false, true] {
        let (wire, mut peer) = duplex(1000);
        let mut link = Link::new(wire);
        let serve = async {
            peer.read_exact(&mut [0; 50]).await.unwrap();
            peer.write_all(refused.as_bytes()).await.unwrap();
            (!leaves).then_some(peer)
        };
        let (received, _peer) = tokio::join!(link.exchange(HEAD, &body), serve);
        let Exchanged { received, sent } = received.unwrap();
        assert_eq!(
            (received.status, received.keep, sent),
            (413, false, false),
            "the rest of the request is in the way"
        );
    }
}

/// Takes nothing.
struct Shut;

impl AsyncWrite for Shut {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn what_was_said_before_the_connection_broke_is_heard() {
    let Exchanged { received, sent } = Link::new(join(OK.as_bytes(), Shut)).exchange(HEAD, BODY).await.unwrap();
    assert_eq!((received.status, received.keep, sent), (200, false, false));
    for nothing in ["", "HTTP/1.1 4"] {
        let lost = Link::new(join(nothing.as_bytes(), Shut)).exchange(HEAD, BODY).await.unwrap_err();
        assert!(matches!(&lost.cause, Cause::Sending(error) if error.kind() == io::ErrorKind::BrokenPipe), "{lost}");
        assert_eq!(lost.silent, nothing.is_empty());
    }
}
