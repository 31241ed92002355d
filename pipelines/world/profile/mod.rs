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
pub mod draft;
mod error;
pub mod explain;
mod kind;
mod lane;
mod outline;
mod outputs;
mod proxies;
mod reader;
pub mod schema;
mod scope;
mod sending;
pub mod settings;
mod strict;
mod wiring;
mod yaml;

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use crate::model::{Lane, OutputId, PlatformRunId, Secret};
pub use error::ConfigError;
pub use kind::Kind;
use outputs::reference;
pub use outputs::{BASELINE_TRAFFIC, FRAUD_TRAFFIC, OutputPlan, check_producer, default_context, order_key_column};
pub use reader::Environment;
use reader::Reader;
pub use scope::{active_run, run_scoped};
use settings as s;
use strict::Rules;
pub use strict::{Link, is_remote};
pub use wiring::{
    CheckpointBackend, CheckpointWiring, ControlBus, DeliveryWiring, KafkaWiring, KinesisWiring, LanesWiring,
    OracleWiring, Policy, RateWiring, RequiredPacks, ServiceIdentity, StoreWiring, TelemetryWiring,
};

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
    /// Events per output and run; `None` = no cap.
    pub max_events_per_output: Option<NonZeroU64>,
    /// What may go out in clear though the profile is strict.
    pub allow_plaintext: Vec<Link>,
    /// This process's share of the run.
    pub lane: Lane,
    /// The lanes of each run, where workers share them.
    pub lanes: Option<LanesWiring>,
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
        Self::load_checked(path, env, |_| Vec::new())
    }

    /// As [`Profile::load`], with what `also` finds wrong with the files and roots that the profile refers to in the same
    /// message. It is asked whatever else is wrong.
    ///
    /// # Errors
    ///
    /// As [`Profile::load`].
    pub fn load_checked(
        path: &Path,
        env: Environment<'_>,
        also: impl FnOnce(&References<'_>) -> Vec<String>,
    ) -> Result<Self, ConfigError> {
        let name = path.display();
        let text = outputs::read_bounded(path).map_err(|error| ConfigError::new(format!("profile {name}: {error}")))?;
        Self::parse_checked(&text, folder_of(path), env, also).map_err(|error| ConfigError {
            problems: error.problems.into_iter().map(|problem| format!("profile {name}: {problem}")).collect(),
        })
    }

    /// The folder that relative paths count from, where the profile at `path` or the environment names one. A profile that
    /// can't be read names none; [`Profile::load`] reports why.
    #[must_use]
    pub fn folder(path: &Path, env: Environment<'_>) -> Option<PathBuf> {
        let text = outputs::read_bounded(path).ok()?;
        blocks::folder(&mut Reader::new(&text, env).ok()?, folder_of(path))
    }

    /// Reads a profile's text; relative file references that don't exist from the working directory count from `folder`.
    ///
    /// # Errors
    ///
    /// As [`Profile::load`].
    pub fn parse(text: &str, folder: &Path, env: Environment<'_>) -> Result<Self, ConfigError> {
        Self::parse_checked(text, folder, env, |_| Vec::new())
    }

    fn parse_checked(
        text: &str,
        folder: &Path,
        env: Environment<'_>,
        also: impl FnOnce(&References<'_>) -> Vec<String>,
    ) -> Result<Self, ConfigError> {
        let mut r = Reader::new(text, env)?;
        let profile = read(&mut r, folder, also);
        r.finish()?;
        profile.ok_or_else(|| ConfigError::new("a setting can't be used, and none is named; this is a bug"))
    }

    /// What it refers to.
    #[must_use]
    pub fn references(&self) -> References<'_> {
        References {
            producer_id: &self.producer_id,
            producer_allowlist: &self.producer_allowlist,
            traffic_output_ids: &self.policy.traffic_output_ids,
            context_output_ids: &self.policy.context_output_ids,
            only: self.policy.only.as_deref(),
            catalogue_path: &self.oracle.catalogue_path,
            control_bus: Some(&self.control_bus),
            checkpoint: Some(&self.checkpoint.backend),
            platform_run_id: self.platform_run_id.as_ref(),
        }
    }

    /// Everything in it that nothing may show: keys and passwords, of a DSN its password too.
    #[must_use]
    pub fn secrets(&self) -> Vec<Secret> {
        #[cfg_attr(not(any(feature = "kafka", feature = "postgres")), expect(unused_mut, reason = "no part has one"))]
        let mut secrets = vec![self.delivery.api_key.clone()];
        #[cfg(feature = "kafka")]
        if let ControlBus::Kafka(wiring) = &self.control_bus {
            secrets.extend(wiring.password.clone());
        }
        #[cfg(feature = "postgres")]
        if let CheckpointBackend::Postgres { dsn, .. } = &self.checkpoint.backend {
            secrets.extend(dsn.secrets());
        }
        secrets
    }

    /// Whether every source and target has to be remote, and encrypted: every profile that is not local.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        !self.is_local()
    }

    /// Whether this is a local profile, where a missing seal is noted and not refused.
    #[must_use]
    pub fn is_local(&self) -> bool {
        strict::is_local(&self.profile_id)
    }
}

/// What a profile refers to outside of itself, as far as it could be read.
#[derive(Debug, Clone, Copy)]
pub struct References<'a> {
    /// The `producer` of every event.
    pub producer_id: &'a str,
    /// Who may produce.
    pub producer_allowlist: &'a Path,
    /// Traffic outputs as listed.
    pub traffic_output_ids: &'a [String],
    /// Context outputs in rank order.
    pub context_output_ids: &'a [String],
    /// The outputs among these that are streamed; `None` is all.
    pub only: Option<&'a [OutputId]>,
    /// The engine's catalogue of outputs.
    pub catalogue_path: &'a Path,
    /// Where READY comes from.
    pub control_bus: Option<&'a ControlBus>,
    /// Where checkpoints are kept.
    pub checkpoint: Option<&'a CheckpointBackend>,
    /// `PLATFORM_RUN_ID`, where it is set.
    pub platform_run_id: Option<&'a PlatformRunId>,
}

/// Reads everything, so that everything wrong is noted; `None` where something that has no default is.
fn read(r: &mut Reader<'_>, folder: &Path, also: impl FnOnce(&References<'_>) -> Vec<String>) -> Option<Profile> {
    let profile_id = r.required(&s::PROFILE_ID, "");
    let rules = Rules::read(r, &profile_id);
    // The program has entered it by now; here its form is checked.
    let _ = blocks::folder(r, folder);
    let policy = blocks::policy(r, folder, &rules);
    let lane = lane::read(r, policy.max_idle_gap);
    let store = blocks::store(r, &rules);
    let control_bus = blocks::control_bus(r, &rules);
    let topic = r.required(&s::CONTROL_BUS_TOPIC, "");
    let oracle = blocks::oracle(r, folder, &rules);
    let delivery = sending::delivery(r, folder, &rules);
    let checkpoint = blocks::checkpoint(r, &rules);
    let producer_id = r.required(&s::PRODUCER_ID, "PRODUCER_ID_MISSING");
    let producer_allowlist = reference(&r.required(&s::PRODUCER_ALLOWLIST_REF, "PRODUCER_ALLOWLIST_MISSING"), folder);
    let max_events_per_output = blocks::cap(r, &s::MAX_EVENTS_PER_OUTPUT);
    let lanes = lane::shared(
        r,
        &lane::Beside {
            topic: &topic,
            lane,
            max_idle_gap: policy.max_idle_gap.is_some(),
            cap: max_events_per_output.is_some(),
            kinesis: control_bus.as_ref().is_some_and(ControlBus::is_kinesis),
        },
    );
    let rate = sending::rate(r, &policy, lanes.is_some());
    if r.given(&s::PLATFORM_RUN_ID).is_none() {
        rules.refuse(r, format_args!("{}: it is missing", s::PLATFORM_RUN_ID.name()));
    }
    let platform_run_id = r.get(&s::PLATFORM_RUN_ID);
    let required_packs = blocks::required_packs(r, &rules);
    let telemetry = blocks::telemetry(r);
    let release_id = r.required(&s::SERVICE_RELEASE_ID, "");
    let environment = r.required(&s::ENVIRONMENT, "");
    let found = also(&References {
        producer_id: &producer_id,
        producer_allowlist: &producer_allowlist,
        traffic_output_ids: &policy.traffic_output_ids,
        context_output_ids: &policy.context_output_ids,
        only: policy.only.as_deref(),
        catalogue_path: &oracle.catalogue_path,
        control_bus: control_bus.as_ref(),
        checkpoint: checkpoint.as_ref().map(|checkpoint| &checkpoint.backend),
        platform_run_id: platform_run_id.as_ref(),
    });
    for problem in found {
        r.problem(problem);
    }
    Some(Profile {
        profile_id,
        policy,
        store,
        control_bus: control_bus?,
        topic,
        oracle,
        delivery: delivery?,
        checkpoint: checkpoint?,
        producer_id,
        producer_allowlist,
        rate,
        max_events_per_output,
        allow_plaintext: rules.allow_plaintext,
        lane,
        lanes,
        platform_run_id,
        required_packs,
        telemetry,
        service: ServiceIdentity { release_id, environment },
    })
}

/// The folder of a profile's file.
fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests;
