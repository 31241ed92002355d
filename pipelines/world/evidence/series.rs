//! How a run went over time, in a bounded number of buckets.
//!
//! ```text
//! Delivered, when ──► wall: decisions, retries, latency, lag a bucket
//!                └──► event time: events an output and bucket
//!                         full? neighbours are put together, buckets are twice as wide
//! ```
//!
//! So a run of seconds is told by tenths of them and one of days by minutes, in the same memory (some 1.3 MB).

use serde::{Deserialize, Serialize};

use super::times::Times;
use crate::model::{Decision, Delivered, Micros};

/// Buckets at most.
pub(super) const BUCKETS: usize = 600;
/// The first width of a wall bucket, in microseconds.
const WALL_WIDTH: u64 = 50_000;
/// The first width of an event-time bucket, in microseconds.
const EVENT_WIDTH: u64 = 1_000_000;

/// Buckets of one width, side by side from a beginning on.
#[derive(Debug, Clone)]
struct Buckets<T> {
    width: u64,
    buckets: Vec<T>,
}

/// What a bucket has to know: how two become one.
trait Add {
    fn add(&mut self, other: &Self);
}

impl<T: Add + Default> Buckets<T> {
    fn new(width: u64) -> Self {
        Self { width, buckets: Vec::with_capacity(BUCKETS) }
    }

    /// The bucket that is `offset` microseconds from the beginning.
    fn at(&mut self, offset: u64) -> &mut T {
        let mut place = offset / self.width;
        while place >= BUCKETS as u64 {
            self.halve();
            place = offset / self.width;
        }
        let place = place as usize;
        if place >= self.buckets.len() {
            self.buckets.resize_with(place + 1, T::default);
        }
        &mut self.buckets[place]
    }

    /// Puts neighbours together.
    fn halve(&mut self) {
        self.width *= 2;
        let halves = self.buckets.len().div_ceil(2);
        for i in 0..halves {
            self.buckets.swap(i, 2 * i);
            if let Some((left, [right, ..])) = self.buckets.split_at_mut_checked(2 * i + 1) {
                left[i].add(right);
            }
        }
        self.buckets.truncate(halves);
    }
}

/// What was answered in one bucket of wall time.
#[derive(Debug, Clone, Default)]
struct Answers {
    admitted: u64,
    duplicates: u64,
    quarantined: u64,
    retries: u64,
    latency: Times,
    lag: Times,
}

impl Add for Answers {
    fn add(&mut self, other: &Self) {
        self.admitted += other.admitted;
        self.duplicates += other.duplicates;
        self.quarantined += other.quarantined;
        self.retries += other.retries;
        self.latency.add(&other.latency);
        self.lag.add(&other.lag);
    }
}

/// Events of each output, by rank.
impl Add for Vec<u64> {
    fn add(&mut self, other: &Self) {
        self.resize(self.len().max(other.len()), 0);
        self.iter_mut().zip(other).for_each(|(count, more)| *count += more);
    }
}

/// A run over time, as it goes on.
#[derive(Debug, Clone)]
pub(super) struct Series {
    outputs: usize,
    wall: Buckets<Answers>,
    first_ts: Option<Micros>,
    event_time: Buckets<Vec<u64>>,
}

impl Series {
    /// Nothing answered, in a run of `outputs` outputs.
    pub(super) fn new(outputs: usize) -> Self {
        Self { outputs, wall: Buckets::new(WALL_WIDTH), first_ts: None, event_time: Buckets::new(EVENT_WIDTH) }
    }

    /// Counts an answer that came `at` microseconds after the run's start; none that an earlier start saw.
    pub(super) fn count(&mut self, delivered: &Delivered, at: u64) {
        let decided: fn(&mut Answers) -> &mut u64 = match delivered.decision {
            Decision::Admit => |bucket| &mut bucket.admitted,
            Decision::Duplicate => |bucket| &mut bucket.duplicates,
            Decision::Quarantine => |bucket| &mut bucket.quarantined,
            Decision::Earlier => return,
        };
        let bucket = self.wall.at(at);
        *decided(bucket) += 1;
        bucket.retries += u64::from(delivered.attempts.saturating_sub(1));
        bucket.latency.record(delivered.latency.as_micros() as u64);
        bucket.lag.record(delivered.lag.as_micros() as u64);

        let first = self.first_ts.get_or_insert_with(|| whole_second(delivered.ts));
        // With events in flight one that is a little earlier than the first may be answered after it.
        let offset = u64::try_from(delivered.ts.0.saturating_sub(first.0)).unwrap_or(0);
        let outputs = self.event_time.at(offset);
        if outputs.is_empty() {
            outputs.resize(self.outputs, 0);
        }
        if let Some(count) = outputs.get_mut(usize::from(delivered.position.rank)) {
            *count += 1;
        }
    }

    /// What is told of it.
    pub(super) fn told(&self) -> RunSeries {
        let wall = |column: fn(&Answers) -> u64| self.wall.buckets.iter().map(column).collect();
        let times = |column: fn(&Answers) -> Option<u64>| self.wall.buckets.iter().map(column).collect();
        let of_output = |rank: usize| {
            let count = |counts: &Vec<u64>| counts.get(rank).copied().unwrap_or(0);
            self.event_time.buckets.iter().map(count).collect()
        };
        RunSeries {
            wall: WallSeries {
                bucket_us: self.wall.width,
                admitted: wall(|bucket| bucket.admitted),
                duplicates: wall(|bucket| bucket.duplicates),
                quarantined: wall(|bucket| bucket.quarantined),
                retries: wall(|bucket| bucket.retries),
                latency_p50_us: times(|bucket| bucket.latency.quantile(500)),
                latency_p99_us: times(|bucket| bucket.latency.quantile(990)),
                lag_p50_us: times(|bucket| bucket.lag.quantile(500)),
                lag_p99_us: times(|bucket| bucket.lag.quantile(990)),
            },
            event_time: EventTimeSeries {
                from_ts_utc: self.first_ts.map(|ts| ts.to_string()),
                bucket_us: self.event_time.width,
                outputs: (0..self.outputs).map(of_output).collect(),
            },
        }
    }
}

fn whole_second(ts: Micros) -> Micros {
    Micros(ts.0 - ts.0.rem_euclid(1_000_000))
}

/// A run over time, as the summary holds it. All columns of one series are equally long; a bucket begins where the
/// one before it ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSeries {
    /// By the wall clock.
    pub wall: WallSeries,
    /// By event time.
    pub event_time: EventTimeSeries,
}

/// Answers over wall time, from the run's start on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WallSeries {
    /// Microseconds a bucket.
    pub bucket_us: u64,
    /// Answered ADMIT.
    pub admitted: Vec<u64>,
    /// Answered DUPLICATE.
    pub duplicates: Vec<u64>,
    /// Answered QUARANTINE.
    pub quarantined: Vec<u64>,
    /// Attempts beyond the first, of the events answered here.
    pub retries: Vec<u64>,
    /// Half of the answers took at most this, within 12 %; none where nothing was answered.
    pub latency_p50_us: Vec<Option<u64>>,
    /// 99 in 100 took at most this.
    pub latency_p99_us: Vec<Option<u64>>,
    /// Half were sent at most this much later than due.
    pub lag_p50_us: Vec<Option<u64>>,
    /// 99 in 100 were.
    pub lag_p99_us: Vec<Option<u64>>,
}

/// Answered events over event time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventTimeSeries {
    /// Where the first bucket begins; none where nothing was answered.
    pub from_ts_utc: Option<String>,
    /// Microseconds of event time a bucket.
    pub bucket_us: u64,
    /// Events a bucket, for each output by rank.
    pub outputs: Vec<Vec<u64>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Position;
    use proptest::prelude::*;
    use std::time::Duration;

    fn delivered(rank: u16, ts: i64, decision: Decision) -> Delivered {
        Delivered {
            position: Position { rank, file: 0, row: 0, seq: 0 },
            ts: Micros(ts),
            event_id: [0; 32],
            decision,
            attempts: 2,
            ambiguous: false,
            latency: Duration::from_millis(3),
            lag: Duration::ZERO,
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_however_long_the_run(
            answers in proptest::collection::vec((0_u64..40_000_000_000, 0_i64..40_000_000_000_000, 0_u16..3), 1..300),
        ) {
            let mut series = Series::new(3);
            for (at, ts, rank) in &answers {
                series.count(&delivered(*rank, *ts, Decision::Admit), *at);
            }
            let RunSeries { wall, event_time } = series.told();
            prop_assert!(wall.admitted.len() <= BUCKETS && event_time.outputs[0].len() <= BUCKETS);
            prop_assert_eq!(wall.admitted.iter().sum::<u64>(), answers.len() as u64);
            for (rank, counts) in (0_u16..).zip(&event_time.outputs) {
                let of_rank = answers.iter().filter(|answer| answer.2 == rank).count();
                prop_assert_eq!(counts.iter().sum::<u64>(), of_rank as u64);
            }
            // Whatever width the buckets have in the end, each answer is in the one that covers its time.
            let mut expected = vec![0; wall.admitted.len()];
            for (at, ..) in &answers {
                expected[(at / wall.bucket_us) as usize] += 1;
            }
            prop_assert_eq!(wall.admitted, expected);
        }
    }

    #[test]
    fn a_stall_is_a_gap() {
        let mut series = Series::new(1);
        series.count(&delivered(0, 5_500_000, Decision::Admit), 0);
        series.count(&delivered(0, 5_400_000, Decision::Duplicate), 4 * WALL_WIDTH);
        // What an earlier start saw answered is in neither series.
        series.count(&delivered(0, 4_000_000, Decision::Earlier), 9 * WALL_WIDTH);
        let told = series.told();
        assert_eq!(told.wall.admitted, [1, 0, 0, 0, 0]);
        assert_eq!((told.wall.duplicates[4], told.wall.retries[4]), (1, 1));
        assert_eq!((told.wall.latency_p50_us[0], told.wall.latency_p50_us[1]), (Some(3000), None));
        assert_eq!(told.event_time.from_ts_utc.as_deref(), Some("1970-01-01T00:00:05.000000Z"));
        assert_eq!(told.event_time.outputs, [[2]]);
    }
}
