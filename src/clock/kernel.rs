//! A timer of the kernel (`timerfd`), awaited like a socket.
//!
//! ```text
//! deadline ──settime──► timerfd ──readable──► the runtime's epoll ──► waiter
//! ```
//!
//! The runtime's own timers tick in milliseconds; this one is late by the thread's wake-up, some 50 µs.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The least time between two wake-ups. What falls due in between waits for the later one: above 10,000 instants a
/// second they go in pairs and more, and the thread is woken no oftener.
const APART: Duration = Duration::from_micros(100);

/// Looks at both clocks, of which the closest pair counts.
const LOOKS: usize = 5;

/// One `timerfd`, set anew for each deadline.
pub(super) struct KernelTimer {
    fd: AsyncFd<OwnedFd>,
    /// The kernel's time when the clock showed zero, never before it.
    zero: Duration,
    /// The deadline that it is set for.
    set: Option<Duration>,
    /// When a deadline was met by waiting for the last time.
    met: Option<Duration>,
}

impl KernelTimer {
    /// A timer for instants of the clock that `now` asks, which has to run as the kernel's monotonic one does.
    pub(super) fn new(now: impl Fn() -> Duration) -> io::Result<Self> {
        let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "unsound for what changes its descriptor, which an OwnedFd can't; the other one is unsafe"
        )]
        let fd = AsyncFd::with_interest(fd, Interest::READABLE)?;
        Ok(Self { fd, zero: zero(now), set: None, met: None })
    }

    /// Resolves once `now` has reached `deadline`, or if the kernel refuses.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        deadline: Duration,
        now: impl Fn() -> Duration,
    ) -> Poll<io::Result<()>> {
        loop {
            let seen = now();
            if seen >= deadline {
                if self.set.take().is_some() {
                    self.met = Some(seen);
                }
                return Poll::Ready(Ok(()));
            }
            if self.set != Some(deadline) {
                // Nobody reads how often it fired: setting it takes that back, and epoll reports each new time.
                if let Poll::Ready(fired) = self.fd.poll_read_ready(cx) {
                    fired?.clear_ready();
                }
                let wake = self.met.map_or(deadline, |met| deadline.max(met.saturating_add(APART)));
                self.set(wake)?;
                self.set = Some(deadline);
            }
            ready!(self.fd.poll_read_ready(cx))?.clear_ready();
            if now() < deadline {
                // The runtime was still telling of an earlier deadline. What is set may have been told of with it.
                self.set = None;
            }
        }
    }

    fn set(&self, wake: Duration) -> io::Result<()> {
        let at = self.zero.saturating_add(wake);
        // Beyond what a time can be is as good as never.
        let at = Timespec::try_from(at).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 });
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: at };
        timerfd_settime(&self.fd, TimerfdTimerFlags::ABSTIME, &once)?;
        Ok(())
    }
}

/// The kernel's time at the clock's zero: later by less than asking both takes at best, never earlier.
fn zero(now: impl Fn() -> Duration) -> Duration {
    let look = |_| {
        let before = now();
        let kernel = Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default();
        (now().saturating_sub(before), kernel.saturating_sub(before))
    };
    (0..LOOKS).map(look).min().map_or(Duration::ZERO, |(_, zero)| zero)
}
