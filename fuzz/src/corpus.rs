//! The committed inputs of a target: what it begins with, and what once went wrong.

use std::path::{Path, PathBuf};

/// Runs a target on its inputs, in the order of their names.
#[allow(clippy::print_stdout, reason = "a test may print")]
pub fn run(target: &str, body: fn(&[u8])) {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join("fuzz"));
    let home = home.into_iter().find(|folder| folder.join("corpus").is_dir()).expect("the folder `fuzz`");
    let mut inputs: Vec<PathBuf> = ["corpus", "regressions"]
        .iter()
        .filter_map(|kind| std::fs::read_dir(home.join(kind).join(target)).ok())
        .flat_map(|entries| entries.map(|entry| entry.expect("an entry").path()))
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "no inputs of `{target}`");
    for input in inputs {
        // Of what panics, the name stands above the message.
        println!("{}", input.display());
        body(&std::fs::read(&input).expect("an input can be read"));
    }
}
