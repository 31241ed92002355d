//! The whole producer with its control topic on Kinesis: from READY to the gate, through resharding, restarts and outages.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use wsp_reference::gate::GateHandle;

use crate::kit::live::{Running, nap};
use crate::kit::matrix_rows::rows;
use crate::kit::{self, MESSAGE, RUN, Ran, Stage, TOPIC, golden, json_lines, read};
use crate::servers::kinesis::{Kind, Kinesis};

const STREAM: &str = "fp-control";
/// Hash keys of the two halves of a stream.
const LEFT: &str = "1";
const RIGHT: &str = "330000000000000000000000000000000000000";

/// A server, a gate, and the golden run with its control topic on the server.
struct Set {
    kinesis: Kinesis,
    gate: GateHandle,
    stage: Stage,
}

impl Set {
    async fn of(kind: Kind) -> Self {
        let kinesis = Kinesis::start(kind).await;
        let gate = kit::gate();
        let stage = Stage::golden(&gate.base_url());
        let bus = json!({"kind": "kinesis", "stream": STREAM, "endpoint_url": kinesis.endpoint(), "topic": TOPIC});
        stage.profile(&gate.base_url(), |profile| profile["wiring"]["control_bus"] = bus);
        Self { kinesis, gate, stage }
    }

    fn wsp(&self, args: &[&str]) -> Command {
        let mut command = self.stage.wsp(args);
        command.envs(Kinesis::environment()).env("WSP_READY_REQUIRED_PACKS", "");
        command
    }

    fn service(&self, name: &str) -> Running {
        Running::spawn(&self.stage, name, &mut self.wsp(&["run", "--profile", "profile.yaml"]))
    }

    fn once(&self) -> Ran {
        Ran::of(self.wsp(&["run", "--profile", "profile.yaml", "--once"]).output().unwrap())
    }

    async fn put(&self, message: &Value, hash: Option<&str>) -> (String, String) {
        self.kinesis.put(STREAM, message.to_string().as_bytes(), hash).await
    }
}

/// The golden READY.
fn ready() -> Value {
    serde_json::from_slice(&read(&golden().join("ready/message.json"))).unwrap()
}

/// A READY of another run, told apart by `digit`: its verdict is quick.
fn foreign(digit: char) -> Value {
    let mut message = ready();
    for id in ["/message_id", "/payload/message_id"] {
        *message.pointer_mut(id).unwrap() = digit.to_string().repeat(64).into();
    }
    message["payload"]["platform_run_id"] = "platform_20000101T000000Z".into();
    message
}

/// The first characters of the message ids that have had a verdict, in their order.
fn judged(out: &str) -> String {
    let verdicts = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    verdicts.map(|verdict| verdict["message_id"].as_str().unwrap()[..1].to_owned()).collect()
}

fn until_judged(wsp: &mut Running, expected: &str) {
    let out = wsp.out_file();
    wsp.until(&format!("the verdicts {expected}"), || judged(&std::fs::read_to_string(&out).unwrap()) == expected);
}

async fn ready_to_gate(kind: Kind) {
    let set = Set::of(kind).await;
    // Without a stream, one pass ends with an error that says so.
    let none = set.once();
    assert_ne!(none.code, Some(0), "{none:?}");
    assert!(none.stderr.contains("no such stream") && none.stderr.contains(STREAM), "{}", none.stderr);

    set.kinesis.create(STREAM, 2).await;
    set.kinesis.put(STREAM, b"\xff garbage", None).await;
    set.put(&json!({"topic": "fp.bus.other.v1", "message_id": "x", "payload": {}}), None).await;
    let passed_over = set.once();
    assert!(passed_over.verdicts.is_empty(), "{passed_over:?}");
    for part in ["a message that is not for us", "a message that can't be read"] {
        assert_eq!(passed_over.stderr.matches(part).count(), 1, "{}", passed_over.stderr);
    }
    let (shard, sequence) = set.put(&ready(), None).await;
    let ran = set.once();
    assert_eq!((ran.code, ran.verdict()), (Some(0), ("STREAMED", "")), "{}", ran.stderr);
    assert_eq!(set.gate.stats().admitted, 250);
    assert!(!ran.stderr.contains("can't be read"), "what was passed over is settled: {}", ran.stderr);
    for name in ["wsp/wsp_start.json", "wsp/wsp_summary.json"] {
        let told: Value = serde_json::from_slice(&read(&set.stage.evidence(name))).unwrap();
        let place = json!({"topic": TOPIC, "partition": shard, "offset": sequence});
        assert_eq!(told["ready"], place, "{name}");
    }

    // What is settled is kept by itself: without the record, too, nothing comes again.
    std::fs::remove_file(set.stage.evidence(&format!("wsp/ready_runs/{MESSAGE}.jsonl"))).unwrap();
    let again = set.once();
    assert!(again.verdicts.is_empty(), "{again:?}");
    set.put(&foreign('b'), None).await;
    let next = set.once();
    assert_eq!(next.verdict(), ("SKIPPED_OUT_OF_SCOPE", "PLATFORM_RUN_SCOPE_MISMATCH"), "{}", next.stderr);
    assert_eq!(set.gate.stats().admitted, 250);

    // Another run has the whole stream to read.
    let mut other = set.wsp(&["run", "--profile", "profile.yaml", "--once"]);
    let other = Ran::of(other.env("PLATFORM_RUN_ID", "platform_20260101T000001Z").output().unwrap());
    assert_eq!(other.verdicts.len(), 2, "{}", other.stderr);
}

#[tokio::test]
#[ignore = "needs moto's Kinesis server"]
async fn from_ready_to_gate_on_moto() {
    ready_to_gate(Kind::Moto).await;
}

#[tokio::test]
#[ignore = "needs kinesalite"]
async fn from_ready_to_gate_on_kinesalite() {
    ready_to_gate(Kind::Kinesalite).await;
}

#[tokio::test]
#[ignore = "needs kinesalite"]
async fn resharding_in_mid_service_loses_and_reorders_nothing() {
    let set = Set::of(Kind::Kinesalite).await;
    set.kinesis.create(STREAM, 1).await;
    set.put(&foreign('a'), None).await;
    let mut wsp = set.service("reshard");
    until_judged(&mut wsp, "a");
    // Into the parent right before it is closed, and into both children right after.
    set.put(&foreign('b'), None).await;
    set.kinesis.split(STREAM).await;
    set.put(&foreign('c'), Some(LEFT)).await;
    until_judged(&mut wsp, "abc");
    set.put(&foreign('d'), Some(RIGHT)).await;
    until_judged(&mut wsp, "abcd");
    set.put(&foreign('e'), Some(LEFT)).await;
    set.kinesis.merge(STREAM).await;
    set.put(&foreign('f'), None).await;
    until_judged(&mut wsp, "abcdef");
    wsp.signal("TERM");
    let ran = wsp.end();
    assert_eq!((ran.code, ran.verdicts.len()), (Some(0), 6), "{}", ran.stderr);
    let shards = set.kinesis.shards(STREAM).await;
    assert_eq!(shards.len(), 4);

    // A restart reads on in the child, and in none of its parents.
    set.put(&foreign('9'), None).await;
    let ran = set.once();
    assert_eq!(ran.verdicts.len(), 1, "{ran:?}");
    assert_eq!(ran.verdicts[0]["message_id"], "9".repeat(64));
}

#[tokio::test]
#[ignore = "needs moto's Kinesis server"]
async fn resharding_on_moto_ends_nothing() {
    // It moves records between shards and never ends a closed one; what was judged may come again, and nothing is lost.
    let set = Set::of(Kind::Moto).await;
    set.kinesis.create(STREAM, 1).await;
    set.put(&foreign('a'), None).await;
    let mut wsp = set.service("moto");
    until_judged(&mut wsp, "a");
    set.kinesis.split(STREAM).await;
    set.kinesis.merge(STREAM).await;
    set.put(&foreign('b'), None).await;
    let out = wsp.out_file();
    wsp.until("the second verdict", || judged(&std::fs::read_to_string(&out).unwrap()).contains('b'));
    wsp.signal("TERM");
    assert_eq!(wsp.end().code, Some(0));
    assert!(set.once().code.is_some_and(|code| code < 4), "one pass comes to its end there too");
}

#[tokio::test]
#[ignore = "needs kinesalite"]
async fn an_outage_and_a_stream_made_anew_are_waited_out() {
    let mut set = Set::of(Kind::Kinesalite).await;
    // The service is there before its stream.
    let mut wsp = set.service("outage");
    let err = wsp.err_file();
    let logged = |what: &str| std::fs::read_to_string(&err).unwrap().matches(what).count();
    wsp.until("it misses the stream", || logged("does not exist") == 1);
    set.kinesis.create(STREAM, 1).await;
    set.put(&foreign('a'), None).await;
    until_judged(&mut wsp, "a");
    set.kinesis.stop();
    wsp.until("it sees the outage", || logged("can't be reached") == 1);
    nap(Duration::from_secs(3));
    set.kinesis.up().await;
    set.kinesis.create(STREAM, 1).await;
    set.put(&foreign('b'), None).await;
    until_judged(&mut wsp, "ab");
    assert_eq!((logged("can't be reached"), logged("is reachable again"), logged("does not exist")), (1, 1, 1));
    wsp.signal("TERM");
    assert_eq!(wsp.end().code, Some(0));
    assert!(set.once().verdicts.is_empty());
}

#[tokio::test]
#[ignore = "needs moto's Kinesis server"]
async fn wrong_settings_end_the_program_with_an_error() {
    let set = Set::of(Kind::Moto).await;
    set.kinesis.create(STREAM, 1).await;
    // No credentials anywhere, and the instance's are not asked for.
    let mut wsp = set.stage.wsp(&["run", "--profile", "profile.yaml"]);
    wsp.env("AWS_EC2_METADATA_DISABLED", "true").env("HOME", set.stage.folder.path());
    let ran = Running::spawn(&set.stage, "nobody", &mut wsp).end();
    assert!(!matches!(ran.code, Some(0) | None), "{ran:?}");
    assert!(ran.stderr.contains("CONTROL_TOPIC_UNREACHABLE") && ran.stderr.contains("credentials"), "{}", ran.stderr);
}

#[tokio::test]
#[ignore = "needs kinesalite"]
async fn the_matrix_reads_the_stream_and_settles_nothing() {
    let set = Set::of(Kind::Kinesalite).await;
    set.kinesis.create(STREAM, 1).await;
    set.put(&ready(), None).await;
    let word = format!("{RUN}@{}", set.gate.base_url().strip_prefix("http://").unwrap());
    let mut matrix = set.wsp(&["matrix", "--profile", "profile.yaml", "--json", "--send", &word]);
    let output = matrix.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert!(rows(&report, "red").is_empty() && output.status.success(), "{report:#}");
    let row = |id: &str| report["rows"].as_array().unwrap().iter().find(|row| row["id"] == id).unwrap()["seen"].clone();
    assert!(row("C1.topic").as_str().unwrap().contains("1 shards"), "{}", row("C1.topic"));
    assert!(row("C1.ready").as_str().unwrap().contains("fp-control/shardId-000000000000/"), "{}", row("C1.ready"));
    assert!(!set.stage.path("checkpoints/ready_positions").exists(), "the service's READYs stay the service's");
    // The records say what the run is; the stream gives its READY out all the same.
    assert_eq!(set.once().verdict().0, "SKIPPED_DUPLICATE");
    assert_eq!(json_lines(&set.stage.evidence(&format!("wsp/ready_runs/{MESSAGE}.jsonl"))).len(), 2);
}
