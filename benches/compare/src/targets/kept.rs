//! Target 18: what of its rate a run keeps before a gate that refuses some requests and loses some answers.

use wsp_reference::LocalRun;
use wsp_reference::world::WorldSpec;

use super::Bench;
use super::end_to_end::rate;
use super::table::{Met, Row, Spread};
use crate::Result;
use crate::parts::Streaming;

const FAULTS: &str = "status=503:5%,cut-after=1%";
const WINDOW: u32 = 65_536;
/// With five, one run of a million events in two would end at an event that failed five times.
const ATTEMPTS: u32 = 10;

pub(super) fn rows(bench: &Bench) -> Result<Vec<Row>> {
    // Of a favourite merchant, each event would wait for the retries of all before it.
    let stage = bench.stage("kept", &WorldSpec { evenness: 70, ..WorldSpec::new(bench.options.events) })?;
    let sound = Streaming::new(bench.program(), &stage);
    let faulty = Streaming { gate: &["--faults", FAULTS], ..sound };
    let [mut with, mut without] = <[Spread; 2]>::default();
    for round in 0..bench.options.rounds {
        bench.round("kept rate", round);
        for side in 0..2 {
            let is_faulty = (side + round) % 2 == 0;
            let (run, into) = if is_faulty { (&faulty, &mut with) } else { (&sound, &mut without) };
            let (sample, _) = run.run(|run: &mut LocalRun<'_>| {
                (run.window, run.max_attempts) = (WINDOW, ATTEMPTS);
            })?;
            into.0.push(rate(&sample)?);
        }
    }
    let kept = with.over(&without);
    Ok(vec![Row {
        target: 18,
        what: "5 % refused, 1 % of answers lost: rate kept, at least 0.75".to_owned(),
        figure: kept.told(2, ""),
        met: Met::from(kept.median() >= 0.75),
        how: format!(
            "`{FAULTS}`, keyed, 64 in flight, window {WINDOW}, {ATTEMPTS} attempts, delays from 250 ms: {} and {} without",
            with.told(0, "/s"),
            without.told(0, "/s")
        ),
    }])
}
