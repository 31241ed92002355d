//! The golden pair of READY and facts with one identity altered at a time, and the reason that each has to get.
//!
//! ```text
//! Case { edits of READY, of the facts, or of both alike } ──► Altered { message, expected status and reason }
//!                          └── altered facts go into S3 under a name of their own
//! ```

use bytes::Bytes;
use serde_json::{Value, json};
use wsp::store::ObjectStore;
use wsp_reference::world::{WorldSpec, generate};

use crate::parts::{Parts, Run, upload};

/// A READY with one thing altered, in it or in the facts it points to.
pub(crate) struct Altered {
    pub(crate) what: String,
    pub(crate) message: Value,
    /// The verdict's, or `passed over` for what is no READY at all.
    pub(crate) status: &'static str,
    pub(crate) reason: &'static str,
    /// Whether READY and facts agree, and the world is what differs.
    pub(crate) by_the_world: bool,
}

/// Which document an edit is of.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Side {
    /// The whole message.
    Envelope,
    /// READY's payload.
    Ready,
    Facts,
    /// Payload and facts, each at the pointer that has it.
    Both,
}

use Side::{Both, Envelope, Facts, Ready};

/// Side, JSON pointers, new value (null removes), status, reason.
type Case = (Side, &'static [&'static str], Value, &'static str, &'static str);

const FAILED: &str = "FAILED";
const PASSED_OVER: &str = "passed over";
const NO_READY: &str = "no READY";

fn cases(other_world: &str, other_place: &str, other_facts: &str) -> Vec<Case> {
    let (hex64, hex32) = (json!("0".repeat(64)), json!("0".repeat(32)));
    let platform = json!("platform_20990101T000000Z");
    let (none, text) = (Value::Null, json!("other"));
    let mut cases: Vec<Case> = vec![
        (Envelope, &["/message_id"], hex64.clone(), PASSED_OVER, NO_READY),
        (Envelope, &["/topic"], text.clone(), PASSED_OVER, NO_READY),
        (Ready, &["/unknown"], text.clone(), PASSED_OVER, NO_READY),
        (Ready, &["/platform_run_id"], platform.clone(), "SKIPPED_OUT_OF_SCOPE", "PLATFORM_RUN_SCOPE_MISMATCH"),
        (Ready, &["/platform_run_id"], none.clone(), FAILED, "PLATFORM_RUN_ID_MISSING"),
        (Ready, &["/scenario_run_id"], hex32.clone(), FAILED, "SCENARIO_RUN_ID_MISMATCH"),
        (Ready, &["/scenario_id"], none.clone(), FAILED, "SCENARIO_ID_MISSING"),
        (Ready, &["/oracle_pack_ref/manifest_ref"], text.clone(), FAILED, "RUN_FACTS_MISMATCH"),
        (Ready, &["/oracle_pack_ref/engine_run_root"], text.clone(), FAILED, "RUN_FACTS_MISMATCH"),
        (Ready, &["/provenance/config_revision"], text.clone(), FAILED, "RUN_FACTS_MISMATCH"),
        (Ready, &["/facts_view_ref"], json!("no/such/facts.json"), FAILED, "RUN_FACTS_INVALID"),
        (Ready, &["/facts_view_ref"], json!(other_facts), FAILED, "PLATFORM_RUN_ID_MISMATCH"),
        (Ready, &["/facts_view_ref"], json!("/etc/hostname"), FAILED, "REF_OUTSIDE_ROOT"),
        (Ready, &["/facts_view_ref"], json!("file:///etc/hostname"), FAILED, "REF_OUTSIDE_ROOT"),
        (Ready, &["/facts_view_ref"], json!("s3://elsewhere/facts.json"), FAILED, "REF_OUTSIDE_ROOT"),
        (Ready, &["/facts_view_ref"], json!("a/../../facts.json"), FAILED, "REF_OUTSIDE_ROOT"),
        (Ready, &["/oracle_pack_ref/stream_view_root"], json!("/tmp"), FAILED, "REF_OUTSIDE_ROOT"),
        (Ready, &["/oracle_pack_ref/stream_view_root"], json!("file:///tmp"), FAILED, "REF_OUTSIDE_ROOT"),
        (Ready, &["/oracle_pack_ref/stream_view_root"], json!(other_place), FAILED, "STREAM_VIEW_MISSING"),
        (Facts, &["/unknown"], text.clone(), FAILED, "RUN_FACTS_INVALID"),
        (Facts, &["/pins/seed"], none.clone(), FAILED, "WORLD_KEY_MISSING"),
        (Facts, &["/pins/seed"], json!(43), FAILED, "WORLD_KEY_MISMATCH"),
        (Facts, &["/gate_receipts/0/status"], json!("FAIL"), FAILED, "GATE_PASS_MISSING"),
        (Both, &["/oracle_pack_ref/oracle_pack_id"], hex64.clone(), FAILED, "WORLD_KEY_MISMATCH"),
        (Both, &["/oracle_pack_ref/engine_release"], text.clone(), FAILED, "WORLD_KEY_MISMATCH"),
        (Both, &["/oracle_pack_ref/engine_run_root"], json!(other_world), FAILED, "WORLD_KEY_MISMATCH"),
        (Both, &["/oracle_pack_ref/engine_run_root"], json!(other_place), FAILED, "STREAM_VIEW_ID_MISMATCH"),
        (Both, &["/oracle_pack_ref/engine_run_root"], json!("/tmp"), FAILED, "REF_OUTSIDE_ROOT"),
        (Both, &["/oracle_pack_ref/engine_run_root"], json!("file:///tmp"), FAILED, "REF_OUTSIDE_ROOT"),
        (
            Both,
            &["/scenario_id", "/pins/scenario_id", "/oracle_pack_ref/scenario_id"],
            text.clone(),
            FAILED,
            "WORLD_KEY_MISMATCH",
        ),
    ];
    // At the top of the facts, in their pins, or both: each is compared.
    for (top, pin, value, missing, mismatch) in [
        ("/platform_run_id", "/pins/platform_run_id", &platform, "PLATFORM_RUN_ID_MISSING", "PLATFORM_RUN_ID_MISMATCH"),
        ("/scenario_run_id", "/pins/scenario_run_id", &hex32, "SCENARIO_RUN_ID_MISSING", "SCENARIO_RUN_ID_MISMATCH"),
        ("/run_id", "/pins/run_id", &hex32, "RUN_FACTS_INVALID", "RUN_FACTS_MISMATCH"),
    ] {
        let in_pins = if top == "/run_id" { "RUN_FACTS_MISMATCH" } else { missing };
        cases.push((Facts, one(top), none.clone(), FAILED, missing));
        cases.push((Facts, one(pin), none.clone(), FAILED, in_pins));
        cases.push((Facts, one(top), value.clone(), FAILED, mismatch));
        cases.push((Facts, one(pin), value.clone(), FAILED, mismatch));
    }
    cases.push((Ready, &["/run_id"], hex32, FAILED, "RUN_FACTS_MISMATCH"));
    for (field, pin, value) in [
        ("/manifest_fingerprint", "/pins/manifest_fingerprint", &hex64),
        ("/parameter_hash", "/pins/parameter_hash", &hex64),
    ] {
        cases.push((Ready, one(field), none.clone(), PASSED_OVER, NO_READY));
        cases.push((Ready, one(field), value.clone(), FAILED, "WORLD_KEY_MISMATCH"));
        cases.push((Facts, one(pin), none.clone(), FAILED, "WORLD_KEY_MISSING"));
        cases.push((Facts, one(pin), value.clone(), FAILED, "WORLD_KEY_MISMATCH"));
    }
    cases.push((
        Both,
        &["/manifest_fingerprint", "/pins/manifest_fingerprint"],
        hex64.clone(),
        FAILED,
        "WORLD_KEY_MISMATCH",
    ));
    cases.push((Both, &["/parameter_hash", "/pins/parameter_hash"], hex64.clone(), FAILED, "WORLD_KEY_MISMATCH"));
    for (side, field) in [
        (Ready, "/scenario_id"),
        (Facts, "/pins/scenario_id"),
        (Ready, "/oracle_pack_ref/scenario_id"),
        (Facts, "/oracle_pack_ref/scenario_id"),
    ] {
        cases.push((side, one(field), text.clone(), FAILED, "WORLD_KEY_MISMATCH"));
    }
    for side in [Ready, Facts] {
        for field in ["/bundle_hash", "/run_config_digest", "/oracle_pack_ref/oracle_pack_id"] {
            cases.push((side, one(field), hex64.clone(), FAILED, "RUN_FACTS_MISMATCH"));
        }
        for field in ["/service_release_id", "/environment", "/oracle_pack_ref/engine_release"] {
            cases.push((side, one(field), text.clone(), FAILED, "RUN_FACTS_MISMATCH"));
        }
    }
    cases
}

/// A list of one pointer; the few there are live as long as the test.
fn one(pointer: &'static str) -> &'static [&'static str] {
    Box::leak(Box::new([pointer]))
}

/// Makes all of them for `run`, whose facts are in S3; lays beside them what they point to.
pub(crate) async fn altered(parts: &Parts, run: &Run) -> Vec<Altered> {
    let store = parts.s3.store(&parts.store_root);
    // Another sealed world, and the documents of this one in another place.
    let (other_world, other_place) =
        (format!("{}/other-world", parts.store_root), format!("{}/other-place", parts.store_root));
    let folder = parts.stage.path("other-world");
    generate(&folder, &other_world, &WorldSpec { seed: 7, ..WorldSpec::new(400) }).unwrap();
    upload(&store, &folder, "other-world").await;
    upload(&store, &parts.stage.path("for-s3"), "other-place").await;
    let other_run = parts.run(90).await;
    let other_facts = other_run.ready["payload"]["facts_view_ref"].as_str().unwrap();

    let facts_view_ref = run.ready["payload"]["facts_view_ref"].as_str().unwrap();
    let bytes = store.get(&facts_view_ref.parse().unwrap(), 1 << 20).await.unwrap().unwrap();
    let golden: Value = serde_json::from_slice(&bytes).unwrap();
    let mut all = Vec::new();
    for (n, (side, pointers, value, status, reason)) in
        cases(&other_world, &other_place, other_facts).into_iter().enumerate()
    {
        let (mut message, mut facts) = (run.ready.clone(), golden.clone());
        let id = format!("{:064x}", n + 1);
        message["message_id"] = id.clone().into();
        message["payload"]["message_id"] = id.into();
        match side {
            Envelope => pointers.iter().for_each(|pointer| assert!(set(&mut message, pointer, &value))),
            Ready => pointers.iter().for_each(|pointer| assert!(set(&mut message["payload"], pointer, &value))),
            Facts => pointers.iter().for_each(|pointer| assert!(set(&mut facts, pointer, &value))),
            Both => {
                for pointer in pointers {
                    let in_ready =
                        golden_has(&run.ready["payload"], pointer) && set(&mut message["payload"], pointer, &value);
                    let in_facts = golden_has(&golden, pointer) && set(&mut facts, pointer, &value);
                    assert!(in_ready || in_facts, "{pointer}");
                }
            }
        }
        if facts != golden {
            let name = format!("{}/sr/altered/{n}.json", run.id);
            store.put(&name.parse().unwrap(), Bytes::from(facts.to_string())).await.unwrap();
            message["payload"]["facts_view_ref"] = name.into();
        }
        let value = if value.is_null() { "missing".to_owned() } else { short(&value) };
        // A seed is the facts' alone, and a view root is looked at with the world.
        let by_the_world = match pointers {
            ["/pins/seed"] => reason == "WORLD_KEY_MISMATCH",
            ["/oracle_pack_ref/stream_view_root"] => true,
            _ => matches!(
                (side, reason),
                (Both, "WORLD_KEY_MISMATCH" | "STREAM_VIEW_ID_MISMATCH") | (_, "GATE_PASS_MISSING")
            ),
        };
        let what = format!("{side:?} {} {value}", pointers[0]);
        all.push(Altered { what, message, status, reason, by_the_world });
    }
    all
}

fn golden_has(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer).is_some()
}

/// Sets or, with null, removes; says whether there was a place for it.
fn set(root: &mut Value, pointer: &str, value: &Value) -> bool {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match root.pointer_mut(parent) {
        Some(Value::Object(parent)) if value.is_null() => parent.remove(key).is_some(),
        Some(Value::Object(parent)) => {
            parent.insert(key.to_owned(), value.clone());
            true
        }
        _ => false,
    }
}

fn short(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let tail: String = text.chars().rev().take(24).collect::<Vec<_>>().into_iter().rev().collect();
    if tail.len() < text.len() { format!("…{tail}") } else { tail }
}
