//! One output's stream view: its manifest, its sort receipt and its parts, before any part is opened.
//!
//! ```text
//! output_id=<id>/ ──list──► parts in order of their number
//!        ├─ _stream_view_manifest.json ──= this world, this output, this root?─┐
//!        └─ _stream_sort_receipt.json ──OK, nothing lost in sorting?───────────┴─► SealedView { parts, rows, span }
//! ```

use futures::{StreamExt, TryStreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use wsp::store::{Key, ObjectStore};
use wsp::strict::{self, Limits};

use crate::model::json::compact;
use crate::model::{Hex32, Hex64, Micros, OutputId, Reason, Refusal, ScenarioId, WorldKey};

use super::object::{self, MAX_BYTES};
use super::receipt::same_world;
use super::view_files::ViewFile;

/// The manifest's name in a view's folder.
pub const MANIFEST_NAME: &str = "_stream_view_manifest.json";
/// The sort receipt's name in a view's folder.
pub const RECEIPT_NAME: &str = "_stream_sort_receipt.json";
/// Where stream views lie below an engine run root, unless a `stream_view_root` says otherwise.
pub const DEFAULT_BASE: &str = "stream_view/ts_utc";

const SORT_KEYS: [&str; 3] = ["ts_utc", "filename", "file_row_number"];
const GRANULARITY: &str = "flat";
/// Parts looked at at once.
const HEADS_IN_FLIGHT: usize = 8;

/// A view that manifest and receipt vouch for. What its parts hold is still to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedView {
    /// The output.
    pub output_id: OutputId,
    /// The view's identity.
    pub stream_view_id: Hex64,
    /// The parts, ascending; at least one.
    pub parts: Vec<ViewFile>,
    /// Rows over all parts, as the receipt has it.
    pub rows: u64,
    /// First and last event time, as the receipt has it; `None` where there are no rows.
    pub span: Option<(Micros, Micros)>,
    /// The receipt's full name.
    pub receipt: String,
}

impl SealedView {
    /// Bytes over all parts.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.meta.size).sum()
    }
}

/// What a view has to be of.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The run's world.
    pub world: &'a WorldKey,
    /// The engine's run, from its receipt.
    pub engine_run_id: &'a Hex32,
    /// The engine run root, spelt as it was resolved: the view's identity depends on the spelling.
    pub engine_root: &'a str,
    /// The output.
    pub output_id: &'a OutputId,
}

/// The manifest; more keys may stand in it.
#[derive(Debug, Deserialize)]
struct Manifest {
    stream_view_id: Hex64,
    engine_run_root: String,
    engine_run_id: Hex32,
    scenario_id: ScenarioId,
    output_id: OutputId,
    output_ids: Option<Vec<OutputId>>,
    #[serde(deserialize_with = "strict::object")]
    world_key: WorldKey,
    sort_keys: Vec<String>,
    partition_granularity: String,
}

/// The sort receipt; more keys may stand in it.
#[derive(Debug, Deserialize)]
struct SortReceipt {
    status: String,
    output_id: OutputId,
    stream_view_id: Hex64,
    #[serde(deserialize_with = "strict::object")]
    raw_stats: Stats,
    #[serde(deserialize_with = "strict::object")]
    sorted_stats: Stats,
}

/// What went into the sort, or came out of it.
#[derive(Debug, PartialEq, Deserialize)]
struct Stats {
    row_count: u64,
    min_ts_utc: Option<String>,
    max_ts_utc: Option<String>,
    // Sums beyond 64 bits: texts, though a number of the same digits is as good for comparing.
    hash_sum: Value,
    hash_sum2: Value,
}

/// The id of a view: sha256 over what it was made from, in the JSON form of contract, section 4.
#[must_use]
pub fn stream_view_id(engine_root: &str, scenario_id: &ScenarioId, output_id: &OutputId) -> Hex64 {
    Hex64::sha256(compact(&json!({
        "engine_run_root": engine_root,
        "scenario_id": scenario_id,
        "output_id": output_id,
        "sort_keys": SORT_KEYS,
        "partition_granularity": GRANULARITY,
    })))
}

/// Checks the view of `expected.output_id`, which lies at `<base>/output_id=<id>` in `store` (right below its root
/// where `base` is `None`).
///
/// # Errors
///
/// `STREAM_VIEW_MISSING`, `STREAM_VIEW_MANIFEST_INVALID`, `STREAM_VIEW_OUTPUT_MISMATCH`, `STREAM_VIEW_ID_MISMATCH`,
/// `STREAM_VIEW_RECEIPT_BAD`, `STREAM_VIEW_EMPTY`; `STREAM_VIEW_ROWS_MISMATCH` for a foreign or doubled part;
/// `WORLD_KEY_MISMATCH` for a view of another world or engine run; `STORE_UNAVAILABLE`.
pub async fn check(store: &dyn ObjectStore, base: Option<&Key>, expected: Expected<'_>) -> Result<SealedView, Refusal> {
    let folder = format!("output_id={}", expected.output_id);
    let folder = object::key(&base.map_or_else(|| folder.clone(), |base| format!("{base}/{folder}")))?;

    let (manifest_key, manifest) = read(store, &folder, MANIFEST_NAME, Reason::StreamViewManifestInvalid).await?;
    check_manifest(&manifest, &store.full_name(&manifest_key), expected)?;
    let (receipt_key, receipt) = read(store, &folder, RECEIPT_NAME, Reason::StreamViewReceiptBad).await?;
    let receipt_name = store.full_name(&receipt_key);
    let (stream_view_id, rows, span) = check_receipt(&receipt, &receipt_name, expected)?;

    let folder_name = store.full_name(&folder);
    let listed = store
        .list(&folder)
        .await
        .map_err(|error| object::refusal(&error, Reason::StreamViewMissing).file(&folder_name))?;
    let keys = parts_in_order(listed.into_iter().map(|(key, _)| key), &folder_name)?;
    let parts = futures::stream::iter(keys)
        .map(|key| async move {
            let name = store.full_name(&key);
            let meta = store
                .head(&key)
                .await
                .map_err(|error| object::refusal(&error, Reason::StreamViewChanged).file(&name))?
                .ok_or_else(|| Refusal::new(Reason::StreamViewChanged, "it was listed and is gone").file(&name))?;
            Ok::<_, Refusal>(ViewFile { key, meta })
        })
        .buffered(HEADS_IN_FLIGHT)
        .try_collect()
        .await?;
    Ok(SealedView { output_id: expected.output_id.clone(), stream_view_id, parts, rows, span, receipt: receipt_name })
}

async fn read(
    store: &dyn ObjectStore,
    folder: &Key,
    name: &str,
    invalid: Reason,
) -> Result<(Key, bytes::Bytes), Refusal> {
    let key = object::key(&format!("{folder}/{name}"))?;
    match object::read(store, &key, invalid).await? {
        Some(bytes) => Ok((key, bytes)),
        None => Err(Refusal::new(Reason::StreamViewMissing, "there is no such object").file(store.full_name(&key))),
    }
}

fn check_manifest(bytes: &[u8], name: &str, expected: Expected<'_>) -> Result<(), Refusal> {
    let refused = |reason, field: &str, detail: String| Refusal::new(reason, detail).file(name).field(field);
    let manifest: Manifest = strict::parse(bytes, Limits::bytes(MAX_BYTES as usize))
        .map_err(|error| Refusal::new(Reason::StreamViewManifestInvalid, error.to_string()).file(name))?;
    if manifest.output_id != *expected.output_id {
        let detail = format!("it is of {}, not of {}", manifest.output_id, expected.output_id);
        return Err(refused(Reason::StreamViewOutputMismatch, "output_id", detail));
    }
    if manifest.output_ids.is_some_and(|ids| !ids.contains(expected.output_id)) {
        let detail = format!("{} is not among them", expected.output_id);
        return Err(refused(Reason::StreamViewOutputMismatch, "output_ids", detail));
    }
    same_world(&manifest.world_key, expected.world, name)?;
    if manifest.scenario_id != expected.world.scenario_id {
        let detail = format!("it says {}, the run's is {}", manifest.scenario_id, expected.world.scenario_id);
        return Err(refused(Reason::WorldKeyMismatch, "scenario_id", detail));
    }
    if manifest.engine_run_id != *expected.engine_run_id {
        let detail = format!("it says {}, the run receipt {}", manifest.engine_run_id, expected.engine_run_id);
        return Err(refused(Reason::WorldKeyMismatch, "engine_run_id", detail));
    }
    if manifest.sort_keys != SORT_KEYS {
        let detail = format!("sorted by {}", strict::excerpt(&manifest.sort_keys.join(", "), 80));
        return Err(refused(Reason::StreamViewManifestInvalid, "sort_keys", detail));
    }
    if manifest.partition_granularity != GRANULARITY {
        let detail = format!("it is {:?}", strict::excerpt(&manifest.partition_granularity, 40));
        return Err(refused(Reason::StreamViewManifestInvalid, "partition_granularity", detail));
    }
    if manifest.engine_run_root != expected.engine_root {
        let shown = strict::excerpt(&manifest.engine_run_root, 200);
        let detail = format!("built from {shown:?}, the root of this run is spelt {:?}", expected.engine_root);
        return Err(refused(Reason::StreamViewIdMismatch, "engine_run_root", detail));
    }
    same_view_id(&manifest.stream_view_id, expected, name)
}

fn same_view_id(found: &Hex64, expected: Expected<'_>, name: &str) -> Result<(), Refusal> {
    let computed = stream_view_id(expected.engine_root, &expected.world.scenario_id, expected.output_id);
    if *found == computed {
        return Ok(());
    }
    let detail = format!("it says {found}, from the root {:?} follows {computed}", expected.engine_root);
    Err(Refusal::new(Reason::StreamViewIdMismatch, detail).file(name).field("stream_view_id"))
}

type Vouched = (Hex64, u64, Option<(Micros, Micros)>);

fn check_receipt(bytes: &[u8], name: &str, expected: Expected<'_>) -> Result<Vouched, Refusal> {
    let bad = |field: &str, detail: String| Refusal::new(Reason::StreamViewReceiptBad, detail).file(name).field(field);
    let receipt: SortReceipt = strict::parse(bytes, Limits::bytes(MAX_BYTES as usize))
        .map_err(|error| Refusal::new(Reason::StreamViewReceiptBad, error.to_string()).file(name))?;
    if receipt.status != "OK" {
        return Err(bad("status", format!("it is {:?}", strict::excerpt(&receipt.status, 80))));
    }
    if receipt.output_id != *expected.output_id {
        let detail = format!("it is of {}, not of {}", receipt.output_id, expected.output_id);
        return Err(Refusal::new(Reason::StreamViewOutputMismatch, detail).file(name).field("output_id"));
    }
    same_view_id(&receipt.stream_view_id, expected, name)?;
    let (raw, sorted) = (&receipt.raw_stats, &receipt.sorted_stats);
    if raw.row_count != sorted.row_count {
        let detail = format!("{} rows went into the sort, {} came out", raw.row_count, sorted.row_count);
        return Err(bad("sorted_stats.row_count", detail));
    }
    for (field, one, other) in
        [("hash_sum", &raw.hash_sum, &sorted.hash_sum), ("hash_sum2", &raw.hash_sum2, &sorted.hash_sum2)]
    {
        let field = format!("sorted_stats.{field}");
        if !(one.is_string() || one.is_number()) {
            return Err(bad(&field, "it is neither a text nor a number".to_owned()));
        }
        if one != other {
            return Err(bad(&field, "the rows that came out of the sort are not those that went in".to_owned()));
        }
    }
    if raw != sorted {
        return Err(bad("sorted_stats", "its first or last time is not that of raw_stats".to_owned()));
    }
    let span = span(sorted).map_err(|why| bad("sorted_stats", why))?;
    Ok((receipt.stream_view_id, sorted.row_count, span))
}

fn span(stats: &Stats) -> Result<Option<(Micros, Micros)>, String> {
    let (min, max) = match (&stats.min_ts_utc, &stats.max_ts_utc) {
        (None, None) if stats.row_count == 0 => return Ok(None),
        (Some(min), Some(max)) => (min, max),
        _ => return Err("min_ts_utc and max_ts_utc have to be there, both".to_owned()),
    };
    let read = |text: &str| Micros::parse(text.as_bytes()).ok_or(format!("{:?} is no time", strict::excerpt(text, 80)));
    let span = (read(min)?, read(max)?);
    if span.0 > span.1 { Err(format!("min_ts_utc {min} is later than max_ts_utc {max}")) } else { Ok(Some(span)) }
}

/// The parts among `keys`, by number: as text, part-1000000 would come before part-999999.
fn parts_in_order(keys: impl Iterator<Item = Key>, folder: &str) -> Result<Vec<Key>, Refusal> {
    let foreign =
        |key: &Key, detail: String| Refusal::new(Reason::StreamViewRowsMismatch, detail).file(folder).field(key.name());
    let mut parts: Vec<(u64, Key)> = Vec::new();
    for key in keys {
        let Some(middle) = key.name().strip_prefix("part-").and_then(|name| name.strip_suffix(".parquet")) else {
            continue;
        };
        let number = Some(middle).filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
        match number.and_then(|text| text.parse().ok()) {
            Some(number) => parts.push((number, key)),
            None => return Err(foreign(&key, "it looks like a part and has no number to order it by".to_owned())),
        }
    }
    parts.sort_unstable();
    if let Some(pair) = parts.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(foreign(&pair[1].1, format!("{} has the same number", pair[0].1.name())));
    }
    if parts.is_empty() {
        return Err(Refusal::new(Reason::StreamViewEmpty, "there is no part-NNNNNN.parquet").file(folder));
    }
    Ok(parts.into_iter().map(|(_, key)| key).collect())
}

#[cfg(test)]
mod tests;
