//! What operators and the platform write: YAML files, lists, settings in one line.

use std::path::Path;

use wsp::pace::RatePlan;
use wsp_world::checkpoint::PostgresDsn;
use wsp_world::model::{Hex32, OutputId, Secret};
use wsp_world::oracle::catalogue::{Bindings, Catalogue};
use wsp_world::profile::{Profile, check_producer};
use wsp_world::run::packs::Spec;

use super::assert_sayable;
use super::documents::world;

const CATALOGUE: &[u8] = include_bytes!("../../config/oracle/engine_outputs.catalogue.yaml");
const GATE_MAP: &[u8] = include_bytes!("../../config/oracle/engine_gates.map.yaml");

pub(crate) fn catalogue(bytes: &[u8]) {
    both(bytes, GATE_MAP);
}

pub(crate) fn gate_map(bytes: &[u8]) {
    both(CATALOGUE, bytes);
}

fn both(catalogue: &[u8], gate_map: &[u8]) {
    let catalogue = match Catalogue::parse(catalogue, gate_map) {
        Ok(catalogue) => catalogue,
        Err(refusal) => return assert_sayable(&refusal.to_string()),
    };
    let (world, run_id): (_, Hex32) = (world(), "4c3fd444c29c63ada8df6eb5f038bda4".parse().unwrap());
    let output: OutputId = "arrival_events_5B".parse().unwrap();
    match catalogue.primary_key(&output) {
        Ok(columns) => assert!(!columns.is_empty() && columns.iter().all(|column| !column.is_empty())),
        Err(refusal) => assert_sayable(&refusal.to_string()),
    }
    for gate in catalogue.required_gates(&output).unwrap_or_default() {
        match catalogue.passed_flag(gate, Bindings { world: &world, run_id: &run_id }) {
            Ok(key) => assert!(!key.as_str().starts_with('/') && key.as_str().split('/').all(|part| part != "..")),
            Err(refusal) => assert_sayable(&refusal.to_string()),
        }
    }
}

pub(crate) fn profile(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // No environment, and no folder that a reference could be found in.
    match Profile::parse(text, Path::new("/nowhere"), &|_| None) {
        Ok(profile) => assert!(!profile.profile_id.is_empty() && profile.delivery.mode.in_flight() > 0),
        Err(error) => error.problems.iter().for_each(|problem| assert!(!problem.is_empty())),
    }
}

pub(crate) fn allowlist(bytes: &[u8]) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let _ = check_producer(file.path(), "svc:world_stream_producer");
}

/// The pack's id becomes a folder's name.
pub(crate) fn pack(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Spec::parse(text) {
        Ok(spec) => {
            assert_eq!(Path::new(spec.pack_id()).components().count(), 1, "{:?}", spec.pack_id());
            assert!(!matches!(spec.pack_id(), "." | ".."));
            let mut ids = spec.processes().to_vec();
            ids.sort_unstable();
            ids.dedup();
            assert!(!ids.is_empty() && ids.len() == spec.processes().len(), "{ids:?}");
        }
        Err(why) => assert!(!why.is_empty()),
    }
}

pub(crate) fn rate_plan(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match RatePlan::from_json(text) {
        Ok(plan) => {
            let offsets: Vec<_> = plan.segments().iter().map(|segment| segment.start_offset).collect();
            assert!(offsets.windows(2).all(|pair| pair[0] < pair[1]), "{offsets:?}");
            assert!(plan.segments().last().is_some_and(|last| last.limit.is_some()));
        }
        // What the operator wrote is shown to the operator as it is.
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

pub(crate) fn dsn(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(refusal) = PostgresDsn::parse(&Secret::new(text)) {
        let said = refusal.to_string();
        assert_sayable(&said);
        // Longer words can't be in the fixed texts by chance.
        let secret = text.split(|c: char| !c.is_alphanumeric()).find(|word| word.len() > 24 && said.contains(word));
        assert_eq!(secret, None, "a refusal holds a piece of the DSN");
    }
}
