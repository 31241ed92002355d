//! Rows in canonical order to events with their request bodies.
//!
//! ```text
//! Vec<Run> ──► key columns ─► event_id, order key ─┐
//!         └──► columns or payload_json ─► payload ─┴─► head · ids · payload · tail ──► Vec<Event>
//! ```

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::Stream;
use futures::stream::FusedStream;
use pin_project_lite::pin_project;

use super::column::Column;
use super::key::KeyValue;
use super::keys::Keys;
use super::schema::{PAYLOAD_JSON, key_column, payload_column};
use super::text;
use super::values::Unfit;
use super::verbatim::{self, Found};
use crate::model::{Event, Hex32, OutputId, PlatformRunId, Position, Reason, Refusal, RowBatch, Run, WorldKey};

/// Expected length of a body before the first chunk has shown it, in bytes.
const FIRST_BODY_BYTES: usize = 1_536;

/// What every event of a run carries (contract, section 5).
#[derive(Debug, Clone)]
pub struct RunPins {
    /// The world.
    pub world: WorldKey,
    /// The engine's run, as its receipt names it.
    pub run_id: Hex32,
    /// The platform run.
    pub platform_run_id: PlatformRunId,
    /// SR's run.
    pub scenario_run_id: Hex32,
    /// The producer's id.
    pub producer: String,
    /// The `oracle_pack_id`, or the hash of the engine root where there is no pack.
    pub trace_id: String,
    /// The `engine_release`, where known.
    pub span_id: Option<String>,
}

/// What the framer has to know about one output.
#[derive(Debug, Clone)]
pub struct OutputFrame {
    /// The output.
    pub output_id: OutputId,
    /// The catalogue's `primary_key` columns, in order.
    pub primary_key: Vec<String>,
    /// The column that events are kept in line by; the event id where there is none.
    pub order_key: Option<String>,
    /// Full names of the output's files, by [`Position::file`], for refusals.
    pub files: Vec<String>,
}

/// Frames rows. One serves a run, in one place: it keeps the last batch of each output resolved.
#[derive(Debug)]
pub struct Framer {
    outputs: Vec<Output>,
    /// From behind `ts_utc` to the payload.
    middle: Vec<u8>,
    /// From behind the payload to the end.
    tail: Vec<u8>,
    preimage: Vec<u8>,
    body_bytes: usize,
}

#[derive(Debug)]
struct Output {
    frame: OutputFrame,
    keys: Keys,
    /// From behind `event_id` to `ts_utc`.
    head: Vec<u8>,
    bound: Option<Bound>,
}

/// A batch with its types resolved.
#[derive(Debug)]
struct Bound {
    batch: Arc<RowBatch>,
    payload: Payload,
}

#[derive(Debug)]
enum Payload {
    /// Each column with its `"name":`, and which of them the wanted keys are.
    Columns { columns: Vec<(Vec<u8>, Column)>, keys: Vec<usize> },
    /// The column of JSON texts.
    Json(Column),
}

/// What came of a chunk: the events before the first row that can't be framed, and why it can't.
#[derive(Debug)]
pub struct Framed {
    /// In the chunk's order.
    pub events: Vec<Event>,
    /// Names file, row and column.
    pub refusal: Option<Refusal>,
}

impl Framer {
    /// For a run with these outputs, in rank order.
    #[must_use]
    pub fn new(pins: &RunPins, outputs: Vec<OutputFrame>) -> Self {
        let outputs = outputs.into_iter().map(|frame| Output::new(frame, &pins.world)).collect();
        let WorldKey { manifest_fingerprint, parameter_hash, scenario_id, seed } = &pins.world;
        // `"ts_utc":"…"` ends where the middle begins.
        let mut middle = b"\"".to_vec();
        pin("manifest_fingerprint", manifest_fingerprint.as_str(), &mut middle);
        pin("parameter_hash", parameter_hash.as_str(), &mut middle);
        middle.extend_from_slice(format!(",\"seed\":{seed}").as_bytes());
        pin("scenario_id", scenario_id.as_str(), &mut middle);
        pin("run_id", pins.run_id.as_str(), &mut middle);
        pin("platform_run_id", pins.platform_run_id.as_str(), &mut middle);
        pin("scenario_run_id", pins.scenario_run_id.as_str(), &mut middle);
        pin("producer", &pins.producer, &mut middle);
        middle.extend_from_slice(b",\"payload\":");
        let mut tail = Vec::new();
        pin("trace_id", &pins.trace_id, &mut tail);
        if let Some(span_id) = &pins.span_id {
            pin("span_id", span_id, &mut tail);
        }
        tail.push(b'}');
        Self { outputs, middle, tail, preimage: Vec::new(), body_bytes: FIRST_BODY_BYTES }
    }

    /// Frames a chunk. All bodies lie in one buffer, which lives as long as the last of them.
    pub fn frame(&mut self, runs: &[Run]) -> Framed {
        let rows = runs.iter().map(|run| run.to - run.from).sum();
        let mut out = Vec::with_capacity(rows * self.body_bytes);
        let mut events = Vec::with_capacity(rows);
        let mut ends = Vec::with_capacity(rows);
        let refusal = runs.iter().find_map(|run| self.frame_run(run, &mut out, &mut ends, &mut events).err());
        if let Some(mean) = out.len().checked_div(events.len()) {
            // An eighth of room above the mean, so that the next chunk rarely has to grow its buffer.
            self.body_bytes = mean + mean / 8 + 64;
        }
        let bodies = Bytes::from(out);
        let mut from = 0;
        for (event, to) in events.iter_mut().zip(ends) {
            event.body = bodies.slice(from..to);
            from = to;
        }
        Framed { events, refusal }
    }

    /// Appends the run's bodies to `out`, where each ends to `ends`, and events that lack their body.
    fn frame_run(
        &mut self,
        run: &Run,
        out: &mut Vec<u8>,
        ends: &mut Vec<usize>,
        events: &mut Vec<Event>,
    ) -> Result<(), Refusal> {
        let batch = &run.batch;
        let Some(output) = self.outputs.get_mut(usize::from(batch.rank())) else {
            let detail = format!("a row of output {}, of which the run has none", batch.rank());
            return Err(Refusal::new(Reason::InternalError, detail));
        };
        output.bind(batch).map_err(|refusal| output.at(batch.position(run.from), refusal))?;
        for row in run.from..run.to {
            let (position, ts) = (batch.position(row), batch.times()[row]);
            let start = out.len();
            out.extend_from_slice(b"{\"event_id\":\"");
            let id_at = out.len();
            out.resize(id_at + 64, b'0');
            out.extend_from_slice(&output.head);
            out.extend_from_slice(&ts.write());
            out.extend_from_slice(&self.middle);
            match output.payload(row, &mut self.preimage, out) {
                Ok((event_id, order_key)) => {
                    out[id_at..id_at + 64].copy_from_slice(&text::hex(&event_id));
                    out.extend_from_slice(&self.tail);
                    ends.push(out.len());
                    events.push(Event { position, ts, order_key, event_id, body: Bytes::new(), due: None });
                }
                Err(refusal) => {
                    out.truncate(start);
                    return Err(output.at(position, refusal));
                }
            }
        }
        Ok(())
    }
}

/// Appends `,"name":"value"`.
fn pin(name: &str, value: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&text::key(name, false));
    text::string(value, out);
}

impl Output {
    fn new(frame: OutputFrame, world: &WorldKey) -> Self {
        let mut head = b"\"".to_vec();
        head.extend_from_slice(&text::key("event_type", false));
        text::string(frame.output_id.as_str(), &mut head);
        head.extend_from_slice(b",\"schema_version\":\"v1\",\"ts_utc\":\"");
        let keys = Keys::new(&frame, world);
        Self { frame, keys, head, bound: None }
    }

    /// Resolves the types of `batch`, unless it is the one from before.
    fn bind(&mut self, batch: &Arc<RowBatch>) -> Result<(), Refusal> {
        if self.bound.as_ref().is_some_and(|bound| Arc::ptr_eq(&bound.batch, batch)) {
            return Ok(());
        }
        self.bound = None;
        let schema = batch.rows().schema_ref();
        let column = |i: usize| {
            Column::bind(batch.rows().column(i))
                .map_err(|unfit| unfit.refusal(Reason::ColumnNotEncodable, schema.field(i).name()))
        };
        let payload = if let Some(i) = payload_column(schema) {
            Payload::Json(column(i)?)
        } else {
            let keys = self.keys.wanted.iter().map(|name| key_column(schema, name)).collect::<Result<_, _>>()?;
            let names = schema.fields().iter().enumerate();
            let columns = names.map(|(i, field)| Ok((text::key(field.name(), i == 0), column(i)?)));
            Payload::Columns { columns: columns.collect::<Result<_, Refusal>>()?, keys }
        };
        self.bound = Some(Bound { batch: batch.clone(), payload });
        Ok(())
    }

    /// Appends the payload of `row` and gives its event id and the hash of its order key.
    fn payload(&self, row: usize, preimage: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<([u8; 32], u64), Refusal> {
        match self.bound.as_ref().map(|bound| &bound.payload) {
            Some(Payload::Columns { columns, keys }) => {
                out.push(b'{');
                for (i, (key, column)) in columns.iter().enumerate() {
                    out.extend_from_slice(key);
                    column.write(row, out).map_err(|unfit| self.unfit(i, unfit))?;
                }
                out.push(b'}');
                self.keys.of(preimage, |i| columns[keys[i]].1.key(row))
            }
            Some(Payload::Json(column)) => {
                let refused = |detail| Refusal::new(Reason::ValueNotEncodable, detail).field(PAYLOAD_JSON);
                let bytes = column.bytes(row).ok_or_else(|| refused("null".to_owned()))?;
                let mut found: Vec<Option<Found<'_>>> = Vec::new();
                let object = verbatim::object(bytes, &self.keys.wanted, &mut found).map_err(refused)?;
                out.extend_from_slice(object.as_bytes());
                self.keys.of(preimage, |i| found[i].as_ref().map_or(KeyValue::Null, Found::key))
            }
            None => Err(Refusal::new(Reason::InternalError, "a row of a batch that was not resolved")),
        }
    }

    #[cold]
    fn unfit(&self, column: usize, unfit: Unfit) -> Refusal {
        let name = self.bound.as_ref().map_or("", |bound| bound.batch.rows().schema_ref().field(column).name());
        unfit.refusal(Reason::ValueNotEncodable, name)
    }

    #[cold]
    fn at(&self, position: Position, refusal: Refusal) -> Refusal {
        let file = usize::try_from(position.file).ok().and_then(|i| self.frame.files.get(i)).cloned();
        let file = file.unwrap_or_else(|| format!("file {} of {}", position.file, self.frame.output_id));
        refusal.file(file).row(position.row)
    }
}

/// Framing as a stage.
pub trait FrameExt: Stream<Item = Result<Vec<Run>, Refusal>> + Sized {
    /// Frames each chunk. The first row that can't be framed ends the stream with its refusal, behind
    /// the events before it (`PRIMARY_KEY_MISSING`, `VALUE_NOT_ENCODABLE`, `COLUMN_NOT_ENCODABLE`, with file, row and
    /// column); a refusal from above passes and ends it too.
    fn frame(self, framer: Framer) -> Frames<Self> {
        Frames { chunks: self, framer, refusal: None, done: false }
    }
}

impl<S: Stream<Item = Result<Vec<Run>, Refusal>>> FrameExt for S {}

pin_project! {
    /// The stream behind [`FrameExt::frame`].
    #[derive(Debug)]
    pub struct Frames<S> {
        #[pin]
        chunks: S,
        framer: Framer,
        refusal: Option<Refusal>,
        done: bool,
    }
}

impl<S: Stream<Item = Result<Vec<Run>, Refusal>>> Stream for Frames<S> {
    type Item = Result<Vec<Event>, Refusal>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        loop {
            if *this.done {
                return Poll::Ready(this.refusal.take().map(Err));
            }
            match ready!(this.chunks.as_mut().poll_next(cx)) {
                Some(Ok(runs)) => {
                    let Framed { events, refusal } = this.framer.frame(&runs);
                    *this.done = refusal.is_some();
                    *this.refusal = refusal;
                    if !events.is_empty() {
                        return Poll::Ready(Some(Ok(events)));
                    }
                }
                Some(Err(refusal)) => {
                    *this.done = true;
                    return Poll::Ready(Some(Err(refusal)));
                }
                None => *this.done = true,
            }
        }
    }
}

impl<S: Stream<Item = Result<Vec<Run>, Refusal>>> FusedStream for Frames<S> {
    fn is_terminated(&self) -> bool {
        self.done && self.refusal.is_none()
    }
}
