//! Reading an answer: where its head ends, how long its body is, and what it says about the connection.
//!
//! ```text
//! bytes as they come ──► head (1xx passed over) ──► none · a length · chunks · up to the end ──gunzip──► Received
//! ```

use bytes::{Buf, Bytes, BytesMut};
use httparse::{Header, ParserConfig, Status};

use super::bad::{BODY_LIMIT, BadAnswer};
use super::chunks::{Chunks, Progress};
use super::gzip;

/// The most that the heads of an answer may take, in bytes: its own and those of 1xx before it.
const HEAD_LIMIT: usize = 32 << 10;

/// The most headers in a head.
const HEADERS: usize = 100;

/// An answer, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The status, 101 or 200 to 999.
    pub status: u16,
    /// When to come again; of an answer that is no success.
    pub later: Option<Box<Later>>,
    /// The body, unpacked where it was compressed with gzip and the feature `gzip` is on; cut at [`BODY_LIMIT`].
    pub body: Bytes,
    /// Whether the body came to an end of its own: a length or the last chunk, and that of its gzip stream. A body that
    /// ends with its connection may have been cut short.
    pub whole: bool,
    /// Whether the connection may be used again: the peer keeps it open, and the answer was read to its end.
    pub keep: bool,
}

/// What an answer says about coming again, as it stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Later {
    /// `Retry-After`.
    pub retry_after: String,
    /// `Date`.
    pub date: Option<String>,
}

/// What the head says.
#[derive(Debug)]
struct Head {
    status: u16,
    later: Option<Box<Later>>,
    keep: bool,
    body: Body,
}

/// Where the body ends.
#[derive(Debug)]
enum Body {
    /// After this many bytes.
    Sized(u64),
    Chunked(Chunks),
    /// With the connection.
    UntilClose,
}

/// Reads one answer out of a buffer that grows. What it comes to does not depend on how the bytes are dealt out.
#[derive(Debug, Default)]
pub struct AnswerReader {
    head: Option<Head>,
    /// Bytes of heads that were passed over.
    passed: usize,
}

impl AnswerReader {
    /// Takes from `buffer` what belongs to the answer, once more bytes are in it. `None` as long as some are missing; what
    /// is left in the buffer behind a whole answer is none of it.
    ///
    /// # Errors
    ///
    /// If the bytes are no answer; the connection can't be used any more.
    #[inline]
    pub fn read(&mut self, buffer: &mut BytesMut) -> Result<Option<Received>, BadAnswer> {
        let Some(head) = self.head(buffer)? else { return Ok(None) };
        let body = match &mut head.body {
            Body::Sized(length) => {
                let wanted = usize::try_from(*length).unwrap_or(usize::MAX).min(BODY_LIMIT);
                if buffer.len() < wanted {
                    return Ok(None);
                }
                head.keep &= *length <= BODY_LIMIT as u64;
                buffer.split_to(wanted).freeze()
            }
            Body::Chunked(chunks) => {
                let progress = chunks.read(buffer)?;
                if progress == Progress::More {
                    return Ok(None);
                }
                head.keep &= progress == Progress::Whole;
                std::mem::replace(chunks, Chunks::new()).into_body().freeze()
            }
            Body::UntilClose if buffer.len() >= BODY_LIMIT => buffer.split_to(BODY_LIMIT).freeze(),
            Body::UntilClose => return Ok(None),
        };
        let whole = !matches!(head.body, Body::UntilClose);
        Ok(self.received(body, whole))
    }

    /// What the answer is now that the connection has ended, after [`read`](Self::read) has seen all bytes.
    ///
    /// # Errors
    ///
    /// If the answer has not come to its end.
    pub fn end(&mut self, buffer: &mut BytesMut) -> Result<Received, BadAnswer> {
        let until_close = matches!(&self.head, Some(Head { body: Body::UntilClose, .. }));
        let silent = self.is_untouched() && buffer.is_empty();
        let whole = if until_close { self.received(buffer.split().freeze(), false) } else { None };
        whole.ok_or(if silent { BadAnswer::NoAnswer } else { BadAnswer::Incomplete })
    }

    /// Whether it has taken no byte yet.
    pub(super) fn is_untouched(&self) -> bool {
        self.head.is_none() && self.passed == 0
    }

    fn received(&mut self, body: Bytes, whole: bool) -> Option<Received> {
        let Head { status, later, keep, .. } = self.head.take()?;
        let (body, whole) = match gzip::unpacked(&body) {
            Some((unpacked, to_its_end)) => (unpacked, to_its_end),
            None => (body, whole),
        };
        Some(Received { status, later, body, whole, keep })
    }

    /// The head of the answer itself, taken out of the buffer if it was not yet.
    fn head(&mut self, buffer: &mut BytesMut) -> Result<Option<&mut Head>, BadAnswer> {
        while self.head.is_none() {
            let limit = HEAD_LIMIT - self.passed;
            let within = &buffer[..buffer.len().min(limit)];
            let Some((head, length)) = parse(within)? else {
                return if within.len() == limit { Err(BadAnswer::HeadTooLong) } else { Ok(None) };
            };
            buffer.advance(length);
            self.passed += length;
            self.head = head;
        }
        Ok(self.head.as_mut())
    }
}

/// A head at the front of `bytes`, if it is whole, and its length. The head is `None` where it is one of those that
/// come before the answer (1xx).
fn parse(bytes: &[u8]) -> Result<Option<(Option<Head>, usize)>, BadAnswer> {
    let mut headers = [const { std::mem::MaybeUninit::uninit() }; HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, &mut headers);
    let length = match parsed.map_err(BadAnswer::Head)? {
        Status::Complete(length) => length,
        Status::Partial => return Ok(None),
    };
    let status = response.code.filter(|code| *code >= 100).ok_or(BadAnswer::Head(httparse::Error::Status))?;
    // Nobody was asked to switch protocols (101): what follows is no HTTP, and ends this connection.
    if status < 200 && status != 101 {
        return Ok(Some((None, length)));
    }
    let newer = response.version == Some(1);
    let said = Said::by(response.headers)?;
    let (body, keep) = match said.encoding {
        _ if matches!(status, 101 | 204 | 304) => (Body::Sized(0), status != 101),
        Some(_) if !newer => return Err(BadAnswer::TransferEncoding),
        // A length beside it counts for nothing, and is a sign of somebody between us who reads it otherwise.
        Some(Encoding::Chunked) => (Body::Chunked(Chunks::new()), said.length.is_none()),
        Some(Encoding::Other) => (Body::UntilClose, false),
        None => said.length.map_or((Body::UntilClose, false), |length| (Body::Sized(length), true)),
    };
    let keep = keep && !said.close && (newer || said.keep_alive);
    let later = if (200..300).contains(&status) { None } else { later(response.headers) };
    Ok(Some((Some(Head { status, later, keep, body }), length)))
}

/// The last coding of the body.
#[derive(Debug, Clone, Copy)]
enum Encoding {
    Chunked,
    Other,
}

/// What the headers say of body and connection.
#[derive(Debug, Default)]
struct Said {
    length: Option<u64>,
    encoding: Option<Encoding>,
    close: bool,
    keep_alive: bool,
}

impl Said {
    fn by(headers: &[Header<'_>]) -> Result<Self, BadAnswer> {
        let mut said = Self::default();
        for Header { name, value } in headers {
            if name.eq_ignore_ascii_case("content-length") {
                for word in list(value) {
                    let length = decimal(word).ok_or(BadAnswer::Length)?;
                    // The same again says nothing new (RFC 9110, 8.6).
                    if said.length.replace(length).is_some_and(|other| other != length) {
                        return Err(BadAnswer::Length);
                    }
                }
            } else if name.eq_ignore_ascii_case("connection") {
                for word in list(value) {
                    said.close |= word.eq_ignore_ascii_case(b"close");
                    said.keep_alive |= word.eq_ignore_ascii_case(b"keep-alive");
                }
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                // `identity` has gone from the standard, but some still say it; it means no coding.
                for coding in list(value).filter(|coding| !coding.eq_ignore_ascii_case(b"identity")) {
                    let chunked = coding.eq_ignore_ascii_case(b"chunked");
                    said.encoding = Some(if chunked { Encoding::Chunked } else { Encoding::Other });
                }
            }
        }
        Ok(said)
    }
}

fn later(headers: &[Header<'_>]) -> Option<Box<Later>> {
    let text = |wanted: &str| {
        let header = headers.iter().find(|header| header.name.eq_ignore_ascii_case(wanted))?;
        String::from_utf8(header.value.to_vec()).ok()
    };
    let retry_after = text("retry-after")?;
    Some(Box::new(Later { retry_after, date: text("date") }))
}

/// The members of a list (RFC 9110, 5.6.1).
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests;
