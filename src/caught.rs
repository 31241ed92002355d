//! Code of others whose asserts a damaged file can reach: such a panic is that file's fault and must not take the process
//! along.
//!
//! ```text
//! step of a decoder ──caught──► its result · what its panic said
//! ```

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic on this thread, now, is caught and reported as an error. A program's panic hook is called all the same; it
/// can leave such a panic to the error.
#[must_use]
pub fn catches_panic() -> bool {
    IS_CAUGHT.get()
}

/// As long as it lives, [`catches_panic`] holds on this thread. What held before is kept.
struct Guard(bool);

impl Drop for Guard {
    fn drop(&mut self) {
        IS_CAUGHT.set(self.0);
    }
}

/// Runs `step`.
///
/// # Errors
///
/// What its panic said.
pub fn caught<T>(step: impl FnOnce() -> T) -> Result<T, String> {
    let guard = Guard(IS_CAUGHT.replace(true));
    let done = catch_unwind(AssertUnwindSafe(step));
    drop(guard);
    done.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message").to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_words_and_only_inside_is_it_expected() {
        let inside = caught(|| (catches_panic(), caught(|| panic!("{} on purpose", 1)), catches_panic()));
        assert_eq!(inside, Ok((true, Err::<(), _>("1 on purpose".to_owned()), true)));
        assert!(!catches_panic());
    }
}
