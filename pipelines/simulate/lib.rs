//! A deterministic simulation of the producer: the real stages on a clock, a gate, a checkpoint store and a scheduler of
//! its own, all ruled by one seed.
//!
//! ```text
//! seed ──► Plan ──► world · lines · faults · blows
//!                     │
//!   Hub: time, chance, trace        a line: run, lane or attempt, with processes one after the other (or two at once)
//!     ▲        ▲         ▲                          │
//!     │        │         │                          ▼
//!   ModelGate  Disk · Database ◄──── framed ─► delivered (pace … push, checkpoint) ─► settle
//!     │        │                                    │
//!     └────────┴──────────► Judge ◄─────────────────┘      every send, answer, load, save and end
//! ```
//!
//! What is simulated: latencies that reorder, refusals, cuts before and after admission, answers that come late or never,
//! outages, failing reads and saves, operations of the disk that fail, crashes at any step, stalls that outlast a lease, a
//! second producer beside the first one, a power loss under the real checkpoint files, starts over a world that was changed
//! since. What is not: threads, sockets and the service around the chain.
//! `replays/` has the cases of the second producer, `wsp replay`.
//! [`Promise`] lists what is checked. `docs/simulation.md` tells how to use it and what it has caught.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests wait for real servers"))]

mod books;
mod changed;
mod clock;
mod database;
mod disk;
mod gate;
mod hub;
mod judge;
mod line;
mod output;
mod plan;
mod process;
mod replays;
mod road;
mod simulation;
#[cfg(test)]
mod tests;
mod totals;
mod world;

pub use judge::{Promise, Violation};
pub use replays::simulate_replay;
pub use simulation::{Outcome, simulate, twice};
pub use totals::Totals;
