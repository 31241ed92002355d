//! One run by many workers: its lanes as tasks that any worker takes.
//!
//! ```text
//! READY ──admitted──► TaskSet ──conditional create──► wsp/lanes/<message id>/<round>/tasks.json
//!                                                        │ read by every worker
//! worker: free lane? ──hold on its checkpoint──► stream ─┴─► <lane>.end.json ──all lanes──► verdict.json ──► evidence
//! ```
//!
//! The store holds the tasks and ends, each written once; the checkpoint's hold says who has a lane. So a worker may die
//! at any moment: its lanes become free, and what it had not written is written by another.

mod book;
mod call;
mod horizon;
mod meter;
mod positions;
mod status;
mod tasks;
mod verify;

pub use book::{Current, LaneBook, LaneRound, Look, RunEnd};
pub use call::{Caller, calls};
pub use horizon::{Horizon, Reached, Within, WithinExt};
pub use meter::LaneMeter;
pub use positions::reached;
pub use status::{LanesDesk, NOTE_EVERY, status};
pub use tasks::{LaneAnchor, TASKS_SCHEMA, TaskSet};
pub use verify::{agree, standing, under_way};

use wsp::pace::{Anchor, RateShare};

/// What the lanes of one worker share while they are streamed. A run that is not spread has the default.
#[derive(Debug, Clone, Default)]
pub struct SharedPace {
    /// What event time counts from, where the tasks say so.
    pub anchor: Option<Anchor>,
    /// Among how many lanes the rate is shared.
    pub share: RateShare,
    /// How far in event time a lane may go.
    pub horizon: Horizon,
    /// How far this one has come.
    pub reached: Reached,
}
