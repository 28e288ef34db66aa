//! Writes an adapter of ours as AdapterHub's library reads it.

use std::fmt;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

use super::names::{self, Named};
use super::{
    AdapterHubError, CONFIG_FILE, FORMAT, HEAD_CONFIG_FILE, HEAD_WEIGHTS_FILE, WEIGHTS_FILE, config, head,
};
use crate::adapter::{Adapter, CARD_FILE, ParameterSpec, Pooling, Role, exported_card};
use crate::data::TaskKind;
use crate::durable::create_folder;
use crate::encoder::EncoderConfig;
use crate::hub::KNOWN_MODELS;
use crate::model::Model;

/// What an adapter has that the files cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Trained layer normalisations.
    LayerNorms {
        /// How many numbers of them.
        numbers: usize,
    },
    /// The thresholds of several labels.
    Thresholds,
    /// The head, since no head there reads what it does.
    Head {
        /// What it reads.
        pooling: Pooling,
    },
    /// The head, since those of the task's kind are not written.
    Kind {
        /// The kind.
        kind: TaskKind,
    },
}

impl Loss {
    /// How `grafter train` trains without it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::LayerNorms { .. } => "`--freeze-layernorm`",
            Self::Thresholds => "no `--fit-thresholds`",
            Self::Head { .. } => "`--pooling first --head dense`",
            Self::Kind { .. } => "another kind of task",
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LayerNorms { numbers } => {
                write!(formatter, "the trained layer normalisations ({numbers} numbers)")
            }
            Self::Thresholds => formatter.write_str("the labels' thresholds"),
            Self::Head { pooling } => {
                write!(formatter, "the head, since none there reads by `{pooling}` pooling")
            }
            Self::Kind { kind } => write!(formatter, "the head, since those for {kind} are not written"),
        }
    }
}

/// The files of an adapter as AdapterHub's library reads them.
#[derive(Clone, Debug)]
pub struct Exported {
    files: Vec<(&'static str, Vec<u8>)>,
    losses: Vec<Loss>,
}

impl Exported {
    /// Names and contents, the last a card for people.
    pub fn files(&self) -> &[(&'static str, Vec<u8>)] {
        &self.files
    }

    /// What the files cannot hold; nothing, if the adapter answers there as it does here.
    pub fn losses(&self) -> &[Loss] {
        &self.losses
    }

    /// Writes the folder, whole or not at all.
    /// # Errors
    /// If the folder exists and is not empty, or cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), AdapterHubError> {
        create_folder(folder, &self.files).map_err(|source| match source.kind() {
            std::io::ErrorKind::AlreadyExists => AdapterHubError::Exists { path: folder.to_owned() },
            _ => AdapterHubError::Io { action: "write", path: folder.to_owned(), source },
        })
    }
}

/// What a `torch.nn.ModuleDict` has under these names itself, so that nothing else can be there.
const TAKEN: [&str; 60] = [
    "T_destination",
    "add_module",
    "apply",
    "bfloat16",
    "buffers",
    "call_super_init",
    "children",
    "clear",
    "compile",
    "cpu",
    "cuda",
    "double",
    "dump_patches",
    "eval",
    "extra_repr",
    "float",
    "forward",
    "get_buffer",
    "get_extra_state",
    "get_parameter",
    "get_submodule",
    "half",
    "ipu",
    "items",
    "keys",
    "load_state_dict",
    "modules",
    "mtia",
    "named_buffers",
    "named_children",
    "named_modules",
    "named_parameters",
    "parameters",
    "pop",
    "register_backward_hook",
    "register_buffer",
    "register_forward_hook",
    "register_forward_pre_hook",
    "register_full_backward_hook",
    "register_full_backward_pre_hook",
    "register_load_state_dict_post_hook",
    "register_load_state_dict_pre_hook",
    "register_module",
    "register_parameter",
    "register_state_dict_post_hook",
    "register_state_dict_pre_hook",
    "requires_grad_",
    "set_extra_state",
    "set_submodule",
    "share_memory",
    "state_dict",
    "to",
    "to_empty",
    "train",
    "training",
    "type",
    "update",
    "values",
    "xpu",
    "zero_grad",
];

/// An adapter as files of AdapterHub, under a name that its tensors have there.
/// # Errors
/// If its method trains no bottleneck adapters, or the name cannot be one there.
pub fn export(adapter: &Adapter, model: &Model, name: &str) -> Result<Exported, AdapterHubError> {
    let manifest = adapter.manifest();
    let (adapted, encoder) = (&manifest.adapter, &model.encoder().config);
    if !adapted.method.has_adapters() {
        return Err(AdapterHubError::Method { method: adapted.method.to_string() });
    }
    let Some(names) = encoder.family.tensors().adapterhub else {
        return Err(AdapterHubError::Family { family: encoder.family.to_string() });
    };
    // In PyTorch a module's name has no dots.
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || !name.chars().all(fits) || name.starts_with('_') || TAKEN.contains(&name) {
        return Err(AdapterHubError::Name { name: name.to_owned() });
    }
    let class = names.class;
    let described =
        |config: Value| Description { config, name, class, base: &manifest.base.name, encoder }.json();
    let numbers = Numbers { adapter };
    let mut files = vec![
        (CONFIG_FILE, described(config::written(adapted, encoder))),
        (WEIGHTS_FILE, numbers.file(&names::adapters(adapted, encoder, name))),
    ];
    let mut losses = Vec::new();
    let specs = adapter.parameters().layout().list().specs();
    let norms = specs.iter().filter(|spec| spec.role == Role::EncoderVector);
    let tuned: usize = norms.map(|spec| spec.range.len()).sum();
    if tuned > 0 {
        losses.push(Loss::LayerNorms { numbers: tuned });
    }
    if manifest.thresholds.is_some() {
        losses.push(Loss::Thresholds);
    }
    match head::written(adapted, &manifest.task) {
        Some(config) => files.extend([
            (HEAD_CONFIG_FILE, described(config)),
            (HEAD_WEIGHTS_FILE, numbers.file(&names::head(adapted.head, name))),
        ]),
        None => losses.push(match manifest.task.kind {
            kind @ (TaskKind::MultipleChoice | TaskKind::QuestionAnswering) => Loss::Kind { kind },
            _ => Loss::Head { pooling: adapted.pooling },
        }),
    }
    let card = exported_card(manifest, encoder.family.name(), losses.is_empty());
    files.push((CARD_FILE, card.into_bytes()));
    Ok(Exported { files, losses })
}

/// What both descriptions say beside their `config`.
struct Description<'a> {
    config: Value,
    name: &'a str,
    class: &'static str,
    /// What the base is called here.
    base: &'a str,
    encoder: &'a EncoderConfig,
}

impl Description<'_> {
    /// The file, its names sorted as the library sorts them.
    fn json(self) -> Vec<u8> {
        let known = KNOWN_MODELS.iter().find(|known| known.name == self.base);
        let mut value = json!({
            "config": self.config,
            "hidden_size": self.encoder.hidden_size,
            "model_class": self.class,
            "model_name": known.map_or(self.base, |known| known.repo),
            "model_type": self.encoder.family.name(),
            "name": self.name,
            "version": FORMAT,
        });
        value.sort_all_objects();
        serde_json::to_vec_pretty(&value).expect("a description is plain data")
    }
}

/// The numbers of an adapter under other names.
struct Numbers<'a> {
    adapter: &'a Adapter,
}

impl Numbers<'_> {
    fn file(&self, names: &[Named]) -> Vec<u8> {
        let list = self.adapter.parameters().layout().list();
        let tensors: Vec<(&str, &ParameterSpec, Vec<u8>)> = names
            .iter()
            .filter_map(|Named { ours, theirs }| {
                let spec = list.specs().iter().find(|spec| spec.name == *ours)?;
                let bytes = self.values(spec).iter().flat_map(|value| value.to_le_bytes()).collect();
                Some((theirs.as_str(), spec, bytes))
            })
            .collect();
        let views = tensors.iter().map(|(name, spec, bytes)| {
            let view = TensorView::new(Dtype::F32, spec.shape.clone(), bytes);
            (*name, view.expect("the shape gives the range"))
        });
        let metadata = [("format".to_owned(), "pt".to_owned())].into_iter().collect();
        safetensors::serialize(views, Some(metadata)).expect("names are unique and views are whole")
    }

    /// The numbers of a tensor. A head of scores gives standardised ones here and the scores themselves there; logits that are
    /// divided by a temperature here are so there.
    fn values(&self, spec: &ParameterSpec) -> Vec<f32> {
        let values = &self.adapter.parameters().values()[spec.range.clone()];
        if !["head.weight", "head.bias"].contains(&spec.name.as_str()) {
            return values.to_vec();
        }
        let (mut factor, mut shift) = (1.0 / self.adapter.temperature(), 0.0);
        if let Some(scale) = self.adapter.manifest().task.scores {
            factor = f64::from(scale.std);
            shift = if spec.name == "head.bias" { f64::from(scale.mean) } else { 0.0 };
        }
        if (factor, shift) == (1.0, 0.0) {
            return values.to_vec();
        }
        values.iter().map(|value| (f64::from(*value) * factor + shift) as f32).collect()
    }
}
