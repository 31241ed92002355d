//! What tests of the program share: a folder with a world, READY and a profile in it, a gate, and `wsp` run there.
//!
//! ```text
//! Stage { folder: world, store, control_bus, profile.yaml } ──wsp──► CaptureGate (raw bodies) or the reference gate
//! ```

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "what a test can't set up, it can't test")]

pub(crate) mod browser;
pub mod capture;
pub(crate) mod checkpoint_contract;
pub mod http;
pub mod live;
pub(crate) mod matrix_rows;
pub mod parquet;
pub mod process;
pub(crate) mod proxy;
pub mod refused;
pub(crate) mod schema;
pub(crate) mod store_contract;
pub(crate) mod text_contract;
pub(crate) mod views;
pub mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use wsp_reference::gate::{GateHandle, GateOptions, GateServer, GateStyle};
use wsp_world::model::Secret;

pub const KEY: &str = "test-key";
pub const TOPIC: &str = "fp.bus.control.v1";
pub const RUN: &str = "platform_20260101T000000Z";
pub const MESSAGE: &str = "02e20a21892478b1c1fa3b7b8c86ad3fe80d5b07774862a145037b94746f0198";
/// The facts' key in the store.
pub const FACTS: &str =
    "fraud-platform/platform_20260101T000000Z/sr/run_facts_view/cf7aa18247008796acc2e74d9e8c3eba.json";
pub const FRAUD: &str = "s3_event_stream_with_fraud_6B";
pub const RUN_ONCE: &[&str] = &["run", "--profile", "profile.yaml", "--once"];

/// A folder to run `wsp` in.
pub struct Stage {
    pub folder: TempDir,
}

impl Stage {
    /// The golden run: its world (as `world`, the spelling its views were built with), facts and READY, and a local
    /// profile that pushes to `gate`.
    pub fn golden(gate: &str) -> Self {
        let stage = Self { folder: tempfile::tempdir().unwrap() };
        let golden = golden();
        copy_tree(&golden.join("world"), &stage.path("world"));
        let message: Value = serde_json::from_slice(&read(&golden.join("ready/message.json"))).unwrap();
        let facts = stage.path("store").join(message["payload"]["facts_view_ref"].as_str().unwrap());
        write(&facts, &read(&golden.join("ready/run_facts_view.json")));
        stage.publish(&message);
        stage.profile(gate, |_| {});
        stage
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a message on the control bus, as the file `<message_id>.json`.
    pub fn publish(&self, message: &Value) {
        self.put(&ready_file(message["message_id"].as_str().unwrap_or("no-id")), message.to_string());
    }

    /// A file of an output's stream view, below the folder.
    pub fn in_view(output: &str, name: &str) -> String {
        format!("world/stream_view/ts_utc/output_id={output}/{name}")
    }

    /// Removes a file or folder.
    pub fn remove(&self, name: &str) {
        let path = self.path(name);
        let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        removed.unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    /// Writes a file below the folder.
    pub fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        write(&self.path(name), bytes.as_ref());
    }

    /// The names of all files below the folder, sorted.
    pub fn files(&self) -> Vec<String> {
        let mut folders = vec![self.folder.path().to_owned()];
        let mut found = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push(path.strip_prefix(self.folder.path()).unwrap().display().to_string());
                }
            }
        }
        found.sort();
        found
    }

    /// The golden READY, changed.
    pub fn republish(&self, change: impl FnOnce(&mut Value)) {
        let mut message: Value = serde_json::from_slice(&read(&golden().join("ready/message.json"))).unwrap();
        change(&mut message);
        self.publish(&message);
    }

    /// The golden READY under another id, its payload changed.
    pub fn republish_as(&self, message_id: &str, change: impl FnOnce(&mut Value)) {
        self.republish(|message| {
            message["message_id"] = message_id.into();
            message["payload"]["message_id"] = message_id.into();
            change(&mut message["payload"]);
        });
    }

    /// Changes a JSON file below the folder.
    pub fn edit(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let path = self.path(name);
        let mut value: Value = serde_json::from_slice(&read(&path)).unwrap();
        change(&mut value);
        write(&path, value.to_string().as_bytes());
    }

    /// Writes `profile.yaml` (JSON is YAML), changed.
    pub fn profile(&self, gate: &str, change: impl FnOnce(&mut Value)) {
        let catalogue = repository("config/oracle/engine_outputs.catalogue.yaml");
        write(&self.path("producers.txt"), b"svc:world_stream_producer\n");
        let mut profile = serde_json::json!({
            "profile_id": "local_test",
            "policy": {"require_seal": true, "stream_speedup": 0, "traffic_output_ids": [FRAUD]},
            "wiring": {
                "object_store": {"root": "store"},
                "control_bus": {"kind": "file", "root": "control_bus"},
                "engine_catalogue_path": catalogue,
                "ig_ingest_url": gate,
                "wsp_checkpoint": {"backend": "file", "root": "checkpoints", "flush_every": 10},
                "wsp_producer": {"producer_id": "svc:world_stream_producer", "allowlist_ref": "producers.txt"},
                "wsp_retry": {"base_delay_ms": 1, "max_delay_ms": 20},
                "security": {"wsp_auth_token": KEY},
            },
        });
        change(&mut profile);
        write(&self.path("profile.yaml"), profile.to_string().as_bytes());
    }

    /// `wsp` in the folder, as the run [`RUN`], without the caller's own settings.
    pub fn wsp(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wsp"));
        command.args(args).current_dir(self.folder.path()).env_clear().env("PLATFORM_RUN_ID", RUN);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
        command
    }

    /// `wsp run --once` to its end.
    pub fn run_once(&self) -> Ran {
        Ran::of(self.wsp(RUN_ONCE).output().unwrap())
    }

    /// A file of the run's evidence, below `store/fraud-platform/<run>/`.
    pub fn evidence(&self, name: &str) -> PathBuf {
        self.path("store/fraud-platform").join(RUN).join(name)
    }

    /// A JSON document of the run's evidence.
    pub fn document(&self, name: &str) -> Value {
        serde_json::from_slice(&read(&self.evidence(name))).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// What the latest start to come to its end left as its summary.
    pub fn summary(&self) -> Value {
        self.document("wsp/wsp_summary.json")
    }

    /// The lines of the golden READY's record.
    pub fn record(&self) -> Vec<Value> {
        self.record_of(MESSAGE)
    }

    /// The lines of a READY's record.
    pub fn record_of(&self, message_id: &str) -> Vec<Value> {
        json_lines(&self.evidence(&format!("wsp/ready_runs/{message_id}.jsonl")))
    }

    /// All governance facts, in the order they were told.
    pub fn governance(&self) -> Vec<Value> {
        json_lines(&self.evidence("obs/governance/events.jsonl"))
    }

    /// The saved cursors, by output.
    pub fn cursors(&self) -> BTreeMap<String, Value> {
        let mut cursors = BTreeMap::new();
        for scope in folders(&self.path("checkpoints")) {
            // A producer that was killed may have made a folder and no cursor in it yet.
            for output in folders(&scope).into_iter().filter(|output| output.join("cursor.json").exists()) {
                let cursor: Value = serde_json::from_slice(&read(&output.join("cursor.json"))).unwrap();
                cursors.insert(cursor["output_id"].as_str().unwrap().to_owned(), cursor);
            }
        }
        cursors
    }
}

/// How a `wsp run` came out.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    /// The verdicts on stdout.
    pub verdicts: Vec<Value>,
    pub stderr: String,
}

impl Ran {
    pub fn of(output: Output) -> Self {
        let lines = String::from_utf8(output.stdout).unwrap();
        // A service prints a line a verdict; `--once` prints all of them as one array.
        let verdicts = lines.lines().flat_map(|line| match serde_json::from_str(line).unwrap() {
            Value::Array(verdicts) => verdicts,
            verdict => vec![verdict],
        });
        let verdicts = verdicts.collect();
        Self { code: output.status.code(), verdicts, stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
    }

    /// Status and reason of the one verdict.
    pub fn verdict(&self) -> (&str, &str) {
        let [verdict] = self.verdicts.as_slice() else { panic!("not one verdict: {self:?}") };
        (verdict["status"].as_str().unwrap(), verdict["reason"].as_str().unwrap_or(""))
    }
}

/// A file or folder of this repository.
pub fn repository(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(name)
}

/// The text of a file of this repository.
pub fn text_of(name: &str) -> String {
    let path = repository(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn golden() -> PathBuf {
    repository("tests/golden")
}

/// The lines of a golden file.
pub fn golden_lines(name: &str) -> Vec<Value> {
    String::from_utf8(read(&golden().join(name)))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Where the READY with this id lies on a stage's control bus.
pub fn ready_file(message_id: &str) -> String {
    format!("control_bus/{TOPIC}/{message_id}.json")
}

/// A reference gate without faults that lets [`KEY`] in.
pub fn gate() -> GateHandle {
    gate_of(GateStyle::Service)
}

/// The same before this front.
pub fn gate_of(style: GateStyle) -> GateHandle {
    GateServer::start(GateOptions { style, ..GateOptions::new(Secret::new(KEY)) }).unwrap()
}

/// A hash or id of this many zeros.
pub fn zeros(n: usize) -> Value {
    "0".repeat(n).into()
}

/// Bodies by their event ids.
pub fn by_id(bodies: impl IntoIterator<Item = Value>) -> BTreeMap<String, Value> {
    bodies.into_iter().map(|body| (body["event_id"].as_str().unwrap().to_owned(), body)).collect()
}

/// The event ids of bodies.
pub fn event_ids(bodies: &[Vec<u8>]) -> Vec<String> {
    let id = |body: &Vec<u8>| {
        let body: Value = serde_json::from_slice(body).unwrap();
        body["event_id"].as_str().unwrap().to_owned()
    };
    bodies.iter().map(id).collect()
}

/// The outputs of the golden run, by rank.
pub const OUTPUTS: [&str; 4] = ["arrival_events_5B", "s1_arrival_entities_6B", "s3_flow_anchor_with_fraud_6B", FRAUD];

/// The bodies of the golden run in canonical order: over outputs by time and then rank, within one as they came.
pub fn canonical() -> Vec<Value> {
    let mut bodies = golden_lines("ready/bodies_in_arrival_order.jsonl");
    bodies.sort_by_key(|body| {
        let rank = OUTPUTS.iter().position(|output| body["event_type"] == *output);
        (body["ts_utc"].as_str().unwrap().to_owned(), rank)
    });
    bodies
}

/// How many events of the golden run come before row `row` of `output` in canonical order.
pub fn events_before(output: &str, row: usize) -> usize {
    let bodies = canonical();
    let of_output = bodies.iter().enumerate().filter(|(_, body)| body["event_type"] == output);
    of_output.map(|(place, _)| place).nth(row).unwrap()
}

pub fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// The lines of a JSON-lines file; none where there is no file.
pub fn json_lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            write(&target, &read(&entry.path()));
        }
    }
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
}
