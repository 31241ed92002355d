//! Answers of all kinds, whole and in pieces.

use proptest::prelude::*;

use super::*;

/// What becomes of `bytes` that come in these pieces on a connection that ends behind them, and how many of them it took.
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

fn whole(text: &str) -> Result<Received, BadAnswer> {
    read([text.as_bytes()]).0
}

#[test]
fn where_an_answer_ends_and_whether_its_connection_lives_on() {
    // What came, the status, the body, whether the connection may be used again, and what is left of the bytes.
    let cases = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200, "{}", true, 0),
        ("HTTP/1.1 202 \r\ncontent-length:0\r\n\r\n", 202, "", true, 0),
        ("\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", 200, "{}", true, 0),
        ("HTTP/1.1 200 OK\ncontent-length: 2\n\n{}", 200, "{}", true, 0),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}HTTP", 200, "{}", true, 4),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\ncontent-length: 2\r\n\r\n{}", 200, "{}", true, 0),
        // Close, however it is said; and what 1.0 does unless told otherwise.
        ("HTTP/1.1 200 OK\r\nConnection: Close\r\ncontent-length: 2\r\n\r\n{}", 200, "{}", false, 0),
        ("HTTP/1.1 200 OK\r\nconnection: x, close\r\ncontent-length: 2\r\n\r\n{}", 200, "{}", false, 0),
        ("HTTP/1.1 200 OK\r\nconnection: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}", 200, "{}", false, 0),
        ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}", 200, "{}", false, 0),
        ("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\n{}", 200, "{}", true, 0),
        ("HTTP/1.0 200 OK\r\nconnection: keep-alive, close\r\ncontent-length: 2\r\n\r\n{}", 200, "{}", false, 0),
        // Up to the end of the connection.
        ("HTTP/1.1 200 OK\r\n\r\n{}", 200, "{}", false, 0),
        ("HTTP/1.0 200 OK\r\n\r\n", 200, "", false, 0),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\ncontent-length: 1\r\n\r\n{}", 200, "{}", false, 0),
        // No coding at all, whoever says so.
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\ncontent-length: 2\r\n\r\n{}HTTP", 200, "{}", true, 4),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, identity\r\n\r\n2\r\n{}\r\n0\r\n\r\nHTTP", 200, "{}", true, 4),
        // Chunks.
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 200, "{}", true, 0),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nA: b\r\n\r\nHTTP", 200, "{}", true, 4),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            200,
            "{}",
            false,
            0,
        ),
        // No body, whatever the headers say.
        ("HTTP/1.1 204 No Content\r\n\r\n", 204, "", true, 0),
        ("HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\n{}", 204, "", true, 2),
        ("HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n", 304, "", true, 0),
        ("HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\nxyz", 101, "", false, 3),
        // What comes before an answer.
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", 200, "{}", true, 0),
        (
            "HTTP/1.1 102 P\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\ncontent-length: 7\r\n\r\nHTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n",
            500,
            "",
            true,
            0,
        ),
    ];
    for (text, status, body, keep, left) in cases {
        let (received, took) = read([text.as_bytes()]);
        let Received { status: s, body: b, keep: k, later, .. } = received.unwrap();
        assert_eq!((s, &b[..], k, text.len() - took), (status, body.as_bytes(), keep, left), "{text:?}");
        assert_eq!(later, None, "{text:?}");
    }
}

#[test]
fn what_is_no_answer_is_refused() {
    let head = |headers: &str| format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n{{}}");
    for (text, why) in [
        (String::new(), BadAnswer::NoAnswer),
        ("HTT".into(), BadAnswer::Incomplete),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{".into(), BadAnswer::Incomplete),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n".into(), BadAnswer::Incomplete),
        ("HTTP/1.1 100 Continue\r\n\r\n".into(), BadAnswer::Incomplete),
        ("SSH-2.0-OpenSSH\r\n".into(), BadAnswer::Head(httparse::Error::Version)),
        ("HTTP/2.0 200 OK\r\n\r\n".into(), BadAnswer::Head(httparse::Error::Version)),
        ("HTTP/1.1 2x0 OK\r\n\r\n".into(), BadAnswer::Head(httparse::Error::Status)),
        ("HTTP/1.1 099 OK\r\n\r\n".into(), BadAnswer::Head(httparse::Error::Status)),
        ("HTTP/1.1 200 OK\r\na b: c\r\n\r\n".into(), BadAnswer::Head(httparse::Error::HeaderName)),
        (head(&["a: b"; HEADERS + 1].join("\r\n")), BadAnswer::Head(httparse::Error::TooManyHeaders)),
        (head(&format!("a: {}", "b".repeat(HEAD_LIMIT))), BadAnswer::HeadTooLong),
        ("HTTP/1.1 100 Continue\r\n\r\n".repeat(HEAD_LIMIT / 25 + 1), BadAnswer::HeadTooLong),
        (head("content-length: 2\r\ncontent-length: 3"), BadAnswer::Length),
        (head("content-length: 2, 3"), BadAnswer::Length),
        (head("content-length: 2,"), BadAnswer::Length),
        (head("content-length:"), BadAnswer::Length),
        (head("content-length: +2"), BadAnswer::Length),
        (head("content-length: 2 2"), BadAnswer::Length),
        (head("content-length: 18446744073709551616"), BadAnswer::Length),
        (head("transfer-encoding: chunked"), BadAnswer::Chunk),
        ("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".into(), BadAnswer::TransferEncoding),
    ] {
        assert_eq!(whole(&text), Err(why), "{:?}", text.chars().take(100).collect::<String>());
    }
    assert_eq!(whole(&head(&["content-length: 2"; HEADERS].join("\r\n"))).unwrap().body, "{}");
}

#[test]
fn a_body_beyond_its_bound_is_cut_and_the_connection_left() {
    let long = "x".repeat(BODY_LIMIT + 1);
    for head in [format!("content-length: {}", long.len()), format!("content-length: {}", u64::MAX), "a: b".to_owned()]
    {
        let received = whole(&format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{long}")).unwrap();
        assert_eq!((received.body.len(), received.keep), (BODY_LIMIT, false), "{head}");
    }
    let chunks =
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{long}\r\n0\r\n\r\n", long.len());
    let received = whole(&chunks).unwrap();
    assert_eq!((received.body.len(), received.keep), (BODY_LIMIT, false));
    let full = format!("HTTP/1.1 200 OK\r\ncontent-length: {BODY_LIMIT}\r\n\r\n{}", &long[1..]);
    let received = whole(&full).unwrap();
    assert_eq!((received.body.len(), received.keep), (BODY_LIMIT, true));
}

#[test]
fn a_body_that_ends_with_its_connection_may_not_be_whole() {
    for (answer, is_whole) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", true),
        ("HTTP/1.1 204 No\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\n\r\n{}", false),
        ("HTTP/1.0 200 OK\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n{}", false),
    ] {
        assert_eq!(whole(answer).unwrap().whole, is_whole, "{answer:?}");
    }
}

#[cfg(feature = "gzip")]
#[test]
fn a_compressed_body_is_unpacked_however_it_is_labelled_and_framed() {
    let body = br#"{"decision":"ADMIT"}"#;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, body).unwrap();
    let packed = encoder.finish().unwrap();
    let sized = |label: &str, packed: &[u8]| {
        let head = format!("HTTP/1.1 200 OK\r\n{label}content-length: {}\r\n\r\n", packed.len());
        [head.as_bytes(), packed].concat()
    };
    let (first, rest) = packed.split_at(7);
    let chunked = [
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n7\r\n",
        first,
        format!("\r\n{:x}\r\n", rest.len()).as_bytes(),
        rest,
        b"\r\n0\r\nx-trailer: 1\r\n\r\n",
    ]
    .concat();
    let closed = [b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n", &packed[..]].concat();
    for (bytes, keep) in [
        (sized("Content-Encoding: gzip\r\n", &packed), true),
        (sized("content-encoding: x-gzip\r\n", &packed), true),
        (sized("", &packed), true),
        (chunked, true),
        // Its own end says that it is whole, though no length does.
        (closed, false),
    ] {
        let received = read([&bytes[..]]).0.unwrap();
        assert_eq!((&received.body[..], received.whole, received.keep), (&body[..], true, keep));
        assert_eq!(read(bytes.chunks(1)), read([&bytes[..]]));
    }
    // Cut by somebody who then said the right length.
    assert!(!read([&sized("", &packed[..packed.len() - 3])[..]]).0.unwrap().whole);
    // Unpacked by somebody who left the label.
    let received = read([&sized("content-encoding: gzip\r\n", body)[..]]).0.unwrap();
    assert_eq!((&received.body[..], received.whole), (&body[..], true));
}

#[test]
fn a_failure_says_when_to_come_again() {
    let answer = |status, headers: &str| whole(&format!("HTTP/1.1 {status} X\r\n{headers}\r\n\r\n")).unwrap().later;
    let later = |retry_after: &str, date: Option<&str>| {
        Some(Box::new(Later { retry_after: retry_after.into(), date: date.map(Into::into) }))
    };
    assert_eq!(answer(503, "Retry-After:  7 \r\nretry-after: 8"), later("7", None));
    assert_eq!(answer(429, "Date: now\r\nretry-after: then"), later("then", Some("now")));
    assert_eq!(answer(503, "date: now"), None);
    assert_eq!(answer(200, "retry-after: 7"), None);
}

/// Heads and bodies as gates send them, and as they should not.
fn answers() -> impl Strategy<Value = Vec<u8>> {
    let line = prop::sample::select(vec![
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.0 503 No\r\n",
        "HTTP/1.1 204 Nothing\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 OK\r\n",
        "HTTP/1.1 101 Other\r\n",
        "\r\nHTTP/1.1 400 \r\n",
        "HTTP/2 200\r\n",
    ]);
    let header = prop::sample::select(vec![
        "content-length: 7\r\n",
        "Content-Length: 9\r\n",
        "transfer-encoding: chunked\r\n",
        "transfer-encoding: identity\r\n",
        "content-encoding: gzip\r\n",
        "Connection: close\r\n",
        "connection: keep-alive\r\n",
        "Retry-After: 7\r\n",
        "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
        "x: y\n",
        "bad header\r\n",
    ]);
    let body = prop::sample::select(vec![
        "",
        "{\"a\":1}",
        "{\"a\":1}HTTP/1.1 200 OK\r\n\r\n",
        "3;x=y\r\nabc\r\nB\r\n01234567890\r\n0\r\n\r\n",
        "3\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\nmore",
        "ffffffffffffffff\r\nabc",
    ]);
    let parts = (line, prop::collection::vec(header, 0..4), body);
    let text = parts.prop_map(|(line, headers, body)| format!("{line}{}\r\n{body}", headers.concat()).into_bytes());
    // `{}`, compressed.
    let packed = b"HTTP/1.1 200 OK\r\ncontent-length: 22\r\n\r\n\x1f\x8b\x08\0\0\0\0\0\0\x03\xab\xae\x05\0\x43\xbf\xa6\xa3\x02\0\0\0";
    let text = prop_oneof![9 => text, 1 => Just(packed.to_vec())];
    let damage = prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>()));
    (text, damage).prop_map(|(mut bytes, damage)| {
        if let Some((at, byte)) = damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn how_the_bytes_are_dealt_out_makes_no_difference(
        bytes in answers(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let at_once = read([&bytes[..]]);
        prop_assert_eq!(&read(cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]])), &at_once);
        prop_assert_eq!(&read(bytes.chunks(1)), &at_once);
    }
}
