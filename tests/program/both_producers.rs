//! What delivery and checkpoint promise, held against both producers: `wsp run` of a world and `wsp replay` of the same
//! events out of a file, before the same gate with the same faults.
//!
//! ```text
//! world ──wsp run─────────────────┐
//!   └─► events.jsonl ──wsp replay─┴─► reference gate with faults ──► its ledger against the events that were due
//! ```

use std::time::Duration;

use serde_json::json;
use wsp_reference::world::WorldSpec;

use crate::kit::live::{Live, Running, nap};
use crate::kit::{KEY, RUN_ONCE};

const EVENTS: u64 = 2_000;
const IN_FLIGHT: u64 = 16;
const SAVE_EVERY: u64 = 50;

#[derive(Debug, Clone, Copy)]
enum Producer {
    Run,
    Replay,
}

const BOTH: [Producer; 2] = [Producer::Run, Producer::Replay];

struct Scene {
    producer: Producer,
    live: Live,
    starts: usize,
}

impl Scene {
    fn new(producer: Producer, faults: &str) -> Self {
        let spec = WorldSpec { parts: 2, row_group_rows: 500, ..WorldSpec::new(EVENTS) };
        let live = Live::new(&spec, faults, |profile| {
            let wiring = &mut profile["wiring"];
            wiring["wsp_delivery"] = json!({"mode": "keyed", "in_flight": IN_FLIGHT, "window": 256});
            wiring["wsp_checkpoint"]["flush_every"] = SAVE_EVERY.into();
            // Enough that no event runs out of them by chance.
            wiring["wsp_retry"] = json!({"max_attempts": 12, "base_delay_ms": 1, "max_delay_ms": 20});
        });
        live.stage.put("events.jsonl", live.lines());
        Self { producer, live, starts: 0 }
    }

    /// Starts it, or starts it again over what an earlier start left.
    fn start(&mut self) -> Running {
        self.starts += 1;
        let (stage, name) = (&self.live.stage, format!("start-{}", self.starts));
        let mut command = match self.producer {
            Producer::Run => stage.wsp(RUN_ONCE),
            Producer::Replay => {
                let to = format!("{}/v1/ingest/push", self.live.gate.base_url());
                let columns = ["--time", "time", "--key", "key", "--id", "id", "--body-column", "body"];
                let mut command =
                    stage.wsp(&["replay", "events.jsonl", "--speedup", "0", "--state", "state", "--to", &to]);
                command.args(columns).args(["--in-flight", &IN_FLIGHT.to_string()]);
                command.args(["--save-every", &SAVE_EVERY.to_string()]);
                command
                    .args(["--api-key-header", "X-IG-Api-Key", "--api-key-env", "REPLAY_KEY"])
                    .env("REPLAY_KEY", KEY);
                command
            }
        };
        Running::spawn(stage, &name, &mut command)
    }

    /// Waits until the gate has admitted so many events; says whether the process still runs.
    fn reaches(&self, running: &mut Running, admitted: u64) -> bool {
        running.until_or_end(|| self.live.gate.stats().admitted >= admitted) && running.is_running()
    }

    fn assert_whole(&self) {
        let report = self.live.audit(&self.live.events);
        assert!(report.is_clean(), "{:?}: {report:?}", self.producer);
        assert_eq!(report.admitted, EVENTS, "{:?}", self.producer);
    }
}

fn ends_well(scene: &mut Scene) {
    let running = scene.start();
    let errors = running.err_file();
    let (code, _) = running.exit();
    assert_eq!(code, Some(0), "{:?}: {}", scene.producer, std::fs::read_to_string(errors).unwrap());
}

const FAULTS: &str = "status=503:2%,status=429:1%,cut-before=1%,cut-after=1%";

fn sends_all_in_line_under_faults(producer: Producer) {
    let mut scene = Scene::new(producer, FAULTS);
    ends_well(&mut scene);
    scene.assert_whole();
    let stats = scene.live.gate.stats();
    assert!(stats.faults.cut_after > 0 && stats.duplicates <= stats.faults.cut_after, "{stats:?}");
}

fn repeats_little_after_kills(producer: Producer) {
    let mut scene = Scene::new(producer, "latency=const(2ms)");
    for kill in 1..=3 {
        let before = scene.live.gate.stats().duplicates;
        let mut running = scene.start();
        assert!(scene.reaches(&mut running, kill * EVENTS / 5), "{producer:?}: it ended before it could be killed");
        running.kill();
        // What was on the way may still arrive.
        nap(Duration::from_millis(100));
        let repeated = scene.live.gate.stats().duplicates - before;
        assert!(repeated <= SAVE_EVERY + IN_FLIGHT, "{producer:?}: {repeated} events again");
    }
    let before = scene.live.gate.stats().duplicates;
    ends_well(&mut scene);
    assert!(scene.live.gate.stats().duplicates - before <= SAVE_EVERY + IN_FLIGHT, "{producer:?}");
    scene.assert_whole();
}

fn a_stop_loses_and_repeats_nothing(producer: Producer) {
    let mut scene = Scene::new(producer, "latency=const(2ms)");
    let mut running = scene.start();
    assert!(scene.reaches(&mut running, EVENTS / 4), "{producer:?}: it ended before it could be stopped");
    running.signal("TERM");
    let (code, _) = running.exit();
    assert_eq!(code, Some(3), "{producer:?}: stopped before the end");
    assert!(scene.live.gate.stats().admitted < EVENTS, "{producer:?}");
    ends_well(&mut scene);
    assert_eq!(scene.live.gate.stats().duplicates, 0, "{producer:?}");
    scene.assert_whole();
}

fn a_refused_event_fails_it_and_the_next_start_goes_on(producer: Producer) {
    let mut scene = Scene::new(producer, "status=400:0.2%");
    let mut failed = 0;
    loop {
        let (code, _) = scene.start().exit();
        match code {
            Some(0) => break,
            Some(1) => failed += 1,
            other => panic!("{producer:?}: exit {other:?}"),
        }
        assert!(failed < 100, "{producer:?}: it gets nowhere");
    }
    assert!(failed > 0, "{producer:?}");
    assert_eq!(scene.live.gate.stats().duplicates, 0, "{producer:?}: what was answered is saved");
    scene.assert_whole();
}

#[test]
fn both_send_all_in_line_under_faults() {
    BOTH.into_iter().for_each(sends_all_in_line_under_faults);
}

#[test]
fn both_repeat_little_after_kills() {
    BOTH.into_iter().for_each(repeats_little_after_kills);
}

#[test]
fn a_stop_of_either_loses_and_repeats_nothing() {
    BOTH.into_iter().for_each(a_stop_loses_and_repeats_nothing);
}

#[test]
fn a_refused_event_fails_either_and_the_next_start_goes_on() {
    BOTH.into_iter().for_each(a_refused_event_fails_it_and_the_next_start_goes_on);
}
