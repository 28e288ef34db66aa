//! The model card of an adapter: a `README.md` that Hugging Face's hub renders, its front matter YAML.

use std::fmt::Write;

use super::manifest::Manifest;
use crate::hub::KNOWN_MODELS;
use crate::metrics::{Metric, Scores};

/// The card's text.
pub(super) fn model_card(manifest: &Manifest) -> String {
    let mut card = front_matter(manifest);
    let task = &manifest.task;
    let training = &manifest.training;
    let what = if task.pair { "pairs of texts" } else { "texts" };
    let share = 100.0 * manifest.trained_parameters as f64 / manifest.base.parameters.max(1) as f64;
    // Writing to a string cannot fail.
    let mut line = |text: String| {
        let _ = writeln!(card, "{text}");
    };
    line(format!("# An adapter for {} of {what}\n", task.kind));
    line(format!(
        "Trained with {} on the frozen encoder `{}`: {} numbers, {share:.2} % of the encoder's. It fits that encoder \
         alone and leaves it as it is.\n",
        manifest.tool, manifest.base.name, manifest.trained_parameters
    ));
    if !task.labels.is_empty() {
        let labels: Vec<String> = task.labels.iter().map(|label| format!("`{}`", inline(label))).collect();
        line(format!("Labels: {}.\n", labels.join(", ")));
    }
    line("## Scores on the dev rows\n".to_owned());
    line("| metric | this adapter | baseline |\n|---|---|---|".to_owned());
    for metric in metrics_of(&training.dev_scores) {
        let value = |scores: &Scores| match scores.get(metric) {
            Ok(Some(value)) => format!("{value:.4}"),
            _ => "–".to_owned(),
        };
        line(format!("| {metric} | {} | {} |", value(&training.dev_scores), value(&training.baseline)));
    }
    line(String::new());
    line(format!(
        "{} dev rows; the baseline always gives {}. The parameters are those of step {}, the best by {}.\n",
        training.dev_rows,
        if task.labels.is_empty() { "the mean training score" } else { "the most frequent training label" },
        training.best_step,
        training.metric
    ));
    line("## Training\n".to_owned());
    let options = &training.options;
    line(format!(
        "{} training rows, {} epochs, batches of {}, learning rate {}, method {}, bottleneck {}, {} activation, {} \
         pooling, at most {} tokens, seed {}.\n",
        training.train_rows,
        options.epochs_for(training.train_rows),
        options.batch_size,
        options.learning_rate_for(manifest.adapter.method),
        manifest.adapter.method,
        manifest.adapter.bottleneck,
        manifest.adapter.activation,
        manifest.adapter.pooling,
        manifest.max_length,
        options.seed
    ));
    line("## Use\n".to_owned());
    line("```sh\ngrafter predict --adapter . --input texts.txt\n```\n".to_owned());
    line("## Source\n".to_owned());
    line(
        "N. Houlsby et al., *Parameter-Efficient Transfer Learning for NLP*, ICML 2019: bottleneck adapters after \
         the attention and after the feed-forward network of every layer, tuned layer normalisations, and a head."
            .to_owned(),
    );
    card
}

/// Metrics to show for the kind of task.
fn metrics_of(scores: &Scores) -> Vec<Metric> {
    match scores {
        Scores::Classification(scores) => {
            let f1 = if scores.per_class.len() == 2 { Metric::F1 } else { Metric::MacroF1 };
            vec![Metric::Accuracy, f1, Metric::Matthews]
        }
        Scores::Regression(_) => vec![Metric::Pearson, Metric::Spearman],
    }
}

/// YAML front matter as the hub knows it. Names from users are written as JSON strings, which YAML reads.
fn front_matter(manifest: &Manifest) -> String {
    let mut yaml = String::from("---\nlibrary_name: grafter\npipeline_tag: text-classification\n");
    let _ = writeln!(yaml, "tags:\n- adapter\n- {}", manifest.adapter.method);
    let known = KNOWN_MODELS.iter().find(|known| known.name == manifest.base.name);
    let base = serde_json::Value::from(known.map_or(manifest.base.name.as_str(), |known| known.repo));
    let _ = writeln!(yaml, "base_model: {base}\nbase_model_relation: adapter");
    yaml.push_str("---\n\n");
    yaml
}

/// A name inside a code span of one line.
fn inline(name: &str) -> String {
    name.chars().map(|c| if c == '`' || c.is_control() { ' ' } else { c }).collect()
}
