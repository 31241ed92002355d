//! The run facts, which SR writes once into the object store (contract, section 2).
//!
//! ```text
//! facts_view_ref ──key──► object store ──bytes──► parse ──Facts──► identity
//! ```

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};
use wsp::store::{Key, ObjectStore, StoreError};
use wsp::strict::{self, Limits};

use crate::model::{Hex32, Hex64, OutputId, PlatformRunId, Reason, Refusal, ScenarioId};
use crate::ready::message::{OraclePackRef, optional_text, pack_ref, text};

/// Bytes of a facts object at most.
pub const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// The facts: closed at the top and in `pins`; what SR lists (locators, receipts) may carry keys of its own. What has a
/// refusal reason of its own when it is missing is an `Option` here.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// SR's run.
    pub run_id: Hex32,
    /// The platform run; missing is `PLATFORM_RUN_ID_MISSING`.
    pub platform_run_id: Option<PlatformRunId>,
    /// The scenario run; missing is `SCENARIO_RUN_ID_MISSING`.
    pub scenario_run_id: Option<Hex32>,
    /// The identities that every event of the run carries.
    #[serde(deserialize_with = "strict::object")]
    pub pins: Pins,
    /// Where SR found the outputs; WSP reads their stream views instead.
    #[serde(deserialize_with = "strict::objects")]
    pub locators: Vec<Locator>,
    /// What SR saw of the gates.
    #[serde(deserialize_with = "strict::objects")]
    pub gate_receipts: Vec<GateReceipt>,
    /// The policy that SR planned by.
    #[serde(deserialize_with = "strict::object")]
    pub policy_rev: PolicyRev,
    /// Digest of SR's bundle.
    pub bundle_hash: Hex64,
    /// SR's plan.
    #[serde(deserialize_with = "text")]
    pub plan_ref: String,
    /// SR's record.
    #[serde(deserialize_with = "text")]
    pub record_ref: String,
    /// SR's status.
    #[serde(deserialize_with = "text")]
    pub status_ref: String,
    /// What each output is for.
    pub output_roles: Option<BTreeMap<OutputId, Value>>,
    /// The outputs SR means to have streamed.
    pub intended_outputs: Option<Vec<OutputId>>,
    /// Receipts of single instances.
    pub instance_receipts: Option<Value>,
    /// Digest of SR's configuration; READY always has it, so here too it may not be missing.
    pub run_config_digest: Option<Hex64>,
    /// SR's release.
    #[serde(default, deserialize_with = "optional_text")]
    pub service_release_id: Option<String>,
    /// The environment it runs in.
    #[serde(default, deserialize_with = "optional_text")]
    pub environment: Option<String>,
    /// Whatever SR says about its own making.
    pub provenance: Option<Map<String, Value>>,
    /// Where the world is.
    #[serde(default, deserialize_with = "pack_ref")]
    pub oracle_pack_ref: Option<OraclePackRef>,
    /// Notes for the evidence.
    pub evidence_notes: Option<Value>,
}

/// The identities that every event of the run carries, `run_id` being SR's.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pins {
    /// Part of the world's identity.
    pub manifest_fingerprint: Option<Hex64>,
    /// Part of the world's identity.
    pub parameter_hash: Option<Hex64>,
    /// Part of the world's identity.
    pub seed: Option<u64>,
    /// Part of the world's identity.
    pub scenario_id: Option<ScenarioId>,
    /// SR's run.
    pub run_id: Option<Hex32>,
    /// The platform run.
    pub platform_run_id: Option<PlatformRunId>,
    /// The scenario run.
    pub scenario_run_id: Option<Hex32>,
}

/// Where SR found one output.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Locator {
    /// The output.
    pub output_id: OutputId,
    /// Its files.
    pub path: String,
}

/// What SR saw of one gate.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct GateReceipt {
    /// The gate, as the gate map calls it.
    pub gate_id: String,
    /// How it came out.
    pub status: GateStatus,
}

/// How a gate came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum GateStatus {
    /// It passed.
    Pass,
    /// It failed.
    Fail,
}

/// The policy that SR planned by.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyRev {
    /// Its name.
    pub policy_id: String,
    /// Its revision.
    pub revision: String,
    /// Its digest.
    pub content_digest: String,
}

impl Facts {
    /// The gates that SR saw fail. A gate with a PASS beside a FAIL is among them.
    #[must_use]
    pub fn failed_gates(&self) -> BTreeSet<String> {
        self.gate_receipts
            .iter()
            .filter(|receipt| receipt.status == GateStatus::Fail)
            .map(|receipt| receipt.gate_id.clone())
            .collect()
    }
}

/// Reads facts from `bytes`; `name` is the object they came from, for the refusal.
///
/// # Errors
///
/// `RUN_FACTS_INVALID`.
pub fn parse(bytes: &[u8], name: &str) -> Result<Facts, Refusal> {
    strict::parse(bytes, Limits::bytes(MAX_BYTES as usize))
        .map_err(|error| Refusal::new(Reason::RunFactsInvalid, error.to_string()).file(name))
}

/// The key that a `facts_view_ref` means in the store opened on `store_root`: a relative reference is a key, a URI
/// or an absolute path has to lie below the root.
///
/// # Errors
///
/// `REF_OUTSIDE_ROOT`.
pub fn locate(reference: &str, store_root: &str) -> Result<Key, Refusal> {
    let absolute = reference.starts_with('/') || reference.contains("://");
    let key = if absolute {
        let root = store_root.trim_end_matches('/');
        reference.strip_prefix(root).and_then(|rest| rest.strip_prefix('/'))
    } else {
        Some(reference)
    };
    let outside = |detail: String| Refusal::new(Reason::RefOutsideRoot, detail).field("facts_view_ref");
    let shown = strict::excerpt(reference, 200);
    let key = key.ok_or_else(|| outside(format!("{shown} is not below {store_root}")))?;
    key.parse().map_err(|error| outside(format!("{shown}: {error}")))
}

/// Reads the facts at `key`.
///
/// # Errors
///
/// `RUN_FACTS_INVALID` where they are missing, too large, no object or not the closed one; `REF_OUTSIDE_ROOT` where a link leads
/// out of the store; `STORE_UNAVAILABLE` where the store fails.
pub async fn read(store: &dyn ObjectStore, key: &Key) -> Result<Facts, Refusal> {
    parse(&object(store, key).await?, &store.full_name(key))
}

async fn object(store: &dyn ObjectStore, key: &Key) -> Result<Bytes, Refusal> {
    let name = store.full_name(key);
    match store.get(key, MAX_BYTES).await {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(Refusal::new(Reason::RunFactsInvalid, "there is no such object").file(name)),
        Err(error) => {
            let reason = match error {
                StoreError::TooLarge { .. } | StoreError::NotAnObject { .. } => Reason::RunFactsInvalid,
                StoreError::Outside { .. } => Reason::RefOutsideRoot,
                StoreError::Changed { .. } | StoreError::Io { .. } => Reason::StoreUnavailable,
            };
            Err(Refusal::new(reason, error.to_string()).file(name))
        }
    }
}

/// sha256 of the facts' object, by which a later start verifies that the facts are the same.
///
/// # Errors
///
/// As [`locate`] and [`read`].
pub async fn digest(store: &dyn ObjectStore, facts_view_ref: &str) -> Result<Hex64, Refusal> {
    let key = locate(facts_view_ref, store.root())?;
    Ok(Hex64::sha256(object(store, &key).await?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const GOLDEN: &[u8] = include_bytes!("../../../tests/golden/ready/run_facts_view.json");

    fn golden() -> Value {
        serde_json::from_slice(GOLDEN).unwrap()
    }

    fn refusal(facts: &Value) -> String {
        let refusal = parse(facts.to_string().as_bytes(), "facts").unwrap_err();
        assert_eq!(refusal.reason, Reason::RunFactsInvalid);
        refusal.to_string()
    }

    #[test]
    fn the_golden_facts_are_read() {
        let facts = parse(GOLDEN, "facts").unwrap();
        assert_eq!(facts.pins.seed, Some(42));
        assert_eq!(facts.gate_receipts.len(), 2);
        assert!(facts.failed_gates().is_empty());
        assert_eq!(facts.locators[0].output_id.as_str(), "s3_event_stream_with_fraud_6B");
    }

    #[test]
    fn a_failed_gate_is_kept_for_the_gate_check() {
        let mut facts = golden();
        facts["gate_receipts"][0]["status"] = json!("FAIL");
        let facts = parse(facts.to_string().as_bytes(), "facts").unwrap();
        assert_eq!(facts.failed_gates(), BTreeSet::from(["gate.layer3.6B.validation".to_owned()]));
        // Whichever comes first, a PASS does not undo a FAIL.
        for statuses in [["FAIL", "PASS"], ["PASS", "FAIL"]] {
            let mut facts = golden();
            facts["gate_receipts"] = statuses.iter().map(|status| json!({"gate_id": "g", "status": status})).collect();
            let facts = parse(facts.to_string().as_bytes(), "facts").unwrap();
            assert_eq!(facts.failed_gates(), BTreeSet::from(["g".to_owned()]), "{statuses:?}");
        }
    }

    #[test]
    fn required_keys_may_not_be_missing() {
        for field in [
            "run_id",
            "pins",
            "locators",
            "gate_receipts",
            "policy_rev",
            "bundle_hash",
            "plan_ref",
            "record_ref",
            "status_ref",
        ] {
            let mut facts = golden();
            facts.as_object_mut().unwrap().remove(field);
            assert!(refusal(&facts).contains(&format!("missing field `{field}`")), "{field}");
        }
    }

    #[test]
    fn the_top_and_the_pins_are_closed_and_typed() {
        for (pointer, value, expected) in [
            ("/x", json!(1), "unknown field `x`"),
            ("/pins/x", json!(1), "unknown field `x`"),
            ("/policy_rev/x", json!(1), "unknown field `x`"),
            ("/pins/seed", json!("42"), "at pins.seed"),
            ("/pins/seed", json!(-1), "at pins.seed"),
            ("/pins/seed", json!(1.0), "at pins.seed"),
            ("/run_id", json!("x"), "at run_id: \"x\" is not 32 lower-case hex digits"),
            ("/pins", json!([]), "at pins"),
            ("/gate_receipts/0/status", json!("MAYBE"), "at gate_receipts[0]"),
            ("/locators/0/output_id", json!("../x"), "at locators[0].output_id"),
        ] {
            let mut facts = golden();
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            let parent = facts.pointer_mut(parent).unwrap();
            match parent {
                Value::Array(items) => items[key.parse::<usize>().unwrap()] = value,
                parent => parent[key] = value,
            }
            let text = refusal(&facts);
            assert!(text.contains(expected), "{pointer}: {text}");
        }
        let mut open = golden();
        open["locators"][0]["more"] = json!({"a": [1]});
        open["gate_receipts"][0]["more"] = json!(null);
        assert!(parse(open.to_string().as_bytes(), "facts").is_ok());
    }

    #[test]
    fn references_stay_below_the_store() {
        let at = |reference, root| locate(reference, root).map(|key| key.as_str().to_owned()).map_err(|r| r.reason);
        assert_eq!(at("a/b.json", "s3://bucket/x").as_deref(), Ok("a/b.json"));
        assert_eq!(at("s3://bucket/x/a/b.json", "s3://bucket/x").as_deref(), Ok("a/b.json"));
        assert_eq!(at("/data/a.json", "/data/").as_deref(), Ok("a.json"));
        for outside in [
            "../a.json",
            "a/../../b.json",
            "/etc/passwd",
            "s3://other/x/a.json",
            "s3://bucket/xy/a.json",
            "s3://bucket/x",
            "s3://bucket/x/../y.json",
            "file:///data/a.json",
        ] {
            assert_eq!(at(outside, "s3://bucket/x"), Err(Reason::RefOutsideRoot), "{outside}");
        }
    }

    proptest! {
        #[test]
        fn mutations_never_panic(edits in proptest::collection::vec((0..GOLDEN.len(), any::<u8>()), 1..4)) {
            let mut bytes = GOLDEN.to_vec();
            for (at, byte) in edits {
                bytes[at] = byte;
            }
            let _ = parse(&bytes, "facts");
        }
    }
}
