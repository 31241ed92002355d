//! The state of a started pack: `runs/fraud-platform/operate/<pack_id>/state.json`.
//!
//! ```text
//! {"active_platform_run_id": …, "processes": {"<id>": {"pid": …, "pid_create_time": …}}}
//! ```

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use serde::Deserialize;
use wsp::disk::files;
use wsp::strict::{self, Limits};

use crate::model::{Reason, Refusal};

/// Pack files and states are a few kilobytes.
pub(super) const LIMIT: u64 = 1 << 20;

/// What the operator noted when it started the pack. Keys beside these are its own.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct State {
    active_platform_run_id: Option<String>,
    #[serde(default)]
    processes: BTreeMap<String, ProcessState>,
}

/// One process of it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ProcessState {
    /// Its id on this machine.
    pub pid: u32,
    /// When it was created, in seconds since 1970, as the operating system says.
    pub pid_create_time: Option<f64>,
}

impl State {
    /// The run that the pack is up for.
    #[must_use]
    pub fn active_run(&self) -> Option<&str> {
        self.active_platform_run_id.as_deref().map(str::trim).filter(|run| !run.is_empty())
    }

    /// Its processes by id.
    #[must_use]
    pub fn processes(&self) -> &BTreeMap<String, ProcessState> {
        &self.processes
    }

    /// Reads the state at `path`, at most 1 MiB.
    ///
    /// # Errors
    ///
    /// `PACK_STATE_MISSING` where there is none, `PACK_STATE_INVALID` where it can't be read as one.
    pub fn read(path: &Path) -> Result<Self, Refusal> {
        let name = path.display().to_string();
        let refuse = |reason, why: String| Refusal::new(reason, format!("{name}: {why}")).file(&name);
        let text = files::read_text(path, LIMIT).map_err(|error| {
            let reason =
                if error.kind() == ErrorKind::NotFound { Reason::PackStateMissing } else { Reason::PackStateInvalid };
            refuse(reason, error.to_string())
        })?;
        strict::parse(text.as_bytes(), Limits::bytes(LIMIT as usize))
            .map_err(|error| refuse(Reason::PackStateInvalid, error.to_string()))
    }
}
