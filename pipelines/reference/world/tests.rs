//! Worlds as files: the same bytes for the same seed, exact counts, true receipts, golden shapes.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, UInt64Type};
use arrow_array::{Array, RecordBatch};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use tempfile::TempDir;

use super::run_files::{CONTROL_TOPIC, RunFiles, publish_ready};
use super::*;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden");
const OUTPUTS: [&str; 6] = [
    "arrival_events_5B",
    "s1_arrival_entities_6B",
    "s3_flow_anchor_with_fraud_6B",
    "s3_event_stream_with_fraud_6B",
    "s2_flow_anchor_baseline_6B",
    "s2_event_stream_baseline_6B",
];

fn spec() -> WorldSpec {
    WorldSpec { parts: 3, row_group_rows: 500, baseline: true, ..WorldSpec::new(10_007) }
}

fn made(spec: &WorldSpec) -> (TempDir, WorldSummary) {
    let dir = tempfile::tempdir().unwrap();
    let summary = generate(dir.path(), "some/world", spec).unwrap();
    (dir, summary)
}

/// All files below a folder, by relative name.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn parts(folder: &Path, output: &str) -> Vec<PathBuf> {
    let mut parts: Vec<PathBuf> = fs::read_dir(view_folder(folder, output))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "parquet"))
        .collect();
    parts.sort();
    parts
}

fn batches(folder: &Path, output: &str) -> Vec<RecordBatch> {
    parts(folder, output)
        .iter()
        .flat_map(|path| ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap().build().unwrap())
        .map(Result::unwrap)
        .collect()
}

fn json(path: impl AsRef<Path>) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn times(batches: &[RecordBatch]) -> Vec<String> {
    let texts = |batch: &RecordBatch| -> Vec<String> {
        let column = batch.column_by_name("ts_utc").unwrap().as_string::<i32>().clone();
        column.iter().map(|text| text.unwrap().to_owned()).collect()
    };
    batches.iter().flat_map(texts).collect()
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let (one, first) = made(&spec());
    let (two, second) = made(&spec());
    assert_eq!(first, second);
    let (one, two) = (files(one.path()), files(two.path()));
    assert!(one == two, "files differ");
    assert_eq!(one.len(), 3 + 4 + 6 * (2 + 3));
    let (other, third) = made(&WorldSpec { seed: 43, ..spec() });
    assert_ne!(third.world_key, first.world_key);
    let name = "stream_view/ts_utc/output_id=arrival_events_5B/part-000000.parquet";
    assert!(files(other.path())[name] != one[name]);
}

#[test]
fn the_layout_changes_files_and_not_events() {
    let (one, first) = made(&spec());
    let (two, second) = made(&WorldSpec { parts: 1, row_group_rows: 122_880, ..spec() });
    assert_eq!(first.world_key, second.world_key);
    assert_eq!(parts(two.path(), OUTPUTS[0]).len(), 1);
    for output in OUTPUTS {
        let rows = |folder: &Path| {
            let batches = batches(folder, output);
            arrow_select(&batches)
        };
        assert!(rows(one.path()) == rows(two.path()), "{output}");
    }
}

/// All cells of some batches, as text.
fn arrow_select(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            rows.push(batch.columns().iter().map(|column| format!("{:?}", column.slice(row, 1))).collect());
        }
    }
    rows
}

#[test]
fn columns_types_and_nullability_are_the_golden_ones() {
    let (dir, _) = made(&spec());
    for output in OUTPUTS {
        let golden = Path::new(GOLDEN).join("world/stream_view/ts_utc").join(format!("output_id={output}"));
        let schema = |path: PathBuf| {
            let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
            let fields = reader.schema().fields();
            fields.iter().map(|f| (f.name().clone(), f.data_type().clone(), f.is_nullable())).collect::<Vec<_>>()
        };
        let ours = schema(parts(dir.path(), output).remove(0));
        assert_eq!(ours, schema(golden.join("part-000000.parquet")), "{output}");
        for document in ["_stream_view_manifest.json", "_stream_sort_receipt.json"] {
            same_shape(&json(view_folder(dir.path(), output).join(document)), &json(golden.join(document)), document);
        }
    }
    for document in ["run_receipt.json", "_oracle_pack_manifest.json", "_SEALED.json"] {
        same_shape(&json(dir.path().join(document)), &json(format!("{GOLDEN}/world/{document}")), document);
    }
}

/// The same keys in the same order, and values of the same kind.
fn same_shape(ours: &Value, golden: &Value, at: &str) {
    match (ours, golden) {
        (Value::Object(ours), Value::Object(golden)) => {
            assert_eq!(ours.keys().collect::<Vec<_>>(), golden.keys().collect::<Vec<_>>(), "{at}");
            for (key, value) in ours {
                same_shape(value, &golden[key], &format!("{at}.{key}"));
            }
        }
        _ => assert_eq!(std::mem::discriminant(ours), std::mem::discriminant(golden), "{at}"),
    }
}

#[test]
fn counts_are_exact_views_are_sorted_and_receipts_true() {
    for events in [4, 5, 17, 10_007] {
        let (dir, summary) = made(&WorldSpec { events, ..spec() });
        assert_eq!(summary.events(), events);
        let mut total = 0;
        for output in &summary.outputs {
            let id = output.output_id;
            let files = parts(dir.path(), id);
            assert_eq!(files.len() as u64, output.rows.min(3), "{id}");
            for (n, file) in files.iter().enumerate() {
                assert!(file.ends_with(format!("part-{n:06}.parquet")));
                let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(file).unwrap()).unwrap();
                assert!(reader.metadata().row_groups().iter().all(|group| group.num_rows() <= 500));
            }
            let times = times(&batches(dir.path(), id));
            assert!(times.is_sorted(), "{id}");
            let receipt = json(view_folder(dir.path(), id).join("_stream_sort_receipt.json"));
            let stats = &receipt["sorted_stats"];
            assert_eq!(stats["row_count"], times.len() as u64);
            assert_eq!(output.rows, times.len() as u64);
            let cut = |time: &String| time.trim_end_matches('Z').trim_end_matches(".000000").to_owned();
            assert_eq!(stats["min_ts_utc"], cut(&times[0]));
            assert_eq!(stats["max_ts_utc"], cut(&times[times.len() - 1]));
            assert_eq!(receipt["raw_stats"], *stats);
            total += if id.contains("baseline") { 0 } else { times.len() as u64 };
        }
        assert_eq!(total, events);
    }
}

#[test]
fn an_anchor_is_never_later_than_its_flow() {
    let (dir, _) = made(&spec());
    let mut anchors: HashMap<i64, String> = HashMap::new();
    for (output, check) in [("s3_flow_anchor_with_fraud_6B", false), ("s3_event_stream_with_fraud_6B", true)] {
        for batch in batches(dir.path(), output) {
            let flows = batch.column_by_name("flow_id").unwrap().as_primitive::<Int64Type>();
            for (flow, ts) in flows.values().iter().zip(times(std::slice::from_ref(&batch))) {
                if check {
                    assert!(anchors[flow] <= ts);
                } else {
                    assert_eq!(anchors.insert(*flow, ts), None);
                }
            }
        }
    }
}

#[test]
fn awkward_values_are_among_the_rows() {
    let (dir, _) = made(&spec());
    let (mut merchants, mut zones, mut nulls, mut amounts) = (Vec::new(), Vec::new(), 0, Vec::new());
    for batch in batches(dir.path(), "arrival_events_5B") {
        let column = |name: &str| batch.column_by_name(name).unwrap().clone();
        merchants.extend_from_slice(column("merchant_id").as_primitive::<UInt64Type>().values());
        zones.extend(column("zone_representation").as_string::<i32>().iter().map(|zone| zone.unwrap().to_owned()));
        nulls += column("site_id").null_count() + column("tzid_settlement").null_count();
    }
    for batch in batches(dir.path(), "s3_flow_anchor_with_fraud_6B") {
        let amount = batch.column_by_name("amount").unwrap().clone();
        amounts.extend_from_slice(amount.as_primitive::<Float64Type>().values());
    }
    assert!(merchants.contains(&u64::MAX) && merchants.contains(&(1 << 63)));
    assert!(["", "emoji-😀-𝒳", "nul\0mid"].iter().all(|text| zones.iter().any(|zone| zone == text)));
    assert!(nulls > 100);
    assert!(amounts.iter().any(|amount| amount.to_bits() == (-0.0_f64).to_bits()));
    assert!(amounts.contains(&5e-324) && amounts.contains(&f64::MAX) && amounts.iter().all(|a| a.is_finite()));
}

#[test]
fn the_manifests_verify_by_the_contract() {
    let (dir, summary) = made(&spec());
    let pack = json(dir.path().join("_oracle_pack_manifest.json"));
    assert_eq!(pack["oracle_pack_id"], summary.oracle_pack_id.as_str());
    assert_eq!(json(dir.path().join("_SEALED.json"))["oracle_pack_id"], pack["oracle_pack_id"]);
    assert_eq!(json(dir.path().join("run_receipt.json"))["run_id"], summary.engine_run_id.as_str());
    assert_eq!(pack["catalogue_digest"], documents::sha256(CATALOGUE));
    for output in OUTPUTS {
        let manifest = json(view_folder(dir.path(), output).join("_stream_view_manifest.json"));
        let preimage = format!(
            r#"{{"engine_run_root":"some/world","output_id":"{output}","partition_granularity":"flat","scenario_id":"baseline_v1","sort_keys":["ts_utc","filename","file_row_number"]}}"#
        );
        assert_eq!(manifest["stream_view_id"], documents::sha256(&preimage));
        assert_eq!(manifest["world_key"], pack["world_key"]);
    }
    let fingerprint = &summary.world_key.manifest_fingerprint;
    for gate in ["layer2/5B", "layer3/6B"] {
        let flag = format!("data/{gate}/validation/manifest_fingerprint={fingerprint}/_passed.flag");
        assert!(dir.path().join(flag).exists());
    }
}

#[test]
fn impossible_worlds_and_taken_folders_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let good = spec();
    for bad in [
        WorldSpec { events: 3, ..good.clone() },
        WorldSpec { days: 0.0, ..good.clone() },
        WorldSpec { days: f64::NAN, ..good.clone() },
        WorldSpec { parts: 0, ..good.clone() },
        WorldSpec { seed: u64::MAX, ..good.clone() },
        WorldSpec { start: "yesterday".to_owned(), ..good.clone() },
        WorldSpec { scenario_id: String::new(), ..good.clone() },
    ] {
        assert!(generate(dir.path(), "world", &bad).is_err(), "{bad:?}");
    }
    assert_eq!(files(dir.path()).len(), 0);
    generate(dir.path(), "world", &good).unwrap();
    assert!(matches!(generate(dir.path(), "world", &good), Err(WorldError::Exists(_))));
}

#[test]
fn ready_and_facts_have_the_golden_shapes_and_agree() {
    let (_dir, world) = made(&WorldSpec::new(100));
    let (store, control) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let run = RunFiles {
        world: &world,
        platform_run_id: &"platform_20260101T000000Z".parse().unwrap(),
        run_id: &"cf7aa18247008796acc2e74d9e8c3eba".parse().unwrap(),
        object_store_root: store.path(),
        control_root: control.path(),
        topic: CONTROL_TOPIC,
        published_at: Micros(1_767_225_600_000_001),
    };
    let published = publish_ready(&run).unwrap();
    let ready = json(&published.ready_file);
    let facts = json(store.path().join(&published.facts_view_ref));
    same_shape(&ready, &json(format!("{GOLDEN}/ready/message.json")), "ready");
    same_shape(&facts, &json(format!("{GOLDEN}/ready/run_facts_view.json")), "facts");
    let payload = &ready["payload"];
    for key in ["bundle_hash", "platform_run_id", "run_id", "scenario_run_id", "run_config_digest", "oracle_pack_ref"] {
        assert_eq!(payload[key], facts[key], "{key}");
    }
    for key in ["manifest_fingerprint", "parameter_hash", "scenario_id", "platform_run_id", "run_id"] {
        assert_eq!(payload[key], facts["pins"][key], "{key}");
    }
    assert_eq!(files(control.path()).len(), 1, "nothing else is left for a feed to find");
    let again = publish_ready(&RunFiles { published_at: Micros(run.published_at.0 + 1), ..run.clone() }).unwrap();
    assert_ne!(again.message_id, published.message_id);
    assert_eq!(again.facts_view_ref, published.facts_view_ref);
}
