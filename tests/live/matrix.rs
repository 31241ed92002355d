//! The whole producer on `dev_min`'s parts: READY on Kafka, world, facts and evidence in S3, checkpoints in Postgres, events to
//! a gate over HTTP, by `wsp run` with `dev_min`'s profile.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use wsp::model::{Hex32, PlatformRunId, Secret};
use wsp::reference::gate::{GateHandle, GateOptions, GateServer};
use wsp::reference::world::run_files::{RunFiles, publish_ready};
use wsp::reference::world::{WorldSpec, WorldSummary, generate};
use wsp::store::ObjectStore;

use crate::servers::kafka::Kafka;
use crate::servers::postgres::Postgres;
use crate::servers::s3::S3Server;

const EVENTS: u64 = 20_000;
const RUN: &str = "platform_20260101T000000Z";
const KEY: &str = "matrix-key";

struct Matrix {
    kafka: Kafka,
    s3: S3Server,
    postgres: Postgres,
    gate: GateHandle,
    topic: String,
    store_root: String,
    folder: tempfile::TempDir,
}

impl Matrix {
    async fn set() -> Self {
        let kafka = Kafka::own();
        let topic = "matrix.control".to_owned();
        kafka.create(&topic, 1).await;
        let s3 = S3Server::any().await;
        let store_root = s3.root("matrix");
        let gate = GateServer::start(GateOptions::new(Secret::new(KEY))).unwrap();
        let folder = tempfile::tempdir().unwrap();
        Self { kafka, s3, postgres: Postgres::start(), gate, topic, store_root, folder }
    }

    /// Makes the world and lays it into S3, with the facts; the READY for it comes back.
    async fn world(&self) -> Value {
        let (world_root, local) = (format!("{}/world", self.store_root), self.folder.path().join("world"));
        let world: WorldSummary = generate(&local, &world_root, &WorldSpec::new(EVENTS)).unwrap();
        let (platform_run_id, run_id): (PlatformRunId, Hex32) =
            (RUN.parse().unwrap(), "5e".repeat(16).parse().unwrap());
        let published = publish_ready(&RunFiles {
            world: &world,
            platform_run_id: &platform_run_id,
            run_id: &run_id,
            object_store_root: &self.folder.path().join("store"),
            control_root: &self.folder.path().join("bus"),
            topic: &self.topic,
            published_at: wsp::model::Micros(1_767_225_600_000_000),
        })
        .unwrap();
        let store = self.s3.store(&self.store_root);
        upload(&store, &local, "world").await;
        upload(&store, &self.folder.path().join("store"), "").await;
        serde_json::from_slice(&std::fs::read(published.ready_file).unwrap()).unwrap()
    }

    fn publish(&self, ready: &Value) {
        self.kafka.publish(&self.topic, 0, Some(ready.to_string().as_bytes()));
    }

    /// `wsp run --once` with `dev_min`'s profile: its exit code, verdicts and log.
    fn run(&self) -> (Option<i32>, Vec<Value>, String) {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut wsp = Command::new(env!("CARGO_BIN_EXE_wsp"));
        wsp.args(["run", "--once", "--profile"]).arg(repository.join("config/profiles/dev_min.yaml"));
        wsp.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path))).envs(self.s3.environment());
        wsp.current_dir(self.folder.path()).stdin(Stdio::null());
        wsp.env("PLATFORM_RUN_ID", RUN).env("PLATFORM_STORE_ROOT", &self.store_root);
        wsp.env("CONTROL_BUS_TOPIC", &self.topic).env("KAFKA_BOOTSTRAP_SERVERS", &self.kafka.bootstrap);
        wsp.env("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT");
        wsp.env("WSP_CHECKPOINT_DSN", self.postgres.dsn("sslmode=require").expose());
        wsp.env("WSP_READY_REQUIRED_PACKS", "");
        wsp.env("IG_INGEST_URL", self.gate.base_url()).env("IG_API_KEY", KEY);
        wsp.env("ENGINE_CATALOGUE_PATH", repository.join("config/oracle/engine_outputs.catalogue.yaml"));
        wsp.env("WSP_PRODUCER_ALLOWLIST_REF", repository.join("config/producers.txt"));
        wsp.env("WSP_STREAM_SPEEDUP", "0").env("WSP_MAX_INFLIGHT", "16").env("WSP_CHECKPOINT_FLUSH_EVERY", "1000");
        let output = wsp.output().unwrap();
        let verdicts = String::from_utf8(output.stdout).unwrap();
        let verdicts = verdicts.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (output.status.code(), verdicts, String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// The one verdict's status and reason.
    fn verdict(&self) -> (String, String) {
        let (_, verdicts, log) = self.run();
        let [verdict] = verdicts.as_slice() else { panic!("not one verdict: {verdicts:?}\n{log}") };
        let text = |key: &str| verdict[key].as_str().unwrap_or_default().to_owned();
        for secret in [KEY, "hunter2", "wsp-live-secret"] {
            assert!(!log.contains(secret), "the log shows a secret");
        }
        (text("status"), text("reason"))
    }
}

async fn upload(store: &impl ObjectStore, folder: &Path, prefix: &str) {
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

#[tokio::test]
#[ignore = "needs Kafka, an S3 server and Postgres"]
async fn ready_to_gate_on_real_parts() {
    let matrix = Matrix::set().await;
    let ready = matrix.world().await;

    // A READY that differs from the facts in any identity is refused, and nothing is sent.
    for (n, field) in
        ["manifest_fingerprint", "parameter_hash", "bundle_hash", "run_config_digest", "run_id"].iter().enumerate()
    {
        let mut altered = ready.clone();
        let width = altered["payload"][field].as_str().unwrap().len();
        altered["payload"][field] = "0".repeat(width).into();
        let message_id = format!("{n:064x}");
        altered["message_id"] = message_id.clone().into();
        altered["payload"]["message_id"] = message_id.into();
        matrix.publish(&altered);
        let (status, reason) = matrix.verdict();
        assert!(status == "FAILED" && reason.ends_with("_MISMATCH"), "{field}: {status} {reason}");
        assert_eq!(matrix.gate.stats().requests, 0, "{field}");
    }

    matrix.publish(&ready);
    let (code, verdicts, log) = matrix.run();
    assert_eq!((code, verdicts.len()), (Some(0), 1), "{log}");
    assert_eq!((&verdicts[0]["status"], &verdicts[0]["emitted"]), (&"STREAMED".into(), &EVENTS.into()), "{log}");
    let stats = matrix.gate.stats();
    assert_eq!((stats.admitted, stats.duplicates, stats.requests), (EVENTS, 0, EVENTS));

    // The evidence lies in the bucket, and says from where on Kafka the READY came.
    let store = matrix.s3.store(&matrix.store_root);
    let read = async |name: &str| {
        let key = format!("{RUN}/{name}").parse().unwrap();
        let bytes = store.get(&key, 1 << 22).await.unwrap().unwrap_or_else(|| panic!("no {name}"));
        String::from_utf8(bytes.to_vec()).unwrap()
    };
    let summary: Value = serde_json::from_str(&read("wsp/wsp_summary.json").await).unwrap();
    assert_eq!((&summary["totals"]["admitted"], &summary["end"]), (&EVENTS.into(), &"complete".into()));
    assert_eq!((&summary["ready"]["partition"], &summary["ready"]["offset"]), (&0.into(), &5.into()));
    let message_id = ready["message_id"].as_str().unwrap();
    assert!(read(&format!("wsp/ready_runs/{message_id}.jsonl")).await.contains("STREAMED"));
    let facts = read("obs/governance/events.jsonl").await;
    assert_eq!(facts.matches("RUN_STARTED").count(), 1, "{facts}");

    // The same READY again is a duplicate.
    matrix.publish(&ready);
    assert_eq!(matrix.verdict().0, "SKIPPED_DUPLICATE");
    assert_eq!(matrix.gate.stats().requests, EVENTS);
}
