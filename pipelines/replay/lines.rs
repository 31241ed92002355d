//! JSON Lines: an object a line. A body is the line as it stands, without the white space around it.
//!
//! ```text
//! line ──checked to be one object──► body: its own bytes │ time, wanted values: read from it, nothing converted
//! ```

use std::io::{BufRead, Read as _};

use wsp::cells::verbatim::{self, Found};
use wsp::minute::TimeReader;
use wsp::time::Micros;

use super::error::Error;
use super::files::{BATCH_BYTES, BATCH_ROWS, FileRows, MAX_RECORD, Place, Reading, Step};
use super::letters::Letter;
use super::rows::{Cells, Rows, Texts};
use super::time::TimeForm;

/// A file of lines.
struct Lines {
    text: Box<dyn BufRead + Send>,
    place: Place,
    /// The next line's number, from 0.
    next: u64,
    line: Vec<u8>,
}

impl Lines {
    /// Behind the first `skip` lines.
    fn new(text: Box<dyn BufRead + Send>, place: Place, skip: u64) -> Result<Self, Error> {
        let mut lines = Self { text, place, next: 0, line: Vec::new() };
        while lines.next < skip && lines.read()? {
            lines.next += 1;
        }
        Ok(lines)
    }

    /// Reads the next line into `line`, without what ends it; false at the end.
    fn read(&mut self) -> Result<bool, Error> {
        self.line.clear();
        let mut limited = (&mut self.text).take(MAX_RECORD as u64 + 1);
        let read = limited.read_until(b'\n', &mut self.line);
        let read = read.map_err(|error| self.refused(None, format!("the file can't be read on: {error}")))?;
        if read > MAX_RECORD {
            return Err(self.refused(None, format!("a line of more than {} MiB", MAX_RECORD >> 20)));
        }
        if self.next == 0 && self.line.starts_with(b"\xef\xbb\xbf") {
            self.line.drain(..3);
        }
        Ok(read > 0)
    }

    fn refused(&self, column: Option<&str>, what: impl std::fmt::Display) -> Error {
        Error::row(&self.place.shown, self.next, column, what)
    }

    /// Reads lines to a batch; `add` puts one into it and gives its time. A batch has no gaps: a blank line ends it.
    fn batch(
        &mut self,
        width: usize,
        after: Option<Micros>,
        mut add: impl FnMut(&Self, &mut Texts, Option<Micros>) -> Result<Micros, Error>,
    ) -> Step {
        let (mut texts, mut times, mut fault) = (Texts::new(width), Vec::new(), None);
        let mut first = self.next;
        while texts.len() < BATCH_ROWS && texts.bytes() < BATCH_BYTES {
            match self.read() {
                Ok(true) if self.line.trim_ascii().is_empty() => {
                    self.next += 1;
                    if !times.is_empty() {
                        break;
                    }
                    first = self.next;
                }
                Ok(true) => match add(self, &mut texts, times.last().copied().or(after)) {
                    Ok(time) => {
                        texts.end_row();
                        times.push(time);
                        self.next += 1;
                    }
                    Err(error) => {
                        fault = Some(error);
                        break;
                    }
                },
                Ok(false) => break,
                Err(error) => {
                    fault = Some(error);
                    break;
                }
            }
        }
        let Place { input, file, .. } = self.place;
        let rows = Rows { input, file, first, times, cells: Cells::Texts { texts, from: 0 } };
        Step { rows: (!rows.times.is_empty()).then_some(rows), fault }
    }
}

/// JSON Lines being read.
pub(super) struct LineRows {
    lines: Lines,
    reader: Reader,
}

struct Reader {
    form: TimeForm,
    times: TimeReader,
    /// Keys whose values are read: the wanted ones, then those of the time.
    keys: Vec<String>,
    wanted: usize,
}

impl LineRows {
    pub(super) fn new(
        text: Box<dyn BufRead + Send>,
        place: Place,
        skip: u64,
        reading: &Reading,
    ) -> Result<Self, Error> {
        let keys = [reading.wanted.names.clone(), reading.time.clone()].concat();
        let (form, wanted) = (reading.form.clone(), reading.wanted.names.len());
        let reader = Reader { form, times: TimeReader::default(), keys, wanted };
        Ok(Self { lines: Lines::new(text, place, skip)?, reader })
    }
}

impl FileRows for LineRows {
    fn next(&mut self, after: Option<Micros>) -> Step {
        let Self { lines, reader } = self;
        lines.batch(reader.wanted, after, |lines, texts, after| reader.add(lines, texts, after))
    }
}

impl Reader {
    fn add(&mut self, lines: &Lines, texts: &mut Texts, after: Option<Micros>) -> Result<Micros, Error> {
        let mut found = Vec::new();
        let object = verbatim::object(&lines.line, &self.keys, &mut found).map_err(|what| {
            let array = lines.line.trim_ascii_start().first() == Some(&b'[');
            let hint = if array { "; an array is not read, JSON Lines have an object a line" } else { "" };
            lines.refused(None, format!("{what}{hint}"))
        })?;
        let (wanted, times) = found.split_at(self.wanted);
        let at = times.iter().position(|value| !matches!(value, None | Some(Found::Null)));
        let names = &self.keys[self.wanted..];
        let Some(at) = at else {
            return Err(
                lines.refused(names.first().map(String::as_str), "no event time: the key is not there, or null")
            );
        };
        let time = match &times[at] {
            Some(Found::Text(text)) => self.form.text(&mut self.times, text, after),
            Some(Found::Integer(digits) | Found::Other(digits)) if is_number(digits) => self.form.number(digits),
            _ => Err("it is neither a text nor a number".to_owned()),
        };
        let time = time.map_err(|what| lines.refused(Some(&names[at]), what))?;
        for value in wanted {
            texts.add_value(match value {
                None | Some(Found::Null) => None,
                Some(Found::Bool(true)) => Some(b"true"),
                Some(Found::Bool(false)) => Some(b"false"),
                Some(Found::Integer(text) | Found::Other(text)) => Some(text.as_bytes()),
                Some(Found::Text(text)) => Some(text.as_bytes()),
            });
        }
        texts.body_mut().extend_from_slice(object.as_bytes());
        Ok(time)
    }
}

fn is_number(text: &str) -> bool {
    text.starts_with(|c: char| c == '-' || c.is_ascii_digit())
}

/// Dead letters being read. Their times are those of their events, as far as they ascend: letters stand in the order in which
/// events were refused.
pub(super) struct LetterRows(Lines);

impl LetterRows {
    pub(super) fn new(text: Box<dyn BufRead + Send>, place: Place, skip: u64) -> Result<Self, Error> {
        Lines::new(text, place, skip).map(Self)
    }
}

impl FileRows for LetterRows {
    fn next(&mut self, after: Option<Micros>) -> Step {
        let mut step = self.0.batch(Letter::VALUES, after, |lines, texts, after| {
            let letter = Letter::read(&lines.line).map_err(|what| lines.refused(None, what))?;
            letter.put(texts);
            Ok(after.map_or(letter.time, |after| letter.time.max(after)))
        });
        if let Some(Rows { cells, .. }) = &mut step.rows
            && let Cells::Texts { texts, from } = cells
        {
            *cells = Cells::Letters { texts: std::mem::take(texts), from: *from };
        }
        step
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::testing::{place, reading};

    fn rows(text: &str, skip: u64) -> (Vec<(u64, String)>, Option<String>) {
        let mut reading = reading(&["id", "x"]);
        reading.time.push("at".to_owned());
        let file = LineRows::new(Box::new(Cursor::new(text.to_owned())), place(), skip, &reading);
        let mut file = file.unwrap();
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let Step { rows, fault } = file.next(after);
            if let Some(rows) = &rows {
                after = rows.times.last().copied();
                for row in 0..rows.times.len() {
                    let mut out = Vec::new();
                    rows.body(row, &reading.wanted, &mut out).unwrap();
                    all.push((rows.first + row as u64, String::from_utf8(out).unwrap()));
                }
            }
            if fault.is_some() || rows.is_none() {
                return (all, fault.map(|fault| fault.to_string()));
            }
        }
    }

    #[test]
    fn a_body_is_the_line_as_it_stands() {
        let text = "\u{feff} {\"t\": \"2026-01-01T00:00:00Z\", \"id\": 9223372036854775808, \"v\": 1.10e2}\r\n\n\
                    {\"at\":\"2026-01-01T00:00:01Z\",\"t\":null}";
        let (rows, fault) = self::rows(text, 0);
        assert_eq!(fault, None);
        let first = r#"{"t": "2026-01-01T00:00:00Z", "id": 9223372036854775808, "v": 1.10e2}"#;
        let last = r#"{"at":"2026-01-01T00:00:01Z","t":null}"#;
        assert_eq!(rows, [(0, first.to_owned()), (2, last.to_owned())], "a blank line is no row, but counts");
        assert_eq!(self::rows(text, 1).0, [(2, last.to_owned())]);
        assert!(self::rows(text, 9).0.is_empty());
    }

    #[test]
    fn a_line_that_is_no_event_is_named_behind_those_before_it() {
        let good = "{\"t\":\"2026-01-01T00:00:00Z\"}\n";
        for (bad, words) in [
            ("{\"t\":}", "f.jsonl, row 2: no JSON object"),
            ("[1]", "JSON Lines have an object a line"),
            ("{}", "row 2, column t: no event time"),
            ("{\"t\":true}", "row 2, column t: it is neither"),
            ("{\"t\":7}", "--time-unit"),
            ("{\"t\":\"yesterday\"}", "column t: \"yesterday\" is no time"),
            ("{\"t\":\"2026-01-01T00:00:00Z\",\"id\":1,\"id\":2}", "stands twice"),
        ] {
            let (rows, fault) = self::rows(&format!("{good}{bad}\n{good}"), 0);
            let fault = fault.unwrap();
            assert!(rows.len() == 1 && fault.contains(words), "{bad}: {rows:?} {fault}");
        }
        let long = format!("{good}{{\"t\":\"{}", "x".repeat(MAX_RECORD));
        assert!(self::rows(&long, 0).1.unwrap().contains("row 2: a line of more than 16 MiB"));
    }
}
