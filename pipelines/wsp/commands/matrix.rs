//! `wsp matrix`: every requirement, tried on a profile's own parts.
//!
//! ```text
//! --send RUN@HOST, the very word ──► READY from the control topic, nothing committed ──► Matrix ──► table, matrix.json
//! ```

use std::any::Any;
use std::fmt::Write;
use std::pin::pin;

use futures::{Stream, StreamExt};
use wsp::clock::SystemClock;
use wsp::deliver::HttpGate;
use wsp_matrix::{Matrix, Outcome, Report, Row};
use wsp_observe::readiness::ControlTopic;
use wsp_world::model::{PlatformRunId, Refusal, Secret};
use wsp_world::profile::{ControlBus, Profile};
use wsp_world::ready::{FileFeed, FileFeedOptions, Incoming, Ready, Settlement, Source};

use super::args;
use super::bus::active;
use super::bus::control_root;
use super::plan::ready;
use super::service::{gate, gate_at};
use super::{Exit, Failure, Outcome as Ended, block_on, load, note, say};

/// A key that no gate has given to anybody.
const STRANGER: &str = "wsp-matrix-nobodys-key";
/// What the environment holds that no evidence may show, beside what the profile reads.
const SECRETS: &[&str] = &["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
/// Characters of what was seen that stand in a row; the rest is in the report.
const SEEN: usize = 100;

pub(crate) fn run(args: &args::Matrix) -> Ended {
    let profile = load(&args.profile)?;
    let none = || Failure::usage("no run is active: set PLATFORM_RUN_ID to the run that the matrix may use up");
    let run = active(&profile)?.ok_or_else(none)?;
    meant(args, &profile, &run)?;
    if !profile.lane.is_whole() {
        return Err(Failure::usage("the matrix is of a whole run: unset WSP_LANE_COUNT"));
    }
    let named = args.ready.as_deref().map(|file| ready(&profile, Some(file))).transpose()?;
    if let Some(named) = &named
        && named.payload.platform_run_id.as_ref() != Some(&run)
    {
        return Err(Failure::usage(format!("--ready is not of the active run {run}")));
    }
    let scratch = tempfile::tempdir().map_err(|error| Failure::failed(format!("no scratch folder: {error}")))?;
    let clock = SystemClock::new();
    let (report, kept) = block_on(async {
        let Topic { control, found, look: _look } = topic(&profile, &run, named.as_ref(), clock).await?;
        let matrix = Matrix {
            gate: gate(&profile, clock)?,
            stranger: stranger(&profile, clock)?,
            max_events: args.max_events,
            secrets: SECRETS.iter().filter_map(|name| std::env::var(name).ok()).map(Secret::new).collect(),
            scratch: scratch.path().to_owned(),
            profile,
            run,
            named,
            on_topic: found,
            control,
            clock,
        };
        Box::pin(matrix.run()).await.map_err(|refusal| Failure::failed(format!("the matrix can't be kept: {refusal}")))
    })??;
    if args.json {
        let text = serde_json::to_string_pretty(&report).map_err(|error| Failure::failed(error.to_string()))?;
        say(format_args!("{text}\n"))?;
    } else {
        say(told(&report))?;
    }
    note(kept);
    Ok(if report.green { Exit::Done } else { Exit::Failed })
}

/// The gate, asked with a key of nobody.
fn stranger(profile: &Profile, clock: SystemClock) -> Result<HttpGate<SystemClock>, Failure> {
    let key = STRANGER.parse().map_err(|error| Failure::failed(format!("{error}")))?;
    gate_at(profile, profile.delivery.endpoint.clone().with_key(&key), clock)
}

/// Whether run and gate were named, both as they are.
fn meant(args: &args::Matrix, profile: &Profile, run: &PlatformRunId) -> Result<(), Failure> {
    let host = profile.delivery.endpoint.base().authority();
    let word = format!("{run}@{host}");
    match &args.send {
        Some(said) if *said == word => Ok(()),
        Some(said) => Err(Failure::usage(format!("--send says {said}, the profile {word}: nothing was touched"))),
        None => Err(Failure::usage(format!(
            "nothing was touched. This sends up to {} events of {run} to the gate at {host}, some of them twice, and uses \
             the run up: its READY then counts as streamed. If that is meant, add --send {word}",
            args.max_events
        ))),
    }
}

/// The control topic, and what is on it.
pub(super) struct Topic {
    pub(super) control: ControlTopic,
    pub(super) found: Result<Option<(Ready, Source)>, Refusal>,
    /// The feed that the look is made through.
    pub(super) look: Option<Box<dyn Any>>,
}

async fn topic(
    profile: &Profile,
    run: &PlatformRunId,
    named: Option<&Ready>,
    clock: SystemClock,
) -> Result<Topic, Failure> {
    match &profile.control_bus {
        ControlBus::File { root } => {
            let root = control_root(profile, root)?;
            let control = ControlTopic::Folder(root.join(&profile.topic));
            let options = FileFeedOptions { once: true, ..FileFeedOptions::new(root, &profile.topic) };
            let found = newest(FileFeed::new(options, clock).stream(), run, named).await;
            Ok(Topic { control, found, look: None })
        }
        #[cfg(feature = "kafka")]
        ControlBus::Kafka(wiring) => super::kafka::topic(profile, wiring, run, named, clock).await,
        #[cfg(feature = "kinesis")]
        ControlBus::Kinesis(wiring) => super::kinesis::topic(profile, wiring, run, named).await,
    }
}

/// The newest READY of the run, or of the message that was named; nothing is settled for good.
pub(super) async fn newest(
    readies: impl Stream<Item = Result<Incoming, impl Into<Refusal>>>,
    run: &PlatformRunId,
    named: Option<&Ready>,
) -> Result<Option<(Ready, Source)>, Refusal> {
    let mut readies = pin!(readies);
    let mut newest = None;
    while let Some(incoming) = readies.next().await {
        let incoming = incoming.map_err(Into::into)?;
        let payload = &incoming.message.payload;
        let wanted = match named {
            Some(named) => payload.message_id == named.payload.message_id,
            None => payload.platform_run_id.as_ref() == Some(run),
        };
        if wanted {
            newest = Some((incoming.message.clone(), incoming.source.clone()));
        }
        incoming.settle(Settlement::Deferred);
    }
    Ok(newest)
}

/// A line a row, and below it what is not as it should be.
fn told(report: &Report) -> String {
    let mark = |row: &Row| match row.result {
        Outcome::Green => "green",
        Outcome::Red => "RED",
        Outcome::NotRun => "not run",
    };
    let mut out = String::new();
    for row in &report.rows {
        let seen = if row.result == Outcome::NotRun { row.why.as_deref().unwrap_or_default() } else { &row.seen };
        let seen: String = seen.lines().next().unwrap_or_default().chars().take(SEEN).collect();
        // Writing to a String can't fail, here and below.
        let _ = writeln!(out, "{:<8} {:<17} {:<48} {seen}", mark(row), row.id, row.requirement);
    }
    for row in report.rows.iter().filter(|row| row.result == Outcome::Red) {
        let _ = write!(
            out,
            "\n{} {}\n  done      {}\n  expected  {}\n  seen      {}\n  why       {}\n",
            row.id,
            row.requirement,
            row.done,
            row.expected,
            row.seen,
            row.why.as_deref().unwrap_or_default()
        );
    }
    let _ = writeln!(
        out,
        "\n{} at {}: {} green, {} red, {} not run",
        report.platform_run_id,
        report.ig_ingest_url,
        report.count(Outcome::Green),
        report.count(Outcome::Red),
        report.count(Outcome::NotRun)
    );
    out
}
