//! `wsp demo`: the main job on parts that are all here, and a check that the gate got what the world holds.
//!
//! ```text
//! world ─► READY on a file control bus ─► the service ─► reference gate ─► audit against the world ─► a table
//! ```

use std::path::{Path, PathBuf};
use std::pin::pin;

use futures::executor::block_on_stream;
use futures::{StreamExt, TryStreamExt};
use wsp::ahead::AheadExt;
use wsp::clock::{Clock, SystemClock};
use wsp::frame::FrameExt as _;
use wsp::merge::merge;
use wsp_reference::LocalRun;
use wsp_reference::gate::audit::{AuditReport, Expected, audit};
use wsp_reference::gate::{EventClass, GateHandle, GateOptions, GateServer, GateStats};
use wsp_reference::world::run_files::CONTROL_TOPIC;
use wsp_reference::world::{WorldSummary, generate};
use wsp_world::evidence::{Status, Summary};
use wsp_world::model::{Event, PlatformRunId, Refusal, Secret};
use wsp_world::oracle::Scan;
use wsp_world::prepare::{self, Prepared};
use wsp_world::producer::{Caps, Settings};
use wsp_world::profile::Profile;
use wsp_world::ready::{FileFeed, FileFeedOptions, Incoming};
use wsp_world::service::{Service, Taken};

use super::args::Demo;
use super::service::{gate, stop_on_signals, watched};
use super::table::{grouped, table};
use super::{Around, Exit, Failure, Outcome, block_on, note, say};

const KEY: &str = "demo-key";

pub(crate) fn run(args: &Demo, around: &Around) -> Outcome {
    let folder = folder(args.dir.as_deref())?;
    note(format_args!("making a world of {} events in {}", grouped(args.made.events), folder.display()));
    let stage = Stage::set(args, folder)?;
    note(format_args!("streaming it into a gate at {}", stage.gate.base_url()));
    let clock = SystemClock::new().fine();
    let (incoming, taken) = block_on(stage.stream(clock, around))??;
    let Some(summary) = &taken.summary else {
        let why = taken.refusal.map_or_else(|| taken.verdict.status.to_string(), |refusal| refusal.to_string());
        return Err(Failure::failed(format!("the run was not streamed: {why}")));
    };
    note("checking what the gate admitted against the world");
    let run = block_on(prepare::of_ready(&stage.profile, &incoming.message))?.map_err(failed)?;
    let report = stage.audit(&run);
    let stats = stage.gate.stats();
    say(told(summary, &report, &stats))?;
    say(format_args!(
        "\nevidence     {}\n",
        stage.folder.join("store/fraud-platform").join(stage.run.as_str()).display()
    ))?;
    if summary.status == Status::Streamed && report.is_clean() {
        return Ok(Exit::Done);
    }
    let refusal = summary.refusal.clone().unwrap_or_default();
    say(format_args!("NOT AS IT SHOULD BE: {} {refusal}\n", summary.status))?;
    Ok(if summary.end == wsp_world::evidence::End::Stopped { Exit::Stopped } else { Exit::Failed })
}

/// The folder asked for, or a new one that stays for who wants to look.
fn folder(dir: Option<&Path>) -> Result<PathBuf, Failure> {
    let made = match dir {
        Some(dir) => std::fs::create_dir_all(dir).and_then(|()| dir.canonicalize()),
        None => tempfile::Builder::new().prefix("wsp-demo-").tempdir().map(tempfile::TempDir::keep),
    };
    made.map_err(|error| Failure::usage(format!("--dir: {error}")))
}

/// World, gate and profile, ready for a run.
struct Stage {
    folder: PathBuf,
    gate: GateHandle,
    profile: Profile,
    run: PlatformRunId,
}

impl Stage {
    fn set(args: &Demo, folder: PathBuf) -> Result<Self, Failure> {
        let world = world(args, &folder)?;
        let options = GateOptions {
            faults: args.faults.parse().map_err(|error| Failure::usage(format!("--faults: {error}")))?,
            seed: args.made.seed,
            ..GateOptions::new(Secret::new(KEY))
        };
        let gate = GateServer::start(options).map_err(|error| Failure::failed(format!("the gate: {error}")))?;
        let profile = publish(args, &folder, &gate.base_url(), &world)
            .map_err(|error| Failure::failed(format!("{}: {error}", folder.display())))?;
        let env = |name: &str| match name {
            "PLATFORM_RUN_ID" => Some(args.platform_run_id.to_string()),
            "WSP_TARGET_EPS" => args.rate.map(|rate| rate.to_string()),
            _ => None,
        };
        Ok(Self { gate, profile: Profile::load(&profile, &env)?, run: args.platform_run_id.clone(), folder })
    }

    /// The run, as the service would make it.
    async fn stream(&self, clock: SystemClock, around: &Around) -> Result<(Incoming, Taken), Failure> {
        let stop = stop_on_signals(|| std::process::exit(3))?;
        let settings = Settings::new(&self.profile, Caps::default());
        let bus = self.folder.join("control_bus");
        let options = FileFeedOptions { once: true, ..FileFeedOptions::new(bus, CONTROL_TOPIC) };
        let mut readies = pin!(FileFeed::new(options, clock).stream().map_err(Refusal::from));
        let none = || Failure::failed("no READY came from the control bus");
        let incoming = readies.next().await.ok_or_else(none)?.map_err(failed)?;
        let telemetry = around.telemetry(&clock);
        let gate = gate(&self.profile, clock)?.traced(telemetry.trace_mark());
        let service = Service::new(self.profile.clone(), settings, gate, clock, stop)?;
        let service = service.in_folder(&self.folder).telemetry(telemetry.clone());
        let taken =
            watched(Box::pin(service.take(&incoming)), &telemetry, &clock, &around.screen, around.otlp.as_ref())
                .await
                .map_err(failed)?;
        Ok((incoming, taken))
    }

    /// Reads the world once more and compares.
    fn audit(&self, run: &Prepared) -> AuditReport {
        let outputs = run.outputs.iter().map(|output| output.view.batches(Scan::new())).collect();
        let classes: Vec<_> = run.output_ids().iter().map(|id| EventClass::of(id.as_str())).collect();
        let expected = |event: Event| Expected {
            class: classes[usize::from(event.position.rank)],
            event_id: event.event_id,
            order_key: event.order_key,
        };
        let events = block_on_stream(merge(outputs).frame(run.framer()).ahead("wsp-audit", 8));
        // What could be read for the run can be read again; if not, the events are missed below.
        let events = events.map_while(Result::ok).flatten().map(expected);
        self.gate.journal(|ledger| audit(ledger, self.run.as_str(), events))
    }
}

fn world(args: &Demo, folder: &Path) -> Result<WorldSummary, Failure> {
    let root = folder.join("world");
    let spelt = root.to_str().ok_or_else(|| Failure::usage("--dir: the folder's name is not UTF-8"))?;
    let spec = args.made.spec();
    generate(&root, spelt, &spec).map_err(|error| Failure::usage(format!("the world: {error}")))
}

/// A profile like any other, in the demo's folder, for who wants to go on with `wsp run` from there; and READY.
fn publish(args: &Demo, folder: &Path, gate: &str, world: &WorldSummary) -> std::io::Result<PathBuf> {
    let run = LocalRun {
        name: "demo",
        speedup: args.speedup,
        in_flight: args.in_flight,
        window: 262_144,
        ..LocalRun::new(folder, gate, KEY)
    };
    run.publish(world, &args.platform_run_id, SystemClock::new().utc())?;
    run.profile()
}

fn told(summary: &Summary, report: &AuditReport, gate: &GateStats) -> String {
    let mut rows = vec![["output", "events", "admitted", "duplicates", "retries"].map(str::to_owned).to_vec()];
    for output in &summary.outputs {
        let counts = &output.counts;
        let numbers = [counts.answered, counts.admitted, counts.duplicates, counts.retries].map(grouped);
        rows.push(std::iter::once(output.start.output_id.to_string()).chain(numbers).collect());
    }
    let seconds = (summary.ended.0 - summary.started.0) as f64 / 1e6;
    let millis = |us: u64| us as f64 / 1e3;
    let latency = &summary.latency;
    let order = if report.canonical {
        "canonical, exactly".to_owned()
    } else if report.order_violations == 0 {
        format!("kept per key; furthest displacement {}", grouped(report.max_displacement))
    } else {
        format!("BROKEN for {} events", grouped(report.order_violations))
    };
    format!(
        "{}\nstreamed     {} events in {seconds:.2} s: {:.0} events/s, {} order, {} in flight
latency      p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, max {:.2} ms
attempts     {}, of which {} retries; {} faults injected
gate         {} of {} events admitted once, {} missing, {} foreign, {} sent again
order        {order}
{}",
        table(&rows),
        grouped(summary.totals.answered),
        summary.totals.answered as f64 / seconds.max(1e-6),
        summary.delivery.mode,
        summary.delivery.in_flight,
        millis(latency.p50_us),
        millis(latency.p90_us),
        millis(latency.p99_us),
        millis(latency.max_us),
        grouped(summary.pushes.attempts),
        grouped(summary.pushes.retries),
        grouped(gate.faults.total()),
        grouped(report.admitted),
        grouped(report.expected),
        grouped(report.missing),
        grouped(report.unexpected),
        grouped(report.duplicates),
        summary.bottleneck.as_ref().map(|bottleneck| format!("bound        {bottleneck}\n")).unwrap_or_default(),
    )
}

#[allow(clippy::needless_pass_by_value, reason = "it is what map_err hands over")]
fn failed(refusal: Refusal) -> Failure {
    Failure::failed(refusal.to_string())
}
