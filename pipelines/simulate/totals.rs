//! How much was simulated.

use std::fmt;
use std::ops::AddAssign;

macro_rules! totals {
    ($($(#[doc = $doc:literal])+ $field:ident $(= $word:literal)?,)+) => {
        /// How much was simulated, over any number of seeds.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Totals {
            $($(#[doc = $doc])+ pub $field: u64,)+
        }

        impl AddAssign for Totals {
            fn add_assign(&mut self, other: Self) {
                $(self.$field += other.$field;)+
            }
        }

        impl fmt::Display for Totals {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(writeln!(f, "{:<20} {:>14}", stringify!($field).replace('_', " "), self.$field)?;)+
                Ok(())
            }
        }
    };
}

totals! {
    /// Cases.
    seeds,
    /// Things done that the outside can see.
    steps,
    /// Simulated seconds.
    seconds,
    /// Processes started.
    processes,
    /// Events of all worlds, for each line that streams them.
    events,
    /// Attempts to push.
    attempts,
    /// Attempts beyond an event's first in its process.
    retries,
    /// Events that another process had sent before.
    repeats,
    /// Events that were answered beyond the saved positions and not sent again.
    answered_earlier,
    /// Attempts that were decided.
    decisions,
    /// Saves of positions.
    saves,
    /// Saves with answered rows beyond them.
    saved_beyond,
    /// Processes that crashed.
    crashes,
    /// Times that the power was lost, and every process with it.
    power_losses,
    /// Processes that were stalled.
    stalls,
    /// Processes that were asked to stop.
    stops,
    /// Processes started beside a stalled one.
    rivals,
    /// Processes that found the checkpoint held.
    busy,
    /// Processes that lost the checkpoint to another.
    leases_lost,
    /// Processes started over another world than the one that the saved positions were taken in.
    changed,
    /// Those of them that were refused for it; the others did not get as far.
    foreign,
    /// Attempts without a connection.
    unreachable,
    /// Attempts cut before the gate had the event.
    cut_before,
    /// Attempts cut after the event was admitted.
    cut_after,
    /// Attempts without an answer in time.
    unanswered,
    /// Events that came to the gate when their attempt was over.
    late_arrivals,
    /// Answers 429.
    throttled,
    /// Answers 5xx, 408, and 400s that ask for a retry.
    failing,
    /// Answers that were none.
    garbage,
    /// Answers QUARANTINE.
    quarantined,
    /// Saves and other requests of the checkpoint that failed.
    store_faults,
    /// Saves that a crash or a power loss cut short and undid.
    positions_lost,
    /// Lines that streamed to their end.
    streamed,
    /// Lines that ended with a refusal, as they should.
    refused,
}
