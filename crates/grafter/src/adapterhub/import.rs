//! Reads an adapter of AdapterHub as one of ours.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::config::AdapterFile;
use super::head::HeadFile;
use super::names::{self, Named, normalised};
use super::tensors::Tensors;
use super::{
    AdapterHubError, BIN_FILE, CONFIG_FILE, HEAD_BIN_FILE, HEAD_CONFIG_FILE, HEAD_WEIGHTS_FILE, WEIGHTS_FILE,
};
use crate::adapter::{
    Adapter, AdapterConfig, BaseRecord, FORMAT_VERSION, ImportRecord, Manifest, Method, Pooling, TaskLayout,
    TaskParameters, weights_digest,
};
use crate::digest::sha256_file;
use crate::model::Model;

/// What the files do not say.
#[derive(Clone, Copy, Debug)]
pub struct ImportOptions {
    /// Whether rows are pairs of texts.
    pub pair: bool,
    /// Texts are cut to this many tokens.
    pub max_length: usize,
}

/// Reads the folder of an adapter with its head, as `model.save_adapter(folder, name)` writes it. The files do not tell the
/// weights of the model that it was trained on: whether it is this one, the caller has to know.
/// # Errors
/// If a file is missing or broken, names something that this program does not compute, holds a tensor that belongs to neither
/// adapter nor head, or is for a model of another family or size.
pub fn import(folder: &Path, model: &Model, options: &ImportOptions) -> Result<Adapter, AdapterHubError> {
    let encoder = &model.encoder().config;
    if encoder.family.tensors().adapterhub.is_none() {
        return Err(AdapterHubError::Family { family: encoder.family.to_string() });
    }
    let (path, head_path) = (folder.join(CONFIG_FILE), folder.join(HEAD_CONFIG_FILE));
    let file = AdapterFile::read(&path, encoder)?;
    if !head_path.exists() {
        return Err(AdapterHubError::NoHead { folder: folder.to_owned() });
    }
    let head = HeadFile::read(&head_path, encoder)?;
    if head.pooling == Pooling::Cls && !model.encoder().has_pooler() {
        return Err(AdapterHubError::Unsupported {
            path: head_path,
            field: "use_pooler".to_owned(),
            found: "true".to_owned(),
            supported: "false, since no pooler of the model is read".to_owned(),
        });
    }
    if options.pair && head.kind.of_words() {
        return Err(AdapterHubError::PairOfWords { path: head_path });
    }
    let config = AdapterConfig {
        method: file.method,
        bottleneck: file.bottleneck.clone(),
        activation: file.activation,
        adapt_from_layer: 0,
        freeze_layernorm: file.method == Method::Houlsby,
        pooling: head.pooling,
        head: head.form,
        outputs: head.outputs,
    };
    config.check(encoder.num_hidden_layers).map_err(|unfit| AdapterHubError::Unsupported {
        path: path.clone(),
        field: unfit.field.to_owned(),
        found: unfit.found,
        supported: unfit.expected,
    })?;
    let (parameters, files) = read_parameters(folder, model, (&file, &head), &config)?;
    let mut files: BTreeMap<String, String> = files.into_iter().collect();
    for (name, path) in [(CONFIG_FILE, &path), (HEAD_CONFIG_FILE, &head_path)] {
        let io = |source| AdapterHubError::Io { action: "read", path: path.clone(), source };
        files.insert(name.to_owned(), sha256_file(path).map_err(io)?);
    }
    let manifest = Manifest {
        format_version: FORMAT_VERSION,
        tool: format!("grafter {}", env!("CARGO_PKG_VERSION")),
        task: head.task(options.pair),
        max_length: options.max_length,
        stride: None,
        adapter: config,
        base: BaseRecord::of(model),
        trained_parameters: parameters.values().len(),
        training: None,
        imported: Some(ImportRecord {
            format: file
                .version
                .map_or_else(|| "AdapterHub".to_owned(), |version| format!("AdapterHub {version}")),
            name: file.name,
            base: file.model_name,
            files,
        }),
        calibration: None,
        thresholds: None,
        weights_sha256: weights_digest(&parameters),
    };
    Ok(Adapter { manifest, parameters })
}

/// The numbers, and the digest of each file that they came from.
fn read_parameters(
    folder: &Path,
    model: &Model,
    (file, head): (&AdapterFile, &HeadFile),
    config: &AdapterConfig,
) -> Result<(TaskParameters, [(String, String); 2]), AdapterHubError> {
    let encoder = &model.encoder().config;
    let mut tensors = Tensors::read(folder, (WEIGHTS_FILE, BIN_FILE))?;
    tensors.rename(|name| normalised(name, encoder.family))?;
    let mut head_tensors = Tensors::read(folder, (HEAD_WEIGHTS_FILE, HEAD_BIN_FILE))?;
    // The library picks what it saves by the beginning of the name, and so saves `task2` beside `task`.
    let (own, longer) = (format!("heads.{}.", head.name), format!("heads.{}", head.name));
    head_tensors.retain(|name| name.starts_with(&own) || !name.starts_with(&longer));
    let files = [&tensors, &head_tensors].map(|read| (read.file_name(), read.sha256.clone()));

    let layout = TaskLayout::new(config, encoder);
    let mut values: HashMap<&str, Vec<f32>> = HashMap::new();
    let shape = |ours: &str| {
        let spec = layout.list().specs().iter().find(|spec| spec.name == ours);
        spec.expect("both lists are of one configuration")
    };
    for Named { ours, theirs } in names::adapters(config, encoder, &file.name) {
        let spec = shape(&ours);
        let mut numbers = tensors.take(&theirs, &spec.shape)?;
        if ours.contains(".up.") {
            numbers.iter_mut().for_each(|number| *number *= file.scaling);
        }
        if !numbers.iter().all(|number| number.is_finite()) {
            let expected = format!("finite numbers, also times the `scaling` of {}", file.scaling);
            let path = tensors.path().to_owned();
            return Err(AdapterHubError::Tensor {
                path,
                name: theirs,
                expected,
                found: "infinity".to_owned(),
            });
        }
        values.insert(&spec.name, numbers);
    }
    for Named { ours, theirs } in names::head(head.form, &head.name) {
        let spec = shape(&ours);
        let numbers = match ours.as_str() {
            "head.bias" if !head.has_bias => vec![0.0; head.outputs],
            _ => head_tensors.take(&theirs, &spec.shape)?,
        };
        values.insert(&spec.name, numbers);
    }
    tensors.end(&format!("the adapter `{}`", file.name))?;
    head_tensors.end(&format!("the head `{}`", head.name))?;
    let specs = layout.list().specs().iter();
    let flat = specs.flat_map(|spec| values.remove(spec.name.as_str()).unwrap_or_default()).collect();
    Ok((TaskParameters::from_values(layout, flat), files))
}
