//! A READY for a world: its facts and the message, made from the world's own documents and checked as a service checks them.
//!
//! ```text
//! world ──► receipt, pack ──► facts, READY ──► a service's own checks ──► Announcement
//!                                                                            └──► facts stored, read back ──► publish
//! ```
//!
//! A READY is published only after the facts that it points to were read back from the store and found to be its own.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use wsp::disk::files;
use wsp::store::{Key, ObjectStore};

use crate::evidence::{Records, Status, run_prefix, unavailable};
use crate::model::{CheckList, Hex32, Hex64, Micros, OutputId, PlatformRunId, Reason, Refusal, ScenarioId, WorldKey};
use crate::oracle::pack::{self, Pack};
use crate::oracle::receipt::{self, Receipt};
use crate::oracle::{gates, view};
use crate::profile::{Profile, is_remote};
use crate::ready::{Outgoing, Parsed, Ready, message};
use crate::reference::run_documents::{Origin, RunDocuments, WorldRef};
use crate::run::{facts, identity};

use super::prepare;

/// Bytes of a stream view's manifest that are read.
const MANIFEST_LIMIT: u64 = 1 << 20;
/// The policy by which these documents are made.
const POLICY: &str = "wsp_ready";
const REVISION: &str = "v1";

/// What a person decides about a run.
#[derive(Debug, Clone)]
pub struct Ids {
    /// The platform run.
    pub platform_run_id: PlatformRunId,
    /// The scenario run; made from platform run and world where it is left open.
    pub run_id: Option<Hex32>,
    /// The world's scenario, where its manifest is not to say.
    pub scenario_id: Option<ScenarioId>,
}

/// Facts and READY of a run that a service would stream.
#[derive(Debug, Clone)]
pub struct Announcement {
    /// Where the facts belong in the object store.
    pub facts_key: Key,
    /// The facts.
    pub facts: Bytes,
    /// READY as it is put on the control topic.
    pub message: Outgoing,
    /// READY as it is read there.
    pub ready: Ready,
}

/// Makes facts and READY of a run of the world at `world`, and makes all checks of a run on them. Nothing is written.
///
/// # Errors
///
/// What a service would refuse the READY for, and why the world's documents can't be read.
pub async fn announce(profile: &Profile, world: &str, ids: &Ids, now: Micros) -> Result<Announcement, Refusal> {
    let mut checks = CheckList::new();
    let references = prepare::check_references(&profile.references(), &mut checks);
    let (plan, catalogue) = references.ok_or_else(|| prepare::first_refusal(&checks))?;
    let root = prepare::engine_root_by_hand(profile, world).map_err(|refusal| refusal.field("--world"))?;
    let root = as_its_views_spell_it(root, &plan.traffic);
    let engine = prepare::open(profile, &root)?;
    let Receipt { manifest_fingerprint, parameter_hash, seed, .. } = receipt::read(&*engine).await?;
    let pack = pack::read(&*engine).await?;
    let scenario_id = scenario(profile, ids, pack.as_ref())?;
    let key = WorldKey { manifest_fingerprint, parameter_hash, scenario_id, seed };
    let outputs: Vec<OutputId> = plan.all().cloned().collect();
    let required = gates::required(&catalogue, &outputs)?;
    let looked_at = profile.policy.require_gate_pass;
    let pack_of_run = pack.as_ref().map(|pack| (&pack.oracle_pack_id, pack.engine_release.as_str()));
    let run_id = match &ids.run_id {
        Some(run_id) => run_id.clone(),
        None => derived_run_id(
            &ids.platform_run_id,
            pack.as_ref().map_or(root.as_str(), |pack| pack.oracle_pack_id.as_str()),
        )?,
    };
    let prefix = run_prefix(&profile.store.root, &ids.platform_run_id)?;
    let documents = RunDocuments {
        world: WorldRef { engine_run_root: &root, key: &key, pack: pack_of_run },
        platform_run_id: &ids.platform_run_id,
        run_id: &run_id,
        prefix: prefix.as_str(),
        traffic: plan.traffic.iter().map(|output| (output.clone(), files_of(profile, &root, output))).collect(),
        // A receipt says PASS, so only of gates that the checks below look at.
        gates: required.keys().filter(|_| looked_at).map(|gate| (*gate).to_owned()).collect(),
        origin: origin(profile, &outputs),
    };
    let announcement = assemble(&documents, &profile.topic, now)?;
    check(profile, &announcement, &root).await?;
    Ok(announcement)
}

/// Makes the checks that a service makes when it takes the READY.
async fn check(profile: &Profile, announcement: &Announcement, root: &str) -> Result<(), Refusal> {
    let Announcement { ready, facts, facts_key, .. } = announcement;
    let identity = identity::lock(ready, &facts::parse(facts, facts_key.as_str())?)?;
    let chosen = prepare::engine_root(profile, ready)?;
    if chosen != root {
        let detail = format!("the profile names another engine run root, which wins over READY's: {chosen}");
        return Err(Refusal::new(Reason::WorldKeyMismatch, detail).file(root).field("oracle_engine_run_root"));
    }
    let mut checks = CheckList::new();
    let pack_ref = ready.payload.oracle_pack_ref.as_ref();
    let prepared = prepare::prepare(profile, pack_ref, identity, chosen, &mut checks).await;
    prepared.map(drop).ok_or_else(|| prepare::first_refusal(&checks))
}

/// Stores the facts, or finds them stored, and reads them back: what lies there then is READY's own. Says whether they are
/// new.
///
/// # Errors
///
/// `STORE_UNAVAILABLE`; what READY and the facts that lie there differ in.
pub async fn store_facts(store: &dyn ObjectStore, announcement: &Announcement) -> Result<bool, Refusal> {
    let Announcement { facts_key, facts, ready, .. } = announcement;
    let new = store.put_new(facts_key, facts.clone()).await.map_err(unavailable)?;
    match prepare::identify(store, ready).await {
        Ok(_) => Ok(new),
        Err(refusal) if refusal.reason == Reason::StoreUnavailable => Err(refusal),
        Err(mut refusal) => {
            let what = "facts of this run are stored already, and they are not this READY's; give another --run-id";
            refusal.detail = format!("{}; {what}", refusal.detail);
            Err(refusal.file(store.full_name(facts_key)))
        }
    }
}

/// What the record says of the READY's run already, where it ended for good.
///
/// # Errors
///
/// `STORE_UNAVAILABLE`.
pub async fn standing(
    store: Arc<dyn ObjectStore>,
    run: &PlatformRunId,
    message_id: &Hex64,
) -> Result<Option<Status>, Refusal> {
    Records::new(store, run)?.standing(message_id).await
}

fn assemble(documents: &RunDocuments<'_>, topic: &str, now: Micros) -> Result<Announcement, Refusal> {
    let internal = |error: String| Refusal::new(Reason::InternalError, error);
    let facts = documents.facts().to_string();
    // The same facts are the same emission, so that a command that is given again publishes no other READY.
    let message_id = documents.message_id(Hex64::sha256(&facts).as_str());
    let body = documents.ready(&message_id, topic, now).to_string();
    let ready = match message::parse(body.as_bytes(), topic) {
        Ok(Parsed::Ready(ready)) => *ready,
        Ok(Parsed::Other { why, .. }) => return Err(internal(format!("the READY that was made is none: {why}"))),
        Err(error) => return Err(Refusal::new(Reason::RunFactsInvalid, format!("no READY can be made: {error}"))),
    };
    Ok(Announcement {
        facts_key: documents.facts_key().parse().map_err(|error| internal(format!("{error}")))?,
        facts: facts.into(),
        message: Outgoing { message_id, partition_key: documents.run_id.to_string(), body: body.into() },
        ready,
    })
}

/// The scenario that a person names, else the pack's, else the profile's.
fn scenario(profile: &Profile, ids: &Ids, pack: Option<&Pack>) -> Result<ScenarioId, Refusal> {
    let of_pack = pack.map(|pack| &pack.world_key.scenario_id);
    let known = ids.scenario_id.as_ref().or(of_pack).or(profile.oracle.scenario_id.as_ref());
    known.cloned().ok_or_else(|| {
        let detail = "the world has no pack manifest that names its scenario; name it with --scenario-id";
        Refusal::new(Reason::ScenarioIdMissing, detail).field("scenario_id")
    })
}

fn derived_run_id(platform_run_id: &PlatformRunId, world: &str) -> Result<Hex32, Refusal> {
    let digest = Hex64::sha256(format!("run|{platform_run_id}|{world}"));
    let half = digest.as_str().get(..32).unwrap_or_default();
    half.parse().map_err(|error| Refusal::new(Reason::InternalError, format!("{error}")))
}

fn origin<'a>(profile: &'a Profile, outputs: &[OutputId]) -> Origin<'a> {
    let policy_rev = profile.policy.policy_rev.as_deref().unwrap_or(&profile.profile_id);
    let outputs: Vec<&str> = outputs.iter().map(OutputId::as_str).collect();
    let config = format!("{POLICY}|{REVISION}|{}|{policy_rev}|{}", profile.profile_id, outputs.join(","));
    Origin {
        environment: &profile.service.environment,
        release: &profile.service.release_id,
        policy_id: POLICY,
        revision: REVISION,
        config_revision: policy_rev,
        config_digest: Hex64::sha256(config),
    }
}

/// Where an output's rows lie.
fn files_of(profile: &Profile, root: &str, output: &OutputId) -> String {
    let views = profile.oracle.stream_view_root.clone();
    let views = views.unwrap_or_else(|| format!("{root}/{}", view::DEFAULT_BASE));
    format!("{}/output_id={output}/part-*.parquet", views.trim_end_matches('/'))
}

/// A folder's root as its views spell it, where that means the same folder from here: a view's id depends on the spelling, and
/// a person may come to the folder in many ways. Any other root stays as it is, and the checks decide.
fn as_its_views_spell_it(root: String, traffic: &[OutputId]) -> String {
    #[derive(Deserialize)]
    struct Manifest {
        engine_run_root: String,
    }
    let spelled = || {
        let folder = Path::new(&root).join(view::DEFAULT_BASE).join(format!("output_id={}", traffic.first()?));
        let text = files::read_text(&folder.join(view::MANIFEST_NAME), MANIFEST_LIMIT).ok()?;
        let Manifest { engine_run_root } = serde_json::from_str(&text).ok()?;
        let same = !is_remote(&engine_run_root)
            && Path::new(&engine_run_root).canonicalize().ok()? == Path::new(&root).canonicalize().ok()?;
        same.then_some(engine_run_root)
    };
    if is_remote(&root) { root } else { spelled().unwrap_or(root) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::LocalRun;
    use crate::reference::world::{WorldSpec, WorldSummary, generate};
    use wsp::store::{LocalStore, MemoryStore};

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
        let gates =
            |announcement: &Announcement| facts::parse(&announcement.facts, "facts").unwrap().gate_receipts.len();
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

    /// Whatever the store does, what was stored is read back before anybody may publish.
    #[tokio::test]
    async fn a_store_that_fails_at_any_call_stores_no_facts_that_could_be_published() {
        let (_folder, profile, world) = stage();
        let announcement = announced(&profile, &world, &ids(), 0).await.unwrap();
        for call in 0..2 {
            for fault in [wsp::store::Fault::Before, wsp::store::Fault::After, wsp::store::Fault::Torn] {
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
}
