//! `wsp verify` and `wsp report` on a run whose lanes workers shared: whether each lane's evidence agrees with the run's, where their
//! checkpoints stand, and how they stand before the run has its verdict.

use std::collections::BTreeMap;
use std::sync::Arc;

use wsp::store::ObjectStore;

use super::book::{LaneBook, LaneRound, RunEnd};
use super::status::status;
use super::tasks::TaskSet;
use crate::checkpoint::{CheckpointStore, RowCursors};
use crate::evidence::{LaneState, LaneStatus, LaneSummary, LanesStatus, Status, Summaries, Told};
use crate::model::{CheckList, Lane, Lanes, Micros, PlatformRunId, Reason, Refusal};
use crate::prepare::Prepared;
use crate::resuming;

/// The newest round of the run that `told` tells of; none where no workers share it.
async fn newest(
    store: &Arc<dyn ObjectStore>,
    home: &PlatformRunId,
    told: &Told,
) -> Result<Option<(TaskSet, LaneRound)>, Refusal> {
    let Some(message_id) = told.start.run.message_id.as_ref().filter(|_| told.start.run.lane.is_none()) else {
        return Ok(None);
    };
    let book = LaneBook::new(store.clone(), home, message_id)?;
    let Some(tasks) = book.newest().await? else { return Ok(None) };
    let round = book.round(&tasks)?;
    Ok(Some((tasks, round)))
}

/// How the lanes stand at `now` of a run that is under way; none where no workers share it, or where it has its verdict.
///
/// # Errors
///
/// `STORE_UNAVAILABLE`; `EVIDENCE_UNREADABLE` where an object is not what this program writes.
pub async fn under_way(
    store: &Arc<dyn ObjectStore>,
    home: &PlatformRunId,
    told: &Told,
    now: Micros,
) -> Result<Option<LanesStatus>, Refusal> {
    let Some((tasks, round)) = newest(store, home, told).await? else { return Ok(None) };
    if round.decided().await?.is_some() {
        return Ok(None);
    }
    status(&round, &tasks, &mut BTreeMap::new(), now).await.map(Some)
}

/// Notes each lane, and whether its end, its own summary and the run's say the same; of a run under way, how each lane stands at
/// `now`.
///
/// # Errors
///
/// `STORE_UNAVAILABLE`; all else is a check of the list.
pub async fn agree(
    store: &Arc<dyn ObjectStore>,
    home: &PlatformRunId,
    told: &Told,
    now: Micros,
    list: &mut CheckList,
) -> Result<(), Refusal> {
    match checked(store, home, told, now, list).await {
        Err(refusal) if refusal.reason != Reason::StoreUnavailable => {
            list.refuse("lanes", refusal);
            Ok(())
        }
        checked => checked,
    }
}

async fn checked(
    store: &Arc<dyn ObjectStore>,
    home: &PlatformRunId,
    told: &Told,
    now: Micros,
    list: &mut CheckList,
) -> Result<(), Refusal> {
    let Some((tasks, round)) = newest(store, home, told).await? else {
        if told.summary.as_ref().is_some_and(|summary| summary.lanes.is_some()) {
            return Err(Refusal::new(Reason::EvidenceMissing, "the summary has lanes, and there are no lane tasks"));
        }
        return Ok(());
    };
    let Some(end) = round.decided().await? else {
        let found = status(&round, &tasks, &mut BTreeMap::new(), now).await?;
        list.pass("lanes", format!("the run is under way: {}", found.words()));
        for (lane, found) in tasks.lanes.lanes().zip(&found.lanes) {
            list.pass(lane.to_string(), words(found));
        }
        return Ok(());
    };
    list.note("lanes", same_verdict(told, &end), Clone::clone);
    for lane in tasks.lanes.lanes() {
        let summaries = Summaries::new(store.clone(), home)?.of_lane(lane);
        match of_lane(&round, &summaries, lane, &end).await {
            Err(refusal) if refusal.reason == Reason::StoreUnavailable => return Err(refusal),
            found => list.note(lane.to_string(), found, Clone::clone),
        };
    }
    Ok(())
}

fn mismatch(detail: impl Into<String>) -> Refusal {
    Refusal::new(Reason::EvidenceMismatch, detail)
}

/// The verdict of the lanes is the run's. A run without a summary is a check of its own.
fn same_verdict(told: &Told, end: &RunEnd) -> Result<String, Refusal> {
    if told.summary.as_ref().is_some_and(|summary| *summary != *end.summary) {
        return Err(mismatch("wsp_summary.json differs from the summary that the lanes' verdict.json holds"));
    }
    let lanes = end.summary.lanes.as_ref().ok_or_else(|| mismatch("verdict.json names no lanes"))?;
    Ok(format!("{} lanes: {}", lanes.count, LanesStatus::of_summary(&end.summary, lanes).words()))
}

/// A lane in words, where its end, its own summary and the run's say the same.
async fn of_lane(round: &LaneRound, summaries: &Summaries, lane: Lane, run: &RunEnd) -> Result<String, Refusal> {
    let missing = |what: &str| Refusal::new(Reason::EvidenceMissing, format!("{lane}: {what} is missing"));
    let end = round.ended(lane).await?.ok_or_else(|| missing("its end"))?;
    let ours = LaneSummary::of(&end);
    let theirs = run.summary.lanes.iter().flat_map(|lanes| &lanes.ends).find(|theirs| theirs.index == lane.index());
    if theirs != Some(&ours) {
        return Err(mismatch(format!("{lane}: its end says {ours:?}, the run's summary {theirs:?}")));
    }
    if let Some(summary) = &end.summary {
        let own = summaries.summary().await?.ok_or_else(|| missing("its own summary"))?;
        if own != **summary {
            let (own, end) = (own.started, summary.started);
            return Err(mismatch(format!(
                "{lane}: its own summary is of the start at {own}, its end of the one at {end}"
            )));
        }
    }
    Ok(words(&LaneStatus::ended(&end)))
}

fn words(lane: &LaneStatus) -> String {
    let state = lane.state.as_str();
    let mut words = vec![lane.reason.map_or_else(|| state.to_owned(), |reason| format!("{state} {reason}"))];
    words.push(format!("{} events", lane.answered));
    if let Some(worker) = &lane.worker {
        let verb = if matches!(lane.state, LaneState::Running | LaneState::Silent) { "held" } else { "ended" };
        words.push(format!("{verb} by {worker}"));
    }
    for takeover in &lane.takeovers {
        let how = if takeover.left { "left by" } else { "lost by" };
        words.push(format!("{how} {} and held again at {}", takeover.from_worker, takeover.held));
        let time = takeover.recovery();
        words.extend(time.map(|time| format!("{:.1} s from the last save to the first event", time.as_secs_f64())));
    }
    words.join(", ")
}

/// Where the lanes' checkpoints stand: behind the last row of each lane once the run is streamed. Behind it may lie rows of other
/// lanes.
///
/// # Errors
///
/// `EVIDENCE_MISMATCH`, naming the lane; what looking at a checkpoint refuses.
pub async fn standing(
    run: &Prepared,
    lanes: Lanes,
    store: &dyn CheckpointStore<RowCursors>,
    attempt_id: &str,
    status: Status,
) -> Result<String, Refusal> {
    let mut open = 0;
    for lane in lanes.lanes() {
        let of_lane = run.of_lane(lane);
        let (resumed, _) = resuming::look(&of_lane, store, &of_lane.scope(attempt_id)).await?;
        if of_lane.has_more(&resumed.from).await {
            if status == Status::Streamed {
                let detail = format!("{lane}: rows of it lie behind the place where its checkpoint stands");
                return Err(mismatch(detail));
            }
            open += 1;
        }
    }
    let count = lanes.count;
    Ok(match open {
        0 => format!("{count} lanes, each behind its last row"),
        open => format!("{count} lanes, {open} of them before their last row"),
    })
}
