use super::*;
use crate::oracle::testing::{Doctored, hex64, world_key};

const OUTPUT: &str = "arrival_events_5B";
const ENGINE_RUN: &str = "4c3fd444c29c63ada8df6eb5f038bda4";

fn object_of(name: &str) -> String {
    format!("{DEFAULT_BASE}/output_id={OUTPUT}/{name}")
}

async fn checked_of(store: &Doctored, base: Option<&str>, output: &str) -> Result<SealedView, Refusal> {
    let (world, run, output) = (world_key(), ENGINE_RUN.parse().unwrap(), output.parse().unwrap());
    let base = base.map(|base| base.parse().unwrap());
    let expected = Expected { world: &world, engine_run_id: &run, engine_root: store.root(), output_id: &output };
    check(store, base.as_ref(), expected).await
}

async fn checked(doctor: impl FnOnce(&mut Doctored)) -> Result<SealedView, Refusal> {
    let mut world = Doctored::new();
    doctor(&mut world);
    checked_of(&world, Some(DEFAULT_BASE), OUTPUT).await
}

async fn refused(doctor: impl FnOnce(&mut Doctored)) -> (Reason, Option<String>) {
    let refusal = checked(doctor).await.unwrap_err();
    (refusal.reason, refusal.place.field)
}

#[tokio::test]
async fn every_golden_view_is_vouched_for() {
    for (output, rows) in [
        ("arrival_events_5B", 50),
        ("s1_arrival_entities_6B", 50),
        ("s2_event_stream_baseline_6B", 100),
        ("s2_flow_anchor_baseline_6B", 50),
        ("s3_event_stream_with_fraud_6B", 100),
        ("s3_flow_anchor_with_fraud_6B", 50),
    ] {
        let view = checked_of(&Doctored::new(), Some(DEFAULT_BASE), output).await.unwrap();
        assert_eq!((view.output_id.as_str(), view.rows, view.parts.len()), (output, rows, 1));
        assert_eq!(view.span.unwrap().0, Micros::parse(b"2026-01-01T00:00:00Z").unwrap());
        assert!(view.bytes() > 1000 && view.parts[0].key.name() == "part-000000.parquet");
    }
}

#[test]
fn the_view_id_is_that_of_the_golden_vector() {
    let vectors: Value = serde_json::from_slice(include_bytes!("../../../../tests/golden/hash_vectors.json")).unwrap();
    let id = stream_view_id("world", &"baseline_v1".parse().unwrap(), &OUTPUT.parse().unwrap());
    assert_eq!(id.as_str(), vectors["stream_view_id"]["sha256"].as_str().unwrap());
    // The id's text is ASCII: what is not is escaped as UTF-16 units.
    let expected = Hex64::sha256(
        r#"{"engine_run_root":"w\u00f6rld\ud83c\udf0d","output_id":"a","partition_granularity":"flat","scenario_id":"s","sort_keys":["ts_utc","filename","file_row_number"]}"#,
    );
    assert_eq!(stream_view_id("wörld🌍", &"s".parse().unwrap(), &"a".parse().unwrap()), expected);
}

#[tokio::test]
async fn a_missing_piece_is_a_missing_view() {
    for name in [MANIFEST_NAME, RECEIPT_NAME] {
        assert_eq!(refused(|world| world.remove(&object_of(name))).await, (Reason::StreamViewMissing, None));
    }
    let unknown = checked_of(&Doctored::new(), Some(DEFAULT_BASE), "unknown").await.unwrap_err();
    assert_eq!(unknown.reason, Reason::StreamViewMissing);
    assert_eq!(refused(Doctored::break_down).await.0, Reason::StoreUnavailable);
}

#[tokio::test]
async fn a_view_without_parts_is_empty() {
    let part = object_of("part-000000.parquet");
    assert_eq!(refused(|world| world.remove(&part)).await, (Reason::StreamViewEmpty, None));
}

#[tokio::test]
async fn the_manifest_is_of_this_world_output_and_root() {
    use Reason as R;
    for (pointer, value, reason) in [
        ("/output_id", json!("s1_arrival_entities_6B"), R::StreamViewOutputMismatch),
        ("/output_ids", json!(["s1_arrival_entities_6B"]), R::StreamViewOutputMismatch),
        ("/world_key/manifest_fingerprint", json!(hex64()), R::WorldKeyMismatch),
        ("/world_key/parameter_hash", json!(hex64()), R::WorldKeyMismatch),
        ("/world_key/scenario_id", json!("other"), R::WorldKeyMismatch),
        ("/world_key/seed", json!(43), R::WorldKeyMismatch),
        ("/scenario_id", json!("other"), R::WorldKeyMismatch),
        ("/engine_run_id", json!("0".repeat(32)), R::WorldKeyMismatch),
        ("/engine_run_root", json!("./world"), R::StreamViewIdMismatch),
        ("/stream_view_id", json!(hex64()), R::StreamViewIdMismatch),
        ("/sort_keys", json!(["ts_utc"]), R::StreamViewManifestInvalid),
        ("/partition_granularity", json!("day"), R::StreamViewManifestInvalid),
        ("/stream_view_id", json!("x"), R::StreamViewManifestInvalid),
        ("/world_key/more", json!(1), R::StreamViewManifestInvalid),
    ] {
        let (found, field) = refused(|world| world.set(&object_of(MANIFEST_NAME), pointer, value)).await;
        assert_eq!(found, reason, "{pointer}");
        if reason != R::StreamViewManifestInvalid {
            assert_eq!(field, Some(pointer[1..].replace('/', ".")));
        }
    }
    for field in ["stream_view_id", "engine_run_root", "engine_run_id", "scenario_id", "output_id", "world_key"] {
        let (found, _) = refused(|world| world.unset(&object_of(MANIFEST_NAME), &format!("/{field}"))).await;
        assert_eq!(found, R::StreamViewManifestInvalid, "{field}");
    }
    assert_eq!(refused(|world| world.write(&object_of(MANIFEST_NAME), "{")).await.0, R::StreamViewManifestInvalid);
}

#[tokio::test]
async fn the_same_world_under_another_spelling_of_its_root_is_refused() {
    for root in ["./world", "/golden/world", "s3://bucket/world"] {
        let world = Doctored::new().opened_as(root);
        let refusal = checked_of(&world, Some(DEFAULT_BASE), OUTPUT).await.unwrap_err();
        assert_eq!(refusal.reason, Reason::StreamViewIdMismatch);
        assert!(refusal.detail.contains("built from \"world\""), "{refusal}");
    }
}

#[tokio::test]
async fn the_receipt_is_ok_and_nothing_was_lost() {
    use Reason as R;
    for (pointer, value, reason) in [
        ("/status", json!("FAILED"), R::StreamViewReceiptBad),
        ("/output_id", json!("other"), R::StreamViewOutputMismatch),
        ("/stream_view_id", json!(hex64()), R::StreamViewIdMismatch),
        ("/sorted_stats/row_count", json!(49), R::StreamViewReceiptBad),
        ("/raw_stats/row_count", json!(51), R::StreamViewReceiptBad),
        ("/sorted_stats/hash_sum", json!("1"), R::StreamViewReceiptBad),
        ("/raw_stats/hash_sum2", json!("1"), R::StreamViewReceiptBad),
        ("/raw_stats/hash_sum", json!(null), R::StreamViewReceiptBad),
        ("/sorted_stats/min_ts_utc", json!("2026-01-01T00:00:01"), R::StreamViewReceiptBad),
        ("/raw_stats/max_ts_utc", json!(null), R::StreamViewReceiptBad),
        ("/sorted_stats/row_count", json!("50"), R::StreamViewReceiptBad),
        ("/sorted_stats/row_count", json!(-1), R::StreamViewReceiptBad),
    ] {
        let (found, _) = refused(|world| world.set(&object_of(RECEIPT_NAME), pointer, value)).await;
        assert_eq!(found, reason, "{pointer}");
    }
    assert_eq!(refused(|world| world.write(&object_of(RECEIPT_NAME), "[]")).await.0, R::StreamViewReceiptBad);
}

#[tokio::test]
async fn a_span_may_be_one_instant() {
    let at = "2026-01-01T00:00:00.000000Z";
    let view = checked(|world| {
        for (stats, field) in ["raw_stats", "sorted_stats"].iter().flat_map(|s| [(s, "min_ts_utc"), (s, "max_ts_utc")])
        {
            world.set(&object_of(RECEIPT_NAME), &format!("/{stats}/{field}"), json!(at));
        }
    });
    let instant = Micros::parse(at.as_bytes()).unwrap();
    assert_eq!(view.await.unwrap().span, Some((instant, instant)));
}

#[tokio::test]
async fn both_sides_of_a_receipt_may_still_make_no_span() {
    for (field, value) in
        [("min_ts_utc", json!("soon")), ("min_ts_utc", json!("2027-01-01")), ("max_ts_utc", json!(null))]
    {
        let found = refused(|world| {
            for stats in ["raw_stats", "sorted_stats"] {
                world.set(&object_of(RECEIPT_NAME), &format!("/{stats}/{field}"), value.clone());
            }
        });
        assert_eq!(found.await, (Reason::StreamViewReceiptBad, Some("sorted_stats".to_owned())), "{field} {value}");
    }
    let reversed = refused(|world| {
        for stats in ["raw_stats", "sorted_stats"] {
            world.set(&object_of(RECEIPT_NAME), &format!("/{stats}/min_ts_utc"), json!("2099-01-01T00:00:00Z"));
        }
    });
    assert_eq!(reversed.await.0, Reason::StreamViewReceiptBad);
    let no_rows = checked(|world| {
        for stats in ["raw_stats", "sorted_stats"] {
            let stats = format!("/{stats}");
            world.set(&object_of(RECEIPT_NAME), &stats, json!({"row_count": 0, "hash_sum": "0", "hash_sum2": "0"}));
        }
    });
    assert_eq!(no_rows.await.unwrap().span, None);
}

#[tokio::test]
async fn parts_come_in_order_of_their_number() {
    let view = checked(|world| {
        for name in ["part-000010.parquet", "part-1000000.parquet", "part-999999.parquet", "part-000002.parquet"] {
            world.write(&object_of(name), "x");
        }
        world.write(&object_of("notes.txt"), "x");
        world.write(&object_of("deeper/part-000001.parquet"), "x");
    });
    let view = view.await.unwrap();
    let names: Vec<_> = view.parts.iter().map(|part| part.key.name()).collect();
    assert_eq!(
        names,
        [
            "part-000000.parquet",
            "part-000002.parquet",
            "part-000010.parquet",
            "part-999999.parquet",
            "part-1000000.parquet"
        ]
    );
    assert!(view.parts[1..].iter().all(|part| part.meta.size == 1));
}

#[tokio::test]
async fn a_part_that_has_no_place_in_the_order_is_refused() {
    for name in ["part-0.parquet", "part-x.parquet", "part-.parquet", "part-99999999999999999999999.parquet"] {
        let found = refused(|world| world.write(&object_of(name), "x")).await;
        assert_eq!(found.0, Reason::StreamViewRowsMismatch, "{name}");
    }
}

#[tokio::test]
async fn a_view_root_of_its_own_has_the_views_right_below() {
    let mut world = Doctored::new();
    for name in [MANIFEST_NAME, RECEIPT_NAME, "part-000000.parquet"] {
        world.copy(&object_of(name), &format!("output_id={OUTPUT}/{name}"));
        world.remove(&object_of(name));
    }
    assert_eq!(checked_of(&world, None, OUTPUT).await.unwrap().rows, 50);
}
