//! What a failing gate costs: the rate that is kept where it refuses 5 % of the attempts and loses 1 % of the answers.
//!
//! ```text
//! one world ──► wsp (64 in flight, keyed, retries from 250 ms on) ──► wsp gate, without and with faults, in turns
//!                └─ wall, CPU, peak memory ──► table: each pair's ratio, and the median
//! ```
//!
//! `WSP_KEPT_PROGRAM=$PWD/target/release/wsp cargo test --test program kept_rate:: -- --ignored --nocapture`. In the environment:
//! `WSP_KEPT_EVENTS` (1,000,000), `WSP_KEPT_PAIRS` (3), `WSP_KEPT_EVENNESS` (1,000,000: merchants all alike; 70: as in a real
//! world; 0: a few favourites), `WSP_KEPT_WINDOW` (1,000,000), `WSP_KEPT_HELD` (8,192), `WSP_KEPT_FLUSH` (10,000).

use std::process::Command;
use std::time::Duration;

use serde_json::json;
use wsp::clock::{Clock, SystemClock};
use wsp_reference::world::WorldSpec;

use crate::kit::live::{Running, nap, prepared, publish_world};
use crate::kit::{KEY, RUN, Stage, process};

const FAULTS: &str = "status=503:5%,cut-after=1%";

/// What a run took.
#[derive(Debug, Clone, Copy)]
struct Cost {
    /// Events a second, from the process's start to its end.
    rate: f64,
    /// Microseconds of the program's CPU an event.
    cpu: f64,
    /// Its largest resident memory, MiB.
    peak: f64,
    retries: u64,
}

#[test]
#[ignore = "measures for minutes"]
fn the_rate_that_is_kept_with_faults() {
    let program = std::env::var("WSP_KEPT_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_wsp").to_owned());
    let [events, pairs, evenness] = [("EVENTS", 1_000_000), ("PAIRS", 3), ("EVENNESS", 1_000_000)].map(setting);
    let [window, held, flush] = [("WINDOW", 1_000_000), ("HELD", 8_192), ("FLUSH", 10_000)].map(setting);
    let spec = WorldSpec { evenness: evenness as u32, ..WorldSpec::new(events) };
    let (stage, message_id) = publish_world(&spec);
    stage.profile("http://127.0.0.1:9", |_| {});
    let due = prepared(&stage, &message_id).outputs.iter().map(|output| output.view.rows).sum();
    let streamed = |faults: &str| {
        let mut gate = Command::new(&program);
        let mut gate = Running::spawn(
            &stage,
            "gate",
            gate.args(["gate", "--listen", "127.0.0.1:0", "--api-key", KEY, "--faults", faults]),
        );
        let out = gate.out_file();
        gate.until("its address", || std::fs::read_to_string(&out).unwrap().contains('\n'));
        stage.profile(gate.out().trim(), |profile| {
            let wiring = &mut profile["wiring"];
            wiring["wsp_delivery"] = json!({"mode": "keyed", "in_flight": 64, "window": window, "held": held});
            wiring["wsp_checkpoint"]["flush_every"] = flush.into();
            // Six in a hundred attempts fail: of a million events one in two worlds would use up five of them.
            wiring["wsp_retry"] = json!({"base_delay_ms": 250, "max_attempts": 12});
        });
        let cost = run(&stage, &program, due);
        gate.signal("TERM");
        let told = gate.exit().1;
        assert!(told.contains(&format!(": {due} admitted, ")), "every event once: {told}");
        cost
    };

    println!("{due} events, evenness {evenness}; window {window}, held {held}, saved every {flush}; {FAULTS}");
    println!(
        "| pair | without faults | with | kept | CPU an event, µs | peak, MiB | retries |\n|---|---|---|---|---|---|---|"
    );
    let mut kept: Vec<f64> = Vec::new();
    for pair in 1..=pairs {
        let (without, with) = (streamed(""), streamed(FAULTS));
        kept.push(with.rate / without.rate);
        println!(
            "| {pair} | {:.0}/s | {:.0}/s | {:.2} | {:.1}, {:.1} | {:.0}, {:.0} | {} |",
            without.rate,
            with.rate,
            kept[kept.len() - 1],
            without.cpu,
            with.cpu,
            without.peak,
            with.peak,
            with.retries,
        );
    }
    kept.sort_by(f64::total_cmp);
    println!("kept: {:.2} (median)", kept[kept.len() / 2]);
}

fn setting((name, default): (&str, u64)) -> u64 {
    process::setting(&format!("WSP_KEPT_{name}"), default)
}

/// One run from the beginning, as if there had been none before.
fn run(stage: &Stage, program: &str, due: u64) -> Cost {
    for old in ["checkpoints", "runs"]
        .map(|name| stage.path(name))
        .into_iter()
        .chain(["wsp", "obs"].map(|name| stage.evidence(name)))
    {
        if old.exists() {
            std::fs::remove_dir_all(old).unwrap();
        }
    }
    let clock = SystemClock::new();
    let mut command = Command::new(program);
    command.args(["run", "--profile", "profile.yaml", "--once"]).current_dir(stage.path(""));
    let mut running = Running::spawn(stage, "kept", command.env_clear().env("PLATFORM_RUN_ID", RUN));
    let mut last = (0, 0);
    while running.is_running() {
        last = of_process(running.id()).unwrap_or(last);
        nap(Duration::from_millis(20));
    }
    let took = clock.now().as_secs_f64();
    let ran = running.end();
    assert_eq!((ran.code, ran.verdict()), (Some(0), ("STREAMED", "")), "{}", ran.stderr);
    let summary = stage.summary();
    let (ticks, peak) = last;
    Cost {
        rate: due as f64 / took,
        // A tick is a hundredth of a second.
        cpu: ticks as f64 * 1e4 / due as f64,
        peak: peak as f64 / 1024.0,
        retries: summary["pushes"]["retries"].as_u64().unwrap(),
    }
}

/// Ticks of CPU and largest resident memory, KiB; `None` where the process is gone.
fn of_process(id: u32) -> Option<(u64, u64)> {
    let peak = process::status(id, "VmHWM")?;
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name is in parentheses; the state follows it as the third field, user and system time are the 14th and 15th.
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    Some((fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?, peak))
}
