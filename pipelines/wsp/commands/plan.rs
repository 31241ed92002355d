//! `wsp plan`: everything a run would check and do, without sending.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use wsp::clock::SystemClock;
use wsp_world::plan::{self, Plan, PlannedRun};
use wsp_world::producer::{Caps, Settings};
use wsp_world::profile::{ControlBus, Profile};
use wsp_world::ready::{Parsed, Ready, message, read_message};
use wsp_world::telemetry::Telemetry;

use super::args::ReadyArgs;
use super::bus::{control_root, none_there};
use super::service::watched;
use super::table::{grouped, table};
use super::verify;
use super::{Around, Exit, Failure, Outcome, block_on, load, say};

pub(crate) fn run(args: &ReadyArgs, around: &Around) -> Outcome {
    let profile = load(&args.profile)?;
    let settings = Settings::new(&profile, Caps::default());
    let ready = ready(&profile, args.ready.as_deref())?;
    let clock = SystemClock::new();
    let telemetry = Telemetry::new(&clock);
    let planning = plan::plan(&profile, &settings, &ready, clock, &telemetry);
    let planned = block_on(watched(planning, &telemetry, &clock, &around.screen, None))?;
    let plan = planned.map_err(|refusal| Failure::usage(refusal.to_string()))?;
    if args.json {
        let text = serde_json::to_string_pretty(&plan).map_err(|error| Failure::failed(error.to_string()))?;
        say(format_args!("{text}\n"))?;
    } else {
        say(told(&plan))?;
    }
    Ok(if plan.admitted { Exit::Done } else { Exit::Failed })
}

/// The READY in `file`, or the newest on the control bus.
pub(crate) fn ready(profile: &Profile, file: Option<&Path>) -> Result<Ready, Failure> {
    let file = match file {
        Some(file) => file.to_owned(),
        None => match &profile.control_bus {
            ControlBus::File { root } => {
                let folder = control_root(profile, root)?.join(&profile.topic);
                newest(&folder, &profile.topic)?.ok_or_else(|| none_there(profile))?
            }
            #[cfg(feature = "kinesis")]
            ControlBus::Kinesis(wiring) => return super::kinesis::newest(profile, wiring),
            #[cfg(feature = "kafka")]
            ControlBus::Kafka(wiring) => return super::kafka::newest(profile, wiring),
        },
    };
    let name = file.display();
    let bytes = read_message(&file).map_err(|error| Failure::usage(format!("{name}: {error}")))?;
    match message::parse(&bytes, &profile.topic) {
        Ok(Parsed::Ready(ready)) => Ok(*ready),
        Ok(Parsed::Other { why, .. }) => Err(Failure::usage(format!("{name} is not a READY: {why}"))),
        Err(error) => Err(Failure::usage(format!("{name}: {error}"))),
    }
}

/// The newest READY's file; `None` where there is none, be it for want of the folder.
fn newest(folder: &Path, topic: &str) -> Result<Option<PathBuf>, Failure> {
    let is_ready = |path: &PathBuf| {
        let bytes = read_message(path).unwrap_or_default();
        matches!(message::parse(&bytes, topic), Ok(Parsed::Ready(_)))
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::usage(format!("the control topic in {}: {error}", folder.display()))),
    };
    let mut files: Vec<_> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            // Opening a pipe would block, so the kind is looked at before.
            let meta = std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file)?;
            Some((meta.modified().ok()?, path))
        })
        .filter(|(_, path)| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    Ok(files.into_iter().rev().map(|(_, path)| path).find(is_ready))
}

fn told(plan: &Plan) -> String {
    let mut out = verify::told(&plan.checks);
    if let Some(run) = &plan.run {
        let _ = write!(out, "\n{}", told_run(run));
    }
    let verdict = if plan.admitted { "would be streamed" } else { "would be refused" };
    let _ = writeln!(out, "\nREADY {} {verdict}", plan.message_id);
    out
}

fn told_run(run: &PlannedRun) -> String {
    let heading = ["output", "files", "rows", "bytes", "first", "last", "done before"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for output in &run.outputs {
        let time = |time: &Option<String>| time.clone().unwrap_or_default();
        rows.push(vec![
            output.output_id.to_string(),
            output.files.to_string(),
            grouped(output.rows),
            grouped(output.bytes),
            time(&output.first_ts_utc),
            time(&output.last_ts_utc),
            grouped(output.resumed_at),
        ]);
    }
    let mut out = table(&rows);
    out.push('\n');
    if let Some(lane) = run.lane {
        let _ = writeln!(out, "lane              {} of {}, by {}", lane.index(), lane.count(), lane.by().as_str());
    }
    let _ = writeln!(out, "events to send    {}", grouped(run.events));
    if run.answered_earlier > 0 {
        let _ = writeln!(out, "answered already  {}", grouped(run.answered_earlier));
    }
    if let (Some(first), Some(last)) = (&run.first_ts_utc, &run.last_ts_utc) {
        let _ = writeln!(out, "event time        {first} to {last}");
    }
    if let Some(from) = &run.largest_idle_gap_from {
        let _ = writeln!(out, "largest idle gap  {:.6} s, from {from}", run.largest_idle_gap_seconds);
    }
    if let (Some(starts), Some(seconds)) = (&run.starts_utc, run.starts_in_seconds) {
        let _ = writeln!(out, "first event due   {starts}, in {seconds:.0} s");
    }
    let duration = match (run.paced_seconds, run.rated_seconds) {
        (None, None) => "as fast as it goes".to_owned(),
        (paced, rated) => format!("{:.1} s", paced.unwrap_or(0.0).max(rated.unwrap_or(0.0))),
    };
    let _ = writeln!(out, "expected duration {duration} (speed-up {})", run.speedup);
    let _ = writeln!(out, "checkpoint scope  {}", run.checkpoint_scope);
    // Keys are not read here, and how long the gate takes is not known.
    out.push_str(
        "hottest key       known once a run has met the gate: `wsp status`, the report and the summary name it\n",
    );
    out
}
