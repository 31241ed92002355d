//! Whether facts and record of a READY agree, whatever became of its run.

use wsp::store::ObjectStore;

use super::governance::Family;
use super::record::RecordLine;
use super::told::{Fact, parts_of};
use crate::model::{PlatformRunId, Reason, Refusal};

/// What one side says and the other does not.
pub(super) fn mismatch(detail: impl Into<String>) -> Refusal {
    Refusal::new(Reason::EvidenceMismatch, detail)
}

/// Status and count of an end.
pub(super) type ToldEnd = (String, Option<u64>);

/// Whether a listed fact has its body and its marker.
///
/// # Errors
///
/// `EVIDENCE_MISSING`, `EVIDENCE_MISMATCH`, `STORE_UNAVAILABLE`.
pub(super) async fn whole(store: &dyn ObjectStore, home: &PlatformRunId, line: &Fact) -> Result<(), Refusal> {
    let Fact { event_id, event_family: family, .. } = line;
    match parts_of(store, home, event_id).await? {
        (None, _) => Err(Refusal::new(Reason::EvidenceMissing, format!("{family} {event_id} has no body"))),
        (Some(body), _) if body != *line => Err(mismatch(format!("{family} {event_id}: its line is not its body"))),
        (Some(_), false) => Err(Refusal::new(Reason::EvidenceMissing, format!("{family} {event_id} has no marker"))),
        (Some(_), true) => Ok(()),
    }
}

/// Status and count of each end among `facts`, in order; each has its line in the record, in the same order.
///
/// # Errors
///
/// `EVIDENCE_MISMATCH`.
pub(super) fn ends(facts: &[Fact], record: &[RecordLine]) -> Result<Vec<ToldEnd>, Refusal> {
    let mut lines = record.iter();
    let ended = facts.iter().filter(|fact| fact.event_family == Family::RunEnded.as_str());
    let ends = ended.map(|fact| {
        let (status, emitted) = (fact.text("status"), fact.details["emitted"].as_u64());
        // Verdicts of starts that were refused before they began have no fact.
        if lines.any(|line| line.status == status && line.emitted == emitted) {
            return Ok((status.to_owned(), emitted));
        }
        let (family, id) = (&fact.event_family, &fact.event_id);
        Err(mismatch(format!("{family} {id}: no line of the record says {status} with {emitted:?}")))
    });
    ends.collect()
}
