//! A cursor file as another producer, or a bad disk, may have left it.

use wsp::checkpoint::{CheckpointStore, FileCheckpoints};
use wsp::clock::SystemClock;
use wsp::model::{Hex64, OutputId};

use super::assert_sayable;

const SCOPE: &str = "99244ea4c111f8bd0f218f542701b02e21a4057324c319250b7c46eaf8eaf9e7";

/// Whatever the file holds, it is refused or read, and what was read is read again after it was saved.
pub(crate) fn cursor(bytes: &[u8]) {
    let root = tempfile::tempdir().unwrap();
    let scope: Hex64 = SCOPE.parse().unwrap();
    let outputs: [OutputId; 1] = ["arrival_events_5B".parse().unwrap()];
    let folder = root.path().join(format!("{SCOPE}/output_id=arrival_events_5B"));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("cursor.json"), bytes).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = FileCheckpoints::new(root.path(), SystemClock::new());
        match store.peek(&scope, &outputs).await {
            Err(refusal) => assert_sayable(&refusal.to_string()),
            Ok(cursors) => {
                let [cursor] = cursors.cursors.as_slice() else { panic!("one cursor: {cursors:?}") };
                assert_eq!(cursor.output_id, outputs[0]);
                let mut held = store.open(&scope).await.unwrap();
                assert_eq!(held.load(&outputs).await.unwrap(), cursors);
                held.save(&cursors).await.unwrap();
                drop(held);
                assert_eq!(store.peek(&scope, &outputs).await.unwrap(), cursors);
            }
        }
    });
}
