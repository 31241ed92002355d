//! What the gate has admitted, in order: its memory for dedupe and the journal that audits read.
//!
//! ```text
//! Envelope ──► Ledger::judge ──► Verdict (ADMIT, DUPLICATE of n, QUARANTINE)
//!                  └── admissions 0, 1, 2, … (40 bytes each) ◄── audit, tests
//! ```
//!
//! An event is 40 bytes and 16 to 32 of index: ten million take two thirds of a gigabyte.

use wsp_world::model::Micros;

use super::class::EventClass;
use super::envelope::{Envelope, Flaw};

/// Entries live in blocks, so that growing never copies them all at once.
const BLOCK: usize = 1 << 16;
const EMPTY: Slot = Slot { seq: u32::MAX, tag: 0 };

/// An event that was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// Its place in the order of admission, from 0.
    pub seq: u32,
    /// Its class.
    pub class: EventClass,
    /// Event time.
    pub ts: Micros,
    /// Value of its class's order column, as 64 bits.
    pub order_value: u64,
    /// Which platform run, an index into [`Ledger::runs`].
    pub run: u16,
    /// How often it came again with the same payload (65,535 stands for more).
    pub duplicates: u16,
}

/// The decision about one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// New.
    Admit {
        /// Its place in the order of admission.
        seq: u32,
    },
    /// Known, with the same payload.
    Duplicate {
        /// The admission it repeats.
        seq: u32,
    },
    /// Not admitted.
    Quarantine {
        /// Why.
        flaw: Flaw,
    },
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Both halves of the id folded together: 128 bits of a sha256 are enough to know it by.
    id: [u64; 2],
    ts: i64,
    order_value: u64,
    /// Half of the payload's hash: enough, as it is only compared between payloads of one id.
    payload: u32,
    run: u8,
    class: u8,
    duplicates: u16,
}

/// A slot of the index. Its tag, from which the slot follows, excludes nearly all other events without a read of their
/// entries, which lie anywhere in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    seq: u32,
    tag: u32,
}

/// Admissions in order, found by (platform run, class, event id).
#[derive(Debug, Default)]
pub struct Ledger {
    blocks: Vec<Vec<Entry>>,
    len: u32,
    /// Open addressing over `blocks`, at most half full.
    index: Vec<Slot>,
    runs: Vec<String>,
    topics: [u64; EventClass::ALL.len()],
}

impl Ledger {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self { index: vec![EMPTY; 1 << 12], ..Self::default() }
    }

    /// How many events were admitted.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether no event was admitted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The platform runs seen, by index.
    #[must_use]
    pub fn runs(&self) -> &[String] {
        &self.runs
    }

    /// How many events of a class were admitted.
    #[must_use]
    pub fn admitted(&self, class: EventClass) -> u64 {
        self.topics[usize::from(class.index())]
    }

    /// All admissions, in order.
    pub fn admissions(&self) -> impl Iterator<Item = Admission> + '_ {
        (0..self.len).map(|seq| self.admission(seq))
    }

    /// The admission of an event in a run, whatever its class.
    #[must_use]
    pub fn find(&self, platform_run_id: &str, event_id: &[u8; 32]) -> Option<Admission> {
        let run = self.runs.iter().position(|known| known == platform_run_id)? as u8;
        EventClass::ALL
            .into_iter()
            .find_map(|class| self.probe(run, class.index(), fold_id(event_id)).ok().map(|seq| self.admission(seq)))
    }

    /// The admission of an event of a known class.
    #[must_use]
    pub fn find_in(&self, platform_run_id: &str, class: EventClass, event_id: &[u8; 32]) -> Option<Admission> {
        let run = self.runs.iter().position(|known| known == platform_run_id)? as u8;
        self.probe(run, class.index(), fold_id(event_id)).ok().map(|seq| self.admission(seq))
    }

    /// The first admission of an event in any run.
    #[must_use]
    pub fn find_anywhere(&self, event_id: &[u8; 32]) -> Option<Admission> {
        self.runs.iter().filter_map(|run| self.find(run, event_id)).min_by_key(|admission| admission.seq)
    }

    /// Decides on an event and records it: an admission once, a duplicate by its count.
    ///
    /// A 256th platform run is quarantined as an invalid envelope; no test or demo has that many.
    pub fn judge(&mut self, class: EventClass, envelope: &Envelope<'_>) -> Verdict {
        if let Some(flaw) = envelope.flaw {
            return Verdict::Quarantine { flaw };
        }
        let Some(run) = self.run(&envelope.platform_run_id) else {
            return Verdict::Quarantine { flaw: Flaw::EnvelopeInvalid };
        };
        let id = fold_id(&envelope.event_id);
        match self.probe(run, class.index(), id) {
            Ok(seq) => {
                let entry = &mut self.blocks[seq as usize / BLOCK][seq as usize % BLOCK];
                if entry.payload != envelope.payload_hash as u32 {
                    return Verdict::Quarantine { flaw: Flaw::PayloadHashMismatch };
                }
                entry.duplicates = entry.duplicates.saturating_add(1);
                Verdict::Duplicate { seq }
            }
            Err(place) => {
                let seq = self.len;
                self.index[place] = Slot { seq, tag: tag(run, class.index(), id) };
                self.push(Entry {
                    id,
                    ts: Micros::parse(envelope.ts_utc.as_bytes()).unwrap_or_default().0,
                    order_value: envelope.order_value(class.order_column()),
                    payload: envelope.payload_hash as u32,
                    run,
                    class: class.index(),
                    duplicates: 0,
                });
                self.topics[usize::from(class.index())] += 1;
                Verdict::Admit { seq }
            }
        }
    }

    fn admission(&self, seq: u32) -> Admission {
        let entry = self.entry(seq);
        Admission {
            seq,
            class: EventClass::ALL[usize::from(entry.class)],
            ts: Micros(entry.ts),
            order_value: entry.order_value,
            run: u16::from(entry.run),
            duplicates: entry.duplicates,
        }
    }

    fn entry(&self, seq: u32) -> &Entry {
        &self.blocks[seq as usize / BLOCK][seq as usize % BLOCK]
    }

    fn run(&mut self, platform_run_id: &str) -> Option<u8> {
        let known = self.runs.iter().position(|known| known == platform_run_id);
        let index = known.unwrap_or_else(|| {
            self.runs.push(platform_run_id.to_owned());
            self.runs.len() - 1
        });
        u8::try_from(index).ok()
    }

    fn push(&mut self, entry: Entry) {
        match self.blocks.last_mut() {
            Some(block) if block.len() < BLOCK => block.push(entry),
            _ => {
                let mut block = Vec::with_capacity(BLOCK);
                block.push(entry);
                self.blocks.push(block);
            }
        }
        self.len += 1;
        if self.len as usize * 2 > self.index.len() {
            self.grow();
        }
    }

    fn grow(&mut self) {
        let grown = vec![EMPTY; self.index.len() * 2];
        for known in std::mem::replace(&mut self.index, grown).into_iter().filter(|slot| *slot != EMPTY) {
            let mut place = self.home(known.tag);
            while self.index[place] != EMPTY {
                place = self.after(place);
            }
            self.index[place] = known;
        }
    }

    fn home(&self, tag: u32) -> usize {
        tag as usize & (self.index.len() - 1)
    }

    fn after(&self, place: usize) -> usize {
        (place + 1) & (self.index.len() - 1)
    }

    /// The event's slot, or the free slot where it belongs.
    fn probe(&self, run: u8, class: u8, id: [u64; 2]) -> Result<u32, usize> {
        let tag = tag(run, class, id);
        let mut place = self.home(tag);
        loop {
            match self.index[place] {
                EMPTY => return Err(place),
                slot if slot.tag == tag => {
                    let entry = self.entry(slot.seq);
                    if entry.id == id && entry.run == run && entry.class == class {
                        return Ok(slot.seq);
                    }
                }
                _ => {}
            }
            place = self.after(place);
        }
    }
}

fn tag(run: u8, class: u8, id: [u64; 2]) -> u32 {
    let mixed = (id[0] ^ u64::from(run) << 8 ^ u64::from(class)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as u32
}

/// The id folded to 128 bits; each of its bits counts.
fn fold_id(id: &[u8; 32]) -> [u64; 2] {
    let word = |at: usize| id[at..at + 8].iter().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
    [word(0) ^ word(24).rotate_left(17), word(8) ^ word(16).rotate_left(17) ^ word(24)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::borrow::Cow;
    use std::collections::HashMap;

    fn envelope(id: u64, run: &str, payload_hash: u64) -> Envelope<'_> {
        let mut event_id = [0; 32];
        event_id[..8].copy_from_slice(&id.to_be_bytes());
        Envelope {
            event_id,
            event_type: Cow::Borrowed("s3_event_stream_with_fraud_6B"),
            ts_utc: Cow::Borrowed("2026-01-01T00:00:00.000001Z"),
            platform_run_id: Cow::Borrowed(run),
            payload_hash,
            flow_id: Some(id),
            merchant_id: None,
            flaw: None,
        }
    }

    #[test]
    fn many_events_are_found_again() {
        let mut ledger = Ledger::new();
        for n in 0..200_000 {
            assert_eq!(ledger.judge(EventClass::TrafficFraud, &envelope(n, "a", n)), Verdict::Admit { seq: n as u32 });
        }
        for n in (0..200_000).step_by(7) {
            let seq = n as u32;
            assert_eq!(ledger.judge(EventClass::TrafficFraud, &envelope(n, "a", n)), Verdict::Duplicate { seq });
        }
        assert_eq!(ledger.len(), 200_000);
        assert_eq!(ledger.admissions().map(|a| u64::from(a.duplicates)).sum::<u64>(), 28_572);
    }

    proptest! {
        /// Against the plain rule: a map from (run, class, id) to the payload first seen.
        #[test]
        fn it_decides_as_a_map_would(
            events in prop::collection::vec((0_u64..20, 0_usize..3, 0_usize..7, 0_u64..3), 0..300)
        ) {
            let mut ledger = Ledger::new();
            let mut plain: HashMap<(u64, usize, usize), (u32, u64)> = HashMap::new();
            for (id, run, class, payload) in events {
                let verdict = ledger.judge(EventClass::ALL[class], &envelope(id, ["a", "b", "c"][run], payload));
                let next = plain.len() as u32;
                let expected = match plain.entry((id, run, class)) {
                    std::collections::hash_map::Entry::Vacant(entry) => {
                        entry.insert((next, payload));
                        Verdict::Admit { seq: next }
                    }
                    std::collections::hash_map::Entry::Occupied(entry) if entry.get().1 == payload => {
                        Verdict::Duplicate { seq: entry.get().0 }
                    }
                    std::collections::hash_map::Entry::Occupied(_) => {
                        Verdict::Quarantine { flaw: Flaw::PayloadHashMismatch }
                    }
                };
                prop_assert_eq!(verdict, expected);
            }
            prop_assert_eq!(ledger.len() as usize, plain.len());
        }
    }
}
