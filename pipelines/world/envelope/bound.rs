//! Prepares a batch for its rows: what all of them share is written and hashed once.
//!
//! ```text
//! columns ──bind──► opening │ lead value lead value … │ closing      a row: three kinds of text, one after the other
//!               └─► the id's preimage up to where rows differ
//! ```
//!
//! The pins of a world are columns of each of its rows (seed, fingerprint, parameters, scenario), so a large part
//! of a payload's bytes, and of the preimage, is the same in a whole batch.

use std::sync::Arc;

use wsp::cells::Column;
use wsp::cells::Unfit;
use wsp::cells::text;
use wsp::cells::verbatim::{self, Found};

use super::event_id::Start;
use super::key::{self, KeyValue};
use super::keys::Keys;
use super::pins::ForeignRow;
use super::refusal;
use super::schema::{PAYLOAD_JSON, key_column, payload_column};
use crate::model::event::MAX_BODY_BYTES;
use crate::model::{Reason, Refusal, RowBatch};

/// A row whose text is longer is not made to its end.
const ROW_BYTES: usize = 16 * MAX_BODY_BYTES;

/// A batch with its types resolved.
#[derive(Debug)]
pub(super) struct Bound {
    batch: Arc<RowBatch>,
    /// From the envelope's first byte to the first value in the payload that is a row's own.
    pub(super) opening: Vec<u8>,
    payload: Payload,
    /// From behind the last of them to the end.
    pub(super) closing: Vec<u8>,
    /// The first row that names another world, as far as columns do.
    pub(super) foreign: Option<ForeignRow>,
}

#[derive(Debug)]
enum Payload {
    /// All columns, which of them each row has to write, which the wanted keys are, and where a preimage starts.
    Columns { columns: Vec<Column>, cells: Vec<Cell>, keys: Vec<usize>, start: Start },
    /// The column of JSON texts.
    Json(Column),
}

/// A column whose rows differ.
#[derive(Debug)]
struct Cell {
    /// What stands between the value before it and its own.
    lead: Vec<u8>,
    column: usize,
}

impl Bound {
    /// Resolves the types of `batch`; `opening` and `closing` are the envelope before and behind a payload.
    ///
    /// # Errors
    ///
    /// `COLUMN_NOT_ENCODABLE` and `PRIMARY_KEY_MISSING`, naming the column.
    pub(super) fn new(batch: &Arc<RowBatch>, keys: &Keys, opening: &[u8], closing: &[u8]) -> Result<Self, Refusal> {
        let schema = batch.rows().schema_ref();
        let column = |i: usize| {
            Column::bind(batch.rows().column(i))
                .map_err(|unfit| refusal(unfit, Reason::ColumnNotEncodable, schema.field(i).name()))
        };
        let batch = batch.clone();
        if let Some(i) = payload_column(schema) {
            let payload = Payload::Json(column(i)?);
            return Ok(Self { opening: opening.to_vec(), payload, closing: closing.to_vec(), foreign: None, batch });
        }
        let wanted: Vec<usize> = keys.wanted.iter().map(|name| key_column(schema, name)).collect::<Result<_, _>>()?;
        let columns: Vec<Column> = (0..schema.fields().len()).map(column).collect::<Result<_, _>>()?;
        let shared: Vec<bool> = columns.iter().map(Column::is_shared).collect();
        let foreign = keys.world.check_columns(schema, &columns, &shared, batch.rows().num_rows());
        let start = keys.start(|i| shared[wanted[i]].then(|| key::of_cell(&columns[wanted[i]], 0)));

        let mut texts: Vec<Vec<u8>> = Vec::new();
        let mut cells: Vec<usize> = Vec::new();
        let mut text = opening.to_vec();
        text.push(b'{');
        for (i, (column, field)) in columns.iter().zip(schema.fields()).enumerate() {
            text.extend_from_slice(&text::key(field.name(), i == 0));
            let before = text.len();
            // What has no JSON form is each row's own, so that the first of them is refused for it.
            if !(shared[i] && column.write(0, &mut text).is_ok()) {
                text.truncate(before);
                texts.push(std::mem::take(&mut text));
                cells.push(i);
            }
        }
        text.push(b'}');
        text.extend_from_slice(closing);
        // The text before the first cell opens the envelope, unless there is no cell at all.
        let mut leads = texts.into_iter();
        let opening = leads.next().unwrap_or_default();
        let leads = std::iter::once(Vec::new()).chain(leads);
        let cells = leads.zip(cells).map(|(lead, column)| Cell { lead, column }).collect();
        let payload = Payload::Columns { columns, cells, keys: wanted, start };
        Ok(Self { batch, opening, payload, closing: text, foreign })
    }

    /// Whether it is of this very batch.
    pub(super) fn is_of(&self, batch: &Arc<RowBatch>) -> bool {
        Arc::ptr_eq(&self.batch, batch)
    }

    /// Appends what is between `opening` and `closing` for `row`, and gives its event id and the hash of its order key.
    pub(super) fn row(
        &self,
        row: usize,
        keys: &Keys,
        preimage: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<([u8; 32], u64), Refusal> {
        match &self.payload {
            Payload::Columns { columns, cells, keys: wanted, start } => {
                let most = out.len() + ROW_BYTES;
                for cell in cells {
                    out.extend_from_slice(&cell.lead);
                    columns[cell.column].write(row, out).map_err(|unfit| self.unfit(cell.column, unfit))?;
                    if out.len() > most {
                        return Err(self.too_large(row, out.len()));
                    }
                }
                keys.of(start, preimage, |i| key::of_cell(&columns[wanted[i]], row))
            }
            Payload::Json(column) => {
                let refused = |detail| Refusal::new(Reason::ValueNotEncodable, detail).field(PAYLOAD_JSON);
                let bytes = column.bytes(row).ok_or_else(|| refused("null".to_owned()))?;
                let mut found: Vec<Option<Found<'_>>> = Vec::new();
                let object = verbatim::object(bytes, &keys.wanted_of_json, &mut found).map_err(refused)?;
                keys.world.check_found(|pin| found[keys.pins_at[pin]].as_ref())?;
                if object.len() > ROW_BYTES {
                    return Err(self.too_large(row, object.len()));
                }
                out.extend_from_slice(object.as_bytes());
                keys.of(keys.plain(), preimage, |i| found[i].as_ref().map_or(KeyValue::Null, key::of_member))
            }
        }
    }

    /// The refusal of a row whose body has `bytes` bytes or more, which IG would answer with 413; the column is the one
    /// with the longest text.
    #[cold]
    pub(super) fn too_large(&self, row: usize, bytes: usize) -> Refusal {
        let schema = self.batch.rows().schema_ref();
        let (column, share) = match &self.payload {
            Payload::Columns { columns, .. } => {
                let length = |column: &Column| {
                    let mut text = Vec::new();
                    let _ = column.write(row, &mut text);
                    text.len()
                };
                let lengths = columns.iter().zip(schema.fields()).map(|(column, field)| (field.name(), length(column)));
                let longest = lengths.max_by_key(|(_, length)| *length);
                longest.map_or(("", 0), |(name, length)| (name.as_str(), length))
            }
            Payload::Json(column) => (PAYLOAD_JSON, column.bytes(row).map_or(0, <[u8]>::len)),
        };
        let or_more = if bytes > ROW_BYTES { " or more" } else { "" };
        let detail = format!(
            "the event's body has {bytes} bytes{or_more}, {share} of them in this column; IG takes {MAX_BODY_BYTES}"
        );
        Refusal::new(Reason::EventTooLarge, detail).field(column)
    }

    #[cold]
    fn unfit(&self, column: usize, unfit: Unfit) -> Refusal {
        refusal(unfit, Reason::ValueNotEncodable, self.batch.rows().schema_ref().field(column).name())
    }
}
