//! Files of settings for `--config`. A part of the tests of the command line, too.

use std::ffi::OsString;

use clap::Parser;

use crate::args::Arguments;
use crate::config::expand;

/// The first byte picks the command.
pub fn settings(bytes: &[u8]) {
    let Some((command, file)) = bytes.split_first() else { return };
    let commands: [&[&str]; 4] =
        [&["train", "--lr=1"], &["bank", "list", "bank"], &["tune"], &["serve", "bank", "--", "x"]];
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("run.toml");
    std::fs::write(&path, file).expect("a file can be written");
    let words = [OsString::from("grafter"), "--config".into(), path.into_os_string()];
    let words = words.into_iter().chain(commands[usize::from(command % 4)].iter().map(OsString::from));
    match expand(words.collect()) {
        Ok(words) => drop(Arguments::try_parse_from(words).map_err(|error| error.to_string())),
        Err(failure) => drop(failure.to_string()),
    }
}

#[cfg(test)]
#[test]
fn files_of_the_corpus() {
    crate::corpus::run("settings", settings);
}
