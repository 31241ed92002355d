//! Rows in order become events: body, id, order key, header lines.
//!
//! ```text
//! Vec<Slice<Rows>> ──key ► sample ► body ► id ► header lines──► Vec<Event>, all of them in one buffer
//! ```

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use hyper::header::HeaderName;
use sha2::{Digest, Sha256};
use wsp::byte_budget::ByteBudget;
use wsp::merge::Slice;

use super::answered::AnsweredRows;
use super::error::Error;
use super::event::{Event, Position};
use super::hot_keys::HotKeys;
use super::input::Input;
use super::rows::{CellFault, Cells, Rows};
use super::template::{Template, is_value};
use super::wanted::Wanted;

/// A chunk takes no further event once it holds so many bytes. The last of its events keeps all of it in memory.
const CHUNK_BYTES: usize = 1 << 20;
/// Expected bytes of an event before the first chunk has shown them.
const FIRST_EVENT_BYTES: usize = 512;

/// What the framer makes of rows.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) inputs: Arc<Vec<Arc<Input>>>,
    pub(super) wanted: Wanted,
    /// The header of the id.
    pub(super) id_header: HeaderName,
    /// Headers with columns in them.
    pub(super) templates: Vec<Template>,
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
    event_bytes: usize,
    key: Vec<u8>,
    id: Vec<u8>,
    hot: Option<HotKeys>,
}

/// What came of a chunk: the events before the first row that can't be sent, and why it can't.
#[derive(Debug, Default)]
pub(super) struct Framed {
    pub(super) events: Vec<Event>,
    /// Rows that were looked at.
    pub(super) rows: usize,
    pub(super) fault: Option<Error>,
    /// There shall be no more events.
    pub(super) over: bool,
}

impl Framer {
    /// Bodies in memory are counted in `budget`.
    pub(super) fn new(frame: Frame, budget: ByteBudget) -> Self {
        let (left, seqs) = (frame.limit, vec![0; frame.inputs.len()]);
        let (key, id, hot) = (Vec::new(), Vec::new(), None);
        Self { frame, budget, left, seqs, event_bytes: FIRST_EVENT_BYTES, key, id, hot }
    }

    /// Counts keys in `hot`.
    pub(super) fn counting(self, hot: HotKeys) -> Self {
        Self { hot: Some(hot), ..self }
    }

    /// Makes events of a chunk, or of its first rows where they are large.
    fn frame(&mut self, slices: &[Slice<Rows>]) -> Framed {
        let rows: usize = slices.iter().map(|slice| slice.to - slice.from).sum();
        let mut out = Vec::with_capacity((rows * self.event_bytes).min(CHUNK_BYTES + self.event_bytes));
        let mut framed = Framed { events: Vec::with_capacity(rows), ..Framed::default() };
        let mut ends = Vec::with_capacity(rows);
        'slices: for slice in slices {
            for row in slice.from..slice.to {
                if out.len() >= CHUNK_BYTES {
                    break 'slices;
                }
                if self.left == 0 {
                    framed.over = true;
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
        // A letter holds whatever its event held.
        if !slices.iter().any(|slice| matches!(slice.batch.cells, Cells::Letters { .. })) {
            self.cut_at_bad_text(&mut framed, &mut ends, &out);
        }
        if let Some(mean) = out.len().checked_div(framed.events.len()) {
            // An eighth of room above the mean, so that the next chunk rarely has to grow its buffer.
            self.event_bytes = mean + mean / 8 + 64;
        }
        if out.capacity() > 2 * out.len() {
            out.shrink_to_fit();
        }
        let bytes = self.budget.hold(out);
        let mut from = 0;
        for (event, (body_end, end)) in framed.events.iter_mut().zip(ends) {
            event.body = bytes.slice(from..body_end);
            event.head = bytes.slice(body_end..end);
            from = end;
        }
        framed
    }

    /// A decoder does not check of each text that it is UTF-8 where texts run together in a file; one look at all bodies
    /// does.
    fn cut_at_bad_text(&self, framed: &mut Framed, ends: &mut Vec<(usize, usize)>, out: &[u8]) {
        // The bytes of a column of its own may be anything.
        if self.frame.wanted.body.is_some() || std::str::from_utf8(out).is_ok() {
            return;
        }
        let starts = std::iter::once(0).chain(ends.iter().map(|(_, end)| *end));
        let bad = starts.zip(ends.iter()).position(|(from, (to, _))| std::str::from_utf8(&out[from..*to]).is_err());
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
        let position = Position {
            input: rows.input,
            file: rows.file,
            row: rows.first + row as u64,
            seq: self.seqs[usize::from(rows.input)],
        };
        if self.frame.answered[usize::from(rows.input)].contains(position.file, position.row) {
            self.left -= 1;
            return Ok(None);
        }
        let made = self.fill(rows, row, position, out);
        let made = made.map_err(|fault| {
            let file = &self.frame.inputs[usize::from(rows.input)].files[rows.file as usize].shown;
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
        let Frame { wanted, id_header, templates, sample, .. } = &self.frame;
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

/// The first eight bytes of a hash: the same in every version, so that a sample is the same again.
fn first_eight(hash: &[u8; 32]) -> u64 {
    hash.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}

fn header(name: &HeaderName, value: &[u8], out: &mut Vec<u8>) {
    for part in [name.as_str().as_bytes(), b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// Makes an id's text from `from` on one that a header carries unchanged: what is not visible ASCII, and what parts of an id
/// are told by, becomes `%XX`.
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

/// Framing as a stage.
pub(super) trait FrameExt: Stream<Item = Result<Vec<Slice<Rows>>, Error>> + Send + Sized + 'static {
    /// Makes each chunk to events. The first row that can't be sent ends the stream with its fault, behind the events before
    /// it; so does an error from above. Nothing is made before the framer's budget has room.
    fn frame(self, framer: Framer) -> impl Stream<Item = Result<Vec<Event>, Error>> + Send + 'static {
        let state = State { slices: Box::pin(self), framer, left: Vec::new(), fault: None, over: false };
        stream::unfold(state, |mut state| async move {
            let item = state.next().await?;
            Some((item, state))
        })
    }
}

impl<S: Stream<Item = Result<Vec<Slice<Rows>>, Error>> + Send + 'static> FrameExt for S {}

struct State<S> {
    slices: Pin<Box<S>>,
    framer: Framer,
    /// Rows of the chunk taken last that are not looked at yet.
    left: Vec<Slice<Rows>>,
    fault: Option<Error>,
    over: bool,
}

impl<S: Stream<Item = Result<Vec<Slice<Rows>>, Error>>> State<S> {
    async fn next(&mut self) -> Option<Result<Vec<Event>, Error>> {
        while !self.over {
            let budget = self.framer.budget.clone();
            poll_fn(|cx| budget.poll_room(cx)).await;
            if self.left.is_empty() {
                match self.slices.next().await {
                    Some(Ok(slices)) => self.left = slices,
                    Some(Err(error)) => {
                        self.over = true;
                        return Some(Err(error));
                    }
                    None => self.over = true,
                }
                continue;
            }
            let Framed { events, rows, fault, over } = self.framer.frame(&self.left);
            skip_rows(&mut self.left, rows);
            self.over = over || fault.is_some();
            self.fault = fault;
            if !events.is_empty() {
                return Some(Ok(events));
            }
        }
        self.fault.take().map(Err)
    }
}

/// Takes the first `rows` rows off.
fn skip_rows(slices: &mut Vec<Slice<Rows>>, mut rows: usize) {
    let whole = slices.iter().take_while(|slice| {
        let length = slice.to - slice.from;
        let taken = length <= rows;
        rows -= if taken { length } else { 0 };
        taken
    });
    let whole = whole.count();
    slices.drain(..whole);
    if let Some(first) = slices.first_mut() {
        first.from += rows;
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

    #[test]
    fn slices_are_left_as_far_as_they_were_not_looked_at() {
        use super::super::rows::Texts;
        let slice = |from, to| {
            let cells = Cells::Texts { texts: Texts::new(0), from: 0 };
            let rows = Rows { input: 0, file: 0, first: 0, times: Vec::new(), cells };
            Slice { batch: Arc::new(rows), from, to }
        };
        let left = |rows| {
            let mut slices = vec![slice(0, 3), slice(5, 6), slice(3, 9)];
            skip_rows(&mut slices, rows);
            slices.iter().map(|slice| (slice.from, slice.to)).collect::<Vec<_>>()
        };
        assert_eq!(left(0), [(0, 3), (5, 6), (3, 9)]);
        assert_eq!(left(3), [(5, 6), (3, 9)]);
        assert_eq!(left(6), [(5, 9)]);
        assert!(left(10).is_empty());
    }
}
