//! What `/status` answers, and what `wsp status` reads.

use serde::{Deserialize, Serialize};
use wsp_world::telemetry::status::Status;

use crate::readiness::Report;

/// What `/status` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusPage {
    /// How the process and its run stand.
    #[serde(flatten)]
    pub status: Status,
    /// Whether it could take a READY.
    pub readiness: Report,
}
