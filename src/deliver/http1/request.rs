//! A request's head: a template, with what is different for each event put behind it.
//!
//! ```text
//! POST path, host, content-type, key ──once──► template
//! template + [its own headers] + [traceparent] + content-length ──each event──► bytes to send
//! ```

use http::HeaderMap;

use crate::telemetry::trace_mark;

/// A head in the making. It holds the gate's key, so there is no way to print it.
pub(in crate::deliver) struct RequestHead {
    bytes: Vec<u8>,
    /// How much of it is the template.
    fixed: usize,
}

impl RequestHead {
    /// A template; `target` is what the request line names, and `headers` have to name the host.
    pub(in crate::deliver) fn new(method: &str, target: &str, headers: &HeaderMap) -> Self {
        let mut bytes = Vec::with_capacity(512);
        for part in [method, " ", target, " HTTP/1.1\r\n"] {
            bytes.extend_from_slice(part.as_bytes());
        }
        for (name, value) in headers {
            header(&mut bytes, name.as_str(), value.as_bytes());
        }
        let fixed = bytes.len();
        Self { bytes, fixed }
    }

    /// The head of a request with header lines of its own and of its attempt, whose body has `length` bytes, marked by the
    /// trace that it belongs to.
    pub(in crate::deliver) fn before_body(
        &mut self,
        own: &[u8],
        attempt: &[u8],
        length: usize,
        mark: Option<&[u8; trace_mark::LENGTH]>,
    ) -> &[u8] {
        self.bytes.truncate(self.fixed);
        self.bytes.extend_from_slice(own);
        self.bytes.extend_from_slice(attempt);
        if let Some(mark) = mark {
            header(&mut self.bytes, trace_mark::HEADER, mark);
        }
        header(&mut self.bytes, "content-length", itoa::Buffer::new().format(length).as_bytes());
        self.ended()
    }

    /// The head of a request without a body.
    pub(in crate::deliver) fn alone(&mut self) -> &[u8] {
        self.bytes.truncate(self.fixed);
        self.ended()
    }

    fn ended(&mut self) -> &[u8] {
        self.bytes.extend_from_slice(b"\r\n");
        &self.bytes
    }
}

fn header(bytes: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        bytes.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{HOST, HeaderValue};

    #[test]
    fn nothing_of_one_head_is_left_in_the_next() {
        let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("ig"))]);
        let mut head = RequestHead::new("POST", "/push?x=1", &headers);
        let mark = [b'0'; trace_mark::LENGTH];
        for (own, length, mark, told) in [
            ("", 1234, Some(&mark), format!("traceparent: {}\r\ncontent-length: 1234\r\n", "0".repeat(55))),
            ("x-own: 7\r\n", 1, None, "x-own: 7\r\ncontent-length: 1\r\n".to_owned()),
            ("", 0, None, "content-length: 0\r\n".to_owned()),
        ] {
            let expected = format!("POST /push?x=1 HTTP/1.1\r\nhost: ig\r\n{told}\r\n");
            assert_eq!(std::str::from_utf8(head.before_body(own.as_bytes(), b"", length, mark)).unwrap(), expected);
        }
        let expected =
            "POST /push?x=1 HTTP/1.1\r\nhost: ig\r\nx-own: 7\r\nauthorization: x\r\ncontent-length: 1\r\n\r\n";
        assert_eq!(head.before_body(b"x-own: 7\r\n", b"authorization: x\r\n", 1, None), expected.as_bytes());
        assert_eq!(head.alone(), b"POST /push?x=1 HTTP/1.1\r\nhost: ig\r\n\r\n");
    }
}
