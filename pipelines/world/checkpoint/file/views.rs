//! The file that says which views the scope's positions count in: written by a run's first start, read by all later ones.

use wsp::checkpoint::file::read_file;
use wsp::disk::files::{self, Staged};

use super::faults::{failed, foreign, unreadable};
use super::owned::Owned;
use super::place::Place;
use crate::checkpoint::Views;
use crate::checkpoint::beyond::Unfit;
use crate::model::Refusal;

/// What the file may hold at most, in bytes: some hundred thousand parts.
const LIMIT: u64 = 64 * 1024 * 1024;

/// What the file of the scope at `place` says; `None` where there is none.
pub(super) fn read(place: &Place) -> Result<Option<Views>, Refusal> {
    let path = place.views_file();
    let Some(bytes) = read_file(&*place.disk, &path, LIMIT)? else { return Ok(None) };
    Views::read(&place.scope, &bytes).map(Some).map_err(|unfit| match unfit {
        Unfit::Damaged(detail) => unreadable(
            &path,
            format!(
                "{detail}; it says which views the cursors count in. Without this file the run goes on, and only the \
                 cursors' own rows are compared with the view"
            ),
        ),
        Unfit::Foreign(other) => foreign(&path, "scope_key", other.as_str(), place.scope.as_str()),
    })
}

/// Puts `views` in place, unless the scope is another's; durable when this returns.
pub(super) fn keep(owned: &Owned, views: &Views) -> Result<(), Refusal> {
    let (disk, path) = (&*owned.place.disk, owned.place.views_file());
    let failed = |error| failed(&path, &error);
    let staged = Staged::write(disk, &path, views.write(&owned.place.scope).as_bytes()).map_err(failed)?;
    staged.sync().map_err(failed)?;
    owned.changing(|| staged.publish().and_then(|()| files::sync_entry(disk, &path)).map_err(failed))
}
