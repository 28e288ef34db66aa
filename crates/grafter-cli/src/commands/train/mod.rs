//! `grafter train`: trains an adapter on a file of labelled text and writes its folder, or puts it into a bank.

mod sequence;
mod target;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use grafter::adapter::{Companion, MANIFEST_FILE, WEIGHTS_FILE};
use grafter::data::{LabelledFile, LabelledRows, Source};
use grafter::graft::{Beginning, GraftError, Grafted, graft_from};
use grafter::metrics::{Metric, Scores};
use grafter::report::train::{Texts, TrainReport};
use grafter::train::{CheckpointFolder, Ending, Observers, TrainError};
use serde::Serialize;

use self::target::{Saved, Target};
use super::{base_text, metric_text, print, print_json, tell_warnings, types, unused, warn_of_same_rows};
use crate::Outcome;
use crate::args::{Every, Train};
use crate::failure::Failure;
use crate::interrupt;
use crate::progress::{LOG_BEGINNING, TrainProgress, beside_earlier_log};
use crate::sources::Sources;
use crate::tensorboard::EventFiles;
use crate::terminal::{bytes, counted, grouped, tell};

/// The result, as `--json` prints it.
#[derive(Serialize)]
struct Report<'a> {
    adapter: &'a Path,
    /// The name in the bank and the version.
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<&'a str>,
    metric: Metric,
    score: Option<f64>,
    baseline: Option<f64>,
    /// What the scores of each label are of, in the same order.
    labels: &'a [String],
    /// The same of entities.
    #[serde(skip_serializing_if = "Option::is_none")]
    types: Option<Vec<&'a str>>,
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
    let options = &arguments.options;
    let given = (options.bottleneck.is_some(), options.init_std.is_some());
    unused::refuse_without_adapters(&[options.method], &options.shared, given)?;
    match &arguments.sequence {
        Some(list) => sequence::run(arguments, list),
        None => run_one(arguments),
    }
}

/// The rows to learn from and those to choose by.
fn sources(arguments: &Train) -> Result<[Source; 2], Failure> {
    let mut sources = Sources::new(&arguments.rows);
    Ok([sources.source(&arguments.train)?, sources.source(&arguments.dev)?])
}

fn run_one(arguments: &Train) -> Result<Outcome, Failure> {
    let start = Instant::now();
    unused::refuse_mean_of_words(arguments.options.shared.pooling, &[arguments.kind])?;
    let [train_source, dev_source] = sources(arguments)?;
    let mut target = Target::of(arguments)?;
    let checkpoints = checkpoints(arguments, &target)?;
    let log = arguments.log.clone().unwrap_or_else(|| target.log());
    let hint = format!("write the log beside the {}, not in it", target.what());
    super::refuse_nested(("--log", &log), target.flag(), &hint)?;
    if let Some(folder) = &arguments.tensorboard {
        let hint = format!("write the events beside the {}, not in it", target.what());
        super::refuse_inside(("--tensorboard", folder), target.flag(), &hint)?;
        super::refuse_output(&folder.join("events"), "--tensorboard", std::iter::empty())?;
    }
    let train = LabelledFile::read_train(&train_source, arguments.kind)?;
    tell_warnings(&train);
    let dev = LabelledFile::read_eval(&dev_source, train.task())?;
    let model = target.open_model(arguments)?;
    let mut options = arguments.options.options(model.encoder().config.max_length(), &[arguments.kind]);
    options.train.budget.folder = Some(grafter::durable::parent_of(target.path()).to_owned());
    let metric = options.metric.unwrap_or(Metric::default_for(arguments.kind));
    options.check(&model)?;
    if let Some(Resumable { folder, used }) = &checkpoints
        && folder.resume
    {
        target.allow_own(&options, *used)?;
    }
    super::refuse_output(&log, "--log", train_source.paths().chain(dev_source.paths()))?;
    refuse_foreign_log(&log)?;
    if log.is_file() {
        refuse_foreign_log(&beside_earlier_log(&log))?;
    }
    // Temporary files lie beside what is written.
    for folder in log.parent().into_iter().chain(options.train.budget.folder.as_deref()) {
        std::fs::create_dir_all(folder)
            .map_err(|source| Failure::Write { path: folder.to_owned(), source })?;
    }
    tell_warnings(&dev);
    warn_of_same_rows(&train_source, &dev_source, "dev");
    let mut progress = TrainProgress::new(metric, true, Some(&log));
    if checkpoints.is_some() {
        progress.checkpoint_every(arguments.checkpoint_every.unwrap_or(CHECKPOINT_EVERY));
    }
    let mut events = arguments.tensorboard.as_deref().map(EventFiles::new);
    interrupt::listen_with(match &checkpoints {
        Some(_) => {
            "ending after what is at hand; Ctrl-C again ends at once and loses what came after the last checkpoint"
        }
        None => interrupt::LOSES_THE_RUN,
    });
    let result = {
        let mut observers = Observers(vec![&mut progress]);
        if let Some(events) = &mut events {
            observers.0.push(events);
        }
        let checkpoints = checkpoints.as_ref().map(|checkpoints| &checkpoints.folder);
        let beginning = Beginning { checkpoints, ..Beginning::default() };
        graft_from(&beginning, &model, (&train, &dev), &options, &mut observers)
    };
    let log_failure = progress.finish();
    let grafted = match result {
        Err(GraftError::Train(TrainError::Interrupted { .. })) => {
            match progress.checkpoint() {
                Some(step) => tell(to_be_resumed(step)),
                None if checkpoints.is_some_and(|checkpoints| checkpoints.used) => {
                    tell("interrupted before the run went on: its checkpoints are as they were");
                }
                None => tell("interrupted before the first evaluation: there is nothing to keep"),
            }
            return Err(Failure::Interrupted);
        }
        result => result?,
    };
    let companions = companions(arguments, &grafted, &train_source, (&dev_source, &dev));
    let saved = target.save(&grafted.adapter, &companions, (&model, &dev))?;
    let log_in_place = if log_failure.is_ok() { progress.replace_earlier_log() } else { Ok(()) };
    if let Some(Resumable { folder, .. }) = &checkpoints {
        match (grafted.ending, progress.checkpoint()) {
            (Ending::Interrupted, Some(step)) => tell(to_be_resumed(step)),
            (Ending::Interrupted, None) => {}
            // The adapter is there: whether they can be taken away decides nothing.
            _ => {
                if let Err(error) = folder.clear() {
                    tell(format_args!("warning: cannot clear `{}`: {error}", folder.path.display()));
                }
            }
        }
    }
    tell_lost("the log of the run is not whole", log_failure);
    tell_lost("the log that is there is of an earlier run", log_in_place);
    tell_lost("the event file of the run is not whole", events.map_or(Ok(()), EventFiles::finish));
    match report(arguments, &saved, (&grafted, &progress), start.elapsed().as_secs_f64()) {
        // Nobody reads the report any more; how the run ended is told all the same.
        Err(failure) if failure.is_closed_pipe() => {}
        reported => reported?,
    }
    tell_if_nothing_learnt(&grafted);
    Ok(if grafted.ending == Ending::Interrupted { Outcome::Interrupted } else { Outcome::Done })
}

/// Checkpoints of a run.
struct Resumable {
    folder: CheckpointFolder,
    /// Whether one is there already.
    used: bool,
}

/// How often they are written by a run that is resumed, if nothing is said.
const CHECKPOINT_EVERY: Every = Every::Time(Duration::from_secs(600));

/// Where the flags ask for checkpoints. Those of a run that did not end are not written over by one that does not go on with it.
fn checkpoints(arguments: &Train, target: &Target) -> Result<Option<Resumable>, Failure> {
    let folder = CheckpointFolder { path: target.checkpoints(), resume: arguments.resume };
    let used = folder.is_used().map_err(|source| Failure::Read { path: folder.path.clone(), source })?;
    if used && !folder.resume {
        return Err(Failure::Usage {
            message: format!("`{}` has the checkpoints of a run that did not end", folder.path.display()),
            hint: Some("`--resume` goes on with it; remove the folder to begin anew".to_owned()),
        });
    }
    let wanted = arguments.resume || arguments.checkpoint_every.is_some();
    Ok(wanted.then_some(Resumable { folder, used }))
}

fn to_be_resumed(step: u64) -> String {
    format!("the same command with `--resume` goes on from step {step}")
}

/// What could not be written of how the adapter came about: it is there, so that this decides nothing.
fn tell_lost(what: &str, written: Result<(), Failure>) {
    if let Err(failure) = written {
        tell(format_args!("warning: {what}: {failure}"));
    }
}

/// What to try where a run that was let go on is not above its baseline. What is not defined counts as 0: the mean score, the
/// baseline of regression, has no correlation.
fn tell_if_nothing_learnt(Grafted { adapter, training, ending, .. }: &Grafted) {
    let value = |scores: &Scores| scores.get(training.metric).ok().flatten().unwrap_or(0.0);
    let (score, baseline) = (value(&training.dev_scores), value(&training.baseline));
    let let_go_on = matches!(ending, Ending::Completed | Ending::EarlyStopped);
    // Where the baseline is right on every row, there is nothing to try.
    if score <= baseline && score < 1.0 && let_go_on {
        let manifest = adapter.manifest();
        tell(format_args!(
            "note: the score is not above the baseline ({}): try another `--lr` than {} (a lower one if the loss jumps or stands \
             still), more `--epochs` or more rows",
            base_text(manifest.task.kind),
            training.options.learning_rate_for(&manifest.adapter),
        ));
    }
}

/// The report of the run as files beside the adapter; none if it is not wanted.
fn companions(
    arguments: &Train,
    grafted: &Grafted,
    train: &Source,
    (dev, dev_rows): (&Source, &LabelledFile),
) -> Vec<(Companion, Vec<u8>)> {
    if arguments.no_report {
        return Vec::new();
    }
    let texts = match arguments.no_report_texts {
        true => Texts::LeftOut,
        false => Texts::of(&grafted.review, dev_rows),
    };
    if let Texts::Unreadable(error) = &texts {
        tell(format_args!("warning: the report has no texts: {error}"));
    }
    TrainReport { grafted, train, dev, texts }.files()
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
    // Of a machine that lost its power, the log may have lost its end.
    if read.is_ok_and(|bytes| bytes > 0) && !LOG_BEGINNING.starts_with(&beginning) {
        return Err(Failure::Usage {
            message: format!("`{}` exists and is not the log of a run", log.display()),
            hint: Some("name another file with `--log`, or remove this one".to_owned()),
        });
    }
    Ok(())
}

fn report(
    arguments: &Train,
    saved: &Saved,
    (grafted, progress): (&Grafted, &TrainProgress),
    seconds: f64,
) -> Result<(), Failure> {
    let manifest = grafted.adapter.manifest();
    let training = &grafted.training;
    let size = |name: &str| std::fs::metadata(saved.folder.join(name)).map_or(0, |file| file.len());
    let value = |scores: &Scores| scores.get(training.metric).ok().flatten();
    let report = Report {
        adapter: &saved.folder,
        task: saved.task.as_deref(),
        metric: training.metric,
        score: value(&training.dev_scores),
        baseline: value(&training.baseline),
        labels: &manifest.task.labels,
        types: types(&training.dev_scores, &manifest.task.labels),
        dev_scores: &training.dev_scores,
        ending: grafted.ending,
        steps: grafted.steps,
        best_step: training.best_step,
        trained_parameters: manifest.trained_parameters,
        share_of_base: manifest.trained_parameters as f64 / manifest.base.parameters as f64,
        seconds,
        tokens_per_second: progress.tokens_per_second(),
        bytes: size(WEIGHTS_FILE) + size(MANIFEST_FILE),
        report: (!arguments.no_report).then(|| saved.folder.join(Companion::Report.file_name())),
        truncated_train: grafted.truncated_train,
        truncated_dev: grafted.truncated_dev,
    };
    if arguments.json {
        return print_json(&report);
    }
    print(&text(&report, manifest, grafted))
}

fn text(report: &Report<'_>, manifest: &grafter::adapter::Manifest, grafted: &Grafted) -> String {
    let training = &grafted.training;
    let base = base_text(manifest.task.kind);
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
    if let Some(calibration) = &manifest.calibration {
        text += &format!("calibr.  {}\n", calibration);
    }
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
            "cut      {} and {}, {}\n",
            counted(report.truncated_train, "training row"),
            counted(report.truncated_dev, "dev row"),
            manifest.task.kind.too_long(manifest.max_length)
        );
    }
    if let Some(task) = report.task {
        text += &format!("task     {task}\n");
    }
    text += &format!("adapter  {}, {}\n", report.adapter.display(), bytes(report.bytes));
    if let Some(page) = &report.report {
        text += &format!("report   {}\n", page.display());
    }
    text
}
