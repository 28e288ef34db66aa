//! What becomes of a task while others are trained after it: a matrix of scores, and sequential fine-tuning, the way to
//! train many tasks on one model that adapters are held against.
//!
//! Adapters cannot forget, because nothing that a task uses is written to when another is trained. Fine-tuning one encoder
//! on one task after another writes to all of it, and what that costs the earlier tasks is known as catastrophic forgetting
//! (McCloskey & Cohen 1989). [`SequentialFineTuning`] measures it on the same tasks.

use serde::{Deserialize, Serialize};

use crate::adapter::{Adapter, Manifest, TaskLayout, TaskParameters};
use crate::encoder::EncoderConfig;
use crate::metrics::Metric;

/// A task of a sequence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SequenceTask {
    /// What it is called.
    pub name: String,
    /// What is scored.
    pub metric: Metric,
    /// SHA-256 of the digests of the files with its training, dev and scored rows; empty where the rows are of no file.
    pub data_sha256: String,
}

/// The score of each task after each training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForgettingMatrix {
    /// How the tasks were trained.
    pub method: String,
    /// The tasks, in the order of their training.
    pub tasks: Vec<SequenceTask>,
    /// `scores[j][i]` is that of task `i` after the training of task `j`; `i <= j`. Absent where it is not defined.
    pub scores: Vec<Vec<Option<f64>>>,
}

impl ForgettingMatrix {
    /// No task yet.
    pub fn new(method: &str) -> Self {
        Self { method: method.to_owned(), tasks: Vec::new(), scores: Vec::new() }
    }

    /// Notes the scores of all tasks so far, the one that was just trained last.
    /// # Panics
    /// If there is not one score for each of them.
    pub fn push(&mut self, task: SequenceTask, scores: Vec<Option<f64>>) {
        self.tasks.push(task);
        assert_eq!(scores.len(), self.tasks.len(), "a score of each task so far");
        self.scores.push(scores);
    }

    /// Whether there is a row for each task, and in it a score of each task so far: a matrix that was read may be anything.
    pub fn is_whole(&self) -> bool {
        self.scores.len() == self.tasks.len()
            && self.scores.iter().enumerate().all(|(task, scores)| scores.len() == task + 1)
    }

    /// How much less a task scores after the last training than after its own; absent where a score is.
    pub fn lost(&self, task: usize) -> Option<f64> {
        let (own, last) = (self.scores.get(task)?, self.scores.last()?);
        Some(own[task]? - last[task]?)
    }

    /// The mean loss of the tasks that others were trained after, of those whose scores are defined (Chaudhry et al. 2018
    /// take the largest earlier score in place of the task's own; with adapters both are the same).
    pub fn mean_lost(&self) -> Option<f64> {
        let lost: Vec<f64> = self.earlier().filter_map(|task| self.lost(task)).collect();
        (!lost.is_empty()).then(|| lost.iter().sum::<f64>() / lost.len() as f64)
    }

    /// Tasks that others were trained after.
    pub fn earlier(&self) -> std::ops::Range<usize> {
        0..self.tasks.len().saturating_sub(1)
    }
}

/// One encoder that is fine-tuned on one task after another; each task keeps its own head.
#[derive(Debug, Default)]
pub struct SequentialFineTuning {
    /// The last task, whose parameters hold the encoder as it is now.
    current: Option<TaskParameters>,
    tasks: Vec<(Manifest, Vec<f32>)>,
}

impl SequentialFineTuning {
    /// What the next task begins with; see [`crate::graft::graft_from`].
    pub fn current(&self) -> Option<&TaskParameters> {
        self.current.as_ref()
    }

    /// Takes a task that was trained after the others.
    pub fn push(&mut self, trained: Adapter) {
        let Adapter { manifest, parameters } = trained;
        self.tasks.push((manifest, parameters.head_values().to_vec()));
        self.current = Some(parameters);
    }

    /// Each task as it is now, in the order of their training: its own head on the encoder that the last task left. One of
    /// them is in memory at a time.
    pub fn tasks<'a>(&'a self, encoder: &'a EncoderConfig) -> impl Iterator<Item = Adapter> + 'a {
        self.tasks.iter().filter_map(|(manifest, head)| {
            let layout = TaskLayout::new(&manifest.adapter, encoder);
            let zeros = vec![0.0; layout.list().len()];
            let mut parameters = TaskParameters::from_values(layout, zeros);
            parameters.take_encoder_of(self.current.as_ref()?);
            parameters.set_head_values(head);
            Some(Adapter { manifest: manifest.clone(), parameters })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_is_the_own_score_less_the_last() {
        let mut matrix = ForgettingMatrix::new("full");
        let task =
            |name: &str, metric| SequenceTask { name: name.to_owned(), metric, data_sha256: String::new() };
        assert_eq!((matrix.lost(0), matrix.mean_lost()), (None, None));
        matrix.push(task("a", Metric::Accuracy), vec![Some(0.75)]);
        assert_eq!((matrix.lost(0), matrix.mean_lost()), (Some(0.0), None));
        matrix.push(task("b", Metric::F1), vec![Some(0.5), Some(1.0)]);
        matrix.push(task("c", Metric::Pearson), vec![Some(0.25), Some(0.75), None]);
        assert_eq!((matrix.lost(0), matrix.lost(1), matrix.lost(2)), (Some(0.5), Some(0.25), None));
        assert_eq!(matrix.mean_lost(), Some(0.375));
        // A task that answers with a constant has no correlation any more.
        matrix.push(task("d", Metric::F1), vec![None, Some(0.5), None, Some(1.0)]);
        assert_eq!((matrix.lost(0), matrix.mean_lost()), (None, Some(0.5)));
        assert!(matrix.is_whole());
        let short = ForgettingMatrix { scores: matrix.scores[..3].to_vec(), ..matrix.clone() };
        matrix.scores[2].pop();
        assert!(!short.is_whole() && !matrix.is_whole());
    }
}
