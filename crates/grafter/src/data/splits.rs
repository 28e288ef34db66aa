//! Which files of a folder are the rows to learn from, to choose by and to test on, by their usual names: `train.csv`, or
//! `train-00000-of-00003.parquet` and so on, as the Hugging Face hub names the parts of a split.

use std::collections::BTreeMap;
use std::path::Path;

use thiserror::Error;

use super::{Compression, Format};

/// What the files of each split are called; of several names the first that there are files of counts.
pub(crate) const TRAIN: &[&str] = &["train"];
/// See [`TRAIN`].
pub(crate) const DEV: &[&str] = &["dev", "validation", "valid", "val"];
/// See [`TRAIN`].
pub(crate) const TEST: &[&str] = &["test"];

/// Why the files of a split cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SplitError {
    /// The split is there twice.
    #[error("both `{first}` and `{second}` are there")]
    Two {
        /// A file.
        first: String,
        /// Another file of the same split.
        second: String,
    },
    /// Of the parts of a split one is not there.
    #[error("`{first}` is there, and not `{missing}`")]
    Missing {
        /// A part.
        first: String,
        /// One that is missing.
        missing: String,
    },
}

/// The files of a split among the names of a folder, in the order of their numbers; none if there are none.
///
/// # Errors
/// If the split is there in two forms, or one of its parts is missing.
pub(crate) fn split_files(names: &[&str], split: &[&str]) -> Result<Vec<String>, SplitError> {
    for name in split {
        // By what follows: each is the split on its own.
        let mut forms: BTreeMap<(u64, &str), BTreeMap<u64, &str>> = BTreeMap::new();
        for (file, part) in names.iter().filter_map(|file| Some((*file, part(file, name)?))) {
            forms.entry((part.of, part.end)).or_default().insert(part.number, file);
        }
        let mut forms = forms.into_iter();
        let Some(((of, end), files)) = forms.next() else { continue };
        let first = files.values().next().copied().unwrap_or_default().to_owned();
        if let Some(second) = forms.next().and_then(|(_, files)| files.into_values().next()) {
            return Err(SplitError::Two { first, second: second.to_owned() });
        }
        if let Some(number) = (0..of).find(|number| !files.contains_key(number)) {
            return Err(SplitError::Missing {
                first,
                missing: format!("{name}-{number:05}-of-{of:05}{end}"),
            });
        }
        return Ok(files.into_values().map(str::to_owned).collect());
    }
    Ok(Vec::new())
}

/// A file of a split.
struct Part<'a> {
    /// Its place among the parts.
    number: u64,
    /// How many parts there are; 0 of a split in one file without numbers.
    of: u64,
    /// The extensions.
    end: &'a str,
}

fn part<'a>(file: &'a str, split: &str) -> Option<Part<'a>> {
    let rest = file.strip_prefix(split)?;
    let (number, of, end) = match rest.strip_prefix('-') {
        None => (0, 0, rest),
        Some(numbered) => {
            let (numbers, _) = numbered.split_once('.')?;
            let (number, of) = numbers.split_once("-of-")?;
            let [number, of] = [number, of].map(|digits| {
                let plain =
                    !digits.is_empty() && digits.len() < 10 && digits.bytes().all(|b| b.is_ascii_digit());
                plain.then(|| digits.parse::<u64>().ok()).flatten()
            });
            (number?, of.filter(|of| Some(*of) > number)?, &numbered[numbers.len()..])
        }
    };
    is_labelled(end).then_some(Part { number, of, end })
}

/// Whether extensions, from the first dot on, are exactly those of a format that has labels and perhaps of a compression.
fn is_labelled(end: &str) -> bool {
    let Some(extensions) = end.strip_prefix('.') else { return false };
    let format = match extensions.split_once('.') {
        None => extensions,
        Some((format, compression)) => {
            if Compression::for_path(Path::new(&format!("x.{compression}"))).is_none()
                || compression.contains('.')
            {
                return false;
            }
            format
        }
    };
    let format = Format::for_path(Path::new(&format!("x.{format}")));
    format.is_ok_and(|format| format != Format::Lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_is_one_file_or_all_of_its_parts() {
        let found = |names: &[&str], split| split_files(names, split);
        assert_eq!(found(&["train.csv", "dev.csv", "train.txt", "train.md"], TRAIN).unwrap(), ["train.csv"]);
        assert_eq!(found(&["train.jsonl.gz"], TRAIN).unwrap(), ["train.jsonl.gz"]);
        assert_eq!(
            found(&["training.csv", "train-old.csv", "train.csv.bak", "xtrain.csv"], TRAIN).unwrap(),
            [""; 0]
        );
        let parts = ["train-00001-of-00002.parquet", "train-00000-of-00002.parquet", "validation.parquet"];
        assert_eq!(found(&parts, TRAIN).unwrap(), [parts[1], parts[0]]);
        assert_eq!(found(&parts, DEV).unwrap(), [parts[2]]);
        assert_eq!(found(&["validation.csv", "dev.csv"], DEV).unwrap(), ["dev.csv"]);
        assert_eq!(
            found(&["test-00002-of-00002.csv", "test-1.csv", "test--of-.csv"], TEST).unwrap(),
            [""; 0]
        );
    }

    #[test]
    fn a_split_that_is_there_twice_or_in_part_is_told() {
        let error = split_files(&["train.tsv", "train.csv"], TRAIN).unwrap_err();
        assert_eq!(error.to_string(), "both `train.csv` and `train.tsv` are there");
        let error = split_files(&["train-00000-of-00001.csv", "train.csv"], TRAIN).unwrap_err();
        assert_eq!(error.to_string(), "both `train.csv` and `train-00000-of-00001.csv` are there");
        let error =
            split_files(&["train-00000-of-00003.csv", "train-00002-of-00003.csv"], TRAIN).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`train-00000-of-00003.csv` is there, and not `train-00001-of-00003.csv`"
        );
    }
}
