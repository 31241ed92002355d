//! The types that the platform's producer shares: identities, reasons, and the items of the chain.

pub mod after;
pub mod check;
pub mod digest;
pub mod digits;
pub mod event;
pub mod identity;
pub mod json;
pub mod lane;
pub mod names;
pub mod reason;
mod stages;

pub use after::{After, Bus};
pub use check::{Check, CheckList, Verdict};
pub use digest::{Digested, EventDigest, RunDigests};
pub use event::{Decision, Delivered, Event, Position, RowBatch, RowSlice};
pub use identity::{Hex32, Hex64, IdentityError, OutputId, PIN_NAMES, Pin, PlatformRunId, ScenarioId, WorldKey};
pub use lane::{Lane, LaneKey, Lanes};
pub use names::Names;
pub use reason::{Place, Reason, Refusal};
pub use wsp::feed::{SequenceNumber, ShardError, ShardId, ShardPosition, TopicPlace};
pub use wsp::http_url::{HttpUrl, HttpUrlError};
pub use wsp::secret::Secret;
pub use wsp::time::Micros;
