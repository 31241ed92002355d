//! Maps an event time to the wall time at which it is due.
//!
//! ```text
//! due(ts) = wall0 + (ts - ts0) / speedup
//! ```
//!
//! Every due time is computed from one anchor, never from the item before it, so errors do not accumulate.

use std::time::Duration;

use super::late::{Late, Moved};
use crate::time::Micros;

/// How event time is played back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pacing {
    speedup: Ratio,
    max_idle_gap: Option<Duration>,
    anchor: Anchor,
    late: Late,
}

/// A speed-up or an idle gap that can't be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PacingError {
    /// Neither zero nor between 1e-6 and 1e12.
    #[error("a speed-up has to be 0 (no pacing) or between 1e-6 and 1e12, not {0}")]
    Speedup(f64),
}

/// What the schedule is fixed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Anchor {
    /// The first item is due at once, the others from there: what a start and a resume want.
    #[default]
    First,
    /// Event time `ts` is due at wall time `utc`, shared by all producers of a campaign
    /// (`WSP_CAMPAIGN_START_UTC` and the world's first `ts_utc`).
    At {
        /// The wall's side.
        utc: Micros,
        /// The world's side.
        ts: Micros,
    },
}

impl Pacing {
    /// Event time runs `speedup` times as fast as the wall; 0 is as fast as it goes.
    ///
    /// # Errors
    ///
    /// If `speedup` is neither 0 nor between 1e-6 and 1e12.
    pub fn new(speedup: f64) -> Result<Self, PacingError> {
        let usable = speedup == 0.0 || (1e-6..=1e12).contains(&speedup);
        if !usable {
            return Err(PacingError::Speedup(speedup));
        }
        Ok(Self { speedup: Ratio::of(speedup), ..Self::off() })
    }

    /// No pacing: everything is let through as it comes.
    #[must_use]
    pub fn off() -> Self {
        let speedup = Ratio { over: 0, under: 1 };
        Self { speedup, max_idle_gap: None, anchor: Anchor::First, late: Late::default() }
    }

    /// A gap in event time longer than `gap` counts as `gap`. Off unless told.
    #[must_use]
    pub fn max_idle_gap(mut self, gap: Option<Duration>) -> Self {
        self.max_idle_gap = gap;
        self
    }

    /// What the schedule is fixed to.
    #[must_use]
    pub fn anchor(mut self, anchor: Anchor) -> Self {
        self.anchor = anchor;
        self
    }

    /// What becomes of the schedule when items are taken later than they are due; [`Late::Stretch`] unless told.
    #[must_use]
    pub fn late(mut self, late: Late) -> Self {
        self.late = late;
        self
    }

    /// Whether items are let through as they come.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.speedup.over == 0
    }
}

/// A positive double as the fraction it is: `over / under`, one of them a power of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ratio {
    over: u128,
    under: u128,
}

impl Ratio {
    /// Exact for 0 and for what [`Pacing::new`] lets in.
    fn of(value: f64) -> Self {
        let bits = value.to_bits();
        let exponent = ((bits >> 52) & 0x7ff) as i32;
        if exponent == 0 {
            return Self { over: 0, under: 1 };
        }
        let mantissa = (bits & ((1 << 52) - 1)) | (1 << 52);
        let spare = mantissa.trailing_zeros();
        let (over, exponent) = (u128::from(mantissa >> spare), exponent - 1075 + spare.cast_signed());
        let shift = exponent.unsigned_abs().min(127);
        if exponent >= 0 { Self { over: over << shift, under: 1 } } else { Self { over, under: 1 << shift } }
    }
}

/// A schedule under way.
#[derive(Debug, Clone)]
pub struct Schedule {
    pacing: Pacing,
    fixed: Option<Fixed>,
    moved: Moved,
}

/// The anchor once it is known, and how far idle gaps have been cut.
#[derive(Debug, Clone, Copy)]
struct Fixed {
    /// Nanoseconds on the run's clock; negative where the anchor lies before the clock's origin.
    wall0: i128,
    ts0: i64,
    /// Event time cut out of idle gaps so far, in microseconds.
    cut: i64,
    last: i64,
}

impl Schedule {
    /// A schedule that starts with its first item.
    #[must_use]
    pub fn new(pacing: Pacing) -> Self {
        Self { pacing, fixed: None, moved: Moved::default() }
    }

    /// When an item that [`Schedule::due`] wants at `due` shall go, if whoever takes it asks at `now`: as due, or as
    /// much later as the schedule has been moved ([`Late`]). It is asked in the order of the items, for each as often
    /// as it was waited for.
    pub fn release(&mut self, due: Duration, now: Duration) -> Duration {
        self.moved.release(self.pacing.late, due, now)
    }

    /// When an item of event time `ts` is due on the run's clock, `None` without pacing. `now` and `utc` are
    /// looked at for the first item alone, whichever it is that fixes the schedule to the wall.
    ///
    /// It is the time first meant, whatever was late since: lag counts from it.
    ///
    /// Event time that lies before the anchor, or whose wall time lies before the clock's origin, is due at
    /// the anchor or the origin.
    pub fn due(&mut self, ts: Micros, now: impl FnOnce() -> (Duration, Micros)) -> Option<Duration> {
        if self.pacing.is_off() {
            return None;
        }
        let gap_limit = self.pacing.max_idle_gap.map(|gap| i64::try_from(gap.as_micros()).unwrap_or(i64::MAX));
        let fixed = self.fixed.get_or_insert_with(|| {
            let (now, utc) = now();
            let now = i128::try_from(now.as_nanos()).unwrap_or(i128::MAX);
            match self.pacing.anchor {
                Anchor::First => Fixed { wall0: now, ts0: ts.0, cut: 0, last: ts.0 },
                Anchor::At { utc: at, ts: ts0 } => {
                    let wall0 = now - i128::from(utc.0 - at.0) * 1000;
                    Fixed { wall0, ts0: ts0.0, cut: 0, last: ts0.0 }
                }
            }
        });
        if let Some(limit) = gap_limit {
            fixed.cut += (ts.0 - fixed.last - limit).max(0);
            fixed.last = fixed.last.max(ts.0);
        }
        let elapsed = u128::from((ts.0 - fixed.ts0 - fixed.cut).max(0).unsigned_abs()) * 1000;
        let Ratio { over, under } = self.pacing.speedup;
        // 10,000 years of event time at the slowest speed-up stay well below what is representable.
        let wall = elapsed.checked_mul(under).map_or_else(|| elapsed / over * under, |product| product / over);
        let due = fixed.wall0 + i128::try_from(wall).unwrap_or(i128::MAX >> 1);
        Some(Duration::from_nanos(u64::try_from(due.max(0)).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const YEAR: i64 = 366 * 86_400 * 1_000_000;
    const T0: i64 = 1_767_225_600_000_000;

    fn schedule(speedup: f64) -> Schedule {
        Schedule::new(Pacing::new(speedup).unwrap())
    }

    fn at(now: Duration) -> impl FnOnce() -> (Duration, Micros) {
        move || (now, Micros(T0))
    }

    #[test]
    fn ten_years_end_on_the_nanosecond() {
        for (speedup, expected) in [
            (1.0, 10 * YEAR as u128 * 1000),
            (10.0, YEAR as u128 * 1000),
            (1e6, 10 * YEAR as u128 / 1000),
            (0.5, 20 * YEAR as u128 * 1000),
        ] {
            let mut schedule = schedule(speedup);
            schedule.due(Micros(T0), at(Duration::ZERO));
            // Ten years in steps that no binary fraction holds.
            let step = 333_333_333_333;
            let mut ts = T0;
            while ts + step < T0 + 10 * YEAR {
                ts += step;
                schedule.due(Micros(ts), at(Duration::ZERO));
            }
            let due = schedule.due(Micros(T0 + 10 * YEAR), at(Duration::ZERO)).unwrap();
            assert_eq!(due.as_nanos(), expected, "speed-up {speedup}");
        }
    }

    #[test]
    fn a_speed_up_is_the_fraction_that_it_is() {
        let of = |value: f64| (Ratio::of(value).over, Ratio::of(value).under);
        assert_eq!([1.0, 0.5, 3.0, 0.75, 6.0, 1e6].map(of), [(1, 1), (1, 2), (3, 1), (3, 4), (6, 1), (1_000_000, 1)]);
        for value in [1e-6, 0.1, 1.0 / 3.0, 1.1, 1234.567, 1e12 / 3.0] {
            let (over, under) = of(value);
            assert_eq!((over as f64 / under as f64).to_bits(), value.to_bits(), "{value}");
            assert!(over % 2 == 1 || under == 1, "{value} is {over} / {under}");
        }
        assert_eq!(Ratio::of(0.0).over, 0);
    }

    #[test]
    fn what_is_due_later_than_can_be_said_is_due_last_and_not_at_once() {
        let mut schedule = schedule(1e-6);
        schedule.due(Micros(T0), at(Duration::ZERO));
        let years = schedule.due(Micros(T0 + 10 * YEAR), at(Duration::ZERO)).unwrap();
        assert_eq!(years, Duration::from_nanos(u64::MAX));
    }

    #[test]
    fn zero_is_no_pacing_and_nonsense_is_refused() {
        assert_eq!(schedule(0.0).due(Micros(5), at(Duration::ZERO)), None);
        assert_eq!(Schedule::new(Pacing::off()).due(Micros(5), at(Duration::ZERO)), None);
        for bad in [-1.0, f64::NAN, f64::INFINITY, 1e-9, 1e13] {
            assert!(Pacing::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_given_anchor_is_met_from_whichever_item_comes_first() {
        let pacing =
            Pacing::new(2.0).unwrap().anchor(Anchor::At { utc: Micros(T0 + 10_000_000), ts: Micros(T0 - YEAR) });
        let mut schedule = Schedule::new(pacing);
        // The clock shows 3 s when the wall shows T0: the anchor is at 13 s, and this item a second of event time on.
        let due = schedule.due(Micros(T0 - YEAR + 1_000_000), at(Duration::from_secs(3)));
        assert_eq!(due, Some(Duration::from_millis(13_500)));
        // An anchor long past: all is due at the clock's origin.
        let past = pacing.anchor(Anchor::At { utc: Micros(T0 - YEAR), ts: Micros(T0) });
        assert_eq!(Schedule::new(past).due(Micros(T0), at(Duration::from_secs(3))), Some(Duration::ZERO));
    }

    #[test]
    fn idle_gaps_are_cut_to_the_clamp() {
        let second = 1_000_000;
        let pacing = Pacing::new(1.0).unwrap().max_idle_gap(Some(Duration::from_secs(5)));
        let mut schedule = Schedule::new(pacing);
        let due: Vec<u64> = [0, 2, 3602, 3602, 3607, 3613]
            .map(|s| schedule.due(Micros(T0 + s * second), at(Duration::ZERO)).unwrap().as_secs())
            .into();
        assert_eq!(due, [0, 2, 7, 7, 12, 17]);
    }

    proptest! {
        #[test]
        fn due_times_are_exact_and_never_go_back(
            speedup in prop_oneof![1e-6_f64..1e12, 0.01_f64..1000.0],
            steps in proptest::collection::vec(0_i64..100_000_000_000, 1..50),
            clamp in proptest::option::of(0_u64..100_000),
        ) {
            let pacing = Pacing::new(speedup).unwrap().max_idle_gap(clamp.map(Duration::from_secs));
            let mut schedule = Schedule::new(pacing);
            let start = Duration::from_secs(7);
            let (mut ts, mut played, mut last) = (T0, 0, start);
            prop_assert_eq!(schedule.due(Micros(ts), at(start)), Some(start));
            for step in steps {
                ts += step;
                played += clamp.map_or(step, |clamp| step.min(clamp.cast_signed() * 1_000_000));
                let due = schedule.due(Micros(ts), at(start)).unwrap();
                prop_assert!(due >= last);
                last = due;
                let expected = played as f64 * 1000.0 / speedup;
                let got = due.saturating_sub(start).as_nanos() as f64;
                prop_assert!((got - expected).abs() <= 1.0 + expected * 1e-15, "{got} {expected}");
            }
        }
    }
}
