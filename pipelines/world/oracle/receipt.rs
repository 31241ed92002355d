//! The engine's own receipt of the run that made the world: `run_receipt.json`.
//!
//! ```text
//! run_receipt.json ──► Receipt { engine run id, fingerprint, parameter hash, seed } ──= the run's world?──►
//! ```

use serde::Deserialize;
use wsp::store::ObjectStore;
use wsp::strict::{self, Limits};

use crate::model::{Hex32, Hex64, Reason, Refusal, WorldKey};

use super::object::{self, MAX_BYTES};

/// Its name below the engine run root.
pub const NAME: &str = "run_receipt.json";

/// What the receipt says of the world. The scenario is not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The engine's run: what events carry as `run_id`. SR's run id is another number.
    pub run_id: Hex32,
    /// Part of the world's identity.
    pub manifest_fingerprint: Hex64,
    /// Part of the world's identity.
    pub parameter_hash: Hex64,
    /// Part of the world's identity.
    pub seed: u64,
}

/// The receipt is an open object; these are the keys that matter here.
#[derive(Deserialize)]
struct Raw {
    run_id: Option<Hex32>,
    manifest_fingerprint: Option<Hex64>,
    parameter_hash: Option<Hex64>,
    seed: Option<u64>,
}

/// Reads a receipt from `bytes`; `name` is the object they came from.
///
/// # Errors
///
/// `RUN_RECEIPT_UNREADABLE` for what is no receipt, `WORLD_KEY_MISSING` where an identity is missing.
pub fn parse(bytes: &[u8], name: &str) -> Result<Receipt, Refusal> {
    let raw: Raw = strict::parse(bytes, Limits::bytes(MAX_BYTES as usize))
        .map_err(|error| Refusal::new(Reason::RunReceiptUnreadable, error.to_string()).file(name))?;
    let missing =
        |field: &str| Refusal::new(Reason::WorldKeyMissing, "the run receipt lacks it").file(name).field(field);
    Ok(Receipt {
        run_id: raw.run_id.ok_or_else(|| missing("run_id"))?,
        manifest_fingerprint: raw.manifest_fingerprint.ok_or_else(|| missing("manifest_fingerprint"))?,
        parameter_hash: raw.parameter_hash.ok_or_else(|| missing("parameter_hash"))?,
        seed: raw.seed.ok_or_else(|| missing("seed"))?,
    })
}

/// Reads the receipt of the world that `engine` is opened on.
///
/// # Errors
///
/// Those of [`parse`]; `RUN_RECEIPT_UNREADABLE` also where it is missing or the store fails.
pub async fn read(engine: &dyn ObjectStore) -> Result<Receipt, Refusal> {
    let key = object::key(NAME)?;
    let name = engine.full_name(&key);
    let unreadable = |detail: String| Refusal::new(Reason::RunReceiptUnreadable, detail).file(&name);
    let bytes = engine
        .get(&key, MAX_BYTES)
        .await
        .map_err(|error| unreadable(error.to_string()))?
        .ok_or_else(|| unreadable("there is no such object".to_owned()))?;
    parse(&bytes, &name)
}

/// The same, held against the run's `world`.
///
/// # Errors
///
/// Those of [`read`]; `WORLD_KEY_MISMATCH`.
pub async fn check(engine: &dyn ObjectStore, world: &WorldKey) -> Result<Receipt, Refusal> {
    let receipt = read(engine).await?;
    let name = engine.full_name(&object::key(NAME)?);
    let sides = [
        ("manifest_fingerprint", receipt.manifest_fingerprint.to_string(), world.manifest_fingerprint.to_string()),
        ("parameter_hash", receipt.parameter_hash.to_string(), world.parameter_hash.to_string()),
        ("seed", receipt.seed.to_string(), world.seed.to_string()),
    ];
    for (field, ours, wanted) in sides {
        if ours != wanted {
            let detail = format!("the run receipt says {ours}, the run is of {wanted}");
            return Err(Refusal::new(Reason::WorldKeyMismatch, detail).file(&name).field(field));
        }
    }
    Ok(receipt)
}

/// Refuses a world key that is not the run's, naming the first field that differs.
///
/// # Errors
///
/// `WORLD_KEY_MISMATCH`.
pub(super) fn same_world(found: &WorldKey, wanted: &WorldKey, name: &str) -> Result<(), Refusal> {
    for (ours, wanted) in found.pins().iter().zip(wanted.pins()) {
        if *ours != wanted {
            let (field, ours, wanted) =
                (wanted.name, strict::excerpt(&ours.text, 80), strict::excerpt(&wanted.text, 80));
            let detail = format!("it says {ours}, READY and facts say {wanted}");
            return Err(Refusal::new(Reason::WorldKeyMismatch, detail).file(name).field(format!("world_key.{field}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::{Doctored, hex64, world_key};
    use serde_json::json;

    async fn reason(doctor: impl FnOnce(&mut Doctored)) -> (Reason, Option<String>) {
        let mut world = Doctored::new();
        doctor(&mut world);
        let refusal = check(&world, &world_key()).await.unwrap_err();
        (refusal.reason, refusal.place.field)
    }

    #[tokio::test]
    async fn the_golden_receipt_is_the_worlds() {
        let receipt = check(&Doctored::new(), &world_key()).await.unwrap();
        assert_eq!(receipt.run_id.as_str(), "4c3fd444c29c63ada8df6eb5f038bda4");
        assert_eq!(receipt.seed, 42);
    }

    #[tokio::test]
    async fn every_fault_has_its_reason() {
        let unreadable = (Reason::RunReceiptUnreadable, None);
        assert_eq!(reason(|world| world.remove(NAME)).await, unreadable);
        assert_eq!(reason(|world| world.write(NAME, "{")).await, unreadable);
        assert_eq!(reason(|world| world.write(NAME, " ".repeat(MAX_BYTES as usize + 1))).await, unreadable);
        assert_eq!(reason(|world| world.set(NAME, "/run_id", json!("../x"))).await, unreadable);
        assert_eq!(reason(|world| world.set(NAME, "/seed", json!("42"))).await, unreadable);
        assert_eq!(reason(Doctored::break_down).await, unreadable);
        for field in ["run_id", "manifest_fingerprint", "parameter_hash", "seed"] {
            let expected = (Reason::WorldKeyMissing, Some(field.to_owned()));
            assert_eq!(reason(|world| world.unset(NAME, &format!("/{field}"))).await, expected);
        }
        for (field, value) in
            [("manifest_fingerprint", json!(hex64())), ("parameter_hash", json!(hex64())), ("seed", json!(43))]
        {
            let expected = (Reason::WorldKeyMismatch, Some(field.to_owned()));
            assert_eq!(reason(|world| world.set(NAME, &format!("/{field}"), value)).await, expected);
        }
    }
}
