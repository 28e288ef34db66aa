//! Data sets of the Hugging Face hub by the addresses of their files: `hf://datasets/OWNER/NAME[@REVISION]/PATH`, as
//! huggingface_hub, DuckDB and Polars write them.
//!
//! A revision becomes a commit once, when it is first asked for, and everything is then read at that commit. Files are kept in
//! the cache below the commit, held against the sizes and, of large files, the digests that the hub tells, and found there
//! again: without the hub a name stands for the commit that it stood for last, and a commit needs no hub at all.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use glob::Pattern;

use super::hugging_face::{HuggingFace, ListedFile, Listing, MAIN, Repo, Transfer, Wanted, in_one_part};
use super::install::{TEMPORARY_PREFIX, remove_abandoned};
use super::{HubError, PullProgress, SourceError, cache_dir};
use crate::data::SourceFile;
use crate::data::pattern::{AS_IN_A_SHELL, is_pattern};
use crate::data::splits::{DEV, TEST, TRAIN, split_files};
use crate::durable::{parent_of, sync_folder, write_file};

const SCHEME: &str = "hf://";
/// Where the hub keeps its own copy in Parquet of any data set.
const CONVERTED: &str = "refs/convert/parquet";

/// Whether a name of a file or a folder is an address on the hub.
pub fn is_address(name: &Path) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(SCHEME))
}

/// Data sets of the hub; what a revision is, is asked once.
pub struct DataSets {
    hub: HuggingFace,
    /// The folder of all of them in the cache, found when it is needed.
    folder: Option<PathBuf>,
    known: HashMap<(String, String), Listing>,
}

/// The files of each split of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSplits {
    /// Rows to learn from.
    pub train: Vec<SourceFile>,
    /// Rows to choose by.
    pub dev: Vec<SourceFile>,
    /// Rows to test on; none where there are none.
    pub test: Vec<SourceFile>,
}

impl Default for DataSets {
    fn default() -> Self {
        Self::from_env()
    }
}

impl DataSets {
    /// Those of the hub that the environment names; see the module.
    pub fn from_env() -> Self {
        Self { hub: HuggingFace::from_env(), folder: None, known: HashMap::new() }
    }

    /// The files of an address, whose path may be a pattern; fetched where they are not in the cache. They come by the bytes of
    /// their paths, and are called by their addresses at the commit.
    ///
    /// # Errors
    /// An address that is none, no such file, a name that would lead out of the cache, or the hub does not deliver.
    pub fn files(
        &mut self,
        address: &str,
        progress: &mut dyn PullProgress,
    ) -> Result<Vec<SourceFile>, HubError> {
        let asked = Address::of(address)?;
        if asked.path.is_empty() {
            return Err(asked.wrong("it is a data set, and a file is needed"));
        }
        let listing = self.listing(&asked, progress)?;
        let exact = listing.files.iter().position(|file| file.path == asked.path);
        let found: Vec<ListedFile> = match exact {
            Some(place) => vec![listing.files[place].clone()],
            None if is_pattern(&asked.path) => {
                let pattern = Pattern::new(&asked.path).map_err(|error| asked.wrong(error.msg))?;
                let matches = |file: &&ListedFile| pattern.matches_with(&file.path, AS_IN_A_SHELL);
                listing.files.iter().filter(matches).cloned().collect()
            }
            None => Vec::new(),
        };
        if found.is_empty() {
            return Err(HubError::NoDataFile { address: address.to_owned(), commit: listing.commit });
        }
        self.fetch(&asked, &listing.commit, &found, progress)
    }

    /// The files of a data set, or of one of its configurations (`hf://datasets/OWNER/NAME/CONFIG`), by the usual names of
    /// splits: `train-00000-of-00003.parquet` or `train.csv`, in `data/`, in the configuration's folder or above all folders,
    /// or any Parquet files in `CONFIG/train/`. Rows to choose by are called `dev`, `validation`, `valid` or `val`.
    ///
    /// # Errors
    /// As [`files`](Self::files); if there are no rows to learn from or to choose by, or more than one configuration.
    pub fn splits(&mut self, address: &str, progress: &mut dyn PullProgress) -> Result<DataSplits, HubError> {
        let asked = Address::of(address)?;
        let listing = self.listing(&asked, progress)?;
        let [train, dev, test] =
            find_splits(&listing, &asked.path).map_err(|problem| HubError::NoDataSplit {
                address: address.to_owned(),
                problem: format!("{problem} at commit {}", listing.commit),
            })?;
        let mut fetch = |files: &[ListedFile]| self.fetch(&asked, &listing.commit, files, progress);
        Ok(DataSplits { train: fetch(&train)?, dev: fetch(&dev)?, test: fetch(&test)? })
    }

    /// What there is at the revision of an address.
    fn listing(&mut self, asked: &Address, progress: &mut dyn PullProgress) -> Result<Listing, HubError> {
        let key = (asked.repo.clone(), asked.revision.clone());
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let folder = self.folder_of(asked)?;
        let listing = self.find_listing(asked, &folder, progress)?;
        self.known.insert(key, listing.clone());
        Ok(listing)
    }

    fn find_listing(
        &self,
        asked: &Address,
        folder: &Path,
        progress: &mut dyn PullProgress,
    ) -> Result<Listing, HubError> {
        let list = |commit: &str| folder.join(format!("{commit}.json"));
        let kept = |commit: &str| -> Option<Listing> {
            let listing: Listing = serde_json::from_slice(&fs::read(list(commit)).ok()?).ok()?;
            (listing.commit == commit).then_some(listing)
        };
        if let Some(listing) =
            Some(&asked.revision).filter(|name| is_commit(name)).and_then(|name| kept(name))
        {
            return Ok(listing);
        }
        let name = folder.join("refs").join(in_one_part(&asked.revision));
        match self.hub.list(&asked.repo, &asked.revision) {
            Ok(listing) => {
                let text = serde_json::to_vec(&listing).expect("a list of files is plain data");
                for (path, bytes) in [(list(&listing.commit), &text[..]), (name, listing.commit.as_bytes())] {
                    let folder = parent_of(&path);
                    fs::create_dir_all(folder).map_err(HubError::io("create", folder))?;
                    write_file(&path, bytes).map_err(HubError::io("write", &path))?;
                }
                progress.note(&format!("`{}` is at commit {}", asked.whole(), listing.commit));
                Ok(listing)
            }
            Err(error) => {
                let last = fs::read_to_string(&name).ok();
                match last.filter(|commit| is_commit(commit)).and_then(|commit| kept(&commit)) {
                    Some(listing) => {
                        let (whole, commit) = (asked.whole(), &listing.commit);
                        progress.note(&format!(
                            "{error}: `{whole}` is taken at commit {commit}, as it was found last"
                        ));
                        Ok(listing)
                    }
                    None => Err(HubError::Data { address: asked.whole(), error }),
                }
            }
        }
    }

    /// The files in the cache, those that are not there fetched.
    fn fetch(
        &mut self,
        asked: &Address,
        commit: &str,
        files: &[ListedFile],
        progress: &mut dyn PullProgress,
    ) -> Result<Vec<SourceFile>, HubError> {
        let home = self.folder_of(asked)?;
        let folder = home.join(commit);
        for file in files {
            if !is_plain(&file.path) {
                return Err(
                    asked.wrong(&format!("the path `{}` is refused", crate::text::escape(&file.path, 120)))
                );
            }
        }
        let missing = files.iter().filter(|file| !is_there(&folder.join(&file.path), file.size_bytes));
        let missing: Vec<&ListedFile> = missing.collect();
        if !missing.is_empty() {
            self.fetch_missing((asked, commit), &missing, &home, progress)?;
        }
        let file = |file: &ListedFile| SourceFile {
            path: folder.join(&file.path),
            known_as: Some(format!("{SCHEME}datasets/{}@{commit}/{}", asked.repo, file.path)),
        };
        Ok(files.iter().map(file).collect())
    }

    /// Each file comes into its place as soon as it is whole and what the hub says that it is: where one of them fails, those
    /// before it are there, and the next time only the others are asked for.
    fn fetch_missing(
        &self,
        (asked, commit): (&Address, &str),
        missing: &[&ListedFile],
        home: &Path,
        progress: &mut dyn PullProgress,
    ) -> Result<(), HubError> {
        fs::create_dir_all(home).map_err(HubError::io("create", home))?;
        remove_abandoned(home);
        let temporary = tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempdir_in(home);
        let temporary = temporary.map_err(HubError::io("create a folder in", home))?;
        let wanted = missing.iter().enumerate().map(|(place, file)| Wanted {
            name: file.path.clone(),
            into: temporary.path().join(place.to_string()),
            path: file.path.clone(),
            size_bytes: file.size_bytes,
            sha256: file.sha256.clone(),
        });
        let repo = Repo { name: &asked.repo, is_data: true, revision: commit };
        let transfer = Transfer { repo, name: &asked.repo, files: wanted.collect() };
        let mut come = |file: &Wanted| {
            file.verify(&file.into)?;
            move_into_place(&file.into, &home.join(commit).join(&file.path))
        };
        self.hub.fetch_files(transfer, &mut come, progress).map_err(|error| match error {
            SourceError::Io { action, path, source } => HubError::Io { action, path, source },
            error => HubError::Data { address: asked.whole(), error },
        })
    }

    fn folder_of(&mut self, asked: &Address) -> Result<PathBuf, HubError> {
        let folder = match &self.folder {
            Some(folder) => folder.clone(),
            None => self.folder.insert(cache_dir()?.join("datasets").join("hub")).clone(),
        };
        Ok(folder.join(&asked.repo))
    }
}

/// What an address names.
#[derive(Debug, PartialEq, Eq)]
struct Address {
    /// As it was written.
    text: String,
    /// `OWNER/NAME`.
    repo: String,
    revision: String,
    /// Nothing, a path or a pattern.
    path: String,
}

impl Address {
    fn of(text: &str) -> Result<Self, HubError> {
        let wrong =
            |problem: &str| HubError::DataAddress { address: text.to_owned(), problem: problem.to_owned() };
        let rest = text.strip_prefix(SCHEME).and_then(|rest| rest.strip_prefix("datasets/"));
        let rest = rest.ok_or_else(|| wrong("expected `hf://datasets/`"))?;
        let (owner, rest) = rest.split_once('/').ok_or_else(|| wrong("expected an owner and a name"))?;
        let (name, revision, path) = split_revision(rest);
        if !is_name(owner) || !is_name(name) {
            return Err(wrong("expected an owner and a name of letters, digits, `-`, `_` and `.`"));
        }
        let revision = revision.unwrap_or_else(|| MAIN.to_owned());
        if revision.len() > 200 || !revision.split('/').all(is_revision_part) {
            return Err(wrong("expected a revision of letters, digits, `-`, `_`, `.` and `/`"));
        }
        let path = path.trim_end_matches('/').to_owned();
        if !path.is_empty() && !is_plain(&path) {
            return Err(wrong("the path is refused"));
        }
        Ok(Self { text: text.to_owned(), repo: format!("{owner}/{name}"), revision, path })
    }

    fn wrong(&self, problem: &str) -> HubError {
        HubError::DataAddress { address: self.text.clone(), problem: problem.to_owned() }
    }

    /// The data set, without a path.
    fn whole(&self) -> String {
        format!("{SCHEME}datasets/{}@{}", self.repo, self.revision)
    }
}

/// Name, revision and path of what follows the owner. A revision ends at the next `/` but for the hub's own, `refs/convert/…` and
/// `refs/pr/…`; in others `/` is written `%2F`.
fn split_revision(rest: &str) -> (&str, Option<String>, &str) {
    let end = rest.find('/').unwrap_or(rest.len());
    let Some((name, _)) = rest[..end].split_once('@') else {
        return (&rest[..end], None, rest[end..].trim_start_matches('/'));
    };
    let rest = &rest[name.len() + 1..];
    let special = ["refs/convert/", "refs/pr/"].iter().find(|special| rest.starts_with(**special));
    let from = special.map_or(0, |special| special.len());
    let end = rest[from..].find('/').map_or(rest.len(), |place| from + place);
    let revision = match &rest[..end] {
        "~parquet" => CONVERTED.to_owned(),
        revision => revision.replace("%2F", "/").replace("%2f", "/"),
    };
    (name, Some(revision), rest[end..].trim_start_matches('/'))
}

/// An owner or a name.
fn is_name(name: &str) -> bool {
    let part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !name.is_empty() && name.len() <= 96 && !name.starts_with('.') && name.bytes().all(part)
}

fn is_revision_part(part: &str) -> bool {
    is_name(part) && !part.contains("..")
}

fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Whether a path of a repository stays below the folder that it is joined to, on any system: some take spaces and dots from the
/// end of a name.
fn is_plain(path: &str) -> bool {
    let plain = |part: &str| part.contains(|c| !matches!(c, '.' | ' '));
    path.len() <= 1024
        && path.split('/').all(plain)
        && !path.chars().any(|c| c.is_control() || matches!(c, '\\' | ':'))
}

/// Makes `staged` the file at `place`, so that it is there after a loss of power or not at all.
fn move_into_place(staged: &Path, place: &Path) -> Result<(), SourceError> {
    let parent = parent_of(place);
    fs::create_dir_all(parent).map_err(SourceError::io("create", parent))?;
    // Opened for writing, without which Windows refuses to flush.
    let open = fs::OpenOptions::new().write(true).open(staged);
    open.and_then(|file| file.sync_all()).map_err(SourceError::io("flush", staged))?;
    fs::rename(staged, place).map_err(SourceError::io("move a file to", place))?;
    sync_folder(parent).map_err(SourceError::io("flush", parent))
}

/// Whether a file, and no link, of that size is there.
fn is_there(path: &Path, size_bytes: u64) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() == size_bytes)
}

/// The files of train, dev and test.
fn find_splits(listing: &Listing, config: &str) -> Result<[Vec<ListedFile>; 3], String> {
    let mut folders: BTreeMap<&str, Vec<(&str, &ListedFile)>> = BTreeMap::new();
    for file in &listing.files {
        let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
        folders.entry(folder).or_default().push((name, file));
    }
    let split = |folder: &str, names: &[&str]| -> Result<Vec<ListedFile>, String> {
        let here = folders.get(folder).map_or(&[][..], Vec::as_slice);
        let found: Vec<&str> = here.iter().map(|(name, _)| *name).collect();
        let found = split_files(&found, names).map_err(|error| format!("in `{folder}/` {error}"))?;
        let file = |name: &String| here.iter().find(|(own, _)| own == name).map(|(_, file)| (*file).clone());
        let found: Vec<ListedFile> = found.iter().filter_map(file).collect();
        if !found.is_empty() {
            return Ok(found);
        }
        // The hub's own copies have a folder for each split.
        let inner = names.iter().find_map(|name| {
            folders
                .get(if folder.is_empty() { (*name).to_owned() } else { format!("{folder}/{name}") }.as_str())
        });
        let parquet =
            |(name, file): &(&str, &ListedFile)| name.ends_with(".parquet").then(|| (*file).clone());
        Ok(inner.map_or_else(Vec::new, |files| files.iter().filter_map(parquet).collect()))
    };
    let usual: Vec<String> = match config {
        "" => vec!["data".into(), String::new()],
        config => vec![config.to_owned(), format!("data/{config}")],
    };
    let mut folder = None;
    for candidate in &usual {
        if folder.is_none() && !split(candidate, TRAIN)?.is_empty() {
            folder = Some(candidate.clone());
        }
    }
    if folder.is_none() && config.is_empty() {
        // The only configuration need not be named.
        let mut configs = Vec::new();
        for inner in folders.keys().map(|folder| folder.strip_suffix("/train").unwrap_or(folder)) {
            if !split(inner, TRAIN)?.is_empty() && !configs.contains(&inner) {
                configs.push(inner);
            }
        }
        match configs[..] {
            [only] => folder = Some(only.to_owned()),
            [] => {}
            _ => {
                let names = configs.iter().map(|name| format!("`{}`", crate::text::escape(name, 60)));
                let names = crate::text::listed(names, 12);
                return Err(format!("expected one of the configurations {names} after the name"));
            }
        }
    }
    let Some(folder) = folder else {
        return Err("found no files of a split `train`".to_owned());
    };
    let found = [split(&folder, TRAIN)?, split(&folder, DEV)?, split(&folder, TEST)?];
    if found[1].is_empty() {
        return Err(format!("found no files of a split `validation` in `{folder}/`"));
    }
    Ok(found)
}

#[cfg(test)]
#[path = "dataset/tests.rs"]
mod tests;
