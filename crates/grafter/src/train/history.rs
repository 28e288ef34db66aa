//! What a run did, step by step: kept with its state, and written beside the adapter.

use std::fmt::Write;

use super::{EvaluationReport, StepReport};

/// The steps and evaluations of a run, in their order: 56 bytes a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// Every step.
    pub steps: Vec<StepReport>,
    /// Every evaluation.
    pub evaluations: Vec<EvaluationReport>,
}

/// One of the things that a run did.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A step.
    Step(&'a StepReport),
    /// An evaluation, after the step that it names.
    Evaluation(&'a EvaluationReport),
}

impl History {
    /// Steps and evaluations as they followed each other.
    pub fn events(&self) -> impl Iterator<Item = Event<'_>> {
        let mut evaluations = self.evaluations.iter().peekable();
        self.steps.iter().flat_map(move |step| {
            let after = evaluations.next_if(|evaluation| evaluation.step == step.step);
            std::iter::once(Event::Step(step)).chain(after.map(Event::Evaluation))
        })
    }

    /// One line a step, the numbers in full.
    pub fn steps_csv(&self) -> String {
        let mut csv = String::from("step,epoch,loss,grad_norm,learning_rate\n");
        for step in &self.steps {
            // Writing to a string cannot fail.
            let _ = writeln!(
                csv,
                "{},{},{},{},{}",
                step.step, step.epoch, step.loss, step.grad_norm, step.learning_rate
            );
        }
        csv
    }

    /// One line an evaluation, the numbers in full; `best` says whether it was the best so far.
    pub fn evaluations_csv(&self) -> String {
        let mut csv = String::from("step,epoch,score,loss,best\n");
        for evaluation in &self.evaluations {
            let EvaluationReport { step, epoch, score, loss, best } = evaluation;
            let _ = writeln!(csv, "{step},{epoch},{score},{loss},{best}");
        }
        csv
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: u64) -> StepReport {
        StepReport {
            step,
            total_steps: 3,
            epoch: 1,
            loss: 0.1 + 0.2,
            grad_norm: 1e-7,
            learning_rate: 1e-3,
            tokens: 3,
        }
    }

    #[test]
    fn numbers_are_written_in_full() {
        let evaluation = EvaluationReport { step: 1, epoch: 1, score: f64::NAN, loss: 0.5, best: true };
        let history = History { steps: vec![step(1)], evaluations: vec![evaluation] };
        let expected = "step,epoch,loss,grad_norm,learning_rate\n1,1,0.30000000000000004,0.0000001,0.001\n";
        assert_eq!(history.steps_csv(), expected);
        assert_eq!(history.evaluations_csv(), "step,epoch,score,loss,best\n1,1,NaN,0.5,true\n");
    }

    #[test]
    fn events_follow_each_other_as_they_did() {
        let evaluation = |step| EvaluationReport { step, epoch: 1, score: 0.5, loss: 0.5, best: true };
        let history =
            History { steps: (1..=3).map(step).collect(), evaluations: vec![evaluation(1), evaluation(3)] };
        let told: Vec<String> = history
            .events()
            .map(|event| match event {
                Event::Step(report) => format!("s{}", report.step),
                Event::Evaluation(report) => format!("e{}", report.step),
            })
            .collect();
        assert_eq!(told, ["s1", "e1", "s2", "s3", "e3"]);
    }
}
