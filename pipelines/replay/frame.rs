//! Rows in order become events: bodies, ids, order key, request line, header lines.
//!
//! ```text
//! Vec<Slice<Rows>> ──key ► sample ► body ► jq ► id ► heads──► Vec<Event>, all of them in one buffer
//! ```

use std::sync::Arc;

use bytes::Bytes;
use hyper::header::HeaderName;
use sha2::{Digest, Sha256};
use wsp::byte_budget::ByteBudget;
use wsp::deliver::headers::is_value;
use wsp::frame::{self, Buffers, CHUNK_BYTES};
use wsp::merge::Slice;

use super::answered::AnsweredRows;
use super::error::Error;
use super::event::{Event, Position};
use super::hot_keys::HotKeys;
use super::input::Input;
use super::jq::{Bodies, Filter};
use super::request_line::RequestLine;
use super::rows::{CellFault, Cells, Rows};
use super::template::Template;
use super::wanted::Wanted;

/// Expected bytes of an event before the first chunk has shown them.
const FIRST_EVENT_BYTES: usize = 512;

/// What the framer makes of rows.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) inputs: Arc<Vec<Arc<Input>>>,
    /// By input.
    pub(super) wanted: Vec<Wanted>,
    /// What makes bodies of a row, if the row is not the body itself.
    pub(super) filter: Option<Arc<Filter>>,
    /// The header of the id.
    pub(super) id_header: HeaderName,
    /// Method and URL with columns in them.
    pub(super) line: Option<RequestLine>,
    /// Headers with columns in them.
    pub(super) templates: Vec<Template>,
    /// The sink takes the order key as it is, behind the header lines.
    pub(super) takes_keys: bool,
    /// Of all hashes of keys, those below this are sent; `None`: all.
    pub(super) sample: Option<u64>,
    /// Rows with events at most.
    pub(super) limit: u64,
    /// By input, what an earlier start saw answered beyond the place where this one begins.
    pub(super) answered: Vec<AnsweredRows>,
}

/// Makes events.
pub(super) struct Framer {
    frame: Frame,
    budget: ByteBudget,
    left: u64,
    /// By input, events so far.
    seqs: Vec<u64>,
    buffers: Buffers,
    key: Vec<u8>,
    id: Vec<u8>,
    /// A row as the filter sees it, and what it makes of it.
    row: Vec<u8>,
    bodies: Bodies,
    hot: Option<HotKeys>,
}

type Framed = frame::Framed<Event, Error>;

/// Where an event's parts end in the buffer of its chunk.
#[derive(Debug, Clone, Copy)]
struct Ends {
    body: usize,
    head: usize,
}

/// Events in the making.
struct Chunk {
    events: Vec<Event>,
    ends: Vec<Ends>,
    out: Vec<u8>,
}

impl Framer {
    /// Bodies in memory are counted in `budget`.
    pub(super) fn new(frame: Frame, budget: ByteBudget) -> Self {
        let (left, seqs) = (frame.limit, vec![0; frame.inputs.len()]);
        Self {
            frame,
            budget,
            left,
            seqs,
            buffers: Buffers::expecting(FIRST_EVENT_BYTES),
            key: Vec::new(),
            id: Vec::new(),
            row: Vec::new(),
            bodies: Bodies::default(),
            hot: None,
        }
    }

    /// Counts keys in `hot`.
    pub(super) fn counting(self, hot: HotKeys) -> Self {
        Self { hot: Some(hot), ..self }
    }

    /// A decoder does not check of each text that it is UTF-8 where texts run together in a file; one look at all bodies
    /// does.
    fn cut_at_bad_text(&self, chunk: &mut Chunk) -> Option<Error> {
        let Chunk { events, ends, out } = chunk;
        if std::str::from_utf8(out).is_ok() {
            return None;
        }
        let starts = std::iter::once(0).chain(ends.iter().map(|ends| ends.head));
        let bad = starts.zip(ends.iter()).zip(events.iter()).position(|((from, to), event)| {
            // The bytes of a column of its own may be anything.
            let is_text = self.frame.wanted(event.position.input).body.is_none();
            is_text && std::str::from_utf8(&out[from..to.head]).is_err()
        })?;
        let fault = self.frame.refused(events[bad].position, None, "a text in it is not UTF-8; the file is damaged");
        events.truncate(bad);
        ends.truncate(bad);
        Some(fault)
    }

    /// Appends the events of a row, if it is to be sent.
    fn row(&mut self, rows: &Rows, row: usize, chunk: &mut Chunk) -> Result<(), Error> {
        let input = usize::from(rows.input);
        let (file, number) = rows.origin(row);
        let place = (rows.file, rows.first + row as u64);
        let position =
            Position { input: rows.input, file, row: number, place, seq: self.seqs[input], part: 0, is_last: true };
        if self.frame.answered[input].contains(place.0, place.1) {
            self.left -= 1;
            return Ok(());
        }
        let before = chunk.events.len();
        self.events(rows, row, position, chunk)?;
        let made = chunk.events.len() - before;
        self.seqs[input] += made as u64;
        self.left -= u64::from(made > 0);
        Ok(())
    }

    fn events(&mut self, rows: &Rows, row: usize, position: Position, chunk: &mut Chunk) -> Result<(), Error> {
        let refused = |frame: &Frame, fault: CellFault| frame.refused(position, Some(&fault.column), fault.what);
        if rows.letter(row).is_some() {
            return self.letter(rows, row, position, chunk).map_err(|fault| refused(&self.frame, fault));
        }
        let line = self.line(rows, row, position).map_err(|fault| refused(&self.frame, fault))?;
        if self.frame.sample.is_some_and(|below| line >= below) {
            return Ok(());
        }
        if let (Some(hot), false) = (&self.hot, self.frame.wanted(rows.input).key.is_empty()) {
            hot.note(&self.key);
        }
        let ts = rows.times[row];
        let event = |position, id, line_bytes| {
            let (head, body) = (Bytes::new(), Bytes::new());
            Event { position, ts, line, id, head, line_bytes, body, packing: None, due: None }
        };
        let Some(filter) = self.frame.filter.clone() else {
            let start = chunk.out.len();
            let made = rows.body(row, self.frame.wanted(rows.input), &mut chunk.out);
            let made = made.and_then(|()| self.head(rows, row, position, (start, false), &mut chunk.out));
            let (id, line_bytes, body) = made.map_err(|fault| refused(&self.frame, fault))?;
            chunk.push(event(position, id, line_bytes), body);
            return Ok(());
        };
        self.row.clear();
        let read = rows.body(row, self.frame.wanted(rows.input), &mut self.row);
        read.map_err(|fault| refused(&self.frame, fault))?;
        let mut bodies = std::mem::take(&mut self.bodies);
        let run = filter.run(&self.row, &mut bodies);
        run.map_err(|what| self.frame.refused(position, None, format!("--jq: {what}")))?;
        let (several, mut seq) = (bodies.len() > 1, position.seq);
        for (part, body) in (0..).zip(bodies.iter()) {
            let is_last = part as usize + 1 == bodies.len();
            let position = Position { seq, part, is_last, ..position };
            let start = chunk.out.len();
            chunk.out.extend_from_slice(body);
            let made = self.head(rows, row, position, (start, several), &mut chunk.out);
            let (id, line_bytes, body) = made.map_err(|fault| refused(&self.frame, fault))?;
            chunk.push(event(position, id, line_bytes), body);
            seq += 1;
        }
        self.bodies = bodies;
        Ok(())
    }

    /// A row that is an event of an earlier replay: it has its id, key and heads already.
    fn letter(&self, rows: &Rows, row: usize, position: Position, chunk: &mut Chunk) -> Result<(), CellFault> {
        let (wanted, sample) = (self.frame.wanted(rows.input), self.frame.sample);
        let Some([id, key, request_line, head]) = rows.letter(row) else { return Ok(()) };
        let line = u64::from_be_bytes(key.try_into().unwrap_or_default());
        if sample.is_some_and(|below| line >= below) {
            return Ok(());
        }
        rows.body(row, wanted, &mut chunk.out)?;
        let body_end = chunk.out.len();
        chunk.out.extend_from_slice(request_line);
        chunk.out.extend_from_slice(head);
        let (ts, id, line_bytes) = (rows.times[row], Sha256::digest(id).into(), request_line.len() as u32);
        let (head, body, packing) = (Bytes::new(), Bytes::new(), None);
        let event = Event { position, ts, line, id, head, line_bytes, body, packing, due: None };
        chunk.push(event, body_end);
        Ok(())
    }

    /// The hash of a row's order key, which is left in `key`.
    fn line(&mut self, rows: &Rows, row: usize, position: Position) -> Result<u64, CellFault> {
        let (wanted, sample) = (self.frame.wanted(rows.input), self.frame.sample);
        if wanted.key.is_empty() {
            // Nothing is kept in order by it; it spreads a sample, where there is one.
            let hash = || first_eight(&self.frame.place(position).finalize().into());
            return Ok(if sample.is_some() { hash() } else { 0 });
        }
        self.key.clear();
        for (i, place) in wanted.key.iter().enumerate() {
            if i > 0 {
                self.key.push(0x1f);
            }
            if !rows.cell(row, *place, wanted, &mut self.key)? {
                // No text: a value of its own, which all nulls share.
                self.key.push(0);
            }
        }
        Ok(first_eight(&Sha256::digest(&self.key).into()))
    }

    /// Appends the request line and the header lines of an event whose body is what `out` has from `start` on; `several`
    /// events are of its row. Gives its id, the length of the request line, and where the body ends.
    fn head(
        &mut self,
        rows: &Rows,
        row: usize,
        position: Position,
        (start, several): (usize, bool),
        out: &mut Vec<u8>,
    ) -> Result<([u8; 32], u32, usize), CellFault> {
        let body_end = out.len();
        let wanted = self.frame.wanted(rows.input);
        if let Some(line) = &self.frame.line {
            let mut places = wanted.line.iter();
            line.write(out, |name, out| {
                let place = places.next().copied().unwrap_or_default();
                let is_there = rows.cell(row, place, wanted, out)?;
                if is_there { Ok(()) } else { Err(CellFault::new(name, "null; --to and --method need a value")) }
            })?;
        }
        let line_bytes = (out.len() - body_end) as u32;
        let id = self.id(rows, row, position, (start, body_end, several), out)?;
        let (wanted, templates) = (self.frame.wanted(rows.input), &self.frame.templates);
        let mut places = wanted.headers.iter();
        for template in templates {
            template.write(out, |name, out| {
                let (start, place) = (out.len(), places.next().copied().unwrap_or_default());
                if !rows.cell(row, place, wanted, out)? {
                    return Err(CellFault::new(name, format!("null; the header {} needs a value", template.name())));
                }
                if is_value(&out[start..]) {
                    return Ok(());
                }
                let what = "a control character or one beyond ASCII, which no header carries";
                Err(CellFault::new(name, format!("{what} ({})", template.name())))
            })?;
        }
        // A key that is null is none.
        if self.frame.takes_keys && !wanted.key.is_empty() && self.key != [0] {
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(&self.key);
        }
        Ok((id, line_bytes, body_end))
    }

    /// Appends the header line of an event's id. A later round, and one of several events of a row, have ids of their own.
    fn id(
        &mut self,
        rows: &Rows,
        row: usize,
        position: Position,
        (start, end, several): (usize, usize, bool),
        out: &mut Vec<u8>,
    ) -> Result<[u8; 32], CellFault> {
        let Self { frame, id, .. } = self;
        let (wanted, Frame { id_header, filter, .. }) = (frame.wanted(rows.input), &*frame);
        let input = position.input_in(&frame.inputs);
        let round = input.round(position.file);
        if wanted.id.is_empty() {
            let mut hasher = frame.place(position);
            if round > 0 {
                hasher.update(round.to_be_bytes());
            }
            if several {
                hasher.update(position.part.to_be_bytes());
            }
            let hash: [u8; 32] = hasher.chain_update(&out[start..end]).finalize().into();
            header(id_header, const_hex::encode(hash).as_bytes(), out);
            return Ok(hash);
        }
        id.clear();
        let has_parts = wanted.id.len() > 1 || filter.is_some() || input.rounds > 1;
        for (i, place) in wanted.id.iter().enumerate() {
            if i > 0 {
                id.push(b':');
            }
            let from = id.len();
            if !rows.cell(row, *place, wanted, id)? {
                return Err(CellFault::new(&wanted.names[*place], "null; a column of --id has to have a value"));
            }
            make_safe(id, from, has_parts);
        }
        if round > 0 {
            id.extend_from_slice(format!(":r{}", round + 1).as_bytes());
        }
        if several {
            id.extend_from_slice(format!(":{}", position.part).as_bytes());
        }
        header(id_header, id, out);
        Ok(Sha256::digest(&*id).into())
    }
}

impl Chunk {
    /// Takes in an event whose heads end where the buffer does now.
    fn push(&mut self, event: Event, body_end: usize) {
        self.events.push(event);
        self.ends.push(Ends { body: body_end, head: self.out.len() });
    }
}

impl Frame {
    /// What tells a row from all others of a round: input, file, row.
    fn place(&self, position: Position) -> Sha256 {
        let (input, file) = (position.input_in(&self.inputs), position.source_in(&self.inputs));
        let parts = [input.name.as_bytes(), b"\0", file.within.as_bytes(), b"\0", &position.row.to_be_bytes()];
        parts.iter().fold(Sha256::new(), Digest::chain_update)
    }

    /// The columns that are read of an input.
    fn wanted(&self, input: u16) -> &Wanted {
        &self.wanted[usize::from(input)]
    }

    fn refused(&self, position: Position, column: Option<&str>, what: impl std::fmt::Display) -> Error {
        position.refused(&self.inputs, column, what)
    }
}

impl frame::Frame for Framer {
    type Batch = Rows;
    type Event = Event;
    type Error = Error;

    fn budget(&self) -> &ByteBudget {
        &self.budget
    }

    fn frame(&mut self, slices: &[Slice<Rows>]) -> Framed {
        let rows: usize = slices.iter().map(|slice| slice.to - slice.from).sum();
        let mut chunk =
            Chunk { events: Vec::with_capacity(rows), ends: Vec::with_capacity(rows), out: self.buffers.empty(rows) };
        let (mut looked_at, mut fault) = (0, None);
        'slices: for slice in slices {
            for row in slice.from..slice.to {
                if chunk.out.len() >= CHUNK_BYTES {
                    break 'slices;
                }
                if self.left == 0 {
                    break 'slices;
                }
                let (events, bytes) = (chunk.events.len(), chunk.out.len());
                if let Err(error) = self.row(&slice.batch, row, &mut chunk) {
                    chunk.events.truncate(events);
                    chunk.ends.truncate(events);
                    chunk.out.truncate(bytes);
                    fault = Some(error);
                    break 'slices;
                }
                looked_at += 1;
            }
        }
        // What is behind the last event is not looked at, whether it is in this chunk or not.
        let over = self.left == 0;
        // A letter holds whatever its event held.
        if !slices.iter().any(|slice| matches!(slice.batch.cells, Cells::Letters { .. })) {
            fault = self.cut_at_bad_text(&mut chunk).or(fault);
        }
        let Chunk { mut events, ends, out } = chunk;
        let bytes = self.buffers.hold(out, events.len(), &self.budget);
        let mut from = 0;
        for (event, ends) in events.iter_mut().zip(ends) {
            event.body = bytes.slice(from..ends.body);
            event.head = bytes.slice(ends.body..ends.head);
            from = ends.head;
        }
        Framed { events, rows: looked_at, fault, over }
    }
}

/// The first eight bytes of a hash: the same in every version, so that a sample is the same again.
fn first_eight(hash: &[u8; 32]) -> u64 {
    hash.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}

fn header(name: &HeaderName, value: &[u8], out: &mut Vec<u8>) {
    for part in [name.as_str().as_bytes(), b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// Escapes an id's text from `from` on, so that a header carries it unchanged: bytes that are not visible ASCII, and the separator
/// of an id's parts, become `%XX`.
fn make_safe(id: &mut Vec<u8>, from: usize, is_part: bool) {
    let is_safe = |byte: &u8| matches!(byte, b'!'..=b'~') && *byte != b'%' && !(is_part && *byte == b':');
    if id[from..].iter().all(is_safe) {
        return;
    }
    for byte in id.split_off(from) {
        if is_safe(&byte) {
            id.push(byte);
        } else {
            id.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn safe(text: &str, is_part: bool) -> String {
        let mut id = b"a:".to_vec();
        id.extend_from_slice(text.as_bytes());
        make_safe(&mut id, 2, is_part);
        String::from_utf8(id.split_off(2)).unwrap()
    }

    #[test]
    fn ids_are_what_a_header_carries_and_stay_apart() {
        assert_eq!(safe("o-1:2", false), "o-1:2");
        assert_eq!(safe("o-1:2", true), "o-1%3A2");
        assert_eq!(safe("é 50%\r\n", false), "%C3%A9%2050%25%0D%0A");
        assert_ne!(safe("%20", false), safe(" ", false));
    }
}
