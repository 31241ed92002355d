//! What the run and the matrix leave: verified, and searched for secrets.

use wsp::clock::Clock;
use wsp_world::evidence::unavailable;
use wsp_world::ig::IgProbe;
use wsp_world::model::{Check, Refusal, Verdict};
use wsp_world::prepare;
use wsp_world::verify::{Depth, verify};

use super::delivery::Streamed;
use super::kept::below;
use super::matrix::Matrix;
use super::report::{Report, Seen};

/// Largest object that is searched or shown, in bytes.
const LIMIT: u64 = 64 << 20;
/// Folders of a run's evidence, below its prefix.
const FOLDERS: &[&str] = &[
    "wsp",
    "wsp/ready_runs",
    "wsp/ready_lanes",
    "wsp/deferrals",
    "wsp/matrix",
    "obs/governance",
    "obs/governance/events",
    "obs/governance/markers",
];
/// Shortest text that is searched for; shorter ones occur everywhere.
const SECRET: usize = 4;

/// Fills the rows of C5.
pub(super) async fn verified<C: Clock + std::fmt::Debug>(
    m: &Matrix<C>,
    streamed: Option<&Streamed>,
    report: &mut Report,
) {
    if streamed.is_none() {
        return;
    }
    if report.can("C5.verify") {
        let depth = Depth { digest: true, sample: Some((IgProbe::of(&m.gate), m.max_events)) };
        match Box::pin(verify(&m.profile, &m.run, &depth, m.clock.clone())).await {
            Ok(list) => {
                let (gate, rest): (Vec<&Check>, Vec<&Check>) =
                    list.checks().iter().partition(|check| check.name == "gate");
                report.fill("C5.verify", async { of_checks(&rest) }).await;
                report.fill("C5.gate", async { of_checks(&gate) }).await;
            }
            Err(refusal) => {
                report.fill("C5.verify", async { Seen::refused(&refusal) }).await;
                report.fill("C5.gate", async { Seen::refused(&refusal) }).await;
            }
        }
    }
    report.fill("C5.report", page(m)).await;
    let rows = serde_json::to_string(&report).unwrap_or_default();
    report.fill("C5.secrets", searched(m, &rows)).await;
}

fn of_checks(checks: &[&Check]) -> Seen {
    let refused = checks.iter().find_map(|check| match &check.verdict {
        Verdict::Refused(refusal) => Some((check, refusal)),
        Verdict::Passed | Verdict::Waived => None,
    });
    match refused {
        Some((check, refusal)) => Seen::red(format!("{}: {refusal}", check.name), refusal.reason.next()),
        None if checks.is_empty() => Seen::red("no check was made", "Read the other rows of C5."),
        None if let [Check { verdict: Verdict::Waived, detail, .. }] = checks => Seen::not_run(detail),
        None => {
            let details: Vec<_> = checks.iter().map(|check| check.detail.as_str()).collect();
            let seen = if checks.len() == 1 { details.concat() } else { format!("{} checks pass", checks.len()) };
            Seen::green(seen)
        }
    }
}

async fn page<C: Clock>(m: &Matrix<C>) -> Result<Seen, Refusal> {
    let store = prepare::open_own(&m.profile)?;
    let key = below(m, "wsp/wsp_report.html")?;
    let body = store.get(&key, LIMIT).await.map_err(unavailable)?.unwrap_or_default();
    let of_run = String::from_utf8_lossy(&body).contains(m.run.as_str());
    let seen = Seen::of(of_run, format!("{} bytes", body.len()), "Make it again: `wsp report`.");
    Ok(seen.shown_by(store.full_name(&key)))
}

/// Searches everything that the run has left, and the rows of this matrix, for secrets.
async fn searched<C: Clock>(m: &Matrix<C>, rows: &str) -> Result<Seen, Refusal> {
    let secrets = secrets(m);
    let store = prepare::open_own(&m.profile)?;
    let shows =
        |text: &[u8]| secrets.iter().any(|secret| text.windows(secret.len()).any(|part| part == secret.as_bytes()));
    let (mut objects, mut found) = (0, Vec::new());
    for folder in FOLDERS {
        for (key, _) in store.list(&below(m, folder)?).await.map_err(unavailable)? {
            let Ok(Some(body)) = store.get(&key, LIMIT).await else { continue };
            objects += 1;
            if shows(&body) {
                found.push(store.full_name(&key));
            }
        }
    }
    if shows(rows.as_bytes()) {
        found.push("this matrix".to_owned());
    }
    let seen = format!("{objects} objects searched for {} secrets", secrets.len());
    Ok(match found.as_slice() {
        [] => Seen::green(seen),
        found => {
            Seen::red(format!("{seen}; in {}", found.join(", ")), "Change the secret, remove the object, report it.")
        }
    })
}

/// The texts to search for: the profile's secrets, and those that were named.
fn secrets<C>(m: &Matrix<C>) -> Vec<String> {
    let secrets = m.secrets.iter().cloned().chain(m.profile.secrets());
    let texts = secrets.map(|secret| secret.expose().to_owned());
    texts.filter(|text| text.len() >= SECRET).collect()
}
