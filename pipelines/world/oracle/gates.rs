//! That every gate which an output requires has passed.
//!
//! ```text
//! output ──catalogue──► gate ──gate map──► _passed.flag (and index.json beside it) ──► Gate { digest, outputs }
//! ```

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;
use wsp::store::{Key, ObjectStore};
use wsp::strict::{self, Limits};

use crate::model::{Hex64, OutputId, Reason, Refusal, WorldKey};

use super::catalogue::{Bindings, Catalogue};
use super::object::{self, MAX_BYTES};

/// The validation bundle's index, beside the flag.
const INDEX_NAME: &str = "index.json";

/// A gate that has passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// What the gate map calls it.
    pub gate_id: String,
    /// The digest of the validation bundle that the flag stands for.
    pub bundle_digest: Hex64,
    /// The digest is that of the `index.json` beside the flag, or named by it. Which digest a flag holds is the
    /// engine's own rule for each gate, so `false` is told and does not refuse.
    pub digest_confirmed: bool,
}

/// What a flag says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    bundle_digest: Hex64,
    manifest_fingerprint: Option<Hex64>,
}

#[derive(Deserialize)]
struct JsonFlag {
    bundle_digest_sha256: Hex64,
    manifest_fingerprint: Option<Hex64>,
}

#[derive(Deserialize)]
struct Index {
    bundle_digest_sha256: Option<Hex64>,
    manifest_fingerprint: Option<Hex64>,
}

/// The gates that `outputs` require, each with the outputs that require it, in order of their ids.
///
/// # Errors
///
/// `CATALOGUE_INVALID`.
pub fn required<'a>(
    catalogue: &'a Catalogue,
    outputs: &'a [OutputId],
) -> Result<BTreeMap<&'a str, Vec<&'a OutputId>>, Refusal> {
    let mut gates: BTreeMap<&str, Vec<&OutputId>> = BTreeMap::new();
    for output in outputs {
        for gate in catalogue.required_gates(output)? {
            gates.entry(gate).or_default().push(output);
        }
    }
    Ok(gates)
}

/// Reads a flag. Engines write two forms: a line `sha256_hex = <digest>`, and a JSON object with
/// `bundle_digest_sha256` and `manifest_fingerprint`.
///
/// # Errors
///
/// What is wrong with it.
pub fn parse_flag(bytes: &[u8]) -> Result<Flag, String> {
    if bytes.trim_ascii_start().starts_with(b"{") {
        let flag: JsonFlag =
            strict::parse(bytes, Limits::bytes(MAX_BYTES as usize)).map_err(|error| error.to_string())?;
        return Ok(Flag { bundle_digest: flag.bundle_digest_sha256, manifest_fingerprint: flag.manifest_fingerprint });
    }
    let line = std::str::from_utf8(bytes).map_err(|error| error.to_string())?.trim();
    let (key, digest) = line.split_once('=').ok_or("it is neither `sha256_hex = <digest>` nor a JSON object")?;
    if key.trim() != "sha256_hex" {
        return Err("it does not start with `sha256_hex`".to_owned());
    }
    let bundle_digest = digest.trim().parse().map_err(|error| format!("{error}"))?;
    Ok(Flag { bundle_digest, manifest_fingerprint: None })
}

/// Looks for the passed flag of `gate_id` in the world that `engine` is opened on.
///
/// # Errors
///
/// `GATE_PASS_MISSING` where `failed` (what the facts say) holds the gate, where the flag is missing or unreadable, or
/// where flag or index name another world or digest; `CATALOGUE_INVALID`; `STORE_UNAVAILABLE`.
pub async fn check(
    engine: &dyn ObjectStore,
    catalogue: &Catalogue,
    gate_id: &str,
    bindings: Bindings<'_>,
    failed: &BTreeSet<String>,
) -> Result<Gate, Refusal> {
    let key = catalogue.passed_flag(gate_id, bindings)?;
    let name = engine.full_name(&key);
    let refused = |detail: String| Refusal::new(Reason::GatePassMissing, format!("{gate_id}: {detail}"));
    if failed.contains(gate_id) {
        return Err(refused("the facts' gate_receipts say FAIL".to_owned()).field("gate_receipts"));
    }
    let bytes = object::read(engine, &key, Reason::GatePassMissing)
        .await?
        .ok_or_else(|| refused("there is no passed flag".to_owned()).file(&name))?;
    let flag = parse_flag(&bytes).map_err(|why| refused(format!("the flag can't be read: {why}")).file(&name))?;
    same_world(flag.manifest_fingerprint.as_ref(), bindings.world).map_err(|why| refused(why).file(&name))?;
    let digest_confirmed = match index_beside(&key) {
        Some(index) => match object::read(engine, &index, Reason::GatePassMissing).await? {
            Some(bytes) => {
                confirm(&bytes, &flag, bindings.world).map_err(|why| refused(why).file(engine.full_name(&index)))?
            }
            None => false,
        },
        None => false,
    };
    Ok(Gate { gate_id: gate_id.to_owned(), bundle_digest: flag.bundle_digest, digest_confirmed })
}

fn index_beside(flag: &Key) -> Option<Key> {
    let (folder, _) = flag.as_str().rsplit_once('/')?;
    format!("{folder}/{INDEX_NAME}").parse().ok()
}

/// Whether an index confirms the flag's digest; an error where it says something else.
fn confirm(bytes: &[u8], flag: &Flag, world: &WorldKey) -> Result<bool, String> {
    let is_its_digest = Hex64::sha256(bytes) == flag.bundle_digest;
    if !bytes.trim_ascii_start().starts_with(b"{") {
        // A list of members names neither world nor digest; it only has to be JSON.
        return serde_json::from_slice::<Value>(bytes)
            .map(|_| is_its_digest)
            .map_err(|error| format!("index: {error}"));
    }
    let index: Index =
        strict::parse(bytes, Limits::bytes(MAX_BYTES as usize)).map_err(|error| format!("index: {error}"))?;
    same_world(index.manifest_fingerprint.as_ref(), world)?;
    match index.bundle_digest_sha256 {
        Some(digest) if digest != flag.bundle_digest => {
            Err(format!("the index says bundle_digest_sha256 {digest}, the flag {}", flag.bundle_digest))
        }
        Some(_) => Ok(true),
        None => Ok(is_its_digest),
    }
}

fn same_world(found: Option<&Hex64>, world: &WorldKey) -> Result<(), String> {
    match found {
        Some(found) if *found != world.manifest_fingerprint => {
            Err(format!("it is of manifest_fingerprint {found}, the run's is {}", world.manifest_fingerprint))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::{Doctored, hex64, world_key};
    use proptest::prelude::*;

    const GATE: &str = "gate.layer3.6B.validation";

    fn catalogue() -> Catalogue {
        Catalogue::parse(
            include_bytes!("../../../config/oracle/engine_outputs.catalogue.yaml"),
            include_bytes!("../../../config/oracle/engine_gates.map.yaml"),
        )
        .unwrap()
    }

    fn object_of(segment: &str, name: &str) -> String {
        format!("data/{segment}/validation/manifest_fingerprint={}/{name}", world_key().manifest_fingerprint)
    }

    async fn checked(gate: &str, failed: &[&str], doctor: impl FnOnce(&mut Doctored)) -> Result<Gate, Refusal> {
        let mut world = Doctored::new();
        doctor(&mut world);
        let (key, run_id) = (world_key(), "0".repeat(32).parse().unwrap());
        let failed = failed.iter().map(|gate| (*gate).to_owned()).collect();
        check(&world, &catalogue(), gate, Bindings { world: &key, run_id: &run_id }, &failed).await
    }

    #[tokio::test]
    async fn both_golden_flags_pass_and_are_confirmed_by_their_index() {
        for gate in ["gate.layer2.5B.validation", GATE] {
            let gate = checked(gate, &["some.other.gate"], |_| {}).await.unwrap();
            assert!(gate.digest_confirmed && gate.bundle_digest.as_str().starts_with("37517e5f"));
        }
    }

    #[tokio::test]
    async fn a_digest_that_no_index_confirms_is_told() {
        let flag = object_of("layer3/6B", "_passed.flag");
        let gate = checked(GATE, &[], |world| world.write(&flag, format!("sha256_hex = {}\n", hex64()))).await.unwrap();
        assert!(!gate.digest_confirmed);
        let gate = checked(GATE, &[], |world| world.remove(&object_of("layer3/6B", "index.json"))).await.unwrap();
        assert!(!gate.digest_confirmed);
    }

    #[tokio::test]
    async fn every_fault_is_a_missing_pass_that_says_what_and_where() {
        let flag = object_of("layer3/6B", "_passed.flag");
        let index = object_of("layer3/6B", "index.json");
        let foreign = format!(r#"{{"manifest_fingerprint":"{0}","bundle_digest_sha256":"{0}"}}"#, hex64());
        let other_digest = format!(r#"{{"bundle_digest_sha256":"{}"}}"#, hex64());
        for (key, body, expected) in [
            (&flag, "", "neither"),
            (&flag, "sha256_hex = 12", "not 64 lower-case hex digits"),
            (&flag, "passed = yes", "does not start with"),
            (&flag, "{}", "missing field `bundle_digest_sha256`"),
            (&flag, foreign.as_str(), "it is of manifest_fingerprint 0000"),
            (&index, "[", "index: "),
            (&index, foreign.as_str(), "it is of manifest_fingerprint 0000"),
            (&index, other_digest.as_str(), "the index says bundle_digest_sha256 0000"),
        ] {
            let refusal = checked(GATE, &[], |world| world.write(key, body)).await.unwrap_err();
            assert_eq!(refusal.reason, Reason::GatePassMissing);
            assert!(refusal.detail.starts_with(GATE) && refusal.detail.contains(expected), "{body}: {refusal}");
            assert_eq!(refusal.place.file, Some(format!("world/{key}")));
        }
        let missing = checked(GATE, &[], |world| world.remove(&flag)).await.unwrap_err();
        assert!(missing.to_string().contains("there is no passed flag"));
        let failed = checked(GATE, &[GATE], |_| {}).await.unwrap_err();
        assert_eq!((failed.reason, failed.place.field.as_deref()), (Reason::GatePassMissing, Some("gate_receipts")));
        assert_eq!(checked("unknown", &[], |_| {}).await.unwrap_err().reason, Reason::CatalogueInvalid);
        assert_eq!(checked(GATE, &[], Doctored::break_down).await.unwrap_err().reason, Reason::StoreUnavailable);
    }

    #[test]
    fn a_gate_is_looked_at_once_for_all_outputs_that_require_it() {
        let outputs: Vec<OutputId> = ["arrival_events_5B", "s1_arrival_entities_6B", "s3_event_stream_with_fraud_6B"]
            .map(|id| id.parse().unwrap())
            .into();
        let catalogue = catalogue();
        let gates = required(&catalogue, &outputs).unwrap();
        assert_eq!(gates.len(), 2);
        assert_eq!(gates[GATE], [&outputs[1], &outputs[2]]);
        assert!(required(&catalogue, &["unknown".parse().unwrap()]).is_err());
    }

    proptest! {
        #[test]
        fn any_flag_is_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = parse_flag(&bytes);
        }
    }
}
