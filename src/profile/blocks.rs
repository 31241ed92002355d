//! Reads a profile's blocks, each into its part of the profile; what is wrong is noted with the reader.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::outputs::{self, BASELINE_TRAFFIC, default_context};
use super::reader::Reader;
use super::{
    CheckpointBackend, CheckpointWiring, ControlBus, DeliveryWiring, KafkaWiring, KinesisWiring, OracleWiring, Policy,
    RateWiring, RequiredPacks, StoreWiring, TelemetryWiring, reference, settings as s,
};
use crate::model::{Micros, Secret};
use crate::store::Patience;

pub(super) fn is_local(profile_id: &str) -> bool {
    profile_id.starts_with("local")
}

pub(super) fn policy(r: &mut Reader<'_>, folder: &Path, profile_id: &str) -> Policy {
    let traffic = ids(r, folder, &s::TRAFFIC_OUTPUT_IDS, &s::TRAFFIC_OUTPUT_IDS_REF).unwrap_or_default();
    let baseline = traffic.iter().any(|id| id == BASELINE_TRAFFIC);
    let context_ref = match r.given(&s::CONTEXT_OUTPUT_IDS_BASELINE_REF) {
        Some(_) if baseline => &s::CONTEXT_OUTPUT_IDS_BASELINE_REF,
        _ => &s::CONTEXT_OUTPUT_IDS_REF,
    };
    let context = ids(r, folder, &s::CONTEXT_OUTPUT_IDS, context_ref)
        .unwrap_or_else(|| traffic.first().map(|id| default_context(id)).unwrap_or_default());
    let late = r.text(&s::LATE);
    if let Some(late) = late.as_deref().filter(|late| !matches!(*late, "stretch" | "catch_up")) {
        r.problem(format!("{}: {late:?} is neither `stretch` nor `catch_up`", s::LATE.name()));
    }
    Policy {
        late,
        catch_up: r.number(&s::CATCH_UP).map(Duration::from_secs_f64).unwrap_or_default(),
        policy_rev: r.text(&s::POLICY_REV),
        require_gate_pass: r.switch(&s::REQUIRE_GATE_PASS).unwrap_or(true),
        require_seal: r.switch(&s::REQUIRE_SEAL).unwrap_or(!is_local(profile_id)),
        stream_speedup: r.number(&s::STREAM_SPEEDUP).unwrap_or(1.0),
        max_idle_gap: r.number(&s::MAX_IDLE_GAP).map(Duration::from_secs_f64),
        stop_on_nonretryable: r.switch(&s::STOP_ON_NONRETRYABLE).unwrap_or(true),
        ready_max_age: r.number(&s::READY_MAX_AGE).map(Duration::from_secs_f64),
        traffic_output_ids: traffic,
        context_output_ids: context,
    }
}

pub(super) fn ids(r: &mut Reader<'_>, folder: &Path, list: &s::Setting, list_ref: &s::Setting) -> Option<Vec<String>> {
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

pub(super) fn store(r: &mut Reader<'_>) -> StoreWiring {
    let root = r.required(&s::STORE_ROOT, "");
    let kind = r.text(&s::STORE_KIND).unwrap_or_default();
    if !matches!(kind.as_str(), "" | "local" | "file" | "s3") {
        r.problem(format!("{}: {kind:?} is neither `local` nor `s3`", s::STORE_KIND.name()));
    }
    let bucket = r.text(&s::STORE_BUCKET);
    let root = match bucket {
        _ if kind != "s3" || root.contains("://") => root,
        Some(bucket) if r.given(&s::STORE_ROOT).is_some() => format!("s3://{bucket}/{}", root.trim_start_matches('/')),
        Some(bucket) => format!("s3://{bucket}"),
        None => {
            r.problem(format!(
                "{}: it names no bucket, and {} is missing",
                s::STORE_ROOT.name(),
                s::STORE_BUCKET.name()
            ));
            root
        }
    };
    StoreWiring {
        root: root.trim_end_matches('/').to_owned(),
        endpoint: r.text(&s::STORE_ENDPOINT),
        region: r.text(&s::STORE_REGION),
        path_style: r.switch(&s::STORE_PATH_STYLE).unwrap_or(false),
        patience: Patience::default(),
    }
}

pub(super) fn control_bus(r: &mut Reader<'_>) -> ControlBus {
    let kind = r.required(&s::CONTROL_BUS_KIND, "");
    match kind.as_str() {
        "kafka" => ControlBus::Kafka(KafkaWiring {
            bootstrap_servers: r.required(&s::KAFKA_SERVERS, ""),
            security_protocol: r.required(&s::KAFKA_SECURITY, ""),
            sasl_mechanism: r.required(&s::KAFKA_MECHANISM, ""),
            username: r.text(&s::KAFKA_USERNAME),
            password: r.text(&s::KAFKA_PASSWORD).map(Secret::new),
            aws_region: r.text(&s::KAFKA_AWS_REGION),
            ca_location: r.text(&s::KAFKA_CA).map(PathBuf::from),
            group_id: r.required(&s::KAFKA_GROUP, ""),
            session_timeout: seconds(r, &s::KAFKA_SESSION),
        }),
        "kinesis" => ControlBus::Kinesis(KinesisWiring {
            stream: r.required(&s::CONTROL_BUS_STREAM, "CONTROL_BUS_STREAM_MISSING"),
            region: r.text(&s::CONTROL_BUS_REGION),
            endpoint_url: r.unquoted(&s::CONTROL_BUS_ENDPOINT),
            group_id: r.required(&s::KAFKA_GROUP, ""),
        }),
        kind => {
            if !matches!(kind, "file" | "") {
                r.problem(format!("{}: {kind:?} is not `file`, `kafka` or `kinesis`", s::CONTROL_BUS_KIND.name()));
            }
            ControlBus::File { root: r.required(&s::CONTROL_BUS_ROOT, "").into() }
        }
    }
}

pub(super) fn oracle(r: &mut Reader<'_>, folder: &Path) -> OracleWiring {
    OracleWiring {
        root: r.text(&s::ORACLE_ROOT),
        engine_run_root: r.text(&s::ORACLE_ENGINE_RUN_ROOT),
        scenario_id: r.get(&s::ORACLE_SCENARIO_ID),
        stream_view_root: r.text(&s::ORACLE_STREAM_VIEW_ROOT),
        catalogue_path: reference(&r.required(&s::CATALOGUE_PATH, ""), folder),
        read_memory: r.number::<u64>(&s::READ_MEMORY).unwrap_or(256) << 20,
    }
}

pub(super) fn delivery(r: &mut Reader<'_>) -> DeliveryWiring {
    let millis = |r: &mut Reader<'_>, setting| Duration::from_millis(r.number(setting).unwrap_or_default());
    let mode = r.text(&s::DELIVERY_MODE);
    if let Some(mode) = mode.as_deref().filter(|mode| !matches!(*mode, "strict" | "keyed" | "free")) {
        r.problem(format!("{}: {mode:?} is not `strict`, `keyed` or `free`", s::DELIVERY_MODE.name()));
    }
    let in_flight = r.number(&s::IN_FLIGHT).unwrap_or(1);
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
        window: r.number(&s::WINDOW).unwrap_or(1024),
        held: r.number(&s::HELD).unwrap_or(8192),
        memory: r.number::<u64>(&s::DELIVERY_MEMORY).unwrap_or(64) << 20,
        adaptive: r.switch(&s::ADAPTIVE).unwrap_or(false),
        in_flight_min: r.number(&s::IN_FLIGHT_MIN).unwrap_or(1),
        slow_answer: millis(r, &s::SLOW_ANSWER),
        idle_limit: millis(r, &s::IDLE_LIMIT),
        circuit_failures: r.number(&s::CIRCUIT_FAILURES),
        circuit_limit: Duration::from_secs(r.number(&s::CIRCUIT_LIMIT).unwrap_or(300)),
        attempt_timeout: millis(r, &s::ATTEMPT_TIMEOUT),
        drain_deadline: millis(r, &s::DRAIN_DEADLINE),
        max_attempts: r.number(&s::RETRY_MAX_ATTEMPTS).unwrap_or(5),
        base_delay: millis(r, &s::RETRY_BASE_DELAY),
        max_delay: millis(r, &s::RETRY_MAX_DELAY),
        max_retry_after: millis(r, &s::RETRY_AFTER_MAX),
        budget_share: r.number(&s::RETRY_BUDGET_SHARE).unwrap_or(0.5),
        budget_floor: r.number(&s::RETRY_BUDGET_FLOOR).unwrap_or(100.0),
        event_deadline: r.number(&s::EVENT_DEADLINE).map(Duration::from_millis),
    }
}

pub(super) fn checkpoint(r: &mut Reader<'_>) -> CheckpointWiring {
    let backend = r.required(&s::CHECKPOINT_BACKEND, "");
    let backend = if backend == "postgres" {
        CheckpointBackend::Postgres {
            dsn: Secret::new(r.required(&s::CHECKPOINT_DSN, "CHECKPOINT_DSN_MISSING")),
            lease: seconds(r, &s::CHECKPOINT_LEASE),
            outage_limit: seconds(r, &s::CHECKPOINT_OUTAGE),
        }
    } else {
        if backend != "file" {
            r.problem(format!("{}: {backend:?} is neither `file` nor `postgres`", s::CHECKPOINT_BACKEND.name()));
        }
        CheckpointBackend::File { root: r.required(&s::CHECKPOINT_ROOT, "").into() }
    };
    CheckpointWiring {
        backend,
        flush_every: r.number(&s::FLUSH_EVERY).unwrap_or(100),
        attempt_id: r.text(&s::ATTEMPT_ID).unwrap_or_default(),
    }
}

/// Whole seconds within bounds.
fn seconds(r: &mut Reader<'_>, setting: &s::Setting) -> Duration {
    Duration::from_secs(r.number(setting).unwrap_or_default())
}

pub(super) fn rate(r: &mut Reader<'_>) -> RateWiring {
    let instant = |r: &mut Reader<'_>, setting: &s::Setting| {
        let text = r.given(setting)?;
        let at = Micros::parse(text.trim().as_bytes());
        if at.is_none() {
            r.problem(format!("{}: {text:?} is not a time like 2026-01-01T00:00:00Z", setting.name()));
        }
        at
    };
    RateWiring {
        target_eps: r.number(&s::TARGET_EPS),
        burst_seconds: r.number(&s::TARGET_BURST_SECONDS).unwrap_or(0.25),
        initial_tokens: r.number(&s::TARGET_INITIAL_TOKENS),
        plan_json: r.given(&s::RATE_PLAN_JSON),
        plan_start: instant(r, &s::RATE_PLAN_START_UTC),
        campaign_start: instant(r, &s::CAMPAIGN_START_UTC),
        no_replay_delay_with_plan: r.switch(&s::NO_REPLAY_DELAY_WITH_PLAN).unwrap_or(false),
    }
}

pub(super) fn telemetry(r: &mut Reader<'_>) -> TelemetryWiring {
    let asked_for = r.given(&s::TELEMETRY_LISTEN).is_some();
    let off = r.text(&s::TELEMETRY_LISTEN).is_some_and(|text| text.trim() == "off");
    TelemetryWiring { listen: if off { None } else { r.get(&s::TELEMETRY_LISTEN) }, asked_for }
}

/// Which packs have to be up. A strict profile has to say so, be it that none has to.
pub(super) fn required_packs(r: &mut Reader<'_>) -> RequiredPacks {
    RequiredPacks {
        files: r.given_list(&s::REQUIRED_PACKS).map(|files| files.into_iter().map(PathBuf::from).collect()),
        same_run: r.switch(&s::REQUIRE_ACTIVE_RUN_MATCH).unwrap_or(true),
    }
}
