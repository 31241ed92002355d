//! Where a run's evidence lies below the object-store root (contract, section 8).

use wsp::store::Key;

use super::key;
use crate::model::{PlatformRunId, Refusal};

/// What all runs' prefixes begin with: nothing in a bucket, which is the platform's own; `fraud-platform` in a folder, which
/// others share.
pub(super) fn runs(root: &str) -> Result<Option<Key>, Refusal> {
    if root.starts_with("s3://") { Ok(None) } else { key("fraud-platform").map(Some) }
}

/// The run's prefix: its id, below what all of them begin with.
///
/// # Errors
///
/// None in practice: an id is always a key.
pub fn run_prefix(root: &str, platform_run_id: &PlatformRunId) -> Result<Key, Refusal> {
    match runs(root)? {
        Some(runs) => key(&format!("{runs}/{platform_run_id}")),
        None => key(platform_run_id.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_ours_and_a_folder_is_shared() {
        let id: PlatformRunId = "platform_20260101T000000Z".parse().unwrap();
        for (root, prefix) in [
            ("s3://bucket", "platform_20260101T000000Z"),
            ("s3://bucket/deeper", "platform_20260101T000000Z"),
            ("runs", "fraud-platform/platform_20260101T000000Z"),
        ] {
            assert_eq!(run_prefix(root, &id).unwrap().as_str(), prefix, "{root}");
        }
    }
}
