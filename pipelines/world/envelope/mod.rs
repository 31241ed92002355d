//! Frames rows as request bodies: one envelope for each event (contract, section 5).
//!
//! ```text
//! Vec<Run> ──► Framer { key columns ─► event_id, order key · columns ─► JSON } ──► Vec<Event { body }>
//! ```
//!
//! Once per run: the constant parts of the envelope. Once per batch: types are resolved, and what all rows share is
//! written. Per row: texts are copied, numbers printed, one hash computed. The bodies of a chunk share one buffer.

mod bound;
pub mod event_id;
pub mod frame;
mod key;
mod keys;
mod lane;
mod output;
mod pins;
mod schema;

pub use event_id::EventIds;
pub use frame::{Framer, RunPins};
pub use lane::{LaneFilter, RowKeys};
pub use output::OutputFrame;
pub use pins::{ForeignRow, WorldPins};
pub use schema::check_schema;
use wsp::cells::Unfit;

use crate::model::{Reason, Refusal};

/// What has no JSON form, as a refusal that names the column and the way inside it (`.field`, `[index]`).
fn refusal(unfit: Unfit, reason: Reason, column: &str) -> Refusal {
    let (path, what) = unfit.parts();
    Refusal::new(reason, what).field(format!("{column}{path}"))
}
