//! What the Scenario Runner states about a run, as JSON: the facts view and READY (contract, sections 1 and 2).
//!
//! ```text
//! RunDocuments ──facts──► object store, under facts_key
//!             └──ready──► control topic (it points to the facts)
//! ```

use serde_json::{Value, json};

use crate::model::{Hex32, Hex64, Micros, OutputId, PlatformRunId, WorldKey};

/// The control topic of the platform (contract, section 1).
pub const CONTROL_TOPIC: &str = "fp.bus.control.v1";

/// The world that a run streams.
#[derive(Debug, Clone)]
pub struct WorldRef<'a> {
    /// Its root, as its manifests spell it.
    pub engine_run_root: &'a str,
    /// Which world it is.
    pub key: &'a WorldKey,
    /// Its pack and the engine's release, where it has a pack manifest.
    pub pack: Option<(&'a Hex64, &'a str)>,
}

/// The service that writes the documents, and its rules.
#[derive(Debug, Clone)]
pub struct Origin<'a> {
    /// The environment.
    pub environment: &'a str,
    /// The release of the service that makes them.
    pub release: &'a str,
    /// The policy's name.
    pub policy_id: &'a str,
    /// Its revision.
    pub revision: &'a str,
    /// The revision of the configuration.
    pub config_revision: &'a str,
    /// The digest of policy and configuration.
    pub config_digest: Hex64,
}

/// A run that may start.
#[derive(Debug, Clone)]
pub struct RunDocuments<'a> {
    /// The world it streams.
    pub world: WorldRef<'a>,
    /// Its platform run.
    pub platform_run_id: &'a PlatformRunId,
    /// SR's `run_id` and `scenario_run_id`.
    pub run_id: &'a Hex32,
    /// The platform run's prefix in the object store.
    pub prefix: &'a str,
    /// The traffic outputs, each with the path of its files.
    pub traffic: Vec<(OutputId, String)>,
    /// The gates that have passed.
    pub gates: Vec<String>,
    /// Who makes them.
    pub origin: Origin<'a>,
}

impl RunDocuments<'_> {
    /// The facts' key in the object store.
    #[must_use]
    pub fn facts_key(&self) -> String {
        self.key("run_facts_view", "json")
    }

    /// The facts. They depend on the run alone, not on the time.
    #[must_use]
    pub fn facts(&self) -> Value {
        let world = self.world.key;
        let fingerprint = world.manifest_fingerprint.as_str();
        let receipt =
            |id: &String| json!({"gate_id": id, "scope": {"manifest_fingerprint": fingerprint}, "status": "PASS"});
        let locator = |(id, path): &(OutputId, String)| json!({"output_id": id.as_str(), "path": path});
        let role = |(id, _): &(OutputId, String)| (id.to_string(), json!("business_traffic"));
        let Origin { environment, release, policy_id, revision, config_digest, .. } = &self.origin;
        json!({
            "bundle_hash": self.bundle_hash().as_str(),
            "environment": environment,
            "gate_receipts": self.gates.iter().map(receipt).collect::<Vec<_>>(),
            "intended_outputs": self.traffic.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(),
            "locators": self.traffic.iter().map(locator).collect::<Vec<_>>(),
            "oracle_pack_ref": self.pack_ref(),
            "output_roles": self.traffic.iter().map(role).collect::<serde_json::Map<_, _>>(),
            "pins": {
                "manifest_fingerprint": fingerprint,
                "parameter_hash": world.parameter_hash.as_str(),
                "platform_run_id": self.platform_run_id.as_str(),
                "run_id": self.run_id.as_str(),
                "scenario_id": world.scenario_id.as_str(),
                "scenario_run_id": self.run_id.as_str(),
                "seed": world.seed,
            },
            "plan_ref": self.key("run_plan", "json"),
            "platform_run_id": self.platform_run_id.as_str(),
            "policy_rev": {"content_digest": config_digest.as_str(), "policy_id": policy_id, "revision": revision},
            "provenance": self.provenance(),
            "record_ref": self.key("run_record", "jsonl"),
            "run_config_digest": config_digest.as_str(),
            "run_id": self.run_id.as_str(),
            "scenario_run_id": self.run_id.as_str(),
            "service_release_id": release,
            "status_ref": self.key("run_status", "json"),
        })
    }

    /// The id of the READY of this `emission`: two READYs of one run differ in it.
    #[must_use]
    pub fn message_id(&self, emission: &str) -> Hex64 {
        Hex64::sha256(format!("ready|{}|{}|{emission}", self.platform_run_id, self.run_id))
    }

    /// READY on `topic`.
    #[must_use]
    pub fn ready(&self, message_id: &Hex64, topic: &str, published_at: Micros) -> Value {
        let world = self.world.key;
        let published = published_at.offset_text();
        let Origin { environment, release, config_digest, .. } = &self.origin;
        json!({
            "attributes": {"kind": "READY", "run_id": self.run_id.as_str()},
            "message_id": message_id.as_str(),
            "partition_key": self.run_id.as_str(),
            "payload": {
                "bundle_hash": self.bundle_hash().as_str(),
                "emitted_at_utc": published,
                "environment": environment,
                "facts_view_ref": self.facts_key(),
                "manifest_fingerprint": world.manifest_fingerprint.as_str(),
                "message_id": message_id.as_str(),
                "oracle_pack_ref": self.pack_ref(),
                "parameter_hash": world.parameter_hash.as_str(),
                "platform_run_id": self.platform_run_id.as_str(),
                "provenance": self.provenance(),
                "run_config_digest": config_digest.as_str(),
                "run_id": self.run_id.as_str(),
                "scenario_id": world.scenario_id.as_str(),
                "scenario_run_id": self.run_id.as_str(),
                "service_release_id": release,
            },
            "published_at_utc": published,
            "topic": topic,
        })
    }

    fn key(&self, kind: &str, extension: &str) -> String {
        format!("{}/sr/{kind}/{}.{extension}", self.prefix, self.run_id)
    }

    fn pack_ref(&self) -> Value {
        let WorldRef { engine_run_root, key, pack } = &self.world;
        let Some((pack_id, release)) = pack else {
            return json!({"engine_run_root": engine_run_root, "scenario_id": key.scenario_id.as_str()});
        };
        json!({
            "engine_release": release,
            "engine_run_root": engine_run_root,
            "manifest_ref": format!("{engine_run_root}/_oracle_pack_manifest.json"),
            "oracle_pack_id": pack_id.as_str(),
            "scenario_id": key.scenario_id.as_str(),
        })
    }

    fn provenance(&self) -> Value {
        let Origin { environment, release, config_revision, config_digest, .. } = &self.origin;
        json!({
            "config_revision": config_revision,
            "environment": environment,
            "run_config_digest": config_digest.as_str(),
            "service_release_id": release,
        })
    }

    fn bundle_hash(&self) -> Hex64 {
        let WorldRef { engine_run_root, pack, .. } = &self.world;
        let world = pack.map_or(*engine_run_root, |(pack_id, _)| pack_id.as_str());
        Hex64::sha256(format!("bundle|{}|{world}", self.run_id))
    }
}
