//! The last touch before an event is sent: times that move with the schedule, and packing.
//!
//! ```text
//! Event, due ──shift──► its times as if now ──compress──► Event
//! ```
//!
//! It is behind the pace, since only then is it known when an event is due. Each event is finished once: all attempts send the
//! same bytes.

use std::sync::Arc;

use wsp::byte_budget::ByteBudget;
use wsp::clock::Clock;

use super::error::Error;
use super::event::Event;
use super::input::Input;
use super::pack::{Packer, Packing};
use super::shift::Shift;

/// Finishes events.
pub(super) struct Finisher<C> {
    clock: C,
    inputs: Arc<Vec<Arc<Input>>>,
    /// What bodies in memory are counted in.
    bodies: ByteBudget,
    shift: Option<Shift>,
    packer: Option<(Packing, Packer)>,
}

impl<C: Clock> Finisher<C> {
    pub(super) fn new(
        clock: C,
        inputs: Arc<Vec<Arc<Input>>>,
        bodies: ByteBudget,
        shift: Option<Shift>,
        packing: Option<Packing>,
    ) -> Result<Self, Error> {
        let packer = packing.map(|packing| Packer::new(packing).map(|packer| (packing, packer))).transpose();
        let packer = packer.map_err(|error| Error::Internal(format!("--compress: {error}")))?;
        Ok(Self { clock, inputs, bodies, shift, packer })
    }

    pub(super) fn finish(&mut self, mut event: Event) -> Result<Event, Error> {
        let position = event.position;
        let refused = |column: Option<&str>, what: String| position.refused(&self.inputs, column, what);
        if let Some(shift) = &self.shift {
            let now = event.due.map_or_else(|| self.clock.utc(), |due| self.clock.utc_at(due));
            // A later round has the times of the first one in its bodies.
            let by = now.0 - position.recorded(event.ts, &self.inputs).0;
            let moved = shift.moved(&event.body, by, &self.bodies);
            event.body = moved.map_err(|(column, what)| {
                refused(Some(column.as_str()).filter(|column| !column.is_empty()), format!("--shift: {what}"))
            })?;
        }
        if let Some((packing, packer)) = &mut self.packer {
            let packed = packer.packed(&event.body).map_err(|error| refused(None, format!("--compress: {error}")))?;
            event.body = self.bodies.hold(packed);
            event.packing = Some(*packing);
        }
        Ok(event)
    }
}
