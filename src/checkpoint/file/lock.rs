//! A scope's lock file: a lock of the operating system, for as long as a process lives, and a line that says whose it is.
//!
//! ```text
//! take ─► lock the file ─► epoch + 1, owner ─► the file at the path says so? ─► Lock ─ before each save: does it still?
//! ```
//!
//! The lock is on a file, not on its name. Who removes the file, or puts another folder in its place, lets a second
//! producer in; the line is how the first one sees it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::checkpoint::owner;

/// What is read of a lock file, in bytes; a line has some hundred.
const LIMIT: u64 = 4096;

/// A lock that this process has.
pub(super) struct Lock {
    path: PathBuf,
    epoch: u64,
    line: String,
    _file: File,
}

impl Lock {
    /// Locks `folder`; `None` where another process has it.
    pub(super) fn take(folder: &Path) -> io::Result<Option<Self>> {
        let path = folder.join(".lock");
        let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // A file without a readable line is new, or of a producer that wrote none.
        let epoch = epoch_of(&read(&mut file)?).unwrap_or(0).saturating_add(1);
        let line = format!("epoch {epoch}, {}", owner::unique(&owner::this_process()));
        file.rewind()?;
        file.set_len(0)?;
        file.write_all(line.as_bytes())?;
        let lock = Self { path, epoch, line, _file: file };
        // Somebody may have put another file there before this one was locked; then that one counts.
        Ok(lock.taken_by()?.is_none().then_some(lock))
    }

    /// What the file at the path says that is not this lock's.
    pub(super) fn taken_by(&self) -> io::Result<Option<String>> {
        let line = match File::open(&self.path) {
            Ok(mut file) => read(&mut file)?,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(Some("is gone".to_owned()));
            }
            Err(error) => return Err(error),
        };
        Ok((line != self.line).then(|| format!("says {line:?}")))
    }

    /// Counts the holders of the file.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Epoch and owner.
    pub(super) fn line(&self) -> &str {
        &self.line
    }
}

fn read(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn epoch_of(line: &str) -> Option<u64> {
    line.strip_prefix("epoch ")?.split_once(',')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn epochs_count_the_owners_of_a_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".lock"), "").unwrap();
        let first = Lock::take(dir.path()).unwrap().unwrap();
        assert_eq!((epoch_of(first.line()), first.epoch(), first.taken_by().unwrap()), (Some(1), 1, None));
        assert!(Lock::take(dir.path()).unwrap().is_none(), "it is held");
        assert_eq!(first.taken_by().unwrap(), None, "and who asked has changed nothing");
        drop(first);
        let second = Lock::take(dir.path()).unwrap().unwrap();
        assert_eq!((epoch_of(second.line()), second.epoch()), (Some(2), 2));
    }

    #[test]
    fn who_lost_the_file_sees_it() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::take(dir.path()).unwrap().unwrap();
        fs::remove_file(dir.path().join(".lock")).unwrap();
        assert_eq!(lock.taken_by().unwrap().as_deref(), Some("is gone"));
        let other = Lock::take(dir.path()).unwrap().unwrap();
        assert!(lock.taken_by().unwrap().unwrap().contains(other.line()));
        assert_ne!(lock.line(), other.line(), "one process, one epoch, two owners");
        assert_eq!(other.taken_by().unwrap(), None);
    }
}
