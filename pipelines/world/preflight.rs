//! What has to be in order before a service takes a READY, beside the settings themselves.
//!
//! ```text
//! References ──► machine: active run, roots to trust          (`wsp run`, `wsp validate`)
//!            └─► files: allowlist, outputs, catalogue         (`wsp validate`; a run records them as its verdict)
//! ```

use std::path::Path;

use crate::model::CheckList;
#[cfg(feature = "postgres")]
use crate::profile::CheckpointBackend;
#[cfg(feature = "kafka")]
use crate::profile::ControlBus;
use crate::profile::{References, active_run};

use super::prepare::check_references;

/// What is wrong with this machine for the profile: nothing could be streamed, whatever READY comes.
#[must_use]
pub fn machine(refers: &References<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    if let Err(error) = active_run(refers.platform_run_id, Path::new("")) {
        problems.extend(error.problems);
    }
    #[cfg(feature = "kafka")]
    problems.extend(refers.control_bus.and_then(no_broker_roots));
    #[cfg(feature = "postgres")]
    problems.extend(refers.checkpoint.and_then(no_database_roots));
    problems
}

/// What is wrong with the files that the profile refers to.
#[must_use]
pub fn files(refers: &References<'_>) -> Vec<String> {
    let mut list = CheckList::new();
    if let Some((plan, catalogue)) = check_references(refers, &mut list) {
        for output in plan.all() {
            list.note("primary key", catalogue.primary_key(output), |columns| columns.join(", "));
            list.note("required gates", catalogue.required_gates(output), |gates| gates.join(", "));
        }
    }
    list.checks().iter().filter(|check| !check.ok()).map(|check| check.detail.clone()).collect()
}

/// Why Kafka's brokers can't be trusted by the file that is named for it; a folder is the Kafka client's to read.
#[cfg(feature = "kafka")]
fn no_broker_roots(bus: &ControlBus) -> Option<String> {
    let ControlBus::Kafka(kafka) = bus else { return None };
    let path = kafka.ca_location.as_deref().filter(|path| !path.is_dir())?;
    let problem = wsp::pem::certificates(path).err()?;
    Some(format!("{}: {}: {problem}", crate::profile::settings::KAFKA_CA.name(), path.display()))
}

/// Why no connection can be made to the database that the profile names, whether or not it is there.
#[cfg(feature = "postgres")]
fn no_database_roots(backend: &CheckpointBackend) -> Option<String> {
    let CheckpointBackend::Postgres { dsn, .. } = backend else { return None };
    let opened = crate::checkpoint::PostgresCheckpoints::new(dsn, wsp::clock::SystemClock::new());
    let refusal = opened.map_err(crate::model::Refusal::from).err()?;
    Some(format!("{}: {refusal}", crate::profile::settings::CHECKPOINT_DSN.name()))
}
