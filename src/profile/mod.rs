//! What an operator decides: the profile (YAML) and the environment, read into types that can't be wrong.
//!
//! ```text
//! profile.yaml ─┐
//! environment ──┴─► Reader ──► Profile (or one ConfigError that names all that is wrong)
//! ```
//!
//! The platform's profiles serve many components: other top-level blocks, and other components' keys in
//! `policy` and `wiring`, are left alone (contract, section 10).

mod lane;
mod outputs;
mod reader;
mod scope;
pub mod settings;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::{Lane, Micros, PlatformRunId, ScenarioId, Secret};
pub use outputs::{BASELINE_TRAFFIC, FRAUD_TRAFFIC, OutputPlan, check_producer, default_context, order_key_column};
pub use reader::Environment;
use reader::Reader;
pub use scope::{active_run, run_scoped};
use settings as s;

/// Everything that is wrong with a profile, or with the wish to use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// One a line: what, where, what to do.
    pub problems: Vec<String>,
}

impl ConfigError {
    /// One problem.
    pub fn new(problem: impl Into<String>) -> Self {
        Self { problems: vec![problem.into()] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [one] => f.write_str(one),
            many => {
                write!(f, "{} problems:", many.len())?;
                many.iter().try_for_each(|problem| write!(f, "\n  - {problem}"))
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// What may be streamed and how.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The policy's revision, as evidence.
    pub policy_rev: Option<String>,
    /// Gates have to have passed.
    pub require_gate_pass: bool,
    /// Manifest and seal have to be there.
    pub require_seal: bool,
    /// Event seconds a wall second; 0 = no pacing.
    pub stream_speedup: f64,
    /// Longest event-time gap that is paced as it is.
    pub max_idle_gap: Option<Duration>,
    /// QUARANTINE stops the run.
    pub stop_on_nonretryable: bool,
    /// Older READYs are refused.
    pub ready_max_age: Option<Duration>,
    /// Traffic outputs as listed; a run wants exactly one ([`OutputPlan::new`]).
    pub traffic_output_ids: Vec<String>,
    /// Context outputs in rank order.
    pub context_output_ids: Vec<String>,
}

/// Where READY comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlBus {
    /// Files in `<root>/<topic>/`; the root is scoped to the active run when it is used.
    File {
        /// As configured.
        root: PathBuf,
    },
}

/// Where the Oracle is.
#[derive(Debug, Clone)]
pub struct OracleWiring {
    /// What relative references are joined to.
    pub root: Option<String>,
    /// The engine run root, where the profile decides it.
    pub engine_run_root: Option<String>,
    /// The scenario a run must have.
    pub scenario_id: Option<ScenarioId>,
    /// Where stream views are, where the profile decides it.
    pub stream_view_root: Option<String>,
    /// The engine's catalogue of outputs.
    pub catalogue_path: PathBuf,
}

/// Where and how checkpoints are kept.
#[derive(Debug, Clone)]
pub struct CheckpointWiring {
    /// The backend.
    pub backend: CheckpointBackend,
    /// Answered events between two saves.
    pub flush_every: u64,
    /// Part of the scope key; empty by default.
    pub attempt_id: String,
}

/// The kinds of checkpoint store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckpointBackend {
    /// Files; the root is scoped to the run when it is used.
    File {
        /// As configured.
        root: PathBuf,
    },
}

/// How events are pushed.
#[derive(Debug, Clone)]
pub struct DeliveryWiring {
    /// IG's base or push URL.
    pub ig_ingest_url: String,
    /// The header that carries the key.
    pub api_key_header: String,
    /// The key.
    pub api_key: Secret,
    /// The order promised; `None` = strict with one in flight, keyed beyond.
    pub mode: Option<String>,
    /// Requests in flight at once.
    pub in_flight: usize,
    /// Events between the newest sent and the oldest unanswered one.
    pub window: usize,
    /// Time for one attempt.
    pub attempt_timeout: Duration,
    /// Time for answers in flight on a stop.
    pub drain_deadline: Duration,
    /// Attempts an event.
    pub max_attempts: u32,
    /// First delay.
    pub base_delay: Duration,
    /// Longest delay before jitter.
    pub max_delay: Duration,
}

/// Rates, as given; the pace room turns them into a schedule.
#[derive(Debug, Clone, Default)]
pub struct RateWiring {
    /// Events a second.
    pub target_eps: Option<f64>,
    /// Seconds of the rate that may come at once.
    pub burst_seconds: f64,
    /// Events that may come at once at the start.
    pub initial_tokens: Option<f64>,
    /// `WSP_RATE_PLAN_JSON`.
    pub plan_json: Option<String>,
    /// What the plan counts from.
    pub plan_start: Option<Micros>,
    /// When the first event time is due.
    pub campaign_start: Option<Micros>,
    /// With a plan, event time doesn't pace.
    pub no_replay_delay_with_plan: bool,
}

/// Who we are, for evidence.
#[derive(Debug, Clone)]
pub struct ServiceIdentity {
    /// Release of this service.
    pub release_id: String,
    /// Environment.
    pub environment: String,
}

/// A profile with its environment.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Its name.
    pub profile_id: String,
    /// What may be streamed and how.
    pub policy: Policy,
    /// Root of facts and evidence.
    pub store_root: String,
    /// Where READY comes from.
    pub control_bus: ControlBus,
    /// The control topic.
    pub topic: String,
    /// The Oracle.
    pub oracle: OracleWiring,
    /// The push.
    pub delivery: DeliveryWiring,
    /// Checkpoints.
    pub checkpoint: CheckpointWiring,
    /// The `producer` of every event.
    pub producer_id: String,
    /// Who may produce.
    pub producer_allowlist: PathBuf,
    /// Rates.
    pub rate: RateWiring,
    /// Events per output and run.
    pub max_events_per_output: Option<u64>,
    /// This process's share of the run.
    pub lane: Lane,
    /// `PLATFORM_RUN_ID`, where it is set.
    pub platform_run_id: Option<PlatformRunId>,
    /// For governance facts.
    pub service: ServiceIdentity,
}

impl Profile {
    /// Reads the profile at `path`.
    ///
    /// # Errors
    ///
    /// One [`ConfigError`] that names everything wrong with file and environment.
    pub fn load(path: &Path, env: Environment<'_>) -> Result<Self, ConfigError> {
        let name = path.display();
        let text = outputs::read_bounded(path).map_err(|error| ConfigError::new(format!("profile {name}: {error}")))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Self::parse(&text, folder, env).map_err(|error| ConfigError {
            problems: error.problems.into_iter().map(|problem| format!("profile {name}: {problem}")).collect(),
        })
    }

    /// Reads a profile's text; relative file references that don't exist from the working directory count from `folder`.
    ///
    /// # Errors
    ///
    /// As [`Profile::load`].
    pub fn parse(text: &str, folder: &Path, env: Environment<'_>) -> Result<Self, ConfigError> {
        let mut r = Reader::new(text, env)?;
        let profile_id = r.required(&s::PROFILE_ID, "");
        let policy = policy(&mut r, folder, &profile_id);
        let profile = Self {
            lane: lane::read(&mut r, policy.max_idle_gap),
            policy,
            store_root: store_root(&mut r),
            control_bus: control_bus(&mut r),
            topic: r.required(&s::CONTROL_BUS_TOPIC, ""),
            oracle: oracle(&mut r, folder),
            delivery: delivery(&mut r),
            checkpoint: checkpoint(&mut r),
            producer_id: r.required(&s::PRODUCER_ID, "PRODUCER_ID_MISSING"),
            producer_allowlist: reference(
                &r.required(&s::PRODUCER_ALLOWLIST_REF, "PRODUCER_ALLOWLIST_MISSING"),
                folder,
            ),
            rate: rate(&mut r),
            max_events_per_output: r.number(&s::MAX_EVENTS_PER_OUTPUT, 0, u64::MAX),
            platform_run_id: r.get(&s::PLATFORM_RUN_ID),
            service: ServiceIdentity {
                release_id: r.required(&s::SERVICE_RELEASE_ID, ""),
                environment: r.required(&s::ENVIRONMENT, ""),
            },
            profile_id,
        };
        refuse_unbuilt(&mut r);
        r.finish()?;
        Ok(profile)
    }

    /// Whether this is a local profile, where a missing seal is noted and not refused.
    #[must_use]
    pub fn is_local(&self) -> bool {
        is_local(&self.profile_id)
    }
}

fn is_local(profile_id: &str) -> bool {
    profile_id.starts_with("local")
}

fn policy(r: &mut Reader<'_>, folder: &Path, profile_id: &str) -> Policy {
    let traffic = ids(r, folder, &s::TRAFFIC_OUTPUT_IDS, &s::TRAFFIC_OUTPUT_IDS_REF).unwrap_or_default();
    let baseline = traffic.iter().any(|id| id == BASELINE_TRAFFIC);
    let context_ref = match r.given(&s::CONTEXT_OUTPUT_IDS_BASELINE_REF) {
        Some(_) if baseline => &s::CONTEXT_OUTPUT_IDS_BASELINE_REF,
        _ => &s::CONTEXT_OUTPUT_IDS_REF,
    };
    let context = ids(r, folder, &s::CONTEXT_OUTPUT_IDS, context_ref)
        .unwrap_or_else(|| traffic.first().map(|id| default_context(id)).unwrap_or_default());
    Policy {
        policy_rev: r.text(&s::POLICY_REV),
        require_gate_pass: r.switch(&s::REQUIRE_GATE_PASS).unwrap_or(true),
        require_seal: r.switch(&s::REQUIRE_SEAL).unwrap_or(!is_local(profile_id)),
        stream_speedup: r.number(&s::STREAM_SPEEDUP, 0.0, 1e9).unwrap_or(1.0),
        max_idle_gap: r.number(&s::MAX_IDLE_GAP, 0.0, 1e10).map(Duration::from_secs_f64),
        stop_on_nonretryable: r.switch(&s::STOP_ON_NONRETRYABLE).unwrap_or(true),
        ready_max_age: r.number(&s::READY_MAX_AGE, 0.0, 1e10).map(Duration::from_secs_f64),
        traffic_output_ids: traffic,
        context_output_ids: context,
    }
}

fn ids(r: &mut Reader<'_>, folder: &Path, list: &s::Setting, list_ref: &s::Setting) -> Option<Vec<String>> {
    if let Some(ids) = r.list(list) {
        return Some(ids);
    }
    let path = reference(&r.given(list_ref)?, folder);
    match outputs::read_output_ids(&path) {
        Ok(ids) => Some(ids),
        Err(error) => {
            r.problem(format!("{}: {}: {error}", list_ref.name(), path.display()));
            None
        }
    }
}

fn store_root(r: &mut Reader<'_>) -> String {
    let root = r.required(&s::STORE_ROOT, "");
    if root.contains("://") {
        r.problem(format!("{}: {root} is not a folder; remote stores are not built yet", s::STORE_ROOT.name()));
    }
    root.trim_end_matches('/').to_owned()
}

fn control_bus(r: &mut Reader<'_>) -> ControlBus {
    let kind = r.required(&s::CONTROL_BUS_KIND, "");
    if !matches!(kind.as_str(), "file" | "") {
        r.problem(format!("{}: {kind:?} is not `file`, the one kind built so far", s::CONTROL_BUS_KIND.name()));
    }
    ControlBus::File { root: r.required(&s::CONTROL_BUS_ROOT, "").into() }
}

fn oracle(r: &mut Reader<'_>, folder: &Path) -> OracleWiring {
    OracleWiring {
        root: r.text(&s::ORACLE_ROOT),
        engine_run_root: r.text(&s::ORACLE_ENGINE_RUN_ROOT),
        scenario_id: r.get(&s::ORACLE_SCENARIO_ID),
        stream_view_root: r.text(&s::ORACLE_STREAM_VIEW_ROOT),
        catalogue_path: reference(&r.required(&s::CATALOGUE_PATH, ""), folder),
    }
}

fn delivery(r: &mut Reader<'_>) -> DeliveryWiring {
    let millis =
        |r: &mut Reader<'_>, setting, high| Duration::from_millis(r.number(setting, 0, high).unwrap_or_default());
    let mode = r.text(&s::DELIVERY_MODE);
    if let Some(mode) = mode.as_deref().filter(|mode| !matches!(*mode, "strict" | "keyed" | "free")) {
        r.problem(format!("{}: {mode:?} is not `strict`, `keyed` or `free`", s::DELIVERY_MODE.name()));
    }
    let in_flight = r.number(&s::IN_FLIGHT, 1, 1024).unwrap_or(1);
    if mode.as_deref() == Some("strict") && in_flight > 1 {
        r.problem(format!(
            "{}: strict order means one request in flight, but {} is {in_flight}",
            s::DELIVERY_MODE.name(),
            s::IN_FLIGHT.name()
        ));
    }
    DeliveryWiring {
        ig_ingest_url: r.required(&s::IG_INGEST_URL, ""),
        api_key_header: r.required(&s::API_KEY_HEADER, ""),
        api_key: Secret::new(r.required(&s::AUTH_TOKEN, "")),
        mode,
        in_flight,
        window: r.number(&s::WINDOW, 1, 1_000_000).unwrap_or(1024),
        attempt_timeout: millis(r, &s::ATTEMPT_TIMEOUT, 3_600_000),
        drain_deadline: millis(r, &s::DRAIN_DEADLINE, 3_600_000),
        max_attempts: r.number(&s::RETRY_MAX_ATTEMPTS, 1, 100).unwrap_or(5),
        base_delay: millis(r, &s::RETRY_BASE_DELAY, 3_600_000),
        max_delay: millis(r, &s::RETRY_MAX_DELAY, 3_600_000),
    }
}

fn checkpoint(r: &mut Reader<'_>) -> CheckpointWiring {
    let backend = r.required(&s::CHECKPOINT_BACKEND, "");
    match backend.as_str() {
        "file" => {}
        "postgres" if r.given(&s::CHECKPOINT_DSN).is_none() => {
            r.problem(format!("CHECKPOINT_DSN_MISSING: {} is missing", s::CHECKPOINT_DSN.name()));
        }
        _ => r.problem(format!(
            "{}: {backend:?} is not `file`, the one backend built so far",
            s::CHECKPOINT_BACKEND.name()
        )),
    }
    CheckpointWiring {
        backend: CheckpointBackend::File { root: r.required(&s::CHECKPOINT_ROOT, "").into() },
        flush_every: r.number(&s::FLUSH_EVERY, 1, 1_000_000).unwrap_or(100),
        attempt_id: r.text(&s::ATTEMPT_ID).unwrap_or_default(),
    }
}

fn rate(r: &mut Reader<'_>) -> RateWiring {
    let instant = |r: &mut Reader<'_>, setting: &s::Setting| {
        let text = r.given(setting)?;
        let at = Micros::parse(text.trim().as_bytes());
        if at.is_none() {
            r.problem(format!("{}: {text:?} is not a time like 2026-01-01T00:00:00Z", setting.name()));
        }
        at
    };
    RateWiring {
        target_eps: r.number(&s::TARGET_EPS, 1e-6, 1e9),
        burst_seconds: r.number(&s::TARGET_BURST_SECONDS, 0.0, 3600.0).unwrap_or(0.25),
        initial_tokens: r.number(&s::TARGET_INITIAL_TOKENS, 0.0, 1e9),
        plan_json: r.given(&s::RATE_PLAN_JSON),
        plan_start: instant(r, &s::RATE_PLAN_START_UTC),
        campaign_start: instant(r, &s::CAMPAIGN_START_UTC),
        no_replay_delay_with_plan: r.switch(&s::NO_REPLAY_DELAY_WITH_PLAN).unwrap_or(false),
    }
}

/// What the platform can ask for and this build can't do is refused, not ignored.
fn refuse_unbuilt(r: &mut Reader<'_>) {
    if r.given(&s::REQUIRED_PACKS).is_some() {
        r.problem(format!("{}: required packs are not built yet", s::REQUIRED_PACKS.name()));
    }
}

/// A file reference: from the working directory where it exists there, else from the profile's folder.
fn reference(text: &str, folder: &Path) -> PathBuf {
    let path = Path::new(text);
    if path.is_absolute() || path.exists() { path.to_owned() } else { folder.join(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const WHOLE: &str = "
profile_id: local
policy: {traffic_output_ids: [s3_event_stream_with_fraud_6B], stream_speedup: 0}
wiring:
  control_bus: {kind: file, root: bus}
  engine_catalogue_path: cat.yaml
  ig_ingest_url: http://127.0.0.1:1
  wsp_producer: {producer_id: 'svc:x', allowlist_ref: allow.txt}
  security: {wsp_auth_token: '${IG_API_KEY}'}
event_bus: {kind: kinesis}
";

    pub(super) fn env(name: &str) -> Option<String> {
        (name == "IG_API_KEY").then(|| "top-secret".to_owned())
    }

    #[test]
    fn a_small_profile_is_whole() {
        let profile = Profile::parse(WHOLE, Path::new("/etc/wsp"), &env).unwrap();
        assert!(profile.is_local() && !profile.policy.require_seal);
        assert_eq!(profile.policy.context_output_ids, default_context(FRAUD_TRAFFIC));
        assert_eq!(profile.oracle.catalogue_path, Path::new("/etc/wsp/cat.yaml"));
        assert_eq!(
            (profile.delivery.in_flight, profile.delivery.max_attempts, profile.checkpoint.flush_every),
            (1, 5, 100)
        );
        assert_eq!(profile.delivery.api_key.expose(), "top-secret");
        assert!(!format!("{profile:?}").contains("top-secret"));
    }

    #[test]
    fn what_is_missing_is_named_in_one_message() {
        let error = Profile::parse("profile_id: dev_min\n", Path::new("."), &|_| None).unwrap_err();
        let text = error.to_string();
        for name in [
            "IG_INGEST_URL",
            "IG_API_KEY",
            "CONTROL_BUS_KIND",
            "PRODUCER_ID_MISSING",
            "PRODUCER_ALLOWLIST_MISSING",
            "engine_catalogue_path",
        ] {
            assert!(text.contains(name), "{name} in {text}");
        }
    }

    #[test]
    fn a_seal_is_wanted_everywhere_but_locally() {
        let text = WHOLE.replace("profile_id: local", "profile_id: staging");
        assert!(Profile::parse(&text, Path::new("."), &env).unwrap().policy.require_seal);
        let text = text.replace("stream_speedup: 0", "stream_speedup: 0, require_seal: false");
        assert!(!Profile::parse(&text, Path::new("."), &env).unwrap().policy.require_seal);
    }

    #[test]
    fn a_postgres_backend_needs_its_dsn() {
        let text = WHOLE.replace("  security:", "  wsp_checkpoint: {backend: postgres}\n  security:");
        assert!(
            Profile::parse(&text, Path::new("."), &env).unwrap_err().to_string().contains("CHECKPOINT_DSN_MISSING")
        );
    }
}
