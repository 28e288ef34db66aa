//! Runs trials beside each other. Each has a pool of its own, so that the bytes and the time of a trial do not depend on
//! what runs beside it; a result is recorded as soon as its trial ends.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use grafter::adapter::Adapter;
use grafter::compare::{CompareError, Trial, TrialEnd, run_trial};
use grafter::graft::GraftOptions;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::Open;
use super::progress::Progress;
use crate::failure::Failure;
use crate::interrupt;

/// What the workers share.
struct Shared<'a, 'b> {
    open: &'a Open<'b>,
    template: GraftOptions,
    todo: Mutex<VecDeque<Trial>>,
    /// Raised with the first failure: the others end too.
    stop: AtomicBool,
    failure: Mutex<Option<Failure>>,
    progress: Progress,
}

/// Runs trials in their order until all are done, the time is over, Ctrl-C, or one fails; says how many are left.
pub fn run(open: &Open<'_>, todo: Vec<Trial>) -> Result<usize, Failure> {
    let processors = rayon::current_num_threads();
    let jobs = open.job.running.jobs.map_or(processors, usize::from).min(todo.len()).max(1);
    let threads = (processors / jobs).max(1);
    let (all, finished) = (open.trials.len(), open.trials.len() - todo.len());
    let mut template = open.template.clone();
    template.train.budget.memory_bytes /= jobs as u64;
    template.train.budget.total_bytes /= jobs as u64;
    template.train.budget.training_bytes =
        template.train.budget.training_bytes.map(|bytes| bytes / jobs as u64);
    let shared = Shared {
        open,
        template,
        todo: Mutex::new(todo.into()),
        stop: AtomicBool::new(false),
        failure: Mutex::new(None),
        progress: Progress::new(finished, all),
    };
    let pools = (0..jobs).map(|_| pool(threads)).collect::<Result<Vec<_>, _>>()?;
    std::thread::scope(|scope| {
        for pool in &pools {
            scope.spawn(|| shared.work(pool));
        }
    });
    let finished = shared.progress.end();
    match shared.failure.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
        Some(failure) => Err(failure),
        None => Ok(all - finished),
    }
}

/// Runs a trial for its adapter, on all processors; `None` if it was interrupted or diverged.
pub fn again(open: &Open<'_>, trial: &Trial) -> Result<Option<Box<Adapter>>, Failure> {
    let progress = Progress::new(0, 1);
    let stop = AtomicBool::new(false);
    let mut observer = progress.trial(trial, &stop);
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

impl Shared<'_, '_> {
    fn work(&self, pool: &ThreadPool) {
        while let Some(trial) = self.next() {
            if let Err(failure) = self.trial(pool, &trial) {
                self.stop.store(true, Ordering::SeqCst);
                let mut first = self.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                first.get_or_insert(failure);
            }
        }
    }

    /// The next trial, if there is one and it may begin.
    fn next(&self) -> Option<Trial> {
        let over = self.open.job.running.budget.is_some_and(|budget| self.open.start.elapsed() >= budget);
        if over || interrupt::requested() || self.stop.load(Ordering::SeqCst) {
            return None;
        }
        self.todo.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop_front()
    }

    fn trial(&self, pool: &ThreadPool, trial: &Trial) -> Result<(), Failure> {
        let start = Instant::now();
        let task = self.open.task(trial);
        let end: Result<TrialEnd, CompareError> = pool.install(|| {
            let mut observer = self.progress.trial(trial, &self.stop);
            run_trial(&self.open.model, task, (trial, &self.template), &mut observer)
        });
        let TrialEnd::Finished(mut record, adapter) = end? else { return Ok(()) };
        record.seconds = start.elapsed().as_secs_f64();
        // The adapter first: a finished trial has its adapter.
        if let (true, Some(adapter)) = (self.open.job.keep, adapter) {
            adapter.save_or_keep(&self.open.folder.adapter(trial), true)?;
        }
        self.open.folder.write_record(&record)?;
        self.progress.finished(&record, task.plan.metric);
        Ok(())
    }
}
