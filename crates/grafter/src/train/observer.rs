//! Following a run: what an observer is told, and what it may ask for.

use std::ops::ControlFlow;

use serde::Serialize;

use super::CheckpointReport;
use crate::prefix::NotKept;

/// What the observer is told after each step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StepReport {
    /// Steps done.
    pub step: u64,
    /// Steps of the whole run.
    pub total_steps: u64,
    /// The epoch that the step belongs to, counted from 1.
    pub epoch: u32,
    /// Mean loss of the step's rows.
    pub loss: f64,
    /// Norm of the gradients before clipping.
    pub grad_norm: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Tokens that passed the encoder, or its adapted layers, in the step: none where what the head reads is kept.
    pub tokens: usize,
}

/// What the observer is told after each evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct EvaluationReport {
    /// Steps done.
    pub step: u64,
    /// The epoch that the step belongs to, counted from 1.
    pub epoch: u32,
    /// Score on the dev rows; higher is better.
    pub score: f64,
    /// Mean loss on the dev rows, without dropout; it decides between equal scores.
    pub loss: f64,
    /// Whether it is the best so far.
    pub best: bool,
}

/// Follows a run; an answer of `Break` ends it after what is at hand.
pub trait TrainObserver {
    /// While the training and dev rows are encoded: how many are done. `Break` ends the run.
    fn encoding(&mut self, _done: usize, _rows: usize) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    /// Before anything is computed, when the rows are encoded.
    fn begin(&mut self) {}
    /// While what is constant below everything that trains is computed, once for all rows that come again: how many of
    /// these are done. `Break` ends the run.
    fn prefix(&mut self, _done: usize, _rows: usize) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    /// When that is not kept, or no more, and computed anew in each step from here on.
    fn not_kept(&mut self, _reason: &NotKept) {}
    /// After each step.
    fn step(&mut self, report: &StepReport) -> ControlFlow<()>;
    /// Within an evaluation: how many dev rows are done, while there are more. `Break` ends the run without this evaluation.
    fn evaluating(&mut self, _done: usize, _rows: usize) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    /// After each evaluation.
    fn evaluation(&mut self, report: &EvaluationReport) -> ControlFlow<()>;
    /// Of a run that has checkpoints: whether one is to be written now, after so many steps and before the next one.
    fn checkpoint_due(&mut self, _step: u64) -> bool {
        false
    }
    /// What becomes of checkpoints.
    fn checkpoint(&mut self, _report: &CheckpointReport<'_>) {}
}

/// An observer that looks away.
impl TrainObserver for () {
    fn step(&mut self, _: &StepReport) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn evaluation(&mut self, _: &EvaluationReport) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

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

    fn checkpoint_due(&mut self, step: u64) -> bool {
        // Each is asked, also after one has said yes.
        self.0.iter_mut().fold(false, |due, observer| observer.checkpoint_due(step) | due)
    }

    fn checkpoint(&mut self, report: &CheckpointReport<'_>) {
        self.0.iter_mut().for_each(|observer| observer.checkpoint(report));
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
