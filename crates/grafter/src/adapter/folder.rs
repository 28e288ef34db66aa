//! The sealed folder of one adapter: `adapter.safetensors`, `adapter.json`, `README.md`, and beside them the report of
//! its run, if there is one.
//!
//! Written whole or not at all: into a temporary folder beside the target, synced, then renamed. Read with every name,
//! shape and digest checked; a folder for another encoder is refused.

use std::fs;
use std::path::Path;

use grafter_nn::loss::sigmoid;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::error::AdapterError;
use super::layout::TaskLayout;
use super::list::ParameterList;
use super::manifest::{BaseDifference, BaseRecord, FORMAT_VERSION, Manifest};
use super::parameters::TaskParameters;
use super::{AdapterConfig, Method, Pooling, Unfit, card};
use crate::calibration::probabilities;
use crate::data::TaskKind;
use crate::digest::sha256_hex;
use crate::durable::{disk, parent_of, put_folder, sync_folder, write_synced};
use crate::encoder::EncoderConfig;
use crate::model::Model;
use crate::regular;
use crate::tensors::{self, TensorProblem};

/// The file with the numbers.
pub const WEIGHTS_FILE: &str = "adapter.safetensors";
/// The file with everything else that a program reads.
pub const MANIFEST_FILE: &str = "adapter.json";
/// The most and longest labels that a task may have, each byte of them escaped, take less.
const MAX_MANIFEST_BYTES: u64 = 128 << 20;
/// The file that people read.
pub const CARD_FILE: &str = "README.md";

/// A file beside the adapter that tells how it came about. None is read again, and none is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Companion {
    /// The report of the run, for people.
    Report,
    /// The numbers of the report.
    ReportNumbers,
    /// The steps of the run.
    History,
    /// The evaluations of the run.
    Evaluations,
    /// The settings of the run, for `--config`.
    Settings,
}

impl Companion {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Report, Self::ReportNumbers, Self::History, Self::Evaluations, Self::Settings];

    /// Its name in the folder.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Report => "report.html",
            Self::ReportNumbers => "report.json",
            Self::History => "history.csv",
            Self::Evaluations => "evaluations.csv",
            Self::Settings => "run.toml",
        }
    }
}

/// A trained task: its numbers and how to read its outputs.
#[derive(Clone, Debug)]
pub struct Adapter {
    pub(crate) manifest: Manifest,
    pub(crate) parameters: TaskParameters,
}

impl Adapter {
    /// Everything that `adapter.json` says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The trained numbers.
    pub fn parameters(&self) -> &TaskParameters {
        &self.parameters
    }

    /// Probabilities of the classes: the softmax of a row's logits, in f64, by the adapter's temperature if it has one. Of several
    /// labels the probability of each.
    pub fn probabilities(&self, logits: &[f32]) -> Vec<f64> {
        match self.manifest.task.kind {
            TaskKind::MultiLabel => logits.iter().map(|logit| sigmoid(*logit)).collect(),
            _ => probabilities(logits, self.temperature()),
        }
    }

    /// What the logits are divided by before they become probabilities.
    pub fn temperature(&self) -> f64 {
        self.manifest.calibration.map_or(1.0, |calibration| calibration.temperature)
    }

    /// Writes the folder, whole or not at all. An existing adapter folder is replaced if `overwrite` says so: on Linux in one
    /// step; elsewhere a crash may leave the old one under a temporary name beside the target, and nothing in its place. Any
    /// other existing folder or file is never replaced.
    /// # Errors
    /// If the target exists, or a file cannot be written.
    pub fn save(&self, folder: &Path, overwrite: bool) -> Result<(), AdapterError> {
        check_target(folder, overwrite)?;
        self.save_or_keep(folder, overwrite)
    }

    /// [`Adapter::save`] after long work, when the target was checked before it: should the target have changed since,
    /// the adapter is written beside it all the same.
    /// # Errors
    /// As of [`Adapter::save`]; [`AdapterError::Kept`] says where an adapter lies that could not take its place.
    pub fn save_or_keep(&self, folder: &Path, overwrite: bool) -> Result<(), AdapterError> {
        self.save_with(folder, overwrite, &[])
    }

    /// [`Adapter::save_or_keep`] with files beside the adapter's own.
    /// # Errors
    /// As of [`Adapter::save_or_keep`].
    pub fn save_with(
        &self,
        folder: &Path,
        overwrite: bool,
        companions: &[(Companion, Vec<u8>)],
    ) -> Result<(), AdapterError> {
        for spec in self.parameters.layout().list().specs() {
            if !self.parameters.values()[spec.range.clone()].iter().all(|value| value.is_finite()) {
                return Err(AdapterError::NotFinite {
                    path: folder.join(WEIGHTS_FILE),
                    name: spec.name.clone(),
                });
            }
        }
        let io = |action: &'static str, path: &Path| {
            let path = path.to_owned();
            move |source| AdapterError::Io { action, path, source }
        };
        let temporary = temporary_beside(folder)?;
        let fresh = temporary.path().join("adapter");
        disk::create_folder(&fresh).map_err(io("create", &fresh))?;
        let has_report = companions.iter().any(|(companion, _)| *companion == Companion::Report);
        let weights = weights_bytes(&self.parameters);
        let manifest = self.sealed_to(&weights);
        let own = [
            (WEIGHTS_FILE, &weights),
            (MANIFEST_FILE, &manifest_json(&manifest).into_bytes()),
            (CARD_FILE, &card::model_card(&manifest, has_report).into_bytes()),
        ];
        let beside = companions.iter().map(|(companion, bytes)| (companion.file_name(), bytes));
        for (name, bytes) in own.into_iter().chain(beside) {
            let path = fresh.join(name);
            write_synced(&path, bytes).map_err(io("write", &folder.join(name)))?;
        }
        sync_folder(&fresh).map_err(io("sync", folder))?;
        // From here on the numbers exist on disk, and no error may take them away again.
        put_in_place(&fresh, folder, overwrite, temporary.path()).map_err(|error| {
            let kept = temporary.keep().join("adapter");
            AdapterError::Kept { error: Box::new(error), kept }
        })?;
        sync_folder(parent_of(folder)).map_err(io("sync", folder))
    }

    /// SHA-256 of `adapter.json` as [`Adapter::save`] writes it, which holds that of the numbers: what tells this adapter from every
    /// other.
    pub fn digest(&self) -> String {
        sha256_hex(manifest_json(&self.sealed_to(&weights_bytes(&self.parameters))).as_bytes())
    }

    /// The manifest beside the file of the numbers that is written. Where another program laid out the one that was read, its
    /// digest is another.
    fn sealed_to(&self, weights: &[u8]) -> Manifest {
        Manifest { weights_sha256: sha256_hex(weights), ..self.manifest.clone() }
    }

    /// How many bytes the folder takes, without the card for people.
    pub fn folder_bytes(&self) -> u64 {
        (weights_bytes(&self.parameters).len() + manifest_json(&self.manifest).len()) as u64
    }

    /// Whether the adapter was trained on this model.
    /// # Errors
    /// If it was not.
    pub fn check_model(&self, model: &Model) -> Result<(), AdapterError> {
        check_base(Path::new("(in memory)"), &self.manifest.base, model)
    }

    /// Reads a folder for the model at hand. The model may be read in another precision than the adapter was trained on
    /// (`base.precision` of the manifest, [`Encoder::precision`](crate::encoder::Encoder::precision)); the answers are then
    /// slightly other ones.
    /// # Errors
    /// If a file is missing or broken, was not sealed as it is, or belongs to another model.
    pub fn load(folder: &Path, model: &Model) -> Result<Self, AdapterError> {
        let manifest = read_manifest(folder)?;
        check_base(folder, &manifest.base, model)?;
        let config = &model.encoder().config;
        let limit = config.max_length();
        if manifest.max_length == 0 || manifest.max_length > limit {
            return Err(AdapterError::Inconsistent {
                path: folder.join(MANIFEST_FILE),
                field: "`max_length`",
                found: manifest.max_length.to_string(),
                expected: format!("1 to {limit}"),
            });
        }
        if manifest.adapter.pooling == Pooling::Cls && !model.encoder().has_pooler() {
            return Err(AdapterError::Inconsistent {
                path: folder.join(MANIFEST_FILE),
                field: "`adapter.pooling`",
                found: "cls".to_owned(),
                expected: "mean or first, since no pooler of the model is read".to_owned(),
            });
        }
        if let Err(Unfit { field, found, expected }) = manifest.adapter.check_on(config) {
            let field = match field {
                "method" => "`adapter.method`",
                "bottleneck" => "`adapter.bottleneck`",
                "freeze_layernorm" => "`adapter.freeze_layernorm`",
                _ => "`adapter.adapt_from_layer`",
            };
            let path = folder.join(MANIFEST_FILE);
            return Err(AdapterError::Inconsistent { path, field, found, expected });
        }
        let parameters = read_weights(folder, &manifest, config)?;
        if manifest.trained_parameters != parameters.values().len() {
            return Err(AdapterError::Inconsistent {
                path: folder.join(MANIFEST_FILE),
                field: "`trained_parameters`",
                found: manifest.trained_parameters.to_string(),
                expected: parameters.values().len().to_string(),
            });
        }
        Ok(Self { manifest, parameters })
    }
}

/// Moves a finished folder to its target; an old adapter goes with the temporary folder.
fn put_in_place(fresh: &Path, folder: &Path, overwrite: bool, temporary: &Path) -> Result<(), AdapterError> {
    check_target(folder, overwrite)?;
    put_folder(fresh, folder, &temporary.join("replaced")).map_err(|source| AdapterError::Io {
        action: "write",
        path: folder.to_owned(),
        source,
    })
}

/// Refuses a target that exists, unless it is an adapter folder that may be replaced.
/// # Errors
/// If the target must not be written.
pub fn check_target(folder: &Path, overwrite: bool) -> Result<(), AdapterError> {
    let path = folder.to_owned();
    if folder.file_name().is_none() {
        return Err(AdapterError::NoName { path });
    }
    if folder.symlink_metadata().is_err() {
        return writable_parent(folder);
    }
    let empty = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    if empty {
        return movable(folder);
    }
    if !folder.join(MANIFEST_FILE).is_file() {
        return Err(AdapterError::NotAnAdapter { path });
    }
    if !overwrite {
        return Err(AdapterError::Exists { path });
    }
    let entries = fs::read_dir(folder).map_err(|source| AdapterError::Io {
        action: "read",
        path: path.clone(),
        source,
    })?;
    let mut names = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<Vec<String>>>()
        .map_err(|source| AdapterError::Io { action: "read", path: path.clone(), source })?;
    names.sort_unstable();
    let belongs = |name: &String| {
        [WEIGHTS_FILE, MANIFEST_FILE, CARD_FILE].contains(&name.as_str())
            || Companion::ALL.iter().any(|companion| companion.file_name() == name)
    };
    match names.into_iter().find(|name| !belongs(name)) {
        Some(name) => Err(AdapterError::ForeignFile { path, name }),
        None => writable_parent(folder),
    }
}

/// Tries, before any work is done, what [`Adapter::save`] will do at its end.
fn writable_parent(folder: &Path) -> Result<(), AdapterError> {
    temporary_beside(folder).map(drop)
}

/// Moves an empty folder aside and back: a mounted one does not move, which is better known before training.
fn movable(folder: &Path) -> Result<(), AdapterError> {
    let temporary = temporary_beside(folder)?;
    let aside = temporary.path().join("aside");
    let io = |source| AdapterError::Io { action: "replace", path: folder.to_owned(), source };
    disk::rename(folder, &aside).map_err(io)?;
    disk::rename(&aside, folder).map_err(io)
}

fn temporary_beside(folder: &Path) -> Result<tempfile::TempDir, AdapterError> {
    let parent = parent_of(folder);
    let io =
        |action: &'static str| move |source| AdapterError::Io { action, path: parent.to_owned(), source };
    disk::create_folders(parent).map_err(io("create"))?;
    disk::temporary_folder(parent).map_err(io("create a folder in"))
}

/// Reads and checks `adapter.json` alone.
/// # Errors
/// If it is missing, broken, or contradicts itself.
pub fn read_manifest(folder: &Path) -> Result<Manifest, AdapterError> {
    let path = folder.join(MANIFEST_FILE);
    let text = regular::read_text(MAX_MANIFEST_BYTES, &path).map_err(|source| AdapterError::Io {
        action: "read",
        path: path.clone(),
        source,
    })?;
    #[derive(serde::Deserialize)]
    struct Version {
        format_version: u32,
    }
    let invalid = |source| AdapterError::Manifest { path: path.clone(), source };
    let version: Version = serde_json::from_str(&text).map_err(invalid)?;
    if version.format_version != FORMAT_VERSION {
        return Err(AdapterError::Version { path, found: version.format_version });
    }
    let manifest: Manifest = serde_json::from_str(&text).map_err(invalid)?;
    match manifest.check() {
        Ok(()) => Ok(manifest),
        Err(Unfit { field, found, expected }) => {
            Err(AdapterError::Inconsistent { path, field, found, expected })
        }
    }
}

fn check_base(folder: &Path, base: &BaseRecord, model: &Model) -> Result<(), AdapterError> {
    let Some(BaseDifference { part, expected, found }) = base.difference(model) else { return Ok(()) };
    Err(AdapterError::OtherBase { path: folder.to_owned(), part, expected, found, base: base.name.clone() })
}

/// The text of `adapter.json`.
fn manifest_json(manifest: &Manifest) -> String {
    serde_json::to_string_pretty(manifest).expect("a manifest is plain data") + "\n"
}

/// The numbers as a safetensors file; the same numbers always give the same bytes.
fn weights_bytes(parameters: &TaskParameters) -> Vec<u8> {
    let bytes: Vec<u8> = parameters.values().iter().flat_map(|value| value.to_le_bytes()).collect();
    let tensors = parameters.layout().list().specs().iter().map(|spec| {
        let bytes = &bytes[spec.range.start * size_of::<f32>()..spec.range.end * size_of::<f32>()];
        let view = TensorView::new(Dtype::F32, spec.shape.clone(), bytes).expect("the shape gives the range");
        (spec.name.clone(), view)
    });
    safetensors::serialize(tensors, None).expect("names are unique and views are whole")
}

/// SHA-256 of the file that the numbers will be written to.
pub(crate) fn weights_digest(parameters: &TaskParameters) -> String {
    sha256_hex(&weights_bytes(parameters))
}

fn read_weights(
    folder: &Path,
    manifest: &Manifest,
    encoder: &EncoderConfig,
) -> Result<TaskParameters, AdapterError> {
    let path = folder.join(WEIGHTS_FILE);
    let bytes = regular::read(&path).map_err(|source| AdapterError::Io {
        action: "read",
        path: path.clone(),
        source,
    })?;
    let tensors = SafeTensors::deserialize(&bytes)
        .map_err(|error| AdapterError::Format { path: path.clone(), reason: error.to_string() })?;
    let found = sha256_hex(&bytes);
    if found != manifest.weights_sha256 {
        return Err(AdapterError::Digest { path, found, sealed: manifest.weights_sha256.clone() });
    }
    // Before anything is sized by what the description says.
    let needed = needed_bytes(&manifest.adapter, encoder);
    if needed.is_none_or(|needed| needed > bytes.len()) {
        return Err(AdapterError::Inconsistent {
            path: folder.join(MANIFEST_FILE),
            field: "size of the adapter",
            found: format!(
                "bottleneck {}, {} outputs",
                manifest.adapter.bottleneck, manifest.adapter.outputs
            ),
            expected: format!("to fit into `{WEIGHTS_FILE}` of {} bytes", bytes.len()),
        });
    }
    let layout = TaskLayout::new(&manifest.adapter, encoder);
    let values = read_values(&path, &tensors, layout.list())?;
    Ok(TaskParameters::from_values(layout, values))
}

/// Bytes that the numbers of an adapter take at least; `None` if that is beyond counting.
fn needed_bytes(adapter: &AdapterConfig, encoder: &EncoderConfig) -> Option<usize> {
    let hidden = encoder.hidden_size;
    let sites = match adapter.method {
        Method::Houlsby => 2,
        Method::Pfeiffer => 1,
        _ => 0,
    };
    let adapted = adapter.adapt_from_layer..encoder.num_hidden_layers;
    let widths = adapted.map(|layer| adapter.bottleneck.of_layer(layer));
    let adapters = widths.into_iter().try_fold(0_usize, |sum, width| sum.checked_add(width))?;
    let adapters = adapters.checked_mul(2 * sites * hidden)?;
    adapters.checked_add(adapter.outputs.checked_mul(hidden)?)?.checked_mul(size_of::<f32>())
}

fn read_values(
    path: &Path,
    tensors: &SafeTensors<'_>,
    list: &ParameterList,
) -> Result<Vec<f32>, AdapterError> {
    let path = || path.to_owned();
    let known: std::collections::HashSet<&str> = list.specs().iter().map(|spec| spec.name.as_str()).collect();
    let mut unknown: Vec<&str> = tensors.names().into_iter().filter(|name| !known.contains(name)).collect();
    unknown.sort_unstable();
    if let Some(name) = unknown.first() {
        return Err(AdapterError::UnknownTensor { path: path(), name: (*name).to_owned() });
    }
    let mut values = Vec::with_capacity(list.len());
    for spec in list.specs() {
        let name = spec.name.clone();
        let numbers = tensors::floats(tensors, &spec.name, &spec.shape).map_err(|problem| match problem {
            TensorProblem::Missing => AdapterError::MissingTensor { path: path(), name },
            TensorProblem::Unfit { expected, found } => {
                AdapterError::Tensor { path: path(), name, expected, found }
            }
        })?;
        values.extend(numbers);
    }
    Ok(values)
}
