//! The six outputs as tables: names, types and order of the columns as in the golden views, all of them nullable.
//!
//! A column is its name and how a row gives its cell; a batch is made column by column from a slice of rows.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use wsp_world::model::{Micros, WorldKey};

use super::rows::{Arrival, FlowEvent};
use super::values::Zone;

/// How a row gives one cell.
pub(super) enum Cell<R> {
    /// The same for all rows.
    Fixed(ArrayRef),
    Int(fn(&R) -> i64),
    Id(fn(&R) -> Option<u64>),
    Float(fn(&R) -> f64),
    Flag(fn(&R) -> bool),
    Text(fn(&R) -> Option<&'static str>),
    /// Canonical UTC text.
    Utc(fn(&R) -> Micros),
    /// The time on a zone's clocks, without `Z`.
    Local(fn(&R) -> Option<(Micros, Zone)>),
}

/// The columns of one output.
pub(super) struct Table<R> {
    schema: SchemaRef,
    cells: Vec<Cell<R>>,
    max_rows: usize,
}

impl<R> Table<R> {
    fn new(max_rows: usize, columns: Vec<(&'static str, Cell<R>)>) -> Self {
        let fields: Vec<Field> = columns.iter().map(|(name, cell)| Field::new(*name, cell.data_type(), true)).collect();
        let cells = columns.into_iter().map(|(_, cell)| cell).collect();
        Self { schema: Arc::new(Schema::new(fields)), cells, max_rows }
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Columns whose values rarely repeat: a dictionary would be built and discarded.
    pub(super) fn unique_columns(&self) -> impl Iterator<Item = &str> {
        let columns = self.schema.fields().iter().zip(&self.cells);
        columns
            .filter(|(_, cell)| matches!(cell, Cell::Utc(_) | Cell::Local(_) | Cell::Float(_) | Cell::Id(_)))
            .map(|(field, _)| field.name().as_str())
    }

    /// The most rows that [`Table::batch`] takes.
    pub(super) fn max_rows(&self) -> usize {
        self.max_rows
    }

    pub(super) fn batch(&self, rows: &[R]) -> Result<RecordBatch, ArrowError> {
        let arrays = self.cells.iter().map(|cell| cell.array(rows)).collect();
        RecordBatch::try_new(self.schema.clone(), arrays)
    }
}

impl<R> Cell<R> {
    fn data_type(&self) -> DataType {
        match self {
            Cell::Fixed(array) => array.data_type().clone(),
            Cell::Int(_) => DataType::Int64,
            Cell::Id(_) => DataType::UInt64,
            Cell::Float(_) => DataType::Float64,
            Cell::Flag(_) => DataType::Boolean,
            Cell::Text(_) | Cell::Utc(_) | Cell::Local(_) => DataType::Utf8,
        }
    }

    fn array(&self, rows: &[R]) -> ArrayRef {
        match self {
            Cell::Fixed(array) => array.slice(0, rows.len()),
            Cell::Int(cell) => Arc::new(Int64Array::from_iter_values(rows.iter().map(cell))),
            Cell::Id(cell) => Arc::new(rows.iter().map(cell).collect::<UInt64Array>()),
            Cell::Float(cell) => Arc::new(Float64Array::from_iter_values(rows.iter().map(cell))),
            Cell::Flag(cell) => Arc::new(rows.iter().map(|row| Some(cell(row))).collect::<BooleanArray>()),
            Cell::Text(cell) => Arc::new(rows.iter().map(cell).collect::<StringArray>()),
            Cell::Utc(cell) => times(rows, |row| Some((cell(row), None))),
            Cell::Local(cell) => times(rows, |row| cell(row).map(|(ts, zone)| (ts, Some(zone)))),
        }
    }
}

fn times<R>(rows: &[R], cell: impl Fn(&R) -> Option<(Micros, Option<Zone>)>) -> ArrayRef {
    let mut texts = StringBuilder::with_capacity(rows.len(), rows.len() * wsp::time::TEXT_LEN);
    for row in rows {
        match cell(row) {
            None => texts.append_null(),
            Some((ts, zone)) => {
                let text = Micros(ts.0 + zone.map_or(0, |zone| zone.minutes * 60_000_000)).write();
                let text = std::str::from_utf8(&text).unwrap_or_default();
                texts.append_value(if zone.is_some() { &text[..text.len() - 1] } else { text });
            }
        }
    }
    Arc::new(texts.finish())
}

/// The columns that hold the world's own identity.
struct Pins {
    fingerprint: ArrayRef,
    parameters: ArrayRef,
    seed: ArrayRef,
    scenario: ArrayRef,
    universe: ArrayRef,
    version: ArrayRef,
    rows: usize,
}

/// Makes the tables of one world.
pub(super) struct Tables(Pins);

impl Tables {
    /// For batches of at most `rows` rows. `seed` is the world's, as the signed number its column has.
    pub(super) fn new(key: &WorldKey, seed: i64, universe: &str, rows: usize) -> Self {
        let text =
            |text: &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, rows))) };
        Self(Pins {
            fingerprint: text(key.manifest_fingerprint.as_str()),
            parameters: text(key.parameter_hash.as_str()),
            seed: Arc::new(Int64Array::from_value(seed, rows)),
            scenario: text(key.scenario_id.as_str()),
            universe: text(universe),
            version: text("1.0.0"),
            rows,
        })
    }

    pub(super) fn arrival_events(&self) -> Table<Arrival> {
        let pins = &self.0;
        Table::new(
            pins.rows,
            vec![
                ("manifest_fingerprint", Cell::Fixed(pins.fingerprint.clone())),
                ("parameter_hash", Cell::Fixed(pins.parameters.clone())),
                ("seed", Cell::Fixed(pins.seed.clone())),
                ("scenario_id", Cell::Fixed(pins.scenario.clone())),
                ("merchant_id", Cell::Id(|row| Some(row.merchant_id))),
                ("zone_representation", Cell::Text(|row| Some(row.zone))),
                ("channel_group", Cell::Text(|row| Some(if row.card_present { "CP" } else { "CNP" }))),
                ("bucket_index", Cell::Int(|row| row.bucket)),
                ("arrival_seq", Cell::Int(|row| row.seq)),
                ("ts_utc", Cell::Utc(|row| row.ts)),
                ("tzid_primary", Cell::Text(|row| Some(row.primary.name))),
                ("ts_local_primary", Cell::Local(|row| Some((row.ts, row.primary)))),
                ("tzid_settlement", Cell::Text(|row| row.settlement.map(|zone| zone.name))),
                ("ts_local_settlement", Cell::Local(|row| row.settlement.map(|zone| (row.ts, zone)))),
                ("tzid_operational", Cell::Text(|row| row.operational.map(|zone| zone.name))),
                ("ts_local_operational", Cell::Local(|row| row.operational.map(|zone| (row.ts, zone)))),
                ("routing_universe_hash", Cell::Fixed(pins.universe.clone())),
                ("is_virtual", Cell::Flag(|row| row.edge_id.is_some())),
                ("s4_spec_version", Cell::Fixed(pins.version.clone())),
                ("site_id", Cell::Id(|row| row.site_id)),
                ("edge_id", Cell::Id(|row| row.edge_id)),
                ("lambda_realised", Cell::Float(|row| row.lambda)),
            ],
        )
    }

    pub(super) fn arrival_entities(&self) -> Table<Arrival> {
        let pins = &self.0;
        Table::new(
            pins.rows,
            vec![
                ("scenario_id", Cell::Fixed(pins.scenario.clone())),
                ("arrival_seq", Cell::Int(|row| row.seq)),
                ("merchant_id", Cell::Id(|row| Some(row.merchant_id))),
                ("ts_utc", Cell::Utc(|row| row.ts)),
                ("party_id", Cell::Int(|row| row.party_id)),
                ("account_id", Cell::Int(|row| row.account_id)),
                ("instrument_id", Cell::Int(|row| row.instrument_id)),
                ("device_id", Cell::Int(|row| row.device_id)),
                ("ip_id", Cell::Int(|row| row.ip_id)),
                ("session_id", Cell::Int(|row| row.session_id)),
                ("seed", Cell::Fixed(pins.seed.clone())),
                ("manifest_fingerprint", Cell::Fixed(pins.fingerprint.clone())),
                ("parameter_hash", Cell::Fixed(pins.parameters.clone())),
            ],
        )
    }

    pub(super) fn flow_anchors(&self, with_fraud: bool) -> Table<Arrival> {
        let pins = &self.0;
        let mut columns = vec![
            ("flow_id", Cell::Int(|row: &Arrival| row.flow_id)),
            ("arrival_seq", Cell::Int(|row| row.seq)),
            ("merchant_id", Cell::Id(|row| Some(row.merchant_id))),
            ("party_id", Cell::Int(|row| row.party_id)),
            ("account_id", Cell::Int(|row| row.account_id)),
            ("instrument_id", Cell::Int(|row| row.instrument_id)),
            ("device_id", Cell::Int(|row| row.device_id)),
            ("ip_id", Cell::Int(|row| row.ip_id)),
            ("ts_utc", Cell::Utc(|row| row.ts)),
            ("amount", Cell::Float(|row| row.amount)),
            ("seed", Cell::Fixed(pins.seed.clone())),
            ("manifest_fingerprint", Cell::Fixed(pins.fingerprint.clone())),
            ("parameter_hash", Cell::Fixed(pins.parameters.clone())),
            ("scenario_id", Cell::Fixed(pins.scenario.clone())),
        ];
        if with_fraud {
            columns.push(("fraud_flag", Cell::Flag(|row| row.fraud)));
            columns.push(("campaign_id", Cell::Text(|row| row.campaign)));
        }
        Table::new(pins.rows, columns)
    }

    pub(super) fn event_stream(&self, with_fraud: bool) -> Table<FlowEvent> {
        let pins = &self.0;
        let mut columns = vec![
            ("flow_id", Cell::Int(|row: &FlowEvent| row.flow_id)),
            ("event_seq", Cell::Int(|row| row.seq)),
            ("event_type", Cell::Text(|row| Some(row.kind))),
            ("ts_utc", Cell::Utc(|row| row.ts)),
            ("amount", Cell::Float(|row| row.amount)),
            ("seed", Cell::Fixed(pins.seed.clone())),
            ("manifest_fingerprint", Cell::Fixed(pins.fingerprint.clone())),
            ("parameter_hash", Cell::Fixed(pins.parameters.clone())),
            ("scenario_id", Cell::Fixed(pins.scenario.clone())),
        ];
        if with_fraud {
            columns.push(("fraud_flag", Cell::Flag(|row| row.fraud)));
            columns.push(("campaign_id", Cell::Text(|row| row.campaign)));
        }
        Table::new(pins.rows, columns)
    }
}
