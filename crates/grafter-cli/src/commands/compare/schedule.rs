//! In which order trials run: so many beside each other, and afterwards one by one those that need more of the machine than
//! their share was.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// How a trial ended.
pub enum End<F> {
    /// It is finished, or was interrupted.
    Done,
    /// Its share of the machine's memory is too small for it.
    TooLarge(F),
    /// It failed.
    Failed(F),
}

/// Who runs a trial, and how many run beside each other.
#[derive(Clone, Copy)]
pub struct Worker {
    pub number: usize,
    pub of: usize,
}

/// How trials run.
pub struct Schedule<'a, T, F> {
    /// So many beside each other.
    pub jobs: usize,
    /// Whether another trial may begin.
    pub may_begin: &'a (dyn Fn() -> bool + Sync),
    /// Told how many trials were too large for their share before these run alone.
    pub before_large: &'a (dyn Fn(usize) + Sync),
    /// Runs a trial.
    pub run: &'a (dyn Fn(&T, Worker) -> End<F> + Sync),
}

/// What came of several trials.
struct Round<T, F> {
    too_large: Vec<(T, F)>,
    failure: Option<F>,
}

impl<T: Send, F: Send> Schedule<'_, T, F> {
    /// Runs all trials as long as they may begin. After a failure no other trial begins, and those that run go on to their end.
    /// What is too large for its share runs alone, after the others; what is too large even then hinders no other.
    /// # Errors
    /// The first failure.
    pub fn run_all(&self, trials: Vec<T>) -> Result<(), F> {
        let mut round = self.beside(trials, self.jobs);
        if self.jobs > 1 && round.failure.is_none() {
            // Where no other may begin they are left, as others are.
            let large: Vec<T> = round.too_large.into_iter().map(|(trial, _)| trial).collect();
            if !large.is_empty() && (self.may_begin)() {
                (self.before_large)(large.len());
            }
            round = self.beside(large, 1);
        }
        let too_large = round.too_large.into_iter().next().map(|(_, failure)| failure);
        round.failure.or(too_large).map_or(Ok(()), Err)
    }

    fn beside(&self, trials: Vec<T>, jobs: usize) -> Round<T, F> {
        let todo = Mutex::new(VecDeque::from(trials));
        let ended = Mutex::new(Round { too_large: Vec::new(), failure: None });
        let of_ended = || ended.lock().unwrap_or_else(PoisonError::into_inner);
        let next = || {
            let goes_on = (self.may_begin)() && of_ended().failure.is_none();
            if goes_on { todo.lock().unwrap_or_else(PoisonError::into_inner).pop_front() } else { None }
        };
        std::thread::scope(|scope| {
            for number in 0..jobs {
                scope.spawn(move || {
                    while let Some(trial) = next() {
                        match (self.run)(&trial, Worker { number, of: jobs }) {
                            End::Done => {}
                            End::TooLarge(failure) => of_ended().too_large.push((trial, failure)),
                            End::Failed(failure) => drop(of_ended().failure.get_or_insert(failure)),
                        }
                    }
                });
            }
        });
        ended.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// What was run, sorted, each with the number of jobs; how it ended; how many were too large for their share.
    type Ran = (Vec<(u64, usize)>, Result<(), String>, usize);

    /// Runs trials of these sizes where all jobs have a share of 12, and none begins after so many.
    fn ran_until(sizes: &[u64], jobs: usize, most: usize) -> Ran {
        let (ran, begun, large) = (Mutex::new(Vec::new()), AtomicUsize::new(0), AtomicUsize::new(0));
        let run = |size: &u64, worker: Worker| {
            begun.fetch_add(1, Ordering::SeqCst);
            if *size == 0 {
                return End::Failed("failed".to_owned());
            }
            if *size > 12 / worker.of as u64 {
                return End::TooLarge(format!("{size} is too large"));
            }
            ran.lock().unwrap().push((*size, worker.of));
            End::Done
        };
        let schedule = Schedule {
            jobs,
            may_begin: &|| begun.load(Ordering::SeqCst) < most,
            before_large: &|count| large.store(count, Ordering::SeqCst),
            run: &run,
        };
        let ended = schedule.run_all(sizes.to_vec());
        let mut ran = ran.into_inner().unwrap();
        ran.sort_unstable();
        (ran, ended, large.into_inner())
    }

    fn ran(sizes: &[u64], jobs: usize) -> Ran {
        ran_until(sizes, jobs, usize::MAX)
    }

    #[test]
    fn what_is_too_large_for_its_share_runs_alone_after_the_others() {
        assert_eq!(ran(&[1, 7, 2, 12], 2), (vec![(1, 2), (2, 2), (7, 1), (12, 1)], Ok(()), 2));
        assert_eq!(ran(&[1, 2], 2), (vec![(1, 2), (2, 2)], Ok(()), 0));
    }

    #[test]
    fn what_is_too_large_for_the_machine_hinders_no_other() {
        let told = Err("13 is too large".to_owned());
        assert_eq!(ran(&[13, 7, 1], 2), (vec![(1, 2), (7, 1)], told.clone(), 2));
        assert_eq!(ran(&[13, 7, 1], 1), (vec![(1, 1), (7, 1)], told, 0));
    }

    #[test]
    fn after_a_failure_no_other_begins() {
        assert_eq!(ran(&[1, 0, 2], 1), (vec![(1, 1)], Err("failed".to_owned()), 0));
        assert_eq!(ran(&[20, 0, 2], 1), (vec![], Err("failed".to_owned()), 0), "the failure is what is told");
    }

    #[test]
    fn nothing_begins_once_it_may_not() {
        assert_eq!(ran_until(&[1, 2], 2, 0), (vec![], Ok(()), 0));
        // Too large for its share, which says nothing of the machine.
        assert_eq!(ran_until(&[7], 2, 1), (vec![], Ok(()), 0));
        // Of two that are left, one may begin.
        let (ran, ended, large) = ran_until(&[7, 7], 2, 3);
        assert_eq!((ran, ended, large), (vec![(7, 1)], Ok(()), 2));
    }
}
