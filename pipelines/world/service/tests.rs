//! Rules of the way from READY to verdict that no folder brings about from outside: what the store, or another producer,
//! does at a given instant.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;
use wsp::clock::SystemClock;
use wsp::store::{Holds, Key, LocalStore, ObjectMeta, StoreError, Version};

use super::*;
use crate::checkpoint::{CheckpointStore, FileCheckpoints};
use crate::ig::memory::{MemoryGate, Step};
use crate::model::Hex64;
use crate::producer::Caps;
use crate::profile::RequiredPacks;
use crate::ready::{Parsed, message};
use crate::reference::world::run_files::{CONTROL_TOPIC, RunFiles, publish_ready};
use crate::reference::world::{CATALOGUE, GATE_MAP, WorldSpec, generate};

const RUN: &str = "platform_20260101T000000Z";
const OTHER: &str = "platform_20270101T000000Z";

/// Asked before each call of the store, with the call's name and the object's key.
type Hook = dyn Fn(&str, &str) -> Result<(), StoreError> + Send + Sync;

/// A folder's store, and who may see or fail each call first.
struct Hooked {
    below: LocalStore,
    hook: Arc<Hook>,
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooked").finish_non_exhaustive()
    }
}

macro_rules! hooked {
    ($self:ident, $name:literal, $key:ident, $call:expr) => {
        async move {
            if let Err(error) = ($self.hook)($name, $key.as_str()) {
                return if error.to_string() == hangs().to_string() {
                    std::future::pending().await
                } else {
                    Err(error)
                };
            }
            $call.await
        }
        .boxed()
    };
}

impl ObjectStore for Hooked {
    fn root(&self) -> &str {
        self.below.root()
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<ObjectMeta>, StoreError>> {
        hooked!(self, "head", key, self.below.head(key))
    }

    fn get<'a>(&'a self, key: &'a Key, limit: u64) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        hooked!(self, "get", key, self.below.get(key, limit))
    }

    fn get_ranges<'a>(
        &'a self,
        key: &'a Key,
        version: &'a Version,
        ranges: &'a [Range<u64>],
    ) -> BoxFuture<'a, Result<Vec<Bytes>, StoreError>> {
        hooked!(self, "get_ranges", key, self.below.get_ranges(key, version, ranges))
    }

    fn list<'a>(&'a self, prefix: &'a Key) -> BoxFuture<'a, Result<Vec<(Key, u64)>, StoreError>> {
        hooked!(self, "list", prefix, self.below.list(prefix))
    }

    fn folders<'a>(&'a self, prefix: Option<&'a Key>) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        self.below.folders(prefix)
    }

    fn put_new<'a>(&'a self, key: &'a Key, body: Bytes) -> BoxFuture<'a, Result<bool, StoreError>> {
        hooked!(self, "put_new", key, self.below.put_new(key, body))
    }

    fn put<'a>(&'a self, key: &'a Key, body: Bytes) -> BoxFuture<'a, Result<(), StoreError>> {
        hooked!(self, "put", key, self.below.put(key, body))
    }

    fn append<'a>(&'a self, key: &'a Key, lines: Bytes) -> BoxFuture<'a, Result<(), StoreError>> {
        hooked!(self, "append", key, self.below.append(key, lines))
    }

    fn append_unless<'a>(&'a self, key: &'a Key, lines: Bytes, held: Holds) -> BoxFuture<'a, Result<bool, StoreError>> {
        hooked!(self, "append_unless", key, self.below.append_unless(key, lines, held))
    }
}

/// A made-up world, its READY and its parts, in a folder.
struct Scene {
    folder: tempfile::TempDir,
    profile: Profile,
    incoming: Incoming,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("world");
        let world = generate(&root, root.to_str().unwrap(), &WorldSpec::new(60)).unwrap();
        let clock = SystemClock::new();
        let published = publish_ready(&RunFiles {
            world: &world,
            platform_run_id: &RUN.parse().unwrap(),
            run_id: &"5e".repeat(16).parse().unwrap(),
            object_store_root: &folder.path().join("store"),
            control_root: &folder.path().join("bus"),
            topic: CONTROL_TOPIC,
            published_at: clock.utc(),
        });
        let text = std::fs::read(published.unwrap().ready_file).unwrap();
        let Ok(Parsed::Ready(ready)) = message::parse(&text, CONTROL_TOPIC) else { panic!("no READY") };
        let source =
            Source { topic: CONTROL_TOPIC.to_owned(), partition: None, offset: None, name: "a test".to_owned() };
        let profile = profile(folder.path());
        Self { folder, profile, incoming: Incoming::by_hand(*ready, source) }
    }

    fn store(&self) -> LocalStore {
        LocalStore::open(self.folder.path().join("store").to_str().unwrap())
    }

    /// A service on this folder whose store asks `hook` first.
    fn service(
        &self,
        gate: &MemoryGate<SystemClock>,
        hook: impl Fn(&str, &str) -> Result<(), StoreError> + Send + Sync + 'static,
    ) -> Service<MemoryGate<SystemClock>, SystemClock> {
        let settings = Settings::new(&self.profile, Caps::default());
        let service = Service::new(self.profile.clone(), settings, gate.clone(), SystemClock::new(), Stop::new());
        let store = Hooked { below: self.store(), hook: Arc::new(hook) };
        service.unwrap().keeping(Arc::new(store)).in_folder(self.folder.path())
    }

    fn message_id(&self) -> &Hex64 {
        &self.incoming.ready.payload.message_id
    }

    /// A file of a run's evidence.
    fn evidence(&self, run: &str, name: &str) -> PathBuf {
        self.folder.path().join("store/fraud-platform").join(run).join(name)
    }

    fn record_of(&self, run: &str) -> PathBuf {
        self.evidence(run, &format!("wsp/ready_runs/{}.jsonl", self.message_id()))
    }

    fn record(&self, run: &str) -> Vec<Value> {
        lines(&self.record_of(run))
    }

    /// How many facts of each family are listed in a run's folder.
    fn facts(&self, run: &str) -> BTreeMap<String, usize> {
        let mut facts = BTreeMap::new();
        for fact in lines(&self.evidence(run, "obs/governance/events.jsonl")) {
            *facts.entry(fact["event_family"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        facts
    }

    /// The folder of the one checkpoint.
    fn scope(&self) -> Option<PathBuf> {
        let mut folders = std::fs::read_dir(self.folder.path().join("checkpoints")).ok()?;
        folders.next().map(|folder| folder.unwrap().path())
    }
}

fn profile(folder: &Path) -> Profile {
    std::fs::write(folder.join("engine_outputs.catalogue.yaml"), CATALOGUE).unwrap();
    std::fs::write(folder.join("engine_gates.map.yaml"), GATE_MAP).unwrap();
    std::fs::write(folder.join("producers.txt"), "svc:test\n").unwrap();
    let at = folder.display();
    let text = format!(
        "profile_id: local_test
policy: {{require_seal: true, stream_speedup: 0, traffic_output_ids: [s3_event_stream_with_fraud_6B]}}
wiring:
  object_store: {{root: '{at}/store'}}
  control_bus: {{kind: file, root: '{at}/bus'}}
  engine_catalogue_path: engine_outputs.catalogue.yaml
  ig_ingest_url: http://127.0.0.1:1
  wsp_checkpoint: {{backend: file, root: '{at}/checkpoints', flush_every: 5}}
  wsp_producer: {{producer_id: 'svc:test', allowlist_ref: producers.txt}}
  security: {{wsp_auth_token: test-key}}
"
    );
    let mut profile = Profile::parse(&text, folder, &|_| None).unwrap();
    profile.platform_run_id = Some(RUN.parse().unwrap());
    profile
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn down(key: &str) -> StoreError {
    StoreError::Io { object: key.to_owned(), message: "the store is away".to_owned() }
}

/// What a hook says of a call that is to get no answer.
fn hangs() -> StoreError {
    StoreError::Io { object: String::new(), message: "no answer, and no end".to_owned() }
}

fn answering() -> MemoryGate<SystemClock> {
    MemoryGate::new(SystemClock::new())
}

/// Whether another producer could take the scope that lies in `folder`.
fn is_free(folder: &Path) -> bool {
    let (root, scope) = (folder.parent().unwrap().to_owned(), folder.file_name().unwrap().to_str().unwrap().to_owned());
    let look = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let store = FileCheckpoints::new(root, SystemClock::new());
        runtime.block_on(async { store.open(&scope.parse().unwrap()).await.is_ok() })
    };
    std::thread::spawn(look).join().unwrap()
}

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
        Ok(())
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
        Ok(())
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
    let taken = scene.service(&gate, |_, _| Ok(())).take(&scene.incoming).await.unwrap();
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
async fn an_end_that_the_store_did_not_take_is_reported_when_it_has_it() {
    let scene = Scene::new();
    let gate = answering();
    let refuse = Arc::new(AtomicU64::new(1));
    let left = refuse.clone();
    let telemetry = Telemetry::new(&SystemClock::new());
    let service = scene.service(&gate, move |call, key| match call {
        "put" if key.ends_with("wsp_summary.json") && left.load(Ordering::SeqCst) > 0 => Err(down(key)),
        _ => Ok(()),
    });
    let service = service.telemetry(telemetry.clone());
    let taken = service.take(&scene.incoming).await.unwrap();
    assert_eq!(taken.verdict.status, Status::Streamed);
    assert_eq!(taken.unwritten.unwrap().reason, Reason::StoreUnavailable);
    let verdicts = || telemetry.status(&SystemClock::new()).verdicts.iter().map(|v| v.count).sum::<u64>();
    assert_eq!((verdicts(), scene.record(RUN).len()), (0, 0), "no verdict stands yet");
    // While it is away, nothing else of the run is done.
    assert_eq!(service.take(&scene.incoming).await.unwrap_err().reason, Reason::StoreUnavailable);
    refuse.store(0, Ordering::SeqCst);
    let sent = gate.journal().attempts;
    let again = service.take(&scene.incoming).await.unwrap();
    assert_eq!((again.verdict.status, again.unwritten, again.standing), (Status::Streamed, None, None));
    assert_eq!(again.verdict.emitted, taken.verdict.emitted);
    assert_eq!((verdicts(), scene.record(RUN).len(), gate.journal().attempts), (1, 1, sent));
    assert_eq!(service.take(&scene.incoming).await.unwrap().standing, Some(Status::Streamed));
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_so_long_for_evidence_and_then_it_is_kept_here() {
    let scene = Scene::new();
    let gate = answering();
    let (stop, seen) = (Stop::new(), Arc::new(AtomicU64::new(0)));
    let (requested, counted) = (stop.clone(), seen.clone());
    let mut service = scene.service(&gate, move |call, key| {
        if call == "put" && key.ends_with("wsp_summary.json") {
            requested.request();
            counted.fetch_add(1, Ordering::SeqCst);
            return Err(hangs());
        }
        Ok(())
    });
    service.stop = stop;
    let (clock, limit) = (SystemClock::new(), stopping::EVIDENCE + stopping::RELEASE);
    let taken = service.take(&scene.incoming).await.unwrap();
    assert_eq!((taken.verdict.status, seen.load(Ordering::SeqCst)), (Status::Streamed, 1));
    let unwritten = taken.unwritten.unwrap();
    assert!(unwritten.detail.contains("within 15 s of the stop"), "{unwritten}");
    assert!(clock.now() < limit + std::time::Duration::from_secs(5), "{:?}", clock.now());
    assert!(is_free(&scene.scope().unwrap()));
    // The next process finds what is kept, and writes it.
    assert_eq!(scene.record(RUN).len(), 0);
    let again = scene.service(&gate, |_, _| Ok(())).take(&scene.incoming).await.unwrap();
    assert_eq!((again.standing, scene.record(RUN).len()), (Some(Status::Streamed), 1));
}

#[tokio::test(start_paused = true)]
async fn a_stop_gives_up_checks_that_take_longer_than_the_drain() {
    let scene = Scene::new();
    let service = scene.service(&answering(), |_, _| Ok(()));
    let clock = SystemClock::new();
    service.stop.request();
    let given_up = service.unless_stopped(std::future::pending::<()>()).await.unwrap_err();
    assert_eq!((given_up.reason, clock.now()), (Reason::RunStopped, std::time::Duration::from_secs(20)), "{given_up}");
    let done = service.unless_stopped(std::future::ready(7)).await;
    assert_eq!(done, Ok(7));
}

/// Fails the store's `call`-th call, and every later one until the switch is put off.
fn fails_from(call: u64) -> (Arc<AtomicU64>, impl Fn(&str, &str) -> Result<(), StoreError> + Send + Sync + 'static) {
    let (calls, on) = (AtomicU64::new(0), Arc::new(AtomicU64::new(1)));
    let switch = on.clone();
    (switch, move |_: &str, key: &str| {
        let failed = calls.fetch_add(1, Ordering::SeqCst) >= call && on.load(Ordering::SeqCst) == 1;
        if failed { Err(down(key)) } else { Ok(()) }
    })
}

#[tokio::test]
async fn a_store_that_fails_at_any_call_is_no_verdict_on_the_run() {
    let scene = Scene::new();
    let mut whole = 0;
    for call in 0.. {
        // Each case begins from nothing.
        for left in [
            "checkpoints",
            "runs",
            &format!("store/fraud-platform/{RUN}/wsp"),
            &format!("store/fraud-platform/{RUN}/obs"),
        ] {
            let _ = std::fs::remove_dir_all(scene.folder.path().join(left));
        }
        let gate = answering();
        let (on, hook) = fails_from(call);
        let service = scene.service(&gate, hook);
        let first = service.take(&scene.incoming).await;
        let failed = match &first {
            Err(refusal) => {
                assert_eq!(refusal.reason, Reason::StoreUnavailable, "call {call}");
                assert_eq!(gate.journal().attempts, 0, "call {call}: what can't be written down is not begun");
                true
            }
            Ok(taken) => {
                assert_eq!(taken.verdict.status, Status::Streamed, "call {call}: {:?}", taken.refusal);
                taken.unwritten.is_some()
            }
        };
        on.store(0, Ordering::SeqCst);
        let again = service.take(&scene.incoming).await.unwrap();
        let stands = matches!(again.verdict.status, Status::Streamed | Status::SkippedDuplicate);
        assert!(stands, "call {call}: {:?}", again.refusal);
        let statuses: Vec<_> = scene.record(RUN).iter().map(|line| line["status"].clone()).collect();
        assert_eq!(statuses, ["STREAMED"], "call {call}: once, and no failure");
        assert_eq!(gate.journal().attempts, gate.journal().admitted.len() as u64, "call {call}: nothing is sent again");
        if !failed {
            break;
        }
        whole = call;
    }
    assert!(whole > 20, "every call of a run was tried: {whole}");
}

#[tokio::test]
async fn a_foreign_ready_is_told_once_and_where_it_belongs_whatever_the_store_does() {
    let scene = Scene::new();
    for call in 0.. {
        for left in [format!("{RUN}/obs"), OTHER.to_owned()] {
            let _ = std::fs::remove_dir_all(scene.folder.path().join("store/fraud-platform").join(left));
        }
        let (on, hook) = fails_from(call);
        let mut service = scene.service(&answering(), hook);
        service.profile.platform_run_id = Some(OTHER.parse().unwrap());
        let first = service.take(&scene.incoming).await;
        on.store(0, Ordering::SeqCst);
        let again = service.take(&scene.incoming).await.unwrap();
        let skipped = (again.verdict.status, again.standing);
        let whole = first.is_ok();
        let expected = if whole { (Status::SkippedDuplicate, Some(Status::SkippedOutOfScope)) } else { skipped };
        assert_eq!(skipped, expected, "call {call}");
        assert_eq!(scene.facts(RUN), BTreeMap::from([("RUN_CANCELLED".to_owned(), 1)]), "call {call}");
        assert_eq!((scene.record(OTHER).len(), scene.record(RUN).len()), (1, 0), "call {call}");
        assert!(!scene.evidence(OTHER, "obs").exists(), "call {call}: none of its pins in ours");
        if whole {
            assert!(call > 5, "each call was tried");
            break;
        }
    }
}

#[tokio::test]
async fn a_wait_for_packs_reads_the_facts_once() {
    let mut scene = Scene::new();
    scene.profile.required_packs = RequiredPacks { files: Some(vec!["nowhere.yaml".into()]), same_run: true };
    let facts = Arc::new(AtomicU64::new(0));
    let counted = facts.clone();
    let service = scene.service(&answering(), move |call, key| {
        if call == "get" && key.contains("run_facts_view") {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    });
    for _look in 0..5 {
        let taken = service.take(&scene.incoming).await.unwrap();
        assert_eq!(taken.verdict.status, Status::DeferredDownstreamNotReady);
        assert_eq!(taken.verdict.waits_for, ["PACK_FILE_MISSING:nowhere.yaml"]);
    }
    assert_eq!(facts.load(Ordering::SeqCst), 1, "what was looked at stays as it is");
}

#[tokio::test]
async fn a_wait_for_packs_ends_with_the_verdict_of_another_process() {
    let mut scene = Scene::new();
    let required = std::mem::replace(
        &mut scene.profile.required_packs,
        RequiredPacks { files: Some(vec!["nowhere.yaml".into()]), same_run: true },
    );
    let waits = scene.service(&answering(), |_, _| Ok(()));
    let taken = waits.take(&scene.incoming).await.unwrap();
    assert_eq!(taken.verdict.status, Status::DeferredDownstreamNotReady);
    scene.profile.required_packs = required;
    let streamed = scene.service(&answering(), |_, _| Ok(())).take(&scene.incoming).await.unwrap();
    assert_eq!(streamed.verdict.status, Status::Streamed);
    let again = waits.take(&scene.incoming).await.unwrap();
    assert_eq!((again.verdict.status, again.standing), (Status::SkippedDuplicate, Some(Status::Streamed)));
}

#[tokio::test]
async fn a_run_by_hand_waits_for_a_checkpoint_that_another_one_holds() {
    let scene = Scene::new();
    let root = scene.folder.path().join("world").display().to_string();
    let scenario = scene.incoming.ready.payload.scenario_id.clone();
    let direct = Direct::new(&scene.profile, &root, scenario.as_ref(), None, false).unwrap();
    let first = scene.service(&answering(), |_, _| Ok(())).direct(&direct).await.unwrap();
    assert_eq!((first.status, first.refusal), (Status::Streamed, None));
    let scope = scene.scope().unwrap();
    let store = FileCheckpoints::new(scope.parent().unwrap().to_owned(), SystemClock::new());
    let held = store.open(&scope.file_name().unwrap().to_str().unwrap().parse().unwrap()).await.unwrap();
    let gate = answering();
    let second = scene.service(&gate, |_, _| Ok(())).direct(&direct).await.unwrap();
    let reason = second.refusal.map(|refusal| refusal.reason);
    assert_eq!((second.status, reason), (Status::DeferredDownstreamNotReady, Some(Reason::CheckpointScopeBusy)));
    drop(held);
    assert_eq!(gate.journal().attempts, 0);
    assert_eq!(scene.facts(RUN), BTreeMap::new(), "neither leaves a fact");
    assert!(!scene.record_of(RUN).exists(), "nor a record");
    // A summary that the store does not take costs no event and is said.
    let service = scene.service(&gate, |call, key| {
        if call == "put" && key.ends_with("wsp_summary.direct.json") { Err(down(key)) } else { Ok(()) }
    });
    let third = service.direct(&direct).await.unwrap();
    assert_eq!((third.status, third.emitted), (Status::Streamed, 0));
    assert_eq!(third.unwritten.unwrap().reason, Reason::StoreUnavailable);
}
