//! Several observers of one run.

use std::ops::ControlFlow;

use super::{EvaluationReport, StepReport, TrainObserver};
use crate::prefix::NotKept;

/// Observers that are told one after another. Each is told everything; the run ends if any of them ends it.
pub struct Observers<'a>(pub Vec<&'a mut dyn TrainObserver>);

impl Observers<'_> {
    fn tell(&mut self, mut tell: impl FnMut(&mut dyn TrainObserver) -> ControlFlow<()>) -> ControlFlow<()> {
        let mut answer = ControlFlow::Continue(());
        for observer in &mut self.0 {
            if tell(&mut **observer).is_break() {
                answer = ControlFlow::Break(());
            }
        }
        answer
    }
}

impl TrainObserver for Observers<'_> {
    fn encoding(&mut self, done: usize, rows: usize) -> ControlFlow<()> {
        self.tell(|observer| observer.encoding(done, rows))
    }

    fn begin(&mut self) {
        self.0.iter_mut().for_each(|observer| observer.begin());
    }

    fn prefix(&mut self, done: usize, rows: usize) -> ControlFlow<()> {
        self.tell(|observer| observer.prefix(done, rows))
    }

    fn not_kept(&mut self, reason: &NotKept) {
        self.0.iter_mut().for_each(|observer| observer.not_kept(reason));
    }

    fn step(&mut self, report: &StepReport) -> ControlFlow<()> {
        self.tell(|observer| observer.step(report))
    }

    fn evaluating(&mut self, done: usize, rows: usize) -> ControlFlow<()> {
        self.tell(|observer| observer.evaluating(done, rows))
    }

    fn evaluation(&mut self, report: &EvaluationReport) -> ControlFlow<()> {
        self.tell(|observer| observer.evaluation(report))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts what it is told, and answers as it is asked to.
    struct Counter(usize, ControlFlow<()>);

    impl TrainObserver for Counter {
        fn step(&mut self, _: &StepReport) -> ControlFlow<()> {
            self.0 += 1;
            self.1
        }

        fn evaluation(&mut self, _: &EvaluationReport) -> ControlFlow<()> {
            self.0 += 1;
            self.1
        }
    }

    #[test]
    fn all_are_told_and_any_may_end_the_run() {
        let evaluation = EvaluationReport { step: 1, epoch: 1, score: 0.5, loss: 0.5, best: true };
        for ends in [None, Some(0), Some(1)] {
            let answer = |place| match ends == Some(place) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            };
            let (mut first, mut second) = (Counter(0, answer(0)), Counter(0, answer(1)));
            let told = Observers(vec![&mut first, &mut second]).evaluation(&evaluation);
            assert_eq!((told.is_break(), first.0, second.0), (ends.is_some(), 1, 1));
        }
    }
}
