//! Where a run's world lies: its roots as the profile, READY or a person names them, and the stores that hold them.
//!
//! ```text
//! profile, else READY ──► resolve (`run::roots`) ──► root as it is spelt ──open──► ObjectStore
//! ```

use std::path::Path;
use std::sync::Arc;

use wsp::store::{Key, ObjectStore, S3Options, StoreOptions, open_store};

use crate::model::{OutputId, Reason, Refusal};
use crate::oracle::view;
use crate::profile::{Profile, StoreWiring, is_remote};
use crate::ready::Ready;
use crate::ready::message::OraclePackRef;
use crate::run::roots::{Origin, Roots};

/// The engine run root, as it is spelt: the profile's, else READY's (contract, section 3, "Roots").
///
/// # Errors
///
/// `ENGINE_ROOT_MISSING` where nobody says; `REF_OUTSIDE_ROOT` where a message points out of the configured roots.
pub fn engine_root(profile: &Profile, ready: &Ready) -> Result<String, Refusal> {
    if let Some(root) = &profile.oracle.engine_run_root {
        return resolve(profile, root, Origin::Profile).map_err(|refusal| refusal.field("oracle_engine_run_root"));
    }
    let pack_ref = ready.payload.oracle_pack_ref.as_ref();
    let by_manifest = || pack_ref?.manifest_ref.as_deref()?.rsplit_once('/').map(|(folder, _)| folder);
    let Some(root) = pack_ref.and_then(|pack| pack.engine_run_root.as_deref()).or_else(by_manifest) else {
        return Err(Refusal::new(Reason::EngineRootMissing, "neither the profile nor READY names an engine run root"));
    };
    resolve(profile, root, Origin::Message).map_err(|refusal| refusal.field("oracle_pack_ref.engine_run_root"))
}

/// The engine run root that a person names, as it is spelt.
///
/// # Errors
///
/// `REF_OUTSIDE_ROOT` where it can be none, or is a path of this machine while the profile is strict.
pub fn engine_root_by_hand(profile: &Profile, root: &str) -> Result<String, Refusal> {
    resolve(profile, root, Origin::Profile).map_err(|refusal| refusal.field("--engine-run-root"))
}

/// The store and the folder in it that hold the `output_id=<id>` folders: the profile's root, READY's, the parent of
/// READY's references for each output, or the engine run's own.
pub(super) fn view_root(
    profile: &Profile,
    pack_ref: Option<&OraclePackRef>,
    outputs: &[OutputId],
    engine: &Arc<dyn ObjectStore>,
) -> Result<(Arc<dyn ObjectStore>, Option<Key>), Refusal> {
    if let Some(root) = &profile.oracle.stream_view_root {
        return Ok((open(profile, &resolve(profile, root, Origin::Profile)?)?, None));
    }
    if let Some(root) = pack_ref.and_then(|pack| pack.stream_view_root.as_deref()) {
        return Ok((open(profile, &resolve(profile, root, Origin::Message)?)?, None));
    }
    let refs = pack_ref.and_then(|pack| pack.stream_view_output_refs.as_ref()).filter(|refs| !refs.is_empty());
    let Some(refs) = refs else {
        let base =
            view::DEFAULT_BASE.parse().map_err(|error| Refusal::new(Reason::InternalError, format!("{error}")))?;
        return Ok((engine.clone(), Some(base)));
    };
    let missing = |detail: String| Refusal::new(Reason::StreamViewMissing, detail).field("stream_view_output_refs");
    let mut parents = outputs.iter().map(|output| {
        let reference = refs.get(output).ok_or_else(|| missing(format!("it names no view of {output}")))?;
        let parent = reference.trim_end_matches('/').strip_suffix(&format!("/output_id={output}"));
        parent.ok_or_else(|| missing(format!("{reference} is no folder output_id={output}")))
    });
    let first = parents.next().ok_or_else(|| missing("the run has no outputs".to_owned()))??;
    for parent in parents {
        if parent? != first {
            return Err(missing("the views do not lie side by side in one folder".to_owned()));
        }
    }
    Ok((open(profile, &resolve(profile, first, Origin::Message)?)?, None))
}

fn resolve(profile: &Profile, reference: &str, origin: Origin) -> Result<String, Refusal> {
    let oracle = &profile.oracle;
    let configured = [&oracle.root, &oracle.engine_run_root, &oracle.stream_view_root];
    let mut allowed: Vec<String> = configured.into_iter().flatten().cloned().collect();
    // A strict profile without a root of the Oracle's lets no message name any bucket: its own is what is left.
    if !allowed.is_empty() || profile.is_strict() {
        allowed.push(profile.store.root.clone());
    }
    let strict = profile.is_strict();
    // A strict profile does not even look whether there is such a path here.
    let exists = |path: &Path| !strict && path.exists();
    let root = Roots { oracle: oracle.root.clone().or_else(|| oracle.default_root.clone()), allowed }
        .resolve(reference, origin, &exists)?;
    if strict && !is_remote(&root) {
        return Err(Refusal::new(Reason::RefOutsideRoot, "a strict profile reads no path of this machine").file(root));
    }
    Ok(root)
}

/// Opens a root: a folder, or an address of the profile's S3 server.
///
/// # Errors
///
/// `STORE_UNAVAILABLE` for an address that is none.
pub fn open(profile: &Profile, root: &str) -> Result<Arc<dyn ObjectStore>, Refusal> {
    let StoreWiring { endpoint, region, path_style, patience, .. } = profile.store.clone();
    let options = StoreOptions { s3: S3Options { endpoint, region, path_style, patience, ..S3Options::default() } };
    open_store(root, &options).map_err(|error| Refusal::new(Reason::StoreUnavailable, error.to_string()).file(root))
}

/// Opens the store of facts and evidence.
///
/// # Errors
///
/// As [`open`].
pub fn open_own(profile: &Profile) -> Result<Arc<dyn ObjectStore>, Refusal> {
    open(profile, &profile.store.root)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use wsp::store::MemoryStore;

    use super::*;
    use crate::ready::{Parsed, message};

    const TOPIC: &str = "fp.bus.control.v1";
    const OUTPUTS: [&str; 2] = ["s3_event_stream_with_fraud_6B", "arrival_events_5B"];

    /// A local profile that names no root of a world.
    fn profile() -> Profile {
        let text = "profile_id: local_test
policy: {stream_speedup: 0, traffic_output_ids: [s3_event_stream_with_fraud_6B]}
wiring:
  object_store: {root: store}
  control_bus: {kind: file, root: bus}
  engine_catalogue_path: engine_outputs.catalogue.yaml
  ig_ingest_url: http://127.0.0.1:1
  wsp_checkpoint: {backend: file, root: checkpoints}
  wsp_producer: {producer_id: 'svc:test', allowlist_ref: producers.txt}
  security: {wsp_auth_token: test-key}
";
        Profile::parse(text, Path::new(""), &|_| None).unwrap()
    }

    /// The golden READY, with this said of its world.
    fn ready(pack_ref: &Value) -> Ready {
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/ready/message.json");
        let mut message: Value = serde_json::from_slice(&std::fs::read(golden).unwrap()).unwrap();
        message["payload"]["oracle_pack_ref"] = pack_ref.clone();
        match message::parse(message.to_string().as_bytes(), TOPIC) {
            Ok(Parsed::Ready(ready)) => *ready,
            other => panic!("no READY: {other:?}"),
        }
    }

    #[test]
    fn without_an_engine_root_the_folder_of_the_manifest_is_it() {
        let manifest = "/worlds/w1/_oracle_pack_manifest.json";
        let root = |pack_ref: &Value| engine_root(&profile(), &ready(pack_ref)).map_err(|refusal| refusal.reason);
        assert_eq!(root(&json!({"manifest_ref": manifest})).as_deref(), Ok("/worlds/w1"));
        assert_eq!(root(&json!({"manifest_ref": "s3://worlds/w1/m.json"})).as_deref(), Ok("s3://worlds/w1"));
        let both = json!({"manifest_ref": manifest, "engine_run_root": "/worlds/w2"});
        assert_eq!(root(&both).as_deref(), Ok("/worlds/w2"), "a root that is named wins");
        assert_eq!(root(&json!({"manifest_ref": "m.json"})), Err(Reason::EngineRootMissing), "it lies in no folder");
        assert_eq!(root(&json!({"manifest_ref": "/worlds/../m.json"})), Err(Reason::RefOutsideRoot));
        let by_profile = Profile {
            oracle: crate::profile::OracleWiring { engine_run_root: Some("/mine".to_owned()), ..profile().oracle },
            ..profile()
        };
        assert_eq!(engine_root(&by_profile, &ready(&json!({"manifest_ref": manifest}))).as_deref(), Ok("/mine"));
    }

    #[test]
    fn references_to_views_name_every_output_side_by_side_in_one_folder() {
        let outputs = OUTPUTS.map(|output| output.parse::<OutputId>().unwrap());
        let engine: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new("engine"));
        let found = |refs: [Option<&str>; 2]| {
            let refs =
                outputs.iter().cloned().zip(refs).filter_map(|(id, text)| Some((id, text?.to_owned()))).collect();
            let pack_ref = OraclePackRef { stream_view_output_refs: Some(refs), ..OraclePackRef::default() };
            view_root(&profile(), Some(&pack_ref), &outputs, &engine).map(|(store, base)| {
                assert_eq!(base, None);
                store.root().to_owned()
            })
        };
        let (first, second) = ("/views/output_id=s3_event_stream_with_fraud_6B", "/views/output_id=arrival_events_5B");
        assert_eq!(found([Some(first), Some(second)]).unwrap(), "/views");
        assert_eq!(found([Some(&format!("{first}/")), Some(second)]).unwrap(), "/views");
        for (refs, words) in [
            ([Some(first), None], "names no view of arrival_events_5B"),
            ([Some(second), Some(first)], "is no folder output_id=s3_event_stream_with_fraud_6B"),
            ([Some(first), Some("/views/arrival_events_5B")], "is no folder output_id=arrival_events_5B"),
            ([Some(first), Some("output_id=arrival_events_5B")], "is no folder output_id=arrival_events_5B"),
            ([Some(first), Some("/other/output_id=arrival_events_5B")], "do not lie side by side"),
        ] {
            let refusal = found(refs).unwrap_err();
            let field = refusal.place.field.as_deref();
            assert_eq!(
                (refusal.reason, field),
                (Reason::StreamViewMissing, Some("stream_view_output_refs")),
                "{refs:?}"
            );
            assert!(refusal.detail.contains(words), "{refs:?}: {refusal}");
        }
        // None at all is as if nothing were said: the engine root's own.
        let (store, base) = view_root(&profile(), Some(&OraclePackRef::default()), &outputs, &engine).unwrap();
        assert_eq!((store.root(), base.unwrap().as_str()), ("engine", view::DEFAULT_BASE));
    }
}
