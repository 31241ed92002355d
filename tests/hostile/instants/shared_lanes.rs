//! Workers that share a run, as services on one folder.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use serde_json::Value;
use tokio::sync::Notify;
use wsp::clock::SystemClock;
use wsp::random::Random;
use wsp::stop::Stop;
use wsp_world::evidence::Status;
use wsp_world::ig::memory::{MemoryGate, Step};
use wsp_world::lanes::Caller;
use wsp_world::model::{LaneKey, Lanes, Position, Reason, Refusal};
use wsp_world::producer::{Caps, Settings};
use wsp_world::profile::LanesWiring;
use wsp_world::ready::{Incoming, Outgoing, Parsed, Source, message};
use wsp_world::service::Service;
use wsp_world::telemetry::Telemetry;
use wsp_world::telemetry::status::Stage;

use super::scene::{Call, RUN, Scene, answering, is_free};

const CALLS: &str = "fp.bus.wsp.lanes.v1";

/// A scene whose run has three lanes.
fn scene(per_worker: usize) -> Scene {
    let mut scene = Scene::new();
    let lanes = Lanes { count: NonZeroU32::new(3).unwrap(), by: LaneKey::OrderKey };
    let per_worker = NonZeroUsize::new(per_worker).unwrap();
    let topic = CALLS.to_owned();
    scene.profile.lanes = Some(LanesWiring { lanes, topic, per_worker, max_skew: None });
    scene
}

/// A gate that refuses every event from its `from`-th attempt on, to its `to`-th.
fn refusing(from: u64, to: u64) -> MemoryGate<SystemClock> {
    let pushes = AtomicU64::new(0);
    MemoryGate::scripted(SystemClock::new(), move |_, _| {
        if (from..to).contains(&pushes.fetch_add(1, Ordering::SeqCst)) {
            Step::answer(422, "{}")
        } else {
            Step::work(Duration::ZERO)
        }
    })
}

fn once() -> BTreeMap<String, usize> {
    ["RUN_READY_SEEN", "RUN_STARTED", "RUN_ENDED"].map(|family| (family.to_owned(), 1)).into()
}

fn summary(scene: &Scene) -> Value {
    serde_json::from_slice(&std::fs::read(scene.evidence(RUN, "wsp/wsp_summary.json")).unwrap()).unwrap()
}

#[tokio::test]
async fn one_worker_streams_all_lanes_one_after_the_other() {
    let scene = scene(1);
    let gate = answering();
    let taken = scene.service(&gate, |_, _| Call::Passes).take(&scene.incoming).await.unwrap();
    assert_eq!((taken.verdict.status, taken.verdict.emitted, taken.unwritten), (Status::Streamed, 60, None));
    assert_eq!(gate.journal().attempts, 60);
    assert_eq!((scene.record(RUN).len(), scene.facts(RUN)), (1, once()));
    let summary = summary(&scene);
    assert_eq!((summary["emitted"].as_u64(), summary["lanes"]["ends"].as_array().unwrap().len()), (Some(60), 3));
    assert!(summary.get("lane").is_none());
    let again = scene.service(&gate, |_, _| Call::Passes).take(&scene.incoming).await.unwrap();
    assert_eq!(again.verdict.status, Status::SkippedDuplicate);
}

#[tokio::test]
async fn the_end_of_a_lane_is_not_taken_for_the_end_of_the_run() {
    let (scene, clock) = (scene(1), SystemClock::new());
    let telemetry = Telemetry::new(&clock);
    let ended = Arc::new(Mutex::new(Vec::new()));
    let (told, seen) = (telemetry.clone(), ended.clone());
    let gate = MemoryGate::scripted(clock, move |_, _| {
        let status = told.status(&clock);
        seen.lock().unwrap().push((status.last.is_some(), status.taken_up.map(|taken_up| taken_up.stage)));
        Step::work(Duration::ZERO)
    });
    let service = scene.service(&gate, |_, _| Call::Passes).telemetry(telemetry.clone());
    assert_eq!(service.take(&scene.incoming).await.unwrap().verdict.status, Status::Streamed);
    assert_eq!(*ended.lock().unwrap(), vec![(false, Some(Stage::Sharing)); 60], "whichever lane is streamed");
    let last = telemetry.status(&clock).last.unwrap();
    assert_eq!((last.status, last.answered), (Status::Streamed, 60), "the run's");
    assert_eq!(telemetry.lanes(&clock).await, None, "it is over");
}

#[tokio::test]
async fn workers_at_once_leave_one_of_everything() {
    let scene = scene(2);
    let gate = answering();
    let services: Vec<_> = (0..3).map(|_| scene.service(&gate, |_, _| Call::Passes)).collect();
    let taken = join_all(services.iter().map(|service| service.take(&scene.incoming))).await;
    for taken in taken {
        let taken = taken.unwrap();
        assert!([Status::Streamed, Status::SkippedDuplicate].contains(&taken.verdict.status), "{taken:?}");
    }
    assert_eq!(gate.journal().attempts, 60);
    assert_eq!((scene.record(RUN).len(), scene.facts(RUN)), (1, once()));
    assert_eq!(scene.record(RUN)[0]["emitted"], 60);
    let mut lanes: Vec<_> = std::fs::read_dir(scene.folder.path().join("checkpoints")).unwrap().collect();
    assert_eq!(lanes.len(), 3);
    assert!(is_free(&lanes.remove(0).unwrap().path()));
}

#[tokio::test]
async fn a_lane_that_fails_fails_the_run_once_all_have_ended_and_the_next_look_streams_it_alone() {
    let scene = scene(1);
    let gate = refusing(5, 6);
    let service = scene.service(&gate, |_, _| Call::Passes);
    let taken = service.take(&scene.incoming).await.unwrap();
    assert_eq!((taken.verdict.status, taken.verdict.reason), (Status::Failed, Some(Reason::IgPushRejected)));
    assert!(taken.refusal.unwrap().detail.contains("lane-"));
    let first = summary(&scene);
    let statuses: Vec<_> = first["lanes"]["ends"].as_array().unwrap().iter().map(|end| &end["status"]).collect();
    assert_eq!(statuses.iter().filter(|status| **status == "STREAMED").count(), 2, "the others went on: {statuses:?}");
    assert_eq!((scene.record(RUN).len(), scene.facts(RUN)), (1, once()));

    let sent = gate.journal().attempts;
    let again = service.take(&scene.incoming).await.unwrap();
    assert_eq!((again.verdict.status, again.verdict.emitted), (Status::Streamed, 60));
    assert!(gate.journal().attempts - sent < 60, "lanes that are streamed are not streamed again");
    let record = scene.record(RUN);
    assert_eq!(record.iter().map(|line| line["status"].as_str().unwrap()).collect::<Vec<_>>(), ["FAILED", "STREAMED"]);
    assert_eq!(scene.facts(RUN)["RUN_ENDED"], 2);
    assert_eq!(scene.facts(RUN)["RUN_STARTED"], 1);
}

#[tokio::test]
async fn a_worker_that_is_stopped_leaves_its_lane_to_the_next_one() {
    let scene = scene(1);
    let pushes = AtomicU64::new(0);
    let stop = Stop::new();
    let stopping = stop.clone();
    let gate = MemoryGate::scripted(SystemClock::new(), move |_, _| {
        if pushes.fetch_add(1, Ordering::SeqCst) == 7 {
            stopping.request();
        }
        Step::work(Duration::ZERO)
    });
    let stopped = scene.stoppable(&gate, stop, |_, _| Call::Passes);
    let taken = stopped.take(&scene.incoming).await.unwrap();
    assert_eq!((taken.verdict.status, taken.verdict.reason), (Status::Failed, Some(Reason::RunStopped)));
    assert_eq!(scene.record(RUN), [] as [Value; 0], "the run goes on without it");
    assert!(!scene.facts(RUN).contains_key("RUN_ENDED"));

    let taken = scene.service(&gate, |_, _| Call::Passes).take(&scene.incoming).await.unwrap();
    assert_eq!((taken.verdict.status, taken.verdict.emitted), (Status::Streamed, 60));
    assert_eq!((scene.record(RUN).len(), scene.facts(RUN)), (1, once()));
    assert_eq!(gate.journal().admitted.len(), 60);
}

#[tokio::test]
async fn what_a_worker_that_decided_had_not_written_another_one_writes() {
    let scene = scene(3);
    let gate = answering();
    // It can write the verdict, and then nothing more.
    let decided = Arc::new(AtomicU64::new(0));
    let seen = decided.clone();
    let first = scene.service(&gate, move |call, key| {
        if seen.load(Ordering::SeqCst) > 0 && call != "get" {
            return Call::Fails;
        }
        if call == "put_new" && key.ends_with("/verdict.json") {
            seen.fetch_add(1, Ordering::SeqCst);
        }
        Call::Passes
    });
    let taken = first.take(&scene.incoming).await.unwrap();
    assert!(taken.unwritten.is_some() && decided.load(Ordering::SeqCst) == 1);
    assert_eq!(scene.record(RUN).len(), 0);
    let folder = tempfile::tempdir().unwrap();
    let second = scene.service(&gate, |_, _| Call::Passes).in_folder(folder.path());
    let taken = second.take(&scene.incoming).await.unwrap();
    assert_eq!((taken.verdict.status, taken.verdict.emitted), (Status::Streamed, 60));
    assert_eq!((scene.record(RUN).len(), scene.facts(RUN), gate.journal().attempts), (1, once(), 60));
    // The first one finds it written.
    assert!(first.take(&scene.incoming).await.is_err(), "its store is still away");
    assert_eq!(scene.record(RUN).len(), 1);
}

#[tokio::test]
async fn a_worker_with_other_lanes_does_not_touch_the_run() {
    let scene = scene(1);
    let gate = refusing(5, 6);
    scene.service(&gate, |_, _| Call::Passes).take(&scene.incoming).await.unwrap();
    let started = std::fs::read(scene.evidence(RUN, "wsp/wsp_start.json")).unwrap();
    let foreign = async |scene: &Scene| {
        let mut profile = scene.profile.clone();
        profile.lanes.as_mut().unwrap().lanes.count = NonZeroU32::new(4).unwrap();
        let settings = Settings::new(&profile, Caps::default());
        let service = Service::new(profile, settings, gate.clone(), SystemClock::new(), Stop::new()).unwrap();
        service.in_folder(scene.folder.path()).take(&scene.incoming).await
    };
    let sent = gate.journal().attempts;
    let waits = (Status::DeferredDownstreamNotReady, Some(Reason::LaneTasksForeign));
    let taken = Box::pin(foreign(&scene)).await.unwrap();
    assert_eq!((taken.verdict.status, taken.verdict.reason), waits);
    assert_eq!(gate.journal().attempts, sent, "it would send all of it again");
    // Tasks of a round under way: nobody has ended the second one.
    let stop = Stop::new();
    stop.request();
    let stopped = scene.stoppable(&gate, stop, |_, _| Call::Passes);
    let left = stopped.take(&scene.incoming).await.unwrap();
    assert_eq!(left.verdict.reason, Some(Reason::RunStopped));
    let taken = Box::pin(foreign(&scene)).await.unwrap();
    assert_eq!((taken.verdict.status, taken.verdict.reason), waits);
    assert_eq!((gate.journal().attempts, scene.record(RUN).len()), (sent, 1));
    assert_ne!(std::fs::read(scene.evidence(RUN, "wsp/wsp_start.json")).unwrap(), started, "the second round's start");
}

/// A lanes topic in memory.
#[derive(Debug, Default)]
struct Calls(Mutex<Vec<Bytes>>);

impl Caller for Calls {
    fn topic(&self) -> &str {
        CALLS
    }

    fn call(&self, calls: Vec<Outgoing>) -> BoxFuture<'_, Result<(), Refusal>> {
        self.0.lock().unwrap().extend(calls.into_iter().map(|call| call.body));
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test]
async fn who_has_ready_alone_calls_the_others_and_they_call_nobody() {
    let scene = scene(1);
    let gate = answering();
    let calls = Arc::new(Calls::default());
    let service = || scene.service(&gate, |_, _| Call::Passes).calling(calls.clone());
    let taken = service().take(&scene.incoming).await.unwrap();
    assert_eq!(taken.verdict.status, Status::Streamed);
    let called = calls.0.lock().unwrap().clone();
    assert_eq!(called.len(), 3, "one a lane");
    for call in called {
        let Ok(Parsed::Ready(ready)) = message::parse(&call, CALLS) else { panic!("no READY") };
        let source = Source { topic: CALLS.to_owned(), partition: None, offset: None, name: "a call".to_owned() };
        let taken = service().take(&Incoming::by_hand(*ready, source)).await.unwrap();
        assert_eq!((taken.verdict.status, taken.standing), (Status::SkippedDuplicate, Some(Status::Streamed)));
    }
    assert_eq!((calls.0.lock().unwrap().len(), gate.journal().attempts), (3, 60));
}

/// What befalls the workers of one seed: asked at each push.
struct Fate {
    random: Mutex<Random>,
    checkpoints: PathBuf,
    /// The workers that are there, to be stopped or killed.
    workers: Mutex<Vec<(Stop, Arc<Notify>)>>,
    blows: AtomicU64,
}

impl Fate {
    /// Now and then a worker dies, is stopped, or loses its hold without knowing it.
    fn strike(&self) {
        let mut random = self.random.lock().unwrap();
        if self.blows.load(Ordering::SeqCst) == 0 || random.below(12) > 0 {
            return;
        }
        self.blows.fetch_sub(1, Ordering::SeqCst);
        let workers = self.workers.lock().unwrap();
        let (stop, killed) = &workers[random.below(workers.len() as u64) as usize];
        match random.below(3) {
            0 => stop.request(),
            1 => killed.notify_one(),
            _ => {
                let scopes: Vec<_> = std::fs::read_dir(&self.checkpoints).unwrap().collect();
                let scope = scopes[random.below(scopes.len() as u64) as usize].as_ref().unwrap().path();
                let _ = std::fs::remove_file(scope.join(".lock"));
            }
        }
    }
}

/// Workers that come, die, are stopped, and lose holds without knowing it, by a seed.
async fn survives(seed: u64) {
    let scene = scene(1 + (seed % 3) as usize);
    let fate = Arc::new(Fate {
        random: Mutex::new(Random::of(&[seed])),
        checkpoints: scene.folder.path().join("checkpoints"),
        workers: Mutex::default(),
        blows: AtomicU64::new(6),
    });
    let striking = fate.clone();
    let gate = MemoryGate::scripted(SystemClock::new(), move |_, _| {
        striking.strike();
        Step::work(Duration::ZERO)
    });
    // As an orchestrator does it: whoever ended without a verdict is started again.
    for generation in 0.. {
        assert!(generation < 30, "seed {seed}: the run does not end");
        let count = 1 + fate.random.lock().unwrap().below(3) as usize;
        let workers: Vec<_> = (0..count).map(|_| (Stop::new(), Arc::new(Notify::new()))).collect();
        fate.workers.lock().unwrap().clone_from(&workers);
        let working = workers.into_iter().map(async |(stop, killed)| {
            let service = scene.stoppable(&gate, stop, |_, _| Call::Passes);
            tokio::select! {
                taken = service.take(&scene.incoming) => Some(taken.unwrap().verdict.status),
                () = killed.notified() => None,
            }
        });
        let ended = join_all(working).await;
        if ended.iter().flatten().any(|status| matches!(status, Status::Streamed | Status::SkippedDuplicate)) {
            break;
        }
    }
    let journal = gate.journal();
    assert_eq!(journal.admitted.len(), 60, "seed {seed}");
    let mut last = BTreeMap::new();
    for (key, Position { rank, file, row, .. }) in journal.admitted {
        let before = last.insert((key, rank), (file, row));
        assert!(before < Some((file, row)), "seed {seed}: an event of its key came before it");
    }
    let record = scene.record(RUN);
    let [verdict] = record.as_slice() else { panic!("seed {seed}: {record:?}") };
    assert_eq!((verdict["status"].as_str(), verdict["emitted"].as_u64()), (Some("STREAMED"), Some(60)), "seed {seed}");
    assert_eq!((scene.facts(RUN), summary(&scene)["emitted"].as_u64()), (once(), Some(60)), "seed {seed}");
}

#[tokio::test]
async fn whatever_befalls_its_workers_a_run_is_brought_whole_and_told_once() {
    for seed in 0..12 {
        survives(seed).await;
    }
}
