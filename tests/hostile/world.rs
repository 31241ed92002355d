//! Every reason that lies in the sealed world: receipt, manifest, seal, gates and stream views, each doctored in one
//! place while READY and facts agree.

use arrow_array::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Encoding;
use parquet::file::metadata::ParquetMetaDataReader;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};

use crate::kit::capture::CaptureGate;
use crate::kit::live::Running;
use crate::kit::parquet::{as_json, with_foreign_seed, with_text, with_texts};
use crate::kit::refused::{Came, all_refused};
use crate::kit::{self, FRAUD, Stage, canonical, zeros};

const RECEIPT: &str = "world/run_receipt.json";
const PACK: &str = "world/_oracle_pack_manifest.json";
const SEAL: &str = "world/_SEALED.json";
const GATE_5B: &str = "world/data/layer2/5B/validation/\
                       manifest_fingerprint=fa05c8320eddfe6a1a9ff1ab3ac172a520f3d250fa795f34e06ad732393357c4/_passed.flag";
const ARRIVALS: &str = "arrival_events_5B";

fn manifest(output: &str) -> String {
    Stage::in_view(output, "_stream_view_manifest.json")
}

fn sort_receipt(output: &str) -> String {
    Stage::in_view(output, "_stream_sort_receipt.json")
}

fn part(output: &str) -> String {
    Stage::in_view(output, "part-000000.parquet")
}

/// READY and facts agree, and the world is another one.
#[test]
fn a_world_that_is_not_the_runs_is_refused() {
    fn both(stage: &Stage, pin: &str, value: Value) {
        if pin != "seed" {
            stage.edit_ready(|ready| ready[pin] = value.clone());
        }
        stage.edit_facts(|facts| facts["pins"][pin] = value);
    }
    all_refused(
        Came::Started,
        &[
            ("fingerprint", |s, _| both(s, "manifest_fingerprint", zeros(64)), "WORLD_KEY_MISMATCH", &[RECEIPT]),
            ("parameters", |s, _| both(s, "parameter_hash", zeros(64)), "WORLD_KEY_MISMATCH", &[RECEIPT]),
            ("seed", |s, _| both(s, "seed", json!(43)), "WORLD_KEY_MISMATCH", &[RECEIPT, "seed"]),
            (
                "scenario",
                |s, _| {
                    both(s, "scenario_id", json!("other"));
                    s.edit_ready(|r| {
                        r["scenario_id"] = json!("other");
                        r["oracle_pack_ref"]["scenario_id"] = json!("other");
                    });
                    s.edit_facts(|f| f["oracle_pack_ref"]["scenario_id"] = json!("other"));
                },
                "WORLD_KEY_MISMATCH",
                &[PACK, "scenario_id"],
            ),
            (
                "the profile's scenario",
                |s, g| s.profile(g, |p| p["wiring"]["oracle_scenario_id"] = json!("other")),
                "WORLD_KEY_MISMATCH",
                &["oracle_scenario_id"],
            ),
            (
                "the profile's engine root",
                |s, g| s.profile(g, |p| p["wiring"]["oracle_engine_run_root"] = json!("elsewhere")),
                "RUN_RECEIPT_UNREADABLE",
                &["elsewhere/run_receipt.json"],
            ),
            ("receipt gone", |s, _| s.remove(RECEIPT), "RUN_RECEIPT_UNREADABLE", &[RECEIPT]),
            ("receipt broken", |s, _| s.put(RECEIPT, "{"), "RUN_RECEIPT_UNREADABLE", &[RECEIPT]),
            (
                "receipt without seed",
                |s, _| s.edit(RECEIPT, |r| drop(r.as_object_mut().unwrap().remove("seed"))),
                "WORLD_KEY_MISSING",
                &[RECEIPT, "seed"],
            ),
            (
                "receipt's seed",
                |s, _| s.edit(RECEIPT, |r| r["seed"] = json!(43)),
                "WORLD_KEY_MISMATCH",
                &[RECEIPT, "seed"],
            ),
            ("manifest gone", |s, _| s.remove(PACK), "PACK_MANIFEST_MISSING", &[PACK]),
            ("manifest broken", |s, _| s.put(PACK, "{"), "PACK_MANIFEST_INVALID", &[PACK]),
            ("manifest open", |s, _| s.edit(PACK, |p| p["more"] = json!(1)), "PACK_MANIFEST_INVALID", &[PACK, "more"]),
            (
                "manifest's world",
                |s, _| s.edit(PACK, |p| p["world_key"]["seed"] = json!(43)),
                "WORLD_KEY_MISMATCH",
                &[PACK, "world_key.seed"],
            ),
            ("another pack", |s, _| s.edit(PACK, |p| p["oracle_pack_id"] = zeros(64)), "WORLD_KEY_MISMATCH", &[PACK]),
            ("seal gone", |s, _| s.remove(SEAL), "PACK_NOT_SEALED", &["world"]),
            (
                "seal a folder",
                |s, _| {
                    s.remove(SEAL);
                    std::fs::create_dir(s.path(SEAL)).unwrap();
                },
                "PACK_NOT_SEALED",
                &[SEAL, "not a regular file"],
            ),
            (
                "seal a link out of the world",
                |s, _| {
                    std::fs::rename(s.path(SEAL), s.path("seal.json")).unwrap();
                    std::os::unix::fs::symlink(s.path("seal.json"), s.path(SEAL)).unwrap();
                },
                "REF_OUTSIDE_ROOT",
                &[SEAL],
            ),
            ("seal broken", |s, _| s.put(SEAL, "{"), "PACK_NOT_SEALED", &[SEAL]),
            (
                "seal failed",
                |s, _| s.edit(SEAL, |seal| seal["seal_status"] = json!("SEALED_FAILED")),
                "PACK_NOT_SEALED",
                &[SEAL, "SEALED_FAILED"],
            ),
            (
                "seal of another pack",
                |s, _| s.edit(SEAL, |seal| seal["oracle_pack_id"] = zeros(64)),
                "PACK_NOT_SEALED",
                &[SEAL, "oracle_pack_id"],
            ),
            ("gate gone", |s, _| s.remove(GATE_5B), "GATE_PASS_MISSING", &[GATE_5B, "gate.layer2.5B.validation"]),
            ("gate empty", |s, _| s.put(GATE_5B, ""), "GATE_PASS_MISSING", &[GATE_5B]),
            (
                "gate failed by the facts",
                |s, _| s.edit_facts(|f| f["gate_receipts"][1]["status"] = json!("FAIL")),
                "GATE_PASS_MISSING",
                &["gate_receipts", "gate.layer2.5B.validation"],
            ),
        ],
    );
}

#[test]
fn a_seal_may_be_missing_only_where_policy_says_so() {
    let gate = CaptureGate::admitting();
    // A profile that is not local refuses local parts before it looks at a seal.
    for (require_seal, failed, expected) in [
        (None, false, ("STREAMED", "")),
        (Some(true), false, ("FAILED", "PACK_NOT_SEALED")),
        (Some(false), false, ("STREAMED", "")),
        (Some(false), true, ("FAILED", "PACK_NOT_SEALED")),
    ] {
        let stage = Stage::golden(&gate.url);
        stage.profile(&gate.url, |profile| {
            profile["policy"].as_object_mut().unwrap().remove("require_seal");
            if let Some(require_seal) = require_seal {
                profile["policy"]["require_seal"] = require_seal.into();
            }
        });
        if failed {
            stage.edit(SEAL, |seal| seal["seal_status"] = "SEALED_FAILED".into());
        } else {
            stage.remove(SEAL);
        }
        let ran = stage.run_once();
        assert_eq!(ran.verdict(), expected, "{require_seal:?}: {}", ran.stderr);
        if expected.0 == "STREAMED" {
            let start = String::from_utf8(kit::read(&stage.evidence("wsp/wsp_start.json"))).unwrap();
            assert!(start.contains("policy.require_seal is false"), "the evidence says so: {start}");
        }
    }
}

/// The folder, its receipt and all ids stay; the rows in it are another world's, as many as before.
#[test]
fn a_view_whose_rows_are_of_another_world_is_refused() {
    fn rows(stage: &Stage, output: &str, change: impl FnOnce(&RecordBatch) -> RecordBatch) {
        stage.change_rows(output, |rows| change(&rows));
    }
    fn json(stage: &Stage, seed: u64) {
        let payloads = canonical().into_iter().filter(|body| body["event_type"] == FRAUD);
        let payloads = payloads.map(|mut body| {
            body["payload"]["seed"] = seed.into();
            Some(body["payload"].to_string())
        });
        rows(stage, FRAUD, |rows| as_json(rows, payloads));
    }
    const PART: &str = "part-000000.parquet at row 0";
    all_refused(
        Came::Started,
        &[
            (
                "seed",
                |s, _| rows(s, FRAUD, |rows| with_foreign_seed(rows, 0)),
                "WORLD_KEY_MISMATCH",
                &[FRAUD, PART, "seed", "43", "42"],
            ),
            (
                "seed of the last rows",
                |s, _| rows(s, FRAUD, |rows| with_foreign_seed(rows, 98)),
                "WORLD_KEY_MISMATCH",
                &[FRAUD, PART, "seed", "some of the rows 0 to 99 hold 43", "42"],
            ),
            (
                "fingerprint of a context output",
                |s, _| rows(s, ARRIVALS, |rows| with_texts(rows, "manifest_fingerprint", &"0".repeat(64))),
                "WORLD_KEY_MISMATCH",
                &[ARRIVALS, PART, "manifest_fingerprint", "0000", "fa05c832"],
            ),
            (
                "parameters",
                |s, _| rows(s, FRAUD, |rows| with_texts(rows, "parameter_hash", &"0".repeat(64))),
                "WORLD_KEY_MISMATCH",
                &[FRAUD, PART, "parameter_hash", "0000", "7e8079fe"],
            ),
            (
                "scenario",
                |s, _| rows(s, FRAUD, |rows| with_texts(rows, "scenario_id", "baseline_v2")),
                "WORLD_KEY_MISMATCH",
                &[FRAUD, PART, "scenario_id", "baseline_v2", "baseline_v1"],
            ),
            (
                "one part of two, without statistics",
                |s, _| {
                    let rows = s.rows(FRAUD);
                    let foreign = with_foreign_seed(&rows.slice(60, 40), 0);
                    s.write_parts_without_statistics(FRAUD, &[vec![rows.slice(0, 60)], vec![foreign]]);
                },
                "WORLD_KEY_MISMATCH",
                &["part-000001.parquet at row 0", "seed", "43", "42"],
            ),
            (
                "JSON payloads",
                |s, _| json(s, 43),
                "WORLD_KEY_MISMATCH",
                &[FRAUD, PART, "payload_json.seed", "43", "42"],
            ),
        ],
    );
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    json(&stage, 42);
    assert_eq!(stage.run_once().verdict(), ("STREAMED", ""), "JSON payloads of this world");
}

/// What a sort receipt says of a view's first and last time is compared with its rows.
#[test]
fn a_receipt_of_another_span_is_refused() {
    fn span(stage: &Stage, field: &str, value: &str) {
        stage.edit(&sort_receipt(FRAUD), |receipt| {
            for stats in ["raw_stats", "sorted_stats"] {
                receipt[stats][field] = value.into();
            }
        });
    }
    const RECEIPT_NAME: &str = "_stream_sort_receipt.json";
    all_refused(
        Came::Started,
        &[
            (
                "a year early",
                |s, _| span(s, "min_ts_utc", "2025-01-01T00:00:00"),
                "STREAM_VIEW_RECEIPT_BAD",
                &[RECEIPT_NAME, "min_ts_utc", "2025-01-01", "row 0 of", "2026-01-01T00:00:00.000000Z"],
            ),
            (
                "a microsecond early",
                |s, _| span(s, "min_ts_utc", "2025-12-31T23:59:59.999999"),
                "STREAM_VIEW_RECEIPT_BAD",
                &["min_ts_utc"],
            ),
            (
                "a year late",
                |s, _| span(s, "max_ts_utc", "2027-01-01T00:00:00"),
                "STREAM_VIEW_RECEIPT_BAD",
                &[RECEIPT_NAME, "max_ts_utc", "2027-01-01", "row 99 of", "2026-01-02T22:26:25.681764Z"],
            ),
            (
                "shorter than the rows",
                |s, _| span(s, "max_ts_utc", "2026-01-02T00:00:00"),
                "STREAM_VIEW_RECEIPT_BAD",
                &["max_ts_utc"],
            ),
            (
                "of rows that were replaced",
                |s, _| {
                    let receipt = kit::read(&s.path(&sort_receipt(FRAUD)));
                    s.change_rows(FRAUD, |rows| with_text(&rows, "ts_utc", 99, Some("2026-01-03T00:00:00.000000Z")));
                    s.put(&sort_receipt(FRAUD), receipt);
                },
                "STREAM_VIEW_RECEIPT_BAD",
                &["max_ts_utc", "2026-01-03"],
            ),
        ],
    );
}

/// A campaign that begins later looks like a run that hangs, unless the log says otherwise.
#[test]
fn a_run_that_waits_for_its_campaign_logs_until_when() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    let mut command = stage.wsp(&["run", "--profile", "profile.yaml", "--once"]);
    command.env("WSP_CAMPAIGN_START_UTC", "2099-01-01T00:00:00Z").env("WSP_STREAM_SPEEDUP", "1");
    let mut running = Running::spawn(&stage, "campaign", &mut command);
    let err_file = running.err_file();
    let log = || std::fs::read_to_string(&err_file).unwrap();
    running.until("the wait is logged", || log().contains("waiting for the first event"));
    let log = log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("waiting for the first event")).collect();
    assert_eq!(lines.len(), 1, "once: {log}");
    let line: Value = serde_json::from_str(lines[0]).unwrap();
    // Wall and monotonic clock are read one after the other.
    let time = |text: &str| wsp_world::model::Micros::parse(text.as_bytes()).unwrap().0;
    let off = time(line["starts_utc"].as_str().unwrap()) - time("2099-01-01T00:00:00Z");
    assert!(off.abs() < 5_000_000, "{line}");
    assert!(line["wait_seconds"].as_u64().unwrap() > 1_000_000_000, "{line}");
    assert_eq!(gate.requests(), 0);
    running.kill();
}

#[test]
fn a_stream_view_that_is_not_whole_or_not_this_one_is_refused() {
    all_refused(
        Came::Started,
        &[
            ("no view", |s, _| s.remove(&Stage::in_view(FRAUD, "")), "STREAM_VIEW_MISSING", &[FRAUD]),
            ("no manifest", |s, _| s.remove(&manifest(FRAUD)), "STREAM_VIEW_MISSING", &["_stream_view_manifest.json"]),
            (
                "no receipt",
                |s, _| s.remove(&sort_receipt(FRAUD)),
                "STREAM_VIEW_MISSING",
                &["_stream_sort_receipt.json"],
            ),
            ("manifest broken", |s, _| s.put(&manifest(FRAUD), "{"), "STREAM_VIEW_MANIFEST_INVALID", &[FRAUD]),
            (
                "sorted otherwise",
                |s, _| s.edit(&manifest(FRAUD), |m| m["sort_keys"] = json!(["flow_id"])),
                "STREAM_VIEW_MANIFEST_INVALID",
                &[FRAUD, "sort_keys"],
            ),
            (
                "of another world",
                |s, _| s.edit(&manifest(FRAUD), |m| m["world_key"]["seed"] = json!(43)),
                "WORLD_KEY_MISMATCH",
                &[FRAUD, "world_key.seed"],
            ),
            (
                "of another engine run",
                |s, _| s.edit(&manifest(FRAUD), |m| m["engine_run_id"] = zeros(32)),
                "WORLD_KEY_MISMATCH",
                &[FRAUD, "engine_run_id"],
            ),
            (
                "manifest of another output",
                |s, _| s.edit(&manifest(FRAUD), |m| m["output_id"] = json!(ARRIVALS)),
                "STREAM_VIEW_OUTPUT_MISMATCH",
                &[FRAUD, "output_id"],
            ),
            (
                "receipt of another output",
                |s, _| s.edit(&sort_receipt(FRAUD), |r| r["output_id"] = json!(ARRIVALS)),
                "STREAM_VIEW_OUTPUT_MISMATCH",
                &[FRAUD, "output_id"],
            ),
            (
                "manifest's id",
                |s, _| s.edit(&manifest(FRAUD), |m| m["stream_view_id"] = zeros(64)),
                "STREAM_VIEW_ID_MISMATCH",
                &[FRAUD, "stream_view_id"],
            ),
            (
                "receipt's id",
                |s, _| s.edit(&sort_receipt(FRAUD), |r| r["stream_view_id"] = zeros(64)),
                "STREAM_VIEW_ID_MISMATCH",
                &["_stream_sort_receipt.json", "stream_view_id"],
            ),
            (
                "the root spelt otherwise",
                |s, g| s.profile(g, |p| p["wiring"]["oracle_engine_run_root"] = json!("./world")),
                "STREAM_VIEW_ID_MISMATCH",
                &[ARRIVALS, "engine_run_root"],
            ),
            ("receipt broken", |s, _| s.put(&sort_receipt(FRAUD), "[]"), "STREAM_VIEW_RECEIPT_BAD", &[FRAUD]),
            (
                "sort failed",
                |s, _| s.edit(&sort_receipt(FRAUD), |r| r["status"] = json!("FAILED")),
                "STREAM_VIEW_RECEIPT_BAD",
                &[FRAUD, "status"],
            ),
            (
                "sort lost a row",
                |s, _| s.edit(&sort_receipt(FRAUD), |r| r["sorted_stats"]["row_count"] = json!(99)),
                "STREAM_VIEW_RECEIPT_BAD",
                &[FRAUD, "row_count"],
            ),
            ("no part", |s, _| s.remove(&part(FRAUD)), "STREAM_VIEW_EMPTY", &[FRAUD]),
            (
                "a part twice",
                |s, _| s.put(&Stage::in_view(FRAUD, "part-000001.parquet"), kit::read(&s.path(&part(FRAUD)))),
                "STREAM_VIEW_ROWS_MISMATCH",
                &[FRAUD, "200 rows", "100"],
            ),
            (
                "no Parquet",
                |s, _| s.put(&part(FRAUD), "PAR1"),
                "STREAM_VIEW_UNREADABLE",
                &[FRAUD, "part-000000.parquet"],
            ),
            (
                "a part cut short",
                |s, _| {
                    let bytes = kit::read(&s.path(&part(FRAUD)));
                    s.put(&part(FRAUD), &bytes[..bytes.len() - 9]);
                },
                "STREAM_VIEW_UNREADABLE",
                &[FRAUD, "part-000000.parquet"],
            ),
            (
                "a part of another view",
                |s, _| s.put(&Stage::in_view(FRAUD, "part-000001.parquet"), kit::read(&s.path(&part(ARRIVALS)))),
                "STREAM_VIEW_UNREADABLE",
                &[FRAUD, "part-000001.parquet"],
            ),
        ],
    );
}

/// The golden traffic with one byte of a text's page changed, so that the Parquet library panics over it.
fn with_a_page_that_panics(stage: &Stage) -> Vec<u8> {
    let rows = stage.rows(FRAUD);
    let text = "scenario_id";
    let properties = WriterProperties::builder()
        .set_column_dictionary_enabled(text.into(), false)
        .set_column_encoding(text.into(), Encoding::DELTA_BYTE_ARRAY)
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties)).unwrap();
    writer.write(&rows).unwrap();
    let file = writer.into_inner().unwrap();
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&Bytes::from(file.clone())).unwrap();
    let column = metadata.row_group(0).columns().iter().find(|column| column.column_path().string() == text).unwrap();
    let (start, length) = column.byte_range();
    let panics = |file: &[u8]| {
        let file = Bytes::copy_from_slice(file);
        let read = || ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().all(|rows| rows.is_ok());
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(read)).is_err()
    };
    let changed = (start as usize..(start + length) as usize).map(|at| {
        let mut changed = file.clone();
        changed[at] ^= 0x80;
        changed
    });
    changed.into_iter().find(|file| panics(file)).unwrap()
}

#[test]
fn a_panic_of_the_decoder_is_told_by_the_refusal_alone() {
    let gate = CaptureGate::admitting();
    let stage = Stage::golden(&gate.url);
    stage.put(&part(FRAUD), with_a_page_that_panics(&stage));
    let ran = stage.run_once();
    assert_eq!(ran.verdict(), ("FAILED", "STREAM_VIEW_UNREADABLE"));
    let refusal = ran.refusal();
    for named in ["the decoder gave up", FRAUD, "scenario_id", "row group 0"] {
        assert!(refusal.contains(named), "{named} is not named in {refusal}");
    }
    for line in ran.stderr.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object()), "outside the log: {line}");
    }
}
