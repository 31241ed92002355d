//! What a lane does not change: settings count for the process that has them.

use std::path::Path;

use wsp_world::producer::{Caps, Settings};
use wsp_world::profile::{ControlBus, Profile};

const PROFILE: &str = "
profile_id: local
policy: {traffic_output_ids: [s3_event_stream_with_fraud_6B], stream_speedup: 0}
wiring:
  control_bus: {kind: BUS}
  engine_catalogue_path: cat.yaml
  ig_ingest_url: http://127.0.0.1:1
  wsp_producer: {producer_id: 'svc:x', allowlist_ref: allow.txt}
  security: {wsp_auth_token: key}
";

/// The profile with this control bus and these variables.
fn profile(bus: &str, variables: &[(&str, &str)]) -> Profile {
    let env = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned());
    Profile::parse(&PROFILE.replace("BUS", bus), Path::new("."), &env).unwrap()
}

/// Lane 1 of 3.
const LANE: [(&str, &str); 2] = [("WSP_LANE_COUNT", "3"), ("WSP_LANE_INDEX", "1")];

#[test]
fn a_rate_counts_for_the_process_whatever_its_lane() {
    let plan = r#"[{"start_offset_seconds": 0, "target_eps": 300}, {"start_offset_seconds": 60, "target_eps": 30}]"#;
    for rate in [("WSP_TARGET_EPS", "300"), ("WSP_RATE_PLAN_JSON", plan)] {
        let plan = |variables: &[(&str, &str)]| {
            let profile = profile("file, root: bus", variables);
            Settings::new(&profile, Caps::default()).rate
        };
        let [count, index] = LANE;
        let of_lane = plan(&[count, index, rate]);
        assert!(of_lane.is_some(), "{rate:?}");
        assert_eq!(of_lane, plan(&[rate]), "{rate:?}");
        assert_ne!(of_lane, plan(&[("WSP_TARGET_EPS", "100")]), "a third of it is another rate");
    }
}

#[test]
fn lanes_that_share_a_consumer_group_are_not_noticed() {
    let group = |more: &[(&str, &str)]| {
        let kafka = [("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092"), ("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT")];
        let variables: Vec<_> = kafka.iter().chain(more).copied().collect();
        match profile("kafka", &variables).control_bus {
            ControlBus::Kafka(wiring) => wiring.group_id,
            other => panic!("another control bus: {other:?}"),
        }
    };
    let [count, index] = LANE;
    assert_eq!(group(&[count, index]), group(&[]), "a lane that names no group has the common one");
    assert_eq!(group(&[count, index, ("WSP_READY_GROUP_ID", "lane-1")]), "lane-1");
}
