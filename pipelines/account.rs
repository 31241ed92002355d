//! What a run's answers come to, whoever streams it: the service, or a simulation.
//!
//! ```text
//! answers ──► tally · place reached ──► all that was due? ──► Account
//! ```

use std::pin::pin;

use futures::{Stream, StreamExt};

use super::prepare::Prepared;
use super::progress::Progress;
use crate::clock::Clock;
use crate::evidence::Tally;
use crate::model::{Delivered, Reason, Refusal};
use crate::oracle::Resume;
use crate::telemetry::Counter;

/// What a run's answers came to.
#[derive(Debug)]
pub struct Account {
    /// The answers, counted.
    pub tally: Tally,
    /// Why the run did not end well, unless it did.
    pub refusal: Option<Refusal>,
    /// The place behind the last answered row, an output each: with holes before it, unless the run ended well.
    pub reached: Vec<Resume>,
}

/// Takes all answers of `run`, which goes on at `from` and is due to bring `due` events; `framed` has counted those
/// that were made. An end without a refusal is one only if each of them was answered.
///
/// # Errors
///
/// As [`Tally::new`].
pub async fn settle<C: Clock>(
    answers: impl Stream<Item = Result<Delivered, Refusal>>,
    run: &Prepared,
    from: &[Resume],
    due: u64,
    framed: &Counter,
    clock: &C,
) -> Result<Account, Refusal> {
    let mut tally = Tally::new(run.outputs.len())?;
    let mut refusal = None;
    let mut progress = Progress::new(clock, from);
    let began = clock.now();
    {
        // It holds the checkpoint, so it goes before anything else is done.
        let mut answers = pin!(answers);
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(delivered) => {
                    tally.count(&delivered, clock.now().saturating_sub(began));
                    progress.note(clock, delivered.position, due);
                }
                Err(error) => refusal = Some(error),
            }
        }
    }
    let settled = tally.totals().settled();
    // Of the whole run it is known beforehand how many there are; of a lane, now that all rows were looked at.
    let due = if run.lane.is_whole() { due } else { framed.get() };
    if refusal.is_none() && (settled != due || settled != framed.get()) {
        let detail = format!("{due} events were due, {} were framed, {settled} were answered", framed.get());
        refusal = Some(Refusal::new(Reason::InternalError, detail));
    }
    Ok(Account { tally, refusal, reached: progress.reached().to_vec() })
}
