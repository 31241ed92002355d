//! READYs with one thing wrong, each taken by the service with its store aside and its gate shut.
//!
//! ```text
//! READY, facts, profile ──Case──► Trial: id of its own, Aside, ShutGate ──► verdict, attempts, what it wrote
//! ```
//!
//! A doctored READY is never published. Its id is derived from row and READY, its source names the matrix, and its positions
//! would be saved under an attempt of their own.

use serde_json::{Value, json};
use wsp::clock::Clock;
use wsp::store::ObjectStore;
use wsp_world::evidence::unavailable;
use wsp_world::model::{CheckList, Hex64, Micros, Refusal};
use wsp_world::oracle::view::DEFAULT_BASE;
use wsp_world::prepare::{self, Prepared};
use wsp_world::profile::Profile;
use wsp_world::ready::{Parsed, Ready, message};
use wsp_world::run::facts;

use super::matrix::Matrix;
use super::places::{Place, lay};
use super::report::{Report, Seen};
use super::trial::Trial;
use super::{kept, operated};

/// Ids that no run has.
const OTHER_32: &str = "00000000000000000000000000000000";
const OTHER_RUN: &str = "platform_20000101T000000Z";

/// The change that a row makes.
struct Case {
    id: &'static str,
    ready: fn(&mut Ready),
    facts: Option<fn(&mut Value)>,
    profile: fn(&mut Profile),
    place: Option<Place>,
    /// Why the profile does not require it, where it does not.
    unless: fn(&Profile) -> Option<&'static str>,
}

const PLAIN: Case = Case { id: "", ready: |_| {}, facts: None, profile: |_| {}, place: None, unless: |_| None };

/// Cases that READY and facts alone decide.
const OF_READY: &[Case] = &[
    Case { id: "C1.foreign", ready: |r| r.payload.platform_run_id = OTHER_RUN.parse().ok(), ..PLAIN },
    Case { id: "C1.no_run", ready: |r| r.payload.platform_run_id = None, ..PLAIN },
    Case {
        id: "C1.stale",
        ready: |r| r.payload.emitted_at_utc = Micros::parse(b"2020-01-01T00:00:00Z"),
        profile: |p| p.policy.ready_max_age = p.policy.ready_max_age.or(Some(std::time::Duration::from_hours(1))),
        ..PLAIN
    },
    Case {
        id: "C1.facts_run",
        facts: Some(|f| {
            f["platform_run_id"] = OTHER_RUN.into();
            f["pins"]["platform_run_id"] = OTHER_RUN.into();
        }),
        ..PLAIN
    },
    Case { id: "C1.scenario_run", ready: |r| r.payload.scenario_run_id = OTHER_32.parse().ok(), ..PLAIN },
    Case { id: "C1.no_scenario", ready: |r| r.payload.scenario_id = None, ..PLAIN },
    Case { id: "C1.scenario", ready: |r| r.payload.scenario_id = "wsp_matrix".parse().ok(), ..PLAIN },
    Case { id: "C1.fingerprint", ready: |r| r.payload.manifest_fingerprint = other(), ..PLAIN },
    Case { id: "C1.parameters", ready: |r| r.payload.parameter_hash = other(), ..PLAIN },
    Case {
        id: "C1.no_seed",
        facts: Some(|f| drop(f["pins"].as_object_mut().map(|pins| pins.remove("seed")))),
        ..PLAIN
    },
    Case {
        id: "C1.sr_run",
        ready: |r| {
            // Without one, the scenario run would be the changed `run_id`.
            r.payload.scenario_run_id = Some(r.scenario_run_id().clone());
            if let Ok(other) = OTHER_32.parse() {
                r.payload.run_id = other;
            }
        },
        ..PLAIN
    },
    Case { id: "C1.bundle", ready: |r| r.payload.bundle_hash = other(), ..PLAIN },
    Case { id: "C1.config", ready: |r| r.payload.run_config_digest = other(), ..PLAIN },
    Case {
        id: "C1.no_facts",
        ready: |r| "wsp-matrix/no-such-facts.json".clone_into(&mut r.payload.facts_view_ref),
        ..PLAIN
    },
    Case { id: "C1.open_facts", facts: Some(|f| f["wsp_matrix"] = json!(true)), ..PLAIN },
    Case {
        id: "C2.climbing",
        ready: |r| "wsp-matrix/../../facts.json".clone_into(&mut r.payload.facts_view_ref),
        ..PLAIN
    },
    Case { id: "C2.local", ready: |r| "file:///etc/hostname".clone_into(&mut r.payload.facts_view_ref), ..PLAIN },
];

fn seal_waived(profile: &Profile) -> Option<&'static str> {
    (!profile.policy.require_seal).then_some("policy.require_seal is false")
}

fn gates_waived(profile: &Profile) -> Option<&'static str> {
    (!profile.policy.require_gate_pass).then_some("policy.require_gate_pass is false")
}

/// Cases that the world decides.
const OF_WORLD: &[Case] = &[
    Case {
        id: "C2.other_world",
        facts: Some(|f| f["pins"]["seed"] = (f["pins"]["seed"].as_u64().unwrap_or(0) ^ 1).into()),
        ..PLAIN
    },
    Case {
        id: "C2.other_pack",
        ready: |r| r.payload.oracle_pack_ref.get_or_insert_default().oracle_pack_id = Some(other()),
        facts: Some(|f| f["oracle_pack_ref"]["oracle_pack_id"] = other().as_str().into()),
        unless: seal_waived,
        ..PLAIN
    },
    Case { id: "C2.no_world", place: Some(Place::Empty), ..PLAIN },
    Case { id: "C2.no_seal", place: Some(Place::Unsealed), unless: seal_waived, ..PLAIN },
    Case { id: "C2.failed_seal", place: Some(Place::SealFailed), unless: seal_waived, ..PLAIN },
    Case {
        id: "C2.failed_gate",
        facts: Some(|f| {
            let receipts = f["gate_receipts"].as_array_mut();
            receipts.into_iter().flatten().for_each(|receipt| receipt["status"] = "FAIL".into());
        }),
        unless: gates_waived,
        ..PLAIN
    },
    Case { id: "C2.no_flag", place: Some(Place::Sealed), unless: gates_waived, ..PLAIN },
    Case { id: "C2.no_view", place: Some(Place::Gated), ..PLAIN },
    Case { id: "C2.moved_view", place: Some(Place::Viewed), ..PLAIN },
];

fn other() -> Hex64 {
    Hex64::sha256("wsp matrix")
}

/// Fills every row of a READY that has to be refused; returns the real one's world, if it is in order.
pub(super) async fn refused<C: Clock + std::fmt::Debug>(
    m: &Matrix<C>,
    ready: &Ready,
    report: &mut Report,
) -> Option<Prepared> {
    for (id, doctor) in [("C1.unknown_key", add_a_key as fn(&mut Value)), ("C1.two_ids", change_the_id)] {
        report.fill(id, async { passed_over(m, ready, doctor) }).await;
    }
    for case in OF_READY {
        report.fill(case.id, tried(m, ready, case, None)).await;
    }
    report.fill("C4.wait", operated::waits(m, ready)).await;
    let mut world = None;
    let look = async {
        let mut checks = CheckList::new();
        let run = prepare::of_ready_checked(&m.profile, ready, &mut checks).await?;
        let (rows, checks) = (run.outputs.iter().map(|output| output.view.rows).sum::<u64>(), checks.checks().len());
        let seen = format!("{checks} checks of {}; {rows} rows in {} outputs", run.engine_root, run.outputs.len());
        world = Some(run);
        Ok::<_, Refusal>(seen)
    };
    report.fill("C2.world", look).await;
    for case in OF_WORLD {
        report.fill(case.id, tried(m, ready, case, world.as_ref())).await;
    }
    world
}

fn add_a_key(message: &mut Value) {
    message["payload"]["wsp_matrix"] = json!(true);
}

fn change_the_id(message: &mut Value) {
    message["message_id"] = other().as_str().into();
}

/// A message that is a READY until `doctor` changes it.
fn passed_over<C>(m: &Matrix<C>, ready: &Ready, doctor: fn(&mut Value)) -> Seen {
    let payload = &ready.payload;
    let mut text = json!({
        "topic": m.profile.topic,
        "message_id": payload.message_id,
        "attributes": {"kind": "READY"},
        "payload": {
            "message_id": payload.message_id,
            "run_id": payload.run_id,
            "platform_run_id": payload.platform_run_id,
            "scenario_run_id": payload.scenario_run_id,
            "facts_view_ref": payload.facts_view_ref,
            "bundle_hash": payload.bundle_hash,
            "run_config_digest": payload.run_config_digest,
            "manifest_fingerprint": payload.manifest_fingerprint,
            "parameter_hash": payload.parameter_hash,
            "scenario_id": payload.scenario_id,
        },
    });
    let parse = |text: &Value| message::parse(text.to_string().as_bytes(), &m.profile.topic);
    if !matches!(parse(&text), Ok(Parsed::Ready(_))) {
        return Seen::red("not even READY itself is one", "Report it with the READY.");
    }
    doctor(&mut text);
    match parse(&text) {
        Err(error) => Seen::green(format!("no READY: {error}")),
        Ok(_) => Seen::red("a READY", "Report it with the READY."),
    }
}

async fn tried<C: Clock + std::fmt::Debug>(
    m: &Matrix<C>,
    ready: &Ready,
    case: &Case,
    world: Option<&Prepared>,
) -> Result<Seen, Refusal> {
    if let Some(why) = (case.unless)(&m.profile) {
        return Ok(Seen::not_run(why));
    }
    doctored(m, ready, case, world).await?.seen(m).await
}

async fn doctored<'a, C: Clock + std::fmt::Debug>(
    m: &'a Matrix<C>,
    ready: &Ready,
    case: &Case,
    world: Option<&Prepared>,
) -> Result<Trial<'a, C>, Refusal> {
    let mut trial = Trial::new(m, case.id, ready.clone())?;
    trial.rename();
    (case.ready)(&mut trial.ready);
    (case.profile)(&mut trial.profile);
    if let Some(doctor) = case.facts {
        let key = facts::locate(&ready.payload.facts_view_ref, trial.aside.root())?;
        let body = trial.aside.get(&key, facts::MAX_BYTES).await.map_err(unavailable)?;
        let mut facts: Value = serde_json::from_slice(&body.unwrap_or_default()).unwrap_or_default();
        doctor(&mut facts);
        let name = kept::object(m, &format!("facts/{}.json", case.id))?;
        trial.aside.put(&name, facts.to_string().into()).await.map_err(unavailable)?;
        trial.ready.payload.facts_view_ref = name.as_str().to_owned();
    }
    if let (Some(place), Some(world)) = (case.place, world) {
        let root = lay(m, case.id, world, place).await?;
        trial.profile.oracle.stream_view_root = Some(format!("{root}/{DEFAULT_BASE}"));
        trial.profile.oracle.engine_run_root = Some(root);
    }
    Ok(trial)
}
