//! What a run is streamed with: the parts around the chain.

use wsp::byte_budget::ByteBudget;
use wsp::deliver::PushStats;
use wsp::stop::Stop;
use wsp::telemetry::Counter;

use crate::checkpoint::{CheckpointScope, Earlier, RowCursors, Unsaved};
use crate::model::RunDigests;

/// What a run is streamed with.
pub struct Parts<G, C> {
    /// Where to.
    pub gate: G,
    /// By which time.
    pub clock: C,
    /// Where positions are saved.
    pub scope: Box<dyn CheckpointScope<RowCursors>>,
    /// What an earlier start left there.
    pub earlier: Earlier,
    /// The request to stop early.
    pub stop: Stop,
    /// Where attempts are counted.
    pub stats: PushStats,
    /// Where rows are counted as they are decoded, and bytes as they are read.
    pub read: ReadCounts,
    /// Where events are counted before they are sent.
    pub framed: Counter,
    /// Where it is kept since when answered events wait to be saved.
    pub unsaved: Unsaved,
    /// Where it is kept, in the end, what the answered events are digested to.
    pub digests: RunDigests,
    /// What request bodies in memory are counted against, those of the framed events among them.
    pub bodies: ByteBudget,
    /// Where rows are read and framed.
    pub framing: Framing,
}

/// Which thread reads, merges and frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// One of its own, ahead of delivery.
    OwnThread,
    /// Delivery's, where time is simulated.
    SameThread,
}

/// What was read of the views to be streamed.
#[derive(Debug, Clone, Default)]
pub struct ReadCounts {
    /// Bytes, footers among them.
    pub bytes: Counter,
    /// Decoded rows.
    pub rows: Counter,
}
