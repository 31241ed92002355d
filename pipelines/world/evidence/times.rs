//! A small histogram of times: what one stretch of a run keeps of its latencies.
//!
//! ```text
//! microseconds ──► slot (eight an octave) ──► count · quantile: the slot it falls in, and how far into it
//! ```
//!
//! It is fixed in size, costs an event one addition, and two of them add up to what one would have counted.

/// Slots an octave: neighbours are an eighth of an octave apart, so a quantile is right within some 12 %.
const PER_OCTAVE: u64 = 8;
/// log2 of it.
const BITS: u32 = PER_OCTAVE.trailing_zeros();
/// Up to 2^33 µs, two hours and some; longer times count as that.
const SLOTS: usize = 248;

/// Counts of times by their size.
#[derive(Debug, Clone)]
pub(super) struct Times {
    slots: [u32; SLOTS],
    count: u64,
    max: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self { slots: [0; SLOTS], count: 0, max: 0 }
    }
}

impl Times {
    /// Counts one time, in microseconds.
    pub(super) fn record(&mut self, us: u64) {
        let slot = &mut self.slots[slot_of(us)];
        *slot = slot.saturating_add(1);
        self.count += 1;
        self.max = self.max.max(us);
    }

    /// Adds what another one counted.
    pub(super) fn add(&mut self, other: &Self) {
        for (slot, more) in self.slots.iter_mut().zip(&other.slots) {
            *slot = slot.saturating_add(*more);
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    /// The time, in microseconds, that `per_mille` of 1,000 are at most; none of none.
    pub(super) fn quantile(&self, per_mille: u64) -> Option<u64> {
        if self.count == 0 {
            return None;
        }
        let rank = (self.count * per_mille).div_ceil(1000).max(1);
        let mut before = 0;
        for (i, slot) in self.slots.iter().enumerate() {
            let here = u64::from(*slot);
            if before + here >= rank {
                let (from, width) = bounds(i);
                // Times are taken to lie evenly in their slot.
                return Some((from + width * (rank - before) / here.max(1)).min(self.max));
            }
            before += here;
        }
        Some(self.max)
    }
}

fn slot_of(us: u64) -> usize {
    if us < PER_OCTAVE {
        return us as usize;
    }
    let exponent = us.ilog2();
    let within = (us >> (exponent - BITS)) & (PER_OCTAVE - 1);
    (usize::try_from(u64::from(exponent - BITS + 1) * PER_OCTAVE + within).unwrap_or(SLOTS)).min(SLOTS - 1)
}

/// The first time of a slot, and how far its last one is from it.
fn bounds(slot: usize) -> (u64, u64) {
    let (octave, within) = (slot as u64 / PER_OCTAVE, slot as u64 % PER_OCTAVE);
    match octave {
        0 => (within, 0),
        _ => ((PER_OCTAVE + within) << (octave - 1), (1 << (octave - 1)) - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_time_lies_in_its_slot(us in 0_u64..1 << 33) {
            let (from, width) = bounds(slot_of(us));
            prop_assert!((from..=from + width).contains(&us), "{us} is not in {from} + {width}");
            prop_assert!(width <= from / PER_OCTAVE);
        }

        #[test]
        fn quantiles_are_near_and_halves_add_up(
            mut times in proptest::collection::vec(0_u64..10_000_000, 1..400), cut: proptest::sample::Index,
        ) {
            let cut = cut.index(times.len());
            let [mut whole, mut first, mut second] = [Times::default(), Times::default(), Times::default()];
            for (i, us) in times.iter().enumerate() {
                whole.record(*us);
                if i < cut { first.record(*us) } else { second.record(*us) }
            }
            first.add(&second);
            times.sort_unstable();
            for per_mille in [1, 500, 900, 990, 1000] {
                let exact = times[(times.len() * per_mille).div_ceil(1000).max(1) - 1];
                let told = whole.quantile(per_mille as u64).unwrap();
                prop_assert!(told.abs_diff(exact) <= exact / PER_OCTAVE, "{told} for {exact}");
                prop_assert_eq!(first.quantile(per_mille as u64), Some(told));
            }
        }
    }

    #[test]
    fn nothing_has_no_quantile_and_ages_count_as_hours() {
        assert_eq!(Times::default().quantile(500), None);
        let mut times = Times::default();
        times.record(u64::MAX);
        assert!(times.quantile(500).unwrap() >= 3_600_000_000);
    }
}
