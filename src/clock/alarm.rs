//! Waits for one instant after another.
//!
//! ```text
//! deadline ──► Alarm ─┬─ the kernel's timer, if the clock is a fine one        some 0.05 ms late
//!                     └─ the clock's sleep                                     up to a millisecond late with tokio's
//! ```

#[cfg(target_os = "linux")]
use std::task::ready;
use std::task::{Context, Poll};
use std::time::Duration;

#[cfg(target_os = "linux")]
use super::kernel::KernelTimer;
use super::{Clock, Timer};

/// A timer that is set anew for every instant that its owner waits for ([`Clock::alarm`]). It is never early.
///
/// It holds nothing until it is first waited for. That has to happen in a tokio runtime, if the clock's sleeps need one, and in one with I/O
/// and time if the clock is a fine one. Dropping it, or asking for another instant, gives up the one before.
pub struct Alarm<C> {
    clock: C,
    waits: Waits<C>,
}

enum Waits<C> {
    /// By the clock's own sleeps.
    Sleeping(Timer<C>),
    /// By a timer of the kernel, once it is wanted.
    #[cfg(target_os = "linux")]
    Unset,
    #[cfg(target_os = "linux")]
    Kernel(KernelTimer),
}

impl<C: Clock> Alarm<C> {
    /// One that waits by [`Clock::sleep_until`].
    #[must_use]
    pub fn sleeping(clock: C) -> Self {
        Self { waits: Waits::Sleeping(Timer::new(clock.clone())), clock }
    }

    /// One that waits by a timer of the kernel, as far as there is one. `clock` has to be the machine's.
    pub(super) fn fine(clock: C) -> Self {
        #[cfg(target_os = "linux")]
        let alarm = Self { clock, waits: Waits::Unset };
        #[cfg(not(target_os = "linux"))]
        let alarm = Self::sleeping(clock);
        alarm
    }

    /// Resolves once [`Clock::now`] has reached `deadline`.
    pub fn poll(&mut self, cx: &mut Context<'_>, deadline: Duration) -> Poll<()> {
        loop {
            match &mut self.waits {
                Waits::Sleeping(timer) => return timer.poll(cx, deadline),
                #[cfg(target_os = "linux")]
                Waits::Unset => {
                    let timer = KernelTimer::new(|| self.clock.now());
                    self.waits = timer.map_or_else(|error| coarse(&self.clock, &error), Waits::Kernel);
                }
                #[cfg(target_os = "linux")]
                Waits::Kernel(timer) => match ready!(timer.poll(cx, deadline, || self.clock.now())) {
                    Ok(()) => return Poll::Ready(()),
                    Err(error) => self.waits = coarse(&self.clock, &error),
                },
            }
        }
    }
}

/// What is left where the kernel's timer can't be had: said once, however many wait.
#[cfg(target_os = "linux")]
fn coarse<C: Clock>(clock: &C, error: &std::io::Error) -> Waits<C> {
    static SAID: std::sync::Once = std::sync::Once::new();
    SAID.call_once(|| tracing::warn!(%error, "no timer of the kernel; events may be sent a millisecond late"));
    Waits::Sleeping(Timer::new(clock.clone()))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures::poll;

    use super::*;
    use crate::clock::SystemClock;

    const MS: Duration = Duration::from_millis(1);

    /// Waits for instants in turns, some of them given up for another one, and sees that none comes too soon.
    async fn never_early(clock: SystemClock, mut alarm: Alarm<SystemClock>) {
        let mut last = Duration::ZERO;
        for n in 0_u32..300 {
            // Fractions of a millisecond, zero among them, and now and then some of them.
            let step = Duration::from_nanos(u64::from(n * 7919 % 400_000)) * if n % 50 == 0 { 20 } else { 1 };
            let deadline = clock.now() + step;
            if n % 3 == 0 {
                // Sooner or later than the one that is meant: given up while it is waited for, or while it comes.
                let other = (deadline + MS * (n % 2)).saturating_sub(step / 2);
                let _ = poll!(poll_fn(|cx| alarm.poll(cx, other)));
                if n % 9 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            poll_fn(|cx| alarm.poll(cx, deadline)).await;
            assert!(clock.now() >= deadline && deadline >= last, "{:?} for {deadline:?}", clock.now());
            last = deadline;
        }
    }

    #[tokio::test]
    async fn a_fine_alarm_is_never_early() {
        let clock = SystemClock::new().fine();
        never_early(clock, clock.alarm()).await;
    }

    #[tokio::test]
    async fn nor_beside_other_tasks_that_wait() {
        let clock = SystemClock::new().fine();
        let waiting = (0..4).map(|_| tokio::spawn(never_early(clock, clock.alarm())));
        for ended in futures::future::join_all(waiting).await {
            ended.unwrap();
        }
    }

    #[tokio::test]
    async fn nor_one_that_sleeps() {
        let clock = SystemClock::new();
        never_early(clock, clock.alarm()).await;
    }

    #[tokio::test]
    async fn what_has_passed_is_not_waited_for_and_what_never_comes_is() {
        let clock = SystemClock::new().fine();
        let mut alarm = clock.alarm();
        assert!(poll!(poll_fn(|cx| alarm.poll(cx, Duration::ZERO))).is_ready());
        for far in [Duration::from_hours(24 * 365 * 1000), Duration::MAX] {
            assert!(poll!(poll_fn(|cx| alarm.poll(cx, far))).is_pending());
        }
        // The one that was far away doesn't stand in the way of one that is near.
        let near = clock.now() + MS;
        poll_fn(|cx| alarm.poll(cx, near)).await;
        assert!(clock.now() >= near);
    }

    #[tokio::test]
    async fn two_alarms_come_in_the_order_of_their_instants() {
        let clock = SystemClock::new().fine();
        let (mut sooner, mut later) = (clock.alarm(), clock.alarm());
        let (one, two) = (clock.now() + 2 * MS, clock.now() + 200 * MS);
        tokio::select! {
            biased;
            () = poll_fn(|cx| later.poll(cx, two)) => assert!(clock.now() >= two, "the later one came first"),
            () = poll_fn(|cx| sooner.poll(cx, one)) => assert!(clock.now() >= one),
        }
        poll_fn(|cx| later.poll(cx, two)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_without_its_own_sleeps() {
        let clock = SystemClock::new();
        let mut alarm = clock.alarm();
        for wanted in [5, 5, 7, 3_600_000] {
            // Given up for the next one.
            let _ = poll!(poll_fn(|cx| alarm.poll(cx, MS * (wanted + 1))));
            poll_fn(|cx| alarm.poll(cx, MS * wanted)).await;
            assert_eq!(clock.now(), MS * wanted);
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test(start_paused = true)]
    async fn without_a_timer_of_the_kernel_it_sleeps() {
        let clock = SystemClock::new().fine();
        let mut alarm = Alarm { clock, waits: coarse(&clock, &std::io::Error::other("no more descriptors")) };
        poll_fn(|cx| alarm.poll(cx, MS * 7)).await;
        assert_eq!(clock.now(), MS * 7);
    }
}
