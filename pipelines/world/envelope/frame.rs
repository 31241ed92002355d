//! The frame stage: turns rows in canonical order into events with their request bodies.
//!
//! ```text
//! Vec<RowSlice> ──► key columns ─► event_id, order key ─┐
//!         └──► columns or payload_json ─► payload ─┴─► opening · payload · closing, with id and time ──► Vec<Event>
//! ```

use std::sync::Arc;

use bytes::Bytes;
use wsp::byte_budget::ByteBudget;
use wsp::cells::text;
use wsp::frame::{Buffers, CHUNK_BYTES, Frame, Framed};
use wsp::minute::TimeWriter;
use wsp::time::TEXT_LEN;

use super::bound::Bound;
use super::keys::Keys;
use super::output::OutputFrame;
use crate::model::event::MAX_BODY_BYTES;
use crate::model::{Event, Hex32, Names, PlatformRunId, Reason, Refusal, RowBatch, RowSlice, WorldKey};

/// Expected length of a body before the first chunk has shown it, in bytes.
const FIRST_BODY_BYTES: usize = 1_536;
/// What a body begins with; 64 hex digits follow.
const ID_LEAD: &[u8] = b"{\"event_id\":\"";
const ID_LEN: usize = 64;

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

/// Frames rows. One serves a run, in one place: it keeps the last batch of each output resolved.
#[derive(Debug)]
pub struct Framer {
    outputs: Vec<Output>,
    names: Names,
    times: TimeWriter,
    preimage: Vec<u8>,
    buffers: Buffers,
    budget: ByteBudget,
}

#[derive(Debug)]
struct Output {
    keys: Keys,
    /// The envelope up to the payload, with room for id and time.
    opening: Vec<u8>,
    /// Where the time's room is.
    time_at: usize,
    /// From behind the payload to the end.
    closing: Vec<u8>,
    bound: Option<Bound>,
}

impl Framer {
    /// For a run with these outputs, in rank order.
    #[must_use]
    pub fn new(pins: &RunPins, outputs: Vec<OutputFrame>) -> Self {
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
        let mut closing = Vec::new();
        pin("trace_id", &pins.trace_id, &mut closing);
        if let Some(span_id) = &pins.span_id {
            pin("span_id", span_id, &mut closing);
        }
        closing.push(b'}');
        let frames = outputs.iter().map(|frame| Output::new(frame, &pins.world, &middle, &closing)).collect();
        let names = Names::new(outputs.into_iter().map(|frame| (frame.output_id, frame.files)));
        let (times, budget) = (TimeWriter::default(), ByteBudget::unlimited());
        Self {
            outputs: frames,
            names,
            times,
            preimage: Vec::new(),
            buffers: Buffers::expecting(FIRST_BODY_BYTES),
            budget,
        }
    }

    /// Counts all bodies in `budget`; [`wsp::frame::FrameExt::frame`] waits for its room.
    #[must_use]
    pub fn within(self, budget: ByteBudget) -> Self {
        Self { budget, ..self }
    }

    /// Appends the slice's bodies to `out` until that is full, where each ends to `ends`, and events that lack their body.
    fn frame_slice(
        &mut self,
        slice: &RowSlice,
        out: &mut Vec<u8>,
        ends: &mut Vec<usize>,
        events: &mut Vec<Event>,
    ) -> Result<(), Refusal> {
        let Self { outputs, names, times, preimage, .. } = self;
        let batch = &slice.batch;
        let Some(output) = outputs.get_mut(usize::from(batch.rank())) else {
            let detail = format!("a row of output {}, of which the run has none", batch.rank());
            return Err(Refusal::new(Reason::InternalError, detail));
        };
        output.bind(batch).map_err(|refusal| names.at(batch.position(slice.from), refusal))?;
        let Some(bound) = &output.bound else {
            return Err(Refusal::new(Reason::InternalError, "a row of a batch that was not resolved"));
        };
        // Found when the batch was resolved, so that rows before it cost nothing.
        let foreign = bound.foreign.as_ref().filter(|foreign| foreign.row < slice.to);
        for row in slice.from..foreign.map_or(slice.to, |foreign| foreign.row) {
            let (position, ts) = (batch.position(row), batch.times()[row]);
            let start = out.len();
            if start >= CHUNK_BYTES {
                return Ok(());
            }
            out.extend_from_slice(&bound.opening);
            match bound.row(row, &output.keys, preimage, out) {
                Ok((event_id, order_key)) => {
                    out.extend_from_slice(&bound.closing);
                    if out.len() - start > MAX_BODY_BYTES {
                        let refusal = bound.too_large(row, out.len() - start);
                        out.truncate(start);
                        return Err(names.at(position, refusal));
                    }
                    let body = &mut out[start..];
                    // Thirty-two bytes into sixty-four places.
                    let _ = const_hex::encode_to_slice(event_id, &mut body[ID_LEAD.len()..][..ID_LEN]);
                    body[output.time_at..][..TEXT_LEN].copy_from_slice(times.write(ts));
                    ends.push(out.len());
                    events.push(Event { position, ts, order_key, event_id, body: Bytes::new(), due: None });
                }
                Err(refusal) => {
                    out.truncate(start);
                    return Err(names.at(position, refusal));
                }
            }
        }
        match foreign {
            Some(foreign) => Err(names.at(batch.position(foreign.row), foreign.refusal.clone())),
            None => Ok(()),
        }
    }
}

/// A refusal names file, row and column: `PRIMARY_KEY_MISSING`, `VALUE_NOT_ENCODABLE`, `COLUMN_NOT_ENCODABLE`,
/// `WORLD_KEY_MISMATCH`, `EVENT_TOO_LARGE`.
impl Frame for Framer {
    type Batch = RowBatch;
    type Event = Event;
    type Error = Refusal;

    fn budget(&self) -> &ByteBudget {
        &self.budget
    }

    fn frame(&mut self, slices: &[RowSlice]) -> Framed<Event, Refusal> {
        let rows: usize = slices.iter().map(|slice| slice.to - slice.from).sum();
        let mut out = self.buffers.empty(rows);
        let mut events = Vec::with_capacity(rows);
        let mut ends = Vec::with_capacity(rows);
        let mut fault = None;
        for slice in slices {
            fault = self.frame_slice(slice, &mut out, &mut ends, &mut events).err();
            if fault.is_some() || out.len() >= CHUNK_BYTES {
                break;
            }
        }
        let bodies = self.buffers.hold(out, events.len(), &self.budget);
        let mut from = 0;
        for (event, to) in events.iter_mut().zip(ends) {
            event.body = bodies.slice(from..to);
            from = to;
        }
        Framed { rows: events.len(), events, fault, over: false }
    }
}

/// Appends `,"name":"value"`.
fn pin(name: &str, value: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&text::key(name, false));
    text::string(value, out);
}

impl Output {
    /// `middle` is the envelope from behind its time to the payload.
    fn new(frame: &OutputFrame, world: &WorldKey, middle: &[u8], closing: &[u8]) -> Self {
        let mut opening = ID_LEAD.to_vec();
        opening.extend_from_slice(&[b'0'; ID_LEN]);
        opening.push(b'"');
        pin("event_type", frame.output_id.as_str(), &mut opening);
        opening.extend_from_slice(b",\"schema_version\":\"v1\",\"ts_utc\":\"");
        let time_at = opening.len();
        opening.extend_from_slice(&[b'0'; TEXT_LEN]);
        opening.extend_from_slice(middle);
        let keys = Keys::new(frame, world);
        Self { keys, opening, time_at, closing: closing.to_vec(), bound: None }
    }

    /// Resolves `batch`, unless it is the one from before.
    fn bind(&mut self, batch: &Arc<RowBatch>) -> Result<(), Refusal> {
        if !self.bound.as_ref().is_some_and(|bound| bound.is_of(batch)) {
            self.bound = None;
            self.bound = Some(Bound::new(batch, &self.keys, &self.opening, &self.closing)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
