//! `grafter reproduce glue`: the comparison of Houlsby et al. 2019, table 1, on the data sets of GLUE, beside the paper's
//! numbers. They are fetched from the Hugging Face hub, or are those of a folder.
//!
//! It is `compare` with the tasks, metrics and methods of the paper. The paper's scores are of the hidden test rows and of
//! BERT-large, so they are a landmark and not a target for another model on other rows.

mod table_1;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use grafter::adapter::Method;
use grafter::compare::{CompareTask, TaskSource};
use grafter::data::{Columns, Format, Source, TaskKind};
use grafter::hub::{KNOWN_DATA, fetch_data};
use grafter::metrics::Metric;

use self::table_1::Table1;
use super::compare::{Job, grid, run_job};
use super::output::beside;
use crate::Outcome;
use crate::args::{Glue, Reproduce};
use crate::failure::Failure;
use crate::progress::PullBar;
use crate::terminal::tell;

/// One task of GLUE.
struct Task {
    name: &'static str,
    kind: TaskKind,
    /// What table 1 reports.
    metric: Metric,
    /// The folder as GLUE publishes it, the name of its dev file, and its columns: first text, second text, label.
    original: (&'static str, &'static str, [&'static str; 3]),
    /// The text columns on the hub; the label's is `label`.
    texts: [&'static str; 2],
    /// Full fine-tuning, adapters of the best of 8 to 256, adapters of 64; times 100.
    paper: [f64; 3],
}

/// In the order of the table. MNLI is that on matched rows.
const TASKS: [Task; 8] = [
    task("cola", Metric::Matthews, ("CoLA", "dev", ["sentence", "", "label"]), [60.5, 59.5, 56.9]),
    task("sst2", Metric::Accuracy, ("SST-2", "dev", ["sentence", "", "label"]), [94.9, 94.0, 94.2]),
    task("mrpc", Metric::F1, ("MRPC", "dev", ["#1 String", "#2 String", "Quality"]), [89.3, 89.5, 89.6]),
    task("stsb", Metric::Spearman, ("STS-B", "dev", ["sentence1", "sentence2", "score"]), [87.6, 86.9, 87.3]),
    task("qqp", Metric::F1, ("QQP", "dev", ["question1", "question2", "is_duplicate"]), [72.1, 71.8, 71.8]),
    task(
        "mnli",
        Metric::Accuracy,
        ("MNLI", "dev_matched", ["sentence1", "sentence2", "gold_label"]),
        [86.7, 84.9, 85.3],
    ),
    task("qnli", Metric::Accuracy, ("QNLI", "dev", ["question", "sentence", "label"]), [91.1, 90.7, 91.4]),
    task("rte", Metric::Accuracy, ("RTE", "dev", ["sentence1", "sentence2", "label"]), [70.1, 71.5, 68.8]),
];
/// The file of the rows to learn from in a folder of the hub.
const HUB_TRAIN: &str = "train-00000-of-00001.parquet";
/// What table 1 compares, as far as there is a method of the name.
const METHODS: [&str; 2] = ["full", "houlsby"];

const fn task(
    name: &'static str,
    metric: Metric,
    original: (&'static str, &'static str, [&'static str; 3]),
    paper: [f64; 3],
) -> Task {
    let texts = match name.as_bytes() {
        b"cola" | b"sst2" => ["sentence", ""],
        b"qqp" => ["question1", "question2"],
        b"mnli" => ["premise", "hypothesis"],
        b"qnli" => ["question", "sentence"],
        _ => ["sentence1", "sentence2"],
    };
    let kind = match metric {
        Metric::Pearson | Metric::Spearman => TaskKind::Regression,
        _ => TaskKind::Classification,
    };
    Task { name, kind, metric, original, texts, paper }
}

pub fn run(Reproduce::Glue(arguments): &Reproduce) -> Result<Outcome, Failure> {
    let methods: Vec<Method> = match &arguments.method[..] {
        [] => METHODS.iter().filter_map(|name| name.parse().ok()).collect(),
        named => named.to_vec(),
    };
    let job = Job {
        sources: sources(arguments)?,
        grid: grid(&methods, &arguments.sweep),
        sweep: &arguments.sweep,
        training: &arguments.training,
        running: &arguments.running,
        out: &arguments.out,
        keep: arguments.running.keep,
        check: check_second_class,
    };
    run_job(job, |results| Some(Table1::of(results).beside()))
}

/// F1 is of the second class. In files that do not order their classes these have the order of their bytes, in which
/// `not_equivalent` comes after `equivalent`: its F1 would be another number than the paper's.
fn check_second_class(task: &CompareTask) -> Result<(), Failure> {
    let [_, second] = &task.labels[..] else { return Ok(()) };
    let is_negative =
        ["0", "false"].contains(&&*second.to_lowercase()) || second.to_lowercase().starts_with("no");
    if task.plan.metric != Metric::F1 || !is_negative {
        return Ok(());
    }
    Err(Failure::Usage {
        message: format!(
            "task `{}`: F1 is of the second class, which is `{}`, and the paper's is of the other",
            task.plan.name,
            super::printable(second)
        ),
        hint: Some("name the classes 0 and 1, 1 for pairs that mean the same".to_owned()),
    })
}

/// The tasks that were asked for, in the order of the table.
fn sources(arguments: &Glue) -> Result<Vec<TaskSource>, Failure> {
    if let Some(name) = arguments.task.iter().find(|name| TASKS.iter().all(|task| task.name != **name)) {
        let message = format!("`--task`: no task `{}` in table 1", super::printable(name));
        return Err(Failure::Usage { message, hint: Some(format!("known are {}", names())) });
    }
    let asked =
        |task: &&Task| arguments.task.is_empty() || arguments.task.iter().any(|name| name == task.name);
    let tasks: Vec<&Task> = TASKS.iter().filter(asked).collect();
    let mut sources = Vec::new();
    match &arguments.data {
        Some(data) => sources_in(data, arguments, &tasks, &mut sources)?,
        None => {
            let revision =
                KNOWN_DATA.iter().find(|data| data.name == "glue").map(|data| (data.repo, data.revision));
            if let Some((repo, revision)) = revision {
                tell(format_args!("GLUE is `{repo}` of the Hugging Face hub at commit {revision}"));
            }
            let mut bar = PullBar::default();
            for task in tasks {
                let folder = fetch_data("glue", task.name, &mut bar)?;
                sources.push(as_on_hub(task, &folder));
            }
        }
    }
    Ok(sources)
}

/// The tasks that are in a folder, each in one of three layouts.
fn sources_in(
    data: &Path,
    arguments: &Glue,
    tasks: &[&Task],
    sources: &mut Vec<TaskSource>,
) -> Result<(), Failure> {
    // By their exact names: where case does not count, `QNLI` is `qnli` too, and its columns are others.
    let failed = |source| Failure::Read { path: data.to_owned(), source };
    let entries = std::fs::read_dir(data).map_err(failed)?;
    let folders: Vec<OsString> = entries.flatten().map(|entry| entry.file_name()).collect();
    for task in tasks {
        let folder = data.join(task.name);
        let source = if folders.iter().any(|name| name == task.name) {
            if folder.join(HUB_TRAIN).exists() {
                as_on_hub(task, &folder)
            } else {
                TaskSource::in_folder(task.name, &folder, &Columns::default())?
            }
        } else if folders.iter().any(|name| name == task.original.0) {
            as_published(task, &data.join(task.original.0), &arguments.out)?
        } else if arguments.task.is_empty() {
            continue;
        } else {
            return Err(Failure::Usage {
                message: format!("`{}` has no folder of the task `{}`", data.display(), task.name),
                hint: Some(format!("its name is `{}`, or GLUE's own, `{}`", task.name, task.original.0)),
            });
        };
        sources.push(TaskSource { kind: task.kind, metric: Some(task.metric), ..source });
    }
    if sources.is_empty() {
        return Err(Failure::Usage {
            message: format!("`{}` has no folder of a task of GLUE", data.display()),
            hint: Some(format!("known are {}, and GLUE's own names", names())),
        });
    }
    Ok(())
}

fn names() -> String {
    TASKS.iter().map(|task| task.name).collect::<Vec<_>>().join(", ")
}

/// A task in the hub's files, which name the classes themselves. Test rows have no labels there but for MRPC.
fn as_on_hub(task: &Task, folder: &Path) -> TaskSource {
    let column = |name: &str| (!name.is_empty()).then(|| name.to_owned());
    let [text, text_b] = task.texts;
    let columns =
        Columns { text: column(text), text_b: column(text_b), label: column("label"), ..Columns::default() };
    let source = |split: &str| Source {
        columns: columns.clone(),
        // Two rows of QQP have no second question.
        skip_empty: true,
        ..Source::new(folder.join(format!("{split}-00000-of-00001.parquet")))
    };
    let dev = if task.name == "mnli" { "validation_matched" } else { "validation" };
    TaskSource {
        name: task.name.to_owned(),
        kind: task.kind,
        metric: Some(task.metric),
        train: source("train"),
        dev: source(dev),
        test: Some(source("test")).filter(|test| task.name == "mrpc" && test.paths().all(Path::exists)),
    }
}

/// A task in GLUE's own files, whose test rows have no labels.
fn as_published(task: &Task, folder: &Path, out: &Path) -> Result<TaskSource, Failure> {
    let (_, dev, [text, text_b, label]) = task.original;
    let column = |name: &str| (!name.is_empty()).then(|| name.to_owned());
    let columns =
        Columns { text: column(text), text_b: column(text_b), label: column(label), ..Columns::default() };
    let source = |path: PathBuf| Source {
        format: Some(Format::Tsv),
        columns: columns.clone(),
        skip_empty: true,
        ..Source::new(path)
    };
    let mut files = ["train", dev].map(|name| folder.join(format!("{name}.tsv")));
    if task.name == "cola" {
        for file in &mut files {
            *file = with_header(file, out)?;
        }
    }
    let [train, dev] = files.map(source);
    Ok(TaskSource { name: task.name.to_owned(), kind: task.kind, metric: None, train, dev, test: None })
}

/// CoLA is published without a header: source, label, the author's mark, sentence. A copy with one is written beside the
/// results, the same bytes each time.
fn with_header(file: &Path, out: &Path) -> Result<PathBuf, Failure> {
    let text =
        std::fs::read_to_string(file).map_err(|source| Failure::Read { path: file.to_owned(), source })?;
    if text.lines().next().is_some_and(|line| line.split('\t').any(|name| name == "sentence")) {
        return Ok(file.to_owned());
    }
    let folder = beside(out, ".cola");
    let copy = folder.join(file.file_name().unwrap_or_default());
    std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(&copy, format!("source\tlabel\tmark\tsentence\n{text}")))
        .map_err(|source| Failure::Write { path: copy.clone(), source })?;
    Ok(copy)
}
