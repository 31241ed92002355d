//! A scope's lock file: a lock of the operating system, for as long as a process lives, and a line that says whose it is.
//!
//! ```text
//! take ─► lock the file ─► epoch + 1, owner ─► the file at the path says so? ─► Lock ─ before each save: does it still?
//! ```
//!
//! The lock is on a file, not on its name. Who removes the file, or puts another folder in its place, lets a second
//! producer in; the line is how the first one sees it.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checkpoint::owner;
use crate::disk::{Disk, DiskFile, Mode};

/// What is read of a lock file, in bytes; a line has some hundred.
const LIMIT: u64 = 4096;

/// A lock that this process has.
#[derive(Debug)]
pub struct Lock {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    epoch: u64,
    line: String,
    _file: Box<dyn DiskFile>,
}

impl Lock {
    /// Locks `folder`; `None` where another process has it.
    pub fn take(disk: Arc<dyn Disk>, folder: &Path) -> io::Result<Option<Self>> {
        let path = folder.join(".lock");
        let file = disk.open(&path, Mode::Write)?;
        if !file.try_lock()? {
            return Ok(None);
        }
        // A file without a readable line is new, or of a producer that wrote none.
        let epoch = epoch_of(&read(&*file)?).unwrap_or(0).saturating_add(1);
        let line = format!("epoch {epoch}, {}", owner::unique(&owner::this_process()));
        file.set_len(0)?;
        file.write_at(line.as_bytes(), 0)?;
        let lock = Self { disk, path, epoch, line, _file: file };
        // Somebody may have put another file there before this one was locked; then that one counts.
        Ok(lock.taken_by()?.is_none().then_some(lock))
    }

    /// What the file at the path says that is not this lock's.
    pub fn taken_by(&self) -> io::Result<Option<String>> {
        let line = match self.disk.open(&self.path, Mode::Read) {
            Ok(file) => read(&*file)?,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(Some("is gone".to_owned()));
            }
            Err(error) => return Err(error),
        };
        Ok((line != self.line).then(|| format!("says {line:?}")))
    }

    /// Counts the holders of the file.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Epoch and owner.
    pub fn line(&self) -> &str {
        &self.line
    }
}

fn read(file: &dyn DiskFile) -> io::Result<String> {
    let bytes = file.read_up_to(LIMIT)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn epoch_of(line: &str) -> Option<u64> {
    line.strip_prefix("epoch ")?.split_once(',')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::disk::RealDisk;

    fn take(folder: &Path) -> Option<Lock> {
        Lock::take(Arc::new(RealDisk), folder).unwrap()
    }

    #[test]
    fn epochs_count_the_owners_of_a_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".lock"), "").unwrap();
        let first = take(dir.path()).unwrap();
        assert_eq!((epoch_of(first.line()), first.epoch(), first.taken_by().unwrap()), (Some(1), 1, None));
        assert!(take(dir.path()).is_none(), "it is held");
        assert_eq!(first.taken_by().unwrap(), None, "and who asked has changed nothing");
        drop(first);
        let second = take(dir.path()).unwrap();
        assert_eq!((epoch_of(second.line()), second.epoch()), (Some(2), 2));
    }

    #[test]
    fn who_lost_the_file_sees_it() {
        let dir = tempfile::tempdir().unwrap();
        let lock = take(dir.path()).unwrap();
        fs::remove_file(dir.path().join(".lock")).unwrap();
        assert_eq!(lock.taken_by().unwrap().as_deref(), Some("is gone"));
        let other = take(dir.path()).unwrap();
        assert!(lock.taken_by().unwrap().unwrap().contains(other.line()));
        assert_ne!(lock.line(), other.line(), "one process, one epoch, two owners");
        assert_eq!(other.taken_by().unwrap(), None);
    }
}
