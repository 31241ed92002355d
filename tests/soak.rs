//! The long haul: a steady rate for many minutes before a gate that fails now and then. Memory, descriptors and lag stay
//! where they are.
//!
//! ```text
//! world ──► wsp, so many events a second ──► proxy (cut for a second, now and then) ──► gate (faults, restarts)
//!            └─ every 5 s: memory, descriptors, threads, how far behind the rate ──► table, first quarter = last?
//! ```
//!
//! `cargo test --test soak -- --ignored --nocapture`. In the environment: `WSP_SOAK_MINUTES` (20), `WSP_SOAK_EPS` (2000),
//! `WSP_SOAK_PROGRAM` (the program of this build; a release build says more).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't set up fails")]

mod common;
#[path = "faults/proxy.rs"]
#[allow(dead_code, reason = "it is the fault tests' own")]
mod proxy;

use std::process::Command;
use std::time::Duration;

use common::live::{Running, assert_evidence_is_whole, nap, prepared, publish_world};
use common::{KEY, json_lines};
use proxy::Proxy;
use serde_json::{Value, json};
use wsp::clock::{Clock, SystemClock};
use wsp::model::Secret;
use wsp::reference::gate::{GateHandle, GateOptions, GateServer};
use wsp::reference::world::WorldSpec;

const SAMPLE: Duration = Duration::from_secs(5);
/// A second without a connection, each time this has passed.
const CUT: Duration = Duration::from_mins(2);
/// Real restarts of the gate, over the whole time.
const RESTARTS: u32 = 3;
const FAULTS: &str =
    "status=503:0.5%,status=429:0.1%,cut-before=0.1%,cut-after=0.1%,half=0.05%,hang=0.001%,latency=exp(2ms)";

/// What was seen at one time.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Duration,
    admitted: u64,
    /// How much later than the rate wants it the newest admitted event is, in seconds.
    behind: f64,
    /// Resident memory, KiB.
    memory: u64,
    descriptors: usize,
    threads: u64,
}

#[test]
#[ignore = "takes 20 minutes"]
fn memory_descriptors_and_lag_stay_flat() {
    let minutes: u64 = setting("WSP_SOAK_MINUTES", 20);
    let eps: u64 = setting("WSP_SOAK_EPS", 2_000);
    let program = std::env::var("WSP_SOAK_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_wsp").to_owned());

    let spec = WorldSpec { parts: 8, row_group_rows: 20_000, seed: 21, ..WorldSpec::new(eps * minutes * 60) };
    let (stage, message_id) = publish_world(&spec);
    let mut gate = start_gate(&stage.path("gate.journal"));
    let proxy = Proxy::to(&gate.base_url());
    stage.profile(&proxy.url, |profile| {
        let wiring = &mut profile["wiring"];
        wiring["wsp_delivery"] =
            json!({"mode": "keyed", "in_flight": 64, "window": 16_384, "attempt_timeout_ms": 2_000});
        wiring["wsp_checkpoint"]["flush_every"] = 1_000.into();
        wiring["wsp_retry"] = json!({"max_attempts": 10, "base_delay_ms": 100, "max_delay_ms": 5_000});
    });
    let due: u64 = prepared(&stage, &message_id).outputs.iter().map(|output| output.view.rows).sum();

    let own = stage.wsp(&["run", "--profile", "profile.yaml", "--once"]);
    let mut command = Command::new(program);
    command.args(own.get_args()).current_dir(stage.path("")).env_clear();
    command
        .envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .env("WSP_TARGET_EPS", eps.to_string());
    let mut running = Running::spawn(&stage, "soak", &mut command);
    running.until("the first event", || admitted(&gate) > 0);

    let clock = SystemClock::new();
    let (mut samples, mut cuts, mut restarts) = (Vec::new(), 0, 0);
    println!("| minute | admitted | behind, s | memory, MiB | descriptors | threads |");
    println!("|---|---|---|---|---|---|");
    loop {
        let next = SAMPLE * (samples.len() as u32 + 1);
        while clock.now() < next && running.is_running() {
            nap(Duration::from_millis(20));
        }
        if !running.is_running() {
            break;
        }
        let Some(sample) = sample(running.id(), clock.now(), admitted(&gate), eps) else { break };
        samples.push(sample);
        if samples.len() % 12 == 1 {
            println!("{}", line(&sample));
        }
        if clock.now() > CUT * (cuts + 1) {
            cuts += 1;
            proxy.cut();
            nap(Duration::from_secs(1));
            proxy.mend();
        }
        if clock.now() > Duration::from_mins(minutes) / (RESTARTS + 1) * (restarts + 1) {
            restarts += 1;
            let journal = stage.path("gate.journal");
            // The old one is gone before the new one reads what it wrote.
            let old = std::mem::replace(&mut gate, start_gate(&stage.path("no.journal")));
            old.shutdown().unwrap();
            gate = start_gate(&journal);
            proxy.lead_to(&gate.base_url());
        }
    }
    let took = clock.now();
    let ran = running.end();
    assert_eq!((ran.code, ran.verdict()), (Some(0), ("STREAMED", "")), "{}", ran.stderr);
    assert_eq!(ran.verdicts[0]["emitted"], due);
    assert_eq!(admitted(&gate), due, "every event once");
    assert_evidence_is_whole(&stage);
    let record = json_lines(&stage.evidence(&format!("wsp/ready_runs/{message_id}.jsonl")));
    assert_eq!(record.len(), 1, "{record:?}");
    let summary: Value = serde_json::from_slice(&common::read(&stage.evidence("wsp/wsp_summary.json"))).unwrap();
    println!("\n{due} events in {took:?}; {cuts} cuts, {restarts} restarts; {summary}");

    assert!(samples.len() >= 8, "too short to say anything: {} samples", samples.len());
    // The first tenth is warming up: pools, row groups and logs reach their size.
    let steady = &samples[samples.len() / 10..];
    let (first, last) = (&steady[..steady.len() / 4], &steady[steady.len() * 3 / 4..]);
    println!("| | first quarter | last quarter | most |\n|---|---|---|---|");
    let memory = compared("memory, MiB", first, last, &samples, |sample| sample.memory as f64 / 1024.0);
    let descriptors = compared("descriptors", first, last, &samples, |sample| sample.descriptors as f64);
    let threads = compared("threads", first, last, &samples, |sample| sample.threads as f64);
    let behind = compared("behind, s", first, last, &samples, |sample| sample.behind);
    assert!(memory.1 <= memory.0 * 1.1 + 4.0, "memory grows: {memory:?}");
    assert!(descriptors.1 <= descriptors.0 + 2.0, "descriptors grow: {descriptors:?}");
    assert!(threads.1 <= threads.0 + 1.0, "threads grow: {threads:?}");
    assert!(behind.1 <= behind.0 + 1.0, "it falls behind: {behind:?}");
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn start_gate(journal: &std::path::Path) -> GateHandle {
    let faults = FAULTS.parse().unwrap();
    let options =
        GateOptions { journal: Some(journal.to_owned()), faults, seed: 3, ..GateOptions::new(Secret::new(KEY)) };
    GateServer::start(options).unwrap()
}

/// Events that the gate knows, whichever of its lives admitted them.
fn admitted(gate: &GateHandle) -> u64 {
    gate.journal(|ledger| u64::from(ledger.len()))
}

/// Looks at the process; `None` where it is gone.
fn sample(process: u32, at: Duration, admitted: u64, eps: u64) -> Option<Sample> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let number = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let descriptors = std::fs::read_dir(format!("/proc/{process}/fd")).ok()?.count();
    let behind = at.as_secs_f64() - admitted as f64 / eps as f64;
    Some(Sample { at, admitted, behind, memory: number("VmRSS:")?, descriptors, threads: number("Threads:")? })
}

fn line(sample: &Sample) -> String {
    let Sample { at, admitted, behind, memory, descriptors, threads } = sample;
    let (minute, memory) = (at.as_secs_f64() / 60.0, *memory as f64 / 1024.0);
    format!("| {minute:.1} | {admitted} | {behind:.2} | {memory:.1} | {descriptors} | {threads} |")
}

/// The medians of the first and the last quarter, printed beside the highest of all.
fn compared(name: &str, first: &[Sample], last: &[Sample], all: &[Sample], of: impl Fn(&Sample) -> f64) -> (f64, f64) {
    let median = |samples: &[Sample]| {
        let mut values: Vec<f64> = samples.iter().map(&of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (before, after) = (median(first), median(last));
    let most = all.iter().map(&of).fold(f64::MIN, f64::max);
    println!("| {name} | {before:.2} | {after:.2} | {most:.2} |");
    (before, after)
}
