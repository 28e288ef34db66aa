//! What the quickstart says, and the commands that it ends with.

use std::path::{Path, PathBuf};

use grafter::graft::Grafted;
use grafter::metrics::Metric;
use grafter::model::Model;
use grafter::predict::Prediction;
use grafter::text::shell_word;

use super::folder::OutFolder;
use super::tasks::{TASKS, Task};
use crate::commands::{DEFAULT_MODEL, field, metric_text, percent};
use crate::terminal::{bytes, grouped};

/// What happens, in three sentences.
pub fn opening(model: &Model) -> String {
    format!(
        "One base, three tasks. `{}` has {} numbers, and from here on they are frozen.\n\
         Each task trains a small adapter of its own beside them, one task after another.\n",
        model.name(),
        grouped(model.encoder().parameter_count())
    )
}

/// The title of a task's part.
pub fn heading(place: usize, task: &Task, train_rows: usize, dev_rows: usize) -> String {
    format!(
        "\n{}. {}: {}  ({} rows to learn from, {} to check by)\n",
        place + 1,
        task.name,
        task.asks,
        grouped(train_rows),
        grouped(dev_rows)
    )
}

/// What a task's training gave.
pub fn result(grafted: &Grafted, seconds: f64) -> String {
    let (manifest, training) = (grafted.adapter.manifest(), &grafted.training);
    let size = grafted.adapter.folder_bytes();
    let metric: Metric = training.metric;
    let score = format!(
        "{} {}, against {} for always the most frequent label",
        metric,
        metric_text(&training.dev_scores, metric),
        metric_text(&training.baseline, metric)
    );
    let share = manifest.trained_parameters as f64 / manifest.base.parameters.max(1) as f64;
    let trained = format!(
        "{} numbers, {} of the base; a file of {}, in {seconds:.0} s",
        grouped(manifest.trained_parameters),
        percent(share),
        bytes(size)
    );
    field("   dev", score) + &field("   trained", trained)
}

/// Answers to texts that are in none of the files; a wrong one is called so.
pub fn answers(task: &Task, answers: &[Prediction]) -> String {
    let width = answers.iter().map(|answer| label(answer).chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (place, (fresh, answer)) in task.fresh.iter().zip(answers).enumerate() {
        let asked = match fresh.text_b {
            Some(text_b) => format!("{} = {text_b}", fresh.text),
            None => fresh.text.to_owned(),
        };
        let name = if place == 0 { "   new texts" } else { "" };
        // Cut and not rounded: no answer is certain.
        let probability = (1000.0 * score(answer)).floor() / 10.0;
        let mark = if label(answer) == fresh.label { "" } else { "  (wrong)" };
        text += &field(name, format!("{:width$} {probability:5.1} %  {asked}{mark}", label(answer)));
    }
    text
}

fn label(answer: &Prediction) -> &str {
    match answer {
        Prediction::Class { label, .. } => label,
        _ => "",
    }
}

fn score(answer: &Prediction) -> f64 {
    match answer {
        Prediction::Class { score, .. } => *score,
        Prediction::Score { score } => f64::from(*score),
        _ => 0.0,
    }
}

/// The first task's answers are what they were.
pub fn not_forgotten(task: &Task, rows: usize, logits: usize) -> String {
    format!(
        "\nNothing forgotten: with two more tasks trained, `{}` answers its {rows} dev rows bit for bit as before\n\
         ({} logits compared), and every file of the bank is the one that came into it.\n",
        task.name,
        grouped(logits)
    )
}

/// The base is what it was.
pub fn base_unchanged(digest: &str) -> String {
    format!(
        "Nothing changed in the base: its numbers in memory have the same SHA-256 as before, {digest:.16}….\n"
    )
}

/// Where everything lies and what to type next.
pub fn closing(out: &OutFolder, model: &str, epochs: u32) -> String {
    let program = program();
    let path = |path: PathBuf| shell_word(&path.display().to_string());
    let (bank, first) = (path(out.bank_folder()), &TASKS[0]);
    let model = match model {
        DEFAULT_MODEL => String::new(),
        other => format!(" --model {}", shell_word(other)),
    };
    format!(
        "\nBank  {bank}, with a report.html beside each adapter\nData  {data}\n\nNext:\n\
         \x20 echo \"The soup was cold.\" | {program} predict --bank {bank} --tasks {single}{model}\n\
         \x20 {program} train --bank {bank} --task my-{name} --train {train} --dev {dev} --epochs {epochs}{model}\n\
         \x20 {program} bank list {bank}\n\
         \x20 {program} bank verify {bank}{model}\n\
         \x20 {program} serve --bank {bank}{model}\n",
        data = path(out.path().join("data")),
        single =
            TASKS.iter().filter(|task| task.is_single()).map(|task| task.name).collect::<Vec<_>>().join(","),
        name = first.name,
        train = path(out.data_file(first, "train")),
        dev = path(out.data_file(first, "dev")),
    )
}

/// The program as it was called, so that a command works when it is pasted: `grafter` if it was found by its name, the
/// path otherwise, from the current folder if it lies there.
fn program() -> String {
    let called = std::env::args_os().next().unwrap_or_default();
    let here = std::env::current_dir().unwrap_or_default();
    program_from(Path::new(&called), &here)
}

fn program_from(called: &Path, here: &Path) -> String {
    let shorter = called.strip_prefix(here).unwrap_or(called);
    let text = match shorter.components().count() {
        0 => "grafter".to_owned(),
        // A bare name that was a path before would be looked up by the shell.
        1 if called.components().count() > 1 => Path::new(".").join(shorter).display().to_string(),
        _ => shorter.display().to_string(),
    };
    shell_word(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_named_as_it_can_be_called_again() {
        let cases = [
            ("grafter", "grafter"),
            ("", "grafter"),
            ("target/release/grafter", "target/release/grafter"),
            ("/place/here/target/release/grafter", "target/release/grafter"),
            ("/place/here/grafter", "./grafter"),
            ("./grafter", "./grafter"),
            ("/opt/bin/grafter", "/opt/bin/grafter"),
            ("/opt/my tools/grafter", "'/opt/my tools/grafter'"),
        ];
        for (called, expected) in cases {
            assert_eq!(program_from(Path::new(called), Path::new("/place/here")), expected, "{called}");
        }
    }
}
