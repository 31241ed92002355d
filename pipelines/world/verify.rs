//! Checks that a run's evidence is consistent, with itself and with what it describes.
//!
//! ```text
//! Told ─► by itself ─► Oracle: content of each view ─► checkpoint: positions ─► digests, read again ─► gate: a sample
//! ```
//!
//! Nothing is written anywhere. The list has every check under its own name: passed, waived (not asked for) or
//! refused.

use std::collections::BTreeSet;

use wsp::clock::Clock;

use crate::envelope::RunPins;
use crate::evidence::verify::holds_together;
use crate::evidence::{End, LanesSummary, OutputSummary, Status, Summary, Told, Unstarted};
use crate::ig::{IgProbe, Lookup};
use crate::lanes;
use crate::model::{CheckList, Hex64, Lane, OutputId, PlatformRunId, Reason, Refusal};
use crate::oracle::View;
use crate::oracle::world::{self, ViewRoot, Wanted};
use crate::profile::Profile;
use crate::run::identity::RunIdentity;

use super::positions::{checkpoints, resumed_at};
use super::prepare::{self, Prepared, PreparedOutput};
use super::rereading::{self, Claim, Sample};
use super::resuming::{self, Resumed};

/// How much is looked at.
#[derive(Debug, Clone)]
pub struct Depth<C> {
    /// Read the Oracle's rows again and compare the digests; it takes as long as reading them for the run did.
    pub digest: bool,
    /// Ask this gate about so many events.
    pub sample: Option<(IgProbe<C>, u64)>,
}

/// Verifies the last start of `home`, or of the profile's lane of it.
///
/// # Errors
///
/// `EVIDENCE_MISSING` where nothing started; `EVIDENCE_UNREADABLE`; `STORE_UNAVAILABLE`. All else is a check.
pub async fn verify<C: Clock + std::fmt::Debug>(
    profile: &Profile,
    home: &PlatformRunId,
    depth: &Depth<C>,
    clock: C,
) -> Result<CheckList, Refusal> {
    let store = prepare::open_own(profile)?;
    let mut list = CheckList::new();
    if let Some(unstarted) = Unstarted::read(&store, home, profile.lane).await? {
        unstarted.holds_together(&store, home, &mut list).await?;
        return Ok(list);
    }
    let told = Told::read(&store, home, profile.lane).await?;
    holds_together(&store, home, &told, &mut list).await?;
    lanes::agree(&store, home, &told, clock.utc(), &mut list).await?;
    let Some(summary) = &told.summary else { return Ok(list) };
    let world = list.note("oracle", reopen(profile, summary).await, |run| run.engine_root.clone());
    let Some(world) = world else { return Ok(list) };
    for (output, summary) in world.outputs.iter().zip(&summary.outputs) {
        list.note(format!("content {}", summary.start.output_id), content(output, summary), Clone::clone);
        list.note(format!("rows {}", summary.start.output_id), rows(&output.view, summary, profile.lane), |()| {
            format!(
                "{} rows by the view's receipt, {} before, {} answered",
                output.view.rows,
                summary.start.resumed_at,
                summary.counts.settled()
            )
        });
    }
    let standing = standing(profile, &world, summary, clock).await;
    list.note("checkpoint", standing, Clone::clone);
    if depth.digest || depth.sample.is_some() {
        read_again(&world, &told, summary, depth, &mut list).await;
    } else {
        list.waive("digest", "not asked for");
    }
    if depth.sample.is_none() {
        list.waive("gate", "not asked for");
    }
    Ok(list)
}

fn mismatch(detail: impl Into<String>) -> Refusal {
    Refusal::new(Reason::EvidenceMismatch, detail)
}

/// The world that the run was streamed from, with all its checks made again.
async fn reopen(profile: &Profile, summary: &Summary) -> Result<Prepared, Refusal> {
    let run = &summary.run;
    let outputs: Vec<OutputId> = summary.outputs.iter().map(|output| output.start.output_id.clone()).collect();
    let engine = prepare::open(profile, &run.engine_run_root)?;
    let views = prepare::open(profile, &run.stream_view_root)?;
    let catalogue = prepare::read_catalogue(&profile.oracle.catalogue_path)?;
    let wanted = Wanted {
        world: &run.world_key,
        oracle_pack_id: None,
        engine_release: None,
        failed_gates: &BTreeSet::new(),
        outputs: &outputs,
        catalogue: &catalogue,
        require_seal: profile.policy.require_seal,
        require_gate_pass: profile.policy.require_gate_pass,
    };
    let mut checks = CheckList::new();
    let world = world::inspect(&*engine, ViewRoot { store: &*views, base: None }, &wanted, &mut checks).await;
    let outputs = match &world {
        Some(world) => prepare::check_rows(world, &run.world_key, &views, &catalogue, &mut checks).await,
        None => Vec::new(),
    };
    checks.verdict()?;
    Ok(Prepared {
        identity: RunIdentity::of_world(
            run.platform_run_id.clone(),
            run.scenario_run_id.clone(),
            run.world_key.clone(),
        ),
        engine_root: run.engine_run_root.clone(),
        view_root: run.stream_view_root.clone(),
        pins: pins(summary),
        pack_key: run.pack_key.clone(),
        unsealed: None,
        outputs,
        lane: run.lane.unwrap_or(Lane::WHOLE),
    })
}

fn pins(summary: &Summary) -> RunPins {
    let run = &summary.run;
    RunPins {
        world: run.world_key.clone(),
        run_id: run.engine_run_id.clone(),
        platform_run_id: run.platform_run_id.clone(),
        scenario_run_id: run.scenario_run_id.clone(),
        producer: summary.producer.producer_id.clone(),
        trace_id: run.pack_key.to_string(),
        span_id: None,
    }
}

/// The view holds what the start read.
fn content(output: &PreparedOutput, summary: &OutputSummary) -> Result<String, Refusal> {
    let (found, told) = (output.files().content(), &summary.start.content);
    if found == *told {
        return Ok(format!("{found}, as the start read it"));
    }
    Err(mismatch(format!("the start read {told}, the view holds {found} now: files, rows or footers differ")))
}

/// The summary's rows are the receipt's, and a run that is complete has answered the last of them.
fn rows(view: &View, output: &OutputSummary, lane: Lane) -> Result<(), Refusal> {
    let start = &output.start;
    if start.rows != view.rows || start.files != view.parts.len() as u64 {
        return Err(mismatch(format!(
            "the summary has {} rows in {} files, the view {} in {}",
            start.rows,
            start.files,
            view.rows,
            view.parts.len()
        )));
    }
    let due = view.rows - start.resumed_at.min(view.rows);
    let settled = output.counts.settled();
    if lane.is_whole() && settled > due {
        return Err(mismatch(format!("{settled} answered of {due} that were left")));
    }
    Ok(())
}

/// Where the checkpoint stands: at the end of a complete run, else behind what the digest covers.
async fn standing<C: Clock + std::fmt::Debug>(
    profile: &Profile,
    run: &Prepared,
    summary: &Summary,
    clock: C,
) -> Result<String, Refusal> {
    let store = checkpoints(profile, &run.identity.platform_run_id, clock)?;
    if let Some(lanes) = summary.lanes.as_ref().and_then(LanesSummary::lanes) {
        return lanes::standing(run, lanes, &*store, &profile.checkpoint.attempt_id, summary.status).await;
    }
    let (Resumed { from, .. }, _) = resuming::look(run, &*store, &summary.run.checkpoint_scope).await?;
    let complete = summary.status == Status::Streamed && summary.end == End::Complete;
    // Behind a lane's last row may lie rows of others.
    if complete && !run.lane.is_whole() && run.has_more(&from).await {
        return Err(mismatch("rows of the lane lie behind the place where its checkpoint stands"));
    }
    let mut short = 0;
    for ((output, told), place) in run.outputs.iter().zip(&summary.outputs).zip(from) {
        let (reached, id) = (resumed_at(&output.view, place), &told.start.output_id);
        let whole = complete && run.lane.is_whole();
        if whole && reached != output.view.rows {
            return Err(mismatch(format!("{id}: it stands at row {reached} of {}", output.view.rows)));
        }
        if whole && told.start.resumed_at + told.counts.settled() != reached {
            return Err(mismatch(format!(
                "{id}: it stands at row {reached}, with {} rows before and {} answered",
                told.start.resumed_at,
                told.counts.settled()
            )));
        }
        let covered = told.told().reaches();
        if run.lane.is_whole() && reached > covered.max(told.start.resumed_at) {
            return Err(mismatch(format!(
                "{id}: it stands at row {reached}, but rows were answered to {covered} alone"
            )));
        }
        short += output.view.rows - reached.min(output.view.rows);
    }
    Ok(if short == 0 { "at the end of every output".to_owned() } else { format!("{short} rows before the end") })
}

/// Reads the rows that the starts of the run answered once more, for their ids.
async fn read_again<C: Clock>(run: &Prepared, told: &Told, summary: &Summary, depth: &Depth<C>, list: &mut CheckList) {
    if summary.lanes.is_some() && summary.status != Status::Streamed {
        list.waive("digest", "the run failed, and each of its lanes ended at a place of its own");
        return;
    }
    let own = Claim::of_summary(summary);
    let earlier = told.start.earlier.iter().filter_map(|start| Claim::of_earlier(start, run.outputs.len()));
    let asked = depth.sample.as_ref().map(|(probe, sample)| (probe, *sample));
    let wanted = asked.map(|(_, sample)| Sample::of(summary, sample));
    let Some(sampled) = rereading::check(run, own, earlier.collect(), wanted, list).await else { return };
    if let Some((probe, _)) = asked {
        let asked = sampled.len();
        let quarantined: Vec<u64> = summary.outputs.iter().map(|output| output.counts.quarantined).collect();
        match ask(probe, sampled, quarantined).await {
            Ok(None) => list.waive("gate", "the gate has no lookup: nothing is proved, for or against"),
            Ok(Some(0)) => list.pass("gate", format!("it has all {asked} that it was asked about")),
            Ok(Some(n)) => list.pass(
                "gate",
                format!(
                    "it has {} of {asked} that it was asked about; {n} it quarantined, as the run tells",
                    asked as u64 - n
                ),
            ),
            Err(refusal) => list.refuse("gate", refusal),
        }
    }
}

/// Whether the gate has admitted these events, each of the output with that rank, but for those that the run tells to be
/// `quarantined`, so many an output: of such a one the gate has no record, or one that says so. Answers how many those
/// were; `None` if the gate can't be asked.
async fn ask<C: Clock>(
    probe: &IgProbe<C>,
    sampled: Vec<(usize, [u8; 32])>,
    mut quarantined: Vec<u64>,
) -> Result<Option<u64>, Refusal> {
    let mut turned_away = 0;
    for (rank, event_id) in sampled {
        let id = Hex64::of_digest(event_id);
        let told = |record: &serde_json::Value, field: &str, expected: &str| {
            record[field].as_str().is_none_or(|told| told == expected)
        };
        let (turned, wrong) = match probe.lookup(id.as_str()).await {
            Ok(Lookup::Unsupported) => return Ok(None),
            Ok(Lookup::Record(record)) => {
                let ours = told(&record, "event_id", id.as_str());
                if ours && told(&record, "decision", "ADMIT") {
                    continue;
                }
                (ours && told(&record, "decision", "QUARANTINE"), format!("the gate's record is {record}"))
            }
            Ok(Lookup::Unknown) => (true, "the gate has no record of it".to_owned()),
            Err(error) => (false, error.to_string()),
        };
        match quarantined.get_mut(rank) {
            Some(left) if turned && *left > 0 => {
                *left -= 1;
                turned_away += 1;
            }
            _ => return Err(mismatch(format!("event {id}: {wrong}"))),
        }
    }
    Ok(Some(turned_away))
}
