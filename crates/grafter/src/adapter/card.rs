//! The model card of an adapter: a `README.md` that Hugging Face's hub renders, its front matter YAML.

use std::fmt::Write;

use super::config::AdapterConfig;
use super::manifest::{Manifest, TaskRecord, TrainingRecord};
use super::method::Method;
use crate::data::TaskKind;
use crate::encoder::BasePrecision;
use crate::hub::{KNOWN_MODELS, KnownModel};
use crate::metrics::{Metric, Scores};

/// The card's text; it points at the report where there is one.
pub(super) fn model_card(manifest: &Manifest, has_report: bool) -> String {
    let mut card = front_matter(manifest, "grafter", ["adapter", &manifest.adapter.method.to_string()]);
    let task = &manifest.task;
    let precision = match manifest.base.precision {
        BasePrecision::F32 => "",
        BasePrecision::Int8 => ", its linear layers in 8 bits",
    };
    let share = 100.0 * manifest.trained_parameters as f64 / manifest.base.parameters.max(1) as f64;
    // Writing to a string cannot fail.
    let mut line = |text: String| {
        let _ = writeln!(card, "{text}");
    };
    line(format!("# An adapter for {}\n", purpose(task)));
    line(format!(
        "{} {} for the {}encoder `{}`{}: {} numbers, {share:.2} % of the encoder's. It fits that encoder \
         alone and leaves its files as they are.\n",
        if manifest.training.is_some() { "Trained with" } else { "Imported with" },
        manifest.tool,
        if manifest.adapter.method.fine_tunes() { "" } else { "frozen " },
        manifest.base.name,
        precision,
        manifest.trained_parameters
    ));
    if !task.labels.is_empty() {
        let labels: Vec<String> = task.labels.iter().map(|label| format!("`{}`", inline(label))).collect();
        line(format!("Labels: {}.\n", labels.join(", ")));
    }
    if let Some(training) = &manifest.training {
        line(scores_section(manifest, training));
        line(training_section(manifest, training));
    }
    if let Some(calibration) = &manifest.calibration {
        line(format!(
            "Its probabilities are calibrated: logits are divided by {:.3}, which {} dev rows gave. On these rows the expected \
             calibration error went from {:.4} to {:.4}.\n",
            calibration.temperature, calibration.rows, calibration.error_before, calibration.error_after
        ));
    }
    if let Some(threshold) = manifest.no_answer_threshold() {
        let fitted = if manifest.thresholds.is_some() { ", by the best F1 on the dev rows" } else { "" };
        line(format!(
            "A question gets no answer where the logits of none exceed those of the best part by more than {threshold:.3}{fitted}.\n"
        ));
    } else if let Some(thresholds) = &manifest.thresholds {
        let named = task.labels.iter().zip(thresholds);
        let named: Vec<String> =
            named.map(|(label, least)| format!("`{}` {least:.3}", inline(label))).collect();
        line(format!(
            "A row has a label from a probability on that is the label's own, by the best F1 on the dev rows: {}.\n",
            named.join(", ")
        ));
    }
    if let Some(imported) = &manifest.imported {
        line(format!(
            "## Origin\n\nThe adapter `{}` of {}; how it was trained and how good it is, its files do not say. Method {}, {}{}, \
             at most {} tokens.\n",
            inline(&imported.name),
            inline(&imported.format),
            manifest.adapter.method,
            form(&manifest.adapter),
            manifest.adapter.reading(),
            manifest.max_length
        ));
    }
    if has_report {
        line(REPORT.to_owned());
    }
    line(format!("## Use\n\n```sh\n{}\n```\n", use_command(manifest)));
    line(source(&manifest.adapter).to_owned());
    card
}

/// The card of an adapter as files of AdapterHub's library: how it is loaded there, and, if they hold `all` of it, its scores.
pub(crate) fn exported_card(manifest: &Manifest, family: &str, all: bool) -> String {
    let task = &manifest.task;
    let base = known_base(manifest);
    let named = base.map_or(manifest.base.name.as_str(), |known| known.repo);
    let mut card = front_matter(manifest, "adapters", ["adapter-transformers", family]);
    let mut line = |text: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(card, "{text}");
    };
    line(format!("# An adapter for {}\n", purpose(task)));
    line(format!(
        "A bottleneck adapter ({}{}, at most {} tokens) for `{}`, in the files of AdapterHub's library `adapters`, written by {}.\n",
        form(&manifest.adapter),
        manifest.adapter.reading(),
        manifest.max_length,
        inline(named),
        manifest.tool
    ));
    if !all {
        line("Not all that was trained is in these files: it answers otherwise than it did where it was trained.\n".to_owned());
    }
    if let (true, Some(training)) = (all, &manifest.training) {
        line(scores_section(manifest, training));
    }
    let model = serde_json::Value::from(base.map_or("<the model>", |known| known.repo));
    line(format!(
        "## Use\n\n```python\nfrom adapters import AutoAdapterModel\n\nmodel = AutoAdapterModel.from_pretrained({model})\n\
         model.load_adapter(\"<this folder or repository>\", use_safetensors=True, set_active=True)\n```"
    ));
    card
}

/// What a task does with which rows.
fn purpose(task: &TaskRecord) -> String {
    let rows = if task.pair { "pairs of texts" } else { "texts" };
    match task.kind {
        TaskKind::MultiLabel => format!("{} classification of {rows}", task.kind),
        TaskKind::Entities => "entities in texts (token classification)".to_owned(),
        TaskKind::Tags => "tags of the words of texts (token classification)".to_owned(),
        TaskKind::MultipleChoice => {
            format!("the choice of one of several texts that go with {rows} (multiple choice)")
        }
        TaskKind::QuestionAnswering => {
            "answers to questions as parts of their contexts (question answering)".to_owned()
        }
        TaskKind::Classification | TaskKind::Regression => format!("{} of {rows}", task.kind),
    }
}

const REPORT: &str = "`report.html` shows the run. It quotes dev rows that were answered wrongly, unless the run was given \
                      `--no-report-texts`; the other files hold no texts. To share the adapter without it, delete it: \
                      nothing reads it.\n";

fn scores_section(manifest: &Manifest, training: &TrainingRecord) -> String {
    let labels = &manifest.task.labels;
    let mut section =
        "## Scores on the dev rows\n\n| metric | this adapter | baseline |\n|---|---|---|\n".to_owned();
    for metric in metrics_of(&training.dev_scores) {
        let value = |scores: &Scores| match scores.get(metric) {
            Ok(Some(value)) => format!("{value:.4}"),
            _ => "–".to_owned(),
        };
        let name = metric.describe(labels);
        let (own, baseline) = (value(&training.dev_scores), value(&training.baseline));
        // Writing to a string cannot fail.
        let _ = writeln!(section, "| {name} | {own} | {baseline} |");
    }
    section
        + &format!(
            "\n{} dev rows; the baseline always gives {}. The parameters are those of step {}, the best by {}.\n",
            training.dev_rows,
            manifest.task.constant_answer(),
            training.best_step,
            training.metric
        )
}

/// Size and form of the adapters, if there are any, with a comma after it.
fn form(adapter: &AdapterConfig) -> String {
    if !adapter.method.has_adapters() {
        return String::new();
    }
    let from = match adapter.adapt_from_layer {
        0 => String::new(),
        layer => format!("from layer {layer} (counted from 0), "),
    };
    let frozen = if adapter.freeze_layernorm { "frozen layer normalisations, " } else { "" };
    format!("{from}bottleneck {}, {} activation, {frozen}", adapter.bottleneck, adapter.activation)
}

fn training_section(manifest: &Manifest, training: &TrainingRecord) -> String {
    let adapter = &manifest.adapter;
    let options = &training.options;
    let form = form(adapter);
    format!(
        "## Training\n\n{} training rows, {} epochs, batches of {}, learning rate {}, method {}, {form}{}, at most \
         {} tokens, seed {}. {} steps were done; the run: {}.\n",
        training.train_rows,
        options.epochs_for(training.train_rows),
        options.batch_size,
        options.learning_rate_for(adapter),
        adapter.method,
        adapter.reading(),
        manifest.max_length,
        options.seed,
        training.steps,
        training.ending,
    )
}

/// The command that answers with this adapter, from its folder.
fn use_command(manifest: &Manifest) -> String {
    let input = match manifest.task.kind {
        TaskKind::MultipleChoice => "rows.jsonl",
        TaskKind::QuestionAnswering => "questions.json",
        _ if manifest.task.pair => "pairs.tsv",
        _ => "texts.txt",
    };
    let model = if known_base(manifest).is_some() { "" } else { " --model <DIR of the encoder>" };
    format!("grafter predict --adapter .{model} --input {input}")
}

fn source(adapter: &AdapterConfig) -> &'static str {
    match adapter.method {
        Method::Houlsby if adapter.freeze_layernorm => {
            "## Source\n\nAfter N. Houlsby et al., *Parameter-Efficient Transfer Learning for NLP*, ICML 2019: bottleneck \
             adapters after the attention and after the feed-forward network, and a head. The layer normalisations are the \
             encoder's."
        }
        Method::Houlsby if adapter.adapt_from_layer == 0 => {
            "## Source\n\nN. Houlsby et al., *Parameter-Efficient Transfer Learning for NLP*, ICML 2019: bottleneck \
             adapters after the attention and after the feed-forward network of every layer, tuned layer \
             normalisations, and a head."
        }
        Method::Houlsby => {
            "## Source\n\nAfter N. Houlsby et al., *Parameter-Efficient Transfer Learning for NLP*, ICML 2019: bottleneck \
             adapters after the attention and after the feed-forward network of the upper layers, their layer \
             normalisations tuned, and a head; the layers below are as they were."
        }
        Method::Pfeiffer => {
            "## Source\n\nJ. Pfeiffer et al., *AdapterFusion: Non-Destructive Task Composition for Transfer Learning*, EACL \
             2021: one bottleneck adapter a layer, after the feed-forward network, and a head. The layer normalisations \
             are the encoder's."
        }
        Method::Full => {
            "## Source\n\nJ. Devlin et al., *BERT: Pre-training of Deep Bidirectional Transformers for Language \
             Understanding*, NAACL 2019: every number of the encoder was trained, and a head. This folder holds them all; \
             the encoder that it was trained on stays as it is."
        }
        Method::TopLayers(_) => {
            "## Source\n\nAfter N. Houlsby et al., *Parameter-Efficient Transfer Learning for NLP*, ICML 2019, section 3.4: \
             the uppermost layers were trained, and a head. This folder holds all numbers of these layers; the layers below \
             are the encoder's."
        }
        Method::LayerNorm => {
            "## Source\n\nN. Houlsby et al., *Parameter-Efficient Transfer Learning for NLP*, ICML 2019, section 3.4: the \
             layer normalisations alone were trained, and a head."
        }
        Method::Bias => {
            "## Source\n\nE. Ben Zaken et al., *BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked \
             Language-models*, ACL 2022: the biases of the encoder were trained, and a head."
        }
        Method::Head => "A linear head on the frozen encoder; nothing else was trained.",
    }
}

/// The known model that the adapter was trained on, by its weights.
fn known_base(manifest: &Manifest) -> Option<&'static KnownModel> {
    let sha256 = manifest.base.weights_sha256.as_str();
    KNOWN_MODELS.iter().find(|known| known.files.iter().any(|file| file.sha256 == sha256))
}

/// Metrics to show for the kind of task.
fn metrics_of(scores: &Scores) -> Vec<Metric> {
    match scores {
        Scores::Classification(scores) => {
            let f1 = if scores.per_class.len() == 2 { Metric::F1 } else { Metric::MacroF1 };
            vec![Metric::Accuracy, f1, Metric::Matthews]
        }
        Scores::MultiLabel(_) => vec![Metric::MicroF1, Metric::MacroF1, Metric::Accuracy],
        Scores::Regression(_) => vec![Metric::Pearson, Metric::Spearman],
        Scores::Entities(_) => vec![Metric::MicroF1, Metric::MacroF1, Metric::Accuracy],
        Scores::Tags(_) => vec![Metric::Accuracy, Metric::MacroF1],
        Scores::Choices(_) => vec![Metric::Accuracy],
        Scores::Answers(_) => vec![Metric::TokenF1, Metric::ExactMatch],
    }
}

/// YAML front matter as the hub knows it: the library that loads the folder, and tags. Names from users are written as JSON strings,
/// which YAML reads.
fn front_matter(manifest: &Manifest, library: &str, tags: [&str; 2]) -> String {
    let pipeline = match manifest.task.kind {
        TaskKind::Entities | TaskKind::Tags => "token-classification",
        TaskKind::QuestionAnswering => "question-answering",
        TaskKind::MultipleChoice => "multiple-choice",
        TaskKind::Classification | TaskKind::MultiLabel | TaskKind::Regression => "text-classification",
    };
    let mut yaml = format!("---\nlibrary_name: {library}\npipeline_tag: {pipeline}\n");
    let _ = writeln!(yaml, "tags:\n- {}\n- {}", tags[0], tags[1]);
    // The hub takes this for a repository; the name of a local folder is none.
    if let Some(known) = known_base(manifest) {
        let base = serde_json::Value::from(known.repo);
        let _ = writeln!(yaml, "base_model: {base}\nbase_model_relation: adapter");
    }
    yaml.push_str("---\n\n");
    yaml
}

/// A name inside a code span of one line.
fn inline(name: &str) -> String {
    name.chars().map(|c| if c == '`' || c.is_control() { ' ' } else { c }).collect()
}
