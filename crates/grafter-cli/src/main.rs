//! The `grafter` command.
fn main() {}
