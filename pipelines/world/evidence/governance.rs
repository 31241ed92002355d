//! Governance facts: what happened to a run, each told once.
//!
//! ```text
//! fact ──► events/<event_id>.json (write-once) ──► events.jsonl, a line ──► markers/<event_id>.json
//! ```
//!
//! The body comes first, so a fact exists or not in one instant; the marker comes last and says that all three are
//! there. Writing a fact that exists changes nothing in it, but makes up for a line or marker that a crash left out;
//! of two producers that do so in the same instant one adds the line.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use wsp::store::{Key, ObjectStore};

use super::record::Verdict;
use super::start::Limits;
use super::status::Status;
use super::{key, run_prefix, unavailable};
use crate::model::{Hex32, Hex64, Lane, Lanes, Micros, PlatformRunId, Refusal, ScenarioId, json};

const COMPONENT: &str = "wsp_ready_consumer";
const BODY_LIMIT: u64 = 1 << 20;

/// What kind of fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// A READY of the run was read.
    RunReadySeen,
    /// All checks passed; streaming starts.
    RunStarted,
    /// The run ended, well or badly.
    RunEnded,
    /// The READY is not for here.
    RunCancelled,
}

impl Family {
    /// The word in facts.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Family::RunReadySeen => "RUN_READY_SEEN",
            Family::RunStarted => "RUN_STARTED",
            Family::RunEnded => "RUN_ENDED",
            Family::RunCancelled => "RUN_CANCELLED",
        }
    }
}

/// Why a READY is cancelled: the last part of the fact's dedupe key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cancelled<'a> {
    /// Of another platform run than this active one.
    ScopeMismatch {
        /// The active run.
        active: &'a PlatformRunId,
    },
    /// Without a scenario.
    ScenarioMissing,
    /// Without a world.
    EngineRootMissing,
}

impl Cancelled<'_> {
    /// The word in the dedupe key.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Cancelled::ScopeMismatch { .. } => "scope_mismatch",
            Cancelled::ScenarioMissing => "scenario_missing",
            Cancelled::EngineRootMissing => "engine_root_missing",
        }
    }
}

/// What the run's facts are about. What is not known (a READY has no seed) stands there as `null`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pins {
    /// The platform run.
    pub platform_run_id: PlatformRunId,
    /// SR's scenario run.
    pub scenario_run_id: Hex32,
    /// The world.
    pub manifest_fingerprint: Option<Hex64>,
    /// Its parameters.
    pub parameter_hash: Option<Hex64>,
    /// Its seed.
    pub seed: Option<u64>,
    /// Its scenario.
    pub scenario_id: Option<ScenarioId>,
}

/// Who says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The release of this service; `dev-local` where none is configured.
    pub service_release_id: String,
    /// Where it runs; `unknown` where nothing says.
    pub environment: String,
    /// More, as the platform configures it. The two above win over equal names in it.
    pub more: Map<String, Value>,
}

impl Default for Provenance {
    fn default() -> Self {
        Self { service_release_id: "dev-local".to_owned(), environment: "unknown".to_owned(), more: Map::new() }
    }
}

/// What the fact of a start tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The world.
    pub engine_run_root: String,
    /// Limits that were asked for; told where there are any.
    pub limits: Limits,
    /// Rows delivered before, all outputs together; told where there are any.
    pub resumed_rows: u64,
    /// The time that READY had to wait, in words of [`super::Deferral`]; told where it had to.
    pub deferred: Option<Value>,
}

impl Started {
    /// A start from the first row, without limits.
    #[must_use]
    pub fn anew(engine_run_root: &str) -> Self {
        let engine_run_root = engine_run_root.to_owned();
        Self { engine_run_root, limits: Limits::default(), resumed_rows: 0, deferred: None }
    }
}

/// The governance facts of one run.
#[derive(Debug, Clone)]
pub struct Facts {
    store: Arc<dyn ObjectStore>,
    folder: Key,
    pins: Pins,
    provenance: Provenance,
    lane: Lane,
    lanes: Option<Lanes>,
}

/// An end of a run that has a fact.
pub(super) struct Ended {
    status: Option<String>,
    reason: Option<String>,
    emitted: Option<u64>,
    end: Option<String>,
}

impl Ended {
    /// Whether a cap that was asked for ended it, so that the run may go on behind it.
    pub(super) fn is_capped(&self) -> bool {
        self.status.as_deref() == Some(Status::Streamed.as_str()) && self.end.as_deref() == Some("capped")
    }
}

impl Facts {
    /// Facts about the run that `pins` names.
    ///
    /// # Errors
    ///
    /// As [`run_prefix`].
    pub fn new(store: Arc<dyn ObjectStore>, pins: Pins, provenance: Provenance) -> Result<Self, Refusal> {
        let folder = key(&format!("{}/obs/governance", run_prefix(store.root(), &pins.platform_run_id)?))?;
        Ok(Self { store, folder, pins, provenance, lane: Lane::WHOLE, lanes: None })
    }

    /// Those of one lane: starts and ends are each lane's own, `started:<message_id>:<lane>`, and say the lane in their
    /// details. That READY was seen or cancelled is told once for all lanes.
    #[must_use]
    pub fn of_lane(mut self, lane: Lane) -> Self {
        self.lane = lane;
        self
    }

    /// Those of a run whose lanes workers share: its start and its end name them.
    #[must_use]
    pub fn over_lanes(mut self, lanes: Option<Lanes>) -> Self {
        self.lanes = lanes;
        self
    }

    /// The id of a fact (contract, section 8).
    #[must_use]
    pub fn event_id(&self, family: Family, dedupe_key: &str) -> Hex64 {
        let Pins { platform_run_id, scenario_run_id, .. } = &self.pins;
        Hex64::sha256(format!("{}|{platform_run_id}|{scenario_run_id}|{COMPONENT}|{dedupe_key}", family.as_str()))
    }

    /// A READY was read.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`, as for all facts.
    pub async fn ready_seen(
        &self,
        message_id: &Hex64,
        run_id: &Hex32,
        facts_view_ref: &str,
        ts: Micros,
    ) -> Result<(), Refusal> {
        let details = json!({"facts_view_ref": facts_view_ref, "message_id": message_id, "run_id": run_id});
        self.write(Family::RunReadySeen, &format!("ready_seen:{message_id}"), &details, ts).await
    }

    /// Streaming starts.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`.
    pub async fn started(&self, message_id: &Hex64, started: &Started, ts: Micros) -> Result<(), Refusal> {
        let mut details = json!({"engine_run_root": started.engine_run_root, "message_id": message_id});
        if started.limits != Limits::default() {
            details["limits"] = json!(started.limits);
        }
        if started.resumed_rows > 0 {
            details["resumed_rows"] = started.resumed_rows.into();
        }
        if let Some(deferred) = &started.deferred {
            details["deferred"] = deferred.clone();
        }
        self.add_lane(&mut details);
        self.write(Family::RunStarted, &dedupe_key_of_lane("started", message_id, self.lane), &details, ts).await
    }

    /// The READY is not for here.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`.
    pub async fn cancelled(&self, verdict: &Verdict, why: Cancelled<'_>) -> Result<(), Refusal> {
        let Verdict { message_id, run_id, status, reason, .. } = verdict;
        let details = match why {
            // Of a foreign run nothing was looked at, so there is nothing to say of ours but its name (contract, section 9).
            Cancelled::ScopeMismatch { active } => {
                json!({"active_platform_run_id": active, "message_id": message_id, "reason": reason})
            }
            _ => json!({"message_id": message_id, "reason": reason, "run_id": run_id, "status": status.as_str()}),
        };
        let dedupe_key = format!("cancelled:{message_id}:{}", why.as_str());
        self.write(Family::RunCancelled, &dedupe_key, &details, verdict.ts).await
    }

    /// The run ended; `recorded` is how many verdicts its record holds already.
    ///
    /// Each end has a fact of its own: `ended:<message_id>`, then `…:2`, `…:3`. A fact is written before the verdict
    /// it belongs to, so one more fact than verdicts means that a crash came between them: if that fact tells the
    /// same end it is completed, not told again. A run that was streamed stays streamed, so a second STREAMED is
    /// always the same end.
    ///
    /// # Errors
    ///
    /// `STORE_UNAVAILABLE`.
    pub async fn ended(&self, verdict: &Verdict, recorded: usize) -> Result<(), Refusal> {
        let (told, last) = self.ends(&verdict.message_id, self.lane).await?;
        let same = last.is_some_and(|last| {
            let same_status = last.status.as_deref() == Some(verdict.status.as_str());
            let same_rest = last.reason.as_deref() == verdict.reason.map(crate::model::Reason::code)
                && last.emitted == Some(verdict.emitted);
            same_status && (verdict.status == Status::Streamed || (told > recorded && same_rest))
        });
        let n = if same { told } else { told + 1 };
        let mut details = json!({
            "emitted": verdict.emitted,
            "engine_run_root": verdict.engine_run_root,
            "message_id": verdict.message_id,
            "reason": verdict.reason,
            "status": verdict.status.as_str(),
        });
        if let Some(ending) = &verdict.ending {
            details["end"] = json!(ending.end);
            details["limits"] = json!(ending.limits);
            details["emitted_by_output"] = json!(ending.emitted_by_output);
            if ending.resumed_rows > 0 {
                details["resumed_rows"] = ending.resumed_rows.into();
            }
        }
        self.add_lane(&mut details);
        self.write(Family::RunEnded, &end_key(&verdict.message_id, self.lane, n), &details, verdict.ts).await
    }

    /// The last end of `lane` under `message_id` that was told with our pins: none where it was another run's.
    pub(super) async fn last_end(&self, message_id: &Hex64, lane: Lane) -> Result<Option<Ended>, Refusal> {
        Ok(self.ends(message_id, lane).await?.1)
    }

    /// How many ends were told, and the last of them.
    async fn ends(&self, message_id: &Hex64, lane: Lane) -> Result<(usize, Option<Ended>), Refusal> {
        let (mut told, mut last) = (0, None);
        while let Some(ended) = self.read_end(&end_key(message_id, lane, told + 1)).await? {
            told += 1;
            last = Some(ended);
        }
        Ok((told, last))
    }

    fn add_lane(&self, details: &mut Value) {
        if let Some(lane) = self.lane.label() {
            details["lane"] = lane.into();
        }
        if let Some(lanes) = self.lanes {
            details["lanes"] = json!(lanes);
        }
    }

    async fn read_end(&self, dedupe_key: &str) -> Result<Option<Ended>, Refusal> {
        let event_id = self.event_id(Family::RunEnded, dedupe_key);
        let body = self.store.get(&self.body(&event_id)?, BODY_LIMIT).await.map_err(unavailable)?;
        Ok(body.map(|body| {
            let fact: Value = serde_json::from_slice(&body).unwrap_or_default();
            let text = |key: &str| fact["details"][key].as_str().map(str::to_owned);
            let emitted = fact["details"]["emitted"].as_u64();
            Ended { status: text("status"), reason: text("reason"), emitted, end: text("end") }
        }))
    }

    fn body(&self, event_id: &Hex64) -> Result<Key, Refusal> {
        key(&format!("{}/events/{event_id}.json", self.folder))
    }

    async fn write(&self, family: Family, dedupe_key: &str, details: &Value, ts: Micros) -> Result<(), Refusal> {
        let event_id = self.event_id(family, dedupe_key);
        let mut fact = self.fact(family, &event_id, details, ts);
        let body = self.body(&event_id)?;
        if !self.store.put_new(&body, line(&fact)).await.map_err(unavailable)? {
            // Line and marker repeat what stands, not what we would have said.
            let standing = self.store.get(&body, BODY_LIMIT).await.map_err(unavailable)?.unwrap_or_default();
            match serde_json::from_slice::<Value>(&standing) {
                Ok(standing) if standing["event_id"] == event_id.as_str() => fact = standing,
                _ => tracing::warn!(object = %self.store.full_name(&body), "a governance fact that cannot be read"),
            }
        }
        let list = key(&format!("{}/events.jsonl", self.folder))?;
        let sought = event_id.clone();
        let held = Arc::new(move |list: &[u8]| is_listed(list, &sought));
        self.store.append_unless(&list, line(&fact), held).await.map_err(unavailable)?;
        let marker = json!({"event_family": family.as_str(), "event_id": event_id, "ts_utc": fact["ts_utc"]});
        let marker_key = key(&format!("{}/markers/{event_id}.json", self.folder))?;
        self.store.put_new(&marker_key, line(&marker)).await.map_err(unavailable)?;
        Ok(())
    }

    fn fact(&self, family: Family, event_id: &Hex64, details: &Value, ts: Micros) -> Value {
        let Pins { platform_run_id, scenario_run_id, manifest_fingerprint, parameter_hash, seed, scenario_id } =
            &self.pins;
        let mut provenance = self.provenance.more.clone();
        provenance.insert("service_release_id".to_owned(), json!(self.provenance.service_release_id));
        provenance.insert("environment".to_owned(), json!(self.provenance.environment));
        json!({
            "event_id": event_id,
            "event_family": family.as_str(),
            "ts_utc": ts.offset_text(),
            "actor": {"actor_id": format!("svc:{COMPONENT}"), "source_type": "SYSTEM", "source_component": COMPONENT},
            "pins": {
                "platform_run_id": platform_run_id,
                "scenario_run_id": scenario_run_id,
                "manifest_fingerprint": manifest_fingerprint,
                "parameter_hash": parameter_hash,
                "seed": seed.map(|seed| seed.to_string()),
                "scenario_id": scenario_id,
            },
            "provenance": provenance,
            "details": details,
        })
    }
}

/// A dedupe key of one lane; of the whole run, the contract's.
pub(super) fn dedupe_key_of_lane(what: &str, message_id: &Hex64, lane: Lane) -> String {
    lane.label().map_or_else(|| format!("{what}:{message_id}"), |lane| format!("{what}:{message_id}:{lane}"))
}

/// The key of a run's `n`-th end, from 1.
fn end_key(message_id: &Hex64, lane: Lane, n: usize) -> String {
    let first = dedupe_key_of_lane("ended", message_id, lane);
    if n == 1 { first } else { format!("{first}:{n}") }
}

fn line(value: &Value) -> Bytes {
    (json::compact(value) + "\n").into()
}

fn is_listed(list: &[u8], event_id: &Hex64) -> bool {
    let id = event_id.as_str().as_bytes();
    list.split(|byte| *byte == b'\n')
        // Most lines are of others; only one that holds the id is worth parsing.
        .filter(|line| line.windows(id.len()).any(|window| window == id))
        .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
        .any(|fact| fact["event_id"] == event_id.as_str())
}
