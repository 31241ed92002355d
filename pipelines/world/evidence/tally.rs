//! Counts what IG answered.
//!
//! ```text
//! Delivered ──► per output: counts, times · over all: latency and lag · over time: a series
//! ```

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::series::{RunSeries, Series};
use crate::model::{Decision, Delivered, Micros, Reason, Refusal, RunDigests};

/// The longest time that is told from a longer one: an hour, in microseconds.
const LONGEST: u64 = 3_600_000_000;

/// Counts of answered events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Events that IG answered.
    pub answered: u64,
    /// Requests made for them, the first ones and the repeated ones.
    pub attempts: u64,
    /// Answered ADMIT.
    pub admitted: u64,
    /// Answered DUPLICATE.
    pub duplicates: u64,
    /// Those among the duplicates that an unanswered attempt of this very run may have admitted.
    pub duplicates_after_retry: u64,
    /// Answered QUARANTINE.
    pub quarantined: u64,
    /// Repeated requests: attempts beyond an event's first.
    pub retries: u64,
    /// Events beyond the place where this start resumed that an earlier one saw answered: not sent again, and in none of
    /// the other counts.
    pub answered_earlier: u64,
}

impl Counts {
    /// Events that IG has: what records call `emitted`.
    #[must_use]
    pub fn emitted(&self) -> u64 {
        self.admitted + self.duplicates
    }

    /// Events brought: those that IG answered now, and those it had answered.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.answered + self.answered_earlier
    }

    /// Adds those of another output.
    pub(super) fn add(&mut self, other: &Self) {
        self.answered += other.answered;
        self.attempts += other.attempts;
        self.admitted += other.admitted;
        self.duplicates += other.duplicates;
        self.duplicates_after_retry += other.duplicates_after_retry;
        self.quarantined += other.quarantined;
        self.retries += other.retries;
        self.answered_earlier += other.answered_earlier;
    }

    fn count(&mut self, delivered: &Delivered) {
        if delivered.decision == Decision::Earlier {
            self.answered_earlier += 1;
            return;
        }
        self.answered += 1;
        self.attempts += u64::from(delivered.attempts);
        self.retries += u64::from(delivered.attempts.saturating_sub(1));
        match delivered.decision {
            Decision::Admit => self.admitted += 1,
            Decision::Duplicate => {
                self.duplicates += 1;
                self.duplicates_after_retry += u64::from(delivered.ambiguous);
            }
            Decision::Quarantine => self.quarantined += 1,
            Decision::Earlier => {}
        }
    }
}

/// The tally of one output.
#[derive(Debug, Default)]
pub struct OutputTally {
    counts: Counts,
    times: Option<(Micros, Micros)>,
}

impl OutputTally {
    /// Its counts.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Event times of the earliest and the latest event that IG answered now.
    #[must_use]
    pub fn times(&self) -> Option<(Micros, Micros)> {
        self.times
    }
}

/// The tally of a run. It costs an event some hundred nanoseconds, and memory for a bounded series.
#[derive(Debug)]
pub struct Tally {
    outputs: Vec<OutputTally>,
    digests: RunDigests,
    totals: Counts,
    latency: Histogram<u64>,
    lag: Histogram<u64>,
    series: Series,
}

impl Tally {
    /// Nothing answered, in a run of `outputs` outputs.
    ///
    /// # Errors
    ///
    /// None in practice: the histograms' bounds are fixed and valid.
    pub fn new(outputs: usize) -> Result<Self, Refusal> {
        // Three digits: 0.1 % of any time.
        let histogram = || {
            Histogram::new_with_max(LONGEST, 3).map_err(|error| Refusal::new(Reason::InternalError, error.to_string()))
        };
        let (latency, lag) = (histogram()?, histogram()?);
        let series = Series::new(outputs);
        let outputs = std::iter::repeat_with(OutputTally::default).take(outputs).collect();
        Ok(Self { outputs, digests: RunDigests::new(), totals: Counts::default(), latency, lag, series })
    }

    /// Counts an answer that came `after` the run's start. One for an output that the run doesn't have is counted in
    /// the totals alone.
    pub fn count(&mut self, delivered: &Delivered, after: Duration) {
        self.totals.count(delivered);
        self.series.count(delivered, after.as_micros() as u64);
        let now = delivered.decision != Decision::Earlier;
        if now {
            self.latency.saturating_record(delivered.latency.as_micros() as u64);
            self.lag.saturating_record(delivered.lag.as_micros() as u64);
        }
        let Some(output) = self.outputs.get_mut(usize::from(delivered.position.rank)) else { return };
        output.counts.count(delivered);
        if now {
            let (first, last) = output.times.unwrap_or((delivered.ts, delivered.ts));
            output.times = Some((first.min(delivered.ts), last.max(delivered.ts)));
        }
    }

    /// One tally an output, in the order of ranks.
    #[must_use]
    pub fn outputs(&self) -> &[OutputTally] {
        &self.outputs
    }

    /// Over all outputs.
    #[must_use]
    pub fn totals(&self) -> Counts {
        self.totals
    }

    /// What the answered events are digested to: the checkpoint stage, which knows them without holes, sets it when it ends.
    #[must_use]
    pub fn digests(&self) -> &RunDigests {
        &self.digests
    }

    /// From an event's first attempt to its answer.
    #[must_use]
    pub fn latency(&self) -> Spread {
        Spread::of(&self.latency)
    }

    /// From when an event was due to its first attempt.
    #[must_use]
    pub fn lag(&self) -> Spread {
        Spread::of(&self.lag)
    }

    /// All of it over time.
    #[must_use]
    pub fn series(&self) -> RunSeries {
        self.series.told()
    }
}

/// How times are spread, in microseconds, within 0.1 %. An hour stands for all that is longer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// Half were at most this.
    pub p50_us: u64,
    /// 90 in 100.
    pub p90_us: u64,
    /// 99 in 100.
    pub p99_us: u64,
    /// 999 in 1,000.
    pub p999_us: u64,
    /// The longest.
    pub max_us: u64,
}

impl Spread {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self { p50_us: at(0.5), p90_us: at(0.9), p99_us: at(0.99), p999_us: at(0.999), max_us: histogram.max() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Position;

    fn delivered(seq: u64, decision: Decision, attempts: u32) -> Delivered {
        Delivered {
            position: Position { rank: 1, file: 0, row: seq, seq },
            ts: Micros(seq.cast_signed()),
            event_id: [seq as u8; 32],
            decision,
            attempts,
            ambiguous: attempts > 2,
            latency: Duration::from_millis(seq),
            lag: Duration::from_hours(2),
        }
    }

    #[test]
    fn counts_are_what_ig_answered() {
        let mut tally = Tally::new(2).unwrap();
        let answers =
            [(Decision::Admit, 1), (Decision::Duplicate, 1), (Decision::Duplicate, 3), (Decision::Quarantine, 2)];
        for (seq, (decision, attempts)) in (0..).zip(answers) {
            tally.count(&delivered(seq, decision, attempts), Duration::ZERO);
        }
        // In neither counts nor times.
        tally.count(&delivered(4, Decision::Earlier, 0), Duration::ZERO);
        assert_eq!(tally.totals().settled(), 5);
        let expected = Counts {
            answered: 4,
            attempts: 7,
            admitted: 1,
            duplicates: 2,
            duplicates_after_retry: 1,
            quarantined: 1,
            retries: 3,
            answered_earlier: 1,
        };
        assert_eq!((tally.totals(), tally.outputs()[1].counts()), (expected, expected));
        assert_eq!(expected.emitted(), 3);
        assert_eq!(tally.outputs()[0].counts(), Counts::default());
        assert_eq!(tally.outputs()[1].times(), Some((Micros(0), Micros(3))));
    }

    #[test]
    fn spreads_are_in_microseconds_and_bounded() {
        let mut tally = Tally::new(2).unwrap();
        (0..=1000).for_each(|seq| tally.count(&delivered(seq, Decision::Admit, 1), Duration::ZERO));
        let near = |value: u64, expected: u64| value.abs_diff(expected) <= expected / 1000 + 1;
        let spread = tally.latency();
        assert!(near(spread.p50_us, 500_000) && near(spread.p99_us, 990_000), "{spread:?}");
        assert!(near(tally.lag().max_us, LONGEST));
        assert_eq!(Tally::new(0).unwrap().latency(), Spread::default());
    }
}
