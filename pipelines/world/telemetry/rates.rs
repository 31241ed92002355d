//! The speed of a run: answered events per second, by output, over the last seconds.

use std::collections::VecDeque;
use std::time::Duration;

/// The period that rates are averaged over.
const SPAN: Duration = Duration::from_secs(10);
/// Samples closer together than this count as one.
const APART: Duration = Duration::from_millis(250);

/// Answered events by output at the last samples.
#[derive(Debug, Default)]
pub(super) struct Rates {
    looks: VecDeque<(Duration, Vec<u64>)>,
}

impl Rates {
    pub(super) fn note(&mut self, now: Duration, answered: Vec<u64>) {
        // The last sample is always the current one; those before it keep their distance.
        if self.looks.len() > 1 && self.looks.iter().rev().nth(1).is_some_and(|(at, _)| now.saturating_sub(*at) < APART)
        {
            self.looks.pop_back();
        }
        self.looks.push_back((now, answered));
        while self.looks.len() > 2 && self.looks.get(1).is_some_and(|(at, _)| now.saturating_sub(*at) >= SPAN) {
            self.looks.pop_front();
        }
    }

    /// Events per second of an output, over the samples.
    pub(super) fn of(&self, rank: usize) -> f64 {
        let (Some((from, first)), Some((to, last))) = (self.looks.front(), self.looks.back()) else { return 0.0 };
        let seconds = to.saturating_sub(*from).as_secs_f64();
        let events = last.get(rank).zip(first.get(rank)).map_or(0, |(last, first)| last.saturating_sub(*first));
        if seconds > 0.0 { events as f64 / seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_rate_is_that_of_the_last_ten_seconds() {
        let mut rates = Rates::default();
        for second in 0..=30_u64 {
            let answered = if second <= 20 { second * 100 } else { 2000 + (second - 20) * 7 };
            rates.note(Duration::from_secs(second), vec![answered, 0]);
        }
        assert_eq!((rates.of(0), rates.of(1), rates.of(2)), (7.0, 0.0, 0.0));
    }

    proptest! {
        #[test]
        fn many_looks_are_few_in_memory_and_give_the_same_rate(steps in prop::collection::vec(1..2000_u64, 1..400)) {
            let mut rates = Rates::default();
            let mut now = 0;
            for step in steps {
                rates.note(Duration::from_millis(now), vec![now]);
                now += step;
                prop_assert!(rates.looks.len() <= 45, "{}", rates.looks.len());
            }
            prop_assert!(rates.looks.len() < 2 || (rates.of(0) - 1000.0).abs() < 1e-6);
        }
    }
}
