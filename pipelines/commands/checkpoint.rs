//! `wsp checkpoint`: the saved positions of a run.

use wsp::checkpoint::{Beyond, Kept};
use wsp::clock::SystemClock;
use wsp::model::{Hex64, OutputId, Refusal};
use wsp::pipelines::positions::checkpoints;
use wsp::pipelines::prepare;
use wsp::profile::Profile;

use super::args::{Checkpoint, ReadyArgs};
use super::plan::ready;
use super::table::table;
use super::{Exit, Failure, Outcome, block_on, load, say};

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
    let store = checkpoints(&run.profile, &run.platform_run_id, SystemClock::new()).map_err(failed)?;
    let kept = block_on(store.peek(&run.scope, &run.outputs))?.map_err(failed)?;
    if args.json {
        let text = serde_json::to_string_pretty(&kept).map_err(|error| Failure::failed(error.to_string()))?;
        say(format_args!("{text}\n"))?;
    } else {
        say(told(&run.scope, &kept))?;
    }
    Ok(Exit::Done)
}

fn reset(args: &ReadyArgs) -> Outcome {
    let run = find(args)?;
    let store = checkpoints(&run.profile, &run.platform_run_id, SystemClock::new()).map_err(failed)?;
    block_on(store.reset(&run.scope, &run.outputs))?.map_err(failed)?;
    say(format_args!("scope {} has no cursors now\n", run.scope))?;
    Ok(Exit::Done)
}

struct Found {
    profile: Profile,
    platform_run_id: wsp::model::PlatformRunId,
    scope: Hex64,
    outputs: Vec<OutputId>,
}

/// The scope of the READY that is meant: its world has to check out, because the pack is part of the scope.
fn find(args: &ReadyArgs) -> Result<Found, Failure> {
    let profile = load(&args.profile)?;
    let ready = ready(&profile, args.ready.as_deref())?;
    let prepared = block_on(prepare::of_ready(&profile, &ready))?.map_err(failed)?;
    Ok(Found {
        scope: prepared.scope(&profile.checkpoint.attempt_id),
        outputs: prepared.output_ids(),
        platform_run_id: prepared.identity.platform_run_id,
        profile,
    })
}

#[allow(clippy::needless_pass_by_value, reason = "it is what map_err hands over")]
fn failed(refusal: Refusal) -> Failure {
    Failure::failed(format!("{refusal}\n{}", refusal.reason.next()))
}

fn told(scope: &Hex64, kept: &Kept) -> String {
    if kept.cursors.is_empty() && kept.beyond.is_empty() {
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
    format!("scope {scope}\n{}{}", table(&rows), kept.beyond.iter().map(beyond).collect::<String>())
}
