//! The hub's own cache, where other programs may have left files. It is read and never written.

use std::fs;
use std::path::{Path, PathBuf};

use super::hugging_face::Repo;

/// The cache below the hub's home.
pub(super) struct SharedCache {
    folder: PathBuf,
}

impl SharedCache {
    /// That of a home, `HF_HOME` for one.
    pub fn of_home(home: &Path) -> Self {
        Self { folder: home.join("hub") }
    }

    /// A file of a repository: at the revision, if that is a commit, or at the commit that the revision was last.
    pub fn find(&self, repo: &Repo<'_>, path: &str) -> Option<PathBuf> {
        let kind = if repo.is_data { "datasets" } else { "models" };
        let folder = self.folder.join(format!("{kind}--{}", repo.name.replace('/', "--")));
        let at = |commit: &str| {
            let path = folder.join("snapshots").join(commit).join(path);
            path.exists().then_some(path)
        };
        at(repo.revision)
            .or_else(|| at(fs::read_to_string(folder.join("refs").join(repo.revision)).ok()?.trim()))
    }
}
