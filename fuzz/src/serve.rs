//! The files of the server that read requests, and what fuzzes them.

#[path = "../../crates/grafter-cli/src/serve/body.rs"]
mod body;
#[path = "../../crates/grafter-cli/src/serve/error.rs"]
mod error;
#[path = "../../crates/grafter-cli/src/serve/limits.rs"]
mod limits;
#[path = "request.rs"]
pub mod request;
