//! The world generator: a sealed engine run root with its stream views, the same bytes for the same seed.
//!
//! ```text
//! WorldSpec ──► traffic (rows in time) ──► columns (batches) ──► view (Parquet) ──► documents (manifests, receipts, seal)
//!                                                                            run_files (facts, READY) ◄── WorldSummary
//! ```
//!
//! Memory does not grow with the number of events: it holds a slice of arrivals, the pending flow events and one row group
//! per view.

mod columns;
mod documents;
mod merchants;
mod rows;
pub mod run_files;
mod spec;
#[cfg(test)]
mod tests;
mod traffic;
mod values;
mod view;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use wsp_world::model::{Hex32, Hex64, Micros, ScenarioId, WorldKey};

use columns::{Table, Tables};
use documents::{Identity, ViewStats};
use merchants::Merchants;
use rows::{Arrival, FlowEvent, Row};
use traffic::Traffic;
use view::{Layout, Timed, View};

pub use documents::{CATALOGUE, ENGINE_RELEASE, GATE_MAP};
pub use spec::{WorldError, WorldSpec};

/// The rows that are turned into columns at once.
const BATCH: usize = 8_192;

/// One view of a world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputSummary {
    /// The output.
    pub output_id: &'static str,
    /// Its rows.
    pub rows: u64,
    /// Its first event time.
    pub first: Option<Micros>,
    /// Its last one.
    pub last: Option<Micros>,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorldSummary {
    /// The engine run root as its manifests spell it.
    pub engine_run_root: String,
    /// Which world it is.
    pub world_key: WorldKey,
    /// The engine's run.
    pub engine_run_id: Hex32,
    /// The pack's id.
    pub oracle_pack_id: Hex64,
    /// Its views: context, traffic, then the baseline ones.
    pub outputs: Vec<OutputSummary>,
}

impl WorldSummary {
    /// Events over the four outputs of a run.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.outputs.iter().filter(|output| !output.output_id.contains("baseline")).map(|output| output.rows).sum()
    }
}

/// Generates a world in `folder` (created if it is missing). `root` is the spelling of the folder in its manifests: what a
/// profile or READY will name, relative or not. The views' ids depend on it.
///
/// # Errors
///
/// If the spec is impossible, the folder holds a world already, or writing fails (then there is no seal).
pub fn generate(folder: &Path, root: &str, spec: &WorldSpec) -> Result<WorldSummary, WorldError> {
    let world = World::new(spec)?;
    if folder.join("run_receipt.json").exists() {
        return Err(WorldError::Exists(folder.to_owned()));
    }
    fs::create_dir_all(folder)?;
    documents::write_world(folder, &world.identity)?;
    let stats = write_views(folder, spec, &world)?;
    let root = root.trim_end_matches('/');
    let mut outputs = Vec::new();
    for (output_id, stats) in stats {
        documents::write_view(&view_folder(folder, output_id), root, output_id, &world.identity, &stats)?;
        outputs.push(OutputSummary { output_id, rows: stats.rows, first: stats.first, last: stats.last });
    }
    documents::write_seal(folder, &world.identity)?;
    let Identity { key, engine_run_id, pack_id, .. } = world.identity;
    Ok(WorldSummary {
        engine_run_root: root.to_owned(),
        world_key: key,
        engine_run_id,
        oracle_pack_id: pack_id,
        outputs,
    })
}

/// A spec that was checked, and what follows from it.
struct World {
    identity: Identity,
    start: Micros,
    span: i64,
    arrivals: u64,
    seed: i64,
}

impl World {
    fn new(spec: &WorldSpec) -> Result<Self, WorldError> {
        let bad = |problem: &str| WorldError::Spec(problem.to_owned());
        if spec.events < 4 {
            return Err(bad("it needs at least 4 events, one of each output"));
        }
        if !(spec.days > 0.0 && spec.days <= 3_660.0) {
            return Err(bad("days have to be more than 0 and at most 3660"));
        }
        if spec.parts == 0 || spec.row_group_rows == 0 {
            return Err(bad("it needs a part and a row in each row group"));
        }
        let seed = i64::try_from(spec.seed).map_err(|_| bad("the seed has to be below 2^63, its column is signed"))?;
        let start = Micros::parse(spec.start.as_bytes()).ok_or_else(|| bad("the start is no RFC 3339 time"))?;
        let span = ((spec.days * 86_400e6) as i64).max(1);
        Micros::checked(start.0 + span * 2).ok_or_else(|| bad("it ends after the year 9999"))?;
        let scenario: ScenarioId = spec.scenario_id.parse().map_err(WorldError::Identity)?;
        let identity = Identity::new(spec, start, scenario)?;
        Ok(Self { identity, start, span, arrivals: traffic::arrivals(spec.seed, spec.events), seed })
    }
}

/// Views of the same rows, written a batch at a time.
struct Views<R> {
    rows: Vec<R>,
    views: Vec<(&'static str, View<R>)>,
}

impl<R: Timed> Views<R> {
    fn new() -> Self {
        Self { rows: Vec::with_capacity(BATCH), views: Vec::new() }
    }

    fn add(&mut self, folder: &Path, id: &'static str, table: Table<R>, layout: Layout) -> io::Result<()> {
        let folder = view_folder(folder, id);
        fs::create_dir_all(&folder)?;
        self.views.push((id, View::new(&folder, table, layout)));
        Ok(())
    }

    fn push(&mut self, row: R) -> Result<(), WorldError> {
        self.rows.push(row);
        if self.rows.len() == BATCH { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), WorldError> {
        for (_, view) in &mut self.views {
            view.push(&self.rows)?;
        }
        self.rows.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<(&'static str, ViewStats)>, WorldError> {
        self.flush()?;
        self.views.into_iter().map(|(id, view)| Ok((id, view.finish()?))).collect()
    }
}

fn write_views(folder: &Path, spec: &WorldSpec, world: &World) -> Result<Vec<(&'static str, ViewStats)>, WorldError> {
    let tables = Tables::new(&world.identity.key, world.seed, &world.identity.universe, BATCH);
    let layout = |rows| Layout { rows, parts: u64::from(spec.parts), row_group_rows: spec.row_group_rows };
    let (per_arrival, per_event) = (layout(world.arrivals), layout(spec.events - 3 * world.arrivals));
    let mut arrivals: Views<Arrival> = Views::new();
    let mut events: Views<FlowEvent> = Views::new();
    arrivals.add(folder, "arrival_events_5B", tables.arrival_events(), per_arrival)?;
    arrivals.add(folder, "s1_arrival_entities_6B", tables.arrival_entities(), per_arrival)?;
    arrivals.add(folder, "s3_flow_anchor_with_fraud_6B", tables.flow_anchors(true), per_arrival)?;
    events.add(folder, "s3_event_stream_with_fraud_6B", tables.event_stream(true), per_event)?;
    if spec.baseline {
        arrivals.add(folder, "s2_flow_anchor_baseline_6B", tables.flow_anchors(false), per_arrival)?;
        events.add(folder, "s2_event_stream_baseline_6B", tables.event_stream(false), per_event)?;
    }
    let merchants = Merchants::new(spec.seed, world.arrivals, spec.evenness);
    for row in Traffic::new(spec.seed, spec.events, world.arrivals, merchants, world.start, world.span) {
        match row {
            Row::Arrival(arrival) => arrivals.push(arrival)?,
            Row::Event(event) => events.push(event)?,
        }
    }
    let mut stats = arrivals.finish()?;
    stats.extend(events.finish()?);
    Ok(stats)
}

fn view_folder(folder: &Path, output_id: &str) -> PathBuf {
    folder.join("stream_view/ts_utc").join(format!("output_id={output_id}"))
}
