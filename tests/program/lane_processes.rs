//! A run spread over processes, a lane each: together they send it once.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use wsp_reference::gate::audit::AuditReport;
use wsp_reference::world::WorldSpec;
use wsp_world::evidence::Summary;
use wsp_world::model::EventDigest;

use crate::kit::live::{Live, nap};
use crate::kit::{FRAUD, RUN_ONCE, Ran, json_lines, read, ready_file};

const EVENTS: u64 = 1_200;

/// A generated world, its READY, and a gate that remembers what it admitted.
struct Spread {
    live: Live,
}

impl Spread {
    fn new() -> Self {
        let spec = WorldSpec { parts: 2, row_group_rows: 100, ..WorldSpec::new(EVENTS) };
        Self { live: Live::new(&spec, "", |_| {}) }
    }

    fn lane(&self, index: u32, by: &str, args: &[&str]) -> Command {
        let all = [RUN_ONCE, args].concat();
        let mut command = self.live.stage.wsp(&all);
        command.env("WSP_LANE_COUNT", "3").env("WSP_LANE_INDEX", index.to_string()).env("WSP_LANE_BY", by);
        command
    }

    /// All three at once, to their ends.
    fn run(&self, by: &str) -> Vec<Ran> {
        let children: Vec<Child> = (0..3).map(|index| start(&mut self.lane(index, by, &[]))).collect();
        children.into_iter().map(|child| Ran::of(child.wait_with_output().unwrap())).collect()
    }

    /// What the gate admitted against the whole world.
    fn audit(&self) -> AuditReport {
        self.live.audit(&self.live.events)
    }

    /// The sum of the lanes' digests, and where they count from.
    fn digest(&self, by: &str) -> (EventDigest, BTreeSet<u64>) {
        let lanes =
            (0..3).map(|index| self.live.stage.document(&format!("wsp/wsp_summary.lane-{index}-of-3{by}.json")));
        let lanes: Vec<Summary> = lanes.map(|lane| serde_json::from_value(lane).unwrap()).collect();
        let digests = lanes.iter().map(|lane| EventDigest::from(lane.event_id_digest.clone()));
        let outputs = lanes.iter().flat_map(|lane| &lane.outputs);
        (digests.sum(), outputs.map(|output| output.told().from).collect())
    }

    /// The record of a lane.
    fn record(&self, lane: &str) -> Vec<Value> {
        json_lines(&self.live.stage.evidence(&format!("wsp/ready_lanes/{}.{lane}.jsonl", self.live.message_id)))
    }

    /// What readers of the platform's come to who add up what was emitted, by every line that says STREAMED in
    /// `ready_runs`; and those who take the last such line of a message.
    fn emitted(&self) -> (u64, u64) {
        let folder = self.live.stage.evidence("wsp/ready_runs");
        let files = std::fs::read_dir(folder).map(|files| files.map(|file| file.unwrap().path()).collect());
        let mut files: Vec<_> = files.unwrap_or_default();
        files.sort();
        let lines = files.iter().flat_map(|file| json_lines(file)).filter(|line| line["status"] == "STREAMED");
        let emitted = |line: &Value| line["emitted"].as_u64().unwrap();
        let (mut sum, mut last) = (0, std::collections::BTreeMap::new());
        for line in lines {
            sum += emitted(&line);
            last.insert(line["message_id"].to_string(), emitted(&line));
        }
        (sum, last.values().sum())
    }

    /// The keys that cursors are kept under.
    fn scopes(&self) -> BTreeSet<String> {
        let entries = std::fs::read_dir(self.live.stage.path("checkpoints")).unwrap();
        let names = entries.map(|entry| entry.unwrap()).filter(|entry| entry.path().is_dir());
        names.map(|entry| entry.file_name().into_string().unwrap()).collect()
    }
}

fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn three_processes_send_each_event_once_and_leave_their_own_evidence() {
    let spread = Spread::new();
    let ran = spread.run("event_id");
    for ran in &ran {
        assert_eq!((ran.code, ran.verdict()), (Some(0), ("STREAMED", "")), "{}", ran.stderr);
    }
    let emitted: Vec<u64> = ran.iter().map(|ran| ran.verdicts[0]["emitted"].as_u64().unwrap()).collect();
    assert_eq!(emitted.iter().sum::<u64>(), EVENTS);
    assert!(emitted.iter().all(|emitted| *emitted > EVENTS / 5), "{emitted:?}");
    let (report, stats) = (spread.audit(), spread.live.gate.stats());
    assert_eq!((report.admitted, report.missing, report.unexpected, stats.duplicates), (EVENTS, 0, 0, 0));

    let scopes: BTreeSet<String> = (0..3)
        .map(|index| {
            let summary = spread.live.stage.document(&format!("wsp/wsp_summary.lane-{index}-of-3.json"));
            assert_eq!(summary["lane"], serde_json::json!({"by": "event_id", "count": 3, "index": index}));
            assert_eq!((&summary["end"], &summary["emitted"]), (&"complete".into(), &emitted[index].into()));
            assert_eq!(spread.record(&format!("lane-{index}-of-3")).len(), 1);
            summary["checkpoint_scope"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(spread.digest(""), (spread.live.digest(), [0].into()), "the lanes add up to one process");
    assert_eq!((scopes.len(), &scopes), (3, &spread.scopes()));
    for index in 0..3 {
        let mut verify = spread.live.stage.wsp(&["verify", "--profile", "profile.yaml"]);
        let told = verify.env("WSP_LANE_COUNT", "3").env("WSP_LANE_INDEX", index.to_string()).output().unwrap();
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stdout));
    }
    assert_eq!(spread.emitted(), (EVENTS, EVENTS), "the run's record has the sum of its lanes, however it is read");
    let facts = spread.live.stage.governance();
    let of = |family: &str| {
        let ids = facts.iter().filter(|fact| fact["event_family"] == family).map(|fact| fact["event_id"].to_string());
        ids.collect::<BTreeSet<_>>().len()
    };
    assert_eq!((of("RUN_READY_SEEN"), of("RUN_STARTED"), of("RUN_ENDED")), (1, 3, 3));

    // Each knows that it is done, also by another READY of the same run.
    assert!(spread.run("event_id").iter().all(|ran| ran.verdict().0 == "SKIPPED_DUPLICATE"));
    assert_eq!(spread.emitted(), (EVENTS, EVENTS));
    // So does a producer that knows nothing of lanes.
    assert_eq!(spread.live.stage.run_once().verdict(), ("SKIPPED_DUPLICATE", ""));
    let published = spread.live.stage.path(&ready_file(&spread.live.message_id));
    let mut again: Value = serde_json::from_slice(&read(&published)).unwrap();
    let other = "0".repeat(64);
    again["message_id"] = other.clone().into();
    again["payload"]["message_id"] = other.into();
    std::fs::remove_file(published).unwrap();
    spread.live.stage.publish(&again);
    let ran = spread.run("event_id");
    assert!(ran.iter().all(|ran| ran.verdict() == ("FAILED", "RUN_ALREADY_STREAMED")), "{ran:?}");
    assert_eq!(spread.live.gate.stats().requests, EVENTS);
}

#[test]
fn lanes_by_order_key_keep_each_key_in_line_and_a_killed_one_goes_on() {
    let spread = Spread::new();
    // Slow enough to be killed on its way, which the gate's count shows.
    let mut doomed = start(spread.lane(1, "order_key", &[]).env("WSP_TARGET_EPS", "150"));
    while spread.live.gate.stats().admitted < 60 {
        assert!(doomed.try_wait().unwrap().is_none(), "it ended before it could be killed");
        nap(Duration::from_millis(5));
    }
    doomed.kill().unwrap();
    doomed.wait().unwrap();
    let before = spread.live.gate.stats().admitted;
    assert!(before < EVENTS / 4, "it was killed early: {before}");
    assert!(spread.record("lane-1-of-3-by-order_key").is_empty());
    assert_eq!(spread.emitted(), (0, 0), "a run is streamed when all of its lanes are");

    for ran in spread.run("order_key") {
        assert_eq!((ran.code, ran.verdict()), (Some(0), ("STREAMED", "")), "{}", ran.stderr);
    }
    let (report, stats) = (spread.audit(), spread.live.gate.stats());
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.admitted, EVENTS);
    // It saves every 10 answers and has one in flight.
    assert!(stats.duplicates <= 11, "{} events were sent again", stats.duplicates);
    assert_eq!(spread.record("lane-1-of-3-by-order_key").len(), 1);
    assert_eq!(spread.digest("-by-order_key"), (spread.live.digest(), [0].into()), "the death of one left no trace");
    assert_eq!(spread.scopes().len(), 3);
}

#[test]
fn a_plan_counts_the_lanes_rows_and_a_capped_lane_says_so() {
    let spread = Spread::new();
    let planned = |index: u32| {
        let mut plan = spread.live.stage.wsp(&["plan", "--profile", "profile.yaml", "--json"]);
        plan.env("WSP_LANE_COUNT", "3").env("WSP_LANE_INDEX", index.to_string());
        let plan: Value = serde_json::from_slice(&plan.output().unwrap().stdout).unwrap();
        (plan["run"]["events"].as_u64().unwrap(), plan["run"]["lane"]["index"].clone())
    };
    let plans: Vec<_> = (0..3).map(planned).collect();
    assert_eq!(plans.iter().map(|plan| plan.0).sum::<u64>(), EVENTS);
    assert_eq!(plans[2].1, 2);
    for (cap, index, end) in [(50, 0, "capped"), (plans[1].0, 1, "complete"), (plans[2].0 - 1, 2, "capped")] {
        let ran = Ran::of(spread.lane(index, "event_id", &["--max-events", &cap.to_string()]).output().unwrap());
        assert_eq!((ran.verdict(), ran.verdicts[0]["emitted"].as_u64()), (("STREAMED", ""), Some(cap)));
        let summary = spread.live.stage.document(&format!("wsp/wsp_summary.lane-{index}-of-3.json"));
        assert_eq!(summary["end"], end, "lane {index}");
    }
}

#[test]
fn a_lane_that_is_none_is_refused_before_anything_is_read() {
    let spread = Spread::new();
    let output = spread.lane(3, "event_id", &[]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && told.contains("WSP_LANE_INDEX: 3 is no lane of 3"), "{told}");
    assert_eq!(spread.live.gate.stats().requests, 0);
    let golden = spread.live.stage.wsp(&["validate", "--profile", "profile.yaml"]).output().unwrap();
    assert!(golden.status.success(), "{FRAUD} is streamed whole without lanes");
}
