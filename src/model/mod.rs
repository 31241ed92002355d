//! The types that all stages share: identities, reasons, event time, and the items of the chain.

pub mod after;
pub mod check;
pub mod digits;
pub mod event;
pub mod http_url;
pub mod identity;
pub mod json;
pub mod lane;
pub mod minute;
pub mod names;
pub mod percent;
pub mod reason;
pub mod secret;
pub mod shard;
mod stages;
pub mod strict;
pub mod time;
pub mod topic;

pub use after::{After, Bus};
pub use check::{Check, CheckList, Verdict};
pub use event::{Decision, Delivered, Event, Position, RowBatch, RowSlice};
pub use http_url::{HttpUrl, HttpUrlError};
pub use identity::{Hex32, Hex64, IdentityError, OutputId, PIN_NAMES, Pin, PlatformRunId, ScenarioId, WorldKey};
pub use lane::{Lane, LaneKey};
pub use names::Names;
pub use reason::{Place, Reason, Refusal};
pub use secret::Secret;
pub use shard::{SequenceNumber, ShardError, ShardId, ShardPosition};
pub use time::Micros;
pub use topic::TopicPlace;
