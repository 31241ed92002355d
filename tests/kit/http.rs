//! HTTP/1.1 requests as doubles of servers read them.

use std::collections::BTreeMap;
use std::io::BufRead;

/// A request with a `content-length`, or without a body.
pub struct Request {
    /// Its first line, without the line's end.
    pub line: String,
    /// Header fields by their names in lower case.
    pub fields: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Request {
    /// The next request of a connection; `None` once there is no whole one.
    pub fn read(reader: &mut impl BufRead) -> Option<Self> {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let mut fields = BTreeMap::new();
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            let Some((name, text)) = header.trim_end().split_once(": ") else { break };
            fields.insert(name.to_ascii_lowercase(), text.to_owned());
        }
        let length = fields.get("content-length").map_or(Ok(0), |length| length.parse()).ok()?;
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        Some(Self { line: line.trim_end().to_owned(), fields, body })
    }

    /// A header field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }
}
