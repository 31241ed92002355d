//! A world, its READY and a service in a folder; the service's store lets a test see, fail or hold up each call.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;
use wsp::clock::{Clock, SystemClock};
use wsp::stop::Stop;
use wsp::store::{Holds, Key, LocalStore, ObjectMeta, ObjectStore, StoreError, Version};
use wsp_reference::LocalRun;
use wsp_reference::world::run_files::CONTROL_TOPIC;
use wsp_reference::world::{WorldSpec, generate};
use wsp_world::checkpoint::{CheckpointStore, FileCheckpoints};
use wsp_world::ig::memory::MemoryGate;
use wsp_world::model::Hex64;
use wsp_world::producer::{Caps, Settings};
use wsp_world::profile::Profile;
use wsp_world::ready::{Incoming, Parsed, Source, message};
use wsp_world::service::Service;

pub(super) const RUN: &str = "platform_20260101T000000Z";
pub(super) const OTHER: &str = "platform_20270101T000000Z";

/// What becomes of a call of the store.
pub(super) enum Call {
    /// The store takes it.
    Passes,
    /// The store is away.
    Fails,
    /// It never gets an answer.
    Hangs,
}

/// Asked before each call of the store, with the call's name and the object's key.
type Hook = dyn Fn(&str, &str) -> Call + Send + Sync;

/// A folder's store with a hook that sees each call first.
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
            match ($self.hook)($name, $key.as_str()) {
                Call::Passes => $call.await,
                Call::Fails => Err(down($key.as_str())),
                Call::Hangs => std::future::pending().await,
            }
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
pub(super) struct Scene {
    pub(super) folder: tempfile::TempDir,
    pub(super) profile: Profile,
    pub(super) incoming: Incoming,
}

impl Scene {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("world");
        let world = generate(&root, root.to_str().unwrap(), &WorldSpec::new(60)).unwrap();
        let local =
            LocalRun { name: "test", in_flight: 1, ..LocalRun::new(folder.path(), "http://127.0.0.1:1", "test-key") };
        let published = local.publish(&world, &RUN.parse().unwrap(), SystemClock::new().utc()).unwrap();
        let text = std::fs::read(published.ready_file).unwrap();
        let Ok(Parsed::Ready(ready)) = message::parse(&text, CONTROL_TOPIC) else { panic!("no READY") };
        let source =
            Source { topic: CONTROL_TOPIC.to_owned(), partition: None, offset: None, name: "a test".to_owned() };
        let mut profile = Profile::load(&local.profile().unwrap(), &|_| None).unwrap();
        profile.checkpoint.flush_every = 5;
        profile.platform_run_id = Some(RUN.parse().unwrap());
        Self { folder, profile, incoming: Incoming::by_hand(*ready, source) }
    }

    fn store(&self) -> LocalStore {
        LocalStore::open(self.folder.path().join("store").to_str().unwrap())
    }

    /// A service on this folder whose store asks `hook` first.
    pub(super) fn service(
        &self,
        gate: &MemoryGate<SystemClock>,
        hook: impl Fn(&str, &str) -> Call + Send + Sync + 'static,
    ) -> Service<MemoryGate<SystemClock>, SystemClock> {
        self.stoppable(gate, Stop::new(), hook)
    }

    /// The same, ended by `stop`.
    pub(super) fn stoppable(
        &self,
        gate: &MemoryGate<SystemClock>,
        stop: Stop,
        hook: impl Fn(&str, &str) -> Call + Send + Sync + 'static,
    ) -> Service<MemoryGate<SystemClock>, SystemClock> {
        let settings = Settings::new(&self.profile, Caps::default());
        let service = Service::new(self.profile.clone(), settings, gate.clone(), SystemClock::new(), stop);
        let store = Hooked { below: self.store(), hook: Arc::new(hook) };
        service.unwrap().keeping(Arc::new(store)).in_folder(self.folder.path())
    }

    pub(super) fn message_id(&self) -> &Hex64 {
        &self.incoming.message.payload.message_id
    }

    /// A file of a run's evidence.
    pub(super) fn evidence(&self, run: &str, name: &str) -> PathBuf {
        self.folder.path().join("store/fraud-platform").join(run).join(name)
    }

    pub(super) fn record_of(&self, run: &str) -> PathBuf {
        self.evidence(run, &format!("wsp/ready_runs/{}.jsonl", self.message_id()))
    }

    pub(super) fn record(&self, run: &str) -> Vec<Value> {
        lines(&self.record_of(run))
    }

    /// How many facts of each family are listed in a run's folder.
    pub(super) fn facts(&self, run: &str) -> BTreeMap<String, usize> {
        let mut facts = BTreeMap::new();
        for fact in lines(&self.evidence(run, "obs/governance/events.jsonl")) {
            *facts.entry(fact["event_family"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        facts
    }

    /// The folder of the one checkpoint.
    pub(super) fn scope(&self) -> Option<PathBuf> {
        let mut folders = std::fs::read_dir(self.folder.path().join("checkpoints")).ok()?;
        folders.next().map(|folder| folder.unwrap().path())
    }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn down(key: &str) -> StoreError {
    StoreError::Io { object: key.to_owned(), message: "the store is away".to_owned() }
}

pub(super) fn answering() -> MemoryGate<SystemClock> {
    MemoryGate::new(SystemClock::new())
}

/// Whether another producer could take the scope that lies in `folder`.
pub(super) fn is_free(folder: &Path) -> bool {
    let (root, scope) = (folder.parent().unwrap().to_owned(), folder.file_name().unwrap().to_str().unwrap().to_owned());
    let look = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let store = FileCheckpoints::new(root, SystemClock::new());
        runtime.block_on(async { store.open(&scope.parse().unwrap()).await.is_ok() })
    };
    std::thread::spawn(look).join().unwrap()
}
