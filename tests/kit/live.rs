//! A made-up world streamed into the reference gate by `wsp` itself, and what came of it.
//!
//! ```text
//! WorldSpec ──► Live { stage, gate, events } ──start──► Running (signals, kill) ──► Ran
//!                  │                                        │
//!                  └── due events, canonical order ──► audit ◄── the gate's ledger
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Output};
use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;
use wsp::clock::{Clock, SystemClock};
use wsp::frame::FrameExt as _;
use wsp::merge::merge;
use wsp_reference::gate::audit::{AuditReport, Expected, audit};
use wsp_reference::gate::{EventClass, GateHandle, GateOptions, GateServer};
use wsp_reference::world::run_files::{RunFiles, publish_ready};
use wsp_reference::world::{WorldSpec, generate};
use wsp_world::checkpoint::{CheckpointStore, Cursor, FileCheckpoints, Kept, OutputFiles};
use wsp_world::model::{Event, EventDigest, Hex64, Secret};
use wsp_world::oracle::Scan;
use wsp_world::prepare::{self, Prepared};
use wsp_world::profile::Profile;
use wsp_world::ready::{Parsed, message};

use super::{KEY, RUN, Ran, Stage, json_lines};

const SR_RUN: &str = "d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0";
/// What any single wait of a test may take; only a hang is longer.
const PATIENCE: Duration = Duration::from_mins(10);

/// An event that the run has to bring.
#[derive(Debug, Clone, Copy)]
pub struct Due {
    pub rank: u16,
    /// How many rows of its output precede it.
    pub nth: u64,
    pub event_id: [u8; 32],
    pub expected: Expected,
}

/// A world, its READY, and the gate that it is streamed into.
pub struct Live {
    pub stage: Stage,
    pub gate: GateHandle,
    pub message_id: String,
    /// All events of the run in canonical order, found by a plain sort.
    pub events: Vec<Due>,
    run: Prepared,
    starts: usize,
}

impl Live {
    /// A world of about `spec.events` events before a gate with `faults`; `change` is for the profile.
    pub fn new(spec: &WorldSpec, faults: &str, change: impl FnOnce(&mut Value)) -> Self {
        let options = GateOptions { faults: faults.parse().unwrap(), seed: 7, ..GateOptions::new(Secret::new(KEY)) };
        let gate = GateServer::start(options).unwrap();
        let (stage, message_id) = publish_world(spec);
        stage.profile(&gate.base_url(), change);
        let run = prepared(&stage, &message_id);
        let events = due(&run);
        Self { stage, gate, message_id, events, run, starts: 0 }
    }

    /// Starts `wsp run --once`.
    pub fn start(&mut self) -> Running {
        self.starts += 1;
        Running::start(&self.stage, &format!("start-{}", self.starts), &["run", "--profile", "profile.yaml", "--once"])
    }

    /// The run's events in canonical order, a line of JSON each: what a producer that reads files needs to send the same bodies.
    pub fn lines(&self) -> String {
        let outputs = self.run.outputs.iter().map(|output| output.view.batches(Scan::new())).collect();
        block_on(async {
            let (mut lines, mut chunks) = (Vec::new(), std::pin::pin!(merge(outputs).frame(self.run.framer())));
            while let Some(chunk) = chunks.next().await {
                for Event { order_key, body, .. } in &chunk.unwrap() {
                    let text = std::str::from_utf8(body).unwrap();
                    let envelope: Value = serde_json::from_slice(body).unwrap();
                    let (time, id) = (&envelope["ts_utc"], &envelope["event_id"]);
                    lines.push(format!(r#"{{"time":{time},"key":"{order_key}","id":{id},"body":{text}}}"#));
                }
            }
            lines.join("\n")
        })
    }

    /// What the gate admitted against what was due; `due` may be a part of [`Live::events`].
    pub fn audit(&self, due: &[Due]) -> AuditReport {
        self.gate.journal(|ledger| audit(ledger, RUN, due.iter().map(|due| due.expected)))
    }

    /// The digest of all events of the run.
    pub fn digest(&self) -> EventDigest {
        digest(&self.events)
    }

    /// Events that the saved cursors cover, by rank.
    pub fn covered(&self) -> Vec<u64> {
        covered(&self.stage, &self.run)
    }

    /// Events that the next start won't send, by rank: those that the cursors cover, and those kept beyond.
    pub fn kept(&self) -> Vec<BTreeSet<u64>> {
        kept(&self.stage, &self.run)
    }

    /// What is kept against the gate: how many events in it the gate never admitted, and the events that it admitted and
    /// that are not kept, by rank and place (a start after this repeats these).
    pub fn kept_against_gate(&self) -> (u64, BTreeSet<(u16, u64)>) {
        let kept = self.kept();
        let (mut lost, mut repeated) = (0, BTreeSet::new());
        self.gate.journal(|ledger| {
            for due in &self.events {
                let behind = kept[usize::from(due.rank)].contains(&due.nth);
                let admitted = ledger.find_in(RUN, due.expected.class, &due.event_id).is_some();
                lost += u64::from(behind && !admitted);
                if !behind && admitted {
                    repeated.insert((due.rank, due.nth));
                }
            }
        });
        (lost, repeated)
    }

    pub fn record(&self) -> Vec<Value> {
        self.stage.record_of(&self.message_id)
    }

    /// The `RUN_ENDED` facts, after checking that each has the id that the contract gives the n-th end.
    pub fn ends(&self) -> Vec<Value> {
        ends(&self.stage, &self.message_id)
    }
}

/// The digest of events, whoever brings them.
pub fn digest(events: &[Due]) -> EventDigest {
    events.iter().map(|due| EventDigest::of(&due.event_id, due.nth)).sum()
}

/// A stage with a generated world and its READY, without a profile; and the READY's id.
pub fn publish_world(spec: &WorldSpec) -> (Stage, String) {
    let stage = Stage { folder: tempfile::tempdir().unwrap() };
    let root = stage.path("world");
    let world = generate(&root, root.to_str().unwrap(), spec).unwrap();
    let published = publish_ready(&RunFiles {
        world: &world,
        platform_run_id: &RUN.parse().unwrap(),
        run_id: &SR_RUN.parse().unwrap(),
        object_store_root: &stage.path("store"),
        control_root: &stage.path("control_bus"),
        topic: super::TOPIC,
        published_at: SystemClock::new().utc(),
    });
    (stage, published.unwrap().message_id.to_string())
}

/// The run that the stage's READY and profile ask for.
pub fn prepared(stage: &Stage, message_id: &str) -> Prepared {
    let env = |name: &str| (name == "PLATFORM_RUN_ID").then(|| RUN.to_owned());
    let text = std::fs::read_to_string(stage.path("profile.yaml")).unwrap();
    let mut absolute: Value = serde_json::from_str(&text).unwrap();
    absolute["wiring"]["object_store"]["root"] = stage.path("store").to_str().unwrap().into();
    let profile = stage.path("absolute.yaml");
    super::write(&profile, absolute.to_string().as_bytes());
    let profile = Profile::load(&profile, &env).unwrap();
    let file = stage.path(&super::ready_file(message_id));
    let Parsed::Ready(ready) = message::parse(&super::read(&file), super::TOPIC).unwrap() else { panic!("no READY") };
    block_on(prepare::of_ready(&profile, &ready)).unwrap_or_else(|refusal| panic!("{refusal}"))
}

/// Every output read alone, then all of them sorted: what a merge has to come to. The order key is taken from the body.
pub fn due(run: &Prepared) -> Vec<Due> {
    let of_event = |event: &Event| {
        let body: Value = serde_json::from_slice(&event.body).unwrap();
        let class = EventClass::of(body["event_type"].as_str().unwrap());
        let column = class.order_column();
        let value = &body["payload"][column];
        let order_key = value.as_u64().unwrap_or_else(|| value.as_i64().unwrap().cast_unsigned());
        // Merchants and flows are told apart by the lowest bit, which no two of a test's ids differ in alone.
        let order_key = order_key.rotate_left(17) ^ column.len() as u64;
        let position = event.position;
        let expected = Expected { class, event_id: event.event_id, order_key };
        let due = Due { rank: position.rank, nth: position.seq, event_id: event.event_id, expected };
        ((event.ts, position.rank, position.file, position.row), due)
    };
    let mut keyed: Vec<_> = block_on(async {
        let mut keyed = Vec::new();
        for output in &run.outputs {
            let mut chunks = std::pin::pin!(merge(vec![output.view.batches(Scan::new())]).frame(run.framer()));
            while let Some(chunk) = chunks.next().await {
                keyed.extend(chunk.unwrap().iter().map(of_event));
            }
        }
        keyed
    });
    keyed.sort_by_key(|(place, _)| *place);
    keyed.into_iter().map(|(_, due)| due).collect()
}

/// What the next start finds.
fn saved(stage: &Stage, run: &Prepared) -> Kept {
    let outputs: Vec<_> = run.output_files().into_iter().map(|output| output.output_id).collect();
    let store = FileCheckpoints::new(stage.path("checkpoints"), SystemClock::new());
    block_on(store.peek(&run.scope(""), &outputs)).unwrap()
}

/// Events that the saved cursors cover, by rank.
pub fn covered(stage: &Stage, run: &Prepared) -> Vec<u64> {
    let Kept { cursors, .. } = saved(stage, run);
    run.output_files().iter().map(|output| covered_rows(&cursors, output)).collect()
}

/// Events that the next start won't send, by rank.
pub fn kept(stage: &Stage, run: &Prepared) -> Vec<BTreeSet<u64>> {
    kept_rows(&saved(stage, run), &run.output_files())
}

/// The rows of each output that a checkpoint keeps: those that its cursors cover, and those answered beyond them.
pub fn kept_rows(kept: &Kept, outputs: &[OutputFiles]) -> Vec<BTreeSet<u64>> {
    let rows = |output: &OutputFiles| {
        let mut rows: BTreeSet<u64> = (0..covered_rows(&kept.cursors, output)).collect();
        let of_output = kept.beyond.iter().filter(|beyond| beyond.output_id == output.output_id);
        for answered in of_output.flat_map(|beyond| &beyond.files) {
            let before = rows_before(output, &answered.file);
            rows.extend(answered.rows.iter().flat_map(|(first, last)| before + first..=before + last));
        }
        rows
    };
    outputs.iter().map(rows).collect()
}

fn covered_rows(cursors: &[Cursor], output: &OutputFiles) -> u64 {
    let cursor = cursors.iter().find(|cursor| cursor.output_id == output.output_id);
    cursor.map_or(0, |cursor| rows_before(output, &cursor.last_file) + cursor.last_row_index + 1)
}

/// Rows of an output's files before this one, which may lie under another root.
pub fn rows_before(output: &OutputFiles, file: &str) -> u64 {
    let name = |file: &str| file.rsplit('/').next().map(str::to_owned);
    let place = output.files.iter().position(|known| name(&known.name) == name(file)).unwrap();
    output.files[..place].iter().map(|file| file.rows).sum()
}

/// The `RUN_ENDED` facts of a message in the order they were told, after checking that the n-th has the id of an n-th end
/// (contract, section 8) and lies in a file of its own.
pub fn ends(stage: &Stage, message_id: &str) -> Vec<Value> {
    let mut ends: Vec<Value> = stage.governance();
    ends.retain(|fact| fact["event_family"] == "RUN_ENDED");
    for (i, end) in ends.iter().enumerate() {
        let dedupe_key = match i + 1 {
            1 => format!("ended:{message_id}"),
            n => format!("ended:{message_id}:{n}"),
        };
        let run = end["pins"]["scenario_run_id"].as_str().unwrap();
        let id = Hex64::sha256(format!("RUN_ENDED|{RUN}|{run}|wsp_ready_consumer|{dedupe_key}"));
        assert_eq!(end["event_id"], id.as_str(), "{end}");
        let file = super::read(&stage.evidence(&format!("obs/governance/events/{id}.json")));
        assert_eq!(&serde_json::from_slice::<Value>(&file).unwrap(), end);
    }
    ends
}

/// Every JSON and JSON-lines file that a run leaves can be read, and facts and their log agree.
pub fn assert_evidence_is_whole(stage: &Stage) {
    let mut facts = BTreeMap::new();
    for path in files_below(stage.path("store")).into_iter().chain(files_below(stage.path("checkpoints"))) {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("jsonl") => drop(json_lines(&path)),
            Some("json") => {
                let value: Value = serde_json::from_slice(&super::read(&path))
                    .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                if path.parent().is_some_and(|folder| folder.ends_with("obs/governance/events")) {
                    facts.insert(value["event_id"].as_str().unwrap().to_owned(), value);
                }
            }
            _ => {}
        }
    }
    let mut told = BTreeMap::new();
    for fact in stage.governance() {
        let id = fact["event_id"].as_str().unwrap().to_owned();
        assert!(stage.evidence(&format!("obs/governance/markers/{id}.json")).exists(), "{fact}");
        assert!(told.insert(id, fact).is_none(), "a fact is told once");
    }
    assert_eq!(told, facts);
    drop(json_lines(&stage.path("runs/fraud-platform").join(RUN).join("session.jsonl")));
}

fn files_below(folder: PathBuf) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files
}

/// A `wsp` that runs. Dropping it kills it.
pub struct Running {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Running {
    /// Starts `wsp` in the stage's folder; its output goes to files called `name`.
    pub fn start(stage: &Stage, name: &str, args: &[&str]) -> Self {
        Self::spawn(stage, name, &mut stage.wsp(args))
    }

    pub fn spawn(stage: &Stage, name: &str, command: &mut Command) -> Self {
        let (out, err) = (stage.path(&format!("{name}.out")), stage.path(&format!("{name}.err")));
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        Self { child: command.spawn().unwrap(), out, err }
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn out(&self) -> String {
        std::fs::read_to_string(&self.out).unwrap()
    }

    /// The file that its stdout goes to.
    pub fn out_file(&self) -> PathBuf {
        self.out.clone()
    }

    /// The file that its stderr goes to.
    pub fn err_file(&self) -> PathBuf {
        self.err.clone()
    }

    pub fn err(&self) -> String {
        std::fs::read_to_string(&self.err).unwrap()
    }

    /// Sends a signal, `TERM` or `INT`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// SIGKILL. Says whether it was still running.
    pub fn kill(mut self) -> bool {
        let running = self.is_running();
        let _ = self.child.kill();
        self.child.wait().unwrap();
        running
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for something that comes while it runs.
    pub fn until(&mut self, what: &str, come: impl FnMut() -> bool) {
        assert!(self.until_or_end(come), "it ended before {what}:\n{}", self.err());
    }

    /// The same; says whether it came before the end.
    pub fn until_or_end(&mut self, mut come: impl FnMut() -> bool) -> bool {
        let clock = SystemClock::new();
        while !come() {
            if !self.is_running() {
                return come();
            }
            assert!(clock.now() < PATIENCE, "it hangs:\n{}", self.err());
            nap(Duration::from_micros(500));
        }
        true
    }

    /// Waits until it has said that it is stopping.
    pub fn until_stopping(&mut self) {
        let err = self.err.clone();
        self.until("it was stopping", || std::fs::read_to_string(&err).unwrap().contains("stopping: "));
    }

    /// Waits for its end: exit code and stdout.
    pub fn exit(mut self) -> (Option<i32>, String) {
        self.until_or_end(|| false);
        (self.child.wait().unwrap().code(), self.out())
    }

    /// Waits for the end of a `wsp run`.
    pub fn end(mut self) -> Ran {
        self.until_or_end(|| false);
        let status = self.child.wait().unwrap();
        Ran::of(Output { status, stdout: self.out().into_bytes(), stderr: self.err().into_bytes() })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[allow(clippy::disallowed_methods, reason = "processes are waited for in real time")]
pub fn nap(time: Duration) {
    std::thread::sleep(time);
}

/// When a process was created, as the platform's operator notes it: from the boot and the ticks since then.
pub fn created_at(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let ticks: f64 = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().parse().unwrap();
    let machine = std::fs::read_to_string("/proc/stat").unwrap();
    let boot: f64 = machine.lines().find_map(|line| line.strip_prefix("btime ")).unwrap().parse().unwrap();
    boot + ticks / 100.0
}

/// Runs a future to its end, on a runtime of this thread.
pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
