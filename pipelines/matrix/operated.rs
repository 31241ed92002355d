//! What a running WSP reports and waits for: listener, readiness, metrics, required packs, governance facts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use wsp::clock::Clock;
use wsp::deliver;
use wsp_observe::listener::Listener;
use wsp_observe::readiness::Readiness;
use wsp_world::deferral::PacksLook;
use wsp_world::evidence::{Fact, Told};
use wsp_world::ig::IgProbe;
use wsp_world::model::{Reason, Refusal};
use wsp_world::prepare;
use wsp_world::profile::RequiredPacks;
use wsp_world::ready::Ready;
use wsp_world::telemetry::Telemetry;

use super::delivery::Streamed;
use super::kept;
use super::matrix::Matrix;
use super::report::{Report, Seen};
use super::trial::Trial;

/// Time for one request to the listener; readiness may take some seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Fills these rows. `telemetry` is the run's.
pub(super) async fn told<C: Clock + std::fmt::Debug>(
    m: &Matrix<C>,
    streamed: Option<&Streamed>,
    telemetry: &Telemetry,
    report: &mut Report,
) {
    match listening(m, telemetry).await {
        Ok(listener) => {
            let page = Page(format!("http://{}", listener.address()));
            report.fill("C4.listener", page.answers()).await;
            report.fill("C4.readyz", page.is_ready()).await;
            if let Some(Streamed { emitted }) = streamed {
                report.fill("C4.metrics", page.counts(*emitted)).await;
            }
        }
        Err(refusal) => {
            for id in ["C4.listener", "C4.readyz", "C4.metrics"] {
                report.fill(id, async { Seen::refused(&refusal) }).await;
            }
        }
    }
    report.fill("C4.packs", async { packs(m) }).await;
    if streamed.is_some() {
        report.fill("C4.facts", facts(m)).await;
    }
}

/// A listener like that of `wsp run`, on a free port.
async fn listening<C: Clock>(m: &Matrix<C>, telemetry: &Telemetry) -> Result<Listener, Refusal> {
    let store = prepare::open_own(&m.profile)?;
    let gate = IgProbe::of(&m.gate);
    let readiness = Readiness::new(telemetry.clone(), m.control.clone(), store, gate, m.clock.clone());
    let loopback = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = Listener::start(loopback, telemetry.clone(), readiness, m.clock.clone()).await;
    listener.map_err(|error| Refusal::new(Reason::InternalError, format!("no listener on loopback: {error}")))
}

struct Page(String);

impl Page {
    async fn get(&self, path: &str) -> Result<(u16, String), String> {
        let tls = deliver::unused_tls().map_err(|error| error.to_string())?;
        let client = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().timeout(PATIENCE).build();
        let asked = async {
            let answer = client?.get(format!("{}{path}", self.0)).send().await?;
            Ok((answer.status().as_u16(), answer.text().await?))
        };
        asked.await.map_err(|error: reqwest::Error| format!("{path}: {error}"))
    }

    async fn answers(&self) -> Seen {
        let mut seen = Vec::new();
        for path in ["/livez", "/metrics"] {
            match self.get(path).await {
                Ok((status, _)) => seen.push(format!("{path} {status}")),
                Err(error) => return Seen::red(error, "Report it."),
            }
        }
        let seen = seen.join(", ");
        Seen::of(seen == "/livez 200, /metrics 200", seen, "Report it.")
    }

    async fn is_ready(&self) -> Seen {
        match self.get("/readyz").await {
            Ok((status, body)) => {
                Seen::of(status == 200, format!("{status} {}", body.trim()), "Mend the part that is not ready.")
            }
            Err(error) => Seen::red(error, "Report it."),
        }
    }

    async fn counts(&self, emitted: u64) -> Seen {
        let body = match self.get("/metrics").await {
            Ok((_, body)) => body,
            Err(error) => return Seen::red(error, "Report it."),
        };
        let answered = body.lines().filter(|line| line.starts_with("wsp_answered_events_total{"));
        let counted = answered.filter(|line| line.contains("\"ADMIT\"") || line.contains("\"DUPLICATE\""));
        let sum: f64 = counted.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
        let seen = format!("{sum} answered by /metrics, {emitted} by the run");
        Seen::of((sum - emitted as f64).abs() < 0.5, seen, "Report it.")
    }
}

fn packs<C>(m: &Matrix<C>) -> Seen {
    let look = PacksLook::take(&m.profile.required_packs, Path::new(""), Some(&m.run));
    look.verdict().into()
}

/// READY as it is, and a required pack that nobody could have started. It has to be tried before the run is streamed.
pub(super) async fn waits<C: Clock + std::fmt::Debug>(m: &Matrix<C>, ready: &Ready) -> Result<Seen, Refusal> {
    let mut trial = Trial::new(m, "C4.wait", ready.clone())?;
    trial.rename();
    let file = PathBuf::from("wsp-matrix-no-such-pack.yaml");
    trial.profile.required_packs = RequiredPacks { files: Some(vec![file]), same_run: true };
    trial.seen(m).await
}

async fn facts<C: Clock>(m: &Matrix<C>) -> Result<Seen, Refusal> {
    let told = Told::read(&prepare::open_own(&m.profile)?, &m.run, m.profile.lane).await?;
    let of = |family: &'static str| told.facts.iter().filter(move |fact| fact.event_family == family);
    let ends: Vec<&Fact> = of("RUN_ENDED").collect();
    let ended = |end: &str| ends.iter().rev().find(|fact| fact.text("end") == end);
    let stopped = ended("stopped").is_some_and(|fact| fact.text("reason") == Reason::RunStopped.code());
    let capped = ended("capped").is_some_and(|fact| {
        let by_output = fact.details["emitted_by_output"].as_object();
        let sum = by_output.map(|by_output| by_output.values().filter_map(serde_json::Value::as_u64).sum::<u64>());
        fact.details["limits"]["max_events"].is_u64() && sum == fact.details["emitted"].as_u64()
    });
    let once = of("RUN_READY_SEEN").count() == 1 && of("RUN_STARTED").count() == 1;
    let words: Vec<_> = told.facts.iter().map(|fact| format!("{} {}", fact.event_family, fact.text("end"))).collect();
    let seen = Seen::of(
        once && stopped && capped,
        words.iter().map(|words| words.trim_end()).collect::<Vec<_>>().join(", "),
        "Compare the run's facts with docs/evidence.md.",
    );
    Ok(seen.shown_by(kept::name(m, "obs/governance/events.jsonl")?))
}
