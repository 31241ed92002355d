//! The process that uses a disk in memory: it rules what happens, and when.
//!
//! ```text
//! operation (act, path) ──Host──► happens · fails · fails half-way
//! work that waits for the disk ──Host──► when it is done
//! ```

use std::io;
use std::path::Path;

use futures::FutureExt;
use futures::future::BoxFuture;

/// What becomes of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It happens.
    Happens,
    /// It fails, and nothing has happened.
    Fails,
    /// It fails; of a write, half has happened.
    FailsHalfway,
}

/// An operation that is about to happen.
#[derive(Debug, Clone, Copy)]
pub struct Operation<'a> {
    /// What it does.
    pub act: Act,
    /// With which file or folder.
    pub path: &'a Path,
}

/// What an operation does with a file or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named for what they do")]
pub enum Act {
    Append,
    CreateFolder,
    Link,
    List,
    Lock,
    Look,
    Open,
    Read,
    Remove,
    Rename,
    Resolve,
    SetLength,
    Sync,
    SyncFolder,
    Write,
}

impl Act {
    /// Whether it may change what is on the disk; opening is none, though it may make an empty file.
    #[must_use]
    pub fn changes(self) -> bool {
        !matches!(self, Self::List | Self::Lock | Self::Look | Self::Open | Self::Read | Self::Resolve)
    }
}

/// The process that uses a disk, as far as the disk has to know: it rules what happens and when.
pub trait Host: Send + Sync {
    /// Called before each operation.
    fn fate(&self, operation: &Operation<'_>) -> Fate;

    /// As [`super::Disk::run`].
    fn run(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, io::Result<()>> {
        async move {
            work();
            Ok(())
        }
        .boxed()
    }
}

impl<F: Fn(&Operation<'_>) -> Fate + Send + Sync> Host for F {
    fn fate(&self, operation: &Operation<'_>) -> Fate {
        self(operation)
    }
}
