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

use super::error::ReadError;
use super::part::{Chunks, Part};
use super::scan::{Parts, Scan};
use super::slices::Slice;

/// Where a slice begins, and what it may take.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) parts: Arc<Parts>,
    pub(super) scan: Scan,
    /// The columns of the filter, where there is one.
    pub(super) filtered: Option<Arc<[String]>>,
    /// Which part.
    pub(super) at: usize,
    /// The row in that part, which has it.
    pub(super) row: u64,
    /// The part, if it is open already.
    pub(super) part: Option<Arc<Part>>,
}

/// What a slice may take ahead of its time.
#[derive(Debug)]
pub(super) struct Room {
    /// The scan's own, in bytes.
    pub(super) bytes: u64,
    /// One of those that all scans share.
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
    /// another scan gets the permit; `None` where there is none to cut it either.
    async fn load_ahead(self, room: Room) -> Result<Option<Loaded>, ReadError> {
        let (part, most) = (self.open().await?, self.scan.slice_bytes());
        if part.cutting_bytes(self.row, most) > room.bytes {
            return Ok(None);
        }
        let slice = self.cut(&part).await?;
        let fits = slice.cost.fetched <= room.bytes;
        let bytes = if fits { part.fetch(&slice).await? } else { Chunks::default() };
        Ok(Some(Loaded { part, slice, bytes, permit: fits.then_some(room.permit) }))
    }

    /// Opens the part if need be and cuts the slice.
    pub(super) async fn load(self) -> Result<Loaded, ReadError> {
        let part = self.open().await?;
        let slice = self.cut(&part).await?;
        Ok(Loaded { part, slice, bytes: Chunks::default(), permit: None })
    }

    async fn open(&self) -> Result<Arc<Part>, ReadError> {
        match &self.part {
            Some(part) => Ok(part.clone()),
            None => Part::open(&self.parts, self.at, &self.scan, self.filtered.as_deref()).await.map(Arc::new),
        }
    }

    async fn cut(&self, part: &Part) -> Result<Slice, ReadError> {
        let slice = part.cut(self.row, self.scan.slice_bytes()).await?;
        // The footer is of the version that was planned with, so it says the same.
        slice.ok_or_else(|| part.source.unreadable(format!("there is no row {} in its footer", self.row)))
    }
}

/// A load under way.
pub(super) struct Loading(MaybeDone<BoxFuture<'static, Result<Option<Loaded>, ReadError>>>);

impl Loading {
    /// Begins it with the first [`Loading::nudge`].
    pub(super) fn new(place: Place, room: Room) -> Self {
        Self(maybe_done(place.load_ahead(room).boxed()))
    }

    /// Moves it on as far as it goes without waiting.
    pub(super) async fn nudge(&mut self) {
        poll_fn(|cx| {
            let _ = Pin::new(&mut self.0).poll(cx);
            Poll::Ready(())
        })
        .await;
    }

    /// Waits for its end: the slice, unless there was no room for it or it failed.
    pub(super) async fn done(mut self) -> Option<Loaded> {
        (&mut self.0).await;
        Pin::new(&mut self.0).take_output()?.ok().flatten()
    }
}
