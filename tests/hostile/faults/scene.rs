//! One run under one fault: started, broken, mended, and looked at from all sides.
//!
//! ```text
//! Scene { world, wsp, proxy, gate } ──fault──► Story ──audit, evidence──► Told, a line of docs/faults.md
//! ```

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use wsp::clock::{Clock, SystemClock};
use wsp_reference::world::WorldSpec;

use crate::kit::Ran;
use crate::kit::live::{Live, Running, assert_evidence_is_whole};
use crate::kit::proxy::Proxy;

/// Events of the world.
pub(crate) const EVENTS: u64 = 3_000;
const IN_FLIGHT: u64 = 8;
const WINDOW: u64 = 64;
const FLUSH_EVERY: u64 = 50;
/// What a start may send again of what an earlier one has delivered.
pub(crate) const BOUND: u64 = FLUSH_EVERY + IN_FLIGHT;

/// A world, its READY, a gate, and a way between that can be spoilt.
pub(crate) struct Scene {
    pub(crate) live: Live,
    pub(crate) proxy: Proxy,
    starts: u64,
    pub(crate) recovered: Option<Duration>,
    ends: Vec<String>,
}

/// What came of a fault.
pub(crate) struct Told {
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    pub(crate) in_order: bool,
    pub(crate) ends: String,
    pub(crate) recovered: Option<Duration>,
}

impl Scene {
    /// A keyed run with 8 in flight and the retries of the contract. No answer that comes is too late, however busy the
    /// machine is.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// The same, where nothing comes: an attempt takes a second at most.
    pub(crate) fn hasty() -> Self {
        Self::with(|profile| profile["wiring"]["wsp_delivery"]["attempt_timeout_ms"] = 1_000.into())
    }

    /// The same with another profile.
    pub(crate) fn with(change: impl Fn(&mut Value)) -> Self {
        let spec = WorldSpec { parts: 2, row_group_rows: 1_000, seed: 11, ..WorldSpec::new(EVENTS) };
        let live = Live::new(&spec, "", |_| {});
        let proxy = Proxy::to(&live.gate.base_url());
        live.stage.profile(&proxy.url, |profile| {
            let wiring = &mut profile["wiring"];
            // The bound on an event's attempts decides how a fault ends; the circuit's pauses have tests of their own.
            wiring["wsp_delivery"] = json!({
                "mode": "keyed", "in_flight": IN_FLIGHT, "window": WINDOW, "attempt_timeout_ms": 30_000,
                "circuit_failures": 0,
            });
            wiring["wsp_checkpoint"]["flush_every"] = FLUSH_EVERY.into();
            wiring["wsp_retry"] = json!({"max_attempts": 5, "base_delay_ms": 250, "max_delay_ms": 5_000});
            change(profile);
        });
        Self { live, proxy, starts: 0, recovered: None, ends: Vec::new() }
    }

    /// `wsp run --once` as it is; what stands around it is the caller's.
    pub(crate) fn command(&self) -> Command {
        self.live.stage.wsp(&["run", "--profile", "profile.yaml", "--once"])
    }

    /// Starts the run.
    pub(crate) fn start(&mut self) -> Running {
        let mut command = self.command();
        self.spawn(&mut command)
    }

    /// Starts the run at so many events a second, so that there is time to break something.
    pub(crate) fn start_at(&mut self, eps: u32) -> Running {
        let mut command = self.command();
        self.spawn(command.env("WSP_TARGET_EPS", eps.to_string()))
    }

    pub(crate) fn spawn(&mut self, command: &mut Command) -> Running {
        self.starts += 1;
        Running::spawn(&self.live.stage, &format!("start-{}", self.starts), command)
    }

    pub(crate) fn admitted(&self) -> u64 {
        self.live.gate.stats().admitted
    }

    /// Waits until the gate has admitted `events` in all.
    pub(crate) fn until(&self, running: &mut Running, events: u64) {
        running.until(&format!("{events} events"), || self.admitted() >= events);
    }

    /// To be called when the fault is over: measures how long it takes until the gate admits something again.
    pub(crate) fn recover(&mut self, running: &mut Running) {
        let (clock, before) = (SystemClock::new(), self.admitted());
        running.until_or_end(|| self.admitted() > before);
        self.recovered = Some(clock.now());
    }

    /// Waits for a start's end and notes it.
    pub(crate) fn end(&mut self, running: Running) -> Ran {
        let ran = running.end();
        self.note(&ran);
        ran
    }

    pub(crate) fn note(&mut self, ran: &Ran) {
        self.ends.push(match ran.verdicts.as_slice() {
            [] => format!("no verdict (exit {})", ran.code.map_or("by a signal".to_owned(), |code| code.to_string())),
            [verdict] => {
                let (status, reason) = (&verdict["status"], verdict["reason"].as_str());
                let status = status.as_str().unwrap().to_owned();
                reason.map_or(status.clone(), |reason| format!("{status} {reason}"))
            }
            more => panic!("{} verdicts", more.len()),
        });
    }

    /// Starts the run again after the fault is mended, and expects it to come to its end.
    pub(crate) fn resume(&mut self) {
        let mut running = self.start();
        self.recover(&mut running);
        let ran = self.end(running);
        assert_eq!((ran.code, ran.verdict()), (Some(0), ("STREAMED", "")), "{}", ran.stderr);
    }

    /// Expects that the last start ended with this status and reason.
    pub(crate) fn assert_end(&self, end: &str) {
        assert_eq!(self.ends.last().map(String::as_str), Some(end), "of {:?}", self.ends);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.live.stage.path(name)
    }

    /// The end of the story: every event is at the gate once, in order, no more than `repeated` came again, and what is
    /// written down can be read and says so.
    pub(crate) fn told(self, repeated: u64) -> Option<Told> {
        let report = self.live.audit(&self.live.events);
        assert_eq!((report.missing, report.unexpected), (0, 0), "{report:?}");
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(self.live.gate.stats().quarantined, 0);
        assert!(report.duplicates <= repeated, "{} repeated, {repeated} allowed", report.duplicates);
        assert_evidence_is_whole(&self.live.stage);
        let record = self.live.record();
        assert_eq!(record.last().map(|line| &line["status"]), Some(&json!("STREAMED")), "{record:?}");
        let covered: u64 = self.live.covered().iter().sum();
        assert_eq!(covered, self.live.events.len() as u64, "the cursors stand at the end");
        Some(Told {
            lost: report.missing,
            repeated: report.duplicates,
            in_order: report.order_violations == 0,
            ends: self.ends.join(", then "),
            recovered: self.recovered,
        })
    }
}
