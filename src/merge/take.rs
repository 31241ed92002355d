//! Caps a whole run: the first `n` rows in canonical order, then the end.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use pin_project_lite::pin_project;

use crate::model::{Refusal, Run};

/// Stages on a stream of merged rows.
pub trait RunsExt: Stream<Item = Result<Vec<Run>, Refusal>> + Sized {
    /// Ends after `rows` rows, cutting the last [`Run`] exactly. Once they are through, what comes before is not
    /// polled again, so neither a later failure nor a slow read is seen.
    fn take_rows(self, rows: u64) -> TakeRows<Self> {
        TakeRows { runs: self, left: rows }
    }
}

impl<S: Stream<Item = Result<Vec<Run>, Refusal>>> RunsExt for S {}

pin_project! {
    /// The stream behind [`RunsExt::take_rows`].
    #[derive(Debug)]
    #[must_use = "streams do nothing unless polled"]
    pub struct TakeRows<S> {
        #[pin]
        runs: S,
        left: u64,
    }
}

impl<S: Stream<Item = Result<Vec<Run>, Refusal>>> Stream for TakeRows<S> {
    type Item = Result<Vec<Run>, Refusal>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        if *this.left == 0 {
            return Poll::Ready(None);
        }
        let item = std::task::ready!(this.runs.poll_next(cx));
        Poll::Ready(item.map(|item| {
            item.map(|mut runs| {
                cut(&mut runs, this.left);
                runs
            })
        }))
    }
}

/// Keeps the first `left` rows of `runs` and counts them off.
fn cut(runs: &mut Vec<Run>, left: &mut u64) {
    let mut keep = 0;
    for run in runs.iter_mut() {
        if *left == 0 {
            break;
        }
        let rows = ((run.to - run.from) as u64).min(*left);
        run.to = run.from + rows as usize;
        *left -= rows;
        keep += 1;
    }
    runs.truncate(keep);
}
