//! The bodies of the fuzz targets: each takes bytes that nobody checked and hands them to what reads such bytes.
//!
//! A body must end for any bytes, without a panic and within the memory that the fuzzer allows; what it asserts beside holds
//! for any bytes, too. `targets/` makes a fuzzer of each. The tests of the main workspace include these files and run them on
//! the committed corpus (`crates/grafter/tests/fuzz_corpus.rs`, and `settings.rs` and `request.rs` in the command line).

#![allow(dead_code, unused_imports, reason = "files of the command line are included whole")]

#[cfg(test)]
mod corpus;
pub mod library;
pub mod serve;
pub mod settings;

// What `settings` and `serve` need: the command line is a program and has no library to depend on.
#[path = "../../crates/grafter-cli/src/args.rs"]
mod args;
#[path = "../../crates/grafter-cli/src/config.rs"]
mod config;
#[path = "../../crates/grafter-cli/src/failure.rs"]
mod failure;
#[path = "../../crates/grafter-cli/src/memory.rs"]
mod memory;
#[path = "../../crates/grafter-cli/src/terminal.rs"]
mod terminal;

/// Makes a fuzzer of a body. What other crates panic at is caught and made an error, and so must not end the fuzzer.
#[cfg(feature = "libfuzzer")]
#[macro_export]
macro_rules! fuzzer {
    ($body:path) => {
        libfuzzer_sys::fuzz_target!(init: $crate::spare_caught_panics(), |bytes: &[u8]| $body(bytes));
    };
}

/// Keeps panics that are caught from the hook of the fuzzer, which ends the process.
pub fn spare_caught_panics() {
    let ending = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !grafter::panic_is_caught() {
            ending(panic);
        }
    }));
}
