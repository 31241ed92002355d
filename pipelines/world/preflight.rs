//! What has to be in order before a service takes a READY, beside the settings themselves.
//!
//! ```text
//! References ──► machine: active run, roots to trust          (`wsp run`, `wsp validate`)
//!            └─► files: allowlist, outputs, catalogue         (`wsp validate`; a run records them as its verdict)
//! ```

use std::path::Path;

use wsp::clock::SystemClock;

use crate::checkpoint::PostgresCheckpoints;
use crate::model::{CheckList, Refusal};
#[cfg(feature = "kafka")]
use crate::profile::ControlBus;
use crate::profile::{CheckpointBackend, References, active_run, settings as s};

use super::prepare::check_references;

/// What is wrong with this machine for the profile: nothing could be streamed, whatever READY comes.
#[must_use]
pub fn machine(refers: &References<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    if let Err(error) = active_run(refers.platform_run_id, Path::new("")) {
        problems.extend(error.problems);
    }
    #[cfg(feature = "kafka")]
    if let Some(ControlBus::Kafka(kafka)) = refers.control_bus
        && let Some(why) = kafka.ca_location.as_deref().and_then(no_roots)
    {
        problems.push(format!("{}: {why}", s::KAFKA_CA.name()));
    }
    if let Some(CheckpointBackend::Postgres { dsn, .. }) = refers.checkpoint
        && let Err(refusal) = PostgresCheckpoints::new(dsn, SystemClock::new()).map_err(Refusal::from)
    {
        problems.push(format!("{}: {refusal}", s::CHECKPOINT_DSN.name()));
    }
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

/// Why no certificate can be had from a file; a folder is the Kafka client's to read.
#[cfg(feature = "kafka")]
fn no_roots(path: &Path) -> Option<String> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    if path.is_dir() {
        return None;
    }
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if !found.is_empty() => None,
        Ok(_) => Some(format!("{} holds no PEM certificate", path.display())),
        Err(error) => Some(format!("{}: {error}", path.display())),
    }
}
