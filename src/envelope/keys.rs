//! Event id and order key of a row, out of the values of its key columns.
//!
//! ```text
//! Keys::wanted ──► the values, from columns or JSON ──► Keys::of ──► event id, order key
//! ```

use super::event_id::EventIds;
use super::frame::OutputFrame;
use super::key::{self, KeyValue};
use crate::model::{Reason, Refusal, WorldKey};

/// What makes the keys of one output's rows.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    /// The key columns: the primary key, then the order key where it is none of them.
    pub(super) wanted: Vec<String>,
    /// How many of them are the primary key.
    parts: usize,
    /// Which of them is the order key.
    order: Option<usize>,
    order_seed: u64,
    ids: EventIds,
}

impl Keys {
    pub(super) fn new(frame: &OutputFrame, world: &WorldKey) -> Self {
        let mut wanted = frame.primary_key.clone();
        let order = frame.order_key.as_ref().map(|name| {
            wanted.iter().position(|known| known == name).unwrap_or_else(|| {
                wanted.push(name.clone());
                wanted.len() - 1
            })
        });
        Self {
            wanted,
            parts: frame.primary_key.len(),
            order,
            order_seed: frame.order_key.as_deref().map_or(0, key::seed),
            ids: EventIds::new(&frame.output_id, world),
        }
    }

    /// Event id and order key of the row whose wanted values `value` gives.
    ///
    /// # Errors
    ///
    /// `PRIMARY_KEY_MISSING`, naming the column.
    pub(super) fn of<'a>(
        &self,
        preimage: &mut Vec<u8>,
        value: impl Fn(usize) -> KeyValue<'a>,
    ) -> Result<([u8; 32], u64), Refusal> {
        self.ids.begin(preimage);
        for (i, name) in self.wanted[..self.parts].iter().enumerate() {
            preimage.push(b'|');
            let value = value(i);
            if !value.write(preimage) {
                let detail =
                    if value == KeyValue::Null { "null or missing" } else { "neither integer, string nor boolean" };
                return Err(Refusal::new(Reason::PrimaryKeyMissing, detail).field(name.clone()));
            }
        }
        let event_id = self.ids.finish(preimage);
        let order_key = self.order.map_or_else(|| key::of_event_id(&event_id), |i| value(i).hash(self.order_seed));
        Ok((event_id, order_key))
    }
}
