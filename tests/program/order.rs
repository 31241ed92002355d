//! What the delivery modes promise about order, and where caps cut a run, as the reference gate saw it.
//!
//! ```text
//! world ──wsp run──► gate with faults ──ledger──► audit against a plain sort of the world
//! ```

use std::collections::HashMap;

use serde_json::{Value, json};
use wsp_reference::gate::EventClass;
use wsp_reference::world::WorldSpec;

use crate::kit::Ran;
use crate::kit::live::{Due, Live, Running, assert_evidence_is_whole};

const FAULTS: &str = "status=503:1%,status=429:1%,cut-before=1%,cut-after=1%";
const SLOW: &str = "status=503:1%,status=429:1%,cut-before=1%,cut-after=1%,latency=exp(2ms)";

/// Several files an output, and so few merchants and days that many events have equal times.
fn world(events: u64) -> WorldSpec {
    WorldSpec { parts: 3, row_group_rows: 300, days: 0.2, seed: 11, ..WorldSpec::new(events) }
}

fn streamed(events: u64, faults: &str, delivery: &Value) -> Live {
    let mut live = Live::new(&world(events), faults, |profile| {
        if !delivery.is_null() {
            profile["wiring"]["wsp_delivery"] = delivery.clone();
        }
        profile["wiring"]["wsp_retry"] = json!({"max_attempts": 12, "base_delay_ms": 1, "max_delay_ms": 10});
        // A save is not what is looked at here, and costs more than the events between two.
        profile["wiring"]["wsp_checkpoint"]["flush_every"] = 500.into();
    });
    let ran = live.start().end();
    assert_eq!((ran.code, ran.verdict()), (Some(0), ("STREAMED", "")), "{}", ran.stderr);
    live
}

fn start(live: &Live) -> Value {
    live.stage.document("wsp/wsp_start.json")
}

/// Places of admission, by flow: the anchor's and the first of the flow's events.
fn flows(live: &Live) -> Vec<(u32, u32)> {
    let mut flows: HashMap<u64, (Option<u32>, Option<u32>)> = HashMap::new();
    live.gate.journal(|ledger| {
        for admission in ledger.admissions() {
            let (anchor, first) = flows.entry(admission.order_value).or_default();
            match admission.class {
                EventClass::ContextFlowFraud => *anchor = Some(admission.seq),
                EventClass::TrafficFraud => *first = Some(first.unwrap_or(u32::MAX).min(admission.seq)),
                _ => {}
            }
        }
    });
    flows.into_values().filter_map(|(anchor, first)| anchor.zip(first)).collect()
}

#[test]
fn one_in_flight_is_canonical_order_whatever_goes_wrong() {
    let live = streamed(3_000, FAULTS, &Value::Null);
    let report = live.audit(&live.events);
    assert!(report.is_clean() && report.canonical, "{report:?}");
    let stats = live.gate.stats();
    assert_eq!(stats.peak_in_flight, 1);
    assert!(stats.faults.total() > 50, "{stats:?}");
    assert_eq!(start(&live)["delivery"]["mode"], "strict");
}

#[test]
fn without_faults_and_hot_keys_events_stay_near_their_place() {
    let mut live = Live::new(&WorldSpec { evenness: 1_000_000, ..world(4_000) }, "latency=const(3ms)", |profile| {
        profile["wiring"]["wsp_delivery"] = json!({"in_flight": 16, "window": 4_000});
        profile["wiring"]["wsp_checkpoint"]["flush_every"] = 4_000.into();
    });
    assert_eq!(live.start().end().code, Some(0));
    let report = live.audit(&live.events);
    // The events of a flow wait for one another, each for an answer, while others go past; the window would let 4,000.
    assert!(report.is_clean() && report.max_displacement <= 16 * 16, "{report:?}");
    let summary = live.stage.summary();
    assert_eq!(summary["bottleneck"], Value::Null);
}

#[test]
fn a_merchant_that_bounds_the_run_is_named_without_its_value() {
    let live = streamed(3_000, "latency=const(3ms)", &json!({"in_flight": 128, "window": 3_000}));
    let summary = live.stage.summary();
    let named = &summary["bottleneck"];
    let figure = |name: &str| named[name].as_f64().unwrap_or_default();
    assert_eq!(named["order_key"], "merchant_id", "{summary}");
    assert!((0.01..0.5).contains(&figure("share")) && figure("busy") >= 0.5, "{named}");
    // One at a time, each at least 3 ms.
    assert!(figure("allows_per_second") <= 1.0 / (figure("share") * 0.003), "{named}");
    assert_eq!(named["key_hash"].as_str().map(str::len), Some(16));
}

#[test]
fn keyed_keeps_each_key_in_line_and_others_on_their_way() {
    let live = streamed(4_000, SLOW, &json!({"in_flight": 16, "window": 200}));
    let report = live.audit(&live.events);
    assert!(report.is_clean(), "{report:?}");
    let stats = live.gate.stats();
    assert_eq!(stats.peak_in_flight_per_key, 1, "{stats:?}");
    assert!((2..=16).contains(&stats.peak_in_flight), "{stats:?}");
    assert!(!report.canonical && report.max_displacement < 200, "{report:?}");
    assert_eq!(start(&live)["delivery"]["mode"], "keyed");

    let flows = flows(&live);
    assert!(flows.len() > 300, "{}", flows.len());
    assert!(flows.iter().all(|(anchor, first)| anchor < first), "a flow came before its anchor");
}

#[test]
fn several_threads_keep_the_same_promises() {
    let live = streamed(4_000, SLOW, &json!({"in_flight": 16, "window": 200, "threads": 3}));
    let report = live.audit(&live.events);
    assert!(report.is_clean() && report.max_displacement < 200, "{report:?}");
    let stats = live.gate.stats();
    assert_eq!(stats.peak_in_flight_per_key, 1, "{stats:?}");
    assert!((2..=16).contains(&stats.peak_in_flight), "{stats:?}");
    let flows = flows(&live);
    assert!(flows.iter().all(|(anchor, first)| anchor < first), "a flow came before its anchor");
}

#[test]
fn free_displaces_an_event_by_less_than_what_is_in_flight() {
    let live = streamed(4_000, SLOW, &json!({"mode": "free", "in_flight": 12}));
    let report = live.audit(&live.events);
    assert_eq!((report.missing, report.unexpected), (0, 0), "{report:?}");
    assert!((1..12).contains(&report.max_displacement), "{report:?}");
    assert!(live.gate.stats().peak_in_flight <= 12);
    assert_eq!(start(&live)["delivery"]["mode"], "free");
}

fn capped(args: &[&str], env: Option<(&str, &str)>) -> (Live, Ran) {
    let live = Live::new(&world(800), "", |profile| {
        profile["wiring"]["wsp_delivery"] = json!({"in_flight": 4});
    });
    let mut command = live.stage.wsp(&[&["run", "--profile", "profile.yaml", "--once"], args].concat());
    command.envs(env);
    let ran = Running::spawn(&live.stage, "capped", &mut command).end();
    (live, ran)
}

fn assert_brought(live: &Live, ran: &Ran, due: &[Due]) {
    assert_eq!((ran.code, ran.verdict()), (Some(0), ("STREAMED", "")), "{}", ran.stderr);
    let report = live.audit(due);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.admitted, live.gate.stats().requests), (due.len() as u64, due.len() as u64));
    assert_eq!(ran.verdicts[0]["emitted"], due.len());
    let summary = live.stage.summary();
    assert_eq!((&summary["end"], &summary["emitted"]), (&json!("capped"), &json!(due.len())));
    assert_eq!(live.covered().iter().sum::<u64>(), due.len() as u64);
    assert_evidence_is_whole(&live.stage);
}

#[test]
fn a_capped_run_is_the_beginning_of_the_whole_one() {
    let (live, ran) = capped(&["--max-events", "333"], None);
    assert_brought(&live, &ran, &live.events[..333]);
}

#[test]
fn a_cap_of_each_output_counts_its_own_events() {
    let first_30: fn(&Live) -> Vec<Due> = |live| live.events.iter().filter(|due| due.nth < 30).copied().collect();
    let (live, ran) = capped(&["--max-events-per-output", "30"], None);
    assert_eq!(first_30(&live).len(), 120);
    assert_brought(&live, &ran, &first_30(&live));

    let (live, ran) = capped(&[], Some(("WSP_MAX_EVENTS_PER_OUTPUT", "30")));
    assert_brought(&live, &ran, &first_30(&live));

    let (live, ran) = capped(&["--max-events-per-output", "30", "--max-events", "50"], None);
    assert_brought(&live, &ran, &first_30(&live)[..50]);
}

#[test]
fn a_service_leaves_after_as_many_runs_as_it_was_told() {
    let live = Live::new(&world(100), "", |_| {});
    live.stage.republish(|message| message["payload"]["platform_run_id"] = "platform_20270101T000000Z".into());
    let wait = |name: &str, n: &str| {
        let args = ["run", "--profile", "profile.yaml", "--max-messages", n];
        Running::start(&live.stage, name, &args).end()
    };
    let ran = wait("one", "1");
    assert_eq!((ran.code, ran.verdict()), (Some(0), ("STREAMED", "")), "{}", ran.stderr);
    // A run that was streamed before counts, another run's READY leaves its place to the next, which fails.
    let lost = "c".repeat(64);
    live.stage.republish_as(&lost, |payload| payload["facts_view_ref"] = "nowhere.json".into());
    let ran = wait("two", "2");
    let mut statuses: Vec<_> = ran.verdicts.iter().map(|verdict| verdict["status"].as_str().unwrap()).collect();
    statuses.sort_unstable();
    assert_eq!((ran.code, statuses), (Some(1), vec!["FAILED", "SKIPPED_DUPLICATE", "SKIPPED_OUT_OF_SCOPE"]));
    assert_eq!(live.gate.stats().requests, live.events.len() as u64);
}
