//! The report of `check-data` for people: one block for each file, then what files share, then the verdict.

use std::fmt::Write as _;

use grafter::data::{
    CheckReport, OUTSIDE, Overlap, Problem, RepeatedText, Repeats, Split, SplitReport, TaskKind,
};

use crate::commands::{percent, printable};
use crate::terminal::{counted, grouped};

/// More labels than this are summed up in one line.
const LISTED_LABELS: usize = 20;
/// Repeated texts that are pointed at by their lines.
const LISTED_LINES: usize = 5;

/// The whole report; ends with whether training would start.
pub fn text(report: &CheckReport) -> String {
    let mut text = String::new();
    for split in &report.splits {
        text += &split_text(split, report);
        for overlap in report.overlaps.iter().filter(|overlap| overlap.split == split.split) {
            text += &overlap_text(overlap);
        }
        text.push('\n');
    }
    for (what, findings) in [("warning", &report.warnings), ("problem", &report.problems)] {
        for finding in findings {
            text += &finding_text(what, finding);
        }
    }
    text + &verdict(report)
}

fn name(split: Split) -> &'static str {
    match split {
        Split::Train => "train",
        Split::Dev => "dev",
        Split::Test => "test",
    }
}

/// One line of a block.
fn line(name: &str, value: &str) -> String {
    format!("  {name:11} {value}\n")
}

fn rows(count: u64, noun: &str) -> String {
    counted(usize::try_from(count).unwrap_or(usize::MAX), noun)
}

fn split_text(split: &SplitReport, report: &CheckReport) -> String {
    let max_length = report.max_length;
    let mut text = format!("{} {}\n", name(split.split), split.file);
    let what = match split.pair {
        Some(true) => ", pairs of texts",
        Some(false) => ", single texts",
        None => "",
    };
    text += &line("rows", &format!("{}{what}", rows(split.rows, "usable row")));
    text += &rejected(split);
    text += &labels(split, report.kind);
    if split.rows == 0 {
        return text;
    }
    text += &line("duplicates", &repeats(&split.duplicates, "with an earlier text"));
    let tokens = &split.tokens;
    let quantiles = format!(
        "median {}, 95th percentile {}, longest {}",
        grouped(tokens.median),
        grouped(tokens.p95),
        grouped(tokens.max)
    );
    text += &line("tokens", &quantiles);
    // A long context is not cut, but read in several windows.
    let (name, with, with_all) = match report.kind {
        TaskKind::QuestionAnswering => ("windows", " with its context", " with their contexts"),
        _ => ("cut", "", ""),
    };
    let cut = match split.truncated.rows {
        0 => format!("none is longer than {max_length} tokens{with}"),
        count => {
            let share = percent(split.truncated.share);
            format!("{}, {share}, longer than {max_length} tokens{with_all}", rows(count, "row"))
        }
    };
    text + &line(name, &cut)
}

fn rejected(split: &SplitReport) -> String {
    let mut text = String::new();
    if split.rejected == 0 {
        return text;
    }
    text += &line("rejected", &rows(split.rejected, "row"));
    let mut last_hint = None;
    for row in &split.rejected_rows {
        let _ =
            writeln!(text, "    {}:{}: {}", row.file.as_ref().unwrap_or(&split.file), row.line, row.reason);
        if row.hint.is_some() && row.hint != last_hint {
            let _ = writeln!(text, "      hint: {}", row.hint.as_deref().unwrap_or_default());
        }
        last_hint.clone_from(&row.hint);
    }
    let listed = split.rejected_rows.len() as u64;
    if split.rejected > listed {
        let _ = writeln!(text, "    and {}", rows(split.rejected - listed, "more row"));
    }
    text
}

/// The labels with their shares: of the labelled rows, or of all rows where one may have any number of labels.
fn labels(split: &SplitReport, kind: TaskKind) -> String {
    let mut text = String::new();
    if let Some(scores) = split.scores {
        let scores = format!("{} to {}, mean {:.4}", scores.min as f32, scores.max as f32, scores.mean);
        text += &line("scores", &scores);
    }
    let several = kind == TaskKind::MultiLabel;
    let counted = match kind {
        TaskKind::Classification | TaskKind::MultiLabel | TaskKind::Regression => "labels",
        // Of each type its entities, and the words that are in none.
        TaskKind::Entities => "entities",
        TaskKind::Tags => "tags",
        TaskKind::MultipleChoice => "right",
        TaskKind::QuestionAnswering => "questions",
    };
    // The words in no entity have a line of their own.
    let (outside, listed): (Vec<_>, Vec<_>) =
        split.labels.iter().partition(|label| kind == TaskKind::Entities && label.label == OUTSIDE);
    let total = if several { split.rows } else { listed.iter().map(|label| label.rows).sum() };
    if split.labels.len() > LISTED_LABELS {
        text += &label_range(split);
    } else {
        let names: Vec<String> = listed.iter().map(|label| printable(&label.label)).collect();
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let digits = listed.iter().map(|label| grouped_u64(label.rows).len()).max().unwrap_or(0);
        for (place, (shown, label)) in names.iter().zip(&listed).enumerate() {
            let share = 100.0 * label.rows as f64 / total.max(1) as f64;
            let heading = if place == 0 { counted } else { "" };
            let count = grouped_u64(label.rows);
            text += &line(heading, &format!("{shown:width$}  {count:>digits$}  {share:5.1} %"));
        }
        for label in outside {
            text += &line("", &format!("{} in none", rows(label.rows, "word")));
        }
    }
    if split.unlabelled > 0 {
        text += &line(if several { "no label" } else { "unlabelled" }, &rows(split.unlabelled, "row"));
    }
    text
}

/// Many labels in one line: how many, and the extremes.
fn label_range(split: &SplitReport) -> String {
    let rarest = split.labels.iter().min_by_key(|label| label.rows);
    let commonest = split.labels.iter().max_by_key(|label| label.rows);
    let (Some(rarest), Some(commonest)) = (rarest, commonest) else { return String::new() };
    let of = |label: &grafter::data::LabelCount| {
        format!("`{}` in {}", printable(&label.label), rows(label.rows, "row"))
    };
    let count = split.labels.len();
    line("labels", &format!("{count}, from {} to {}", of(rarest), of(commonest)))
}

fn grouped_u64(count: u64) -> String {
    grouped(usize::try_from(count).unwrap_or(usize::MAX))
}

fn overlap_text(overlap: &Overlap) -> String {
    let other = name(overlap.also_in);
    let value = match overlap.repeats.rows {
        0 => format!("no text is in {other} too"),
        _ => repeats(&overlap.repeats, &format!("with a text that is in {other} too")),
    };
    line("overlap", &value)
}

/// How many rows repeat a text, how many of them disagree, and where the first are.
fn repeats(repeats: &Repeats, what: &str) -> String {
    if repeats.rows == 0 {
        return "none".to_owned();
    }
    let mut text = format!("{} {what}", rows(repeats.rows, "row"));
    if repeats.conflicting > 0 {
        let _ = write!(text, ", {} of them under another label", grouped_u64(repeats.conflicting));
    }
    // Contradictions first: they are what to look at.
    let (conflicting, alike): (Vec<&RepeatedText>, Vec<_>) =
        repeats.listed.iter().partition(|repeat| repeat.conflicting);
    let shown: Vec<String> = conflicting
        .into_iter()
        .chain(alike)
        .take(LISTED_LINES)
        .map(|repeat| {
            let place = |file: &Option<String>, line: u64| match file {
                Some(file) => format!("{file}:{line}"),
                None => line.to_string(),
            };
            let (here, first) =
                (place(&repeat.file, repeat.line), place(&repeat.first_file, repeat.first_line));
            format!("{here} = {first}")
        })
        .collect();
    let more = if repeats.rows > shown.len() as u64 { ", …" } else { "" };
    let _ = write!(text, " (lines {}{more})", shown.join(", "));
    text
}

fn finding_text(what: &str, finding: &Problem) -> String {
    let hint = finding.hint.as_ref().map_or(String::new(), |hint| format!("\n  hint: {hint}"));
    format!("{what}: {}{hint}\n", finding.message)
}

fn verdict(report: &CheckReport) -> String {
    let rejected: u64 = report.splits.iter().map(|split| split.rejected).sum();
    match (report.is_usable(), rejected) {
        (true, _) => "usable: training on these files would start\n".to_owned(),
        (false, 0) => "not usable: training would stop at the problems above\n".to_owned(),
        (false, count) => format!("not usable: {} to repair\n", rows(count, "rejected row")),
    }
}
