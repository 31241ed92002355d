//! Whether a run's evidence holds together by itself: without the Oracle, the checkpoint or the gate.
//!
//! ```text
//! Told ─► summary (of this start?) ─► counts ─► series ─► record (the same verdict?) ─► facts, each once and whole
//! ```
//!
//! Each check goes into the list under its own name, so that what is wrong can be told apart.

use std::sync::Arc;

use super::governance::{Facts, Family, Pins, Provenance, dedupe_key_of_lane};
use super::told::parts_of;
use super::{Counts, End, Fact, START_SCHEMA, SUMMARY_SCHEMA, Status, Summary, Told};
use crate::model::{CheckList, Hex64, Lane, PlatformRunId, Reason, Refusal};
use crate::store::ObjectStore;

/// What one side says and the other does not.
fn mismatch(detail: impl Into<String>) -> Refusal {
    Refusal::new(Reason::EvidenceMismatch, detail)
}

/// Refuses unless both are equal.
fn same<T: PartialEq + std::fmt::Debug>(what: &str, left: &T, right: &T) -> Result<(), Refusal> {
    if left == right { Ok(()) } else { Err(mismatch(format!("{what}: {left:?} against {right:?}"))) }
}

/// Checks what can be told from the evidence alone.
///
/// # Errors
///
/// `STORE_UNAVAILABLE`; all else is a check of the list.
pub async fn holds_together(
    store: &Arc<dyn ObjectStore>,
    home: &PlatformRunId,
    told: &Told,
    list: &mut CheckList,
) -> Result<(), Refusal> {
    list.note("start", same("the version", &told.start.schema.as_str(), &START_SCHEMA), |()| {
        let ready = told.start.run.message_id.as_ref().map_or("none", Hex64::as_str);
        format!("{}, READY {ready}", told.start.started)
    });
    if let Some(summary) =
        list.note("summary", summary_of_start(told), |summary| format!("{} {:?}", summary.status, summary.end))
    {
        list.note("counts", counts(summary), |()| format!("{} answered", summary.totals.answered));
        list.note("series", series(summary), |()| {
            format!("{} buckets add up to the totals", summary.series.wall.admitted.len())
        });
        list.note("record", record(told, summary), |()| {
            format!("{} lines, the last as the summary", told.record.len())
        });
    }
    let facts = facts(store, home, told).await;
    if let Err(refusal) = &facts
        && refusal.reason == Reason::StoreUnavailable
    {
        return Err(refusal.clone());
    }
    list.note("facts", facts, |n| format!("{n}, each with its body, its line and its marker"));
    Ok(())
}

/// The summary, if it is the one of the start that is told of.
fn summary_of_start(told: &Told) -> Result<&Summary, Refusal> {
    let start = &told.start;
    let Some(summary) = &told.summary else {
        return Err(Refusal::new(Reason::EvidenceMissing, "there is no wsp_summary.json: it goes on, or was cut off"));
    };
    same("the version", &summary.schema.as_str(), &SUMMARY_SCHEMA)?;
    same("when it started", &start.started, &summary.started)?;
    same("the run", &start.run, &summary.run)?;
    same("READY's place", &start.ready, &summary.ready)?;
    same("the producer", &start.producer, &summary.producer)?;
    same("the delivery", &start.delivery, &summary.delivery)?;
    same("the limits", &start.limits, &summary.limits)?;
    same("the checks", &start.checks, &summary.checks)?;
    let outputs: Vec<_> = summary.outputs.iter().map(|output| output.start.clone()).collect();
    same("the outputs", &start.outputs, &outputs)?;
    if summary.ended < summary.started {
        return Err(mismatch(format!("it ended at {}, before it started at {}", summary.ended, summary.started)));
    }
    let whole = summary.status == Status::Streamed;
    let as_status = matches!(summary.end, End::Complete | End::Capped) == whole && summary.reason.is_none() == whole;
    if as_status {
        Ok(summary)
    } else {
        let Summary { status, end, reason, .. } = summary;
        Err(mismatch(format!("{status} does not go with end {end:?} and reason {reason:?}")))
    }
}

/// Every count is the sum of its parts, and no output goes beyond its rows or the limits.
fn counts(summary: &Summary) -> Result<(), Refusal> {
    let mut sum = Counts::default();
    for output in &summary.outputs {
        let (counts, id) = (&output.counts, &output.start.output_id);
        decisions(id.as_str(), counts)?;
        sum.add(counts);
        let settled = counts.settled();
        if output.start.resumed_at + settled > output.start.rows {
            return Err(mismatch(format!(
                "{id}: {} rows before and {settled} answered are more than its {} rows",
                output.start.resumed_at, output.start.rows
            )));
        }
        if output.event_id_digest_events > settled {
            return Err(mismatch(format!(
                "{id}: the digest covers {} events, {settled} were answered",
                output.event_id_digest_events
            )));
        }
        if summary.limits.max_events_per_output.is_some_and(|limit| settled > limit) {
            return Err(mismatch(format!("{id}: {settled} answered are beyond the limit")));
        }
    }
    same("the totals and the sum of the outputs", &summary.totals, &sum)?;
    same("emitted, and admitted with duplicates", &summary.emitted, &sum.emitted())?;
    if summary.limits.max_events.is_some_and(|limit| sum.settled() > limit) {
        return Err(mismatch(format!("{} answered are beyond the limit", sum.settled())));
    }
    if summary.pushes.attempts < sum.attempts {
        return Err(mismatch(format!(
            "{} attempts in all, {} of answered events",
            summary.pushes.attempts, sum.attempts
        )));
    }
    Ok(())
}

fn decisions(what: &str, counts: &Counts) -> Result<(), Refusal> {
    let of = |detail: &str| format!("{what}: {detail}");
    let decided = counts.admitted + counts.duplicates + counts.quarantined;
    same(&of("answered, and the sum of its decisions"), &counts.answered, &decided)?;
    same(&of("attempts, and first ones with repeated ones"), &counts.attempts, &(counts.answered + counts.retries))
}

fn series(summary: &Summary) -> Result<(), Refusal> {
    let (wall, totals) = (&summary.series.wall, &summary.totals);
    for (what, column, total) in [
        ("admitted", &wall.admitted, totals.admitted),
        ("duplicates", &wall.duplicates, totals.duplicates),
        ("quarantined", &wall.quarantined, totals.quarantined),
        ("retries", &wall.retries, totals.retries),
    ] {
        same(&format!("{what} over time, and in all"), &column.iter().sum(), &total)?;
    }
    let by_output = summary.series.event_time.outputs.iter().map(|counts| counts.iter().sum::<u64>());
    let answered = summary.outputs.iter().map(|output| output.counts.answered);
    same("events over event time, and of each output", &by_output.collect::<Vec<_>>(), &answered.collect::<Vec<_>>())
}

/// The record's last line is this start's verdict; at most one says that the run was streamed.
fn record(told: &Told, summary: &Summary) -> Result<(), Refusal> {
    let Some(last) = told.record.last() else {
        return Err(Refusal::new(Reason::EvidenceMissing, "the record has no line"));
    };
    same("status in record and summary", &last.status.as_str(), &summary.status.as_str())?;
    same("reason in record and summary", &last.reason.as_deref(), &summary.reason.map(Reason::code))?;
    same("emitted in record and summary", &last.emitted, &Some(summary.emitted))?;
    let streamed = told.record.iter().filter(|line| line.is(Status::Streamed)).count();
    if streamed > 1 { Err(mismatch(format!("{streamed} lines of the record say STREAMED"))) } else { Ok(()) }
}

/// One `READY_SEEN`, one `STARTED`, and an `ENDED` an end that started; says how many facts there are.
async fn facts(store: &Arc<dyn ObjectStore>, home: &PlatformRunId, told: &Told) -> Result<usize, Refusal> {
    let expected = expected_ids(store, told)?;
    for (family, event_id) in &expected {
        let lines: Vec<&Fact> = told.facts.iter().filter(|fact| fact.event_id == *event_id).collect();
        let [line] = lines.as_slice() else {
            return Err(mismatch(format!("{family} {event_id} is listed {} times", lines.len())));
        };
        let (body, marker) = parts_of(&**store, home, event_id).await?;
        match body {
            None => return Err(Refusal::new(Reason::EvidenceMissing, format!("{family} {event_id} has no body"))),
            Some(body) if body != **line => {
                return Err(mismatch(format!("{family} {event_id}: its line is not its body")));
            }
            Some(_) if !marker => {
                return Err(Refusal::new(Reason::EvidenceMissing, format!("{family} {event_id} has no marker")));
            }
            Some(_) => {}
        }
    }
    let mut strangers = told.facts.iter().filter(|fact| fact.event_family != Family::RunCancelled.as_str());
    if let Some(fact) = strangers.find(|fact| expected.iter().all(|(_, id)| *id != fact.event_id)) {
        return Err(mismatch(format!("{} {} is none that this run owes", fact.event_family, fact.event_id)));
    }
    ends(told)?;
    Ok(expected.len())
}

/// The facts that the run owes: their families and ids, the ends as many as are listed.
fn expected_ids(store: &Arc<dyn ObjectStore>, told: &Told) -> Result<Vec<(&'static str, String)>, Refusal> {
    let run = &told.start.run;
    let pins = Pins {
        platform_run_id: run.platform_run_id.clone(),
        scenario_run_id: run.scenario_run_id.clone(),
        manifest_fingerprint: None,
        parameter_hash: None,
        seed: None,
        scenario_id: None,
    };
    // An id depends on run and dedupe key alone.
    let ids = Facts::new(store.clone(), pins, Provenance::default())?;
    let lane = run.lane.unwrap_or(Lane::WHOLE);
    let Some(message_id) = &run.message_id else {
        return Err(Refusal::new(Reason::EvidenceMissing, "the start names no READY, so no fact can be its"));
    };
    let ended = dedupe_key_of_lane("ended", message_id, lane);
    let ends = told.facts.iter().filter(|fact| fact.event_family == Family::RunEnded.as_str()).count();
    let mut keys = vec![
        (Family::RunReadySeen, format!("ready_seen:{message_id}")),
        (Family::RunStarted, dedupe_key_of_lane("started", message_id, lane)),
    ];
    let owed = ends.max(usize::from(told.summary.is_some()));
    keys.extend((1..=owed).map(|n| (Family::RunEnded, if n == 1 { ended.clone() } else { format!("{ended}:{n}") })));
    Ok(keys.into_iter().map(|(family, key)| (family.as_str(), ids.event_id(family, &key).to_string())).collect())
}

/// Every end has its line in the record, in order, and the last is the summary's.
fn ends(told: &Told) -> Result<(), Refusal> {
    let mut lines = told.record.iter();
    let ended = told.facts.iter().filter(|fact| fact.event_family == Family::RunEnded.as_str());
    let mut last = None;
    for fact in ended {
        let (status, emitted) = (fact.text("status"), fact.details["emitted"].as_u64());
        // Verdicts of starts that were refused before they began have no fact.
        if !lines.any(|line| line.status == status && line.emitted == emitted) {
            let words = format!(
                "{} {}: no line of the record says {status} with {emitted:?}",
                fact.event_family, fact.event_id
            );
            return Err(mismatch(words));
        }
        last = Some((status, emitted));
    }
    match (&told.summary, last) {
        (Some(summary), Some(last)) => {
            same("the last end and the summary", &last, &(summary.status.as_str(), Some(summary.emitted)))
        }
        _ => Ok(()),
    }
}
