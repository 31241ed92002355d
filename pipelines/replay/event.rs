//! An event: a row made into a request.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wsp::checkpoint;
use wsp::deliver::Item;
use wsp::pace::Timed;
use wsp::time::Micros;

use super::error::Error;
use super::input::{Input, Source};
use super::pack::Packing;

/// Where an event is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) input: u16,
    pub(super) file: u32,
    /// Its row, from 0.
    pub(super) row: u64,
    /// Where it stands in the order in which its input is read: file and row, or 0 and its number where rows are put in order.
    pub(super) place: (u32, u64),
    /// Its number among the events of its input since the start, from 0.
    pub(super) seq: u64,
    /// Its number among the events of its row, from 0.
    pub(super) part: u32,
    /// No event of its row follows.
    pub(super) is_last: bool,
}

impl Position {
    /// Its input among all.
    pub(super) fn input_in(self, inputs: &[Arc<Input>]) -> &Input {
        &inputs[usize::from(self.input)]
    }

    /// Its file.
    pub(super) fn source_in(self, inputs: &[Arc<Input>]) -> &Source {
        self.input_in(inputs).file(self.file)
    }

    /// The time in the file of an event with this time: later rounds move times.
    pub(super) fn recorded(self, ts: Micros, inputs: &[Arc<Input>]) -> Micros {
        Micros(ts.0 - self.input_in(inputs).shift(self.file))
    }

    /// The error that names its row.
    #[cold]
    pub(super) fn refused(self, inputs: &[Arc<Input>], column: Option<&str>, what: impl std::fmt::Display) -> Error {
        Error::row(&self.source_in(inputs).shown, self.row, column, what)
    }
}

impl checkpoint::Place for Position {
    fn source(&self) -> usize {
        self.input.into()
    }

    fn seq(&self) -> u64 {
        self.seq
    }

    /// Rows between two events may be no events, and are not said to be answered.
    fn precedes(&self, next: &Self) -> bool {
        let ((file, row), is_last) = (self.place, self.is_last);
        let follows = if is_last { next.place == (file, row + 1) } else { next.place == self.place };
        self.seq + 1 == next.seq && follows
    }
}

/// An event: a row, made into a request.
#[derive(Debug, Clone)]
pub struct Event {
    pub(super) position: Position,
    pub(super) ts: Micros,
    /// The hash of its order key.
    pub(super) line: u64,
    pub(super) id: [u8; 32],
    /// Its own request line, if it has one, then its own header lines: first the id's, then those with columns in them.
    pub(super) head: Bytes,
    /// How much of `head` is the request line.
    pub(super) line_bytes: u32,
    pub(super) body: Bytes,
    /// How the body is packed.
    pub(super) packing: Option<Packing>,
    pub(super) due: Option<Duration>,
}

impl Event {
    /// Its header lines; and its order key, where the sink takes it: it follows them behind an empty line.
    pub(super) fn head_and_key(&self) -> (&[u8], Option<&[u8]>) {
        const LINE_AND_EMPTY_LINE: &[u8] = b"\r\n\r\n";
        let head = self.head();
        match head.windows(LINE_AND_EMPTY_LINE.len()).position(|bytes| bytes == LINE_AND_EMPTY_LINE) {
            Some(at) => (&head[..at + 2], Some(&head[at + LINE_AND_EMPTY_LINE.len()..])),
            None => (head, None),
        }
    }

    /// The id as its header has it.
    pub(super) fn id_text(&self) -> String {
        let head = String::from_utf8_lossy(Item::head(self));
        let line = head.lines().next().unwrap_or_default();
        line.split_once(": ").map_or("", |(_, value)| value).to_owned()
    }
}

impl Timed for Event {
    fn ts(&self) -> Micros {
        self.ts
    }

    fn set_due(&mut self, due: Duration) {
        self.due = Some(due);
    }
}

impl Item for Event {
    fn id(&self) -> &[u8; 32] {
        &self.id
    }

    fn line(&self) -> u64 {
        self.line
    }

    fn source(&self) -> u16 {
        self.position.input
    }

    fn due(&self) -> Option<Duration> {
        self.due
    }

    fn request_line(&self) -> Option<&[u8]> {
        let line = &self.head[..self.line_bytes as usize];
        (!line.is_empty()).then_some(line)
    }

    fn head(&self) -> &[u8] {
        &self.head[self.line_bytes as usize..]
    }

    fn body(&self) -> &Bytes {
        &self.body
    }

    fn set_body(&mut self, body: Bytes) {
        self.body = body;
        // It lies in the same memory as the body did.
        self.head = Bytes::copy_from_slice(&self.head);
    }
}
