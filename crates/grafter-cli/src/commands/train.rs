//! `grafter train`: trains an adapter on a file of labelled text and writes its folder.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

use grafter::adapter::{self, Companion, MANIFEST_FILE, WEIGHTS_FILE};
use grafter::data::{LabelledFile, LabelledRows};
use grafter::graft::{GraftError, Grafted, graft};
use grafter::metrics::{Metric, Scores};
use grafter::report::train::{History, Texts, TrainReport};
use grafter::train::{Ending, Observers, TrainError};
use serde::Serialize;

use super::{metric_text, open_model, print, print_json};
use crate::Outcome;
use crate::args::Train;
use crate::failure::Failure;
use crate::interrupt;
use crate::progress::{LOG_BEGINNING, TrainProgress};
use crate::tensorboard::EventFiles;
use crate::terminal::{bytes, counted, grouped, tell};

/// The result, as `--json` prints it.
#[derive(Serialize)]
struct Report<'a> {
    adapter: &'a Path,
    metric: Metric,
    score: Option<f64>,
    baseline: Option<f64>,
    dev_scores: &'a Scores,
    ending: Ending,
    steps: u64,
    best_step: u64,
    trained_parameters: usize,
    share_of_base: f64,
    seconds: f64,
    tokens_per_second: Option<f64>,
    bytes: u64,
    /// The page about the run.
    report: Option<PathBuf>,
    truncated_train: usize,
    truncated_dev: usize,
}

pub fn run(arguments: &Train) -> Result<Outcome, Failure> {
    let start = Instant::now();
    let log = arguments.log.clone().unwrap_or_else(|| log_path(&arguments.out));
    adapter::check_target(&arguments.out, arguments.overwrite)?;
    super::refuse_nested(
        ("--log", &log),
        &arguments.out,
        "write the log beside the adapter's folder, not in it",
    )?;
    if let Some(folder) = &arguments.tensorboard {
        let hint = "write the events beside the adapter's folder, not in it";
        super::refuse_inside(("--tensorboard", folder), &arguments.out, hint)?;
        super::refuse_output(&folder.join("events"), "--tensorboard", &[])?;
    }
    let train = LabelledFile::read_train(&arguments.rows.source(&arguments.train), arguments.task)?;
    for warning in train.warnings() {
        tell(format_args!("warning: {warning}"));
        if let Some(hint) = warning.hint() {
            tell(format_args!("hint: {hint}: pass `--task regression`"));
        }
    }
    let dev = LabelledFile::read_eval(&arguments.rows.source(&arguments.dev), train.task())?;
    let model = open_model(&arguments.model.model, arguments.base)?;
    let mut options = arguments.options.options(model.encoder().config.max_position_embeddings);
    options.train.budget.folder = Some(adapter::parent_of(&arguments.out).to_owned());
    let metric = options.metric.unwrap_or(Metric::default_for(arguments.task));
    options.check(&model)?;
    super::refuse_output(&log, "--log", &[&arguments.train, &arguments.dev])?;
    refuse_foreign_log(&log)?;
    // Temporary files lie beside the adapter's folder.
    for folder in log.parent().into_iter().chain(options.train.budget.folder.as_deref()) {
        std::fs::create_dir_all(folder)
            .map_err(|source| Failure::Write { path: folder.to_owned(), source })?;
    }
    let mut progress = TrainProgress::new(metric, true, Some(&log));
    let mut events = arguments.tensorboard.as_deref().map(EventFiles::new);
    let mut history = History::default();
    interrupt::listen();
    let result = {
        let mut observers = Observers(vec![&mut progress]);
        if let Some(events) = &mut events {
            observers.0.push(events);
        }
        if !arguments.no_report {
            observers.0.push(&mut history);
        }
        graft(&model, &train, &dev, &options, &mut observers)
    };
    let log_failure = progress.finish();
    let grafted = match result {
        Err(GraftError::Train(TrainError::Interrupted { .. })) => {
            tell("interrupted before the first evaluation: there is nothing to keep");
            return Err(Failure::Interrupted);
        }
        result => result?,
    };
    let companions = companions(arguments, &grafted, &history, &dev);
    grafted.adapter.save_with(&arguments.out, arguments.overwrite, &companions)?;
    log_failure.and_then(|()| progress.replace_earlier_log())?;
    events.map_or(Ok(()), EventFiles::finish)?;
    match report(arguments, &grafted, &progress, start.elapsed().as_secs_f64()) {
        // Nobody reads the report any more; how the run ended is told all the same.
        Err(failure) if failure.is_closed_pipe() => {}
        reported => reported?,
    }
    Ok(if grafted.ending == Ending::Interrupted { Outcome::Interrupted } else { Outcome::Done })
}

/// The report of the run as files beside the adapter; none if it is not wanted.
fn companions(
    arguments: &Train,
    grafted: &Grafted,
    history: &History,
    dev: &LabelledFile,
) -> Vec<(Companion, Vec<u8>)> {
    if arguments.no_report {
        return Vec::new();
    }
    let texts = match arguments.no_report_texts {
        true => Texts::LeftOut,
        false => Texts::of(&grafted.review, dev),
    };
    if let Texts::Unreadable(error) = &texts {
        tell(format_args!("warning: the report has no texts: {error}"));
    }
    let (train, dev) = (arguments.rows.source(&arguments.train), arguments.rows.source(&arguments.dev));
    TrainReport { grafted, history, train: &train, dev: &dev, texts }.files()
}

/// A file that exists under the log's name is replaced only if it is the log of an earlier run.
fn refuse_foreign_log(log: &Path) -> Result<(), Failure> {
    let mut beginning = Vec::new();
    let read = File::open(log).and_then(|file| {
        if file.metadata()?.is_file() {
            file.take(LOG_BEGINNING.len() as u64).read_to_end(&mut beginning)
        } else {
            Ok(0)
        }
    });
    if read.is_ok_and(|bytes| bytes > 0) && beginning != LOG_BEGINNING {
        return Err(Failure::Usage {
            message: format!("`--log {}` exists and is not the log of a run", log.display()),
            hint: Some("name another file, or remove this one".to_owned()),
        });
    }
    Ok(())
}

/// `<OUT>.log.jsonl`, beside the folder, so that a run that is killed leaves its log.
fn log_path(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".log.jsonl");
    out.with_file_name(name)
}

fn report(
    arguments: &Train,
    grafted: &Grafted,
    progress: &TrainProgress,
    seconds: f64,
) -> Result<(), Failure> {
    let manifest = grafted.adapter.manifest();
    let training = &manifest.training;
    let size = |name: &str| std::fs::metadata(arguments.out.join(name)).map_or(0, |file| file.len());
    let value = |scores: &Scores| scores.get(training.metric).ok().flatten();
    let report = Report {
        adapter: &arguments.out,
        metric: training.metric,
        score: value(&training.dev_scores),
        baseline: value(&training.baseline),
        dev_scores: &training.dev_scores,
        ending: grafted.ending,
        steps: grafted.steps,
        best_step: training.best_step,
        trained_parameters: manifest.trained_parameters,
        share_of_base: manifest.trained_parameters as f64 / manifest.base.parameters as f64,
        seconds,
        tokens_per_second: progress.tokens_per_second(),
        bytes: size(WEIGHTS_FILE) + size(MANIFEST_FILE),
        report: (!arguments.no_report).then(|| arguments.out.join(Companion::Report.file_name())),
        truncated_train: grafted.truncated_train,
        truncated_dev: grafted.truncated_dev,
    };
    if arguments.json {
        return print_json(&report);
    }
    print(&text(&report, manifest, grafted))
}

fn text(report: &Report<'_>, manifest: &grafter::adapter::Manifest, grafted: &Grafted) -> String {
    let training = &manifest.training;
    let base = if manifest.task.labels.is_empty() { "mean score" } else { "majority" };
    let ending = match grafted.ending {
        Ending::Completed => String::new(),
        ending => format!(", {ending}"),
    };
    let mut text = format!(
        "score    {} {} on {} ({base} {})\n",
        training.metric.describe(&manifest.task.labels),
        metric_text(&training.dev_scores, training.metric),
        counted(training.dev_rows, "dev row"),
        metric_text(&training.baseline, training.metric),
    );
    text += &format!("best     at step {} of {}{ending}\n", training.best_step, grafted.steps);
    text += &format!(
        "trained  {} numbers, {:.2} % of the {} of `{}`\n",
        grouped(report.trained_parameters),
        100.0 * report.share_of_base,
        grouped(manifest.base.parameters),
        manifest.base.name
    );
    let speed =
        report.tokens_per_second.map_or(String::new(), |speed| format!(", {speed:.0} tokens/s in training"));
    text += &format!("time     {:.1} s{speed}\n", report.seconds);
    if report.truncated_train + report.truncated_dev > 0 {
        text += &format!(
            "cut      {} and {} were longer than {} tokens\n",
            counted(report.truncated_train, "training row"),
            counted(report.truncated_dev, "dev row"),
            manifest.max_length
        );
    }
    text += &format!("adapter  {}, {}\n", report.adapter.display(), bytes(report.bytes));
    if let Some(page) = &report.report {
        text += &format!("report   {}\n", page.display());
    }
    text
}
