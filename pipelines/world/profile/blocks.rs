//! Reads a profile's blocks, each into its part of the profile; what is wrong is noted with the reader.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use wsp::store::{Patience, StoreOptions, open_store};

use super::outputs::{self, BASELINE_TRAFFIC, reference};
use super::reader::Reader;
use super::strict::{Link, Rules};
use super::{
    CheckpointBackend, CheckpointWiring, ControlBus, KafkaWiring, KinesisWiring, OracleWiring, Policy, RequiredPacks,
    StoreWiring, TelemetryWiring, settings as s,
};
#[cfg(feature = "postgres")]
use crate::checkpoint::PostgresDsn;
#[cfg(feature = "postgres")]
use crate::model::Refusal;
use crate::model::{HttpUrl, Secret};
use crate::ready::{BootstrapServers, SaslMechanism, SecurityProtocol};

/// The folder that relative paths count from, where one is named; `folder` is the profile's own.
pub(super) fn folder(r: &mut Reader<'_>, folder: &Path) -> Option<PathBuf> {
    // Read even where the environment wins, so that a value of another form is a problem.
    let by_profile = r.by_profile(&s::FOLDER).map(|path| folder.join(path));
    r.by_environment(&s::FOLDER).map(PathBuf::from).or(by_profile)
}

pub(super) fn policy(r: &mut Reader<'_>, folder: &Path, rules: &Rules) -> Policy {
    let traffic = ids(r, folder, &s::TRAFFIC_OUTPUT_IDS, &s::TRAFFIC_OUTPUT_IDS_REF).unwrap_or_default();
    let context = context(r, folder, &traffic);
    let protection = |r: &mut Reader<'_>, setting: &s::Setting, default| {
        let on = r.switch(setting).unwrap_or(default);
        if !on {
            rules.refuse(r, format_args!("{}: it can't be switched off", setting.path));
        }
        on
    };
    Policy {
        policy_rev: r.text(&s::POLICY_REV),
        require_gate_pass: protection(r, &s::REQUIRE_GATE_PASS, true),
        require_seal: protection(r, &s::REQUIRE_SEAL, !rules.local()),
        stream_speedup: r.number(&s::STREAM_SPEEDUP).unwrap_or(1.0),
        max_idle_gap: r.number(&s::MAX_IDLE_GAP).map(Duration::from_secs_f64),
        stop_on_nonretryable: r.switch(&s::STOP_ON_NONRETRYABLE).unwrap_or(true),
        ready_max_age: r.number(&s::READY_MAX_AGE).map(Duration::from_secs_f64),
        traffic_output_ids: traffic,
        context_output_ids: context,
        only: None,
    }
}

/// The context that the profile names for this traffic, else the one that travels with it.
fn context(r: &mut Reader<'_>, folder: &Path, traffic: &[String]) -> Vec<String> {
    let baseline = traffic.iter().any(|id| id == BASELINE_TRAFFIC);
    let other = traffic.iter().any(|id| id != BASELINE_TRAFFIC);
    let references: &[&s::Setting] = match r.given(&s::CONTEXT_OUTPUT_IDS_BASELINE_REF) {
        Some(_) if baseline && other => &[&s::CONTEXT_OUTPUT_IDS_REF, &s::CONTEXT_OUTPUT_IDS_BASELINE_REF],
        Some(_) if baseline => &[&s::CONTEXT_OUTPUT_IDS_BASELINE_REF],
        _ => &[&s::CONTEXT_OUTPUT_IDS_REF],
    };
    let named: Vec<_> =
        references.iter().filter_map(|reference| ids(r, folder, &s::CONTEXT_OUTPUT_IDS, reference)).collect();
    if named.is_empty() { outputs::default_contexts(traffic) } else { outputs::merged(named) }
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

pub(super) fn store(r: &mut Reader<'_>, rules: &Rules) -> StoreWiring {
    let kind = r.word(&s::STORE_KIND, &[("local", false), ("file", false), ("s3", true)]);
    // Variables that every AWS client obeys say nothing about where this store is.
    let by_address = r.by_profile(&s::STORE_ENDPOINT).or_else(|| r.by_profile(&s::STORE_REGION)).is_some();
    let is_s3 = kind == Some(true);
    let (root, bucket) = (r.given(&s::STORE_ROOT), r.text(&s::STORE_BUCKET));
    let root = match (root, bucket) {
        (Some(root), _) if !is_s3 || root.contains("://") => root,
        (Some(root), Some(bucket)) => format!("s3://{bucket}/{}", root.trim_start_matches('/')),
        (None, Some(bucket)) if is_s3 || kind.is_none() && by_address => format!("s3://{bucket}"),
        (None, Some(bucket)) => bucket,
        (root, None) => {
            if is_s3 {
                let (root, bucket) = (s::STORE_ROOT.name(), s::STORE_BUCKET.name());
                r.problem(format!("{root}: it names no bucket, and {bucket} is missing"));
            }
            root.unwrap_or_else(|| s::STORE_ROOT.default.to_owned())
        }
    };
    let root = root.trim_end_matches('/').to_owned();
    rules.remote(r, &s::STORE_ROOT, &root);
    opens(r, &s::STORE_ROOT, &root);
    let endpoint: Option<HttpUrl> = r.unquoted(&s::STORE_ENDPOINT);
    if let Some(endpoint) = &endpoint {
        rules.http(r, &s::STORE_ENDPOINT, Link::ObjectStore, endpoint);
    }
    StoreWiring {
        root,
        endpoint,
        region: r.text(&s::STORE_REGION),
        path_style: r.switch(&s::STORE_PATH_STYLE).unwrap_or(false),
        patience: Patience::default(),
    }
}

/// A root that no store can be opened on is found here, and not at the first READY.
fn opens(r: &mut Reader<'_>, setting: &s::Setting, root: &str) {
    if root.contains("://") {
        r.parsed(setting, open_store(root, &StoreOptions::default()));
    }
}

pub(super) fn control_bus(r: &mut Reader<'_>, rules: &Rules) -> Option<ControlBus> {
    #[derive(Clone, Copy)]
    enum Kind {
        File,
        Kafka,
        Kinesis,
    }
    let kinds = [("file", Kind::File), ("kafka", Kind::Kafka), ("kinesis", Kind::Kinesis)];
    if r.given(&s::CONTROL_BUS_KIND).is_none() {
        r.missing(&s::CONTROL_BUS_KIND, "");
    }
    match r.word(&s::CONTROL_BUS_KIND, &kinds)? {
        Kind::Kafka => {
            let wiring = kafka(r, rules);
            #[cfg(feature = "kafka")]
            {
                wiring.map(ControlBus::Kafka)
            }
            #[cfg(not(feature = "kafka"))]
            {
                wiring.and_then(|_| not_built(r, &s::CONTROL_BUS_KIND, "kafka"))
            }
        }
        Kind::Kinesis => {
            let wiring = kinesis(r, rules);
            #[cfg(feature = "kinesis")]
            {
                Some(ControlBus::Kinesis(wiring))
            }
            #[cfg(not(feature = "kinesis"))]
            {
                drop(wiring);
                not_built(r, &s::CONTROL_BUS_KIND, "kinesis")
            }
        }
        Kind::File => {
            rules.refuse(r, format_args!("{}: it has to be `kafka` or `kinesis`", s::CONTROL_BUS_KIND.path));
            Some(ControlBus::File { root: r.required(&s::CONTROL_BUS_ROOT, "").into() })
        }
    }
}

fn kafka(r: &mut Reader<'_>, rules: &Rules) -> Option<KafkaWiring> {
    if r.given(&s::KAFKA_SERVERS).is_none() {
        r.missing(&s::KAFKA_SERVERS, UNREACHABLE);
    }
    let bootstrap_servers: Option<BootstrapServers> = r.unquoted(&s::KAFKA_SERVERS);
    let security: Option<SecurityProtocol> = r.get(&s::KAFKA_SECURITY);
    let mechanism: Option<SaslMechanism> = r.get(&s::KAFKA_MECHANISM);
    let aws_region = r.text(&s::KAFKA_AWS_REGION);
    let (username, password) = (r.text(&s::KAFKA_USERNAME), r.text(&s::KAFKA_PASSWORD).map(Secret::new));
    if security.is_some_and(SecurityProtocol::logs_in) {
        let by_password = mechanism.is_none_or(SaslMechanism::wants_password);
        for (setting, missing) in [
            (&s::KAFKA_USERNAME, by_password && username.is_none()),
            (&s::KAFKA_PASSWORD, by_password && password.is_none()),
            (&s::KAFKA_AWS_REGION, !by_password && aws_region.is_none()),
        ] {
            if missing {
                r.missing(setting, UNREACHABLE);
            }
        }
    }
    if security.is_some_and(|security| !security.encrypts()) {
        // Whatever the first broker's address is: brokers name the addresses that are connected to then.
        rules.in_clear(r, &s::KAFKA_SECURITY, Link::Kafka, "READYs and login go out in clear; use SASL_SSL or SSL");
    }
    let ca_location = r.text(&s::KAFKA_CA).map(PathBuf::from);
    let (group_id, session_timeout) = (r.required(&s::KAFKA_GROUP, ""), seconds(r, &s::KAFKA_SESSION));
    Some(KafkaWiring {
        bootstrap_servers: bootstrap_servers?,
        security_protocol: security?,
        sasl_mechanism: mechanism?,
        username,
        password,
        aws_region,
        ca_location,
        group_id,
        session_timeout,
    })
}

/// Notes that this build of the program lacks the part that `setting` names.
#[cfg(not(all(feature = "kafka", feature = "kinesis", feature = "postgres")))]
fn not_built<T>(r: &mut Reader<'_>, setting: &s::Setting, part: &str) -> Option<T> {
    let path = setting.path;
    r.problem(format!("{path}: this build of the program has no {part}; build it with the feature `{part}`"));
    None
}

const UNREACHABLE: &str = "CONTROL_TOPIC_UNREACHABLE";

fn kinesis(r: &mut Reader<'_>, rules: &Rules) -> KinesisWiring {
    let wiring = KinesisWiring {
        stream: r.required(&s::CONTROL_BUS_STREAM, "CONTROL_BUS_STREAM_MISSING"),
        region: r.text(&s::CONTROL_BUS_REGION),
        endpoint_url: r.unquoted(&s::CONTROL_BUS_ENDPOINT),
        group_id: r.required(&s::KAFKA_GROUP, ""),
    };
    if let Some(endpoint) = &wiring.endpoint_url {
        rules.http(r, &s::CONTROL_BUS_ENDPOINT, Link::Kinesis, endpoint);
    }
    wiring
}

pub(super) fn oracle(r: &mut Reader<'_>, folder: &Path, rules: &Rules) -> OracleWiring {
    let root = |r: &mut Reader<'_>, setting: &s::Setting| {
        let root = r.given(setting)?;
        rules.remote(r, setting, &root);
        opens(r, setting, &root);
        Some(root)
    };
    OracleWiring {
        root: root(r, &s::ORACLE_ROOT),
        default_root: rules.local().then(|| s::ORACLE_ROOT.default.to_owned()),
        engine_run_root: root(r, &s::ORACLE_ENGINE_RUN_ROOT),
        scenario_id: r.get(&s::ORACLE_SCENARIO_ID),
        stream_view_root: root(r, &s::ORACLE_STREAM_VIEW_ROOT),
        catalogue_path: reference(&r.required(&s::CATALOGUE_PATH, ""), folder),
        read_memory: r.number::<u64>(&s::READ_MEMORY).unwrap_or(256) << 20,
    }
}

pub(super) fn checkpoint(r: &mut Reader<'_>, rules: &Rules) -> Option<CheckpointWiring> {
    let backend = match r.word(&s::CHECKPOINT_BACKEND, &[("file", false), ("postgres", true)]) {
        Some(true) => postgres(r, rules),
        Some(false) => {
            rules.refuse(r, format_args!("{}: it has to be `postgres`", s::CHECKPOINT_BACKEND.path));
            Some(CheckpointBackend::File { root: r.required(&s::CHECKPOINT_ROOT, "").into() })
        }
        None => None,
    };
    let flush_every = r.number(&s::FLUSH_EVERY).unwrap_or(1);
    let attempt_id = r.text(&s::ATTEMPT_ID).unwrap_or_default();
    Some(CheckpointWiring { backend: backend?, flush_every, attempt_id })
}

#[cfg(feature = "postgres")]
fn postgres(r: &mut Reader<'_>, rules: &Rules) -> Option<CheckpointBackend> {
    let (lease, outage_limit) = (seconds(r, &s::CHECKPOINT_LEASE), seconds(r, &s::CHECKPOINT_OUTAGE));
    dsn(r, rules).map(|dsn| CheckpointBackend::Postgres { dsn: Box::new(dsn), lease, outage_limit })
}

#[cfg(not(feature = "postgres"))]
fn postgres(r: &mut Reader<'_>, _: &Rules) -> Option<CheckpointBackend> {
    let _ = (seconds(r, &s::CHECKPOINT_LEASE), seconds(r, &s::CHECKPOINT_OUTAGE));
    if r.text(&s::CHECKPOINT_DSN).is_none() {
        r.missing(&s::CHECKPOINT_DSN, "CHECKPOINT_DSN_MISSING");
    }
    not_built(r, &s::CHECKPOINT_BACKEND, "postgres")
}

#[cfg(feature = "postgres")]
fn dsn(r: &mut Reader<'_>, rules: &Rules) -> Option<PostgresDsn> {
    let setting = &s::CHECKPOINT_DSN;
    let Some(text) = r.text(setting) else {
        r.missing(setting, "CHECKPOINT_DSN_MISSING");
        return None;
    };
    let dsn = r.parsed(setting, PostgresDsn::parse(&Secret::new(text)).map_err(Refusal::from))?;
    if dsn.uses_socket() {
        rules.refuse(r, format_args!("{}: its host is a socket of this machine", setting.path));
    } else if !dsn.is_verified() && !dsn.is_loopback() {
        let why = "the server is not verified; use sslmode=verify-full";
        rules.in_clear(r, setting, Link::Postgres, why);
    }
    Some(dsn)
}

/// Whole seconds within bounds.
fn seconds(r: &mut Reader<'_>, setting: &s::Setting) -> Duration {
    Duration::from_secs(r.number(setting).unwrap_or_default())
}

/// A cap; 0 is none.
pub(super) fn cap(r: &mut Reader<'_>, setting: &s::Setting) -> Option<NonZeroU64> {
    r.get::<u64>(setting).and_then(NonZeroU64::new)
}

pub(super) fn telemetry(r: &mut Reader<'_>) -> TelemetryWiring {
    let asked_for = r.given(&s::TELEMETRY_LISTEN).is_some();
    let off = r.text(&s::TELEMETRY_LISTEN).is_some_and(|text| text.trim() == "off");
    TelemetryWiring { listen: if off { None } else { r.get(&s::TELEMETRY_LISTEN) }, asked_for }
}

/// Which packs have to be up. A strict profile has to say so, be it that none has to.
pub(super) fn required_packs(r: &mut Reader<'_>, rules: &Rules) -> RequiredPacks {
    let files = r.given_list(&s::REQUIRED_PACKS);
    if files.is_none() {
        let how = "it is not set; name the packs, or set it to nothing where none is needed";
        rules.refuse(r, format_args!("{}: {how}", s::REQUIRED_PACKS.name()));
    }
    RequiredPacks {
        files: files.map(|files| files.into_iter().map(PathBuf::from).collect()),
        same_run: r.switch(&s::REQUIRE_ACTIVE_RUN_MATCH).unwrap_or(true),
    }
}
