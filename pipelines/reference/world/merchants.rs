//! Merchants: ids over the whole range of 64 bits, a few of them popular unless they are evened.

use std::collections::HashSet;

use wsp::random::Random;

/// Separates these random numbers from a world's others.
const STREAM: u64 = 4;

/// Merchants by popularity: the first is visited most; unless they are evened, the `n`-th is visited 1/`n` as often.
#[derive(Debug)]
pub(super) struct Merchants {
    ids: Vec<u64>,
    visits: Vec<i64>,
    /// Sums of the weights up to and including each.
    weights: Vec<u64>,
}

impl Merchants {
    /// One merchant per fifty arrivals. The share of the `n`-th is proportional to 1 / (n + `evenness`).
    pub(super) fn new(seed: u64, arrivals: u64, evenness: u32) -> Self {
        let count = (arrivals / 50).clamp(8, 20_000);
        let mut random = Random::of(&[seed, STREAM]);
        let mut known: HashSet<u64> = HashSet::new();
        let mut ids = Vec::new();
        let edges = [u64::MAX, 1 << 63, (1 << 63) - 1, 1];
        while (ids.len() as u64) < count {
            let id = edges.get(ids.len()).copied().unwrap_or_else(|| random.next());
            if known.insert(id) {
                ids.push(id);
            }
        }
        let mut sum = 0;
        let weights = (1..=count)
            .map(|rank| {
                sum += (1_000_000_000 / (rank + u64::from(evenness))).max(1);
                sum
            })
            .collect();
        Self { visits: vec![0; ids.len()], ids, weights }
    }

    /// The index of a merchant.
    pub(super) fn pick(&self, random: &mut Random) -> u64 {
        let total = self.weights.last().copied().unwrap_or_default();
        let point = random.below(total);
        self.weights.partition_point(|sum| *sum <= point) as u64
    }

    /// Turns the index into the id and counts the visit, from 1.
    pub(super) fn visit(&mut self, merchant: &mut u64) -> i64 {
        let index = *merchant as usize;
        self.visits[index] += 1;
        *merchant = self.ids[index];
        self.visits[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What [`super::super::WorldSpec::evenness`] says of a million events.
    #[test]
    fn evened_merchants_have_no_favourite() {
        let favourite_of_100_000 = |evenness| {
            let weights = Merchants::new(7, 192_000, evenness).weights;
            weights[0] * 100_000 / weights.last().unwrap()
        };
        assert_eq!([0, 70, 1_000_000, u32::MAX].map(favourite_of_100_000), [11_324, 350, 26, 26]);
    }

    #[test]
    fn favourites_come_first_and_visits_are_counted() {
        let mut merchants = Merchants::new(7, 10_000, 0);
        let mut random = Random::of(&[1]);
        let mut counts = vec![0_u32; merchants.ids.len()];
        for _ in 0..10_000 {
            counts[merchants.pick(&mut random) as usize] += 1;
        }
        assert!(counts[0] > 3 * counts[9] && counts[9] > counts[199]);
        let (mut one, mut again) = (3, 3);
        assert_eq!((merchants.visit(&mut one), merchants.visit(&mut again)), (1, 2));
        assert_eq!((one, again), (1, 1), "the fourth merchant has the smallest id");
    }
}
