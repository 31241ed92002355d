//! The contract of checkpoint stores, on those that need no server.

use wsp::clock::SystemClock;
use wsp_world::checkpoint::{FileCheckpoints, MemoryCheckpoints};

use crate::kit::checkpoint_contract;

#[tokio::test]
async fn files_keep_the_contract() {
    let root = tempfile::tempdir().unwrap();
    let store = FileCheckpoints::new(root.path().join("checkpoints"), SystemClock::new());
    checkpoint_contract::holds(&store, async |scope| {
        std::fs::remove_file(root.path().join("checkpoints").join(scope.as_str()).join(".lock")).unwrap();
    })
    .await;
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    let store = MemoryCheckpoints::new();
    checkpoint_contract::holds(&store, async |scope| store.expire(scope)).await;
}
