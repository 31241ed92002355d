//! Rows in order become events: body, id, order key, header lines.
//!
//! ```text
//! Vec<Slice<Rows>> ──key ► sample ► body ► id ► header lines──► Vec<Event>, all of them in one buffer
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
    /// The header of the id.
    pub(super) id_header: HeaderName,
    /// Headers with columns in them.
    pub(super) templates: Vec<Template>,
    /// The sink takes the order key as it is, behind the header lines.
    pub(super) takes_keys: bool,
    /// Of all hashes of keys, those below this are sent; `None`: all.
    pub(super) sample: Option<u64>,
    /// Events at most.
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
    hot: Option<HotKeys>,
}

type Framed = frame::Framed<Event, Error>;

impl Framer {
    /// Bodies in memory are counted in `budget`.
    pub(super) fn new(frame: Frame, budget: ByteBudget) -> Self {
        let (left, seqs) = (frame.limit, vec![0; frame.inputs.len()]);
        let (key, id, hot) = (Vec::new(), Vec::new(), None);
        Self { frame, budget, left, seqs, buffers: Buffers::expecting(FIRST_EVENT_BYTES), key, id, hot }
    }

    /// Counts keys in `hot`.
    pub(super) fn counting(self, hot: HotKeys) -> Self {
        Self { hot: Some(hot), ..self }
    }

    /// A decoder does not check of each text that it is UTF-8 where texts run together in a file; one look at all bodies
    /// does.
    fn cut_at_bad_text(&self, framed: &mut Framed, ends: &mut Vec<(usize, usize)>, out: &[u8]) {
        if std::str::from_utf8(out).is_ok() {
            return;
        }
        let starts = std::iter::once(0).chain(ends.iter().map(|(_, end)| *end));
        let bad = starts.zip(ends.iter()).zip(&framed.events).position(|((from, (to, _)), event)| {
            // The bytes of a column of its own may be anything.
            let is_text = self.frame.wanted[usize::from(event.position.input)].body.is_none();
            is_text && std::str::from_utf8(&out[from..*to]).is_err()
        });
        if let Some(bad) = bad {
            let Position { input, file, row, .. } = framed.events[bad].position;
            let file = &self.frame.inputs[usize::from(input)].files[file as usize].shown;
            framed.fault = Some(Error::row(file, row, None, "a text in it is not UTF-8; the file is damaged"));
            framed.events.truncate(bad);
            ends.truncate(bad);
        }
    }

    /// Appends body and header lines of a row, and gives the event that lacks them and where its body ends; `None` where
    /// the row is not to be sent.
    fn event(&mut self, rows: &Rows, row: usize, out: &mut Vec<u8>) -> Result<Option<(Event, usize)>, Error> {
        let (file, number) = rows.origin(row);
        let place = (rows.file, rows.first + row as u64);
        let position =
            Position { input: rows.input, file, row: number, place, seq: self.seqs[usize::from(rows.input)] };
        if self.frame.answered[usize::from(rows.input)].contains(place.0, place.1) {
            self.left -= 1;
            return Ok(None);
        }
        let made = self.fill(rows, row, position, out);
        let made = made.map_err(|fault| {
            let file = &self.frame.inputs[usize::from(rows.input)].files[position.file as usize].shown;
            Error::row(file, position.row, Some(&fault.column), fault.what)
        })?;
        Ok(made.map(|(line, id, body_end)| {
            self.left -= 1;
            self.seqs[usize::from(rows.input)] += 1;
            let (head, body) = (Bytes::new(), Bytes::new());
            (Event { position, ts: rows.times[row], line, id, head, body, due: None }, body_end)
        }))
    }

    fn fill(
        &mut self,
        rows: &Rows,
        row: usize,
        position: Position,
        out: &mut Vec<u8>,
    ) -> Result<Option<(u64, [u8; 32], usize)>, CellFault> {
        let Frame { wanted, id_header, templates, sample, takes_keys, .. } = &self.frame;
        let wanted = &wanted[usize::from(rows.input)];
        if let Some([id, key, head]) = rows.letter(row) {
            let line = u64::from_be_bytes(key.try_into().unwrap_or_default());
            if sample.is_some_and(|below| line >= below) {
                return Ok(None);
            }
            rows.body(row, wanted, out)?;
            let body_end = out.len();
            out.extend_from_slice(head);
            return Ok(Some((line, Sha256::digest(id).into(), body_end)));
        }
        let line = if wanted.key.is_empty() {
            // Nothing is kept in order by it; it spreads a sample, where there is one.
            if sample.is_some() { first_eight(&self.place(position).finalize().into()) } else { 0 }
        } else {
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
            first_eight(&Sha256::digest(&self.key).into())
        };
        if sample.is_some_and(|below| line >= below) {
            return Ok(None);
        }
        if let (Some(hot), false) = (&self.hot, wanted.key.is_empty()) {
            hot.note(&self.key);
        }
        let start = out.len();
        rows.body(row, wanted, out)?;
        let body_end = out.len();
        let id = if wanted.id.is_empty() {
            let id: [u8; 32] = self.place(position).chain_update(&out[start..body_end]).finalize().into();
            header(id_header, const_hex::encode(id).as_bytes(), out);
            id
        } else {
            self.id.clear();
            for (i, place) in wanted.id.iter().enumerate() {
                if i > 0 {
                    self.id.push(b':');
                }
                let from = self.id.len();
                if !rows.cell(row, *place, wanted, &mut self.id)? {
                    return Err(CellFault::new(&wanted.names[*place], "null; a column of --id has to have a value"));
                }
                make_safe(&mut self.id, from, wanted.id.len() > 1);
            }
            header(id_header, &self.id, out);
            Sha256::digest(&self.id).into()
        };
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
        if *takes_keys && !wanted.key.is_empty() && self.key != [0] {
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(&self.key);
        }
        Ok(Some((line, id, body_end)))
    }

    /// What tells a row from all others of the replay: input, file, row.
    fn place(&self, position: Position) -> Sha256 {
        let input = &self.frame.inputs[usize::from(position.input)];
        let file = &input.files[position.file as usize].within;
        let parts = [input.name.as_bytes(), b"\0", file.as_bytes(), b"\0", &position.row.to_be_bytes()];
        parts.iter().fold(Sha256::new(), Digest::chain_update)
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
        let mut out = self.buffers.empty(rows);
        let mut framed = Framed { events: Vec::with_capacity(rows), rows: 0, fault: None, over: false };
        let mut ends = Vec::with_capacity(rows);
        'slices: for slice in slices {
            for row in slice.from..slice.to {
                if out.len() >= CHUNK_BYTES {
                    break 'slices;
                }
                if self.left == 0 {
                    break 'slices;
                }
                let start = out.len();
                match self.event(&slice.batch, row, &mut out) {
                    Ok(Some((event, body_end))) => {
                        framed.events.push(event);
                        ends.push((body_end, out.len()));
                    }
                    Ok(None) => out.truncate(start),
                    Err(error) => {
                        out.truncate(start);
                        framed.fault = Some(error);
                        break 'slices;
                    }
                }
                framed.rows += 1;
            }
        }
        // What is behind the last event is not looked at, whether it is in this chunk or not.
        framed.over = self.left == 0;
        // A letter holds whatever its event held.
        if !slices.iter().any(|slice| matches!(slice.batch.cells, Cells::Letters { .. })) {
            self.cut_at_bad_text(&mut framed, &mut ends, &out);
        }
        let bytes = self.buffers.hold(out, framed.events.len(), &self.budget);
        let mut from = 0;
        for (event, (body_end, end)) in framed.events.iter_mut().zip(ends) {
            event.body = bytes.slice(from..body_end);
            event.head = bytes.slice(body_end..end);
            from = end;
        }
        framed
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
