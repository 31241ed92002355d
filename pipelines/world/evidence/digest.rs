//! What evidence says of the answered events of an output, in both versions of it.

use crate::model::Hex64;

/// What evidence says of the answered events of an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldDigest {
    /// Rows of the view before the first one that counts.
    pub from: u64,
    /// How many events it covers.
    pub events: u64,
    /// The digest.
    pub digest: Hex64,
    /// How it was made.
    pub kind: DigestKind,
}

/// How evidence digests event ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DigestKind {
    /// sha256 over the ids in the view's order, from the row on where a start resumed: the version before.
    Chain,
    /// [`EventDigest`](crate::model::EventDigest).
    Sum,
}

impl ToldDigest {
    /// `from` is absent in the version before.
    pub(super) fn new(digest: Hex64, events: u64, from: Option<u64>, resumed_at: u64) -> Self {
        let kind = if from.is_some() { DigestKind::Sum } else { DigestKind::Chain };
        Self { from: from.unwrap_or(resumed_at), events, digest, kind }
    }

    /// Rows of the view up to the last one that counts, where the run is not parted into lanes.
    #[must_use]
    pub fn reaches(&self) -> u64 {
        self.from.saturating_add(self.events)
    }
}
