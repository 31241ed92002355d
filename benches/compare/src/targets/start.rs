//! Target 9: from READY to the first event at the gate, for a small and a large world.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use wsp::clock::{Clock, SystemClock};
use wsp_reference::gate::{GateOptions, GateServer};
use wsp_reference::world::WorldSpec;
use wsp_world::model::Secret;

use super::Bench;
use super::table::{Met, Row, Spread};
use crate::process::Running;
use crate::stage::{KEY, Stage, folder_of};
use crate::{Result, stage};

/// Longest wait from READY on, milliseconds.
const MOST: f64 = 300.0;
/// A service that waits looks at its control bus some time after it started; READY comes at another time each round.
const SETTLED: Duration = Duration::from_millis(1_200);
/// What is sent of a world, however large it is: only the start is looked at.
const SENT: &str = "1000";

pub(super) fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let sizes = [bench.options.events / 10, bench.options.events * 3];
    let mut rows = Vec::new();
    for events in sizes {
        let stage = bench.stage(&format!("start-{events}"), &WorldSpec::new(events))?;
        let [mut waiting, mut new] = [const { Spread(Vec::new()) }; 2];
        for round in 0..bench.options.rounds {
            bench.round("start", round);
            let other_time = Duration::from_millis(137 * round as u64 % 500);
            waiting.0.push(first_event(bench.program(), &stage, Some(SETTLED + other_time))?);
            new.0.push(first_event(bench.program(), &stage, None)?);
        }
        rows.push(Row {
            target: 9,
            what: format!("READY to the first event at the gate, {events} events, within {MOST} ms"),
            figure: waiting.told(0, " ms"),
            met: Met::from(waiting.max() <= MOST),
            how: format!(
                "a `wsp run` that waits, from before READY's file is written until the gate has admitted an event, largest of \
                 the rounds; a new process whose READY is there: {}",
                new.told(0, " ms")
            ),
        });
    }
    Ok(rows)
}

/// Milliseconds to the first event: of a service that has waited so long when READY comes, or from the start of a process.
fn first_event(program: &Path, stage: &Stage, waited: Option<Duration>) -> Result<f64> {
    let gate = GateServer::start(GateOptions::new(Secret::new(KEY)))?;
    let profile = stage.unpublished(&gate.base_url(), |_| ())?;
    let mut command = Command::new(program);
    command.args(["--log", "error", "run", "--max-messages", "1", "--max-events", SENT, "--profile"]).arg(&profile);
    command.current_dir(folder_of(&profile)?);
    let millis = stage::runtime()?.block_on(async {
        let clock = SystemClock::new();
        let (running, started) = match waited {
            Some(waited) => {
                let running = Running::start(command)?;
                clock.sleep_until(clock.now() + waited).await;
                let started = clock.now();
                stage.publish(&profile)?;
                (running, started)
            }
            None => {
                stage.publish(&profile)?;
                let started = clock.now();
                (Running::start(command)?, started)
            }
        };
        while gate.stats().admitted == 0 {
            if clock.now() > started + Duration::from_secs(60) {
                return Err("no event came in a minute".into());
            }
            clock.sleep_until(clock.now() + Duration::from_micros(200)).await;
        }
        let millis = clock.now().saturating_sub(started).as_secs_f64() * 1e3;
        running.end()?;
        Ok::<_, Box<dyn std::error::Error>>(millis)
    })?;
    stage.clear(&profile)?;
    Ok(millis)
}
