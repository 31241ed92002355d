//! `wsp ready`: facts and READY of a run, stored and published, or with `--dry-run` printed.
//!
//! ```text
//! --world, ids ──► Announcement, checked ──► facts to the object store ──► READY to the control bus
//! ```

use std::fmt::Write;

use serde_json::{Value, json};
use wsp::clock::{Clock, SystemClock};
use wsp_world::announce::{self, Announcement, Ids};
use wsp_world::evidence::Status;
use wsp_world::model::{Micros, PlatformRunId, Refusal};
use wsp_world::prepare;
use wsp_world::profile::{ControlBus, Profile};
use wsp_world::ready::{Published, publish};

#[cfg(any(feature = "kafka", feature = "kinesis"))]
use super::REACH;
use super::args;
use super::{Exit, Failure, Outcome, block_on, bus, load, note, say};

pub(crate) fn run(args: &args::Ready) -> Outcome {
    let profile = load(&args.profile)?;
    let clock = SystemClock::new();
    let ids = Ids {
        platform_run_id: platform_run(args.platform_run_id.as_ref(), &profile, clock.utc())?,
        run_id: args.run_id.clone(),
        scenario_id: args.scenario_id.clone(),
    };
    let announced = block_on(announce::announce(&profile, &args.world, &ids, clock.utc()))?.map_err(unpublished)?;
    if args.dry_run {
        say(format_args!("{:#}\n", documents(&announced)?))?;
        return Ok(Exit::Done);
    }
    let store = prepare::open_own(&profile).map_err(unpublished)?;
    let (new, standing) = block_on(async {
        let new = announce::store_facts(&*store, &announced).await?;
        let message_id = &announced.message.message_id;
        Ok::<_, Refusal>((new, announce::standing(store.clone(), &ids.platform_run_id, message_id).await?))
    })?
    .map_err(unpublished)?;
    let facts = store.full_name(&announced.facts_key);
    note(format_args!("facts {}: {facts}", if new { "stored" } else { "were stored already" }));
    let published = put(&profile, &announced, clock)?;
    say(told(&profile, &announced, &facts, &published)?)?;
    if let Some(status) = standing {
        note(already(status));
    }
    Ok(Exit::Done)
}

/// The platform run: the one named, else the active one, else one of now. A READY of another run than the active one would
/// only be skipped.
fn platform_run(named: Option<&PlatformRunId>, profile: &Profile, now: Micros) -> Result<PlatformRunId, Failure> {
    match (named, bus::active(profile)?) {
        (Some(named), Some(active)) if *named != active => Err(Failure::usage(format!(
            "--platform-run-id: {named} is not the active run {active}, so its READY would be skipped; leave the option out, or \
             change PLATFORM_RUN_ID or runs/fraud-platform/ACTIVE_RUN_ID"
        ))),
        (Some(named), _) => Ok(named.clone()),
        (None, Some(active)) => Ok(active),
        (None, None) => of_now(now),
    }
}

/// `platform_YYYYMMDDTHHMMSSZ`.
fn of_now(now: Micros) -> Result<PlatformRunId, Failure> {
    let text = now.to_string();
    let stamp: String = text.chars().take(19).filter(|c| !matches!(c, '-' | ':')).collect();
    format!("platform_{stamp}Z").parse().map_err(|error| Failure::failed(format!("the clock: {error}")))
}

fn documents(announced: &Announcement) -> Result<Value, Failure> {
    let read = |bytes: &[u8]| -> Result<Value, Failure> {
        serde_json::from_slice(bytes).map_err(|error| Failure::failed(error.to_string()))
    };
    Ok(json!({
        "facts_view_ref": announced.facts_key.as_str(),
        "facts": read(&announced.facts)?,
        "ready": read(&announced.message.body)?,
    }))
}

/// Puts READY on the profile's control bus.
fn put(profile: &Profile, announced: &Announcement, clock: SystemClock) -> Result<Published, Failure> {
    let ready = &announced.message;
    let published = match &profile.control_bus {
        ControlBus::File { root } => publish::to_folder(&bus::control_root(profile, root)?, &profile.topic, ready),
        #[cfg(feature = "kafka")]
        ControlBus::Kafka(wiring) => {
            let mut options = super::kafka::options(profile, wiring, true);
            options.reach_timeout = REACH;
            publish::to_kafka(&options, ready, &clock)
        }
        #[cfg(feature = "kinesis")]
        ControlBus::Kinesis(wiring) => {
            let mut options = super::kinesis::options(profile, wiring, true);
            options.reach_timeout = REACH;
            block_on(publish::to_kinesis(&options, ready, &clock))?
        }
    };
    #[cfg(not(any(feature = "kafka", feature = "kinesis")))]
    let _ = clock;
    // Whether it is there all the same is the bus's to say.
    published.map_err(Failure::refused)
}

fn told(profile: &Profile, announced: &Announcement, facts: &str, published: &Published) -> Result<String, Failure> {
    let payload = &announced.ready.payload;
    let run = payload.platform_run_id.as_ref().map_or("", PlatformRunId::as_str);
    let world = payload.oracle_pack_ref.as_ref().and_then(|pack| pack.engine_run_root.as_deref()).unwrap_or_default();
    let mut out = String::new();
    for (name, value) in [
        ("platform run", run),
        ("scenario run", payload.run_id.as_str()),
        ("world", world),
        ("facts", facts),
        ("READY", payload.message_id.as_str()),
        ("published", published.place.as_str()),
    ] {
        // Writing to a String can't fail.
        let _ = writeln!(out, "{name:<13} {value}");
    }
    if !published.new {
        let _ = writeln!(out, "\nThis READY is on {} already; nothing was published again.", bus::words(profile)?);
    }
    Ok(out)
}

/// What an earlier verdict means for the READY.
fn already(status: Status) -> String {
    format!(
        "its verdict is on record: {status}. A service takes the READY for a duplicate and streams nothing; for another run \
         of the world give another --run-id"
    )
}

fn unpublished(refusal: Refusal) -> Failure {
    let Failure { exit, message } = Failure::refused(refusal);
    Failure { exit, message: format!("no READY was published: {message}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_platform_run_is_named_after_the_time() {
        let run = |text: &str| of_now(Micros::parse(text.as_bytes()).unwrap()).unwrap().to_string();
        assert_eq!(run("2026-11-30T07:08:09.999999Z"), "platform_20261130T070809Z");
        assert_eq!(run("0001-01-01T00:00:00Z"), "platform_00010101T000000Z");
    }
}
