//! Ctrl-C: the first one asks the command to end in order, the second one ends the process.

use crate::terminal::tell;
use std::sync::atomic::{AtomicBool, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// What is said where a run is kept only once it has ended.
pub const LOSES_THE_RUN: &str = "ending after what is at hand; Ctrl-C again ends at once and loses the run";

/// From here on the first Ctrl-C only raises a flag, and says this.
pub fn listen_with(message: &'static str) {
    // It fails only where a handler is installed already, and then that one serves.
    let _ = ctrlc::set_handler(move || {
        if REQUESTED.swap(true, Ordering::SeqCst) {
            std::process::exit(i32::from(crate::INTERRUPTED));
        }
        tell(message);
    });
}

/// Whether Ctrl-C was pressed.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}
