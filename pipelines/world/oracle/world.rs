//! All checks of a sealed world in their order, for a run and for a plan alike.
//!
//! ```text
//! receipt ─► pack ─► seal ─► gates ─► views ──► World, and a CheckList that says how each came out
//! ```

use std::collections::BTreeSet;

use wsp::store::{Key, ObjectStore};

use crate::model::{CheckList, Hex64, OutputId, Reason, Refusal, WorldKey};

use super::catalogue::{Bindings, Catalogue};
use super::gates::{self, Gate};
use super::pack::{self, Pack};
use super::receipt::{self, Receipt};
use super::seal::{self, SealState};
use super::view::{self, SealedView};

/// What a run wants of the world.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The world it was planned for.
    pub world: &'a WorldKey,
    /// The pack, where READY or facts name one.
    pub oracle_pack_id: Option<&'a Hex64>,
    /// The engine's release, where READY or facts name one.
    pub engine_release: Option<&'a str>,
    /// Gates that the facts say have failed.
    pub failed_gates: &'a BTreeSet<String>,
    /// The outputs, in the run's order.
    pub outputs: &'a [OutputId],
    /// Primary keys and gates.
    pub catalogue: &'a Catalogue,
    /// A missing manifest or seal refuses (`policy.require_seal`).
    pub require_seal: bool,
    /// Gates are looked at (`policy.require_gate_pass`).
    pub require_gate_pass: bool,
}

/// Where stream views lie: `output_id=<id>` folders right below `base`, or below the store's root.
#[derive(Debug, Clone, Copy)]
pub struct ViewRoot<'a> {
    /// The store.
    pub store: &'a dyn ObjectStore,
    /// A key in it.
    pub base: Option<&'a Key>,
}

/// A world that a run may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct World {
    /// The engine's receipt.
    pub receipt: Receipt,
    /// The pack manifest, where there is one.
    pub pack: Option<Pack>,
    /// Whether it is sealed; evidence says so where it is not.
    pub seal: SealState,
    /// The gates that have passed, by id. Empty where policy does not look at them.
    pub gates: Vec<Gate>,
    /// The views, in the run's order.
    pub views: Vec<SealedView>,
}

/// Makes all checks of the world that `engine` is opened on and adds them to `list`. It goes on behind a
/// refusal as far as later checks don't need what was refused, so that a plan shows all of it; `None` where
/// anything here refuses.
pub async fn inspect(
    engine: &dyn ObjectStore,
    views: ViewRoot<'_>,
    wanted: &Wanted<'_>,
    list: &mut CheckList,
) -> Option<World> {
    let receipt = receipt::check(engine, wanted.world).await;
    let receipt = list.note("run receipt", receipt, |receipt| format!("engine run {}", receipt.run_id));
    let pack = check_pack(engine, wanted, list).await;
    let seal = match &pack {
        Some(pack) => check_seal(engine, pack.as_ref(), wanted, list).await,
        None => None,
    };
    for output in wanted.outputs {
        let key = wanted.catalogue.primary_key(output);
        list.note(format!("primary key {output}"), key, |columns| columns.join(", "));
    }
    // Templates of flags may name the engine's run, and views have to be of it.
    let receipt = receipt?;
    let gates = check_gates(engine, &receipt, wanted, list).await;
    let mut found = Vec::with_capacity(wanted.outputs.len());
    for output_id in wanted.outputs {
        let expected = view::Expected {
            world: wanted.world,
            engine_run_id: &receipt.run_id,
            engine_root: engine.root(),
            output_id,
        };
        let view = view::check(views.store, views.base, expected).await;
        found.extend(list.note(format!("stream view {output_id}"), view, |view| {
            format!("{} rows in {} parts, {} bytes", view.rows, view.parts.len(), view.bytes())
        }));
    }
    let world = World { receipt, pack: pack?, seal: seal?, gates: gates?, views: found };
    list.verdict().is_ok().then_some(world)
}

/// The manifest if there is one; the outer `None` is a refusal.
async fn check_pack(engine: &dyn ObjectStore, wanted: &Wanted<'_>, list: &mut CheckList) -> Option<Option<Pack>> {
    const NAME: &str = "pack manifest";
    let expected = pack::Expected {
        world: wanted.world,
        oracle_pack_id: wanted.oracle_pack_id,
        engine_release: wanted.engine_release,
    };
    match pack::check(engine, expected).await {
        Ok(Some(pack)) => {
            list.pass(NAME, format!("pack {} of {}", pack.oracle_pack_id, pack.engine_release));
            Some(Some(pack))
        }
        Ok(None) if wanted.require_seal => {
            list.refuse(NAME, pack::missing(engine));
            None
        }
        Ok(None) => {
            list.waive(NAME, "there is none; policy.require_seal is false");
            Some(None)
        }
        Err(refusal) => {
            list.refuse(NAME, refusal);
            None
        }
    }
}

async fn check_seal(
    engine: &dyn ObjectStore,
    pack: Option<&Pack>,
    wanted: &Wanted<'_>,
    list: &mut CheckList,
) -> Option<SealState> {
    const NAME: &str = "seal";
    match seal::check(engine, pack.map(|pack| &pack.oracle_pack_id)).await {
        Ok(state @ SealState::Sealed(by)) => {
            list.pass(NAME, by);
            Some(state)
        }
        Ok(SealState::Unsealed(why)) if wanted.require_seal => {
            list.refuse(NAME, Refusal::new(Reason::PackNotSealed, why).file(engine.root()));
            None
        }
        Ok(state @ SealState::Unsealed(why)) => {
            list.waive(NAME, format!("{why}; policy.require_seal is false"));
            Some(state)
        }
        Err(refusal) => {
            list.refuse(NAME, refusal);
            None
        }
    }
}

async fn check_gates(
    engine: &dyn ObjectStore,
    receipt: &Receipt,
    wanted: &Wanted<'_>,
    list: &mut CheckList,
) -> Option<Vec<Gate>> {
    if !wanted.require_gate_pass {
        list.waive("gates", "not looked at; policy.require_gate_pass is false");
        return Some(Vec::new());
    }
    let required = match gates::required(wanted.catalogue, wanted.outputs) {
        Ok(required) => required,
        Err(refusal) => {
            list.refuse("gates", refusal);
            return None;
        }
    };
    let bindings = Bindings { world: wanted.world, run_id: &receipt.run_id };
    let mut passed = Vec::with_capacity(required.len());
    for (gate_id, outputs) in &required {
        let gate = gates::check(engine, wanted.catalogue, gate_id, bindings, wanted.failed_gates).await;
        passed.extend(list.note(format!("gate {gate_id}"), gate, |gate| {
            let outputs: Vec<_> = outputs.iter().map(|output| output.as_str()).collect();
            let confirmed = if gate.digest_confirmed { "confirmed by its index" } else { "confirmed by no index" };
            format!("passed, for {}; digest {} {confirmed}", outputs.join(", "), gate.bundle_digest)
        }));
    }
    (passed.len() == required.len()).then_some(passed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::{Doctored, hex64, world_key};
    use crate::oracle::{receipt, view::DEFAULT_BASE};
    use serde_json::json;

    const OUTPUTS: [&str; 4] = [
        "arrival_events_5B",
        "s1_arrival_entities_6B",
        "s3_flow_anchor_with_fraud_6B",
        "s3_event_stream_with_fraud_6B",
    ];

    fn catalogue() -> Catalogue {
        Catalogue::parse(
            include_bytes!("../../../config/oracle/engine_outputs.catalogue.yaml"),
            include_bytes!("../../../config/oracle/engine_gates.map.yaml"),
        )
        .unwrap()
    }

    async fn inspected(
        policy: impl FnOnce(&mut Wanted<'_>),
        doctor: impl FnOnce(&mut Doctored),
    ) -> (Option<World>, CheckList) {
        let mut engine = Doctored::new();
        doctor(&mut engine);
        let (world, failed, catalogue) = (world_key(), BTreeSet::new(), catalogue());
        let outputs = OUTPUTS.map(|id| id.parse().unwrap());
        let mut wanted = Wanted {
            world: &world,
            oracle_pack_id: None,
            engine_release: None,
            failed_gates: &failed,
            outputs: &outputs,
            catalogue: &catalogue,
            require_seal: true,
            require_gate_pass: true,
        };
        policy(&mut wanted);
        let base = DEFAULT_BASE.parse().unwrap();
        let mut list = CheckList::new();
        let world = inspect(&engine, ViewRoot { store: &engine, base: Some(&base) }, &wanted, &mut list).await;
        (world, list)
    }

    fn refusals(list: &CheckList) -> Vec<&str> {
        list.checks().iter().filter(|check| !check.ok()).map(|check| check.name.as_str()).collect()
    }

    #[tokio::test]
    async fn the_golden_world_passes_every_check() {
        let (world, list) = inspected(|_| {}, |_| {}).await;
        let world = world.unwrap();
        assert_eq!(list.verdict(), Ok(()));
        let names: Vec<_> = list.checks().iter().map(|check| check.name.as_str()).collect();
        assert_eq!(names[..3], ["run receipt", "pack manifest", "seal"]);
        assert_eq!(names.len(), 3 + 4 + 2 + 4);
        assert_eq!(world.views.iter().map(|view| view.rows).sum::<u64>(), 250);
        assert_eq!(world.views.iter().map(|view| view.output_id.as_str()).collect::<Vec<_>>(), OUTPUTS);
        assert_eq!(world.seal, SealState::Sealed(seal::JSON_NAME));
        assert_eq!(world.gates.len(), 2);
    }

    #[tokio::test]
    async fn a_world_without_manifest_and_seal_is_refused_or_waived_by_policy() {
        let bare = |engine: &mut Doctored| {
            engine.remove(pack::NAME);
            engine.remove(seal::JSON_NAME);
        };
        let (world, list) = inspected(|_| {}, bare).await;
        assert_eq!((world, list.verdict().unwrap_err().reason), (None, Reason::PackManifestMissing));
        let (world, list) = inspected(|wanted| wanted.require_seal = false, bare).await;
        assert!(matches!(world, Some(World { pack: None, seal: SealState::Unsealed(_), .. })));
        let waived = list.checks().iter().filter(|check| check.verdict == crate::model::Verdict::Waived).count();
        assert_eq!(waived, 2);
        let (_, list) = inspected(|_| {}, |engine| engine.remove(seal::JSON_NAME)).await;
        assert_eq!(list.verdict().unwrap_err().reason, Reason::PackNotSealed);
    }

    #[tokio::test]
    async fn a_failed_seal_is_never_waived() {
        let failed = |engine: &mut Doctored| engine.set(seal::JSON_NAME, "/seal_status", json!("SEALED_FAILED"));
        let (world, list) = inspected(|wanted| wanted.require_seal = false, failed).await;
        assert_eq!((world, list.verdict().unwrap_err().reason), (None, Reason::PackNotSealed));
    }

    #[tokio::test]
    async fn all_that_is_wrong_is_shown_and_the_first_is_the_reason() {
        let flag =
            format!("data/layer3/6B/validation/manifest_fingerprint={}/_passed.flag", world_key().manifest_fingerprint);
        let (world, list) = inspected(
            |_| {},
            |engine| {
                engine.set(pack::NAME, "/world_key/seed", json!(7));
                engine.remove(&flag);
                engine.remove(&format!("{DEFAULT_BASE}/output_id={}/{}", OUTPUTS[1], view::RECEIPT_NAME));
            },
        )
        .await;
        assert!(world.is_none());
        let expected = ["pack manifest", "gate gate.layer3.6B.validation", "stream view s1_arrival_entities_6B"];
        assert_eq!(refusals(&list), expected);
        assert_eq!(list.verdict().unwrap_err().reason, Reason::WorldKeyMismatch);
    }

    #[tokio::test]
    async fn gates_may_be_left_out_by_policy_and_the_list_says_so() {
        let flag =
            format!("data/layer2/5B/validation/manifest_fingerprint={}/_passed.flag", world_key().manifest_fingerprint);
        let (world, list) = inspected(|wanted| wanted.require_gate_pass = false, |engine| engine.remove(&flag)).await;
        assert!(world.unwrap().gates.is_empty());
        assert!(list.checks().iter().any(|check| check.name == "gates" && check.detail.contains("require_gate_pass")));
    }

    #[tokio::test]
    async fn another_pack_than_the_named_one_and_a_bad_receipt_are_refused() {
        let other = hex64();
        let (world, list) = inspected(|_| {}, |engine| engine.set(pack::NAME, "/oracle_pack_id", json!(other))).await;
        assert_eq!((world, list.verdict().unwrap_err().reason), (None, Reason::PackNotSealed));
        let (world, list) = inspected(|_| {}, |engine| engine.remove(receipt::NAME)).await;
        assert_eq!((world, list.verdict().unwrap_err().reason), (None, Reason::RunReceiptUnreadable));
        assert_eq!(refusals(&list), ["run receipt"]);
    }

    #[tokio::test]
    async fn an_output_without_an_entry_is_refused_by_the_catalogue() {
        let unknown = ["unknown".parse().unwrap()];
        let (world, list) = inspected(|_| {}, |_| {}).await;
        assert!(world.is_some() && list.verdict().is_ok());
        let engine = Doctored::new();
        let (key, failed, catalogue) = (world_key(), BTreeSet::new(), catalogue());
        let wanted = Wanted {
            world: &key,
            oracle_pack_id: None,
            engine_release: None,
            failed_gates: &failed,
            outputs: &unknown,
            catalogue: &catalogue,
            require_seal: true,
            require_gate_pass: true,
        };
        let mut list = CheckList::new();
        assert!(inspect(&engine, ViewRoot { store: &engine, base: None }, &wanted, &mut list).await.is_none());
        assert_eq!(list.verdict().unwrap_err().reason, Reason::CatalogueInvalid);
    }
}
