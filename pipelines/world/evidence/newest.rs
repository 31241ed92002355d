//! The newest run of a store, for commands that are given no run.

use wsp::store::ObjectStore;

use super::{prefix, run_prefix, unavailable};
use crate::model::{PlatformRunId, Refusal};

/// The folder of a run that this program writes into.
const OURS: &str = "wsp";

/// The newest platform run that this program has left something of in `store`, by its id, which is the time it was made at. A
/// run that has facts alone is none of them.
///
/// # Errors
///
/// `STORE_UNAVAILABLE`.
pub async fn newest_run(store: &dyn ObjectStore) -> Result<Option<PlatformRunId>, Refusal> {
    let home = prefix::runs(store.root())?;
    let folders = store.folders(home.as_ref()).await.map_err(unavailable)?;
    let mut runs: Vec<PlatformRunId> = folders.iter().filter_map(|name| name.parse().ok()).collect();
    runs.sort_unstable();
    for run in runs.into_iter().rev() {
        let below = store.folders(Some(&run_prefix(store.root(), &run)?)).await.map_err(unavailable)?;
        if below.iter().any(|name| name == OURS) {
            return Ok(Some(run));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Reason;
    use wsp::store::MemoryStore;

    async fn newest(root: &str, objects: &[&str]) -> Option<String> {
        let store = MemoryStore::new(root);
        for name in objects {
            store.put(&name.parse().unwrap(), "x".into()).await.unwrap();
        }
        newest_run(&store).await.unwrap().map(|run| run.to_string())
    }

    #[tokio::test]
    async fn the_newest_run_is_the_last_that_was_streamed_or_refused() {
        let objects = [
            "fraud-platform/platform_20260101T000000Z/wsp/wsp_start.json",
            "fraud-platform/platform_20260301T000000Z/sr/run_facts_view/x.json",
            "fraud-platform/platform_20260201T000000Z/wsp/ready_runs/x.jsonl",
            "fraud-platform/control_bus/wsp/x",
            "platform_20260401T000000Z/wsp/wsp_start.json",
        ];
        assert_eq!(newest("runs", &objects).await.as_deref(), Some("platform_20260201T000000Z"));
        assert_eq!(newest("s3://bucket", &objects).await.as_deref(), Some("platform_20260401T000000Z"));
        assert_eq!(newest("runs", &[]).await, None);
    }

    #[tokio::test]
    async fn a_store_that_is_away_is_no_empty_one() {
        let store = MemoryStore::new("runs");
        store.fail_next(1);
        assert_eq!(newest_run(&store).await.unwrap_err().reason, Reason::StoreUnavailable);
    }
}
