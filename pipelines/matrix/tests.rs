//! What "0 attempts" means: a READY that is not refused would have been tried, without success.

use std::path::Path;

use wsp::clock::SystemClock;
use wsp::deliver::HttpGate;
use wsp_observe::readiness::ControlTopic;
use wsp_reference::LocalRun;
use wsp_reference::world::run_files::CONTROL_TOPIC;
use wsp_reference::world::{WorldSpec, generate};
use wsp_world::evidence::Status;
use wsp_world::ig::parse_ig_endpoint;
use wsp_world::model::{Micros, Reason, Secret};
use wsp_world::profile::Profile;
use wsp_world::ready::{Parsed, Ready, message};

use super::report::Seen;
use super::trial::Trial;
use super::*;

const RUN: &str = "platform_20260101T000000Z";

/// A world, its READY, and a matrix of it whose real gate is not there.
fn set(folder: &Path) -> (Matrix<SystemClock>, Ready) {
    let root = folder.join("world");
    let world = generate(&root, root.to_str().unwrap(), &WorldSpec::new(400)).unwrap();
    let clock = SystemClock::new();
    let local = LocalRun { name: "test", in_flight: 1, ..LocalRun::new(folder, "http://127.0.0.1:1", "test-key") };
    let published = local.publish(&world, &RUN.parse().unwrap(), clock.utc()).unwrap();
    let text = std::fs::read(published.ready_file).unwrap();
    let Ok(Parsed::Ready(ready)) = message::parse(&text, CONTROL_TOPIC) else { panic!("no READY") };
    let mut profile = Profile::load(&local.profile().unwrap(), &|_| None).unwrap();
    profile.checkpoint.flush_every = 1;
    profile.platform_run_id = Some(RUN.parse().unwrap());
    let gate =
        HttpGate::new(parse_ig_endpoint("http://127.0.0.1:1", "X-Key", &Secret::new("k")).unwrap(), clock).unwrap();
    let matrix = Matrix {
        profile,
        run: RUN.parse().unwrap(),
        named: None,
        on_topic: Ok(None),
        control: ControlTopic::Folder(folder.join("control_bus")),
        stranger: gate.clone(),
        gate,
        max_events: 2,
        secrets: Vec::new(),
        scratch: folder.join("scratch"),
        clock,
    };
    (matrix, *ready)
}

fn files(folder: &Path) -> Vec<String> {
    let mut folders = vec![folder.to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path.display().to_string()) }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn one_that_is_not_refused_meets_a_gate_without_address_and_is_red() {
    let folder = tempfile::tempdir().unwrap();
    let (matrix, ready) = set(folder.path());
    let before = files(&folder.path().join("store"));
    let mut trial = Trial::new(&matrix, "C1.foreign", ready.clone()).unwrap();
    trial.rename();
    assert_ne!(trial.ready.payload.message_id, ready.payload.message_id);
    let (taken, attempts, written) = trial.judge().await.unwrap();
    let verdict = &taken.verdict;
    assert_eq!((verdict.status, verdict.reason), (Status::Failed, Some(Reason::IgPushRejected)));
    assert!(attempts > 0 && verdict.emitted == 0, "{attempts} attempts");
    assert!(written.contents().keys().any(|key| key.contains("/ready_runs/")), "it tells what it would have told");
    assert_eq!(files(&folder.path().join("store")), before, "and leaves nothing");
    assert!(
        files(&folder.path().join("checkpoints")).iter().all(|name| !name.contains("cursor")),
        "not even a position"
    );

    let seen = Trial::new(&matrix, "C1.foreign", ready).unwrap().seen(&matrix).await.unwrap();
    assert_eq!(seen.result, Outcome::Red);
    assert!(seen.told.starts_with("FAILED IG_PUSH_REJECTED"), "{}", seen.told);
}

#[tokio::test]
async fn what_needs_a_part_that_is_away_is_not_tried() {
    let folder = tempfile::tempdir().unwrap();
    let (matrix, _) = set(folder.path());
    let mut report = Report::new(&matrix.profile, &matrix.run, 2, Micros(0));
    report.ready(None);
    assert!(!report.fill("C3.gate", async { Seen::red("away", "restore it") }).await);
    let untried = async || -> Seen { panic!("it needs the gate") };
    report.fill("C3.key", untried()).await;
    report.fill("C1.store", async { Seen::green("there") }).await;
    report.finish(Micros(1));
    let row = |id: &str| report.rows.iter().find(|row| row.id == id).unwrap();
    assert_eq!(row("C3.key").why.as_deref(), Some("C3.gate is red, and this needs the gate"));
    assert_eq!(row("C2.world").why.as_deref(), Some("C1.ready is red, and this needs the READY"));
    assert_eq!((report.rows.len(), report.count(Outcome::Green), report.green), (ROWS.len(), 1, false));
    assert!(report.rows.iter().map(|row| row.id).eq(ROWS.iter().map(|spec| spec.id)), "in the order of the rows");
}
