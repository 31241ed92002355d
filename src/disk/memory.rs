//! A disk in memory that loses power when it is told to.
//!
//! ```text
//! operation ──Host: happens, fails, half of it?──► seen at once by every process
//!                                                     │ sync of the file, or of the folder
//!                                                     ▼
//!                                                  durable ──power loss──► durable + any part of what is not
//! ```
//!
//! It keeps no more than POSIX promises: names that are not synced survive in any subset, whatever their order; so do
//! writes, whole, cut short or in sectors; a file that was made longer may hold zeros.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;

use super::content::{Change, Content, Data, FileData, FolderData, Node, names_of};
use super::host::{Act, Fate, Host, Operation};
use super::{Disk, DiskFile, Meta, Mode};

/// A disk in memory, as one process sees it. Clones, and what [`MemoryDisk::seen_by`] gives, share its content. It is
/// for one thread at a time: a lock that would have to be waited for is an error.
#[derive(Clone)]
pub struct MemoryDisk {
    content: Arc<Mutex<Content>>,
    host: Arc<dyn Host>,
    /// Power losses before this view.
    losses: u64,
}

impl MemoryDisk {
    /// An empty disk on which everything happens.
    #[must_use]
    pub fn new() -> Self {
        let root = Node { changed: 0, lock: None, data: Data::Folder(FolderData::default()) };
        let content = Content { nodes: vec![root], ..Content::default() };
        let happens = |_: &Operation<'_>| Fate::Happens;
        Self { content: Arc::new(Mutex::new(content)), host: Arc::new(happens), losses: 0 }
    }

    /// The same disk as another process sees it, from now until the next power loss.
    #[must_use]
    pub fn seen_by(&self, host: Arc<dyn Host>) -> Self {
        Self { content: self.content.clone(), host, losses: self.lock().losses }
    }

    /// Loses what is not durable, or some of it: `below` draws a number that is lower than the one it is given. Nothing
    /// that was opened or seen before works any more, and no lock holds.
    pub fn lose_power(&self, below: &mut dyn FnMut(u64) -> u64) {
        let mut content = self.lock();
        content.losses += 1;
        for node in &mut content.nodes {
            node.lock = None;
            match &mut node.data {
                Data::File(file) => file.lose(below),
                Data::Folder(folder) => folder.lose(below),
            }
        }
    }

    /// What a file holds, as everybody sees it; `None` where there is none.
    #[must_use]
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let content = self.lock();
        match &content.nodes[content.find(path).ok()?].data {
            Data::File(file) => Some(file.bytes.clone()),
            Data::Folder(_) => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `work` if it is to happen, says whether it is to be done by half.
    fn operate<T>(
        &self,
        act: Act,
        path: &Path,
        work: impl FnOnce(&mut Content, bool) -> io::Result<T>,
    ) -> io::Result<T> {
        let fate = self.host.fate(&Operation { act, path });
        let mut content = self.lock();
        if content.losses != self.losses {
            return Err(io::Error::other("the machine has lost power"));
        }
        if fate == Fate::Happens {
            return work(&mut content, false);
        }
        let done = if fate == Fate::FailsHalfway { work(&mut content, true).map(drop) } else { Ok(()) };
        done.and_then(|()| Err(io::Error::other(format!("simulated fault: {act:?}"))))
    }
}

impl Default for MemoryDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryDisk").finish_non_exhaustive()
    }
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn DiskFile>> {
        self.operate(Act::Open, path, |content, half| {
            if half {
                return Err(ErrorKind::Other.into());
            }
            let (folder, name) = content.find_parent(path)?;
            let node = match (content.folder(folder)?.names.get(name).copied(), mode) {
                (Some(_), Mode::Create) => return Err(ErrorKind::AlreadyExists.into()),
                (Some(node), _) => node,
                (None, Mode::Read) => return Err(ErrorKind::NotFound.into()),
                (None, _) => content.create(folder, name, Data::File(FileData::default()))?,
            };
            content.file(node)?;
            content.handles += 1;
            let (disk, path) = (self.clone(), path.to_owned());
            Ok(Box::new(MemoryFile { disk, path, node, handle: content.handles }) as Box<dyn DiskFile>)
        })
    }

    fn meta(&self, path: &Path) -> io::Result<Meta> {
        self.operate(Act::Look, path, |content, _| Ok(content.meta(content.find(path)?)))
    }

    fn link_meta(&self, path: &Path) -> io::Result<Meta> {
        self.meta(path)
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        self.operate(Act::Resolve, path, |content, _| {
            content.find(path)?;
            Ok(std::iter::once(OsStr::new("/")).chain(names_of(path)?).collect())
        })
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        self.operate(Act::List, folder, |content, _| {
            let folder = content.find(folder)?;
            Ok(content.folder(folder)?.names.keys().cloned().collect())
        })
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        self.operate(Act::CreateFolder, folder, |content, _| {
            let (parent, name) = content.find_parent(folder)?;
            if content.folder(parent)?.names.contains_key(name) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            content.create(parent, name, Data::Folder(FolderData::default())).map(drop)
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operate(Act::Rename, to, |content, half| {
            let ((old, old_name), (new, new_name)) = (content.find_parent(from)?, content.find_parent(to)?);
            let node = *content.folder(old)?.names.get(old_name).ok_or(ErrorKind::NotFound)?;
            if half {
                return Ok(());
            }
            let (gone, set) = ((old_name.to_owned(), None), (new_name.to_owned(), Some(node)));
            if old == new {
                content.folder_mut(new)?.change(vec![gone, set]);
            } else {
                content.folder_mut(new)?.change(vec![set]);
                content.folder_mut(old)?.change(vec![gone]);
            }
            Ok(())
        })
    }

    fn hard_link(&self, file: &Path, name: &Path) -> io::Result<()> {
        self.operate(Act::Link, name, |content, half| {
            let node = content.find(file)?;
            content.file(node)?;
            let (folder, name) = content.find_parent(name)?;
            if content.folder(folder)?.names.contains_key(name) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            if !half {
                content.folder_mut(folder)?.change(vec![(name.to_owned(), Some(node))]);
            }
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.operate(Act::Remove, path, |content, half| {
            let node = content.find(path)?;
            content.file(node)?;
            let (folder, name) = content.find_parent(path)?;
            if !half {
                content.folder_mut(folder)?.change(vec![(name.to_owned(), None)]);
            }
            Ok(())
        })
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.operate(Act::SyncFolder, folder, |content, half| {
            let node = content.find(folder)?;
            if !half {
                content.folder_mut(node)?.sync();
            }
            Ok(())
        })
    }

    fn together(
        &self,
        count: usize,
        work: &(dyn Fn(usize) -> io::Result<()> + Sync),
    ) -> Result<(), (usize, io::Error)> {
        // All are done, as they are side by side.
        let done: Vec<_> = (0..count).map(|number| work(number).map_err(|error| (number, error))).collect();
        done.into_iter().collect()
    }

    fn run(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, io::Result<()>> {
        self.host.run(work)
    }
}

/// An open file of it.
struct MemoryFile {
    disk: MemoryDisk,
    path: PathBuf,
    node: usize,
    handle: u64,
}

impl MemoryFile {
    fn operate<T>(&self, act: Act, work: impl FnOnce(&mut Content, bool) -> io::Result<T>) -> io::Result<T> {
        self.disk.operate(act, &self.path, work)
    }

    fn write(&self, act: Act, bytes: &[u8], offset: Option<u64>) -> io::Result<()> {
        self.operate(act, |content, half| {
            let bytes = if half { &bytes[..bytes.len() / 2] } else { bytes }.to_vec();
            content.change_file(self.node, |file| {
                let offset = offset.map_or(file.bytes.len(), |offset| offset as usize);
                Change::Write { offset, bytes }
            });
            Ok(())
        })
    }

    fn take_lock(&self) -> io::Result<bool> {
        self.operate(Act::Lock, |content, _| {
            let lock = &mut content.nodes[self.node].lock;
            Ok(*lock.get_or_insert(self.handle) == self.handle)
        })
    }
}

impl fmt::Debug for MemoryFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl DiskFile for MemoryFile {
    fn meta(&self) -> io::Result<Meta> {
        self.operate(Act::Look, |content, _| Ok(content.meta(self.node)))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.operate(Act::Read, |content, _| {
            let bytes = &content.file(self.node)?.bytes;
            let rest = bytes.get(offset as usize..).unwrap_or_default();
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write(Act::Write, bytes, Some(offset))
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.write(Act::Append, bytes, None)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.operate(Act::SetLength, |content, half| {
            if !half {
                content.change_file(self.node, |_| Change::Length(len as usize));
            }
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.operate(Act::Sync, |content, half| {
            if let (Data::File(file), false) = (&mut content.nodes[self.node].data, half) {
                file.sync();
            }
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn lock(&self) -> io::Result<()> {
        if self.take_lock()? { Ok(()) } else { Err(ErrorKind::Deadlock.into()) }
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.take_lock()
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        let lock = &mut self.disk.lock().nodes[self.node].lock;
        if *lock == Some(self.handle) {
            *lock = None;
        }
    }
}
