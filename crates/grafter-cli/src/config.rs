//! `--config FILE`: flags from a TOML file, a line each, under those of the command line.
//!
//! What the file says becomes words of the command line before clap reads them, so that a setting means the same in both places
//! and is checked in the same way. A flag that the command line gives is not taken from the file.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::{Arg, Command, CommandFactory};
use grafter::text::escape;
use toml::{Table, Value};

use crate::args::Arguments;
use crate::failure::Failure;

const FLAG: &str = "config";

/// The words of the command line with those of the file that `--config` names.
/// # Errors
/// If the file cannot be read, is no TOML, or names what the command has no flag for.
pub fn expand(words: Vec<OsString>) -> Result<Vec<OsString>, Failure> {
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let (own, rest) = words.split_at(end);
    let Some(path) = named_file(own) else { return Ok(words) };
    let text =
        std::fs::read_to_string(&path).map_err(|source| Failure::Read { path: path.clone(), source })?;
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let line =
            error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
        let what = format!("line {line} is no TOML: {}", escape(error.message(), 200));
        wrong(&path, &what, Some("a setting is a line such as `epochs = 3` or `model = \"minilm\"`"))
    })?;
    let command = asked(own);
    let mut expanded = own.to_vec();
    for (name, value) in &table {
        let named = |argument: &&Arg| argument.get_long() == Some(name);
        let Some(argument) = command.get_arguments().find(named).filter(|_| name != FLAG) else {
            let hint = "the names are those of the flags, without the two dashes before them";
            let what = format!("`grafter {}` has no setting `{}`", command.get_name(), escape(name, 60));
            return Err(wrong(&path, &what, Some(hint)));
        };
        let flag = format!("--{name}");
        if !own.iter().any(|word| is_flag(word, &flag)) {
            let is_switch = !argument.get_action().takes_values();
            expanded.extend(flag_words(&flag, is_switch, value).map_err(|what| wrong(&path, &what, None))?);
        }
    }
    expanded.extend(rest.iter().cloned());
    Ok(expanded)
}

/// The file of the last `--config`, in either way of writing it.
fn named_file(words: &[OsString]) -> Option<PathBuf> {
    let flag = format!("--{FLAG}");
    let place = words.iter().rposition(|word| is_flag(word, &flag))?;
    match words[place].to_str().and_then(|word| word.split_once('=')) {
        Some((_, file)) => Some(file.into()),
        // Without a file clap tells what is missing.
        None => words.get(place + 1).map(PathBuf::from),
    }
}

fn is_flag(word: &OsStr, flag: &str) -> bool {
    word.to_str()
        .is_some_and(|word| word == flag || word.strip_prefix(flag).is_some_and(|rest| rest.starts_with('=')))
}

/// The command that the words ask for; its flags include the global ones.
fn asked(words: &[OsString]) -> Command {
    let mut command = Arguments::command();
    command.build();
    for word in words.iter().skip(1) {
        let inner = word.to_str().and_then(|word| command.find_subcommand(word)).cloned();
        command = inner.unwrap_or(command);
    }
    command
}

/// A setting as words. What would be no word at all is refused, but for a switch that is off.
fn flag_words(flag: &str, is_switch: bool, value: &Value) -> Result<Vec<OsString>, String> {
    let wrong =
        |found: &str, expected: &str| Err(format!("`{}` is {found}, expected {expected}", &flag[2..]));
    let one = |value: String| OsString::from(format!("{flag}={value}"));
    Ok(match value {
        Value::String(text) => vec![one(text.clone())],
        Value::Integer(number) => vec![one(number.to_string())],
        Value::Float(number) => vec![one(number.to_string())],
        Value::Boolean(true) => vec![flag.into()],
        Value::Boolean(false) if is_switch => Vec::new(),
        Value::Boolean(false) => return wrong("false", "a value, or no such line"),
        Value::Array(values) if values.is_empty() => {
            return wrong("an empty list", "a value, or no such line");
        }
        Value::Array(values) => {
            let words: Result<Vec<Vec<OsString>>, String> =
                values.iter().map(|value| flag_words(flag, is_switch, value)).collect();
            words?.concat()
        }
        Value::Datetime(_) | Value::Table(_) => {
            return wrong(value.type_str(), "a text, number, truth value or list");
        }
    })
}

fn wrong(path: &Path, what: &str, hint: Option<&str>) -> Failure {
    Failure::Usage { message: format!("`{}`: {what}", path.display()), hint: hint.map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(file: &str, words: &[&str]) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.toml");
        std::fs::write(&path, file).unwrap();
        let words = words.iter().map(|word| OsString::from(word.replace("FILE", path.to_str().unwrap())));
        match expand(words.collect()) {
            Ok(words) => Ok(words.into_iter().skip(3).map(|word| word.into_string().unwrap()).collect()),
            Err(failure) => Err(failure.to_string().replace(path.to_str().unwrap(), "FILE")),
        }
    }

    #[test]
    fn a_file_gives_what_the_command_line_does_not() {
        let file = "lr = 0.002\nepochs = 3\nno-dropout = true\ncalibrate = false\nclass-weights = [\"auto\", \"a=2\"]\n";
        let words = ["grafter", "train", "--config=FILE", "--epochs", "5", "--", "x"];
        assert_eq!(
            expanded(file, &words).unwrap(),
            [
                "--epochs",
                "5",
                "--class-weights=auto",
                "--class-weights=a=2",
                "--lr=0.002",
                "--no-dropout",
                "--",
                "x"
            ]
        );
        let words = ["grafter", "train", "--config=FILE", "--lr=1"];
        assert_eq!(expanded("lr = 0.002\nthreads = 2", &words).unwrap(), ["--lr=1", "--threads=2"]);
        // A command of a command.
        let words = ["grafter", "--config=FILE", "bank", "list", "bank"];
        assert_eq!(expanded("json = true", &words).unwrap(), ["list", "bank", "--json"]);
        // Without one, nothing happens to the words.
        let words: Vec<OsString> = ["grafter", "train", "--lr", "1"].map(OsString::from).into();
        assert_eq!(expand(words.clone()).unwrap(), words);
    }

    #[test]
    fn what_a_file_cannot_say_is_named() {
        let words = ["grafter", "train", "--config=FILE"];
        for (file, expected) in [
            ("rate = 1", "`FILE`: `grafter train` has no setting `rate`"),
            ("config = \"x\"", "`FILE`: `grafter train` has no setting `config`"),
            ("[run]\nlr = 1", "`FILE`: `grafter train` has no setting `run`"),
            ("[train]\nlr = 1", "`FILE`: `train` is table, expected a text, number, truth value or list"),
            ("lr = {a = 1}", "`FILE`: `lr` is table, expected a text, number, truth value or list"),
            ("epochs = 1\nlr = ", "`FILE`: line 2 is no TOML: "),
            ("patience = false", "`FILE`: `patience` is false, expected a value, or no such line"),
            (
                "class-weights = []",
                "`FILE`: `class-weights` is an empty list, expected a value, or no such line",
            ),
        ] {
            let message = expanded(file, &words).unwrap_err();
            assert!(message.starts_with(expected), "{message}");
        }
    }
}
