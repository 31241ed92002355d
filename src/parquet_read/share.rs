//! How the memory for reading is shared among several scans.
//!
//! ```text
//! what each scan could use ──► shares: small wishes whole, what is left in equal parts to the others
//! its rows come to their end ──► prefetch: a permit for the next slice, if one is free
//! ```
//!
//! Shares are fixed before the first row is read, and who finds no permit for its next slice reads on without, so no scan
//! ever waits for memory that another one holds: a merge, which needs a batch of each, can't come to a standstill.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::footer::RowGroup;

/// What each wish gets of `total` bytes: as much as it wants, as long as nobody who wants more gets less than it; no
/// share is more than its wish, and all of them together are no more than `total`.
#[must_use]
pub fn shares(total: u64, wishes: &[u64]) -> Vec<u64> {
    let mut by_wish: Vec<usize> = (0..wishes.len()).collect();
    by_wish.sort_by_key(|i| wishes[*i]);
    let mut shares = vec![0; wishes.len()];
    let mut left = total;
    for (served, i) in by_wish.into_iter().enumerate() {
        let equal = left / (wishes.len() - served) as u64;
        shares[i] = wishes[i].min(equal);
        left -= shares[i];
    }
    shares
}

/// Permits for slices that are fetched ahead, for all scans that share it. Clones share them.
///
/// Scans whose row groups end at the same event time would each hold two of them at that time; with permits for some of
/// them the others fetch their next one when it is due. A permit is taken only if it is free, never waited for, and kept
/// only by who has room for its slice.
#[derive(Debug, Clone)]
pub struct Prefetch(Arc<Semaphore>);

impl Prefetch {
    /// So many slices at a time; with 0 nothing is fetched ahead.
    #[must_use]
    pub fn new(slices: usize) -> Self {
        Self(Arc::new(Semaphore::new(slices.min(Semaphore::MAX_PERMITS))))
    }

    /// One that is free now, until it is dropped.
    pub(super) fn permit(&self) -> Option<OwnedSemaphorePermit> {
        self.0.clone().try_acquire_owned().ok()
    }
}

/// The memory, in bytes, with which these row groups are read as fast as can be: the largest, stored and decoded, twice, for one is
/// fetched while another one is read.
#[must_use]
pub fn memory_wish<'a>(groups: impl IntoIterator<Item = &'a RowGroup>) -> u64 {
    let largest = groups.into_iter().map(|group| group.bytes.saturating_add(group.decoded)).max();
    largest.unwrap_or(0).saturating_mul(2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_the_small_ones_leave_goes_to_the_large_ones() {
        assert_eq!(shares(100, &[10, 500, 20, 400]), [10, 35, 20, 35]);
        assert_eq!(shares(100, &[1, 2, 3]), [1, 2, 3]);
        assert_eq!(shares(0, &[1, 2]), [0, 0]);
        assert_eq!(shares(7, &[]), Vec::<u64>::new());
    }

    #[test]
    fn a_scan_wishes_for_its_largest_row_group_twice() {
        let group = |bytes, decoded| RowGroup { rows: 1, bytes, decoded, span: None };
        assert_eq!(memory_wish(&[group(10, 30), group(25, 20), group(1, 2)]), 90);
        assert_eq!(memory_wish(&[]), 0);
        assert_eq!(memory_wish(&[group(u64::MAX, 1)]), u64::MAX);
    }

    #[test]
    fn a_permit_is_free_again_when_it_is_dropped() {
        let prefetch = Prefetch::new(1);
        let permit = prefetch.permit();
        assert!(permit.is_some() && prefetch.clone().permit().is_none());
        drop(permit);
        assert!(prefetch.permit().is_some());
        assert!(Prefetch::new(0).permit().is_none());
    }

    proptest! {
        #[test]
        fn shares_are_fair(total in 0_u64..1_000_000, wishes in prop::collection::vec(0_u64..500_000, 0..8)) {
            let given = shares(total, &wishes);
            prop_assert!(given.iter().sum::<u64>() <= total);
            for (share, wish) in given.iter().zip(&wishes) {
                prop_assert!(share <= wish);
                // Who does not get all gets at least an equal part, and nobody gets more by more than rounding.
                if share < wish {
                    prop_assert!(*share >= total / wishes.len() as u64);
                    prop_assert!(given.iter().all(|other| *other <= share + wishes.len() as u64));
                }
            }
        }
    }
}
