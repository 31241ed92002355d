//! The simplest layout: of each source, the number of the first item that is not answered.
//!
//! ```text
//! north 0 1 2 _ 4 ──► 3: the next start goes on with item 3, and sends 4 once more
//! south 0 1       ──► 2
//! ```

use std::fmt;
use std::io::ErrorKind;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{CheckpointError, CheckpointFault};
use super::layout::{Cause, Layout, Save};
use super::mark::Place;
use super::watermark::Watermark;
use crate::disk::{self, Disk, Mode, RealDisk, files};

/// Keeps where reading goes on in each source: the number of its first item that is not answered.
pub struct Counts<D, E> {
    starts: Vec<u64>,
    items: PhantomData<fn() -> (D, E)>,
}

impl<D, E> Counts<D, E> {
    /// Counts from these numbers on, one a source.
    #[must_use]
    pub fn from(starts: impl Into<Vec<u64>>) -> Self {
        Self { starts: starts.into(), items: PhantomData }
    }
}

impl<D, E> fmt::Debug for Counts<D, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counts").field("starts", &self.starts).finish()
    }
}

impl<D: Place, E: From<CheckpointError> + fmt::Display> Layout for Counts<D, E> {
    type Delivered = D;
    type Mark = D;
    type Kept = Vec<u64>;
    type Error = E;

    fn starts(&self) -> Vec<u64> {
        self.starts.clone()
    }

    fn mark(&mut self, delivered: &D) -> Result<D, E> {
        let (source, seq) = (delivered.source(), delivered.seq());
        if self.starts.get(source).is_some_and(|start| seq >= *start) {
            return Ok(*delivered);
        }
        let detail = format!("an answer to item {seq} of source {source}, which is not of this run");
        Err(CheckpointError::new(CheckpointFault::Internal, detail).into())
    }

    fn kept(&mut self, answered: &Watermark<D>, _: Cause) -> Vec<u64> {
        (0..answered.sources()).map(|source| answered.next(source)).collect()
    }
}

/// Counts in text files, one a source, each replaced durably.
#[derive(Debug, Clone)]
pub struct CountFiles {
    disk: Arc<dyn Disk>,
    paths: Arc<[PathBuf]>,
}

/// More than the digits of any number.
const LIMIT: u64 = 32;

impl CountFiles {
    /// Those at `paths`, in the order of the sources.
    #[must_use]
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        Self::on(Arc::new(RealDisk), paths)
    }

    /// As [`CountFiles::new`], on `disk`.
    #[must_use]
    pub fn on(disk: Arc<dyn Disk>, paths: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { disk, paths: paths.into_iter().collect() }
    }

    /// What is kept: 0 of a source that has no file yet. It waits for the disk.
    ///
    /// # Errors
    ///
    /// [`CheckpointFault::Unreadable`], naming the file.
    pub fn load(&self) -> Result<Vec<u64>, CheckpointError> {
        self.paths.iter().map(|path| read(&*self.disk, path)).collect()
    }
}

fn read(disk: &dyn Disk, path: &Path) -> Result<u64, CheckpointError> {
    let unreadable = |detail: String| {
        CheckpointError::new(CheckpointFault::Unreadable, format!("{}: {detail}", path.display()))
            .file(path.to_string_lossy())
    };
    let bytes = match disk.open(path, Mode::Read).and_then(|file| file.read_up_to(LIMIT)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(unreadable(error.to_string())),
    };
    let number = str::from_utf8(&bytes).ok().and_then(|text| text.trim_ascii_end().parse().ok());
    number.ok_or_else(|| unreadable("it holds no number; without it all of the source is sent again".to_owned()))
}

impl<E: From<CheckpointError> + Send> Save<Vec<u64>, E> for CountFiles {
    async fn save(&mut self, kept: &Vec<u64>) -> Result<(), E> {
        let (Self { disk, paths }, kept) = (self.clone(), kept.clone());
        let work = move || {
            let write = |(path, count): (&PathBuf, &u64)| {
                files::replace(&*disk, path, count.to_string().as_bytes()).map_err(|error| (path.clone(), error))
            };
            paths.iter().zip(&kept).try_for_each(write)
        };
        let written = disk::blocking(&*self.disk, work).await;
        let written = written.map_err(|error| CheckpointError::new(CheckpointFault::Internal, error.to_string()))?;
        Ok(written.map_err(|(path, error)| {
            let detail = format!("{}: {error}", path.display());
            CheckpointError::new(CheckpointFault::NotSaved, detail).file(path.to_string_lossy())
        })?)
    }
}

#[cfg(test)]
mod tests {
    use futures::{TryStreamExt, stream};

    use super::super::{CheckpointExt, CheckpointOptions};
    use super::*;
    use crate::clock::SystemClock;

    async fn run(files: &CountFiles, answers: &[(usize, u64)]) -> Result<usize, CheckpointError> {
        let answers: Vec<Result<_, CheckpointError>> = answers.iter().copied().map(Ok).collect();
        let options = CheckpointOptions::new(SystemClock::new()).flush_every(1);
        let answers = stream::iter(answers).checkpoint(files.clone(), Counts::from(files.load()?), options);
        Ok(answers.try_collect::<Vec<_>>().await?.len())
    }

    #[tokio::test]
    async fn a_start_goes_on_behind_what_is_answered_without_a_gap() {
        let folder = tempfile::tempdir().unwrap();
        let files = CountFiles::new(["north", "south"].map(|name| folder.path().join(name)));
        assert_eq!(files.load().unwrap(), [0, 0]);
        assert_eq!(run(&files, &[(0, 1), (0, 0), (1, 0), (0, 4), (0, 2)]).await.unwrap(), 5);
        assert_eq!(files.load().unwrap(), [3, 1]);
        assert_eq!(run(&files, &[(0, 4), (0, 3), (1, 2)]).await.unwrap(), 3);
        assert_eq!(files.load().unwrap(), [5, 1]);
        for stray in [(0, 4), (2, 0)] {
            let error = run(&files, &[(1, 1), stray]).await.unwrap_err();
            assert_eq!(error.fault, CheckpointFault::Internal, "{error}");
        }
        assert_eq!(files.load().unwrap(), [5, 2], "what was answered before the stray is saved");
    }

    #[tokio::test]
    async fn files_that_cannot_be_used_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("north");
        let files = CountFiles::new([path.clone()]);
        for damaged in ["", "-1", "x", "1 2", &"9".repeat(40)] {
            std::fs::write(&path, damaged).unwrap();
            let error = files.load().unwrap_err();
            assert_eq!((error.fault, error.file.as_deref()), (CheckpointFault::Unreadable, path.to_str()), "{damaged}");
        }
        std::fs::write(&path, "7\n").unwrap();
        assert_eq!(files.load().unwrap(), [7], "as an editor leaves it");
        let nowhere = CountFiles::new([folder.path().join("no folder/north")]);
        assert_eq!(run(&nowhere, &[(0, 0)]).await.unwrap_err().fault, CheckpointFault::NotSaved);
    }
}
