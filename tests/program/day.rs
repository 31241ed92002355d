//! A day in the life of a producer, by the program on local parts; at its end the evidence alone tells it.
//!
//! ```text
//! morning  deferred ─► started ─► capped; its READY again, another that goes on, one too many, a foreign and a stale one
//! noon     killed ─► killed ─► stopped ─► resumed to the end
//! evening  the gate goes away and comes back ─► the end
//!                     └── facts, records, waits, sessions, summaries ──► the story, printed; `wsp verify` agrees
//! ```
//!
//! `cargo test --test program day:: -- --nocapture` prints it; `docs/day.md` holds a copy.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use wsp::clock::{Clock, SystemClock};
use wsp_reference::gate::{GateHandle, GateOptions, GateServer, GateStats};
use wsp_reference::world::run_files::{RunFiles, publish_ready};
use wsp_reference::world::{WorldSpec, WorldSummary, generate};
use wsp_world::model::{Hex32, Micros, PlatformRunId, Secret};

use crate::kit::live::{Running, nap};
use crate::kit::{self, KEY, Ran, Stage, json_lines, read};

const EVENTS: u64 = 3_000;
const MORNING: &str = "platform_20260105T060000Z";
const NOON: &str = "platform_20260105T120000Z";
const EVENING: &str = "platform_20260105T180000Z";
/// Slow enough that what happens in the middle happens there on any machine.
const RATE: (&str, &str) = ("WSP_TARGET_EPS", "1500");

struct Day {
    stage: Stage,
    world: WorldSummary,
    gate: GateHandle,
}

impl Day {
    fn new() -> Self {
        let stage = Stage { folder: tempfile::tempdir().unwrap() };
        let root = stage.path("world");
        let world = generate(&root, root.to_str().unwrap(), &WorldSpec::new(EVENTS)).unwrap();
        let gate = GateServer::start(Self::gate_options(&stage, 0)).unwrap();
        stage.profile(&gate.base_url(), |profile| {
            profile["policy"]["ready_max_age_seconds"] = json!(86_400);
            profile["wiring"]["control_bus"]["root"] = json!("runs/fraud-platform/control_bus");
            profile["wiring"]["wsp_checkpoint"]["flush_every"] = json!(100);
            profile["wiring"]["wsp_delivery"] = json!({"in_flight": 8, "window": 256});
            profile["wiring"]["wsp_retry"] = json!({"max_attempts": 100, "base_delay_ms": 20, "max_delay_ms": 200});
        });
        Self { stage, world, gate }
    }

    fn gate_options(stage: &Stage, port: u16) -> GateOptions {
        let listen = ([127, 0, 0, 1], port).into();
        let journal = Some(stage.path("gate.jsonl"));
        GateOptions { listen, journal, ..GateOptions::new(Secret::new(KEY)) }
    }

    /// Lays `run`'s facts into the store, and its READY on the control bus of `home`; answers READY's id.
    fn publish(&self, run: &str, home: &str, published_at: Micros) -> String {
        let platform_run_id: PlatformRunId = run.parse().unwrap();
        let run_id: Hex32 = format!("{:0>32}", &run[18..24]).parse().unwrap();
        let published = publish_ready(&RunFiles {
            world: &self.world,
            platform_run_id: &platform_run_id,
            run_id: &run_id,
            object_store_root: &self.stage.path("store"),
            control_root: &self.stage.path("runs/fraud-platform").join(home).join("control_bus"),
            topic: kit::TOPIC,
            published_at,
        });
        published.unwrap().message_id.to_string()
    }

    fn command(&self, run: &str, args: &[&str], environment: &[(&str, &str)]) -> Command {
        let mut wsp = self.stage.wsp(&[args, &["--profile", "profile.yaml"]].concat());
        wsp.env("PLATFORM_RUN_ID", run).env("WSP_READY_REQUIRED_PACKS", "").envs(environment.iter().copied());
        wsp
    }

    fn start(&self, run: &str, name: &str, environment: &[(&str, &str)]) -> Running {
        Running::spawn(&self.stage, name, &mut self.command(run, &["run", "--once"], environment))
    }

    fn once(&self, run: &str, more: &[&str]) -> Ran {
        Ran::of(self.command(run, &[&["run", "--once"], more].concat(), &[]).output().unwrap())
    }

    fn admitted(&self) -> u64 {
        self.gate.stats().admitted
    }

    fn evidence(&self, run: &str) -> PathBuf {
        self.stage.path("store/fraud-platform").join(run)
    }
}

/// A required pack is missing, then there; the run is capped, and goes on. Then come READYs that may not stream.
fn morning(day: &Day) {
    let now = SystemClock::new().utc();
    let ready = day.publish(MORNING, MORNING, now);
    day.stage.put("ingest.yaml", "version: 1\npack_id: ingest\nprocesses: [{id: gate}]\n");
    let packs = ("WSP_READY_REQUIRED_PACKS", "ingest.yaml");
    let capped = ["run", "--max-events", "1000", "--max-messages", "0"];
    let mut wsp = Running::spawn(&day.stage, "morning", &mut day.command(MORNING, &capped, &[packs]));
    let waits = day.evidence(MORNING).join(format!("wsp/deferrals/{ready}.json"));
    wsp.until("the wait is told", || waits.exists());
    let gate = json!({"pid": std::process::id(), "pid_create_time": kit::live::created_at(std::process::id())});
    let state = json!({"active_platform_run_id": MORNING, "processes": {"gate": gate}});
    day.stage.put("runs/fraud-platform/operate/ingest/state.json", state.to_string());
    let out = wsp.out_file();
    wsp.until("STREAMED", || std::fs::read_to_string(&out).unwrap().contains("\"STREAMED\""));
    wsp.signal("TERM");
    assert_eq!(wsp.end().code, Some(0));
    assert_eq!(day.admitted(), 1_000);

    // The same READY again; another one of the run, which goes on behind the cap; another run's.
    day.publish(MORNING, MORNING, Micros(now.0 + 1));
    day.publish(NOON, MORNING, now);
    let ran = day.once(MORNING, &[]);
    assert_eq!(ran.verdicts.len(), 3, "{}", ran.stderr);
    let all = day.world.outputs.iter().map(|output| output.rows).sum::<u64>();
    assert_eq!(day.admitted(), all, "the rest, and nothing twice");
    // One more of the run, which is over now; one of three days ago.
    day.publish(MORNING, MORNING, Micros(now.0 + 2));
    day.publish(MORNING, MORNING, Micros(now.0 - 3 * 86_400_000_000));
    let ran = day.once(MORNING, &[]);
    for reason in ["RUN_ALREADY_STREAMED", "READY_TOO_OLD"] {
        assert!(ran.verdicts.iter().any(|verdict| verdict["reason"] == reason), "{reason}: {}", ran.stderr);
    }
    assert_eq!(day.admitted(), all);
}

/// The process dies twice and is told to leave once; the fourth start ends it.
fn noon(day: &Day) {
    day.publish(NOON, NOON, SystemClock::new().utc());
    let before = day.admitted();
    for (n, events) in [(1, 600), (2, 1_200)] {
        let mut wsp = day.start(NOON, &format!("noon-{n}"), &[RATE]);
        wsp.until("it is in the middle", || day.admitted() >= before + events);
        assert!(wsp.kill(), "it was still running");
    }
    let mut wsp = day.start(NOON, "noon-3", &[RATE]);
    wsp.until("it goes on", || day.admitted() >= before + 1_800);
    wsp.signal("TERM");
    let ran = wsp.end();
    assert_eq!((ran.code, ran.verdict()), (Some(3), ("FAILED", "RUN_STOPPED")), "{}", ran.stderr);
    assert_eq!(day.once(NOON, &[]).verdict(), ("STREAMED", ""));
}

/// The gate is away for a second.
fn evening(mut day: Day) -> Day {
    day.publish(EVENING, EVENING, SystemClock::new().utc());
    let before = day.admitted();
    let mut wsp = day.start(EVENING, "evening", &[RATE]);
    wsp.until("it is in the middle", || day.admitted() >= before + 1_000);
    let url = day.gate.base_url();
    let port = url.rsplit_once(':').unwrap().1.parse().unwrap();
    let elsewhere = kit::gate();
    let stats: GateStats = std::mem::replace(&mut day.gate, elsewhere).shutdown().unwrap();
    assert!(stats.admitted < before + day.world.outputs.iter().map(|output| output.rows).sum::<u64>());
    nap(std::time::Duration::from_secs(1));
    day.gate = GateServer::start(Day::gate_options(&day.stage, port)).unwrap();
    let ran = wsp.end();
    assert_eq!((ran.code, ran.verdict()), (Some(0), ("STREAMED", "")), "{}", ran.stderr);
    day
}

/// One thing that the evidence says.
struct Line {
    at: String,
    said: String,
}

/// All that is told about a platform run, by time; nothing but its evidence is read.
fn story(day: &Day, run: &str) -> Vec<String> {
    let (folder, mut lines) = (day.evidence(run), Vec::new());
    let mut tell = |at: &Value, said: String| {
        let at = at.as_str().unwrap().replace("+00:00", "").replace('Z', "");
        lines.push(Line { at, said });
    };
    let short = |id: &Value| id.as_str().unwrap_or_default().chars().take(8).collect::<String>();
    for fact in json_lines(&folder.join("obs/governance/events.jsonl")) {
        let details = &fact["details"];
        let mut said =
            format!("fact     {} of {}", fact["event_family"].as_str().unwrap(), short(&details["message_id"]));
        for key in ["status", "reason", "emitted", "end", "resumed_rows"] {
            if !details[key].is_null() {
                write!(said, ", {key} {}", details[key].to_string().trim_matches('"')).unwrap();
            }
        }
        if details["limits"]["max_events"].is_u64() {
            write!(said, ", max_events {}", details["limits"]["max_events"]).unwrap();
        }
        if details["deferred"].is_object() {
            write!(said, ", after a wait of {} looks", details["deferred"]["looks"]).unwrap();
        }
        tell(&fact["ts_utc"], said);
    }
    for record in files(&folder.join("wsp/ready_runs")) {
        for line in json_lines(&record) {
            let reason = line["reason"].as_str().map(|reason| format!(" {reason}")).unwrap_or_default();
            let status = line["status"].as_str().unwrap();
            let said =
                format!("record   {}: {status}{reason}, emitted {}", short(&line["message_id"]), line["emitted"]);
            tell(&line["ts_utc"], said);
        }
    }
    for wait in files(&folder.join("wsp/deferrals")) {
        let wait: Value = serde_json::from_slice(&read(&wait)).unwrap();
        for stretch in wait["stretches"].as_array().unwrap() {
            let reason = stretch["reasons"][0].as_str().unwrap().split(':').next().unwrap();
            tell(&stretch["from_ts_utc"], format!("wait     {} for {reason}", short(&wait["message_id"])));
        }
        tell(&wait["ended_ts_utc"], format!("wait     {} is over", short(&wait["message_id"])));
    }
    for line in json_lines(&day.stage.path("runs/fraud-platform").join(run).join("session.jsonl")) {
        let kind = line["event_kind"].as_str().unwrap();
        if ["ready_received", "stream_start", "stream_complete"].contains(&kind) {
            let of = &line["details"]["message_id"];
            tell(&line["ts_utc"], format!("session  {kind} {}", short(of)).trim_end().to_owned());
        }
    }
    let summary: Value = serde_json::from_slice(&read(&folder.join("wsp/wsp_summary.json"))).unwrap();
    let totals = &summary["totals"];
    let said = format!(
        "summary  {}: {} admitted, {} duplicates, {} retries, {} connections refused, slowest answer {:.1} s; report {}",
        summary["end"].as_str().unwrap(),
        totals["admitted"],
        totals["duplicates"],
        totals["retries"],
        summary["pushes"]["connect_failed"],
        summary["latency"]["max_us"].as_f64().unwrap() / 1e6,
        if folder.join("wsp/wsp_report.html").exists() { "written" } else { "missing" },
    );
    tell(&summary["ended_at_utc"], said);
    // Facts and sessions of one instant stay in the order they were told.
    lines.sort_by(|one, other| one.at.cmp(&other.at));
    // A start that another one follows before its end was told: its process died.
    let sessions: Vec<usize> = (0..lines.len()).filter(|i| lines[*i].said.starts_with("session  stream_")).collect();
    for pair in sessions.windows(2) {
        if pair.iter().all(|i| lines[*i].said.ends_with("stream_start")) {
            lines[pair[0]].said += ", cut off: no end was told";
        }
    }
    lines.into_iter().map(|line| format!("{}  {}", &line.at[11..line.at.len().min(23)], line.said)).collect()
}

fn files(folder: &std::path::Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Whether the story holds these words, in this order, each in a line of its own.
fn assert_told(story: &[String], expected: &[&str]) {
    let mut lines = story.iter();
    for words in expected {
        assert!(lines.any(|line| line.contains(words)), "{words} is not told, or not there:\n{}", story.join("\n"));
    }
}

#[test]
fn the_evidence_alone_tells_the_day() {
    let day = Day::new();
    morning(&day);
    noon(&day);
    let day = evening(day);
    let told = |run: &str| {
        let story = story(&day, run);
        println!("\n{run}\n{}", story.join("\n"));
        let verified = day.command(run, &["verify", "--sample", "100", "--json"], &[]).output().unwrap();
        let verdict: Value = serde_json::from_slice(&verified.stdout).unwrap();
        assert_eq!((verified.status.code(), &verdict["holds"]), (Some(0), &json!(true)), "{run}: {verdict:#}");
        println!("wsp verify: holds together, {} checks", verdict["checks"].as_array().unwrap().len());
        story
    };
    assert_told(
        &told(MORNING),
        &[
            "RUN_READY_SEEN",
            "for PACK_STATE_MISSING",
            "is over",
            "RUN_STARTED",
            "RUN_ENDED of",
            "RUN_STARTED",
            "RUN_ENDED of",
        ],
    );
    let morning = story(&day, MORNING);
    for words in [
        "max_events 1000, after a wait of",
        "status STREAMED, emitted 1000, end capped",
        "STREAMED, emitted 1000",
        "SKIPPED_OUT_OF_SCOPE PLATFORM_RUN_SCOPE_MISMATCH, emitted 0",
        "end complete, resumed_rows 1000",
        "FAILED RUN_ALREADY_STREAMED, emitted 0",
        "FAILED READY_TOO_OLD, emitted 0",
    ] {
        assert!(morning.iter().any(|line| line.contains(words)), "{words}: {morning:#?}");
    }
    // Three starts that had no end of their own or a stop, then the end: the sessions tell the deaths.
    let noon = told(NOON);
    let count = |words: &str| noon.iter().filter(|line| line.contains(words)).count();
    assert_eq!((count("stream_start"), count("cut off"), count("stream_complete")), (4, 2, 2), "{noon:#?}");
    assert_told(&noon, &["RUN_CANCELLED", "RUN_STARTED", "RUN_ENDED", "RUN_ENDED"]);
    assert!(!morning.iter().any(|line| line.contains("RUN_CANCELLED")), "another run's fact: {morning:#?}");
    for words in ["reason RUN_STOPPED", "end stopped, resumed_rows", "end complete, resumed_rows"] {
        assert!(noon.iter().any(|line| line.contains(words)), "{words}: {noon:#?}");
    }
    let evening = told(EVENING);
    assert_told(&evening, &["RUN_READY_SEEN", "RUN_STARTED", "RUN_ENDED"]);
    let summary = evening.iter().find(|line| line.contains("summary  complete")).unwrap();
    assert!(!summary.contains(" 0 connections refused"), "the gate was away: {summary}");
}
