//! The `grafter` command: parses arguments, runs one command, and turns its error into a message and an exit code.

#![forbid(unsafe_code)]
// `println!` and `eprintln!` panic where they cannot write; see `commands::print` and `terminal::tell`.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod commands;
mod config;
#[cfg(test)]
#[path = "../../../fuzz/src/corpus.rs"]
mod corpus;
mod failure;
#[cfg(test)]
#[path = "../../../fuzz/src/settings.rs"]
mod fuzz_settings;
mod interrupt;
mod memory;
mod progress;
mod serve;
mod sources;
mod tensorboard;
mod terminal;

use std::panic;
use std::process::ExitCode;

use clap::Parser;
use grafter::panic_is_caught;

use args::{Arguments, Command};
use failure::Failure;

/// Everything was done.
const DONE: u8 = 0;
/// Done, but some rows were rejected, some tasks have changed, or some requests were not answered.
const REFUSED: u8 = 1;
/// Not done.
const FAILED: u8 = 2;
/// Ended by Ctrl-C, as shells report it.
const INTERRUPTED: u8 = 130;

/// How a command that did not fail ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was done.
    Done,
    /// Some rows could not be used.
    RowsRejected,
    /// A task of a bank is not what it was.
    TasksChanged,
    /// The server ended before all requests were answered.
    Unanswered,
    /// Ctrl-C; what there was so far is kept.
    Interrupted,
}

fn main() -> ExitCode {
    let tell_panic = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        // What a damaged file causes in another crate becomes an error of its own.
        if !panic_is_caught() {
            tell_panic(panic);
        }
    }));
    let ran =
        config::expand(std::env::args_os().collect()).and_then(|words| run(&Arguments::parse_from(words)));
    match ran {
        Ok(Outcome::Done) => ExitCode::from(DONE),
        Ok(Outcome::RowsRejected | Outcome::TasksChanged | Outcome::Unanswered) => ExitCode::from(REFUSED),
        Ok(Outcome::Interrupted) => ExitCode::from(INTERRUPTED),
        // The reader of a pipe went away, as `head` does: nothing went wrong.
        Err(failure) if failure.is_closed_pipe() => ExitCode::from(DONE),
        Err(Failure::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(failure) => {
            failure.print();
            ExitCode::from(FAILED)
        }
    }
}

fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    if let Some(threads) = arguments.threads {
        rayon::ThreadPoolBuilder::new()
            .num_threads(usize::from(threads))
            .build_global()
            .map_err(Failure::Threads)?;
    }
    match &arguments.command {
        Command::Quickstart(command) => commands::quickstart::run(command),
        Command::Pull(command) => commands::pull::run(command),
        Command::Train(command) => commands::train::run(command),
        Command::Bank(command) => commands::bank::run(command),
        Command::Compare(command) => commands::compare::run(command),
        Command::Tune(command) => commands::tune::run(command),
        Command::Reproduce(command) => commands::reproduce::run(command),
        Command::Eval(command) => commands::eval::run(command),
        Command::Ablate(command) => commands::ablate::run(command),
        Command::Predict(command) => commands::predict::run(command),
        Command::Serve(command) => serve::run(command),
        Command::Import(command) => commands::import::run(command),
        Command::Export(command) => commands::export::run(command),
        Command::Inspect(command) => commands::inspect::run(command),
        Command::CheckData(command) => commands::check_data::run(command),
        Command::Completions(command) => commands::manual::completions(command),
        Command::Man(command) => commands::manual::pages(command),
    }
}
