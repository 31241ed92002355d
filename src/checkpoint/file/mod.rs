//! Stores in files: a folder that one process holds, with two texts or a journal in it.
//!
//! ```text
//! HeldFolder (lock file: a lock, and a line that says whose) ─► changes, while it still is ours
//! Journal: two files in turns, one sync a save
//! TextFolders: a store whose scopes are folders with two texts
//! ```
//!
//! What the entries say, and which files others read beside them, is the producer's affair.

pub mod journal;
mod lock;
mod owned;
mod texts;

use std::io::{self, ErrorKind};
use std::path::Path;

pub use journal::Journal;
pub use lock::Lock;
pub use owned::HeldFolder;
pub use texts::TextFolders;

use super::error::{CheckpointError, CheckpointFault};
use crate::disk::{self, Disk, Mode};

/// The whole file; `None` where there is none.
///
/// # Errors
///
/// [`CheckpointFault::Unreadable`] where it is longer than `limit`, or the disk says so.
pub fn read_file(disk: &dyn Disk, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, CheckpointError> {
    let file = match disk.open(path, Mode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(path, error.to_string())),
    };
    let bytes = file.read_up_to(limit).map_err(|error| unreadable(path, error.to_string()))?;
    if bytes.len() as u64 > limit {
        return Err(unreadable(path, format!("more than {limit} bytes")));
    }
    Ok(Some(bytes))
}

/// What is kept at `path` can't be read.
pub fn unreadable(path: &Path, detail: impl Into<String>) -> CheckpointError {
    CheckpointError::new(CheckpointFault::Unreadable, detail).file(path.to_string_lossy())
}

/// What is kept at `path` belongs to another scope: `field` says `inside`, its place `outside`.
pub fn foreign(path: &Path, field: &'static str, inside: &str, outside: &str) -> CheckpointError {
    let detail = format!("the file says {inside}, its folder {outside}");
    CheckpointError::new(CheckpointFault::Foreign, detail).file(path.to_string_lossy()).field(field)
}

/// What was to be kept at `path` is not durable.
pub fn not_saved(path: &Path, error: &io::Error) -> CheckpointError {
    CheckpointError::new(CheckpointFault::NotSaved, error.to_string()).file(path.to_string_lossy())
}

/// Does what waits for the disk, away from the runtime's own threads.
///
/// # Errors
///
/// Those of the work; [`CheckpointFault::Internal`] where it panicked.
pub async fn blocking<T: Send + 'static, E: From<CheckpointError> + Send + 'static>(
    disk: &dyn Disk,
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    let done = disk::blocking(disk, work).await;
    done.unwrap_or_else(|error| {
        Err(CheckpointError::new(CheckpointFault::Internal, format!("checkpoint files: {error}")).into())
    })
}
