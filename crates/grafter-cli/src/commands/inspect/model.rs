//! The description of a pretrained model.

use std::path::Path;

use grafter::checkpoint::weight_files;
use grafter::encoder::{BasePrecision, EncoderConfig};
use grafter::hub::{self, KNOWN_MODELS, KnownModel};
use grafter::model::ModelError;
use serde::Serialize;

use super::{CONFIG_FILE, TOKENIZER_FILE, short};
use crate::commands::{field, print, print_json, read_model};
use crate::failure::Failure;
use crate::terminal::{bytes, grouped};

/// What was found, as `--json` prints it.
#[derive(Serialize)]
struct Report<'a> {
    what: &'static str,
    folder: &'a Path,
    #[serde(skip)]
    name: &'a str,
    /// The known model whose weights these are, if any.
    known_as: Option<&'static str>,
    parameters: usize,
    dtype: &'a str,
    weights_sha256: &'a str,
    tokenizer_sha256: &'a str,
    bytes: u64,
    config: &'a EncoderConfig,
}

/// A known model that is not in the cache.
#[derive(Serialize)]
struct Absent {
    what: &'static str,
    name: &'static str,
    cached: bool,
    repo: &'static str,
    bytes: u64,
}

/// Describes a known model, from the cache; nothing is fetched.
pub fn inspect_known(known: &'static KnownModel, json: bool) -> Result<(), Failure> {
    if let Some(folder) = hub::cached(known.name) {
        return inspect(&folder, known.name, json);
    }
    let (name, repo, size) = (known.name, known.repo, known.size_bytes());
    if json {
        return print_json(&Absent { what: "model", name, cached: false, repo, bytes: size });
    }
    let text = field("model", name)
        + &field("cached", format!("no; `grafter pull {name}` fetches it"))
        + &field("source", format!("{repo}, {}", bytes(size)));
    print(&text)
}

/// Describes a model in a folder.
pub fn inspect_folder(what: &str, json: bool) -> Result<(), Failure> {
    // The configuration first: a folder of another family may lack more, and the family is what to tell.
    EncoderConfig::read(&Path::new(what).join(CONFIG_FILE)).map_err(ModelError::from)?;
    let folder = hub::resolve(what, &mut ())?;
    inspect(&folder, what, json)
}

fn inspect(folder: &Path, name: &str, json: bool) -> Result<(), Failure> {
    let model = read_model(folder, name, BasePrecision::F32)?;
    let mut files = weight_files(folder).map_err(ModelError::from)?;
    files.extend([CONFIG_FILE, TOKENIZER_FILE].map(|name| folder.join(name)));
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    let weights_sha256 = model.encoder().weights_sha256();
    let report = Report {
        what: "model",
        folder,
        name,
        known_as: known_as(weights_sha256),
        parameters: model.encoder().parameter_count(),
        dtype: model.encoder().stored_as(),
        weights_sha256,
        tokenizer_sha256: model.tokenizer().sha256(),
        bytes: files.iter().map(|path| size(path)).sum(),
        config: &model.encoder().config,
    };
    if json { print_json(&report) } else { print(&text(&report)) }
}

/// The known model with these weights.
fn known_as(weights_sha256: &str) -> Option<&'static str> {
    let has = |known: &&KnownModel| known.files.iter().any(|file| file.sha256 == weights_sha256);
    KNOWN_MODELS.iter().find(has).map(|known| known.name)
}

/// What to say where a known model's folder holds other weights than the pinned ones.
fn broken_pin(name: &str, known_as: Option<&str>) -> String {
    let pinned = KNOWN_MODELS.iter().any(|known| known.name == name);
    if pinned && known_as != Some(name) {
        return format!("; NOT the pinned weights: `grafter pull {name} --force` fetches them again");
    }
    String::new()
}

/// What tokens see, in a family whose layers differ in it.
fn attention(config: &EncoderConfig) -> String {
    let Some(layers) = &config.pre_norm else { return String::new() };
    let (every, side) = (layers.global_attn_every_n_layers, layers.local_attention / 2);
    let whole = (0..config.num_hidden_layers).filter(|layer| layers.is_global(*layer)).count();
    let seen = match every {
        1 => "the whole text in all layers".to_owned(),
        _ => format!("the whole text in {whole} of the layers, {side} tokens on each side in the others"),
    };
    field("attention", seen)
}

fn text(report: &Report<'_>) -> String {
    let config = report.config;
    let known = report.known_as.map_or(String::new(), |name| format!(", the weights of `{name}`"))
        + &broken_pin(report.name, report.known_as);
    let sizes = format!(
        "{} layers, hidden {}, {} heads of {}, intermediate {} ({})",
        config.num_hidden_layers,
        config.hidden_size,
        config.num_attention_heads,
        config.head_dim(),
        config.intermediate_size,
        config.hidden_act
    );
    let rates =
        format!("hidden {}, attention {}", config.hidden_dropout_prob, config.attention_probs_dropout_prob)
            + &config.mlp_dropout.map_or(String::new(), |rate| format!(", feed-forward {rate}"));
    field("model", report.folder.display())
        + &field("supported", format!("yes, family {}{known}", config.family))
        + &field("sizes", sizes)
        + &attention(config)
        + &field("parameters", format!("{}, {}", grouped(report.parameters), report.dtype))
        + &field("vocabulary", format!("{} tokens", grouped(config.vocab_size)))
        + &field("max length", format!("{} tokens", grouped(config.max_length())))
        + &field("dropout", rates)
        + &field("files", bytes(report.bytes))
        + &field("weights", format!("SHA-256 {}…", short(report.weights_sha256)))
        + &field("tokenizer", format!("SHA-256 {}…", short(report.tokenizer_sha256)))
}
