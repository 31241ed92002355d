//! What charts are drawn from, whether the run has ended or goes on.

use std::time::Duration;

use crate::evidence::{Counts, RunSeries, Spread, Summary, Tally};
use crate::model::OutputId;

/// A run's answers: all of them, or those so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charted {
    /// Its outputs, by rank.
    pub outputs: Vec<OutputId>,
    /// Over all outputs.
    pub totals: Counts,
    /// From an event's first attempt to its answer.
    pub latency: Spread,
    /// From when an event was due to its first attempt.
    pub lag: Spread,
    /// All of it over time.
    pub series: RunSeries,
    /// From the run's start to its end, or until now.
    pub elapsed: Duration,
}

impl Charted {
    /// What a run with these outputs has answered, `elapsed` after its start.
    #[must_use]
    pub fn of_tally(tally: &Tally, outputs: Vec<OutputId>, elapsed: Duration) -> Self {
        Self {
            outputs,
            totals: tally.totals(),
            latency: tally.latency(),
            lag: tally.lag(),
            series: tally.series(),
            elapsed,
        }
    }

    /// What a run had answered at its end.
    #[must_use]
    pub fn of_summary(summary: &Summary) -> Self {
        Self {
            outputs: summary.outputs.iter().map(|output| output.start.output_id.clone()).collect(),
            totals: summary.totals,
            latency: summary.latency,
            lag: summary.lag,
            series: summary.series.clone(),
            elapsed: elapsed(summary),
        }
    }

    /// How long the run took, in microseconds; at least one, because rates are divided by it.
    pub(super) fn micros(&self) -> f64 {
        (self.elapsed.as_micros() as f64).max(1.0)
    }
}

/// How long a run took.
pub(super) fn elapsed(summary: &Summary) -> Duration {
    Duration::from_micros((summary.ended.0 - summary.started.0).max(0).cast_unsigned())
}
