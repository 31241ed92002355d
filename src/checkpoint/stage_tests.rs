//! When a save is made, with layouts that are made for the question.

use std::sync::{Arc, Mutex};

use futures::{StreamExt, TryStreamExt, stream};

use super::*;
use crate::checkpoint::{CheckpointError, CheckpointFault, Watermark};
use crate::clock::SystemClock;
use crate::credit::Credit;

/// Numbered items of one source, of which some end a request.
struct Line {
    keeps_end: bool,
}

impl Layout for Line {
    type Delivered = (u64, bool);
    type Mark = (usize, u64);
    type Kept = (u64, Cause);
    type Error = CheckpointError;

    fn starts(&self) -> Vec<u64> {
        vec![0]
    }

    fn mark(&mut self, (seq, _): &(u64, bool)) -> Result<(usize, u64), CheckpointError> {
        Ok((0, *seq))
    }

    fn is_sent(&self, (_, ends_request): &(u64, bool)) -> bool {
        *ends_request
    }

    fn kept(&mut self, answered: &Watermark<(usize, u64)>, cause: Cause) -> (u64, Cause) {
        (answered.total(), cause)
    }

    fn keeps_end(&self, cause: Cause) -> bool {
        self.keeps_end && cause == Cause::End
    }
}

/// How much each save keeps, and why.
#[derive(Clone, Default)]
struct Saves(Arc<Mutex<Vec<(u64, Cause)>>>);

impl Save<(u64, Cause), CheckpointError> for Saves {
    async fn save(&mut self, kept: &(u64, Cause)) -> Result<(), CheckpointError> {
        self.0.lock().unwrap().push(*kept);
        Ok(())
    }
}

#[tokio::test]
async fn a_good_end_is_kept_where_the_layout_says_so_though_all_is_saved() {
    let failed = || CheckpointError::new(CheckpointFault::Internal, "the stream");
    for (keeps_end, fails, last) in [(false, false, None), (true, false, Some((2, Cause::End))), (true, true, None)] {
        let items = stream::iter([Ok((0, true)), Ok((1, true))]);
        let items = items.chain(stream::iter(fails.then(|| Err(failed()))));
        let (saves, options) = (Saves::default(), CheckpointOptions::new(SystemClock::new()).flush_every(1));
        let ended = items.checkpoint(saves.clone(), Line { keeps_end }, options).try_collect::<Vec<_>>().await;
        assert_eq!(ended.is_err(), fails);
        let expected: Vec<_> = [(1, Cause::Due), (2, Cause::Due)].into_iter().chain(last).collect();
        assert_eq!(*saves.0.lock().unwrap(), expected, "{keeps_end} {fails}");
    }
}

/// A request of many items spends one credit: the saves have to come before the credit is spent, not before as many items.
#[tokio::test]
async fn credit_for_requests_lasts_and_is_not_counted_in_items() {
    const ITEMS: u64 = 10;
    let credit = Credit::new(4);
    let spent = credit.clone();
    let items = (0..20 * ITEMS).map(move |seq| {
        assert!(seq % ITEMS > 0 || spent.try_spend(), "sending has to wait for a save at item {seq}");
        Ok((seq, seq % ITEMS == ITEMS - 1))
    });
    let options = CheckpointOptions::new(SystemClock::new()).flush_every(1000).settle(credit);
    let saves = Saves::default();
    let stream = stream::iter(items).checkpoint(saves.clone(), Line { keeps_end: false }, options);
    assert_eq!(stream.try_collect::<Vec<_>>().await.unwrap().len(), 200);
    // A fourth request is on its way when three are answered: it has spent the last of the credit.
    let due = (1..=6).map(|save| (save * 3 * ITEMS + 1, Cause::Due));
    let expected: Vec<_> = due.chain([(200, Cause::End)]).collect();
    assert_eq!(*saves.0.lock().unwrap(), expected);
}
