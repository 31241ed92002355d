//! Which lane of a run this process streams (contract, section 10).

use std::num::NonZeroU32;
use std::time::Duration;

use super::reader::Reader;
use super::settings as s;
use crate::model::Lane;

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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Profile;
    use super::super::tests::{WHOLE, env};
    use super::*;

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
