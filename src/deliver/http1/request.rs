//! A request's head: a template, with what is different for each event put behind it.
//!
//! ```text
//! POST path, host, content-type, key ──once──► template
//! template [with its own request line] + [its own headers] + [traceparent] + content-length ──each event──► bytes to send
//! ```

use http::HeaderMap;

use crate::telemetry::trace_mark;

/// A head in the making. It holds the gate's key, so there is no way to print it.
pub(in crate::deliver) struct RequestHead {
    bytes: Vec<u8>,
    /// How much of it is the template.
    fixed: usize,
    /// How much of the template is the request line.
    line: usize,
    /// What stands before a path.
    origin: String,
    /// The head of an item with a request line of its own.
    other: Vec<u8>,
}

impl RequestHead {
    /// A template; `target` is what the request line names, and `headers` have to name the host.
    pub(in crate::deliver) fn new(method: &str, target: &str, headers: &HeaderMap) -> Self {
        let mut bytes = Vec::with_capacity(512);
        for part in [method, " ", target, " HTTP/1.1\r\n"] {
            bytes.extend_from_slice(part.as_bytes());
        }
        let line = bytes.len();
        for (name, value) in headers {
            header(&mut bytes, name.as_str(), value.as_bytes());
        }
        let fixed = bytes.len();
        Self { bytes, fixed, line, origin: String::new(), other: Vec::new() }
    }

    /// The same, with what stands before the path of an item with a request line of its own.
    pub(in crate::deliver) fn from(self, origin: String) -> Self {
        Self { origin, ..self }
    }

    /// The head of a request whose body has `length` bytes. `line` is its method and path if it has others of its own, `own` its
    /// own header lines, `attempt` those of its attempt; `mark` marks it by the trace that it belongs to.
    pub(in crate::deliver) fn before_body(
        &mut self,
        line: Option<&[u8]>,
        own: &[u8],
        attempt: &[u8],
        length: usize,
        mark: Option<&[u8; trace_mark::LENGTH]>,
    ) -> &[u8] {
        let Self { bytes, fixed, line: fixed_line, origin, other } = self;
        let head = match line {
            None => {
                bytes.truncate(*fixed);
                bytes
            }
            Some(line) => {
                other.clear();
                let at = line.iter().position(|byte| *byte == b' ').map_or(line.len(), |at| at + 1);
                let (method, path) = line.split_at(at);
                for part in [method, origin.as_bytes(), path, b" HTTP/1.1\r\n", &bytes[*fixed_line..*fixed]] {
                    other.extend_from_slice(part);
                }
                other
            }
        };
        head.extend_from_slice(own);
        head.extend_from_slice(attempt);
        if let Some(mark) = mark {
            header(head, trace_mark::HEADER, mark);
        }
        header(head, "content-length", itoa::Buffer::new().format(length).as_bytes());
        head.extend_from_slice(b"\r\n");
        head
    }

    /// The head of a request without a body.
    pub(in crate::deliver) fn alone(&mut self) -> &[u8] {
        self.bytes.truncate(self.fixed);
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
        for (line, own, length, mark, told) in [
            (None, "", 1234, Some(&mark), format!("traceparent: {}\r\ncontent-length: 1234\r\n", "0".repeat(55))),
            (Some("PUT /a/b"), "x-own: 7\r\n", 1, None, "x-own: 7\r\ncontent-length: 1\r\n".to_owned()),
            (Some("PATCH /c"), "", 2, Some(&mark), format!("traceparent: {}\r\ncontent-length: 2\r\n", "0".repeat(55))),
            (None, "", 0, None, "content-length: 0\r\n".to_owned()),
        ] {
            let first = line.unwrap_or("POST /push?x=1");
            let expected = format!("{first} HTTP/1.1\r\nhost: ig\r\n{told}\r\n");
            let head = head.before_body(line.map(str::as_bytes), own.as_bytes(), b"", length, mark);
            assert_eq!(std::str::from_utf8(head).unwrap(), expected);
        }
        let expected =
            "POST /push?x=1 HTTP/1.1\r\nhost: ig\r\nx-own: 7\r\nauthorization: x\r\ncontent-length: 1\r\n\r\n";
        assert_eq!(head.before_body(None, b"x-own: 7\r\n", b"authorization: x\r\n", 1, None), expected.as_bytes());
        let mut proxied = RequestHead::new("POST", "http://ig/", &headers).from("http://ig".to_owned());
        let expected = "PUT http://ig/a HTTP/1.1\r\nhost: ig\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(proxied.before_body(Some(b"PUT /a"), b"", b"", 0, None), expected.as_bytes());
        assert_eq!(head.alone(), b"POST /push?x=1 HTTP/1.1\r\nhost: ig\r\n\r\n");
    }
}
