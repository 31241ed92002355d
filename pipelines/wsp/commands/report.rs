//! `wsp report`: the page of a run, made again from its evidence.

use wsp::clock::{Clock, SystemClock};
use wsp_world::evidence::report::page;
use wsp_world::evidence::{Told, newest_run};
use wsp_world::lanes::under_way;
use wsp_world::model::{PlatformRunId, Refusal};
use wsp_world::prepare::open_own;
use wsp_world::profile::Profile;

use super::args;
use super::{Exit, Failure, Outcome, block_on, bus, load, note, say};

pub(crate) fn run(args: &args::Report) -> Outcome {
    let profile = load(&args.profile)?;
    let home = run_of(&profile, args.run.as_ref())?;
    let told = block_on(read(&profile, &home))?.map_err(Failure::refused)?;
    let page = page(&told);
    match &args.out {
        Some(path) => {
            std::fs::write(path, page).map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
            note(path.display());
        }
        None => say(page)?,
    }
    Ok(Exit::Done)
}

async fn read(profile: &Profile, home: &PlatformRunId) -> Result<Told, Refusal> {
    let store = open_own(profile)?;
    let mut told = Told::read(&store, home, profile.lane).await?;
    told.under_way = under_way(&store, home, &told, SystemClock::new().utc()).await?;
    Ok(told)
}

/// The run that is meant: the one named, else the active one, else the newest that left evidence in the store.
pub(crate) fn run_of(profile: &Profile, named: Option<&PlatformRunId>) -> Result<PlatformRunId, Failure> {
    let known = match named {
        Some(run) => Some(run.clone()),
        None => bus::active(profile)?,
    };
    if let Some(run) = known {
        return Ok(run);
    }
    let newest = block_on(async { newest_run(&*open_own(profile)?).await })?;
    let newest = newest.map_err(Failure::refused)?;
    let root = &profile.store.root;
    let none = || {
        Failure::usage(format!(
            "no run is active, and none has left evidence in {root} yet; check wiring.object_store, or name a run with --run"
        ))
    };
    let newest = newest.ok_or_else(none)?;
    note(format_args!("the newest run in {root}: {newest}"));
    Ok(newest)
}
