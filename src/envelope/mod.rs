//! Rows to request bodies: one envelope an event (contract, section 5).
//!
//! ```text
//! Vec<Run> ──► Framer { key columns ─► event_id, order key · columns ─► JSON } ──► Vec<Event { body }>
//! ```
//!
//! Types are resolved, and what all rows share is written, once a batch, constant parts of the envelope once a run;
//! what is left a row is copying texts, printing numbers and one hash. The bodies of a chunk share one buffer.

mod bound;
mod column;
pub mod event_id;
pub mod frame;
mod key;
mod keys;
mod lane;
mod pins;
mod schema;
mod text;
mod values;
mod verbatim;

pub use event_id::EventIds;
pub use frame::{FrameExt, Framer, OutputFrame, RunPins};
pub use lane::{LaneFilter, RowKeys};
pub use pins::{ForeignRow, WorldPins};
pub use schema::check_schema;
