//! Small objects of the world, read whole: one place that turns a store's troubles into reasons.

use bytes::Bytes;
use wsp::store::{Key, ObjectStore, StoreError};

use crate::model::{Reason, Refusal};

/// Bytes that a receipt, manifest, seal or flag has at most.
pub(super) const MAX_BYTES: u64 = 1024 * 1024;

/// A key made of parts of this program and of checked identities.
///
/// # Errors
///
/// `INTERNAL_ERROR` where it is none all the same.
pub(super) fn key(text: &str) -> Result<Key, Refusal> {
    text.parse().map_err(|error| Refusal::new(Reason::InternalError, format!("{error}")))
}

/// The object's bytes, or `None` where there is none.
///
/// # Errors
///
/// `invalid` where it is too large to be what it should be, or no object at all; `REF_OUTSIDE_ROOT` where a link leads out of the root;
/// `STORE_UNAVAILABLE` where the store fails.
pub(super) async fn read(store: &dyn ObjectStore, key: &Key, invalid: Reason) -> Result<Option<Bytes>, Refusal> {
    store.get(key, MAX_BYTES).await.map_err(|error| refusal(&error, invalid).file(store.full_name(key)))
}

/// What a failed read means for the run.
pub(super) fn refusal(error: &StoreError, invalid: Reason) -> Refusal {
    let reason = match error {
        StoreError::TooLarge { .. } | StoreError::NotAnObject { .. } => invalid,
        StoreError::Outside { .. } => Reason::RefOutsideRoot,
        StoreError::Changed { .. } | StoreError::Io { .. } => Reason::StoreUnavailable,
    };
    Refusal::new(reason, error.to_string())
}
