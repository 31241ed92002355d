//! Worlds that were changed between two starts: other rows, or the same ones elsewhere, under the names of before.

use std::sync::Arc;

use wsp::store::MemoryStore;
use wsp_world::model::{Micros, OutputId, Refusal};
use wsp_world::oracle::View;

use super::plan::{Change, WorldPlan};
use super::world::{OUTPUTS, Row, WRITER, World, internal, write_view};

impl World {
    /// This world after `change`; `None` where it is too small for that.
    pub(super) fn changed(&self, plan: &WorldPlan, change: Change) -> Result<Option<Self>, Refusal> {
        let (mut outputs, mut span) = (self.outputs.clone(), self.span.clone());
        match change {
            Change::Added if outputs.len() < OUTPUTS.len() => {
                let name = OUTPUTS[OUTPUTS.len() - outputs.len() - 1];
                let row = Row { rank: 0, file: 0, index: 0, seq: 0, flaw: None, ..self.rows[0].clone() };
                let output: OutputId = name.parse().map_err(|error| internal(&error))?;
                let ts = Micros(row.ts);
                let view = written(plan, &output, 0, &[row], WRITER)?;
                outputs.insert(0, (output, view));
                span.insert(0, Some((ts, ts)));
            }
            Change::Removed if outputs.len() > 1 => {
                outputs.remove(0);
                span.remove(0);
            }
            Change::Reordered if outputs.len() > 1 => {
                outputs.swap(0, 1);
                span.swap(0, 1);
            }
            Change::Added | Change::Removed | Change::Reordered => return Ok(None),
            Change::Recut | Change::Rewritten | Change::OtherRows | Change::Grown => {
                let Some(rows) = rows_after(&self.rows, change) else { return Ok(None) };
                let writer = if change == Change::Rewritten { "another program" } else { WRITER };
                for (rank, (output, view)) in outputs.iter_mut().enumerate() {
                    *view = written(plan, output, rank, &rows, writer)?;
                }
            }
        }
        for (rank, (_, view)) in outputs.iter_mut().enumerate() {
            view.rank = rank as u16;
        }
        Ok(Some(Self { rows: self.rows.clone(), limit: self.limit, refusal: self.refusal, outputs, span }))
    }
}

fn written(plan: &WorldPlan, output: &OutputId, rank: usize, rows: &[Row], writer: &str) -> Result<View, Refusal> {
    let store = MemoryStore::new("sim://world");
    let mut view = write_view(&store, output, rank, rows, plan.row_group_rows, writer)?;
    view.store = Arc::new(store);
    Ok(view)
}

/// The rows of all outputs after `change`, in their order.
fn rows_after(rows: &[Row], change: Change) -> Option<Vec<Row>> {
    let mut after = rows.to_vec();
    match change {
        Change::OtherRows => after.iter_mut().for_each(|row| row.key += 1_000_000),
        Change::Grown => {
            let last = rows.iter().max_by_key(|row| (row.rank, row.file, row.index))?;
            after.push(Row { index: last.index + 1, seq: last.seq + 1, flaw: None, ..last.clone() });
        }
        Change::Recut => {
            let rank = (0..OUTPUTS.len()).find(|rank| rows.iter().filter(|row| row.rank == *rank).count() > 1)?;
            let is_cut = rows.iter().any(|row| row.rank == rank && row.file > 0);
            let mut of_rank: Vec<_> = after.iter_mut().filter(|row| row.rank == rank).collect();
            of_rank.sort_by_key(|row| (row.file, row.index));
            for (i, row) in of_rank.into_iter().enumerate() {
                // One part where there were several; else the first row has its own.
                (row.file, row.index) = if is_cut || i == 0 { (0, i as u64) } else { (1, i as u64 - 1) };
            }
        }
        Change::Rewritten | Change::Added | Change::Removed | Change::Reordered => {}
    }
    Some(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;
    use wsp_world::checkpoint::Views;
    use wsp_world::model::Reason;

    #[test]
    fn each_change_makes_another_world_and_one_of_them_in_its_rows_alone() {
        let mut seen = Vec::new();
        for seed in 0..20 {
            let plan = Plan::of(seed).unwrap();
            let world = World::make(&plan.world).unwrap();
            let views = |world: &World| Views(world.prepare(&plan.lines[0]).unwrap().output_files());
            let before = views(&world);
            assert_eq!(before.are(&before), Ok(()));
            for change in Change::ALL {
                let Some(changed) = world.changed(&plan.world, change).unwrap() else { continue };
                let refusal = before.are(&views(&changed)).err().map(|refusal| refusal.reason);
                let expected = (change != Change::OtherRows).then_some(Reason::CheckpointForeign);
                assert_eq!(refusal, expected, "seed {seed}: {change:?}");
                seen.push(change);
            }
        }
        assert!(Change::ALL.iter().all(|change| seen.contains(change)));
    }
}
