//! Another producer takes the checkpoint, or gives the verdict, at the worst instant.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use wsp::clock::SystemClock;
use wsp_world::checkpoint::{CheckpointStore, FileCheckpoints};
use wsp_world::evidence::Status;
use wsp_world::ig::memory::{MemoryGate, Step};
use wsp_world::model::Reason;
use wsp_world::profile::RequiredPacks;
use wsp_world::service::Direct;

use super::scene::{Call, RUN, Scene, answering, is_free};

#[tokio::test]
async fn a_verdict_that_came_before_the_hold_stands() {
    let scene = Scene::new();
    let gate = answering();
    let (record, checkpoints) = (scene.record_of(RUN), scene.folder.path().join("checkpoints"));
    let looks = Arc::new(AtomicU64::new(0));
    let counted = looks.clone();
    // Another producer streams the run to its end between our first look at the record and our hold on its checkpoint.
    let service = scene.service(&gate, move |call, key| {
        if call == "get" && key.contains("/ready_runs/") {
            counted.fetch_add(1, Ordering::SeqCst);
            if checkpoints.exists() {
                std::fs::create_dir_all(record.parent().unwrap()).unwrap();
                std::fs::write(&record, "{\"status\":\"STREAMED\"}\n").unwrap();
            }
        }
        Call::Passes
    });
    let taken = service.take(&scene.incoming).await.unwrap();
    assert_eq!((taken.verdict.status, taken.standing), (Status::SkippedDuplicate, Some(Status::Streamed)));
    assert!(looks.load(Ordering::SeqCst) >= 2);
    assert_eq!((gate.journal().attempts, scene.record(RUN).len()), (0, 1));
    assert!(!scene.facts(RUN).contains_key("RUN_STARTED"), "it was not started here: {:?}", scene.facts(RUN));
    assert!(is_free(&scene.scope().unwrap()), "and its checkpoint is let go of");
}

#[tokio::test]
async fn nobody_gets_the_checkpoint_before_the_verdict_stands() {
    let scene = Scene::new();
    let checkpoints = scene.folder.path().join("checkpoints");
    let told = Arc::new(AtomicU64::new(0));
    let counted = told.clone();
    let service = scene.service(&answering(), move |call, key| {
        if call == "append_unless" && key.contains("/ready_runs/") {
            let scope = std::fs::read_dir(&checkpoints).unwrap().next().unwrap().unwrap().path();
            assert!(!is_free(&scope), "another one could have begun the run again");
            counted.fetch_add(1, Ordering::SeqCst);
        }
        Call::Passes
    });
    assert_eq!(service.take(&scene.incoming).await.unwrap().verdict.status, Status::Streamed);
    assert_eq!(told.load(Ordering::SeqCst), 1);
    assert!(is_free(&scene.scope().unwrap()));
}

#[tokio::test]
async fn a_run_that_another_producer_has_now_gets_no_verdict_here() {
    let scene = Scene::new();
    let checkpoints = scene.folder.path().join("checkpoints");
    let pushes = AtomicU64::new(0);
    // Somebody takes our lock away in the middle of the run.
    let gate = MemoryGate::scripted(SystemClock::new(), move |_, _| {
        if pushes.fetch_add(1, Ordering::SeqCst) == 20 {
            let scope = std::fs::read_dir(&checkpoints).unwrap().next().unwrap().unwrap().path();
            std::fs::remove_file(scope.join(".lock")).unwrap();
        }
        Step::work(std::time::Duration::ZERO)
    });
    let taken = scene.service(&gate, |_, _| Call::Passes).take(&scene.incoming).await.unwrap();
    let expected = (Status::DeferredDownstreamNotReady, Some(Reason::CheckpointLeaseLost));
    assert_eq!((taken.verdict.status, taken.verdict.reason), expected);
    assert!(taken.summary.is_none() && gate.journal().attempts < 60, "{} attempts", gate.journal().attempts);
    assert_eq!(scene.record(RUN), [] as [Value; 0]);
    assert!(!scene.facts(RUN).contains_key("RUN_ENDED"), "{:?}", scene.facts(RUN));
    assert!(!scene.evidence(RUN, "wsp/wsp_summary.json").exists());
    let deferral = scene.evidence(RUN, &format!("wsp/deferrals/{}.json", scene.message_id()));
    assert!(std::fs::read_to_string(deferral).unwrap().contains("CHECKPOINT_LEASE_LOST"));
}

#[tokio::test]
async fn a_wait_for_packs_ends_with_the_verdict_of_another_process() {
    let mut scene = Scene::new();
    let required = std::mem::replace(
        &mut scene.profile.required_packs,
        RequiredPacks { files: Some(vec!["nowhere.yaml".into()]), same_run: true },
    );
    let waits = scene.service(&answering(), |_, _| Call::Passes);
    let taken = waits.take(&scene.incoming).await.unwrap();
    assert_eq!(taken.verdict.status, Status::DeferredDownstreamNotReady);
    scene.profile.required_packs = required;
    let streamed = scene.service(&answering(), |_, _| Call::Passes).take(&scene.incoming).await.unwrap();
    assert_eq!(streamed.verdict.status, Status::Streamed);
    let again = waits.take(&scene.incoming).await.unwrap();
    assert_eq!((again.verdict.status, again.standing), (Status::SkippedDuplicate, Some(Status::Streamed)));
}

#[tokio::test]
async fn a_run_by_hand_waits_for_a_checkpoint_that_another_one_holds() {
    let scene = Scene::new();
    let root = scene.folder.path().join("world").display().to_string();
    let scenario = scene.incoming.message.payload.scenario_id.clone();
    let direct = Direct::new(&scene.profile, &root, scenario.as_ref(), None, false).unwrap();
    let first = scene.service(&answering(), |_, _| Call::Passes).direct(&direct).await.unwrap();
    assert_eq!((first.status, first.refusal), (Status::Streamed, None));
    let scope = scene.scope().unwrap();
    let store = FileCheckpoints::new(scope.parent().unwrap().to_owned(), SystemClock::new());
    let held = store.open(&scope.file_name().unwrap().to_str().unwrap().parse().unwrap()).await.unwrap();
    let gate = answering();
    let second = scene.service(&gate, |_, _| Call::Passes).direct(&direct).await.unwrap();
    let reason = second.refusal.map(|refusal| refusal.reason);
    assert_eq!((second.status, reason), (Status::DeferredDownstreamNotReady, Some(Reason::CheckpointScopeBusy)));
    drop(held);
    assert_eq!(gate.journal().attempts, 0);
    assert_eq!(scene.facts(RUN), BTreeMap::new(), "neither leaves a fact");
    assert!(!scene.record_of(RUN).exists(), "nor a record");
    // A summary that the store does not take costs no event and is said.
    let service = scene.service(&gate, |call, key| {
        if call == "put" && key.ends_with("wsp_summary.direct.json") { Call::Fails } else { Call::Passes }
    });
    let third = service.direct(&direct).await.unwrap();
    assert_eq!((third.status, third.emitted), (Status::Streamed, 0));
    assert_eq!(third.unwritten.unwrap().reason, Reason::StoreUnavailable);
}
