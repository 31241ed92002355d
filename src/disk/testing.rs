//! For tests: something that happens right before one operation of a process.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Act, Fate, Host, Operation};

/// A host that does `work` before the first `act` on a path that ends with `name`; `work` decides on that operation.
pub fn before(act: Act, name: &'static str, work: impl FnOnce() -> Fate + Send + 'static) -> Arc<dyn Host> {
    let work = Mutex::new(Some(work));
    Arc::new(move |operation: &Operation<'_>| {
        if operation.act != act || !operation.path.to_string_lossy().ends_with(name) {
            return Fate::Happens;
        }
        let work = work.lock().unwrap_or_else(PoisonError::into_inner).take();
        work.map_or(Fate::Happens, |work| work())
    })
}
