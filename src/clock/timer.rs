//! Waits on a clock's sleep for deadlines that move on, without a new sleep for each deadline.
//!
//! ```text
//! deadlines ──► one sleep, set again only when it fires too early ──► elapsed
//! ```

use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;

use super::Clock;

/// A deadline that moves on, as that of each attempt does, without touching the runtime's timers each time: the sleep
/// that is set stays set, and is set anew only if it fires before the deadline of the day.
pub struct Timer<C> {
    clock: C,
    sleep: Option<(Duration, BoxFuture<'static, ()>)>,
}

impl<C: Clock> Timer<C> {
    /// A timer on `clock`.
    pub fn new(clock: C) -> Self {
        Self { clock, sleep: None }
    }

    /// Resolves once `deadline` has passed.
    pub fn poll(&mut self, cx: &mut Context<'_>, deadline: Duration) -> Poll<()> {
        loop {
            let (at, sleep) = match &mut self.sleep {
                Some((at, sleep)) if *at <= deadline => (*at, sleep),
                slot => {
                    let sleep: BoxFuture<'static, ()> = Box::pin(self.clock.sleep_until(deadline));
                    (deadline, &mut slot.insert((deadline, sleep)).1)
                }
            };
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.sleep = None;
            if at >= deadline {
                return Poll::Ready(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::clock::SystemClock;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_moves_on_is_met_all_the_same() {
        let clock = SystemClock::new();
        let mut timer = Timer::new(clock);
        let second = Duration::from_secs(1);
        for deadline in [5, 6, 9, 9, 30] {
            // Looked at and left before it elapses, as an attempt that is answered does.
            poll_fn(|cx| Poll::Ready(timer.poll(cx, second * deadline))).await.is_ready();
        }
        poll_fn(|cx| timer.poll(cx, second * 31)).await;
        assert_eq!(clock.now(), second * 31);
        poll_fn(|cx| timer.poll(cx, second * 40)).await;
        assert_eq!(clock.now(), second * 40);
        poll_fn(|cx| timer.poll(cx, second * 50)).await;
        assert_eq!(clock.now(), second * 50);
    }
}
