//! What goes wrong with a scope's files, as refusals.

use std::io;
use std::path::Path;

use wsp::checkpoint::file;

use crate::model::Refusal;

/// A change that did not become durable.
pub(super) fn failed(path: &Path, error: &io::Error) -> Refusal {
    file::not_saved(path, error).into()
}

/// A file that is not what we write.
pub(super) fn unreadable(path: &Path, detail: String) -> Refusal {
    file::unreadable(path, detail).into()
}

/// A file of another scope than its folder's.
pub(super) fn foreign(path: &Path, field: &'static str, inside: &str, folder: &str) -> Refusal {
    file::foreign(path, field, inside, folder).into()
}
