//! The disk, as far as files that have to last need it. It is a port, so that tests and the simulator decide when an
//! operation fails, when a process dies and what a power loss leaves.
//!
//! ```text
//! checkpoint files · local store · spool ──► files: whole content or none, durable ──► Disk: RealDisk · MemoryDisk
//! ```
//!
//! Data is durable once its file is synced, and a name (created, renamed or removed) once its folder is.

mod content;
pub mod files;
mod host;
mod memory;
mod real;
pub mod testing;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use futures::future::BoxFuture;
use tokio::sync::oneshot;

pub use host::{Act, Fate, Host, Operation};
pub use memory::MemoryDisk;
pub use real::RealDisk;

/// A file system. What it does not say here is as on POSIX, its errors among it.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Opens a file.
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn DiskFile>>;

    /// What is at `path`, behind links.
    fn meta(&self, path: &Path) -> io::Result<Meta>;

    /// What is at `path`, be it a link.
    fn link_meta(&self, path: &Path) -> io::Result<Meta>;

    /// The absolute path without links.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf>;

    /// The names in a folder, in no order.
    fn names(&self, folder: &Path) -> io::Result<Vec<OsString>>;

    /// Makes one folder in a folder that is there.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;

    /// Gives a file another name, in place of what had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file one name more; an error where something has it.
    fn hard_link(&self, file: &Path, name: &Path) -> io::Result<()>;

    /// Removes a file's name.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// Does `work` for each of `0..count`, perhaps several at a time, and returns the first error in that order with its
    /// number. The work waits for the disk, and a file system writes together what is asked for together.
    fn together(&self, count: usize, work: &(dyn Fn(usize) -> io::Result<()> + Sync))
    -> Result<(), (usize, io::Error)>;

    /// Does `work`, which waits for the disk, away from the runtime's own threads. Once polled it is done to its end,
    /// whether or not anybody still awaits it.
    ///
    /// # Errors
    ///
    /// The work panicked, or the runtime is shutting down.
    fn run(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, io::Result<()>>;
}

/// An open file. It is closed, and its lock released, when it is dropped.
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// What is known of it.
    fn meta(&self) -> io::Result<Meta>;

    /// Reads what is at `offset`, some of it at least; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`, in a file that is not opened for appending.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at the end, in a file that is opened for appending.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;

    /// Cuts it, or fills it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes its content durable.
    fn sync(&self) -> io::Result<()>;

    /// Makes its content durable, without the times and owners that nobody here reads.
    fn sync_data(&self) -> io::Result<()>;

    /// Locks it against others who lock it; waits for them.
    fn lock(&self) -> io::Result<()>;

    /// Locks it against others who lock it; false where somebody has.
    fn try_lock(&self) -> io::Result<bool>;
}

impl dyn DiskFile + '_ {
    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` where the file ends before.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The whole file; of one that is longer than `limit`, a byte more than that.
    ///
    /// # Errors
    ///
    /// As the disk says.
    pub fn read_up_to(&self, limit: u64) -> io::Result<Vec<u8>> {
        let most = limit.saturating_add(1);
        // It may grow between the look and the read.
        let mut bytes = vec![0; self.meta()?.len.saturating_add(1).min(most) as usize];
        let mut filled = 0;
        loop {
            match self.read_at(&mut bytes[filled..], filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if filled == bytes.len() {
                bytes.resize(((filled as u64).saturating_mul(2).max(8192)).min(most) as usize, 0);
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// To be read.
    Read,
    /// To be written; nothing may have its name yet.
    Create,
    /// To be read and overwritten; made if need be.
    Write,
    /// To be read and appended to; made if need be.
    Append,
}

/// What is known of a file or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// What it is.
    pub kind: Kind,
    /// Bytes.
    pub len: u64,
    /// When it was last written: seconds and nanoseconds.
    pub modified: (i64, i64),
    /// When it was last changed in any way: seconds and nanoseconds.
    pub changed: (i64, i64),
    /// The device that it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
}

/// What something on a disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// Something else, such as a pipe.
    Other,
}

/// Does work that waits for the disk away from the runtime's own threads.
///
/// # Errors
///
/// As [`Disk::run`].
pub async fn blocking<T: Send + 'static>(disk: &dyn Disk, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (tell, told) = oneshot::channel();
    // Who asked may be gone by then.
    disk.run(Box::new(move || drop(tell.send(work())))).await?;
    told.await.map_err(io::Error::other)
}
