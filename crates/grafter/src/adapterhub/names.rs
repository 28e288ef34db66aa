//! What AdapterHub calls the tensors of an adapter and of its head.

use super::head::places;
use crate::adapter::{AdapterConfig, HeadForm, Method, Site};
use crate::encoder::{EncoderConfig, Family};

/// How the first version of the library called the places of adapters, of tasks and of languages.
const FIRST_VERSION: [&str; 4] = [
    "attention_text_task_adapters",
    "attention_text_lang_adapters",
    "layer_text_task_adapters",
    "layer_text_lang_adapters",
];

/// The parts of an adapter: our name's end, theirs.
const PARTS: [(&str, &str); 4] = [
    ("down.weight", "adapter_down.0.weight"),
    ("down.bias", "adapter_down.0.bias"),
    ("up.weight", "adapter_up.weight"),
    ("up.bias", "adapter_up.bias"),
];

/// One tensor under both names.
pub(super) struct Named {
    pub ours: String,
    pub theirs: String,
}

/// The tensors of all adapters, with the prefix of a model that has heads.
pub(super) fn adapters(config: &AdapterConfig, encoder: &EncoderConfig, name: &str) -> Vec<Named> {
    let names = encoder.family.tensors();
    let mut tensors = Vec::new();
    let Some(places) = names.adapterhub else { return tensors };
    for layer in config.adapt_from_layer..encoder.num_hidden_layers {
        for site in Site::ALL {
            let adapted = config.method == Method::Houlsby || site == Site::FeedForward;
            if !adapted || config.bottleneck.of_layer(layer) == 0 {
                continue;
            }
            let place = match site {
                Site::Attention => places.attention,
                Site::FeedForward => places.output,
            };
            tensors.extend(PARTS.iter().map(|(ours, theirs)| Named {
                ours: format!("{}.adapter.{ours}", site.prefix(layer)),
                theirs: format!("{}{}{layer}.{place}.{name}.{theirs}", names.prefix, names.layer),
            }));
        }
    }
    tensors
}

/// The tensors of a head.
pub(super) fn head(form: HeadForm, name: &str) -> Vec<Named> {
    let (last, before) = places(form);
    let layers = before.map(|place| ("head.dense", place)).into_iter().chain([("head", last)]);
    let both = |(ours, place): (&str, usize)| {
        ["weight", "bias"]
            .map(|end| Named { ours: format!("{ours}.{end}"), theirs: format!("heads.{name}.{place}.{end}") })
    };
    layers.flat_map(both).collect()
}

/// The name of an adapter's tensor as this version of the library would write it from a model with heads: an adapter of a
/// bare model has no prefix, and the first version had other names for the places.
pub(super) fn normalised(name: &str, family: Family) -> String {
    let prefix = family.tensors().prefix;
    let parts = name.strip_prefix(prefix).unwrap_or(name).split('.');
    let parts: Vec<&str> =
        parts.map(|part| if FIRST_VERSION.contains(&part) { "adapters" } else { part }).collect();
    format!("{prefix}{}", parts.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_bare_models_and_of_the_first_version_are_known() {
        let expected = "bert.encoder.layer.0.attention.output.adapters.task.adapter_up.bias";
        for name in [
            expected,
            "encoder.layer.0.attention.output.adapters.task.adapter_up.bias",
            "bert.encoder.layer.0.attention.output.attention_text_task_adapters.task.adapter_up.bias",
        ] {
            assert_eq!(normalised(name, Family::Bert), expected);
        }
        assert_eq!(
            normalised(
                "distilbert.transformer.layer.1.output_adapters.layer_text_task_adapters.a.adapter_down.0.weight",
                Family::DistilBert
            ),
            "distilbert.transformer.layer.1.output_adapters.adapters.a.adapter_down.0.weight"
        );
    }
}
