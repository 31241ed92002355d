//! Durable writing, for whoever keeps files: whole content or none, and still there after a power cut.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

const TEMP: &str = ".wsp-tmp";

/// Whether a name is one of our unfinished files; a crash may leave some, and nobody lists them.
pub(crate) fn is_temp(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(TEMP)
}

/// A small text file: an error beyond `limit` bytes.
pub(crate) fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(limit + 1).read_to_string(&mut text)?;
    if text.len() as u64 > limit {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("larger than {limit} bytes")));
    }
    Ok(text)
}

/// Replaces the content of `path`, durably.
pub(crate) fn replace(path: &Path, body: &[u8]) -> io::Result<()> {
    let staged = Staged::write(path, body)?;
    staged.sync()?;
    staged.publish()?;
    sync_folder(path)
}

/// New content beside `target`, on its way to replace it. Whoever replaces several files takes each step for all of
/// them before the next one: what a file system writes down for one then covers much of the others.
pub(crate) struct Staged<'a> {
    temp: Temp,
    file: File,
    target: &'a Path,
}

impl<'a> Staged<'a> {
    /// Writes the content beside its target; not yet durable.
    pub(crate) fn write(target: &'a Path, body: &[u8]) -> io::Result<Self> {
        let (temp, file) = Temp::write(target, body)?;
        Ok(Self { temp, file, target })
    }

    /// What it is to replace.
    pub(crate) fn target(&self) -> &'a Path {
        self.target
    }

    /// Makes the content durable, as it has to be before it is published.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Puts the content in its target's place. That is durable once the folder is synced.
    pub(crate) fn publish(self) -> io::Result<()> {
        self.temp.rename(self.target)
    }
}

/// Does `work`, which waits for a disk, for all `items`, up to 8 at a time, and returns the first error in their order.
/// A file system writes down together what is asked for together, so all of them take little longer than one.
pub(crate) fn side_by_side<T: Sync, E: Send>(items: &[T], work: impl Fn(&T) -> Result<(), E> + Sync) -> Result<(), E> {
    items.chunks(8).try_for_each(|items| {
        let Some((here, others)) = items.split_last() else { return Ok(()) };
        let work = &work;
        thread::scope(|scope| {
            let start =
                |item| thread::Builder::new().name("wsp-sync".to_owned()).spawn_scoped(scope, move || work(item));
            let started: Vec<_> = others.iter().map(|item| (item, start(item))).collect();
            let last = work(here);
            let done = started.into_iter().map(|(item, thread)| match thread {
                Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
                // The machine has no thread left for it.
                Err(_) => work(item),
            });
            // All are waited for.
            done.fold(Ok(()), Result::and).and(last)
        })
    })
}

/// Writes `path` if nothing is there, durably; says whether it did. Others see the whole content or nothing.
pub(crate) fn create(path: &Path, body: &[u8]) -> io::Result<bool> {
    let created = if fs::symlink_metadata(path).is_ok() {
        false
    } else {
        let (temp, file) = Temp::write(path, body)?;
        file.sync_all()?;
        match fs::hard_link(&temp.0, path) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
            Err(error) => return Err(error),
        }
    };
    // Also where it was there: whoever made it may have died before this line.
    sync_folder(path)?;
    Ok(created)
}

/// Adds whole `lines` in one write to a file opened for reading and appending, after closing a line that a
/// crash left half; not yet durable. A write that fails half-way leaves nothing.
pub(crate) fn append_lines(file: &mut File, lines: &[u8]) -> io::Result<()> {
    let end = file.seek(SeekFrom::End(0))?;
    let mut last = [b'\n'];
    if end > 0 {
        file.seek(SeekFrom::Start(end - 1))?;
        file.read_exact(&mut last)?;
    }
    let written =
        if last == [b'\n'] { file.write_all(lines) } else { file.write_all(&[b"\n".as_slice(), lines].concat()) };
    if written.is_err() {
        // The first error is the one to tell.
        let _ = file.set_len(end);
    }
    written
}

/// Removes a file; says whether there was one. That is durable once its folder is synced.
pub(crate) fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes a folder and what is missing above it, durably.
pub(crate) fn create_folders(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let missing: Vec<&Path> = folder.ancestors().take_while(|path| fs::symlink_metadata(path).is_err()).collect();
    fs::create_dir_all(folder)?;
    missing.into_iter().filter(|path| !path.as_os_str().is_empty()).try_for_each(sync_folder)
}

/// Removes what a crash left unfinished in a folder that the caller holds alone.
pub(crate) fn sweep(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(is_temp) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Makes the entry of `path` in its folder durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

/// A file beside its target, gone when it is dropped.
struct Temp(PathBuf);

impl Temp {
    fn write(target: &Path, body: &[u8]) -> io::Result<(Self, File)> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        // A name has 255 bytes at most on common file systems; a piece of the target's is enough to recognise it.
        let name: String = name.chars().take(48).collect();
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = target.with_file_name(format!(".{name}.{}.{count}{TEMP}", std::process::id()));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                // Left by a dead process that had our id.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(mut file) => {
                    let temp = Self(path);
                    file.write_all(body)?;
                    return Ok((temp, file));
                }
            }
        }
    }

    fn rename(mut self, target: &Path) -> io::Result<()> {
        fs::rename(&self.0, target)?;
        self.0 = PathBuf::new();
        Ok(())
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        // Without a path it was renamed, and nothing is left to remove.
        if !self.0.as_os_str().is_empty() {
            let _ = fs::remove_file(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_is_closed_before_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, "one\ntw").unwrap();
        let mut file = OpenOptions::new().read(true).append(true).open(&path).unwrap();
        append_lines(&mut file, b"three\n").unwrap();
        append_lines(&mut file, b"four\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntw\nthree\nfour\n");
    }

    #[test]
    fn nothing_unfinished_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/object");
        create_folders(path.parent().unwrap()).unwrap();
        assert!(create(&path, b"1").unwrap());
        assert!(!create(&path, b"2").unwrap());
        replace(&path, b"3").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"3");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn side_by_side_all_is_done_and_the_first_error_told() {
        for (count, bad) in [(0, vec![]), (1, vec![]), (5, vec![4]), (20, vec![19, 3, 6]), (8, vec![7, 0])] {
            let items: Vec<usize> = (0..count).collect();
            let done = std::sync::Mutex::new(Vec::new());
            let told = side_by_side(&items, |item| {
                done.lock().unwrap().push(*item);
                if bad.contains(item) { Err(*item) } else { Ok(()) }
            });
            assert_eq!(told.err(), bad.iter().min().copied());
            let mut done = done.into_inner().unwrap();
            done.sort_unstable();
            // Those behind a failed eight are left alone.
            let expected = if bad.is_empty() { count } else { count.min((bad.iter().min().unwrap() / 8 + 1) * 8) };
            assert_eq!(done, items[..expected]);
        }
    }

    #[test]
    fn a_folder_that_is_a_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(create_folders(&dir.path().join("file/below")).is_err());
    }
}
