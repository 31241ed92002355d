//! Scopes that are folders with two texts in them.
//!
//! ```text
//! FOLDER/.lock     held as long as a process has the scope
//! FOLDER/content   what the positions count in
//! FOLDER/kept      how far: replaced durably, again and again
//! ```

use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::{HeldFolder, blocking, not_saved, read_file, unreadable};
use crate::checkpoint::texts::TextForm;
use crate::checkpoint::{CheckpointError, CheckpointScope, CheckpointStore, Lease};
use crate::disk::{Disk, files};

/// What a file may hold, in bytes.
const LIMIT: u64 = 256 << 20;

/// Scopes in folders of their own, each named by its key.
pub struct TextFolders<F> {
    files: Files<F>,
    root: PathBuf,
}

impl<F: TextForm> TextFolders<F>
where
    F::Key: AsRef<Path>,
{
    /// Those below `root`. The folder of a key that is an absolute path is that path.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, root: impl Into<PathBuf>) -> Self {
        Self { files: Files { disk, form: PhantomData }, root: root.into() }
    }

    fn folder(&self, scope: &F::Key) -> PathBuf {
        self.root.join(scope)
    }
}

impl<F> fmt::Debug for TextFolders<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextFolders").field("root", &self.root).finish_non_exhaustive()
    }
}

/// How the two files of a folder are read and written.
struct Files<F> {
    disk: Arc<dyn Disk>,
    form: PhantomData<fn() -> F>,
}

impl<F> Clone for Files<F> {
    fn clone(&self) -> Self {
        Self { disk: self.disk.clone(), form: PhantomData }
    }
}

impl<F: TextForm> Files<F> {
    fn content(&self, folder: &Path) -> Result<Option<F::Content>, F::Error> {
        let path = folder.join(F::FILES[0]);
        let content = self.text(&path)?.map(|text| F::read_content_text(&text));
        Ok(content.transpose().map_err(|what| unreadable(&path, what))?)
    }

    fn kept(&self, folder: &Path) -> Result<F::Kept, F::Error> {
        let path = folder.join(F::FILES[1]);
        let kept = self.text(&path)?.map(|text| F::read_kept(&text));
        Ok(kept.transpose().map_err(|what| unreadable(&path, what))?.unwrap_or_default())
    }

    fn text(&self, path: &Path) -> Result<Option<String>, CheckpointError> {
        let bytes = read_file(&*self.disk, path, LIMIT)?;
        let text = bytes.map(String::from_utf8).transpose();
        text.map_err(|_| unreadable(path, "it is damaged: no UTF-8"))
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), F::Error> {
        Ok(files::replace(&*self.disk, path, text.as_bytes()).map_err(|error| not_saved(path, &error))?)
    }

    fn remove(&self, path: &Path) -> Result<(), F::Error> {
        let removed = files::remove(&*self.disk, path).and_then(|_| files::sync_entry(&*self.disk, path));
        Ok(removed.map_err(|error| not_saved(path, &error))?)
    }

    /// Does what waits for the disk.
    async fn away<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, F::Error> + Send + 'static,
    ) -> Result<T, F::Error> {
        let files = self.clone();
        blocking(&*self.disk, move || work(&files)).await
    }
}

/// A folder that this process holds.
struct Held<F: TextForm> {
    files: Files<F>,
    folder: PathBuf,
    hold: Arc<HeldFolder<F::Error>>,
}

impl<F: TextForm> Held<F> {
    fn put(&self, file: &'static str, text: String) -> BoxFuture<'_, Result<(), F::Error>> {
        let (held, path) = (self.hold.clone(), self.folder.join(file));
        self.files.away(move |files| held.changing(|| files.write(&path, &text))).boxed()
    }
}

impl<F: TextForm> CheckpointStore<F> for TextFolders<F>
where
    F::Key: AsRef<Path>,
{
    fn open<'a>(&'a self, scope: &'a F::Key) -> BoxFuture<'a, Result<Box<dyn CheckpointScope<F>>, F::Error>> {
        let folder = self.folder(scope);
        let taken = self.files.away(move |files| Ok((HeldFolder::<F::Error>::take(&files.disk, &folder)?, folder)));
        async move {
            let (held, folder) = taken.await?;
            let scope = Held { files: self.files.clone(), folder, hold: Arc::new(held) };
            Ok(Box::new(scope) as Box<dyn CheckpointScope<F>>)
        }
        .boxed()
    }

    fn peek<'a>(&'a self, scope: &'a F::Key, _: &'a [F::Source]) -> BoxFuture<'a, Result<F::Kept, F::Error>> {
        let folder = self.folder(scope);
        self.files.away(move |files| files.kept(&folder)).boxed()
    }

    fn peek_views<'a>(&'a self, scope: &'a F::Key) -> BoxFuture<'a, Result<Option<F::Content>, F::Error>> {
        let folder = self.folder(scope);
        self.files.away(move |files| files.content(&folder)).boxed()
    }

    fn reset<'a>(&'a self, scope: &'a F::Key, _: &'a [F::Source]) -> BoxFuture<'a, Result<(), F::Error>> {
        let folder = self.folder(scope);
        let work = move |files: &Files<F>| {
            let held = HeldFolder::<F::Error>::take(&files.disk, &folder)?;
            // Positions never stand beside content that they don't count in.
            let [content, kept] = F::FILES;
            held.changing(|| [kept, content].iter().try_for_each(|name| files.remove(&folder.join(name))))
        };
        self.files.away(work).boxed()
    }
}

impl<F: TextForm> CheckpointScope<F> for Held<F> {
    fn load<'a>(&'a mut self, _: &'a [F::Source]) -> BoxFuture<'a, Result<F::Kept, F::Error>> {
        let folder = self.folder.clone();
        self.files.away(move |files| files.kept(&folder)).boxed()
    }

    fn views(&mut self) -> BoxFuture<'_, Result<Option<F::Content>, F::Error>> {
        let folder = self.folder.clone();
        self.files.away(move |files| files.content(&folder)).boxed()
    }

    fn keep_views<'a>(&'a mut self, content: &'a F::Content) -> BoxFuture<'a, Result<(), F::Error>> {
        self.put(F::FILES[0], F::content_text(content))
    }

    fn save<'a>(&'a mut self, kept: &'a F::Kept) -> BoxFuture<'a, Result<(), F::Error>> {
        self.put(F::FILES[1], F::kept_text(kept))
    }

    fn lease(&self) -> Lease<F::Error> {
        self.hold.lease().of_epoch(self.hold.epoch())
    }
}
