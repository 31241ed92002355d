//! The acceptance matrix: each requirement on an environment, tried on the profile's own systems, one row each. It uses
//! public names alone.
//!
//! ```text
//! READY ─┬─ doctored, one thing each ──► service, its store an Aside, its gate a ShutGate ──► refused as expected
//!        └─ as it is, capped ──► service on the real systems: stopped, resumed, again, resent ──► verify
//! control topic · store · gate · checkpoint ──► each asked first: rows that need a broken one are red, untried
//!                                                   └────────► Report: the table, <prefix>/wsp/matrix.json
//! ```
//!
//! The rows are in `rows`; the other files fill them. C1 is READY and its identity, C2 the world, C3 delivery, C4 what a
//! run reports and waits for, C5 the evidence it leaves.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests wait for real servers"))]

mod aside;
mod delivery;
mod doctor;
mod evidence;
mod gates;
mod kept;
mod matrix;
mod operated;
mod parts;
mod places;
mod report;
mod rows;
#[cfg(test)]
mod tests;
mod trial;

use wsp::clock::Clock;
use wsp_world::model::Refusal;
use wsp_world::telemetry::Telemetry;

pub use matrix::{MAX_EVENTS, Matrix};
pub use report::{MATRIX_SCHEMA, Outcome, Report, Row};
pub use rows::{Need, ROWS, Spec};

impl<C: Clock + std::fmt::Debug> Matrix<C> {
    /// Fills every row and writes the report; returns where it was written.
    ///
    /// # Errors
    ///
    /// Where the report can be written nowhere. Every other fault is a row.
    pub async fn run(mut self) -> Result<(Report, String), Refusal> {
        // Whatever the machine's file of the active run says meanwhile.
        self.profile.platform_run_id = Some(self.run.clone());
        let mut report = Report::new(&self.profile, &self.run, self.max_events, self.clock.utc());
        let telemetry = Telemetry::new(&self.clock);
        parts::ask(&self, &mut report).await;
        let ready = self.ready();
        report.ready(ready.as_ref().map(|(ready, _)| ready));
        let world = match &ready {
            Some((ready, _)) => doctor::refused(&self, ready, &mut report).await,
            None => None,
        };
        let streamed = match (&ready, &world) {
            (Some((ready, source)), Some(world)) => {
                delivery::streamed(&self, (ready, source), world, &telemetry, &mut report).await
            }
            _ => None,
        };
        operated::told(&self, streamed.as_ref(), &telemetry, &mut report).await;
        evidence::verified(&self, streamed.as_ref(), &mut report).await;
        report.finish(self.clock.utc());
        let kept = kept::keep(&self, &report).await?;
        Ok((report, kept))
    }
}
