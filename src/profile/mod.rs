//! What an operator decides: the profile (YAML) and the environment, read into types that can't be wrong.
//!
//! ```text
//! profile.yaml ─┐
//! environment ──┴─► Reader ──► Profile (or one ConfigError that names all that is wrong)
//! ```
//!
//! The platform's profiles serve many components: other top-level blocks, and other components' keys in
//! `policy` and `wiring`, are left alone (contract, section 10).

mod blocks;
mod lane;
mod outputs;
mod reader;
mod scope;
pub mod settings;
mod strict;
mod wiring;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::model::{Lane, PlatformRunId};
use blocks::{checkpoint, control_bus, delivery, is_local, oracle, policy, rate, required_packs, store, telemetry};
pub use outputs::{BASELINE_TRAFFIC, FRAUD_TRAFFIC, OutputPlan, check_producer, default_context, order_key_column};
pub use reader::Environment;
use reader::Reader;
pub use scope::{active_run, run_scoped};
use settings as s;
pub use strict::is_remote;
pub use wiring::{
    CheckpointBackend, CheckpointWiring, ControlBus, DeliveryWiring, KafkaWiring, KinesisWiring, OracleWiring, Policy,
    RateWiring, RequiredPacks, ServiceIdentity, StoreWiring, TelemetryWiring,
};

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

/// A profile with its environment.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Its name.
    pub profile_id: String,
    /// What may be streamed and how.
    pub policy: Policy,
    /// Facts and evidence.
    pub store: StoreWiring,
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
    /// What has to be up before a stream starts.
    pub required_packs: RequiredPacks,
    /// Where it tells of itself.
    pub telemetry: TelemetryWiring,
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
            store: store(&mut r),
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
            max_events_per_output: r.get(&s::MAX_EVENTS_PER_OUTPUT),
            platform_run_id: r.get(&s::PLATFORM_RUN_ID),
            required_packs: required_packs(&mut r),
            telemetry: telemetry(&mut r),
            service: ServiceIdentity {
                release_id: r.required(&s::SERVICE_RELEASE_ID, ""),
                environment: r.required(&s::ENVIRONMENT, ""),
            },
            profile_id,
        };
        if profile.is_strict() {
            for problem in strict::problems(&profile) {
                r.problem(problem);
            }
        }
        r.finish()?;
        Ok(profile)
    }

    /// Whether every source and target has to be remote: `dev_min`, `dev_full`, `dev`, `prod`.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        matches!(self.profile_id.as_str(), "dev_min" | "dev_full" | "dev" | "prod")
    }

    /// Whether this is a local profile, where a missing seal is noted and not refused.
    #[must_use]
    pub fn is_local(&self) -> bool {
        is_local(&self.profile_id)
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
    fn a_kinesis_control_bus_is_a_stream_with_a_place() {
        let bus = |bus: &str| {
            let text = WHOLE.replace("{kind: file, root: bus}", &format!("{{kind: kinesis, {bus}}}"));
            Profile::parse(&text, Path::new("."), &env).map(|profile| profile.control_bus).map_err(|e| e.to_string())
        };
        let wiring = |region: Option<&str>, endpoint: Option<&str>| {
            ControlBus::Kinesis(KinesisWiring {
                stream: "fp-control".to_owned(),
                region: region.map(str::to_owned),
                endpoint_url: endpoint.map(|url| url.parse().unwrap()),
                group_id: "wsp-ready".to_owned(),
            })
        };
        assert_eq!(bus("stream: fp-control"), Ok(wiring(None, None)));
        assert_eq!(
            bus("stream: fp-control, region: eu-west-2, endpoint_url: 'http://localhost:4566'"),
            Ok(wiring(Some("eu-west-2"), Some("http://localhost:4566")))
        );
        assert!(bus("stream: ''").unwrap_err().contains("CONTROL_BUS_STREAM_MISSING"));
        let refused = bus("stream: s, endpoint_url: 'http://u:hunter2@host'").unwrap_err();
        assert!(refused.contains("wiring.control_bus.endpoint_url") && !refused.contains("hunter2"), "{refused}");
    }

    #[test]
    fn a_postgres_backend_needs_its_dsn() {
        let text = WHOLE.replace("  security:", "  wsp_checkpoint: {backend: postgres}\n  security:");
        assert!(
            Profile::parse(&text, Path::new("."), &env).unwrap_err().to_string().contains("CHECKPOINT_DSN_MISSING")
        );
    }
}
