//! How a start takes over from the one before it the starts that it builds on.
//!
//! ```text
//! wsp_start.json, wsp_summary.json of the start before ──follows──► Start::earlier ──► wsp verify: is there a hole?
//! ```

use super::start::{EarlierOutput, EarlierStart, Start, StartOutput};
use super::summary::Summary;
use crate::model::{Hex64, OutputId};

impl Start {
    /// Notes the start before this one, which ended as `summary` says. It counts where it had the same checkpoint, and
    /// this one resumes anywhere but at its first rows.
    pub(super) fn follows(&mut self, before: Start, summary: Option<&Summary>) {
        let anew = self.outputs.iter().all(|output| output.resumed_at == 0);
        if anew || before.schema != self.schema || before.run.checkpoint_scope != self.run.checkpoint_scope {
            return;
        }
        self.earlier.clone_from(&before.earlier);
        let earlier = before.into_earlier(summary);
        let moved = |(then, now): (&EarlierOutput, &StartOutput)| {
            (then.start.resumed_at, &then.start.content) != (now.resumed_at, &now.content)
        };
        let same_outputs = earlier.outputs.len() == self.outputs.len();
        if same_outputs && !earlier.outputs.iter().zip(&self.outputs).any(moved) {
            // It moved no position, so nothing builds on it.
            return;
        }
        // Of starts that were cut off one behind the other the first says where the stretch begins; no more is known.
        if !self.earlier.last().is_some_and(|last| last.is_cut_off() && earlier.is_cut_off() && last.reads_as(&earlier))
        {
            self.earlier.push(earlier);
        }
    }

    fn into_earlier(self, summary: Option<&Summary>) -> EarlierStart {
        let own = summary.filter(|summary| summary.started == self.started && summary.run == self.run);
        let outputs = self.outputs.into_iter().enumerate().map(|(rank, start)| {
            let end = own.and_then(|summary| summary.outputs.get(rank));
            EarlierOutput {
                start,
                event_id_digest: end.map(|output| output.event_id_digest.clone()),
                event_id_digest_events: end.map(|output| output.event_id_digest_events),
                event_id_digest_from: end.and_then(|output| output.event_id_digest_from),
            }
        });
        EarlierStart { started: self.started, outputs: outputs.collect() }
    }
}

impl EarlierStart {
    fn is_cut_off(&self) -> bool {
        self.outputs.iter().all(|output| output.event_id_digest_events.is_none())
    }

    /// Whether both read the same content.
    fn reads_as(&self, other: &EarlierStart) -> bool {
        let contents = |start: &EarlierStart| -> Vec<(OutputId, Hex64)> {
            let content = |output: &EarlierOutput| (output.start.output_id.clone(), output.start.content.clone());
            start.outputs.iter().map(content).collect()
        };
        contents(self) == contents(other)
    }
}

#[cfg(test)]
mod tests {
    use super::super::start::testing;
    use super::*;
    use crate::evidence::{End, Status, Tally};
    use crate::model::Micros;
    use wsp::deliver::PushCounts;

    /// A start that resumed both outputs at these rows, at second `at`.
    fn start(at: i64, rows: [u64; 2]) -> Start {
        let mut start = testing::start();
        start.started = Micros(at);
        for (output, rows) in start.outputs.iter_mut().zip(rows) {
            output.resumed_at = rows;
        }
        start
    }

    fn summary(of: &Start) -> Summary {
        let tally = Tally::new(2).unwrap();
        Summary::new(
            of.clone(),
            &tally,
            PushCounts::default(),
            Status::Failed,
            End::Failed,
            None,
            Micros(of.started.0 + 1),
        )
    }

    fn listed(start: &Start) -> Vec<(i64, bool)> {
        start.earlier.iter().map(|earlier| (earlier.started.0, earlier.is_cut_off())).collect()
    }

    #[test]
    fn starts_that_moved_positions_are_taken_over_oldest_first() {
        let first = start(1, [0, 0]);
        let mut second = start(2, [5, 9]);
        second.follows(first.clone(), Some(&summary(&first)));
        let mut third = start(3, [5, 10]);
        third.follows(second.clone(), Some(&summary(&second)));
        assert_eq!(listed(&third), [(1, false), (2, false)]);
        // It came no further than where it began, so nothing builds on it.
        let mut fourth = start(4, [5, 10]);
        fourth.follows(third.clone(), Some(&summary(&third)));
        assert_eq!(listed(&fourth), [(1, false), (2, false)]);
    }

    #[test]
    fn a_summary_of_another_start_says_nothing_of_this_one() {
        let (older, first) = (start(0, [0, 0]), start(1, [0, 0]));
        let mut second = start(2, [5, 9]);
        second.follows(first, Some(&summary(&older)));
        assert_eq!(listed(&second), [(1, true)], "it was cut off");
    }

    #[test]
    fn starts_cut_off_one_behind_the_other_are_one_stretch() {
        let mut last = start(1, [0, 0]);
        for n in 2..100 {
            let mut next = start(n, [n.unsigned_abs(), 0]);
            next.follows(last, None);
            last = next;
        }
        assert_eq!(listed(&last), [(1, true)]);
        // One that read other content is told, whatever it was cut off by.
        last.outputs[0].content = Hex64::sha256("other");
        let mut next = start(100, [100, 0]);
        next.follows(last, None);
        assert_eq!(listed(&next), [(1, true), (99, true)]);
    }

    #[test]
    fn a_run_that_begins_anew_builds_on_nothing() {
        let first = start(1, [0, 0]);
        let mut anew = start(2, [0, 0]);
        anew.follows(first.clone(), Some(&summary(&first)));
        let mut elsewhere = start(2, [5, 9]);
        elsewhere.run.checkpoint_scope = Hex64::sha256("another scope");
        elsewhere.follows(first.clone(), None);
        let mut later = start(2, [5, 9]);
        later.follows(Start { schema: "wsp_start.v9".to_owned(), ..first }, None);
        assert_eq!([&anew, &elsewhere, &later].map(listed), [vec![], vec![], vec![]]);
    }
}
