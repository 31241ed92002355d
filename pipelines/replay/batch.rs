//! `--batch`: several events in one request.
//!
//! ```text
//! events ──lane: hash of the key mod requests in flight──► forming ──full, or old──► Batch ──► push, in order per lane
//! ```
//!
//! A key's events are all of one lane, and a lane has one request in flight at most, so they keep their order also when a
//! batch is tried again. Where the receiver decides about each event, it may take the later of two of a key and not the
//! earlier: a batch holds a key once then.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::HeaderName;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use wsp::byte_budget::ByteBudget;
use wsp::deliver::Item;

use super::answer_path::AnswerPath;
use super::error::Error;
use super::event::Event;
use super::input::Input;
use super::pack::{Packer, Packing};

/// What batches are like.
#[derive(Debug, Clone, PartialEq)]
pub struct Batching {
    /// Events at most.
    pub events: NonZeroUsize,
    /// A batch takes no further event that would make its bodies longer than this; a longer one goes alone.
    pub bytes: usize,
    /// How long an event waits for others.
    pub age: Duration,
    /// What the body of a batch is.
    pub form: BatchForm,
    /// Where an answer has a verdict for each event; `None`: its status is for all.
    pub verdicts: Option<AnswerPath>,
}

/// What the body of a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchForm {
    /// A JSON array of the bodies.
    Array,
    /// A body a line.
    Lines,
}

impl BatchForm {
    /// The value of `Content-Type`.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Array => "application/json",
            Self::Lines => "application/x-ndjson",
        }
    }
}

/// What became of an event of a batch so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Slot {
    /// Nothing is decided.
    Open,
    Accepted,
    Dropped,
    /// The receiver refused it, with this status and answer.
    Refused(u16, String),
}

/// Events that go in one request.
#[derive(Debug)]
pub(super) struct Batch {
    events: Vec<Event>,
    /// By event. A judge sees the batch shared, and nobody else does meanwhile.
    slots: Mutex<Vec<Slot>>,
    /// Places of the events of the request at hand.
    sent: Vec<usize>,
    lane: u64,
    id: [u8; 32],
    head: Bytes,
    body: Bytes,
    maker: Arc<Maker>,
}

impl Batch {
    /// The events of the request at hand, and their places.
    pub(super) fn sent(&self) -> impl ExactSizeIterator<Item = (usize, &Event)> {
        self.sent.iter().map(|place| (*place, &self.events[*place]))
    }

    pub(super) fn slots(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides the same for all events of the request at hand.
    pub(super) fn decide(&self, slot: &Slot) {
        let mut slots = self.slots();
        for place in &self.sent {
            slots[*place] = slot.clone();
        }
    }

    /// All events with what became of them.
    pub(super) fn decided(&self) -> Vec<(&Event, Slot)> {
        self.events.iter().zip(self.slots().iter().cloned()).collect()
    }

    /// The first event that is not decided.
    pub(super) fn first_open(&self) -> &Event {
        let at = self.slots().iter().position(|slot| *slot == Slot::Open);
        &self.events[at.unwrap_or_default()]
    }

    /// Leaves decided events out of the request. What is left is a batch with an id of its own.
    pub(super) fn narrow(&mut self) {
        let slots = self.slots();
        let open: Vec<usize> = self.sent.iter().copied().filter(|place| slots[*place] == Slot::Open).collect();
        drop(slots);
        if open.len() == self.sent.len() || open.is_empty() {
            return;
        }
        let events: Vec<&Event> = open.iter().map(|place| &self.events[*place]).collect();
        let text = self.maker.text(events.iter().map(|event| &event.body[..]));
        (self.id, self.head) = self.maker.head(events.iter().map(|event| &event.id));
        // Packing failed at no event of it when the batch was made.
        if let Ok(body) = self.maker.packed(text, None) {
            (self.body, self.sent) = (body, open);
        }
    }
}

impl Item for Batch {
    fn id(&self) -> &[u8; 32] {
        &self.id
    }

    fn line(&self) -> u64 {
        self.lane
    }

    fn source(&self) -> u16 {
        self.events.first().map_or(0, |event| event.position.input)
    }

    fn due(&self) -> Option<Duration> {
        self.events.first().and_then(|event| event.due)
    }

    fn head(&self) -> &[u8] {
        &self.head
    }

    fn body(&self) -> &Bytes {
        &self.body
    }

    // Its memory is its own already.
    fn set_body(&mut self, _: Bytes) {}
}

/// Makes requests of events.
#[derive(Debug)]
pub(super) struct Maker {
    pub(super) form: BatchForm,
    pub(super) id_header: HeaderName,
    pub(super) packing: Option<Packing>,
    /// What bodies in memory are counted in.
    pub(super) bodies: ByteBudget,
    pub(super) inputs: Arc<Vec<Arc<Input>>>,
    /// Bodies may be anything: they are columns, or of dead letters.
    pub(super) checks: bool,
}

impl Maker {
    /// Whether an event can be part of a batch.
    pub(super) fn check(&self, event: &Event) -> Result<(), Error> {
        if !self.checks {
            return Ok(());
        }
        let what = match self.form {
            _ if event.request_line().is_some() || event.head().split(|byte| *byte == b'\n').count() > 2 => {
                "it has a URL or headers of its own, which a batch has not; send it without --batch"
            }
            BatchForm::Array if serde_json::from_slice::<&RawValue>(&event.body).is_err() => {
                "its body is no JSON, so it can't be in an array"
            }
            BatchForm::Lines if event.body.contains(&b'\n') => "its body has a line break, so it can't be a line",
            _ => return Ok(()),
        };
        Err(event.position.refused(&self.inputs, None, format!("--batch: {what}")))
    }

    fn text<'a>(&self, bodies: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
        let mut text = Vec::new();
        match self.form {
            BatchForm::Array => {
                for body in bodies {
                    text.push(if text.is_empty() { b'[' } else { b',' });
                    text.extend_from_slice(body);
                }
                text.push(b']');
            }
            BatchForm::Lines => {
                for body in bodies {
                    text.extend_from_slice(body);
                    text.push(b'\n');
                }
            }
        }
        text
    }

    /// The id of a batch of events with these ids, and its header line.
    fn head<'a>(&self, ids: impl Iterator<Item = &'a [u8; 32]>) -> ([u8; 32], Bytes) {
        let id: [u8; 32] = ids.fold(Sha256::new(), Digest::chain_update).finalize().into();
        (id, format!("{}: {}\r\n", self.id_header.as_str(), const_hex::encode(id)).into())
    }

    fn packed(&self, text: Vec<u8>, packer: Option<&mut Packer>) -> std::io::Result<Bytes> {
        let text = match (self.packing, packer) {
            (None, _) => text,
            (Some(_), Some(packer)) => packer.packed(&text)?,
            (Some(packing), None) => Packer::new(packing)?.packed(&text)?,
        };
        Ok(self.bodies.hold(text))
    }

    /// The batch of these events.
    pub(super) fn batch(
        self: &Arc<Self>,
        mut events: Vec<Event>,
        lane: u64,
        packer: Option<&mut Packer>,
    ) -> Result<Batch, Error> {
        let (id, head) = self.head(events.iter().map(|event| &event.id));
        let mut text = self.text(events.iter().map(|event| &event.body[..]));
        let unpacked = text.len();
        // Bodies and heads move into the memory of the batch, so that it holds on to nobody else's.
        for event in &events {
            text.extend_from_slice(&event.head);
        }
        let own = self.bodies.hold(text);
        let (mut from, mut head_from) = (usize::from(self.form == BatchForm::Array), unpacked);
        for event in &mut events {
            let (length, head_length) = (event.body.len(), event.head.len());
            event.body = own.slice(from..from + length);
            event.head = own.slice(head_from..head_from + head_length);
            // One byte stands between two bodies, in either form.
            from += length + 1;
            head_from += head_length;
        }
        let text = own.slice(..unpacked);
        let body = if self.packing.is_none() {
            text
        } else {
            let body = self.packed(text.to_vec(), packer);
            body.map_err(|error| Error::Internal(format!("a batch can't be packed: {error}")))?
        };
        let (slots, sent) = (Mutex::new(vec![Slot::Open; events.len()]), (0..events.len()).collect());
        Ok(Batch { events, slots, sent, lane, id, head, body, maker: self.clone() })
    }
}

/// A batch in the making.
#[derive(Debug, Default)]
pub(super) struct Forming {
    events: Vec<Event>,
    bytes: usize,
    /// Keys in it, where a key may be in it once.
    keys: HashSet<u64>,
    /// How many batches its lane has had.
    number: u64,
}

/// What is done with an event by its lane.
impl Forming {
    /// Whether an event has to wait for the next batch.
    pub(super) fn is_full_for(&self, event: &Event, batching: &Batching) -> bool {
        let too_long = !self.events.is_empty() && self.bytes + event.body.len() > batching.bytes;
        too_long || self.keys.contains(&event.line)
    }

    /// Adds an event; says whether no other has room.
    pub(super) fn add(&mut self, event: Event, batching: &Batching, once: bool) -> bool {
        if once {
            self.keys.insert(event.line);
        }
        self.bytes += event.body.len() + 1;
        self.events.push(event);
        self.events.len() >= batching.events.get() || self.bytes >= batching.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The events; the next batch begins.
    pub(super) fn take(&mut self) -> Vec<Event> {
        (self.bytes, self.number) = (0, self.number + 1);
        self.keys.clear();
        std::mem::take(&mut self.events)
    }
}
