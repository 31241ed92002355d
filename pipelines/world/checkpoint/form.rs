//! What the platform's checkpoints keep, for the stores of `wsp::checkpoint`; and what their faults are called here.

use wsp::checkpoint::{CheckpointError, CheckpointFault, Form, InMemory};

use super::{Cursor, Kept, Views};
use crate::model::{Hex64, OutputId, Reason, Refusal};

/// Cursors of a run: per output a file and a row, and the rows that are answered beyond (contract, section 7).
#[derive(Debug)]
pub enum RowCursors {}

impl Form for RowCursors {
    /// Of a [`ScopeKey`](super::ScopeKey).
    type Key = Hex64;
    type Source = OutputId;
    type Kept = Kept;
    type Content = Views;
    type Error = Refusal;
}

impl InMemory for RowCursors {
    fn of(kept: &Kept, outputs: &[OutputId]) -> Kept {
        let cursors = outputs.iter().filter_map(|output| kept.cursor(output));
        Kept { cursors: cursors.cloned().collect(), beyond: kept.beyond.clone() }
    }

    fn put(kept: &mut Kept, saved: &Kept) -> bool {
        let goes_back = |new: &Cursor| kept.cursor(&new.output_id).is_some_and(|known| known.is_passed_by(new));
        if saved.cursors.iter().any(goes_back) {
            return false;
        }
        kept.cursors.retain(|known| saved.cursor(&known.output_id).is_none());
        kept.cursors.extend(saved.cursors.iter().cloned());
        kept.beyond.clone_from(&saved.beyond);
        true
    }

    fn forget(kept: &mut Kept, outputs: &[OutputId]) {
        kept.cursors.retain(|cursor| !outputs.contains(&cursor.output_id));
        kept.beyond.clear();
    }
}

impl Kept {
    fn cursor(&self, output: &OutputId) -> Option<&Cursor> {
        self.cursors.iter().find(|cursor| cursor.output_id == *output)
    }
}

impl From<CheckpointError> for Refusal {
    fn from(error: CheckpointError) -> Self {
        let reason = match error.fault {
            CheckpointFault::Busy => Reason::CheckpointScopeBusy,
            CheckpointFault::Lost => Reason::CheckpointLeaseLost,
            CheckpointFault::Unreadable => Reason::CheckpointUnreadable,
            CheckpointFault::Foreign => Reason::CheckpointForeign,
            CheckpointFault::Unavailable => Reason::CheckpointUnavailable,
            CheckpointFault::NotSaved => Reason::CheckpointSaveFailed,
            CheckpointFault::Internal => Reason::InternalError,
        };
        let mut refusal = Self::new(reason, error.detail);
        if let Some(file) = error.file {
            refusal = refusal.file(file);
        }
        if let Some(field) = error.field {
            refusal = refusal.field(field);
        }
        refusal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_keeps_its_place() {
        let error = CheckpointError::new(CheckpointFault::Foreign, "another's").file("f").field("pack_key");
        let refusal = Refusal::from(error);
        assert_eq!(refusal, Refusal::new(Reason::CheckpointForeign, "another's").file("f").field("pack_key"));
    }
}
