//! What a task of a bank is called, and how one of its versions is named.
//!
//! A name comes from users and from the network. It is checked once, here, and what has this type can stand in a file's
//! name: no separator, no leading dot, nothing that a terminal reads as a command.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest name, in bytes.
pub const MAX_NAME: usize = 64;
/// Fewest digits of a digest that name a version.
pub const MIN_DIGITS: usize = 8;
/// Hexadecimal digits of a digest.
const DIGEST_DIGITS: usize = 64;

/// The name of a task: `[a-z0-9][a-z0-9._-]{0,63}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskName(String);

/// The digest that names a version of a task: SHA-256 of its `adapter.json`, which holds that of its numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(String);

/// A task as it is asked for: `NAME`, its newest version, or `NAME@DIGEST`, of which the first digits are enough.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TaskRef {
    /// The task.
    pub name: TaskName,
    /// The first digits of a version, at least [`MIN_DIGITS`]; the newest if absent.
    pub version: Option<String>,
}

/// Why a text names no task.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Not of the form.
    #[error(
        "`{}` is no name of a task, expected `[a-z0-9][a-z0-9._-]*` of at most {MAX_NAME} characters",
        crate::text::escape(found, 80)
    )]
    Name {
        /// What was given.
        found: String,
    },
    /// Not a digest.
    #[error(
        "`{}` names no version, expected {MIN_DIGITS} to {DIGEST_DIGITS} hexadecimal digits",
        crate::text::escape(found, 80)
    )]
    Version {
        /// What was given.
        found: String,
    },
}

impl TaskName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Version {
    /// All digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The digits that people are shown.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

fn is_hexadecimal(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl FromStr for TaskName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        text.to_owned().try_into()
    }
}

impl TryFrom<String> for TaskName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let begins_well = text.bytes().next().is_some_and(plain);
        let goes_on_well = text.bytes().all(|byte| plain(byte) || matches!(byte, b'.' | b'_' | b'-'));
        if begins_well && goes_on_well && text.len() <= MAX_NAME {
            Ok(Self(text))
        } else {
            Err(NameError::Name { found: text })
        }
    }
}

impl TryFrom<String> for Version {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        if text.len() == DIGEST_DIGITS && is_hexadecimal(&text) {
            Ok(Self(text))
        } else {
            Err(NameError::Version { found: text })
        }
    }
}

impl From<TaskName> for String {
    fn from(name: TaskName) -> Self {
        name.0
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.0
    }
}

impl FromStr for TaskRef {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let Some((name, digits)) = text.split_once('@') else {
            return Ok(Self { name: text.parse()?, version: None });
        };
        let name = name.parse()?;
        if (MIN_DIGITS..=DIGEST_DIGITS).contains(&digits.len()) && is_hexadecimal(digits) {
            Ok(Self { name, version: Some(digits.to_owned()) })
        } else {
            Err(NameError::Version { found: digits.to_owned() })
        }
    }
}

impl fmt::Display for TaskName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Display for TaskRef {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(digits) => write!(out, "{}@{digits}", self.name),
            None => write!(out, "{}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_the_form_that_is_promised() {
        let longest = "a".repeat(MAX_NAME);
        for good in ["a", "0", "trec6", "spam.v2", "a_b-c", "9-", &longest] {
            assert_eq!(good.parse::<TaskName>().unwrap().as_str(), good);
        }
        let too_long = "a".repeat(MAX_NAME + 1);
        for bad in [
            "", ".", "..", ".a", "-a", "_a", "A", "a/b", "a\\b", "a b", "a@b", "a\n", "a\0", "ä", "../x",
            &too_long,
        ] {
            assert_eq!(bad.parse::<TaskName>(), Err(NameError::Name { found: bad.to_owned() }), "{bad:?}");
        }
        assert!(serde_json::from_str::<TaskName>("\"../x\"").is_err());
    }

    #[test]
    fn a_reference_names_a_task_and_perhaps_a_version() {
        let digest = "0123456789abcdef".repeat(4);
        let reference: TaskRef = format!("spam@{digest}").parse().unwrap();
        assert_eq!((reference.name.as_str(), reference.version), ("spam", Some(digest.clone())));
        assert_eq!("spam".parse::<TaskRef>().unwrap().version, None);
        for bad in
            ["spam@", "spam@1234567", "spam@0123456G", "spam@ABCDEF01", &format!("spam@{digest}0"), "a@b@c"]
        {
            assert!(matches!(bad.parse::<TaskRef>(), Err(NameError::Version { .. })), "{bad:?}");
        }
        assert!(matches!("@12345678".parse::<TaskRef>(), Err(NameError::Name { .. })));
    }
}
