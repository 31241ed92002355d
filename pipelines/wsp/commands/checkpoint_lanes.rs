//! `wsp checkpoint` on a run whose lanes workers share: each lane has a scope of its own.
//!
//! ```text
//! READY ──► lane tasks in the store (lanes, who has which) ─┐
//! profile ──► lanes, where there are no tasks yet ──────────┴─► scope by scope: show · reset, unless one is held
//! ```

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wsp::clock::{Clock, SystemClock};
use wsp_world::checkpoint::{CheckpointStore, Kept, RowCursors, Views};
use wsp_world::evidence::{LaneState, LaneStatus, LanesStatus};
use wsp_world::lanes::{LaneBook, status};
use wsp_world::model::{Hex64, Lane, Lanes, Reason, Refusal};
use wsp_world::positions::checkpoints;
use wsp_world::prepare::open_own;

use super::checkpoint_found::{Found, all_outputs, to_reset};
use super::lanes_view::headline;
use super::table::table;
use super::{Exit, Failure, Outcome, block_on, say};

type Store = dyn CheckpointStore<RowCursors>;

/// One lane of the run.
struct Scope {
    lane: Lane,
    key: Hex64,
    /// How it stands, where the run has lane tasks.
    status: Option<LaneStatus>,
}

pub(super) fn show(run: &Found, lanes: Lanes, as_json: bool) -> Outcome {
    let store = open(run)?;
    let (whole, scopes) = block_on(scopes(run, lanes))?.map_err(Failure::refused)?;
    let mut kept = Vec::new();
    for scope in &scopes {
        kept.push(block_on(peek(&*store, &scope.key, &run.now))?.map_err(Failure::refused)?);
    }
    if as_json {
        let lanes: Vec<Value> = scopes.iter().zip(&kept).map(as_value).collect();
        let text = serde_json::to_string_pretty(&json!({"lanes": lanes}));
        say(format_args!("{}\n", text.map_err(|error| Failure::failed(error.to_string()))?))?;
    } else {
        let head = whole.map_or_else(|| "nobody has started the run\n".to_owned(), |whole| headline(&whole) + "\n");
        let rows: Vec<_> = std::iter::once(heading()).chain(scopes.iter().zip(&kept).map(row)).collect();
        say(head + &table(&rows) + &foreign(&kept, &run.now))?;
    }
    Ok(Exit::Done)
}

/// Drops the positions of all lanes, unless a worker holds one.
pub(super) fn reset(run: &Found, lanes: Lanes) -> Outcome {
    let store = open(run)?;
    let (_, scopes) = block_on(scopes(run, lanes))?.map_err(Failure::refused)?;
    let held = block_on(held(&*store, &scopes))?.map_err(Failure::refused)?;
    if !held.is_empty() {
        let lanes = held.join("\n  ");
        return Err(Failure::failed(format!(
            "workers hold lanes of the run, so nothing was reset; stop them first:\n  {lanes}"
        )));
    }
    for Scope { lane, key, status } in &scopes {
        let outputs = block_on(to_reset(&*store, key, &run.now))?;
        block_on(store.reset(key, &outputs))?.map_err(|refusal| {
            Failure::failed(format!("{lane} was not reset, nor those after it: {refusal}\n{}", refusal.reason.next()))
        })?;
        // Its end stands whatever its positions are.
        let ended = status.as_ref().filter(|status| matches!(status.state, LaneState::Streamed | LaneState::Failed));
        let note = ended.map(|status| format!("; its end stays ({})", status.state.as_str())).unwrap_or_default();
        say(format_args!("{lane}: scope {key} has no cursors now{note}\n"))?;
    }
    Ok(Exit::Done)
}

fn open(run: &Found) -> Result<Box<Store>, Failure> {
    checkpoints(&run.profile, &run.platform_run_id, SystemClock::new()).map_err(Failure::refused)
}

/// The lanes of the run: those of its tasks, else those of the profile.
async fn scopes(run: &Found, lanes: Lanes) -> Result<(Option<LanesStatus>, Vec<Scope>), Refusal> {
    let book = LaneBook::new(open_own(&run.profile)?, &run.platform_run_id, &run.ready.payload.message_id)?;
    let whole = match book.newest().await? {
        Some(tasks) => {
            let (round, now) = (book.round(&tasks)?, SystemClock::new().utc());
            Some((tasks.lanes, status(&round, &tasks, &mut BTreeMap::new(), now).await?))
        }
        None => None,
    };
    let lanes = whole.as_ref().map_or(lanes, |(lanes, _)| *lanes);
    let whole = whole.map(|(_, status)| status);
    let scope = |lane: Lane| Scope {
        lane,
        key: run.prepared.of_lane(lane).scope(&run.profile.checkpoint.attempt_id),
        status: whole.as_ref().and_then(|whole| whole.lanes.iter().find(|one| one.index == lane.index()).cloned()),
    };
    let scopes = lanes.lanes().map(scope).collect();
    Ok((whole, scopes))
}

/// The lanes that somebody holds, and who, in words. Each hold of ours is let go of at once: a store may have a connection for each.
async fn held(store: &Store, scopes: &[Scope]) -> Result<Vec<String>, Refusal> {
    let mut held = Vec::new();
    for Scope { lane, key, .. } in scopes {
        match store.open(key).await {
            Err(refusal) if refusal.reason == Reason::CheckpointScopeBusy => held.push(format!("{lane}: {refusal}")),
            Err(refusal) if refusal.reason == Reason::CheckpointUnavailable => return Err(refusal),
            // What can't be read is what a reset is for.
            Ok(_) | Err(_) => {}
        }
        store.released().await;
    }
    Ok(held)
}

/// What is kept of a scope, and in which views.
async fn peek(store: &Store, key: &Hex64, now: &Views) -> Result<(Kept, Option<Views>), Refusal> {
    let views = store.peek_views(key).await?;
    let kept = store.peek(key, &all_outputs(now, views.as_ref())).await?;
    Ok((kept, views))
}

fn as_value((scope, (kept, views)): (&Scope, &(Kept, Option<Views>))) -> Value {
    json!({
        "lane": scope.lane.to_string(),
        "scope": scope.key,
        "status": scope.status,
        "cursors": kept.cursors,
        "beyond": kept.beyond,
        "views": views.as_ref().map(|views| &views.0),
    })
}

fn heading() -> Vec<String> {
    ["lane", "scope", "state", "worker", "last ts_utc", "last rows"].map(str::to_owned).to_vec()
}

fn row((scope, (kept, _)): (&Scope, &(Kept, Option<Views>))) -> Vec<String> {
    let status = scope.status.as_ref();
    let rows = kept.cursors.iter().map(|cursor| format!("{} {}", cursor.output_id, cursor.last_row_index));
    let rows: Vec<_> = rows.collect();
    vec![
        scope.lane.to_string(),
        scope.key.as_str()[..12].to_owned() + "…",
        status.map_or("waiting", |status| status.state.as_str()).to_owned(),
        status.and_then(|status| status.worker.clone()).unwrap_or_else(|| "-".to_owned()),
        kept.cursors.iter().filter_map(|cursor| cursor.last_ts_utc.clone()).max().unwrap_or_else(|| "-".to_owned()),
        if rows.is_empty() { "nothing saved".to_owned() } else { rows.join(", ") },
    ]
}

/// A line where positions count in other views than the run has now.
fn foreign(kept: &[(Kept, Option<Views>)], now: &Views) -> String {
    let refusal =
        kept.iter().filter(|(kept, _)| !kept.is_empty()).find_map(|(_, views)| views.as_ref()?.are(now).err());
    refusal.map(|refusal| format!("they are not the run's views: {refusal}\n")).unwrap_or_default()
}
