//! The pack manifest, by which a world is called once it is packed: `_oracle_pack_manifest.json`.
//!
//! ```text
//! _oracle_pack_manifest.json ──closed──► Pack { id, world key, engine release } ──= the run's?──►
//! ```

use serde::Deserialize;
use wsp::store::ObjectStore;
use wsp::strict::{self, Limits};

use crate::model::{Hex64, Reason, Refusal, WorldKey};

use super::object::{self, MAX_BYTES};
use super::receipt::same_world;

/// Its name below the engine run root.
pub const NAME: &str = "_oracle_pack_manifest.json";

/// The manifest: closed, every key required.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pack {
    /// The manifest's own version.
    pub version: String,
    /// What the pack is called: an event's `trace_id`, and part of the checkpoint's scope.
    pub oracle_pack_id: Hex64,
    /// The world it holds.
    #[serde(deserialize_with = "strict::object")]
    pub world_key: WorldKey,
    /// The engine's release: an event's `span_id`.
    pub engine_release: String,
    /// Digest of the catalogue it was packed by.
    pub catalogue_digest: String,
    /// Digest of the gate map it was packed by.
    pub gate_map_digest: String,
    /// When it was packed.
    pub created_at_utc: String,
}

/// What the run expects of the pack.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The run's world.
    pub world: &'a WorldKey,
    /// The pack, where READY or facts name one.
    pub oracle_pack_id: Option<&'a Hex64>,
    /// The engine's release, where READY or facts name one.
    pub engine_release: Option<&'a str>,
}

/// Reads a manifest from `bytes`; `name` is the object they came from.
///
/// # Errors
///
/// `PACK_MANIFEST_INVALID`.
pub fn parse(bytes: &[u8], name: &str) -> Result<Pack, Refusal> {
    strict::parse(bytes, Limits::bytes(MAX_BYTES as usize))
        .map_err(|error| Refusal::new(Reason::PackManifestInvalid, error.to_string()).file(name))
}

/// The manifest of the world that `engine` is opened on; `None` where there is none.
///
/// # Errors
///
/// `PACK_MANIFEST_INVALID`, `STORE_UNAVAILABLE`.
pub async fn read(engine: &dyn ObjectStore) -> Result<Option<Pack>, Refusal> {
    let key = object::key(NAME)?;
    let bytes = object::read(engine, &key, Reason::PackManifestInvalid).await?;
    bytes.map(|bytes| parse(&bytes, &engine.full_name(&key))).transpose()
}

/// Reads the manifest of the world that `engine` is opened on and holds it against the run. `None` where there is no
/// manifest; whether that refuses the run is the policy's to say.
///
/// # Errors
///
/// Those of [`parse`]; `WORLD_KEY_MISMATCH` where it is another world, another pack than READY or facts name, or another
/// engine release; `STORE_UNAVAILABLE`.
pub async fn check(engine: &dyn ObjectStore, expected: Expected<'_>) -> Result<Option<Pack>, Refusal> {
    let Some(pack) = read(engine).await? else { return Ok(None) };
    let name = engine.full_name(&object::key(NAME)?);
    same_world(&pack.world_key, expected.world, &name)?;
    let sides = [
        ("oracle_pack_id", pack.oracle_pack_id.as_str(), expected.oracle_pack_id.map(Hex64::as_str)),
        ("engine_release", pack.engine_release.as_str(), expected.engine_release),
    ];
    for (field, ours, wanted) in sides {
        if let Some(wanted) = wanted.filter(|wanted| *wanted != ours) {
            let (ours, wanted) = (strict::excerpt(ours, 80), strict::excerpt(wanted, 80));
            let detail = format!("the manifest says {ours}, READY and facts say {wanted}");
            return Err(Refusal::new(Reason::WorldKeyMismatch, detail).file(name).field(field));
        }
    }
    Ok(Some(pack))
}

/// The refusal of a world without a manifest, where policy wants one.
#[must_use]
pub fn missing(engine: &dyn ObjectStore) -> Refusal {
    Refusal::new(Reason::PackManifestMissing, "there is no such object").file(format!("{}/{NAME}", engine.root()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::{Doctored, hex64, world_key};
    use serde_json::json;

    async fn checked(doctor: impl FnOnce(&mut Doctored)) -> Result<Option<Pack>, Reason> {
        let mut world = Doctored::new();
        doctor(&mut world);
        let (key, id) =
            (world_key(), "3d5fb4472a41f3ed4a050989c2c536c026e0e38f95677bc7a4e455128097672b".parse().unwrap());
        let expected = Expected { world: &key, oracle_pack_id: Some(&id), engine_release: Some("engine-local-r1") };
        check(&world, expected).await.map_err(|refusal| refusal.reason)
    }

    #[tokio::test]
    async fn the_golden_manifest_is_the_runs() {
        let pack = checked(|_| {}).await.unwrap().unwrap();
        assert_eq!(pack.engine_release, "engine-local-r1");
        assert_eq!(checked(|world| world.remove(NAME)).await, Ok(None));
    }

    #[tokio::test]
    async fn every_key_is_required_and_no_other_allowed() {
        let invalid = Err(Reason::PackManifestInvalid);
        for field in [
            "version",
            "oracle_pack_id",
            "world_key",
            "engine_release",
            "catalogue_digest",
            "gate_map_digest",
            "created_at_utc",
            "world_key/seed",
        ] {
            assert_eq!(checked(|world| world.unset(NAME, &format!("/{field}"))).await, invalid, "{field}");
        }
        assert_eq!(checked(|world| world.set(NAME, "/more", json!(1))).await, invalid);
        assert_eq!(checked(|world| world.set(NAME, "/world_key/more", json!(1))).await, invalid);
        assert_eq!(checked(|world| world.set(NAME, "/world_key", json!([hex64(), hex64(), "s", 1]))).await, invalid);
        assert_eq!(checked(|world| world.write(NAME, "[]")).await, invalid);
        assert_eq!(checked(|world| world.write(NAME, " ".repeat(MAX_BYTES as usize + 1))).await, invalid);
    }

    #[tokio::test]
    async fn another_world_pack_or_release_is_a_mismatch() {
        for (pointer, value) in [
            ("/world_key/manifest_fingerprint", json!(hex64())),
            ("/world_key/parameter_hash", json!(hex64())),
            ("/world_key/scenario_id", json!("other")),
            ("/world_key/seed", json!(u64::MAX)),
            ("/oracle_pack_id", json!(hex64())),
            ("/engine_release", json!("other")),
        ] {
            let reason = checked(|world| world.set(NAME, pointer, value)).await;
            assert_eq!(reason, Err(Reason::WorldKeyMismatch), "{pointer}");
        }
    }

    #[tokio::test]
    async fn a_store_that_fails_is_not_a_missing_manifest() {
        assert_eq!(checked(Doctored::break_down).await, Err(Reason::StoreUnavailable));
    }
}
