//! The contract of checkpoint stores, on those that need no server.

use std::sync::Arc;

use wsp::checkpoint::file::TextFolders;
use wsp::clock::SystemClock;
use wsp::disk::RealDisk;
use wsp_world::checkpoint::{FileCheckpoints, MemoryCheckpoints};

use crate::kit::text_contract::Notes;
use crate::kit::{checkpoint_contract, text_contract};

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

#[tokio::test]
async fn folders_keep_the_contract_of_texts() {
    let root = tempfile::tempdir().unwrap();
    let store = TextFolders::<Notes>::new(Arc::new(RealDisk), root.path());
    text_contract::holds(&store, async |scope| std::fs::remove_file(root.path().join(scope).join(".lock")).unwrap())
        .await;
}

#[tokio::test]
async fn memory_keeps_the_contract_of_texts() {
    let store = wsp::checkpoint::MemoryCheckpoints::<Notes>::new();
    text_contract::holds(&store, async |scope| store.expire(scope)).await;
}
