//! `adapter_config.json`: which adapters there are and what they compute, as far as it is one of ours.
//!
//! The formulas are those of `adapters` 1.3.0, `methods/bottleneck.py` and `methods/modeling.py`. With `h` the output of
//! the dense layer and `x` what the residual connection brings, both forms below are written out in
//! [`crate::adapter::Method`]. A field that is absent is what the library takes then, which is not always what the two
//! configurations have.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::error::AdapterHubError;
use super::fields::{Fields, read};
use crate::adapter::{AdapterActivation, AdapterConfig, Bottleneck, Method};
use crate::encoder::EncoderConfig;

/// What is read of the file.
pub(super) struct AdapterFile {
    /// What the adapter is called; a part of its tensors' names.
    pub name: String,
    /// The model that it was trained on, as the file calls it.
    pub model_name: Option<String>,
    /// The program that wrote it.
    pub version: Option<String>,
    pub method: Method,
    pub activation: AdapterActivation,
    pub bottleneck: Bottleneck,
    /// What the branch is multiplied with.
    pub scaling: f32,
}

/// Fields that change nothing in an encoder's answers while those that are checked are as they must be: what acts in training
/// only, what is for decoders, and the sizes of forms that are switched off.
const NO_EFFECT: [&str; 20] = [
    "adapter_residual_before_ln",
    "attention_type",
    "cross_adapter",
    "dropout",
    "factorized_phm_W",
    "factorized_phm_rule",
    "hypercomplex_nonlinearity",
    "init_weights",
    "init_weights_seed",
    "inv_adapter_reduction_factor",
    "learn_phm",
    "new_attention_norm",
    "phm_bias",
    "phm_c_init",
    "phm_dim",
    "phm_init_range",
    "phm_rank",
    "shared_W_phm",
    "shared_phm_rule",
    "stochastic_depth",
];
/// Fields that are read.
const READ: [&str; 17] = [
    "architecture",
    "inv_adapter",
    "invertible_adapter",
    "is_parallel",
    "leave_out",
    "ln_after",
    "ln_before",
    "mh_adapter",
    "non_linearity",
    "original_ln_after",
    "original_ln_before",
    "output_adapter",
    "phm_layer",
    "reduction_factor",
    "residual_before_ln",
    "scaling",
    "use_gating",
];

impl AdapterFile {
    /// Reads the file for an encoder.
    pub(super) fn read(path: &Path, encoder: &EncoderConfig) -> Result<Self, AdapterHubError> {
        let map = read(path)?;
        let file = Fields { path, map: &map };
        if let Some(kind) = file.text("peft_type")? {
            return Err(AdapterHubError::Peft { path: path.to_owned(), kind: kind.to_owned() });
        }
        file.check_base(encoder)?;
        let name = file.name()?;
        let version = file.text("version")?.map(str::to_owned);
        let named;
        let config = match file.map.get("config") {
            Some(Value::String(text)) => {
                named = by_name(text).ok_or_else(|| {
                    let known = "an object, houlsby, double_seq_bn, pfeiffer, seq_bn";
                    file.unsupported("config", file.value("config"), known)
                })?;
                Fields { path, map: &named }
            }
            _ => file.object("config")?,
        };
        config.only(&[&NO_EFFECT, &READ])?;
        check_form(config, file.text("type")? == Some("text_task"))?;
        Ok(Self {
            name,
            model_name: file.text("model_name")?.filter(|name| !name.is_empty()).map(str::to_owned),
            method: method(config)?,
            activation: adapter_activation(config, version.is_some())?,
            bottleneck: bottleneck(config, encoder)?,
            scaling: scaling(config)?,
            version,
        })
    }
}

/// The configurations that old files name instead of writing them out.
fn by_name(text: &str) -> Option<Map<String, Value>> {
    let (both, activation) = match text {
        "houlsby" | "double_seq_bn" => (true, "swish"),
        "pfeiffer" | "seq_bn" => (false, "relu"),
        _ => return None,
    };
    match json!({
        "mh_adapter": both, "output_adapter": true, "original_ln_before": !both, "non_linearity": activation,
        "reduction_factor": 16,
    }) {
        Value::Object(map) => Some(map),
        _ => None,
    }
}

/// Everything that must be as both configurations have it.
fn check_form(config: Fields<'_>, is_text_task: bool) -> Result<(), AdapterHubError> {
    for (name, only) in [
        ("output_adapter", true),
        ("original_ln_after", true),
        ("ln_before", false),
        ("ln_after", false),
        ("is_parallel", false),
        ("use_gating", false),
        ("phm_layer", false),
    ] {
        config.must_be(name, only)?;
    }
    // Without the first layer normalisation the residual is the same either way.
    if config.flag("original_ln_before", false)?
        || !matches!(config.value("residual_before_ln"), Some(Value::Bool(_)))
    {
        config.must_be("residual_before_ln", true)?;
    }
    // The first version listed an invertible adapter that adapters of tasks never had.
    let absent: &[&str] = if is_text_task {
        &["architecture", "inv_adapter"]
    } else {
        &["architecture", "inv_adapter", "invertible_adapter"]
    };
    match absent.iter().find(|name| config.value(name).is_some()) {
        Some(name) => Err(config.unsupported(name, config.value(name), "null")),
        None => Ok(()),
    }
}

fn method(config: Fields<'_>) -> Result<Method, AdapterHubError> {
    for name in ["mh_adapter", "output_adapter"] {
        if config.value(name).is_none() {
            return Err(config.unsupported(name, None, "true or false"));
        }
    }
    match (config.flag("mh_adapter", false)?, config.flag("original_ln_before", false)?) {
        (true, false) => Ok(Method::Houlsby),
        (false, true) => Ok(Method::Pfeiffer),
        (both, _) => {
            let found = config.value("original_ln_before");
            let supported = format!("{} where `mh_adapter` is {both}", !both);
            Err(config.unsupported("original_ln_before", found, supported))
        }
    }
}

fn adapter_activation(config: Fields<'_>, has_version: bool) -> Result<AdapterActivation, AdapterHubError> {
    let name = config.text("non_linearity")?.unwrap_or_default().to_lowercase();
    // Before files had a version, `gelu` was the tanh form and `gelu_orig` the erf form.
    let found = match name.as_str() {
        "gelu" if !has_version => Some(AdapterActivation::GeluTanh),
        "gelu_orig" if !has_version => Some(AdapterActivation::Gelu),
        name => activation(name),
    };
    found.ok_or_else(|| config.unsupported("non_linearity", config.value("non_linearity"), ACTIVATIONS))
}

/// What [`activation`] knows, for messages.
pub(super) const ACTIVATIONS: &str = "relu, gelu, gelu_new, swish, tanh";

/// An activation by its name in `transformers.activations.ACT2FN`, in small letters.
pub(super) fn activation(name: &str) -> Option<AdapterActivation> {
    match name {
        "relu" => Some(AdapterActivation::Relu),
        "gelu" | "gelu_python" => Some(AdapterActivation::Gelu),
        "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_accurate" => {
            Some(AdapterActivation::GeluTanh)
        }
        "swish" | "silu" => Some(AdapterActivation::Silu),
        "tanh" => Some(AdapterActivation::Tanh),
        _ => None,
    }
}

/// The name that [`activation`] reads.
pub(super) fn activation_name(activation: AdapterActivation) -> &'static str {
    match activation {
        AdapterActivation::Relu => "relu",
        AdapterActivation::Gelu => "gelu",
        AdapterActivation::GeluTanh => "gelu_new",
        AdapterActivation::Silu => "swish",
        AdapterActivation::Tanh => "tanh",
    }
}

fn scaling(config: Fields<'_>) -> Result<f32, AdapterHubError> {
    match config.value("scaling") {
        None => Ok(1.0),
        Some(value) => match value.as_f64().map(|scaling| scaling as f32) {
            Some(scaling) if scaling.is_finite() => Ok(scaling),
            _ => Err(config.unsupported("scaling", Some(value), "a number")),
        },
    }
}

fn bottleneck(config: Fields<'_>, encoder: &EncoderConfig) -> Result<Bottleneck, AdapterHubError> {
    let layers = encoder.num_hidden_layers;
    let left_out: Vec<usize> = match config.value("leave_out") {
        None => Vec::new(),
        Some(found) => {
            let list =
                found.as_array().map(|list| list.iter().map(Value::as_u64).collect::<Option<Vec<u64>>>());
            let list = list.flatten().unwrap_or_else(|| vec![u64::MAX]);
            let list: Vec<usize> =
                list.into_iter().map(|layer| usize::try_from(layer).unwrap_or(layers)).collect();
            if list.iter().any(|layer| *layer >= layers) {
                let supported = format!("a list of layers, 0 to {}", layers.saturating_sub(1));
                return Err(config.unsupported("leave_out", Some(found), supported));
            }
            list
        }
    };
    let widths = (0..layers)
        .map(|layer| if left_out.contains(&layer) { Ok(0) } else { width(config, encoder, layer) })
        .collect::<Result<Vec<usize>, AdapterHubError>>()?;
    if widths.iter().all(|width| *width == 0) {
        let supported = "a list that leaves a layer".to_owned();
        return Err(config.unsupported("leave_out", config.value("leave_out"), supported));
    }
    match widths.first() {
        Some(first) if widths.iter().all(|width| width == first) && *first > 0 => {
            Ok(Bottleneck::Same(*first))
        }
        _ => Ok(Bottleneck::Layers(widths)),
    }
}

/// `max(1, ⌊hidden / reduction_factor⌋)`, the factor that of the layer or the default.
fn width(config: Fields<'_>, encoder: &EncoderConfig, layer: usize) -> Result<usize, AdapterHubError> {
    let field = "reduction_factor";
    let found = config.value(field);
    let factor = match found {
        Some(Value::Object(map)) => map.get(&layer.to_string()).or_else(|| map.get("default")),
        found => found,
    };
    let hidden = encoder.hidden_size as f64;
    // That of the widest adapters which are trained here, with room for a quotient between two whole numbers.
    let least = 1.0 / (crate::graft::MAX_BOTTLENECK_TIMES_HIDDEN + 1) as f64;
    match factor.and_then(Value::as_f64) {
        // Python's `//` takes the rest away before it divides.
        Some(factor) if factor >= least => {
            Ok((((hidden - hidden % factor) / factor).round() as usize).max(1))
        }
        _ => {
            let supported = format!("a number of {least} or more, or one for each layer or a default");
            Err(config.unsupported(field, found, supported))
        }
    }
}

/// The object `config` of an adapter of ours on an encoder.
pub(super) fn written(adapter: &AdapterConfig, encoder: &EncoderConfig) -> Value {
    let houlsby = adapter.method == Method::Houlsby;
    let widths: Vec<usize> = (0..encoder.num_hidden_layers)
        .map(|layer| if layer < adapter.adapt_from_layer { 0 } else { adapter.bottleneck.of_layer(layer) })
        .collect();
    let adapted = || widths.iter().enumerate().filter(|(_, width)| **width > 0);
    let same = adapted().all(|(_, width)| *width == adapter.bottleneck.widest());
    let factor = if same {
        reduction_factor(encoder.hidden_size, adapter.bottleneck.widest())
    } else {
        adapted()
            .map(|(layer, width)| (layer.to_string(), reduction_factor(encoder.hidden_size, *width)))
            .collect::<Map<String, Value>>()
            .into()
    };
    let left_out: Vec<usize> =
        widths.iter().enumerate().filter(|(_, width)| **width == 0).map(|(layer, _)| layer).collect();
    json!({
        "adapter_residual_before_ln": false,
        "cross_adapter": false,
        "dropout": 0.0,
        "factorized_phm_W": true,
        "factorized_phm_rule": false,
        "hypercomplex_nonlinearity": "glorot-uniform",
        "init_weights": "bert",
        "init_weights_seed": null,
        "inv_adapter": null,
        "inv_adapter_reduction_factor": null,
        "is_parallel": false,
        "learn_phm": true,
        "leave_out": left_out,
        "ln_after": false,
        "ln_before": false,
        "mh_adapter": houlsby,
        "non_linearity": activation_name(adapter.activation),
        "original_ln_after": true,
        "original_ln_before": !houlsby,
        "output_adapter": true,
        "phm_bias": true,
        "phm_c_init": "normal",
        "phm_dim": 4,
        "phm_init_range": 0.0001,
        "phm_layer": false,
        "phm_rank": 1,
        "reduction_factor": factor,
        "residual_before_ln": true,
        // The library takes a number without a point for an unknown kind of scaling.
        "scaling": 1.0,
        "shared_W_phm": false,
        "shared_phm_rule": true,
        "stochastic_depth": 0.0,
        "use_gating": false,
    })
}

/// The factor that gives this width: a whole one where the width divides the hidden size, and otherwise one whose quotient
/// lies in the middle between two whole numbers.
fn reduction_factor(hidden: usize, width: usize) -> Value {
    match hidden.checked_rem(width) {
        Some(0) => json!(hidden / width),
        _ => json!(hidden as f64 / (width as f64 + 0.5)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::EncoderConfig;

    fn encoder() -> EncoderConfig {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-bert");
        EncoderConfig::read(&folder.join("config.json")).unwrap()
    }

    fn read_config(config: Value) -> Result<AdapterFile, AdapterHubError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(super::super::CONFIG_FILE);
        let file = json!({ "config": config, "name": "task", "version": "3.1.0a0" });
        std::fs::write(&path, file.to_string()).unwrap();
        AdapterFile::read(&path, &encoder())
    }

    fn houlsby() -> Value {
        Value::Object(by_name("houlsby").unwrap())
    }

    fn with(name: &str, value: Value) -> Value {
        let mut config = houlsby();
        config[name] = value;
        config
    }

    #[test]
    fn every_width_is_read_as_it_is_written() {
        let encoder = encoder();
        for width in 1..=4 * encoder.hidden_size {
            let factor = reduction_factor(encoder.hidden_size, width);
            let file = read_config(with("reduction_factor", factor.clone())).unwrap();
            assert_eq!(file.bottleneck, Bottleneck::Same(width), "{factor}");
        }
    }

    #[test]
    fn what_is_not_computed_is_refused_by_name() {
        for (name, value) in [
            ("output_adapter", json!(false)),
            ("original_ln_after", json!(false)),
            ("original_ln_before", json!(true)),
            ("residual_before_ln", json!("post_add")),
            ("ln_before", json!(true)),
            ("ln_after", json!(true)),
            ("is_parallel", json!(true)),
            ("use_gating", json!(true)),
            ("phm_layer", json!(true)),
            ("inv_adapter", json!("nice")),
            ("invertible_adapter", json!({ "block_type": "nice" })),
            ("architecture", json!("lora")),
            ("scaling", json!("learned")),
            ("scaling", json!(1e300)),
            ("non_linearity", json!("prelu")),
            ("non_linearity", json!("gelu_orig")),
            ("non_linearity", json!(null)),
            ("reduction_factor", json!(0)),
            ("reduction_factor", json!(-3)),
            ("reduction_factor", json!(1e-300)),
            ("reduction_factor", json!({ "0": 2 })),
            ("reduction_factor", json!("16")),
            ("leave_out", json!([7])),
            ("leave_out", json!([-1])),
            ("leave_out", json!("0")),
            ("leave_out", json!([0, 1])),
            ("mh_adapter", json!("yes")),
            ("mh_adapter", json!(null)),
            ("something_new", json!(1)),
        ] {
            match read_config(with(name, value.clone())).err() {
                Some(AdapterHubError::Unsupported { field, .. }) => assert_eq!(field, name),
                other => panic!("{name}: {value} gives {other:?}"),
            }
        }
    }

    #[test]
    fn names_and_absent_fields_are_what_the_library_takes() {
        for (name, method, activation) in [
            ("houlsby", Method::Houlsby, AdapterActivation::Silu),
            ("double_seq_bn", Method::Houlsby, AdapterActivation::Silu),
            ("pfeiffer", Method::Pfeiffer, AdapterActivation::Relu),
            ("seq_bn", Method::Pfeiffer, AdapterActivation::Relu),
        ] {
            let file = read_config(json!(name)).unwrap();
            assert_eq!((file.method, file.activation, file.scaling), (method, activation, 1.0));
        }
        let scaled = read_config(with("scaling", json!(4))).unwrap();
        assert_eq!(scaled.scaling, 4.0);
        let upper = read_config(with("leave_out", json!([0]))).unwrap();
        assert_eq!(upper.bottleneck.of_layer(0), 0);
        assert_ne!(upper.bottleneck.of_layer(1), 0);
    }
}
