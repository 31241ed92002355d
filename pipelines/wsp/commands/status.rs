//! `wsp status`: asks a running `wsp run` how it stands.

use std::fmt::Write;
use std::time::Duration;

use wsp::deliver;
use wsp_world::model::Hex64;
use wsp_world::telemetry::listener::StatusPage;

use super::args;
use super::view::{self, Style};
use super::{Exit, Failure, Outcome, block_on, say};

/// For the whole question. Readiness may take some seconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// Lines of a page that is read, not drawn on.
const WIDTH: usize = 160;

pub(crate) fn run(args: &args::Status) -> Outcome {
    let text = block_on(ask(args))??;
    if args.json {
        say(text)?;
        return Ok(Exit::Done);
    }
    let page: StatusPage = serde_json::from_str(&text)
        .map_err(|error| Failure::failed(format!("{} does not answer like a `wsp run`: {error}", args.address)))?;
    say(told(&page))?;
    Ok(Exit::Done)
}

async fn ask(args: &args::Status) -> Result<String, Failure> {
    let tls = deliver::unused_tls().map_err(|error| Failure::failed(format!("TLS: {error}")))?;
    let client = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().timeout(PATIENCE).build();
    let asked = async {
        let answer = client?.get(format!("http://{}/status", args.address)).send().await?;
        answer.error_for_status()?.text().await
    };
    asked.await.map_err(|error: reqwest::Error| {
        let error = error.without_url();
        Failure::failed(format!(
            "nobody tells of a run at {} ({error}): is a `wsp run` up there, and is that its wiring.wsp_telemetry.listen?",
            args.address
        ))
    })
}

fn told(page: &StatusPage) -> String {
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
        None => out.push_str("no run is being streamed\n"),
        Some(run) => {
            let ready = run.message_id.as_ref().map_or("none", Hex64::as_str);
            let _ = writeln!(out, "streaming since {}, READY {ready}", run.started_utc);
            for line in view::lines(run, WIDTH, Style { color: false }) {
                let _ = writeln!(out, "{line}");
            }
        }
    }
    out
}
