//! What a profile holds, block by block.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use wsp::deliver::{Adaptive, CircuitPolicy, DeliveryMode, Endpoint, RetryBudget, RetryPolicy};
use wsp::pace::{Pacing, RatePlan};
use wsp::store::Patience;

#[cfg(feature = "postgres")]
use crate::checkpoint::PostgresDsn;
use crate::model::{HttpUrl, Lanes, Micros, OutputId, ScenarioId, Secret};
use crate::ready::{BootstrapServers, SaslMechanism, SecurityProtocol};

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
    /// Traffic outputs as listed; a run wants one at least ([`super::OutputPlan::new`]).
    pub traffic_output_ids: Vec<String>,
    /// Context outputs in rank order.
    pub context_output_ids: Vec<String>,
    /// The outputs among these that are streamed; `None` is all. No profile says so, a run without READY may.
    pub only: Option<Vec<OutputId>>,
}

/// Where READY comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlBus {
    /// Files in `<root>/<topic>/`; the root is scoped to the active run when it is used.
    File {
        /// As configured.
        root: PathBuf,
    },
    /// A Kafka topic.
    #[cfg(feature = "kafka")]
    Kafka(KafkaWiring),
    /// A Kinesis stream.
    #[cfg(feature = "kinesis")]
    Kinesis(KinesisWiring),
}

impl ControlBus {
    /// Whether it is a Kinesis stream.
    #[must_use]
    pub fn is_kinesis(&self) -> bool {
        match self {
            Self::File { .. } => false,
            #[cfg(feature = "kafka")]
            Self::Kafka(_) => false,
            #[cfg(feature = "kinesis")]
            Self::Kinesis(_) => true,
        }
    }
}

/// How a Kinesis control stream is reached. Credentials come from the AWS environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KinesisWiring {
    /// The stream's name.
    pub stream: String,
    /// Its region; `None` = the AWS environment's.
    pub region: Option<String>,
    /// A server that speaks like Kinesis; `None` = AWS.
    pub endpoint_url: Option<HttpUrl>,
    /// Whose positions these are, where several consumers read the stream.
    pub group_id: String,
}

/// How Kafka is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaWiring {
    /// The brokers to begin with.
    pub bootstrap_servers: BootstrapServers,
    /// How the connection is made.
    pub security_protocol: SecurityProtocol,
    /// How the login is made, where there is one.
    pub sasl_mechanism: SaslMechanism,
    /// Who logs in.
    pub username: Option<String>,
    /// With what.
    pub password: Option<Secret>,
    /// The region of the IAM login.
    pub aws_region: Option<String>,
    /// Certificates to trust.
    pub ca_location: Option<PathBuf>,
    /// The consumer group.
    pub group_id: String,
    /// How long the group waits for a silent consumer.
    pub session_timeout: Duration,
}

/// Where facts and evidence are, and how every `s3://` root is reached.
#[derive(Debug, Clone)]
pub struct StoreWiring {
    /// A folder, or `s3://bucket/prefix`.
    pub root: String,
    /// An S3-compatible server's address.
    pub endpoint: Option<HttpUrl>,
    /// Its region.
    pub region: Option<String>,
    /// Buckets stand in the path.
    pub path_style: bool,
    /// How long a server that is away is waited for; shared by all stores that are opened with this.
    pub patience: Patience,
}

/// Where the Oracle is.
#[derive(Debug, Clone)]
pub struct OracleWiring {
    /// What relative references are joined to, and what messages may point into.
    pub root: Option<String>,
    /// What relative references are joined to where that is not set. It binds no message.
    pub default_root: Option<String>,
    /// The engine run root, where the profile decides it.
    pub engine_run_root: Option<String>,
    /// The scenario a run must have.
    pub scenario_id: Option<ScenarioId>,
    /// Where stream views are, where the profile decides it.
    pub stream_view_root: Option<String>,
    /// The engine's catalogue of outputs.
    pub catalogue_path: PathBuf,
    /// Bytes that reading its rows may take.
    pub read_memory: u64,
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
#[derive(Debug, Clone)]
pub enum CheckpointBackend {
    /// Files; the root is scoped to the run when it is used.
    File {
        /// As configured.
        root: PathBuf,
    },
    /// A Postgres table.
    #[cfg(feature = "postgres")]
    Postgres {
        /// How it is reached.
        dsn: Box<PostgresDsn>,
        /// How long a hold lasts without a renewal.
        lease: Duration,
        /// How long a save goes on trying while it is away.
        outage_limit: Duration,
    },
}

/// How events are pushed.
#[derive(Debug, Clone)]
pub struct DeliveryWiring {
    /// Where to, with the key.
    pub endpoint: Endpoint,
    /// The key again, for whoever has to find out whether it leaked.
    pub api_key: Secret,
    /// Order, and requests in flight at once.
    pub mode: DeliveryMode,
    /// Threads that connections are spread over.
    pub threads: NonZeroUsize,
    /// Events between the newest sent and the oldest unanswered one.
    pub window: usize,
    /// Unanswered events in memory.
    pub held: usize,
    /// Bytes of request bodies in memory.
    pub memory: u64,
    /// Requests in flight that follow what IG can take.
    pub adaptive: Option<Adaptive>,
    /// Life of an idle connection.
    pub idle_limit: Duration,
    /// When IG is taken for down.
    pub circuit: CircuitPolicy,
    /// Time for one attempt.
    pub attempt_timeout: Duration,
    /// TLS by the files that the profile names; without them the platform's trust decides.
    pub tls: Option<Arc<ClientConfig>>,
    /// Time for answers in flight on a stop.
    pub drain_deadline: Duration,
    /// Attempts and delays.
    pub retry: RetryPolicy,
    /// Retries of all events together.
    pub budget: RetryBudget,
    /// Time for all attempts of an event.
    pub event_deadline: Option<Duration>,
}

/// When events are sent.
#[derive(Debug, Clone)]
pub struct RateWiring {
    /// Event time against the wall.
    pub pacing: Pacing,
    /// Rates, where there are any.
    pub plan: Option<RatePlan>,
    /// The one rate that was asked for, as evidence.
    pub target_eps: Option<f64>,
    /// What the plan counts from, where it is not the stream's start.
    pub plan_start: Option<Micros>,
    /// When the first event time is due.
    pub campaign_start: Option<Micros>,
}

/// Runs that are spread over lanes, which any worker can take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LanesWiring {
    /// The lanes of each run.
    pub lanes: Lanes,
    /// Where workers are called to a run, on Kafka.
    pub topic: String,
    /// Lanes that this worker streams at a time.
    pub per_worker: NonZeroUsize,
    /// How far a lane may be ahead of the slowest one, in event time.
    pub max_skew: Option<Duration>,
}

/// What has to be up before a stream starts (contract, section 9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiredPacks {
    /// Pack files, in the order given; empty where none is required on purpose, `None` where nothing was said.
    pub files: Option<Vec<PathBuf>>,
    /// Whether they have to be up for the run of the READY.
    pub same_run: bool,
}

/// Who we are, for evidence.
#[derive(Debug, Clone)]
pub struct ServiceIdentity {
    /// Release of this service.
    pub release_id: String,
    /// Environment.
    pub environment: String,
}

/// The telemetry listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TelemetryWiring {
    /// Where it listens, if at all.
    pub listen: Option<SocketAddr>,
    /// Somebody asked for that address; the default may be taken.
    pub asked_for: bool,
}
