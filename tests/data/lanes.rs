//! Lanes of a run as they are read and paced: together they are the run, each in order.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, UInt64Array};
use futures::StreamExt as _;
use proptest::prelude::*;
use wsp::byte_budget::ByteBudget;
use wsp::clock::Clock;
use wsp::deliver::PushStats;
use wsp::stop::Stop;
use wsp::telemetry::Counter;
use wsp_reference::world::run_files::{CONTROL_TOPIC, RunFiles, publish_ready};
use wsp_reference::world::{WorldSpec, generate};
use wsp_world::checkpoint::{CheckpointStore as _, Earlier, MemoryCheckpoints, Unsaved};
use wsp_world::envelope::{LaneFilter, OutputFrame};
use wsp_world::ig::memory::{MemoryGate, Step};
use wsp_world::model::{Event, Lane, LaneKey, Micros, Position, Reason, Refusal, RowBatch, RunDigests};
use wsp_world::oracle::{Resume, RowFilter, Scan, View};
use wsp_world::prepare::{self, Prepared};
use wsp_world::producer::{self, Caps, Framing, Parts, ReadCounts, Settings};
use wsp_world::profile::Profile;
use wsp_world::ready::{Parsed, message};

use crate::kit::views::{all_of, framed, framer, merged, parquet, pins, read, view_of};

const START: i64 = 1_767_225_600_000_000;
const KINDS: [LaneKey; 2] = [LaneKey::EventId, LaneKey::OrderKey];

fn lane(count: u32, index: u32, by: LaneKey) -> Lane {
    Lane::new(NonZeroU32::new(count).unwrap(), index, by).unwrap()
}

/// Rows with a primary key `id`, an order key `card` and a payload.
fn rows(ids: std::ops::Range<i64>, cards: u64) -> RecordBatch {
    let times = ids.clone().map(|id| Micros(START + id / 3 * 1_000_000).to_string());
    let card = ids.clone().map(|id| (id.unsigned_abs().wrapping_mul(2_654_435_761)) % cards);
    RecordBatch::try_from_iter([
        ("ts_utc", Arc::new(StringArray::from_iter_values(times)) as ArrayRef),
        ("id", Arc::new(Int64Array::from_iter_values(ids.clone()))),
        ("card", Arc::new(UInt64Array::from_iter_values(card))),
        ("note", Arc::new(StringArray::from_iter_values(ids.map(|id| format!("row {id}"))))),
    ])
    .unwrap()
}

/// The same rows as JSON texts.
fn as_json(rows: &RecordBatch) -> RecordBatch {
    let ids = rows.column(1).as_any().downcast_ref::<Int64Array>().unwrap();
    let cards = rows.column(2).as_any().downcast_ref::<UInt64Array>().unwrap();
    let texts = (0..rows.num_rows()).map(|i| format!("{{\"card\":{},\"id\":{}}}", cards.value(i), ids.value(i)));
    RecordBatch::try_from_iter([
        ("ts_utc", rows.column(0).clone()),
        ("payload_json", Arc::new(StringArray::from_iter_values(texts)) as ArrayRef),
    ])
    .unwrap()
}

fn filter(view: &View, lane: Lane) -> RowFilter {
    let frame = OutputFrame {
        output_id: "an_output".parse().unwrap(),
        primary_key: vec!["id".to_owned()],
        order_key: Some("card".to_owned()),
        files: Vec::new(),
    };
    let filter = LaneFilter::new(&frame, &pins().world, lane, &view.schema);
    RowFilter::new(filter.columns(), move |rows, keep| filter.keep(rows, keep))
}

/// What a lane's scan gives.
async fn lane_of(view: &View, scan: Scan, lane: Lane) -> (Vec<RowBatch>, Option<Refusal>) {
    all_of(view.batches_where(scan, Some(filter(view, lane)))).await
}

fn places(batches: &[RowBatch]) -> Vec<Position> {
    batches.iter().flat_map(|batch| (0..batch.times().len()).map(|i| batch.position(i))).collect()
}

async fn events_of(batches: Vec<RowBatch>) -> Vec<Event> {
    let (events, refusal) = framed(framer(&["id"], Some("card")), merged(batches, 16)).await;
    assert_eq!(refusal, None);
    events
}

/// Position without `seq`, which counts within a lane.
fn place(event: &Event) -> (u32, u64) {
    (event.position.file, event.position.row)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Each row is in one lane, the one that its event says, with the body it has without lanes; each lane is in order,
    /// resumes where it is told and stops where it is told.
    #[test]
    fn lanes_part_a_view(
        parts in proptest::collection::vec(0_i64..40, 1..4),
        row_group_rows in 1_usize..20,
        batch_rows in 1_usize..12,
        count in 1_u32..7,
        by in prop::sample::select(KINDS.to_vec()),
        json in any::<bool>(),
        from in any::<(prop::sample::Index, prop::sample::Index)>(),
        limit in 0_u64..30,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut first = 0;
            let bytes = parts.iter().map(|len| {
                let rows = rows(first..first + len, 5);
                first += len;
                parquet(&[if json { as_json(&rows) } else { rows }], row_group_rows)
            });
            let bytes = bytes.collect();
            let view = view_of(bytes, first.unsigned_abs()).1.inspect().await.unwrap();
            let file = from.0.index(parts.len());
            let row = from.1.index(parts[file] as usize + 1) as u64;
            let scan = Scan::new().batch_rows(batch_rows).resume(Resume::at(file, row));
            let (all, refusal) = read(&view, scan.clone()).await;
            assert_eq!(refusal, None);
            let all = events_of(all).await;
            let mut seen = BTreeSet::new();
            for index in 0..count {
                let lane = lane(count, index, by);
                let (batches, refusal) = lane_of(&view, scan.clone(), lane).await;
                assert_eq!(refusal, None);
                let places = places(&batches);
                assert_eq!(places.iter().map(|at| at.seq).collect::<Vec<_>>(), (0..places.len() as u64).collect::<Vec<_>>());
                let events = events_of(batches).await;
                let owned: Vec<_> = all.iter().filter(|event| lane.owns(&event.event_id, event.order_key)).collect();
                assert_eq!(events.iter().map(place).collect::<Vec<_>>(), owned.iter().map(|event| place(event)).collect::<Vec<_>>());
                for (event, owned) in events.iter().zip(owned) {
                    assert_eq!((&event.body, event.event_id), (&owned.body, owned.event_id));
                    assert!(seen.insert(place(event)), "in two lanes");
                }
                let (limited, refusal) = lane_of(&view, scan.clone().limit(limit).times_only(), lane).await;
                assert_eq!(refusal, None);
                let limited: Vec<_> = limited.iter().flat_map(|batch| batch.times().to_vec()).collect();
                let expected: Vec<_> = events.iter().map(|event| event.ts).take(limit as usize).collect();
                assert_eq!(limited, expected);
            }
            assert_eq!(seen.len(), all.len());
        });
    }
}

/// The lane in which row `id` is.
async fn home(view: &View, id: u64, by: LaneKey) -> Lane {
    for index in 0..3 {
        let (batches, _) = lane_of(view, Scan::new(), lane(3, index, by)).await;
        if places(&batches).iter().any(|at| at.row == id) {
            return lane(3, index, by);
        }
    }
    unreachable!("some lane has it")
}

#[tokio::test]
async fn a_bad_row_is_refused_by_every_lane_behind_the_rows_before_it() {
    let good = rows(0..30, 5);
    let whole = view_of(vec![parquet(std::slice::from_ref(&good), 8)], 30).1.inspect().await.unwrap();
    let with = |i: usize, column: ArrayRef| {
        let mut columns = good.columns().to_vec();
        columns[i] = column;
        let fields =
            good.schema().fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect::<Vec<_>>();
        RecordBatch::try_new(Arc::new(arrow_schema::Schema::new(fields)), columns).unwrap()
    };
    let times = |bad: Option<&str>| {
        let good = good.column(0).as_any().downcast_ref::<StringArray>().unwrap();
        let times = good.iter().enumerate().map(|(i, time)| if i == 21 { bad } else { time });
        Arc::new(times.collect::<StringArray>())
    };
    let no_key: Int64Array = (0..30).map(|id| (id != 21).then_some(id)).collect();
    for (bad, reason, field) in [
        (with(0, times(None)), Reason::TsUtcInvalid, "ts_utc"),
        (with(0, times(Some("2020-01-01T00:00:00Z"))), Reason::StreamViewOrderViolation, "ts_utc"),
        (with(1, Arc::new(no_key)), Reason::PrimaryKeyMissing, "id"),
    ] {
        let view = view_of(vec![parquet(&[bad], 8)], 30).1.inspect().await.unwrap();
        for by in KINDS {
            for index in 0..3 {
                let (batches, refusal) = lane_of(&view, Scan::new().batch_rows(4), lane(3, index, by)).await;
                let refusal = refusal.unwrap();
                assert_eq!(
                    (refusal.reason, refusal.place.row, refusal.place.field.as_deref()),
                    (reason, Some(21), Some(field))
                );
                assert_eq!(refusal.place.file.as_deref(), Some("memory/part-000000.parquet"));
                let (before, _) = lane_of(&whole, Scan::new(), lane(3, index, by)).await;
                let expected: Vec<_> = places(&before).into_iter().filter(|at| at.row < 21).collect();
                assert_eq!(places(&batches), expected);
                // What lies behind a cap is not looked at.
                let (_, refusal) = lane_of(&view, Scan::new().limit(expected.len() as u64), lane(3, index, by)).await;
                assert_eq!(refusal, None);
            }
        }
    }
}

#[tokio::test]
async fn resuming_beyond_the_view_is_foreign_to_a_lane_too() {
    let view = view_of(vec![parquet(&[rows(0..10, 3)], 4)], 10).1.inspect().await.unwrap();
    for (file, row) in [(0, 11), (1, 1), (2, 0)] {
        let scan = Scan::new().resume(Resume::at(file, row));
        let (batches, refusal) = lane_of(&view, scan, lane(2, 0, LaneKey::EventId)).await;
        assert!(batches.is_empty());
        assert_eq!(refusal.unwrap().reason, Reason::CheckpointForeign);
    }
}

#[tokio::test]
async fn a_row_group_without_a_row_of_the_lane_costs_its_keys_alone() {
    // One card a row group, and payloads that dwarf the keys.
    let groups = (0..12_i64).map(|group| {
        let ids = group * 100..(group + 1) * 100;
        let times = ids.clone().map(|id| Micros(START + id).to_string());
        let notes = ids.clone().map(|id| wsp_world::model::Hex64::sha256(id.to_string()).to_string().repeat(8));
        RecordBatch::try_from_iter([
            ("ts_utc", Arc::new(StringArray::from_iter_values(times)) as ArrayRef),
            ("id", Arc::new(Int64Array::from_iter_values(ids.clone()))),
            ("card", Arc::new(UInt64Array::from_iter_values(ids.clone().map(|_| group.unsigned_abs())))),
            ("note", Arc::new(StringArray::from_iter_values(notes))),
        ])
        .unwrap()
    });
    let (store, files) = view_of(vec![parquet(&groups.collect::<Vec<_>>(), 100)], 1_200);
    let view = files.inspect().await.unwrap();
    let bytes = |lane: Lane| {
        store.asked.lock().unwrap().clear();
        let (view, store) = (view.clone(), store.clone());
        async move {
            let (batches, refusal) = lane_of(&view, Scan::new(), lane).await;
            assert_eq!(refusal, None);
            let asked = store.asked.lock().unwrap().iter().map(|range| range.end - range.start).sum::<u64>();
            (places(&batches).len() as u64, asked)
        }
    };
    let (rows, whole) = bytes(Lane::WHOLE).await;
    assert_eq!(rows, 1_200);
    let of = home(&view, 0, LaneKey::OrderKey).await;
    let (rows, asked) = bytes(of).await;
    assert!((100..=800).contains(&rows), "{rows} rows in the lane");
    // Keys and times of all rows are well below a tenth of the view; the payload's share is the lane's own.
    assert!(asked < whole * rows / 1_200 + whole / 10, "{asked} of {whole} bytes for {rows} rows");
}

/// A clock whose wall moves with tokio's paused time.
#[derive(Debug, Clone, Copy)]
struct PausedClock(tokio::time::Instant);

impl Clock for PausedClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn utc(&self) -> Micros {
        Micros(START + self.now().as_micros() as i64)
    }

    fn sleep_until(&self, deadline: Duration) -> impl Future<Output = ()> + Send + 'static {
        tokio::time::sleep_until(self.0 + deadline)
    }
}

/// A run of a small world, as the profile in `folder` would prepare it.
async fn prepared(folder: &Path, campaign_start: Micros) -> (Prepared, Settings) {
    let root = folder.join("world");
    let world = generate(&root, root.to_str().unwrap(), &WorldSpec::new(300)).unwrap();
    let ready = publish_ready(&RunFiles {
        world: &world,
        platform_run_id: &"platform_20260101T000000Z".parse().unwrap(),
        run_id: &"d".repeat(32).parse().unwrap(),
        object_store_root: &folder.join("store"),
        control_root: &folder.join("bus"),
        topic: CONTROL_TOPIC,
        published_at: Micros(START),
    });
    let bytes = std::fs::read(ready.unwrap().ready_file).unwrap();
    let Ok(Parsed::Ready(ready)) = message::parse(&bytes, CONTROL_TOPIC) else { unreachable!("it is a READY") };
    std::fs::write(folder.join("producers.txt"), "svc:x\n").unwrap();
    let catalogue = crate::kit::repository("config/oracle/engine_outputs.catalogue.yaml");
    let profile = serde_json::json!({
        "profile_id": "local_lanes",
        "policy": {"stream_speedup": 1000, "traffic_output_ids": ["s3_event_stream_with_fraud_6B"]},
        "wiring": {
            "object_store": {"root": folder.join("store")},
            "control_bus": {"kind": "file"},
            "engine_catalogue_path": catalogue,
            "ig_ingest_url": "http://127.0.0.1:1",
            "wsp_producer": {"producer_id": "svc:x", "allowlist_ref": folder.join("producers.txt")},
            "security": {"wsp_auth_token": "key"},
        },
    });
    let start = campaign_start.to_string();
    let env = |name: &str| (name == "WSP_CAMPAIGN_START_UTC").then(|| start.clone());
    let profile = Profile::parse(&profile.to_string(), folder, &env).unwrap();
    let settings = Settings::new(&profile, Caps::default());
    (prepare::of_ready(&profile, &ready).await.unwrap(), settings)
}

/// When each event is due.
#[allow(clippy::disallowed_methods, reason = "a clock of the test's own, on paused time")]
async fn dues(run: &Prepared, settings: &Settings) -> BTreeMap<[u8; 32], Duration> {
    let clock = PausedClock(tokio::time::Instant::now());
    let dues = Arc::new(Mutex::new(BTreeMap::new()));
    let noted = dues.clone();
    let gate = MemoryGate::scripted(clock, move |event, _| {
        noted.lock().unwrap().insert(event.event_id, event.due.unwrap());
        Step::work(Duration::ZERO)
    });
    let scope = MemoryCheckpoints::new().open(&run.scope("")).await.unwrap();
    let framed = Counter::new();
    let parts = Parts {
        gate,
        clock,
        scope,
        earlier: Earlier::default(),
        stop: Stop::new(),
        stats: PushStats::new(),
        read: ReadCounts::default(),
        framed: framed.clone(),
        unsaved: Unsaved::new(),
        digests: RunDigests::new(),
        bodies: ByteBudget::unlimited(),
        framing: Framing::OwnThread,
    };
    let from = vec![Resume::default(); run.outputs.len()];
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let told = reasons.clone();
    let answers =
        producer::stream(run, &from, settings, parts, move |saved| told.lock().unwrap().push(saved.reason.as_str()));
    let answers: Vec<_> = answers.collect().await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(framed.get(), answers.len() as u64);
    assert!(!reasons.lock().unwrap().contains(&"stop"), "an uncapped lane ends complete: {reasons:?}");
    dues.lock().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn lanes_of_a_campaign_share_its_anchor() {
    let folder = tempfile::tempdir().unwrap();
    let ahead = Duration::from_mins(1);
    let (run, settings) = prepared(folder.path(), Micros(START + ahead.as_micros() as i64)).await;
    let whole = dues(&run, &settings).await;
    assert_eq!((whole.len(), whole.values().min()), (300, Some(&ahead)));
    for by in KINDS {
        let mut together = BTreeMap::new();
        let mut firsts = BTreeSet::new();
        for index in 0..4 {
            let lane = Prepared { lane: lane(4, index, by), ..run.clone() };
            assert_ne!(lane.scope(""), run.scope(""));
            let own = dues(&lane, &settings).await;
            firsts.insert(*own.values().min().unwrap());
            together.extend(own);
        }
        assert_eq!(together, whole, "by {by:?}");
        assert!(firsts.len() > 1, "a lane whose first event is later starts later: {firsts:?}");
    }
}
