//! Makes event id and order key of a row from the values of its key columns.
//!
//! ```text
//! Keys::wanted ──► the values, from columns or JSON ──► Keys::of ──► event id, order key
//!                  what rows share ──► Keys::start ──┘
//! ```

use super::event_id::{EventIds, Start};
use super::key::{self, KeyValue};
use super::output::OutputFrame;
use super::pins::WorldPins;
use crate::model::{PIN_NAMES, Reason, Refusal, WorldKey};

/// What makes the keys of one output's rows.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    /// The key columns: the primary key, then the order key where it is none of them.
    pub(super) wanted: Vec<String>,
    /// How many of them are the primary key.
    parts: usize,
    /// The same and the pins, which a JSON payload is looked through for.
    pub(super) wanted_of_json: Vec<String>,
    /// Where the pins stand among these, in the order of [`PIN_NAMES`].
    pub(super) pins_at: [usize; 4],
    /// What rows have to say about their world.
    pub(super) world: WorldPins,
    /// Which of them is the order key.
    order: Option<usize>,
    order_seed: u64,
    ids: EventIds,
}

impl Keys {
    pub(super) fn new(frame: &OutputFrame, world: &WorldKey) -> Self {
        let mut wanted = frame.primary_key.clone();
        let order = frame.order_key.as_deref().map(|name| place_of(name, &mut wanted));
        let mut wanted_of_json = wanted.clone();
        let pins_at = PIN_NAMES.map(|pin| place_of(pin, &mut wanted_of_json));
        Self {
            wanted,
            wanted_of_json,
            pins_at,
            world: WorldPins::new(world),
            parts: frame.primary_key.len(),
            order,
            order_seed: frame.order_key.as_deref().map_or(0, key::seed),
            ids: EventIds::new(&frame.output_id, world),
        }
    }

    /// How a preimage starts where nothing is known of the rows.
    pub(super) fn plain(&self) -> &Start {
        self.ids.plain()
    }

    /// How the preimages of rows start that share those of their wanted values that `shared` gives.
    pub(super) fn start<'a>(&self, shared: impl Fn(usize) -> Option<KeyValue<'a>>) -> Start {
        let (mut text, mut parts) = (Vec::new(), 0);
        for i in 0..self.parts {
            let before = text.len();
            text.push(b'|');
            // What can't be part of a key is left to each row, which is refused for it.
            if !shared(i).is_some_and(|value| value.write(&mut text)) {
                text.truncate(before);
                break;
            }
            parts = i + 1;
        }
        self.ids.start(&text, parts)
    }

    /// Event id and order key of the row whose wanted values `value` gives, and whose preimage starts with `start`.
    ///
    /// # Errors
    ///
    /// `PRIMARY_KEY_MISSING`, naming the column.
    pub(super) fn of<'a>(
        &self,
        start: &Start,
        preimage: &mut Vec<u8>,
        value: impl Fn(usize) -> KeyValue<'a>,
    ) -> Result<([u8; 32], u64), Refusal> {
        start.begin(preimage);
        for i in start.parts..self.parts {
            preimage.push(b'|');
            let value = value(i);
            if !value.write(preimage) {
                return Err(self.missing(i, value));
            }
        }
        let event_id = self.ids.finish(start, preimage);
        let order_key = self.order.map_or_else(|| key::of_event_id(&event_id), |i| value(i).hash(self.order_seed));
        Ok((event_id, order_key))
    }

    #[cold]
    fn missing(&self, part: usize, value: KeyValue<'_>) -> Refusal {
        let detail = if value == KeyValue::Null { "null or missing" } else { "neither integer, string nor boolean" };
        Refusal::new(Reason::PrimaryKeyMissing, detail).field(self.wanted[part].clone())
    }
}

/// Where `name` stands among `names`, to which it is added if need be.
fn place_of(name: &str, names: &mut Vec<String>) -> usize {
    names.iter().position(|known| known == name).unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    })
}
