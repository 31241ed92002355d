//! Answers to the wrong request, connections that close under one, and what middle boxes do to answers.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::tests::{OK, Reply, answered, connections, event, gate, request, server};
use super::*;
use crate::clock::SystemClock;
use crate::deliver::testing::{Event, Named};
use crate::deliver::{Judge, Stray};

/// An answer that names an event, in a receipt.
fn naming(event_id: [u8; 32], status: &str, decision: &str) -> String {
    let body = format!(r#"{{"decision":"{decision}","receipt":{{"event_id":"{}"}}}}"#, const_hex::encode(event_id));
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// What the push stage makes of an attempt: an answer to another event ends the connection.
async fn pushed(connection: &mut HttpConnection<SystemClock>, event: &Event) -> Attempt {
    let attempt = connection.push(event).await;
    match Named.judge(event, &attempt) {
        Ok(_) => attempt,
        Err(Stray(why)) => {
            connection.close();
            Attempt::ConnectionLost(why.to_owned())
        }
    }
}

#[tokio::test]
async fn an_answer_to_another_event_is_no_answer_and_ends_the_connection() {
    let (ours, other) = ([0; 32], [1; 32]);
    let (address, seen) = server([
        Reply::Send(naming(ours, "200 OK", "ADMIT")),
        Reply::Send(naming(other, "200 OK", "ADMIT")),
        Reply::Send(naming(ours, "202 Accepted", "DUPLICATE")),
        Reply::Send(naming(other, "400 Bad", "QUARANTINE")),
        Reply::Send(naming(other, "401 No", "")),
    ])
    .await;
    let mut connection = gate(address).connection();
    let mut came = Vec::new();
    for _ in 0..6 {
        came.push(match pushed(&mut connection, &event()).await {
            Attempt::Answered(answer) => answer.status(),
            Attempt::ConnectionLost(why) => {
                assert!(why.contains("another event"), "{why}");
                0
            }
            attempt => unreachable!("{attempt:?}"),
        });
    }
    assert_eq!(came, [200, 0, 202, 0, 0, 200]);
    assert_eq!(connections(&seen), [0, 0, 1, 1, 2, 3]);
}

#[tokio::test]
async fn a_second_answer_that_waits_on_an_idle_connection_ends_it() {
    // At once, and a little later, while nothing is asked.
    let (address, seen) = server([Reply::Send(OK.to_owned() + OK)]).await;
    let mut connection = gate(address).connection();
    for _ in 0..2 {
        assert_eq!(answered(connection.push(&event()).await).status(), 200);
    }
    assert_eq!(connections(&seen), [0, 1]);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut connection = gate(listener.local_addr().unwrap()).connection();
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        request(&mut stream).await.unwrap();
        stream.write_all(OK.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        stream.write_all(OK.as_bytes()).await.unwrap();
        let (mut next, _) = listener.accept().await.unwrap();
        request(&mut next).await.unwrap();
        next.write_all(OK.replace("200 OK", "202 OK").as_bytes()).await.unwrap();
        request(&mut stream).await
    };
    let pushes = async {
        assert_eq!(answered(connection.push(&event()).await).status(), 200);
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(answered(connection.push(&event()).await).status(), 202);
    };
    let (on_the_first, ()) = tokio::join!(serve, pushes);
    assert_eq!(on_the_first, None, "it was closed and nothing more came over it");
}

#[tokio::test]
async fn a_decision_about_an_event_that_was_not_all_sent_is_somebody_elses() {
    for (answer, lost) in
        [("200 OK", true), ("400 Bad", true), ("503 No", false), ("413 Too Large", false)].map(|(status, lost)| {
            let decision = if lost { "QUARANTINE" } else { "" };
            (naming([0; 32], status, decision), lost)
        })
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut connection = gate(listener.local_addr().unwrap()).connection();
        let large = Event { body: vec![b'x'; 32 << 20].into(), ..event() };
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_exact(&mut [0; 1000]).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream
        };
        let (attempt, _stream) = tokio::join!(pushed(&mut connection, &large), serve);
        match attempt {
            Attempt::ConnectionLost(why) => assert!(lost && why.contains("not all sent"), "{answer}: {why}"),
            Attempt::Answered(_) => assert!(!lost, "{answer}"),
            attempt => unreachable!("{answer}: {attempt:?}"),
        }
    }
}

/// What the server does, and for each push whether it was answered and whether it was sent twice; then the connections used.
type Story = (Vec<Reply>, Vec<(bool, bool)>, Vec<usize>);

#[tokio::test]
async fn a_kept_connection_closed_as_the_request_goes_out_costs_no_attempt() {
    let ok = || Reply::Send(OK.into());
    let cut = |text: &str| Reply::SendAndClose(text.to_owned());
    let stories: [Story; 5] = [
        (vec![ok(), cut(""), ok(), ok()], vec![(true, false), (true, true), (true, false)], vec![0, 0, 1, 1]),
        // Fresh connections have nothing to be closed for.
        (vec![cut(""), ok()], vec![(false, false), (true, false)], vec![0, 1]),
        // Once is enough.
        (vec![ok(), cut(""), cut(""), ok()], vec![(true, false), (false, true), (true, false)], vec![0, 0, 1, 2]),
        // Something was said.
        (vec![ok(), cut("H"), ok()], vec![(true, false), (false, false), (true, false)], vec![0, 0, 1]),
        // It closed too late for the two to have crossed.
        (
            vec![ok(), Reply::Leave(CROSSED + Duration::from_millis(100)), ok()],
            vec![(true, false), (false, false), (true, false)],
            vec![0, 0, 1],
        ),
    ];
    for (n, (replies, expected, over)) in stories.into_iter().enumerate() {
        let (address, seen) = server(replies).await;
        let mut connection = gate(address).connection();
        for (answered, twice) in expected {
            let attempt = connection.push(&event()).await;
            assert_eq!(matches!(attempt, Attempt::Answered(_)), answered, "{n}: {attempt:?}");
            assert!(answered || matches!(attempt, Attempt::ConnectionLost(_)), "{n}: {attempt:?}");
            assert_eq!(connection.sent_again(), twice, "{n}");
        }
        assert_eq!(connections(&seen), over, "{n}");
        let requests: Vec<_> = seen.lock().unwrap().iter().map(|(_, request)| request.clone()).collect();
        assert!(requests.iter().all(|request| *request == requests[0]), "the same bytes each time");
    }
}

#[tokio::test]
async fn an_event_sent_again_to_nobody_may_have_been_admitted_the_first_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut connection = gate(listener.local_addr().unwrap()).connection();
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        request(&mut stream).await.unwrap();
        stream.write_all(OK.as_bytes()).await.unwrap();
        request(&mut stream).await.unwrap();
        drop(listener);
    };
    let pushes = async {
        assert_eq!(answered(connection.push(&event()).await).status(), 200);
        connection.push(&event()).await
    };
    let ((), attempt) = tokio::join!(serve, pushes);
    assert!(matches!(&attempt, Attempt::ConnectionLost(why) if why.contains("no connection")), "{attempt:?}");
    assert!(connection.sent_again());
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_marked_as_perhaps_cut() {
    let body = r#"{"decision":"AD"#;
    let (address, _) = server([Reply::SendAndClose(format!("HTTP/1.1 200 OK\r\n\r\n{body}"))]).await;
    let mut connection = gate(address).connection();
    let (cut, whole) = (answered(connection.push(&event()).await), answered(connection.push(&event()).await));
    assert_eq!((&cut.body()[..], cut.is_whole(), whole.is_whole()), (body.as_bytes(), false, true));
}

#[cfg(feature = "gzip")]
#[tokio::test]
async fn what_middle_boxes_do_to_answers_is_read() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, br#"{"decision":"ADMIT"}"#).unwrap();
    let packed = encoder.finish().unwrap();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", packed.len());
    let body = r#"{"decision":"ADMIT"}"#;
    let (address, seen) = server([
        Reply::Bytes([head.as_bytes(), &packed].concat()),
        Reply::Send(format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n{OK}")),
        Reply::Send(format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n14;x=y\r\n{body}\r\n0\r\nx-sum: 1\r\n\r\n"
        )),
        Reply::Send(format!("HTTP/1.1 200 OK\ncontent-length: 20\n\n{body}")),
        Reply::Send(format!("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 20\r\n\r\n{body}")),
        // From here on each answer is its connection's last.
        Reply::Send(format!("HTTP/1.0 200 OK\r\ncontent-length: 20\r\n\r\n{body}")),
        Reply::Send(OK.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")),
    ])
    .await;
    let mut connection = gate(address).connection();
    for n in 0..8 {
        let answer = answered(connection.push(&event()).await);
        assert_eq!(
            (answer.status(), &answer.body()[..], connection.sent_again()),
            (200, body.as_bytes(), false),
            "{n}"
        );
    }
    assert_eq!(connections(&seen), [0, 0, 0, 0, 0, 0, 1, 2]);
}
