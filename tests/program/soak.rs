//! The long haul: a world of many minutes at its own pace before a gate that fails now and then. Memory, descriptors and
//! lag stay where they are.
//!
//! ```text
//! world, due by its event times ──► wsp, catching up ──► proxy (cut for a second, now and then) ──► gate (faults, restarts)
//!   │                                └─ every 5 s: memory, descriptors, threads ──────┐
//!   └─ when each event is due ──► how far the gate's newest is behind ────────────────┴──► table, first quarter = last?
//! ```
//!
//! `cargo test --test program soak:: -- --ignored --nocapture`. In the environment: `WSP_SOAK_MINUTES` (20), `WSP_SOAK_EPS` (1000),
//! `WSP_SOAK_PROGRAM` (the program of this build; a release build says more).

use std::process::Command;
use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};
use wsp::clock::{Clock, SystemClock};
use wsp_reference::gate::{GateHandle, GateOptions, GateServer};
use wsp_reference::world::WorldSpec;
use wsp_world::model::Secret;
use wsp_world::oracle::Scan;
use wsp_world::prepare::Prepared;

use crate::kit::KEY;
use crate::kit::live::{Running, assert_evidence_is_whole, block_on, nap, prepared, publish_world};
use crate::kit::process::{setting, status};
use crate::kit::proxy::Proxy;

const SAMPLE: Duration = Duration::from_secs(5);
/// A second without a connection, each time this has passed.
const CUT: Duration = Duration::from_mins(2);
/// Real restarts of the gate, over the whole time.
const RESTARTS: u32 = 3;
/// How far sending runs ahead of an unanswered event.
const WINDOW: u64 = 16_384;
/// Of world and gate.
const SEED: u64 = 21;
const FAULTS: &str =
    "status=503:0.5%,status=429:0.1%,cut-before=0.1%,cut-after=0.1%,half=0.05%,hang=0.001%,latency=exp(2ms)";

/// What was seen at one time.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Duration,
    /// Events that the world's times have brought due by then, and those that the gate has.
    due: usize,
    admitted: u64,
    /// How long ago the newest admitted event was due, in seconds.
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
    let eps: u64 = setting("WSP_SOAK_EPS", 1_000);
    let program = std::env::var("WSP_SOAK_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_wsp").to_owned());

    // All of it lies in the first hour of a day, so its rate is the same from minute to minute; this seed has no burst.
    // Row groups are small: a backlog is made good over several of them, early and late alike.
    let days = minutes as f64 / (24.0 * 60.0);
    let spec = WorldSpec { days, parts: 8, row_group_rows: 2_000, seed: SEED, ..WorldSpec::new(eps * minutes * 60) };
    let (stage, message_id) = publish_world(&spec);
    let mut gate = start_gate(&stage.path("gate.journal"));
    let proxy = Proxy::to(&gate.base_url());
    stage.profile(&proxy.url, |profile| {
        profile["policy"]["stream_speedup"] = 1.into();
        profile["policy"]["late"] = "catch_up".into();
        profile["policy"]["catch_up_seconds"] = 600.into();
        let wiring = &mut profile["wiring"];
        wiring["wsp_delivery"] =
            json!({"mode": "keyed", "in_flight": 64, "window": WINDOW, "attempt_timeout_ms": 2_000});
        wiring["wsp_checkpoint"]["flush_every"] = 1_000.into();
        wiring["wsp_retry"] = json!({"max_attempts": 10, "base_delay_ms": 100, "max_delay_ms": 5_000});
    });
    let mut dues = dues(&prepared(&stage, &message_id));
    // A few events come hours after their flow began: no part of this.
    dues.truncate(dues.partition_point(|due| *due < Duration::from_mins(minutes)));
    let due = dues.len() as u64;

    let capped = due.to_string();
    let own = stage.wsp(&["run", "--profile", "profile.yaml", "--once", "--max-events", &capped]);
    let mut command = Command::new(program);
    command.args(own.get_args()).current_dir(stage.path("")).env_clear();
    command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut running = Running::spawn(&stage, "soak", &mut command);
    running.until("the first event", || admitted(&gate) > 0);

    let clock = SystemClock::new();
    // A backlog as large as there can be, so that what grows with it has its size before anything is compared.
    proxy.cut();
    nap(Duration::from_secs(WINDOW / eps + 5));
    proxy.mend();
    let (mut samples, mut cuts, mut restarts) = (Vec::new(), 0, 0);
    println!("| minute | due | admitted | behind, s | memory, MiB | descriptors | threads | cuts | restarts |");
    println!("|---|---|---|---|---|---|---|---|---|");
    loop {
        let next = SAMPLE * (clock.now().div_duration_f64(SAMPLE) as u32 + 1);
        while clock.now() < next && running.is_running() {
            nap(Duration::from_millis(20));
        }
        if !running.is_running() || admitted(&gate) == due {
            break;
        }
        let Some(sample) = sample(running.id(), clock.now(), admitted(&gate), &dues) else { break };
        samples.push(sample);
        if samples.len() % 12 == 1 {
            println!("{} {cuts} | {restarts} |", line(&sample));
        }
        if clock.now() > CUT * (cuts + 1) {
            cuts += 1;
            proxy.cut();
            nap(Duration::from_secs(1));
            proxy.mend();
        }
        if restarts < RESTARTS && clock.now() > Duration::from_mins(minutes) / (RESTARTS + 1) * (restarts + 1) {
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
    let record = stage.record_of(&message_id);
    assert_eq!(record.len(), 1, "{record:?}");
    let summary = stage.summary();
    println!("\n{due} events in {took:?}; {cuts} cuts, {restarts} restarts; {}", summary["pushes"]);
    tell_lag(&summary["series"]["wall"]);

    assert!(samples.len() >= 8, "too short to say anything: {} samples", samples.len());
    // The first tenth is warming up: pools, row groups, the backlog and logs reach their size.
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

fn start_gate(journal: &std::path::Path) -> GateHandle {
    let faults = FAULTS.parse().unwrap();
    let options =
        GateOptions { journal: Some(journal.to_owned()), faults, seed: SEED, ..GateOptions::new(Secret::new(KEY)) };
    GateServer::start(options).unwrap()
}

/// When each event of the run is due, from the first on, by the times alone.
fn dues(run: &Prepared) -> Vec<Duration> {
    let mut times = Vec::new();
    block_on(async {
        for output in &run.outputs {
            let mut batches = std::pin::pin!(output.view.batches(Scan::new().times_only()));
            while let Some(batch) = batches.next().await {
                times.extend(batch.unwrap().times().iter().map(|ts| ts.0));
            }
        }
    });
    times.sort_unstable();
    let first = times[0];
    times.into_iter().map(|ts| Duration::from_micros((ts - first).cast_unsigned())).collect()
}

/// Events that the gate knows, whichever of its lives admitted them.
fn admitted(gate: &GateHandle) -> u64 {
    gate.journal(|ledger| u64::from(ledger.len()))
}

/// Looks at the process; `None` where it is gone.
fn sample(process: u32, at: Duration, admitted: u64, dues: &[Duration]) -> Option<Sample> {
    let number = |name: &str| status(process, name);
    let descriptors = std::fs::read_dir(format!("/proc/{process}/fd")).ok()?.count();
    let due = dues.partition_point(|due| *due <= at);
    let newest = usize::try_from(admitted).ok()?.checked_sub(1)?;
    let behind = at.saturating_sub(*dues.get(newest)?).as_secs_f64();
    Some(Sample { at, due, admitted, behind, memory: number("VmRSS")?, descriptors, threads: number("Threads")? })
}

fn line(sample: &Sample) -> String {
    let Sample { at, due, admitted, behind, memory, descriptors, threads } = sample;
    let (minute, memory) = (at.as_secs_f64() / 60.0, *memory as f64 / 1024.0);
    format!("| {minute:.1} | {due} | {admitted} | {behind:.2} | {memory:.1} | {descriptors} | {threads} |")
}

/// What the program itself says: how much later than due events were sent, in each tenth of the run.
fn tell_lag(wall: &Value) {
    let seconds = |value: &Value| value.as_u64().map_or(0.0, |micros| micros as f64 / 1e6);
    let [half, most] = ["lag_p50_us", "lag_p99_us"].map(|name| wall[name].as_array().unwrap());
    let (tenth, bucket) = (half.len().div_ceil(10), seconds(&wall["bucket_us"]));
    println!(
        "| minutes | half were sent at most, s, late: median | 99 in 100: median | 99 in 100: most |\n|---|---|---|---|"
    );
    for (i, (half, most)) in half.chunks(tenth).zip(most.chunks(tenth)).enumerate() {
        let [half, most] = [half, most].map(|values| {
            let mut values: Vec<f64> = values.iter().map(seconds).collect();
            values.sort_by(f64::total_cmp);
            values
        });
        let minutes = |buckets: usize| (i * tenth + buckets) as f64 * bucket / 60.0;
        let [from, to] = [minutes(0), minutes(half.len())];
        let (middle, worst) = (half.len() / 2, most[most.len() - 1]);
        println!("| {from:.1} to {to:.1} | {:.3} | {:.3} | {worst:.3} |", half[middle], most[middle]);
    }
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
