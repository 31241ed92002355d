//! `--jq` in a build without jq: there is no filter, so none ever runs.

use super::error::Error;

/// A compiled filter.
#[derive(Debug)]
pub enum Filter {}

/// What a filter made of a row.
#[derive(Debug, Default)]
pub(super) struct Bodies;

impl Bodies {
    #[expect(clippy::unused_self, reason = "the face of the build with jq")]
    pub(super) fn len(&self) -> usize {
        0
    }

    #[expect(clippy::unused_self, reason = "the face of the build with jq")]
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::empty()
    }
}

impl Filter {
    /// Refuses any filter.
    ///
    /// # Errors
    ///
    /// Always.
    pub fn new(_: &str) -> Result<Self, Error> {
        Err(Error::flag("--jq", "this build of the program has no jq; build it with the feature `jq`"))
    }

    /// The filter as it was given.
    #[must_use]
    pub fn text(&self) -> &str {
        match *self {}
    }

    pub(super) fn run(&self, _: &[u8], _: &mut Bodies) -> Result<(), String> {
        match *self {}
    }
}
