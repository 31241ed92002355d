//! Opens the store that a root names.

use std::sync::Arc;

use super::{LocalStore, ObjectStore, S3Options, S3RootError};

/// What stores are opened with; each takes its own part.
#[derive(Debug, Clone, Default)]
pub struct StoreOptions {
    /// For roots that begin with `s3://`.
    pub s3: S3Options,
}

/// A root that no store can be opened on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It begins like an address, but of a kind that no store of ours reads.
    #[error("objects are read from s3://… or from a folder, not from {0}://")]
    Scheme(String),
    /// An S3 address, in a build that can't open it.
    #[error("this build of the program has no S3; build it with the feature `s3`")]
    NotBuilt,
    /// Not an S3 address.
    #[error(transparent)]
    S3(#[from] S3RootError),
}

/// Opens the store that `root` names: `s3://bucket/prefix`, or a folder. Neither is looked at yet.
///
/// # Errors
///
/// If it is an address of another kind, or not a valid one.
pub fn open_store(root: &str, options: &StoreOptions) -> Result<Arc<dyn ObjectStore>, OpenError> {
    match root.split_once("://") {
        Some(("s3", _)) => open_s3(root, options),
        Some((scheme, _)) => Err(OpenError::Scheme(scheme.chars().take(20).collect())),
        None => Ok(Arc::new(LocalStore::open(root))),
    }
}

#[cfg(feature = "s3")]
fn open_s3(root: &str, options: &StoreOptions) -> Result<Arc<dyn ObjectStore>, OpenError> {
    Ok(Arc::new(super::S3Store::open(root, options.s3.clone())?))
}

#[cfg(not(feature = "s3"))]
fn open_s3(root: &str, _: &StoreOptions) -> Result<Arc<dyn ObjectStore>, OpenError> {
    super::s3_root::Location::parse(root)?;
    Err(OpenError::NotBuilt)
}

#[cfg(test)]
#[cfg(feature = "s3")]
mod tests {
    use super::*;

    #[test]
    fn a_root_tells_its_store() {
        let options = StoreOptions::default();
        for (root, kept) in
            [("s3://world/run=1/", "s3://world/run=1"), ("/data/world/", "/data/world"), ("runs", "runs")]
        {
            let store = open_store(root, &options).unwrap();
            assert_eq!(store.root(), kept);
            assert_eq!(format!("{store:?}").starts_with("S3Store"), root.starts_with("s3"));
        }
        assert_eq!(open_store("file:///data", &options).unwrap_err(), OpenError::Scheme("file".into()));
        assert!(matches!(open_store("s3://x", &options), Err(OpenError::S3(S3RootError::Root(_)))));
    }
}
