//! The object store on disk (see [`super::ObjectStore`]). Helper fills.
/// A folder.
#[derive(Debug)]
pub struct LocalStore;
