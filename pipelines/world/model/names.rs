//! Names for positions, for people: output and file instead of numbers.

use std::borrow::Cow;
use std::sync::Arc;

use super::event::Position;
use super::identity::OutputId;
use super::reason::Refusal;

/// The outputs of a run by rank, each with the full names of its files. Clones share them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names(Arc<[(OutputId, Vec<String>)]>);

impl Names {
    /// Outputs in rank order.
    pub fn new(outputs: impl IntoIterator<Item = (OutputId, Vec<String>)>) -> Self {
        Self(outputs.into_iter().collect())
    }

    /// The output of a position; a number where it has no name.
    #[must_use]
    pub fn output(&self, position: Position) -> Cow<'_, str> {
        match self.0.get(usize::from(position.rank)) {
            Some((output, _)) => output.as_str().into(),
            None => format!("output {}", position.rank).into(),
        }
    }

    /// `refusal` at the file and row of a position.
    #[must_use]
    pub fn at(&self, position: Position, refusal: Refusal) -> Refusal {
        let named = self.0.get(usize::from(position.rank));
        let file = named.and_then(|(_, files)| files.get(usize::try_from(position.file).ok()?));
        let unnamed = || format!("file {} of {}", position.file, self.output(position));
        refusal.file(file.cloned().unwrap_or_else(unnamed)).row(position.row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Reason;

    #[test]
    fn a_position_is_told_by_output_and_file() {
        let output: OutputId = "arrival_events_5B".parse().unwrap();
        let names =
            Names::new([(output, vec!["w/part-000000.parquet".to_owned(), "w/part-000001.parquet".to_owned()])]);
        let at = |rank, file| Position { rank, file, row: 7, seq: 0 };
        let text = |position| names.at(position, Refusal::new(Reason::IgPushRejected, "401")).to_string();
        assert_eq!(names.output(at(0, 1)), "arrival_events_5B");
        assert_eq!(text(at(0, 1)), "IG_PUSH_REJECTED in w/part-000001.parquet at row 7: 401");
        // What has no name is still told apart.
        assert_eq!(text(at(0, 2)), "IG_PUSH_REJECTED in file 2 of arrival_events_5B at row 7: 401");
        assert_eq!(text(at(3, 0)), "IG_PUSH_REJECTED in file 0 of output 3 at row 7: 401");
    }
}
