//! Makes a READY for a world: facts and message, from the world's own documents, checked as a service checks them.
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
use crate::run::documents::{Origin, RunDocuments, WorldRef};
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
    /// The scenario run; derived from platform run and world where it is none.
    pub run_id: Option<Hex32>,
    /// The world's scenario, in place of its manifest's.
    pub scenario_id: Option<ScenarioId>,
}

/// Facts and READY of a run that a service would stream.
#[derive(Debug, Clone)]
pub struct Announcement {
    /// The facts' key in the object store.
    pub facts_key: Key,
    /// The facts.
    pub facts: Bytes,
    /// READY as it is published.
    pub message: Outgoing,
    /// READY as a service reads it.
    pub ready: Ready,
}

/// Makes facts and READY of a run of the world at `world`, and makes all checks of a run on them. Nothing is written.
///
/// # Errors
///
/// What a service would refuse the READY for; documents of the world that can't be read.
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

/// Stores the facts, or finds them stored, reads them back and compares them with READY. Returns whether they are new.
///
/// # Errors
///
/// `STORE_UNAVAILABLE`; a difference between READY and the facts that are stored.
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

/// The final verdict in the READY's record, where there is one.
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
    // The same facts are the same emission, so that repeating the command publishes no other READY.
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

/// A folder's root as its views spell it, if that is the same folder from here: a view's id depends on the spelling, and a
/// person may spell the folder in many ways. Any other root stays as it is, and the checks decide.
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
