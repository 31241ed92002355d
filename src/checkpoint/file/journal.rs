//! Two files that are written in turns: the newest entry that is whole is there whatever a crash leaves of the next one.
//!
//! ```text
//! entry ─► journal.0 ─┐ the other one each time: overwritten in place, its data synced
//! entry ─► journal.1 ─┘
//! ```
//!
//! An entry is a line `wsp-journal 1 <length> <sha256>`, that many bytes of body, and zeros. A file never shrinks, so from the
//! third entry on a sync writes data alone: neither a size nor a name changes, for which a file system would commit its own
//! journal too.

use std::io;
use std::path::{Path, PathBuf};

use super::read_file;
use crate::checkpoint::CheckpointError;
use crate::disk::{Disk, DiskFile, Mode, files};

const MAGIC: &str = "wsp-journal 1";

/// Entries are filled up to a multiple of this, in bytes: the block of common file systems.
const BLOCK: usize = 4096;

/// What a file may hold at most, in bytes: what `answered.json` may, and as much again for the cursors.
const LIMIT: u64 = 128 * 1024 * 1024;

/// The sha256 of some bytes in lower-case hex: the producer's own, for which the stages need no library.
pub type Sha256Hex = fn(&[u8]) -> String;

/// The files' paths in `folder`.
#[must_use]
pub fn paths(folder: &Path) -> [PathBuf; 2] {
    ["journal.0", "journal.1"].map(|name| folder.join(name))
}

/// What the files of a folder hold.
#[derive(Debug, Default)]
pub struct Found {
    /// Bodies of entries that are whole, and which of the files each is in.
    pub bodies: Vec<(usize, Vec<u8>)>,
    /// Files with an entry that is not whole: one where a crash cut the last one short.
    pub torn: usize,
}

/// Reads the files in `folder`, of which there may be none.
///
/// # Errors
///
/// [`CheckpointFault::Unreadable`](crate::checkpoint::CheckpointFault::Unreadable), naming the file.
pub fn read(disk: &dyn Disk, folder: &Path, sha256: Sha256Hex) -> Result<Found, CheckpointError> {
    let mut found = Found::default();
    for (file, path) in paths(folder).into_iter().enumerate() {
        let Some(bytes) = read_file(disk, &path, LIMIT)? else { continue };
        match body(&bytes, sha256) {
            Some(body) => found.bodies.push((file, body.to_vec())),
            None => found.torn += 1,
        }
    }
    Ok(found)
}

fn body(bytes: &[u8], sha256: Sha256Hex) -> Option<&[u8]> {
    let line = bytes.iter().take(128).position(|byte| *byte == b'\n')?;
    let (head, rest) = bytes.split_at(line + 1);
    let (length, hash) = str::from_utf8(&head[..line]).ok()?.strip_prefix(MAGIC)?.trim_start().split_once(' ')?;
    let body = rest.get(..length.parse().ok()?)?;
    (sha256(body) == hash).then_some(body)
}

/// Removes the files, durably: the one with the `newest` entry after the other is gone for good, so that a power loss never
/// leaves an older entry alone.
pub fn remove(disk: &dyn Disk, folder: &Path, newest: usize) -> io::Result<()> {
    let paths = paths(folder);
    for path in [&paths[1 - newest], &paths[newest]] {
        if files::remove(disk, path)? {
            files::sync_entry(disk, path)?;
        }
    }
    Ok(())
}

/// The files, being written.
#[derive(Debug)]
pub struct Journal {
    files: [Box<dyn DiskFile>; 2],
    next: usize,
    sha256: Sha256Hex,
}

impl Journal {
    /// Makes the files in `folder`, or takes those that are there; what is in them is gone with the first two entries.
    pub fn open(disk: &dyn Disk, folder: &Path, sha256: Sha256Hex) -> io::Result<Self> {
        let [first, second] = paths(folder);
        let files = [disk.open(&first, Mode::Write)?, disk.open(&second, Mode::Write)?];
        files::sync_entry(disk, &first)?;
        Ok(Self { files, next: 0, sha256 })
    }

    /// The file with the last entry.
    #[must_use]
    pub fn newest(&self) -> usize {
        1 - self.next
    }

    /// Writes an entry over the last but one; durable when this returns.
    pub fn write(&mut self, body: &[u8]) -> io::Result<()> {
        let mut entry = format!("{MAGIC} {} {}\n", body.len(), (self.sha256)(body)).into_bytes();
        entry.extend_from_slice(body);
        entry.resize(entry.len().next_multiple_of(BLOCK), 0);
        let file = &self.files[self.next];
        file.write_at(&entry, 0)?;
        file.sync_data()?;
        self.next = 1 - self.next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;
    use sha2::Digest;

    use super::*;
    use crate::disk::testing::before;
    use crate::disk::{Act, Fate, MemoryDisk, RealDisk};
    use crate::random::Random;

    fn sha256(bytes: &[u8]) -> String {
        const_hex::encode(sha2::Sha256::digest(bytes))
    }

    #[test]
    fn the_last_two_entries_are_there() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(&RealDisk, dir.path(), sha256).unwrap().bodies.len(), 0);
        let mut journal = Journal::open(&RealDisk, dir.path(), sha256).unwrap();
        assert_eq!(
            read(&RealDisk, dir.path(), sha256).unwrap().torn,
            2,
            "empty files are entries that were never written"
        );
        for body in ["1", &"2".repeat(10_000), "3", "4"] {
            journal.write(body.as_bytes()).unwrap();
        }
        let found = read(&RealDisk, dir.path(), sha256).unwrap();
        assert_eq!((found.bodies, found.torn), (vec![(0, b"3".to_vec()), (1, b"4".to_vec())], 0));
        assert_eq!(fs::metadata(dir.path().join("journal.1")).unwrap().len(), 12_288, "files don't shrink");
        remove(&RealDisk, dir.path(), journal.newest()).unwrap();
        remove(&RealDisk, dir.path(), 0).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    /// The first entry is no exception: what was written is durable when it returns, with the names of the files.
    #[test]
    fn an_entry_outlasts_a_power_loss_and_a_removed_one_does_not() {
        let folder = Path::new("/scope");
        for seed in 0..64 {
            let powered = MemoryDisk::new();
            let mut random = Random::of(&[seed]);
            let mut lose_power = || {
                powered.lose_power(&mut |bound| random.below(bound));
                powered.seen_by(before(Act::Lock, "nothing", || Fate::Happens))
            };
            files::create_folders(&powered, folder).unwrap();
            Journal::open(&powered, folder, sha256).unwrap().write(b"1").unwrap();
            let disk = lose_power();
            assert_eq!(read(&disk, folder, sha256).unwrap().bodies, [(0, b"1".to_vec())]);
            let mut journal = Journal::open(&disk, folder, sha256).unwrap();
            for body in ["2", "3", "4"] {
                journal.write(body.as_bytes()).unwrap();
            }
            remove(&disk, folder, journal.newest()).unwrap();
            assert_eq!(read(&lose_power(), folder, sha256).unwrap().bodies, []);
        }
    }

    proptest! {
        /// An entry of which any part was written over the one before it is that one, or none.
        #[test]
        fn a_torn_entry_is_none(old in "[a-z]{0,40}", new in "[a-z]{1,40}", at in 0_usize..4096, byte in any::<u8>()) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("journal.0");
            let written = |body: &str| {
                let mut journal = Journal::open(&RealDisk, dir.path(), sha256).unwrap();
                journal.write(body.as_bytes()).unwrap();
                fs::read(&path).unwrap()
            };
            let (before, after) = (written(&old), written(&new));
            let torn = [&after[..at], &before[at..]].concat();
            let mut spoilt = after.clone();
            spoilt[at] = byte;
            for bytes in [torn, spoilt, after[..at].to_vec()] {
                let found = body(&bytes, sha256);
                prop_assert!(found.is_none_or(|found| found == old.as_bytes() || found == new.as_bytes()));
            }
        }
    }
}
