//! The seal that says a packed world is complete: `_SEALED.json`, or the bare flag `_SEALED.flag`.
//!
//! ```text
//! _SEALED.json ──there?──► SEALED_OK and the manifest's pack id, or refused
//!              └──none───► _SEALED.flag there?──► Sealed, else Unsealed (the policy's to judge)
//! ```

use serde::Deserialize;
use wsp::store::ObjectStore;
use wsp::strict::{self, Limits};

use crate::model::{Hex64, Reason, Refusal};

use super::object::{self, MAX_BYTES};

/// The seal that names its pack.
pub const JSON_NAME: &str = "_SEALED.json";
/// The seal that is only there; its content says nothing.
pub const FLAG_NAME: &str = "_SEALED.flag";

/// Whether a world is sealed, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealState {
    /// It is; the name of the object that says so.
    Sealed(&'static str),
    /// It is not, and nothing says that it failed; why.
    Unsealed(&'static str),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_field_names, reason = "the file's own keys")]
struct Seal {
    #[serde(rename = "version")]
    _version: String,
    oracle_pack_id: Hex64,
    seal_status: Status,
    #[serde(rename = "sealed_at_utc")]
    _sealed_at_utc: Option<String>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Status {
    SealedOk,
    SealedFailed,
}

/// Judges a `_SEALED.json`; `pack` is the manifest's id, `None` where there is no manifest.
///
/// # Errors
///
/// `PACK_NOT_SEALED` for a seal that can't be read, that failed, or that is another pack's. No policy waives that:
/// somebody looked at the world and it was not in order.
pub fn judge(bytes: &[u8], name: &str, pack: Option<&Hex64>) -> Result<SealState, Refusal> {
    let refused = |detail: String| Refusal::new(Reason::PackNotSealed, detail).file(name);
    let seal: Seal =
        strict::parse(bytes, Limits::bytes(MAX_BYTES as usize)).map_err(|error| refused(error.to_string()))?;
    if seal.seal_status == Status::SealedFailed {
        return Err(refused("the seal says SEALED_FAILED".to_owned()).field("seal_status"));
    }
    match pack {
        None => Ok(SealState::Unsealed("there is no pack manifest that the seal could be held against")),
        Some(pack) if *pack != seal.oracle_pack_id => {
            let detail = format!("the seal is of pack {}, the manifest of {pack}", seal.oracle_pack_id);
            Err(refused(detail).field("oracle_pack_id"))
        }
        Some(_) => Ok(SealState::Sealed(JSON_NAME)),
    }
}

/// Looks for the seal of the world that `engine` is opened on. A `_SEALED.json` decides wherever there is one.
///
/// # Errors
///
/// Those of [`judge`]; `STORE_UNAVAILABLE`.
pub async fn check(engine: &dyn ObjectStore, pack: Option<&Hex64>) -> Result<SealState, Refusal> {
    let json = object::key(JSON_NAME)?;
    if let Some(bytes) = object::read(engine, &json, Reason::PackNotSealed).await? {
        return judge(&bytes, &engine.full_name(&json), pack);
    }
    let flag = object::key(FLAG_NAME)?;
    let found = engine
        .head(&flag)
        .await
        .map_err(|error| object::refusal(&error, Reason::PackNotSealed).file(engine.full_name(&flag)))?;
    Ok(match found {
        Some(_) => SealState::Sealed(FLAG_NAME),
        None => SealState::Unsealed("there is neither _SEALED.json nor _SEALED.flag"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::{Doctored, hex64};
    use serde_json::json;

    const PACK: &str = "3d5fb4472a41f3ed4a050989c2c536c026e0e38f95677bc7a4e455128097672b";

    async fn checked(pack: Option<&str>, doctor: impl FnOnce(&mut Doctored)) -> Result<SealState, Reason> {
        let mut world = Doctored::new();
        doctor(&mut world);
        let pack = pack.map(|pack| pack.parse().unwrap());
        check(&world, pack.as_ref()).await.map_err(|refusal| refusal.reason)
    }

    #[tokio::test]
    async fn a_seal_is_ok_and_of_this_pack_or_a_bare_flag() {
        assert_eq!(checked(Some(PACK), |_| {}).await, Ok(SealState::Sealed(JSON_NAME)));
        let flag = checked(Some(PACK), |world| {
            world.remove(JSON_NAME);
            world.write(FLAG_NAME, "");
        });
        assert_eq!(flag.await, Ok(SealState::Sealed(FLAG_NAME)));
    }

    #[tokio::test]
    async fn what_is_not_sealed_says_so() {
        let none = checked(Some(PACK), |world| world.remove(JSON_NAME)).await;
        assert!(matches!(none, Ok(SealState::Unsealed(why)) if why.contains("neither")));
        assert!(matches!(checked(None, |_| {}).await, Ok(SealState::Unsealed(why)) if why.contains("manifest")));
    }

    #[tokio::test]
    async fn a_bad_seal_refuses_even_beside_a_flag() {
        for (pointer, value) in [
            ("/seal_status", json!("SEALED_FAILED")),
            ("/seal_status", json!("sealed_ok")),
            ("/oracle_pack_id", json!(hex64())),
            ("/oracle_pack_id", json!(null)),
            ("/more", json!(1)),
        ] {
            let state = checked(Some(PACK), |world| {
                world.set(JSON_NAME, pointer, value);
                world.write(FLAG_NAME, "");
            });
            assert_eq!(state.await, Err(Reason::PackNotSealed), "{pointer}");
        }
        assert_eq!(checked(Some(PACK), |world| world.write(JSON_NAME, "")).await, Err(Reason::PackNotSealed));
        let failed = checked(None, |world| world.set(JSON_NAME, "/seal_status", json!("SEALED_FAILED")));
        assert_eq!(failed.await, Err(Reason::PackNotSealed));
        assert_eq!(checked(None, Doctored::break_down).await, Err(Reason::StoreUnavailable));
    }
}
