//! How many bytes of made bodies may be in memory at once.
//!
//! ```text
//! framing ──waits for room──► hold(bytes) ──► Bytes, sliced and shared ──last one dropped──► room again
//! ```

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::task::AtomicWaker;

/// A bound on the bytes held. Clones share the account.
///
/// What is held counts from [`ByteBudget::hold`] until the last slice of it is dropped, wherever that is. Holding never
/// waits: whoever makes bytes waits for room before it makes the next ones, so the bound is passed by one portion at
/// most, and a portion larger than the whole budget passes when something of the budget is free.
///
/// Nothing may need further bytes to let go of those it has, and a consumer that keeps bytes keeps their room: it has to
/// copy what it wants to keep.
#[derive(Clone)]
pub struct ByteBudget(Arc<Account>);

struct Account {
    limit: u64,
    held: AtomicU64,
    peak: AtomicU64,
    /// The one that waits for room.
    waiter: AtomicWaker,
}

impl ByteBudget {
    /// At most `limit` bytes, and one portion.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        let (held, peak) = (AtomicU64::new(0), AtomicU64::new(0));
        Self(Arc::new(Account { limit, held, peak, waiter: AtomicWaker::new() }))
    }

    /// Any number of bytes; they are counted all the same.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::new(u64::MAX)
    }

    /// Bytes held now.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.0.held.load(Ordering::Acquire)
    }

    /// The most that were held at once.
    #[must_use]
    pub fn peak(&self) -> u64 {
        self.0.peak.load(Ordering::Relaxed)
    }

    /// Counts the memory of `bytes` until all slices of the result are dropped.
    #[must_use]
    pub fn hold(&self, bytes: Vec<u8>) -> Bytes {
        let held = self.0.held.fetch_add(bytes.capacity() as u64, Ordering::AcqRel) + bytes.capacity() as u64;
        self.0.peak.fetch_max(held, Ordering::Relaxed);
        Bytes::from_owner(Held { bytes, account: self.0.clone() })
    }

    /// Ready while less is held than the limit. One task at a time may wait.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let has_room = || self.held() < self.0.limit;
        if has_room() {
            return Poll::Ready(());
        }
        self.0.waiter.register(cx.waker());
        // Room made before the waker stood there woke nobody.
        if has_room() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl fmt::Debug for ByteBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteBudget").field("limit", &self.0.limit).field("held", &self.held()).finish()
    }
}

/// Bytes that are counted.
struct Held {
    bytes: Vec<u8>,
    account: Arc<Account>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // The memory goes first, so that it is never there beside what takes its room.
        let count = std::mem::take(&mut self.bytes).capacity() as u64;
        self.account.held.fetch_sub(count, Ordering::AcqRel);
        self.account.waiter.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn has_room(budget: &ByteBudget) -> bool {
        poll_fn(|cx| Poll::Ready(budget.poll_room(cx).is_ready())).await
    }

    #[tokio::test]
    async fn bytes_count_until_their_last_slice_is_gone() {
        let budget = ByteBudget::new(10);
        let body = budget.hold(vec![7; 12]);
        assert_eq!((budget.held(), has_room(&budget).await), (12, false));
        let (first, last) = (body.slice(..1), body.slice(11..));
        drop((body, first));
        assert_eq!((&last[..], budget.held(), has_room(&budget).await), (&[7][..], 12, false));
        drop(last);
        assert_eq!((budget.held(), budget.peak(), has_room(&budget).await), (0, 12, true));
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_another_thread() {
        let budget = ByteBudget::new(1);
        for _ in 0..200 {
            let held = budget.hold(vec![0; 1]);
            let waiting = budget.clone();
            let waiter = tokio::spawn(async move { poll_fn(|cx| waiting.poll_room(cx)).await });
            tokio::task::yield_now().await;
            let thread = std::thread::spawn(move || drop(held));
            waiter.await.unwrap();
            thread.join().unwrap();
        }
    }

    #[test]
    fn it_says_what_it_holds() {
        let budget = ByteBudget::new(8);
        let _held = budget.hold(Vec::with_capacity(3));
        assert_eq!(format!("{budget:?}"), "ByteBudget { limit: 8, held: 3 }");
    }
}
