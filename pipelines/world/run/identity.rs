//! Checks that READY and run facts describe one run of one world (contract, section 2, "Identity"). Pure.
//!
//! ```text
//! Ready + Facts ──every shared field, pair by pair──► RunIdentity, or the first refusal
//! ```

use std::collections::BTreeSet;
use std::fmt::Display;

use serde_json::{Map, Value};
use wsp::strict;

use crate::model::{Hex32, Hex64, PlatformRunId, Reason, Refusal, WorldKey};
use crate::ready::message::{OraclePackRef, Ready};

use super::facts::Facts;

/// What one run is called by everybody, once READY and facts agree; or, for a run without READY, what its world's own
/// documents say.
#[derive(Debug, Clone, PartialEq)]
pub struct RunIdentity {
    /// The platform run.
    pub platform_run_id: PlatformRunId,
    /// The scenario run.
    pub scenario_run_id: Hex32,
    /// The world.
    pub world: WorldKey,
    /// The sealed pack, where READY or facts name it.
    pub oracle_pack_id: Option<Hex64>,
    /// The engine's release, where READY or facts name it.
    pub engine_release: Option<String>,
    /// SR's release, where READY or facts name it.
    pub service_release_id: Option<String>,
    /// The environment, where READY or facts name it.
    pub environment: Option<String>,
    /// Gates that the facts say have failed.
    pub failed_gates: BTreeSet<String>,
}

impl RunIdentity {
    /// A run that nobody planned: of this world, with no facts to hold against it.
    #[must_use]
    pub fn of_world(platform_run_id: PlatformRunId, scenario_run_id: Hex32, world: WorldKey) -> Self {
        Self {
            platform_run_id,
            scenario_run_id,
            world,
            oracle_pack_id: None,
            engine_release: None,
            service_release_id: None,
            environment: None,
            failed_gates: BTreeSet::new(),
        }
    }
}

/// Compares every field that READY and facts (at the top and in `pins`) share.
///
/// # Errors
///
/// The first of these that does not hold, in this order, naming the field and both values:
///
/// | field | missing | unequal |
/// |---|---|---|
/// | `platform_run_id` | `PLATFORM_RUN_ID_MISSING` | `PLATFORM_RUN_ID_MISMATCH` |
/// | `scenario_run_id` (in READY `run_id` stands in) | `SCENARIO_RUN_ID_MISSING` | `SCENARIO_RUN_ID_MISMATCH` |
/// | `scenario_id` | `SCENARIO_ID_MISSING` | `WORLD_KEY_MISMATCH` |
/// | `manifest_fingerprint`, `parameter_hash`, `seed` (facts alone have it) | `WORLD_KEY_MISSING` | `WORLD_KEY_MISMATCH` |
/// | `run_id`, `bundle_hash`, `run_config_digest` | `RUN_FACTS_MISMATCH` | `RUN_FACTS_MISMATCH` |
/// | release, environment, and each key of provenance and `oracle_pack_ref` that both have | | `RUN_FACTS_MISMATCH` |
pub fn lock(ready: &Ready, facts: &Facts) -> Result<RunIdentity, Refusal> {
    let (said, pins) = (&ready.payload, &facts.pins);

    let platform_run_id = same(
        "platform_run_id",
        [
            ("READY", said.platform_run_id.as_ref()),
            ("facts", facts.platform_run_id.as_ref()),
            ("facts' pins", pins.platform_run_id.as_ref()),
        ],
        (Reason::PlatformRunIdMissing, Reason::PlatformRunIdMismatch),
    )?;
    let scenario_run_id = same(
        "scenario_run_id",
        [
            ("READY", Some(ready.scenario_run_id())),
            ("facts", facts.scenario_run_id.as_ref()),
            ("facts' pins", pins.scenario_run_id.as_ref()),
        ],
        (Reason::ScenarioRunIdMissing, Reason::ScenarioRunIdMismatch),
    )?;
    let scenario_id = same(
        "scenario_id",
        [("READY", said.scenario_id.as_ref()), ("facts' pins", pins.scenario_id.as_ref())],
        (Reason::ScenarioIdMissing, Reason::WorldKeyMismatch),
    )?;
    let world_key = (Reason::WorldKeyMissing, Reason::WorldKeyMismatch);
    let manifest_fingerprint = same(
        "manifest_fingerprint",
        [("READY", Some(&said.manifest_fingerprint)), ("facts' pins", pins.manifest_fingerprint.as_ref())],
        world_key,
    )?;
    let parameter_hash = same(
        "parameter_hash",
        [("READY", Some(&said.parameter_hash)), ("facts' pins", pins.parameter_hash.as_ref())],
        world_key,
    )?;
    let seed = same("seed", [("facts' pins", pins.seed.as_ref())], world_key)?;

    let rest = (Reason::RunFactsMismatch, Reason::RunFactsMismatch);
    same(
        "run_id",
        [("READY", Some(&said.run_id)), ("facts", Some(&facts.run_id)), ("facts' pins", pins.run_id.as_ref())],
        rest,
    )?;
    same("bundle_hash", [("READY", Some(&said.bundle_hash)), ("facts", Some(&facts.bundle_hash))], rest)?;
    same(
        "run_config_digest",
        [("READY", Some(&said.run_config_digest)), ("facts", facts.run_config_digest.as_ref())],
        rest,
    )?;
    let service_release_id =
        same_if_both("service_release_id", said.service_release_id.as_ref(), facts.service_release_id.as_ref())?;
    let environment = same_if_both("environment", said.environment.as_ref(), facts.environment.as_ref())?;
    same_entries("provenance", said.provenance.as_ref(), facts.provenance.as_ref())?;

    let none = OraclePackRef::default();
    let ours = said.oracle_pack_ref.as_ref().unwrap_or(&none);
    let theirs = facts.oracle_pack_ref.as_ref().unwrap_or(&none);
    for (side, pack) in [("READY's oracle_pack_ref", ours), ("facts' oracle_pack_ref", theirs)] {
        if pack.scenario_id.is_some() {
            same("scenario_id", [("READY", Some(scenario_id)), (side, pack.scenario_id.as_ref())], world_key)?;
        }
    }
    let (oracle_pack_id, engine_release) = same_pack(ours, theirs)?;

    Ok(RunIdentity {
        platform_run_id: platform_run_id.clone(),
        scenario_run_id: scenario_run_id.clone(),
        world: WorldKey {
            manifest_fingerprint: manifest_fingerprint.clone(),
            parameter_hash: parameter_hash.clone(),
            scenario_id: scenario_id.clone(),
            seed: *seed,
        },
        oracle_pack_id,
        engine_release,
        service_release_id,
        environment,
        failed_gates: facts.failed_gates(),
    })
}

/// Compares the parts of two `oracle_pack_ref`s; answers pack id and engine release.
fn same_pack(ours: &OraclePackRef, theirs: &OraclePackRef) -> Result<(Option<Hex64>, Option<String>), Refusal> {
    for (field, one, other) in [
        ("oracle_pack_ref.manifest_ref", &ours.manifest_ref, &theirs.manifest_ref),
        ("oracle_pack_ref.engine_run_root", &ours.engine_run_root, &theirs.engine_run_root),
        ("oracle_pack_ref.stream_view_root", &ours.stream_view_root, &theirs.stream_view_root),
        ("oracle_pack_ref.oracle_root", &ours.oracle_root, &theirs.oracle_root),
    ] {
        same_if_both(field, one.as_ref(), other.as_ref())?;
    }
    if let (Some(one), Some(other)) = (&ours.stream_view_output_refs, &theirs.stream_view_output_refs) {
        for (output, reference) in one {
            let field = format!("oracle_pack_ref.stream_view_output_refs.{output}");
            same_if_both(&field, Some(reference), other.get(output))?;
        }
    }
    Ok((
        same_if_both("oracle_pack_ref.oracle_pack_id", ours.oracle_pack_id.as_ref(), theirs.oracle_pack_id.as_ref())?,
        same_if_both("oracle_pack_ref.engine_release", ours.engine_release.as_ref(), theirs.engine_release.as_ref())?,
    ))
}

/// The one value of `field` on all `sides`; none of them may lack it.
fn same<'a, T: PartialEq + Display, const N: usize>(
    field: &str,
    sides: [(&str, Option<&'a T>); N],
    (missing, mismatch): (Reason, Reason),
) -> Result<&'a T, Refusal> {
    let mut first: Option<(&str, &T)> = None;
    for (side, value) in sides {
        let Some(value) = value else {
            return Err(Refusal::new(missing, format!("{side} lacks it")).field(field));
        };
        match first {
            Some((other_side, other)) if other != value => {
                return Err(unequal(mismatch, field, (other_side, other), (side, value)));
            }
            Some(_) => {}
            None => first = Some((side, value)),
        }
    }
    first.map(|(_, value)| value).ok_or_else(|| Refusal::new(missing, "nobody names it").field(field))
}

/// The one value of an optional `field`: equal where both sides have it.
fn same_if_both<T: PartialEq + Display + Clone>(
    field: &str,
    ready: Option<&T>,
    facts: Option<&T>,
) -> Result<Option<T>, Refusal> {
    match (ready, facts) {
        (Some(one), Some(other)) if one != other => {
            Err(unequal(Reason::RunFactsMismatch, field, ("READY", one), ("facts", other)))
        }
        (one, other) => Ok(one.or(other).cloned()),
    }
}

/// Every key that both objects have holds the same value.
fn same_entries(
    field: &str,
    ready: Option<&Map<String, Value>>,
    facts: Option<&Map<String, Value>>,
) -> Result<(), Refusal> {
    let (Some(ready), Some(facts)) = (ready, facts) else { return Ok(()) };
    for (key, value) in ready {
        same_if_both(&format!("{field}.{}", strict::excerpt(key, 64)), Some(value), facts.get(key))?;
    }
    Ok(())
}

fn unequal<T: Display>(reason: Reason, field: &str, one: (&str, &T), other: (&str, &T)) -> Refusal {
    let quote = |value: &T| strict::excerpt(&value.to_string(), 80).into_owned();
    Refusal::new(reason, format!("{} says {}, {} says {}", one.0, quote(one.1), other.0, quote(other.1))).field(field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ready::message::{self, Parsed};
    use crate::run::facts;
    use serde_json::json;

    const READY: &[u8] = include_bytes!("../../../tests/golden/ready/message.json");
    const FACTS: &[u8] = include_bytes!("../../../tests/golden/ready/run_facts_view.json");

    fn locked(message: &Value, facts: &Value) -> Result<RunIdentity, Refusal> {
        let Ok(Parsed::Ready(ready)) = message::parse(message.to_string().as_bytes(), "fp.bus.control.v1") else {
            panic!("not a READY: {message}")
        };
        lock(&ready, &facts::parse(facts.to_string().as_bytes(), "facts").unwrap())
    }

    fn golden() -> (Value, Value) {
        (serde_json::from_slice(READY).unwrap(), serde_json::from_slice(FACTS).unwrap())
    }

    /// The golden pair with one field of one side set, or removed where `value` is null.
    fn altered(side: &str, pointer: &str, value: &Value) -> Result<RunIdentity, Refusal> {
        let (mut message, mut facts) = golden();
        let root = if side == "READY" { &mut message["payload"] } else { &mut facts };
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = root.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        if value.is_null() {
            assert!(parent.remove(key).is_some(), "{pointer} is in the sample");
        } else {
            parent.insert(key.to_owned(), value.clone());
        }
        locked(&message, &facts)
    }

    #[test]
    fn the_golden_pair_is_one_run() {
        let (message, facts) = golden();
        let identity = locked(&message, &facts).unwrap();
        assert_eq!(identity.world.seed, 42);
        assert_eq!(identity.scenario_run_id.as_str(), message["payload"]["run_id"]);
        assert_eq!(identity.engine_release.as_deref(), Some("engine-local-r1"));
        assert_eq!(identity.environment.as_deref(), Some("local"));
    }

    #[test]
    fn every_shared_field_is_compared() {
        use Reason as R;
        let (hex64, hex32, platform) =
            (json!("0".repeat(64)), json!("0".repeat(32)), json!("platform_20990101T000000Z"));
        let none = Value::Null;
        let text = json!("other");
        for (side, pointer, value, reason) in [
            ("READY", "/platform_run_id", &none, R::PlatformRunIdMissing),
            ("facts", "/platform_run_id", &none, R::PlatformRunIdMissing),
            ("facts", "/pins/platform_run_id", &none, R::PlatformRunIdMissing),
            ("READY", "/platform_run_id", &platform, R::PlatformRunIdMismatch),
            ("facts", "/platform_run_id", &platform, R::PlatformRunIdMismatch),
            ("facts", "/pins/platform_run_id", &platform, R::PlatformRunIdMismatch),
            ("facts", "/scenario_run_id", &none, R::ScenarioRunIdMissing),
            ("facts", "/pins/scenario_run_id", &none, R::ScenarioRunIdMissing),
            ("READY", "/scenario_run_id", &hex32, R::ScenarioRunIdMismatch),
            ("facts", "/scenario_run_id", &hex32, R::ScenarioRunIdMismatch),
            ("facts", "/pins/scenario_run_id", &hex32, R::ScenarioRunIdMismatch),
            ("READY", "/scenario_id", &none, R::ScenarioIdMissing),
            ("facts", "/pins/scenario_id", &none, R::ScenarioIdMissing),
            ("READY", "/scenario_id", &text, R::WorldKeyMismatch),
            ("facts", "/pins/scenario_id", &text, R::WorldKeyMismatch),
            ("READY", "/oracle_pack_ref/scenario_id", &text, R::WorldKeyMismatch),
            ("facts", "/oracle_pack_ref/scenario_id", &text, R::WorldKeyMismatch),
            ("facts", "/pins/manifest_fingerprint", &none, R::WorldKeyMissing),
            ("READY", "/manifest_fingerprint", &hex64, R::WorldKeyMismatch),
            ("facts", "/pins/manifest_fingerprint", &hex64, R::WorldKeyMismatch),
            ("facts", "/pins/parameter_hash", &none, R::WorldKeyMissing),
            ("READY", "/parameter_hash", &hex64, R::WorldKeyMismatch),
            ("facts", "/pins/parameter_hash", &hex64, R::WorldKeyMismatch),
            ("facts", "/pins/seed", &none, R::WorldKeyMissing),
            ("READY", "/run_id", &hex32, R::RunFactsMismatch),
            ("facts", "/run_id", &hex32, R::RunFactsMismatch),
            ("facts", "/pins/run_id", &hex32, R::RunFactsMismatch),
            ("facts", "/pins/run_id", &none, R::RunFactsMismatch),
            ("READY", "/bundle_hash", &hex64, R::RunFactsMismatch),
            ("facts", "/bundle_hash", &hex64, R::RunFactsMismatch),
            ("READY", "/run_config_digest", &hex64, R::RunFactsMismatch),
            ("facts", "/run_config_digest", &hex64, R::RunFactsMismatch),
            ("facts", "/run_config_digest", &none, R::RunFactsMismatch),
            ("READY", "/service_release_id", &text, R::RunFactsMismatch),
            ("facts", "/service_release_id", &text, R::RunFactsMismatch),
            ("READY", "/environment", &text, R::RunFactsMismatch),
            ("facts", "/environment", &text, R::RunFactsMismatch),
            ("READY", "/provenance/config_revision", &text, R::RunFactsMismatch),
            ("facts", "/provenance/config_revision", &text, R::RunFactsMismatch),
            ("READY", "/oracle_pack_ref/oracle_pack_id", &hex64, R::RunFactsMismatch),
            ("facts", "/oracle_pack_ref/oracle_pack_id", &hex64, R::RunFactsMismatch),
            ("READY", "/oracle_pack_ref/engine_run_root", &text, R::RunFactsMismatch),
            ("facts", "/oracle_pack_ref/engine_run_root", &text, R::RunFactsMismatch),
            ("READY", "/oracle_pack_ref/manifest_ref", &text, R::RunFactsMismatch),
            ("facts", "/oracle_pack_ref/engine_release", &text, R::RunFactsMismatch),
        ] {
            let refusal = altered(side, pointer, value).expect_err(pointer);
            assert_eq!(refusal.reason, reason, "{side} {pointer} {value}: {refusal}");
            let field = refusal.place.field.unwrap();
            assert!(field.ends_with(pointer.rsplit_once('/').unwrap().1), "{field} for {pointer}");
        }
    }

    #[test]
    fn what_only_one_side_has_may_be_missing_on_the_other() {
        for (side, pointer) in [
            ("READY", "/scenario_run_id"),
            ("READY", "/service_release_id"),
            ("facts", "/service_release_id"),
            ("READY", "/environment"),
            ("facts", "/environment"),
            ("READY", "/provenance"),
            ("facts", "/provenance/environment"),
            ("READY", "/oracle_pack_ref"),
            ("facts", "/oracle_pack_ref"),
            ("facts", "/oracle_pack_ref/engine_run_root"),
        ] {
            let identity = altered(side, pointer, &Value::Null).expect(pointer);
            assert_eq!(identity.environment.as_deref(), Some("local"));
            assert!(identity.oracle_pack_id.is_some());
        }
    }

    #[test]
    fn a_single_output_ref_is_compared_too() {
        let (mut message, mut facts) = golden();
        message["payload"]["oracle_pack_ref"]["stream_view_output_refs"] = json!({"a": "x", "b": "y"});
        facts["oracle_pack_ref"]["stream_view_output_refs"] = json!({"b": "z"});
        let refusal = locked(&message, &facts).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "RUN_FACTS_MISMATCH, oracle_pack_ref.stream_view_output_refs.b: READY says y, facts says z"
        );
    }

    #[test]
    fn long_values_are_cut_in_the_detail() {
        let refusal = altered("READY", "/environment", &json!("x".repeat(1000))).unwrap_err();
        assert!(refusal.to_string().len() < 300, "{refusal}");
    }
}
