//! The key under which a run's cursors are kept (contract, section 7).

use crate::model::{Hex32, Hex64, Lane, PlatformRunId};

/// What a scope key is made from. Two producers share cursors exactly if all of it is equal.
#[derive(Debug, Clone, Copy)]
pub struct ScopeKey<'a> {
    /// The world; see [`ScopeKey::pack_key`].
    pub pack_key: &'a Hex64,
    /// The platform run.
    pub platform_run_id: &'a PlatformRunId,
    /// SR's scenario run.
    pub scenario_run_id: &'a Hex32,
    /// This process's share of the run. Lanes by event id have the key that the producer in place gives them;
    /// for lanes by order key the index is written `order_key:<index>` ([`Lane::scope_index`]).
    pub lane: Lane,
    /// Set apart by the operator; mostly empty.
    pub attempt_id: &'a str,
}

impl ScopeKey<'_> {
    /// The world's key: its `oracle_pack_id`, or where it has no manifest the sha256 of the resolved engine root.
    #[must_use]
    pub fn pack_key(oracle_pack_id: Option<&Hex64>, engine_root: &str) -> Hex64 {
        oracle_pack_id.cloned().unwrap_or_else(|| Hex64::sha256(engine_root))
    }

    /// The scope key.
    #[must_use]
    pub fn derive(&self) -> Hex64 {
        let Self { pack_key, platform_run_id, scenario_run_id, lane, attempt_id } = self;
        let (lane_count, lane_index) = (lane.count(), lane.scope_index());
        Hex64::sha256(format!("{pack_key}|{platform_run_id}|{scenario_run_id}|{lane_count}|{lane_index}|{attempt_id}"))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::model::LaneKey;

    const PACK: &str = "3d5fb4472a41f3ed4a050989c2c536c026e0e38f95677bc7a4e455128097672b";

    fn derive(scenario_run_id: &str, lane: Lane, attempt_id: &str) -> Hex64 {
        let key = ScopeKey {
            pack_key: &ScopeKey::pack_key(Some(&PACK.parse().unwrap()), "world"),
            platform_run_id: &"platform_20260101T000000Z".parse().unwrap(),
            scenario_run_id: &scenario_run_id.parse().unwrap(),
            lane,
            attempt_id,
        };
        key.derive()
    }

    #[test]
    fn golden_keys() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/golden/hash_vectors.json")).unwrap();
        let expected = vectors["checkpoint_scope_key"]["sha256"].as_str().unwrap();
        assert_eq!(derive("4c3fd444c29c63ada8df6eb5f038bda4", Lane::WHOLE, "").as_str(), expected);
        let folder = "99244ea4c111f8bd0f218f542701b02e21a4057324c319250b7c46eaf8eaf9e7";
        assert_eq!(derive("cf7aa18247008796acc2e74d9e8c3eba", Lane::WHOLE, "").as_str(), folder);
    }

    #[test]
    fn lanes_and_attempts_are_apart() {
        let run = "cf7aa18247008796acc2e74d9e8c3eba";
        let three = NonZeroU32::new(3).unwrap();
        let lane = |index, by| Lane::new(three, index, by).unwrap();
        let keys = [
            derive(run, Lane::WHOLE, ""),
            derive(run, Lane::WHOLE, "again"),
            derive(run, lane(0, LaneKey::EventId), ""),
            derive(run, lane(1, LaneKey::EventId), ""),
            derive(run, lane(0, LaneKey::OrderKey), ""),
        ];
        for (i, key) in keys.iter().enumerate() {
            assert!(!keys[..i].contains(key), "{i}");
        }
        let text = format!("{PACK}|platform_20260101T000000Z|{run}|3|1|");
        assert_eq!(keys[3], Hex64::sha256(text), "as the producer in place has it");
    }

    #[test]
    fn an_unsealed_world_goes_by_its_root() {
        assert_eq!(ScopeKey::pack_key(None, "world"), Hex64::sha256("world"));
    }
}
