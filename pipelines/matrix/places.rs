//! Engine run roots with one thing missing: a few small documents of the real world, copied below the run's own prefix,
//! and none of its rows.

use wsp::clock::Clock;
use wsp::store::{Key, ObjectStore};
use wsp_world::evidence::{key, unavailable};
use wsp_world::model::Refusal;
use wsp_world::oracle::catalogue::Bindings;
use wsp_world::oracle::view::{DEFAULT_BASE, MANIFEST_NAME, RECEIPT_NAME};
use wsp_world::oracle::{gates, pack, receipt, seal};
use wsp_world::prepare::{self, Prepared};

use super::kept;
use super::matrix::Matrix;

/// Largest document that is copied, in bytes.
const LIMIT: u64 = 16 << 20;

/// How much of the world is copied: each adds something to the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// Nothing.
    Empty,
    /// Receipt and manifest.
    Unsealed,
    /// The same with a failed seal.
    SealFailed,
    /// A seal.
    Sealed,
    /// And the passed flags.
    Gated,
    /// And the views' manifests and receipts.
    Viewed,
}

/// Copies `place` for the row `id`; returns its root, as it is spelt.
pub(super) async fn lay<C: Clock>(m: &Matrix<C>, id: &str, world: &Prepared, place: Place) -> Result<String, Refusal> {
    let store = prepare::open_own(&m.profile)?;
    let base = kept::object(m, &format!("worlds/{id}"))?;
    let root = store.full_name(&base);
    if place == Place::Empty {
        return Ok(root);
    }
    let engine = prepare::open(&m.profile, &world.engine_root)?;
    let copy = Copying { from: &*engine, to: &*store, base: &base };
    copy.one(receipt::NAME, receipt::NAME).await?;
    let manifest = copy.one(pack::NAME, pack::NAME).await?;
    if place >= Place::SealFailed
        && let Some(manifest) = manifest
    {
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap_or_default();
        let status = if place == Place::SealFailed { "SEALED_FAILED" } else { "SEALED_OK" };
        let seal = serde_json::json!({
            "version": "1",
            "oracle_pack_id": manifest["oracle_pack_id"],
            "seal_status": status,
            "sealed_at_utc": m.clock.utc().to_string(),
        });
        copy.write(seal::JSON_NAME, seal.to_string().into()).await?;
    }
    let outputs = world.output_ids();
    if place >= Place::Gated {
        let catalogue = prepare::read_catalogue(&m.profile.oracle.catalogue_path)?;
        let bindings = Bindings { world: &world.identity.world, run_id: &world.pins.run_id };
        for gate in gates::required(&catalogue, &outputs)?.keys() {
            let flag = catalogue.passed_flag(gate, bindings)?;
            copy.one(flag.as_str(), flag.as_str()).await?;
        }
    }
    if place >= Place::Viewed {
        let views = prepare::open(&m.profile, &world.view_root)?;
        let copy = Copying { from: &*views, ..copy };
        for output in &outputs {
            for name in [MANIFEST_NAME, RECEIPT_NAME] {
                let name = format!("output_id={output}/{name}");
                copy.one(&name, &format!("{DEFAULT_BASE}/{name}")).await?;
            }
        }
    }
    Ok(root)
}

struct Copying<'a> {
    from: &'a dyn ObjectStore,
    to: &'a dyn ObjectStore,
    base: &'a Key,
}

impl Copying<'_> {
    /// Copies an object and returns it, if it exists.
    async fn one(&self, from: &str, to: &str) -> Result<Option<bytes::Bytes>, Refusal> {
        let found = self.from.get(&key(from)?, LIMIT).await.map_err(unavailable)?;
        if let Some(body) = &found {
            self.write(to, body.clone()).await?;
        }
        Ok(found)
    }

    async fn write(&self, to: &str, body: bytes::Bytes) -> Result<(), Refusal> {
        self.to.put(&key(&format!("{}/{to}", self.base))?, body).await.map_err(unavailable)
    }
}
