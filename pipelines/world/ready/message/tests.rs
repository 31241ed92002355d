use proptest::prelude::*;
use serde_json::json;

use super::*;

const TOPIC: &str = "fp.bus.control.v1";
const GOLDEN: &[u8] = include_bytes!("../../../../tests/golden/ready/message.json");

fn golden() -> Value {
    serde_json::from_slice(GOLDEN).unwrap()
}

fn read(message: &Value) -> Result<Parsed, MessageError> {
    parse(message.to_string().as_bytes(), TOPIC)
}

fn ready(message: &Value) -> Ready {
    match read(message) {
        Ok(Parsed::Ready(ready)) => *ready,
        other => panic!("not a READY: {other:?}"),
    }
}

fn error(message: &Value) -> String {
    read(message).unwrap_err().to_string()
}

#[test]
fn the_golden_message_is_read() {
    let Ok(Parsed::Ready(ready)) = parse(GOLDEN, TOPIC) else { panic!("not a READY") };
    let payload = &ready.payload;
    assert_eq!(payload.run_id.as_str(), "cf7aa18247008796acc2e74d9e8c3eba");
    assert_eq!(payload.platform_run_id.as_ref().unwrap().as_str(), "platform_20260101T000000Z");
    assert_eq!(payload.scenario_id.as_ref().unwrap().as_str(), "baseline_v1");
    assert_eq!(ready.emitted_at(), Micros::parse(b"2026-11-22T14:36:27.844826Z"));
    assert_eq!(ready.published_at, Micros::parse(b"2026-11-22T14:36:27.893066Z"));
    let pack = payload.oracle_pack_ref.as_ref().unwrap();
    assert_eq!(pack.engine_run_root.as_deref(), Some("world"));
    assert_eq!(pack.engine_release.as_deref(), Some("engine-local-r1"));
}

#[test]
fn others_messages_are_passed_over_whatever_they_hold() {
    let mut other = golden();
    other["attributes"]["kind"] = json!("CANCEL");
    other["surprise"] = json!(1);
    other["payload"] = json!([1]);
    assert_eq!(
        read(&other),
        Ok(Parsed::Other { topic: TOPIC.into(), kind: Some("CANCEL".into()), why: "it is of another kind" })
    );
    other["topic"] = json!("x".repeat(500));
    assert!(matches!(read(&other), Ok(Parsed::Other { topic, .. }) if topic.len() < 100));
    other["topic"] = json!(TOPIC);
    other["attributes"]["kind"] = json!(7);
    assert!(matches!(read(&other), Ok(Parsed::Other { kind: Some(kind), .. }) if kind == "7"));
}

#[test]
fn a_message_without_a_kind_is_held_against_ready() {
    let mut message = golden();
    message["attributes"] = json!({});
    ready(&message);
    message.as_object_mut().unwrap().remove("attributes");
    ready(&message);
}

#[test]
fn identities_with_a_reason_of_their_own_may_be_missing() {
    for field in ["platform_run_id", "scenario_run_id", "scenario_id"] {
        let mut message = golden();
        message["payload"].as_object_mut().unwrap().remove(field);
        let ready = ready(&message);
        let present = [
            ready.payload.platform_run_id.is_some(),
            ready.payload.scenario_run_id.is_some(),
            ready.payload.scenario_id.is_some(),
        ];
        assert_eq!(present.iter().filter(|present| !**present).count(), 1, "{field}");
        assert_eq!(ready.scenario_run_id().as_str(), "cf7aa18247008796acc2e74d9e8c3eba");
    }
}

#[test]
fn every_other_required_field_removed_or_altered_is_an_error_that_names_it() {
    for field in [
        "run_id",
        "facts_view_ref",
        "bundle_hash",
        "message_id",
        "run_config_digest",
        "manifest_fingerprint",
        "parameter_hash",
    ] {
        let mut message = golden();
        message["payload"].as_object_mut().unwrap().remove(field);
        assert!(error(&message).contains(&format!("missing field `{field}`")), "{field}");
        for bad in [json!(null), json!(7), json!(""), json!("../../etc/passwd\n"), json!(["a"]), json!({})] {
            message["payload"][field] = bad;
            assert!(error(&message).contains(&format!("at payload.{field}: ")), "{field}: {}", error(&message));
        }
    }
    for field in ["topic", "message_id", "payload"] {
        let mut message = golden();
        message.as_object_mut().unwrap().remove(field);
        assert!(error(&message).contains(&format!("missing field `{field}`")), "{field}");
    }
}

#[test]
fn malformed_values_are_errors() {
    for (pointer, value, expected) in [
        ("/payload/platform_run_id", json!("platform_2026"), "at payload.platform_run_id"),
        ("/payload/scenario_run_id", json!("CF7AA18247008796ACC2E74D9E8C3EBA"), "at payload.scenario_run_id"),
        ("/payload/scenario_id", json!("a\u{0}b"), "at payload.scenario_id"),
        ("/payload/plan_hash", json!("abc"), "at payload.plan_hash"),
        ("/payload/emitted_at_utc", json!("2026-11-22T14:36:27"), "not a time as RFC 3339 has it"),
        ("/payload/emitted_at_utc", json!("2026-11-22 14:36:27Z"), "not a time as RFC 3339 has it"),
        ("/payload/emitted_at_utc", json!(1), "at payload.emitted_at_utc"),
        ("/payload/provenance", json!("x"), "at payload.provenance"),
        ("/payload/oracle_pack_ref", json!({}), "oracle_pack_ref has to name something"),
        ("/payload/oracle_pack_ref", json!({"engine_run_root": null}), "oracle_pack_ref has to name something"),
        ("/payload/oracle_pack_ref", json!({"pack": 1}), "unknown field `pack`"),
        ("/payload/oracle_pack_ref", json!([null]), "at payload.oracle_pack_ref"),
        ("/payload/oracle_pack_ref", json!({"stream_view_output_refs": {"../x": "y"}}), "not an output id"),
        ("/payload/surprise", json!(1), "unknown field `surprise`"),
        ("/surprise", json!(1), "unknown field `surprise`"),
        ("/published_at_utc", json!("yesterday"), "at published_at_utc: not a time"),
        ("/message_id", json!("0".repeat(64)), "the envelope's message_id is 0000"),
        ("/payload", json!(["cf7aa18247008796acc2e74d9e8c3eba"]), "at payload: invalid type: sequence"),
    ] {
        let mut message = golden();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        message.pointer_mut(parent).unwrap()[key] = value;
        let error = error(&message);
        assert!(error.contains(expected), "{pointer}: {error}");
    }
}

#[test]
fn what_is_no_bounded_strict_json_is_an_error() {
    let text = String::from_utf8(GOLDEN.to_vec()).unwrap();
    let twice = text.replacen('{', "{\"topic\": \"fp.bus.control.v1\", ", 1);
    assert!(parse(twice.as_bytes(), TOPIC).unwrap_err().to_string().contains("the key topic stands twice"));
    let huge = format!("{text}{}", " ".repeat(MAX_BYTES));
    assert!(matches!(parse(huge.as_bytes(), TOPIC), Err(MessageError::Json(StrictError::TooLarge { .. }))));
    let mut deep = golden();
    deep["payload"]["provenance"] = (0..40).fold(json!(1), |inner, _| json!({ "a": inner }));
    assert!(error(&deep).contains("nested deeper than 32 levels at payload.provenance.a"));
    for bytes in [&b""[..], b"null", b"[]", b"\"READY\"", b"{", b"\xff\xfe"] {
        assert!(parse(bytes, TOPIC).is_err());
    }
}

proptest! {
    #[test]
    fn mutations_never_panic_and_never_forge_an_id(
        edits in proptest::collection::vec((0..GOLDEN.len(), any::<u8>()), 1..4),
        cut in proptest::option::of(0..GOLDEN.len()),
    ) {
        let mut bytes = GOLDEN.to_vec();
        for (at, byte) in edits {
            bytes[at] = byte;
        }
        bytes.truncate(cut.unwrap_or(usize::MAX));
        if let Ok(Parsed::Ready(ready)) = parse(&bytes, TOPIC) {
            let value: Value = serde_json::from_slice(&bytes).unwrap();
            prop_assert_eq!(value["message_id"].as_str(), Some(ready.payload.message_id.as_str()));
            prop_assert_eq!(value["payload"]["run_id"].as_str(), Some(ready.payload.run_id.as_str()));
        }
    }
}

#[test]
fn an_offset_stands_for_z() {
    for text in ["2026-11-22T14:36:27Z", "2026-11-22T14:36:27+00:00", "2026-11-22T14:36:27.000000+00:00"] {
        let mut message = golden();
        message["payload"]["emitted_at_utc"] = json!(text);
        assert_eq!(ready(&message).emitted_at(), Micros::parse(b"2026-11-22T14:36:27Z"), "{text}");
    }
}
