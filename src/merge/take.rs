//! Caps a whole run: the first `n` rows in canonical order, then the end.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use pin_project_lite::pin_project;

use super::batch::Slice;

/// Stages on a stream of merged rows.
pub trait SlicesExt<B, E>: Stream<Item = Result<Vec<Slice<B>>, E>> + Sized {
    /// Ends after `rows` rows, cutting the last [`Slice`] exactly. Once they are through, what comes before is not
    /// polled again, so neither a later failure nor a slow read is seen.
    fn take_rows(self, rows: u64) -> TakeRows<Self> {
        TakeRows { slices: self, left: rows }
    }
}

impl<S: Stream<Item = Result<Vec<Slice<B>>, E>>, B, E> SlicesExt<B, E> for S {}

pin_project! {
    /// The stream behind [`SlicesExt::take_rows`].
    #[derive(Debug)]
    #[must_use = "streams do nothing unless polled"]
    pub struct TakeRows<S> {
        #[pin]
        slices: S,
        left: u64,
    }
}

impl<S: Stream<Item = Result<Vec<Slice<B>>, E>>, B, E> Stream for TakeRows<S> {
    type Item = Result<Vec<Slice<B>>, E>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        if *this.left == 0 {
            return Poll::Ready(None);
        }
        let item = std::task::ready!(this.slices.poll_next(cx));
        Poll::Ready(item.map(|item| {
            item.map(|mut slices| {
                cut(&mut slices, this.left);
                slices
            })
        }))
    }
}

/// Keeps the first `left` rows of `runs` and counts them off.
fn cut<B>(slices: &mut Vec<Slice<B>>, left: &mut u64) {
    let mut keep = 0;
    for slice in slices.iter_mut() {
        if *left == 0 {
            break;
        }
        let rows = ((slice.to - slice.from) as u64).min(*left);
        slice.to = slice.from + rows as usize;
        *left -= rows;
        keep += 1;
    }
    slices.truncate(keep);
}
