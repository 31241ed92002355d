//! What is kept of a scope as another producer, a crash or a bad disk may have left it: a cursor file, the list of rows
//! beyond the cursors, an entry of the journal.

use std::path::Path;

use wsp::clock::SystemClock;
use wsp::strict::{self, Limits};
use wsp_world::checkpoint::{CheckpointStore, FileCheckpoints, Kept};
use wsp_world::model::{Hex64, OutputId, SequenceNumber, ShardId, ShardPosition};

use super::assert_sayable;

const SCOPE: &str = "99244ea4c111f8bd0f218f542701b02e21a4057324c319250b7c46eaf8eaf9e7";
const OUTPUTS: [&str; 2] = ["arrival_events_5B", "s1_arrival_entities_6B"];
const CURSOR: &str = "output_id=arrival_events_5B/cursor.json";
const GOOD_CURSOR: (&str, &[u8]) = (CURSOR, include_bytes!("../corpus/cursor/golden"));

/// Of one output.
pub(crate) fn cursor(bytes: &[u8]) {
    if let Some(kept) = kept(&[(CURSOR, bytes)]) {
        let [cursor] = kept.cursors.as_slice() else { panic!("one cursor: {kept:?}") };
        assert_eq!(cursor.output_id.as_str(), OUTPUTS[0]);
    }
}

/// Beside a good cursor.
pub(crate) fn answered(bytes: &[u8]) {
    kept(&[GOOD_CURSOR, ("answered.json", bytes)]);
}

/// Bytes that begin as an entry does are the file; others are the body of an entry that is whole.
pub(crate) fn journal(bytes: &[u8]) {
    const MAGIC: &[u8] = b"wsp-journal 1 ";
    let mut file = Vec::new();
    if !bytes.starts_with(MAGIC) {
        file.extend_from_slice(MAGIC);
        file.extend_from_slice(format!("{} {}\n", bytes.len(), Hex64::sha256(bytes)).as_bytes());
    }
    file.extend_from_slice(bytes);
    kept(&[GOOD_CURSOR, ("journal.0", &file)]);
}

/// Whatever the files hold, it is refused or read, and what was read is read again after it was taken over and saved.
fn kept(files: &[(&str, &[u8])]) -> Option<Kept> {
    let root = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = root.path().join(SCOPE).join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(taken_over(root.path()))
}

async fn taken_over(root: &Path) -> Option<Kept> {
    let scope: Hex64 = SCOPE.parse().unwrap();
    let outputs: [OutputId; 2] = OUTPUTS.map(|name| name.parse().unwrap());
    let store = FileCheckpoints::new(root, SystemClock::new());
    let kept = match store.peek(&scope, &outputs).await {
        Ok(kept) => kept,
        Err(refusal) => {
            assert_sayable(&refusal.to_string());
            return None;
        }
    };
    let mut held = store.open(&scope).await.unwrap();
    assert_eq!(held.load(&outputs).await.unwrap(), kept);
    held.save(&kept).await.unwrap();
    drop(held);
    assert_eq!(store.peek(&scope, &outputs).await.unwrap(), kept);
    Some(kept)
}

/// How far a shard is settled as its file holds it, and the names and numbers that a Kinesis service gives.
pub(crate) fn shard_position(bytes: &[u8]) {
    match strict::parse::<ShardPosition>(bytes, Limits::bytes(4096)) {
        Ok(position) => {
            let again = serde_json::to_vec(&position).unwrap();
            assert_eq!(serde_json::from_slice::<ShardPosition>(&again).unwrap(), position);
        }
        Err(error) => assert_sayable(&error.to_string()),
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match text.parse::<ShardId>() {
        // It becomes a file's name.
        Ok(shard) => assert!(!shard.as_str().contains(['/', '\\', '\0']) && shard.as_str() == text),
        Err(error) => assert_sayable(&error.to_string()),
    }
    match text.parse::<SequenceNumber>() {
        Ok(number) => {
            let ten_times: SequenceNumber = match format!("{number}0").parse() {
                Ok(ten_times) => ten_times,
                Err(error) => return assert_sayable(&error.to_string()),
            };
            assert!(number < ten_times, "{number}");
        }
        Err(error) => assert_sayable(&error.to_string()),
    }
}
