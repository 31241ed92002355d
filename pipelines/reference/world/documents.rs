//! The JSON files of a world: receipts, manifests, seal and gate flags, in the golden shapes and formulas.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use wsp_world::model::{Hex32, Hex64, Micros, ScenarioId, WorldKey};

use super::spec::{WorldError, WorldSpec};

/// The outputs' catalogue that a world of ours belongs to; its digest stands in the pack manifest.
pub const CATALOGUE: &str = include_str!("../../../config/oracle/engine_outputs.catalogue.yaml");
/// The gate map beside it.
pub const GATE_MAP: &str = include_str!("../../../config/oracle/engine_gates.map.yaml");
/// The release that made the world, as the manifest names it.
pub const ENGINE_RELEASE: &str = "engine-local-r1";

/// Columns a view is sorted by.
const SORT_KEYS: [&str; 3] = ["ts_utc", "filename", "file_row_number"];

/// The identities of a world, derived from its spec alone.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) key: WorldKey,
    pub(super) engine_run_id: Hex32,
    pub(super) pack_id: Hex64,
    /// Hash of the routing universe, a column of the arrivals.
    pub(super) universe: String,
    /// RFC 3339 with a numeric offset, as these files have it.
    created: String,
    created_z: String,
}

impl Identity {
    /// The layout (parts, row groups) is left out: the same events make the same world, however they are cut.
    pub(super) fn new(spec: &WorldSpec, start: Micros, scenario_id: ScenarioId) -> Result<Self, WorldError> {
        let digest = |name: &str, text: &str| sha256(&format!("{name}|{text}"));
        let mut made_from = format!("{}|{}|{}|{}", spec.events, spec.days, spec.start, spec.seed);
        if spec.evenness > 0 {
            made_from = format!("{made_from}|{}", spec.evenness);
        }
        let hex64 = |text: String| text.parse::<Hex64>().map_err(WorldError::Identity);
        let key = WorldKey {
            manifest_fingerprint: hex64(digest("manifest", &made_from))?,
            parameter_hash: hex64(digest("parameters", &format!("{}|{}", spec.days, spec.start)))?,
            scenario_id,
            seed: spec.seed,
        };
        let engine_run_id = digest("engine_run", &made_from)[..32].parse().map_err(WorldError::Identity)?;
        let pack = json!({
            "catalogue_digest": sha256(CATALOGUE),
            "engine_release": ENGINE_RELEASE,
            "gate_map_digest": sha256(GATE_MAP),
            "world_key": world_key(&key),
        });
        let created_z = start.to_string();
        Ok(Self {
            engine_run_id,
            pack_id: hex64(sha256(&pack.to_string()))?,
            universe: digest("routing_universe", &made_from),
            created: created_z.replace('Z', "+00:00"),
            created_z,
            key,
        })
    }
}

/// What a view's receipt says of its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ViewStats {
    pub(super) rows: u64,
    pub(super) first: Option<Micros>,
    pub(super) last: Option<Micros>,
    pub(super) hash_sum: u128,
    pub(super) hash_sum2: u128,
}

/// The files at the top of the engine run root, other than the seal, and both gates' flags.
pub(super) fn write_world(folder: &Path, identity: &Identity) -> io::Result<()> {
    let key = &identity.key;
    let receipt = json!({
        "contracts_layout": "model_spec",
        "created_utc": identity.created_z,
        "manifest_fingerprint": key.manifest_fingerprint.as_str(),
        "parameter_hash": key.parameter_hash.as_str(),
        "run_id": identity.engine_run_id.as_str(),
        "runs_root": "runs/reference",
        "seed": key.seed,
    });
    fs::write(folder.join("run_receipt.json"), format!("{receipt:#}\n"))?;
    let manifest = json!({
        "catalogue_digest": sha256(CATALOGUE),
        "created_at_utc": identity.created,
        "engine_release": ENGINE_RELEASE,
        "gate_map_digest": sha256(GATE_MAP),
        "oracle_pack_id": identity.pack_id.as_str(),
        "version": "v0",
        "world_key": world_key(key),
    });
    fs::write(folder.join("_oracle_pack_manifest.json"), format!("{manifest}\n"))?;
    let fingerprint = key.manifest_fingerprint.as_str();
    let digest = sha256("[]\n");
    let flag_5b = format!(r#"{{"manifest_fingerprint": "{fingerprint}", "bundle_digest_sha256": "{digest}"}}"#);
    let flag_6b = format!("sha256_hex = {digest}\n");
    for (layer, flag) in [("layer2/5B", flag_5b), ("layer3/6B", flag_6b)] {
        let gate = folder.join(format!("data/{layer}/validation/manifest_fingerprint={fingerprint}"));
        fs::create_dir_all(&gate)?;
        fs::write(gate.join("index.json"), "[]\n")?;
        fs::write(gate.join("_passed.flag"), flag)?;
    }
    Ok(())
}

/// The seal, written last: a world that has it is complete.
pub(super) fn write_seal(folder: &Path, identity: &Identity) -> io::Result<()> {
    let seal = json!({
        "oracle_pack_id": identity.pack_id.as_str(),
        "seal_status": "SEALED_OK",
        "sealed_at_utc": identity.created,
        "version": "v0",
    });
    fs::write(folder.join("_SEALED.json"), format!("{seal}\n"))
}

/// Manifest and sort receipt of one view, whose parts lie in `folder`.
pub(super) fn write_view(
    folder: &Path,
    root: &str,
    output_id: &str,
    identity: &Identity,
    stats: &ViewStats,
) -> io::Result<()> {
    let scenario = identity.key.scenario_id.as_str();
    let view_id = stream_view_id(root, scenario, output_id);
    let view_root = format!("{root}/stream_view/ts_utc/output_id={output_id}");
    let manifest = json!({
        "created_utc": identity.created,
        "engine_run_id": identity.engine_run_id.as_str(),
        "engine_run_root": root,
        "output_id": output_id,
        "output_ids": [output_id],
        "partition_granularity": "flat",
        "scenario_id": scenario,
        "sort_keys": SORT_KEYS,
        "stream_view_id": view_id,
        "stream_view_root": view_root,
        "world_key": world_key(&identity.key),
    });
    fs::write(folder.join("_stream_view_manifest.json"), format!("{manifest}\n"))?;
    let counted = json!({
        "hash_sum": stats.hash_sum.to_string(),
        "hash_sum2": stats.hash_sum2.to_string(),
        "max_ts_utc": stats.last.map(iso),
        "min_ts_utc": stats.first.map(iso),
        "row_count": stats.rows,
    });
    let receipt = json!({
        "created_utc": identity.created,
        "engine_run_root": root,
        "output_id": output_id,
        "output_ids": [output_id],
        "partition_granularity": "flat",
        "raw_stats": counted,
        "sort_keys": SORT_KEYS,
        "sorted_stats": counted,
        "source_locator_digest": sha256(&format!("{output_id}|{}", identity.pack_id)),
        "status": "OK",
        "stream_view_id": view_id,
        "stream_view_root": view_root,
    });
    fs::write(folder.join("_stream_sort_receipt.json"), format!("{receipt}\n"))
}

/// The id of a view (contract, section 4).
fn stream_view_id(root: &str, scenario: &str, output_id: &str) -> String {
    // Keys are in order; the text has to be ASCII, as the producer in place writes it.
    let text = json!({
        "engine_run_root": root,
        "output_id": output_id,
        "partition_granularity": "flat",
        "scenario_id": scenario,
        "sort_keys": SORT_KEYS,
    });
    sha256(&ascii(&text.to_string()))
}

/// JSON text with all non-ASCII characters escaped.
fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // A string takes whatever is written to it.
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
    out
}

fn world_key(key: &WorldKey) -> Value {
    json!({
        "manifest_fingerprint": key.manifest_fingerprint.as_str(),
        "parameter_hash": key.parameter_hash.as_str(),
        "scenario_id": key.scenario_id.as_str(),
        "seed": key.seed,
    })
}

/// Without `Z`, and without a fraction where it is zero: the form the sort receipts have.
fn iso(ts: Micros) -> String {
    let text = ts.to_string();
    let text = text.trim_end_matches('Z');
    text.strip_suffix(".000000").unwrap_or(text).to_owned()
}

/// Lower-case hex of the sha256 of a text.
pub(super) fn sha256(text: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    digest.iter().flat_map(|byte| [byte >> 4, byte & 15]).filter_map(|n| char::from_digit(u32::from(n), 16)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_view_id_is_the_golden_one() {
        let golden = "847295f5656d083c2e275716034d3a66ee00ef1c64f298d92994daa77e3a4c56";
        assert_eq!(stream_view_id("world", "baseline_v1", "arrival_events_5B"), golden);
    }

    #[test]
    fn times_are_cut_as_in_the_golden_receipts() {
        let iso = |text: &str| iso(Micros::parse(text.as_bytes()).unwrap());
        assert_eq!(iso("2026-01-01T00:00:00Z"), "2026-01-01T00:00:00");
        assert_eq!(iso("2026-01-02T22:26:25.681764Z"), "2026-01-02T22:26:25.681764");
    }

    #[test]
    fn beyond_ascii_is_escaped_in_utf16() {
        assert_eq!(ascii("\"é😀\""), "\"\\u00e9\\ud83d\\ude00\"");
    }
}
