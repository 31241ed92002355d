//! What the footers of a view say about the world its rows belong to: the statistics of the columns that name it.
//!
//! ```text
//! footer ──statistics of the pin columns──► Claim { column, rows, bounds } ──► View::open_parts
//!                                          another world: refused · this world: settled · neither: open
//! ```
//!
//! A footer proves a foreign row before any row is read. It never proves that a row is read unchecked: framing compares
//! every row, whatever the statistics say.

use std::cmp::Ordering;
use std::ops::Range;

use parquet::basic::{ConvertedType, LogicalType};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnDescriptor;
use wsp::strict;

use super::view_files::{View, ViewPart};
use crate::model::{PIN_NAMES, Pin, Reason, Refusal, WorldKey};

/// How many characters of a foreign value a refusal quotes.
const QUOTED_CHARS: usize = 80;

/// What the statistics say about one pin column over some consecutive row groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pin: &'static str,
    /// The rows, counted in the part.
    rows: Range<u64>,
    /// `None` where there are no usable statistics.
    bounds: Option<Bounds>,
}

/// The least and the greatest value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bounds {
    least: Value,
    greatest: Value,
    /// Whether some row holds that very value; a writer may have cut a long text short.
    least_is_held: bool,
    greatest_is_held: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Number(i128),
    Text(Box<str>),
}

impl Value {
    /// `None` where the two can't be compared, as a number with a text that is none.
    fn compare(&self, pin: &Pin) -> Option<Ordering> {
        match self {
            Self::Number(number) => pin.number.map(|wanted| number.cmp(&i128::from(wanted))),
            Self::Text(text) => Some(text.cmp(&pin.text)),
        }
    }

    fn quoted(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => strict::excerpt(text, QUOTED_CHARS).into_owned(),
        }
    }
}

impl Bounds {
    fn of(column: &ColumnDescriptor, statistics: &Statistics) -> Option<Self> {
        let number = |least: i128, greatest: i128| Self {
            least: Value::Number(least),
            greatest: Value::Number(greatest),
            least_is_held: true,
            greatest_is_held: true,
        };
        match statistics {
            Statistics::Int32(of) => {
                let read = integer(column)?;
                Some(number(read(i64::from(*of.min_opt()?), 32), read(i64::from(*of.max_opt()?), 32)))
            }
            Statistics::Int64(of) => {
                let read = integer(column)?;
                Some(number(read(*of.min_opt()?, 64), read(*of.max_opt()?, 64)))
            }
            Statistics::ByteArray(of) => {
                if matches!(column.logical_type_ref(), Some(LogicalType::Decimal(_)))
                    || column.converted_type() == ConvertedType::DECIMAL
                {
                    return None;
                }
                let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(|text| Value::Text(text.into()));
                let bounds = Self {
                    least: text(of.min_opt()?.data())?,
                    greatest: text(of.max_opt()?.data())?,
                    least_is_held: of.min_is_exact(),
                    greatest_is_held: of.max_is_exact(),
                };
                Some(bounds)
            }
            _ => None,
        }
    }

    /// A value that proves some row to be of another world.
    fn foreign(&self, pin: &Pin) -> Option<&Value> {
        let (least, greatest) = (self.least.compare(pin), self.greatest.compare(pin));
        let equal = Some(Ordering::Equal);
        if (self.least_is_held || self.least == self.greatest) && least != equal {
            return Some(&self.least);
        }
        if self.greatest_is_held && greatest != equal {
            return Some(&self.greatest);
        }
        if least == Some(Ordering::Greater) {
            return Some(&self.least);
        }
        (greatest == Some(Ordering::Less)).then_some(&self.greatest)
    }

    /// Whether all rows hold the pin.
    fn settles(&self, pin: &Pin) -> bool {
        self.least == self.greatest && self.least.compare(pin) == Some(Ordering::Equal)
    }
}

/// How the integers of a column are read, with the bits they are stored in; `None` where they are no plain integers.
fn integer(column: &ColumnDescriptor) -> Option<fn(i64, u32) -> i128> {
    let signed: fn(i64, u32) -> i128 = |value, _| i128::from(value);
    let unsigned: fn(i64, u32) -> i128 = |value, bits| i128::from(value) & ((1 << bits) - 1);
    match (column.logical_type_ref(), column.converted_type()) {
        (Some(LogicalType::Integer(kind)), _) => Some(if kind.is_signed { signed } else { unsigned }),
        (None, ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64) => {
            Some(unsigned)
        }
        (
            None,
            ConvertedType::NONE
            | ConvertedType::INT_8
            | ConvertedType::INT_16
            | ConvertedType::INT_32
            | ConvertedType::INT_64,
        ) => Some(signed),
        _ => None,
    }
}

/// What a footer says about the pin columns at the top of its rows, by column.
pub(super) fn claims(metadata: &ParquetMetaData) -> Vec<Claim> {
    let schema = metadata.file_metadata().schema_descr();
    let leaf_of = |pin: &str| schema.columns().iter().position(|column| column.path().parts() == [pin]);
    PIN_NAMES.iter().filter_map(|pin| Some(claims_of(metadata, pin, leaf_of(pin)?))).flatten().collect()
}

/// Row groups that say the same make one claim.
fn claims_of(metadata: &ParquetMetaData, pin: &'static str, leaf: usize) -> Vec<Claim> {
    let mut claims: Vec<Claim> = Vec::new();
    let mut row = 0_u64;
    for group in metadata.row_groups() {
        let rows = row..row.saturating_add(u64::try_from(group.num_rows()).unwrap_or(0));
        row = rows.end;
        let bounds = group
            .columns()
            .get(leaf)
            .and_then(|column| Bounds::of(column.column_descr(), column.statistics()?))
            .filter(|_| !rows.is_empty());
        match claims.last_mut() {
            _ if rows.is_empty() => {}
            Some(last) if last.bounds == bounds => last.rows.end = rows.end,
            _ => claims.push(Claim { pin, rows, bounds }),
        }
    }
    claims
}

impl View {
    /// The parts whose footers do not prove that all rows are of `world`, by index.
    ///
    /// # Errors
    ///
    /// `WORLD_KEY_MISMATCH`, naming part, rows, column and both values, where a footer proves a row of another world.
    pub fn open_parts(&self, world: &WorldKey) -> Result<Vec<usize>, Refusal> {
        let pins = world.pins();
        let mut open = Vec::new();
        for (i, part) in self.parts.iter().enumerate() {
            if !part.is_settled(&pins)? {
                open.push(i);
            }
        }
        Ok(open)
    }
}

impl ViewPart {
    fn is_settled(&self, pins: &[Pin]) -> Result<bool, Refusal> {
        let mut settled = true;
        for claim in &self.pins {
            let Some(pin) = pins.iter().find(|pin| pin.name == claim.pin) else { continue };
            if let Some(value) = claim.bounds.as_ref().and_then(|bounds| bounds.foreign(pin)) {
                return Err(self.foreign(claim, value, pin));
            }
            settled &= claim.bounds.as_ref().is_some_and(|bounds| bounds.settles(pin));
        }
        Ok(settled)
    }

    fn foreign(&self, claim: &Claim, value: &Value, pin: &Pin) -> Refusal {
        let Range { start, end } = claim.rows;
        let all = claim.bounds.as_ref().is_some_and(|bounds| bounds.least == bounds.greatest);
        let some = if all { "" } else { "some of the " };
        let detail = format!(
            "by the footer's statistics, {some}rows {start} to {} hold {}; the run's world has {}",
            end.saturating_sub(1),
            value.quoted(),
            strict::excerpt(&pin.text, QUOTED_CHARS)
        );
        Refusal::new(Reason::WorldKeyMismatch, detail).file(self.name.clone()).row(start).field(pin.name)
    }
}

#[cfg(test)]
mod tests;
