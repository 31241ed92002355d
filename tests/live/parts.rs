//! `dev_min`'s real parts around one world, and `wsp run` with `dev_min`'s profile among them.
//!
//! ```text
//! Kafka ──READY──► wsp, a process ──events──► gate, in the test
//!                   ▲ world, facts      ▲ cursors, lease
//!                   ▼ evidence          ▼
//!                  S3                Postgres
//! ```
//!
//! `WSP_LIVE_EVENTS` says how many events the world has, `WSP_LIVE_PROGRAM` which `wsp` is run (by default the one that
//! was built with the tests).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use wsp::clock::{Clock, SystemClock};
use wsp::store::ObjectStore;
use wsp_reference::gate::audit::{AuditReport, audit};
use wsp_reference::gate::{GateHandle, GateOptions, GateServer, GateStats};
use wsp_reference::world::run_files::{RunFiles, publish_ready};
use wsp_reference::world::{WorldSpec, WorldSummary, generate};
use wsp_world::checkpoint::{CheckpointStore, OutputFiles, PostgresCheckpoints, PostgresDsn};
use wsp_world::model::{Hex32, PlatformRunId, Secret};

use crate::evidence::Evidence;
use crate::kit::live::{Due, Running, due, kept_rows, nap, prepared, publish_world, rows_before};
use crate::kit::{Stage, read, repository};
use crate::servers::kafka::Kafka;
use crate::servers::postgres::Postgres;
use crate::servers::s3::S3Server;

/// The gate's key, which no output may show.
pub(crate) const KEY: &str = "matrix-key";
/// What no output may show.
pub(crate) const SECRETS: [&str; 3] = [KEY, "hunter2", "wsp-live-secret"];

/// Servers, gate and world.
pub(crate) struct Parts {
    pub(crate) kafka: Kafka,
    pub(crate) s3: S3Server,
    pub(crate) postgres: Postgres,
    pub(crate) gate: GateHandle,
    pub(crate) stage: Stage,
    pub(crate) world: WorldSummary,
    /// All events of a run in canonical order.
    pub(crate) events: Vec<Due>,
    /// The files of its outputs, by rank; their names are those of a local copy.
    files: Vec<OutputFiles>,
    pub(crate) store_root: String,
}

/// One platform run of the world.
pub(crate) struct Run {
    pub(crate) id: String,
    pub(crate) topic: String,
    pub(crate) ready: Value,
    /// The gate's counts before it.
    before: GateStats,
}

impl Run {
    pub(crate) fn message_id(&self) -> &str {
        self.ready["message_id"].as_str().unwrap()
    }
}

/// How many events the environment asks for.
pub(crate) fn events() -> u64 {
    std::env::var("WSP_LIVE_EVENTS").map_or(20_000, |text| text.parse().expect("WSP_LIVE_EVENTS is a number"))
}

/// How many events a crash may repeat, as the run itself says in `wsp_start.json`.
pub(crate) fn bound(start: &Value) -> u64 {
    start["delivery"]["window"].as_u64().unwrap()
}

impl Parts {
    /// Starts everything and lays the world into S3.
    pub(crate) async fn set(spec: &WorldSpec) -> Self {
        let kafka = Kafka::own();
        let s3 = S3Server::own(crate::servers::s3::Kind::SeaweedFs).await;
        let gate = GateServer::start(GateOptions::new(Secret::new(KEY))).unwrap();
        // The same world twice: the ids of a view depend on how its root is spelt, those of its events don't.
        let (spec_of_local, url) = (spec.clone(), gate.base_url());
        // On a thread of its own, as it has runtimes of its own.
        let local = std::thread::spawn(move || {
            let (stage, message_id) = publish_world(&spec_of_local);
            stage.profile(&url, |_| {});
            let run = prepared(&stage, &message_id);
            (due(&run), run.output_files(), stage)
        });
        let (events, files, stage) = local.join().unwrap();
        let store_root = s3.root("parts");
        let folder = stage.path("for-s3");
        let world = generate(&folder, &format!("{store_root}/world"), spec).unwrap();
        upload(&s3.store(&store_root), &folder, "world").await;
        Self { kafka, s3, postgres: Postgres::start(), gate, stage, world, events, files, store_root }
    }

    /// The world's `n`-th run: its facts are in S3, its topic is there, its READY is not published.
    pub(crate) async fn run(&self, n: u32) -> Run {
        let (id, topic) = (format!("platform_20260101T0000{n:02}Z"), format!("fp.bus.control.{n}"));
        let folder = self.stage.path(&format!("run-{n}"));
        let (platform_run_id, run_id): (PlatformRunId, Hex32) =
            (id.parse().unwrap(), format!("5e{n:030x}").parse().unwrap());
        let published = publish_ready(&RunFiles {
            world: &self.world,
            platform_run_id: &platform_run_id,
            run_id: &run_id,
            object_store_root: &folder.join("store"),
            control_root: &folder.join("bus"),
            topic: &topic,
            published_at: wsp_world::model::Micros(1_767_225_600_000_000),
        });
        upload(&self.s3.store(&self.store_root), &folder.join("store"), "").await;
        self.kafka.create(&topic, 1).await;
        let ready = serde_json::from_slice(&read(&published.unwrap().ready_file)).unwrap();
        Run { id, topic, ready, before: self.gate.stats() }
    }

    pub(crate) fn publish(&self, run: &Run, ready: &Value) {
        self.kafka.publish(&run.topic, 0, Some(ready.to_string().as_bytes()));
    }

    /// `wsp run` with `dev_min`'s profile in the stage's folder, with its secrets in the environment. Leases and
    /// sessions are short.
    pub(crate) fn command(&self, run: &Run, more: &[(&str, &str)]) -> Command {
        self.program("run", run, more)
    }

    /// Another command of `wsp` in that environment.
    pub(crate) fn program(&self, command: &str, run: &Run, more: &[(&str, &str)]) -> Command {
        let program = std::env::var_os("WSP_LIVE_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_wsp").into());
        let mut wsp = Command::new(program);
        wsp.args([command, "--profile"]).arg(self.profile());
        wsp.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path))).envs(self.s3.environment());
        wsp.current_dir(self.stage.folder.path()).stdin(Stdio::null());
        wsp.env("PLATFORM_RUN_ID", &run.id).env("PLATFORM_STORE_ROOT", &self.store_root);
        wsp.env("CONTROL_BUS_TOPIC", &run.topic).env("KAFKA_BOOTSTRAP_SERVERS", &self.kafka.bootstrap);
        wsp.env("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT").env("WSP_READY_SESSION_TIMEOUT_SECONDS", "6");
        wsp.env("WSP_CHECKPOINT_DSN", self.postgres.dsn("sslmode=require").expose());
        wsp.env("WSP_CHECKPOINT_LEASE_SECONDS", "4").env("WSP_CHECKPOINT_FLUSH_EVERY", "500");
        wsp.env("IG_INGEST_URL", self.gate.base_url()).env("IG_API_KEY", KEY);
        wsp.env("ENGINE_CATALOGUE_PATH", repository("config/oracle/engine_outputs.catalogue.yaml"));
        wsp.env("WSP_PRODUCER_ALLOWLIST_REF", repository("config/producers.txt"));
        wsp.env("WSP_READY_REQUIRED_PACKS", "");
        wsp.env("WSP_STREAM_SPEEDUP", "0").env("WSP_MAX_INFLIGHT", "16").env("WSP_DELIVERY_WINDOW", "256");
        wsp.envs(more.iter().copied());
        wsp
    }

    /// `dev_min`'s profile, with leave for the broker of these tests to go without TLS.
    fn profile(&self) -> PathBuf {
        let dev_min = repository("config/profiles/dev_min.yaml");
        let text = String::from_utf8(read(&dev_min)).unwrap() + "  security:\n    allow_plaintext: [kafka]\n";
        self.stage.put("dev_min.yaml", text);
        self.stage.path("dev_min.yaml")
    }

    /// Starts the service; its output goes to files called `name`.
    pub(crate) fn start(&self, run: &Run, name: &str, more: &[(&str, &str)]) -> Running {
        Running::spawn(&self.stage, name, &mut self.command(run, more))
    }

    /// What the gate counted of this run, the latest one: (admitted, duplicates).
    pub(crate) fn counted(&self, run: &Run) -> (u64, u64) {
        let now = self.gate.stats();
        (now.admitted - run.before.admitted, now.duplicates - run.before.duplicates)
    }

    pub(crate) fn admitted(&self, run: &Run) -> u64 {
        self.counted(run).0
    }

    /// Waits until the gate has admitted so many.
    pub(crate) fn until_admitted(&self, run: &Run, wsp: &mut Running, events: u64) {
        wsp.until(&format!("{events} events"), || self.admitted(run) >= events);
    }

    /// Waits until the gate has seen nothing for a second; answers what it has admitted.
    pub(crate) fn until_still(&self, run: &Run) -> u64 {
        let clock = SystemClock::new();
        let (mut last, mut since) = (self.gate.stats(), clock.now());
        while clock.now() < since + Duration::from_secs(1) {
            nap(Duration::from_millis(20));
            let now = self.gate.stats();
            if now != last {
                (last, since) = (now, clock.now());
            }
        }
        last.admitted - run.before.admitted
    }

    /// What the gate admitted of the run against what was due.
    pub(crate) fn audit(&self, run: &Run) -> AuditReport {
        self.gate.journal(|ledger| audit(ledger, &run.id, self.events.iter().map(|due| due.expected)))
    }

    /// Events that the next start won't send, by rank, as the database has them.
    pub(crate) async fn kept(&self, scope: &str) -> Vec<BTreeSet<u64>> {
        let dsn = PostgresDsn::parse(&self.postgres.dsn("sslmode=disable")).unwrap();
        let store = PostgresCheckpoints::new(&dsn, SystemClock::new()).unwrap();
        let outputs: Vec<_> = self.files.iter().map(|output| output.output_id.clone()).collect();
        kept_rows(&store.peek(&scope.parse().unwrap(), &outputs).await.unwrap(), &self.files)
    }

    /// Events that cursors cover: (output, file, row).
    pub(crate) fn rows(&self, cursors: &[(String, String, i32)]) -> u64 {
        let rows = |(output, file, row): &(String, String, i32)| {
            let output = self.files.iter().find(|known| known.output_id.as_str() == output).unwrap();
            rows_before(output, file) + u64::try_from(*row).unwrap() + 1
        };
        cursors.iter().map(rows).sum()
    }

    /// What is kept against the gate: events that the gate never admitted, and events it admitted that are not kept (the
    /// next start repeats these).
    pub(crate) async fn kept_against_gate(&self, run: &Run, scope: &str) -> (u64, u64) {
        let kept = self.kept(scope).await;
        let (mut lost, mut repeated) = (0, 0);
        self.gate.journal(|ledger| {
            for due in &self.events {
                let behind = kept[usize::from(due.rank)].contains(&due.nth);
                let admitted = ledger.find_in(&run.id, due.expected.class, &due.event_id).is_some();
                lost += u64::from(behind && !admitted);
                repeated += u64::from(!behind && admitted);
            }
        });
        (lost, repeated)
    }

    /// What the run has left in S3.
    pub(crate) async fn evidence(&self, run: &Run) -> Evidence {
        Evidence::read(&self.s3, &format!("{}/{}", self.store_root, run.id)).await
    }
}

pub(crate) async fn upload(store: &impl ObjectStore, folder: &Path, prefix: &str) {
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let below = path.strip_prefix(folder).unwrap().to_str().unwrap();
            let key = if prefix.is_empty() { below.to_owned() } else { format!("{prefix}/{below}") };
            store.put(&key.parse().unwrap(), std::fs::read(&path).unwrap().into()).await.unwrap();
        }
    }
}
