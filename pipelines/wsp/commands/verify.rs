//! `wsp verify`: does a run's evidence hold together?

use std::fmt::Write;

use serde_json::json;
use wsp::clock::SystemClock;
use wsp_world::ig::IgProbe;
use wsp_world::model::{CheckList, Verdict};
use wsp_world::verify::{Depth, verify};

use super::args;
use super::report::run_of;
use super::service::gate;
use super::{Exit, Failure, Outcome, block_on, load, say};

pub(crate) fn run(args: &args::Verify) -> Outcome {
    let profile = load(&args.profile)?;
    let home = run_of(&profile, args.run.as_ref())?;
    let clock = SystemClock::new();
    let verified = block_on(async {
        let sample = match args.sample {
            0 => None,
            n => Some((IgProbe::of(&gate(&profile, clock)?), n)),
        };
        let depth = Depth { digest: !args.no_digest, sample };
        Ok::<_, Failure>(verify(&profile, &home, &depth, clock).await)
    })??;
    let checks = verified.map_err(Failure::refused)?;
    let holds = checks.verdict().is_ok();
    if args.json {
        let text = serde_json::to_string_pretty(&json!({"platform_run_id": home, "holds": holds, "checks": checks}))
            .map_err(|error| Failure::failed(error.to_string()))?;
        say(format_args!("{text}\n"))?;
    } else {
        say(told(&checks))?;
        let verdict = if holds { "holds together" } else { "DOES NOT HOLD TOGETHER" };
        say(format_args!("\n{home} {verdict}\n"))?;
    }
    Ok(if holds { Exit::Done } else { Exit::Failed })
}

/// A line a check, with what to do under those that refuse.
pub(crate) fn told(checks: &CheckList) -> String {
    let mut out = String::new();
    for check in checks.checks() {
        let mark = match check.verdict {
            Verdict::Passed => "ok     ",
            Verdict::Waived => "waived ",
            Verdict::Refused(_) => "REFUSED",
        };
        let _ = writeln!(out, "{mark}  {}: {}", check.name, check.detail);
        if let Verdict::Refused(refusal) = &check.verdict {
            let _ = writeln!(out, "         -> {}", refusal.reason.next());
        }
    }
    out
}
