//! Whether a run's evidence holds together by itself: without the Oracle, the checkpoint or the gate.
//!
//! ```text
//! Told ─► summary (of this start?) ─► counts ─► series ─► record (the same verdict?) ─► facts, each once and whole
//! ```
//!
//! Each check goes into the list under its own name, so that what is wrong can be told apart.

use std::sync::Arc;

use wsp::store::ObjectStore;

use super::agree::{ToldEnd, ends, mismatch, whole};
use super::governance::{Facts, Family, Pins, Provenance, dedupe_key_of_lane};
use super::{
    Counts, EarlierOutput, End, Fact, RecordLine, START_SCHEMA, START_SCHEMA_BEFORE, SUMMARY_SCHEMA,
    SUMMARY_SCHEMA_BEFORE, Start, StartOutput, Status, Summary, Told,
};
use crate::model::{CheckList, Hex64, Lane, PlatformRunId, Reason, Refusal};

/// Refuses unless both are equal.
fn same<T: PartialEq + std::fmt::Debug>(what: &str, left: &T, right: &T) -> Result<(), Refusal> {
    if left == right { Ok(()) } else { Err(mismatch(format!("{what}: {left:?} against {right:?}"))) }
}

/// Refuses a version that this program neither writes nor wrote before.
fn version(found: &str, [now, before]: [&str; 2]) -> Result<(), Refusal> {
    if [now, before].contains(&found) {
        return Ok(());
    }
    Err(mismatch(format!("it is {found}, this program reads {now} and {before}")))
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
    list.note("start", version(&told.start.schema, [START_SCHEMA, START_SCHEMA_BEFORE]), |()| {
        let ready = told.start.run.message_id.as_ref().map_or("none", Hex64::as_str);
        format!("{}, READY {ready}", told.start.started)
    });
    continuity(&told.start, list);
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

/// Each start read the same content, and resumed no further than those before it had answered: else rows in between were
/// answered by nobody that is known of.
fn continuity(start: &Start, list: &mut CheckList) {
    const NAME: &str = "continuity";
    match unbroken(start) {
        Err(refusal) => list.refuse(NAME, refusal),
        Ok(unproven) if unproven.is_empty() => {
            list.pass(
                NAME,
                format!("{} starts before it, each from where those before had come to", start.earlier.len()),
            );
        }
        Ok(unproven) => list.waive(NAME, unproven.join("; ")),
    }
}

/// How far the rows of an output were answered by the starts looked at so far.
#[derive(Clone, Copy)]
enum Reached {
    /// None of them is known.
    Nothing,
    /// Up to this row.
    Rows(u64),
    /// The last one was cut off, or is a lane's: its checkpoint alone knows.
    Unknown,
}

/// Says what the evidence can't tell, as another producer had a part in it.
fn unbroken(start: &Start) -> Result<Vec<String>, Refusal> {
    let mut unproven = Vec::new();
    for (rank, output) in start.outputs.iter().enumerate() {
        let id = &output.output_id;
        let mut reached = Reached::Nothing;
        for earlier in &start.earlier {
            let then = earlier.outputs.get(rank).filter(|_| earlier.outputs.len() == start.outputs.len());
            let Some(then) = then.filter(|then| then.start.output_id == *id) else {
                return Err(mismatch(format!("the start at {} had other outputs", earlier.started)));
            };
            let what = format!("{id}: the content that the start at {} read, and this one", earlier.started);
            same(&what, &then.start.content, &output.content)?;
            resumes(&then.start, reached, &mut unproven)?;
            reached = comes_to(start, then, reached);
        }
        resumes(output, reached, &mut unproven)?;
    }
    Ok(unproven)
}

/// How far the rows of an output were answered when a start ended.
fn comes_to(start: &Start, then: &EarlierOutput, before: Reached) -> Reached {
    // Rows of other lanes are not among a lane's events.
    let Some(told) = then.told().filter(|_| start.run.lane.is_none()) else {
        return Reached::Unknown;
    };
    let now = told.reaches();
    Reached::Rows(if let Reached::Rows(before) = before { now.max(before) } else { now })
}

/// Whether `output` resumed no further than the starts before had come to.
fn resumes(output: &StartOutput, reached: Reached, unproven: &mut Vec<String>) -> Result<(), Refusal> {
    let StartOutput { output_id: id, resumed_at, resumed_after, .. } = output;
    let (rows, known) = match reached {
        Reached::Unknown => return Ok(()),
        Reached::Nothing => (0, false),
        Reached::Rows(rows) => (rows, true),
    };
    if *resumed_at <= rows {
        return Ok(());
    }
    let hole = format!("{id}: rows {rows} to {} were answered by no start that is known of", resumed_at - 1);
    if known && resumed_after.as_ref().is_none_or(|row| row.kept) {
        return Err(mismatch(hole));
    }
    unproven.push(format!(
        "{hole}: another producer, or an earlier version of this one, saved the position, or a person did"
    ));
    Ok(())
}

/// The summary, if it is the one of the start that is told of.
fn summary_of_start(told: &Told) -> Result<&Summary, Refusal> {
    let start = &told.start;
    let Some(summary) = &told.summary else {
        return Err(Refusal::new(Reason::EvidenceMissing, "there is no wsp_summary.json: it goes on, or was cut off"));
    };
    version(&summary.schema, [SUMMARY_SCHEMA, SUMMARY_SCHEMA_BEFORE])?;
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
        let told = output.told();
        let due = output.start.resumed_at + settled;
        if told.from > output.start.resumed_at || told.reaches() > due {
            return Err(mismatch(format!(
                "{id}: the digest covers {} events from row {} on; {} rows lie before and {settled} were answered",
                told.events, told.from, output.start.resumed_at
            )));
        }
        let whole = summary.end == End::Complete && summary.run.lane.is_none();
        if whole && output.start.resumed_at + settled != output.start.rows {
            return Err(mismatch(format!(
                "{id}: it ended complete, but {} rows before and {settled} answered are not its {} rows",
                output.start.resumed_at, output.start.rows
            )));
        }
        if summary.limits.max_events_per_output.is_some_and(|limit| settled > limit) {
            return Err(mismatch(format!("{id}: {settled} answered are beyond the limit")));
        }
    }
    same("the totals and the sum of the outputs", &summary.totals, &sum)?;
    // A run over lanes tells of all their starts, so that what earlier ones brought is among what was emitted.
    let before = if summary.lanes.is_some() { sum.answered_earlier } else { 0 };
    same("emitted, and admitted with duplicates", &summary.emitted, &(sum.emitted() + before))?;
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

/// The verdict of the start that is told of stands in the record, and behind it nothing but refusals of later starts that
/// sent nothing; at most one line says that the run was streamed.
fn record(told: &Told, summary: &Summary) -> Result<(), Refusal> {
    let Some(last) = told.record.last() else {
        return Err(Refusal::new(Reason::EvidenceMissing, "the record has no line"));
    };
    let line = own_place(&told.record, |line| is_of(line, summary), RecordLine::sent_nothing)
        .map_or(last, |place| &told.record[place]);
    same("status in record and summary", &line.status.as_str(), &summary.status.as_str())?;
    same("reason in record and summary", &line.reason.as_deref(), &summary.reason.map(Reason::code))?;
    same("emitted in record and summary", &line.emitted, &Some(summary.emitted))?;
    let streamed = told.record.iter().filter(|line| line.is(Status::Streamed)).count();
    if streamed > 1 { Err(mismatch(format!("{streamed} lines of the record say STREAMED"))) } else { Ok(()) }
}

fn is_of(line: &RecordLine, summary: &Summary) -> bool {
    line.is(summary.status)
        && line.reason.as_deref() == summary.reason.map(Reason::code)
        && line.emitted == Some(summary.emitted)
}

/// The last of `items` that is `own`, if all behind it are refusals of starts that came to nothing.
fn own_place<T>(items: &[T], own: impl Fn(&T) -> bool, came_to_nothing: impl Fn(&T) -> bool) -> Option<usize> {
    let place = items.iter().rposition(own)?;
    items[place + 1..].iter().all(came_to_nothing).then_some(place)
}

/// One `READY_SEEN`, one `STARTED`, and an `ENDED` an end that started; says how many facts there are.
async fn facts(store: &Arc<dyn ObjectStore>, home: &PlatformRunId, told: &Told) -> Result<usize, Refusal> {
    let expected = expected_ids(store, told)?;
    for (family, event_id) in &expected {
        let lines: Vec<&Fact> = told.facts.iter().filter(|fact| fact.event_id == *event_id).collect();
        let [line] = lines.as_slice() else {
            return Err(mismatch(format!("{family} {event_id} is listed {} times", lines.len())));
        };
        whole(&**store, home, line).await?;
    }
    let mut strangers = told.facts.iter().filter(|fact| fact.event_family != Family::RunCancelled.as_str());
    if let Some(fact) = strangers.find(|fact| expected.iter().all(|(_, id)| *id != fact.event_id)) {
        return Err(mismatch(format!("{} {} is none that this run owes", fact.event_family, fact.event_id)));
    }
    let ends = ends(&told.facts, &told.record)?;
    if let (Some(summary), Some(last)) = (&told.summary, ends.last()) {
        let own = (summary.status.as_str().to_owned(), Some(summary.emitted));
        let came_to_nothing = |end: &ToldEnd| *end == (Status::Failed.as_str().to_owned(), Some(0));
        let end = own_place(&ends, |end| *end == own, came_to_nothing).map_or(last, |place| &ends[place]);
        same("the last end and the summary", end, &own)?;
    }
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
