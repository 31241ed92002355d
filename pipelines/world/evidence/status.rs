//! What became of a READY, and where its run ended.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What became of a READY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Every event of the run was answered.
    Streamed,
    /// Refused, or ended before the last event.
    Failed,
    /// Of another platform run.
    SkippedOutOfScope,
    /// Its record holds a verdict that stands.
    SkippedDuplicate,
    /// A required pack is not up; the READY is looked at again.
    DeferredDownstreamNotReady,
}

impl Status {
    /// The word in records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Streamed => "STREAMED",
            Status::Failed => "FAILED",
            Status::SkippedOutOfScope => "SKIPPED_OUT_OF_SCOPE",
            Status::SkippedDuplicate => "SKIPPED_DUPLICATE",
            Status::DeferredDownstreamNotReady => "DEFERRED_DOWNSTREAM_NOT_READY",
        }
    }

    /// Whether it is written down; the others are answered only.
    #[must_use]
    pub fn is_recorded(self) -> bool {
        !matches!(self, Status::SkippedDuplicate | Status::DeferredDownstreamNotReady)
    }

    /// Whether a message with this verdict is a duplicate when it comes again.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Status::Streamed | Status::SkippedOutOfScope)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// At the last event of every output.
    Complete,
    /// At a limit on events that the command or the environment set.
    Capped,
    /// At a request to stop.
    Stopped,
    /// At a refusal.
    Failed,
}
