//! `wsp ready`: facts and READY that are made for a world, as a service would check them.

use wsp::store::{Fault, LocalStore, MemoryStore};
use wsp_reference::LocalRun;
use wsp_reference::world::{WorldSpec, WorldSummary, generate};
use wsp_world::announce::{Announcement, Ids, announce, store_facts};
use wsp_world::model::{Hex64, Micros, Reason, Refusal};
use wsp_world::prepare;
use wsp_world::profile::Profile;
use wsp_world::run::facts;

const RUN: &str = "platform_20260101T000000Z";

fn stage() -> (tempfile::TempDir, Profile, WorldSummary) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("world");
    let world = generate(&root, root.to_str().unwrap(), &WorldSpec::new(200)).unwrap();
    let profile = LocalRun::new(folder.path(), "http://127.0.0.1:1", "key").profile().unwrap();
    let profile = Profile::load(&profile, &|_| None).unwrap();
    (folder, profile, world)
}

fn ids() -> Ids {
    Ids { platform_run_id: RUN.parse().unwrap(), run_id: None, scenario_id: None }
}

async fn announced(profile: &Profile, world: &WorldSummary, ids: &Ids, now: i64) -> Result<Announcement, Refusal> {
    announce(profile, &world.engine_run_root, ids, Micros(now)).await
}

#[tokio::test]
async fn the_same_run_has_the_same_ids_at_any_time_and_another_run_has_others() {
    let (_folder, profile, world) = stage();
    let first = announced(&profile, &world, &ids(), 1_000_000).await.unwrap();
    let later = announced(&profile, &world, &ids(), 9_000_000).await.unwrap();
    assert_eq!((&first.facts, &first.facts_key), (&later.facts, &later.facts_key));
    assert_eq!(first.message.message_id, later.message.message_id);
    assert_ne!(first.message.body, later.message.body, "when it was published stands in it");
    let other_run = Ids { platform_run_id: "platform_20260102T000000Z".parse().unwrap(), ..ids() };
    let other_scenario_run = Ids { run_id: Some("ab".repeat(16).parse().unwrap()), ..ids() };
    for other in [other_run, other_scenario_run] {
        let other = announced(&profile, &world, &other, 1_000_000).await.unwrap();
        assert_ne!(other.message.message_id, first.message.message_id);
        assert_ne!(other.facts_key, first.facts_key);
        assert_ne!(other.message.partition_key, first.message.partition_key);
    }
}

/// A service takes it, by the very checks of a run.
#[tokio::test]
async fn a_service_would_take_what_was_stored() {
    let (_folder, profile, world) = stage();
    let announcement = announced(&profile, &world, &ids(), 1_000_000).await.unwrap();
    let store = LocalStore::open(profile.store.root.as_str());
    assert!(store_facts(&store, &announcement).await.unwrap());
    assert!(!store_facts(&store, &announcement).await.unwrap(), "they are there");
    let run = prepare::of_ready(&profile, &announcement.ready).await.unwrap();
    assert_eq!(run.identity.platform_run_id.as_str(), RUN);
    assert_eq!(run.engine_root, world.engine_run_root);
}

/// Facts without gate receipts where policy does not look at gates: nobody has seen them pass.
#[tokio::test]
async fn no_gate_is_said_to_pass_that_was_not_looked_at() {
    let (folder, mut profile, world) = stage();
    let gates = |announcement: &Announcement| facts::parse(&announcement.facts, "facts").unwrap().gate_receipts.len();
    assert_eq!(gates(&announced(&profile, &world, &ids(), 0).await.unwrap()), 2);
    std::fs::remove_dir_all(folder.path().join("world/data")).unwrap();
    let refusal = announced(&profile, &world, &ids(), 0).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::GatePassMissing);
    profile.policy.require_gate_pass = false;
    assert_eq!(gates(&announced(&profile, &world, &ids(), 0).await.unwrap()), 0);
}

#[tokio::test]
async fn a_world_without_a_manifest_needs_a_scenario() {
    let (folder, mut profile, world) = stage();
    profile.policy.require_seal = false;
    for name in ["_oracle_pack_manifest.json", "_SEALED.json"] {
        std::fs::remove_file(folder.path().join("world").join(name)).unwrap();
    }
    let refusal = announced(&profile, &world, &ids(), 0).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::ScenarioIdMissing);
    assert!(refusal.detail.contains("--scenario-id"), "{refusal}");
    let named = Ids { scenario_id: Some(world.world_key.scenario_id.clone()), ..ids() };
    let announcement = announced(&profile, &world, &named, 0).await.unwrap();
    assert_eq!(announcement.ready.payload.oracle_pack_ref.unwrap().oracle_pack_id, None);
}

#[tokio::test]
async fn a_world_without_a_manifest_is_traced_by_its_root() {
    let (folder, mut profile, world) = stage();
    let traced = async |profile: &Profile| {
        let ids = Ids { scenario_id: Some(world.world_key.scenario_id.clone()), ..ids() };
        let announcement = announced(profile, &world, &ids, 0).await.unwrap();
        store_facts(&LocalStore::open(profile.store.root.as_str()), &announcement).await.unwrap();
        let run = prepare::of_ready(profile, &announcement.ready).await.unwrap();
        (run.pins.trace_id, run.pins.span_id.is_some())
    };
    assert_eq!(traced(&profile).await, (world.oracle_pack_id.to_string(), true));
    profile.policy.require_seal = false;
    for name in ["_oracle_pack_manifest.json", "_SEALED.json"] {
        std::fs::remove_file(folder.path().join("world").join(name)).unwrap();
    }
    std::fs::remove_dir_all(folder.path().join("store")).unwrap();
    assert_eq!(traced(&profile).await, (Hex64::sha256(&world.engine_run_root).to_string(), false));
}

/// Whatever the store does, what was stored is read back before anybody may publish.
#[tokio::test]
async fn a_store_that_fails_at_any_call_stores_no_facts_that_could_be_published() {
    let (_folder, profile, world) = stage();
    let announcement = announced(&profile, &world, &ids(), 0).await.unwrap();
    for call in 0..2 {
        for fault in [Fault::Before, Fault::After, Fault::Torn] {
            let store = MemoryStore::new("runs");
            store.crash_at(call, fault);
            let refusal = store_facts(&store, &announcement).await.unwrap_err();
            assert_eq!(refusal.reason, Reason::StoreUnavailable, "{call} {fault:?}");
            store.heal();
            store_facts(&store, &announcement).await.unwrap();
            assert_eq!(store.contents().len(), 1);
        }
    }
}
