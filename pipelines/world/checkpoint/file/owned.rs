//! A scope's folder in the hands of the one who may change it.

use std::ops::Deref;

use wsp::checkpoint::file::HeldFolder;

use super::place::Place;
use crate::model::Refusal;

/// The files of a scope that this process holds, for as long as this lives.
pub(super) struct Owned {
    pub(super) place: Place,
    held: HeldFolder<Refusal>,
}

impl Owned {
    /// Takes hold of the scope at `place`.
    pub(super) fn take(place: Place) -> Result<Self, Refusal> {
        let held = HeldFolder::take(&place.disk, &place.folder)?;
        Ok(Self { place, held })
    }
}

impl Deref for Owned {
    type Target = HeldFolder<Refusal>;

    fn deref(&self) -> &HeldFolder<Refusal> {
        &self.held
    }
}
