//! What a gate says: the JSON of a decision, and the bytes on the wire.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use wsp::clock::SystemClock;
use wsp::deliver::http1::{AnswerReader, BODY_LIMIT, BadAnswer, Received};
use wsp::deliver::{Answer, Attempt, Gate, HttpGate, Judge, Takes, Verdict};
use wsp_world::ig::judge::{self, IgJudge};
use wsp_world::ig::parse_ig_endpoint;
use wsp_world::model::{Decision, Event, Micros, Position, Secret};

use super::assert_sayable;

/// The first two bytes make the status, the rest is the body. A body that may have been cut short is judged too.
pub(crate) fn decision(bytes: &[u8]) {
    let [a, b, body @ ..] = bytes else { return };
    let status = 100 + (u16::from(*a) << 8 | u16::from(*b)) % 500;
    let answer = Answer::new(status, Bytes::copy_from_slice(body));
    assert_sayable(&judge::describe(&answer));
    let is_about = |byte| {
        let event = Event { event_id: [byte; 32], ..event() };
        IgJudge::default().judge(&event, &Attempt::Answered(answer.clone())).is_ok()
    };
    assert!(!(is_about(0) && is_about(1)) || is_about(2), "it names one");
    let cut = judge::judge(&Attempt::Answered(answer.clone().perhaps_cut()));
    match &cut {
        Verdict::Decided(_) => assert_eq!(cut, judge::judge(&Attempt::Answered(answer.clone()))),
        Verdict::Retry { why, .. } => {
            assert!(matches!(status, 200 | 202 | 400 | 408 | 429 | 500..=599));
            assert_sayable(why);
        }
        Verdict::Rejected { why } => assert_sayable(why),
    }
    match judge::judge(&Attempt::Answered(answer)) {
        Verdict::Decided(decided) => {
            let decision = Decision::from(&decided);
            assert!(matches!(status, 200 | 202 | 400), "{decision:?} with {status}");
            // Half a surrogate pair in some other text (Python writes them) is no reason not to see the decision.
            if let Ok(said) = serde_json::from_slice::<serde_json::Value>(body) {
                assert_eq!(said["decision"], decision.as_str());
            }
        }
        Verdict::Retry { why, .. } => {
            assert!(matches!(status, 400 | 408 | 429 | 500..=599));
            assert_sayable(&why);
        }
        Verdict::Rejected { why } => assert_sayable(&why),
    }
}

/// The first byte says in which pieces the rest comes off a connection, which then ends; all at once is the same.
pub(crate) fn answer_reader(bytes: &[u8]) {
    let [size, answer @ ..] = bytes else { return };
    let dealt = read(answer.chunks(usize::from(*size).max(1)));
    assert_eq!(dealt, read([answer]));
    match dealt.0 {
        Ok(received) => {
            // Compressed content may be larger than what came.
            assert!(received.body.len() <= BODY_LIMIT);
            assert!(received.status == 101 || received.status >= 200, "{}", received.status);
            assert!(received.later.is_none() || !(200..300).contains(&received.status));
        }
        Err(bad) => assert_sayable(&bad.to_string()),
    }
}

/// What comes of the pieces, and how many bytes it took.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Result<Received, BadAnswer>, usize) {
    let (mut reader, mut buffer, mut came) = (AnswerReader::default(), BytesMut::new(), 0);
    for piece in pieces {
        buffer.extend_from_slice(piece);
        came += piece.len();
        match reader.read(&mut buffer) {
            Ok(None) => {}
            Ok(Some(received)) => return (Ok(received), came - buffer.len()),
            Err(bad) => return (Err(bad), 0),
        }
    }
    (reader.end(&mut buffer), came)
}

/// A server that answers a push with these bytes and closes; the next push finds a gate in order.
pub(crate) fn http_answer(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let endpoint = parse_ig_endpoint(&base, "X-IG-Api-Key", &Secret::new("key")).unwrap();
        let gate = HttpGate::new(endpoint, SystemClock::new()).unwrap().attempt_timeout(Duration::from_secs(10));
        let (mut connection, event) = (gate.connection(), event());
        let hostile = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(bytes).await;
        };
        let (attempt, ()) = tokio::join!(connection.push(&event), hostile);
        match &attempt {
            Attempt::Answered(answer) => {
                assert!(answer.body().len() <= 1 << 20);
                assert_sayable(&judge::describe(answer));
            }
            Attempt::ConnectionLost(cause) => assert_sayable(cause),
            other => panic!("the server was there and closed: {other:?}"),
        }
        let healthy = async {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 4096]).await;
                let answer = "HTTP/1.1 202 Accepted\r\ncontent-length: 20\r\n\r\n{\"decision\":\"ADMIT\"}";
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        };
        let pushes = async {
            // Over the connection that was kept, where its end was not here yet; or over a new one, at once.
            connection.push(&event).await
        };
        let attempt = tokio::select! {
            attempt = pushes => attempt,
            () = healthy => unreachable!("it serves for ever"),
        };
        assert!(matches!(&attempt, Attempt::Answered(answer) if answer.status() == 202), "after it: {attempt:?}");
    });
}

fn event() -> Event {
    Event {
        position: Position { rank: 0, file: 0, row: 0, seq: 0 },
        ts: Micros(0),
        order_key: 0,
        event_id: [0; 32],
        body: Bytes::from_static(b"{}"),
        due: None,
    }
}
