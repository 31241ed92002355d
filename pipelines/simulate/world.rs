//! A small random world in memory: rows, their canonical order by a plain sort, and the run prepared from them.
//!
//! ```text
//! WorldPlan ──► rows ──sort──► canonical order
//!                 └──Parquet──► MemoryStore ──footers──► Prepared ──(slow, failing reads)──► a process's Prepared
//! ```

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, UInt64Array};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use wsp::byte_budget::ByteBudget;
use wsp::random::Random;
use wsp::store::{Key, MemoryStore, ObjectStore, StoreError, Version};
use wsp::telemetry::Counter;
use wsp_world::envelope::RunPins;
use wsp_world::model::{Event, Hex64, Micros, OutputId, Reason, Refusal, WorldKey};
use wsp_world::oracle::{Resume, View, ViewFile, ViewFiles};
use wsp_world::prepare::{Prepared, PreparedOutput};
use wsp_world::producer::{self, ReadCounts};
use wsp_world::profile::order_key_column;
use wsp_world::run::identity::RunIdentity;

use super::hub::{Hub, ProcessId};
use super::judge::{Promise, Violation, broken};
use super::plan::{Flaw, LinePlan, Plan, WorldPlan};

/// The outputs of a run, by rank; a world with fewer has the last ones.
pub(super) const OUTPUTS: [&str; 4] =
    ["arrival_events_5B", "s1_arrival_entities_6B", "s3_flow_anchor_with_fraud_6B", "s3_event_stream_with_fraud_6B"];

/// Event time of the first row.
const START: i64 = 1_767_225_600_000_000;

/// A row as the simulation knows it, without asking the producer's code.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) rank: usize,
    pub(super) file: usize,
    /// In its file.
    pub(super) index: u64,
    pub(super) ts: i64,
    pub(super) key: u64,
    /// In its output.
    pub(super) seq: i64,
    pub(super) flaw: Option<Flaw>,
}

/// A world.
#[derive(Debug)]
pub(super) struct World {
    /// All rows in canonical order, by which they are numbered.
    pub(super) rows: Vec<Row>,
    /// Events from this number on must not be sent.
    pub(super) limit: usize,
    /// What a run that comes that far is refused for.
    pub(super) refusal: Option<Reason>,
    pub(super) outputs: Vec<(OutputId, View)>,
    pub(super) span: Vec<Option<(Micros, Micros)>>,
}

/// Who wrote the parts of the world.
pub(super) const WRITER: &str = "sim";

impl World {
    pub(super) fn make(plan: &WorldPlan) -> Result<Self, Refusal> {
        let mut rows = draw_rows(plan);
        rows.sort_by_key(|row| (row.ts, row.rank, row.file, row.index));
        let (limit, refusal) = flaw(plan, &mut rows);
        let store = MemoryStore::new("sim://world");
        let first = OUTPUTS.len() - plan.rows.len();
        let mut outputs = Vec::new();
        for (rank, name) in OUTPUTS[first..].iter().enumerate() {
            let output: OutputId = name.parse().map_err(|error| internal(&error))?;
            let view = write_view(&store, &output, rank, &rows, plan.row_group_rows, WRITER)?;
            outputs.push((output, view));
        }
        let span = |rank| {
            let mut times = rows.iter().filter(|row| row.rank == rank).map(|row| Micros(row.ts));
            let first = times.next()?;
            Some((first, times.next_back().unwrap_or(first)))
        };
        let span = (0..outputs.len()).map(span).collect();
        Ok(Self { rows, limit, refusal, outputs, span })
    }

    /// The run that `line` is.
    pub(super) fn prepare(&self, line: &LinePlan) -> Result<Prepared, Refusal> {
        let world = WorldKey {
            manifest_fingerprint: Hex64::sha256("manifest"),
            parameter_hash: Hex64::sha256("parameters"),
            scenario_id: "baseline_v1".parse().map_err(|error| internal(&error))?,
            seed: 42,
        };
        let platform_run_id =
            format!("platform_20260301T00000{}Z", line.run).parse().map_err(|error| internal(&error))?;
        let hex32 = |digit: &str| digit.repeat(32).parse().map_err(|error| internal(&error));
        let identity = RunIdentity::of_world(platform_run_id, hex32("5")?, world);
        let pack_key = Hex64::sha256("pack");
        let pins = RunPins {
            world: identity.world.clone(),
            run_id: hex32("7")?,
            platform_run_id: identity.platform_run_id.clone(),
            scenario_run_id: identity.scenario_run_id.clone(),
            producer: "svc:world_stream_producer".to_owned(),
            trace_id: pack_key.to_string(),
            span_id: None,
        };
        let outputs = self.outputs.iter().zip(&self.span).map(|((id, view), span)| {
            let order_key = order_key_column(id.as_str());
            let primary_key = order_key.into_iter().chain(["seq"]).map(str::to_owned).collect();
            PreparedOutput { view: view.clone(), span: *span, primary_key, order_key }
        });
        let outputs = outputs.collect();
        let engine_root = "sim://world".to_owned();
        let view_root = engine_root.clone();
        Ok(Prepared { identity, engine_root, view_root, pins, pack_key, unsealed: None, outputs, lane: line.lane })
    }

    /// The events of `run` that may be sent, all lanes', by number: what the producer's own reading, merging and framing
    /// make of the world when nothing goes wrong.
    ///
    /// # Errors
    ///
    /// Where that is not the world in its canonical order, up to its flaw and no further.
    pub(super) fn events(&self, run: &Prepared, plan: &Plan) -> Result<Vec<Event>, Violation> {
        let whole = Prepared { lane: wsp_world::model::Lane::WHOLE, ..run.clone() };
        let from = vec![Resume::default(); whole.outputs.len()];
        let mut events: Vec<Event> = Vec::new();
        // All of them are kept, which no run does.
        let bodies = ByteBudget::unlimited();
        let reading = producer::events(&whole, &from, &plan.settings, &ReadCounts::default(), Counter::new(), &bodies);
        let reading = reading.try_for_each(|chunk| {
            events.extend(chunk);
            std::future::ready(Ok(()))
        });
        let refusal = futures::executor::block_on(reading).err().map(|refusal| refusal.reason);
        if refusal != self.refusal {
            let what = format!("reading the world ended with {refusal:?}, not with {:?}", self.refusal);
            return Err(broken(Promise::FailClosed, what));
        }
        if events.len() != self.limit {
            return Err(broken(Promise::NoLoss, format!("{} events are framed, not {}", events.len(), self.limit)));
        }
        for (n, (event, row)) in events.iter().zip(&self.rows).enumerate() {
            let place = event.position;
            let same = (usize::from(place.rank), place.file as usize, place.row) == (row.rank, row.file, row.index);
            let numbered = format!("\"n\":{n},");
            if !same || !String::from_utf8_lossy(&event.body).contains(&numbered) {
                let what = format!("event {n} is {place:?}, the canonical order has {row:?} there");
                return Err(broken(Promise::Order, what));
            }
        }
        Ok(events)
    }
}

fn draw_rows(plan: &WorldPlan) -> Vec<Row> {
    let mut random = Random::of(&[plan.seed]);
    let r = &mut random;
    let mut rows = Vec::new();
    for (rank, count) in plan.rows.iter().enumerate() {
        let parts = 1 + r.below(plan.parts);
        let (mut ts, mut file, mut row) = (START + r.below(plan.gap).cast_signed(), 0, 0);
        for seq in 0..*count {
            if seq > 0 && !r.chance(plan.ties, 10) {
                ts += r.below(plan.gap).cast_signed();
            }
            // A part ends anywhere, but there is none without rows.
            if row > 0 && file + 1 < parts && r.chance(parts, *count as u64) {
                (file, row) = (file + 1, 0);
            }
            let key = r.below(plan.keys);
            rows.push(Row {
                rank,
                file: file as usize,
                index: row,
                ts,
                key,
                seq: seq.cast_signed() as i64,
                flaw: None,
            });
            row += 1;
        }
    }
    rows
}

/// Puts the flaw in; says which events may be sent, and what the others are refused for.
fn flaw(plan: &WorldPlan, rows: &mut [Row]) -> (usize, Option<Reason>) {
    let Some((kind, share)) = plan.flaw else { return (rows.len(), None) };
    let n = rows.len() * share as usize / 1_000;
    let (rank, seq) = (rows[n].rank, rows[n].seq);
    let before = rows.iter().position(|row| row.rank == rank && row.seq + 1 == seq);
    match (kind, before) {
        (Flaw::Disorder, Some(before)) => {
            // What stands between the two might belong behind the row that is missing, so it is not sent either.
            rows[n].ts = rows[before].ts - 1;
            rows[n].flaw = Some(kind);
            (before + 1, Some(Reason::StreamViewOrderViolation))
        }
        (Flaw::NoKey, _) => {
            rows[n].flaw = Some(kind);
            (n, Some(Reason::PrimaryKeyMissing))
        }
        _ => {
            rows[n].flaw = Some(Flaw::NotANumber);
            (n, Some(Reason::ValueNotEncodable))
        }
    }
}

/// Writes the rows of `rank`, numbered as they stand in `rows`.
pub(super) fn write_view(
    store: &MemoryStore,
    output: &OutputId,
    rank: usize,
    rows: &[Row],
    row_group_rows: usize,
    writer: &str,
) -> Result<View, Refusal> {
    let numbered: Vec<(usize, &Row)> = rows.iter().enumerate().filter(|(_, row)| row.rank == rank).collect();
    let parts = numbered.iter().map(|(_, row)| row.file + 1).max().unwrap_or(0);
    let mut files = Vec::new();
    for part in 0..parts {
        let mut rows: Vec<_> = numbered.iter().filter(|(_, row)| row.file == part).copied().collect();
        rows.sort_by_key(|(_, row)| row.index);
        let key: Key =
            format!("output_id={output}/part-{part:06}.parquet").parse().map_err(|error| internal(&error))?;
        let body = parquet(output, &rows, row_group_rows, writer).map_err(|error| internal(&error))?;
        futures::executor::block_on(store.put(&key, body)).map_err(|error| internal(&error))?;
        let meta = futures::executor::block_on(store.head(&key)).map_err(|error| internal(&error))?;
        let meta = meta.ok_or_else(|| internal(&"a part that was just written is gone"))?;
        files.push(ViewFile { key, meta });
    }
    let view = ViewFiles {
        rank: rank as u16,
        output_id: output.clone(),
        store: Arc::new(store.clone()),
        files,
        expected_rows: numbered.len() as u64,
    };
    futures::executor::block_on(view.inspect())
}

fn parquet(
    output: &OutputId,
    rows: &[(usize, &Row)],
    row_group_rows: usize,
    writer: &str,
) -> Result<Bytes, Box<dyn std::error::Error>> {
    let times = rows.iter().map(|(_, row)| Micros(row.ts).to_string());
    let x = |(n, row): &(usize, &Row)| if row.flaw == Some(Flaw::NotANumber) { f64::NAN } else { *n as f64 / 8.0 };
    let seq = rows.iter().map(|(_, row)| (row.flaw != Some(Flaw::NoKey)).then_some(row.seq));
    let key_column = order_key_column(output.as_str()).unwrap_or("flow_id");
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("ts_utc", Arc::new(times.map(Some).collect::<StringArray>()), false),
        (key_column, Arc::new(rows.iter().map(|(_, row)| row.key).collect::<UInt64Array>()), false),
        ("seq", Arc::new(seq.collect::<Int64Array>()), true),
        ("n", Arc::new(rows.iter().map(|(n, _)| n.cast_signed() as i64).collect::<Int64Array>()), false),
        ("x", Arc::new(rows.iter().map(x).collect::<Float64Array>()), false),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns)?;
    let properties = WriterProperties::builder()
        .set_created_by(writer.to_owned())
        .set_max_row_group_row_count(Some(row_group_rows))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties))?;
    writer.write(&batch)?;
    Ok(writer.into_inner()?.into())
}

/// The world's store as one process sees it: slow, and failing now and then.
pub(super) struct SlowStore {
    pub(super) inner: Arc<dyn ObjectStore>,
    pub(super) hub: Hub,
    pub(super) process: ProcessId,
    /// Of a thousand reads, so many fail.
    pub(super) failing: u64,
}

impl SlowStore {
    /// `run` with its rows read through such a store by `process`.
    pub(super) fn put_before(mut run: Prepared, hub: &Hub, process: ProcessId, failing: u64) -> Prepared {
        for output in &mut run.outputs {
            let inner = output.view.store.clone();
            output.view.store = Arc::new(Self { inner, hub: hub.clone(), process, failing });
        }
        run
    }
}

impl fmt::Debug for SlowStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlowStore").field("process", &self.process).finish_non_exhaustive()
    }
}

impl wsp::store::Layer for SlowStore {
    fn inner(&self) -> &dyn ObjectStore {
        &*self.inner
    }

    fn get_ranges<'a>(
        &'a self,
        key: &'a Key,
        version: &'a Version,
        ranges: &'a [Range<u64>],
    ) -> BoxFuture<'a, Result<Vec<Bytes>, StoreError>> {
        async move {
            let (wait, fails) = self.hub.draw(|r| (r.chance(1, 2).then(|| r.below(20)), r.chance(self.failing, 1_000)));
            if let Some(wait) = wait {
                self.hub.sleep(self.process, Duration::from_millis(wait)).await;
            }
            if fails {
                self.hub.note(format_args!("p{} read of {key} fails", self.process));
                return Err(StoreError::Io { object: self.full_name(key), message: "injected fault".to_owned() });
            }
            self.inner.get_ranges(key, version, ranges).await
        }
        .boxed()
    }
}

pub(super) fn internal(error: &dyn fmt::Display) -> Refusal {
    Refusal::new(Reason::InternalError, error.to_string())
}
