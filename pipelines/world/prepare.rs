//! All checks that have to pass before the first event of a run is sent.
//!
//! ```text
//! READY ─► in_scope ─► identify (facts) ─► engine_root ─► prepare: producer, outputs, catalogue,
//!                                                          world, footers, columns ─► Prepared
//! ```
//!
//! The checks go into a [`CheckList`], so that a plan shows all of them and a run takes the first refusal.

mod roots;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use futures::{Stream, StreamExt};
use wsp::store::{CountedStore, Key, ObjectStore};
use wsp::telemetry::Counter;

use crate::checkpoint::{FileRows, OutputFiles, ScopeKey};
use crate::envelope::{Framer, LaneFilter, OutputFrame, RunPins, check_schema};
use crate::model::{
    CheckList, Hex32, Hex64, Lane, Micros, Names, OutputId, PlatformRunId, Reason, Refusal, RowBatch, ScenarioId,
    WorldKey,
};
use crate::oracle::catalogue::{self, Catalogue};
use crate::oracle::receipt::{self, Receipt};
use crate::oracle::seal::SealState;
use crate::oracle::view::SealedView;
use crate::oracle::world::{self, ViewRoot, Wanted, World};
use crate::oracle::{Prefetch, Resume, RowFilter, Scan, View, ViewFiles, shares};
use crate::profile::{OutputPlan, Profile, References, check_producer, is_remote, order_key_column};
use crate::ready::Ready;
use crate::ready::message::OraclePackRef;
use crate::run::facts;
use crate::run::identity::{self, RunIdentity};

use super::first_rows;
use roots::view_root;
pub use roots::{engine_root, engine_root_by_hand, open, open_own};

/// A run that may stream.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// What it is called.
    pub identity: RunIdentity,
    /// The engine run root as it was resolved.
    pub engine_root: String,
    /// Where its stream views are.
    pub view_root: String,
    /// What every envelope carries.
    pub pins: RunPins,
    /// The world's part of the checkpoint's scope.
    pub pack_key: Hex64,
    /// Why the world is not sealed, where policy let that pass.
    pub unsealed: Option<&'static str>,
    /// The outputs, by rank.
    pub outputs: Vec<PreparedOutput>,
    /// This process's share of it.
    pub lane: Lane,
}

/// One output of a [`Prepared`] run.
#[derive(Debug, Clone)]
pub struct PreparedOutput {
    /// Its rows.
    pub view: View,
    /// First and last event time, as its receipt has it.
    pub span: Option<(Micros, Micros)>,
    /// Columns its event ids are made from.
    pub primary_key: Vec<String>,
    /// Column its events are kept in line by.
    pub order_key: Option<&'static str>,
}

impl Prepared {
    /// The key under which this run's cursors are kept.
    #[must_use]
    pub fn scope(&self, attempt_id: &str) -> Hex64 {
        let RunIdentity { platform_run_id, scenario_run_id, .. } = &self.identity;
        ScopeKey { pack_key: &self.pack_key, platform_run_id, scenario_run_id, lane: self.lane, attempt_id }.derive()
    }

    /// The same run, with this lane of it to be streamed.
    #[must_use]
    pub fn of_lane(&self, lane: Lane) -> Self {
        Self { lane, ..self.clone() }
    }

    /// The outputs' ids, by rank.
    #[must_use]
    pub fn output_ids(&self) -> Vec<OutputId> {
        self.outputs.iter().map(|output| output.view.output_id.clone()).collect()
    }

    /// The outputs as cursors see them.
    #[must_use]
    pub fn output_files(&self) -> Vec<OutputFiles> {
        self.outputs.iter().map(PreparedOutput::files).collect()
    }

    /// What its outputs and their files are called.
    #[must_use]
    pub fn names(&self) -> Names {
        let files = |view: &View| view.parts.iter().map(|part| part.name.clone()).collect();
        Names::new(self.outputs.iter().map(|output| (output.view.output_id.clone(), files(&output.view))))
    }

    /// What makes its rows to bodies.
    #[must_use]
    pub fn framer(&self) -> Framer {
        Framer::new(&self.pins, self.outputs.iter().map(PreparedOutput::frame).collect())
    }

    /// The lane's rows of every output by rank, each from its place in `from` on, as `scan` says; its memory is shared
    /// among the outputs, and one of them at a time reads ahead.
    pub fn batches(
        &self,
        scan: Scan,
        from: &[Resume],
    ) -> Vec<impl Stream<Item = Result<RowBatch, Refusal>> + Send + use<>> {
        let outputs = self.outputs.iter().zip(from);
        let scan = scan.prefetch(Prefetch::new(1));
        let wishes: Vec<u64> = outputs.clone().map(|(output, from)| output.view.memory_wish(*from)).collect();
        outputs
            .zip(shares(scan.memory_bytes(), &wishes))
            .map(|((output, from), share)| {
                let scan = scan.clone().resume(*from).memory(share);
                output.view.batches_where(scan, self.row_filter(output))
            })
            .collect()
    }

    /// The same run, with the bytes that are read of its views counted.
    #[must_use]
    pub fn counting(&self, read: &Counter) -> Self {
        let mut run = self.clone();
        for output in &mut run.outputs {
            output.view.store = Arc::new(CountedStore::new(output.view.store.clone(), read.clone()));
        }
        run
    }

    /// Whether any row of the lane is left from these places on. A row that can't be read is one that is left.
    pub async fn has_more(&self, from: &[Resume]) -> bool {
        for batches in self.batches(Scan::new().times_only().limit(1), from) {
            if std::pin::pin!(batches).next().await.is_some() {
                return true;
            }
        }
        false
    }

    /// What picks the lane's rows of `output`; nothing where the lane is the whole run.
    fn row_filter(&self, output: &PreparedOutput) -> Option<RowFilter> {
        if self.lane.is_whole() {
            return None;
        }
        let filter = LaneFilter::new(&output.frame(), &self.pins.world, self.lane, &output.view.schema);
        Some(RowFilter::new(filter.columns(), move |rows, keep| filter.keep(rows, keep)))
    }

    /// The first event time of the world, over its outputs.
    #[must_use]
    pub fn first_ts(&self) -> Option<Micros> {
        self.outputs.iter().filter_map(|output| Some(output.span?.0)).min()
    }
}

impl PreparedOutput {
    /// Its files as cursors see them.
    #[must_use]
    pub fn files(&self) -> OutputFiles {
        let View { output_id, store, parts, .. } = &self.view;
        // An object's ETag is of its content. On a disk the version is of the file, and a copy of the file has another.
        let has_e_tags = is_remote(store.root());
        let files = parts.iter().map(|part| FileRows {
            name: part.name.clone(),
            rows: part.rows,
            bytes: part.file.meta.size,
            footer_sha256: Hex64::of_digest(part.footer_sha256),
            e_tag: has_e_tags.then(|| part.file.meta.version.0.clone()),
        });
        OutputFiles { output_id: output_id.clone(), files: files.collect() }
    }

    /// What its rows are framed by.
    #[must_use]
    pub fn frame(&self) -> OutputFrame {
        OutputFrame {
            output_id: self.view.output_id.clone(),
            primary_key: self.primary_key.clone(),
            order_key: self.order_key.map(str::to_owned),
            files: self.view.parts.iter().map(|part| part.name.clone()).collect(),
        }
    }
}

/// Checks what a profile refers to and what does not depend on a READY.
///
/// # Errors
///
/// The first of the producer's, outputs' and catalogue's refusals.
pub fn check_profile(profile: &Profile) -> Result<(), Refusal> {
    let mut list = CheckList::new();
    check_references(&profile.references(), &mut list);
    list.verdict()
}

/// READY has to be of the active run, where one is.
///
/// # Errors
///
/// `PLATFORM_RUN_SCOPE_MISMATCH`; `PLATFORM_RUN_ID_MISSING` where READY names none.
pub fn in_scope(ready: &Ready, active: Option<&PlatformRunId>) -> Result<(), Refusal> {
    let field = "platform_run_id";
    let Some(run) = &ready.payload.platform_run_id else {
        return Err(Refusal::new(Reason::PlatformRunIdMissing, "READY has none").field(field));
    };
    match active {
        Some(active) if active != run => {
            let detail = format!("READY is for {run}, the active run is {active}");
            Err(Refusal::new(Reason::PlatformRunScopeMismatch, detail).field(field))
        }
        _ => Ok(()),
    }
}

/// READY must not be older than policy allows.
///
/// # Errors
///
/// `READY_TOO_OLD`, also where READY has no time at all while policy sets a bound.
pub fn fresh(ready: &Ready, max_age: Option<Duration>, now: Micros) -> Result<(), Refusal> {
    let Some(max_age) = max_age else { return Ok(()) };
    let refuse = |detail: String| Err(Refusal::new(Reason::ReadyTooOld, detail).field("emitted_at_utc"));
    let Some(emitted) = ready.emitted_at() else {
        return refuse("READY says nowhere when it was emitted".to_owned());
    };
    let age = Duration::from_micros(u64::try_from(now.0.saturating_sub(emitted.0)).unwrap_or(0));
    if age <= max_age {
        return Ok(());
    }
    refuse(format!("emitted at {emitted}, {} s ago; at most {} s are allowed", age.as_secs(), max_age.as_secs()))
}

/// Reads the facts that READY points to and locks the run's identity.
///
/// # Errors
///
/// As [`facts::locate`], [`facts::read`] and [`identity::lock`].
pub async fn identify(store: &dyn ObjectStore, ready: &Ready) -> Result<RunIdentity, Refusal> {
    let key = facts::locate(&ready.payload.facts_view_ref, store.root())?;
    let facts = facts::read(store, &key).await?;
    identity::lock(ready, &facts)
}

/// The identity of a run without READY: what the receipt of the world says, and the engine's `run_id` where nobody names a
/// scenario run.
///
/// # Errors
///
/// As [`open`] and [`receipt::read`].
pub async fn identify_world(
    profile: &Profile,
    engine_root: &str,
    scenario_id: ScenarioId,
    platform_run_id: PlatformRunId,
    scenario_run_id: Option<Hex32>,
) -> Result<RunIdentity, Refusal> {
    let receipt = receipt::read(&*open(profile, engine_root)?).await?;
    let Receipt { run_id, manifest_fingerprint, parameter_hash, seed } = receipt;
    let world = WorldKey { manifest_fingerprint, parameter_hash, scenario_id, seed };
    Ok(RunIdentity::of_world(platform_run_id, scenario_run_id.unwrap_or(run_id), world))
}

/// All the way from READY to a run that may stream, for whoever wants no more of the checks than their verdict.
///
/// # Errors
///
/// As [`open_own`], [`identify`] and [`engine_root`]; else the first refusal of [`prepare`]'s checks.
pub async fn of_ready(profile: &Profile, ready: &Ready) -> Result<Prepared, Refusal> {
    of_ready_checked(profile, ready, &mut CheckList::new()).await
}

/// As [`of_ready`], with the checks added to `list`.
///
/// # Errors
///
/// As [`of_ready`].
pub async fn of_ready_checked(profile: &Profile, ready: &Ready, list: &mut CheckList) -> Result<Prepared, Refusal> {
    let identity = identify(&*open_own(profile)?, ready).await?;
    let pack_ref = ready.payload.oracle_pack_ref.as_ref();
    let run = prepare(profile, pack_ref, identity, engine_root(profile, ready)?, list).await;
    run.ok_or_else(|| first_refusal(list))
}

/// Makes all checks of the world and its rows' columns, adding them to `list`; `pack_ref` is what READY says of the world's
/// place, where there is a READY that does. Nothing but footers, small files and some outermost rows is read, whatever the
/// world's size. `None` where anything refuses.
pub async fn prepare(
    profile: &Profile,
    pack_ref: Option<&OraclePackRef>,
    identity: RunIdentity,
    engine_root: String,
    list: &mut CheckList,
) -> Option<Prepared> {
    let (plan, catalogue) = check_references(&profile.references(), list)?;
    if !profile.allow_plaintext.is_empty() {
        let links: Vec<&str> = profile.allow_plaintext.iter().map(|link| link.name()).collect();
        list.waive("plaintext", format!("allowed by wiring.security.allow_plaintext: {}", links.join(", ")));
    }
    if let Some(scenario) = profile.oracle.scenario_id.as_ref().filter(|id| **id != identity.world.scenario_id) {
        let detail = format!("the profile wants {scenario}, the run is of {}", identity.world.scenario_id);
        list.refuse("scenario", Refusal::new(Reason::WorldKeyMismatch, detail).field("oracle_scenario_id"));
    }
    let outputs: Vec<OutputId> = plan.all().cloned().collect();
    let engine = list.note("engine run store", open(profile, &engine_root), |store| store.root().to_owned())?;
    let root_of = |store: &Arc<dyn ObjectStore>, base: &Option<Key>| {
        base.as_ref().map_or_else(|| store.root().to_owned(), |base| store.full_name(base))
    };
    let views = view_root(profile, pack_ref, &outputs, &engine);
    let (view_store, base) = list.note("stream views", views, |(store, base)| root_of(store, base))?;
    let wanted = Wanted {
        world: &identity.world,
        oracle_pack_id: identity.oracle_pack_id.as_ref(),
        engine_release: identity.engine_release.as_deref(),
        failed_gates: &identity.failed_gates,
        outputs: &outputs,
        catalogue: &catalogue,
        require_seal: profile.policy.require_seal,
        require_gate_pass: profile.policy.require_gate_pass,
    };
    let view_root = ViewRoot { store: &*view_store, base: base.as_ref() };
    let world = world::inspect(&*engine, view_root, &wanted, list).await?;
    let outputs = check_rows(&world, &identity.world, &view_store, &catalogue, list).await;
    let roots = (engine_root, root_of(&view_store, &base));
    list.verdict().is_ok().then(|| assemble(profile, identity, roots, &world, outputs))
}

/// What a run is refused for: the first refusal of its checks.
#[must_use]
pub fn first_refusal(checks: &CheckList) -> Refusal {
    let unexplained = || Refusal::new(Reason::InternalError, "the run was not prepared, and no check says why");
    checks.verdict().err().unwrap_or_else(unexplained)
}

fn assemble(
    profile: &Profile,
    identity: RunIdentity,
    (engine_root, view_root): (String, String),
    world: &World,
    outputs: Vec<PreparedOutput>,
) -> Prepared {
    let pack_key = ScopeKey::pack_key(world.pack.as_ref().map(|pack| &pack.oracle_pack_id), &engine_root);
    let pins = RunPins {
        world: identity.world.clone(),
        run_id: world.receipt.run_id.clone(),
        platform_run_id: identity.platform_run_id.clone(),
        scenario_run_id: identity.scenario_run_id.clone(),
        producer: profile.producer_id.clone(),
        trace_id: pack_key.to_string(),
        span_id: world.pack.as_ref().map(|pack| pack.engine_release.clone()),
    };
    let unsealed = match world.seal {
        SealState::Sealed(_) => None,
        SealState::Unsealed(why) => Some(why),
    };
    Prepared { identity, engine_root, view_root, pins, pack_key, unsealed, outputs, lane: profile.lane }
}

/// Checks what a profile refers to and what does not depend on a READY, adding each check to `list`.
pub(super) fn check_references(refers: &References<'_>, list: &mut CheckList) -> Option<(OutputPlan, Catalogue)> {
    let producer = check_producer(refers.producer_allowlist, refers.producer_id);
    list.note("producer", producer, |()| format!("{} is on the allowlist", refers.producer_id));
    let plan = OutputPlan::new(refers.traffic_output_ids, refers.context_output_ids, refers.only);
    let plan = list.note("outputs", plan, |plan| plan.all().map(OutputId::as_str).collect::<Vec<_>>().join(", "));
    let catalogue = read_catalogue(refers.catalogue_path);
    let catalogue = list.note("catalogue", catalogue, |_| refers.catalogue_path.display().to_string());
    Some((plan?, catalogue?))
}

/// Reads the engine's catalogue of outputs at `path`, and the map of gates beside it.
///
/// # Errors
///
/// `CATALOGUE_INVALID`.
pub fn read_catalogue(path: &Path) -> Result<Catalogue, Refusal> {
    let read = |path: PathBuf| {
        let refuse = |detail: String| Refusal::new(Reason::CatalogueInvalid, detail).file(path.display().to_string());
        let size = std::fs::metadata(&path).map_err(|error| refuse(error.to_string()))?.len();
        if size > catalogue::MAX_BYTES as u64 {
            return Err(refuse(format!("{size} bytes are more than the {} that are read", catalogue::MAX_BYTES)));
        }
        std::fs::read(&path).map_err(|error| refuse(error.to_string()))
    };
    let gate_map = path.with_file_name(catalogue::GATE_MAP_NAME);
    Catalogue::parse(&read(path.to_owned())?, &read(gate_map)?)
}

/// Footers, columns and outermost rows of every view, read side by side.
pub(super) async fn check_rows(
    world: &World,
    world_key: &WorldKey,
    store: &Arc<dyn ObjectStore>,
    catalogue: &Catalogue,
    list: &mut CheckList,
) -> Vec<PreparedOutput> {
    let views = world.views.iter().enumerate();
    let checks = views.map(|(rank, sealed)| check_output(rank, sealed, world_key, store, catalogue));
    let checked = join_all(checks).await;
    world
        .views
        .iter()
        .zip(checked)
        .filter_map(|(sealed, checked)| {
            list.note(format!("rows {}", sealed.output_id), checked, |output| {
                let groups: usize = output.view.parts.iter().map(|part| part.row_groups.len()).sum();
                format!(
                    "{} rows in {groups} row groups, {} columns",
                    output.view.rows,
                    output.view.schema.fields().len()
                )
            })
        })
        .collect()
}

async fn check_output(
    rank: usize,
    sealed: &SealedView,
    world_key: &WorldKey,
    store: &Arc<dyn ObjectStore>,
    catalogue: &Catalogue,
) -> Result<PreparedOutput, Refusal> {
    let files = ViewFiles {
        rank: u16::try_from(rank).unwrap_or(u16::MAX),
        output_id: sealed.output_id.clone(),
        store: store.clone(),
        files: sealed.parts.clone(),
        expected_rows: sealed.rows,
    };
    let view = files.inspect().await?;
    let primary_key = catalogue.primary_key(&sealed.output_id)?.to_vec();
    let order_key = order_key_column(sealed.output_id.as_str());
    let first = view.parts.first().map(|part| part.name.clone()).unwrap_or_default();
    check_schema(&view.schema, &primary_key, order_key).map_err(|refusal| refusal.file(first))?;
    first_rows::check(&view, sealed, world_key).await?;
    Ok(PreparedOutput { view, span: sealed.span, primary_key, order_key })
}
