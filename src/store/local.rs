//! Objects as files below a folder.
//!
//! ```text
//! read:   key ──resolve, stay inside──► open ──fstat──► bytes ──fstat──► same version?
//! write:  bytes ──► temp ──fsync──► rename or link ──fsync──► folder
//! append: lock ──► close a torn line ──► one write ──► fsync ──► folder
//! ```
//!
//! Small JSON objects are read on the calling thread. Ranges of Parquet are read, and everything is written, on tokio's
//! blocking threads: other work continues while the disk is busy.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::room::Room;
use super::{Holds, Key, ObjectMeta, ObjectStore, StoreError, Version};
use crate::disk::{Disk, DiskFile, Kind, Meta, Mode, RealDisk, blocking, files};

/// A file opened for reading, and what was known of it then.
type OpenFile = (Box<dyn DiskFile>, Meta);

/// A folder as an object store. Clones share it.
#[derive(Debug, Clone)]
pub struct LocalStore {
    disk: Arc<dyn Disk>,
    root: Arc<str>,
    resolved: Arc<OnceLock<PathBuf>>,
    /// Folders that are durable: this process has made sure of it.
    durable: Arc<Mutex<BTreeSet<PathBuf>>>,
}

impl LocalStore {
    /// The store below `root`. The folder is looked at when it is first used and made by the first write;
    /// its spelling is kept, for names in cursors and ids are compared as text.
    #[must_use]
    pub fn open(root: impl Into<String>) -> Self {
        Self::on(Arc::new(RealDisk), root)
    }

    /// As [`LocalStore::open`], on `disk`.
    #[must_use]
    pub fn on(disk: Arc<dyn Disk>, root: impl Into<String>) -> Self {
        let root = root.into();
        Self { disk, root: root.trim_end_matches('/').into(), resolved: Arc::default(), durable: Arc::default() }
    }

    /// The path of a key, not yet checked against links.
    fn path(&self, key: &Key) -> PathBuf {
        PathBuf::from(self.full_name(key))
    }

    /// The root without links, once it exists. A root that is a link itself is what the operator meant.
    fn resolved_root(&self) -> io::Result<&Path> {
        if let Some(resolved) = self.resolved.get() {
            return Ok(resolved);
        }
        let resolved = self.disk.resolve(Path::new(&format!("{}/", self.root)))?;
        Ok(self.resolved.get_or_init(|| resolved))
    }

    /// The path without links, still below the root; `None` where there is nothing.
    fn resolve(&self, key: &Key) -> Result<Option<PathBuf>, StoreError> {
        let found = self.disk.resolve(&self.path(key)).and_then(|path| Ok((path, self.resolved_root()?)));
        match found {
            Ok((path, root)) if path.starts_with(root) => Ok(Some(path)),
            Ok(_) => Err(StoreError::Outside { object: self.full_name(key) }),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(self.failed(key, "cannot be looked up", &error)),
        }
    }

    /// Opens a regular file for reading; `None` where there is nothing.
    fn open_file(&self, key: &Key) -> Result<Option<OpenFile>, StoreError> {
        let Some(path) = self.resolve(key)? else { return Ok(None) };
        let failed = |error: &io::Error| self.failed(key, "cannot be read", error);
        // Opening a pipe would block, so the kind is looked at before.
        if self.disk.meta(&path).map_err(|error| failed(&error))?.kind != Kind::File {
            let why = "cannot be read: not a regular file".to_owned();
            return Err(StoreError::NotAnObject { object: self.full_name(key), why });
        }
        let file = self.disk.open(&path, Mode::Read).map_err(|error| failed(&error))?;
        let meta = file.meta().map_err(|error| failed(&error))?;
        Ok(Some((file, meta)))
    }

    fn read_all(&self, key: &Key, limit: u64) -> Result<Option<Bytes>, StoreError> {
        let Some((file, meta)) = self.open_file(key)? else { return Ok(None) };
        let too_large = |size| StoreError::TooLarge { object: self.full_name(key), size, limit };
        if meta.len > limit {
            return Err(too_large(meta.len));
        }
        // It may grow between the look and the read.
        let bytes = file.read_up_to(limit).map_err(|error| self.failed(key, "cannot be read", &error))?;
        if bytes.len() as u64 > limit { Err(too_large(bytes.len() as u64)) } else { Ok(Some(bytes.into())) }
    }

    /// The file, if it is of this version, and room for each range.
    fn open_ranges(
        &self,
        key: &Key,
        version: &Version,
        ranges: &[Range<u64>],
    ) -> Result<(Box<dyn DiskFile>, Vec<Room>), StoreError> {
        let changed = || StoreError::Changed { object: self.full_name(key) };
        let (file, meta) = self.open_file(key)?.ok_or_else(changed)?;
        if version_of(&meta) != *version {
            return Err(changed());
        }
        let room = |range: &Range<u64>| {
            if range.end < range.start || range.end > meta.len {
                let error = io::Error::other(format!("range {range:?} of {} bytes", meta.len));
                return Err(self.failed(key, "cannot be read", &error));
            }
            Room::new((range.end - range.start) as usize).map_err(|error| self.failed(key, "cannot be read", &error))
        };
        let rooms = ranges.iter().map(room).collect::<Result<_, _>>()?;
        Ok((file, rooms))
    }

    /// Fills `rooms`; a file that was written to meanwhile has changed.
    fn fill(
        &self,
        key: &Key,
        version: &Version,
        file: &dyn DiskFile,
        ranges: &[Range<u64>],
        rooms: Vec<Room>,
    ) -> Result<Vec<Bytes>, StoreError> {
        let changed = || StoreError::Changed { object: self.full_name(key) };
        let failed = |error: &io::Error| self.failed(key, "cannot be read", error);
        let mut parts = Vec::with_capacity(rooms.len());
        for (mut room, range) in rooms.into_iter().zip(ranges) {
            match file.read_exact_at(&mut room, range.start) {
                Ok(()) => parts.push(room.freeze()),
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(changed()),
                Err(error) => return Err(failed(&error)),
            }
        }
        let after = file.meta().map_err(|error| failed(&error))?;
        if version_of(&after) == *version { Ok(parts) } else { Err(changed()) }
    }

    /// The names in a folder; none where there is no folder.
    fn names(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        match self.disk.names(folder) {
            Err(error) if is_absent(&error) => Ok(Vec::new()),
            names => names,
        }
    }

    fn read_folder(&self, prefix: &Key) -> Result<Vec<(Key, u64)>, StoreError> {
        let failed = |error: &io::Error| self.failed(prefix, "cannot be listed", error);
        let Some(folder) = self.resolve(prefix)? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for name in self.names(&folder).map_err(|error| failed(&error))? {
            let Some(key) = name.to_str().filter(|name| !files::is_temp(name)).and_then(|name| prefix.join(name).ok())
            else {
                continue;
            };
            // Follows links: an object behind one is listed, and refused when it is read if it lies outside.
            match self.disk.meta(&folder.join(&name)) {
                Ok(meta) if meta.kind == Kind::File => found.push((key, meta.len)),
                Ok(_) => {}
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(failed(&error)),
            }
        }
        found.sort();
        Ok(found)
    }

    fn read_folders(&self, prefix: Option<&Key>) -> Result<Vec<String>, StoreError> {
        let failed = |error: &io::Error| StoreError::Io {
            object: prefix.map_or_else(|| self.root.to_string(), |prefix| self.full_name(prefix)),
            message: format!("cannot be listed: {error}"),
        };
        let folder = match prefix.map(|prefix| self.resolve(prefix)).transpose()? {
            Some(folder) => folder,
            None => match self.resolved_root() {
                Ok(root) => Some(root.to_owned()),
                Err(error) if is_absent(&error) => None,
                Err(error) => return Err(failed(&error)),
            },
        };
        let Some(folder) = folder else { return Ok(Vec::new()) };
        let names = self.names(&folder).map_err(|error| failed(&error))?;
        let is_folder = |name: &String| self.disk.meta(&folder.join(name)).is_ok_and(|meta| meta.kind == Kind::Folder);
        let mut found: Vec<String> =
            names.into_iter().filter_map(|name| name.into_string().ok()).filter(is_folder).collect();
        found.sort_unstable();
        Ok(found)
    }

    /// Where `key` is to be written: its folder, made if need be and still below the root, and the name.
    fn target(&self, key: &Key) -> Result<PathBuf, StoreError> {
        let failed = |error: &io::Error| self.failed(key, "cannot be written", error);
        self.create_folders(Path::new(&format!("{}/", self.root))).map_err(|error| failed(&error))?;
        let path = self.path(key);
        let folder = path.parent().unwrap_or(&path);
        // A link on the way is followed before anything is made behind it.
        let standing = folder.ancestors().find(|folder| self.disk.link_meta(folder).is_ok()).unwrap_or(folder);
        let root = self.resolved_root().map_err(|error| failed(&error))?;
        let resolved = self.disk.resolve(standing).map_err(|error| failed(&error))?;
        // Appending follows a link in the last place too; one that leads nowhere may lead anywhere.
        let linked = self.disk.link_meta(&path).is_ok_and(|meta| meta.kind == Kind::Link);
        let link_inside = !linked || self.disk.resolve(&path).is_ok_and(|path| path.starts_with(root));
        if !resolved.starts_with(root) || !link_inside {
            return Err(StoreError::Outside { object: self.full_name(key) });
        }
        self.create_folders(folder).map_err(|error| failed(&error))?;
        Ok(path)
    }

    fn create_folders(&self, folder: &Path) -> io::Result<()> {
        let durable = || self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        if durable().contains(folder) && files::is_folder(&*self.disk, folder) {
            return Ok(());
        }
        files::create_folders(&*self.disk, folder)?;
        durable().insert(folder.to_owned());
        Ok(())
    }

    /// Runs `work` on the key's path, away from the runtime's own thread.
    fn write<T: Send + 'static>(
        &self,
        key: &Key,
        work: impl FnOnce(&dyn Disk, &Path) -> io::Result<T> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let (store, key) = (self.clone(), key.clone());
        async move {
            let object = store.full_name(&key);
            let disk = store.disk.clone();
            let written = blocking(&*disk, move || {
                let path = store.target(&key)?;
                work(&*store.disk, &path).map_err(|error| store.failed(&key, "cannot be written", &error))
            });
            written.await.unwrap_or_else(|error| Err(StoreError::Io { object, message: format!("write: {error}") }))
        }
        .boxed()
    }

    fn failed(&self, key: &Key, what: &str, error: &io::Error) -> StoreError {
        let (object, message) = (self.full_name(key), format!("{what}: {error}"));
        match error.kind() {
            ErrorKind::InvalidFilename => StoreError::NotAnObject { object, why: message },
            _ => StoreError::Io { object, message },
        }
    }
}

impl ObjectStore for LocalStore {
    fn root(&self) -> &str {
        &self.root
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<ObjectMeta>, StoreError>> {
        let found = self.open_file(key);
        async { Ok(found?.map(|(_, meta)| ObjectMeta { size: meta.len, version: version_of(&meta) })) }.boxed()
    }

    fn get<'a>(&'a self, key: &'a Key, limit: u64) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        async move { self.read_all(key, limit) }.boxed()
    }

    fn get_ranges<'a>(
        &'a self,
        key: &'a Key,
        version: &'a Version,
        ranges: &'a [Range<u64>],
    ) -> BoxFuture<'a, Result<Vec<Bytes>, StoreError>> {
        async move {
            // Room is made by the caller's thread, which lets go of it too; else each reading thread would keep some.
            let (file, rooms) = self.open_ranges(key, version, ranges)?;
            let (store, key, version, ranges) = (self.clone(), key.clone(), version.clone(), ranges.to_vec());
            let object = store.full_name(&key);
            let read = blocking(&*self.disk, move || store.fill(&key, &version, &*file, &ranges, rooms));
            read.await.unwrap_or_else(|error| Err(StoreError::Io { object, message: format!("read: {error}") }))
        }
        .boxed()
    }

    fn list<'a>(&'a self, prefix: &'a Key) -> BoxFuture<'a, Result<Vec<(Key, u64)>, StoreError>> {
        async move { self.read_folder(prefix) }.boxed()
    }

    fn folders<'a>(&'a self, prefix: Option<&'a Key>) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        async move { self.read_folders(prefix) }.boxed()
    }

    fn put_new<'a>(&'a self, key: &'a Key, body: Bytes) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.write(key, move |disk, path| files::create(disk, path, &body))
    }

    fn put<'a>(&'a self, key: &'a Key, body: Bytes) -> BoxFuture<'a, Result<(), StoreError>> {
        self.write(key, move |disk, path| files::replace(disk, path, &body))
    }

    fn append<'a>(&'a self, key: &'a Key, lines: Bytes) -> BoxFuture<'a, Result<(), StoreError>> {
        self.write(key, move |disk, path| append(disk, path, &lines, None).map(|_| ()))
    }

    fn append_unless<'a>(&'a self, key: &'a Key, lines: Bytes, held: Holds) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.write(key, move |disk, path| append(disk, path, &lines, Some(&held)))
    }
}

/// Adds lines under the file's lock, unless they are `held`; says whether it did.
fn append(disk: &dyn Disk, path: &Path, lines: &[u8], held: Option<&Holds>) -> io::Result<bool> {
    let file = disk.open(path, Mode::Append)?;
    file.lock()?;
    if let Some(held) = held
        && held(&file.read_up_to(u64::MAX)?)
    {
        // Whoever wrote them may have died before they were durable.
        file.sync()?;
        files::sync_entry(disk, path)?;
        return Ok(false);
    }
    files::append_lines(&*file, lines)?;
    file.sync()?;
    // Also where the file was there: whoever made it may have died before its name was durable.
    files::sync_entry(disk, path)?;
    Ok(true)
}

/// What makes two contents of one name differ. The change time is in it because a copy can set the
/// modification time back; so a link or a mode change during a run is taken for a change as well.
fn version_of(meta: &Meta) -> Version {
    let Meta { modified, changed, len, device, inode, .. } = meta;
    Version(format!("{}.{:09}-{}.{:09}-{len}-{device}-{inode}", modified.0, modified.1, changed.0, changed.1))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::os::unix::fs::FileExt;

    use super::*;

    /// A store with one object, and that object's path and version.
    fn store(body: &str) -> (tempfile::TempDir, LocalStore, Key, PathBuf, Version) {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::open(folder.path().to_str().unwrap());
        let key: Key = "part.parquet".parse().unwrap();
        let path = folder.path().join("part.parquet");
        fs::write(&path, body).unwrap();
        let version = version_of(&RealDisk.meta(&path).unwrap());
        (folder, store, key, path, version)
    }

    /// Other bytes of the same length in the same file, over and over until the file system's clock has moved on.
    fn overwrite(path: &Path, before: &Version, keep_time: bool) -> Version {
        let modified = fs::metadata(path).unwrap().modified().unwrap();
        for _ in 0..200 {
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.write_all_at(b"two", 0).unwrap();
            if keep_time {
                file.set_modified(modified).unwrap();
                assert_eq!(fs::metadata(path).unwrap().modified().unwrap(), modified);
            }
            let version = version_of(&RealDisk.meta(path).unwrap());
            if version != *before {
                return version;
            }
            std::thread::park_timeout(std::time::Duration::from_millis(5));
        }
        panic!("{before:?} is the version of both");
    }

    /// The first three bytes of an object.
    const THREE: [Range<u64>; 1] = [Range { start: 0, end: 3 }];

    /// A copy that keeps times sets the modification time back.
    #[test]
    fn a_change_whose_modification_time_was_put_back_is_a_change() {
        let (_folder, store, key, path, before) = store("one");
        overwrite(&path, &before, true);
        let refused = store.open_ranges(&key, &before, &THREE).map(|_| ()).unwrap_err();
        assert!(matches!(refused, StoreError::Changed { .. }), "{refused}");
    }

    #[test]
    fn bytes_that_changed_while_they_were_read_are_not_given_out() {
        let (_folder, store, key, path, before) = store("one");
        let open = || store.open_ranges(&key, &before, &THREE).unwrap();
        let (file, rooms) = open();
        assert_eq!(store.fill(&key, &before, &*file, &THREE, rooms).unwrap(), [&b"one"[..]]);
        let (file, rooms) = open();
        overwrite(&path, &before, false);
        let refused = store.fill(&key, &before, &*file, &THREE, rooms).unwrap_err();
        assert!(matches!(refused, StoreError::Changed { .. }), "{refused}");
    }
}
