//! Where a scope's files are, and what those say that others read.
//!
//! ```text
//! Place ──► answered.json ► Beside · cursor.json of each output ► Cursor
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use wsp::checkpoint::file::read_file;
use wsp::disk::{Disk, Mode, files};

use super::faults::{failed, foreign, unreadable};
use crate::checkpoint::beyond::{Beside, Unfit};
use crate::checkpoint::{Beyond, Cursor, Kept};
use crate::model::{Hex64, OutputId, Reason, Refusal};

/// What a cursor file may hold at most, in bytes; a real one has some 500.
pub(super) const LIMIT: u64 = 64 * 1024;

/// What `answered.json` may hold at most, in bytes: a run for every second event of the widest window has a third of it.
const BEYOND_LIMIT: u64 = 64 * 1024 * 1024;

/// Where a scope's files are.
pub(super) struct Place {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) scope: Hex64,
    pub(super) folder: PathBuf,
}

impl Place {
    pub(super) fn new(disk: Arc<dyn Disk>, scope: Hex64, folder: PathBuf) -> Self {
        Self { disk, scope, folder }
    }

    pub(super) fn cursor_file(&self, output: &OutputId) -> PathBuf {
        self.folder.join(format!("output_id={output}")).join("cursor.json")
    }

    pub(super) fn beyond_file(&self) -> PathBuf {
        self.folder.join("answered.json")
    }

    pub(super) fn views_file(&self) -> PathBuf {
        self.folder.join("views.json")
    }

    /// What the cursor files of `outputs` say, for those that have one.
    pub(super) fn read_some<'a>(
        &self,
        outputs: impl IntoIterator<Item = &'a OutputId>,
    ) -> Result<Vec<Cursor>, Refusal> {
        outputs.into_iter().filter_map(|output| self.read(output).transpose()).collect()
    }

    /// Makes what was read durable as it is.
    pub(super) fn sync(&self, kept: &Kept) -> Result<(), Refusal> {
        let beyond = kept.has_beside().then(|| self.beyond_file());
        let cursors = kept.cursors.iter().map(|cursor| self.cursor_file(&cursor.output_id));
        beyond.into_iter().chain(cursors).try_for_each(|path| self.sync_file(&path))
    }

    /// Makes a file that was read durable as it is.
    pub(super) fn sync_file(&self, path: &Path) -> Result<(), Refusal> {
        let synced = self.disk.open(path, Mode::Read).and_then(|file| file.sync());
        synced.and_then(|()| files::sync_entry(&*self.disk, path)).map_err(|error| failed(path, &error))
    }

    /// What is in `answered.json`.
    pub(super) fn read_beside(&self) -> Result<Beside, Refusal> {
        let path = self.beyond_file();
        let Some(bytes) = read_file(&*self.disk, &path, BEYOND_LIMIT)? else { return Ok(Beside::default()) };
        Beyond::read(&self.scope, &bytes).map_err(|unfit| match unfit {
            Unfit::Damaged(detail) => {
                let detail = format!("{detail}; without this file the run goes on, and sends what it lists again");
                Refusal::new(Reason::CheckpointUnreadable, detail).file(path.to_string_lossy())
            }
            Unfit::Foreign(other) => foreign(&path, "scope_key", other.as_str(), self.scope.as_str()),
        })
    }

    fn read(&self, output: &OutputId) -> Result<Option<Cursor>, Refusal> {
        let path = self.cursor_file(output);
        let Some(bytes) = read_file(&*self.disk, &path, LIMIT)? else { return Ok(None) };
        let saved: Saved = serde_json::from_slice(&bytes).map_err(|error| unreadable(&path, error.to_string()))?;
        if saved.pack_key != self.scope {
            return Err(foreign(&path, "pack_key", saved.pack_key.as_str(), self.scope.as_str()));
        }
        if saved.cursor.output_id != *output {
            return Err(foreign(&path, "output_id", saved.cursor.output_id.as_str(), output.as_str()));
        }
        Ok(Some(saved.cursor))
    }
}

/// A cursor file. Keys that a later producer may add are left alone; the ones we know have to be there.
#[derive(Deserialize)]
struct Saved {
    pack_key: Hex64,
    #[serde(flatten)]
    cursor: Cursor,
    #[serde(rename = "updated_at_utc")]
    _updated_at_utc: String,
}
