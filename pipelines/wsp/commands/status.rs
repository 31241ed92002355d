//! `wsp status`: asks a running `wsp run` how it stands.

use std::fmt::Write;
use std::time::Duration;

use wsp::deliver;
use wsp_observe::StatusPage;
use wsp_world::evidence::report::outcome;
use wsp_world::model::Hex64;
use wsp_world::telemetry::status::{LastRun, Stage, Status};

use super::args;
use super::lanes_view;
use super::table::grouped;
use super::view::{self, Style};
use super::watch;
use super::{Exit, Failure, Outcome, block_on, say};

/// For the whole question. Readiness may take some seconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// Lines of a page that is read, not drawn on.
pub(super) const WIDTH: usize = 160;

pub(crate) fn run(args: &args::Status) -> Outcome {
    if let Some(every) = args.watch {
        return watch::run(args, every);
    }
    let text = block_on(ask(args))??;
    if args.json {
        say(text)?;
        return Ok(Exit::Done);
    }
    say(told(&parsed(args, &text)?, WIDTH, Style { color: false }))?;
    Ok(Exit::Done)
}

/// The answer of a `wsp run`.
pub(super) fn parsed(args: &args::Status, text: &str) -> Result<StatusPage, Failure> {
    serde_json::from_str(text)
        .map_err(|error| Failure::failed(format!("{} does not answer like a `wsp run`: {error}", args.address)))
}

/// What the listener answers, as it is.
pub(super) async fn ask(args: &args::Status) -> Result<String, Failure> {
    let tls = deliver::unused_tls().map_err(|error| Failure::failed(format!("TLS: {error}")))?;
    let client = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().timeout(PATIENCE).build();
    let asked = async {
        let answer = client?.get(format!("http://{}/status", args.address)).send().await?;
        answer.error_for_status()?.text().await
    };
    asked.await.map_err(|error: reqwest::Error| {
        let error = error.without_url();
        Failure::failed(format!(
            "no answer from {} ({error}): is a `wsp run` up there, and is that its wiring.wsp_telemetry.listen?",
            args.address
        ))
    })
}

/// An answer in words, in lines of `width` characters where they are about a run.
pub(super) fn told(page: &StatusPage, width: usize, style: Style) -> String {
    let status = &page.status;
    // Writing to a String can't fail, here and below.
    let mut out = format!("wsp {}, up since {}\n", status.version, status.started_utc);
    for part in &page.readiness.parts {
        let _ =
            writeln!(out, "{:<14} {}  {}", part.part, if part.ready { "ready    " } else { "NOT READY" }, part.detail);
    }
    for verdict in &status.verdicts {
        let _ = writeln!(out, "{} {}  {} times", verdict.status, verdict.reason, verdict.count);
    }
    match &status.run {
        None => without_run(&mut out, status),
        Some(run) => {
            let ready = run.message_id.as_ref().map_or("none", Hex64::as_str);
            let _ = writeln!(out, "streaming since {}, READY {ready}", run.started_utc);
            for line in view::lines(run, width, style) {
                let _ = writeln!(out, "{line}");
            }
            if let Some(wait) = &run.waits_for {
                let bound = |word: &str, utc: &Option<String>| {
                    utc.as_ref().map(|utc| format!(", {word} {utc}")).unwrap_or_default()
                };
                let (since, until) = (bound("since", &wait.since_utc), bound("until", &wait.until_utc));
                let _ = writeln!(out, "  waits for {}{since}{until}", wait.what);
            }
        }
    }
    for line in status.lanes.iter().flat_map(|lanes| lanes_view::lines(lanes, width, style)) {
        let _ = writeln!(out, "{line}");
    }
    out
}

/// What the process did last and what it waits for.
fn without_run(out: &mut String, status: &Status) {
    out.push_str("no run is being streamed\n");
    if let Some(last) = &status.last {
        let _ = writeln!(out, "{}", ended(last));
    }
    for ready in &status.deferred {
        let _ = writeln!(out, "READY {} waits since {}: {}", ready.message_id, ready.since_utc, ready.reason);
    }
    match (&status.taken_up, &status.waits_for) {
        (Some(taken_up), _) => {
            let ready = taken_up.message_id.as_ref().map_or("none", Hex64::as_str);
            let what = match taken_up.stage {
                Stage::Checking => "checking a run",
                Stage::Sharing => "sharing the lanes of a run",
                Stage::Ending => "recording the end of a run",
            };
            let _ = writeln!(out, "{what} since {}, READY {ready}", taken_up.since_utc);
        }
        (None, Some(what)) => {
            let _ = writeln!(out, "waiting for {what}");
        }
        (None, None) => {}
    }
}

/// How a run ended, in a line.
pub(super) fn ended(last: &LastRun) -> String {
    let (word, _) = outcome(last.status, last.end, last.reason);
    let why = last.refusal.as_ref().map(|refusal| format!(": {refusal}")).unwrap_or_default();
    format!("{} {word} at {}, {} events answered{why}", last.platform_run_id, last.ended_utc, grouped(last.answered))
}
