//! `wsp ready` on Kafka and on Kinesis: what it publishes is taken by a run, and what it can't publish is said.

use std::process::{Command, Output};

use serde_json::{Value, json};
use wsp_reference::gate::GateHandle;

use crate::kit::{self, Ran, Stage, TOPIC};
use crate::servers::kafka::Kafka;
use crate::servers::kinesis::{Kind, Kinesis};

const STREAM: &str = "fp-ready";

/// The golden world before a gate, with neither facts nor READY, and its control topic on a server.
struct Set {
    gate: GateHandle,
    stage: Stage,
    env: Vec<(&'static str, String)>,
}

impl Set {
    fn new(bus: &Value, env: Vec<(&'static str, String)>) -> Self {
        let gate = kit::gate();
        let stage = Stage::golden(&gate.base_url());
        stage.remove("control_bus");
        stage.remove("store");
        stage.profile(&gate.base_url(), |profile| profile["wiring"]["control_bus"] = bus.clone());
        Self { gate, stage, env }
    }

    fn wsp(&self, args: &[&str]) -> Command {
        let mut command = self.stage.wsp(args);
        command.envs(self.env.iter().map(|(name, value)| (name, value))).env("WSP_READY_REQUIRED_PACKS", "");
        command
    }

    fn ready(&self) -> Output {
        self.wsp(&["ready", "--profile", "profile.yaml", "--world", "world"]).output().unwrap()
    }

    fn once(&self) -> Ran {
        Ran::of(self.wsp(&["run", "--profile", "profile.yaml", "--once"]).output().unwrap())
    }

    /// Without the topic or stream: nothing is published, and the words say which and what to do.
    fn says_that_it_is_missing(&self, words: &str) {
        let refused = self.ready();
        let err = String::from_utf8(refused.stderr).unwrap();
        assert_eq!((refused.status.code(), refused.stdout.as_slice()), (Some(1), &b""[..]), "{err}");
        assert!(err.contains("CONTROL_TOPIC_UNREACHABLE") && err.contains(words), "{err}");
        assert!(err.contains("the READY was not published"), "{err}");
    }

    /// From a READY to its run, and the same once more.
    fn streams(&self, place: &str) {
        let none = self.wsp(&["plan", "--profile", "profile.yaml"]).output().unwrap();
        let err = String::from_utf8(none.stderr).unwrap();
        assert!(none.status.code() == Some(2) && err.contains("there is no READY on the control topic"), "{err}");
        for (n, status) in ["STREAMED", "SKIPPED_DUPLICATE"].into_iter().enumerate() {
            let made = self.ready();
            let (out, err) = (String::from_utf8(made.stdout).unwrap(), String::from_utf8(made.stderr).unwrap());
            assert_eq!(made.status.code(), Some(0), "{err}");
            assert!(out.contains(place), "{out}");
            assert_eq!(err.contains("on record: STREAMED"), n == 1, "{err}");
            if n == 0 {
                let plan = self.wsp(&["plan", "--profile", "profile.yaml"]).output().unwrap();
                let out = String::from_utf8(plan.stdout).unwrap();
                assert!(plan.status.success() && out.contains("would be streamed"), "{out}");
            }
            let ran = self.once();
            assert_eq!((ran.code, ran.verdict().0), (Some(0), status), "{}", ran.stderr);
        }
        assert_eq!(self.gate.stats().admitted, 250);
    }
}

#[tokio::test]
#[ignore = "needs Apache Kafka"]
async fn a_ready_is_published_on_kafka() {
    let kafka = Kafka::any();
    let topic = format!("{TOPIC}.ready.{}", std::process::id());
    let env = vec![
        ("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap.clone()),
        ("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT".to_owned()),
        ("WSP_READY_SESSION_TIMEOUT_SECONDS", "6".to_owned()),
    ];
    let set = Set::new(&json!({"kind": "kafka", "topic": topic}), env);
    set.says_that_it_is_missing("there is no such topic");
    kafka.create(&topic, 3).await;
    set.streams(&format!("{topic}/"));

    // Nobody at the address.
    let mut away = set.wsp(&["ready", "--profile", "profile.yaml", "--world", "world"]);
    let away = away.env("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1").output().unwrap();
    let err = String::from_utf8(away.stderr).unwrap();
    assert_eq!(away.status.code(), Some(1), "{err}");
    assert!(err.contains("CONTROL_TOPIC_UNREACHABLE") && err.contains("127.0.0.1:1"), "{err}");
}

async fn on_kinesis(kind: Kind) {
    let kinesis = Kinesis::start(kind).await;
    let env = Kinesis::environment().map(|(name, value)| (name, value.to_owned())).to_vec();
    let bus = json!({"kind": "kinesis", "stream": STREAM, "endpoint_url": kinesis.endpoint(), "topic": TOPIC});
    let set = Set::new(&bus, env);
    set.says_that_it_is_missing(STREAM);
    kinesis.create(STREAM, 2).await;
    set.streams(&format!("{STREAM}/shardId-"));
}

#[tokio::test]
#[ignore = "needs moto's Kinesis server"]
async fn a_ready_is_published_on_moto() {
    on_kinesis(Kind::Moto).await;
}

#[tokio::test]
#[ignore = "needs kinesalite"]
async fn a_ready_is_published_on_kinesalite() {
    on_kinesis(Kind::Kinesalite).await;
}
