//! The next slice, on its way while the one at hand is decoded and delivered.
//!
//! ```text
//! Place ──footer, if the part is another──► slice ──if there is room and a permit──► Loaded { slice, bytes }
//! ```
//!
//! What is fetched is fetched whole and kept, so nothing stays open while delivery waits for an event's time. Whatever
//! fails here is tried again when its rows are needed: a store that is back by then has done no harm.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use futures::FutureExt as _;
use futures::future::{BoxFuture, MaybeDone, maybe_done};
use tokio::sync::OwnedSemaphorePermit;

use super::batches::Scan;
use super::filter::RowFilter;
use super::part::{Chunks, Part};
use super::slices::Slice;
use super::view_files::View;
use crate::model::Refusal;

/// Where a slice begins, and what it may take.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) view: Arc<View>,
    pub(super) scan: Scan,
    pub(super) filter: Option<RowFilter>,
    /// Index into the view's parts.
    pub(super) file: usize,
    /// The row in that part, which has it.
    pub(super) row: u64,
    /// The part, if it is open already.
    pub(super) part: Option<Arc<Part>>,
    /// What may be held before the slice is needed; `None` when it is needed now.
    pub(super) ahead: Option<Room>,
}

/// What a slice may take ahead of its time.
#[derive(Debug)]
pub(super) struct Room {
    /// The output's own, in bytes.
    pub(super) bytes: u64,
    /// One of those that all outputs share.
    pub(super) permit: OwnedSemaphorePermit,
}

/// A slice, and of its bytes those that were fetched ahead.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) part: Arc<Part>,
    pub(super) slice: Slice,
    pub(super) bytes: Chunks,
    /// Where bytes were fetched ahead, until the slice is the one at hand.
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// Opens the part if need be, cuts the slice, and fetches its bytes if there is room for them. Where there isn't,
    /// another output gets the permit.
    pub(super) async fn load(self) -> Result<Loaded, Refusal> {
        let Self { view, scan, filter, file, row, part, ahead } = self;
        let part = match part {
            Some(part) => part,
            None => Arc::new(Part::open(&view, file, &scan, filter.as_ref()).await?),
        };
        let slice = part.slice_at(row, scan.slice_bytes()).ok_or_else(|| {
            // The footer is of the version that was planned with, so it says the same.
            part.source.unreadable(format!("there is no row {row} in its footer"))
        })?;
        let fitting = ahead.filter(|room| slice.cost.fetched <= room.bytes);
        let bytes = if fitting.is_some() { part.fetch(&slice).await? } else { Chunks::default() };
        Ok(Loaded { part, slice, bytes, permit: fitting.map(|room| room.permit) })
    }
}

/// A load under way.
pub(super) struct Loading(MaybeDone<BoxFuture<'static, Result<Loaded, Refusal>>>);

impl Loading {
    /// Begins it with the first [`Loading::nudge`].
    pub(super) fn new(place: Place) -> Self {
        Self(maybe_done(place.load().boxed()))
    }

    /// Moves it on as far as it goes without waiting.
    pub(super) async fn nudge(&mut self) {
        poll_fn(|cx| {
            let _ = Pin::new(&mut self.0).poll(cx);
            Poll::Ready(())
        })
        .await;
    }

    /// Waits for its end.
    pub(super) async fn done(mut self) -> Option<Result<Loaded, Refusal>> {
        (&mut self.0).await;
        Pin::new(&mut self.0).take_output()
    }
}
