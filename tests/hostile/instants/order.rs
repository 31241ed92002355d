//! Which verdict a READY gets when more than one thing is wrong with it, and what decides whose run it is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use wsp::clock::SystemClock;
use wsp_world::checkpoint::{CheckpointStore, FileCheckpoints};
use wsp_world::evidence::Status;
use wsp_world::model::{Hex64, Micros, Reason};
use wsp_world::profile::RequiredPacks;
use wsp_world::ready::Incoming;

use super::scene::{Call, OTHER, RUN, Scene, answering};

async fn verdict(scene: &Scene) -> (Status, Option<Reason>) {
    let taken = scene.service(&answering(), |_, _| Call::Passes).take(&scene.incoming).await.unwrap();
    (taken.verdict.status, taken.verdict.reason)
}

fn refused(reason: Reason) -> (Status, Option<Reason>) {
    (Status::Failed, Some(reason))
}

fn deferred(reason: Reason) -> (Status, Option<Reason>) {
    (Status::DeferredDownstreamNotReady, Some(reason))
}

/// Everything is wrong with a READY; one thing after the other is put right.
#[tokio::test]
async fn the_first_step_that_refuses_gives_the_reason() {
    let mut scene = Scene::new();
    let no_summary = |call: &str, key: &str| {
        if call == "put" && key.ends_with("wsp_summary.json") { Call::Fails } else { Call::Passes }
    };
    // The run was streamed whole under another READY, and the store has not taken its end yet.
    let streamed = scene.service(&answering(), no_summary).take(&scene.incoming).await.unwrap();
    assert_eq!((streamed.verdict.status, streamed.unwritten.is_some()), (Status::Streamed, true));
    let good = scene.incoming.message.clone();
    let mut ready = good.clone();
    ready.payload.message_id = Hex64::sha256("another READY of the run");
    "fraud-platform/nowhere.json".clone_into(&mut ready.payload.facts_view_ref);
    ready.payload.emitted_at_utc = Micros::parse(b"2020-01-01T00:00:00Z");
    ready.payload.oracle_pack_ref = None;
    let source = scene.incoming.source.clone();
    scene.incoming = Incoming::by_hand(ready, source);
    scene.profile.policy.ready_max_age = Some(Duration::from_hours(1));
    scene.profile.required_packs = RequiredPacks { files: Some(vec!["nowhere.yaml".into()]), same_run: true };
    let (seal, aside) = (scene.folder.path().join("world/_SEALED.json"), scene.folder.path().join("seal"));
    std::fs::rename(&seal, &aside).unwrap();
    let scope = scene.scope().unwrap();
    let checkpoints = FileCheckpoints::new(scope.parent().unwrap().to_owned(), SystemClock::new());
    let hold = checkpoints.open(&scope.file_name().unwrap().to_str().unwrap().parse().unwrap()).await.unwrap();
    let records = [scene.record_of(RUN), scene.record_of(OTHER)];
    for record in &records {
        std::fs::create_dir_all(record.parent().unwrap()).unwrap();
        std::fs::write(record, "{\"status\":\"STREAMED\"}\n").unwrap();
    }

    let unwritten = scene.service(&answering(), no_summary).take(&scene.incoming).await.unwrap_err();
    assert_eq!(unwritten.reason, Reason::StoreUnavailable, "ends that are not written come first");
    assert_eq!(verdict(&scene).await, (Status::SkippedDuplicate, None), "the record of the active run");
    scene.profile.platform_run_id = Some(OTHER.parse().unwrap());
    assert_eq!(verdict(&scene).await, (Status::SkippedDuplicate, None), "also where the run is another one");
    for record in &records {
        std::fs::remove_file(record).unwrap();
    }
    let foreign = (Status::SkippedOutOfScope, Some(Reason::PlatformRunScopeMismatch));
    assert_eq!(verdict(&scene).await, foreign);
    scene.profile.platform_run_id = Some(RUN.parse().unwrap());
    assert_eq!(verdict(&scene).await, refused(Reason::RunFactsInvalid));
    scene.incoming.message.payload.facts_view_ref.clone_from(&good.payload.facts_view_ref);
    assert_eq!(verdict(&scene).await, refused(Reason::ReadyTooOld));
    scene.incoming.message.payload.emitted_at_utc = good.payload.emitted_at_utc;
    assert_eq!(verdict(&scene).await, refused(Reason::RunAlreadyStreamed));
    for evidence in ["wsp", "obs"] {
        std::fs::remove_dir_all(scene.evidence(RUN, evidence)).unwrap();
    }
    assert_eq!(verdict(&scene).await, refused(Reason::EngineRootMissing));
    scene.incoming.message.payload.oracle_pack_ref.clone_from(&good.payload.oracle_pack_ref);
    assert_eq!(verdict(&scene).await, deferred(Reason::PackFileMissing));
    scene.profile.required_packs.files = Some(Vec::new());
    assert_eq!(verdict(&scene).await, refused(Reason::PackNotSealed));
    std::fs::rename(&aside, &seal).unwrap();
    assert_eq!(verdict(&scene).await, deferred(Reason::CheckpointScopeBusy));
    drop(hold);
    checkpoints.released().await;
    assert_eq!(verdict(&scene).await, (Status::Streamed, None), "and nothing else was wrong");
}

#[tokio::test]
async fn without_an_active_run_a_ready_of_any_run_is_in_scope() {
    let mut scene = Scene::new();
    scene.profile.platform_run_id = Some(OTHER.parse().unwrap());
    assert_eq!(verdict(&scene).await.0, Status::SkippedOutOfScope);
    scene.profile.platform_run_id = None;
    assert_eq!(verdict(&scene).await, (Status::Streamed, None));
    assert_eq!(scene.record(RUN).len(), 1, "its record is in its own folder");
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { &mut folders } else { &mut files }.push(path);
        }
    }
    files.sort();
    files
}

#[tokio::test]
async fn a_ready_of_no_run_while_none_is_active_fails_and_leaves_nothing() {
    let mut scene = Scene::new();
    scene.profile.platform_run_id = None;
    scene.incoming.message.payload.platform_run_id = None;
    let before = files_below(scene.folder.path());
    let gate = answering();
    let taken = scene.service(&gate, |_, _| Call::Passes).take(&scene.incoming).await.unwrap();
    assert_eq!((taken.verdict.status, taken.verdict.reason), refused(Reason::PlatformRunIdMissing));
    assert_eq!(taken.refusal.unwrap().place.field.as_deref(), Some("platform_run_id"));
    assert_eq!(gate.journal().attempts, 0);
    assert_eq!(files_below(scene.folder.path()), before, "there is no place for a record");
}
