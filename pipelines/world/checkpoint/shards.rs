//! How far the shards of a control stream are settled, in files: `<root>/ready_positions/<scope>/<shard>.json`.
//!
//! A scope is one consumer of one stream for one run. Each shard has a file of its own, so consumers that share a scope
//! never overwrite what another one keeps of other shards.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use wsp::checkpoint::file::blocking;
use wsp::disk::{RealDisk, files};
use wsp::strict::{self, Limits};

use crate::model::{Hex64, Reason, Refusal, ShardPosition};

/// The folder below the root of checkpoints.
const FOLDER: &str = "ready_positions";
/// Bytes of a file at most.
const LIMIT: u64 = 4096;

/// Positions of one scope in files.
#[derive(Debug, Clone)]
pub struct FileShards {
    folder: PathBuf,
}

impl FileShards {
    /// Those of `scope` below the root of checkpoints. Nothing is made before the first save.
    #[must_use]
    pub fn new(root: &Path, scope: &Hex64) -> Self {
        Self { folder: root.join(FOLDER).join(scope.as_str()) }
    }

    /// All positions that are kept.
    ///
    /// # Errors
    ///
    /// `CHECKPOINT_UNREADABLE`, naming the file.
    pub async fn load(&self) -> Result<Vec<ShardPosition>, Refusal> {
        let folder = self.folder.clone();
        blocking(&RealDisk, move || load(&folder)).await
    }

    /// Keeps these, durably; those of other shards stay as they are.
    ///
    /// # Errors
    ///
    /// `CHECKPOINT_SAVE_FAILED`, naming the file.
    pub async fn save(&self, positions: &[ShardPosition]) -> Result<(), Refusal> {
        let (folder, positions) = (self.folder.clone(), positions.to_vec());
        blocking(&RealDisk, move || save(&folder, &positions)).await
    }
}

fn load(folder: &Path) -> Result<Vec<ShardPosition>, Refusal> {
    let unreadable = |path: &Path, error: String| {
        let detail =
            format!("the position in a shard of the control stream: {error}; without the file it is read anew");
        Refusal::new(Reason::CheckpointUnreadable, detail).file(path.display().to_string())
    };
    let listed = match std::fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(folder, error.to_string())),
    };
    let (mut positions, limits) = (Vec::new(), Limits::bytes(LIMIT as usize));
    for entry in listed {
        let path = entry.map_err(|error| unreadable(folder, error.to_string()))?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = files::read_text(&path, LIMIT).map_err(|error| unreadable(&path, error.to_string()))?;
        let position: ShardPosition =
            strict::parse(text.as_bytes(), limits).map_err(|error| unreadable(&path, error.to_string()))?;
        if path != file(folder, &position) {
            return Err(unreadable(&path, format!("it is of the shard {}", position.shard_id)));
        }
        positions.push(position);
    }
    Ok(positions)
}

fn save(folder: &Path, positions: &[ShardPosition]) -> Result<(), Refusal> {
    files::create_folders(&RealDisk, folder).map_err(|error| failed(folder, &error))?;
    for position in positions {
        let path = file(folder, position);
        let body = serde_json::to_vec(position).map_err(|error| failed(&path, &error.into()))?;
        files::replace(&RealDisk, &path, &body).map_err(|error| failed(&path, &error))?;
    }
    Ok(())
}

fn file(folder: &Path, position: &ShardPosition) -> PathBuf {
    folder.join(format!("{}.json", position.shard_id))
}

fn failed(path: &Path, error: &io::Error) -> Refusal {
    let detail = format!("the position in a shard of the control stream: {error}");
    Refusal::new(Reason::CheckpointSaveFailed, detail).file(path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(shard: &str, sequence: &str, drained: bool) -> ShardPosition {
        ShardPosition { shard_id: shard.parse().unwrap(), sequence_number: sequence.parse().unwrap(), drained }
    }

    fn sorted(mut positions: Vec<ShardPosition>) -> Vec<ShardPosition> {
        positions.sort_by(|one, other| one.shard_id.cmp(&other.shard_id));
        positions
    }

    #[tokio::test]
    async fn what_is_kept_is_found_again_shard_by_shard() {
        let root = tempfile::tempdir().unwrap();
        let shards = FileShards::new(root.path(), &Hex64::sha256("a"));
        assert_eq!(shards.load().await, Ok(Vec::new()));
        shards.save(&[position("s-0", "7", false), position("s-1", "8", false)]).await.unwrap();
        shards.save(&[position("s-0", "9", true)]).await.unwrap();
        let kept = sorted(FileShards::new(root.path(), &Hex64::sha256("a")).load().await.unwrap());
        assert_eq!(kept, [position("s-0", "9", true), position("s-1", "8", false)]);
        let other = FileShards::new(root.path(), &Hex64::sha256("b"));
        assert_eq!(other.load().await, Ok(Vec::new()), "another scope");
    }

    #[tokio::test]
    async fn what_is_no_position_is_passed_over() {
        let root = tempfile::tempdir().unwrap();
        let shards = FileShards::new(root.path(), &Hex64::sha256("a"));
        shards.save(&[position("s-0", "7", false)]).await.unwrap();
        let folder = root.path().join(FOLDER).join(Hex64::sha256("a").as_str());
        for name in [".s-0.json.1.0.wsp-tmp", "lost+found"] {
            std::fs::write(folder.join(name), "{").unwrap();
        }
        assert_eq!(shards.load().await, Ok(vec![position("s-0", "7", false)]));
    }

    #[tokio::test]
    async fn a_file_that_is_not_what_it_says_is_refused_by_name() {
        let root = tempfile::tempdir().unwrap();
        let shards = FileShards::new(root.path(), &Hex64::sha256("a"));
        shards.save(&[position("s-0", "7", false)]).await.unwrap();
        let folder = root.path().join(FOLDER).join(Hex64::sha256("a").as_str());
        std::fs::copy(folder.join("s-0.json"), folder.join("s-1.json")).unwrap();
        let refusal = shards.load().await.unwrap_err();
        assert!(refusal.to_string().contains("s-1.json"), "{refusal}");
        for bad in ["{", "{\"shard_id\":\"s-1\",\"sequence_number\":\"x\",\"drained\":false}", &" ".repeat(5000)] {
            std::fs::write(folder.join("s-1.json"), bad).unwrap();
            assert_eq!(shards.load().await.unwrap_err().reason, Reason::CheckpointUnreadable, "{bad:.20}");
        }
    }
}
