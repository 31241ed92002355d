//! `wsp report`: the page of a run, made again from its evidence.

use std::path::Path;

use wsp::evidence::Told;
use wsp::evidence::report::page;
use wsp::model::{PlatformRunId, Refusal};
use wsp::pipelines::prepare::open_own;
use wsp::profile::{Profile, active_run};

use super::args;
use super::{Exit, Failure, Outcome, block_on, load, say};

pub(crate) fn run(args: &args::Report) -> Outcome {
    let profile = load(&args.profile)?;
    let home = run_of(&profile, args.run.as_ref())?;
    let told = block_on(read(&profile, &home))?
        .map_err(|refusal| Failure::failed(format!("{refusal}\n{}", refusal.reason.next())))?;
    let page = page(&told);
    match &args.out {
        Some(path) => {
            std::fs::write(path, page).map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
            eprintln!("{}", path.display());
        }
        None => say(page)?,
    }
    Ok(Exit::Done)
}

async fn read(profile: &Profile, home: &PlatformRunId) -> Result<Told, Refusal> {
    Told::read(&open_own(profile)?, home, profile.lane).await
}

/// The run that is meant: the one named, else the active one.
pub(crate) fn run_of(profile: &Profile, named: Option<&PlatformRunId>) -> Result<PlatformRunId, Failure> {
    let active = match named {
        Some(run) => Some(run.clone()),
        None => active_run(profile.platform_run_id.as_ref(), Path::new(""))?,
    };
    active.ok_or_else(|| Failure::usage("no run is active; name one with --run"))
}
