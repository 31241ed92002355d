//! Durable writing, for whoever keeps files: whole content or none, and still there after a power loss.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Disk, DiskFile, Kind, Mode};

const TEMP: &str = ".wsp-tmp";

/// Whether a name is one of our unfinished files; a crash may leave some, and nobody lists them.
pub fn is_temp(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(TEMP)
}

/// A small text file: an error beyond `limit` bytes.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(limit + 1).read_to_string(&mut text)?;
    if text.len() as u64 > limit {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("larger than {limit} bytes")));
    }
    Ok(text)
}

/// Replaces the content of `path`, durably.
pub fn replace(disk: &dyn Disk, path: &Path, body: &[u8]) -> io::Result<()> {
    let staged = Staged::write(disk, path, body)?;
    staged.sync()?;
    staged.publish()?;
    sync_entry(disk, path)
}

/// New content beside `target`, on its way to replace it. Whoever replaces several files takes each step for all of
/// them before the next one: what a file system writes down for one then covers much of the others.
pub struct Staged<'a> {
    temp: Temp<'a>,
    file: Box<dyn DiskFile>,
    target: &'a Path,
}

impl<'a> Staged<'a> {
    /// Writes the content beside its target; not yet durable.
    pub fn write(disk: &'a dyn Disk, target: &'a Path, body: &[u8]) -> io::Result<Self> {
        let (temp, file) = Temp::write(disk, target, body)?;
        Ok(Self { temp, file, target })
    }

    /// What it is to replace.
    pub fn target(&self) -> &'a Path {
        self.target
    }

    /// Makes the content durable, as it has to be before it is published.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    /// Puts the content in its target's place. That is durable once the folder is synced.
    pub fn publish(self) -> io::Result<()> {
        self.temp.rename(self.target)
    }
}

/// Writes `path` if nothing is there, durably; says whether it did. Others see the whole content or nothing.
pub fn create(disk: &dyn Disk, path: &Path, body: &[u8]) -> io::Result<bool> {
    let created = if disk.link_meta(path).is_ok() {
        false
    } else {
        let (temp, file) = Temp::write(disk, path, body)?;
        file.sync()?;
        match disk.hard_link(&temp.path, path) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
            Err(error) => return Err(error),
        }
    };
    // Also where it was there: whoever made it may have died before this line.
    sync_entry(disk, path)?;
    Ok(created)
}

/// Adds whole `lines` in one write to a file opened for appending, after closing a line that a crash left half; not yet
/// durable. A write that fails half-way leaves nothing.
pub fn append_lines(file: &dyn DiskFile, lines: &[u8]) -> io::Result<()> {
    let end = file.meta()?.len;
    let mut last = [b'\n'];
    if end > 0 {
        file.read_exact_at(&mut last, end - 1)?;
    }
    let written = if last == [b'\n'] { file.append(lines) } else { file.append(&[b"\n".as_slice(), lines].concat()) };
    if written.is_err() {
        // The first error is the one to report.
        let _ = file.set_len(end);
    }
    written
}

/// Removes a file; says whether there was one. That is durable once its folder is synced.
pub fn remove(disk: &dyn Disk, path: &Path) -> io::Result<bool> {
    match disk.remove(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes a folder and what is missing above it, durably.
///
/// Each one is durable before the next one is made in it. So of those that are there already only the last one may have
/// been made by a process that died before it was durable.
pub fn create_folders(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
    // The last ancestor of a relative path is empty, and the folder we are in.
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && disk.link_meta(path).is_err();
    let missing: Vec<&Path> = folder.ancestors().take_while(is_missing).collect();
    if let Some(last) = folder.ancestors().nth(missing.len()) {
        match sync_entry(disk, last) {
            // We made nothing in a folder that we may not read: that would have been this error.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
            synced => synced?,
        }
    }
    for path in missing.into_iter().rev() {
        match disk.create_folder(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => made?,
        }
        sync_entry(disk, path)?;
    }
    // Something else has the name: the error says so.
    if folder.as_os_str().is_empty() || is_folder(disk, folder) { Ok(()) } else { disk.create_folder(folder) }
}

/// Whether a folder is there.
pub fn is_folder(disk: &dyn Disk, path: &Path) -> bool {
    disk.meta(path).is_ok_and(|meta| meta.kind == Kind::Folder)
}

/// Removes what a crash left unfinished in a folder that the caller holds alone.
pub fn sweep(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
    let names = disk.names(folder)?;
    let mut temps = names.iter().filter(|name| name.to_str().is_some_and(is_temp));
    temps.try_for_each(|name| disk.remove(&folder.join(name)))
}

/// Makes the entry of `path` in its folder durable.
pub fn sync_entry(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    disk.sync_folder(folder)
}

/// A file beside its target, gone when it is dropped.
struct Temp<'a> {
    disk: &'a dyn Disk,
    path: PathBuf,
}

impl<'a> Temp<'a> {
    fn write(disk: &'a dyn Disk, target: &Path, body: &[u8]) -> io::Result<(Self, Box<dyn DiskFile>)> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        // A name has 255 bytes at most on common file systems; a piece of the target's is enough to recognise it.
        let name: String = name.chars().take(48).collect();
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = target.with_file_name(format!(".{name}.{}.{count}{TEMP}", std::process::id()));
            match disk.open(&path, Mode::Create) {
                // Left by a dead process that had our id.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(file) => {
                    let temp = Self { disk, path };
                    file.write_at(body, 0)?;
                    return Ok((temp, file));
                }
            }
        }
    }

    fn rename(mut self, target: &Path) -> io::Result<()> {
        self.disk.rename(&self.path, target)?;
        self.path = PathBuf::new();
        Ok(())
    }
}

impl Drop for Temp<'_> {
    fn drop(&mut self) {
        // Without a path it was renamed, and nothing is left to remove.
        if !self.path.as_os_str().is_empty() {
            let _ = self.disk.remove(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn a_torn_line_is_closed_before_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, "one\ntw").unwrap();
        let file = RealDisk.open(&path, Mode::Append).unwrap();
        append_lines(&*file, b"three\n").unwrap();
        append_lines(&*file, b"four\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntw\nthree\nfour\n");
    }

    #[test]
    fn nothing_unfinished_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/object");
        create_folders(&RealDisk, path.parent().unwrap()).unwrap();
        assert!(create(&RealDisk, &path, b"1").unwrap());
        assert!(!create(&RealDisk, &path, b"2").unwrap());
        replace(&RealDisk, &path, b"3").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"3");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_is_a_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(create_folders(&RealDisk, &dir.path().join("file/below")).is_err());
    }
}
