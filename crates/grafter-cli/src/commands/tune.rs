//! `grafter tune`: tries several settings on one task and writes the adapter of the best.

use std::path::Path;

use grafter::adapter::{self, Adapter, AdapterError};
use grafter::compare::cells::setting_text;
use grafter::compare::{Candidate, Grid, Results, SettingResult, TaskSource, Trial, TrialSummary};
use grafter::graft::GraftOptions;
use grafter::metrics::Metric;
use serde::Serialize;

use super::compare::{Job, ONLY_TASK, Open, Ran, distinct, rates, tell_left};
use super::output::{beside, lock};
use super::{print, print_json};
use crate::Outcome;
use crate::args::Tune;
use crate::failure::Failure;
use crate::sources::Sources;
use crate::terminal::{bytes, counted, tell};

const BOTTLENECKS: [usize; 2] = [16, 64];
/// Times the default of `train`.
const RATES: [f64; 3] = [1.0, 0.3, 3.0];
const SEEDS: [u64; 2] = [1, 2];

/// The result, as `--json` prints it.
#[derive(Serialize)]
struct Report<'a> {
    adapter: &'a Path,
    metric: Metric,
    /// Mean dev score of the setting.
    mean: f64,
    /// Trials of this command that are not finished.
    left: usize,
    best: &'a TrialSummary,
    results: &'a Results,
}

pub fn run(arguments: &Tune) -> Result<Outcome, Failure> {
    let trials = arguments.trials.clone().unwrap_or_else(|| beside(&arguments.out, ".trials"));
    super::refuse_nested(
        ("--trials", &trials),
        ("--out", &arguments.out),
        "keep the trials beside the adapter's folder",
    )?;
    let _lock = lock(&arguments.out, "")?;
    // An adapter of these trials may be replaced, which only their folder tells.
    let exists = match adapter::check_target(&arguments.out, arguments.overwrite) {
        Err(error @ AdapterError::Exists { .. }) if trials.exists() => Some(error),
        checked => checked.map(|()| None)?,
    };
    let open = job(arguments, &trials)?.open()?;
    let overwrite = arguments.overwrite || exists.is_some();
    if let Some(error) = exists {
        let sealed = adapter::read_manifest(&arguments.out)?.weights_sha256;
        let mut ours = false;
        for trial in open.all_trials() {
            ours |=
                open.record(&trial)?.is_some_and(|record| record.weights_sha256.as_ref() == Some(&sealed));
        }
        if !ours {
            return Err(error.into());
        }
    }
    let ran = open.run(|_| None)?;
    tell_left(&ran, open.trials.len());
    if ran.interrupted {
        return Ok(Outcome::Interrupted);
    }
    let (setting, best) = best(&ran.results, arguments.method.into()).ok_or_else(|| nothing(&ran.results))?;
    let Some(adapter) = adapter_of(&open, &best.trial)? else { return Err(Failure::Interrupted) };
    adapter.save_or_keep(&arguments.out, overwrite)?;
    if ran.left == 0 && !arguments.running.keep {
        prune(&open, &best.trial);
    }
    report(arguments, (&open, &ran), setting, best)?;
    Ok(Outcome::Done)
}

fn job<'a>(arguments: &'a Tune, trials: &'a Path) -> Result<Job<'a>, Failure> {
    let sweep = &arguments.sweep;
    let mut sources = Sources::new(&arguments.rows);
    let source = TaskSource {
        name: ONLY_TASK.to_owned(),
        kind: arguments.kind,
        metric: arguments.metric,
        train: sources.source(&arguments.train)?,
        dev: sources.source(&arguments.dev)?,
        test: sources.if_named(&arguments.test)?,
    };
    let std = GraftOptions::default().train.init_std;
    Ok(Job {
        sources: vec![source],
        grid: Grid {
            tasks: Vec::new(),
            methods: vec![arguments.method],
            bottlenecks: if sweep.bottleneck.is_empty() {
                BOTTLENECKS.into()
            } else {
                distinct(&sweep.bottleneck)
            },
            learning_rates: rates(sweep, &RATES),
            init_stds: if sweep.init_std.is_empty() { vec![std] } else { distinct(&sweep.init_std) },
            seeds: if sweep.seed.is_empty() { SEEDS.into() } else { distinct(&sweep.seed) },
        },
        sweep,
        training: &arguments.training,
        running: &arguments.running,
        out: trials,
        keep: true,
        check: |_| Ok(()),
    })
}

/// The setting with the best mean, and of its seeds the one with the best score on dev, the first of equals. The folder may
/// hold other methods, of earlier commands.
fn best(results: &Results, candidate: Candidate) -> Option<(&SettingResult, &TrialSummary)> {
    let task = results.tasks.first()?;
    let best = task.best(task.methods.iter().find(|result| result.candidate == candidate)?)?;
    let trials = results.trials.iter().filter(|trial| trial.trial.setting == best.setting);
    // `max_by` takes the last of equals, hence the reversal.
    let scored: Vec<(&TrialSummary, f64)> = trials.filter_map(|trial| Some((trial, trial.dev?))).collect();
    let (trial, _) = scored.iter().rev().max_by(|a, b| a.1.total_cmp(&b.1))?;
    Some((best, trial))
}

fn nothing(results: &Results) -> Failure {
    let (message, hint) = if results.finished == 0 {
        ("no trial was finished in the time", "allow more with `--budget`; the same command continues")
    } else {
        (
            "no setting has a score with each of its seeds",
            "smaller learning rates with `--lr` help most often",
        )
    };
    Failure::Usage { message: message.to_owned(), hint: Some(hint.to_owned()) }
}

/// The adapter of a finished trial: the one that was kept or, where it is gone, the same trained again.
fn adapter_of(open: &Open<'_>, trial: &Trial) -> Result<Option<Box<Adapter>>, Failure> {
    let sealed = open.record(trial)?.and_then(|record| record.weights_sha256);
    match Adapter::load(&open.folder.adapter(trial), &open.model) {
        Ok(adapter) if Some(&adapter.manifest().weights_sha256) == sealed.as_ref() => {
            Ok(Some(Box::new(adapter)))
        }
        _ => {
            tell(format_args!("the adapter of trial `{}` was not kept and is trained again", trial.id()));
            open.again(trial)
        }
    }
}

/// Removes the adapters that were kept only until the best was known. What cannot be removed stays.
fn prune(open: &Open<'_>, best: &Trial) {
    for trial in open.trials.iter().filter(|trial| *trial != best) {
        let _ = std::fs::remove_dir_all(open.folder.adapter(trial));
    }
}

fn report(
    arguments: &Tune,
    (open, ran): (&Open<'_>, &Ran),
    setting: &SettingResult,
    best: &TrialSummary,
) -> Result<(), Failure> {
    let (results, left) = (&ran.results, ran.left);
    let task = &results.tasks[0];
    let metric = task.metric;
    let dev = setting.dev.expect("the best setting has a score");
    if arguments.running.json {
        let adapter = &arguments.out;
        return print_json(&Report { adapter, metric, mean: dev.mean, left, best, results });
    }
    let mut text = format!(
        "best     {}, {}: {metric} {:.4} on dev, the best mean of {}\n",
        arguments.method,
        setting_text(&setting.setting, true),
        dev.mean,
        counted(task.settings_of(arguments.method.into()).count(), "setting")
    );
    let number = |score: Option<f64>| score.map_or("–".to_owned(), |score| format!("{score:.4}"));
    let test =
        if task.test_rows.is_some() { format!(", {} on test", number(best.test)) } else { String::new() };
    text += &format!(
        "adapter  seed {} of {}: {} on dev{test}\n",
        best.trial.seed,
        setting.seeds.len(),
        number(best.dev)
    );
    text += &format!(
        "written  {}, {}, {:.2} % of the base's numbers\n",
        arguments.out.display(),
        bytes(best.adapter_bytes.unwrap_or_default()),
        100.0 * best.share_of_base
    );
    text += &format!("trials   {}, {}\n", results.finished, open.folder.path().display());
    print(&text)
}
