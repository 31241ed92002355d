//! The real READY on the real systems, within the cap: stopped, resumed, taken again, and its first events resent.

use std::sync::Arc;

use wsp::clock::Clock;
use wsp::deliver::{DeliveryMode, HttpGate};
use wsp::pace::Pacing;
use wsp::stop::Stop;
use wsp_world::evidence::{End, Status, Summary};
use wsp_world::model::{Reason, Refusal};
use wsp_world::positions::checkpoints;
use wsp_world::prepare::{self, Prepared};
use wsp_world::producer::{Caps, Settings};
use wsp_world::profile::Profile;
use wsp_world::ready::{Incoming, Ready, Source};
use wsp_world::service::{Service, Taken};
use wsp_world::telemetry::Telemetry;

use super::aside::Aside;
use super::gates::CountedGate;
use super::kept;
use super::matrix::Matrix;
use super::report::{Report, Seen, verdict_words};
use super::trial::{Trial, broken};

/// Most events that are sent a second time.
const RESENT: u64 = 5;

/// The result of the run.
pub(super) struct Streamed {
    /// Events of both starts that IG has.
    pub(super) emitted: u64,
}

/// Fills the rows of the real run; returns its result if it was streamed.
pub(super) async fn streamed<C: Clock + std::fmt::Debug>(
    m: &Matrix<C>,
    (ready, source): (&Ready, &Source),
    world: &Prepared,
    telemetry: &Telemetry,
    report: &mut Report,
) -> Option<Streamed> {
    let start = Starting { m, ready, source, telemetry };
    let mut first = 0;
    let stopped = async {
        let (seen, emitted) = start.stopped().await?;
        first = emitted;
        Ok::<_, Refusal>(seen)
    };
    report.fill("C3.stop", stopped).await;
    let mut all = None;
    let capped = async {
        let (seen, emitted) = start.capped(first).await?;
        all = seen.is_green().then_some(Streamed { emitted });
        Ok::<_, Refusal>(seen)
    };
    report.fill("C3.cap", capped).await;
    report.fill("C3.again", again(m, "C3.again", ready, false)).await;
    report.fill("C3.other_message", again(m, "C3.other_message", ready, true)).await;
    report.fill("C3.resent", start.resent(world)).await;
    all
}

/// READY taken by a service that can send nothing, now that its run is streamed.
async fn again<C: Clock + std::fmt::Debug>(
    m: &Matrix<C>,
    id: &'static str,
    ready: &Ready,
    renamed: bool,
) -> Result<Seen, Refusal> {
    let mut trial = Trial::new(m, id, ready.clone())?;
    if renamed {
        trial.rename();
        // The cap that ended the run is in its facts; without them the run counts as streamed to its end.
        trial = trial.hiding(&kept::below(m, "obs/governance")?);
    }
    trial.seen(m).await
}

struct Starting<'a, C> {
    m: &'a Matrix<C>,
    ready: &'a Ready,
    source: &'a Source,
    telemetry: &'a Telemetry,
}

impl<C: Clock + std::fmt::Debug> Starting<'_, C> {
    /// The profile's settings without pace and rate: the matrix shows what is sent, not when.
    fn settings(&self, cap: u64) -> Settings {
        let settings = Settings::new(&self.m.profile, Caps { max_events: Some(cap), ..Caps::default() });
        Settings { pacing: Pacing::off(), campaign_start: None, rate: None, rate_start: None, ..settings }
    }

    fn incoming(&self) -> Incoming {
        Incoming::by_hand(self.ready.clone(), self.source.clone())
    }

    /// The result of a start like that of `wsp run`.
    async fn taken(&self, settings: Settings, gate: &CountedGate<HttpGate<C>>, stop: Stop) -> Result<Taken, Refusal> {
        let m = self.m;
        let service = Service::new(m.profile.clone(), settings, gate.clone(), m.clock.clone(), stop);
        let service = service.map_err(|error| broken(&error))?.telemetry(self.telemetry.clone());
        Box::pin(service.take(&self.incoming())).await
    }

    async fn stopped(&self) -> Result<(Seen, u64), Refusal> {
        let m = self.m;
        let stop = Stop::new();
        let gate = CountedGate::new(m.gate.clone()).stopping(m.max_events / 2, &stop);
        let settings = Settings { mode: DeliveryMode::Strict, ..self.settings(m.max_events) };
        let taken = self.taken(settings, &gate, stop).await?;
        let emitted = taken.verdict.emitted;
        let as_told = taken.verdict.reason == Some(Reason::RunStopped) && (1..m.max_events).contains(&emitted);
        let seen = format!("{}, {} attempts", told(&taken), gate.attempts());
        Ok((Seen::of(as_told, seen, why(&taken)).shown_by(kept::name(m, "wsp/wsp_start.json")?), emitted))
    }

    async fn capped(&self, before: u64) -> Result<(Seen, u64), Refusal> {
        let m = self.m;
        let gate = CountedGate::new(m.gate.clone());
        let settings = self.settings(m.max_events - before.min(m.max_events));
        let taken = self.taken(settings, &gate, Stop::new()).await?;
        let emitted = before + taken.verdict.emitted;
        let capped = taken.verdict.status == Status::Streamed
            && taken.summary.as_ref().is_some_and(|summary| summary.end == End::Capped && resumed(summary) >= before);
        let seen = format!("{}, {} attempts, {emitted} events in all", told(&taken), gate.attempts());
        let seen = Seen::of(capped && emitted == m.max_events, seen, why(&taken));
        Ok((seen.shown_by(kept::name(m, "wsp/wsp_summary.json")?), emitted))
    }

    /// From a checkpoint of its own, with the run's records hidden and its evidence aside: only the gate can recognise events.
    async fn resent(&self, world: &Prepared) -> Result<Seen, Refusal> {
        let m = self.m;
        let mut profile: Profile = m.profile.clone();
        "wsp-matrix-resent".clone_into(&mut profile.checkpoint.attempt_id);
        let store = prepare::open_own(&profile)?;
        let aside =
            Aside::new(store).hiding(&kept::below(m, "wsp/ready_runs")?).hiding(&kept::below(m, "wsp/ready_lanes")?);
        let gate = CountedGate::new(m.gate.clone());
        let cap = RESENT.min(m.max_events);
        let service = Service::new(profile.clone(), self.settings(cap), gate.clone(), m.clock.clone(), Stop::new());
        let service = service.map_err(|error| broken(&error))?.keeping(Arc::new(aside)).in_folder(&m.scratch);
        let taken = Box::pin(service.take(&self.incoming())).await;
        // No later start may resume from there.
        let scope = world.scope(&profile.checkpoint.attempt_id);
        let checkpoints = checkpoints(&profile, &m.run, m.clock.clone())?;
        checkpoints.reset(&scope, &world.output_ids()).await?;
        let taken = taken?;
        let duplicates = taken.summary.as_ref().map_or(0, |summary| summary.totals.duplicates);
        let seen = format!("{}, {duplicates} duplicates of {cap}", told(&taken));
        let again = taken.verdict.status == Status::Streamed && duplicates == cap;
        Ok(Seen::of(again, seen, why(&taken)))
    }
}

/// Rows before the position where a start resumed.
fn resumed(summary: &Summary) -> u64 {
    summary.outputs.iter().map(|output| output.start.resumed_at).sum()
}

fn told(taken: &Taken) -> String {
    let counts = taken.summary.as_ref().map_or_else(String::new, |summary| {
        format!(", {:?}: {} admitted, {} duplicates", summary.end, summary.totals.admitted, summary.totals.duplicates)
    });
    verdict_words(&taken.verdict) + &counts
}

fn why(taken: &Taken) -> String {
    match (&taken.refusal, taken.verdict.status) {
        (Some(refusal), _) => format!("{refusal}; {}", refusal.reason.next()),
        (None, Status::SkippedDuplicate) => "The run was streamed before: name one that was not.".to_owned(),
        (None, _) => "It ended, and not like this.".to_owned(),
    }
}
