//! What the Scenario Runner writes for a run: the facts in the object store and READY on the file control bus.
//!
//! ```text
//! RunFiles ──► <object store>/fraud-platform/<platform run>/sr/run_facts_view/<run>.json
//!         └──► <control root>/<topic>/<message id>.json   (last: it points to the facts)
//! ```

use std::io;
use std::path::{Path, PathBuf};

use wsp::disk::{RealDisk, files};
use wsp_world::model::{Hex32, Hex64, Micros, PlatformRunId};
use wsp_world::run::documents::{Origin, RunDocuments, WorldRef};

use super::WorldSummary;
use super::documents::ENGINE_RELEASE;

pub use wsp_world::run::documents::CONTROL_TOPIC;

const TRAFFIC: &str = "s3_event_stream_with_fraud_6B";
const GATES: [&str; 2] = ["gate.layer3.6B.validation", "gate.layer2.5B.validation"];

/// A run that may start.
#[derive(Debug, Clone)]
pub struct RunFiles<'a> {
    /// The world it streams.
    pub world: &'a WorldSummary,
    /// Its platform run.
    pub platform_run_id: &'a PlatformRunId,
    /// SR's `run_id` and `scenario_run_id`.
    pub run_id: &'a Hex32,
    /// The local object store's root.
    pub object_store_root: &'a Path,
    /// The file control bus's root.
    pub control_root: &'a Path,
    /// The control topic.
    pub topic: &'a str,
    /// When READY is published; two READYs of one run differ in it.
    pub published_at: Micros,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedReady {
    /// READY's identity.
    pub message_id: Hex64,
    /// The message's file.
    pub ready_file: PathBuf,
    /// The facts' key in the object store.
    pub facts_view_ref: String,
}

/// Writes the facts (once for a run: an existing file is left alone) and READY.
///
/// # Errors
///
/// If a file can't be written.
pub fn publish_ready(run: &RunFiles<'_>) -> io::Result<PublishedReady> {
    let prefix = format!("fraud-platform/{}", run.platform_run_id);
    let documents = documents(run, &prefix)?;
    let facts_view_ref = documents.facts_key();
    let facts = run.object_store_root.join(&facts_view_ref);
    if !facts.exists() {
        write_whole(&facts, &documents.facts().to_string())?;
    }
    let message_id = documents.message_id(&run.published_at.offset_text());
    let ready_file = run.control_root.join(run.topic).join(format!("{message_id}.json"));
    write_whole(&ready_file, &documents.ready(&message_id, run.topic, run.published_at).to_string())?;
    Ok(PublishedReady { message_id, ready_file, facts_view_ref })
}

fn documents<'a>(run: &RunFiles<'a>, prefix: &'a str) -> io::Result<RunDocuments<'a>> {
    let WorldSummary { engine_run_root, world_key: key, oracle_pack_id, .. } = run.world;
    let path = format!(
        "{engine_run_root}/data/layer3/6B/{TRAFFIC}/seed={}/parameter_hash={}/manifest_fingerprint={}/scenario_id={}/part-*.parquet",
        key.seed, key.parameter_hash, key.manifest_fingerprint, key.scenario_id,
    );
    Ok(RunDocuments {
        world: WorldRef { engine_run_root, key, pack: Some((oracle_pack_id, ENGINE_RELEASE)) },
        platform_run_id: run.platform_run_id,
        run_id: run.run_id,
        prefix,
        traffic: vec![(TRAFFIC.parse().map_err(io::Error::other)?, path)],
        gates: GATES.map(str::to_owned).to_vec(),
        origin: Origin {
            environment: "local",
            release: "dev-local",
            policy_id: "sr_policy",
            revision: "v0",
            config_revision: "local-v0",
            config_digest: Hex64::sha256("reference run configuration v0"),
        },
    })
}

/// Writes a temporary file and renames it, so that a feed never sees a partial message.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    files::create_folders(&RealDisk, path.parent().unwrap_or(Path::new(".")))?;
    files::replace(&RealDisk, path, text.as_bytes())
}
