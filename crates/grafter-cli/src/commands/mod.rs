//! One file for each command, and what several of them do alike.

pub mod ablate;
pub mod bank;
pub mod check_data;
pub mod compare;
pub mod eval;
pub mod export;
pub mod import;
pub mod inspect;
pub mod manual;
pub mod output;
pub mod predict;
pub mod pull;
pub mod quickstart;
pub mod reproduce;
pub mod train;
pub mod tune;
mod unused;

use std::fmt::Write as _;
use std::io::{Write, stdout};
use std::path::{Component, Path, PathBuf};

use grafter::adapter::{Adapter, Manifest};
use grafter::bank::Bank;
use grafter::checkpoint::weight_files;
use grafter::data::{LabelUse, LabelledFile, LabelledRows, Source, TaskKind};
use grafter::encoder::BasePrecision;
use grafter::entities::kind_name;
use grafter::hub;
use grafter::metrics::{ClassScores, Metric, Scores};
use grafter::model::Model;
use grafter::text::listed;
use serde::Serialize;

use crate::failure::Failure;
use crate::memory;
use crate::progress::PullBar;
use crate::terminal::{bytes, tell};

/// Reads the model for an adapter, and the adapter. Without a precision the model is read as the adapter was trained.
pub fn open_adapter(
    folder: &Path,
    manifest: &Manifest,
    model: &str,
    base: Option<BasePrecision>,
) -> Result<(Model, Adapter), Failure> {
    let trained = manifest.base.precision;
    let precision = base.unwrap_or(trained);
    let model = open_model(model, precision)?;
    let adapter = Adapter::load(folder, &model)?;
    // Of one that another program trained nobody knows the precision.
    if precision != trained && manifest.training.is_some() {
        tell(format_args!(
            "warning: adapter `{}` was trained on a base in {trained} and answers on one in {precision}",
            printable(&folder.display().to_string())
        ));
    }
    Ok((model, adapter))
}

/// Reads a model by name or folder, fetching it first if it is missing.
pub fn open_model(model: &str, precision: BasePrecision) -> Result<Model, Failure> {
    let folder = hub::resolve(model, &mut PullBar::default())?;
    // Of a folder only its own name: an adapter must not tell where on this machine its base lies.
    let name = Path::new(model).file_name().map_or(model.into(), |name| name.to_string_lossy());
    let model_read = read_model(&folder, &name, precision)?;
    check_pins(model, &folder, &model_read)?;
    Ok(model_read)
}

/// Reads a model's folder, unless less memory is free than its files take, and as much again for its numbers, in 8 bits a quarter.
pub fn read_model(folder: &Path, name: &str, precision: BasePrecision) -> Result<Model, Failure> {
    // What is wrong with the files is told when they are read.
    let files = weight_files(folder).unwrap_or_default();
    let stored: u64 = files.iter().filter_map(|file| Some(file.metadata().ok()?.len())).sum();
    let numbers = match precision {
        BasePrecision::F32 => stored,
        BasePrecision::Int8 => stored / 4,
    };
    let needed = stored.saturating_add(numbers);
    match memory::free() {
        Some(free) if free < needed => Err(Failure::Usage {
            message: format!(
                "the model `{}` takes {} of memory while it is read, {} is free",
                printable(name),
                bytes(needed),
                bytes(free)
            ),
            hint: Some("end other programs, or take a smaller model".to_owned()),
        }),
        _ => Ok(Model::read_in(folder, name, precision)?),
    }
}

/// The name of the model that people have where they name none.
pub const DEFAULT_MODEL: &str = "minilm";

/// Reads a bank's model: the one that is named, or the one that the bank was made for.
pub fn open_bank_model(bank: &Bank, model: Option<&str>) -> Result<Model, Failure> {
    let base = bank.base();
    let named = model.unwrap_or(&base.name);
    if model.is_none() && !hub::KNOWN_MODELS.iter().any(|known| known.name == named) {
        return Err(Failure::Usage {
            message: format!("the bank's model is called `{}`, which is no known model", printable(named)),
            hint: Some("pass its folder as `--model <DIR>`".to_owned()),
        });
    }
    let model = open_model(named, base.precision)?;
    bank.check_model(&model)?;
    Ok(model)
}

/// A known model must be the pinned one. Two digests were computed while reading, the third is of a small file.
fn check_pins(name: &str, folder: &Path, model: &Model) -> Result<(), Failure> {
    let Some(known) = hub::KNOWN_MODELS.iter().find(|known| known.name == name) else { return Ok(()) };
    let config = folder.join("config.json");
    let config_sha256 = grafter::digest::sha256_file(&config)
        .map_err(|source| Failure::Read { path: config.clone(), source })?;
    let read = [
        ("model.safetensors", model.encoder().weights_sha256()),
        ("tokenizer.json", model.tokenizer().sha256()),
        ("config.json", &config_sha256),
    ];
    for (file, found) in read {
        if let Some(pinned) = known.files.iter().find(|pinned| pinned.name == file && pinned.sha256 != found)
        {
            let expected = pinned.sha256;
            return Err(Failure::Usage {
                message: format!("the cached `{file}` of `{name}` has SHA-256 {found}, expected {expected}"),
                hint: Some(format!("`grafter pull {name} --force` fetches it again")),
            });
        }
    }
    Ok(())
}

/// Refuses to write over a file that the command reads, whatever its name (`-` is what standard input was redirected
/// from), and into the folder of an adapter, which holds nothing else.
pub fn refuse_output<'a>(
    output: &Path,
    flag: &str,
    mut inputs: impl Iterator<Item = &'a Path>,
) -> Result<(), Failure> {
    let refused = |what: &str, hint: Option<&str>| {
        let message = format!("`{flag} {}` {what}", output.display());
        Err(Failure::Usage { message, hint: hint.map(str::to_owned) })
    };
    if inputs.any(|input| is_same_file(output, input)) {
        return refused("is a file that is read", None);
    }
    let folder = output.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if folder.join(grafter::adapter::MANIFEST_FILE).exists() {
        return refused("lies in the folder of an adapter", Some("write it beside that folder"));
    }
    Ok(())
}

/// Says what may not be meant of a file's rows.
pub fn tell_warnings(rows: &LabelledFile) {
    for warning in rows.warnings() {
        tell(format_args!("warning: {}: {warning}", rows.file()));
        if let Some(hint) = warning.hint() {
            tell(format_args!("hint: {hint}"));
        }
    }
}

/// Says where a file is read as training rows and as those of a split that is scored: what is learnt by heart scores well.
pub fn warn_of_same_rows(train: &Source, scored: &Source, split: &str) {
    if let Some(same) = scored.paths().find(|scored| train.paths().any(|train| is_same_file(train, scored))) {
        tell(format_args!(
            "warning: `{}` is among the training rows and among the {split} rows: the score tells nothing of other texts",
            printable(&same.display().to_string())
        ));
    }
}

/// The adapter's folder holds the adapter and its report: with something else in it, it could not be written. Nor can the
/// folder be a part of a file's path.
pub fn refuse_nested(inner: (&str, &Path), target: (&str, &Path), hint: &str) -> Result<(), Failure> {
    if plain(target.1).starts_with(plain(inner.1)) {
        return Err(in_the_way(inner, target, hint));
    }
    refuse_inside(inner, target, hint)
}

/// As [`refuse_nested`], where the folder may be a part of the path.
pub fn refuse_inside(inner: (&str, &Path), target: (&str, &Path), hint: &str) -> Result<(), Failure> {
    if plain(inner.1).starts_with(plain(target.1)) { Err(in_the_way(inner, target, hint)) } else { Ok(()) }
}

fn in_the_way((flag, path): (&str, &Path), (target_flag, target): (&str, &Path), hint: &str) -> Failure {
    let (path, target) = (path.display(), target.display());
    Failure::Usage {
        message: format!("`{flag} {path}` and `{target_flag} {target}` are in each other's way"),
        hint: Some(hint.to_owned()),
    }
}

/// The absolute path without `.` and `..`; nothing of it needs to exist.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(unix)]
fn is_same_file(output: &Path, input: &Path) -> bool {
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;
    // By device and number, which links of both kinds share. Only of files: writing to a terminal that is read is usual.
    let identity = |found: std::fs::Metadata| found.is_file().then(|| (found.dev(), found.ino()));
    let input = if input == Path::new("-") {
        let standard = std::io::stdin().as_fd().try_clone_to_owned().map(std::fs::File::from);
        standard.and_then(|file| file.metadata())
    } else {
        std::fs::metadata(input)
    };
    let input = input.ok().and_then(identity);
    input.is_some() && input == std::fs::metadata(output).ok().and_then(identity)
}

#[cfg(not(unix))]
fn is_same_file(output: &Path, input: &Path) -> bool {
    output.canonicalize().ok().zip(input.canonicalize().ok()).is_some_and(|(a, b)| a == b)
}

/// How rows are read that tasks of these kinds answer: as all of the kinds read them, and otherwise as texts or words.
pub fn unlabelled(kinds: &[TaskKind]) -> LabelUse {
    let all = |wanted: &[TaskKind]| !kinds.is_empty() && kinds.iter().all(|kind| wanted.contains(kind));
    if all(&[TaskKind::MultipleChoice]) {
        LabelUse::Choices { needed: false }
    } else if all(&[TaskKind::QuestionAnswering]) {
        LabelUse::Answers { needed: false }
    } else if all(&[TaskKind::Entities, TaskKind::Tags]) {
        LabelUse::Tags { scheme: None, needed: false }
    } else {
        LabelUse::Optional
    }
}

/// Writes text to standard output.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::Output)
}

/// Writes a value as indented JSON to standard output.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).expect("the commands' reports are plain data");
    print(&(text + "\n"))
}

/// A name or text from a file as it is shown: on one line, cut, and with nothing in it that steers a terminal.
pub fn printable(text: &str) -> String {
    grafter::text::escape(text, 60)
}

/// Names of labels, the first of them if there are many.
pub fn label_names(labels: &[String]) -> String {
    listed(labels.iter().map(|label| printable(label)), LISTED_LABELS)
}

/// Labels that a description names.
pub const LISTED_LABELS: usize = 12;

/// One line of a description: a name, then a value in a column.
pub fn field(name: &str, value: impl std::fmt::Display) -> String {
    format!("{name:12} {value}\n")
}

/// A share as people read it: `5.42 %`.
pub fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// One metric of some scores, or a dash where it is not defined.
pub fn metric_text(scores: &Scores, metric: Metric) -> String {
    match scores.get(metric) {
        Ok(Some(value)) => format!("{value:.4}"),
        _ => "–".to_owned(),
    }
}

/// What always answers the same, that scores are held against.
pub fn base_text(kind: TaskKind) -> &'static str {
    match kind {
        TaskKind::Classification => "majority",
        TaskKind::MultiLabel => "frequent labels",
        TaskKind::Regression => "mean score",
        TaskKind::Entities => "no entity",
        TaskKind::Tags => "most frequent tag",
        TaskKind::MultipleChoice => "most frequent place",
        TaskKind::QuestionAnswering => "no answer",
    }
}

/// All scores as a table for people; `names` are those of the classes, or of the tags.
pub fn scores_table(scores: &Scores, names: &[String]) -> String {
    let labels: Vec<String> = names.iter().map(|label| printable(label)).collect();
    let mut text = String::new();
    // Writing to a string cannot fail.
    match scores {
        Scores::Regression(scores) => {
            for (name, value) in [
                ("pearson", scores.pearson),
                ("spearman", scores.spearman),
                ("mean squared error", scores.mean_squared_error),
            ] {
                let value = value.map_or("–".to_owned(), |value| format!("{value:.4}"));
                let _ = writeln!(text, "{name:18} {value}");
            }
        }
        Scores::MultiLabel(scores) => {
            let _ = writeln!(text, "micro-f1  {:.4}", scores.micro_f1);
            let _ = writeln!(text, "macro-f1  {:.4}", scores.macro_f1);
            let _ = writeln!(text, "accuracy  {:.4}  (all labels of a row right)", scores.accuracy);
            let _ = writeln!(text, "hamming   {:.4}  (share of wrong decisions)\n", scores.hamming_loss);
            class_table(&mut text, ("label", "rows"), &labels, &scores.per_class);
        }
        Scores::Entities(scores) => {
            let _ = writeln!(text, "micro-f1   {:.4}  (of all entities)", scores.micro_f1);
            let _ = writeln!(text, "precision  {:.4}", scores.precision);
            let _ = writeln!(text, "recall     {:.4}", scores.recall);
            let _ = writeln!(text, "macro-f1   {:.4}", scores.macro_f1);
            let _ = writeln!(text, "accuracy   {:.4}  (of the words' tags)\n", scores.accuracy);
            let kinds = 0..scores.per_type.len();
            let names: Vec<String> = kinds.map(|kind| printable(kind_name(names, kind))).collect();
            class_table(&mut text, ("type", "entities"), &names, &scores.per_type);
        }
        Scores::Choices(scores) => {
            let _ = writeln!(text, "accuracy  {:.4}  (of {} rows)", scores.accuracy, scores.rows);
        }
        Scores::Answers(scores) => {
            let _ = writeln!(text, "token-f1     {:.4}  (of the words of an answer)", scores.f1);
            let _ = writeln!(text, "exact-match  {:.4}\n", scores.exact_match);
            let _ = writeln!(text, "questions             f1   exact    rows");
            let parts = [("with an answer", &scores.answerable), ("without an answer", &scores.unanswerable)];
            for (name, part) in parts.into_iter().filter_map(|(name, part)| Some((name, part.as_ref()?))) {
                let _ = writeln!(text, "{name:17}  {:.4}  {:.4}  {:6}", part.f1, part.exact_match, part.rows);
            }
        }
        Scores::Tags(scores) => {
            let _ = writeln!(text, "accuracy  {:.4}  (of the words)", scores.accuracy);
            let _ = writeln!(text, "macro-f1  {:.4}\n", scores.macro_f1);
            class_table(&mut text, ("tag", "words"), &labels, &scores.per_class);
        }
        Scores::Classification(scores) => {
            let _ = writeln!(text, "accuracy  {:.4}", scores.accuracy);
            if labels.len() == 2 {
                let _ = writeln!(text, "f1        {:.4}  (of `{}`)", scores.per_class[1].f1, labels[1]);
            }
            let _ = writeln!(text, "macro-f1  {:.4}", scores.macro_f1);
            let _ = writeln!(text, "matthews  {:.4}", scores.matthews);
            if let Some(error) = scores.expected_calibration_error {
                let _ = writeln!(text, "ece       {error:.4}  (expected calibration error)");
            }
            text.push('\n');
            let width = class_table(&mut text, ("label", "rows"), &labels, &scores.per_class);
            if labels.len() <= 12 {
                text.push_str(&confusion_table(&scores.confusion, &labels, width));
            }
        }
    }
    text
}

/// The names of the types of entities, in the order of their scores; of other tasks none.
pub fn types<'a>(scores: &Scores, tags: &'a [String]) -> Option<Vec<&'a str>> {
    match scores {
        Scores::Entities(scores) => {
            Some((0..scores.per_type.len()).map(|kind| kind_name(tags, kind)).collect())
        }
        _ => None,
    }
}

/// Writes a line for each label under the names of the labels and of what is counted; gives the width of the labels.
fn class_table(
    text: &mut String,
    (name, counted): (&str, &str),
    labels: &[String],
    classes: &[ClassScores],
) -> usize {
    let width = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0).max(5);
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{name:width$}  precision  recall      f1  {counted:>6}");
    for (label, class) in labels.iter().zip(classes) {
        let _ = writeln!(
            text,
            "{label:width$}     {:.4}  {:.4}  {:.4}  {:6}",
            class.precision, class.recall, class.f1, class.support
        );
    }
    width
}

fn confusion_table(confusion: &[Vec<u64>], labels: &[String], width: usize) -> String {
    let largest = confusion.iter().flatten().max().copied().unwrap_or(0).to_string().len();
    let columns: Vec<usize> = labels.iter().map(|label| label.chars().count().max(largest)).collect();
    let mut text = format!("\nconfusion: rows are the labels, columns the answers\n{:width$}", "");
    for (label, column) in labels.iter().zip(&columns) {
        let _ = write!(text, "  {label:>column$}");
    }
    text.push('\n');
    for (label, row) in labels.iter().zip(confusion) {
        let _ = write!(text, "{label:width$}");
        for (count, column) in row.iter().zip(&columns) {
            let _ = write!(text, "  {count:>column$}");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_aligned() {
        assert_eq!(field("task", 1) + &field("vocabulary", 2), "task         1\nvocabulary   2\n");
    }
}
