//! Panics of crates below on files that they do not expect: caught here, and an error of whoever called.
//!
//! This needs `panic = "unwind"`. A panic hook is called all the same; it can ask [`panic_is_caught`].

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic on this thread would become an error: there is nothing that a panic hook should tell of it.
pub fn panic_is_caught() -> bool {
    CAUGHT.get()
}

/// Calls into a crate; `None` if it panicked. Then nothing that the call changed may be used again.
pub(crate) fn caught<T>(call: impl FnOnce() -> T) -> Option<T> {
    let before = CAUGHT.replace(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    CAUGHT.set(before);
    result.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_known_to_be_caught_and_gives_nothing() {
        let outer = caught(|| {
            let inner = caught(|| {
                assert!(panic_is_caught());
                let nothing: Vec<u8> = Vec::new();
                nothing[0]
            });
            (inner, panic_is_caught())
        });
        assert_eq!(outer, Some((None, true)));
        assert!(!panic_is_caught());
        assert_eq!(caught(|| 1), Some(1));
    }
}
