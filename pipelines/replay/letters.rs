//! Dead letters: events that the receiver refused, kept with its answer, so that they can be sent again as they were.
//!
//! ```text
//! --dead-letter FILE ◄── {"wsp_dead_letter":1, input, file, row, time, id, key, status, answer, request, head, body} ── Letter
//! wsp replay FILE ──► Letter ──► the same id, request line, header lines and body
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use wsp::deliver::headers::is_value;
use wsp::time::Micros;

use super::request_line::is_request_line;
use super::rows::Texts;
use super::template::header_name;

/// What of an answer is kept, in bytes.
const ANSWER_BYTES: usize = 4096;

/// An event to be sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Letter {
    pub(super) time: Micros,
    /// The id as its header has it.
    pub(super) id: String,
    /// The hash of its order key.
    pub(super) key: u64,
    /// Its request line, where that has columns in it; else empty.
    pub(super) request: String,
    /// Its header lines, each with its CRLF.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

/// What a letter says besides: where its event is from, and why it was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused<'a> {
    pub(super) input: &'a str,
    pub(super) file: &'a str,
    /// From 1.
    pub(super) row: u64,
    pub(super) status: u16,
    pub(super) answer: &'a str,
    pub(super) attempts: u32,
}

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    wsp_dead_letter: u32,
    #[serde(default, skip_deserializing)]
    input: &'a str,
    #[serde(default, skip_deserializing)]
    file: &'a str,
    #[serde(default, skip_deserializing)]
    row: u64,
    time: String,
    id: String,
    key: String,
    #[serde(default, skip_deserializing)]
    status: u16,
    #[serde(default, skip_deserializing)]
    answer: &'a str,
    #[serde(default, skip_deserializing)]
    attempts: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    request: String,
    head: Vec<String>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    body: Option<&'a RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body_text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

impl Letter {
    /// Values of its row: id, key, request line, header lines.
    pub(super) const VALUES: usize = 4;

    /// Appends the letter as a line.
    pub(super) fn write(&self, refused: &Refused<'_>, out: &mut Vec<u8>) {
        let Refused { input, file, row, status, answer, attempts } = *refused;
        let raw = serde_json::from_slice::<&RawValue>(&self.body).ok();
        // As it stands: a body with white space around it, or of several lines, is no JSON of one line.
        let body = raw.filter(|raw| raw.get().len() == self.body.len() && !self.body.contains(&b'\n'));
        let text = if body.is_none() { std::str::from_utf8(&self.body).ok().map(str::to_owned) } else { None };
        let base64 = (body.is_none() && text.is_none()).then(|| STANDARD.encode(&self.body));
        let line = Line {
            wsp_dead_letter: 1,
            input,
            file,
            row,
            time: self.time.to_string(),
            id: self.id.clone(),
            key: format!("{:016x}", self.key),
            status,
            answer: &answer[..answer.floor_char_boundary(ANSWER_BYTES)],
            attempts,
            request: self.request.clone(),
            head: self.head.lines().map(str::to_owned).collect(),
            body,
            body_text: text,
            body_base64: base64,
        };
        // Texts and numbers into a vector: nothing here fails.
        let _ = serde_json::to_writer(&mut *out, &line);
        out.push(b'\n');
    }

    /// Reads a line.
    ///
    /// # Errors
    ///
    /// If it is none, or its headers can't be sent.
    pub(super) fn read(line: &[u8]) -> Result<Self, String> {
        let line: Line<'_> = serde_json::from_slice(line).map_err(|error| format!("no dead letter: {error}"))?;
        if line.wsp_dead_letter != 1 {
            return Err("a dead letter of a later version; send it with the program that wrote it".to_owned());
        }
        let time = Micros::parse(line.time.as_bytes()).ok_or("its time can't be read")?;
        let key = u64::from_str_radix(&line.key, 16).map_err(|_| "its key can't be read")?;
        if !line.request.is_empty() && !is_request_line(&line.request) {
            return Err("its request is no method and path such as \"PUT /orders/7\"".to_owned());
        }
        let mut head = String::new();
        for header in &line.head {
            let (name, value) = header.split_once(": ").ok_or("a header of it is no 'name: value'")?;
            header_name(name)?;
            if !is_value(value.as_bytes()) {
                return Err(format!("its header {name} holds what no header carries"));
            }
            head.extend([header, "\r\n"]);
        }
        let body = match (line.body, line.body_text, line.body_base64) {
            (Some(raw), None, None) => raw.get().as_bytes().to_vec(),
            (None, Some(text), None) => text.into_bytes(),
            (None, None, Some(text)) => STANDARD.decode(text).map_err(|error| format!("its body_base64: {error}"))?,
            _ => return Err("it has no body, or more than one".to_owned()),
        };
        Ok(Self { time, id: line.id, key, request: line.request, head, body })
    }

    /// Puts it into the row in the making.
    pub(super) fn put(&self, texts: &mut Texts) {
        texts.add_value(Some(self.id.as_bytes()));
        texts.add_value(Some(&self.key.to_be_bytes()));
        texts.add_value(Some(self.request.as_bytes()));
        texts.add_value(Some(self.head.as_bytes()));
        texts.body_mut().extend_from_slice(&self.body);
    }
}

#[cfg(test)]
mod tests {
    use super::super::input::LETTER_LEAD;
    use super::*;

    fn letter(body: &[u8]) -> Letter {
        Letter {
            time: Micros(1_767_225_600_000_000),
            id: "o-1".to_owned(),
            key: 7,
            request: "PUT /orders/7?x=1".to_owned(),
            head: "idempotency-key: o-1\r\nx-shop: 9\r\n".to_owned(),
            body: body.to_vec(),
        }
    }

    fn refused(answer: &str) -> Refused<'_> {
        Refused { input: "orders", file: "a.jsonl", row: 3, status: 422, answer, attempts: 1 }
    }

    #[test]
    fn a_letter_comes_back_as_it_was() {
        for body in [&br#"{"a": 1.10, "b":18446744073709551616}"#[..], b" {} ", b"{\n}", b"plain", b"\xff\x00", b""] {
            let letter = letter(body);
            let mut line = Vec::new();
            letter.write(&refused("no\nsuch"), &mut line);
            assert!(line.starts_with(LETTER_LEAD) && line.split(|byte| *byte == b'\n').count() == 2);
            assert_eq!(Letter::read(&line).unwrap(), letter, "{}", String::from_utf8_lossy(&line));
        }
    }

    #[test]
    fn a_letter_says_what_was_answered() {
        let mut line = Vec::new();
        letter(b"{}").write(&refused(&"é".repeat(4000)), &mut line);
        let line: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!((&line["status"], &line["file"], &line["row"]), (&422.into(), &"a.jsonl".into(), &3.into()));
        assert_eq!(line["answer"].as_str().unwrap().len(), ANSWER_BYTES);
    }

    #[test]
    fn what_is_no_letter_is_refused() {
        let mut good = Vec::new();
        letter(b"{}").write(&refused(""), &mut good);
        let good = String::from_utf8(good).unwrap();
        for (from, to, words) in [
            ("dead_letter\":1", "dead_letter\":2", "later version"),
            ("x-shop: 9", "content-length: 9", "frames"),
            ("x-shop: 9", "x-shop: é", "no header carries"),
            ("\"body\":{}", "\"body\":{},\"body_text\":\"\"", "more than one"),
            ("2026", "x", "time"),
            ("PUT /orders", "GET /orders", "its request"),
            ("/orders/7", "/orders/../x", "its request"),
            ("{\"wsp", "[\"wsp", "no dead letter"),
        ] {
            let error = Letter::read(good.replace(from, to).as_bytes()).unwrap_err();
            assert!(error.contains(words), "{from} -> {to}: {error}");
        }
    }
}
