//! The machine's own file system.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Disk, DiskFile, Kind, Meta, Mode};

/// Operations that wait for the disk at once.
const MOST_AT_ONCE: usize = 8;

/// The machine's own file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        match mode {
            Mode::Read => options.read(true),
            Mode::Create => options.write(true).create_new(true),
            Mode::Write => options.read(true).write(true).create(true).truncate(false),
            Mode::Append => options.read(true).append(true).create(true),
        };
        Ok(Box::new(options.open(path)?))
    }

    fn meta(&self, path: &Path) -> io::Result<Meta> {
        fs::metadata(path).map(|meta| Meta::of(&meta))
    }

    fn link_meta(&self, path: &Path) -> io::Result<Meta> {
        fs::symlink_metadata(path).map(|meta| Meta::of(&meta))
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        fs::canonicalize(path)
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir(folder)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn hard_link(&self, file: &Path, name: &Path) -> io::Result<()> {
        fs::hard_link(file, name)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn together(
        &self,
        count: usize,
        work: &(dyn Fn(usize) -> io::Result<()> + Sync),
    ) -> Result<(), (usize, io::Error)> {
        let work = &|number| work(number).map_err(|error| (number, error));
        let numbers: Vec<usize> = (0..count).collect();
        numbers.chunks(MOST_AT_ONCE).try_for_each(|numbers| side_by_side(numbers, work))
    }

    fn run(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, io::Result<()>> {
        tokio::task::spawn_blocking(work).map(|done| done.map_err(io::Error::other)).boxed()
    }
}

impl DiskFile for File {
    fn meta(&self) -> io::Result<Meta> {
        self.metadata().map(|meta| Meta::of(&meta))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = self;
        file.write_all(bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_all()
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn lock(&self) -> io::Result<()> {
        File::lock(self)
    }

    fn try_lock(&self) -> io::Result<bool> {
        match File::try_lock(self) {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Meta {
    fn of(meta: &Metadata) -> Self {
        let kind = match meta.file_type() {
            kind if kind.is_file() => Kind::File,
            kind if kind.is_dir() => Kind::Folder,
            kind if kind.is_symlink() => Kind::Link,
            _ => Kind::Other,
        };
        Self {
            kind,
            len: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
            device: meta.dev(),
            inode: meta.ino(),
        }
    }
}

/// Does `work` for all `numbers`, each on a thread of its own but the last one, and returns the first error in their order.
fn side_by_side<E: Send>(numbers: &[usize], work: &(impl Fn(usize) -> Result<(), E> + Sync)) -> Result<(), E> {
    let Some((here, others)) = numbers.split_last() else { return Ok(()) };
    thread::scope(|scope| {
        let start = |number: usize| {
            thread::Builder::new().name("wsp-sync".to_owned()).spawn_scoped(scope, move || work(number))
        };
        let started: Vec<_> = others.iter().map(|number| (*number, start(*number))).collect();
        let last = work(*here);
        let done = started.into_iter().map(|(number, thread)| match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            // The machine has no thread left for it.
            Err(_) => work(number),
        });
        // All are waited for.
        done.fold(Ok(()), Result::and).and(last)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_done_together_is_all_done_and_its_first_error_returned() {
        for (count, bad) in [(0, vec![]), (1, vec![]), (5, vec![4]), (20, vec![19, 3, 6]), (8, vec![7, 0])] {
            let done = std::sync::Mutex::new(Vec::new());
            let result = RealDisk.together(count, &|number| {
                done.lock().unwrap().push(number);
                if bad.contains(&number) { Err(io::Error::other("bad")) } else { Ok(()) }
            });
            assert_eq!(result.err().map(|(number, _)| number), bad.iter().min().copied());
            let mut done = done.into_inner().unwrap();
            done.sort_unstable();
            // Those behind a failed eight are left alone.
            let expected = if bad.is_empty() { count } else { count.min((bad.iter().min().unwrap() / 8 + 1) * 8) };
            assert_eq!(done, (0..expected).collect::<Vec<_>>());
        }
    }
}
