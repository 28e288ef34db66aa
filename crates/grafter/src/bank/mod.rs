//! A bank: one frozen base and any number of tasks, each a sealed adapter that no other task touches.
//!
//! Tasks come one after another, without the earlier tasks' data. What each answered when it came is kept with it, so that
//! [`Bank::verify`] can prove that it answers the same today.

mod cache;
mod error;
mod folder;
mod name;
mod probes;
mod verify;

pub use cache::{AdapterCache, CacheError, CacheUsage, Resident};
pub use error::BankError;
pub use folder::{Add, Bank, BankRecord, BrokenTask, Incoming, TaskEntry, TaskList, VersionEntry};
pub use name::{MAX_NAME, MIN_DIGITS, NameError, TaskName, TaskRef, Version};
pub use probes::{Answered, PROBES, Probe, Probes, generated_rows, rows_of};
pub use verify::{Verdict, Verified};
