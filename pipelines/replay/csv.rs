//! CSV: a heading, then a record a row. A body is an object of all cells, by their headings.
//!
//! ```text
//! record ──types──► {"heading":"text" · number as it stands · true · null, …}
//! ```

use std::io::{self, BufRead, Read};

use csv::{ByteRecord, Reader, ReaderBuilder};
use wsp::cells::text;
use wsp::minute::TimeReader;
use wsp::time::Micros;

use super::error::Error;
use super::files::{BATCH_BYTES, BATCH_ROWS, CsvForm, CsvType, FileRows, MAX_RECORD, Place, Reading, Step};
use super::rows::{Cells, Rows, Texts};
use super::time::TimeForm;

/// Bytes that the reader takes at once: as much more than a record may have been read.
const BUFFER: usize = 64 << 10;

/// CSV being read.
pub(super) struct CsvRows {
    reader: Reader<Metered>,
    record: ByteRecord,
    delimiter: u8,
    place: Place,
    /// The next record's number, from 0, the heading not counted.
    next: u64,
    heading: Heading,
    form: TimeForm,
    times: TimeReader,
}

/// What the heading says of each cell.
struct Heading {
    names: Vec<String>,
    /// What stands before each value in a body.
    leads: Vec<Vec<u8>>,
    types: Vec<CsvType>,
    nulls: Vec<String>,
    time: usize,
    wanted: Vec<usize>,
}

impl CsvRows {
    pub(super) fn new(
        text: Box<dyn BufRead + Send>,
        place: Place,
        skip: u64,
        delimiter: u8,
        reading: &Reading,
    ) -> Result<Self, Error> {
        let mut builder = ReaderBuilder::new();
        let builder = builder.has_headers(true).delimiter(delimiter).buffer_capacity(BUFFER);
        let mut reader =
            builder.from_reader(Metered { text, left: MAX_RECORD, recent: Vec::new(), from: 0, is_over: false });
        let names = reader.headers().map_err(|error| Error::file(&place.shown, what(&error)))?;
        let names: Vec<String> = names.iter().map(str::to_owned).collect();
        let heading = Heading::new(names, reading).map_err(|what| Error::file(&place.shown, what))?;
        let (record, form, times) = (ByteRecord::new(), reading.form.clone(), TimeReader::default());
        let mut rows = Self { reader, record, delimiter, place, next: 0, heading, form, times };
        while rows.next < skip && rows.read()? {
            rows.next += 1;
        }
        Ok(rows)
    }

    fn refused(&self, column: Option<&str>, what: impl std::fmt::Display) -> Error {
        Error::row(&self.place.shown, self.next, column, what)
    }

    /// Reads the next record; false at the end.
    fn read(&mut self) -> Result<bool, Error> {
        let begin = self.reader.position().byte();
        self.reader.get_mut().begin(begin);
        let Self { reader, record, .. } = self;
        let more = reader.read_byte_record(record).map_err(|error| self.refused(None, what(&error)))?;
        // The reader takes the end of the file for that of a cell in quotes.
        let text = self.reader.get_ref();
        if more && text.is_over && is_cut(text.since(begin), self.delimiter) {
            return Err(self.refused(None, "the file breaks off within a cell in quotes"));
        }
        Ok(more)
    }

    /// Adds the record at hand, and gives its time.
    fn add(&self, texts: &mut Texts, times: &mut TimeReader, after: Option<Micros>) -> Result<Micros, Error> {
        let Heading { names, leads, types, time, wanted, .. } = &self.heading;
        let column = |i: usize| Some(names[i].as_str());
        let cell = |i: usize| {
            let bytes = self.record.get(i).unwrap_or_default();
            let text = std::str::from_utf8(bytes);
            text.map_err(|_| self.refused(column(i), "the cell is not UTF-8; convert the file"))
        };
        let text = cell(*time)?;
        if self.heading.is_null(text) {
            return Err(self.refused(column(*time), "no event time: the cell is null"));
        }
        let at = self.form.text(times, text, after).map_err(|what| self.refused(column(*time), what))?;
        for i in wanted {
            let text = cell(*i)?;
            texts.add_value((!self.heading.is_null(text)).then_some(text.as_bytes()));
        }
        texts.body_mut().push(b'{');
        for (i, (lead, kind)) in leads.iter().zip(types).enumerate() {
            let text = cell(i)?;
            let out = texts.body_mut();
            out.extend_from_slice(lead);
            if self.heading.is_null(text) {
                out.extend_from_slice(b"null");
                continue;
            }
            match kind {
                CsvType::Text => text::string(text, out),
                CsvType::Number if is_number(text.trim()) => out.extend_from_slice(text.trim().as_bytes()),
                CsvType::Bool if text.trim().eq_ignore_ascii_case("true") => out.extend_from_slice(b"true"),
                CsvType::Bool if text.trim().eq_ignore_ascii_case("false") => out.extend_from_slice(b"false"),
                CsvType::Number | CsvType::Bool => {
                    let text = wsp::strict::excerpt(text, 60);
                    let kind = if *kind == CsvType::Number { "number of JSON" } else { "true or false" };
                    let what = format!("{text:?} is no {kind}; --csv-types and --csv-null say what cells are");
                    return Err(self.refused(column(i), what));
                }
            }
        }
        texts.body_mut().push(b'}');
        Ok(at)
    }
}

impl FileRows for CsvRows {
    fn next(&mut self, after: Option<Micros>) -> Step {
        let (mut texts, mut times, mut fault) = (Texts::new(self.heading.wanted.len()), Vec::new(), None);
        let mut reader = std::mem::take(&mut self.times);
        let first = self.next;
        while texts.len() < BATCH_ROWS && texts.bytes() < BATCH_BYTES {
            let after = times.last().copied().or(after);
            let read = self.read();
            match read.and_then(|more| more.then(|| self.add(&mut texts, &mut reader, after)).transpose()) {
                Ok(Some(time)) => {
                    texts.end_row();
                    times.push(time);
                    self.next += 1;
                }
                Ok(None) => break,
                Err(error) => {
                    fault = Some(error);
                    break;
                }
            }
        }
        self.times = reader;
        let Place { input, file, .. } = self.place;
        let rows = Rows { input, file, first, times, cells: Cells::Texts { texts, from: 0 } };
        Step { rows: (!rows.times.is_empty()).then_some(rows), fault }
    }
}

impl Heading {
    fn new(names: Vec<String>, reading: &Reading) -> Result<Self, String> {
        if let Some(name) = names.iter().enumerate().find_map(|(i, name)| names[..i].contains(name).then_some(name)) {
            return Err(format!("two columns are called {name:?}"));
        }
        let place = |name: &str| {
            names.iter().position(|other| other == name).ok_or_else(|| {
                let some: Vec<&str> = names.iter().map(String::as_str).take(40).collect();
                format!("the file has no column {name}; its first line names {}", some.join(", "))
            })
        };
        let time = reading.time.iter().find_map(|name| place(name).ok());
        let time = time.map_or_else(|| place(reading.time.first().map_or("", String::as_str)), Ok)?;
        let wanted = reading.wanted.names.iter().map(|name| place(name)).collect::<Result<_, _>>()?;
        let leads = names.iter().enumerate().map(|(i, name)| text::key(name, i == 0)).collect();
        let CsvForm { nulls, types, .. } = &reading.csv;
        let kind = |name: &String| {
            let of = |wanted: &str| types.iter().find(|(name, _)| name == wanted).map(|(_, kind)| *kind);
            of(name).or_else(|| of("*")).unwrap_or_default()
        };
        let types = names.iter().map(kind).collect();
        Ok(Self { leads, types, nulls: nulls.clone(), time, wanted, names })
    }

    fn is_null(&self, text: &str) -> bool {
        self.nulls.iter().any(|null| null == text)
    }
}

/// Whether a text is a number of JSON.
fn is_number(text: &str) -> bool {
    serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok()
        && text.starts_with(|c: char| c == '-' || c.is_ascii_digit())
}

fn what(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!(
                "the record has {len} cells, the first line of the file {expected_len}; is a quote missing before it?"
            )
        }
        csv::ErrorKind::Io(error) => format!("the file can't be read on: {error}"),
        _ => error.to_string(),
    }
}

/// Whether a record ends within quotes.
fn is_cut(record: &[u8], delimiter: u8) -> bool {
    let (mut quoted, mut starts) = (false, true);
    let mut bytes = record.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            // Two of them are a quote of the cell.
            b'"' if quoted => quoted = bytes.next_if_eq(&b'"').is_some(),
            b'"' if starts => quoted = true,
            _ => {}
        }
        starts = byte == delimiter || matches!(byte, b'\r' | b'\n');
    }
    quoted
}

/// A text of which no more is read for one record than a record may have: a quote without its end would read all of it.
struct Metered {
    text: Box<dyn BufRead + Send>,
    left: usize,
    /// The bytes read last, from this place on: at least those of the record at hand.
    recent: Vec<u8>,
    from: u64,
    /// The end was read.
    is_over: bool,
}

impl Metered {
    /// A record begins at this place.
    fn begin(&mut self, at: u64) {
        self.left = MAX_RECORD;
        if self.recent.len() > 2 * BUFFER {
            self.recent.drain(..(at - self.from) as usize);
            self.from = at;
        }
    }

    fn since(&self, at: u64) -> &[u8] {
        &self.recent[(at - self.from) as usize..]
    }
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::other(format!(
                "a record of more than {} MiB; is the quote that ends a cell missing?",
                MAX_RECORD >> 20
            )));
        }
        let read = self.text.read(buffer)?;
        self.left = self.left.saturating_sub(read);
        self.recent.extend_from_slice(&buffer[..read]);
        self.is_over = read == 0;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::testing::{place, reading};

    fn bodies(text: &[u8], reading: &Reading, skip: u64) -> Result<(Vec<String>, Option<String>), String> {
        let file = CsvRows::new(Box::new(Cursor::new(text.to_owned())), place(), skip, b',', reading);
        let mut file = file.map_err(|error| error.to_string())?;
        let mut all = Vec::new();
        loop {
            let Step { rows, fault } = file.next(None);
            for row in 0..rows.as_ref().map_or(0, |rows| rows.times.len()) {
                let mut out = Vec::new();
                rows.as_ref().unwrap().body(row, &reading.wanted, &mut out).unwrap();
                all.push(String::from_utf8(out).unwrap());
            }
            if fault.is_some() || rows.is_none() {
                return Ok((all, fault.map(|fault| fault.to_string())));
            }
        }
    }

    #[test]
    fn cells_are_texts_unless_something_else_is_said() {
        let text = "\u{feff}t,n,\"a \"\"b\"\"\",empty\n2026-01-01 00:00:00,007,\"x,\n\"\"y\"\"\",\n2026-01-01 00:00:01,1.50,z,NA\n";
        let (bodies, fault) = bodies(text.as_bytes(), &reading(&[]), 0).unwrap();
        assert_eq!(fault, None);
        assert_eq!(bodies[0], r#"{"t":"2026-01-01 00:00:00","n":"007","a \"b\"":"x,\n\"y\"","empty":null}"#);
        assert_eq!(bodies[1], r#"{"t":"2026-01-01 00:00:01","n":"1.50","a \"b\"":"z","empty":"NA"}"#);
        let mut typed = reading(&[]);
        typed.csv.types = vec![("n".to_owned(), CsvType::Number), ("*".to_owned(), CsvType::Text)];
        typed.csv.nulls = vec!["NA".to_owned()];
        let (bodies, fault) = self::bodies(text.as_bytes(), &typed, 1).unwrap();
        assert_eq!((bodies.len(), fault), (1, None));
        assert_eq!(bodies[0], r#"{"t":"2026-01-01 00:00:01","n":1.50,"a \"b\"":"z","empty":null}"#);
        let fault = self::bodies(text.as_bytes(), &typed, 0).unwrap().1.unwrap();
        assert!(fault.contains("f.jsonl, row 1, column n: \"007\" is no number of JSON"), "{fault}");
    }

    #[test]
    fn what_is_no_record_is_named_behind_those_before_it() {
        let good = "t,b\n2026-01-01 00:00:00,true\n";
        let mut reading = reading(&[]);
        reading.csv.types = vec![("b".to_owned(), CsvType::Bool)];
        for (bad, words) in [
            (&b"2026-01-01 00:00:00\n"[..], "row 2: the record has 1 cells"),
            (b",true\n", "row 2, column t: no event time"),
            (b"soon,true\n", "column t: \"soon\" is no time"),
            (b"2026-01-01 00:00:00,yes\n", "column b: \"yes\" is no true or false"),
            (b"2026-01-01 00:00:00,\xff\n", "column b: the cell is not UTF-8"),
        ] {
            let (rows, fault) = bodies(&[good.as_bytes(), bad].concat(), &reading, 0).unwrap();
            let fault = fault.unwrap();
            assert!(rows.len() == 1 && fault.contains(words), "{fault}");
        }
        for end in ["\"true", "\"", "\"true\"\"", "\"tr\nue"] {
            let cut = format!("\u{feff}{good}2026-01-01 00:00:00,{end}");
            let (rows, fault) = bodies(cut.as_bytes(), &reading, 0).unwrap();
            assert!(rows.len() == 1 && fault.unwrap().contains("row 2: the file breaks off within"), "{cut}");
        }
        for end in ["\"true\"", "true", "\"true\"\n", "\"true\"\r\n\r\n"] {
            // As many records as make the reader forget the first ones.
            let many = "2026-01-01 00:00:00,\"true\"\n".repeat(10_000);
            let whole = format!("\u{feff}{good}{many}2026-01-01 00:00:00,{end}");
            let (rows, fault) = bodies(whole.as_bytes(), &reading, 0).unwrap();
            assert_eq!((rows.len(), fault), (10_002, None), "{end}");
        }
        let open = format!("{good}2026-01-01 00:00:00,\"{}", "x\n".repeat(MAX_RECORD));
        assert!(bodies(open.as_bytes(), &reading, 0).unwrap().1.unwrap().contains("the quote that ends a cell"));
        assert!(bodies(b"a,a\n", &reading, 0).unwrap_err().contains("two columns are called \"a\""));
        assert!(bodies(b"a,b\n", &reading, 0).unwrap_err().contains("no column t; its first line names a, b"));
    }
}
