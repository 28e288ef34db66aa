//! Runs trials beside each other. Each has a pool of its own, so that the bytes and the time of a trial do not depend on
//! what runs beside it; a result is recorded as soon as its trial ends.

use std::time::Instant;

use grafter::adapter::Adapter;
use grafter::compare::{CompareError, Trial, TrialEnd, run_trial};
use grafter::graft::GraftOptions;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::Open;
use super::progress::Progress;
use super::schedule::{End, Schedule, Worker};
use crate::failure::Failure;
use crate::interrupt;
use crate::terminal::counted;

/// Runs trials in their order until all are done, the time is over, Ctrl-C, or one fails; says how many are left.
pub fn run(open: &Open<'_>, todo: Vec<Trial>) -> Result<usize, Failure> {
    let processors = rayon::current_num_threads();
    let jobs = open.job.running.jobs.map_or(processors, usize::from).min(todo.len()).max(1);
    let (all, finished) = (open.trials.len(), open.trials.len() - todo.len());
    let progress = Progress::new(finished, all);
    let several = if jobs > 1 { jobs } else { 0 };
    let beside = (0..several).map(|_| pool((processors / jobs).max(1))).collect::<Result<Vec<_>, _>>()?;
    let alone = pool(processors)?;
    let run = |trial: &Trial, worker: Worker| {
        let pool = if worker.of == 1 { &alone } else { &beside[worker.number] };
        match run_one(open, trial, (pool, share(&open.template, worker.of as u64)), &progress) {
            Ok(()) => End::Done,
            Err(Failure::Library(grafter::Error::Compare(error))) if error.is_lack_of_memory() => {
                End::TooLarge(error.into())
            }
            Err(failure) => {
                if worker.of > 1 {
                    progress.note(&format!("{failure}: the trials that run go on, and no other begins"));
                }
                End::Failed(failure)
            }
        }
    };
    let schedule = Schedule {
        jobs,
        may_begin: &|| {
            let over = open.job.running.budget.is_some_and(|budget| open.start.elapsed() >= budget);
            !over && !interrupt::requested()
        },
        before_large: &|count| {
            progress.note(&format!(
                "{} too large to run beside others in the memory that is free: one at a time now",
                counted(count, "trial")
            ));
        },
        run: &run,
    };
    let ended = schedule.run_all(todo);
    let finished = progress.end();
    ended.map(|()| all - finished)
}

/// What trials have in common, each with its share of the memory.
fn share(template: &GraftOptions, jobs: u64) -> GraftOptions {
    let mut template = template.clone();
    let budget = &mut template.train.budget;
    budget.memory_bytes /= jobs;
    budget.total_bytes /= jobs;
    budget.training_bytes = budget.training_bytes.map(|bytes| bytes / jobs);
    template
}

fn run_one(
    open: &Open<'_>,
    trial: &Trial,
    (pool, template): (&ThreadPool, GraftOptions),
    progress: &Progress,
) -> Result<(), Failure> {
    let (start, task) = (Instant::now(), open.task(trial));
    let end: Result<TrialEnd, CompareError> = pool.install(|| {
        let mut observer = progress.trial(trial);
        run_trial(&open.model, task, (trial, &template), &mut observer)
    });
    let TrialEnd::Finished(mut record, adapter) = end? else { return Ok(()) };
    record.seconds = start.elapsed().as_secs_f64();
    // First, for it is small and the adapter is not: what is finished is not lost where the disk is full.
    open.folder.write_record(&record)?;
    progress.finished(&record, task.plan.metric);
    if let (true, Some(adapter)) = (open.job.keep, adapter) {
        adapter.save_or_keep(&open.folder.adapter(trial), true)?;
    }
    Ok(())
}

/// Runs a trial for its adapter, on all processors; `None` if it was interrupted or diverged.
pub fn again(open: &Open<'_>, trial: &Trial) -> Result<Option<Box<Adapter>>, Failure> {
    let progress = Progress::new(0, 1);
    let mut observer = progress.trial(trial);
    let end = run_trial(&open.model, open.task(trial), (trial, &open.template), &mut observer)?;
    drop(observer);
    progress.end();
    Ok(match end {
        TrialEnd::Finished(_, adapter) => adapter,
        TrialEnd::Interrupted => None,
    })
}

fn pool(threads: usize) -> Result<ThreadPool, Failure> {
    ThreadPoolBuilder::new().num_threads(threads).build().map_err(Failure::Threads)
}
