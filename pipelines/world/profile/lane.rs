//! Which lane of a run this process streams (contract, section 10), or into which lanes a run is spread that any worker takes.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use super::LanesWiring;
use super::reader::Reader;
use super::settings as s;
use crate::model::{Lane, LaneKey, Lanes};

/// This process's share of the run.
pub(super) fn read(r: &mut Reader<'_>, max_idle_gap: Option<Duration>) -> Lane {
    let count = r.number(&s::LANE_COUNT).and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
    let index = r.get(&s::LANE_INDEX).unwrap_or(0);
    let by = r.get(&s::LANE_BY).unwrap_or_default();
    if count > NonZeroU32::MIN && max_idle_gap.is_some() {
        // A lane sees its own gaps, which are longer than the run's: shortened each by itself, lanes would drift apart.
        r.problem(format!("{} can't be used with lanes ({})", s::MAX_IDLE_GAP.name(), s::LANE_COUNT.name()));
    }
    Lane::new(count, index, by).unwrap_or_else(|| {
        r.problem(format!("{}: {index} is no lane of {count}; they count from 0", s::LANE_INDEX.name()));
        Lane::WHOLE
    })
}

/// Settings that shared lanes can't be used with.
pub(super) struct Beside<'a> {
    /// The control topic.
    pub(super) topic: &'a str,
    /// The lane that was set by hand.
    pub(super) lane: Lane,
    /// Whether idle gaps are shortened.
    pub(super) max_idle_gap: bool,
    /// Whether the events of an output are capped.
    pub(super) cap: bool,
    /// Whether the control topic is a Kinesis stream.
    pub(super) kinesis: bool,
}

/// The lanes of each run, where there is more than one.
pub(super) fn shared(r: &mut Reader<'_>, beside: &Beside<'_>) -> Option<LanesWiring> {
    let count = r.number(&s::LANES_COUNT).and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
    let by = r.word(&s::LANES_BY, &[("event_id", LaneKey::EventId), ("order_key", LaneKey::OrderKey)]);
    let topic = r.required(&s::LANES_TOPIC, "");
    let per_worker = r.number(&s::LANES_PER_WORKER).and_then(NonZeroUsize::new).unwrap_or(NonZeroUsize::MIN);
    let max_skew = r.number(&s::LANES_MAX_SKEW).map(Duration::from_secs_f64);
    if count == NonZeroU32::MIN {
        return None;
    }
    let mut refuse = |setting: &s::Setting, why: &str| {
        r.problem(format!("{}: it can't be used with lanes that workers share (wsp_lanes): {why}", setting.name()));
    };
    if !beside.lane.is_whole() {
        refuse(&s::LANE_COUNT, "a worker takes its lanes itself");
    }
    if beside.max_idle_gap {
        refuse(&s::MAX_IDLE_GAP, "a lane sees its own gaps, which are longer than the run's");
    }
    if beside.cap {
        refuse(&s::MAX_EVENTS_PER_OUTPUT, "a cap counts in the order of the whole run, which no lane sees");
    }
    if beside.kinesis {
        refuse(
            &s::CONTROL_BUS_KIND,
            "workers on Kinesis would share one position in the stream; use `file` or `kafka`",
        );
    }
    if topic == beside.topic {
        refuse(&s::CONTROL_BUS_TOPIC, "their topic has to be another one");
    }
    Some(LanesWiring { lanes: Lanes { count, by: by? }, topic, per_worker, max_skew })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Profile;
    use super::super::tests::{WHOLE, env};
    use super::*;

    /// The lanes of a profile with these settings of `wsp_lanes` and this environment, or what is wrong.
    fn shared(lanes: &str, var: (&str, &str)) -> Result<Option<LanesWiring>, String> {
        let text = WHOLE.replace("wiring:", &format!("wiring:\n  wsp_lanes: {lanes}"));
        let with = |name: &str| if name == var.0 { Some(var.1.to_owned()) } else { env(name) };
        Profile::parse(&text, Path::new("."), &with).map(|profile| profile.lanes).map_err(|error| error.to_string())
    }

    #[test]
    fn lanes_are_shared_by_workers_where_there_are_several() {
        assert_eq!(shared("{}", ("", "")), Ok(None));
        assert_eq!(shared("{count: 1, by: event_id}", ("", "")), Ok(None));
        let wiring = |by, per_worker, max_skew: Option<u64>| LanesWiring {
            lanes: Lanes { count: NonZeroU32::new(8).unwrap(), by },
            topic: "fp.bus.wsp.lanes.v1".to_owned(),
            per_worker: NonZeroUsize::new(per_worker).unwrap(),
            max_skew: max_skew.map(Duration::from_secs),
        };
        assert_eq!(shared("{count: 8}", ("", "")), Ok(Some(wiring(LaneKey::OrderKey, 1, None))));
        let all = "{count: 8, by: event_id, lanes_per_worker: 2, max_skew_seconds: 60}";
        assert_eq!(shared(all, ("WSP_LANES_PER_WORKER", "3")), Ok(Some(wiring(LaneKey::EventId, 3, Some(60)))));
        for wrong in ["{count: 0}", "{count: 4097}", "{count: 8, by: key}", "{count: 8, lanes: 3}"] {
            assert!(shared(wrong, ("", "")).unwrap_err().contains("wsp_lanes"), "{wrong}");
        }
    }

    #[test]
    fn what_a_lane_alone_can_not_do_is_refused_with_shared_lanes() {
        for (name, value) in [("WSP_LANE_COUNT", "2"), ("WSP_MAX_EVENTS_PER_OUTPUT", "5")] {
            let told = shared("{count: 8}", (name, value)).unwrap_err();
            assert!(told.contains("wsp_lanes") && told.contains(name), "{told}");
            assert_eq!(shared("{count: 1}", (name, value)), Ok(None));
        }
        let told = shared("{count: 8, topic: fp.bus.control.v1}", ("", "")).unwrap_err();
        assert!(told.contains("wiring.control_bus.topic"), "{told}");
        let gaps = WHOLE.replace("stream_speedup: 0", "stream_speedup: 1, max_idle_gap_seconds: 5");
        let text = gaps.replace("wiring:", "wiring:\n  wsp_lanes: {count: 2}");
        let told = Profile::parse(&text, Path::new("."), &env).unwrap_err().to_string();
        assert!(told.contains("max_idle_gap_seconds") && told.contains("wsp_lanes"), "{told}");
    }

    #[test]
    fn a_lane_is_one_of_its_count() {
        let lane = |count: &'static str, index: &'static str, by: &'static str| {
            let with_lane = |name: &str| match name {
                "WSP_LANE_COUNT" => Some(count.to_owned()),
                "WSP_LANE_INDEX" => Some(index.to_owned()),
                "WSP_LANE_BY" => Some(by.to_owned()),
                other => env(other),
            };
            Profile::parse(WHOLE, Path::new("."), &with_lane).map(|profile| profile.lane.to_string())
        };
        assert_eq!(lane("3", "2", ""), Ok("lane-2-of-3".to_owned()));
        assert_eq!(lane("3", "0", "order_key"), Ok("lane-0-of-3-by-order_key".to_owned()));
        for (count, index, by) in [("3", "3", ""), ("0", "0", ""), ("1", "1", ""), ("3", "-1", ""), ("3", "0", "key")] {
            assert!(lane(count, index, by).is_err(), "{index} of {count} by {by}");
        }
        assert_eq!(Profile::parse(WHOLE, Path::new("."), &env).unwrap().lane, Lane::WHOLE);
        let gaps = WHOLE.replace("stream_speedup: 0", "stream_speedup: 1, max_idle_gap_seconds: 5");
        let two = |name: &str| if name == "WSP_LANE_COUNT" { Some("2".to_owned()) } else { env(name) };
        assert!(Profile::parse(&gaps, Path::new("."), &env).is_ok());
        assert!(Profile::parse(&gaps, Path::new("."), &two).unwrap_err().to_string().contains("max_idle_gap_seconds"));
    }
}
