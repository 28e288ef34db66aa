//! Whether what `adapter.json` says agrees with itself, whatever the encoder.

use super::config::{Pooling, Unfit};
use super::manifest::Manifest;
use crate::data::TaskKind;
use crate::entities::are_entity_tags;
use crate::text::{escape, listed};

impl Manifest {
    /// Checks each field against the task's kind and the other fields; the field is named as messages show it.
    pub(super) fn check(&self) -> Result<(), Unfit> {
        self.check_labels()?;
        self.check_texts()?;
        self.check_outputs()?;
        self.check_decisions()?;
        if self.training.is_some() == self.imported.is_some() {
            let found = if self.training.is_some() { "there beside `imported`" } else { "absent" };
            return wrong("`training`", found, "either it or `imported`");
        }
        if self.adapter.method.has_adapters() && self.adapter.bottleneck.widest() == 0 {
            return wrong("`adapter.bottleneck`", "0", "1 or more");
        }
        Ok(())
    }

    fn check_labels(&self) -> Result<(), Unfit> {
        let task = &self.task;
        let wrong = |found: String, expected: &str| wrong("`task.labels`", found, expected);
        let count = || format!("{} names", task.labels.len());
        if let Err(error) = task.spec() {
            return wrong(format!("not usable ({error})"), "two or more names");
        }
        let unlabelled = matches!(
            task.kind,
            TaskKind::Regression | TaskKind::MultipleChoice | TaskKind::QuestionAnswering
        );
        if unlabelled && !task.labels.is_empty() {
            return wrong(count(), &format!("none of {}", task.kind));
        }
        if task.kind == TaskKind::Entities && !are_entity_tags(&task.labels) {
            let found = listed(task.labels.iter().map(|label| escape(label, 60)), 12);
            return wrong(found, "`O`, and of each type `B-` and `I-`");
        }
        Ok(())
    }

    /// What the rows are made of and how they are read.
    fn check_texts(&self) -> Result<(), Unfit> {
        let task = &self.task;
        if (self.adapter.pooling == Pooling::Words) != task.kind.reads_words() {
            let expected = format!("what a task of the kind {} reads", task.kind);
            return wrong("`adapter.pooling`", self.adapter.pooling.to_string(), expected);
        }
        if task.kind.of_words() && task.pair {
            return wrong("`task.pair`", "true", format!("single texts of a task of the kind {}", task.kind));
        }
        let answers = task.kind == TaskKind::QuestionAnswering;
        if answers && !task.pair {
            return wrong("`task.pair`", "false", "questions with their contexts");
        }
        if task.no_answer && !answers {
            return wrong("`task.no_answer`", "true", format!("false of {}", task.kind));
        }
        if self.stride.is_some() != answers {
            return wrong("`stride`", format!("{:?}", self.stride), format!("what {} needs", task.kind));
        }
        if let Some(stride) = self.stride.filter(|stride| *stride >= self.max_length) {
            let expected = format!("less than `max_length`, which is {}", self.max_length);
            return wrong("`stride`", stride.to_string(), expected);
        }
        Ok(())
    }

    fn check_outputs(&self) -> Result<(), Unfit> {
        let task = &self.task;
        if self.adapter.outputs != task.outputs() {
            let expected = format!("{} as the task has", task.outputs());
            return wrong("`adapter.outputs`", self.adapter.outputs.to_string(), expected);
        }
        let scores = || format!("{:?}", task.scores);
        if (task.kind == TaskKind::Regression) != task.scores.is_some() {
            return wrong("`task.scores`", scores(), format!("what {} needs", task.kind));
        }
        match task.scores {
            Some(scale) if !(scale.mean.is_finite() && scale.std.is_finite() && scale.std > 0.0) => {
                wrong("`task.scores`", scores(), "finite, `std` above 0")
            }
            _ => Ok(()),
        }
    }

    /// What makes probabilities and answers of the outputs.
    fn check_decisions(&self) -> Result<(), Unfit> {
        let task = &self.task;
        if let Some(calibration) = &self.calibration {
            let usable = calibration.temperature.is_finite() && calibration.temperature > 0.0;
            if !usable || task.kind != TaskKind::Classification {
                let found = format!("a temperature of {} of {}", calibration.temperature, task.kind);
                return wrong("`calibration`", found, "of a classification, a temperature above 0");
            }
        }
        let Some(thresholds) = &self.thresholds else { return Ok(()) };
        let usable = match task.kind {
            TaskKind::MultiLabel => {
                thresholds.len() == task.labels.len()
                    && thresholds.iter().all(|least| (0.0..=1.0).contains(least))
            }
            TaskKind::QuestionAnswering => {
                task.no_answer && matches!(thresholds[..], [most] if most.is_finite())
            }
            _ => false,
        };
        if usable {
            return Ok(());
        }
        let expected = "of several labels 0 to 1 for each, of questions without an answer one number";
        wrong("`thresholds`", format!("{} numbers", thresholds.len()), expected)
    }
}

fn wrong(field: &'static str, found: impl Into<String>, expected: impl Into<String>) -> Result<(), Unfit> {
    Err(Unfit { field, found: found.into(), expected: expected.into() })
}
