//! What the Scenario Runner leaves for a run: the facts in the object store and READY on the file control bus.
//!
//! ```text
//! RunFiles ──► <object store>/fraud-platform/<platform run>/sr/run_facts_view/<run>.json
//!         └──► <control root>/<topic>/<message id>.json   (last: it points to the facts)
//! ```

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::WorldSummary;
use super::documents::{ENGINE_RELEASE, sha256};
use crate::model::{Hex32, Hex64, IdentityError, Micros, PlatformRunId};

/// The control topic of the platform (contract, section 1).
pub const CONTROL_TOPIC: &str = "fp.bus.control.v1";

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
    /// When READY is published; it tells two READYs of one run apart.
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
    let key = facts_key(run);
    let facts = run.object_store_root.join(&key);
    if !facts.exists() {
        write_whole(&facts, &facts_view(run).to_string())?;
    }
    let published = run.published_at.to_string().replace('Z', "+00:00");
    let id = sha256(&format!("ready|{}|{}|{published}", run.platform_run_id, run.run_id));
    let ready_file = run.control_root.join(run.topic).join(format!("{id}.json"));
    write_whole(&ready_file, &ready(run, &id, &published).to_string())?;
    let message_id = id.parse().map_err(|error: IdentityError| io::Error::other(error))?;
    Ok(PublishedReady { message_id, ready_file, facts_view_ref: key })
}

fn facts_key(run: &RunFiles<'_>) -> String {
    sr_key(run, "run_facts_view", "json")
}

fn sr_key(run: &RunFiles<'_>, kind: &str, extension: &str) -> String {
    format!("fraud-platform/{}/sr/{kind}/{}.{extension}", run.platform_run_id, run.run_id)
}

fn ready(run: &RunFiles<'_>, message_id: &str, published: &str) -> Value {
    let key = &run.world.world_key;
    json!({
        "attributes": {"kind": "READY", "run_id": run.run_id.as_str()},
        "message_id": message_id,
        "partition_key": run.run_id.as_str(),
        "payload": {
            "bundle_hash": bundle_hash(run),
            "emitted_at_utc": published,
            "environment": "local",
            "facts_view_ref": facts_key(run),
            "manifest_fingerprint": key.manifest_fingerprint.as_str(),
            "message_id": message_id,
            "oracle_pack_ref": pack_ref(run),
            "parameter_hash": key.parameter_hash.as_str(),
            "platform_run_id": run.platform_run_id.as_str(),
            "provenance": provenance(),
            "run_config_digest": config_digest(),
            "run_id": run.run_id.as_str(),
            "scenario_id": key.scenario_id.as_str(),
            "scenario_run_id": run.run_id.as_str(),
            "service_release_id": "dev-local",
        },
        "published_at_utc": published,
        "topic": run.topic,
    })
}

fn facts_view(run: &RunFiles<'_>) -> Value {
    let key = &run.world.world_key;
    let fingerprint = key.manifest_fingerprint.as_str();
    let traffic = "s3_event_stream_with_fraud_6B";
    let path = format!(
        "{}/data/layer3/6B/{traffic}/seed={}/parameter_hash={}/manifest_fingerprint={fingerprint}/scenario_id={}/part-*.parquet",
        run.world.engine_run_root, key.seed, key.parameter_hash, key.scenario_id,
    );
    let gate = |id: &str| json!({"gate_id": id, "scope": {"manifest_fingerprint": fingerprint}, "status": "PASS"});
    json!({
        "bundle_hash": bundle_hash(run),
        "environment": "local",
        "gate_receipts": [gate("gate.layer3.6B.validation"), gate("gate.layer2.5B.validation")],
        "intended_outputs": [traffic],
        "locators": [{"output_id": traffic, "path": path}],
        "oracle_pack_ref": pack_ref(run),
        "output_roles": {traffic: "business_traffic"},
        "pins": {
            "manifest_fingerprint": fingerprint,
            "parameter_hash": key.parameter_hash.as_str(),
            "platform_run_id": run.platform_run_id.as_str(),
            "run_id": run.run_id.as_str(),
            "scenario_id": key.scenario_id.as_str(),
            "scenario_run_id": run.run_id.as_str(),
            "seed": key.seed,
        },
        "plan_ref": sr_key(run, "run_plan", "json"),
        "platform_run_id": run.platform_run_id.as_str(),
        "policy_rev": {"content_digest": config_digest(), "policy_id": "sr_policy", "revision": "v0"},
        "provenance": provenance(),
        "record_ref": sr_key(run, "run_record", "jsonl"),
        "run_config_digest": config_digest(),
        "run_id": run.run_id.as_str(),
        "scenario_run_id": run.run_id.as_str(),
        "service_release_id": "dev-local",
        "status_ref": sr_key(run, "run_status", "json"),
    })
}

fn pack_ref(run: &RunFiles<'_>) -> Value {
    json!({
        "engine_release": ENGINE_RELEASE,
        "engine_run_root": run.world.engine_run_root,
        "manifest_ref": format!("{}/_oracle_pack_manifest.json", run.world.engine_run_root),
        "oracle_pack_id": run.world.oracle_pack_id.as_str(),
        "scenario_id": run.world.world_key.scenario_id.as_str(),
    })
}

fn provenance() -> Value {
    json!({
        "config_revision": "local-v0",
        "environment": "local",
        "run_config_digest": config_digest(),
        "service_release_id": "dev-local",
    })
}

fn config_digest() -> String {
    sha256("reference run configuration v0")
}

fn bundle_hash(run: &RunFiles<'_>) -> String {
    sha256(&format!("bundle|{}|{}", run.run_id, run.world.oracle_pack_id))
}

/// Writes beside and renames, so that a feed never sees half a message.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new().prefix(".").suffix(".tmp").tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
