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
    /// It failed, and others would too.
    Failed(F),
}

/// What came of several trials.
struct Round<T, F> {
    too_large: Vec<(T, F)>,
    failure: Option<F>,
}

/// Runs all trials, `jobs` of them beside each other, as long as `may_begin`; `run` gets a trial, the number of the job and how
/// many there are. With a failure no other trial begins, and those that run go on to their end. What is too large for its share
/// runs again alone once `before_large` has been told how many there are; what is too large even then hinders no other.
/// # Errors
/// The first failure.
pub fn run_all<T: Send, F: Send>(
    trials: Vec<T>,
    jobs: usize,
    may_begin: &(impl Fn() -> bool + Sync),
    before_large: impl FnOnce(usize),
    run: &(impl Fn(&T, usize, usize) -> End<F> + Sync),
) -> Result<(), F> {
    let mut round = beside(trials, jobs, may_begin, run);
    if jobs > 1 && round.failure.is_none() && !round.too_large.is_empty() && may_begin() {
        before_large(round.too_large.len());
        let large = round.too_large.into_iter().map(|(trial, _)| trial).collect();
        round = beside(large, 1, may_begin, run);
    }
    let too_large = round.too_large.into_iter().next().map(|(_, failure)| failure);
    round.failure.or(too_large).map_or(Ok(()), Err)
}

fn beside<T: Send, F: Send>(
    trials: Vec<T>,
    jobs: usize,
    may_begin: &(impl Fn() -> bool + Sync),
    run: &(impl Fn(&T, usize, usize) -> End<F> + Sync),
) -> Round<T, F> {
    let todo = Mutex::new(VecDeque::from(trials));
    let ended = Mutex::new(Round { too_large: Vec::new(), failure: None });
    let of_ended = || ended.lock().unwrap_or_else(PoisonError::into_inner);
    let next = || {
        let goes_on = may_begin() && of_ended().failure.is_none();
        if goes_on { todo.lock().unwrap_or_else(PoisonError::into_inner).pop_front() } else { None }
    };
    std::thread::scope(|scope| {
        for job in 0..jobs {
            scope.spawn(move || {
                while let Some(trial) = next() {
                    match run(&trial, job, jobs) {
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Runs trials of these sizes where a job has a share of 12; what was run, sorted, each with the number of jobs.
    fn ran(sizes: &[u64], jobs: usize) -> (Vec<(u64, usize)>, Result<(), String>, usize) {
        let (ran, large) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
        let run = |size: &u64, _: usize, jobs: usize| {
            if *size == 0 {
                return End::Failed("failed".to_owned());
            }
            if *size > 12 / jobs as u64 {
                return End::TooLarge(format!("{size} is too large"));
            }
            ran.lock().unwrap().push((*size, jobs));
            End::Done
        };
        let told = |count| large.store(count, Ordering::SeqCst);
        let ended = run_all(sizes.to_vec(), jobs, &|| true, told, &run);
        let mut ran = ran.into_inner().unwrap();
        ran.sort_unstable();
        (ran, ended, large.into_inner())
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
        let run = |_: &u64, _: usize, _: usize| -> End<String> { panic!("it may not begin") };
        assert_eq!(run_all(vec![1, 2], 2, &|| false, |_| panic!("nothing ran"), &run), Ok(()));
    }
}
