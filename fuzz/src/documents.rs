//! JSON that others write: READY, facts, the world's papers, records.

use std::sync::Arc;

use futures::executor::block_on;
use wsp::store::{Key, MemoryStore, ObjectStore};
use wsp_world::evidence::{Records, Status};
use wsp_world::model::{Hex64, OutputId, Refusal, WorldKey};
use wsp_world::oracle::{gates, pack, receipt, seal, view};
use wsp_world::ready::{Parsed, Ready, message};
use wsp_world::run::{facts, identity};

use super::assert_sayable;

const TOPIC: &str = "fp.bus.control.v1";
const READY: &[u8] = include_bytes!("../../tests/golden/ready/message.json");
const RUN: &str = "platform_20260101T000000Z";
const PACK: &str = "3d5fb4472a41f3ed4a050989c2c536c026e0e38f95677bc7a4e455128097672b";
const VIEW: &str = "stream_view/ts_utc/output_id=arrival_events_5B";
const MANIFEST: &[u8] = include_bytes!(
    "../../tests/golden/world/stream_view/ts_utc/output_id=arrival_events_5B/_stream_view_manifest.json"
);
const RECEIPT: &[u8] =
    include_bytes!("../../tests/golden/world/stream_view/ts_utc/output_id=arrival_events_5B/_stream_sort_receipt.json");

pub(crate) fn world() -> WorldKey {
    WorldKey {
        manifest_fingerprint: "fa05c8320eddfe6a1a9ff1ab3ac172a520f3d250fa795f34e06ad732393357c4".parse().unwrap(),
        parameter_hash: "7e8079fe017b0b37de2b2afd5e878f36dc99c5084d22eea8b703f012dbf99f97".parse().unwrap(),
        scenario_id: "baseline_v1".parse().unwrap(),
        seed: 42,
    }
}

fn golden_ready() -> Ready {
    match message::parse(READY, TOPIC) {
        Ok(Parsed::Ready(ready)) => *ready,
        other => panic!("the golden READY is one: {other:?}"),
    }
}

fn refused<T>(outcome: Result<T, Refusal>) -> Option<T> {
    outcome.map_err(|refusal| assert_sayable(&refusal.to_string())).ok()
}

pub(crate) fn ready(bytes: &[u8]) {
    match message::parse(bytes, TOPIC) {
        Ok(Parsed::Ready(ready)) => {
            let reference = &ready.payload.facts_view_ref;
            refused(facts::locate(reference, "s3://bucket/store"));
            refused(facts::locate(reference, "/data/store"));
        }
        Ok(Parsed::Other { topic, kind, why }) => {
            assert!(topic.chars().count() <= 81 && kind.is_none_or(|kind| kind.chars().count() <= 81), "{why}");
        }
        Err(error) => assert_sayable(&error.to_string()),
    }
}

pub(crate) fn facts(bytes: &[u8]) {
    let Some(facts) = refused(facts::parse(bytes, "facts")) else { return };
    let ready = golden_ready();
    if let Some(locked) = refused(identity::lock(&ready, &facts)) {
        assert_eq!(Some(&locked.platform_run_id), ready.payload.platform_run_id.as_ref());
        assert_eq!(&locked.scenario_run_id, ready.scenario_run_id());
        assert_eq!(locked.world, world());
    }
}

pub(crate) fn run_receipt(bytes: &[u8]) {
    refused(receipt::parse(bytes, receipt::NAME));
}

pub(crate) fn pack_manifest(bytes: &[u8]) {
    refused(pack::parse(bytes, pack::NAME));
}

pub(crate) fn seal(bytes: &[u8]) {
    let pack: Hex64 = PACK.parse().unwrap();
    refused(seal::judge(bytes, seal::JSON_NAME, Some(&pack)));
    let without = refused(seal::judge(bytes, seal::JSON_NAME, None));
    assert!(!matches!(without, Some(seal::SealState::Sealed(_))), "no manifest, no seal");
}

pub(crate) fn gate_flag(bytes: &[u8]) {
    if let Err(why) = gates::parse_flag(bytes) {
        assert_sayable(&why);
    }
}

pub(crate) fn view_manifest(bytes: &[u8]) {
    if bytes != MANIFEST && view_of(bytes, RECEIPT).is_some() {
        // Other bytes of the same meaning are fine; the golden receipt's count stands.
        assert!(serde_json::from_slice::<serde_json::Value>(bytes).is_ok());
    }
}

pub(crate) fn sort_receipt(bytes: &[u8]) {
    if let Some(view) = view_of(MANIFEST, bytes) {
        assert!(view.span.is_none_or(|(first, last)| first <= last));
        assert!(view.span.is_some() || view.rows == 0);
    }
}

/// The golden view's check with these papers.
fn view_of(manifest: &[u8], receipt: &[u8]) -> Option<view::SealedView> {
    let store = MemoryStore::new("world");
    let output_id: OutputId = "arrival_events_5B".parse().unwrap();
    for (name, bytes) in [
        (view::MANIFEST_NAME, manifest),
        (view::RECEIPT_NAME, receipt),
        ("part-000000.parquet", b"not looked at here".as_slice()),
    ] {
        put(&store, &format!("{VIEW}/{name}"), bytes);
    }
    let base: Key = view::DEFAULT_BASE.parse().unwrap();
    let (world, run) = (world(), "4c3fd444c29c63ada8df6eb5f038bda4".parse().unwrap());
    let expected =
        view::Expected { world: &world, engine_run_id: &run, engine_root: store.root(), output_id: &output_id };
    refused(block_on(view::check(&store, Some(&base), expected)))
}

pub(crate) fn record(bytes: &[u8]) {
    let store = MemoryStore::new("store");
    let id: Hex64 = PACK.parse().unwrap();
    put(&store, &format!("fraud-platform/{RUN}/wsp/ready_runs/{id}.jsonl"), bytes);
    let records = Records::new(Arc::new(store), &RUN.parse().unwrap()).unwrap();
    let lines = block_on(records.read(&id)).unwrap();
    let is_final = lines.iter().any(|line| line.is(Status::Streamed) || line.is(Status::SkippedOutOfScope));
    assert_eq!(block_on(records.standing(&id)).unwrap().is_some(), is_final);
}

fn put(store: &MemoryStore, key: &str, bytes: &[u8]) {
    block_on(store.put(&key.parse().unwrap(), bytes.to_vec().into())).unwrap();
}
