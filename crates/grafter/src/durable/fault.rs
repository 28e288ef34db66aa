//! Faults for tests: the n-th operation of `disk.rs` on this thread fails, or ends the process.
//!
//! Nothing but a test arms one. Without it an operation looks at one number of its thread.

use std::cell::Cell;
use std::io;

/// What happens at the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails, and those after it do not; a write has written half of its bytes.
    Once,
    /// It fails, and all after it, as on a full disk; a write has written half of its bytes.
    FromThere,
    /// The process ends before it, or within it if it is a write: nothing is cleaned up any more.
    Exit,
}

/// The status with which the process ends.
pub const EXIT_STATUS: i32 = 70;

#[derive(Clone, Copy)]
struct Plan {
    /// The operation that fails, counted from 1.
    nth: u64,
    fault: Fault,
    passed: u64,
}

thread_local! {
    static PLAN: Cell<Option<Plan>> = const { Cell::new(None) };
}

/// Lets the n-th operation of this thread fail, counted from 1 from here on.
pub fn arm(nth: u64, fault: Fault) {
    PLAN.set(Some(Plan { nth, fault, passed: 0 }));
}

/// Lets no operation fail any more; says how many there were since [`arm`].
pub fn disarm() -> u64 {
    PLAN.take().map_or(0, |plan| plan.passed)
}

/// Asked by each operation before it does anything; a write passes what writes half of it.
/// # Errors
/// If it is the one that fails.
pub(super) fn strike(half: impl FnOnce()) -> io::Result<()> {
    let Some(mut plan) = PLAN.get() else { return Ok(()) };
    plan.passed += 1;
    PLAN.set(Some(plan));
    let struck = match plan.fault {
        Fault::Once | Fault::Exit => plan.passed == plan.nth,
        Fault::FromThere => plan.passed >= plan.nth,
    };
    if !struck {
        return Ok(());
    }
    half();
    if plan.fault == Fault::Exit {
        std::process::exit(EXIT_STATUS);
    }
    Err(io::Error::new(io::ErrorKind::StorageFull, "a fault of a test"))
}
