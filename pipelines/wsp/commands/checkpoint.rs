//! `wsp checkpoint`: the saved positions of a run.

use serde_json::json;
use wsp::clock::SystemClock;
use wsp_world::checkpoint::{Beyond, Kept, Views};
use wsp_world::model::Hex64;
use wsp_world::positions::checkpoints;

use super::args::{Checkpoint, ReadyArgs};
use super::checkpoint_found::{all_outputs, find, to_reset};
use super::checkpoint_lanes;
use super::table::{grouped, table};
use super::{Exit, Failure, Outcome, block_on, say};

pub(crate) fn run(command: Checkpoint) -> Outcome {
    match command {
        Checkpoint::Show(args) => show(&args),
        Checkpoint::Reset(args) if !args.yes => {
            Err(Failure::usage("a reset makes the run start from its first event again; say --yes if that is meant"))
        }
        Checkpoint::Reset(args) => reset(&args.which),
    }
}

fn show(args: &ReadyArgs) -> Outcome {
    let run = find(args)?;
    if let Some(lanes) = run.profile.lanes.as_ref().map(|wiring| wiring.lanes) {
        return checkpoint_lanes::show(&run, lanes, args.json);
    }
    let store = checkpoints(&run.profile, &run.platform_run_id, SystemClock::new()).map_err(Failure::refused)?;
    let views = block_on(store.peek_views(&run.scope))?.map_err(Failure::refused)?;
    let kept = block_on(store.peek(&run.scope, &all_outputs(&run.now, views.as_ref())))?.map_err(Failure::refused)?;
    if args.json {
        let views = views.as_ref().map(|views| &views.0);
        let shown = json!({"cursors": kept.cursors, "beyond": kept.beyond, "views": views});
        let text = serde_json::to_string_pretty(&shown).map_err(|error| Failure::failed(error.to_string()))?;
        say(format_args!("{text}\n"))?;
    } else {
        say(told(&run.scope, &kept, views.as_ref(), &run.now))?;
    }
    Ok(Exit::Done)
}

fn reset(args: &ReadyArgs) -> Outcome {
    let run = find(args)?;
    if let Some(lanes) = run.profile.lanes.as_ref().map(|wiring| wiring.lanes) {
        return checkpoint_lanes::reset(&run, lanes);
    }
    let store = checkpoints(&run.profile, &run.platform_run_id, SystemClock::new()).map_err(Failure::refused)?;
    let outputs = block_on(to_reset(&*store, &run.scope, &run.now))?;
    block_on(store.reset(&run.scope, &outputs))?.map_err(Failure::refused)?;
    say(format_args!("scope {} has no cursors now\n", run.scope))?;
    Ok(Exit::Done)
}

fn told(scope: &Hex64, kept: &Kept, views: Option<&Views>, now: &Views) -> String {
    if kept.is_empty() {
        return format!("scope {scope}: nothing saved; the run starts from its first event\n");
    }
    let mut rows = vec![["output", "last row", "last ts_utc", "last file"].map(str::to_owned).to_vec()];
    for cursor in &kept.cursors {
        rows.push(vec![
            cursor.output_id.to_string(),
            cursor.last_row_index.to_string(),
            cursor.last_ts_utc.clone().unwrap_or_default(),
            cursor.last_file.clone(),
        ]);
    }
    let beyond = |beyond: &Beyond| {
        let runs: usize = beyond.files.iter().map(|file| file.rows.len()).sum();
        format!("{}: answered beyond, not sent again: {} rows in {runs} runs\n", beyond.output_id, beyond.rows())
    };
    let beyond: String = kept.beyond.iter().map(beyond).collect();
    format!("scope {scope}\n{}{beyond}{}", table(&rows), told_views(views, now))
}

/// Which views the positions count in, and whether a run would be refused for having others now.
fn told_views(views: Option<&Views>, now: &Views) -> String {
    let Some(views) = views else {
        return "the views that they count in are not kept: the rows at the cursors alone are compared\n".to_owned();
    };
    let mut rows = vec![["view", "files", "rows", "content"].map(str::to_owned).to_vec()];
    for output in &views.0 {
        let (files, content) = (output.files.len().to_string(), output.content().to_string());
        rows.push(vec![output.output_id.to_string(), files, grouped(output.rows()), content]);
    }
    let verdict = match views.are(now) {
        Ok(()) => "they are the run's views\n".to_owned(),
        Err(refusal) => format!("they are not the run's views: {refusal}\n"),
    };
    table(&rows) + &verdict
}
