//! Decides what happens to the schedule when the stages after it can't keep up.
//!
//! ```text
//! due 1 2 3 4 5 6, nothing accepted from 2 to 5:
//!   stretch    1 2     5 6 7 8    later items move, their spacing stays
//!   catch up   1 2     5 5 5 6    late items leave at once, the schedule is met again
//! ```

use std::time::Duration;

/// Lateness up to this is no stall: timers, saves and other tasks take their turn. It is made
/// good at once and moves nothing, so that hours of such moments don't add up to a drift.
pub const SLACK: Duration = Duration::from_millis(50);

/// What to do about items that are asked for later than they were due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Late {
    /// All later items move by as much, so their spacing stays what it was; lateness up to [`SLACK`] is made good.
    #[default]
    Stretch,
    /// Late items go at once, a burst of at most this much of the schedule; what is beyond moves the later ones.
    CatchUp(Duration),
}

/// How far a schedule has been moved. It only ever moves back.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moved {
    by: Duration,
}

impl Moved {
    /// When an item due at `due` by the schedule as it was first meant shall go, if whoever takes it asks at `now`.
    /// Times are on the run's clock, and neither `due` nor `now` goes back from call to call.
    pub(super) fn release(&mut self, late: Late, due: Duration, now: Duration) -> Duration {
        let lateness = now.saturating_sub(due.saturating_add(self.by));
        let more = match late {
            Late::Stretch if lateness > SLACK => lateness,
            Late::Stretch => Duration::ZERO,
            Late::CatchUp(most) => lateness.saturating_sub(most),
        };
        self.by = self.by.saturating_add(more);
        due.saturating_add(self.by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_little_late_is_on_time() {
        let nano = Duration::from_nanos(1);
        let released = |now| Moved::default().release(Late::Stretch, ms(5), now);
        assert_eq!(released(ms(5) + SLACK), ms(5));
        assert_eq!(released(ms(5) + SLACK + nano), ms(5) + SLACK + nano, "moved by all of it");
        let released = |now| Moved::default().release(Late::CatchUp(ms(7)), ms(5), now);
        assert_eq!((released(ms(12)), released(ms(13))), (ms(5), ms(6)));
    }

    /// When each item goes that is due at `due` and asked for at the earliest at `asked`, one after the other.
    fn play(late: Late, items: &[(u64, u64)]) -> Vec<Duration> {
        let (mut moved, mut now) = (Moved::default(), Duration::ZERO);
        let one = |(due, asked): &(u64, u64)| {
            now = now.max(ms(*asked));
            let release = moved.release(late, ms(*due), now);
            now = now.max(release);
            now
        };
        items.iter().map(one).collect()
    }

    #[test]
    fn the_sketch_above_is_what_happens() {
        let items = [(1000, 0), (2000, 0), (3000, 5000), (4000, 0), (5000, 0), (6000, 0)];
        assert_eq!(play(Late::Stretch, &items), [1000, 2000, 5000, 6000, 7000, 8000].map(ms));
        assert_eq!(play(Late::CatchUp(ms(60_000)), &items), [1000, 2000, 5000, 5000, 5000, 6000].map(ms));
        // Of two seconds one is made good.
        assert_eq!(play(Late::CatchUp(ms(1000)), &items), [1000, 2000, 5000, 5000, 6000, 7000].map(ms));
    }

    #[test]
    fn small_lateness_never_adds_up() {
        let items: Vec<_> = (1..10_000).map(|n| (n * 60, n * 60 + n % 50)).collect();
        let went = play(Late::Stretch, &items);
        assert!(went.iter().zip(&items).all(|(went, (due, _))| went.saturating_sub(ms(*due)) < SLACK));
    }

    proptest! {
        #[test]
        fn nothing_goes_early_and_stretching_keeps_the_spacing(
            steps in proptest::collection::vec((0_u64..500, proptest::option::weighted(0.1, 0_u64..5000)), 1..80),
            most in 0_u64..3000, stretch in any::<bool>(),
        ) {
            let late = if stretch { Late::Stretch } else { Late::CatchUp(ms(most)) };
            // Each item is due a step after the last one; some are asked for only a while after the last one went.
            let (mut moved, mut now, mut due, mut went_before) = (Moved::default(), ms(0), ms(0), ms(0));
            for (step, stall) in steps {
                due += ms(step);
                now += ms(stall.unwrap_or(0));
                let before = moved.by;
                let planned = due + before;
                let release = moved.release(late, due, now);
                let lateness = now.saturating_sub(planned);
                prop_assert!(release >= planned && moved.by >= before);
                match late {
                    Late::Stretch if lateness > SLACK => prop_assert_eq!(release, now, "this one is on time again"),
                    Late::Stretch => prop_assert_eq!(release, planned, "nothing moves"),
                    Late::CatchUp(most) => prop_assert_eq!(now.saturating_sub(release), lateness.min(most)),
                }
                let went = now.max(release);
                if late == Late::Stretch {
                    prop_assert!(went + SLACK >= went_before + ms(step), "spacing {step} ms");
                }
                (now, went_before) = (went, went);
            }
        }
    }
}
