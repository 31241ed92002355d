//! Evidence of the version before: its digests are sha256 over the event ids in the view's order.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use wsp_world::model::Hex64;

use super::{START, SUMMARY, edit, streamed, verify};
use crate::kit::capture::CaptureGate;
use crate::kit::{OUTPUTS, canonical};

/// The digest of the golden run's events of an output.
fn chained(output: &str) -> String {
    let mut hash = Sha256::new();
    for body in canonical().iter().filter(|body| body["event_type"] == output) {
        let id = body["event_id"].as_str().unwrap();
        hash.update((0..32).map(|i| u8::from_str_radix(&id[2 * i..2 * i + 2], 16).unwrap()).collect::<Vec<_>>());
    }
    Hex64::of_digest(hash.finalize().into()).to_string()
}

#[test]
fn evidence_of_the_version_before_is_verified_and_reported() {
    let stage = streamed(&CaptureGate::admitting().url);
    let digests = OUTPUTS.map(chained);
    edit(&stage, START, |start| start["schema"] = json!("wsp_start.v2"));
    edit(&stage, SUMMARY, |summary| {
        summary["schema"] = json!("wsp_summary.v3");
        summary["event_id_digest"] = json!(Hex64::sha256(digests.concat()));
        for (output, digest) in summary["outputs"].as_array_mut().unwrap().iter_mut().zip(&digests) {
            output["event_id_digest"] = json!(digest);
            output.as_object_mut().unwrap().remove("event_id_digest_from").unwrap();
        }
    });
    assert_eq!(verify(&stage, &[]), (Some(0), Vec::new()));
    let report = stage.wsp(&["report", "--profile", "profile.yaml"]).output().unwrap();
    let page = String::from_utf8(report.stdout).unwrap();
    assert!(report.status.success() && page.contains("Streamed to its end") && page.contains(&digests[3][..16]));

    edit(&stage, SUMMARY, |summary| summary["outputs"][3]["event_id_digest"] = Value::from("0".repeat(64)));
    let wrong = vec![(format!("digest {}", OUTPUTS[3]), "EVIDENCE_MISMATCH".to_owned())];
    assert_eq!(verify(&stage, &[]), (Some(1), wrong));
}
