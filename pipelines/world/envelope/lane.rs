//! Computes from the key columns alone what rows' event ids are, and which rows belong to a lane.
//!
//! ```text
//! rows with the key columns (or payload_json) ──► RowKeys ─► event id, order key ──► Lane::owns ──► keep or not
//! ```

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use wsp::cells::Column;
use wsp::cells::verbatim::{self, Found};

use super::key::{self, KeyValue};
use super::keys::Keys;
use super::output::OutputFrame;
use super::refusal;
use super::schema::{PAYLOAD_JSON, key_column, payload_column};
use crate::model::{Lane, Reason, Refusal, WorldKey};

/// Makes the keys of one output's rows.
#[derive(Debug, Clone)]
pub struct RowKeys {
    keys: Keys,
    /// Rows carry their keys inside a JSON text.
    json: bool,
}

impl RowKeys {
    /// For the rows that `frame` is of; `schema` has the view's columns.
    #[must_use]
    pub fn new(frame: &OutputFrame, world: &WorldKey, schema: &Schema) -> Self {
        Self { keys: Keys::new(frame, world), json: payload_column(schema).is_some() }
    }

    /// The columns that it needs; it looks at no other.
    #[must_use]
    pub fn columns(&self) -> Vec<String> {
        if self.json { vec![PAYLOAD_JSON.to_owned()] } else { self.keys.wanted.clone() }
    }

    /// Hands event id and order key of each of `rows` to `take`, up to the first row that has none.
    ///
    /// # Errors
    ///
    /// What the row behind the last one taken is refused for: as [`Framer`](super::Framer) refuses it,
    /// without file and row.
    pub fn each(&self, rows: &RecordBatch, mut take: impl FnMut([u8; 32], u64)) -> Result<(), Refusal> {
        let schema = rows.schema_ref();
        let bind = |i: usize| {
            Column::bind(rows.column(i))
                .map_err(|unfit| refusal(unfit, Reason::ColumnNotEncodable, schema.field(i).name()))
        };
        let mut preimage = Vec::new();
        if self.json {
            let missing = || Refusal::new(Reason::ColumnNotEncodable, "no such column").field(PAYLOAD_JSON);
            let column = bind(payload_column(schema).ok_or_else(missing)?)?;
            let refused = |detail| Refusal::new(Reason::ValueNotEncodable, detail).field(PAYLOAD_JSON);
            for row in 0..rows.num_rows() {
                let bytes = column.bytes(row).ok_or_else(|| refused("null".to_owned()))?;
                let mut found: Vec<Option<Found<'_>>> = Vec::new();
                verbatim::object(bytes, &self.keys.wanted, &mut found).map_err(refused)?;
                let value = |i: usize| found[i].as_ref().map_or(KeyValue::Null, key::of_member);
                let (event_id, order_key) = self.keys.of(self.keys.plain(), &mut preimage, value)?;
                take(event_id, order_key);
            }
        } else {
            let columns = self.keys.wanted.iter().map(|name| bind(key_column(schema, name)?));
            let columns = columns.collect::<Result<Vec<_>, Refusal>>()?;
            for row in 0..rows.num_rows() {
                let (event_id, order_key) =
                    self.keys.of(self.keys.plain(), &mut preimage, |i| key::of_cell(&columns[i], row))?;
                take(event_id, order_key);
            }
        }
        Ok(())
    }
}

/// Tells the rows of one lane of one output.
#[derive(Debug, Clone)]
pub struct LaneFilter {
    keys: RowKeys,
    lane: Lane,
}

impl LaneFilter {
    /// For the rows that `frame` is of; `schema` has the view's columns.
    #[must_use]
    pub fn new(frame: &OutputFrame, world: &WorldKey, lane: Lane, schema: &Schema) -> Self {
        Self { keys: RowKeys::new(frame, world, schema), lane }
    }

    /// The columns that [`LaneFilter::keep`] needs; it looks at no other.
    #[must_use]
    pub fn columns(&self) -> Vec<String> {
        self.keys.columns()
    }

    /// Appends to `keep` whether each of `rows` is in the lane, up to the first that can't be told.
    ///
    /// # Errors
    ///
    /// What the row behind the last appended one is refused for, whichever lane it would be in: as
    /// [`Framer`](super::Framer) refuses it, without file and row.
    pub fn keep(&self, rows: &RecordBatch, keep: &mut Vec<bool>) -> Result<(), Refusal> {
        self.keys.each(rows, |event_id, order_key| keep.push(self.lane.owns(&event_id, order_key)))
    }
}
