//! All metrics with their current values.

use std::time::Duration;

use wsp::clock::Clock;
use wsp::deliver::PushCounts;
use wsp::telemetry::{Family, Metric};

use super::catalogue as c;
use super::process::Telemetry;
use super::run::{OutputMeter, RunMeter, RunOutput};
use crate::model::{Decision, Micros};

const DECISIONS: [Decision; 3] = [Decision::Admit, Decision::Duplicate, Decision::Quarantine];

impl Telemetry {
    /// Every metric of the catalogue that has a value now. `clock` is the service's.
    #[must_use]
    pub fn families(&self, clock: &impl Clock) -> Vec<Family> {
        let totals = self.totals();
        let state = self.state();
        let run = state.run();
        let sum = state.before.with(&state.runs);
        let now = clock.utc();
        let mut all = vec![
            Family::labelled(&c::BUILD, [(vec![env!("CARGO_PKG_VERSION").to_owned()], 1.0)]),
            Family::single(&c::STARTED, seconds(self.started())),
            Family::labelled(
                &c::READY,
                state.parts.iter().map(|(part, ready)| (vec![(*part).to_owned()], f64::from(u8::from(*ready)))),
            ),
            Family::labelled(
                &c::VERDICTS,
                state
                    .verdicts
                    .iter()
                    .map(|((status, reason), count)| (vec![(*status).to_owned(), (*reason).to_owned()], *count as f64)),
            ),
            Family::single(&c::DEFERRED, state.waits(now).count() as f64),
            Family::single(&c::DEFERRAL_AGE, state.waits(now).max().unwrap_or_default().as_secs_f64()),
            Family::single(&c::UNWRITTEN, state.unwritten as f64),
            Family::single(&c::ACTIVE, f64::from(u8::from(run.is_some()))),
            Family::single(&c::READ_BYTES, sum.read_bytes as f64),
            Family::single(&c::READ_ROWS, sum.read_rows as f64),
            Family::single(&c::FRAMED, sum.framed as f64),
            Family::labelled(&c::ATTEMPTS, outcomes(&sum.pushes)),
            Family::single(&c::RETRIES, sum.pushes.retries as f64),
            Family::single(&c::DELAYED, sum.pushes.retries_delayed as f64),
            Family::single(&c::OPENINGS, sum.pushes.circuit_opened as f64),
            Family::single(&c::AMBIGUOUS, sum.pushes.ambiguous as f64),
            Family::single(&c::SENT_AGAIN, sum.pushes.sent_again as f64),
            Family::labelled(
                &c::FAILED,
                [("rejected", sum.pushes.rejected), ("exhausted", sum.pushes.exhausted)]
                    .map(|(failure, count)| (vec![failure.to_owned()], count as f64)),
            ),
            Family::labelled(
                &c::ANSWERED,
                state.outputs.iter().flat_map(|(output, meter)| {
                    DECISIONS.map(|decision| {
                        (vec![output.to_string(), decision.as_str().to_owned()], meter.decided(decision) as f64)
                    })
                }),
            ),
            Family::histogram(&c::LATENCY, totals.latency.counts()),
            Family::histogram(&c::LAG, totals.lag.counts()),
            Family::single(&c::SAVES, totals.saves.get() as f64),
        ];
        all.extend(of_run(run, clock));
        all.sort_by_key(|family| c::ALL.iter().position(|metric| *metric == family.metric));
        all
    }
}

/// Metrics of the present run. Without one, those of work in flight are 0.
fn of_run(run: Option<&RunMeter>, clock: &impl Clock) -> Vec<Family> {
    let Some(run) = run else {
        return [&c::MERGE, &c::AHEAD, &c::UNANSWERED, &c::IN_FLIGHT, &c::GATE_DOWN]
            .map(|metric| Family::single(metric, 0.0))
            .into();
    };
    let parts = run.parts();
    let on_the_way = parts.pushes.on_the_way();
    let gate_down = parts.pushes.gate_down_since().map_or(Duration::ZERO, |since| clock.now().saturating_sub(since));
    // What comes later in the pipeline is read first, so that no depth is below zero.
    let framed = parts.framed.get();
    let rows = parts.read.rows.get();
    let by_output = |metric: &'static Metric, figure: &dyn Fn(&RunOutput, &OutputMeter) -> Option<f64>| {
        let samples = run
            .outputs()
            .filter_map(|(output, meter)| Some((vec![output.output_id.to_string()], figure(output, meter)?)));
        Family::labelled(metric, samples)
    };
    let mut all = vec![
        by_output(&c::DUE, &|output, _| Some(output.due as f64)),
        by_output(&c::EVENT_TIME, &|_, meter| Some(seconds(meter.event_time()?))),
        by_output(&c::EVENT_TIME_END, &|output, _| Some(seconds(output.span?.1))),
        Family::single(&c::MERGE, rows.saturating_sub(framed) as f64),
        Family::single(&c::AHEAD, framed.saturating_sub(on_the_way.handed) as f64),
        Family::single(&c::UNANSWERED, on_the_way.unanswered as f64),
        Family::single(&c::IN_FLIGHT, on_the_way.requests as f64),
        Family::single(&c::GATE_DOWN, gate_down.as_secs_f64()),
        Family::single(&c::CHECKPOINT_AGE, run.checkpoint_age(clock.now()).as_secs_f64()),
    ];
    if let Some((key, column)) = run.hot_key() {
        let of_column = |metric, figure| Family::labelled(metric, [(vec![column.to_owned()], figure)]);
        all.push(of_column(&c::HOT_KEY_EVENTS, key.events as f64));
        all.push(of_column(&c::HOT_KEY_TIME, key.alone.as_secs_f64()));
    }
    if let Some(epoch) = parts.lease.epoch() {
        all.push(Family::single(&c::EPOCH, epoch as f64));
    }
    all
}

/// Attempts by outcome; one with an answer other than 429 and 5xx is `answered`.
fn outcomes(pushes: &PushCounts) -> [(Vec<String>, f64); 6] {
    let PushCounts { attempts, throttled, server_errors, connect_failed, connection_lost, timed_out, .. } = *pushes;
    let others = throttled + server_errors + connect_failed + connection_lost + timed_out;
    [
        ("answered", attempts.saturating_sub(others)),
        ("throttled", throttled),
        ("server_error", server_errors),
        ("connect_failed", connect_failed),
        ("connection_lost", connection_lost),
        ("timed_out", timed_out),
    ]
    .map(|(outcome, count)| (vec![outcome.to_owned()], count as f64))
}

fn seconds(at: Micros) -> f64 {
    at.0 as f64 / 1e6
}
