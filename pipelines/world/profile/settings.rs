//! Every setting, once: where it stands in the profile, which environment variable gives it, its default,
//! its meaning and what it takes. Reading, the typo check, `docs/profile.md`, the JSON Schema, `wsp init` and
//! `wsp validate --explain` all work from this table.
//!
//! A line with bounds takes a whole number and one without takes any text, unless `=>` says otherwise.

use super::kind::Kind::{
    self, Brokers, GivenList, HttpUrl, List, ListOf, Listen, Name, Real, Secret, Switch, Whole, Words,
};
use crate::model::digits::grouped;

/// Which source wins where profile and environment both give a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precedence {
    /// The environment overrides the profile (`WSP_*`: one process is tuned for one run).
    Environment,
    /// The environment only fills what the profile leaves out (contract, section 10).
    Profile,
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Dotted path in the profile; empty where only the environment gives it.
    pub path: &'static str,
    /// Environment variables, the first that is set counts.
    pub env: &'static [&'static str],
    /// Who wins.
    pub precedence: Precedence,
    /// The default as text; empty where there is none.
    pub default: &'static str,
    /// What it does, with its unit.
    pub about: &'static str,
    /// The lowest and the highest number that are taken, for one that has bounds.
    pub bounds: Option<(&'static str, &'static str)>,
    /// What it takes.
    pub kind: Kind,
}

impl Setting {
    /// How to name it in a message: path, variables.
    #[must_use]
    pub fn name(&self) -> String {
        match (self.path, self.env) {
            ("", env) => env.join(" or "),
            (path, []) => path.to_owned(),
            (path, env) => format!("{path} (or {})", env.join(", ")),
        }
    }
}

macro_rules! settings {
    ($($name:ident: $path:literal, [$($env:literal),*], $precedence:ident, $default:literal, $about:literal
        $(, $low:literal ..= $high:literal)? $(=> $kind:expr)?;)+) => {
        $(
            #[doc = $about]
            pub const $name: Setting = Setting {
                path: $path,
                env: &[$($env),*],
                precedence: Precedence::$precedence,
                default: $default,
                about: $about,
                bounds: [$(($low, $high))?].first().copied(),
                kind: Kind::of(&[$($kind)?], &[$($low)?]),
            };
        )+

        /// All of them, in the order of the reference.
        pub const ALL: &[Setting] = &[$($name,)+];
    };
}

settings! {
    PROFILE_ID: "profile_id", [], Profile, "", "Name of the profile. One that begins with `local` is a local profile. Every other one is strict: sources and targets are remote, what protects a run can't be switched off, and nothing goes out in clear unless `wiring.security.allow_plaintext` says so." => Name;
    POLICY_REV: "policy.policy_rev", [], Profile, "", "Revision of the policy, kept in evidence.";
    REQUIRE_GATE_PASS: "policy.require_gate_pass", [], Profile, "true", "Whether the passed flag of every gate that an output requires has to exist and read right." => Switch;
    REQUIRE_SEAL: "policy.require_seal", [], Profile, "", "Whether a world without manifest and seal is refused. Default: true except in local profiles. The evidence says what was found." => Switch;
    STREAM_SPEEDUP: "policy.stream_speedup", ["WSP_STREAM_SPEEDUP"], Environment, "1.0", "Event seconds a wall second; 0 = no pacing.", "0" ..= "1000000000" => Real;
    MAX_IDLE_GAP: "policy.max_idle_gap_seconds", [], Profile, "", "Event-time gaps longer than this many seconds are paced as if they were this long; not with lanes of either kind. Default: gaps are kept.", "0" ..= "10000000000" => Real;
    LATE: "policy.late", ["WSP_LATE"], Environment, "", "What happens when IG can't keep the pace: `stretch` moves all later events and keeps their spacing; `catch_up` sends what is late at once and meets the schedule again. Default: `stretch`; with a campaign's start or `wsp_lanes`, whose schedule is shared, `catch_up`." => Words(&["stretch", "catch_up"]);
    CATCH_UP: "policy.catch_up_seconds", [], Profile, "60", "How much lateness `catch_up` makes good, seconds; what is beyond moves the schedule.", "0" ..= "10000000000" => Real;
    STOP_ON_NONRETRYABLE: "policy.stop_on_nonretryable", [], Profile, "true", "Whether QUARANTINE stops the run; otherwise it is counted and the run goes on." => Switch;
    READY_MAX_AGE: "policy.ready_max_age_seconds", ["WSP_READY_MAX_AGE_SECONDS"], Environment, "", "A READY emitted more than this many seconds ago is refused. Default: any age.", "1" ..= "10000000000" => Real;
    TRAFFIC_OUTPUT_IDS: "policy.traffic_output_ids", ["WSP_TRAFFIC_OUTPUT_IDS"], Environment, "", "The one traffic output (a list with one entry; a comma list in the environment)." => List;
    TRAFFIC_OUTPUT_IDS_REF: "policy.traffic_output_ids_ref", ["WSP_TRAFFIC_OUTPUT_IDS_REF"], Environment, "", "A YAML file with `output_ids`, in place of `traffic_output_ids`.";
    CONTEXT_OUTPUT_IDS: "policy.context_output_ids", ["WSP_CONTEXT_OUTPUT_IDS"], Environment, "", "Context outputs, in the order they precede traffic at equal time. Default: the three of the traffic output." => List;
    CONTEXT_OUTPUT_IDS_REF: "policy.context_output_ids_ref", ["WSP_CONTEXT_OUTPUT_IDS_REF"], Environment, "", "A YAML file with `output_ids`, in place of `context_output_ids`.";
    CONTEXT_OUTPUT_IDS_BASELINE_REF: "policy.context_output_ids_baseline_ref", [], Profile, "", "The same, used when the traffic is the baseline.";
    FOLDER: "wiring.wsp_folder", ["WSP_FOLDER"], Environment, "", "The folder that relative paths count from: those of the profile, of READY and of the environment, and `runs/fraud-platform`. WSP enters it at the start. In the profile it counts from the profile's folder, in the environment from the working directory. Default: the working directory. Files that the command line names are not affected.";
    STORE_ROOT: "wiring.object_store.root", ["PLATFORM_STORE_ROOT"], Profile, "runs", "Root of facts and evidence: a folder, or `s3://bucket/prefix`. Without it a bucket is the root.";
    STORE_KIND: "wiring.object_store.kind", [], Profile, "", "`local`, `file` or `s3`; without it the root tells. With `s3` and a bucket, a root that is no address is a prefix in it." => Words(&["local", "file", "s3"]);
    STORE_BUCKET: "wiring.object_store.bucket", [], Profile, "", "The bucket, where the root does not name it. Without a root it is `s3://<bucket>` where the profile has an endpoint, a region or `kind: s3`, else a folder of that name.";
    STORE_ENDPOINT: "wiring.object_store.endpoint", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"], Profile, "", "Address of an S3-compatible server, for every `s3://` root. Default: AWS." => HttpUrl;
    STORE_REGION: "wiring.object_store.region", ["AWS_REGION", "AWS_DEFAULT_REGION"], Profile, "", "Its region. Default: what AWS's own files say.";
    STORE_PATH_STYLE: "wiring.object_store.path_style", [], Profile, "false", "`endpoint/bucket/key` in place of `bucket.endpoint/key`." => Switch;
    CONTROL_BUS_KIND: "wiring.control_bus.kind", ["CONTROL_BUS_KIND"], Profile, "", "`file`, `kafka` or `kinesis`." => Words(&["file", "kafka", "kinesis"]);
    CONTROL_BUS_ROOT: "wiring.control_bus.root", [], Profile, "runs/fraud-platform/control_bus", "Folder of the file control bus.";
    CONTROL_BUS_TOPIC: "wiring.control_bus.topic", ["CONTROL_BUS_TOPIC"], Profile, "fp.bus.control.v1", "The control topic.";
    CONTROL_BUS_STREAM: "wiring.control_bus.stream", ["CONTROL_BUS_STREAM"], Profile, "", "The Kinesis stream that carries the control topic.";
    CONTROL_BUS_REGION: "wiring.control_bus.region", ["CONTROL_BUS_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"], Profile, "", "The AWS region of the Kinesis stream. Default: what AWS's own files say.";
    CONTROL_BUS_ENDPOINT: "wiring.control_bus.endpoint_url", ["CONTROL_BUS_ENDPOINT_URL", "AWS_ENDPOINT_URL_KINESIS", "AWS_ENDPOINT_URL"], Profile, "", "Address of a server that speaks like Kinesis. Default: AWS." => HttpUrl;
    KAFKA_SERVERS: "", ["KAFKA_BOOTSTRAP_SERVERS"], Environment, "", "Kafka's brokers, `host:port` with commas; a `SASL_SSL://`-like prefix is dropped." => Brokers;
    KAFKA_SECURITY: "", ["KAFKA_SECURITY_PROTOCOL"], Environment, "SASL_SSL", "`SASL_SSL`, `SASL_PLAINTEXT`, `SSL` or `PLAINTEXT`.";
    KAFKA_MECHANISM: "", ["KAFKA_SASL_MECHANISM"], Environment, "PLAIN", "`PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`, or `OAUTHBEARER`: the IAM login of Amazon MSK, by a token that is signed with the AWS credentials of the environment and renewed before it ends.";
    KAFKA_AWS_REGION: "", ["KAFKA_AWS_REGION"], Environment, "", "The region of the IAM login; needed with `OAUTHBEARER`.";
    KAFKA_USERNAME: "", ["KAFKA_SASL_USERNAME"], Environment, "", "Who logs in.";
    KAFKA_PASSWORD: "", ["KAFKA_SASL_PASSWORD"], Environment, "", "With what. Never printed." => Secret;
    KAFKA_CA: "", ["KAFKA_CA_LOCATION"], Environment, "", "PEM certificates to trust, a file or a folder. Default: the system's.";
    KAFKA_GROUP: "wiring.control_bus.group_id", ["WSP_READY_GROUP_ID"], Environment, "wsp-ready", "The consumer group; with Kafka, each READY goes to one of its members, so workers that share lanes either have one each or are called over the lanes topic (`wsp_lanes.topic`). Kinesis has no groups: each consumer reads the whole stream, and what is settled is kept by group.";
    KAFKA_SESSION: "", ["WSP_READY_SESSION_TIMEOUT_SECONDS"], Environment, "45", "How long the group waits for a consumer that crashed or was cut off before another gets its partitions, seconds (the broker has bounds too).", "6" ..= "1800";
    CATALOGUE_PATH: "wiring.engine_catalogue_path", [], Profile, "docs/model_spec/data-engine/interface_pack/engine_outputs.catalogue.yaml", "`engine_outputs.catalogue.yaml`; `engine_gates.map.yaml` is read from beside it.";
    ORACLE_ROOT: "wiring.oracle_root", [], Profile, "runs/local_full_run-5", "What relative Oracle references are joined to. Where it is set, READY may point nowhere but into it and the other roots of the profile. The default holds in local profiles alone, and binds no READY; in a strict profile without it, READY may point into the object store's root.";
    ORACLE_ENGINE_RUN_ROOT: "wiring.oracle_engine_run_root", [], Profile, "", "The engine run root; wins over READY's.";
    ORACLE_SCENARIO_ID: "wiring.oracle_scenario_id", [], Profile, "", "The scenario a run must have. Default: READY's.";
    ORACLE_STREAM_VIEW_ROOT: "wiring.oracle_stream_view_root", [], Profile, "", "Folder of the stream views. Default: READY's, else `<engine root>/stream_view/ts_utc`.";
    READ_MEMORY: "wiring.wsp_read.memory_mib", ["WSP_READ_MEMORY_MIB"], Environment, "256", "Memory for the Oracle's rows, MiB, shared among the outputs: row groups being decoded and the next ones, fetched ahead. A row group that needs more than half of its output's share is cut along its pages, if each of them begins with a row; else it is read whole, whatever it takes.", "1" ..= "1048576";
    IG_INGEST_URL: "wiring.ig_ingest_url", ["IG_INGEST_URL"], Profile, "http://localhost:8081", "IG's base URL, or the push URL itself: http or https, without user, password, query and fragment. The default holds in local profiles alone." => HttpUrl;
    API_KEY_HEADER: "wiring.security.api_key_header", [], Profile, "X-IG-Api-Key", "Header that carries the key; none that frames a message or is meant for a proxy.";
    AUTH_TOKEN: "wiring.security.wsp_auth_token", ["IG_API_KEY"], Profile, "", "The key: printable ASCII without blanks at its ends. Never printed." => Secret;
    ALLOW_PLAINTEXT: "wiring.security.allow_plaintext", [], Profile, "", "Connections that a strict profile may leave without TLS, or with a server that is not verified: a list of `ig`, `object_store`, `kafka`, `kinesis`, `postgres`. `wsp_start.json` keeps it. IG, object store, Kinesis and Postgres on loopback need no leave." => ListOf(&["ig", "object_store", "kafka", "kinesis", "postgres"]);
    CHECKPOINT_BACKEND: "wiring.wsp_checkpoint.backend", ["WSP_CHECKPOINT_BACKEND"], Environment, "file", "`file` or `postgres`." => Words(&["file", "postgres"]);
    CHECKPOINT_ROOT: "wiring.wsp_checkpoint.root", ["WSP_CHECKPOINT_ROOT"], Environment, "runs/fraud-platform/wsp/checkpoints", "Folder of the file backend.";
    CHECKPOINT_DSN: "wiring.wsp_checkpoint.dsn", ["WSP_CHECKPOINT_DSN"], Environment, "", "DSN of the Postgres backend. Never printed." => Secret;
    FLUSH_EVERY: "wiring.wsp_checkpoint.flush_every", ["WSP_CHECKPOINT_FLUSH_EVERY"], Environment, "1", "Answered events between two saves.", "1" ..= "1000000";
    CHECKPOINT_LEASE: "wiring.wsp_checkpoint.lease_seconds", ["WSP_CHECKPOINT_LEASE_SECONDS"], Environment, "15", "How long a hold on a run's checkpoint in Postgres lasts without a renewal, seconds. It is renewed every third of it; after a crash another start waits that long.", "1" ..= "600";
    CHECKPOINT_OUTAGE: "wiring.wsp_checkpoint.outage_limit_seconds", ["WSP_CHECKPOINT_OUTAGE_LIMIT_SECONDS"], Environment, "60", "How long a save goes on trying while Postgres is away, seconds; then the run fails. Sending stops long before, at the bound on what is unsaved.", "1" ..= "86400";
    ATTEMPT_ID: "", ["WSP_CHECKPOINT_ATTEMPT_ID"], Environment, "", "Part of the checkpoint's scope; a new one starts from the beginning.";
    PRODUCER_ID: "wiring.wsp_producer.producer_id", ["WSP_PRODUCER_ID"], Profile, "svc:world_stream_producer", "The `producer` of every event.";
    PRODUCER_ALLOWLIST_REF: "wiring.wsp_producer.allowlist_ref", ["WSP_PRODUCER_ALLOWLIST_REF"], Profile, "config/platform/wsp/producer_allowlist_v0.txt", "File that lists allowed producers: one a line, or YAML with a list.";
    RETRY_MAX_ATTEMPTS: "wiring.wsp_retry.max_attempts", [], Profile, "5", "Attempts an event.", "1" ..= "100";
    RETRY_BASE_DELAY: "wiring.wsp_retry.base_delay_ms", [], Profile, "250", "Delay after the first failed attempt, milliseconds; doubles each time, plus jitter up to itself.", "0" ..= "3600000";
    RETRY_MAX_DELAY: "wiring.wsp_retry.max_delay_ms", [], Profile, "5000", "Bound of that delay before jitter, milliseconds.", "0" ..= "3600000";
    RETRY_AFTER_MAX: "wiring.wsp_retry.max_retry_after_ms", [], Profile, "30000", "Longest `Retry-After` of IG that is obeyed, milliseconds; a longer one counts as this.", "0" ..= "3600000";
    RETRY_BUDGET_SHARE: "wiring.wsp_retry.budget_share", [], Profile, "0.5", "Retries that all events together have for each first attempt. What is beyond waits; no event fails for it.", "0" ..= "10" => Real;
    RETRY_BUDGET_FLOOR: "wiring.wsp_retry.budget_floor_per_second", [], Profile, "100", "Retries a second that there are beside that share.", "1" ..= "1000000" => Real;
    EVENT_DEADLINE: "wiring.wsp_retry.event_deadline_ms", [], Profile, "", "No attempt of an event starts later than this after its first, milliseconds. Default: its attempts are the bound.", "1" ..= "86400000";
    DELIVERY_MODE: "wiring.wsp_delivery.mode", ["WSP_DELIVERY_MODE"], Environment, "", "`strict`, `keyed` or `free`. Default: strict with one in flight, keyed beyond." => Words(&["strict", "keyed", "free"]);
    IN_FLIGHT: "wiring.wsp_delivery.in_flight", ["WSP_IG_PUSH_CONCURRENCY", "WSP_MAX_INFLIGHT"], Environment, "1", "Requests in flight at once.", "1" ..= "1024";
    DELIVERY_THREADS: "wiring.wsp_delivery.threads", ["WSP_DELIVERY_THREADS"], Environment, "1", "Threads that connections are spread over. More pay where one thread's CPU bounds the rate and more cores are free than framing takes.", "1" ..= "64";
    WINDOW: "wiring.wsp_delivery.window", ["WSP_DELIVERY_WINDOW"], Environment, "65536", "How far sending may run ahead of the oldest unanswered event, in events. Others go on that far while an event waits for a slow answer or for its next attempt.", "1" ..= "1000000";
    HELD: "wiring.wsp_delivery.held", ["WSP_DELIVERY_HELD"], Environment, "8192", "Unanswered events in memory at most.", "1" ..= "1000000";
    DELIVERY_MEMORY: "wiring.wsp_delivery.memory_mib", ["WSP_DELIVERY_MEMORY_MIB"], Environment, "64", "Memory for request bodies, MiB: those made ahead and those of unanswered events together. Making more waits for answers. While events wait for another attempt it may be twice as much.", "1" ..= "1048576";
    ADAPTIVE: "wiring.wsp_delivery.adaptive", ["WSP_DELIVERY_ADAPTIVE"], Environment, "false", "Whether requests in flight follow what IG can take: up to `in_flight` while answers are quick, down on 408, 429, 503, time-outs and slow answers." => Switch;
    IN_FLIGHT_MIN: "wiring.wsp_delivery.in_flight_min", [], Profile, "1", "Requests in flight to start from and to keep at least, when adaptive.", "1" ..= "1024";
    SLOW_ANSWER: "wiring.wsp_delivery.slow_answer_ms", [], Profile, "1000", "An answer that takes longer is a sign of overload, when adaptive; milliseconds.", "0" ..= "3600000";
    IDLE_LIMIT: "wiring.wsp_delivery.idle_limit_ms", [], Profile, "50000", "A connection that lay idle for longer is replaced before it is used, milliseconds; below the load balancer's idle time.", "0" ..= "3600000";
    CIRCUIT_FAILURES: "wiring.wsp_delivery.circuit_failures", ["WSP_DELIVERY_CIRCUIT_FAILURES"], Environment, "", "Failed attempts in a row, over all connections, after which nothing is sent until IG says it is up; 0 = never. Default: `max_attempts` + `in_flight`, so that in strict order the attempts of an event are over first.", "0" ..= "1000000";
    CIRCUIT_LIMIT: "wiring.wsp_delivery.circuit_limit_seconds", ["WSP_DELIVERY_CIRCUIT_LIMIT_SECONDS"], Environment, "300", "How long IG may take nothing, from then on, before the run fails with `IG_UNAVAILABLE`; seconds.", "1" ..= "86400";
    ATTEMPT_TIMEOUT: "wiring.wsp_delivery.attempt_timeout_ms", [], Profile, "30000", "Time for one attempt, connecting included, milliseconds.", "1" ..= "3600000";
    CA_FILE: "wiring.wsp_delivery.ca_file", ["WSP_DELIVERY_CA_FILE"], Environment, "", "PEM file of the authorities that may vouch for IG's certificate, in place of the platform's.";
    CLIENT_CERT_FILE: "wiring.wsp_delivery.client_cert_file", ["WSP_DELIVERY_CLIENT_CERT_FILE"], Environment, "", "PEM file of our certificate, for an IG that asks for one; those between it and its authority behind it.";
    CLIENT_KEY_FILE: "wiring.wsp_delivery.client_key_file", ["WSP_DELIVERY_CLIENT_KEY_FILE"], Environment, "", "PEM file of its key.";
    DRAIN_DEADLINE: "wiring.wsp_delivery.drain_deadline_ms", ["WSP_DRAIN_DEADLINE_MS"], Environment, "20000", "How long answers in flight are awaited on a stop, milliseconds.", "0" ..= "3600000";
    MAX_EVENTS_PER_OUTPUT: "", ["WSP_MAX_EVENTS_PER_OUTPUT"], Environment, "", "Cap of events per output in one run, counted from where it resumes; 0 = no cap." => Whole;
    LANE_COUNT: "", ["WSP_LANE_COUNT"], Environment, "1", "Lanes a run is spread over, a process each; together they send each event once.", "1" ..= "4096";
    LANE_INDEX: "", ["WSP_LANE_INDEX"], Environment, "0", "This process's lane, from 0 to the count less 1." => Whole;
    LANE_BY: "", ["WSP_LANE_BY"], Environment, "event_id", "What decides on an event's lane: `event_id`, as the producer in place does it, or `order_key`, which keeps events of one key in line over the whole run. The same for all lanes of a run.";
    LANES_COUNT: "wiring.wsp_lanes.count", ["WSP_LANES_COUNT"], Environment, "1", "Lanes a run is spread over, which all workers of this profile share: each takes free lanes and takes over those of workers that died. 1 = each run is one process's. The same for all workers of a run; not with `WSP_LANE_COUNT`.", "1" ..= "4096";
    LANES_BY: "wiring.wsp_lanes.by", [], Profile, "order_key", "What decides on an event's lane there: `order_key` keeps events of one key in line over the whole run, `event_id` does not." => Words(&["event_id", "order_key"]);
    LANES_TOPIC: "wiring.wsp_lanes.topic", [], Profile, "fp.bus.wsp.lanes.v1", "The Kafka topic on which the worker that has READY calls others to its run; with as many partitions as there are workers, or more. Its group is that of READY with `-lanes` behind it. Other control buses give READY to every worker, and have no use for it.";
    LANES_PER_WORKER: "wiring.wsp_lanes.lanes_per_worker", ["WSP_LANES_PER_WORKER"], Environment, "1", "Lanes that one worker streams at a time. They share `wsp_read.memory_mib` and `wsp_delivery.memory_mib`; each has requests in flight of its own.", "1" ..= "64";
    LANES_MAX_SKEW: "wiring.wsp_lanes.max_skew_seconds", [], Profile, "", "A lane waits while its event time is further ahead than this, seconds, of the slowest lane under way. Default: no lane waits for another.", "1" ..= "10000000000" => Real;
    TARGET_EPS: "", ["WSP_TARGET_EPS"], Environment, "", "Events a second over all outputs. With `wsp_lanes` the lanes under way share it; with `WSP_LANE_COUNT` each process has its own. 0 = no rate, as if unset.", "0" ..= "1000000" => Real;
    TARGET_BURST_SECONDS: "", ["WSP_TARGET_BURST_SECONDS"], Environment, "0.25", "Burst, in seconds of the rate.", "0" ..= "3600" => Real;
    TARGET_INITIAL_TOKENS: "", ["WSP_TARGET_INITIAL_TOKENS"], Environment, "", "Events that may be sent at once at the start, up to the burst. Default: 1, so that a burst has to be asked for.", "0" ..= "1000000000" => Real;
    RATE_PLAN_JSON: "", ["WSP_RATE_PLAN_JSON"], Environment, "", "Rates by time: `[{\"start_offset_seconds\", \"target_eps\", \"burst_seconds\", \"initial_tokens\"}]`.";
    RATE_PLAN_START_UTC: "", ["WSP_RATE_PLAN_START_UTC"], Environment, "", "What the plan's offsets count from. Default: the campaign's start, else the stream's.";
    CAMPAIGN_START_UTC: "", ["WSP_CAMPAIGN_START_UTC"], Environment, "", "Wall time at which the run's first event time is due; shared by the lanes of a run.";
    NO_REPLAY_DELAY_WITH_PLAN: "", ["WSP_DISABLE_REPLAY_DELAY_WHEN_RATE_PLAN"], Environment, "false", "With a rate plan, event time does not pace." => Switch;
    TELEMETRY_LISTEN: "wiring.wsp_telemetry.listen", ["WSP_TELEMETRY_LISTEN"], Environment, "127.0.0.1:9464", "Where `wsp run` serves its live page (`/`), `/metrics`, `/livez`, `/readyz` and `/status`: an address with port, or `off`. Nobody who asks there has to log in, so anything but loopback has to be told. Where the default is taken already, the run goes on without." => Listen;
    PLATFORM_RUN_ID: "", ["PLATFORM_RUN_ID"], Environment, "", "The active run. Default: the first line of `runs/fraud-platform/ACTIVE_RUN_ID`.";
    HTTPS_PROXY: "", ["https_proxy", "HTTPS_PROXY"], Environment, "", "WSP uses no proxy: where this names one for an https address of the profile, the profile is refused." => Secret;
    HTTP_PROXY: "", ["http_proxy", "HTTP_PROXY"], Environment, "", "The same for http addresses." => Secret;
    ALL_PROXY: "", ["all_proxy", "ALL_PROXY"], Environment, "", "The same for both." => Secret;
    NO_PROXY: "", ["no_proxy", "NO_PROXY"], Environment, "", "Comma list of names, addresses and networks that are reached without a proxy, as curl reads it.";
    REQUIRED_PACKS: "", ["WSP_READY_REQUIRED_PACKS"], Environment, "", "Comma list of run/operate pack files that must be up before a stream starts. Strict profiles have to set it; set to nothing, no pack is required." => GivenList;
    REQUIRE_ACTIVE_RUN_MATCH: "", ["WSP_READY_REQUIRE_ACTIVE_RUN_MATCH"], Environment, "true", "Whether a required pack has to be up for the same run." => Switch;
    SERVICE_RELEASE_ID: "", ["SERVICE_RELEASE_ID"], Environment, "dev-local", "Release of this service, kept in governance facts.";
    ENVIRONMENT: "", ["PLATFORM_ENVIRONMENT"], Environment, "unknown", "Environment, kept in governance facts.";
}

/// Blocks of the profile that are WSP's alone: any other key in them is a mistake.
pub const CLOSED_BLOCKS: &[&str] = &[
    "wiring.wsp_checkpoint",
    "wiring.wsp_producer",
    "wiring.wsp_retry",
    "wiring.wsp_delivery",
    "wiring.wsp_read",
    "wiring.wsp_lanes",
    "wiring.wsp_telemetry",
];

/// The reference page, `docs/profile.md`, below its introduction.
#[must_use]
pub fn reference() -> String {
    use std::fmt::Write;
    let mut out = String::from("| setting | environment | default | bounds | meaning |\n|---|---|---|---|---|\n");
    for setting in ALL {
        let path = if setting.path.is_empty() { "–".to_owned() } else { format!("`{}`", setting.path) };
        let env = match setting.env {
            [] => "–".to_owned(),
            env => format!(
                "{} ({})",
                env.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
                if setting.precedence == Precedence::Environment { "wins" } else { "where absent" }
            ),
        };
        let default = if setting.default.is_empty() { "–".to_owned() } else { format!("`{}`", setting.default) };
        let bounds = setting
            .bounds
            .map_or_else(|| "–".to_owned(), |(low, high)| format!("{} to {}", grouped(low), grouped(high)));
        let _ = writeln!(out, "| {path} | {env} | {default} | {bounds} | {} |", setting.about);
    }
    out
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::super::Profile;
    use super::super::tests::{WHOLE, env};
    use super::*;

    /// Profiles that read all there is between them: the defaults, and the other kind of each thing that has kinds (https too).
    fn profiles() -> [Value; 3] {
        let files: Value = serde_saphyr::from_str(WHOLE).unwrap();
        let mut servers = files.clone();
        servers["policy"] = json!({});
        servers["wiring"]["control_bus"] = json!({"kind": "kafka"});
        servers["wiring"]["wsp_checkpoint"] = json!({"backend": "postgres"});
        let mut kinesis = files.clone();
        kinesis["wiring"]["control_bus"] = json!({"kind": "kinesis"});
        kinesis["wiring"]["ig_ingest_url"] = json!("https://ig.example");
        [files, servers, kinesis]
    }

    /// What is wrong with each of them once `setting` is `value`, in the profile or, with `by_env`, in the environment.
    pub(in super::super) fn problems(setting: &Setting, value: &Value, by_env: Option<&str>) -> String {
        let told = profiles().map(|mut profile| {
            let mut at = &mut profile;
            if by_env.is_none() {
                for key in setting.path.split('.') {
                    at = &mut at[key];
                }
                *at = value.clone();
            }
            let env = |name: &str| match by_env {
                Some(ours) if ours == name => Some(value.to_string()),
                _ => env(name),
            };
            Profile::parse(&profile.to_string(), Path::new("."), &env).map_or_else(|e| e.to_string(), |_| String::new())
        });
        told.concat()
    }

    #[test]
    fn everything_in_the_table_is_read() {
        for setting in ALL.iter().filter(|setting| !setting.path.is_empty()) {
            let told = problems(setting, &json!({"a": {"b": 1}}), None);
            let refused = ["a single value is expected", "a list of texts is expected"];
            let named = refused.iter().any(|why| told.contains(&format!("{}: {why}", setting.path)));
            assert!(named, "{} is read by nobody: {told}", setting.path);
        }
        let asked = std::cell::RefCell::new(std::collections::BTreeSet::new());
        for profile in profiles() {
            let env = |name: &str| {
                asked.borrow_mut().insert(name.to_owned());
                env(name)
            };
            let _ = Profile::parse(&profile.to_string(), Path::new("."), &env);
        }
        let listed: std::collections::BTreeSet<_> =
            ALL.iter().flat_map(|setting| setting.env).map(|name| (*name).to_owned()).collect();
        assert_eq!(*asked.borrow(), listed, "the variables that are read, and those of the table");
    }

    #[test]
    fn bounds_are_kept() {
        for setting in ALL {
            let Some((low, high)) = setting.bounds else { continue };
            let number = |text: &str| text.parse::<f64>().unwrap();
            assert!(setting.default.is_empty() || (number(low)..=number(high)).contains(&number(setting.default)));
            let above = number(high) + 1.0;
            let by_env = setting.env.iter().map(|name| Some(*name));
            let ways = by_env.chain((!setting.path.is_empty()).then_some(None));
            for by_env in ways {
                let wrong = |value: f64| problems(setting, &json!(value), by_env).contains(setting.name().as_str());
                let whole =
                    |value: f64| problems(setting, &json!(value as i64), by_env).contains(setting.name().as_str());
                assert!(wrong(above) && whole(above), "{}: more than {high} is taken", setting.name());
                assert!(wrong(number(low) - 1.0) && whole(number(low) - 1.0), "{}: less than {low}", setting.name());
            }
        }
    }

    /// What is a number of something has bounds, so that the page says them.
    #[test]
    fn numbers_have_bounds() {
        let without: Vec<_> = ALL
            .iter()
            .filter(|setting| setting.bounds.is_none() && setting.default.parse::<f64>().is_ok())
            .map(Setting::name)
            .collect();
        assert_eq!(without, ["WSP_LANE_INDEX"], "whose bound is another setting");
    }
}
